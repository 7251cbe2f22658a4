#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: kill
# budget: 200
# long: 240
# Both sites are killed at the same moment, and start in any order; sometimes the standby is promoted.
. "$(dirname "$0")/../lib.sh"

CONF_JOURNAL="size = 32M"
CONF_LIMITS="checkpoint_entries = 3000"
sites_up
active=a
for ((round = 1; round <= (ROUNDS + 1) / 2; round++)); do
	standby=$(other $active)
	mix_start $active
	pause_ms "$(random_ms 100 1000)"
	site_kill9 a b
	mix_wait 3
	flushed_is_committed
	if ((round % 3 == 0)); then # the active's site is gone; a tail may be on the standby alone
		site_start $standby
		wait_for 10 "site $standby answers" has_role $standby standby
		order $standby deactivate clusterdomain "$(domain $active)" --yes
		site_wait_active $standby
		mix_verify $standby
		site_start $active
		site_wait_role $active standby
		order $standby activate clusterdomain "$(domain $active)"
		site_wait_in_sync $standby
		step "round $round: site $standby was promoted and verified"
		active=$standby
		continue
	fi
	if ((RANDOM % 2)); then
		site_start a
		pause_ms "$(random_ms 0 500)"
		site_start b
	else
		site_start b
		pause_ms "$(random_ms 0 500)"
		site_start a
	fi
	site_wait_active $active
	site_wait_in_sync $active
	mix_verify $active
	step "round $round: site $active serves again and is verified"
done
sites_stop_and_compare
made $((round - 1)) rounds

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: programs
# budget: 120
# SQLite in both journal modes: the daemon is killed, the site is lost; every acknowledged transaction is there.
. "$(dirname "$0")/../lib.sh"

sites_up
active=a
for round in 1 2 3 4; do
	for mode in wal delete; do
		[[ $round != 1 ]] || mkdir "$(mnt $active)/$mode"
		"$TOOLS/sqlite" run "$(mnt $active)/$mode/db" "$WORK/$mode.acked" $mode 60 \
			>>"$WORK/$mode.out" 2>&1 &
		LOAD[$mode]=$!
	done
	pause_ms "$(random_ms 1000 2500)"
	site_kill9 $active
	load_wait wal 3
	load_wait delete 3
	if ((round % 2)); then
		site_start $active
	else
		standby=$(other $active)
		order $standby deactivate clusterdomain "$(domain $active)" --yes
		site_start $active
		site_wait_active $standby
		site_wait_role $active standby
		order $standby activate clusterdomain "$(domain $active)"
		active=$standby
	fi
	site_wait_active $active
	site_wait_in_sync $active
	for mode in wal delete; do
		"$TOOLS/sqlite" verify "$(mnt $active)/$mode/db" "$WORK/$mode.acked"
	done
	step "round $round: verified on site $active"
done
sites_stop_and_compare

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: peer
# budget: 150
# long: 180
# The standby is killed under load: writes wait without an error, all else answers; it catches up.
. "$(dirname "$0")/../lib.sh"

CONF_LIMITS="checkpoint_entries = 3000"
sites_up
"$TOOLS/probe" prepare "$(mnt a)/probe"
# Cold: what the probe asks for is in no cache of the kernel.
site_stop a
site_start a
site_wait_active a
mix_start a
for ((round = 1; round <= (ROUNDS > 20 ? ROUNDS / 2 : (ROUNDS + 3) / 4); round++)); do
	pause_ms "$(random_ms 200 1200)"
	site_kill9 b
	pause_ms $((1000 * ${SLOWER:-1})) # for what was acknowledged already
	from=$(now_ns)
	pause_ms "$(random_ms 100 3000)"
	to=$(now_ns)
	probe a
	expect_eq "acknowledged while the standby is dead" "$(mix_acked "$from" "$to")" 0
	((round % 2)) || flushed_is_committed
	site_start b
	if ((round % 3 == 2)); then # once more, while it catches up
		pause_ms "$(random_ms 5 300)"
		site_kill9 b
		((RANDOM % 2)) || flushed_is_committed
		site_start b
	fi
	site_wait_in_sync a
	from=$(now_ns)
	pause_ms 500
	[[ $(mix_acked "$from" "$(now_ns)") -gt 0 ]] || fail "writes do not go on after the standby is back"
	step "round $round: the writes waited and went on"
done
mix_stop
mix_verify a
sites_stop_and_compare
made $((round - 1)) rounds

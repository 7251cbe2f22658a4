#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: peer
# budget: 120
# The standby hangs (SIGSTOP) for less and for more than the time-out: writes wait, then go on.
. "$(dirname "$0")/../lib.sh"

sites_up
"$TOOLS/probe" prepare "$(mnt a)/probe"
site_stop a
site_start a
site_wait_active a
mix_start a
for ms in 800 4500 200 6000; do
	pause_ms 700
	kill -STOP "${PID[b]}"
	pause_ms $((1000 * ${SLOWER:-1})) # for what was acknowledged already
	from=$(now_ns)
	pause_ms $ms
	to=$(now_ns)
	probe a
	expect_eq "acknowledged while the standby hangs" "$(mix_acked "$from" "$to")" 0
	has_role a active || fail "site a is $(role a)"
	kill -CONT "${PID[b]}"
	site_wait_in_sync a
	from=$(now_ns)
	pause_ms 500
	[[ $(mix_acked "$from" "$(now_ns)") -gt 0 ]] || fail "writes do not go on after the standby is back"
	step "hung for $ms ms: the writes waited and went on"
done
mix_stop
mix_verify a
sites_stop_and_compare

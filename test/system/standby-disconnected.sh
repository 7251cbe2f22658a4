#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: peer
# budget: 120
# The link is cut for less and for more than the time-out, on either end: writes wait, then go on.
. "$(dirname "$0")/../lib.sh"

sites_up
"$TOOLS/probe" prepare "$(mnt a)/probe"
site_stop a
site_start a
site_wait_active a
mix_start a
for cut in "a 600" "b 5000" "a 4000" "b 300"; do
	read -r end ms <<<"$cut"
	pause_ms 700
	link_cut "$end"
	pause_ms 300
	from=$(now_ns)
	pause_ms "$ms"
	to=$(now_ns)
	probe a
	expect_eq "acknowledged while the link is cut" "$(mix_acked "$from" "$to")" 0
	! is_mounted b || fail "site b has mounted"
	link_heal
	site_wait_in_sync a
	from=$(now_ns)
	pause_ms 500
	[[ $(mix_acked "$from" "$(now_ns)") -gt 0 ]] || fail "writes do not go on after the link is back"
	step "cut at site $end for $ms ms: the writes waited and went on"
done
mix_stop
mix_verify a
sites_stop_and_compare

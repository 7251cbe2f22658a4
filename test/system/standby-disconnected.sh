#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: peer
# budget: 120
# The link is cut for less and for more than the time-out, on either end: writes wait, then go on.
. "$(dirname "$0")/../lib.sh"

# When the peer of site a got into the state in which it is, in seconds since 1970, by what the status shows people.
since() {
	local at
	at=$(ctl a status | sed -nE 's/^ +so for .*, since ([-0-9]+ [:0-9]+)$/\1/p')
	[[ -n $at ]] || fail "the status does not say since when the peer is away: $(ctl a status)"
	date -d "$at" +%s
}

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
	cut_s=$(date +%s)
	pause_ms $((1000 * ${SLOWER:-1})) # for what was acknowledged already
	from=$(now_ns)
	pause_ms "$ms"
	to=$(now_ns)
	probe a
	expect_eq "acknowledged while the link is cut" "$(mix_acked "$from" "$to")" 0
	if [[ $ms -gt 3000 ]]; then # more than the time-out
		at=$(since)
		[[ $at -ge $((cut_s - 2)) && $at -le $((cut_s + 5 * ${SLOWER:-1})) ]] || fail "cut at $cut_s; so since $at"
	fi
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

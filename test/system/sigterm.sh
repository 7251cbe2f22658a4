#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: switch
# budget: 150
# A clean stop is bounded: idle, under load, with a busy mount, with a silent peer, of either side.
. "$(dirname "$0")/../lib.sh"

sites_up
timed_stop() { # site, seconds
	local begin
	begin=$(now_ns)
	site_stop "$1" "$2"
	! is_mounted "$1" || fail "site $1 left its mount behind"
	step "$3: stopped after $((($(now_ns) - begin) / 1000000)) ms"
}
again() {
	site_start a
	site_wait_active a
	site_wait_in_sync a
	mix_verify a
}
mkdir "$(mnt a)/tree" "$(mnt a)/blocks"
timed_stop a $((5 * ${SLOWER:-1})) "idle"
again
mix_start a
pause_ms 800
timed_stop a 13 "under load"
mix_wait 3 0
again

(cd "$(mnt a)" && sleep 60) &
busy=$!
pause_ms 100
timed_stop a 8 "with a process in the mount"
again
kill $busy

mix_start a
pause_ms 500
kill -STOP "${PID[b]}"
pause_ms 300
timed_stop a $((14 * ${SLOWER:-1})) "with a silent peer and waiting writes"
mix_wait 3
kill -CONT "${PID[b]}"
again

mix_start a
pause_ms 300
timed_stop b $((5 * ${SLOWER:-1})) "the standby, under load"
pause_ms 500
is_serving a || fail "site a is $(role a) after the standby was stopped"
site_start b
site_wait_in_sync a
mix_stop
mix_verify a
sites_stop_and_compare

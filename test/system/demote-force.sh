#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: switch
# budget: 120
# demote --force while the peer is silent: waiting operations end with EIO, nothing hangs for ever. Without --force a
# demotion whose peer is lost is taken back: the volume goes on where it was, without an error.
. "$(dirname "$0")/../lib.sh"

sites_up
for silent in stopped killed; do
	mix_start a
	pause_ms 700
	if [[ $silent = stopped ]]; then
		kill -STOP "${PID[b]}"
	else
		site_kill9 b
	fi
	pause_ms 1000
	[[ $(status a .waiting_ops) -gt 0 ]] || fail "no operation waits"
	begin=$(now_ns)
	order a demote $VOLUME --force
	wait_for 10 "the mount goes away" eval '! is_mounted a'
	for pid in "${LOAD[tree]}" "${LOAD[blocks]}"; do
		wait_for 10 "the waiting operations end" eval "! pid_alive $pid"
	done
	step "$silent peer: everything ended after $((($(now_ns) - begin) / 1000000)) ms"
	mix_wait 3
	if [[ $silent = stopped ]]; then
		kill -CONT "${PID[b]}"
	else
		site_start b
	fi
	wait_for 10 "site a is back without serving" eval '[[ $(role a) = confirming ]]'
	pause_ms 500
	! is_mounted a || fail "site a mounted again unasked"
	order a promote $VOLUME --yes
	site_wait_active a
	site_wait_in_sync a
	mix_verify a
done

mix_start a
pause_ms 700
kill -STOP "${PID[b]}"
begin=$(now_ns)
expect_fail ctl a demote $VOLUME
expect_match "a demotion whose peer is lost" "$OUT" "taken back"
expect_eq "the role of site a" "$(role a)" active
step "taken back after $((($(now_ns) - begin) / 1000000)) ms"
kill -CONT "${PID[b]}"
site_wait_in_sync a
pause_ms 500
mix_stop
mix_verify a
order a demote $VOLUME
wait_for 10 "the mount goes away" eval '! is_mounted a'
order b promote $VOLUME
site_wait_active b
mix_verify b
sites_stop_and_compare

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: kill
# budget: 60
# A daemon is killed while it reads a large request from the kernel, as the first one that its buffer takes, again and
# again. The kernel answers a request with an error when it cannot copy it to whom it was handed; it must be able to.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../held.sh"

sites_up
m=$(mnt a)
first=$(connection)
writers=()

for ((w = 0; w < 4; w++)); do # making one has the next one wait
	head -c 1M /dev/urandom >"$WORK/data.$w"
	: >"$m/written.$w"
done
# What is asked while the peer is silent stays unanswered, and is sent again to each daemon.
kill -STOP "${PID[b]}"
for ((w = 0; w < 4; w++)); do
	dd if="$WORK/data.$w" of="$m/written.$w" bs=1M oflag=direct conv=notrunc status=none 2>"$WORK/dd.$w.out" &
	writers+=($!)
done
pause_ms 300
site_kill9 a
died() { ! site_alive a; }
for ((round = 1; round <= 12; round++)); do # no more: the mount of who dies of its requests is given up
	SITE_ENV[a]="KILL_READ=$(random_ms 0 600) LD_PRELOAD=$TOOLS/killread.so"
	site_start a
	wait_for 20 "the daemon reads a request" died
	wait "${PID[a]}" 2>/dev/null || :
	unset "PID[a]"
done 2>/dev/null # bash tells of each one that was killed
unset "SITE_ENV[a]"
kill -CONT "${PID[b]}"
site_start a
for ((w = 0; w < 4; w++)); do
	wait "${writers[w]}" || fail "an application met an error: $(cat "$WORK"/dd.*.out)"
	cmp "$WORK/data.$w" "$m/written.$w" || fail "written.$w is not what was written"
done
expect_eq "the connection" "$(connection)" "$first"
step "killed $((round - 1)) times while it read"
site_wait_in_sync a
sites_stop_and_compare

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: kill
# budget: 120
# When what a holder kept cannot be taken over, the mount ends with errors, never with a hang, and never with less than
# what was answered: the journal lacks something, the recovery fails, the replica is suspect. Under ack=fsync what the
# journal lacks comes from memory.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../held.sh"

sites_up
m=$(mnt a)
user=
hold() { # a process that has a file on this mount open
	echo kept >"$m/kept"
	sleep 1000 7<"$m/kept" &
	user=$!
	opened $user 7
}
expect_errors() { # what
	expect_fail timeout 20 cat /proc/$user/fd/7
	kill $user
	step "$1: errors"
}

hold
echo answered >"$m/answered"
site_kill9 a
"$TOOLS/spoil" tail "$(replica_of a)/ring" || fail "the ring has no batch"
site_start a
site_wait_active a
expect_match "the log" "$(site_log a)" "the journal ends at seq [0-9]*, but [0-9]* was answered"
expect_errors "the journal lacks what was answered"
expect_eq "what the peer had" "$(cat "$m/answered")" answered
site_wait_in_sync a

hold
site_kill9 a
mv "$(replica_of a)/record" "$WORK/record"
start_fails
expect_match "a recovery that fails" "$OUT" "everything on the mount that the holder kept fails now"
expect_errors "the recovery fails"
expect_fail timeout 20 stat "$m/kept"
mv "$WORK/record" "$(replica_of a)/record"
site_start a
site_wait_active a

site_stop a
sed -i 's/^holder = yes$/&\nack = fsync/' "$WORK/a/conf"
site_start a
site_wait_active a
first=$(connection)
hold
# Within the time in which the answer is in memory alone: a tenth of a second later the journal has it.
for ((i = 0; i < 20; i++)); do
	begin=$(now_ns)
	echo answered again >"$m/answered"
	kill -9 "${PID[a]}"
	took=$(($(now_ns) - begin))
	wait "${PID[a]}" 2>/dev/null || true
	unset "PID[a]"
	((took > 80000000)) || break
	((i < 19)) || fail "never killed soon enough after the answer"
	site_start a
	site_wait_active a
done
"$TOOLS/spoil" tail "$(replica_of a)/ring" || fail "the ring has no batch"
site_start a
site_wait_active a
expect_eq "the connection" "$(connection)" "$first"
expect_eq "what was answered" "$(cat "$m/answered")" "answered again"
expect_eq "a file that was open" "$(cat /proc/$user/fd/7)" kept
kill $user
site_wait_in_sync a
step "under ack=fsync: from memory"

# Suspect, by the facts of three bad starts, with a mount that a good one left.
cp "$(replica_of a)/facts" "$WORK/facts"
site_kill9 a
TANDEMFS_FAULT_WRITE=1:1000000 site_start a
( (echo x >"$m/x") 2>/dev/null || true) &
wait_for 30 "site a is suspect" eval '[[ $(status a .trouble) = *suspect* ]]'
site_end a
cp "$(replica_of a)/facts" "$WORK/facts.suspect"
cp "$WORK/facts" "$(replica_of a)/facts"
site_start a
site_wait_active a
hold
site_kill9 a
cp "$WORK/facts.suspect" "$(replica_of a)/facts"
site_start a
wait_for 20 "site a says so" eval '[[ $(status a .trouble) = *suspect* ]]'
expect_errors "suspect"
site_end a
cp "$WORK/facts" "$(replica_of a)/facts"
site_start a
site_wait_active a
site_wait_in_sync a
sites_stop_and_compare

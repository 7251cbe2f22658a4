#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: kill
# budget: 240
# long: 300
# With a holder the active's daemon is stopped and started again and again under load, and no application sees
# more than a pause: writers, makers and removers of names (each operation is executed once), a mapping, a
# reader that follows a file, files that are open and removed; what waits for a silent peer goes on waiting. A
# replica that is not the active one any more ends the mount with errors, not with a hang. Kills: holder-kill.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../held.sh"

sites_up
m=$(mnt a)

holders() { { holder || true; } | wc -l; } # how many of ours
mounts() { grep -c " $m " /proc/self/mountinfo; }

again() { # what
	replaced "$1" site_stop
	expect_eq "$1: holders" "$(holders)" 1
}

expect_eq "holders" "$(holders)" 1
first=$(connection)
echo kept >"$m/kept"
head -c 300000 /dev/zero >"$m/removed"
# By a process of their own: what is open in this shell is open in the daemons that it starts.
sleep infinity 7<"$m/removed" 8<"$m/kept" &
keeper=$!
opened $keeper 8
rm "$m/removed"
: >"$m/followed"
tail -n +1 -F --pid=$$ "$m/followed" >"$WORK/followed.out" 2>"$WORK/tail.out" &
follower=$!
mix_start a
"$TOOLS/mapped" run "$m" "$WORK/mapped.acked" "$SEED" $((ROUNDS + 5)) >"$WORK/mapped.out" 2>&1 &
LOAD[mapped]=$!
workers_start once 3
follow 2>"$WORK/follow.out" &
workers+=($!)
for ((round = 1; round <= (ROUNDS + 1) / 2; round++)); do
	pause_ms "$(random_ms 50 1200)"
	again "round $round"
	step "round $round: answered again after $ms ms"
done
workers_end once
mix_stop
mix_verify a
load_wait mapped 0
"$TOOLS/mapped" verify "$m" "$WORK/mapped.acked" >>"$WORK/mapped.out"
wait_for 10 "the follower sees the last line" grep -q last "$WORK/followed.out"
expect_eq "what was followed" "$(sha1sum <"$WORK/followed.out")" "$(sha1sum <"$m/followed")"
kill $follower # it would open the file in later mounts, too, and keep them
expect_eq "the connection" "$(connection)" "$first"
expect_eq "a removed file that is open" "$(stat -L -c '%h %s' /proc/$keeper/fd/7)" "0 300000"
expect_eq "a file that was open all the time" "$(cat /proc/$keeper/fd/8)" kept
made $((round - 1)) rounds
step "no error in all rounds; $(head -n 1 "$WORK/once.1.out")"

# What is removed and open stays through a change, and its space comes back when it is closed.
used() { df --output=used -B1 "$m" | tail -n 1; }
dd if=/dev/urandom of="$m/big" bs=1M count=64 status=none
sleep infinity 9<"$m/big" &
orphan=$!
opened $orphan 9
rm "$m/big"
again "with an orphan"
[[ $(head -c 1000000 /proc/$orphan/fd/9 | wc -c) = 1000000 ]] || fail "the removed file cannot be read"
before=$(used)
kill $orphan $keeper
wait_for 20 "the space of the removed file comes back" eval "[[ \$(used) -lt $((before - 50000000)) ]]"

# An operation that began while nobody served waits, and is executed.
site_stop a
(set -C && echo late >"$m/late") &
late=$!
stat "$m" >/dev/null & # the kernel may know it, or not
pause_ms 300
pid_alive $late || fail "a create ended while nobody served"
site_start a
site_wait_active a
wait_for 10 "what began while nobody served ends" eval "! pid_alive $late"
wait $late || fail "what began while nobody served failed"
expect_eq "it" "$(cat "$m/late")" late

# The way to acknowledge may be changed under a living mount, and the next daemon goes by what it finds.
site_stop a
sed -i 's/^holder = yes$/&\nack = fsync/' "$WORK/a/conf"
site_start a
site_wait_active a
echo answered >"$m/answered"
again "under ack=fsync"
expect_eq "the connection" "$(connection)" "$first"
expect_eq "what was answered" "$(cat "$m/answered")" answered
echo again >"$m/answered"
site_kill9 a
sed -i '/^ack = fsync$/d' "$WORK/a/conf"
site_start a
site_wait_active a
expect_eq "the connection" "$(connection)" "$first"
expect_eq "what was answered" "$(cat "$m/answered")" again
expect_eq "mounts" "$(mounts)" 1

# A second daemon by mistake is refused, and the first keeps its holder.
start_fails
expect_match "the second daemon" "$OUT" "another tandemfs uses .* already"
again "after a second daemon"
expect_eq "the connection" "$(connection)" "$first"

# A start that fails before the replica is there: the mount waits, and the log says so.
site_stop a
mv "$WORK/a/replica" "$WORK/a/replica.aside"
stat "$m/late" >/dev/null &
late=$!
start_fails
expect_match "the start" "$OUT" "still mounted: what is asked of it waits"
mv "$WORK/a/replica.aside" "$WORK/a/replica"
site_start a
site_wait_active a
wait $late || fail "what waited failed"
expect_eq "the connection" "$(connection)" "$first"

# Somebody takes the mount away while it has no daemon, but a process still uses it: a new mount, and errors there.
sleep infinity 7<"$m/kept" &
user=$!
opened $user 7
site_kill9 a
umount -l "$m"
site_start a
site_wait_active a
expect_eq "mounts" "$(mounts)" 1
expect_fail timeout 10 cat /proc/$user/fd/7
kill $user
expect_eq "mounts" "$(cat "$m/kept")" kept

# Operations that wait for a silent peer at the stop: they go on waiting, and are executed once.
kill -STOP "${PID[b]}"
(set -C && echo waited >"$m/waits") &
waits=$!
pause_ms 300
site_stop a 16
is_mounted a || fail "the mount is gone"
pid_alive $waits || fail "the operation that waited ended with the stop"
kill -CONT "${PID[b]}"
site_start a
site_wait_active a
wait_for 10 "the operation that waited ends" eval "! pid_alive $waits"
wait $waits || fail "the operation that waited failed"
expect_eq "what waited" "$(cat "$m/waits")" waited
site_wait_in_sync a

# Alone in the set, no one needs to confirm what the holder kept alive.
order a deactivate clusterdomain site-b
site_stop b
again "alone"
echo alone >"$m/alone"
site_start b
order a activate clusterdomain site-b
site_wait_in_sync a

# Promoted elsewhere while it is held: everything on it fails, also what was cached.
(
	exec 8<"$m/kept"
	until [[ -e $WORK/read ]]; do sleep 0.1; done
	cat <&8
) >"$WORK/cached.out" 2>&1 &
cached=$!
cat "$m/kept" >/dev/null
site_stop a
order b deactivate clusterdomain site-a --yes
site_wait_active b
site_start a
site_wait_role a standby
wait_for 10 "the mount that was held is gone" eval '! is_mounted a'
: >"$WORK/read"
status=0
wait $cached || status=$?
[[ $status = 1 ]] || fail "what was cached can still be read: $(cat "$WORK/cached.out")"
expect_eq "on the other side" "$(cat "$(mnt b)/alone")" alone
order b activate clusterdomain site-a
site_wait_in_sync b
order b demote "$VOLUME"
wait_for 30 "site a sees it again" eval '[[ $(status a ".peers[0].connected") = true ]]'
order a promote "$VOLUME"
site_wait_active a

# Somebody unmounts what is held: a new mount.
site_stop a
umount -l "$m"
wait_for 5 "the holder sees it" eval '[[ $(holders) = 0 ]]'
site_start a
site_wait_active a
expect_eq "mounts" "$(mounts)" 1
pauses_check
sites_stop_and_compare

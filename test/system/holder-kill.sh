#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: kill
# budget: 240
# long: 300
# With a holder the active's daemon is killed (kill -9) and started again, again and again under load, and no
# application sees more than a pause: each operation is executed once, also what was in flight. The peer is there, or
# away and not waited for; twice killed before what was asked again is answered; killed while a peer is silent, when what
# only reads is answered. What cannot be taken over ends with errors, not with a hang.
# holder-kill-fsync runs the same under ack=fsync, where what was answered may be in the dead daemon's memory only.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../held.sh"

ACK=${ACK:-op}
CONF_VOLUME+=$'\n'"ack = $ACK"
sites_up
m=$(mnt a)

again() { replaced "$1" site_kill9; } # what

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
mix_start a
"$TOOLS/mapped" run "$m" "$WORK/mapped.acked" "$SEED" $((ROUNDS + 5)) >"$WORK/mapped.out" 2>&1 &
LOAD[mapped]=$!
workers_start once 4
follow 2>"$WORK/follow.out" &
workers+=($!)
for ((round = 1; round <= (ROUNDS + 1) / 2; round++)); do
	pause_ms "$(random_ms 50 1200)"
	again "round $round"
	step "round $round: answered again after $ms ms"
	if ((round % 3 == 0)); then # the next one dies, too, at any moment of its start
		site_kill9 a
		site_start a
		pause_ms "$(random_ms 0 400)"
		again "round $round, killed while it starts"
	fi
done
workers_end once
mix_stop
mix_verify a
load_wait mapped 0
"$TOOLS/mapped" verify "$m" "$WORK/mapped.acked" >>"$WORK/mapped.out"
wait_for 10 "the follower sees the last line" grep -q last "$WORK/followed.out"
expect_eq "what was followed" "$(sha1sum <"$WORK/followed.out")" "$(sha1sum <"$m/followed")"
expect_eq "the connection" "$(connection)" "$first"
expect_eq "a removed file that is open" "$(stat -L -c '%h %s' /proc/$keeper/fd/7)" "0 300000"
expect_eq "its bytes" "$(head -c 300000 /proc/$keeper/fd/7 | cmp - <(head -c 300000 /dev/zero) && echo zeros)" zeros
expect_eq "a file that was open all the time" "$(cat /proc/$keeper/fd/8)" kept
# What was answered was not always in the journal when the daemon died.
in_memory=$(site_log a | grep -c "were in memory and are in the journal now") || true
[[ $ACK = op || $in_memory -gt 0 ]] || fail "no daemon left anything in memory"
[[ $ACK = fsync || $in_memory = 0 ]] || fail "under ack=op the memory of the daemon before was read"
made $((round - 1)) rounds
step "no error in all rounds, $in_memory times from memory; the longest took $longest ms; $(head -n 1 "$WORK/once.1.out")"
kill $keeper

# Large writes, of which the batch has only address and checksum: answered before they are at their address.
if [[ $ACK = fsync ]]; then
	head -c 48M /dev/urandom >"$WORK/large"
	for round in 1 2 3 4; do
		dd if="$WORK/large" of="$m/large" bs=1M oflag=direct status=none &
		large=$!
		wait_for 10 "the large write has begun" test -s "$m/large"
		pause_ms "$(random_ms 5 60)"
		again "large writes, round $round"
		wait $large || fail "a large write met an error"
		cmp "$m/large" "$WORK/large" || fail "a large write is lost"
		echo 3 >/proc/sys/vm/drop_caches
		cmp "$m/large" "$WORK/large" || fail "a large write is lost on the disk"
		rm "$m/large"
	done
	expect_match "the log" "$(site_log a)" ", [1-9][0-9]* large payloads"
	step "large writes: $(site_log a | grep -c ', [1-9][0-9]* large payloads') times from memory"
fi

# Operations that wait for a silent peer, killed: in the ring here, asked again, answered once the peer is back.
mkdir "$m/dir"
echo asked >"$m/dir/asked"
echo known >"$m/dir/known"
sync "$m/dir/known"
echo 3 >/proc/sys/vm/drop_caches
cat "$m/dir/known" >/dev/null
echo last >"$m/dir/last" # answered a moment before the kill: the journal does not say yet that it is committed
again "after the last answer"
expect_eq "what was answered last" "$(cat "$m/dir/last")" last
kill -STOP "${PID[b]}"
if [[ $ACK = op ]]; then
	(set -C && : >"$m/waits") &
	waits=$!
	mkdir "$m/waits.dir" &
	waits_dir=$!
	printf x >>"$m/kept" &
	waits_append=$!
else # answered at once, also large writes past the page cache; what syncs waits
	mkdir "$m/waits.dir"
	timeout 5 dd if=/dev/urandom of="$m/dir/large" bs=1M count=4 oflag=direct status=none
	large=$(timeout 5 dd if="$m/dir/large" bs=1M iflag=direct status=none | sha1sum)
	printf x >>"$m/kept"
	sync "$m/kept" &
	waits=$!
	sync "$m/dir/large" &
	waits_dir=$!
	dd if=/dev/zero of="$m/waits" bs=4k count=1 oflag=direct,sync status=none &
	waits_append=$!
fi
pause_ms 300
# I5: what is taken over is applied before it is committed, and must not get into RocksDB's files by that.
committed=$(status a .seq.committed)
end=$(status a .seq.durable)
((end > committed)) || fail "nothing waits for the peer: seq $committed of $end is committed"
taken=$(site_log a | grep -c "took .* over")
site_kill9 a
flushed_within a "$committed"
site_start a
wait_for 30 "the mount is taken over" eval '[[ $(site_log a | grep -c "took .* over") -gt $taken ]]'
timeout 5 "$TOOLS/say" "$WORK/a/run/$VOLUME.sock" checkpoint >"$WORK/say.out" 2>&1 &
LOAD[say]=$!
pause_ms 300
taken=$(site_log a | grep -c "took .* over")
site_kill9 a
wait "${LOAD[say]}" || true
unset "LOAD[say]"
flushed_within a "$committed"
site_start a
# I10: what only reads is answered, and by what was answered before.
wait_for 30 "the mount is taken over" eval '[[ $(site_log a | grep -c "took .* over") -gt $taken ]]'
expect_eq "a file that the kernel knows" "$(timeout 5 cat "$m/dir/known")" known
expect_eq "a file that it does not" "$(timeout 5 cat "$m/dir/asked")" asked
expect_eq "past the page cache" "$(timeout 5 dd if="$m/dir/asked" iflag=direct status=none)" asked
if [[ $ACK = op ]]; then
	expect_eq "names" "$(timeout 5 ls "$m/dir" | tr '\n' ' ')" "asked known last "
else
	expect_eq "names" "$(timeout 5 ls "$m/dir" | tr '\n' ' ')" "asked known large last "
	echo 3 >/proc/sys/vm/drop_caches
	expect_eq "what was answered" "$(timeout 5 stat -c %F "$m/waits.dir")" directory
	expect_eq "large writes" "$(timeout 5 dd if="$m/dir/large" bs=1M iflag=direct status=none | sha1sum)" "$large"
fi
timeout 5 stat -f "$m" >/dev/null || fail "statfs is not answered"
for pid in $waits $waits_dir $waits_append; do
	pid_alive "$pid" || fail "an operation ended while the peer was silent"
done
kill -CONT "${PID[b]}"
site_wait_active a
for pid in $waits $waits_dir $waits_append; do
	wait_for 20 "what waited ends" eval "! pid_alive $pid"
	wait "$pid" || fail "an operation that was in flight was executed twice, or lost"
done
expect_eq "appended once" "$(stat -c %s "$m/kept")" 6
# It was answered as executed; the next daemon shows it, although the peer is silent again.
kill -STOP "${PID[b]}"
taken=$(site_log a | grep -c "took .* over")
site_kill9 a
site_start a
wait_for 30 "the mount is taken over" eval '[[ $(site_log a | grep -c "took .* over") -gt $taken ]]'
echo 3 >/proc/sys/vm/drop_caches
expect_eq "what was answered" "$(timeout 5 dd if="$m/kept" iflag=direct status=none | wc -c)" 6
expect_eq "what was made" "$(timeout 5 stat -c %F "$m/waits.dir")" directory
kill -CONT "${PID[b]}"
site_wait_active a
site_wait_in_sync a

# Alone in the set.
order a deactivate clusterdomain site-b
site_stop b
workers_start alone 4
for round in 1 2 3; do
	pause_ms "$(random_ms 50 600)"
	again "alone, round $round"
done
workers_end alone
site_start b
order a activate clusterdomain site-b
site_wait_in_sync a
expect_eq "the connection" "$(connection)" "$first"

# A daemon that dies each time before anything new is answered, as of a request that it dies of: in the end the mount
# is aborted, with errors.
kill -STOP "${PID[b]}"
took() { site_log a | grep -cE "took .* over|is aborted"; }
committed=$(status a .seq.committed)
for ((i = 0; i < 17; i++)); do
	taken=$(took)
	site_kill9 a
	((i % 8)) || flushed_within a "$committed"
	site_start a
	wait_for 30 "the mount is taken over" eval '[[ $(took) -gt $taken ]]'
done
expect_match "the log" "$(site_log a)" "taken over 16 times in a row and no new request"
expect_fail timeout 10 stat -f "$m/dir/known"
kill -CONT "${PID[b]}"
site_wait_active a
[[ $(site_log a | sed -n '/is aborted/,$p') != *"over as it was left"* ]] || fail "it is the same mount"

# Promoted elsewhere while the mount has no daemon: everything on it fails, also what was cached.
(
	exec 8<"$m/kept"
	until [[ -e $WORK/read ]]; do sleep 0.1; done
	cat <&8
) >"$WORK/cached.out" 2>&1 &
cached=$!
cat "$m/kept" >/dev/null
site_kill9 a
order b deactivate clusterdomain site-a --yes
site_wait_active b
site_start a
site_wait_role a standby
wait_for 10 "the mount that was held is gone" eval '! is_mounted a'
: >"$WORK/read"
status=0
wait $cached || status=$?
[[ $status = 1 ]] || fail "what was cached can still be read: $(cat "$WORK/cached.out")"
order b activate clusterdomain site-a
site_wait_in_sync b
order b demote "$VOLUME"
wait_for 30 "site a sees it again" eval '[[ $(status a ".peers[0].connected") = true ]]'
order a promote "$VOLUME"
site_wait_active a
pauses_check
sites_stop_and_compare

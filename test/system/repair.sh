#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: damage
# budget: 120
# A damaged block is repaired from the peer (I7): the reader gets its bytes, the disk gets them too. Without
# a good copy anywhere that block is an I/O error, and only that block; without a peer it is one at once.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../blocks.sh"

sites_up 512M

forget() { dd if="$(mnt "$1")/$2" iflag=nocache count=0 status=none; } # the kernel's pages of a file
same() { # site, file
	forget "$1" "$2"
	cmp "$WORK/$2" "$(mnt "$1")/$2" || fail "site $1: $2 reads wrong"
}
is_count() { # site, damaged, repaired
	expect_eq "damaged and repaired on site $1" "$(status "$1" '"\(.counters.damaged) \(.counters.repaired)"')" "$2 $3"
}
# One block of a file with O_DIRECT: its md5, or the error.
block() { # site, file, block
	dd if="$(mnt "$1")/$2" bs=4k skip="$3" count=1 iflag=direct status=none 2>&1 | md5sum
}
error_of() { dd if="$(mnt "$1")/$2" of=/dev/null bs=4k skip="$3" count=1 iflag=direct 2>&1 || true; }
right_block() { dd if="$WORK/$1" bs=4k skip="$2" count=1 status=none | md5sum; } # file, block

mkdir "$WORK/dir"
head -c 8M /dev/urandom >"$WORK/large" # large writes: straight to their address
head -c 80K /dev/urandom >"$WORK/dir/small"
mkdir "$(mnt a)/dir"
cp "$WORK/large" "$(mnt a)/large"
dd if="$WORK/dir/small" of="$(mnt a)/dir/small" bs=4k status=none # small writes: through the journal
wait_for 10 "both sites hold the same" is_level
same a large
same a dir/small
is_count a 0 0

# The active repairs what it reads, and once is enough.
damage a large 0 3 5 600 601 1023 2047
damage a dir/small 7
same a large
same a dir/small
is_count a 8 8
logged a "'large'.*offset 2457600, 2 blocks at epoch .*repaired from site-b"
logged a "'dir/small'.*offset 28672, 1 block at epoch .*repaired from site-b"
same a large
same a dir/small
is_count a 8 8
expect_match "status in words" "$(ctl a status)" "damaged blocks met 8, repaired from the peer 8"
step "read through damage: repaired, written back"

# So does a write that keeps a part of a damaged block, and a truncation that cuts one.
damage a large 100 200
printf 'new' | dd of="$(mnt a)/large" bs=1 seek=$((100 * 4096 + 10)) conv=notrunc status=none
printf 'new' | dd of="$WORK/large" bs=1 seek=$((100 * 4096 + 10)) conv=notrunc status=none
truncate -s $((2000 * 4096)) "$(mnt a)/large" "$WORK/large"
damage a large 1500
truncate -s $((1500 * 4096 + 100)) "$(mnt a)/large" "$WORK/large"
same a large
is_count a 11 11
step "a partial write and a truncation repair what they keep"

# Many readers at once, each block of a file damaged: nobody waits for ever, nobody reads wrong.
mapfile -t all < <(seq 1024 1279)
damage a large "${all[@]}"
forget a large
for i in 1 2 3 4 5 6; do
	dd if="$(mnt a)/large" bs=1M iflag=direct status=none | cmp - "$WORK/large" &
	readers[i]=$!
done
for i in 1 2 3 4 5 6; do
	wait "${readers[$i]}" || fail "reader $i read wrong"
done
same a large
is_count a $((11 + 256)) $((11 + 256))
step "256 blocks under six readers"

# Both copies damaged: an error there, and nowhere else; when the peer is whole again, so is this one.
wait_for 10 "both sites hold the same" is_level
damage a large 50 51
damage b large 50
forget a large
expect_match "reading block 50" "$(error_of a large 50)" "input/output error"
expect_eq "block 51" "$(block a large 51)" "$(right_block large 51)"
for i in 49 52 0 1023; do
	expect_eq "block $i" "$(block a large $i)" "$(right_block large $i)"
done
expect_fail dd if="$(mnt a)/large" of=/dev/null bs=64k
expect_match "log" "$(site_log a)" "'large'.*offset 204800, 1 block at .*not repaired: no other replica that is connected has it"
is_count a $((11 + 256 + 2)) $((11 + 256 + 1))
step "both copies damaged: an error for that block alone"

# Without a peer: an error at once; everything else is served meanwhile.
site_kill9 b
wait_for 10 "site a knows that its peer is gone" eval '[[ $(status a .peers[0].connected) = false ]]'
damage a large 300
forget a large
started=$(now_ns)
expect_match "reading block 300" "$(error_of a large 300)" "input/output error"
[[ $(($(now_ns) - started)) -lt 1500000000 ]] || fail "an error without a peer took too long"
expect_eq "block 301" "$(block a large 301)" "$(right_block large 301)"
logged a "'large'.*not repaired: no other replica is connected"
site_start b
site_wait_in_sync a
expect_eq "block 300 with the peer back" "$(block a large 300)" "$(right_block large 300)"
step "no peer: an error at once, repaired when it is back"

# A peer that is connected and silent: bounded, and nobody else waits.
kill -STOP "${PID[b]}"
damage a large 400
for i in 1 2 3 4 5 6 7 8; do
	dd if="$(mnt a)/large" of="$WORK/silent.$i" bs=4k skip=400 count=1 iflag=direct 2>"$WORK/silent.$i.out" &
	readers[i]=$!
done
pause_ms 300
started=$(now_ns)
for i in 10 20 30; do
	expect_eq "block $i" "$(block a large $i)" "$(right_block large $i)"
done
stat "$(mnt a)/dir/small" >/dev/null
[[ $(($(now_ns) - started)) -lt 1500000000 ]] || pid_alive "${readers[8]}" || fail "readers wait for other readers' repair"
for i in 1 2 3 4 5 6 7 8; do
	! wait "${readers[$i]}" || fail "block 400 was read without a good copy"
	expect_match "reader $i" "$(cat "$WORK/silent.$i.out")" "input/output error"
done
kill -CONT "${PID[b]}"
site_wait_in_sync a
expect_eq "block 400 with the peer back" "$(block a large 400)" "$(right_block large 400)"
step "a silent peer: an error in time, others are served"

# Damage on the standby, which is then promoted; the old active is the peer that repairs it. Block 50 of
# both is damaged: overwritten, it is well.
dd if=/dev/urandom of="$WORK/piece" bs=4k count=1 status=none
for f in "$(mnt a)/large" "$WORK/large"; do
	dd if="$WORK/piece" of="$f" bs=4k seek=50 conv=notrunc status=none
done
wait_for 10 "both sites hold the same" is_level
damage b large 500 501 700
damage b dir/small 3
order a demote $VOLUME
wait_for 20 "the mount of site a goes away" eval '! is_mounted a'
site_wait_role a standby
wait_for 20 "site b is connected again" eval '[[ $(status b .peers[0].connected) = true ]]'
order b promote $VOLUME
site_wait_active b
site_wait_in_sync b
same b large
same b dir/small
is_count b 4 4
logged b "'dir/small'.*repaired from site-a"
step "the old active repairs the new one"
sites_stop_and_compare

# check names what is damaged, on either side.
damage a large 7 8 900
damage b dir/small 2
expect_fail "$BIN/tandemfs" check --config "$WORK/a/conf" --data
expect_eq "status of check" "$STATUS" 1
expect_match "check" "$OUT" "problem: 'large' \(inode [0-9]+\) offset 28672: 2 blocks at epoch 1 block [0-9]+ do not match the checksum"
expect_match "check" "$OUT" "problem: 'large' \(inode [0-9]+\) offset 3686400: 1 block at .* does not match"
expect_match "check" "$OUT" "3 bad"
expect_match "check" "$OUT" "^3 problems"
expect_fail "$BIN/tandemfs" check --config "$WORK/b/conf" --data
expect_match "check" "$OUT" "problem: 'dir/small' \(inode [0-9]+\) offset 8192: 1 block"
site_check a >/dev/null # the metadata is well
step "check names the files"

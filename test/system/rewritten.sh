#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: programs
# budget: 400
# A file that is overwritten 20 times at random takes at most 1.3 times its size on both sites after the next
# checkpoints, and overwriting goes on meanwhile. 128 MiB here, and one GiB in blocks of 4 KiB from ROUNDS=100 on.
# On filesystems without `discard`. Against the first passes punching may cost a third: `make bench` demands that
# (BENCH=rewrite, RATIO_MIN=0.7) on a quiet machine; here it must go on at all.
. "$(dirname "$0")/../lib.sh"

size=128 block=16k # MiB
((ROUNDS < 100)) || { size=1024 && block=4k; }
replica_of() { echo "$WORK/$1/disk/replica"; }
disks_cleanup() {
	local loop
	for loop in $(losetup -a | grep "($WORK/" | cut -d: -f1); do
		losetup -d "$loop"
	done
}
work_new
net_new
echo "seed $SEED"
for s in a b; do
	mkdir -p "$WORK/$s/disk"
	# Written whole: else the first passes would pay for the room of the image.
	dd if=/dev/zero of="$WORK/$s/image" bs=1M count=$((8 * size)) oflag=direct status=none
	loop=$(losetup -f --show --direct-io=on "$WORK/$s/image")
	mkfs.ext4 -q -m 0 -E nodiscard "$loop"
	mount -o noatime,nodiscard "$loop" "$WORK/$s/disk"
	losetup -d "$loop" # goes with the mount
done
sites_format $((4 * size))M
sites_start
file=$(mnt a)/file
fio --name=base --filename="$file" --size=${size}M --bs=1M --rw=write --end_fsync=1 >/dev/null

# MB/s of one pass: as many blocks as the file has, anywhere.
pass() { # seed
	fio --name=over --filename="$file" --size=${size}M --io_size=${size}M --bs=$block --rw=randwrite \
		--norandommap --randrepeat=0 --randseed="$1" --direct=1 --numjobs=1 --ioengine=libaio --iodepth=16 \
		--output-format=json >"$WORK/fio.json" || fail "fio failed: $(tail -n 3 "$WORK/fio.json")"
	jq -r '.jobs[0].write.bw_bytes / 1000000 * 100 | floor / 100' "$WORK/fio.json"
}
# Allocated below a replica's data, and by its own account, in KiB.
used_kib() { du -sk "$(replica_of "$1")/data" | cut -f1; }
fits() { (($(used_kib "$1") <= size * 1024 * 13 / 10)); }

first=() later=()
for ((i = 0; i < 20; i++)); do
	rate=$(pass $((SEED + i)))
	# The first blocks that are dead wait for the first checkpoint: until then nothing is punched.
	if ((i < 2)); then first+=("$rate"); else later+=("$rate"); fi
	((i % 5 != 4)) || step "pass $((i + 1)): $rate MB/s, $(used_kib a) and $(used_kib b) KiB allocated"
done
mean() { printf '%s\n' "$@" | awk '{ n += $1 } END { printf "%.2f", n / NR }'; }
ratio=$(awk -v a="$(mean "${later[@]}")" -v b="$(mean "${first[@]}")" 'BEGIN { printf "%.2f", a / b }')
step "overwriting: $(mean "${first[@]}") MB/s at first, $(mean "${later[@]}") MB/s with punching: x$ratio"
awk -v r="$ratio" -v min="${RATIO_MIN:-0.1}" 'BEGIN { exit !(r >= min) }' || fail "overwriting slows down too much: x$ratio"
for s in a b; do
	wait_for 150 "site $s is within 1.3 of what is live" fits $s
done
step "$(used_kib a) and $(used_kib b) KiB are allocated for $((size * 1024)) KiB"
for s in a b; do
	expect_eq "live MiB by the status of site $s" "$(status $s '.space.live / 1048576')" $size
	wait_for 20 "the status of site $s says what is allocated" \
		eval "(( \$(status $s .space.allocated) <= $size * 1048576 * 13 / 10 ))"
	wait_for 60 "site $s has worked off what is dead" \
		eval "(( \$(status $s .space.dead) <= $size * 1048576 / 8 ))"
done
wait_for 10 "site a shows what site b has" \
	eval '[[ $(status a ".peers[0].space.live / 1048576") = '$size' ]]'
sites_stop_and_compare

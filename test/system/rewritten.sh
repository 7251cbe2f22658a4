#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: programs
# budget: 400
# A file that is overwritten 20 times at random takes at most 1.3 times its size on both sites after the next
# checkpoints, and overwriting goes on at 0.7 of its first pace or more meanwhile. 128 MiB here, and one GiB in
# blocks of 4 KiB from ROUNDS=100 on.
. "$(dirname "$0")/../lib.sh"

size=128 block=16k # MiB
((ROUNDS < 100)) || { size=1024 && block=4k; }
sites_up $((4 * size))M
file=$(mnt a)/file
fio --name=base --filename="$file" --size=${size}M --bs=1M --rw=write --end_fsync=1 >/dev/null

# MB/s of one pass: as many blocks as the file has, anywhere.
pass() { # seed
	fio --name=over --filename="$file" --size=${size}M --io_size=${size}M --bs=$block --rw=randwrite \
		--norandommap --randseed="$1" --direct=1 --numjobs=1 --ioengine=libaio --iodepth=16 \
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
# Where each hole is a command to the disk as well, as the log warns, it may cost more.
least=0.7
[[ ",$(findmnt -nT "$WORK" -o OPTIONS)," != *,discard,* ]] || least=0.4
awk -v r="$ratio" -v l=$least 'BEGIN { exit !(r >= l) }' || fail "punching costs more than it may: x$ratio"
for s in a b; do
	wait_for 150 "site $s is within 1.3 of what is live ($(used_kib "$s") KiB of $((size * 1024)))" fits $s
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

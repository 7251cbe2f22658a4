#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: power
# budget: 120
# The disk of power-loss.sh loses what was not flushed and nothing else; one that lies is found out.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../disks.sh"

echo "seed $SEED"
work_new
DISK_SIZE=1G
BLOCKS=64
block() { # what N: 4 KiB that say so in every sector
	local line
	line=$(printf '%-63s' "$1 $2")
	printf "$line\n%.0s" {1..64}
}
write_blocks() { # what [option of dd...]: not one of them may wait in the page cache
	local i what=$1
	shift
	for ((i = 0; i < BLOCKS; i++)); do
		block "$what" $i
	done | dd of="$WORK/a/disk/file" bs=4096 iflag=fullblock oflag=direct conv=notrunc"${1:-}" \
		status=none
}
# How many of the file's sectors are of that writing.
sectors_of() { # what
	local i what=$1
	for ((i = 0; i < BLOCKS; i++)); do
		block "$what" $i
	done >"$WORK/want"
	{ cmp -l "$WORK/want" "$WORK/a/disk/file" || true; } | awk -v all=$((BLOCKS * 8)) '
		!(int(($1 - 1) / 512) in bad) { bad[int(($1 - 1) / 512)] = 1; n++ }
		END { print all - n }'
}
between() { # what, from, to, actual
	[[ $4 -ge $2 && $4 -le $3 ]] || fail "$1: $4 sectors, not $2 to $3"
	step "$1: $4 of $((BLOCKS * 8)) sectors survive"
}
for kind in ext4 xfs; do
	disks_new $kind $kind
	for mode in none all prefix random; do
		write_blocks old ,fsync
		write_blocks new
		power_cut $mode $SEED a
		power_on a
		case $mode in
		none) between "$kind, $mode, written and not flushed" 0 0 "$(sectors_of new)" ;;
		all) between "$kind, $mode, written and not flushed" 512 512 "$(sectors_of new)" ;;
		prefix) between "$kind, $mode, written and not flushed" 0 512 "$(sectors_of new)" ;;
		random) between "$kind, $mode, written and not flushed" 128 384 "$(sectors_of new)" ;;
		esac
	done
	write_blocks safe ,fsync
	power_cut none 1 a
	power_on a
	between "$kind, none, written and flushed" 512 512 "$(sectors_of safe)"
	disk_order a lie 1
	write_blocks believed ,fsync
	power_cut none 1 a
	power_on a
	between "$kind, none, flushed by a disk that lies" 0 0 "$(sectors_of believed)"
	disk_order a fail flush 1
	expect_fail write_blocks denied ,fsync
	expect_match "a flush that fails" "$OUT" "input/output error"
	disk_umount b # what the failure left of a's filesystem does not matter
	power_cut none 1 a
	power_on a
	disk_mount b
	disks_end
done

liar() { # variable=value...
	local out=$WORK/liar.out
	! env "$@" SEEDS=1 bash "$ROOT/test/system/power-loss.sh" >"$out" 2>&1 ||
		fail "nobody noticed that the disks lie: $*"
	grep -qE 'FAIL: (site . does not hold|check of site|the .* cannot be mounted|I5)' "$out" ||
		fail "that is not what lying disks do: $(tail -n 20 "$out")"
	step "$*: found: $(grep -m 1 'FAIL: ' "$out" | sed 's/.*FAIL: //' | cut -c 1-120)"
}
liar LIE=ab CUT=both MODE=none THEN=start SEED=1
liar LIE=ab CUT=both MODE=none THEN=promote SEED=2
liar LIE=ab CUT=both MODE=random THEN=start SEED=3

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: damage
# budget: 120
# Sectors of the ring that the disk cannot read at the start, until they are written: where nothing of the history is,
# they are written and that is all; where the history ends, or in it, the start is refused, and nothing is lost.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../disks.sh"

CONF_JOURNAL="size = 32M"
work_new
net_new
disks_new ext4 xfs
sites_format 256M
sites_start
ring=$(replica_of a)/ring
bad_sectors() { sed 's/.* bad \([0-9]*\).*/\1/' "$WORK/a/cache/ctl"; }
unreadable() { disk_order a "bad $("$TOOLS/spoil" disk "$1" "$2") 4096"; } # file, offset
place_of() { # text: sets file and at, its block
	file=$(grep -laF "$1" "$ring"/* | head -n 1)
	at=$(($(grep -aobF "$1" "$file" | head -n 1 | cut -d: -f1) / 4096 * 4096))
}
start_refused() { # what, regular expression
	expect_fail in_site a timeout 60 "$BIN/tandemfs" run --config "$WORK/a/conf" --run-dir "$WORK/a/run"
	expect_match "run with $1" "$OUT" "$2"
	expect_match "run with $1" "$OUT" "bring this replica back from its peer"
	step "$1: $(grep ' error ' <<<"$OUT" | head -n 1 | sed 's/.* error //')"
}
mend() { # file, offset: the disk reads what it had again
	dd if="$WORK/keep" of="$1" bs=4096 count=1 seek=$(($2 / 4096)) conv=notrunc,fsync oflag=direct status=none
}
keep() { dd if="$1" of="$WORK/keep" bs=4096 count=1 skip=$(($2 / 4096)) iflag=direct status=none; } # file, offset

for i in {1..20}; do echo "text $i." >"$(mnt a)/text-$i"; done
wait_for 10 "both sites hold the same" is_level
pause_ms 500
site_kill9 a
newest=$(grep -laF "text 20." "$ring"/* | head -n 1)
unused=$(find "$ring" -name '0*' ! -path "$newest" | sort | tail -n 1)
for i in 0 1 77 300; do unreadable "$unused" $((i * 4096)); done
[[ $(bad_sectors) -gt 0 ]] || fail "no sector is bad"
site_start a
site_wait_active a
site_wait_in_sync a
expect_match "log" "$(site_log a)" "4 blocks cannot be read, .*writes them anew"
expect_eq "sectors that cannot be read" "$(bad_sectors)" 0
for i in {1..20}; do expect_eq "text-$i" "$(cat "$(mnt a)/text-$i")" "text $i."; done
step "unused: of no consequence, and written"

# In the history.
for i in {21..40}; do echo "text $i." >"$(mnt a)/text-$i"; done
wait_for 10 "both sites hold the same" is_level
pause_ms 500
site_kill9 a
place_of "text 30."
keep "$file" "$at"
unreadable "$file" "$at"
start_refused "in the history" "is damaged, but .* was committed|may be there"
mend "$file" "$at"
# Where it ends: the last batch, which nothing speaks for any more, may have been acknowledged.
end=$((($(LC_ALL=C sed '$ s/\x00*$//' "$file" | wc -c) + 4095) / 4096))
keep "$file" $((end * 4096))
unreadable "$file" $((end * 4096))
start_refused "behind the end" "cannot read, and the entries after seq [0-9]+ may be there"
mend "$file" $((end * 4096))
expect_eq "sectors that cannot be read" "$(bad_sectors)" 0
site_start a
site_wait_active a
site_wait_in_sync a
for i in {1..40}; do expect_eq "text-$i" "$(cat "$(mnt a)/text-$i")" "text $i."; done
step "mended: all is there"
sites_stop_and_compare
disks_end

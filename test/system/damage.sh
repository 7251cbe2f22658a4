#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: damage
# budget: 90
# A flipped byte below the filesystem is noticed: never served, never cut away, found by check, repaired.
. "$(dirname "$0")/../lib.sh"

sites_up 512M
flip() { # file, offset: twice gives the old byte again
	local old
	old=$(od -An -tu1 -j "$2" -N 1 "$1")
	printf '%b' "\\x$(printf %02x $((old ^ 0x10)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
data() { find "$WORK/$1/replica/data" -type f | sort | head -n 1; }
head -c 8M /dev/urandom >"$WORK/f" # large writes: straight to their address
head -c 80K /dev/urandom >"$WORK/g"
cp "$WORK/f" "$(mnt a)/f"
dd if="$WORK/g" of="$(mnt a)/g" bs=4k status=none # small writes: through the journal
wait_for 10 "both sites hold the same" is_level
site_stop a
site_stop b

for at in $((100 * 4096 + 17)) $((2050 * 4096 + 4095)); do # in f, and in g
	flip "$(data a)" $at
	expect_fail "$BIN/tandemfs" check --config "$WORK/a/conf" --data
	expect_eq "status of check" "$STATUS" 1
	expect_match "what check says" "$OUT" "checksum|damaged|bad"
	step "check: $(grep -iE 'checksum|damaged|bad' <<<"$OUT" | head -n 1)"
	site_start b
	site_start a
	site_wait_active a
	for f in f g; do
		cmp "$WORK/$f" "$(mnt a)/$f" || fail "reading $f"
	done
	wait_for 10 "the log names the file" eval 'grep -qE "is damaged on this disk: repaired from site-b" "$WORK/a/log"'
	expect_eq "damaged and repaired" "$(status a '"\(.counters.damaged) \(.counters.repaired)"')" "1 1"
	site_stop a
	site_stop b
	site_check a --data >/dev/null
	step "read, and repaired on the disk"
done

# In the journal, below the commit index: no reason to forget what came after.
site_start b
site_start a
site_wait_active a
for i in {1..40}; do echo "$i" >"$(mnt a)/small-$i"; done
pause_ms 500 # the commit index is in the ring, by an empty batch
site_kill9 a b
ring=$(find "$WORK/a/replica/ring" -type f -newer "$WORK/a/replica/lock" -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d' ' -f2)
# A byte of a file name in an entry that is not in the tree's files yet.
at=$(grep -aobF small-20 "$ring" | tail -n 1 | cut -d: -f1)
flip "$ring" "$at"
expect_fail "$BIN/tandemfs" check --config "$WORK/a/conf"
expect_match "what check says" "$OUT" "journal|batch|checksum"
step "check: $(grep -iE 'checksum|damage|corrupt|mismatch' <<<"$OUT" | head -n 1)"
site_start b
site_start a
wait_for 10 "site a says what is wrong with its journal" \
	eval 'grep -qiE "(journal|ring|batch).*(damage|corrupt|checksum|mismatch)|(damage|corrupt|checksum).*(journal|ring|batch)" "$WORK/a/log"'
! is_mounted a || fail "site a serves with a hole in its history"
site_end a
flip "$ring" "$at"
site_start a
site_wait_active a
for i in {1..40}; do
	expect_eq "small-$i" "$(cat "$(mnt a)/small-$i")" "$i"
done
step "the journal's damage was not cut away"
sites_stop_and_compare

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: config
# budget: 30
# The workloads' checks find what they are there for: on an ordinary directory, with damage done by hand.
. "$(dirname "$0")/../lib.sh"

echo "seed $SEED"
work_new
mkdir -p "$WORK/a/mnt" # stands for a mount
touch "$WORK/a/log" "$WORK/a/conf"
found() { # what, NAME, run|stamp
	expect_fail load_verify "$2" "$3" a
	step "$1: found: $(grep -vE 'FAIL|FAILED|load verify' <<<"$OUT" | head -n 1)"
	: >"$WORK/$2.out"
}
drop_end() { # NAME.THREAD: its last operation becomes one in flight
	truncate -s $(($(stat -c %s "$1") - 80)) "$1"
}
fresh() {
	rm -rf "$WORK/a/mnt"/* "$WORK"/tree.[0-9]* "$WORK"/blocks.[0-9]*
	load_start tree run a --enospc
	load_start blocks stamp a
	pause_ms 500
	load_stop tree
	load_stop blocks
}
largest() { find "$(mnt a)/tree" -type f -size +8k -printf '%s %p\n' | sort -n | tail -n 1 | cut -d' ' -f2-; }
fresh
load_verify tree run a
load_verify blocks stamp a
step "undamaged: fine"
printf x | dd of="$(largest)" bs=1 seek=5000 conv=notrunc status=none
found "one byte" tree run
fresh
truncate -s -1 "$(largest)"
found "one byte missing at the end" tree run
fresh
chmod 0111 "$(largest)"
found "a mode" tree run
fresh
ln "$(largest)" "$(mnt a)/tree/thread-0/extra"
found "a name too many" tree run
fresh
mv "$(largest)" "$WORK/away"
found "a name too few" tree run
fresh
for t in 0 1 2 3; do drop_end "$WORK/tree.$t"; done
load_verify tree run a
grep -q 'in flight: [1-9]' "$WORK/tree.out" || fail "operations in flight that happened are not accepted"
step "operations in flight: accepted"
fresh
dd if=/dev/urandom of="$(mnt a)/blocks/stamp.cached" bs=4096 seek=1300 count=1 conv=notrunc status=none
found "a foreign block" blocks stamp
fresh
cp "$(mnt a)/blocks/append.1" "$WORK/append"
head -c -64 "$WORK/append" >"$(mnt a)/blocks/append.1"
found "a lost append" blocks stamp
fresh
cp "$(mnt a)/blocks/stamp.direct" "$WORK/older"
load_start blocks stamp a
pause_ms 500
load_stop blocks
cp "$WORK/older" "$(mnt a)/blocks/stamp.direct"
found "an older state" blocks stamp

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: sanitized
# budget: 400
# Some rounds of the kill tests with a build under AddressSanitizer and UBSan: no report at all.
#
# The build is in TANDEMFS_SAN_BIN (build/san); each of the tests fails when a report was written.
. "$(dirname "$0")/../lib.sh"

SAN=${TANDEMFS_SAN_BIN:-$BUILD/san}
[[ -x $SAN/tandemfs && -x $SAN/tandemctl ]] || skip "$SAN/tandemfs is not built"
# Leaks, reads beyond the end and the like do not depend on the number of rounds.
run() { # test, rounds
	local out=$WORK/$1.out
	TANDEMFS_BIN=$SAN ROUNDS=$2 SEED=$RANDOM KEEP='' bash "$ROOT/test/system/$1.sh" >"$out" 2>&1 || {
		tail -n 40 "$out"
		fail "$1"
	}
	step "$1: $(grep -c round "$out" || true) rounds, no report"
}
echo "seed $SEED"
work_new
run kill-active 4
run failover 3
run standby-killed 4
run both-killed 4
run split 1
run switch 1
run demote-force 1

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: kill
# budget: 300
# Some rounds of kills and failovers with the settings that are not the defaults.
. "$(dirname "$0")/../lib.sh"

echo "seed $SEED"
work_new
variant() { # test, setting
	env ROUNDS=3 SEED=$RANDOM "$2" bash "$ROOT/test/system/$1.sh" >"$WORK/variant.out" 2>&1 || {
		tail -n 40 "$WORK/variant.out"
		fail "$1 with $2"
	}
	step "$1 with $2"
}
variant kill-active TRANSPORT=plain
variant kill-active "EXTRA_JOURNAL=io = pwritev2"
variant kill-active "EXTRA_JOURNAL=flights = 4"
variant failover "EXTRA_JOURNAL=flights = 8"
variant moments "EXTRA_VOLUME=ack = fsync" # I5: what is not committed yet is applied
variant switch "EXTRA_VOLUME=ack = fsync" # what was answered is drained
variant posix "EXTRA_VOLUME=ack = fsync"
variant sqlite "EXTRA_VOLUME=ack = fsync"
variant postgres "EXTRA_VOLUME=ack = fsync"

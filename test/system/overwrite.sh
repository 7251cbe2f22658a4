#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: programs
# budget: 150
# Random overwriting leaves holes to be punched one by one; however long that takes, nobody waits for it.
. "$(dirname "$0")/../lib.sh"

export TANDEMFS_SLOW_PUNCH=2000 # us for each hole: a minute for what one checkpoint finds
sites_up
unset TANDEMFS_SLOW_PUNCH
fio --name=base --filename="$(mnt a)/file" --size=64M --bs=1M --rw=write --end_fsync=1 >/dev/null
punched() { [[ $(status "$1" .counters.checkpoints) -ge 2 ]]; }
overwrite() { # seconds
	fio --name=over --filename="$(mnt a)/file" --size=64M --bs=4k --rw=randwrite --direct=1 --numjobs=8 \
		--time_based --runtime="$1" --group_reporting --output-format=json >"$WORK/fio.json" ||
		fail "fio failed: $(tail -n 3 "$WORK/fio.json")"
	jq -r '.jobs[0].write | "\(.total_ios) overwrites, the longest took \(.clat_ns.max / 1000000 | floor) ms"' \
		"$WORK/fio.json"
}
for ((i = 0; i < 6; i++)); do
	step "$(overwrite 8)"
	longest=$(jq -r '.jobs[0].write.clat_ns.max / 1000000 | floor' "$WORK/fio.json")
	[[ $longest -lt 6000 ]] || fail "a write waited for $longest ms"
	! { punched a && punched b; } || break
done
punched b || fail "site b made no second checkpoint"
sites_stop_and_compare

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: space
# budget: 90
# Each start as active begins new data segments. Those in which nothing is left go away, on both sites, and
# cost no descriptor; what is still used stays, and is read.
. "$(dirname "$0")/../lib.sh"

CONF_LIMITS="checkpoint_entries = 100"
sites_up 256M
segment_files() { find "$(replica_of "$1")/data" -type f | wc -l; } # site
descriptors() { find "/proc/${PID[$1]}/fd" -lname '*/data/*' | wc -l; } # site: of data segments and their directories
checkpoint() {
	wait_for 10 "both sites hold the same" is_level
	"$TOOLS/say" "$WORK/a/run/$VOLUME.sock" checkpoint >/dev/null
}
head -c 1M /dev/urandom >"$WORK/kept"
cp "$WORK/kept" "$(mnt a)/kept"
for i in {1..12}; do
	dd if=/dev/urandom of="$(mnt a)/changed" bs=1M count=2 status=none # overwritten in the next round
	checkpoint
	site_stop a
	site_start a
	site_wait_active a
	site_wait_in_sync a
done
rm "$(mnt a)/changed"
checkpoint
step "12 starts: $(segment_files a) and $(segment_files b) files"
# What the last processes had open, or punched after they had looked, goes with the next starts.
for i in 1 2; do
	pause_ms 500
	site_stop a
	site_stop b
	sites_start
	for ((n = 0; n < 300; n++)); do # a standby makes its own checkpoints
		echo $i >"$(mnt a)/small"
	done
	checkpoint
done
for s in a b; do
	# Those of `kept` and of the two last starts.
	wait_for 20 "the empty segments of site $s are gone" eval "[[ \$(segment_files $s) -le 4 ]]"
	[[ $(descriptors $s) -le 12 ]] || fail "site $s has $(descriptors $s) descriptors of data segments"
done
step "then $(segment_files a) and $(segment_files b)"
dd if="$(mnt a)/kept" iflag=nocache count=0 status=none
cmp "$WORK/kept" "$(mnt a)/kept"
sites_stop_and_compare

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: power
# budget: 150
# A write to a data segment fails once: what recovery writes again from the ring is on the disk, and not
# only in memory that the kernel takes for written.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../disks.sh"

CONF_JOURNAL="size = 32M"
before_check() { # from the disks, not from memory
	local s
	for s in a b; do
		disk_umount "$s"
		disk_mount "$s"
	done
}
checkpoint() {
	local count
	count=$(status a .counters.checkpoints)
	"$TOOLS/say" "$WORK/a/run/$VOLUME.sock" checkpoint >/dev/null 2>&1 || true
	wait_for 20 "a checkpoint" eval "[[ \$(status a .counters.checkpoints) -gt $count ]]"
}
dies() { grep -c 'stops acknowledging' "$WORK/$1/log" || true; }

# The ring has what dd wrote; the data segment gets it some milliseconds later, as the disk's next write if
# we are fast enough.
write_fails() {
	local died i again ctl=$WORK/a/cache/ctl
	died=$(dies a)
	for ((again = 0; again < 10; again++)); do
		pause_ms 300 # for the empty batch that tells the commit index
		dd if=/dev/urandom of="$(mnt a)/file" bs=4k count=1 oflag=direct status=none
		echo "fail write 1 0" >"$ctl" || fail "the disk refuses" # by this shell: no time for a process
		# Not fast enough: it was written already, and nothing more is.
		for ((i = 0; i < 5; i++)); do
			[[ $(dies a) = "$died" ]] || break 2
			pause_ms 100
		done
		echo "fail write 0" >"$ctl" || fail "the disk refuses"
	done
	echo "fail write 0" >"$ctl" || fail "the disk refuses"
	[[ $(dies a) != "$died" ]] || return 1
	site_wait_active a
	site_wait_in_sync a
	grep -B 2 'stops acknowledging' "$WORK/a/log" | grep -q "a data segment\|data segments: writing"
}
world_end() {
	disks_end
	rm -rf "$WORK"/[ab] "$WORK/$VOLUME.desc"
}

echo "seed $SEED"
work_new
net_new
for kind in ext4 xfs; do
	for ((try = 1; ; try++)); do
		disks_new $kind $kind
		sites_format 512M
		sites_start
		echo first >"$(mnt a)/first"
		checkpoint
		write_fails && break
		[[ $try -lt 12 ]] || fail "no write to a data segment failed"
		site_stop a
		site_stop b
		world_end
	done
	step "$kind: a write to a data segment failed, at try $try"
	echo last >"$(mnt a)/last"
	checkpoint # the ring is not needed any more
	sums=$(cd "$(mnt a)" && sha256sum -- *)
	sites_stop_and_compare
	sites_start
	expect_eq "the files" "$(cd "$(mnt a)" && sha256sum -- *)" "$sums"
	site_stop a
	site_stop b
	step "$kind: what the ring held is on the disk"
	world_end
done

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: power
# budget: 150
# A data segment's write-back fails once. The kernel then holds pages that it takes for written, and on ext4
# writing them again does not reach the disk unless they are forgotten first: nothing may rest on them.
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
	[[ ${1:-} = fails ]] || wait_for 20 "a checkpoint" eval "[[ \$(status a .counters.checkpoints) -gt $count ]]"
}
dies() { grep -c 'stops acknowledging' "$WORK/$1/log" || true; }

# The ring has what is written here: the next write to the disk is the data segment's, if the filesystem does
# not have something of its own to write just now.
write_back_fails() { # try
	local i died
	for i in 1 2 3 4 5 6; do
		dd if=/dev/urandom of="$(mnt a)/file$1-$i" bs=4k count=2 oflag=direct status=none
	done
	pause_ms 400 # for the empty batch that tells the commit index
	died=$(dies a)
	disk_order a "fail write 1 0"
	checkpoint fails
	for ((i = 0; i < 100; i++)); do
		[[ $(dies a) = "$died" ]] || break
		sleep 0.02
	done
	disk_order a "fail write 0"
	site_wait_active a
	site_wait_in_sync a
	grep -B 2 'stops acknowledging' "$WORK/a/log" | grep -q "syncing the data segments"
}

echo "seed $SEED"
work_new
net_new
for kind in ext4 xfs; do
	disks_new $kind $kind
	sites_format 512M
	sites_start
	echo first >"$(mnt a)/first"
	checkpoint
	for ((try = 1; ; try++)); do
		write_back_fails $try && break
		[[ $try -lt 12 ]] || fail "no write-back of a data segment failed"
	done
	step "$kind: a write-back failed, at try $try"
	echo last >"$(mnt a)/last"
	checkpoint # the ring is not needed any more
	sums=$(cd "$(mnt a)" && sha256sum -- *)
	sites_stop_and_compare
	sites_start
	expect_eq "the files" "$(cd "$(mnt a)" && sha256sum -- *)" "$sums"
	site_stop a
	site_stop b
	step "$kind: what the ring held is on the disk"
	disks_end
	rm -rf "$WORK"/[ab] "$WORK/$VOLUME.desc"
done

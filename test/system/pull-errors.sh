#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: power
# budget: 240
# split: 2 ROUNDS
# long: 700
# A disk fails reads, writes or flushes, at the source or at the target of a pull, once or a few times: the standby is in
# sync in the end, with the right bytes, and no byte of the source was changed.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../disks.sh"

CONF_JOURNAL="size = 32M"
CONF_LIMITS="checkpoint_entries = 500"
DISK_SIZE=4G
missed=0

before_check() { disks_again; }
settled() { [[ $(status a '"\(.role) \(.mounted) \(.in_sync|length) \(.peers[0].state)"') = "active true 2 in-sync" ]]; }

# A filesystem that gave up after an error needs a new mount, as after every error of a disk.
settle() { # site
	local end=$(($(now_ns) + 8000000000))
	while site_alive "$1" && [[ $(now_ns) -lt $end ]]; do
		! settled || return 0
		sleep 0.05
	done
	site_end "$1"
	disk_umount "$1"
	disk_mount "$1"
	site_start "$1"
	site_wait_active a
	site_wait_in_sync a 60
}

echo "seed $SEED"
work_new
net_new
disks_new ext4 xfs
sites_format 512M
sites_start
dd if=/dev/urandom of="$(mnt a)/fill" bs=1M count=96 conv=fsync status=none
sum=$(sha256sum <"$(mnt a)/fill")
rounds=$(share_of $(((ROUNDS + 2) / 3)))
for ((round = 1; round <= rounds; round++)); do
	site=$( ((RANDOM % 2)) && echo a || echo b)
	kinds=(read read write flush)
	kind=${kinds[RANDOM % 4]}
	repeats=(0 0 3 20)
	repeat=${repeats[RANDOM % 4]}
	case $kind in
	flush) at=$((RANDOM % 15 + 1)) ;;
	*) at=$((RANDOM % 200 + 1)) ;;
	esac
	order a deactivate clusterdomain site-b --yes
	wait_for 10 "site b knows" eval '[[ $(status b ".inactive[]") = site-b ]]'
	site_stop b
	rm -rf "$WORK/b/disk/replica"
	"$BIN/tandemfs" format --join "$WORK/$VOLUME.desc" --config "$WORK/b/conf" >>"$WORK/b/log" 2>&1
	site_start b
	wait_for 10 "site b learns that it is inactive" eval '[[ $(status b ".inactive[]") = site-b ]]'
	mix_start a
	before=$(disk_failures "$site")
	[[ $kind != read ]] || echo 3 >/proc/sys/vm/drop_caches
	order a activate clusterdomain site-b
	disk_order "$site" "fail $kind $at $repeat"
	failed() { [[ $(disk_failures "$site") -gt $before ]]; }
	for ((i = 0; i < 200; i++)); do
		! failed && ! settled || break
		sleep 0.05
	done
	pause_ms 300
	n=$(($(disk_failures "$site") - before))
	disk_order "$site" "fail $kind 0"
	[[ $n -gt 0 ]] || missed=$((missed + 1))
	settle "$site"
	kill -TERM "${LOAD[tree]}" "${LOAD[blocks]}" 2>/dev/null || true
	mix_wait 0 3
	mix_verify a
	[[ $(sha256sum <"$(mnt a)/fill") = "$sum" ]] || fail "the source's file is another one"
	step "round $round: $kind $at failed $n times at the $([[ $site = a ]] && echo source || echo target): in sync and verified"
done
[[ $missed -lt $rounds ]] || fail "no error was met in $rounds rounds"
sites_stop_and_compare
disks_end
made $rounds rounds

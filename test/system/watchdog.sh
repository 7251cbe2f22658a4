#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: failover
# budget: 120
# What stands still is said: a peer that acknowledges nothing, a disk that hangs. Then it goes on, and nothing is lost.
. "$(dirname "$0")/../lib.sh"

replica_of() { echo "$WORK/$1/disk/replica"; }
disks_cleanup() {
	local loop
	for loop in $(losetup -a | grep "($WORK/" | cut -d: -f1); do
		losetup -d "$loop"
	done
}

echo "seed $SEED"
work_new
mkdir -p "$WORK/a/disk" "$WORK/b/disk"
truncate -s 1G "$WORK/disk-a"
mkfs.ext4 -q "$WORK/disk-a"
loop=$(losetup -f --show "$WORK/disk-a")
mount "$loop" "$WORK/a/disk"
losetup -d "$loop" # goes with the mount
r=0 # A frozen one could not be unmounted:
trap 'r=$?; trap - ERR; set +e; fsfreeze -u "$WORK/a/disk" 2>/dev/null; (exit $r); cleanup' EXIT
net_new
sites_format 256M
sites_start
expect_eq "trouble" "$(status a .trouble)" ""

kill -STOP "${PID[b]}"
dd if=/dev/zero of="$(mnt a)/one" bs=4k count=1 conv=fsync status=none &
writer=$!
wait_for 20 "site a says that it waits for its peer" \
	eval '[[ $(status a .trouble) = "no commit for "*"waits for site-b"* ]]'
[[ $(status a '.oldest_wait_s > 9') = true ]] || fail "the wait is $(status a .oldest_wait_s)"
expect_match "the log" "$(site_log a)" "no commit for 1[0-9] s: entry [0-9]+ waits for site-b"
kill -CONT "${PID[b]}"
wait $writer || fail "the write failed"
wait_for 20 "site a says that it goes on" eval 'site_log a | grep -q "commits go on, after"'
wait_for 5 "no trouble is left" eval '[[ $(status a .trouble) = "" ]]'
step "a peer that stands still is said, and that it goes on"

fsfreeze -f "$WORK/a/disk"
dd if=/dev/zero of="$(mnt a)/two" bs=4k count=1 conv=fsync status=none &
writer=$!
# The journal's write waits, or the commit thread itself within a system call.
wait_for 30 "site a says that its disk hangs" \
	eval 'site_log a | grep -qE "waits for this site.s disk|the commit thread has not come back"'
fsfreeze -u "$WORK/a/disk"
wait $writer || fail "the write failed"
wait_for 10 "site a says that it goes on" eval 'site_log a | tail -n 3 | grep -qE "go(es)? on"'
step "a disk that hangs is said: $(site_log a | grep -oE "waits for this site.s disk|has not come back" | tail -n 1)"
sites_stop_and_compare

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: programs
# budget: 200
# The disk below a site is full when roles change: a standby takes over, is read and deletes, which makes room; an
# active is demoted, and one that goes on without its peer does so.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../disks.sh"

CONF_JOURNAL="size = 32M"
CONF_LIMITS="memtable = 4M"
DISK_SIZE=448M
echo "seed $SEED"
work_new
net_new
if ((SEED % 2)); then disks_new ext4 xfs; else disks_new xfs ext4; fi
sites_format 1G
sites_start
step "both sites are up: a on ${DISK_FS[a]}, b on ${DISK_FS[b]}"

fill_disk() { # site: to the last block, and once more with what was given back meanwhile
	local i
	mkdir -p "$WORK/$1/disk/other"
	for i in 1 2 3; do
		dd if=/dev/zero of="$WORK/$1/disk/other/$i" bs=1M status=none 2>/dev/null || true
		dd if=/dev/zero of="$WORK/$1/disk/other/$i-" bs=4k status=none 2>/dev/null || true
		sync -f "$WORK/$1/disk"
		pause_ms $((i * 300))
	done
}
free_disk() { rm -r "$WORK/$1/disk/other"; }
is_full() { [[ $(status "$1" .space.full) = true ]]; }
no_room() { # site
	! timeout 20 dd if=/dev/urandom of="$(mnt "$1")/never" bs=1M count=8 conv=fsync status=none 2>"$WORK/never.out" &&
		grep -q "No space" "$WORK/never.out"
}
readable() { # site
	[[ $(sha256sum <"$(mnt "$1")/keep") = "$sum" ]] || fail "site $1: keep has changed"
}
write_soon() { # site, MiB
	wait_for 60 "$2 MiB can be written on site $1" \
		dd if=/dev/urandom of="$(mnt "$1")/again" bs=1M count="$2" conv=fsync status=none
	rm "$(mnt "$1")/again"
}

dd if=/dev/urandom of="$(mnt a)/keep" bs=1M count=16 conv=fsync status=none
dd if=/dev/urandom of="$(mnt a)/victim" bs=1M count=64 conv=fsync status=none
for i in {1..50}; do echo "$i" >"$(mnt a)/small-$i"; done
sum=$(sha256sum <"$(mnt a)/keep")

# The standby's is full when the active dies.
fill_disk b
wait_for 20 "site b says that it is full" is_full b
site_kill9 a
order b deactivate clusterdomain site-a --yes
site_wait_active b
readable b
for i in {1..50}; do expect_eq "small-$i" "$(cat "$(mnt b)/small-$i")" "$i"; done
wait_for 20 "nothing more can be written" no_room b
timeout 20 truncate -s 4096 "$(mnt b)/victim" || fail "truncate on a full disk"
timeout 20 rm -f "$(mnt b)/victim" "$(mnt b)/never" "$(mnt b)"/small-? || fail "rm on a full disk"
write_soon b 16
readable b
step "a standby with a full disk has taken over: read, deleted, room made"
site_start a
wait_for 20 "site a is connected" eval '[[ $(status b .peers[0].connected) = true ]]'
order b activate clusterdomain site-a
site_wait_in_sync b 60

# The active's is full: handed over, and back.
rm -r "$WORK/b/disk/other"
write_soon b 16
fill_disk b
wait_for 20 "site b says that it is full" is_full b
order b demote $VOLUME
site_wait_role b standby
! is_mounted b || fail "demoted and mounted"
wait_for 20 "site b is connected again" eval '[[ $(status a .peers[0].connected) = true ]]'
order a promote $VOLUME
site_wait_active a
readable a
wait_for 20 "nothing more can be written" no_room a
order a demote $VOLUME
site_wait_role a standby
wait_for 20 "site a is connected again" eval '[[ $(status b .peers[0].connected) = true ]]'
order b promote $VOLUME
site_wait_active b
readable b
step "an active with a full disk was demoted, and promoted again"

# Its peer dies, and it goes on alone.
site_kill9 a
timeout 60 rm -f "$(mnt b)"/small-1? &
remover=$!
pause_ms 500
pid_alive $remover || fail "deleted without the standby"
order b deactivate clusterdomain site-a --yes
wait $remover || fail "rm that waited on a full disk"
readable b
free_disk b
write_soon b 48
site_start a
wait_for 20 "site a is connected" eval '[[ $(status b .peers[0].connected) = true ]]'
order b activate clusterdomain site-a
site_wait_in_sync b 60
step "an active with a full disk went on without its peer"
sites_stop_and_compare
disks_end

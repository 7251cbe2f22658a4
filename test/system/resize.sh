#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: programs
# budget: 150
# A volume grows and shrinks at one command on the active site, while it is in use; both sites have the
# size at once, through kills and a failover. What does not go is refused, and nothing changes.
. "$(dirname "$0")/../lib.sh"

CONF_JOURNAL="size = 32M"
sites_up 128M
m=$(mnt a)
size_at() { status "$1" '.space.size / 1048576'; }
has_size() { [[ $(size_at "$1") = "$2" ]]; }
df_mib() { df -B1M --output=size "$1" | tail -n 1 | tr -d ' '; }
resize() { order "$1" resize $VOLUME --size "$2"; }
both_have() { # MiB
	local s
	for s in a b; do
		wait_for 10 "site $s has a size of $1 MiB" has_size $s "$1"
	done
}
refused() { # site, size, what the message says
	local before
	before=$(size_at a)
	expect_fail ctl "$1" resize $VOLUME --size "$2"
	expect_match "resize to $2 at site $1" "$OUT" "$3"
	expect_eq "the size after a refused resize" "$(size_at a)" "$before"
}

# What is refused.
refused b 256M "the active side is site-a"
refused a 1M "64M to 1024T"
refused a 2000T "64M to 1024T"
refused a 900T "site-a lacks [0-9.]+ GiB"
expect_fail ctl a resize $VOLUME
expect_match "resize without a size" "$OUT" "--size SIZE is missing"
order a resize $VOLUME --size 128M
expect_match "resize to what it is" "$(cat "$WORK/order.out")" "already"
expect_eq "the format level" "$(status a .format_level)" 1
step "refused: at the standby, too small, more than there is on the disk"

# Growing, under load; a writer that was refused goes on.
expect_fail dd if=/dev/zero of="$m/big" bs=1M count=200 status=none
expect_match "writing into a full volume" "$OUT" "no space"
load_start tree run a --enospc --bytes 30000000
resize a 256M
expect_eq "df at once" "$(df_mib "$m")" 256
both_have 256
expect_eq "the format level" "$(status a .format_level)" 2
wait_for 10 "site b has the format level" eval '[[ $(status b .format_level) = 2 ]]'
dd if=/dev/zero of="$m/big" bs=1M count=180 conv=fsync status=none
for size in 320 288 384; do
	resize a ${size}M
	expect_eq "df at once" "$(df_mib "$m")" $size
done
load_stop tree
load_verify tree run a
both_have 384
refused a 128M "MiB are used"
step "grown and shrunk under load"

# Through kills of either side.
ctl a resize $VOLUME --size 400M >/dev/null 2>&1 &
site_kill9 a
wait $! || true
site_start a
site_wait_active a
site_wait_in_sync a
size=$(size_at a)
[[ $size = 384 || $size = 400 ]] || fail "a kill during a resize left $size MiB"
both_have "$size"
site_kill9 b
site_start b
site_wait_in_sync a
both_have "$size"
resize a 512M
both_have 512
site_kill9 a
site_start a
site_wait_active a
site_wait_in_sync a
both_have 512
step "the size survives kills"

# A peer that is not reached, and one that was away.
site_kill9 b
wait_for 20 "site b is gone" eval '[[ $(status a ".peers[0].connected") = false ]]'
refused a 600M "site-b is in sync by the record and not reached"
order a deactivate clusterdomain site-b --yes
resize a 640M
site_start b
wait_for 20 "site b is reached" eval '[[ $(status a ".peers[0].connected") = true ]]'
order a activate clusterdomain site-b
site_wait_in_sync a
both_have 640
step "a site that was away has the size when it has caught up"

# Failover.
sum=$(sha256sum <"$m/big")
site_kill9 a
order b deactivate clusterdomain site-a --yes
site_wait_active b
expect_eq "df at site b" "$(df_mib "$(mnt b)")" 640
expect_eq "the file at site b" "$(sha256sum <"$(mnt b)/big")" "$sum"
order b resize $VOLUME --size 704M
site_start a
wait_for 20 "site a is reached" eval '[[ $(status b ".peers[0].connected") = true ]]'
order b activate clusterdomain site-a
site_wait_in_sync b 60
both_have 704
sites_stop_and_compare

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: programs
# budget: 150
# A full volume is ENOSPC and nothing worse; deleting works and makes room; df shows it.
. "$(dirname "$0")/../lib.sh"

CONF_JOURNAL="size = 32M"
sites_up 192M
m=$(mnt a)
fill() { dd if=/dev/zero of="$m/$1" bs=1M count=400 status=none; }
size=$(df -B1M --output=size "$m" | tail -n 1)
((size >= 150 && size <= 192)) || fail "df shows a size of $size MiB"
for round in 1 2 3; do
	expect_fail fill big
	expect_match "writing into a full volume" "$OUT" "no space"
	got=$(stat -c %s "$m/big")
	((got > 100 << 20)) || fail "full after only $got bytes"
	# Full by its size, not by its disk: what takes no more than it gives back still goes.
	dd if=/dev/urandom of="$m/big" bs=1M count=8 seek=40 conv=notrunc,fsync status=none
	expect_fail cp "$TOOLS/load" "$m/more"
	expect_match "another file" "$OUT" "no space"
	((round % 2)) || {
		site_kill9 a
		site_start a
		site_wait_active a
	}
	rm -f "$m/big" "$m/more"
	wait_for 20 "room is there again" eval '[[ $(df -B1M --output=avail "$m" | tail -n 1) -gt 100 ]]'
	step "round $round: full at $got bytes, and room again"
done
# No name goes away here, so no inode is forgotten: the space must come back all the same.
has_room() { (($(df -B1M --output=avail "$m" | tail -n 1) > 100)); }
expect_fail fill big
truncate -s 0 "$m/big"
wait_for 20 "room is there again after a truncate" has_room
wait_for 20 "stat says so too" eval '[[ $(stat -c %b "$m/big") = 0 ]]'
expect_fail fill big
fallocate --punch-hole --offset 0 --length 400M "$m/big"
wait_for 20 "room is there again after a hole was punched" has_room
step "a file that was full gives its space back when it is truncated and when it is punched"
rm "$m/big"
load_start tree run a --enospc --bytes 80000000
pause_ms 6000
load_stop tree
load_verify tree run a
sites_stop_and_compare

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: damage
# budget: 120
# A block that is damaged on the active while its peer is away: the peer catches up from the ring or by
# pulling, but the damage is not sent to it. It is refused, loudly, until nobody needs that block; what was
# punched meanwhile is no damage.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../blocks.sh"

CONF_JOURNAL="size = 32M"
CONF_LIMITS="checkpoint_entries = 2000"
sites_up 512M

leave_b() {
	order a deactivate clusterdomain site-b --yes
	wait_for 10 "the set is site a alone" eval '[[ $(in_sync_count a) = 1 ]]'
	site_stop b
}
return_b() {
	site_start b
	wait_for 10 "site b learns that it is inactive" eval '[[ $(status b ".inactive[]") = site-b ]]'
	order a activate clusterdomain site-b
}
damaged() { status a .counters.damaged; }

# From the ring. A second file is overwritten and deleted meanwhile, and its blocks are given back.
leave_b
head -c 3M /dev/urandom >"$WORK/kept"
head -c 2M /dev/urandom >"$WORK/gone"
cp "$WORK/kept" "$WORK/gone" "$(mnt a)"
head -c 1M /dev/urandom >"$WORK/good"
cp "$WORK/good" "$(mnt a)"
rm "$(mnt a)/gone"
damage a kept 3 300
return_b
wait_for 20 "site a says what is damaged" eval 'grep -q "site-b cannot catch up: data of seq" "$WORK/a/log"'
expect_match "log" "$(site_log a)" "'kept' \(inode [0-9]*, offset 12288, 1 block .*not repaired"
pause_ms 1500
expect_eq "the set" "$(in_sync_count a)" 1
is_serving a || fail "site a does not serve any more"
told() { [[ $(status a '.peers[0] | "\(.text) \(.state)"') =~ damaged|catching|connect ]]; }
wait_for 10 "the status of the peer says so" told
[[ $(damaged) -ge 1 ]] || fail "nothing is counted as damaged"
cmp "$WORK/good" "$(mnt a)/good"
step "from the ring: refused, counted, logged"
head -c 3M /dev/urandom >"$WORK/kept"
cp "$WORK/kept" "$(mnt a)/kept"
site_wait_in_sync a 40
step "the file was overwritten: in sync"
sites_stop_and_compare

# By pulling.
sites_start
leave_b
head -c 2M /dev/urandom >"$WORK/pulled"
cp "$WORK/pulled" "$(mnt a)"
last=$(status a .seq.committed)
dd if=/dev/urandom of="$(mnt a)/fill" bs=1M count=64 conv=fsync status=none
wait_for 60 "the ring has gone round" eval '[[ $(status a .journal.first_seq) -gt $((last + 2)) ]] ||
	{ dd if=/dev/urandom of="$(mnt a)/over" bs=4k count=500 conv=fsync oflag=direct status=none; false; }'
damage a pulled 100
return_b
wait_for 30 "site a says what is damaged" eval 'grep -q "site-b cannot pull 1 blocks at or behind epoch" "$WORK/a/log"'
pause_ms 1500
expect_eq "the set" "$(in_sync_count a)" 1
is_serving a || fail "site a does not serve any more"
step "by pulling: refused, counted, logged"
rm "$(mnt a)/pulled"
site_wait_in_sync a 60
step "the file was deleted: in sync"
sites_stop_and_compare

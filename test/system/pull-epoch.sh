#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: peer
# budget: 120
# A standby that has to pull holds an epoch of the active's present number from a history that nobody follows: room
# for the active's one is no matter before it has pulled, and it catches up without ending once.
. "$(dirname "$0")/../lib.sh"

CONF_JOURNAL="size = 32M"
CONF_LIMITS="checkpoint_entries = 2000"
sites_up
m=$(mnt a)
dd if=/dev/urandom of="$m/first" bs=1M count=8 conv=fsync status=none
order a deactivate clusterdomain site-b --yes
wait_for 10 "site b knows" eval '[[ $(status b ".inactive[]") = site-b ]]'
last=$(status b .seq.durable)
site_stop b
site_kill9 a
site_start a
wait_for 20 "site a has recovered" eval '[[ $(role a) = @(confirming|standby) ]]'
order a promote $VOLUME --yes
site_wait_active a
epoch=$(status a .epoch)
mkdir "$(replica_of b)/data/$(printf '%08x' "$epoch")-00000000deadbeef"
overwrite() {
	dd if=/dev/urandom of="$m/over" bs=4k count=500 conv=fsync oflag=direct status=none
	false
}
dd if=/dev/urandom of="$m/fill" bs=1M count=96 conv=fsync status=none
wait_for 60 "the ring has gone round" \
	eval '[[ $(status a .journal.first_seq) -gt $((last + 2)) ]] || overwrite'
starts() { grep -c "recovered to seq" "$WORK/b/log"; }
before=$(starts)
site_start b
wait_for 10 "site b learns that it is inactive" eval '[[ $(status b ".inactive[]") = site-b ]]'
order a activate clusterdomain site-b
site_wait_in_sync a 60
# One start, and the one behind the switch to what was pulled; the second may come after a further round.
(($(starts) - before <= 3)) || fail "site b started $(($(starts) - before)) times: $(grep error "$WORK/b/log" | tail -n 2)"
! grep -q "allocating .* failed" "$WORK/b/log" || fail "$(grep "allocating" "$WORK/b/log")"
dd if=/dev/urandom of="$m/last" bs=1M count=40 conv=fsync status=none
sites_stop_and_compare

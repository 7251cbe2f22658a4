#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: peer
# budget: 120
# A standby that the ring no longer reaches is refused with a message that says so; the active goes on.
. "$(dirname "$0")/../lib.sh"

CONF_JOURNAL="size = 32M"
CONF_LIMITS="checkpoint_entries = 2000"
sites_up
order a deactivate clusterdomain site-b --yes
wait_for 5 "site b knows" eval '[[ $(status b ".inactive[]") = site-b ]]'
last=$(status b .seq.durable)
site_kill9 b
load_start blocks stamp a
wait_for 60 "the ring has gone round" eval '[[ $(status a .journal.first_seq) -gt $((last + 2)) ]]'
site_start b
wait_for 10 "site b learns that it is inactive" eval '[[ $(status b ".inactive[]") = site-b ]]'
# Refused at once, or granted and found wanting in the handshake.
ctl a activate clusterdomain site-b >/dev/null 2>&1 || step "activate was refused"
wait_for 10 "site b is refused" eval '[[ $(peer_state a) = beyond* ]]'
pause_ms 1000
expect_match "status of site a" "$(ctl a status)" "ring|journal"
step "refused: $(status a '.peers[0].text')"
expect_eq "size of the in-sync set" "$(in_sync_count a)" 1
from=$(now_ns)
pause_ms 500
[[ $(load_acked blocks "$from" "$(now_ns)") -gt 0 ]] || fail "site a does not go on alone"
load_stop blocks
load_verify blocks stamp a
expect_fail ctl b promote $VOLUME --yes
site_stop a
site_stop b
site_check a --data
site_check b --data

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: peer
# budget: 120
# A standby that the ring no longer reaches pulls, and says so; the active goes on meanwhile. Until then it
# cannot be promoted as if it were whole.
. "$(dirname "$0")/../lib.sh"

CONF_JOURNAL="size = 32M"
CONF_LIMITS=$'checkpoint_entries = 2000\ncatch_up_rate = 64K'
sites_up
order a deactivate clusterdomain site-b --yes
wait_for 5 "site b knows" eval '[[ $(status b ".inactive[]") = site-b ]]'
last=$(status b .seq.durable)
site_kill9 b
load_start blocks stamp a
wait_for 60 "the ring has gone round" eval '[[ $(status a .journal.first_seq) -gt $((last + 2)) ]]'
site_start b
wait_for 10 "site b learns that it is inactive" eval '[[ $(status b ".inactive[]") = site-b ]]'
order a activate clusterdomain site-b
wait_for 10 "site b pulls" eval '[[ $(peer_state a) = pulling && $(peer_state b) = pulling ]]'
pause_ms 1000
expect_match "status of site a" "$(ctl a status)" "catching up by pulling"
expect_match "status of site b" "$(ctl b status)" "catching up by pulling"
step "site a says: $(status a '.peers[0].text')"
expect_eq "size of the in-sync set" "$(in_sync_count a)" 1
from=$(now_ns)
wait_for 10 "site a goes on alone" eval '[[ $(load_acked blocks '"$from"' "$(now_ns)") -gt 0 ]]'
expect_fail ctl b promote $VOLUME --yes
expect_eq "size of the in-sync set" "$(in_sync_count a)" 1
# Its own last state is untouched.
site_stop b
site_check b --data
CONF_LIMITS="checkpoint_entries = 2000"
site_config b
site_start b
site_wait_in_sync a 60
load_stop blocks
load_verify blocks stamp a
sites_stop_and_compare

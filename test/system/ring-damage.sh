#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: damage
# budget: 120
# A batch in the ring of an active that runs goes bad, and its peer lacks it: what is not committed yet comes from
# memory; what is older cannot be had from the ring any more, and the peer pulls. Both end in sync and equal.
. "$(dirname "$0")/../lib.sh"

CONF_JOURNAL="size = 32M"
sites_up 256M

# Flips a bit in the batch that holds these bytes.
spoil_batch() { # text
	local ring file at
	ring=$(replica_of a)/ring
	wait_for 10 "'$1' is in the ring of site a" grep -qaF "$1" -r "$ring"
	file=$(grep -laF "$1" "$ring"/* | head -n 1)
	at=$(grep -aobF "$1" "$file" | head -n 1 | cut -d: -f1)
	"$TOOLS/spoil" flip "$file" "$at"
}
bad_batches() { site_log a | grep -c "cannot be read: Bad message" || true; }

# In the set: nobody was told that it is written.
echo before >"$(mnt a)/before"
wait_for 10 "both sites hold the same" is_level
link_cut
wait_for 10 "site a misses its peer" eval '[[ $(status a .peers[0].connected) = false ]]'
echo "first of those that wait" >"$(mnt a)/first" &
first=$!
pause_ms 300
echo "second of those that wait" >"$(mnt a)/second" &
second=$!
pause_ms 300
pid_alive $first || fail "acknowledged without the standby"
created=$(status a .seq.durable)
[[ $created -gt $(status a .seq.committed) ]] || fail "nothing waits"
# Which is the creation of the file: its name is in it.
spoil_batch first
link_heal
site_wait_in_sync a
wait $first || fail "the first write that waited failed"
wait $second || fail "the second write that waited failed"
expect_eq "bad batches that were met" "$(bad_batches)" 1
expect_eq "bytes pulled" "$(status a '.peers[0].pull.bytes_sent // 0')" 0
wait_for 10 "both sites hold the same" is_level
step "not committed yet: from memory"

# Outside of the set. It is committed, and no batch is in memory any more.
order a deactivate clusterdomain site-b --yes
wait_for 10 "site b knows" eval '[[ $(status b ".inactive[]") = site-b ]]'
site_stop b
for i in {1..40}; do echo "alone $i." >"$(mnt a)/alone-$i"; done
pause_ms 300
spoil_batch "alone 20."
site_start b
wait_for 10 "site b learns that it is inactive" eval '[[ $(status b ".inactive[]") = site-b ]]'
order a activate clusterdomain site-b
site_wait_in_sync a 40
expect_eq "bad batches that were met" "$(bad_batches)" 2
[[ $(status a '.peers[0].pull.bytes_sent // 0') -gt 0 ]] || fail "site b has not pulled"
step "committed: site b has pulled $(status a .peers[0].pull.bytes_sent) bytes"
echo after >"$(mnt a)/after"
sites_stop_and_compare
sites_start
for i in {1..40}; do expect_eq "alone-$i" "$(cat "$(mnt a)/alone-$i")" "alone $i."; done
expect_eq "first" "$(cat "$(mnt a)/first")" "first of those that wait"
expect_eq "second" "$(cat "$(mnt a)/second")" "second of those that wait"

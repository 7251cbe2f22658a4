#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: failover
# budget: 120
# Both sites are told to go on alone while the link is cut. Afterwards both keep what they have, say that
# they differ, and what to look at next; a person gives one of them up by hand, and it is made again from the
# descriptor that it has (resync.sh: by one command).
. "$(dirname "$0")/../lib.sh"

sites_up 256M
echo both >"$(mnt a)/file"
link_cut b
order a deactivate clusterdomain site-b --yes
echo a >"$(mnt a)/only-a"
order b deactivate clusterdomain site-a --yes
site_wait_active b
echo b >"$(mnt b)/only-b"
link_heal
for s in a b; do
	wait_for 20 "site $s says fork" eval '[[ $(status '$s' ".peers[0].state") = fork ]]'
	expect_match "what site $s says" "$(ctl $s status)" "trouble.*a person must choose"
	expect_match "the command that site $s offers" "$(status $s .next)" "resync $VOLUME --from $(domain "$(other $s)") --preview"
	[[ ! -e $(mnt $s)/only-$(other $s) ]] || fail "site $s has the other one's file"
	expect_eq "its own file at site $s" "$(cat "$(mnt $s)/only-$s")" $s
done
for s in a b; do
	expect_fail ctl $s activate clusterdomain "$(domain "$(other $s)")"
	expect_match "activate at site $s" "$OUT" "fork.*type here 'tandemctl resync $VOLUME --from $(domain "$(other $s)")'"
done
step "both say that they differ, also to activate"
site_stop b
mv "$(replica_of b)" "$(replica_of b).kept"
"$BIN/tandemfs" format --join "$(replica_of b).kept/volume" --config "$WORK/b/conf" >>"$WORK/b/log" 2>&1 ||
	fail "site b is not made again"
site_start b
wait_for 20 "site b is reached" eval '[[ $(status a ".peers[0].connected") = true ]]'
order a activate clusterdomain site-b
site_wait_in_sync a 60
step "site b was given up and is a standby again"
sites_stop_and_compare

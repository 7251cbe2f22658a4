#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: failover
# budget: 120
# A site that starts behind a cut link does not mount until the peer or a person confirms it.
. "$(dirname "$0")/../lib.sh"

sites_up
echo one >"$(mnt a)/file"
for how in peer person; do
	site_stop a
	site_stop b
	link_cut b
	site_start a
	site_start b
	site_wait_role a confirming
	pause_ms 3000
	has_role a confirming || fail "site a is $(role a) without confirmation"
	! is_mounted a && ! is_mounted b || fail "mounted without confirmation"
	expect_match "what site a says" "$(ctl a status) $(site_log a)" "confirm|promote"
	if [[ $how = peer ]]; then
		link_heal
	else
		expect_fail ctl a promote $VOLUME
		expect_match "promote without a terminal asks" "$OUT" "yes"
		! is_mounted a || fail "mounted before the yes"
		order a promote $VOLUME --yes
		site_wait_active a
		expect_eq "what it serves" "$(cat "$(mnt a)/file")" one
		expect_eq "the in-sync set after that word" "$(status a '.in_sync[]')" site-a
		echo two >"$(mnt a)/file-2"
		link_heal # the other one catches up with what it missed
	fi
	site_wait_active a
	site_wait_in_sync a
	step "confirmed by the $how"
done
expect_eq "the file" "$(cat "$(mnt a)/file-2")" two
sites_stop_and_compare

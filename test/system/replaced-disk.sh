#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: failover
# budget: 180
# A disk is lost and replaced while the other side does not serve, so nobody has left that replica out of the set. The
# record still counts on it, and it has nothing: it neither takes over nor confirms anybody, whatever happens next, nor
# whatever happened to the volume before.
. "$(dirname "$0")/../lib.sh"

replace_disk() { # site
	rm -rf "$WORK/$1/replica"
	"$BIN/tandemfs" format --join "$WORK/$VOLUME.desc" --config "$WORK/$1/conf" >>"$WORK/$1/log" 2>&1
}
says_replaced() { [[ $(status "$1" .trouble) = *"replaced disk"* ]]; }
sees_replaced() { [[ $(status "$1" '.peers[0].text') = *"replaced disk"* ]]; }
is_fork() { [[ $(peer_state a) = fork && $(peer_state b) = fork ]]; }

confirms_nobody() { # of two that are dead, b gets an empty disk
	replace_disk b
	site_start b
	site_start a
	wait_for 20 "site a sees that b has lost what it had" sees_replaced a
	wait_for 20 "site b knows that it has" says_replaced b
	has_role a confirming || fail "site a is $(role a), confirmed by an empty disk"
}
does_not_take_over() { # b, when a is gone
	local again
	site_kill9 a
	for again in 1 2; do
		expect_fail ctl b deactivate clusterdomain site-a --yes
		expect_match "deactivate at the empty one ($again)" "$OUT" "replaced disk"
		expect_fail ctl b promote $VOLUME --yes
		expect_match "promote at the empty one ($again)" "$OUT" "replaced disk"
		has_role b standby || fail "site b is $(role b)"
		! is_mounted b || fail "site b serves an empty filesystem"
		site_kill9 b
		site_start b
		wait_for 20 "site b still knows ($again)" says_replaced b
	done
}

sites_up
mix_start a
pause_ms 1000
site_kill9 a b
mix_wait 3
confirms_nobody
step "an empty disk confirms nobody"

does_not_take_over
step "the empty one does not take over, also after a restart"

site_start a
wait_for 20 "site a sees it again" sees_replaced a
order a deactivate clusterdomain site-b --yes
site_wait_active a
order a activate clusterdomain site-b
site_wait_in_sync a 60
mix_verify a
site_kill9 a
order b deactivate clusterdomain site-a --yes
site_wait_active b
mix_verify b
step "when it has caught up, it takes over with everything"

# Now b is alone in the set and serves, and its disk is lost. Site a was left behind and does not know it; an empty disk
# that remembers nothing must not tell it that all is well.
echo alone >"$(mnt b)/file"
site_kill9 b
replace_disk b
site_start b
site_start a
wait_for 20 "site a sees that b has lost what it had" sees_replaced a
pause_ms 1000
has_role a confirming || fail "site a is $(role a), and was left behind"
! is_mounted a || fail "site a serves, confirmed by an empty disk"
order a deactivate clusterdomain site-b --yes
site_wait_active a
mix_verify a
order a activate clusterdomain site-b
site_wait_in_sync a 60
step "a side that was left behind serves at a person's word only"

# A side was promoted with --accept-data-loss once, and a resync has mended that: the first record, which a replaced disk
# has, lies behind a step that nobody follows unasked.
order a deactivate clusterdomain site-b --yes
wait_for 10 "site b knows" eval '[[ $(status b ".inactive[]") = site-b ]]'
site_kill9 a
order b promote $VOLUME --accept-data-loss --yes
site_wait_active b
site_start a
wait_for 20 "both sites see the fork" is_fork
order a resync $VOLUME --from site-b --yes
site_wait_in_sync b 60
order b demote $VOLUME
order a promote $VOLUME
site_wait_active a
site_wait_in_sync a 60
echo forced >"$(mnt a)/past"
site_kill9 b
replace_disk b
site_start b
site_wait_in_sync a 60
has_role b standby || fail "site b is $(role b)"
step "behind a promotion by force, too, a replaced disk is left out by who serves, and comes back"

site_kill9 a b
confirms_nobody
does_not_take_over
site_start a
wait_for 20 "site a sees it again" sees_replaced a
order a deactivate clusterdomain site-b --yes
site_wait_active a
order a activate clusterdomain site-b
site_wait_in_sync a 60
expect_eq "what was written" "$(cat "$(mnt a)/past")" forced
mix_verify a
step "behind a promotion by force, too, an empty one does not take over"
sites_stop_and_compare

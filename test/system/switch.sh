#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: switch
# budget: 150
# Planned changes: demote and promote, to and fro, also under load; and what is refused.
. "$(dirname "$0")/../lib.sh"

sites_up
expect_fail ctl b promote $VOLUME --yes
expect_match "promote while the active answers" "$OUT" "active|demote"
expect_match "demote on a standby, which changes nothing" "$(ctl b demote $VOLUME)" "not the active"
expect_fail ctl b deactivate clusterdomain site-a --yes # forwarded, and refused there
expect_match "deactivate of the active's own domain" "$OUT" "active|demote|failover"
expect_fail ctl a deactivate clusterdomain nowhere --yes
expect_match "deactivate of an unknown domain" "$OUT" "nowhere"
has_role a active && is_serving a || fail "site a does not serve any more"

active=a
for ((round = 1; round <= 4; round++)); do
	standby=$(other $active)
	mix_start $active
	pause_ms "$(random_ms 300 900)"
	((round > 2)) || mix_stop # the later rounds demote under load
	begin=$(now_ns)
	order $active demote $VOLUME
	((round <= 2)) || mix_wait 3 0
	if ((round % 2)); then
		wait_for 15 "the mount of site $active goes away" eval '! is_mounted '$active
		site_wait_role $active standby
		wait_for 10 "site $standby sees the peer" \
			eval '[[ $(status '$standby' ".peers[0].connected") = true ]]'
		pause_ms 300
		! is_mounted $standby || fail "site $standby mounted unasked"
	fi # else one right after the other: nothing to be asked, the other side comes back in a moment
	order $standby promote $VOLUME
	expect_eq "the in-sync set" "$(in_sync_count $standby)" 2
	site_wait_active $standby
	ms=$((($(now_ns) - begin) / 1000000))
	site_wait_in_sync $standby
	mix_verify $standby
	step "round $round: from $active to $standby in $ms ms"
	active=$standby
done

# What lies in the standby's mount point is found before anything changes.
standby=$(other $active)
version=$(status $active .record_version)
touch "$(mnt $standby)/left-behind"
expect_match "trouble of the standby" "$(status $standby .trouble)" "not empty"
site_kill9 $active
expect_fail ctl $standby deactivate clusterdomain "$(domain $active)" --yes
expect_match "a takeover that could not be mounted" "$OUT" "not empty.*nothing was changed"
expect_fail ctl $standby promote $VOLUME --yes
expect_match "a promotion that could not be mounted" "$OUT" "not empty.*nothing was changed"
expect_eq "version of the record" "$(status $standby .record_version)" "$version"
has_role $standby standby || fail "site $standby is $(role $standby)"
rm "$(mnt $standby)/left-behind"
site_start $active
site_wait_active $active
site_wait_in_sync $active
step "a mount point that is not empty is found in time"

# With the peer dead, demote refuses and says what can be done.
standby=$(other $active)
site_kill9 $standby
expect_fail ctl $active demote $VOLUME
expect_match "demote without the peer" "$OUT" "force"
is_serving $active || fail "a refused demote changed something"
site_start $standby
site_wait_in_sync $active
sites_stop_and_compare

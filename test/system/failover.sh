#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: failover
# budget: 400
# split: 2 ROUNDS
# long: 720
# The active site dies, the other one is promoted; the dead one comes back as a standby. To and fro.
. "$(dirname "$0")/../lib.sh"

CONF_LIMITS="checkpoint_entries = 5000"
sites_up
active=a
rounds=$(share_of "$ROUNDS")
for ((round = 1; round <= rounds; round++)); do
	standby=$(other $active)
	mix_start $active
	pause_ms "$(random_ms 100 1200)"
	# A dying site takes its network with it, mostly first: what sits in its buffers is lost.
	if ((round % 3)); then
		link_cut $active
		pause_ms "$(random_ms 0 250)"
	fi
	site_kill9 $active
	mix_wait 3
	((RANDOM % 2)) || flushed_is_committed

	begin=$(now_ns)
	order $standby deactivate clusterdomain "$(domain $active)" --yes
	site_wait_active $standby
	ms=$((($(now_ns) - begin) / 1000000))
	mix_verify $standby
	link_heal

	# The old active comes back: it must not serve, and must say why.
	before=$(wc -l <"$WORK/$active/log")
	site_start $active
	site_wait_role $active standby
	wait_for 10 "the returning site learns that it is inactive" \
		eval '[[ $(status '$active' ".inactive[]") = '"$(domain $active)"' ]]'
	! is_mounted $active || fail "the old active has mounted"
	expect_match "what the returning site says" \
		"$(tail -n +"$((before + 1))" "$WORK/$active/log") $(ctl $active status)" "inactive|activate"
	expect_fail ctl $active promote $VOLUME --yes
	expect_match "promote on the inactive site" "$OUT" "inactive|active|activate"
	expect_eq "size of the in-sync set before activate" "$(in_sync_count $standby)" 1

	order $standby activate clusterdomain "$(domain $active)"
	site_wait_in_sync $standby
	has_role $active standby || fail "the returned site is $(role $active)"
	step "round $round: site $standby served after $ms ms; verified; site $active is back in sync"
	active=$standby
	if ((round % 7 == 0 || round == rounds)); then
		sites_stop_and_compare
		((round == rounds)) || {
			site_start a
			site_start b
			site_wait_active $active
			site_wait_in_sync $active
		}
	fi
done
made $((round - 1)) rounds

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: failover
# budget: 150
# The standby is promoted while the old active lives behind a cut link: one history, and a fence.
#
# Nothing is acknowledged on the old side after the promotion. When the link heals, everything on the
# old mount fails (descriptors with EIO, mappings with SIGBUS), the mount goes away, and the site is an
# inactive standby that can be activated.
. "$(dirname "$0")/../lib.sh"

sites_up
for active in a b; do
	standby=$(other $active)
	[[ -d $(mnt $active)/probe ]] || "$TOOLS/probe" prepare "$(mnt $active)/probe"
	echo held >"$(mnt $active)/held-$active"
	mix_start $active
	"$TOOLS/probe" hold "$(mnt $active)/held-$active" >"$WORK/hold-$active.out" 2>&1 &
	hold=$!
	wait_for 5 "the file is held" grep -q holding "$WORK/hold-$active.out"
	pause_ms "$(random_ms 300 1500)"

	link_cut $active
	pause_ms "$(random_ms 0 3000)"
	wait_for 10 "site $standby misses its peer" eval '[[ $(status '"$standby"' ".peers[0].connected") = false ]]'
	order $standby promote $VOLUME --yes
	promoted=$(now_ns)
	site_wait_active $standby
	echo new >"$(mnt $standby)/new-$standby" &
	writing=$!
	pause_ms 1500
	if kill -0 $writing 2>/dev/null; then
		order $standby deactivate clusterdomain "$(domain $active)" --yes
	fi
	wait $writing
	probe $active # it shows its own past, and does not hang
	pid_alive $hold || fail "the old side was fenced before it could know"
	expect_eq "acknowledged by the old side after the promotion" \
		"$(mix_acked "$promoted" "$(now_ns)")" 0

	link_heal
	mix_wait 3
	wait_for 20 "the old mount goes away" eval '! is_mounted '$active
	wait $hold || fail "$(cat "$WORK/hold-$active.out")"
	site_wait_role $active standby
	wait_for 10 "the old side knows that it is inactive" \
		eval '[[ $(status '$active' ".inactive[]") = '"$(domain $active)"' ]]'
	expect_match "log of the old side" "$(site_log $active)" "fence|epoch"
	expect_eq "acknowledged by the old side after the promotion" \
		"$(mix_acked "$promoted" "$(now_ns)")" 0
	mix_verify $standby
	step "site $standby was promoted; site $active acknowledged nothing more, was fenced, and waits"

	order $standby activate clusterdomain "$(domain $active)"
	site_wait_in_sync $standby 30
done
sites_stop_and_compare

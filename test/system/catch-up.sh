#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: peer
# budget: 180
# A deactivated standby catches up from the ring while the volume is in use, also when either side dies.
. "$(dirname "$0")/../lib.sh"

CONF_JOURNAL="size = 512M"
CONF_LIMITS="checkpoint_entries = 5000"
sites_up
for interrupt in nobody standby active; do
	load_start tree run a --threads 3
	pause_ms 500
	order a deactivate clusterdomain site-b --yes
	wait_for 5 "the set is site a alone" eval '[[ $(in_sync_count a) = 1 ]]'
	[[ $interrupt != active ]] || site_kill9 b
	from=$(now_ns)
	pause_ms 2500
	count=$(load_acked tree "$from" "$(now_ns)")
	((count > 0)) || fail "site a acknowledges nothing alone"
	[[ $interrupt != active ]] || site_start b
	wait_for 10 "site b learns that it is inactive" eval '[[ $(status b ".inactive[]") = site-b ]]'
	expect_fail ctl b promote $VOLUME --yes
	expect_match "promote on an inactive site" "$OUT" "inactive|active"
	order a activate clusterdomain site-b
	case $interrupt in
	standby)
		pause_ms "$(random_ms 10 200)"
		site_kill9 b
		site_start b
		;;
	active)
		pause_ms "$(random_ms 10 200)"
		site_kill9 a
		load_wait tree 3
		site_start a
		site_wait_active a
		load_verify tree run a --threads 3
		load_start tree run a --threads 3
		;;
	esac
	site_wait_in_sync a 40
	load_stop tree
	load_verify tree run a --threads 3
	step "$count operations without the peer; caught up in use ($interrupt was killed meanwhile)"
done
sites_stop_and_compare

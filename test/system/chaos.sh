#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: failover
# budget: 240
# Random mishaps and orders, one on the heels of the other, under load: kills, hangs, cuts, switches.
#
# After each one the volume must serve again somewhere, with everything that was acknowledged; now and
# then both sites are stopped and compared. CHAOS=N goes on for N minutes (one and a half without it).
. "$(dirname "$0")/../lib.sh"

CONF_JOURNAL="size = 256M"
CONF_LIMITS="checkpoint_entries = $((1000 + RANDOM % 8000))"
sites_up
minutes=${CHAOS:-1}
end=$(($(now_ns) + minutes * 60000000000 + 30000000000))
active=a

# The workload goes on where it can. Where the mount went away its end is part of the mishap.
load_on() {
	[[ -n ${LOAD[tree]:-} ]] || mix_start $active
}
load_over() {
	mix_wait 3 0
	mix_verify $active
}
is_loaded() { pid_alive "${LOAD[tree]}" && pid_alive "${LOAD[blocks]}"; }
back_in_sync() { # site that was left out
	site_wait_role "$1" standby
	wait_for 10 "site $1 knows its place" eval '[[ $(status '"$1"' ".peers[0].connected") = true ]]'
	order $active activate clusterdomain "$(domain "$1")"
	site_wait_in_sync $active 40
}
short() { pause_ms "$(random_ms 0 "$1")"; }

# A check finishes what a start would have finished.
look_now() { ((RANDOM % 3)) || flushed_is_committed; }

kill_active() {
	site_kill9 $active
	look_now
	short 600
	site_start $active
	if ((RANDOM % 3 == 0)); then
		short 500
		site_kill9 $active
		site_start $active
	fi
	site_wait_active $active 30
	load_over
}
kill_standby() {
	site_kill9 "$standby"
	look_now
	short 3000
	site_start "$standby"
	if ((RANDOM % 3 == 0)); then
		short 500
		site_kill9 "$standby"
		site_start "$standby"
	fi
}
kill_both() {
	site_kill9 a b
	look_now
	local first=$active second=$standby
	((RANDOM % 2)) || first=$standby second=$active
	site_start $first
	short 800
	site_start $second
	site_wait_active $active 30
	load_over
}
hang_standby() {
	kill -STOP "${PID[$standby]}"
	short 5000
	kill -CONT "${PID[$standby]}"
}
hang_active() {
	kill -STOP "${PID[$active]}"
	short 5000
	kill -CONT "${PID[$active]}"
}
cut_link() {
	local i
	for ((i = RANDOM % 3; i >= 0; i--)); do
		link_cut "$([[ $((RANDOM % 2)) = 0 ]] && echo a || echo b)"
		short 3500
		link_heal
		short 500
	done
}
cut_and_kill() { # the active dies while the link is cut, and waits for its confirmation
	link_cut
	short 1500
	site_kill9 $active
	site_start $active
	short 2000
	! is_mounted $active || ! is_serving $active || fail "site $active serves without confirmation"
	link_heal
	site_wait_active $active 30
	load_over
}
lose_active() {
	local dead=$active
	site_kill9 $active
	look_now
	short 300
	order "$standby" deactivate clusterdomain "$(domain $active)" --yes
	active=$standby
	site_wait_active $active 30
	load_over
	load_on
	short 2500
	site_start $dead
	back_in_sync $dead
}
split() {
	local old=$active promoted
	link_cut
	wait_for 10 "site $standby misses its peer" eval '[[ $(status '"$standby"' ".peers[0].connected") = false ]]'
	order "$standby" promote $VOLUME --yes
	promoted=$(now_ns)
	active=$standby
	site_wait_active $active 30
	short 2000
	expect_eq "acknowledged by the old side after the promotion" "$(mix_acked "$promoted" "$(now_ns)")" 0
	link_heal
	wait_for 20 "the old mount goes away" eval '! is_mounted '$old
	load_over
	back_in_sync $old
}
planned() {
	order $active demote $VOLUME
	mix_wait 3 0
	wait_for 10 "site $standby sees the peer" eval '[[ $(status '"$standby"' ".peers[0].connected") = true ]]'
	order "$standby" promote $VOLUME --yes
	active=$standby
	site_wait_active $active 30
	mix_verify $active
}
leave_out() {
	order $active deactivate clusterdomain "$(domain "$standby")" --yes
	short 2500
	if ((RANDOM % 2)); then
		site_kill9 "$standby"
		short 500
		site_start "$standby"
	fi
	back_in_sync "$standby"
}
stop_standby() {
	site_stop "$standby"
	short 1500
	site_start "$standby"
}
stop_active() {
	site_stop $active
	short 500
	site_start $active
	site_wait_active $active 30
	load_over
}

actions=(kill_active kill_active kill_standby kill_both hang_standby hang_active cut_link cut_and_kill
	lose_active lose_active split planned leave_out stop_standby stop_active)
for ((round = 1; $(now_ns) < end; round++)); do
	standby=$(other $active)
	load_on
	short 1200
	action=${actions[RANDOM % ${#actions[@]}]}
	before=$active
	$action
	site_wait_active $active 30
	site_wait_in_sync $active 40
	[[ -z ${LOAD[tree]:-} ]] || is_loaded || load_over
	step "round $round: $action: site $before was active, site $active is"
	((round % 8)) || {
		[[ -z ${LOAD[tree]:-} ]] || mix_stop
		mix_verify $active
		sites_stop_and_compare
		site_start a
		site_start b
		site_wait_active $active
		site_wait_in_sync $active
	}
done
[[ -z ${LOAD[tree]:-} ]] || mix_stop
mix_verify $active
sites_stop_and_compare

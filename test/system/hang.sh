#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: failover
# budget: 240
# Either daemon, or both, stand still (SIGSTOP) for longer than every time-out; or the standby is promoted
# meanwhile.
#
# A daemon that stood still knows nothing of it, and what it had received is still in its sockets. So an
# operation that was in flight may be acknowledged on the old side after the promotion: the standby had it
# before, and serves it. What was begun after the promotion never is. The rest is as in split.sh.
. "$(dirname "$0")/../lib.sh"

sites_up
active=a
"$TOOLS/probe" prepare "$(mnt a)/probe"

stand_still() { # ms, site...
	local ms=$1 s
	shift
	for s in "$@"; do kill -STOP "${PID[$s]}"; done
	pause_ms "$ms"
	for s in "$@"; do
		kill -CONT "${PID[$s]}"
		pause_ms "$(random_ms 0 400)"
	done
}
for who in a b "b a"; do
	mix_start a
	pause_ms "$(random_ms 200 800)"
	# shellcheck disable=SC2086 # one or two sites
	stand_still 11000 $who
	! is_mounted b || fail "site b has mounted"
	site_wait_in_sync a 30
	from=$(now_ns)
	wait_for 10 "writes go on after '$who' stood still" eval '[[ $(mix_acked '"$from"' "$(now_ns)") -gt 0 ]]'
	mix_stop # no operation has failed
	mix_verify a
	step "site '$who' stood still for 11 s: the writes waited and went on"
done

for active in a b; do
	standby=$(other $active)
	echo held >"$(mnt $active)/held-$active"
	mix_start $active
	"$TOOLS/probe" hold "$(mnt $active)/held-$active" >"$WORK/hold-$active.out" 2>&1 &
	hold=$!
	wait_for 5 "the file is held" grep -q holding "$WORK/hold-$active.out"
	pause_ms "$(random_ms 300 1500)"
	kill -STOP "${PID[$active]}"
	pause_ms "$(random_ms 0 300)"
	# Asked before it can know, it asks the active first, and waits for the time-out.
	((RANDOM % 2)) || wait_for 15 "site $standby misses its peer" \
		eval '[[ $(status '"$standby"' ".peers[0].connected") = false ]]'
	order $standby deactivate clusterdomain "$(domain $active)" --yes
	promoted=$(now_ns)
	site_wait_active $standby
	echo new >"$(mnt $standby)/new-$standby"
	echo late >"$(mnt $active)/late-$active" 2>"$WORK/late-$active.out" &
	late=$!
	pause_ms "$(random_ms 500 9000)"

	kill -CONT "${PID[$active]}"
	mix_wait 3
	wait_for 20 "the old mount goes away" eval '! is_mounted '$active
	! wait $late || fail "an operation that began after the promotion succeeded on the old side"
	wait $hold || fail "$(cat "$WORK/hold-$active.out")"
	count=$(mix_acked "$promoted" "$(now_ns)")
	[[ $count -le 8 ]] || fail "the old side acknowledged $count operations of 8 threads after the promotion"
	site_wait_role $active standby
	wait_for 10 "the old side knows that it is inactive" \
		eval '[[ $(status '$active' ".inactive[]") = '"$(domain $active)"' ]]'
	expect_match "log of the old side" "$(site_log $active)" "fence|epoch"
	mix_verify $standby
	[[ ! -s $(mnt $standby)/late-$active ]] || fail "what began after the promotion is there"
	step "site $active stood still, site $standby was promoted: $count were in flight, none is lost"

	order $standby activate clusterdomain "$(domain $active)"
	site_wait_in_sync $standby 30
done
sites_stop_and_compare

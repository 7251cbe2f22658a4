#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: agent
# budget: 300
# Failover as an operation of the agents: to and fro under load, killed at each step, and with a dead site.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../agents.sh"

agents_up 256M

out=$(ctl a failover $VOLUME --to site-b --dry-run) || fail "a dry run: $out"
expect_match "a dry run" "$out" "demote .*would be done at 'site-a'"
has_role a active || fail "a dry run changed something"
! compgen -G "$WORK/a/state/*.json" >/dev/null || fail "a dry run left an operation on disk"
expect_fail ctl a failover $VOLUME --to site-c
expect_match "a foreign domain" "$OUT" "neither a peer"
expect_fail ctl a failback $VOLUME
expect_match "failback without a failover" "$OUT" "failover $VOLUME --to"

# Planned, under load, and back, typed at the site that was left.
mix_start a
pause_ms 700
out=$(ctl a failover $VOLUME --to site-b) || fail "a planned failover: $out"
echo "$out"
mix_wait 3 0
expect_match "its steps" "$out" "verify .*done: "
site_wait_active b
mix_verify b
site_wait_in_sync b
mix_start b
pause_ms 700
out=$(ctl a failback $VOLUME) || fail "failback: $out"
echo "$out"
mix_wait 3 0
site_wait_active a
mix_verify a
site_wait_in_sync a
step "planned to and fro: nothing is lost"

# Who is not in sync is refused, and nothing changes.
link_cut a
is_refused() { ! OUT=$(ctl a failover $VOLUME --to site-b --timeout 5 2>&1) && [[ $OUT = *refused* ]]; }
is_refused || fail "without a link: $OUT"
expect_match "without a link" "$OUT" "nothing was changed"
has_role a active || fail "a refused failover changed something"
link_heal
site_wait_in_sync a 30
step "without a link it is refused"

# The agent that does it dies at each step, before and after its order, and goes on.
active=a
for at in check demote demote:after promote promote:after verify; do
	o=$(other $active)
	agent_kill a KILL
	TANDEMFS_FAULT_OPERATION=$at agent_start a
	wait_for 10 "the agent answers" ctl a healthz
	ctl a failover $VOLUME --to "$(domain "$o")" --no-wait >/dev/null 2>&1 || [[ $at = check ]] || # then before its answer, perhaps
		fail "it does not begin ($at)"
	wait_for 20 "the agent has died at $at" eval '! pid_alive ${AGENT[a]}'
	agent_kill a KILL 2>/dev/null || :
	agent_start a
	wait_for 60 "the operation has ended ($at)" operation_ended a
	expect_eq "the operation after death at $at" "$(operation_state a)" "done"
	site_wait_active "$o"
	! is_mounted $active || fail "both sites have mounted"
	site_wait_in_sync "$o" 30
	active=$o
	step "the agent of site a died at $at: site $o is active"
done

# The other site's agent dies while the one that does it is at each step: its process stands still there, and what it
# keeps on disk says that the step runs.
stands_still() { [[ $(ps -o state= -p "${AGENT[a]}") = T* ]]; }
step_state() { # step: of the last operation
	local last
	last=$(grep -l . "$WORK"/a/state/*.json | xargs ls -t | head -n 1)
	jq -r --arg step "$1" '.steps[] | select(.name == $step) | .state' "$last"
}
for at in check demote demote:after promote promote:after verify; do
	o=$(other $active)
	agent_kill a KILL
	TANDEMFS_FAULT_OPERATION=$at:stop agent_start a
	wait_for 10 "the agent answers" ctl a healthz
	in_site a "$BIN/tandemctl" --run-dir "$WORK/a/run" failover $VOLUME --to "$(domain "$o")" --no-wait >/dev/null 2>&1 &
	asked=$!
	wait_for 20 "the agent of site a is at $at" stands_still
	was=$(step_state "${at%:after}")
	[[ $was = running || $at = check && $was = pending ]] || fail "the step $at is $was"
	agent_kill b KILL
	kill -CONT "${AGENT[a]}"
	wait "$asked" || fail "it does not begin ($at)"
	pause_ms 300
	agent_start b
	wait_for 60 "the operation has ended ($at)" operation_ended a
	state=$(operation_state a)
	if [[ $state = failed ]]; then # refused by the check, or rolled back
		case $at in verify) fail "failed at $at: $(rest a GET /v1/operations)" ;; esac
		o=$active
	fi
	site_wait_active "$o"
	! is_mounted "$(other "$o")" || fail "both sites have mounted"
	site_wait_in_sync "$o" 30
	active=$o
	step "the agent of site b died while that of site a was at $at: $state, site $o is active"
done

# And at moments that nobody chose.
for ((i = 0; i < 2; i++)); do
	o=$(other $active)
	ctl a failover $VOLUME --to "$(domain "$o")" --no-wait >/dev/null || fail "it does not begin"
	pause_ms "$(random_ms 50 500)"
	agent_kill b KILL
	pause_ms 300
	agent_start b
	wait_for 60 "the operation has ended" operation_ended a
	[[ $(operation_state a) = failed ]] && o=$active # refused by the check, or rolled back
	site_wait_active "$o"
	site_wait_in_sync "$o" 30
	step "the agent of site b died meanwhile: $(operation_state a), site $o is active"
	active=$o
done

# The active site dies, all of it.
o=$(other $active)
mix_start $active
pause_ms 500
daemon=$(daemon_of $active)
expect_eq "a daemon that started itself again, as the agent knows it" \
	"$(rest $active GET /v1/volumes/$VOLUME | head -n 1 | jq .supervision.pid)" "$daemon"
agent_kill $active KILL
kill -9 "$daemon"
mix_wait 3 0
expect_fail ctl "$o" failover $VOLUME --to "$(domain "$o")"
expect_match "a planned one from a dead site" "$OUT" "failover $VOLUME --unplanned"
begin=$(now_ns)
out=$(ctl "$o" failover $VOLUME --unplanned --yes) || fail "unplanned: $out"
echo "$out"
is_serving "$o" || fail "the survivor does not serve"
step "unplanned: site $o served after $((($(now_ns) - begin) / 1000000)) ms"
mix_verify "$o"
expect_match "the list" "$(ctl "$o" get operations)" "unplanned-failover .*done"

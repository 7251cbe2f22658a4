#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: agent
# budget: 300
# Failovers that do not come to their end: a target that lags, one that cannot be promoted, one that is cancelled, also
# while its source is dead; more at once than there are threads; and who watches them.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../agents.sh"

agents_up 128M

# A target that lags is refused; when it has caught up it can go.
link_cut a
order a deactivate clusterdomain site-b
for ((i = 0; i < 8; i++)); do head -c 1M /dev/urandom >"$(mnt a)/lag$i"; done
link_heal
heard() { [[ $(status a '.peers[0].connected') = true ]]; }
wait_for 30 "the link is back" heard
expect_fail ctl a failover $VOLUME --to site-b
expect_match "a target that was left out" "$OUT" "'site-b' is not in sync with 'site-a'"
order a activate clusterdomain site-b
tries=0
until OUT=$(ctl a failover $VOLUME --to site-b 2>&1); do
	[[ $OUT = *"not in sync"*"nothing was changed"* || $OUT = *"nothing was changed"*"not in sync"* ]] || fail "while it lags: $OUT"
	has_role a active || fail "a refused failover changed something"
	((tries++ < 300)) || fail "it never catches up: $OUT"
	pause_ms 100
done
site_wait_active b
[[ $(stat -c %s "$(mnt b)/lag7") = 1048576 ]] || fail "what was written meanwhile is not there"
site_wait_in_sync b
ctl a failback $VOLUME >/dev/null || fail "failback"
site_wait_active a
site_wait_in_sync a
step "a target that lags was refused $tries times, then it went"

# The target cannot be promoted: after its time the old active is active again, and nothing is lost. Then the same,
# and somebody cancels it.
for how in timeout cancel; do
	sum=$(sha256sum <"$(mnt a)/lag0")
	agent_kill a KILL
	TANDEMFS_FAULT_OPERATION=promote agent_start a
	wait_for 30 "the agent answers" ctl a healthz
	ctl a failover $VOLUME --to site-b --no-wait --timeout "$([[ $how = timeout ]] && echo 3 || echo 300)" >/dev/null ||
		fail "it does not begin"
	wait_for 20 "the agent has died" eval '! pid_alive ${AGENT[a]}'
	agent_kill a KILL 2>/dev/null || :
	! is_mounted a || fail "it was not demoted"
	agent_kill b KILL
	agent_start a
	wait_for 30 "the agent answers" ctl a healthz
	id=$(rest a GET /v1/operations | head -n 1 | jq -r '.operations[-1].id')
	if [[ $how = cancel ]]; then
		pause_ms 300
		expect_eq "before it is cancelled" "$(operation_state a)" running
		out=$(ctl a cancel operation "$id") || fail "cancel: $out"
		expect_match "what cancel says" "$out" "rolled back, 'site-a' is active again"
		expect_eq "on disk" "$(jq -c '[.cancelled, .state]' "$WORK/a/state/$id.json")" '[true,"failed"]'
		expect_fail ctl a cancel operation "$id"
		expect_match "cancelled twice" "$OUT" "has ended"
	fi
	wait_for 60 "the operation has ended" operation_ended a
	expect_match "its end" "$(ctl a get operations | tail -n 1)" "failed +rolled back, 'site-a' is active again"
	site_wait_active a
	expect_eq "a file" "$(sha256sum <"$(mnt a)/lag0")" "$sum"
	agent_start b
	wait_for 30 "the agent of site b" ctl b healthz
	site_wait_in_sync a
	step "without a target it is rolled back ($how)"
done

# More than there are threads, found at the start: all have their turn. What is damaged is left alone.
agent_kill a KILL
text=$(jq '.id = "1-NUMBER" | .volume = "noneNUMBER" | .state = "running" | .cancelled = false |
	.steps |= map(.state = "pending" | .start_ms = 0 | .end_ms = 0)' "$WORK/a/state/$id.json")
for ((i = 10; i < 60; i++)); do echo "${text//NUMBER/$i}" >"$WORK/a/state/1-$i.json"; done
echo '{"id":"../../x"}' >"$WORK/a/state/2-1.json"
agent_start a
wait_for 30 "the agent answers" ctl a healthz
all_ended() { [[ $(ctl a get operations -o json | jq '[.[] | select(.volume | startswith("none")) | select(.state == "failed")] | length') = 50 ]]; }
wait_for 60 "50 operations have ended" all_ended
said a "2-1.json' is left alone" || fail "a damaged operation was not told of"
rm -f "$WORK/a/state/"[12]-*.json
agent_kill a KILL
agent_start a
wait_for 30 "the agent answers" ctl a healthz
step "50 operations were resumed"

# Who watches sees each state.
watch_out=$WORK/watch.out
timeout 30 "$BIN/tandemctl" --run-dir "$WORK/a/run" get operations -w >"$watch_out" 2>&1 </dev/null &
watch=$!
pause_ms 300
ctl a failover $VOLUME --to site-b >/dev/null || fail "while somebody watches"
wait_for 10 "who watches sees its end" eval "tail -n 1 $watch_out | grep -qE 'failover +$VOLUME .* done '"
kill $watch
wait $watch 2>/dev/null || :
site_wait_in_sync b
ctl a failback $VOLUME >/dev/null || fail "failback"
site_wait_active a
site_wait_in_sync a
step "get operations -w"

# The old active's site dies when it is about to demote: what is cancelled then ends soon, so that an unplanned one can begin.
agent_kill b KILL
TANDEMFS_FAULT_OPERATION=demote agent_start b
wait_for 30 "the agent of site b" ctl b healthz
ctl b failover $VOLUME --to site-b --no-wait --timeout 300 >/dev/null || fail "it does not begin"
wait_for 20 "the agent of site b has died" eval '! pid_alive ${AGENT[b]}'
agent_kill b KILL 2>/dev/null || :
daemon=$(daemon_of a)
agent_kill a KILL
kill -9 "$daemon"
agent_start b
wait_for 30 "the agent of site b" ctl b healthz
id=$(rest b GET /v1/operations | head -n 1 | jq -r '.operations[-1].id')
expect_eq "without an answer of site a" "$(operation_state b)" running
expect_fail ctl b failover $VOLUME --unplanned --yes
expect_match "an unplanned one meanwhile" "$OUT" "operation $id of '$VOLUME' is under way: type 'tandemctl cancel operation $id'"
out=$(ctl b cancel operation "$id") || fail "cancel: $out"
expect_match "what cancel says" "$out" "cancelled; 'site-a' does not answer .* may still be demoted"
ctl b failover $VOLUME --unplanned --yes >/dev/null || fail "unplanned"
site_wait_active b
step "one that waits for a dead site is cancelled, and the unplanned one begins"

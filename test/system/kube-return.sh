#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: kube
# budget: 1500
# turn: 3
# A site that was left behind comes back when its domain was let in already, and with a namespace that has no volume: what was
# started at the other site is stopped, and nothing else.
#
# Nearly all of the budget is for the first test on a machine, which builds the API server.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../agents.sh"
. "$(dirname "$0")/../kube/lib.sh"
. "$(dirname "$0")/../kube/engines.sh"
. "$(dirname "$0")/../kube/failover.sh"

blue_on_both
for n in green both; do
	blue_allow a $n
	blue_allow b $n
	web_make $n $n
done
# What is meant to run at both sites, and what nobody copies.
kc a -n both patch ms bothschedule --type merge -p '{"spec":{"template":{"spec":{"startApplications":true}}}}' >/dev/null
for s in a b; do
	kc $s create namespace own >/dev/null
	kc $s -n own create rolebinding leader --clusterrole tandem-migrator --user leader >/dev/null
	kc $s -n own create deployment web --image x --replicas 2 >/dev/null
done
wait_for 90 "a namespace without a volume is at site b" web_is b green 0
wait_for 150 "one that runs at both sites does" web_is b both 2
everything_is() { # site, state of blue, count of green
	state_is "$1" "$2" && web_is "$1" green "$3"
}
untouched() { # where nothing is to be stopped
	local s
	for s in a b; do
		expect_eq "what is none of ours, at site $s" "$(web $s both) $(web $s own)" "2 2"
	done
}
step "namespaces with and without a volume are on both sites"

# --- site a dies, is given up, and let in again before it is back ------------------------------------------
put_file a two
daemon=$(daemon_of a)
link_silence a
kill -9 "${LEADER[a-one]}" "${AGENT[a]}" "${KUBE_PID[a-apiserver]}" "${KUBE_PID[a-etcd]}" "$daemon"
unset 'LEADER[a-one]' 'AGENT[a]'
pause_ms 1500
failover b site-a-is-dead Unplanned site-a
end_is b site-a-is-dead Successful
everything_is b "$running" 2 || fail "not started: $(state b) $(web b green)"
tctl b activate clusterdomain site-a --yes >"$WORK/activate.out" 2>&1 || fail "$(cat "$WORK/activate.out")"
none_inactive() { [[ $(volume b '.inactive | length') = 0 ]]; }
wait_for 20 "no domain is inactive" none_inactive
link_heal
kube_servers a
everything_is a "$running" 2 || fail "it is not as it died: $(state a) $(web a green)"
agent_start a
level b # it has caught up before its leader looks for the first time
is_at_b() { [[ $(volume a .active_domain) = site-b ]]; }
wait_for 30 "site a knows where the volume is" is_at_b # its agent asks a daemon that has just begun anew once a second
leader_start a
wait_for 60 "what runs at the other site is stopped" everything_is a "$stopped" 0
wait_for 20 "told" has_event a 'StoppedRunsElsewhere.*namespace/blue'
wait_for 20 "told" has_event a 'StoppedRunsElsewhere.*namespace/green'
# A leader that begins now decides the same.
leader_kill a KILL
kc a -n green scale deploy/web --replicas 2 >/dev/null
leader_start a
wait_for 60 "and by another leader" everything_is a "$stopped" 0
everything_is b "$running" 2 || fail "the active site was stopped: $(state b) $(web b green)"
untouched
step "what runs at the other site is stopped here, though its domain counts again"

# --- home again; nothing is stopped where its volumes are ---------------------------------------------------
# Also where nobody has stopped it yet: it is before the volume comes.
leader_kill a KILL
kc a -n blue scale deploy/web --replicas 3 >/dev/null
kc a -n blue scale sts/db --replicas 2 >/dev/null
failover a home Failback site-b 'namespaces: [blue]'
TANDEMFS_FAULT_FAILOVER=HandOver leader_start a
wait_for 60 "the leader dies at HandOver" eval "! pid_alive ${LEADER[a-one]}"
state_is a "$stopped" || fail "its pods would start with the mount: $(state a)"
leader_kill a KILL 2>/dev/null || :
leader_start a
end_is a home Successful
state_is a "$running" || fail "not started: $(state a)"
state_is b "$stopped" || fail "runs at both: $(state b)"
has_file a two || fail "a file is missing"
sleep 12
state_is a "$running" || fail "stopped where its volumes are: $(state a)"
kctl a perform failback -n green --from site-b >"$WORK/perform.out" 2>&1 || fail "$(cat "$WORK/perform.out")"
sleep 12
everything_is a "$running" 2 || fail "stopped at home: $(state a) $(web a green)"
untouched
step "both are home again, and stay as they are"

# --- the link is cut, and site a lives, and its pods write ----------------------------------------------------
writes() { # through one descriptor, as a pod that stays: what was answered is in $WORK/acked
	local n=0
	exec 9>>"$WORK/a/mounts/db/lines"
	while n=$((n + 1)) && echo "$n" >&9 && sync /dev/fd/9; do
		echo "$n" >>"$WORK/acked"
		sleep 0.01
	done
	echo "$n" >"$WORK/writer-ended"
}
acked() { wc -l <"$WORK/acked"; }
acked_are() { [[ $(acked) -ge $1 ]]; }
everything_is b "$stopped" 0 || fail "runs at both: $(state b) $(web b green)"
level a
: >"$WORK/acked"
writes 2>"$WORK/writer.err" &
wait_for 30 "lines are answered" acked_are 50
link_cut
sleep 2
before=$(acked)
failover b a-lives Unplanned site-a
end_is b a-lives Successful
everything_is b "$running" 2 || fail "not started: $(state b) $(web b green)"
put_file b three
cp "$WORK/b/mounts/db/lines" "$WORK/lines"
expect_eq "answered lines that site b lacks" "$(comm -23 <(sort "$WORK/acked") <(sort "$WORK/lines") | xargs)" ''
[[ $(wc -l <"$WORK/lines") -le $((before + 1)) ]] || fail "$(wc -l <"$WORK/lines") lines are at site b, and $before were answered"
everything_is a "$running" 2 || fail "nobody told site a: $(state a)"
[[ ! -e $WORK/writer-ended ]] || fail "the writer ended while nobody told it: $(cat "$WORK/writer.err")"
link_heal
wait_for 60 "the writer of site a meets an error" test -e "$WORK/writer-ended"
expect_match "which" "$(cat "$WORK/writer.err")" 'Input/output error|Transport endpoint is not connected|Software caused connection abort'
expect_eq "lines that site a answered after the fence" "$(($(acked) - before))" 0
wait_for 60 "the applications of site a are stopped" everything_is a "$stopped" 0
everything_is b "$running" 2 || fail "the active site was stopped: $(state b) $(web b green)"
tctl b activate clusterdomain site-a --yes >"$WORK/activate.out" 2>&1 || fail "$(cat "$WORK/activate.out")"
level b
kctl a perform failback -n blue >"$WORK/perform.out" 2>&1 || fail "$(cat "$WORK/perform.out")"
state_is a "$running" || fail "not started: $(state a)"
has_file a three || fail "a file is missing"
cmp "$WORK/a/mounts/db/lines" "$WORK/lines" || fail "site a has other lines than site b had"
untouched
step "site a lived and wrote while site b took over: $before lines were answered, all are there, and none since"

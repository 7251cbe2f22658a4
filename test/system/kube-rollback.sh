#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: kube
# budget: 1500
# turn: 3
# A planned Failover goes back from its HandOver: one of two volumes cannot go, and the other one has gone; it comes home when
# it can, and where it cannot, nothing that uses it is started at the source. So does one of a node that is to be emptied, to
# which an application's other volume comes along.
#
# Nearly all of the budget is for the first test on a machine, which builds the API server.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../agents.sh"
. "$(dirname "$0")/../kube/lib.sh"
. "$(dirname "$0")/../kube/engines.sh"
. "$(dirname "$0")/../kube/failover.sh"

active() { volume "$1" .active_domain "$2"; } # by the word of that site, volume
dies() { # where
	wait_for 90 "the leader dies at $1" eval "! pid_alive ${LEADER[b-one]}"
	leader_kill b KILL 2>/dev/null || :
}
out_of() { # activate or deactivate: of volume db2, the replica of site b
	rest_says "$1" "$(rest a POST "/v1/volumes/db2/$1" -d '{"domain":"site-b","yes":true}')" 200 .
}
# Until db has gone, db2 was refused, and the way back is to begin. No leader runs at site b then.
gone() { # name, further lines of the spec...
	leader_kill b KILL
	TANDEMFS_FAULT_FAILOVER=HandOver leader_start b
	failover b "$1" Planned site-a "${@:2}"
	dies HandOver
	out_of deactivate
	TANDEMFS_FAULT_FAILOVER=Rollback leader_start b
	dies Rollback
	out_of activate
	at_stage b "$1" Rollback || fail "no rollback: $(fo b "$1" '{.status}')"
	expect_eq "the volumes" "$(fo b "$1" '{.status.volumes[*].volume} {.status.volumes[*].status}')" "db db2 HandedOver Failed"
	expect_eq "where db is" "$(active b db)" site-b
}

blue_on_both db2
blue_allow a green
blue_allow b green
web_make green green
wait_for 90 "the claim of the second volume is at site b" kc b -n blue get pvc db2
wait_for 90 "the namespace without a volume is at site b" kc b -n green get deploy web
sed -i 's/^node = node-a$/node = node-a2/' "$WORK/b/volumes/db2.conf" # of two nodes of site a, by its name
kill -9 "$(daemon_of b db2)"
wait_for 30 "the second volume is on the other node" eval '[[ $(volume b ".peers[0].node" db2) = node-a2 ]]'
level a db2

# --- the link is gone for a while -----------------------------------------------------------------------
gone waits 'node: node-a2' 'namespaces: [blue, green]'
expect_match "what moves with the node" "$(fo b waits '{.status.steps[0].message}')" "2 volumes and 1 namespace go from 'site-a'"
expect_eq "who was named and has nothing there" "$(fo b waits '{.status.summary[?(@.namespace=="green")].status}: {.status.summary[?(@.namespace=="green")].reason}')" \
	"Failed: none of its volumes is on node 'node-a2'"
web_is a green 2 || fail "stopped, with nothing on the node: $(web a green)"
state_is a "$stopped" || fail "not stopped: $(state a)"
link_cut
leader_start b
wait_for 30 "the way back is refused" \
	eval '[[ $(fo b waits "{.status.volumes[?(@.volume==\"db\")].reason}") = *"nothing was changed"* ]]'
at_stage b waits Rollback || fail "it has ended without the volume: $(fo b waits '{.status.reason}')"
link_heal
end_is b waits RollbackSuccessful
expect_eq "where the volumes are" "$(active a db) $(active a db2)" "site-a site-a"
state_is a "$running" || fail "not started again: $(state a)"
web_is a green 2 || fail "not started again: $(web a green)"
state_is b "$stopped" || fail "runs at both: $(state b)"
has_file a one || fail "a file is missing"
level a
level a db2
step "a node's volume takes the other one along; what was refused the way back comes home when the link is there again"

# --- the source's daemon is gone, and stays so ----------------------------------------------------------
gone stays 'namespaces: [blue, green]'
source=$(daemon_of a)
kill -STOP "$source"
leader_start b
wait_for 30 "what has no such volume does not wait" web_is a green 2
end_is b stays RollbackFailed
expect_match "where it is, and what to type" "$(fo b stays '{.status.reason}')" \
	"rolled back only in part: volume 'db' is active at 'site-b' .*'tandemctl failover db --to site-a' hands it back"
expect_eq "the volumes" "$(fo b stays '{.status.volumes[*].status}')" "Failed Back"
expect_eq "the namespaces" "$(fo b stays '{.status.summary[*].namespace} {.status.summary[*].status}')" \
	"blue green RollbackFailed RollbackSuccessful"
expect_match "why" "$(fo b stays '{.status.summary[?(@.namespace=="blue")].reason}')" "volume 'db' is not active at 'site-a'"
state_is a "$stopped" || fail "started without its volume: $(state a)"
kill -CONT "$source"
level b
kctl b perform failover -n blue --node node-a >"$WORK/perform.out" 2>&1 || fail "$(cat "$WORK/perform.out")"
state_is b "$running" || fail "not started: $(state b)"
state_is a "$stopped" || fail "runs at both: $(state a)"
has_file b one || fail "a file is missing"
step "a volume that cannot go back is told of, its applications are not started there, and the same once more goes on"

# --- behind the hand-over a volume is taken away again ---------------------------------------------------
kctl a perform failback -n blue >"$WORK/perform.out" 2>&1 || fail "$(cat "$WORK/perform.out")"
level a
level a db2
leader_kill b KILL
TANDEMFS_FAULT_FAILOVER=Mount leader_start b
failover b partly Planned site-a 'namespaces: [blue, green]'
dies Mount
expect_eq "the volumes" "$(fo b partly '{.status.volumes[*].status}')" "HandedOver HandedOver"
tctl b failover db2 --to site-a >"$WORK/by-hand.out" 2>&1 || fail "$(cat "$WORK/by-hand.out")"
leader_start b
end_is b partly Failed
expect_match "why" "$(fo b partly '{.status.reason}')" "the rest runs here, but: .*volume 'db2' is not mounted"
expect_eq "the volumes" "$(fo b partly '{.status.volumes[*].status}')" "Mounted Failed"
expect_eq "the namespaces" "$(fo b partly '{.status.summary[*].namespace} {.status.summary[*].status}')" "blue green Failed Successful"
web_is b green 2 || fail "not started: $(web b green)"
state_is b "$stopped" || fail "started without a volume: $(state b)"
state_is a "$stopped" || fail "started without a volume: $(state a)"
step "planned: a volume that does not mount keeps stopped what uses it, and nothing else"

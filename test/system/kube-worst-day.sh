#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: kube
# budget: 1500
# turn: 3
# An unplanned Failover with all that may stand in its way: planned ones are stuck on a site whose API takes calls and never
# answers, an engine of the site that goes on is silent, and its agent may not start the applications.
#
# Nearly all of the budget is for the first test on a machine, which builds the API server.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../agents.sh"
. "$(dirname "$0")/../kube/lib.sh"
. "$(dirname "$0")/../kube/engines.sh"
. "$(dirname "$0")/../kube/failover.sh"

timed() { # what, name, milliseconds: it took less, from the making of its object on
	local ms
	ms=$(kc b get failover "$2" -o json | jq '
		def ms: (.[0:19] + "Z" | fromdate) * 1000 + (.[20:23] | tonumber);
		(.status.finishTimestamp | ms) - (.metadata.creationTimestamp | fromdate) * 1000')
	[[ $ms -lt $(($3 * ${SLOWER:-1})) ]] || fail "$1 took $ms ms: $(steps_of b "$2")"
	step "$1: $ms ms: $(steps_of b "$2")"
}
begun_after_ms() { # name: from its object, whose time is in whole seconds
	kc b get failover "$1" -o json | jq '
		def ms: (.[0:19] + "Z" | fromdate) * 1000 + (.[20:23] | tonumber);
		(.status.startTimestamp | ms) - (.metadata.creationTimestamp | fromdate) * 1000'
}
right() { # create or delete: the leader's right in the namespace
	case $1 in
	delete) kc b -n blue delete rolebinding mover >/dev/null ;;
	create) kc b -n blue create rolebinding mover --clusterrole tandem-migrator --serviceaccount blue:mover --user leader >/dev/null ;;
	esac
}

blue_on_both

# --- an engine of the site that goes on is silent: packets to it vanish ------------------------------------------
ip -n "$TAG-b" neigh replace 10.77.0.77 lladdr 02:00:00:00:00:77 dev cable nud permanent
kt b apply -f - >/dev/null <<END
---
{apiVersion: v1, kind: Node, metadata: {name: node-mute}}
---
{apiVersion: v1, kind: Pod, metadata: {name: engine-mute, labels: {app.kubernetes.io/component: engine}}, spec: {nodeName: node-mute,
  hostNetwork: true, automountServiceAccountToken: false, containers: [{name: engine, image: none}]}}
END
kube_raw b PATCH /api/v1/namespaces/tandem-system/pods/engine-mute/status -o /dev/null \
	-H 'Content-Type: application/merge-patch+json' -d '{"status":{"phase":"Running","hostIP":"10.77.0.77"}}'
# A volume of that node, as it was told of when the engine answered.
kc b apply -f - >/dev/null <<END
---
{apiVersion: tandemfs.dev/v1alpha1, kind: Volume, metadata: {name: ghost, labels: {tandemfs.dev/mirrors-volume: "true"}}, spec: {size: 64Mi}}
END
kube_raw b PATCH /apis/tandemfs.dev/v1alpha1/volumes/ghost/status -o /dev/null -H 'Content-Type: application/merge-patch+json' \
	-d '{"status":{"uuid":"5f0e5a1e-0000-4000-8000-000000000001","replicas":[{"domain":"site-b","node":"node-mute"},{"domain":"site-a","node":"node-a"}]}}'

# --- planned ones are stuck on the site that dies -----------------------------------------------------------------
pod a lingers node-a
failover b stuck Planned site-a 'namespaces: [blue]'
wait_for 90 "it waits for the pod" at_stage b stuck WaitAfterScaleDown
daemon=$(daemon_of a)
kill -STOP "${KUBE_PID[a-apiserver]}"
kill -9 "${LEADER[a-one]}" "${AGENT[a]}" "$daemon"
unset 'LEADER[a-one]' 'AGENT[a]'
failover b stuck-too Planned site-a 'namespaces: [blue]'
wait_for 20 "it begins" at_stage b stuck-too Initial
pause_ms 6000 # and has its call under way, as the first one has: it asks the silent engine before
step "site a is dead, and its API takes calls and never answers"

# --- an unplanned one waits for none of them, and does what it has the right to ---------------------------------------
right delete
failover b no-right Unplanned site-a # all that is of that site, also what cannot be looked at
end_is b no-right Failed $((120 * ${SLOWER:-1}))
timed "fenced and mounted" no-right 35000 # a call that hangs takes 30 s
[[ $(begun_after_ms no-right) -lt $((10000 * ${SLOWER:-1})) ]] || fail "begun after $(begun_after_ms no-right) ms"
expect_eq "the volumes" "$(fo b no-right '{.status.volumes[*].volume} {.status.volumes[*].status}')" "db ghost Mounted Failed"
expect_match "the one of the silent engine" "$(fo b no-right '{.status.volumes[?(@.volume=="ghost")].reason}')" \
	"no engine of 'site-b' that answers has volume 'ghost'"
has_file b one || fail "the volume is not mounted"
expect_eq "the namespace" "$(fo b no-right '{.status.summary[*].namespace} {.status.summary[*].status}')" "blue Failed"
expect_match "why" "$(fo b no-right '{.status.summary[*].reason}')" 'forbidden: User "leader" cannot .* in the namespace "blue"'
expect_match "why, of the whole" "$(fo b no-right '{.status.reason}')" 'cannot .* in the namespace "blue"'
expect_match "the silent engine is told of" "$(fo b no-right '{.status.steps[?(@.name=="Initial")].message}')" \
	"the engine of node 'node-mute' does not answer"
state_is b "$stopped" || fail "started without the right: $(state b)"
right create
kc b delete volumes.tandemfs.dev ghost >/dev/null
failover b with-right Unplanned site-a 'namespaces: [blue]'
end_is b with-right Successful $((120 * ${SLOWER:-1}))
timed "applications started" with-right 20000
state_is b "$running" || fail "not started: $(state b)"
has_file b one || fail "a file is missing"

# --- and they do not undo it ------------------------------------------------------------------------------------------
end_is b stuck Failed $((60 * ${SLOWER:-1}))
expect_match "what waited" "$(fo b stuck '{.status.reason}')" "overtaken by the unplanned Failover 'no-right': nothing is rolled back"
end_is b stuck-too Failed $((60 * ${SLOWER:-1}))
expect_match "what had only begun" "$(fo b stuck-too '{.status.reason}')" "overtaken by|use type Unplanned"
kill -CONT "${KUBE_PID[a-apiserver]}"
wait_for 60 "the API of site a answers again" kube_ready a
sleep 3
state_is a "$stopped" || fail "started again at the site that was left: $(state a)"
state_is b "$running" || fail "stopped: $(state b)"
step "what was stuck has ended, and rolled nothing back"

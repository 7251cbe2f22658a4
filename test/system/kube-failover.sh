#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: kube
# budget: 1500
# turn: 2
# Failover objects: planned and back, refused, rolled back, with a dead site; the leader killed at several stages of each.
#
# Nearly all of the budget is for the first test on a machine, which builds the API server.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../agents.sh"
. "$(dirname "$0")/../kube/lib.sh"
. "$(dirname "$0")/../kube/engines.sh"
. "$(dirname "$0")/../kube/failover.sh"
. "$(dirname "$0")/../kube/receiver.sh"

blue_on_both

# --- tandemctl of a cluster's objects --------------------------------------------------------------------
wrong() { # status, extended regular expression, site, arguments of tandemctl...
	expect_fail kctl "${@:3}"
	expect_eq "status of: ${*:4}" "$STATUS" "$1"
	expect_match "${*:4}" "$OUT" "$2"
}
for s in a b; do
	kube_certificate $s nobody /CN=nobody
	kube_config $s nobody
done
nobody() { KCTL_USER=nobody wrong "$@"; }
migration_of() { kc a -n blue get mig -o 'jsonpath={.items[0].metadata.name}'; }
expect_match "a table" "$(kctl a get migrations -n blue)" '^NAME +CLUSTERPAIR +STAGE +STATUS +VOLUMES'
expect_match "of all namespaces" "$(kctl a get mig -A | tail -n 1)" '^blue +blueschedule-interval-[0-9-]+ +remotecluster'
expect_eq "as kubectl has it" "$(kctl a get ms -n blue | tail -n 1 | tr -s ' ' | cut -d' ' -f1-4)" \
	'blueschedule bluepolicy remotecluster false'
expect_eq "for programs" "$(kctl a get mig -n blue -o json | jq -r '.[0] | .kind + " " + .spec.clusterPair')" 'Migration remotecluster'
expect_match "in YAML" "$(kctl a get clusterpair -n blue -o yaml)" 'name: "?remotecluster'
expect_match "none yet" "$(kctl a get fo)" 'No failovers found\.'
expect_match "in a namespace that is not there" "$(kctl a get mig -n nowhere)" "No migrations found in namespace 'nowhere'"
wrong 2 "there is no 'pods' here: .*failovers" a get pods
nobody 1 'forbidden' a get mig -n blue
nobody 1 'forbidden' a get mig -n blue -o json
nsenter --net="/run/netns/$TAG-a" -- "$BIN/tandemctl" get ms -n blue -w --kubeconfig "$(kube_dir a)/admin.kubeconfig" >"$WORK/watch.out" &
watch=$!
wait_for 20 "what is watched" grep -q 'remotecluster *false' "$WORK/watch.out"
expect_match "suspended" "$(kctl a suspend migrationschedule blueschedule -n blue)" 'blue/blueschedule: suspended'
expect_eq "it is" "$(kc a -n blue get ms blueschedule -o 'jsonpath={.spec.suspend}')" true
wait_for 20 "its change" grep -q 'remotecluster *true' "$WORK/watch.out"
kill "$watch"
wait "$watch" 2>/dev/null || true
at_rest() { # it copies nothing any more, and will not
	[[ $(kc a -n blue get ms blueschedule -o 'jsonpath={.status.conditions[?(@.type=="Ready")].message}') = suspended:* ]] &&
		kc a -n blue get mig -o json | jq -e 'all(.items[]; .status.stage == "Final")'
}
wait_for 60 "no run of the schedule is under way" at_rest
kc a -n blue create configmap new --from-literal a=b >/dev/null
kc a -n blue create configmap stays --from-literal a=b >/dev/null
kc a -n blue annotate configmap stays tandemfs.dev/skip-resource=true >/dev/null
kctl a create migration trial -m blueschedule -n blue --dry-run >"$WORK/trial.out" 2>&1 || fail "$(cat "$WORK/trial.out")"
expect_match "what would become of each" "$(cat "$WORK/trial.out")" 'ConfigMap +blue +new +Pending +it would be made'
expect_match "why one stays behind" "$(cat "$WORK/trial.out")" 'ConfigMap +blue +stays +Skipped +[^ ]'
expect_match "the end" "$(tail -n 1 "$WORK/trial.out")" '^trial: Successful; a dry run, nothing was changed there$'
expect_fail kc b -n blue get configmap new
expect_match "only made" "$(kctl a create migration once -c remotecluster -n blue)" "^Migration 'blue/once' is made$"
wait_for 60 "and copies" kc b -n blue get configmap new
expect_fail kctl a create migration nowhere -c none -n blue --wait
expect_match "what cannot be" "$OUT" "nowhere: Failed: .*none"
wrong 1 'migrationschedules.* "none" not found' a suspend migrationschedule none -n blue
wrong 1 'migrationschedules.* "blueschedule" not found' a resume migrationschedule blueschedule -n nowhere
wrong 1 "no MigrationSchedule of ClusterPair 'none' in namespace 'blue'" a suspend migrationschedule -c none -n blue
wrong 2 "A 'migrationschedule', not 'migration'" a suspend migration blueschedule -n blue
wrong 2 'its name, or all of a --cluster-pair' a suspend migrationschedule -n blue
nobody 1 'forbidden' a suspend migrationschedule blueschedule -n blue
nobody 1 'forbidden' a resume migrationschedule -c remotecluster -n blue

kc a -n blue create cronjob never --image x --schedule '0 * * * *' >/dev/null
kc a -n blue patch cronjob never --type merge -p '{"spec":{"suspend":true}}' >/dev/null
wrong 1 "nothing was changed: 3 workloads of namespace 'blue' run at 'site-a'" b activate migration -n blue
kc a -n blue delete cronjob never >/dev/null
state_is b "$stopped" || fail "started at both: $(state b)"
state_is a "$running" || fail "stopped: $(state a)"
expect_match "stopped" "$(kctl a deactivate migration -n blue)" 'blue: 3 workloads stopped'
pod a by-hand node-a
expect_fail kctl b activate migration -n blue --timeout 25
expect_match "its pods end first" "$OUT" "RollbackSuccessful: rolled back: .*blue/by-hand"
state_is a "$stopped" || fail "a rollback started what was stopped by hand: $(state a)"
kc a -n blue delete pod by-hand --grace-period 0 --force >/dev/null 2>&1
expect_match "started, with its volume" "$(kctl b activate migration -n blue)" 'ScaleUpDestination +Done .* 3 workloads'
state_is b "$running" || fail "not started: $(state b)"
state_is a "$stopped" || fail "runs at both: $(state a)"
has_file b one || fail "a file is missing at site b"
# Objects are seconds behind; until then it would be refused.
wait_for 60 "the volume's object says where it is active" \
	eval '[[ $(kc b get volumes.tandemfs.dev -o "jsonpath={.items[*].status.active}") != *site-a* ]]'
expect_match "once" "$(kctl b activate migrations -n blue)" 'blue: 0 workloads started'
level b
expect_match "stopped" "$(kctl b deactivate migration -n blue)" 'blue: 3 workloads stopped'
state_is b "$stopped" || fail "not stopped: $(state b)"
wait_for 60 "the volume's object of site a says so, too" \
	eval '[[ $(kc a get volumes.tandemfs.dev db -o "jsonpath={.status.active}") = site-b ]]'
expect_match "home again" "$(kctl a activate migration -n blue)" 'the applications were started here'
state_is a "$running" || fail "not started: $(state a)"
level a
expect_match "of all namespaces" "$(kctl b deactivate migration -a)" '^blue: 0 workloads stopped'
wrong 1 "there is no namespace 'nowhere'" b activate migration -n nowhere
wrong 2 'which ones' b activate migration -a -n blue
wrong 2 'takes no name' b activate migration web -n blue
wrong 2 'namespace is missing' b deactivate migration
wrong 2 "not 'failover'" b activate failover x
nobody 1 'forbidden' b deactivate migration -n blue
expect_match "resumed" "$(kctl a resume migrationschedule -c remotecluster -n blue)" 'blue/blueschedule: resumed'

wrong 1 "nothing was changed: .*there is no namespace 'nowhere'" b perform failover -n nowhere
wrong 1 "namespace 'blue' has no ClusterPair to the cluster of 'site-x'" b perform failover -n blue --from site-x
wrong 1 'apply this on the other one' b perform failover -n blue --from site-b
wrong 3 'needs --yes' b perform failover -n blue --unplanned
wrong 2 "not 'switch'" b perform switch -n blue
nobody 1 'from names it.*forbidden' b perform failover -n blue
nobody 1 'forbidden' b perform failover -n blue --from site-a
expect_eq "a dry run" "$(kctl b perform failover -n blue --dry-run -o json | jq -r '.spec.fromDomain + " " + .status.status')" \
	'site-a Successful'
expect_match "not waited for" "$(kctl b perform failover -n blue --dry-run --no-wait)" "Failover 'failover-.*' .Planned. from 'site-a'"
expect_match "all columns" "$(kctl b get failovers -o wide)" 'MORE INFO +TYPE +ELAPSED'
step "tandemctl: what is right is done, what is wrong is told"

# --- what is refused has changed nothing ----------------------------------------------------------------
failover b wrong-side Planned site-b 'namespaces: [blue]'
end_is b wrong-side Failed
expect_match "the wrong side" "$(fo b wrong-side '{.status.reason}')" "nothing was changed.*domain of this cluster"
failover b elsewhere Planned site-a 'toDomain: site-c' 'namespaces: [blue]'
end_is b elsewhere Failed
failover b try Planned site-a 'namespaces: [blue]' 'dryRun: true'
end_is b try Successful
expect_match "a dry run" "$(fo b try '{.status.reason}')" "1 volume and 1 namespace go from 'site-a' to 'site-b'"
failover b no-node Unplanned site-a 'node: node-x'
end_is b no-node Failed
expect_match "a node that nobody knows" "$(fo b no-node '{.status.conditions[?(@.type=="Failed")].message}')" \
	"nothing was changed: no volume here has its other replica on a node 'node-x' of 'site-a'; there are 'node-a'"
expect_eq "where the replicas are" "$(kc b get volumes.tandemfs.dev db -o 'jsonpath={.status.replicas[*].node}')" 'node-b node-a'
failover b try-node Unplanned site-a 'node: node-a' 'dryRun: true'
failover b no-node-planned Planned site-a 'node: node-x'
end_is b try-node Successful
expect_match "what is on the node" "$(fo b try-node '{.status.reason}')" "1 volume and 1 namespace go from 'site-a'"
end_is b no-node-planned Failed
expect_match "a node that nobody knows" "$(fo b no-node-planned '{.status.reason}')" "nothing was changed: .*on a node 'node-x' of 'site-a'; there are 'node-a'"
link_cut
failover b cut Planned site-a 'namespaces: [blue]'
end_is b cut Failed
expect_match "without a link" "$(fo b cut '{.status.reason}')" 'nothing was changed.*Unplanned'
link_heal
level a
state_is a "$running" || fail "a refused failover changed something: $(state a)"
step "what is refused has changed nothing"

# --- the webhook ----------------------------------------------------------------------------------------
hook() { # name, members of spec.webhook
	failover a "$1" Planned site-b 'volumes: [db]' 'skipSourceOperations: true' "webhook: {$2}"
}
hook_said() { # name, status, extended regular expression
	end_is a "$1" "$2" 40
	expect_match "$1" "$(fo a "$1" '{.status.reason} {.status.steps[?(@.name=="Webhook")].message}')" "$3"
}
kube_certificate b hook /CN=hook "IP:$(kube_ip b)"
receiver_start b
receiver_tls b hook
url=http://10.77.0.2:8080 tls=https://10.77.0.2:8443
hook ok "url: \"$url/ok?a=b\", onError: Fail"
hook bad "url: \"$url/bad\", onError: Fail"
hook bad-told "url: \"$url/bad\""
hook slow "url: \"$url/slow\", onError: Fail, timeoutSeconds: 1"
hook nobody "url: \"http://10.77.0.2:8081\", onError: Fail"
hook tls "url: \"$tls/a\", onError: Fail, caBundle: $(base64 -w0 <"$(kube_dir b)/ca.pem")"
hook no-bundle "url: \"$tls\", caBundle: $(base64 -w0 <<<none)"
hook_said ok Successful 'called$'
hook_said bad Failed 'the rest runs here, but: the webhook: HTTP status 500'
hook_said bad-told Successful 'HTTP status 500 .onError is Continue'
hook_said slow Failed 'the webhook: .*timed out'
hook_said nobody Failed 'the webhook: Failed to connect'
hook_said tls Successful 'called$'
hook_said no-bundle Failed 'nothing was changed: spec.webhook.caBundle'
expect_eq "what is sent" "$(jq -r '.kind + " " + .metadata.name + " " + .status.stage' "$WORK/received-ok")" 'Failover ok Webhook'
expect_match "over TLS" "$(cat "$WORK/received-tls")" '^POST /a HTTP'
receiver_tls b hook
hook other-ca "url: \"$tls/\", onError: Fail, caBundle: $(base64 -w0 <"$(kube_dir a)/ca.pem")"
hook_said other-ca Failed 'the webhook: .*certificate'
receiver_stop
step "the webhook is called; what goes wrong with it is told"

# --- planned; a pod that uses the claim is waited for ---------------------------------------------------
pod a lingers node-a
failover b slow Planned site-a 'namespaces: [blue]' 'timeoutSeconds: 60'
wait_for 90 "it waits for the pod" at_stage b slow WaitAfterScaleDown
state_is a "$stopped" || fail "the source is not stopped: $(state a)"
end_is b slow RollbackSuccessful
expect_match "why" "$(fo b slow '{.status.reason}')" 'rolled back: .*blue/lingers'
state_is a "$running" || fail "not rolled back: $(state a)"
expect_eq "the volume stayed" "$(volume a .role)" active
steps_of b slow
failover b never Planned site-a 'namespaces: [blue]'
wait_for 90 "it waits for the pod" at_stage b never WaitAfterScaleDown
kc b patch failover never --type merge -p '{"spec":{"cancel":true}}' >/dev/null
end_is b never RollbackSuccessful
expect_match "cancelled" "$(fo b never '{.status.reason}')" 'cancel'
failover b to-b Planned site-a 'namespaces: [blue]'
wait_for 90 "it waits for the pod" at_stage b to-b WaitAfterScaleDown
kc a -n blue delete pod lingers --grace-period 0 --force >/dev/null 2>&1
end_is b to-b Successful
steps_of b to-b
state_is b "$running" || fail "not started: $(state b)"
state_is a "$stopped" || fail "runs at both: $(state a)"
has_file b one || fail "a file is missing at site b"
put_file b two
wait_for 20 "an event" has_event b 'FailoverSuccessful.*failover/to-b'
expect_match "the columns" "$(kc b get fo to-b)" 'Final +Successful +the applications were started'
step "planned: the applications and the volume are at site b"

# --- and back -------------------------------------------------------------------------------------------
level b
kctl a perform failback -n blue >"$WORK/perform.out" 2>&1 || fail "$(cat "$WORK/perform.out")"
expect_match "its steps" "$(cat "$WORK/perform.out")" '^  ScaleUpDestination +Done +[0-9.]+ s  3 workloads'
expect_match "its end" "$(tail -n 1 "$WORK/perform.out")" 'failback-.*: the applications were started here; .* in all'
state_is a "$running" || fail "not started: $(state a)"
state_is b "$stopped" || fail "runs at both: $(state b)"
has_file a two || fail "a file is missing at site a"
level a
step "failback: at site a again"

# --- and the copies go on -------------------------------------------------------------------------------
web_there() { kc "$1" -n blue get deploy web -o 'jsonpath={.spec.template.spec.containers[0].image} {.metadata.annotations.tandemfs\.dev/migrationReplicas}'; }
kc a -n blue scale deploy/web --replicas 5 >/dev/null
kc a -n blue set image deploy/web '*=changed' >/dev/null
kc a -n blue patch cronjob dump --type merge -p '{"spec":{"suspend":true},"metadata":{"annotations":{"tandemfs.dev/migrationSuspend":"true"}}}' >/dev/null
kctl a create migration cycle -m blueschedule -n blue --wait >"$WORK/cycle.out" 2>&1 || fail "$(cat "$WORK/cycle.out")"
expect_match "after a failover and back" "$(tail -n 1 "$WORK/cycle.out")" '^cycle: Successful'
expect_eq "image and count" "$(web_there b)" 'changed 5'
expect_eq "and that it is suspended" "$(kc b -n blue get cronjob dump -o 'jsonpath={.metadata.annotations.tandemfs\.dev/migrationSuspend}')" true
kc b -n blue set image deploy/web '*=drifted' >/dev/null
expect_fail kctl a create migration drift -m blueschedule -n blue --wait
expect_match "what was changed there is told" "$OUT" 'drift: PartialSuccess'
kc a -n blue get migration drift -o json |
	jq '{apiVersion, kind, metadata: {name: "force"}, spec: (.spec + {forceConflicts: true})}' | kc a -n blue apply -f - >/dev/null
mig_is() { [[ $(kc "$1" -n blue get migration "$2" -o 'jsonpath={.status.status}') = "$3" ]]; } # site, name, status
wait_for 60 "and taken back where that is meant" mig_is a force Successful
expect_eq "image and count" "$(web_there b)" 'changed 5'
kc a -n blue scale deploy/web --replicas 3 >/dev/null
kc a -n blue patch cronjob dump --type merge -p '{"spec":{"suspend":false},"metadata":{"annotations":{"tandemfs.dev/migrationSuspend":null}}}' >/dev/null
failover b copies Planned site-a 'namespaces: [blue]'
end_is b copies Successful
state_is b "$running" || fail "not as it was last: $(state b)"
level b
kc b -n blue set image deploy/web '*=again' >/dev/null
kctl b resume migrationschedule blueschedule -n blue >/dev/null
image_is() { [[ $(web_there "$1") = "$2 "* ]]; }
wait_for 150 "the schedule's copy brings the image home" image_is a again
state_is a "$stopped" || fail "runs at both: $(state a)"
kctl b suspend migrationschedule blueschedule -n blue >/dev/null
kctl a perform failback -n blue >"$WORK/perform.out" 2>&1 || fail "$(cat "$WORK/perform.out")"
state_is a "$running" || fail "not started: $(state a)"
level a
step "the objects are copied on after a failover and back, and home from site b"

# --- a namespace that has another name here; the copy of the schedule says so ---------------------------
expect_eq "the schedule's copy" "$(kc b -n blue get ms blueschedule -o 'jsonpath={.spec.suspend} {.metadata.annotations.tandemfs\.dev/static-copy}')" \
	'true true'
expect_eq "its policy's" "$(kc b get sp bluepolicy -o 'jsonpath={.policy.interval.intervalMinutes}')" 1
expect_eq "and not one of a copy" "$(kc a -n blue get ms blueschedule -o 'jsonpath={.metadata.annotations.tandemfs\.dev/static-copy}')" ''
blue_allow a green
blue_allow b red
web_make green red
kc a -n green apply -f - >/dev/null <<END
---
{apiVersion: v1, kind: ReplicationController, metadata: {name: legacy}, spec: {replicas: 2, selector: {app: legacy},
  template: {metadata: {labels: {app: legacy}}, spec: {containers: [{name: x, image: x}]}}}}
END
rc_of() { kc "$1" -n "$2" get rc legacy -o 'jsonpath={.spec.replicas}'; } # site, namespace
schedule_is_there() { kc b -n red get ms greenschedule; }
wait_for 90 "the schedule's copy in the other namespace" schedule_is_there
expect_eq "the mapping, as seen from there" \
	"$(kc b -n red get ms greenschedule -o 'jsonpath={.spec.template.spec.namespaceMapping} {.spec.suspend}')" '{"red":"green"} true'
expect_eq "where it is from" "$(kc b -n red get deploy web -o 'jsonpath={.metadata.annotations.tandemfs\.dev/source-namespace}')" green
failover b no-schedule Planned site-a 'migrationScheduleReference: {name: none}'
failover b no-namespace Planned site-a 'namespaces: [nowhere]'
failover b by-schedule Planned site-a 'migrationScheduleReference: {name: greenschedule}' 'dryRun: true'
failover b by-word Planned site-a 'namespaces: [blue]' 'namespaceMapping: {blue: red}' 'dryRun: true'
end_is b no-schedule Failed
expect_match "why" "$(fo b no-schedule '{.status.reason}')" "no MigrationSchedule 'none' here.*named by namespaces"
end_is b no-namespace Failed
expect_match "why" "$(fo b no-namespace '{.status.reason}')" "no namespace 'nowhere'.*namespaceMapping"
end_is b by-schedule Successful
expect_eq "what it copies" "$(fo b by-schedule '{.status.summary[*].namespace} {.status.summary[*].sourceNamespace}')" 'red green'
end_is b by-word Successful
expect_eq "what is said" "$(fo b by-word '{.status.summary[*].namespace} {.status.summary[*].sourceNamespace}')" 'red blue'
failover b mapped Planned site-a 'namespaces: [green]'
end_is b mapped Successful
expect_eq "a ReplicationController, too" "$(rc_of b red) $(rc_of a green)" '2 0'
web_is b red 2 || fail "not started in the other namespace: $(web b red)"
web_is a green 0 || fail "runs at both: $(web a green)"
failover a unmapped Failback site-b 'namespaces: [green]'
end_is a unmapped Successful
web_is a green 2 || fail "not started: $(web a green)"
web_is b red 0 || fail "runs at both: $(web b red)"
step "a namespace that was mapped goes to its other name, and back"

# --- the leader is killed at several stages; a node is emptied, of which blue alone has a volume, and then the other one ---
here=a
for at in ScaleDownSource:after HandOver:after ScaleUpDestination; do
	to=$(other $here)
	leader_kill "$to" KILL
	TANDEMFS_FAULT_FAILOVER=$at leader_start "$to"
	name=killed-$(tr A-Z: a-z- <<<"$at")
	failover "$to" "$name" Planned "$(domain $here)" "node: node-$here"
	wait_for 150 "the leader dies at $at" eval "! pid_alive ${LEADER[$to-one]}"
	leader_kill "$to" KILL 2>/dev/null || :
	leader_start "$to"
	end_is "$to" "$name" Successful
	state_is "$to" "$running" || fail "not started: $(state "$to")"
	state_is $here "$stopped" || fail "runs at both: $(state $here)"
	has_file "$to" two || fail "a file is missing"
	expect_eq "which namespaces" "$(fo "$to" "$name" '{.status.summary[*].namespace}')" blue
	web_is a green 2 || fail "stopped, with nothing on the node: $(web a green)"
	level "$to"
	step "the leader died at $at: $(steps_of "$to" "$name")"
	here=$to
done

# --- site-a (or what is active) dies, all of it ---------------------------------------------------------
if [[ $here = b ]]; then
	failover a home Failback site-b 'namespaces: [blue]'
	end_is a home Successful
	level a
fi
put_file a three
pod b old-life node-gone
kc b -n blue delete pod old-life --grace-period 1 --wait=false >/dev/null
daemon=$(daemon_of a)
link_silence a # nobody refuses a call to it
kill -9 "${LEADER[a-one]}" "${AGENT[a]}" "${KUBE_PID[a-apiserver]}" "${KUBE_PID[a-etcd]}" "$daemon"
unset 'LEADER[a-one]' 'AGENT[a]'
pause_ms 1500
# The leader dies at four stages, once at each; while it is fenced, which takes its time, nothing of the old life goes.
deaths=(Initial Fence:after Mount ScaleUpDestination:after)
dying_start() { TANDEMFS_FAULT_FAILOVER=$(IFS=, && echo "${deaths[*]}") leader_start b; }
dies() { # where
	wait_for 60 "the leader dies at $1" eval "! pid_alive ${LEADER[b-one]}"
	leader_kill b KILL 2>/dev/null || :
	dying_start
}
leader_kill b KILL
dying_start
standby=$(daemon_of b)
kill -STOP "$standby"
begin=$(now_ns)
failover b site-a-is-dead Unplanned site-a 'node: node-a' # its only one; of the namespaces blue alone has a volume there
dies Initial
wait_for 30 "it is fenced" at_stage b site-a-is-dead Fence
sleep 1.5
seen="$(fo b site-a-is-dead '{.status.stage}') $(kc b -n blue get pod old-life -o name)"
kill -CONT "$standby"
expect_eq "while its daemon is stopped it is not fenced, and the stuck pod is there" "$seen" 'Fence pod/old-life'
for at in "${deaths[@]:1}"; do
	dies "$at"
done
wait_for 150 "the applications are started at site b" state_is b "$running"
rto=$((($(now_ns) - begin) / 1000000))
end_is b site-a-is-dead Successful
expect_eq "steps within which the leader died, and another went on" \
	"$(kc b get events --field-selector involvedObject.name=site-a-is-dead,reason=FailoverGoesOn \
		-o 'jsonpath={range .items[*]}{.message}{"\n"}{end}' | sed 's/:.*//' | sort | xargs)" "Fence Initial Mount ScaleUpDestination"
leader_kill b KILL
leader_start b
steps_of b site-a-is-dead
has_file b three || fail "what was acknowledged is missing"
put_file b four
! kc b -n blue get pod old-life >/dev/null 2>&1 || fail "the stuck pod is still there"
wait_for 20 "told" has_event b 'StuckPodsDeleted'
step "site a is dead, and the leader at site b died four times: from the object to the applications' start $rto ms"
failover b again Unplanned site-a 'namespaces: [blue]'
end_is b again Successful
step "the same once more finds it done"

# --- site-a is here again -------------------------------------------------------------------------------
link_heal
kube_servers a
state_is a "$running" || fail "it is not as it died: $(state a)"
agent_start a
wait_for 20 "the agent of site a answers" engine_answers a
leader_start a
wait_for 60 "the applications of the site that was left behind are stopped" state_is a "$stopped"
wait_for 20 "told" has_event a 'StoppedInInactiveDomain.*namespace/blue'
expect_eq "what has no volume there is left alone" "$(web a green)" 2
kc a -n blue scale deploy/web --replicas 3 >/dev/null
wait_for 60 "and stay stopped" state_is a "$stopped"
state_is b "$running" || fail "the active site was stopped: $(state b)"
tctl b activate clusterdomain site-a --yes >"$WORK/activate.out" 2>&1 || fail "$(cat "$WORK/activate.out")"
level b
kctl a perform failback -n blue >"$WORK/perform.out" 2>&1 || fail "$(cat "$WORK/perform.out")"
state_is a "$running" || fail "not started: $(state a)"
state_is b "$stopped" || fail "runs at both: $(state b)"
has_file a four || fail "a file is missing at site a"
sleep 6
state_is a "$running" || fail "stopped at the active site: $(state a)"
step "a site that was left behind is stopped, and takes over again"

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: kube
# budget: 1500
# turn: 2
# Two clusters: a namespace's objects arrive stripped and held back, unchanged ones are not sent, deleted ones go; schedules
# run, rest, forget their old runs and stop by themselves; what cannot be followed says so.
#
# Nearly all of the budget is for the first test on a machine, which builds the API server.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../kube/lib.sh"
. "$(dirname "$0")/../kube/migrate.sh"

versions() { kc b -n blue get cm,secret,svc,deploy,sts,ds,cronjob,pvc,role,rolebinding,sa,ingress -o json |
	jq -r '.items[] | select(.metadata.annotations["tandemfs.dev/resource-hash"]) |
		"\(.kind)/\(.metadata.name) \(.metadata.resourceVersion)"' | sort; }

work_new
net_new
migrate_up
# --- the pair ------------------------------------------------------------------------------------------
pair_make
expect_fail grep -q client-key "$WORK/clusterpair.yaml"
agent_config one
agent_start one
wait_for 20 "the pair is refused" pair_is "Error NotProvided"
expect_match "why" "$(kc a -n blue get cp remotecluster -o 'jsonpath={.status.conditions[0].message}')" 'no right there'
mover_allow
wait_for 20 "the pair is ready" pair_is "Ready NotProvided"
expect_match "an event" "$(kc a -n blue get events)" 'PairReady'
step "the pair is ready"

# --- what arrives ---------------------------------------------------------------------------------------
kc a apply -f - >/dev/null <<END
apiVersion: v1
kind: PersistentVolume
metadata: {name: db}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Delete
  hostPath: {path: /mnt/db/data}
  claimRef: {apiVersion: v1, kind: PersistentVolumeClaim, namespace: blue, name: db, uid: 1-2-3}
END
kc a -n blue apply -f - >/dev/null <<END
---
{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: db}, spec: {volumeName: db, storageClassName: "",
  accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}, data: {a: "1"}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: old}, data: {a: "1"}}
---
{apiVersion: v1, kind: Secret, metadata: {name: password}, stringData: {p: s3cret}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: web}}
---
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, nodePort: 30123}]}}
---
{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: web}, spec: {defaultBackend: {service: {name: web, port: {number: 80}}}}}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: reader}, rules: [{apiGroups: [""], resources: [configmaps], verbs: [get]}]}
---
{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: log}, spec: {selector: {matchLabels: {app: log}},
  template: {metadata: {labels: {app: log}}, spec: {containers: [{name: log, image: x}]}}}}
END
kc a -n blue apply -f - >/dev/null <<END
---
{apiVersion: v1, kind: ReplicationController, metadata: {name: legacy}, spec: {replicas: 2, selector: {app: legacy},
  template: {metadata: {labels: {app: legacy}}, spec: {containers: [{name: x, image: x}]}}}}
END
workloads_make a
uid=$(kc a -n blue get deploy web -o 'jsonpath={.metadata.uid}')
kc a -n blue apply -f - >/dev/null <<END
---
{apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: web-1, ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: web, uid: $uid}]},
  spec: {selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: x}]}}}}
END
kc a -n blue create rolebinding readers --role reader --user alice >/dev/null
kc b -n blue create rolebinding readers --role reader --user bob >/dev/null
migrated first Successful
expect_eq "the deployment" "$(there deploy/web '{.spec.replicas} {.metadata.annotations.tandemfs\.dev/migrationReplicas}')" '0 3'
expect_eq "the stateful set" "$(there sts/db '{.spec.replicas} {.metadata.annotations.tandemfs\.dev/migrationReplicas}')" '0 2'
expect_eq "the replication controller" "$(there rc/legacy '{.spec.replicas} {.metadata.annotations.tandemfs\.dev/migrationReplicas}')" '0 2'
expect_eq "the daemon set" "$(there ds/log '{.spec.template.spec.nodeSelector.tandemfs\.dev/held-back}')" true
expect_eq "the cron job" "$(there cronjob/dump '{.spec.suspend}')" true
expect_eq "the configuration" "$(there cm/settings '{.data.a}')" 1
expect_eq "the secret" "$(there secret/password '{.data.p}' | base64 -d)" s3cret
expect_match "its own address" "$(there svc/web '{.spec.clusterIP}')" '^10\.96\.2\.'
[[ $(there svc/web '{.spec.ports[0].nodePort}') != 30123 ]] || fail "the node port went over"
expect_eq "the volume" "$(kc b get pv db -o 'jsonpath={.spec.persistentVolumeReclaimPolicy} {.spec.claimRef.name} {.spec.claimRef.uid}')" 'Retain db '
expect_eq "the claim" "$(there pvc/db '{.spec.volumeName}')" db
expect_eq "both sides' subjects" "$(there rolebinding/readers '{.subjects[*].name}')" 'alice bob'
expect_eq "the volumes" "$(mig first '{.status.volumes[*].volume} {.status.volumes[*].status} {.status.summary.numOfMigratedVolumes}')" 'db Successful 1'
gone secret/remotecluster rs/web-1
expect_eq "finished" "$(mig first '{.status.conditions[?(@.type=="Completed")].status} {.status.conditions[?(@.type=="Completed")].observedGeneration}')" 'True 1'
expect_match "the columns" "$(kc a -n blue get mig first)" 'remotecluster +Final +Successful +1/1 +[0-9]+/[0-9]+'
expect_match "an event" "$(kc a -n blue get events)" 'MigrationSuccessful'
step "objects arrive: $(mig first '{.status.summary.resources}') in $(mig first '{.status.summary.elapsedTime}')"

# --- what is unchanged is not sent; what changed is; what was deleted goes ------------------------------
versions >"$WORK/before"
[[ $(wc -l <"$WORK/before") -ge 12 ]] || fail "too few: $(cat "$WORK/before")"
migrated second Successful
diff "$WORK/before" <(versions) || fail "something was sent though nothing had changed"
expect_eq "unchanged" "$(mig second '{.status.resources[*].status}' | tr ' ' '\n' | sort -u | tr '\n' ' ')" 'Skipped Unchanged '
kc a -n blue patch cm settings -p '{"data":{"a":"2"}}' >/dev/null
kc a -n blue scale deploy/web --replicas 5 >/dev/null
kc a -n blue delete cm/old sts/db >/dev/null
kc b -n blue create cm of-others >/dev/null
migrated third Successful
expect_eq "not purged without the word" "$(there cm/old '{.data.a}')" 1
expect_eq "what changed" "$(there cm/settings '{.data.a}')" 2
expect_eq "a new count" "$(there deploy/web '{.spec.replicas} {.metadata.annotations.tandemfs\.dev/migrationReplicas}')" '0 5'
migrated fourth Successful 'purgeDeletedResources: true'
gone cm/old sts/db
kc b -n blue get cm/of-others pvc/db >/dev/null || fail "purged what is not ours or not gone"
step "unchanged objects are not sent, deleted ones are purged"

# --- stopped by hand at the source: what it had is not forgotten at the destination ----------------------------
why() { mig "$1" "{.status.resources[?(@.kind==\"$2\")].reason}"; } # Migration, kind
count() { there deploy/web '{.spec.replicas} {.metadata.annotations.tandemfs\.dev/migrationReplicas}'; }
kc a -n blue create deployment idle --image x --replicas 0 >/dev/null
kc a -n blue scale deploy/web --replicas 0 >/dev/null
kc a -n blue patch cronjob dump -p '{"spec":{"suspend":true}}' >/dev/null
for n in by-hand by-hand-again; do
	migrated $n Successful
	expect_eq "$n: the count it had" "$(count)" '0 5'
	expect_match "$n: that is said" "$(why $n Deployment)" 'is kept'
	expect_eq "$n: the cron job ran" "$(there cronjob/dump '{.metadata.annotations.tandemfs\.dev/migrationSuspend}')" false
	expect_match "$n: that is said, too" "$(why $n CronJob)" 'is kept'
	expect_eq "$n: what never ran" "$(there deploy/idle '{.metadata.annotations.tandemfs\.dev/migrationReplicas}')" 0
done
expect_eq "it is not sent again" "$(mig by-hand-again '{.status.resources[?(@.kind=="Deployment")].status}')" 'Unchanged Unchanged'
kc a -n blue annotate deploy web tandemfs.dev/migrationReplicas=0 >/dev/null
migrated meant Successful
expect_eq "a zero that is meant" "$(count)" '0 0'
kc a -n blue annotate deploy web tandemfs.dev/migrationReplicas- >/dev/null
kc a -n blue scale deploy/web --replicas 5 >/dev/null
kc a -n blue patch cronjob dump -p '{"spec":{"suspend":false}}' >/dev/null
migrated by-hand-over Successful
expect_eq "it runs again" "$(count)" '0 5'
step "a workload that was scaled to 0 by hand keeps the count it had"

# --- failures -------------------------------------------------------------------------------------------
migrated rule Failed 'preExecRule: flush'
expect_match "a rule that is not there" "$(mig rule '{.status.conditions[?(@.type=="Failed")].message}')" "preExecRule: Rule 'flush'"
migrated elsewhere Failed 'namespaces: [kube-system]'
expect_match "another's namespace" "$(mig elsewhere '{.status.conditions[?(@.type=="Failed")].message}')" 'can only be copied'
# A right that is missing there is told, for each object that it concerns, and the rest goes over.
kc b get clusterrole tandem-migrator -o json >"$WORK/role.json"
jq '(.rules[] | select(.resources | index("secrets")) | .resources) -= ["secrets"]' "$WORK/role.json" | kc b replace -f - >/dev/null
kc a -n blue patch secret password -p '{"stringData":{"p":"new"}}' >/dev/null
kc a -n blue patch cm settings -p '{"data":{"a":"3"}}' >/dev/null
migrated denied PartialSuccess
expect_match "the denial" "$(mig denied '{.status.resources[?(@.status=="Failed")]}')" '"password".*forbidden'
expect_eq "the rest" "$(there cm/settings '{.data.a}')" 3
jq 'del(.metadata.resourceVersion)' "$WORK/role.json" | kc b replace -f - >/dev/null
# A field that somebody set there is a conflict, and is not overwritten.
kc b -n blue patch cm settings -p '{"data":{"a":"mine"}}' >/dev/null
kc a -n blue patch cm settings -p '{"data":{"a":"4"}}' >/dev/null
migrated conflict PartialSuccess
expect_match "the conflict" "$(mig conflict '{.status.resources[?(@.status=="Failed")].reason}')" 'conflict'
expect_eq "not overwritten" "$(there cm/settings '{.data.a}')" mine
kc b -n blue delete cm settings >/dev/null
step "a missing right, a conflict and what is not built are told"

# --- the agent is killed, a cluster is away -------------------------------------------------------------
kc a -n blue apply -f - >/dev/null < <(for i in {1..60}; do
	printf -- '---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: many-%d}, data: {a: "1"}}\n' "$i"
done)
link_cut
migrate away
progress() { [[ $(mig away '{.status.status} {.status.conditions[?(@.type=="Progressing")].reason}') = "$1" ]]; }
wait_for 30 "the other cluster is away" progress "InProgress Unreachable"
agent_kill KILL
link_heal
agent_config two
agent_start two
some() { kc b -n blue get cm many-5; }
wait_for 40 "the next agent takes the lease and goes on" some
agent_kill KILL
agent_start two
wait_for 30 "Migration away ends" ended away
expect_eq "after all that" "$(mig away '{.status.status}')" Successful
expect_eq "all of them" "$(kc b -n blue get cm -o name | grep -c many-)" 60
kill -STOP "${KUBE_PID[a-apiserver]}"
pause_ms 1500
kill -CONT "${KUBE_PID[a-apiserver]}"
step "killed twice and without the other cluster: it goes on"

# --- schedules ------------------------------------------------------------------------------------------
kc a apply -f "$MANIFESTS/examples/schedulepolicy.yaml" >/dev/null
kc a apply -f "$MANIFESTS/examples/migrationschedule.yaml" >/dev/null
succeeded() { [[ $(kc a -n blue get ms blueschedule -o 'jsonpath={.status.items.Interval[0].status}') = Successful ]]; }
wait_for 20 "a run of the schedule" succeeded
expect_eq "one run" "$(kc a -n blue get mig -o name | grep -c blueschedule-interval-)" 1
expect_match "the schedule" "$(kc a -n blue get ms)" 'bluepolicy +remotecluster +false +20[0-9TZ:-]+ +[0-9]+s'
expect_match "the next" "$(kc a -n blue get ms blueschedule -o 'jsonpath={.status.nextTime}')" '^20'
# Without a run that it knows of, the next one is due at once: what a person's word to rest must prevent.
of_schedule() { kc a -n blue "$1" mig -l "tandemfs.dev/migration-schedule-name=$2" "${@:3}"; } # verb, schedule, options
runs() { of_schedule get "$1" -o name | wc -l; }
schedule_is() { [[ $(kc a -n blue get ms "$1" -o "jsonpath=$2") = "$3" ]]; } # schedule, path, value
word() { kc a -n blue patch ms blueschedule --type merge -p "{\"spec\":{\"suspend\":$1}}" >/dev/null; }
word true
wait_for 20 "it rests" schedule_is blueschedule '{.status.conditions[?(@.type=="Ready")].message}' 'suspended: no further runs'
of_schedule delete blueschedule >/dev/null
pause_ms 4000
expect_eq "runs of one that rests" "$(runs blueschedule)" 0
word false
wait_for 20 "it goes on" eval '[[ $(runs blueschedule) = 1 ]]'
# The oldest runs go, whoever made them.
kc a patch sp bluepolicy --type merge -p '{"policy":{"interval":{"intervalMinutes":60,"retain":2}}}' >/dev/null
for n in run-1 run-2 run-3; do
	pause_ms 1100
	migrate $n
	kc a -n blue label mig $n tandemfs.dev/migration-schedule-name=blueschedule tandemfs.dev/migration-schedule-type=Interval >/dev/null
done
wait_for 40 "the last ones are kept" eval '[[ $(of_schedule get blueschedule -o name | xargs) = "migration.tandemfs.dev/run-2 migration.tandemfs.dev/run-3" ]]'
wait_for 20 "in the schedule, too" schedule_is blueschedule '{.status.items.Interval[*].name}' 'run-2 run-3'
step "a schedule rests at a word, and forgets its old runs"

# What passes the schema and cannot be followed says so itself.
validity() { # object, whether, generation, part of the message
	[[ $(kc a -n blue get "$1" -o 'jsonpath={.status.observedGeneration} {.status.conditions[?(@.type=="Valid")].status} {.status.conditions[?(@.type=="Valid")].message}') = "$3 $2 "*"$4"* ]]
}
kc a create -f - >/dev/null <<-END
	---
	{apiVersion: tandemfs.dev/v1alpha1, kind: SchedulePolicy, metadata: {name: never}, policy: {cron: {schedule: "99 * * * *"}}}
END
kc a -n blue create -f - >/dev/null <<-END
	---
	{apiVersion: tandemfs.dev/v1alpha1, kind: Rule, metadata: {name: idle}, rules: [{podSelector: {a: b}, actions: [{type: command, value: " "}]}]}
END
wait_for 20 "a minute that no hour has" validity sp/never False 1 99
wait_for 20 "a command that is none" validity rule/idle False 1 'rules[0].actions[0].value'
wait_for 20 "a good one" validity sp/bluepolicy True "$(kc a get sp bluepolicy -o 'jsonpath={.metadata.generation}')" 'can be followed'
kc a patch sp never --type merge -p '{"policy":{"cron":{"schedule":"9 * * * *"}}}' >/dev/null
kc a -n blue patch rule idle --type json -p '[{"op": "replace", "path": "/rules/0/actions/0/value", "value": "true"}]' >/dev/null
wait_for 20 "a policy that was mended" validity sp/never True 2 ''
wait_for 20 "a rule that was mended" validity rule/idle True 2 ''
step "policies and rules say whether they can be followed"

# Started over there: nothing may be copied over it, and the schedule stops by itself.
kc b -n blue patch deploy web --type merge -p \
	'{"spec":{"replicas":5},"metadata":{"annotations":{"tandemfs.dev/migrationReplicas":null}}}' >/dev/null
kc a -n blue scale deploy/web --replicas 7 >/dev/null
migrated activated Failed
expect_eq "why" "$(mig activated '{.status.conditions[?(@.type=="Failed")].reason}')" ApplicationActivated
expect_eq "it runs on" "$(there deploy/web '{.spec.replicas}')" 5
for n in partial rests; do
	sed "s/blueschedule/$n/" "$MANIFESTS/examples/migrationschedule.yaml" | kc a create -f - >/dev/null
done
sed 's/blueschedule/stubborn/; s/^spec:/spec:\n  autoSuspend: false/' "$MANIFESTS/examples/migrationschedule.yaml" | kc a create -f - >/dev/null
of_schedule delete blueschedule >/dev/null
wait_for 40 "the schedule stops by itself" schedule_is blueschedule '{.spec.suspend} {.status.applicationActivated}' 'true true'
wait_for 20 "which is told" has_event a 'ScheduleSuspended'
failed_run() { [[ $(of_schedule get "$1" -o 'jsonpath={.items[*].status.status}') = Failed ]]; }
wait_for 20 "one that shall not stop runs" failed_run stubborn
for n in partial rests; do
	wait_for 40 "$n stops by itself" schedule_is $n '{.spec.suspend}' true
done
suspended=$(now_ns)
# Who resumes it wants to be asked no more.
word false
of_schedule delete blueschedule >/dev/null
wait_for 20 "the next run" failed_run blueschedule
pause_ms 3000
for n in blueschedule stubborn; do
	schedule_is $n '{.spec.suspend}' false || fail "$n was suspended"
done
step "a schedule runs; what was started over there is left alone, and the schedule stops"

# Stopped over there: what suspended itself goes on, and what a person suspended meanwhile does not.
wait_for 20 "it says so" schedule_is partial '{.status.conditions[?(@.type=="Ready")].message}' \
	'suspended by itself until the applications run here again, with their volumes, and not in the other cluster: nothing is copied over what runs there'
in_site a "$BIN/tandemctl" suspend migrationschedule rests -n blue --kubeconfig "$(kube_dir a)/admin.kubeconfig" >/dev/null
looked() { (($(now_ns) > suspended + 35000000000)); } # the agent looks twice a minute
wait_for 40 "it is looked at" looked
expect_eq "while it runs there" "$(kc a -n blue get ms partial -o 'jsonpath={.spec.suspend}')" true
kc b -n blue patch deploy web --type merge -p \
	'{"spec":{"replicas":0},"metadata":{"annotations":{"tandemfs.dev/migrationReplicas":"5"}}}' >/dev/null
wait_for 90 "it goes on by itself" schedule_is partial '{.spec.suspend}' false
wait_for 20 "which is told" has_event a 'ScheduleResumed'
of_schedule delete partial >/dev/null
wait_for 40 "a run of it" eval '[[ $(of_schedule get partial -o "jsonpath={.items[*].status.status}") = *Success* ]]'
expect_eq "a person's word stays" "$(kc a -n blue get ms rests -o 'jsonpath={.spec.suspend}')" true
step "a schedule that suspended itself goes on when what ran over there was stopped"
agent_kill TERM
expect_eq "the lease is given back" "$(kc a -n tandem-system get lease tandem-agent -o 'jsonpath={.spec.holderIdentity}')" ''

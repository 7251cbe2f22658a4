#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: kube
# budget: 1500
# Failover objects: planned and back, refused, rolled back, with a dead site; the leader killed at several stages.
#
# Nearly all of the budget is for the first test on a machine, which builds the API server.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../agents.sh"
. "$(dirname "$0")/../kube/lib.sh"
. "$(dirname "$0")/../kube/engines.sh"

fo() { kc "$1" get failover "$2" -o "jsonpath=$3"; } # site, name, path
failover() { # site, name, type, from, further lines of the spec...
	{
		printf 'apiVersion: tandemfs.dev/v1alpha1\nkind: Failover\nmetadata: {name: %s}\n' "$2"
		printf 'spec:\n  type: %s\n  fromDomain: %s\n' "$3" "$4"
		printf '  %s\n' "${@:5}"
	} | kc "$1" create -f - >/dev/null
}
ended() { [[ $(fo "$1" "$2" '{.status.stage}') = Final ]]; }
at_stage() { [[ $(fo "$1" "$2" '{.status.stage}') = "$3" ]]; }
end_is() { # site, name, status [seconds]
	wait_for "${4:-150}" "Failover $2 ends" ended "$1" "$2"
	expect_eq "Failover $2: $(fo "$1" "$2" '{.status.reason}')" "$(fo "$1" "$2" '{.status.status}')" "$3"
}
steps_of() { # site, name: each with its time
	kc "$1" get failover "$2" -o json | jq -r '
		def ms: (.[0:19] + "Z" | fromdate) * 1000 + (.[20:23] | tonumber);
		"\(.status.elapsedTime): " + ([.status.steps[] | select(.endTime) |
			"\(.name) \(.state) \((.endTime | ms) - (.startTime | ms)) ms"] | join(", "))'
}
state() { # site: what runs, as the objects say
	kc "$1" -n blue get deploy/web sts/db cronjob/dump -o json |
		jq -r '[.items[] | if .kind == "CronJob" then .spec.suspend // false else .spec.replicas end | tostring] | join(" ")'
}
state_is() { [[ $(state "$1") = "$2" ]]; }
running='3 2 false' stopped='0 0 true'
has_file() { [[ $(cat "$WORK/$1/mounts/db/$2" 2>/dev/null) = "$2" ]]; } # site, name
put_file() { echo "$2" >"$WORK/$1/mounts/db/$2" && sync "$WORK/$1/mounts/db/$2"; }
volume() { rest "$1" GET /v1/volumes/db | head -n 1 | jq -r ".status | $2"; }
in_sync() { [[ $(volume "$1" '"\(.in_sync | length) \(.peers[0].connected)"') = '2 true' ]]; }
level() { wait_for 90 "both sites are in sync" in_sync "$1"; }

work_new
net_new
engines_up
tctl a create volume db --size 256M >/dev/null
level a
put_file a one

for s in a b; do
	kc $s create namespace blue >/dev/null
	kc $s -n blue create serviceaccount mover >/dev/null
	kc $s -n blue create rolebinding mover --clusterrole tandem-migrator --serviceaccount blue:mover \
		--user leader >/dev/null
	kc $s create clusterrolebinding mover --clusterrole tandem-migrator-volumes --serviceaccount blue:mover >/dev/null
	in_site $s "$BIN/tandemctl" generate clusterpair remotecluster -n blue --service-account mover \
		--kubeconfig "$(kube_dir $s)/admin.kubeconfig" >"$WORK/pair-to-$s.yaml"
done
kc a apply -f "$WORK/pair-to-b.yaml" >/dev/null
kc b apply -f "$WORK/pair-to-a.yaml" >/dev/null
kc a apply -f - >/dev/null <<END
---
{apiVersion: v1, kind: PersistentVolume, metadata: {name: db, labels: {tandemfs.dev/volume: db}}, spec: {capacity: {storage: 1Gi},
  accessModes: [ReadWriteOnce], hostPath: {path: /mnt/db/data}, claimRef: {namespace: blue, name: db}}}
END
kc a -n blue apply -f - >/dev/null <<END
---
{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: db}, spec: {volumeName: db, storageClassName: "",
  accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}
---
{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: 3, selector: {matchLabels: {app: web}},
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: x}]}}}}
---
{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: db}, spec: {serviceName: db, replicas: 2, selector: {matchLabels: {app: db}},
  template: {metadata: {labels: {app: db}}, spec: {containers: [{name: db, image: x}]}}}}
---
{apiVersion: batch/v1beta1, kind: CronJob, metadata: {name: dump}, spec: {schedule: "0 * * * *", jobTemplate: {spec: {
  template: {spec: {restartPolicy: Never, containers: [{name: dump, image: x}]}}}}}}
END
leader_start a
leader_start b
kc a apply -f "$ROOT/k8s-manifests/examples/schedulepolicy.yaml" -f "$ROOT/k8s-manifests/examples/migrationschedule.yaml" >/dev/null
wait_for 150 "the applications are at site b, stopped" state_is b "$stopped"
step "volume and applications are on both sites"

# --- what is refused has changed nothing ----------------------------------------------------------------
failover b wrong-side Planned site-b 'namespaces: [blue]'
end_is b wrong-side Failed
expect_match "the wrong side" "$(fo b wrong-side '{.status.reason}')" "nothing was changed.*domain of this cluster"
failover b elsewhere Planned site-a 'toDomain: site-c' 'namespaces: [blue]'
end_is b elsewhere Failed
failover b try Planned site-a 'namespaces: [blue]' 'dryRun: true'
end_is b try Successful
expect_match "a dry run" "$(fo b try '{.status.reason}')" "1 volume and 1 namespace go from 'site-a' to 'site-b'"
link_cut
failover b cut Planned site-a 'namespaces: [blue]'
end_is b cut Failed
expect_match "without a link" "$(fo b cut '{.status.reason}')" 'nothing was changed.*Unplanned'
link_heal
level a
state_is a "$running" || fail "a refused failover changed something: $(state a)"
step "what is refused has changed nothing"

# --- planned; a pod that uses the claim is waited for ---------------------------------------------------
pod() { # site, name, node
	kc "$1" -n blue create serviceaccount default >/dev/null 2>&1 || true
	kc "$1" -n blue apply -f - >/dev/null <<-END
		---
		{apiVersion: v1, kind: Pod, metadata: {name: $2}, spec: {nodeName: $3, automountServiceAccountToken: false,
		  containers: [{name: x, image: x}], volumes: [{name: v, persistentVolumeClaim: {claimName: db}}]}}
	END
}
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
expect_match "an event" "$(kc b get events)" 'FailoverSuccessful'
expect_match "the columns" "$(kc b get fo to-b)" 'Final +Successful +the applications were started'
step "planned: the applications and the volume are at site b"

# --- and back -------------------------------------------------------------------------------------------
level b
failover a back Failback site-b 'namespaces: [blue]'
end_is a back Successful
steps_of a back
state_is a "$running" || fail "not started: $(state a)"
state_is b "$stopped" || fail "runs at both: $(state b)"
has_file a two || fail "a file is missing at site a"
level a
step "failback: at site a again"

# --- the leader is killed at several stages -------------------------------------------------------------
here=a
for at in ScaleDownSource:after HandOver:after ScaleUpDestination; do
	to=$(other $here)
	leader_kill "$to" KILL
	TANDEMFS_FAULT_FAILOVER=$at leader_start "$to"
	name=killed-$(tr A-Z: a-z- <<<"$at")
	failover "$to" "$name" Planned "$(domain $here)" 'namespaces: [blue]'
	wait_for 150 "the leader dies at $at" eval "! pid_alive ${LEADER[$to-one]}"
	leader_kill "$to" KILL 2>/dev/null || :
	leader_start "$to"
	end_is "$to" "$name" Successful
	state_is "$to" "$running" || fail "not started: $(state "$to")"
	state_is $here "$stopped" || fail "runs at both: $(state $here)"
	has_file "$to" two || fail "a file is missing"
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
# A daemon that was demoted has started itself anew, under another name: the agent knows it.
daemon=$(rest a GET /v1/volumes/db | head -n 1 | jq .supervision.pid)
kill -9 "${LEADER[a-one]}" "${AGENT[a]}" "${KUBE_PID[a-apiserver]}" "${KUBE_PID[a-etcd]}" "$daemon"
unset 'LEADER[a-one]' 'AGENT[a]'
pause_ms 1500
begin=$(now_ns)
failover b site-a-is-dead Unplanned site-a 'namespaces: [blue]'
wait_for 150 "the applications are started at site b" state_is b "$running"
rto=$((($(now_ns) - begin) / 1000000))
end_is b site-a-is-dead Successful
steps_of b site-a-is-dead
has_file b three || fail "what was acknowledged is missing"
put_file b four
! kc b -n blue get pod old-life >/dev/null 2>&1 || fail "the stuck pod is still there"
expect_match "told" "$(kc b get events)" 'StuckPodsDeleted'
step "site a is dead: from the object to the applications' start at site b $rto ms"
failover b again Unplanned site-a 'namespaces: [blue]'
end_is b again Successful
step "the same once more finds it done"

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: kube
# budget: 1500
# turn: 3
# Two whole clusters, and a day of a user of Stork: a site dies, returns and takes over again by the single verbs of
# `kubectl tandem`, typed with nothing but kubeconfigs, with pods that write; and the schedule runs afterwards.
#
# Nearly all of the budget is for the first test on a machine, which builds the programs of Kubernetes.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../kube/lib.sh"
. "$(dirname "$0")/../kube/node.sh"
. "$(dirname "$0")/../kube/pods.sh"
. "$(dirname "$0")/../kube/walk.sh"

tandem() { # site whose cluster is meant, arguments: typed at a machine of the control plane
	in_site a env HOME="$WORK" PATH="$WORK/walk/bin:$PATH" kubectl tandem "${@:2}" \
		--kubeconfig "$(kube_dir "$1")/admin.kubeconfig"
}
typed() { # regular expression for what it says, site, arguments: it must succeed
	local out
	out=$(tandem "${@:2}" 2>&1) || fail "kubectl tandem ${*:3}: $out"
	expect_match "kubectl tandem ${*:3}" "$out" "$1"
}
counts() { # site: of the workloads
	kc "$1" -n blue get statefulset/lines deployment/web -o json | jq -r '[.items[].spec.replicas | tostring] | join(" ")'
}
counts_are() { [[ $(counts "$1") = "$2" ]]; }
lines() { # site: the file as its node sees it, where the volume is mounted
	in_node "$1" cat "/var/lib/tandemfs/mnt/$claim/data/lines" 2>/dev/null
}
writes() { # site: its pod goes on
	[[ $(lines "$1" | grep -c "of node-$1") -gt $2 ]]
}
all_write() { # site
	wait_for 90 "the pod of site $1 writes" writes "$1" "$(lines "$1" | grep -c "of node-$1" || true)"
}
holds() { # site, file: what is there begins with that
	[[ -s $2 ]] || fail "nothing was written"
	cmp -n "$(stat -c %s "$2")" <(lines "$1") "$2" || fail "what was written is not on site $1"
}
ran_after() { # time: a Migration of the schedule that began since, and has ended
	kc a -n blue get migrations -o json | jq -e --arg t "$1" \
		'[.items[] | select(.metadata.creationTimestamp > $t and .status.status == "Successful")] | length > 0'
}

command -v containerd >/dev/null || fail "no containerd here (make setup)"
work_new
net_new
kube_programs "${KUBE_CLUSTER[@]}"
"$ROOT/k8s-manifests/image.sh" build "$WORK/tandemfs.tar" localhost/tandemfs:latest "$BIN" >"$WORK/images.out" 2>&1 &
image=$!
kube_clusters_up a b
wait $image || fail "the image: $(tail -n 3 "$WORK/images.out")"
kube_import a "$WORK/tandemfs.tar"
kube_import b "$WORK/tandemfs.tar"
walk_begin
ln -s tandemctl "$WORK/walk/bin/kubectl-tandem"
walk "Install"
for s in a b; do
	wait_for 120 "tandemfs is ready on site $s" pods_ready "$s"
	wait_for 30 "one agent of site $s leads" has_leader "$s"
done
walk "A namespace on both clusters"
for s in a b; do
	wait_for 30 "the pair of site $s is ready" eval \
		'[[ $(kc '"$s"' -n blue get clusterpair/remotecluster -o "jsonpath={.status.schedulerStatus}") = Ready ]]'
done
step "installed on both clusters"

kc a -n blue apply -f - >/dev/null <<END
---
{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: data}, spec: {storageClassName: tandemfs,
  accessModes: [ReadWriteOnce], resources: {requests: {storage: 64Mi}}}}
---
{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: 2, selector: {matchLabels: {app: web}},
  template: {metadata: {labels: {app: web}}, spec: {terminationGracePeriodSeconds: 1,
    containers: [{name: web, image: "$KUBE_IMAGE", imagePullPolicy: Never, command: [sleep, "100000"]}]}}}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: lines}
spec:
  serviceName: lines
  replicas: 1
  selector: {matchLabels: {app: lines}}
  template:
    metadata: {labels: {app: lines}}
    spec:
      terminationGracePeriodSeconds: 1
      volumes:
      - {name: data, persistentVolumeClaim: {claimName: data}}
      containers:
      - name: writer
        image: $KUBE_IMAGE
        imagePullPolicy: Never
        env:
        - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
        command: [sh, -c, 'i=0; while :; do i=\$((i + 1)); echo "line \$i of \$NODE" >>/data/lines; sleep 0.1; done']
        volumeMounts:
        - {name: data, mountPath: /data}
END
kc a apply -f "$ROOT/k8s-manifests/examples/schedulepolicy.yaml" -f "$ROOT/k8s-manifests/examples/migrationschedule.yaml" >/dev/null
wait_for 90 "the claim is a volume" eval '[[ $(kc a -n blue get pvc data -o "jsonpath={.status.phase}") = Bound ]]'
# Made there some seconds after it is bound here: a site that dies before that takes the claim with it.
wait_for 90 "the claim is one of site b, too" eval '[[ $(kc b -n blue get pvc data -o "jsonpath={.status.phase}") = Bound ]]'
claim=$(kc a -n blue get pvc data -o 'jsonpath={.spec.volumeName}')
wait_for 150 "the objects are on site b, held back" counts_are b "0 0"
wait_for 60 "both domains are known" domains_are b "site-b (InSync), site-a (InSync)" ""
all_write a
step "pods write on site a"

# --- the site dies; the survivor goes on ---------------------------------------------------------------------
lines a >"$WORK/lines-a"
kube_crash a
t=$EPOCHREALTIME
typed ': Successful: site-a is deactivated for 1 volume$' b deactivate clusterdomain site-a --yes --wait
wait_for 60 "the state of the domains says so" domains_are b "site-b (InSync)" "site-a (NotInSync)"
typed '^tandemfs +site-b +site-b .InSync. +site-a .NotInSync. +' b get clusterdomainsstatus
typed 'blue: 2 workloads started' b activate migration -n blue
wait_for 90 "the pod of site b writes" writes b 0
step "two verbs, and pods write on site b after $(awk "BEGIN { printf \"%.1f\", $EPOCHREALTIME - $t }") s"
holds b "$WORK/lines-a"
counts_are b "1 2" || fail "not as they were: $(counts b)"

# --- it returns, stays out, and is let in ----------------------------------------------------------------------
kube_resume a
wait_for 90 "holder and engine of site a are back" pods_ready a
wait_for 90 "what site a ran is stopped there" counts_are a "0 0"
expect_eq "still out" "$(kc b get cds tandemfs -o 'jsonpath={.status.inactive}')" "site-a (NotInSync)"
typed 'site-a: InSync$' b activate clusterdomain site-a --wait --timeout 200
counts_are b "1 2" || fail "the site that came back stopped what runs: $(counts b)"
expect_fail tandem a activate migration -n blue
expect_match "not while it runs at the other site" "$OUT" "nothing was changed: 2 workloads of namespace 'blue' run at 'site-b'"
counts_are a "0 0" || fail "started at both: $(counts a)"
counts_are b "1 2" || fail "stopped: $(counts b)"
all_write b
step "site a is back as a standby, and its applications wait"

# --- home again -----------------------------------------------------------------------------------------------
typed 'blue: 2 workloads stopped' b deactivate migration -n blue
begun() { kc a get failovers -o name | grep -c /activate-; } # the refused one of before, too
before=$(begun)
tandem a activate migration -n blue >"$WORK/first.out" 2>&1 &
first=$!
wait_for 20 "it is under way" eval '[[ $(begun) -gt $before ]]'
typed 'it (is being|was) activated already, by Failover' a activate migration -n blue
wait $first || fail "the first word: $(cat "$WORK/first.out")"
expect_match "the first word" "$(cat "$WORK/first.out")" 'the applications were started here'
expect_eq "one Failover for both" "$(begun)" $((before + 1))
all_write a
holds a "$WORK/lines-a"
[[ $(lines a | grep -c 'of node-b') -gt 0 ]] || fail "what site b wrote is lost"
counts_are a "1 2" || fail "not as they were: $(counts a)"
counts_are b "0 0" || fail "runs at both: $(counts b)"
step "two verbs, and pods write on site a again"

# --- and the schedule runs -------------------------------------------------------------------------------------
now=$(date -u +%FT%TZ)
typed 'blue/blueschedule: resumed' a resume migrationschedule blueschedule -n blue
expect_eq "SUSPEND" "$(tandem a get migrationschedule -n blue | tail -n 1 | tr -s ' ' | cut -d' ' -f4)" false
wait_for 150 "a Migration runs to site b" ran_after "$now"
expect_eq "SUSPEND" "$(tandem a get migrationschedule -n blue | tail -n 1 | tr -s ' ' | cut -d' ' -f4)" false
expect_eq "of its copy on site b" "$(tandem b get migrationschedule -n blue | tail -n 1 | tr -s ' ' | cut -d' ' -f4)" true
counts_are b "0 0" || fail "the copy started it: $(counts b)"
all_write a
step "the schedule copies from site a again"

# --- the short words ------------------------------------------------------------------------------------------
typed "Failover 'failover-.* .Planned. from 'site-a'" b failover -n blue --dry-run
expect_fail tandem b failover data -n blue
expect_match "which one" "$OUT" "by this node's agent, and applications .* by a cluster"
counts_are b "0 0" || fail "a dry run started them: $(counts b)"
step "failover -n does what perform failover does"

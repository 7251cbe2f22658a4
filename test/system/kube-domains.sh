#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: kube
# budget: 1500
# turn: 1
# Two clusters' objects act on real volumes: the marks of nodes, the state of the domains, their activation and
# deactivation, also when the leader is killed and the other site is dead; what the leader's probes say.
#
# Nearly all of the budget is for the first test on a machine, which builds the API server.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../agents.sh"
. "$(dirname "$0")/../kube/lib.sh"
. "$(dirname "$0")/../kube/engines.sh"

probe() { # site, path: HTTP's status and the text
	in_site "$1" curl -sS -m 5 -w ' %{http_code}' "http://127.0.0.1:7444$2"
}
probe_is() { [[ $(probe "$1" "$2" 2>/dev/null) =~ $3 ]]; } # site, path, regular expression
cds() { kc "$1" get clusterdomainsstatus tandemfs -o "jsonpath=$2" 2>/dev/null; } # site, path
cds_is() { [[ $(cds "$1" "$2") = "$3" ]]; }
node_is() { # site, the label and the taints but for Kubernetes' own
	[[ $(kc "$1" get node "node-$1" -o json | jq -r '[.metadata.labels["tandemfs.dev/ready"] // "-",
		(.spec.taints // [] | .[].key | select(startswith("node.kubernetes.io") | not))] | join(" ")') = "$2" ]]
}
update() { # site, name, domain, active, further members
	kc "$1" apply -f - >/dev/null <<-END
		apiVersion: tandemfs.dev/v1alpha1
		kind: ClusterDomainUpdate
		metadata: {name: $2}
		spec: {clusterdomain: $3, active: $4${5:+, $5}}
	END
}
# As `kubectl tandem`, from a machine of the control plane: nothing of tandemfs runs on it.
plugin() { # site, arguments
	in_site "$1" env HOME="$WORK" PATH="$WORK/plugins:$PATH" "$KUBE/kubectl" tandem "${@:2}" \
		--kubeconfig "$(kube_dir "$1")/admin.kubeconfig"
}
cdu() { kc "$1" get clusterdomainupdate "$2" -o "jsonpath=$3"; }
cdu_is() { [[ $(cdu "$1" "$2" '{.status.status}') = "$3" ]]; }
level() { [[ $(tctl "$1" status -o json | jq -c '[.[] | .in_sync | length] | unique') = "[2]" ]]; }
role_of() { tctl "$1" status -o json | jq -r ".[] | select(.volume == \"$2\") | .role"; }
both_active() { [[ $(role_of "$1" db) = active && $(role_of "$1" web) = active ]]; }

work_new
net_new
LEADER_MORE=("probes = 127.0.0.1:7444" "[peer site-x]" "agent = 10.9.9.9:7401")
engines_up
mkdir "$WORK/plugins"
ln -s "$BIN/tandemctl" "$WORK/plugins/kubectl-tandem"

# --- nodes -----------------------------------------------------------------------------------------------
kc a taint node node-a tandemfs.dev/not-ready=:NoSchedule other=x:NoSchedule >/dev/null
engine_announce a False
leader_start a
wait_for 20 "the leader is ready" probe_is a /readyz '^ok. 200$'
probe_is a /healthz '^ok. 200$' || fail "not healthy: $(probe a /healthz)"
wait_for 20 "its metrics" probe_is a /metrics 'tandem_kube_leader 1.*tandem_kube_migrations.status="Failed". 0'
for w in own ca; do
	wait_for 20 "when the certificate ($w) ends" \
		probe_is a /metrics "tandem_cert_expiry_timestamp_seconds.domain=\"site-a\",which=\"$w\". [0-9]{10}"
done
expect_match "what is no path" "$(probe a /v1/status)" '404$'
sleep 2
node_is a "- tandemfs.dev/not-ready other" || fail "the taint went before the engine was ready"
engine_announce a True
wait_for 20 "the node is marked" node_is a "true other"
engine_announce a False
wait_for 20 "it is noted since when its engine is not ready" eval \
	'kc a get node node-a -o json | jq -e ".metadata.annotations[\"tandemfs.dev/not-ready-since\"]"'
node_is a "true other" || fail "an engine that is away for a moment changes the label"
kc a annotate --overwrite node node-a tandemfs.dev/not-ready-since=2020-01-01T00:00:00Z >/dev/null
wait_for 20 "the label is off" node_is a "false other"
engine_announce a True
wait_for 20 "and on again" node_is a "true other"
step "the node is marked as its engine is"

# --- the domains -------------------------------------------------------------------------------------------
wait_for 20 "domains are known without volumes" cds_is a '{.status.active}' "site-a (InSync), site-x (SyncStatusUnknown)"
leader_kill a 15
sed -i '/site-x/,+1d' "$WORK/a/leader-one/agent.conf"
kc a delete clusterdomainsstatus tandemfs >/dev/null
tctl a create volume db --size 64M >"$WORK/create.out" 2>&1 || fail "$(cat "$WORK/create.out")"
tctl a create volume web --size 64M >"$WORK/create.out" 2>&1 || fail "$(cat "$WORK/create.out")"
wait_for 30 "the sites are level" level a
leader_start a
leader_start b
for s in a b; do
	wait_for 30 "both are active and in sync, at site $s" \
		eval "[[ \$(cds $s '{.status.active}') = *'site-a (InSync)'* && \$(cds $s '{.status.active}') = *'site-b (InSync)'* ]]"
	expect_eq "local domain" "$(cds $s '{.status.localDomain}')" "site-$s"
	expect_eq "quorum" "$(cds $s '{.status.conditions[?(@.type=="Quorum")].status}')" True
done
expect_eq "volumes" "$(cds a '{.status.clusterDomainInfos[*].volumesInSync}')" "2 2"
expect_match "columns" "$(kc a get cds)" 'LOCAL-DOMAIN +ACTIVE +INACTIVE'
expect_match "as tandemctl has them of the cluster" "$(plugin a get cds | head -n 1)" '^NAME +LOCAL-DOMAIN +ACTIVE +INACTIVE +CREATED$'
expect_match "and of a node" "$(tctl a get cds | head -n 1)" '^NAME +LOCAL-DOMAIN +ACTIVE +INACTIVE +CREATED$'
for get in plugin tctl; do
	expect_match "wide" "$($get a get cds -o wide)" 'site-a 2/2, site-b 2/2 +all domains count'
	expect_eq "for programs" "$($get a get cds -o json | jq -r '.kind + " " + .status.localDomain')" "ClusterDomainsStatus site-a"
done
# One that was late to answer may be told of meanwhile, once.
still() { # command that says a member of an object: the object stays as it is for three seconds
	local v
	v=$("$@" '{.metadata.resourceVersion}') && sleep 3 && [[ $("$@" '{.metadata.resourceVersion}') = "$v" ]]
}
wait_for 10 "what is as it was is not written" still cds a
step "both domains are active"

# --- volumes as objects ---------------------------------------------------------------------------------
vol() { kc "$1" get volumes.tandemfs.dev "$2" -o "jsonpath=$3" 2>/dev/null; } # site, name, path
vol_is() { [[ $(vol "$1" "$2" "$3") = "$4" ]]; }
vol_gone() { ! kc "$1" get volumes.tandemfs.dev "$2" >/dev/null 2>&1; }
for s in a b; do
	wait_for 20 "site $s mirrors db" vol_is $s db '{.status.phase} {.status.active} {.status.inSync}' "Ready site-a site-a, site-b"
done
expect_eq "spec of the mirror" "$(vol a db '{.spec.size} {.spec.ack}')" "67108864 op"
expect_match "path" "$(vol a db '{.status.path}')" "/a/mounts/db$"
expect_eq "replicas" "$(vol b db '{.status.replicas[*].domain} {.status.replicas[*].role}')" "site-b site-a standby active"
kc a apply -f - >/dev/null <<-END
	apiVersion: tandemfs.dev/v1alpha1
	kind: Volume
	metadata: {name: mine}
	spec: {size: 64Mi, ack: fsync, uid: 999, gid: 998, mode: "0750", reclaimPolicy: Delete}
	---
	apiVersion: tandemfs.dev/v1alpha1
	kind: Volume
	metadata: {name: kept}
	spec: {size: 64Mi}
	---
	apiVersion: tandemfs.dev/v1alpha1
	kind: Volume
	metadata: {name: small}
	spec: {size: 1Mi}
END
for v in mine kept; do
	wait_for 60 "$v is made" vol_is a $v '{.status.phase} {.status.sizeBytes}' "Ready 67108864"
	wait_for 30 "site b mirrors $v" vol_is b $v '{.status.phase} {.metadata.labels.tandemfs\.dev/mirrors-volume}' "Ready true"
done
wait_for 30 "one that is too small is refused" vol_is a small '{.status.phase} {.status.message}' "Failed size: 64M or more is needed"
kc a delete volumes.tandemfs.dev small >/dev/null
for d in mine mine/data; do
	expect_eq "owner and mode of $d" "$(stat -c '%u:%g %a' "$WORK/a/mounts/$d")" "999:998 750"
done
expect_eq "its ack" "$(tctl a status mine -o json | jq -r '.[0].ack')" fsync
kc a patch volumes.tandemfs.dev mine --type merge -p '{"spec":{"size":"80Mi"}}' >/dev/null
wait_for 30 "mine grows" vol_is a mine '{.status.sizeBytes}' 83886080
wait_for 30 "and its mirror" vol_is b mine '{.spec.size}' 83886080
# While it is active at the other site it is in use there.
tctl a demote mine --yes >/dev/null
tctl b promote mine --yes >/dev/null
wait_for 30 "site b mounts mine" mountpoint -q "$WORK/b/mounts/mine"
leader_kill a 9
kc a delete volumes.tandemfs.dev mine kept --wait=false >/dev/null
leader_start a
wait_for 30 "mine is in use elsewhere" eval "[[ \$(vol a mine '{.status.message}') = *\"active at 'site-b'\"*force-delete=true* ]]"
sleep 2
for s in a b; do
	[[ -e $WORK/$s/volumes/mine.conf ]] || fail "the replica of mine at site $s is removed"
done
tctl b demote mine --yes >/dev/null
tctl a promote mine --yes >/dev/null 2>&1 || true # it may be deleted before that
wait_for 60 "mine is deleted" vol_gone a mine
wait_for 30 "and what mirrored it" vol_gone b mine
expect_match "its replicas" "$(tctl a status mine 2>&1 || true)" "is not running here"
wait_for 30 "the volume that is retained is mirrored" vol_is a kept '{.status.phase} {.metadata.labels.tandemfs\.dev/mirrors-volume}' "Ready true"
tctl a delete volume kept --yes >"$WORK/delete.out" 2>&1 || fail "$(cat "$WORK/delete.out")"
wait_for 30 "its mirror goes with it" vol_gone a kept
# The kind itself goes, as with all of an install, and its objects with it: nobody meant their data.
kc a apply -f - >/dev/null <<-END
	apiVersion: tandemfs.dev/v1alpha1
	kind: Volume
	metadata: {name: stays}
	spec: {size: 64Mi, reclaimPolicy: Delete}
END
wait_for 60 "stays is made" vol_is a stays '{.status.phase} {.metadata.finalizers}' 'Ready ["tandemfs.dev/protect"]'
kc a delete crd volumes.tandemfs.dev --wait=false >/dev/null
wait_for 60 "the kind is gone" eval '! kc a get crd volumes.tandemfs.dev'
kc a apply -f "$ROOT/k8s-manifests/base/crds/volume.yaml" >/dev/null
wait_for 60 "a mirror says that the volume is there" vol_is a stays '{.status.phase} {.metadata.labels.tandemfs\.dev/mirrors-volume}' "Ready true"
for s in a b; do
	[[ -e $WORK/$s/volumes/stays.conf ]] || fail "the replica of stays at site $s is removed"
done
tctl a delete volume stays --yes >"$WORK/delete.out" 2>&1 || fail "$(cat "$WORK/delete.out")"
wait_for 30 "its mirror goes with it" vol_gone a stays
wait_for 30 "db is mirrored again" vol_is a db '{.status.phase}' Ready
wait_for 10 "an idle volume's object is not written" still vol a db
step "volumes are objects, and objects are volumes"

# --- from a site that has nothing active, nothing is copied -----------------------------------------------------
ms() { kc "$1" -n blue get ms mine -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status} {.status.conditions[?(@.type=="Ready")].reason}'; }
ms_is() { [[ $(ms "$1") = "$2" ]]; }
for s in a b; do
	kc $s create namespace blue >/dev/null
	kc $s create -f - >/dev/null <<-END
		---
		{apiVersion: tandemfs.dev/v1alpha1, kind: SchedulePolicy, metadata: {name: often}, policy: {interval: {intervalMinutes: 1}}}
		---
		{apiVersion: tandemfs.dev/v1alpha1, kind: MigrationSchedule, metadata: {name: mine, namespace: blue},
		  spec: {schedulePolicyName: often, template: {spec: {clusterPair: none}}}}
	END
done
wait_for 20 "the active site begins a run" eval '[[ -n $(kc a -n blue get mig -o name) ]]'
wait_for 20 "the schedule of the active site says so" ms_is a "True Scheduled"
wait_for 20 "the schedule of the standby rests" ms_is b "False DomainStandby"
update a out site-b false
wait_for 40 "site b is deactivated" cdu_is a out Successful
wait_for 30 "an inactive domain's schedule, too" ms_is b "False DomainInactive"
expect_eq "runs there" "$(kc b -n blue get mig -o name)" ""
kc b create -f - >/dev/null <<-END
	---
	{apiVersion: tandemfs.dev/v1alpha1, kind: Migration, metadata: {name: by-hand, namespace: blue}, spec: {clusterPair: none}}
END
wait_for 20 "nor by hand" eval '[[ $(kc b -n blue get mig by-hand -o "jsonpath={.status.conditions[?(@.type==\"Failed\")].message}") = *"this domain is inactive"* ]]'
update a in site-b true
wait_for 40 "site b is activated" cdu_is a in Successful
wait_for 60 "the sites are level again" level a
wait_for 30 "it is a standby as before" ms_is b "False DomainStandby"
for s in a b; do
	kc $s delete namespace blue --wait=false >/dev/null
	kc $s -n blue delete ms mine >/dev/null
done
step "a site that is standby or inactive copies nothing"

# --- what is refused ---------------------------------------------------------------------------------------
update a nonsense site-z false
wait_for 20 "a domain that nobody has" cdu_is a nonsense Failed
expect_match "why" "$(cdu a nonsense '{.status.reason}')" "none of the 2 volumes .* domain 'site-z'"
update a own site-a false
wait_for 40 "the active side itself" cdu_is a own Failed
expect_match "why" "$(cdu a own '{.status.reason}')" 'is the active side'
expect_fail plugin a deactivate clusterdomain site-z --yes --wait
expect_match "tandemctl says so" "$OUT" "deactivate-site-z-.*: Failed: none of the 2 volumes .* domain 'site-z'"
expect_fail plugin a deactivate clusterdomain site-b
expect_match "asks" "$OUT" "going on without 'site-b' needs --yes"
expect_eq "and makes nothing" "$(kc a get cdu -o name | wc -l)" 5
expect_match "none is inactive" "$(plugin a activate clusterdomain --all --wait)" '^no domain is inactive$'
expect_eq "nothing has changed" "$(cds a '{.status.inactive}')" ""
step "what makes no sense is refused"

# --- a dry run changes nothing --------------------------------------------------------------------------
update a own-dry site-a false 'dryRun: true'
update a dry site-b false 'dryRun: true'
wait_for 40 "a dry run that nobody refuses" cdu_is a dry Successful
expect_eq "what it says" "$(cdu a dry '{.status.action}: {.status.reason}')" \
	"Deactivate: dry run: site-b would be deactivated for 2 volumes; nothing was changed"
expect_eq "the volumes" "$(cdu a dry '{range .status.volumes[*]}{.name} {.node} {.wouldSucceed},{end}')" "db node-a true,web node-a true,"
wait_for 40 "one that is refused" cdu_is a own-dry Failed
expect_match "why" "$(cdu a own-dry '{.status.reason}')" "^dry run: 0 of 2 volumes would do it; volume 'db': .*is the active side"
expect_eq "the volumes" "$(cdu a own-dry '{.status.volumes[*].wouldSucceed}')" "false false"
before=$(kc a get cdu -o name | wc -l)
plugin a deactivate clusterdomain site-b --dry-run >"$WORK/dry.out" 2>&1 || fail "$(cat "$WORK/dry.out")"
expect_match "what tandemctl says of each" "$(grep -v ^ClusterD "$WORK/dry.out" | tr '\n' '|')" \
	'^db: active here already.*.web: active here already.*: Successful: dry run: site-b would be deactivated for 2 volumes; nothing was changed.$'
expect_fail plugin a activate clusterdomain site-z --dry-run
expect_match "a domain that nobody has" "$OUT" ': Failed: dry run: none of the 2 volumes'
expect_eq "its objects are gone" "$(kc a get cdu -o name | wc -l)" "$before"
plugin a deactivate clusterdomain site-b --dry-run --name kept >"$WORK/dry.out" 2>&1 || fail "$(cat "$WORK/dry.out")"
expect_eq "but for one with a name" "$(cdu a kept '{.spec.dryRun} {.status.status}')" "true Successful"
kc a patch clusterdomainupdate kept --type merge -p '{"spec":{"dryRun":false}}' >/dev/null
wait_for 20 "it is not carried out afterwards" eval \
	'[[ $(cdu a kept "{.status.conditions[?(@.type==\"Progressing\")].message}") = *"not carried out again"* ]]'
expect_eq "nothing has changed" "$(cds a '{.status.inactive}')" ""
level a || fail "a dry run has changed the in-sync sets"
# Kinds of an older build forget the member, and any agent would carry it out.
kc a patch crd clusterdomainupdates.tandemfs.dev --type json -p \
	'[{"op":"remove","path":"/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/dryRun"}]' >/dev/null
wait_for 30 "it is not made there" eval '! plugin a deactivate clusterdomain site-b --dry-run >"$WORK/dry.out" 2>&1'
expect_match "why" "$(cat "$WORK/dry.out")" 'dryRun|is of an older build'
kc a apply -f "$ROOT/k8s-manifests/base/crds/clusterdomainupdate.yaml" >/dev/null
wait_for 30 "and is again" plugin a deactivate clusterdomain site-b --dry-run
expect_eq "nothing has changed" "$(cds a '{.status.inactive}')" ""
step "a dry run says what each volume would do, and changes nothing"

# --- the other site dies, and the leader while it acts -----------------------------------------------------
kc b apply -f - >/dev/null <<-END
	apiVersion: tandemfs.dev/v1alpha1
	kind: Volume
	metadata: {name: left}
	spec: {size: 64Mi, reclaimPolicy: Delete}
END
wait_for 60 "one of site b is made" vol_is b left '{.status.phase}' Ready
kill -9 "${AGENT[a]}" "${LEADER[a-one]}" "${KUBE_PID[a-apiserver]}" "${KUBE_PID[a-etcd]}"
wait "${AGENT[a]}" "${LEADER[a-one]}" "${KUBE_PID[a-apiserver]}" "${KUBE_PID[a-etcd]}" 2>/dev/null || true
for p in $(daemon_of a); do kill -9 "$p"; done
unset "AGENT[a]" "LEADER[a-one]"
wait_for 20 "site b misses it" eval '[[ $(cds b "{.status.conditions[?(@.type==\"Quorum\")].status}") = False ]]'
wait_for 30 "what would become of it" eval 'plugin b deactivate clusterdomain site-a --dry-run >"$WORK/dry.out" 2>&1'
expect_match "each volume" "$(tr '\n' '|' <"$WORK/dry.out")" '.db: .*promoted.*.web: .*promoted.*dry run: site-a would be deactivated for 3 volumes; nothing was changed'
expect_eq "nothing is promoted" "$(role_of b db)" standby
leader_kill b 9
# An agent of an older build has not said that it knows a dry run.
kube_raw b PATCH /apis/tandemfs.dev/v1alpha1/clusterdomainsstatuses/tandemfs/status -o /dev/null \
	-H 'Content-Type: application/merge-patch+json' -d '{"status":{"updateDryRun":null}}'
expect_fail plugin b deactivate clusterdomain site-a --dry-run
expect_match "none is made for it" "$OUT" 'the agent of this cluster is of an older build'
expect_eq "nor was" "$(kc b get cdu -o name)" ""
t=$EPOCHREALTIME
update b lost site-a false
leader_start b
wait_for 40 "site a is deactivated" cdu_is b lost Successful
wait_for 20 "site b serves both" both_active b
step "deactivated $(awk "BEGIN { printf \"%.1f\", $EPOCHREALTIME - $t }") s after the word, with a leader that had to start"
wait_for 20 "the status says so" cds_is b '{.status.inactive}' "site-a (NotInSync)"
expect_match "what to do" "$(cds b '{.status.clusterDomainInfos[?(@.name=="site-a")].message}')" 'tandemctl activate clusterdomain site-a'
expect_match "events" "$(kc b get events -A)" 'DomainDeactivated'
expect_eq "times" "$(cdu b lost '{.status.startTimestamp}{.status.finishTimestamp}' | wc -c)" 40
leader_kill b 9
before=$(cdu b lost '{.metadata.resourceVersion}')
leader_start b
wait_for 30 "the next leader works" probe_is b /metrics 'tandem_kube_domain_active.domain="site-a". 0'
expect_eq "it was carried out once" "$(cdu b lost '{.metadata.resourceVersion}')" "$before"
kc b patch clusterdomainupdate lost --type merge -p '{"spec":{"active":true}}' >/dev/null
wait_for 20 "changing it afterwards is answered" eval \
	'[[ $(cdu b lost "{.status.conditions[?(@.type==\"Progressing\")].message}") = *"not carried out again"* ]]'
expect_eq "and does nothing" "$(cds b '{.status.inactive}')" "site-a (NotInSync)"
step "a dead site is deactivated once"

# --- a Volume that is deleted without the other site --------------------------------------------------------
kc b delete volumes.tandemfs.dev left --wait=false >/dev/null
wait_for 40 "the way out is told" eval \
	"[[ \$(vol b left '{.status.message}') = *'kubectl annotate volumes.tandemfs.dev left tandemfs.dev/delete-local=true'* ]]"
[[ -e $WORK/b/volumes/left.conf ]] || fail "it was removed though the other site was away"
kc b annotate volumes.tandemfs.dev left tandemfs.dev/delete-local=true >/dev/null
wait_for 40 "it is gone" vol_gone b left
[[ ! -e $WORK/b/volumes/left.conf ]] || fail "its replica is left"
[[ -e $WORK/a/volumes/left.conf ]] || fail "the replica of the other site was touched"
step "a Volume is deleted without the other site, which is gone for ever"

# --- it comes back -----------------------------------------------------------------------------------------
agent_start a
wait_for 20 "the agent of site a answers" engine_answers a
tctl a delete volume left --local --yes >"$WORK/delete.out" 2>&1 || fail "$(cat "$WORK/delete.out")"
sleep 2
expect_eq "it stays out" "$(cds b '{.status.inactive}' | cut -d' ' -f1)" site-a
plugin b activate clusterdomain --all --wait --timeout 100 >"$WORK/activate.out" 2>&1 || fail "$(cat "$WORK/activate.out")"
expect_eq "the last word" "$(tail -n 1 "$WORK/activate.out")" 'site-a: InSync'
expect_match "in the cluster's words" "$(cds b '{.status.active}')" '^site-b \(InSync\), site-a \(InSync\)'
expect_match "the object" "$(plugin b get cdu)" 'activate-site-a-.* site-a +Activate +Successful'
wait_for 60 "both are in sync" both_active b
expect_eq "inactive ones" "$(cds b '{.status.inactive}')" ""
step "the site that came back is in sync"

# --- and is left out and let in again by a machine of the control plane --------------------------------------
plugin b deactivate clusterdomain site-a --yes --wait --name out >"$WORK/deactivate.out" 2>&1 || fail "$(cat "$WORK/deactivate.out")"
expect_match "what was done" "$(cat "$WORK/deactivate.out")" '^out: Successful: site-a is deactivated for 2 volumes$'
wait_for 20 "the status says so" eval '[[ $(cds b "{.status.inactive}") = "site-a"* ]]'
expect_match "wide" "$(plugin b get cds -o wide)" 'site-b 2/2, site-a 0/2, .* site-a is out until it is activated'
expect_match "only told" "$(plugin b activate cd site-a)" "^ClusterDomainUpdate 'activate-site-a-.*': the cluster is told to activate 'site-a'$"
wait_for 60 "both are in sync again" eval '[[ $(cds b "{.status.active}") = "site-b (InSync), site-a (InSync)"* ]]'
step "kubectl tandem: a domain is deactivated and activated in the cluster that is named"

# --- the API goes away: not ready, and alive ---------------------------------------------------------------
kill -STOP "${KUBE_PID[b-apiserver]}"
wait_for 60 "the leader is not ready" probe_is b /readyz '503$'
expect_match "why" "$(probe b /readyz)" 'API has not answered'
probe_is b /healthz '200$' || fail "the API's absence makes it unhealthy"
kill -CONT "${KUBE_PID[b-apiserver]}"
wait_for 60 "and is again" probe_is b /readyz '200$'
leader_kill b 15
step "the API was away"

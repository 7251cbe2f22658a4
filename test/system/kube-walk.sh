#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: kube
# budget: 1500
# alone
# The whole walk-through with two clusters and a database: installed, provisioned, copied, the site killed under load, switched
# over, and back; nothing that was answered is lost. Its commands are those of the README.
#
# Nearly all of the budget is for the first test on a machine, which builds the programs of Kubernetes.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../kube/lib.sh"
. "$(dirname "$0")/../kube/node.sh"
. "$(dirname "$0")/../kube/mariadb.sh"

ctl() { # site, arguments: as an administrator of that cluster
	in_site "$1" "$BIN/tandemctl" "${@:2}" --kubeconfig "$(kube_dir "$1")/admin.kubeconfig"
}
pods_ready() { # site
	kt "$1" get daemonsets -o json | jq -e '[.items[].status |
		.numberReady == 1 and .desiredNumberScheduled == 1 and .updatedNumberScheduled == 1] == [true, true]' &&
		kt "$1" get deployment tandem-agent -o json | jq -e '.status.readyReplicas >= 1'
}
is() { # site, namespace, object, path, value
	[[ $(kc "$1" -n "$2" get "$3" -o "jsonpath={$4}") = "$5" ]]
}
ended() { # site, failover
	[[ $(kc "$1" get failover "$2" -o 'jsonpath={.status.stage}') = Final ]]
}
answers() { mariadb_query "$1" "SELECT 1"; } # site
writes_on() { # site, acked before
	[[ $(mariadb_acked "$1") -gt $(($2 + 20)) ]]
}

echo "seed $SEED"
command -v containerd >/dev/null || fail "no containerd here (make setup)"
work_new
net_new
kube_programs "${KUBE_CLUSTER[@]}"
{
	"$ROOT/k8s-manifests/image.sh" build "$WORK/tandemfs.tar" localhost/tandemfs:latest "$BIN"
	mariadb_image
} >"$WORK/images.out" 2>&1 &
images=$!
kube_clusters_up a b
wait $images || fail "the images: $(tail -n 3 "$WORK/images.out")"

# --- install ----------------------------------------------------------------------------------------------
"$BIN/tandemctl" generate spec site-a="$(kube_ip a)" site-b="$(kube_ip b)" --config-dir "$WORK/spec" >/dev/null
for s in a b; do
	kube_import "$s" "$WORK/tandemfs.tar"
	kube_import "$s" "$WORK/mariadb.tar"
	# What the pods want to mount is there before them: a mount that failed is tried again ever later.
	kc "$s" apply -f "$ROOT/k8s-manifests/base/namespace.yaml" -f "$WORK/spec/site-$s.yaml" >/dev/null
	kc "$s" apply -k "$ROOT/k8s-manifests/base" >/dev/null
done
for s in a b; do
	wait_for 120 "tandemfs is ready on site $s" pods_ready "$s"
done
step "installed on both clusters"

# --- namespace blue on both, and a way from each to the other ---------------------------------------------
kc a apply -f "$ROOT/k8s-manifests/examples/mariadb.yaml" >/dev/null
kc b create namespace blue >/dev/null
for s in a b; do
	o=$(other "$s")
	kc "$s" -n blue create serviceaccount "site-$o" >/dev/null
	kc "$s" -n blue create rolebinding "site-$o" --clusterrole tandem-migrator --serviceaccount "blue:site-$o" >/dev/null
	kc "$s" create clusterrolebinding "tandem-site-$o" --clusterrole tandem-migrator-volumes \
		--serviceaccount "blue:site-$o" >/dev/null
	kc "$s" -n blue create rolebinding tandem --clusterrole tandem-migrator \
		--serviceaccount tandem-system:tandem-agent >/dev/null
	ctl "$s" generate clusterpair remotecluster -n blue --service-account "site-$o" >"$WORK/pair-$o.yaml"
done
for s in a b; do
	kc "$s" apply -f "$WORK/pair-$s.yaml" >/dev/null
	wait_for 30 "the pair of site $s is ready" is "$s" blue clusterpair/remotecluster .status.schedulerStatus Ready
done
step "paired"

# --- the database, and its objects on the other site -----------------------------------------------------
wait_for 90 "the claim is bound" is a blue pvc/mariadb .status.phase Bound
wait_for 120 "the database runs" is a blue deployment/mariadb .status.readyReplicas 1
wait_for 60 "the claim is bound on site b, too" is b blue pvc/mariadb .status.phase Bound
kc a apply -f "$ROOT/k8s-manifests/examples/schedulepolicy.yaml" -f "$ROOT/k8s-manifests/examples/migrationschedule.yaml" >/dev/null
wait_for 90 "the Deployment is on site b, held back" is b blue deployment/mariadb .spec.replicas 0
step "a database runs on site a; what it needs is on site b"

# --- the site dies under load ------------------------------------------------------------------------------
wait_for 30 "the database answers" answers a
mariadb_load a 4
wait_for 60 "rows are answered" writes_on a 200
kube_crash a
mariadb_unload a
t0=$(date +%s%3N)
sed '/^---/,$d' "$ROOT/k8s-manifests/examples/failover.yaml" | kc b apply -f - >/dev/null
wait_for 60 "the switch ends" ended b site-a-is-dead
t1=$(date +%s%3N)
expect_eq "the switch" "$(kc b get failover site-a-is-dead -o 'jsonpath={.status.status}')" Successful
wait_for 60 "the database answers on site b" answers b
mariadb_load b 1
wait_for 30 "a row is written on site b" eval '[[ $(mariadb_acked b) -gt 0 ]]'
t2=$(date +%s%3N)
expect_eq "answered rows of site a that site b lacks" "$(mariadb_missing a b)" 0
[[ $((t2 - t0)) -lt 60000 ]] || fail "it took $((t2 - t0)) ms to the first row"
step "site a died: $(mariadb_acked a) answered rows, none lost; switched in $((t1 - t0)) ms, first row after $((t2 - t0)) ms"
kc b get failover site-a-is-dead -o json | jq -r '.status.steps[]? | "  \(.name) \(.state) \(.startTime // "") \(.endTime // "")"'

# --- it returns, stays out until it is let in, and takes over again ------------------------------------------
kube_resume a
wait_for 120 "tandemfs is ready on site a" pods_ready a
sleep 5
expect_match "site a waits" "$(kc b get clusterdomainsstatus -o 'jsonpath={.items[*].status.inactive}')" 'site-a'
sed '1,/^---/d' "$ROOT/k8s-manifests/examples/clusterdomainupdate.yaml" | kc b apply -f - >/dev/null
in_sync() { kc b get clusterdomainsstatus -o json | jq -e '[.items[].status.clusterDomainInfos[]? | select(.syncStatus == "InSync")] | length == 2'; }
wait_for 90 "both sites are in sync" in_sync
sed '1,/^---/d; /^  webhook:/,$d' "$ROOT/k8s-manifests/examples/failover.yaml" | kc a apply -f - >/dev/null
wait_for 120 "the way back ends" ended a back-to-site-a
expect_eq "the way back" "$(kc a get failover back-to-site-a -o 'jsonpath={.status.status}')" Successful
mariadb_unload b
wait_for 60 "the database answers on site a" answers a
expect_eq "answered rows of site a that are lost" "$(mariadb_missing a a)" 0
expect_eq "answered rows of site b that are lost" "$(mariadb_missing b a)" 0
step "site a is back, with everything: $(mariadb_acked a) and $(mariadb_acked b) rows"

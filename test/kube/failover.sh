# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Failover objects on two clusters' APIs with real engines (engines.sh), for namespace blue: a Deployment, a StatefulSet
# and a CronJob with a claim on volume db.
#
#	. "$(dirname "$0")/../kube/failover.sh"      # after engines.sh
#	blue_up                              # accounts, rights and pairs in both directions
#	blue_make a                          # the claim and the workloads
#	failover b to-b Planned site-a 'namespaces: [blue]'
#	end_is b to-b Successful
#	kctl a get failovers                 # tandemctl as the administrator of site a's cluster

kctl() { # site, arguments
	in_site "$1" "$BIN/tandemctl" "${@:2}" --kubeconfig "$(kube_dir "$1")/${KCTL_USER:-admin}.kubeconfig"
}

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

# shellcheck disable=SC2034 # what state says; for tests
running='3 2 false' stopped='0 0 true'
state() { # site [, namespace]: what runs, as the objects say
	kc "$1" -n "${2:-blue}" get deploy/web sts/db cronjob/dump -o json |
		jq -r '[.items[] | if .kind == "CronJob" then .spec.suspend // false else .spec.replicas end | tostring] | join(" ")'
}
state_is() { [[ $(state "$1" "${3:-blue}") = "$2" ]]; } # site, state [, namespace]

has_file() { [[ $(cat "$WORK/$1/mounts/db/$2" 2>/dev/null) = "$2" ]]; } # site, name
put_file() { echo "$2" >"$WORK/$1/mounts/db/$2" && sync "$WORK/$1/mounts/db/$2"; }
volume() { rest "$1" GET "/v1/volumes/${3:-db}" | head -n 1 | jq -r ".status | $2"; } # site, expression [, volume]
in_sync() { [[ $(volume "$1" '"\(.in_sync | length) \(.peers[0].connected)"' "${2:-db}") = '2 true' ]]; }
level() { wait_for 90 "both sites are in sync" in_sync "$1" "${2:-db}"; } # active site [, volume]
# A daemon that was demoted has started itself anew, under another name: the agent knows it.
daemon_of() { rest "$1" GET "/v1/volumes/${2:-db}" | head -n 1 | jq .supervision.pid; } # site [, volume]

blue_allow() { # site, namespace: both the leader there and the other one's mover
	kc "$1" create namespace "$2" >/dev/null
	kc "$1" -n "$2" create rolebinding mover --clusterrole tandem-migrator --serviceaccount blue:mover \
		--user leader >/dev/null
}
blue_up() {
	local s
	for s in a b; do
		blue_allow $s blue
		kc $s -n blue create serviceaccount mover >/dev/null
		kc $s create clusterrolebinding mover --clusterrole tandem-migrator-volumes --serviceaccount blue:mover >/dev/null
	done
	in_site a "$BIN/tandemctl" create clusterpair remotecluster -n blue --service-account mover >"$WORK/pairs.out" \
		--src-kubeconfig "$(kube_dir a)/admin.kubeconfig" --dest-kubeconfig "$(kube_dir b)/admin.kubeconfig"
}

claim_make() { # site, volume: namespace blue claims it by its name
	kc "$1" apply -f - >/dev/null <<-END
		---
		{apiVersion: v1, kind: PersistentVolume, metadata: {name: $2, labels: {tandemfs.dev/volume: $2}}, spec: {capacity: {storage: 1Gi},
		  accessModes: [ReadWriteOnce], hostPath: {path: /mnt/$2/data}, claimRef: {namespace: blue, name: $2}}}
	END
	kc "$1" -n blue apply -f - >/dev/null <<-END
		---
		{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: $2}, spec: {volumeName: $2, storageClassName: "",
		  accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}
	END
}
blue_make() { # site
	claim_make "$1" db
	workloads_make "$1"
}

# A namespace of site a that has no volume, with a Deployment of 2, pairs and its schedule; it may have another name at site b.
web_make() { # name, there
	kctl b generate clusterpair remotecluster -n blue --service-account mover |
		sed "s/namespace: blue/namespace: $1/" | kc a apply -f - >/dev/null
	kctl a generate clusterpair remotecluster -n blue --service-account mover |
		sed "s/namespace: blue/namespace: $2/" | kc b apply -f - >/dev/null
	kc a -n "$1" create deployment web --image x --replicas 2 >/dev/null
	kc a -n "$1" apply -f - >/dev/null <<-END
		---
		{apiVersion: tandemfs.dev/v1alpha1, kind: MigrationSchedule, metadata: {name: $1schedule}, spec: {schedulePolicyName: bluepolicy,
		  template: {spec: {clusterPair: remotecluster, includeVolumes: false, namespaceMapping: {$1: $2}}}}}
	END
}
web() { kc "$1" -n "$2" get deploy web -o 'jsonpath={.spec.replicas}'; } # site, namespace
web_is() { [[ $(web "$1" "$2") = "$3" ]]; }

pod() { # site, name, node: one that uses the claim
	kc "$1" -n blue create serviceaccount default >/dev/null 2>&1 || true
	kc "$1" -n blue apply -f - >/dev/null <<-END
		---
		{apiVersion: v1, kind: Pod, metadata: {name: $2}, spec: {nodeName: $3, automountServiceAccountToken: false,
		  containers: [{name: x, image: x}], volumes: [{name: v, persistentVolumeClaim: {claimName: db}}]}}
	END
}

# Volume db with a file, active at site a, and the applications of blue: they run there, and are at site b, stopped.
blue_on_both() { # further volumes that blue claims...
	local v
	work_new
	net_new
	engines_up
	tctl a create volume db --size 256M >/dev/null
	level a
	put_file a one
	blue_up
	blue_make a
	for v; do
		tctl a create volume "$v" --size 64M >/dev/null
		level a "$v"
		claim_make a "$v"
	done
	leader_start a
	leader_start b
	kc a apply -f "$ROOT/k8s-manifests/examples/schedulepolicy.yaml" -f "$ROOT/k8s-manifests/examples/migrationschedule.yaml" >/dev/null
	wait_for 150 "the applications are at site b, stopped" state_is b "$stopped"
	step "volume and applications are on both sites"
}

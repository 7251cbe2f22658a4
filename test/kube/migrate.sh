# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Two clusters' APIs with the kinds and rights of tandemfs, a pair between them for namespace blue, and an agent at
# site a that copies. After lib.sh of both directories:
#
#	migrate_up                   # clusters, kinds, rights; the agent's user and the mover's account
#	pair_make                    # the ClusterPair in namespace blue of site a
#	agent_config one; agent_start one
#	migrated first Successful    # a Migration, and how it must end

MANIFESTS=$ROOT/k8s-manifests
AGENT=
MIG_NS=blue MIG_PAIR=remotecluster # of Migrations

agent_config() { # name
	mkdir -p "$WORK/$1"
	cat >"$WORK/$1/agent.conf" <<-END
		[agent]
		domain = site-a
		volumes = $WORK/$1
		[kubernetes]
		kubeconfig = $(kube_dir a)/agent.kubeconfig
		identity = $1
		interval = 1s
	END
}
agent_start() { # name
	nsenter --net="/run/netns/$TAG-a" -- "$BIN/tandem-agent" --kubernetes --leader-elect \
		--config "$WORK/$1/agent.conf" --verbose >>"$WORK/agent-$1.out" 2>&1 </dev/null &
	AGENT=$!
}
agent_kill() { # signal
	kill "-$1" "$AGENT"
	wait "$AGENT" 2>/dev/null || true
}

there() { kc b -n blue get "$1" -o "jsonpath=$2"; }         # KIND/NAME, path at the destination
mig() { kc a -n "$MIG_NS" get migration "$1" -o "jsonpath=$2"; } # name, path
ended() { [[ $(mig "$1" '{.status.stage}') = Final ]]; }
gone() { # KIND/NAME... : not at the destination
	local o
	for o in "$@"; do
		! kc b -n blue get "$o" >/dev/null 2>&1 || fail "$o is there"
	done
}
migrate() { # name, further lines of the spec...
	{
		printf 'apiVersion: tandemfs.dev/v1alpha1\nkind: Migration\nmetadata: {name: %s, namespace: %s}\n' "$1" "$MIG_NS"
		printf 'spec:\n  clusterPair: %s\n  includeVolumes: false\n' "$MIG_PAIR"
		printf '  %s\n' "${@:2}"
	} | kc a create -f - >/dev/null
}
migrated() { # name, expected status, further lines of the spec...
	migrate "$1" "${@:3}"
	wait_for 40 "Migration $1 ends" ended "$1"
	expect_eq "Migration $1 ($(mig "$1" '{.status.resources[?(@.status=="Failed")]}'))" \
		"$(mig "$1" '{.status.status}')" "$2"
}

migrate_up() { # the mover has no rights on namespace blue yet
	local s
	kube_up a
	kube_up b
	for s in a b; do
		kc $s create namespace blue >/dev/null
		kc $s create namespace tandem-system >/dev/null
		kc $s apply -n tandem-system -f "$MANIFESTS/base/rbac.yaml" >/dev/null
	done
	kc a apply -f "$MANIFESTS/base/crds" >/dev/null
	kube_certificate a agent /CN=agent
	kube_config a agent
	kc a create clusterrolebinding agent --clusterrole tandem-agent --user agent >/dev/null
	kc a -n tandem-system create rolebinding agent --role tandem-agent --user agent >/dev/null
	kc a -n blue create rolebinding mover --clusterrole tandem-migrator --user agent >/dev/null
	kc b create clusterrolebinding mover --clusterrole tandem-migrator-volumes \
		--serviceaccount blue:mover >/dev/null
	kc b -n blue create serviceaccount mover >/dev/null
	for s in migrations clusterpairs; do
		kc a wait --for=condition=Established "crd/$s.tandemfs.dev" --timeout=20s >/dev/null
	done
}
mover_allow() { kc b -n blue create rolebinding mover --clusterrole tandem-migrator --serviceaccount blue:mover >/dev/null; }

# The destination's word, with an account's token in place of the administrator's certificate.
pair_make() {
	in_site b "$BIN/tandemctl" generate clusterpair remotecluster -n blue --service-account mover \
		--kubeconfig "$(kube_dir b)/admin.kubeconfig" >"$WORK/clusterpair.yaml"
	kc a apply -f "$WORK/clusterpair.yaml" >/dev/null
}
pair_is() { [[ $(kc a -n blue get cp remotecluster -o 'jsonpath={.status.schedulerStatus} {.status.storageStatus}') = "$1" ]]; }

# Objects from standard input, one JSON text a line with the path they are posted to before it, over one connection.
# kubectl would take a minute for a thousand.
objects_make() { # site
	local d ip n=0 path text
	d=$(kube_dir "$1") ip=$(kube_ip "$1")
	mkdir -p "$d/objects"
	while read -r path text; do
		n=$((n + 1))
		[[ $n = 1 ]] || echo next
		printf 'url = "https://%s:6443%s"\ndata = "@%s"\noutput = "/dev/null"\n' "$ip" "$path" "$d/objects/$n"
		printf 'header = "Content-Type: application/json"\nfail\nsilent\nshow-error\n'
		printf 'cacert = "%s"\ncert = "%s"\nkey = "%s"\n' "$d/ca.pem" "$d/admin.pem" "$d/admin.key"
		printf '%s' "$text" >"$d/objects/$n"
	done >"$d/objects/calls"
	in_site "$1" curl --no-progress-meter --parallel --parallel-max 8 --config "$d/objects/calls" ||
		fail "not all objects were made"
	rm -r "$d/objects"
}

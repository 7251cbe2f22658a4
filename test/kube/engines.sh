# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Two APIs as of lib.sh with real engines but without kubelets: on each site an agent runs as on a plain host, and a
# Node and a Pod object say that it is the engine of node-SITE. `tandem-agent --kubernetes` runs beside it with the
# rights of its ClusterRole. For what acts on objects and volumes and needs no pods; a test of pods uses node.sh.
#
#	. "$(dirname "$0")/../lib.sh"
#	. "$(dirname "$0")/../agents.sh"
#	. "$(dirname "$0")/../kube/lib.sh"
#	. "$(dirname "$0")/../kube/engines.sh"
#	work_new
#	net_new
#	engines_up                   # APIs, kinds, rights, agents, volumes' directories; of both sites
#	leader_start a [NAME]        # tandem-agent --kubernetes; leader_kill a 9 [NAME]; output: leader-SITE-NAME.out
#	in_site a tandemctl ...      # as tctl a ...
#
# Volumes have their mounts in $WORK/SITE/mounts. The lines of LEADER_MORE are added to the leaders' configuration.

declare -A LEADER=() # SITE-NAME: process
LEADER_MORE=()

tctl() { # site, arguments
	in_site "$1" "$BIN/tandemctl" --run-dir "$WORK/$1/run" "${@:2}"
}
kube_raw() { # site, method, path, arguments of curl... : as the administrator
	local d
	d=$(kube_dir "$1")
	in_site "$1" curl -fsS -m 20 --cacert "$d/ca.pem" --cert "$d/admin.pem" --key "$d/admin.key" -X "$2" \
		"https://$(kube_ip "$1"):6443$3" "${@:4}"
}

engine_announce() { # site, is it ready (True, False)
	local s=$1 ready=${2:-True}
	kc "$s" get node "node-$s" >/dev/null 2>&1 || kc "$s" apply -f - >/dev/null <<-END
		apiVersion: v1
		kind: Node
		metadata: {name: node-$s, labels: {kubernetes.io/hostname: node-$s, kubernetes.io/os: linux}}
	END
	kt "$s" get pod engine-node >/dev/null 2>&1 || kt "$s" apply -f - >/dev/null <<-END
		apiVersion: v1
		kind: Pod
		metadata:
		  name: engine-node
		  labels: {app.kubernetes.io/name: tandemfs, app.kubernetes.io/component: engine}
		spec:
		  nodeName: node-$s
		  hostNetwork: true
		  automountServiceAccountToken: false
		  containers: [{name: engine, image: none}]
	END
	kube_raw "$s" PATCH "/api/v1/namespaces/tandem-system/pods/engine-node/status" -o /dev/null \
		-H 'Content-Type: application/merge-patch+json' -d "{\"status\":{\"phase\":\"Running\",\"hostIP\":\"$(kube_ip "$s")\",
		\"podIP\":\"$(kube_ip "$s")\",\"conditions\":[{\"type\":\"Ready\",\"status\":\"$ready\"}]}}"
}

engine_cluster() { # site: kinds, namespace, rights
	local s=$1 k
	kc "$s" create namespace tandem-system >/dev/null
	kc "$s" apply -f "$ROOT/k8s-manifests/base/crds" >/dev/null
	kt "$s" apply -f "$ROOT/k8s-manifests/base/rbac.yaml" >/dev/null
	kube_certificate "$s" leader /CN=leader
	kube_config "$s" leader
	kc "$s" create clusterrolebinding leader --clusterrole tandem-agent --user leader >/dev/null
	kt "$s" create rolebinding leader --role tandem-agent --user leader >/dev/null
	for k in "$ROOT"/k8s-manifests/base/crds/*.yaml; do
		kc "$s" wait --for=condition=Established -f "$k" --timeout=20s >/dev/null
	done
}

engine_answers() { rest "$1" GET /v1/health; }

engines_up() {
	local s
	agent_pki
	AGENT_MORE+=("[replicas]" "directory = $WORK/SITE/data" "mounts = $WORK/SITE/mounts")
	for s in a b; do
		kube_up "$s"
		engine_cluster "$s"
		mkdir -p "$WORK/$s/data" "$WORK/$s/mounts"
		agent_config "$s"
		agent_start "$s"
		wait_for 10 "the agent of site $s answers" engine_answers "$s"
		kt "$s" create serviceaccount default >/dev/null 2>&1 || true # no controller makes it
		engine_announce "$s"
	done
	step "engines run on both sites"
}

leader_config() { # site, name
	local s=$1 d=$WORK/$1/leader-$2 line
	mkdir -p "$d"
	cat >"$d/agent.conf" <<-END
		[agent]
		domain = $(domain "$s")
		volumes = $d
		[api]
		listen = $(rest_address "$s")
		ca = $WORK/pki/ca.pem
		certificate = $WORK/pki/rest-$s.pem
		key = $WORK/pki/$(domain "$s").key
		[replicas]
		directory = $WORK/$s/data
		mounts = $WORK/$s/mounts
		[kubernetes]
		kubeconfig = $(kube_dir "$s")/leader.kubeconfig
		identity = $2
		interval = 1s
	END
	for line in "${LEADER_MORE[@]}"; do
		echo "${line//SITE/$s}" >>"$d/agent.conf"
	done
}
leader_start() { # site [, name]
	local s=$1 n=${2:-one}
	[[ -e $WORK/$s/leader-$n/agent.conf ]] || leader_config "$s" "$n"
	nsenter --net="/run/netns/$TAG-$s" -- "$BIN/tandem-agent" --kubernetes --leader-elect \
		--config "$WORK/$s/leader-$n/agent.conf" --verbose >>"$WORK/leader-$s-$n.out" 2>&1 </dev/null &
	LEADER[$s-$n]=$!
}
leader_kill() { # site, signal [, name]
	local k=$1-${3:-one}
	kill "-$2" "${LEADER[$k]}"
	wait "${LEADER[$k]}" 2>/dev/null || true
	unset "LEADER[$k]"
}

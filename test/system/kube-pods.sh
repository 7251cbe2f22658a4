#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: kube
# budget: 1500
# alone
# Two clusters with a node each, tandemfs in their pods: an application's pod writes through to the other site, its engine
# is replaced under it, and its whole site crashes and comes back.
#
# Nearly all of the budget is for the first test on a machine, which builds the programs of Kubernetes.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../kube/lib.sh"
. "$(dirname "$0")/../kube/node.sh"

node_dir() { echo "$WORK/kube-$1/node/var/lib/tandemfs"; }
engine_pod() { # site: the one that is not on its way out
	kt "$1" get pods -l app.kubernetes.io/component=engine -o json |
		jq -re '[.items[] | select(.metadata.deletionTimestamp == null)][0].metadata.name'
}
engine() { # site, command in its container...
	kt "$1" exec "$(engine_pod "$1")" -- "${@:2}"
}
engine_status() { # site, jq expression
	engine "$1" tandemctl status -o json 2>/dev/null | jq -r "(if type == \"array\" then .[0] else . end) | $2"
}
is_role() { [[ $(engine_status "$1" .role) = "$2" ]]; }
is_mounted_on_node() { in_node "$1" grep -q ' /var/lib/tandemfs/mnt/db .* - fuse' /proc/1/mountinfo; }
is_level_with_peer() { [[ $(engine_status "$1" '"\(.in_sync|length) \(.peers[0].state)"') = "2 in-sync" ]]; }
pods_ready() { # site: both DaemonSets
	kt "$1" get daemonsets -o json | jq -e '[.items[].status |
		.numberReady == 1 and .desiredNumberScheduled == 1 and .updatedNumberScheduled == 1] == [true, true]'
}

# The overlay, with the REST that it has in comments: the Deployment reaches the engines by it. The node keeps pods off
# until the engine is ready.
deploy() { # site
	kube_import "$1" "$WORK/tandemfs.tar"
	kc "$1" taint node "node-$1" tandemfs.dev/not-ready=:NoSchedule >/dev/null
	kc "$1" create namespace tandem-system >/dev/null
	kt "$1" create secret generic tandem-identity --from-file=ca.pem="$WORK/pki/ca.pem" \
		--from-file=tls.crt="$WORK/pki/site-$1.pem" --from-file=tls.key="$WORK/pki/site-$1.key" >/dev/null
	kc "$1" kustomize "$ROOT/k8s-manifests/overlays/site-$1" |
		sed -E 's/^    # (\[api\]|listen =|ca =|certificate =|key =)/    \1/' |
		kc "$1" apply -f - >/dev/null 2>&1
}
agents_ready() { # site: both pods of the Deployment
	kt "$1" get deployment tandem-agent -o json | jq -e '.status | .readyReplicas == 2 and .updatedReplicas == 2'
}
restarts() { kt "$1" get pods -l "app.kubernetes.io/component=$2" -o json | jq '[.items[].status.containerStatuses[].restartCount] | add'; }
agent_metrics() { # site: of both, one after the other
	local ip
	for ip in $(kt "$1" get pods -l app.kubernetes.io/component=agent -o 'jsonpath={.items[*].status.podIP}'); do
		in_site "$1" curl -sS -m 5 "http://$ip:7444/metrics"
	done
}
node_is_free() { # site: the taint is off, and the label on
	kc "$1" get node "node-$1" -o json | jq -e '.metadata.labels["tandemfs.dev/ready"] == "true" and
		([.spec.taints // [] | .[].key] | index("tandemfs.dev/not-ready") | not)'
}
processes_of_engine() { # site: agent and daemons, by their numbers on the node
	local id
	id=$(kt "$1" get pod "$(engine_pod "$1")" -o 'jsonpath={.status.containerStatuses[0].containerID}')
	# shellcheck disable=SC2016 # for the node's shell
	in_node "$1" sh -c 'grep -l "$0" /proc/[0-9]*/cgroup 2>/dev/null | cut -d/ -f3' "${id##*/}"
}
kill_processes() { # site, numbers on the node: kill -9; a probe's may have ended by itself
	in_node "$1" kill -9 "${@:2}" 2>/dev/null || true
}
domains_are() { # site, active, inactive
	[[ $(kc "$1" get cds tandemfs -o 'jsonpath={.status.active}/{.status.inactive}' 2>/dev/null) = "$2/$3" ]]
}
volume_config() { # site
	local o
	o=$(other "$1")
	mkdir -p "$(node_dir "$1")/mnt/db"
	cat >"$(node_dir "$1")/data/db.conf" <<-END
		[volume]
		name = db
		directory = /var/lib/tandemfs/data/db
		mount = /var/lib/tandemfs/mnt/db
		holder = yes
		[site]
		domain = site-$1
		listen = $(address "$1")
		[peer site-$o]
		address = $(address "$o")
		[transport]
		mode = tls
		ca = /etc/tandemfs/ca.pem
		certificate = /etc/tandemfs/tls.crt
		key = /etc/tandemfs/tls.key
		heartbeat = 200ms
		timeout = 2s
		[journal]
		size = 64M
	END
}

# Says on the node's own disk what was acknowledged.
application() { # site
	mkdir -p "$(node_dir "$1")/acks"
	kc "$1" apply -f - >/dev/null <<-END
		apiVersion: v1
		kind: Pod
		metadata: {name: application}
		spec:
		  terminationGracePeriodSeconds: 1
		  containers:
		  - name: writer
		    image: $KUBE_IMAGE
		    imagePullPolicy: Never
		    command:
		    - sh
		    - -c
		    - |
		      i=0
		      while :; do
		        i=\$((i + 1))
		        if echo "line \$i of site $1" >>/data/lines; then echo "line \$i of site $1" >>/acks/acks
		        else echo "\$i" >>/acks/errors; fi
		        sleep 0.05
		      done
		    volumeMounts:
		    - {name: data, mountPath: /data}
		    - {name: acks, mountPath: /acks}
		  volumes:
		  - name: data
		    hostPath: {path: /var/lib/tandemfs/mnt/db/app, type: Directory}
		  - name: acks
		    hostPath: {path: /var/lib/tandemfs/acks, type: Directory}
	END
}
acks() { wc -l <"$(node_dir "$1")/acks/acks"; }
writes_on() { # site, acks before
	[[ $(acks "$1") -gt $(($2 + 20)) ]]
}
pod_waits() { # site
	[[ $(kc "$1" get pod application -o 'jsonpath={.status.containerStatuses[0].state}') != *running* ]]
}
root_disk_is_clean() { # site: nothing in the bare directory below the mount
	[[ -z $(find "$(node_dir "$1")/mnt/db" -mindepth 1 2>/dev/null) ]]
}

echo "seed $SEED"
command -v containerd >/dev/null || fail "no containerd here (make setup)"
work_new
net_new
mkdir "$WORK/pki"
authority "$WORK/pki"
certificate "$WORK/pki" site-a "$WORK/pki"
certificate "$WORK/pki" site-b "$WORK/pki"
kube_programs "${KUBE_CLUSTER[@]}"
"$ROOT/k8s-manifests/image.sh" build "$WORK/tandemfs.tar" localhost/tandemfs:latest "$BIN" >"$WORK/image.out" 2>&1 &
image=$!
kube_clusters_up a b
wait $image || fail "the image: $(tail -n 3 "$WORK/image.out")"
for s in a b; do
	deploy "$s"
done
for s in a b; do
	wait_for 90 "holder and engine of site $s are ready" pods_ready "$s"
done
for s in a b; do
	wait_for 90 "both agents of site $s are ready" agents_ready "$s"
	wait_for 30 "the node of site $s is open" node_is_free "$s"
	expect_eq "leaders of site $s" "$(agent_metrics "$s" | grep -c '^tandem_kube_leader 1')" 1
done
step "the pods of both sites are ready, and the nodes open"

# --- a pod waits for its mount, and writes nothing beside it --------------------------------------------------
for s in a b; do
	volume_config "$s"
done
application a
in_conf=(--config /var/lib/tandemfs/data/db.conf)
engine a tandemfs format "${in_conf[@]}" --size 256M --descriptor /var/lib/tandemfs/data/db.desc >"$WORK/format.out" 2>&1
cp "$(node_dir a)/data/db.desc" "$(node_dir b)/data/db.desc"
engine b tandemfs format --join /var/lib/tandemfs/data/db.desc "${in_conf[@]}" >>"$WORK/format.out" 2>&1
sleep 3
pod_waits a || fail "a pod runs without its volume"
root_disk_is_clean a || fail "something was written into the bare directory: $(ls -R "$(node_dir a)/mnt")"
for s in b a; do
	mv "$(node_dir "$s")/data/db.conf" "$(node_dir "$s")/volumes/db.conf"
done
wait_for 30 "the volume is mounted on the node of site a" is_mounted_on_node a
wait_for 30 "the sites are level" is_level_with_peer a
in_node a mkdir /var/lib/tandemfs/mnt/db/app
wait_for 130 "the pod that waited writes" writes_on a 0
root_disk_is_clean a || fail "something was written beside the mount"
wait_for 30 "the domains are known" domains_are a "site-a (InSync), site-b (InSync)" ""
step "a pod waited for its volume, and writes"

# --- the sites lose sight of each other: writes wait, and go on --------------------------------------------------
kube_cut
sleep 1
before=$(acks a)
sleep 3
expect_eq "lines acknowledged while the other site is away" "$(acks a)" "$before"
kube_heal
wait_for 30 "the application writes on after the partition" writes_on a "$before"
pods_ready a >/dev/null || fail "a partition makes an engine unready"
step "a partition: writes waited"

# --- the engine's pod is replaced -------------------------------------------------------------------------
before=$(engine_pod a)
kt a delete pod "$before" >/dev/null
wait_for 90 "another engine is ready" eval '[[ $(engine_pod a) != '"$before"' ]] && pods_ready a'
wait_for 30 "the application writes on" writes_on a "$(acks a)"
[[ ! -e $(node_dir a)/acks/errors ]] || fail "the application saw errors: $(head -n 3 "$(node_dir a)/acks/errors")"
wait_for 30 "the sites are level again" is_level_with_peer a
step "the engine's pod was replaced under $(acks a) lines, without an error"

# --- its processes are killed: the daemons, and then all of the container, on either site ------------------------
daemons=$(in_node a pgrep -x tandemfs)
# shellcheck disable=SC2086 # several
kill_processes a $daemons
wait_for 30 "another daemon runs" eval 'now=$(in_node a pgrep -x tandemfs) && [[ $now != "$daemons" ]]'
wait_for 60 "the application writes on" writes_on a "$(acks a)"
expect_eq "restarts of the engine whose daemons were killed" "$(restarts a engine)" 0
for s in a b; do
	# shellcheck disable=SC2046 # several
	kill_processes "$s" $(processes_of_engine "$s")
	wait_for 90 "the engine of site $s is started again" eval '[[ $(restarts '"$s"' engine) = 1 ]] && pods_ready '"$s"
	wait_for 60 "the application writes on" writes_on a "$(acks a)"
done
[[ ! -e $(node_dir a)/acks/errors ]] || fail "the application saw errors: $(head -n 3 "$(node_dir a)/acks/errors")"
wait_for 30 "the sites are level again" is_level_with_peer a
step "daemons and agents were killed under $(acks a) lines, without an error"

# --- the site crashes: what was acknowledged is on the other one -----------------------------------------------
kube_crash a
acked=$(acks a)
[[ $acked -gt 40 ]] || fail "only $acked lines were acknowledged"
engine b tandemctl deactivate clusterdomain site-a --yes >"$WORK/deactivate.out" 2>&1
wait_for 30 "site b is active and mounted" eval "is_role b active && is_mounted_on_node b"
sort "$(node_dir a)/acks/acks" >"$WORK/acked"
in_node b sort /var/lib/tandemfs/mnt/db/app/lines >"$WORK/lines"
expect_eq "acknowledged lines that site b lacks" "$(comm -23 "$WORK/acked" "$WORK/lines" | wc -l)" 0
application b
wait_for 60 "the application of site b writes" writes_on b 0
wait_for 30 "the state of the domains says so" domains_are b "site-b (InSync)" "site-a (NotInSync)"
step "site a crashed: site b has all $acked acknowledged lines, and its pod writes"

# --- and comes back, as a standby; its pod waits ---------------------------------------------------------
kube_resume a
wait_for 90 "holder and engine of site a are back" pods_ready a
wait_for 60 "site a is a standby" is_role a standby
engine b tandemctl activate clusterdomain site-a >"$WORK/activate.out" 2>&1
wait_for 60 "the sites are level, from site b" is_level_with_peer b
expect_eq "what was acknowledged on site a since" "$(acks a)" "$acked"
root_disk_is_clean a || fail "the pod of the standby wrote into the bare directory"
[[ ! -e $(node_dir b)/acks/errors ]] || fail "the application of site b saw errors"
step "site a is back as a standby, and its pod waits"
expect_eq "restarts of the agents of site b" "$(restarts b agent)" 0

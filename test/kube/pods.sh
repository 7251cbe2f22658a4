# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# tandemfs in the pods of whole clusters (node.sh), and beside what is provisioned a volume `db` that is made by hand, as
# the manifests' README has it, with a pod that writes lines to it and says on the node's own disk what was answered.
#
#	. "$(dirname "$0")/../kube/pods.sh"
#	plain a status               # tandemctl on the engine's socket: needs no API
#	engine a COMMAND...          # in the engine's container: needs the API
#	hand_volume_conf a           # db.conf, where no agent starts it yet
#	application a                # the pod; lines that were answered: acks a

HAND_PORT=7500

node_dir() { echo "$WORK/kube-$1/node/var/lib/tandemfs"; }

# --- the pods of tandemfs --------------------------------------------------------------------------------

pods_ready() { # site: both DaemonSets and both agents
	kt "$1" get daemonsets,deployments -o json | jq -e '[.items[].status | if .desiredNumberScheduled then
		.numberReady == 1 and .desiredNumberScheduled == 1 and .updatedNumberScheduled == 1
		else .readyReplicas == 2 and .updatedReplicas == 2 end] == [true, true, true]'
}
agent_metrics() { # site: of both agents, one after the other
	local ip
	for ip in $(kt "$1" get pods -l app.kubernetes.io/component=agent -o 'jsonpath={.items[*].status.podIP}'); do
		in_site "$1" curl -sS -m 5 "http://$ip:7444/metrics"
	done
}
has_leader() { [[ $(agent_metrics "$1" | grep -c '^tandem_kube_leader 1') = 1 ]]; } # site
node_is_free() { # site: the taint is off, and the label on
	kc "$1" get node "node-$1" -o json | jq -e '.metadata.labels["tandemfs.dev/ready"] == "true" and
		([.spec.taints // [] | .[].key] | index("tandemfs.dev/not-ready") | not)'
}
engine_pod() { # site: the one that is not on its way out
	kt "$1" get pods -l app.kubernetes.io/component=engine -o json |
		jq -re '[.items[] | select(.metadata.deletionTimestamp == null)][0].metadata.name'
}
engine() { kt "$1" exec "$(engine_pod "$1")" -- "${@:2}"; } # site, command in its container...
restarts() { # site, component
	kt "$1" get pods -l "app.kubernetes.io/component=$2" -o json |
		jq '[.items[].status.containerStatuses[]?.restartCount] | add'
}
processes_of() { # site, pod of tandemfs: their numbers on the node
	local id
	id=$(kt "$1" get pod "$2" -o 'jsonpath={.status.containerStatuses[0].containerID}')
	# shellcheck disable=SC2016 # for the node's shell
	in_node "$1" sh -c 'grep -l "$0" /proc/[0-9]*/cgroup 2>/dev/null | cut -d/ -f3' "${id##*/}"
}
leader_pod() { kt "$1" get lease tandem-agent -o 'jsonpath={.spec.holderIdentity}'; } # site
kill_processes() { # site, number on the node... : kill -9; a probe's may have ended by itself
	in_node "$1" kill -9 "${@:2}" 2>/dev/null || true
}

# --- the volume ------------------------------------------------------------------------------------------

plain() { # site, arguments of tandemctl...
	in_node "$1" "$BIN/tandemctl" --run-dir /run/tandemfs "${@:2}"
}
volume() { # site, volume, jq expression
	plain "$1" status "$2" -o json | jq -r "(if type == \"array\" then .[0] else . end) | $3"
}
is_role() { [[ $(volume "$1" db .role) = "$2" ]]; } # site, role
is_level() { [[ $(volume "$1" "${2:-db}" '"\(.in_sync|length) \(.peers[0].state)"') = "2 in-sync" ]]; } # site [volume]
is_mounted_on_node() { in_node "$1" grep -q ' /var/lib/tandemfs/mnt/db .* - fuse' /proc/1/mountinfo; }
root_disk_is_clean() { # site: nothing in the bare directory below the mount
	[[ -z $(find "$(node_dir "$1")/mnt/db" -mindepth 1 2>/dev/null) ]]
}
hand_volume_conf() { # site
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
		listen = $(kube_ip "$1"):$HAND_PORT
		[peer site-$o]
		address = $(kube_ip "$o"):$HAND_PORT
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

# --- the application --------------------------------------------------------------------------------------

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
lines_after() { [[ $(acks "$1") -gt $(($2 + 20)) ]]; } # site, acks before
no_errors() { # site
	[[ ! -e $(node_dir "$1")/acks/errors ]] || fail "the application saw errors: $(head -n 3 "$(node_dir "$1")/acks/errors")"
}
pod_waits() { # site
	[[ $(kc "$1" get pod application -o 'jsonpath={.status.containerStatuses[0].state}') != *running* ]]
}
# Answered lines of the application of one site that another one lacks.
lines_missing() { # writer's site, where to look
	sort "$(node_dir "$1")/acks/acks" >"$WORK/lines-acked"
	in_node "$2" sort /var/lib/tandemfs/mnt/db/app/lines >"$WORK/lines"
	comm -23 "$WORK/lines-acked" "$WORK/lines" | wc -l
}
domains_are() { # site, active, inactive
	[[ $(kc "$1" get cds tandemfs -o 'jsonpath={.status.active}/{.status.inactive}' 2>/dev/null) = "$2/$3" ]]
}

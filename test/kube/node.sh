# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# A whole cluster per site, for tests that need pods: beside the API of lib.sh a controller manager, a scheduler, and
# one node with a kubelet, containerd, runc, bridge CNI and kube-proxy. All of it in the site's network; the node in mount,
# process and host name spaces of its own, so that its end is the end of all its pods, and of their mounts.
#
#	. "$(dirname "$0")/../kube/lib.sh"
#	. "$(dirname "$0")/../kube/node.sh"
#	work_new
#	net_new
#	kube_clusters_up a b         # at the same time
#	kube_import a FILE           # an image; busybox is there as site.local/busybox:1
#	in_node a COMMAND...         # as the node sees files, mounts and processes
#	kube_crash a                 # kill -9 of everything of the site at once
#	kube_resume a                # and back, with what is on its disk
#
# What the node calls /var/lib/tandemfs, /run/tandemfs, /var/lib/kubelet and so on is below kube-SITE/node in the work
# directory. Pods have 10.77.101.0/24 and 10.77.102.0/24, and reach those of the other site.
#
# The kubelet sets three sysctls of the whole machine; kube_cleanup puts them back, and takes away the cgroups and the
# mount points that were made. All else ends with its processes.

KUBE_CLUSTER=(kube-controller-manager kube-scheduler kubelet kube-proxy)
KUBE_IMAGE=site.local/busybox:1
KUBE_PAUSE=site.local/pause:1
KUBE_SYSCTLS=(vm.overcommit_memory kernel.panic kernel.panic_on_oops)
# Paths that are written into kubelet, CNI and the manifests.
KUBE_BINDS=(/var/lib/kubelet /var/lib/cni /var/log/pods /var/log/containers /var/lib/tandemfs /run/tandemfs)
KUBE_MADE=() # mount points that were not there

kube_pods() { [[ $1 = a ]] && echo 10.77.101.0/24 || echo 10.77.102.0/24; }

# --- what the cluster is told --------------------------------------------------------------------------

kube_cluster_keys() { # site
	local s=$1 n
	while read -r n subject; do
		kube_certificate "$s" "$n" "$subject" "IP:$(kube_ip "$s"),DNS:node-$s"
		kube_config "$s" "$n"
	done <<-END
		manager /CN=system:kube-controller-manager
		scheduler /CN=system:kube-scheduler
		proxy /CN=system:kube-proxy
		kubelet /O=system:nodes/CN=system:node:node-$s
	END
}

# containerd: nothing may lower its OOM score where root lacks CAP_SYS_RESOURCE, and runc would die of being asked to.
kube_containerd_config() { # site
	local d
	d=$(kube_dir "$1")
	cat >"$d/containerd.toml" <<-END
		version = 2
		root = "$d/containerd"
		state = "/run/containerd"
		disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
		  "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper"]
		[grpc]
		address = "/run/containerd/containerd.sock"
		[plugins."io.containerd.internal.v1.opt"]
		path = "$d/containerd/opt"
		[plugins."io.containerd.grpc.v1.cri"]
		sandbox_image = "$KUBE_PAUSE"
		disable_apparmor = true
		restrict_oom_score_adj = true
		[plugins."io.containerd.grpc.v1.cri".containerd]
		snapshotter = "overlayfs"
		[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
		runtime_type = "io.containerd.runc.v2"
		[plugins."io.containerd.grpc.v1.cri".cni]
		bin_dir = "/usr/lib/cni"
		conf_dir = "$d/cni"
	END
	mkdir -p "$d/cni"
	cat >"$d/cni/10-bridge.conflist" <<-END
		{"cniVersion": "0.4.0", "name": "pods", "plugins": [{"type": "bridge", "bridge": "cni0", "isGateway": true,
		 "hairpinMode": true, "ipam": {"type": "host-local", "dataDir": "/run/containerd/addresses",
		 "ranges": [[{"subnet": "$(kube_pods "$1")"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
	END
}

kube_node_config() { # site
	local s=$1 d
	d=$(kube_dir "$s")
	cat >"$d/kubelet.yaml" <<-END
		apiVersion: kubelet.config.k8s.io/v1beta1
		kind: KubeletConfiguration
		address: $(kube_ip "$s")
		cgroupDriver: cgroupfs
		cgroupRoot: /$TAG-$s
		failSwapOn: false
		tlsCertFile: $d/kubelet.pem
		tlsPrivateKeyFile: $d/kubelet.key
		authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $d/ca.pem}}
		authorization: {mode: Webhook}
		nodeStatusUpdateFrequency: 2s
		nodeStatusReportFrequency: 10s
		syncFrequency: 5s
		imageGCHighThresholdPercent: 100
		evictionHard: {memory.available: 100Mi}
		resolvConf: ""
		healthzPort: 10248
	END
	cat >"$d/proxy.yaml" <<-END
		apiVersion: kubeproxy.config.k8s.io/v1alpha1
		kind: KubeProxyConfiguration
		mode: iptables
		clientConnection: {kubeconfig: $d/proxy.kubeconfig}
		hostnameOverride: node-$s
		conntrack: {maxPerCore: 0, min: 0}
	END
}

# Process 1 of the node. What a real node loses in a reboot is on a tmpfs of its own: sockets and state of containerd
# and runc, the pods' network name spaces, addresses that were given out, and /run/tandemfs. The copies of other tests'
# mounts and network name spaces go first: they would keep a file system alive that its test has unmounted.
kube_node_init() { # site
	local s=$1 d p
	d=$(kube_dir "$s")
	cat >"$d/init" <<-END
		#!/bin/bash
		hostname node-$s
		awk '/ - fuse/ || index(\$5, "${WORK%/*}/") == 1 || index(\$5, "/run/netns/") == 1 ||
			(index(\$5, "/var/tmp/tandemfs-disk.") == 1 && \$5 != "${WORK%/*}") { print \$5 }' \
			/proc/self/mountinfo | tac | while read -r m; do umount -l "\$m"; done
		mount --make-rshared /
		mount -t tmpfs tmpfs /run/netns
		mkdir -p /run/containerd
		mount -t tmpfs tmpfs /run/containerd
		for p in ${KUBE_BINDS[*]}; do mount --bind "$d/node\$p" "\$p"; done
		mount -t tmpfs tmpfs /run/tandemfs
		export PATH=$d/xtables:/usr/sbin:/usr/bin:/sbin:/bin
		containerd -c $d/containerd.toml >>$WORK/kube-$s-containerd.out 2>&1 &
		for i in \$(seq 150); do ctr version >/dev/null 2>&1 && break; sleep 0.1; done
		ctr -n k8s.io images import $WORK/busybox.tar >>$WORK/kube-$s-containerd.out 2>&1
		$KUBE/kubelet --config $d/kubelet.yaml --kubeconfig $d/kubelet.kubeconfig --root-dir /var/lib/kubelet \\
			--container-runtime remote --container-runtime-endpoint unix:///run/containerd/containerd.sock \\
			--hostname-override node-$s --node-ip $(kube_ip "$s") --pod-infra-container-image $KUBE_PAUSE \\
			>>$WORK/kube-$s-kubelet.out 2>&1 &
		$KUBE/kube-proxy --config $d/proxy.yaml >>$WORK/kube-$s-proxy.out 2>&1 &
		while :; do wait -n 2>/dev/null || sleep 1; done # and collects orphans
	END
	chmod +x "$d/init"
	mkdir -p "$d/xtables"
	for p in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do
		ln -sf "$(command -v xtables-legacy-multi)" "$d/xtables/$p"
	done
}

# --- what the machine is asked for ---------------------------------------------------------------------

kube_busybox() { # an image from Debian's static busybox; it is the sandbox's, too
	local r=$WORK/busybox p
	[[ ! -e $r.tar ]] || return 0
	mkdir -p "$r"/{bin,tmp,etc,proc,sys,dev,data}
	cp /bin/busybox "$r/bin/busybox"
	for p in $(/bin/busybox --list); do
		[[ -e $r/bin/$p ]] || ln -s busybox "$r/bin/$p"
	done
	"$ROOT/k8s-manifests/image.sh" pack "$r" "$r.tar" "$KUBE_IMAGE" "$KUBE_PAUSE"
	rm -rf "$r"
}

kube_host_prepare() { # site
	local d p c x
	d=$(kube_dir "$1")
	mkdir -p "$d/containerd"
	for p in "${KUBE_BINDS[@]}" /run/containerd; do
		if [[ ! -d $p ]]; then
			KUBE_MADE+=("$p")
			mkdir -p "$p"
		fi
		mkdir -p "$d/node$p"
	done
	[[ -e $WORK/sysctls ]] || sysctl "${KUBE_SYSCTLS[@]}" >"$WORK/sysctls"
	for c in $(kube_cgroups); do
		mkdir -p "$c/$TAG-$1"
		for x in cpus mems; do
			[[ ! -e $c/cpuset.$x || -e $c/cgroup.controllers ]] || cat "$c/cpuset.$x" >"$c/$TAG-$1/cpuset.$x"
		done
	done
}

kube_cgroups() { # the hierarchies: one of version 2, or those of version 1
	if [[ -e /sys/fs/cgroup/cgroup.controllers ]]; then
		echo /sys/fs/cgroup
	else
		find /sys/fs/cgroup -mindepth 1 -maxdepth 1 -type d ! -name unified
	fi
}

kube_routes() { # site
	local n=$TAG-$1 o
	o=$(other "$1")
	ip netns exec "$n" sysctl -qw net.ipv4.ip_forward=1
	ip -n "$n" route replace "$(kube_pods "$o")" via "$(kube_ip "$o")"
	ip -n "$n" route replace default via "$(kube_ip "$o")"
}

# --- up, and down ---------------------------------------------------------------------------------------

kube_masters() { # site
	local s=$1 d
	d=$(kube_dir "$s")
	kube_start "$s" manager "$KUBE/kube-controller-manager" --kubeconfig "$d/manager.kubeconfig" \
		--bind-address 127.0.0.1 --port 0 --leader-elect=false --use-service-account-credentials \
		--service-account-private-key-file "$d/accounts.key" --root-ca-file "$d/ca.pem" \
		--kube-api-qps 200 --kube-api-burst 400 --node-monitor-period 1s \
		--pvclaimbinder-sync-period 2s
	kube_start "$s" scheduler "$KUBE/kube-scheduler" --kubeconfig "$d/scheduler.kubeconfig" \
		--bind-address 127.0.0.1 --port 0 --leader-elect=false
}

kube_node() { # site
	kube_start "$1" node unshare --mount --uts --pid --fork --kill-child --mount-proc "$(kube_dir "$1")/init"
}

# The Node object stays Ready for a while after a crash: the kubelet's own word comes first.
kube_node_ready() { # site
	in_site "$1" curl -fsS -m 5 -o /dev/null http://127.0.0.1:10248/healthz &&
		kc "$1" wait --for=condition=Ready "node/node-$1" --timeout=1s && kc "$1" get serviceaccount default
}

kube_clusters_up() { # site...
	local s
	[[ -n $KUBE ]] || kube_programs "${KUBE_CLUSTER[@]}"
	kube_busybox
	for s in "$@"; do
		kube_routes "$s"
		kube_begin "$s"
		kube_cluster_keys "$s"
		kube_containerd_config "$s"
		kube_node_config "$s"
		kube_host_prepare "$s"
		kube_node_init "$s"
		kube_node "$s"
	done
	for s in "$@"; do
		kube_api_wait "$s"
		kube_masters "$s"
	done
	for s in "$@"; do
		wait_for 90 "the node of site $s is ready" kube_node_ready "$s"
	done
	step "the nodes are ready"
}

kube_node_pid() { cat "/proc/${KUBE_PID[$1-node]}/task/${KUBE_PID[$1-node]}/children"; }
in_node() { # site, command...
	local pid
	pid=$(kube_node_pid "$1")
	nsenter --target "${pid% }" --mount --pid --net --uts -- "${@:2}"
}
kube_import() { # site, file
	in_node "$1" ctr -n k8s.io images import "$2" >>"$WORK/kube-$1-containerd.out" 2>&1
}

kube_crash() { # site: control plane, kubelet, pods, volume daemons, all at once
	kube_kill "$1" node manager scheduler apiserver etcd
	# The bridge and what hangs on it do not outlive a power cut.
	ip -n "$TAG-$1" link del cni0 2>/dev/null || true
}

kube_resume() { # site
	kube_servers_begin "$1"
	kube_node "$1"
	kube_api_wait "$1"
	kube_masters "$1"
	wait_for 120 "the node of site $1 is back" kube_node_ready "$1"
}

# Nothing passes between the sites; each one's API stays in reach of its own node.
kube_cut() {
	local s c
	for s in a b; do
		for c in INPUT FORWARD; do
			ip netns exec "$TAG-$s" xtables-legacy-multi iptables -I "$c" -i cable -j DROP
		done
	done
}
kube_heal() {
	local s c
	for s in a b; do
		for c in INPUT FORWARD; do
			ip netns exec "$TAG-$s" xtables-legacy-multi iptables -D "$c" -i cable -j DROP
		done
	done
}

kube_cleanup() { # called by test/lib.sh when the processes are gone
	local s p
	for s in a b; do # also where runc made them by itself
		find /sys/fs/cgroup -mindepth 1 -depth -type d -path "/sys/fs/cgroup*/$TAG-$s*" -exec rmdir {} \; 2>/dev/null
	done
	[[ ! -e $WORK/sysctls ]] || sysctl -q -p "$WORK/sysctls"
	for p in "${KUBE_MADE[@]}"; do
		rmdir "$p" 2>/dev/null
	done
}

# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# A real Kubernetes API for a system test: etcd and kube-apiserver with TLS and RBAC, in the network of one of the
# test's sites. No controller and no node runs, so objects are validated, defaulted, stored and watched, and
# nothing acts on them; node.sh adds those.
#
#	. "$(dirname "$0")/../lib.sh"
#	. "$(dirname "$0")/../kube/lib.sh"
#	work_new
#	net_new
#	kube_up a
#	kc a get nodes               # kubectl as the administrator of site a's cluster
#
# The first test on a machine builds the programs, which takes minutes (see programs.sh); the cleanup of test/lib.sh
# ends everything. Output of the servers is in kube-SITE-NAME.out in the work directory.

KUBE=                  # directory of the programs
declare -A KUBE_PID=() # SITE-NAME: process

# shellcheck disable=SC2120 # tests give the arguments
kube_programs() { # program... : those that are needed beside kubectl and kube-apiserver
	command -v etcd >/dev/null || fail "no etcd here (make setup)"
	KUBE=$(nice -n 10 "$ROOT/test/kube/programs.sh" "$@") || fail "no programs of Kubernetes"
}

kube_ip() { [[ $1 = a ]] && echo 10.77.0.1 || echo 10.77.0.2; }
kube_services() { [[ $1 = a ]] && echo 10.96.1 || echo 10.96.2; }
kube_dir() { echo "$WORK/kube-$1"; }

kube_certificate() { # site, name, subject [, subjectAltName]
	local d ext="basicConstraints=CA:FALSE\nextendedKeyUsage=clientAuth,serverAuth\n"
	d=$(kube_dir "$1")
	[[ -z ${4:-} ]] || ext+="subjectAltName=$4\n"
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$d/$2.key" \
		-out "$d/$2.csr" -subj "$3" 2>/dev/null
	openssl x509 -req -in "$d/$2.csr" -CA "$d/ca.pem" -CAkey "$d/ca.key" -CAcreateserial -days 30 \
		-extfile <(printf '%b' "$ext") -out "$d/$2.pem" 2>/dev/null
}

# The servers of Kubernetes share the processors with all else: how long they take says little.
PATIENCE=3
# An event may come after what it tells of.
has_event() { grep -qE -- "$2" <<<"$(kc "$1" get events -A)"; } # site, extended regular expression
kube_config() { # site, name: a kubeconfig for that certificate, with everything in it
	local d
	d=$(kube_dir "$1")
	cat >"$d/$2.kubeconfig" <<-END
		apiVersion: v1
		kind: Config
		clusters:
		- name: c
		  cluster:
		    server: https://$(kube_ip "$1"):6443
		    certificate-authority-data: $(base64 -w0 <"$d/ca.pem")
		users:
		- name: u
		  user:
		    client-certificate-data: $(base64 -w0 <"$d/$2.pem")
		    client-key-data: $(base64 -w0 <"$d/$2.key")
		contexts:
		- name: c
		  context: {cluster: c, user: u}
		current-context: c
	END
}

kube_keys() { # site
	local d ip sans
	d=$(kube_dir "$1") ip=$(kube_ip "$1")
	mkdir -p "$d"
	authority "$d"
	openssl genrsa -out "$d/accounts.key" 2048 2>/dev/null
	sans="IP:$ip,IP:127.0.0.1,IP:$(kube_services "$1").1,DNS:localhost,DNS:kubernetes.default.svc"
	kube_certificate "$1" apiserver /CN=kube-apiserver "$sans"
	kube_certificate "$1" admin /O=system:masters/CN=admin
	kube_config "$1" admin
}

kube_start() { # site, name, command... : in the background, in the site's network
	local s=$1 n=$2
	shift 2
	nsenter --net="/run/netns/$TAG-$s" -- "$@" >>"$WORK/kube-$s-$n.out" 2>&1 </dev/null &
	KUBE_PID[$s-$n]=$!
}

# kubectl as the administrator. What is asked often is asked without it (kget.c), and what that does not know by it.
kc() { # site, arguments...
	local s=$1 status=0
	shift
	if [[ " $* " = *" get "*" -o json"* ]]; then
		in_site "$s" "$TOOLS/kget" "$(kube_dir "$s")/admin.kubeconfig" "$@" || status=$?
		[[ $status = 3 ]] || return $status
	fi
	in_site "$s" env HOME="$(kube_dir "$s")" "$KUBE/kubectl" --kubeconfig "$(kube_dir "$s")/admin.kubeconfig" "$@"
}

kt() { kc "$1" -n tandem-system "${@:2}"; } # site, arguments...

kube_ready() {
	pid_alive "${KUBE_PID[$1-apiserver]}" || fail "the API server ended: $(tail -n 3 "$WORK/kube-$1-apiserver.out")"
	kc "$1" get --raw /readyz
}

kube_up() { # site
	kube_begin "$1"
	kube_api_wait "$1"
}
kube_begin() { # site: its keys; its servers start, kube_api_wait is to follow
	[[ -n $KUBE ]] || kube_programs
	kube_keys "$1"
	mkdir -m 700 "$(kube_dir "$1")/etcd"
	kube_servers_begin "$1"
}
kube_api_wait() { # site
	wait_for 300 "the API of site $1 is ready" kube_ready "$1"
	step "site $1: the API is ready"
}

kube_servers() { # site, which has its keys: etcd and the API server
	kube_servers_begin "$1"
	kube_api_wait "$1"
}
kube_servers_begin() { # site
	local s=$1
	kube_start "$s" etcd etcd --name "$s" --data-dir "$(kube_dir "$s")/etcd" --logger zap \
		--listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
		--listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
		--initial-cluster "$s=http://127.0.0.1:2380"
	kube_apiserver "$s"
}
kube_apiserver() { # site
	local s=$1 d ip
	d=$(kube_dir "$s") ip=$(kube_ip "$s")
	kube_start "$s" apiserver "$KUBE/kube-apiserver" --etcd-servers http://127.0.0.1:2379 \
		--bind-address "$ip" --advertise-address "$ip" --secure-port 6443 --insecure-port 0 \
		--tls-cert-file "$d/apiserver.pem" --tls-private-key-file "$d/apiserver.key" \
		--client-ca-file "$d/ca.pem" --authorization-mode Node,RBAC --allow-privileged=true \
		--service-account-issuer https://kubernetes.default.svc \
		--service-account-key-file "$d/accounts.key" --service-account-signing-key-file "$d/accounts.key" \
		--service-cluster-ip-range "$(kube_services "$s").0/24" --enable-admission-plugins NodeRestriction \
		--kubelet-client-certificate "$d/admin.pem" --kubelet-client-key "$d/admin.key" \
		--kubelet-preferred-address-types InternalIP
}
kube_kill() { # site, name... : kill -9, all at once
	local n pids=()
	for n in "${@:2}"; do
		pids+=("${KUBE_PID[$1-$n]}")
	done
	kill -9 "${pids[@]}"
	wait "${pids[@]}" 2>/dev/null || true
}

workloads_make() { # site: in namespace blue, a workload of each kind that is stopped by its count or suspended
	kc "$1" -n blue apply -f - >/dev/null <<-END
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
}

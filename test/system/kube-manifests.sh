#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: kube
# budget: 1500
# The overlays of both sites: built by an old and a new kustomize, applied to a real API server beside what generate spec
# writes; who may do what. The examples name nothing that nobody made.
#
# Nearly all of the budget is for the first test on a machine, which builds the API server.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../kube/lib.sh"

overlays=$ROOT/k8s-manifests/overlays
work_new
net_new
kube_up a

# --- both build, with kustomize of 2019 and with the one of the kubectl that is installed --------------------
names() { sed -nE 's/^(kind|  name): //p' "$1" | sort; }
for s in a b; do
	"$KUBE/kubectl" kustomize "$overlays/site-$s" >"$WORK/site-$s.yaml"
	if command -v kubectl >/dev/null; then
		kubectl kustomize "$overlays/site-$s" >"$WORK/new-$s.yaml" 2>/dev/null
		diff <(names "$WORK/site-$s.yaml") <(names "$WORK/new-$s.yaml") || fail "two kustomizes, two results"
	fi
done
grep -hEn '^(components|patches|replacements):' "$ROOT"/k8s-manifests/*/kustomization.yaml \
	"$overlays"/*/kustomization.yaml && fail "kubectl 1.20 does not know that"
# What a site's own manifest has must not be here: applied later, it would take the peers away.
expect_eq "configuration in the overlays" "$(grep -lE '^kind: (ConfigMap|Secret)$' "$WORK"/site-?.yaml || true)" ""

# --- the README makes what an example names before the example ---------------------------------------------
named_rules() { sed -nE 's/^ *(pre|post)ExecRule: *//p' "$1"; }
fenced=
while IFS= read -r line; do
	[[ $line != '```'* ]] || { fenced=$([[ $fenced ]] || echo 1) && applied=; }
	[[ $fenced && $line = *apply* ]] || continue
	for f in $(grep -oE 'examples/[a-z-]+\.yaml' <<<"$line" || true); do
		applied+=" $f"
		for r in $(named_rules "$ROOT/k8s-manifests/$f"); do
			grep -qx "  name: $r" "$ROOT/k8s-manifests/examples/rule.yaml" || fail "$f: no example has a Rule '$r'"
			[[ $applied = *" examples/rule.yaml"* ]] || fail "the README applies $f and not its Rule before it"
		done
	done
done <"$ROOT/k8s-manifests/README.md"
expect_eq "hosts that are nobody's" "$(grep -hE '^[^#]*https?://[a-z.]*example' "$ROOT"/k8s-manifests/examples/*.yaml || true)" ""

# --- the API server takes them; again changes nothing ------------------------------------------------------
"$BIN/tandemctl" generate spec site-a=10.1.0.1 site-b=10.2.0.1 --config-dir "$WORK/spec" >"$WORK/spec.out"
kc a apply -f "$ROOT/k8s-manifests/base/namespace.yaml" -f "$WORK/spec/site-a.yaml" >"$WORK/applied-spec.out"
own() { kt a get configmaps,secrets -o json | jq -c '[.items[] | select(.metadata.name | test("^tandem-")) | {(.metadata.name): .data}]'; }
before=$(own)
expect_match "the site's own manifest" "$before" '\[peer site-b\].nagent = 10\.2\.0\.1:7401'
for s in a b; do
	kc a apply -k "$overlays/site-$s" >"$WORK/applied-$s.out"
	expect_eq "the site's own manifest after overlay $s" "$(own)" "$before"
	kc a apply -k "$overlays/site-$s" >"$WORK/again-$s.out"
	expect_eq "site $s: what the second time changed" "$(grep -v " unchanged$" "$WORK/again-$s.out" || true)" ""
	kc a apply -k "$overlays/site-$s" --server-side --force-conflicts --dry-run=server >"$WORK/dry-$s.out"
	step "site $s: $(wc -l <"$WORK/applied-$s.out") objects are applied"
done
kc a -n tandem-system get daemonsets,deployments -o json >"$WORK/pods.json"
kc a get storageclass tandemfs -o json >"$WORK/class.json"
is() { # what, file, jq expression that must be true
	jq -e "$3" "$2" >/dev/null || fail "$1"
}
daemon() { echo ".items[] | select(.metadata.name == \"$1\")"; }

# --- what must not be lost from these files -----------------------------------------------------------------
is "the holder is upgraded by kubectl apply" "$WORK/pods.json" \
	"$(daemon tandemfs-holder) | .spec.updateStrategy.type == \"OnDelete\""
is "the engine is not upgraded node by node" "$WORK/pods.json" \
	"$(daemon tandemfs-engine) | .spec.updateStrategy | .type == \"RollingUpdate\" and .rollingUpdate.maxUnavailable == 1"
for d in tandemfs-holder tandemfs-engine; do
	is "$d: no Bidirectional parent directory" "$WORK/pods.json" "$(daemon $d) | .spec.template.spec.containers[0] |
		[.volumeMounts[] | select(.mountPropagation == \"Bidirectional\")] == [{\"name\": \"mounts\",
		\"mountPath\": \"/var/lib/tandemfs/mnt\", \"mountPropagation\": \"Bidirectional\"}]"
	is "$d: another directory on the host" "$WORK/pods.json" "$(daemon $d) | .spec.template.spec.volumes[] |
		select(.name == \"mounts\") | .hostPath.path == \"/var/lib/tandemfs/mnt\""
	is "$d: can be evicted" "$WORK/pods.json" \
		"$(daemon $d) | .spec.template.spec.priorityClassName == \"system-node-critical\""
	is "$d: not on every node" "$WORK/pods.json" \
		"$(daemon $d) | .spec.template.spec.tolerations == [{\"operator\": \"Exists\"}]"
	is "$d: has a token" "$WORK/pods.json" \
		"$(daemon $d) | .spec.template.spec.automountServiceAccountToken == false"
	is "$d: memory that is requested is not the limit" "$WORK/pods.json" \
		"$(daemon $d) | .spec.template.spec.containers[0].resources | .requests.memory == .limits.memory"
	is "$d: a hook before its end" "$WORK/pods.json" \
		"$(daemon $d) | .spec.template.spec.containers[0].lifecycle == null"
done
is "the engine's processor time has a limit" "$WORK/pods.json" \
	"$(daemon tandemfs-engine) | .spec.template.spec.containers[0].resources.limits | has(\"cpu\") | not"
is "a probe of the holder" "$WORK/pods.json" "$(daemon tandemfs-holder) | .spec.template.spec.containers[0] |
	.livenessProbe == null and .readinessProbe == null and .startupProbe == null"
is "a probe that touches a mount" "$WORK/pods.json" '[.items[].spec.template.spec.containers[] |
	.livenessProbe, .readinessProbe, .startupProbe | values | tostring | select(test("mnt"))] == []'
is "no probes" "$WORK/pods.json" "$(daemon tandemfs-engine) | .spec.template.spec.containers[0] |
	.livenessProbe != null and .readinessProbe != null and .startupProbe != null"
is "the agent does not tolerate the start-up taint" "$WORK/pods.json" "$(daemon tandem-agent) |
	.spec.template.spec.tolerations | any(.key == \"tandemfs.dev/not-ready\")"
is "the agent elects nobody" "$WORK/pods.json" "$(daemon tandem-agent) | .spec.replicas == 2 and
	(.spec.template.spec.containers[0].args | index(\"--leader-elect\") != null)"
is "the agent is privileged" "$WORK/pods.json" "$(daemon tandem-agent) | .spec.template.spec |
	.securityContext.runAsNonRoot and .containers[0].securityContext.privileged == null and
	.containers[0].securityContext.readOnlyRootFilesystem"
is "the StorageClass" "$WORK/class.json" '.provisioner == "tandemfs.dev/hostpath" and .allowVolumeExpansion and
	.volumeBindingMode == "WaitForFirstConsumer" and .reclaimPolicy == "Retain"'
step "the workloads are as they must be"

# --- rights ---------------------------------------------------------------------------------------------
kc a create namespace blue >/dev/null
kc a create namespace red >/dev/null
kc a -n blue create rolebinding tandem --clusterrole tandem-migrator \
	--serviceaccount tandem-system:tandem-agent >/dev/null
may() { # account, yes or no, namespace, verb, resource [, more]
	local who=$1 want=$2 ns=$3 have
	shift 3
	have=$(kc a -n "$ns" auth can-i "$@" --as "system:serviceaccount:tandem-system:$who" 2>/dev/null || true)
	expect_eq "$who in $ns: $*" "$have" "$want"
}
may_by_now() { [[ $(kc a -n blue auth can-i update deployments.apps --as system:serviceaccount:tandem-system:tandem-agent 2>/dev/null) = yes ]]; }
wait_for 10 "the rights are known" may_by_now
set -f # a * is one
while read -r want ns what; do
	# shellcheck disable=SC2086 # several words
	may tandem-agent "$want" "$ns" $what </dev/null
done <<-END
	yes red get failovers.tandemfs.dev
	yes red update failovers.tandemfs.dev --subresource=status
	no red create failovers.tandemfs.dev
	no red create clusterdomainupdates.tandemfs.dev
	no red delete migrationschedules.tandemfs.dev
	yes red create migrations.tandemfs.dev
	yes red create persistentvolumes
	yes red update persistentvolumeclaims
	no red delete persistentvolumeclaims
	yes red patch nodes
	no red delete nodes
	yes red list validatingwebhookconfigurations.admissionregistration.k8s.io
	no red patch mutatingwebhookconfigurations.admissionregistration.k8s.io
	yes red create events
	yes tandem-system create leases.coordination.k8s.io
	yes tandem-system update leases.coordination.k8s.io/tandem-agent
	no tandem-system update leases.coordination.k8s.io/other
	no red create leases.coordination.k8s.io
	no tandem-system get secrets/tandem-identity
	no tandem-system update secrets/tandem-identity
	no tandem-system patch secrets/tandem-identity
	no tandem-system get configmaps/tandem-agent
	no tandem-system update configmaps/tandem-agent
	no tandem-system patch configmaps/tandem-agent
	no tandem-system get configmaps/tandem-site
	no tandem-system update configmaps/tandem-site
	no tandem-system patch configmaps/tandem-site
	no tandem-system get configmaps/tandem-state
	no tandem-system update configmaps/tandem-state
	no tandem-system patch configmaps/tandem-state
	no tandem-system list secrets
	no red get secrets
	no red list deployments.apps
	no red create pods --subresource=exec
	no red create pods
	no red create clusterrolebindings.rbac.authorization.k8s.io
	no red update customresourcedefinitions.apiextensions.k8s.io
	no red impersonate users
	no red * *
	yes blue list secrets
	yes blue update deployments.apps
	yes blue create persistentvolumeclaims
	yes blue patch cronjobs.batch
	yes blue create pods --subresource=exec
	no blue create pods
	no blue escalate roles.rbac.authorization.k8s.io
	no blue bind roles.rbac.authorization.k8s.io
END
while read -r ns what; do
	# shellcheck disable=SC2086 # several words
	may tandemfs-engine no "$ns" $what </dev/null
done <<-END
	tandem-system get secrets
	tandem-system get pods
	red get persistentvolumes
	red get volumes.tandemfs.dev
	red get nodes
END
set +f
step "nobody may do more than he needs"

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: kube
# budget: 1500
# tandemctl create clusterpair against two APIs: what is refused has changed nothing, both directions, one, and once more.
#
# Nearly all of the budget is for the first test on a machine, which builds the API server.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../kube/lib.sh"

CRDS=$ROOT/k8s-manifests/base/crds
pair() { # name, kubeconfig at the source, at the destination, further options...
	in_site a "$BIN/tandemctl" create clusterpair "$1" -n blue --src-kubeconfig "$(kube_dir a)/$2.kubeconfig" \
		--dest-kubeconfig "$(kube_dir b)/$3.kubeconfig" "${@:4}"
}
refused() { # extended regular expression, arguments of pair...
	expect_fail pair "${@:2}"
	expect_match "pair ${*:2}" "$OUT" "$1; nothing was changed\$"
	nothing_there "$2"
}
nothing_there() { # name
	local s
	for s in a b; do
		! kc "$s" -n blue get secret "$1" >/dev/null 2>&1 || fail "site $s has a Secret $1"
		! kc "$s" -n blue get clusterpairs.tandemfs.dev "$1" >/dev/null 2>&1 || fail "site $s has a ClusterPair $1"
	done
}
kubeconfig_of() { kc "$1" -n blue get secret "$2" -o 'jsonpath={.data.kubeconfig}' | base64 -d; } # site, name
leads_to() { kubeconfig_of "$1" "$2" | jq -r '.clusters[0].cluster.server'; }
token_of() { kubeconfig_of "$1" "$2" | jq -r '.users[0].user.token'; }
# Who the other cluster takes the kubeconfig for.
is_there() { # site, name: it is of the other one
	kubeconfig_of "$1" "$2" >"$WORK/$2.kubeconfig"
	in_site "$1" "$KUBE/kubectl" --kubeconfig "$WORK/$2.kubeconfig" get --raw /api/v1/namespaces/blue/configmaps 2>&1 || true
}

work_new
net_new
for s in a b; do
	kube_up $s
	kube_certificate $s nobody /CN=nobody
	kube_config $s nobody
done
server_a=https://$(kube_ip a):6443 server_b=https://$(kube_ip b):6443

# --- refused -----------------------------------------------------------------------------------------------
refused "the source \($server_a\): it has no namespace 'blue': 'kubectl create namespace blue' there first" x admin admin
kc a create namespace blue >/dev/null
refused "the destination \($server_b\): it has no namespace 'blue'.*" x admin admin
kc b create namespace blue >/dev/null
refused "the destination \($server_b\): it has no ServiceAccount 'mover' in namespace 'blue': .*" x admin admin \
	--service-account mover
kc b -n blue create serviceaccount mover >/dev/null
refused "the source \($server_a\): it has no ServiceAccount 'mover'.*" x admin admin --service-account mover
kc a -n blue create serviceaccount mover >/dev/null
refused "the source \($server_a\): it does not know the kind ClusterPair: .*" x admin admin --service-account mover
kc a apply -f "$CRDS/clusterpair.yaml" >/dev/null
kc a wait --for=condition=Established crd/clusterpairs.tandemfs.dev --timeout=20s >/dev/null
refused "the destination \($server_b\): it does not know the kind ClusterPair: .*" x admin admin --service-account mover
refused "the destination \($server_b\): .*forbidden.*" x admin nobody --service-account mover
refused "the source \($server_a\): .*forbidden.*" x nobody admin --service-account mover
expect_fail in_site a "$BIN/tandemctl" create clusterpair x -n blue --src-kubeconfig "$(kube_dir a)/admin.kubeconfig" \
	--dest-kubeconfig "$(kube_dir a)/admin.kubeconfig"
expect_match "twice the same cluster" "$OUT" "lead to the same cluster: a pair is of two; nothing was changed"
nothing_there x
sed "s/$(kube_ip b)/127.0.0.1/" "$(kube_dir b)/admin.kubeconfig" >"$(kube_dir b)/loopback.kubeconfig"
refused "the destination \(https://127.0.0.1:6443\): .*" x admin loopback
step "what cannot be done is told, with the cluster, and has changed nothing"

# --- in one direction; its destination needs no kinds ------------------------------------------------------------
expect_match "one way" "$(pair oneway admin admin --service-account mover -u)" \
	"^the source \($server_a\): ClusterPair 'blue/oneway' is made, with its Secret: to $server_b as ServiceAccount 'mover', until 20"
expect_eq "where it leads" "$(leads_to a oneway)" "$server_b"
expect_match "as whom" "$(is_there a oneway)" 'system:serviceaccount:blue:mover'
! kc b -n blue get secret oneway >/dev/null 2>&1 || fail "the destination has a Secret"
expect_match "as oneself" "$(pair myself admin admin --unidirectional 2>"$WORK/warned")" "to $server_b as who is in '.*/admin.kubeconfig'"
expect_match "warned" "$(cat "$WORK/warned")" "warning: without --service-account the Secret has your own .* for the destination \($server_b\)"
expect_match "its objects" "$(is_there a myself)" '"ConfigMapList"'

# --- in both, and again ------------------------------------------------------------------------------------
kc b apply -f "$CRDS/clusterpair.yaml" >/dev/null
kc b wait --for=condition=Established crd/clusterpairs.tandemfs.dev --timeout=20s >/dev/null
ln -s "$BIN/tandemctl" "$WORK/kubectl-tandem"
in_site a "$WORK/kubectl-tandem" create clusterpair both -n blue --service-account mover \
	--src-kube-file "$(kube_dir a)/admin.kubeconfig" --dest-kube-file "$(kube_dir b)/admin.kubeconfig" >"$WORK/both.out"
expect_match "the destination's" "$(cat "$WORK/both.out")" \
	"the destination \($server_b\): ClusterPair 'blue/both' is made, with its Secret: to $server_a as"
for s in a b; do
	expect_eq "where that of site $s leads" "$(leads_to $s both)" "$([[ $s = a ]] && echo "$server_b" || echo "$server_a")"
	expect_match "as whom" "$(is_there $s both)" 'system:serviceaccount:blue:mover'
	expect_eq "its Secret" "$(kc $s -n blue get clusterpairs.tandemfs.dev both -o 'jsonpath={.spec.secretRef.name} {.spec.secretRef.key}')" 'both kubeconfig'
	expect_eq "no copy takes it along" \
		"$(kc $s -n blue get secret both -o 'jsonpath={.metadata.annotations.tandemfs\.dev/skip-resource}')" true
done
before="$(token_of a both) $(token_of b both)"
# As an agent that renews it, and somebody who applies it by hand, leave it.
kc a -n blue patch secret both --type merge -p "{\"data\": {\"kubeconfig\": \"$(kubeconfig_of a both | base64 -w0)\"}}" >/dev/null
in_site a "$BIN/tandemctl" generate clusterpair both -n blue --service-account mover \
	--kubeconfig "$(kube_dir a)/admin.kubeconfig" | kc b apply -f - >/dev/null 2>&1
sleep 1 # a token is of the second in which it was made
expect_match "again" "$(pair both admin admin --service-account mover | grep -c "'blue/both' is renewed")" '^2$'
for s in a b; do
	[[ $before != *$(token_of $s both)* ]] || fail "site $s has the same token"
	expect_match "as whom" "$(is_there $s both)" 'system:serviceaccount:blue:mover'
done
step "pairs in one direction and in both; again, they have new tokens"

# --- what is somebody else's stays ------------------------------------------------------------------------------
kc b -n blue create secret generic taken --from-literal password=x >/dev/null
expect_fail pair taken admin admin
expect_match "a Secret of something else" "$OUT" "the destination \($server_b\): it has a Secret of that name, .*; nothing was changed"
! kc a -n blue get secret taken >/dev/null 2>&1 || fail "the source has a Secret"
expect_eq "it is as it was" "$(kc b -n blue get secret taken -o 'jsonpath={.data}')" '{"password":"eA=="}'
kc a -n blue get secret both -o json | jq '{apiVersion, kind, type, data, metadata: {name: "third"}}' | kc b -n blue apply -f - >/dev/null
expect_fail pair third admin admin
expect_match "a pair with another cluster" "$OUT" "the destination \($server_b\): its ClusterPair of that name leads to '$server_b'"
step "what is somebody else's stays"

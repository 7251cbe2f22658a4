#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: kube
# budget: 1500
# What a namespace needs at cluster scope goes over before it, told where a right is missing; a dry run changes nothing;
# a destination that does not answer holds up no other; a pair's token is renewed.
#
# Nearly all of the budget is for the first test on a machine, which builds the API server.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../kube/lib.sh"
. "$(dirname "$0")/../kube/migrate.sh"

line() { mig "$1" "{.status.resources[?(@.kind==\"$2\")].status} {.status.resources[?(@.kind==\"$2\")].reason}"; } # Migration, kind
pair_says() { kc a -n blue get cp "$1" -o "jsonpath={.status.conditions[?(@.type==\"$2\")].reason}"; }            # pair, condition
says() { [[ $(pair_says "$1" "$2") = "$3" ]]; }

work_new
net_new
migrate_up
mover_allow
pair_make

# --- a namespace with all that may be needed ----------------------------------------------------------------
kc a label namespace blue team=sky >/dev/null
kc a apply -f - >/dev/null <<END
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: boats.example.net}
spec:
  group: example.net
  scope: Namespaced
  names: {kind: Boat, listKind: BoatList, plural: boats, singular: boat}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
---
{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {name: urgent}, value: 1000}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: looks}, rules: [{apiGroups: [""], resources: [configmaps], verbs: [get]}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: reads}, rules: [{apiGroups: [""], resources: [configmaps], verbs: [list]}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: web-looks}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: looks},
  subjects: [{kind: ServiceAccount, name: web, namespace: blue}, {kind: ServiceAccount, name: x, namespace: other}, {kind: User, apiGroup: rbac.authorization.k8s.io, name: alice}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: boats}, rules: [{apiGroups: [example.net], resources: [boats], verbs: ["*"]}]}
END
kc a wait --for=condition=Established crd/boats.example.net --timeout=20s >/dev/null
boat() { echo '{"apiVersion":"example.net/v1","kind":"Boat","metadata":{"name":"one"},"spec":{"sail":true}}' | kc a -n blue apply -f - >/dev/null; }
wait_for 20 "the new kind is served" boat
kc a -n blue apply -f - >/dev/null <<END
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: web}}
---
{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: 3, selector: {matchLabels: {app: web}},
  template: {metadata: {labels: {app: web}}, spec: {priorityClassName: urgent, containers: [{name: web, image: x}]}}}}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: web-reads}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: reads},
  subjects: [{kind: ServiceAccount, name: web, namespace: blue}]}
END
agent_config one
agent_start one
wait_for 40 "the pair is ready" pair_is "Ready NotProvided"

# --- without the rights it is told ----------------------------------------------------------------------------
migrated poor PartialSuccess
expect_match "the class of priority" "$(line poor PriorityClass)" 'Failed.*forbidden'
expect_match "the role" "$(line poor ClusterRole)" 'Failed.*forbidden'
expect_match "the labels" "$(line poor Namespace)" 'Skipped.*tandem-migrator-cluster'
expect_match "a kind that we may not read" "$(line poor Boat)" 'Skipped.*boats.example.net'
expect_eq "the rest went over" "$(there deploy/web '{.spec.replicas}')" 0
expect_eq "no labels" "$(kc b get ns blue -o 'jsonpath={.metadata.labels.team}')" ''
step "what is missing is told"

# --- with the administrators' pair ------------------------------------------------------------------------------
kc b -n tandem-system create serviceaccount admin >/dev/null
for r in tandem-migrator-volumes tandem-migrator-cluster tandem-migrator; do
	kc b create clusterrolebinding "admin-$r" --clusterrole "$r" --serviceaccount tandem-system:admin >/dev/null
done
in_site b "$BIN/tandemctl" generate clusterpair admins -n tandem-system --service-account admin \
	--kubeconfig "$(kube_dir b)/admin.kubeconfig" | kc a apply -f - >/dev/null
kc a -n tandem-system create role pairs --verb get,patch --resource secrets --resource-name admins >/dev/null
kc a -n tandem-system create rolebinding pairs --role pairs --user agent >/dev/null
kc a -n blue create rolebinding boats --clusterrole boats --user agent >/dev/null
kc b apply -f - >/dev/null <<END
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: boats}, rules: [{apiGroups: [example.net], resources: [boats], verbs: ["*"]}]}
END
kc b -n blue create rolebinding boats --clusterrole boats --serviceaccount blue:mover >/dev/null
migrated trial Successful 'adminClusterPair: admins' 'dryRun: true'
expect_match "a dry run says what would be sent" "$(line trial PriorityClass)" '^Pending it would be made'
expect_match "and its kind first" "$(line trial CustomResourceDefinition)" '^Pending'
expect_fail kc b get priorityclass urgent
expect_fail kc b get crd boats.example.net
migrated rich Successful 'adminClusterPair: admins'
expect_eq "the definition and what is of it" "$(there boat/one '{.spec.sail}')" true
expect_eq "the class of priority" "$(kc b get priorityclass urgent -o 'jsonpath={.value}')" 1000
expect_eq "the role that a binding names" "$(kc b get clusterrole reads -o 'jsonpath={.rules[0].verbs[0]}')" list
expect_eq "the namespace's accounts alone" "$(kc b get clusterrolebinding web-looks -o 'jsonpath={.subjects[*].name}')" web
expect_eq "the labels" "$(kc b get ns blue -o 'jsonpath={.metadata.labels.team}')" sky
expect_eq "the role that was there is left alone" \
	"$(kc a -n blue get mig rich -o json | jq -r '.status.resources[] | select(.kind == "ClusterRole" and .name == "boats").status')" Skipped
migrated again Successful 'adminClusterPair: admins'
expect_eq "unchanged" "$(mig again '{.status.resources[*].status}' | tr ' ' '\n' | sort -u | tr '\n' ' ')" 'Skipped Unchanged '
migrated mapped Failed 'adminClusterPair: admins' 'namespaceMapping: {blue: red}'
step "what is needed at cluster scope goes over by the administrators' pair"

# --- the token ------------------------------------------------------------------------------------------------
token() { kc a -n blue get secret remotecluster -o 'jsonpath={.data.kubeconfig}' | base64 -d | jq -r '.users[0].user.token'; }
token >"$WORK/token"
expect_match "when it ends" "$(kc a -n blue get cp remotecluster -o 'jsonpath={.status.tokenExpires}')" '^20[0-9-]+T'
kc a -n blue annotate cp remotecluster tandemfs.dev/renew-token=now >/dev/null
wait_for 20 "a right is missing" says remotecluster TokenExpires MayNotRenew
kc b -n blue create role tandem-token --verb create --resource serviceaccounts/token --resource-name mover >/dev/null
kc b -n blue create rolebinding tandem-token --role tandem-token --serviceaccount blue:mover >/dev/null
# The wish is looked at with the minute, or when the object changes.
kc a -n blue annotate --overwrite cp remotecluster tandemfs.dev/renew-token=please >/dev/null
wait_for 20 "the token is renewed" says remotecluster TokenExpires Renewed
expect_fail diff "$WORK/token" <(token)
expect_eq "the wish is gone" "$(kc a -n blue get cp remotecluster -o 'jsonpath={.metadata.annotations.tandemfs\.dev/renew-token}')" ''
migrated renewed Successful
step "the token is renewed"

# --- pairs that lead nowhere, and home ---------------------------------------------------------------------------
sed 's/remotecluster/nowhere/; s/10.77.0.2/10.77.0.99/' "$WORK/clusterpair.yaml" | kc a apply -f - >/dev/null
in_site a "$BIN/tandemctl" generate clusterpair home -n blue --kubeconfig "$(kube_dir a)/admin.kubeconfig" |
	kc a apply -f - >/dev/null
wait_for 20 "a pair with itself is refused" says home Ready Refused
for n in lost-1 lost-2 lost-3; do
	printf 'apiVersion: tandemfs.dev/v1alpha1\nkind: Migration\nmetadata: {name: %s, namespace: blue}\nspec: {clusterPair: nowhere, includeVolumes: false}\n' $n |
		kc a create -f - >/dev/null
done
lost() { [[ $(mig lost-1 '{.status.status}') = InProgress ]]; }
wait_for 20 "one waits for a cluster that is not there" lost
begin=$(now_ns)
migrated meanwhile Successful
step "another one took $((($(now_ns) - begin) / 1000000)) ms meanwhile"
expect_eq "and that one still waits" "$(mig lost-1 '{.status.status}')" InProgress
agent_kill TERM

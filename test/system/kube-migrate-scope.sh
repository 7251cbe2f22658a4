#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: kube
# budget: 1500
# turn: 2
# What a namespace needs at cluster scope goes over before it, told where a right is missing; a dry run changes nothing;
# each word of a Migration's spec takes along or leaves behind what it says; a destination that does not answer holds up no
# other; a pair's token is renewed, and a kubeconfig that all can read is told of.
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
ca=$(base64 -w0 "$(kube_dir a)/ca.pem")
for k in Validating/blue Mutating/blue Validating/other; do
	printf -- '---\n{apiVersion: admissionregistration.k8s.io/v1, kind: %sWebhookConfiguration, metadata: {name: of-%s}, webhooks: [
		{name: asks.example.net, admissionReviewVersions: [v1], sideEffects: None, failurePolicy: Fail,
		rules: [{apiGroups: [example.net], apiVersions: [v1], resources: [ships], operations: [CREATE]}],
		clientConfig: {caBundle: %s, service: {namespace: %s, name: web}}}]}\n' "${k%/*}" "${k#*/}" "$ca" "${k#*/}"
done | kc a create -f - >/dev/null
hook() { kc b get "$1webhookconfiguration" of-blue -o "jsonpath={.webhooks[0].$2}"; } # validating or mutating, path at the destination
agent_config one
agent_start one
wait_for 40 "the pair is ready" pair_is "Ready NotProvided"

# --- without the rights it is told ----------------------------------------------------------------------------
migrated poor PartialSuccess
expect_match "the class of priority" "$(line poor PriorityClass)" 'Failed.*forbidden'
expect_match "the role" "$(line poor ClusterRole)" 'Failed.*forbidden'
expect_match "the labels" "$(line poor Namespace)" 'Skipped.*tandem-migrator-cluster'
expect_match "a kind that we may not read" "$(line poor Boat)" 'Skipped.*boats.example.net'
expect_match "a webhook" "$(line poor ValidatingWebhookConfiguration)" '^Skipped.*tandem-migrator-cluster'
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
expect_eq "the webhooks of its services" "$(hook validating clientConfig.service.namespace) $(hook mutating clientConfig.service.namespace)" 'blue blue'
expect_eq "and what they trust" "$(hook validating clientConfig.caBundle)" "$ca"
expect_match "asked, and not insisted on, while that is held back" "$(hook mutating failurePolicy) $(line rich MutatingWebhookConfiguration)" \
	'^Ignore Successful failurePolicy is Ignore'
expect_fail kc b get validatingwebhookconfiguration of-other
migrated again Successful 'adminClusterPair: admins'
expect_eq "unchanged" "$(mig again '{.status.resources[*].status}' | tr ' ' '\n' | sort -u | tr '\n' ' ')" 'Skipped Unchanged '
migrated mapped Failed 'adminClusterPair: admins' 'namespaceMapping: {blue: red}'
step "what is needed at cluster scope goes over by the administrators' pair"

# --- what is taken along and what is left behind: each word of the spec -------------------------------------------
kc a create clusterrolebinding agent-everywhere --clusterrole tandem-migrator --user agent >/dev/null
kc b create clusterrolebinding admin-boats --clusterrole boats --serviceaccount tandem-system:admin >/dev/null
uid=$(kc a -n blue get deploy web -o 'jsonpath={.metadata.uid}')
kc a -n blue apply -f - >/dev/null <<END
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: kept, labels: {tier: gold}}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: scrap, labels: {tier: gold, scratch: "yes"}}}
---
{apiVersion: v1, kind: Secret, metadata: {name: word, labels: {tier: gold}}}
---
{apiVersion: v1, kind: Service, metadata: {name: web, labels: {tier: gold}}, spec: {selector: {app: web}, ports: [{port: 80}]}}
---
{apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: web-1, ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: web, uid: $uid}]},
  spec: {selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: x}]}}}}
---
{apiVersion: batch/v1, kind: Job, metadata: {name: once}, spec: {template: {spec: {restartPolicy: Never, containers: [{name: once, image: x}]}}}}
---
{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: office}, spec: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8}}]}]}}
END
kc a create -f - >/dev/null <<END
---
{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: fast}, provisioner: tandemfs.dev/hostpath, allowVolumeExpansion: true, parameters: {ack: op}}
---
{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: foreign}, provisioner: example.net/disk}
END
for n in fast foreign; do
	printf -- '---\n{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: %s}, spec: {volumeName: %s, storageClassName: %s,
		accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}\n' $n $n $n
done | kc a -n blue create -f - >/dev/null
for n in red green; do
	kc a create namespace $n >/dev/null
	kc a -n $n create cm "of-$n" >/dev/null
done
kc a label namespace red pick=me >/dev/null
MIG_NS=tandem-system MIG_PAIR=admins
said() { # Migration, KIND/NAME: what became of it, and why
	kc a -n $MIG_NS get mig "$1" -o json | jq -r --arg o "$2" \
		'.status.resources[] | select("\(.kind)/\(.name)" == $o) | "\(.status) \(.reason // "-")"'
}
objects() { kc b -n "$1" get cm,secret,svc,deploy,rs,job,netpol -o name | sed 's|.*kube-root-ca.crt||; s|\.[a-z.0-9]*/|/|' | sort | xargs; }
is_there() { # namespace at the destination, what shall be in it
	expect_eq "in namespace $1" "$(objects "$1")" "$2"
}
from_blue() { migrated "$1" Successful 'namespaces: [blue]' "namespaceMapping: {blue: $2}" "${@:3}"; } # Migration, destination

from_blue plain plain
is_there plain 'configmap/kept configmap/scrap deployment/web secret/word service/web'
expect_match "an owner makes it" "$(said plain ReplicaSet/web-1)" '^Skipped its owner'
expect_match "addresses of here" "$(said plain NetworkPolicy/office)" '^Skipped.*includeNetworkPolicyWithCIDR'
expect_eq "the class of a claim" "$(said plain StorageClass/fast) $(kc b get storageclass fast -o 'jsonpath={.parameters.ack} {.allowVolumeExpansion}')" 'Successful - op true'
expect_match "another provisioner's" "$(said plain StorageClass/foreign)" '^Skipped its provisioner'
expect_fail kc b get storageclass foreign
expect_eq "held back" "$(kc b -n plain get deploy web -o 'jsonpath={.spec.replicas}')" 0
expect_eq "a webhook asks the service there" "$(hook validating clientConfig.service.namespace)" plain
from_blue less less 'excludeSelectors: {scratch: "yes"}' 'excludeResourceTypes: [Secret, apps/Deployment, replicasets]'
is_there less 'configmap/kept service/web'
expect_eq "the class is there" "$(said less StorageClass/fast)" 'Unchanged -'
kc b patch storageclass fast -p '{"allowVolumeExpansion":false}' >/dev/null
from_blue labelled labelled 'selectors: {tier: gold}' 'excludeSelectors: {scratch: "yes"}'
is_there labelled 'configmap/kept secret/word service/web'
from_blue more more 'includeOptionalResourceTypes: [Job]' 'includeNetworkPolicyWithCIDR: true' \
	'ignoreOwnerReferencesCheck: true' 'startApplications: true' 'excludeResourceTypes: [ConfigMap, Secret]'
is_there more 'deployment/web job/once networkpolicy/office replicaset/web-1 service/web'
expect_eq "a webhook whose service runs" "$(hook validating clientConfig.service.namespace) $(hook validating failurePolicy)" 'more Fail'
expect_match "a class that differs" "$(said more StorageClass/fast)" '^Skipped.*another allowVolumeExpansion'
expect_eq "is left as it is" "$(kc b get storageclass fast -o 'jsonpath={.allowVolumeExpansion}')" false
expect_eq "it is started" "$(kc b -n more get deploy web -o 'jsonpath={.spec.replicas} {.metadata.annotations.tandemfs\.dev/migrationReplicas}')" '3 '
from_blue none none 'includeResources: false'
expect_eq "nothing" "$(mig none '{.status.summary.totalNumberOfResources}')" 0
expect_fail kc b get namespace none
port() { kc b -n plain get svc web -o 'jsonpath={.spec.ports[0].port}'; }
# Kubernetes 1.20 cannot hold a job back: that one does not go over, and all else does.
from_blue_partly() { migrated "$1" PartialSuccess 'namespaces: [blue]' "namespaceMapping: {blue: $2}" "${@:3}"; }
from_blue_partly held held 'includeOptionalResourceTypes: [Job]'
expect_match "a job that cannot be held back" "$(said held Job/once)" '^Failed.*suspend'
kc a -n blue patch svc web --type json -p '[{"op": "replace", "path": "/spec/ports/0/port", "value": 81}]' >/dev/null
from_blue careful plain 'skipServiceUpdate: true'
expect_match "a service that is there" "$(said careful Service/web)" '^Skipped.*skipServiceUpdate'
expect_eq "it is left alone" "$(port)" 80
from_blue bold plain
expect_eq "it is changed" "$(port)" 81

# A port that somebody has there already, and the source, too.
door() { printf -- '---\n{apiVersion: v1, kind: Service, metadata: {name: %s}, spec: {type: NodePort, selector: {app: web}, ports: [{port: 90, nodePort: 30077}]}}\n' "$1"; }
door_port() { kc b -n plain get svc door -o 'jsonpath={.spec.ports[0].nodePort}'; }
door taken | kc b -n blue create -f - >/dev/null
door door | kc a -n blue create -f - >/dev/null
from_blue other-door plain
expect_match "a port of there" "$(door_port)" '^3[0-9]{4}$'
from_blue_partly no-door plain 'preserveNodePorts: true'
expect_match "a port that is taken there" "$(said no-door Service/door)" '^Failed.*30077'
kc b -n blue delete svc taken >/dev/null
from_blue same-door plain 'preserveNodePorts: true'
expect_eq "the same port" "$(door_port)" 30077
from_blue free-door plain
expect_match "one of there again" "$(said free-door Service/door) $(door_port)" '^Successful - 3[0-9]{4}$'
kc a create --dry-run=server -o json -f - >"$WORK/schedule.json" <<END
---
{apiVersion: tandemfs.dev/v1alpha1, kind: MigrationSchedule, metadata: {name: doors, namespace: blue},
  spec: {schedulePolicyName: hourly, template: {spec: {clusterPair: remotecluster, preserveNodePorts: true}}}}
END
expect_eq "a schedule has it, too" "$(jq .spec.template.spec.preserveNodePorts "$WORK/schedule.json")" true
step "kinds, labels and options: taken along and left behind"

# --- namespaces: named, by their labels, all but some -----------------------------------------------------------
taken() { kc a -n $MIG_NS get mig "$1" -o json | jq -r '.status.resources[] | select(.kind == "Namespace").name' | sort | xargs; }
migrated named Successful 'namespaces: [red, green]'
expect_eq "both that are named" "$(taken named) $(objects red) $(objects green)" 'green red configmap/of-red configmap/of-green'
migrated picked Successful 'namespaceSelectors: {pick: me}'
expect_eq "by label" "$(taken picked)" red
migrated spared Successful 'namespaces: [red, green]' 'excludeNamespaces: [green]'
expect_eq "but one" "$(taken spared)" red
migrated all Successful 'namespaces: ["*"]' 'excludeNamespaces: [default, blue]'
expect_eq "all but some, and none of the cluster's own" "$(taken all)" 'green red'
migrated nobody Failed 'namespaces: [red]' 'excludeNamespaces: [red]'
expect_match "none is left" "$(mig nobody '{.status.conditions[?(@.type=="Failed")].message}')" 'excludeNamespaces.*nothing is left'
MIG_NS=blue MIG_PAIR=remotecluster
migrated upstart Failed 'namespaces: ["*"]'
expect_match "by administrators alone" "$(mig upstart '{.status.conditions[?(@.type=="Failed")].message}')" "only have a meaning in namespace 'tandem-system'"
step "namespaces: named, by label, all but some"

# --- a kubeconfig in the object itself ----------------------------------------------------------------------------
kc a -n blue get secret remotecluster -o 'jsonpath={.data.kubeconfig}' | base64 -d |
	jq '{apiVersion: "tandemfs.dev/v1alpha1", kind: "ClusterPair", metadata: {name: "inline", namespace: "blue"}, spec: {config: .}}' |
	kc a create -f - >/dev/null
wait_for 20 "whoever reads it may copy" says inline ConfigInline ReadableByAll
expect_eq "it serves" "$(pair_says inline Ready)" Reached
kc a -n blue patch cp inline --type merge -p '{"spec":{"config":null,"secretRef":{"name":"remotecluster"}}}' >/dev/null
wait_for 20 "it is in a Secret now" says inline ConfigInline InSecret
expect_eq "and that is no fault" "$(kc a -n blue get cp inline -o 'jsonpath={.status.conditions[?(@.type=="ConfigInline")].status}')" False
expect_eq "nor ever was of the other" "$(pair_says remotecluster ConfigInline)" ''
step "a kubeconfig that all can read is told of"

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
wait_for 20 "the wish is gone" eval '[[ -z $(kc a -n blue get cp remotecluster -o "jsonpath={.metadata.annotations.tandemfs\.dev/renew-token}") ]]'
migrated renewed Successful 'adminClusterPair: admins'
step "the token is renewed"

# --- a pair with one's own certificate -----------------------------------------------------------------------
expect_eq "what a service account's pair says" "$(pair_says remotecluster NoServiceAccount)" ''
in_site a "$BIN/tandemctl" generate clusterpair myself -n blue --kubeconfig "$(kube_dir b)/admin.kubeconfig" 2>"$WORK/warned" |
	kc a apply -f - >/dev/null
expect_match "warned" "$(cat "$WORK/warned")" 'warning: without --service-account the Secret has your own certificate'
wait_for 20 "it is told of" says myself NoServiceAccount ClientCertificate
in_site a "$BIN/tandemctl" generate clusterpair myself -n blue --service-account mover --kubeconfig "$(kube_dir b)/admin.kubeconfig" \
	2>"$WORK/warned" | kc a apply -f - >/dev/null
expect_eq "no warning with an account" "$(cat "$WORK/warned")" ''
kc a -n blue annotate cp myself tandemfs.dev/renew-token=now >/dev/null
wait_for 90 "it is an account's now" says myself NoServiceAccount ServiceAccount
kc a -n blue delete cp/myself secret/myself >/dev/null
step "a pair that has a person's rights is told of"

# --- the copy that a schedule leaves of itself goes with it -----------------------------------------------------
kc b apply -f "$MANIFESTS/base/crds" >/dev/null
kc b wait --for=condition=Established crd/migrationschedules.tandemfs.dev crd/schedulepolicies.tandemfs.dev --timeout=20s >/dev/null
kc a apply -f - >/dev/null <<END
---
{apiVersion: tandemfs.dev/v1alpha1, kind: SchedulePolicy, metadata: {name: rare}, policy: {interval: {intervalMinutes: 60}}}
---
{apiVersion: tandemfs.dev/v1alpha1, kind: MigrationSchedule, metadata: {name: given-up, namespace: blue},
  spec: {schedulePolicyName: rare, template: {spec: {clusterPair: remotecluster, includeVolumes: false}}}}
---
{apiVersion: tandemfs.dev/v1alpha1, kind: MigrationSchedule, metadata: {name: taken-over, namespace: blue},
  spec: {schedulePolicyName: rare, template: {spec: {clusterPair: remotecluster, includeVolumes: false}}}}
END
schedule_is() { [[ $(kc "$1" -n blue get ms "$2" -o 'jsonpath={.metadata.name}' 2>/dev/null) = "$3" ]]; } # site, name, its name or none
for n in given-up taken-over; do wait_for 60 "the copy of schedule $n" schedule_is b $n $n; done
kc b -n blue patch ms taken-over --type merge -p '{"spec":{"suspend":false}}' >/dev/null
kc a -n blue delete ms given-up taken-over --wait=false >/dev/null
wait_for 30 "its copy is gone" schedule_is b given-up ''
for n in given-up taken-over; do wait_for 30 "schedule $n is gone" schedule_is a $n ''; done
schedule_is b taken-over taken-over || fail "one that was resumed there is gone"
expect_eq "what was copied stays" "$(there deploy/web '{.metadata.name}') $(kc b get sp rare -o 'jsonpath={.metadata.name}')" 'web rare'
kc b -n blue delete ms taken-over >/dev/null
step "a deleted schedule takes its copy along, unless it was resumed there"

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
migrated meanwhile Successful 'adminClusterPair: admins'
step "another one took $((($(now_ns) - begin) / 1000000)) ms meanwhile"
expect_eq "and that one still waits" "$(mig lost-1 '{.status.status}')" InProgress
agent_kill TERM

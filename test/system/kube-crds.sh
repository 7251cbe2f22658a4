#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: kube
# budget: 1500
# The kinds of tandemfs in a real API server: established, structural, defaulted; bad objects are refused by field.
#
# Nearly all of the budget is for the first test on a machine, which builds the API server.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../kube/lib.sh"

crds=$ROOT/k8s-manifests/base/crds
examples=$ROOT/k8s-manifests/examples
kinds=(clusterdomainsstatuses clusterdomainupdates clusterpairs schedulepolicies migrationschedules migrations
	rules volumes failovers)

work_new
net_new
kube_up a

# Applies what is on standard input; a mistyped field must come through, to see what the server does with it.
apply() { kc a apply --validate=false -f -; }
object() { # kind name [namespace]
	printf 'apiVersion: tandemfs.dev/v1alpha1\nkind: %s\nmetadata: {name: %s%s}\n' "$1" "$2" "${3:+, namespace: $3}"
}
refused() { # what, regular expression, object
	expect_fail apply <<<"$3"
	expect_match "$1" "$OUT" "$2"
	step "$1: ${OUT##*: }"
}
field() { kc a get "$1" "$2" -n blue -o "jsonpath=$3"; } # kind name path
status_of() { # kind name namespace JSON: as a controller does it
	local url=/apis/tandemfs.dev/v1alpha1/${3:+namespaces/$3/}$1/$2/status
	kc a get --raw "$url" | jq -c --argjson s "$4" '.status = $s' >"$WORK/status.json"
	kc a replace --raw "$url" -f "$WORK/status.json"
}
columns() { # kind, the header's expected words with one blank between them, more options
	local k=$1 want=$2 have
	shift 2
	have=$(kc a get "$k" -n blue "$@" | sed -nE '1{s/ {2,}/  /g; s/ +$//; p}')
	expect_eq "columns of $k" "$have" "$want"
}

# --- established, structural, with status, words that kubectl explain shows ---------------------------
kc a apply -f "$crds" >/dev/null
for k in "${kinds[@]}"; do
	kc a wait --for=condition=Established "crd/$k.tandemfs.dev" --timeout=20s >/dev/null
done
# The condition NonStructuralSchema is set a moment later than Established, if it is.
sleep 2
expect_eq "kinds" "$(kc a get crd -o name | grep -c '\.tandemfs\.dev$')" ${#kinds[@]}
kc a get crd -o json >"$WORK/crds.json"
conditions=$(jq -r '.items[].status.conditions[] | select(.type | test("NonStructural|Violations|Terminating")) |
	"\(.type) \(.status) \(.message)"' "$WORK/crds.json")
expect_eq "conditions of the kinds" "$conditions" ''
expect_eq "kinds without a status subresource" \
	"$(jq '[.items[].spec.versions[] | select(.subresources.status == null)] | length' "$WORK/crds.json")" 0
cat "$crds"/*.yaml >"$WORK/all.yaml"
if grep -n 'x-kubernetes-validations' "$WORK/all.yaml"; then
	fail "1.20 does not know validation rules in CEL"
fi
# Every property but those of metav1 says what it is; in anyOf nothing may be described.
undescribed=$(jq -r '.items[] | .metadata.name as $n | .spec.versions[].schema.openAPIV3Schema |
	paths(objects) as $p | select($p[-2] == "properties" and ($p | length) > 1) |
	select($p | index("anyOf") == null) |
	select(getpath($p).description == null) |
	select($p[-1] != "metadata") | "\($n): \($p | map(tostring) | join("."))"' "$WORK/crds.json")
expect_eq "fields without a description" "$undescribed" ''
# A schedule makes its Migrations from the same fields.
jq -S '[.items[] | select(.spec.names.kind == "Migration")][0].spec.versions[0].schema.openAPIV3Schema
	.properties.spec' "$WORK/crds.json" | grep -v '^  "description"' >"$WORK/one"
jq -S '[.items[] | select(.spec.names.kind == "MigrationSchedule")][0].spec.versions[0].schema.openAPIV3Schema
	.properties.spec.properties.template.properties.spec' "$WORK/crds.json" |
	grep -v '^  "description"' >"$WORK/other"
diff "$WORK/one" "$WORK/other" || fail "the specs of Migration and of MigrationSchedule's template differ"
step "${#kinds[@]} kinds are established and structural"

# --- good objects -----------------------------------------------------------------------------------
kc a create namespace blue >/dev/null
kc a create namespace tandem-system >/dev/null
# With the client's own check: it knows every field of the examples.
kc a apply -f "$examples" >/dev/null
for e in "$examples"/*.yaml; do
	kc a get -f "$e" -o json | jq -e '.' >/dev/null
done
expect_eq "default of includeVolumes" "$(field mig bluemigration '{.spec.includeResources}')" true
expect_eq "default of startApplications" "$(field mig bluemigration '{.spec.startApplications}')" false
expect_eq "default in a template" "$(field ms blueschedule '{.spec.template.spec.skipDeletedNamespaces}')" true
expect_eq "default of autoSuspend" "$(field ms blueschedule '{.spec.autoSuspend}')" true
expect_eq "default of retain" "$(field sp bluepolicy '{.policy.interval.retain}')" 10
expect_eq "a value that is given" "$(field sp nightly '{.policy.daily.retain}')" 14
expect_eq "default of key" "$(field cp remotecluster '{.spec.secretRef.key}')" kubeconfig
expect_eq "default of reclaimPolicy" "$(field tvol db '{.spec.reclaimPolicy}')" Retain
# As Stork's users have it: the kubeconfig written out, the placeholder left in.
{
	object ClusterPair inline blue
	printf 'spec:\n  config: {clusters: [{name: c, cluster: {server: "https://x"}}]}\n'
	printf '  options: {<insert_storage_options_here>: ""}\n'
} | apply >/dev/null
expect_eq "an inline kubeconfig" "$(field cp inline '{.spec.config.clusters[0].cluster.server}')" https://x
expect_match "the client's own check" "$( (object Volume x && echo 'spec: {size: 1Gi, akc: op}') |
	kc a apply -f - 2>&1 || true)" 'unknown field "akc"'
step "the examples are taken, with their defaults"

# --- bad ones, by field -----------------------------------------------------------------------------
bad() { # kind, name [namespace], what follows, regular expression
	refused "$1 $3" "$4" "$(object "$1" bad "$2"; echo "$3")"
}
bad Volume '' 'spec: {}' 'spec\.size: Required'
bad Volume '' 'status: {}' 'spec: Required'
bad Volume '' 'spec: {size: 10GB}' 'spec\.size: Invalid.*10GB'
bad Volume '' 'spec: {size: 0}' 'spec\.size: Invalid'
bad Volume '' 'spec: {size: 1Gi, ack: async}' 'spec\.ack: Unsupported.*"op", "fsync"'
bad Volume '' 'spec: {size: 1Gi, mode: "0999"}' 'spec\.mode: Invalid'
bad Volume '' 'spec: {size: 1Gi, uid: -1}' 'spec\.uid: Invalid.*greater than or equal to 0'
bad Volume '' 'spec: {size: 1Gi, replicas: [{domain: a}, {domain: a}]}' 'spec\.replicas\[1\]: Duplicate'
bad Volume '' 'spec: {size: 1Gi, replicas: [{domain: Site_A}]}' 'spec\.replicas.*domain: Invalid'
bad Volume '' 'spec: {size: 1Gi, resync: {confirm: x}}' 'spec\.resync\.fromDomain: Required'
bad Volume '' 'spec: {size: 1Gi, resync: {fromDomain: Site_A}}' 'spec\.resync\.fromDomain: Invalid'
bad Volume '' 'spec: {size: 1Gi, reclaimPolicy: Recycle}' 'spec\.reclaimPolicy: Unsupported'
bad SchedulePolicy '' 'policy: {}' 'policy: Invalid.*at least 1'
bad SchedulePolicy '' 'spec: {}' 'policy: Required'
bad SchedulePolicy '' 'policy: {interval: {intervalMinutes: 0}}' 'intervalMinutes: Invalid.*equal to 1'
bad SchedulePolicy '' 'policy: {interval: {intervalMinutes: soon}}' 'intervalMinutes: Invalid.*integer'
bad SchedulePolicy '' 'policy: {daily: {time: "25:00"}}' 'policy\.daily\.time: Invalid'
bad SchedulePolicy '' 'policy: {daily: {time: "13:00PM"}}' 'policy\.daily\.time: Invalid'
bad SchedulePolicy '' 'policy: {weekly: {day: Someday, time: "1:00AM"}}' 'policy\.weekly\.day: Unsupported'
bad SchedulePolicy '' 'policy: {weekly: {day: Sunday}}' 'policy\.weekly\.time: Required'
bad SchedulePolicy '' 'policy: {monthly: {date: 32, time: "1:00AM"}}' 'policy\.monthly\.date: Invalid'
bad SchedulePolicy '' 'policy: {cron: {schedule: "* * *"}}' 'policy\.cron\.schedule: Invalid'
bad MigrationSchedule blue 'spec: {template: {spec: {clusterPair: x}}}' 'schedulePolicyName: Required'
bad MigrationSchedule blue 'spec: {schedulePolicyName: x}' 'spec\.template: Required'
bad MigrationSchedule blue 'spec: {schedulePolicyName: x, template: {spec: {}}}' 'template\.spec\.clusterPair: Req'
bad Migration blue 'spec: {}' 'spec\.clusterPair: Required'
bad Migration blue 'spec: {clusterPair: x, namespaces: [Blue]}' 'spec\.namespaces.*Invalid'
bad Migration blue 'spec: {clusterPair: x, namespaces: ["b*"]}' 'spec\.namespaces.*Invalid'
bad Migration blue 'spec: {clusterPair: x, excludeNamespaces: ["*"]}' 'spec\.excludeNamespaces.*Invalid'
bad Migration blue 'spec: {clusterPair: x, transformSpecs: [a, b]}' 'transformSpecs: .*at most 1'
bad Migration blue 'spec: {clusterPair: x, includeVolumes: "no"}' 'spec\.includeVolumes: Invalid.*boolean'
bad ClusterPair blue 'spec: {}' 'spec.*(secretRef|config): Required'
bad ClusterPair blue 'spec: {secretRef: {key: k}}' 'spec\.secretRef\.name: Required'
bad ClusterDomainUpdate '' 'spec: {clusterdomain: a}' 'spec\.active: Required'
bad ClusterDomainUpdate '' 'spec: {clusterdomain: "", active: true}' 'spec\.clusterdomain: Invalid'
bad ClusterDomainUpdate '' 'spec: {clusterdomain: a, active: true, dryRun: "yes"}' 'spec\.dryRun: Invalid.*boolean'
bad Rule blue 'rules: []' 'rules: Invalid.*at least 1'
bad Rule blue 'rules: [{podSelector: {a: b}, actions: [{type: shell, value: x}]}]' 'type: Unsupported.*command'
bad Rule blue 'rules: [{podSelector: {}, actions: [{type: command, value: x}]}]' 'podSelector: Invalid'
bad Rule blue 'rules: [{podSelector: {a: b}, actions: [{type: command, value: x, timeoutSeconds: 0}]}]' \
	'timeoutSeconds: Invalid'
bad Failover '' 'spec: {fromDomain: a}' 'spec\.type: Required'
bad Failover '' 'spec: {type: Emergency, fromDomain: a}' 'spec\.type: Unsupported.*"Unplanned"'
bad Failover '' 'spec: {type: Planned}' 'spec\.fromDomain: Required'
bad Failover '' 'spec: {type: Planned, fromDomain: a, node: n1, volumes: [x]}' 'spec.*must not validate the schema'
bad Failover '' 'spec: {type: Unplanned, fromDomain: a, node: n1, volumes: [x]}' 'spec.*must not validate the schema'
bad Failover '' 'spec: {type: Planned, fromDomain: a, webhook: {url: "ftp://x"}}' 'spec\.webhook\.url: Invalid'
bad Failover '' 'spec: {type: Planned, fromDomain: a, webhook: {url: "https://x", caBundle: "---"}}' \
	'spec\.webhook\.caBundle.*Invalid.*byte'

# --- status: a subresource, with stages and conditions that carry what they were set for ----------------
kc a patch failover site-a-is-dead --type merge -p '{"status":{"stage":"Mount"}}' >/dev/null
expect_eq "status written beside the subresource" "$(field fo site-a-is-dead '{.status.stage}')" ''
condition='{"type":"Progressing","status":"True","observedGeneration":1,"reason":"Mounting","message":"x",
	"lastTransitionTime":"2026-01-02T03:04:05Z"}'
status_of failovers site-a-is-dead '' '{"stage":"Mount","status":"In-Progress","observedGeneration":1,
	"steps":[{"name":"fence","state":"Done","startTime":"2026-01-02T03:04:05Z"}],"conditions":['"$condition"']}' >/dev/null
expect_eq "a stage" "$(field fo site-a-is-dead '{.status.stage} {.metadata.generation}')" 'Mount 1'
expect_fail status_of failovers site-a-is-dead '' '{"stage":"Sleeping"}'
expect_match "an unknown stage" "$OUT" 'status\.stage: Unsupported'
expect_fail status_of failovers site-a-is-dead '' '{"conditions":[{"type":"Ready","status":"Maybe"}]}'
expect_match "a bad condition" "$OUT" 'status\.conditions.*(Unsupported|Required)'

# --- what kubectl get shows: Stork's columns under Stork's short names ----------------------------------
(object ClusterDomainsStatus tandem) | apply >/dev/null
status_of clusterdomainsstatuses tandem '' '{"localDomain":"site-a","active":"site-a (InSync), site-b (InSync)",
	"inactive":"","clusterDomainInfos":[{"name":"site-a","state":"Active","syncStatus":"InSync"}]}' >/dev/null
columns cds 'NAME  LOCAL-DOMAIN  ACTIVE  INACTIVE  CREATED'
columns cds 'NAME  LOCAL-DOMAIN  ACTIVE  INACTIVE  CREATED  VOLUMES  QUORUM' -o wide
expect_match "the domains" "$(kc a get cds)" '^tandem +site-a +site-a \(InSync\), site-b \(InSync\) +[0-9ms]+$'
columns cdu 'NAME  CLUSTER-DOMAIN  ACTION  STATUS  CREATED'
columns cp 'NAME  STORAGE-STATUS  SCHEDULER-STATUS  CREATED'
columns sp 'NAME  INTERVAL-MINUTES  DAILY  WEEKLY  MONTHLY  CRON'
expect_match "a policy" "$(kc a get sp nightly)" '^nightly +12:04AM +Sunday +14 +\*/30 6-20'
columns ms 'NAME  POLICYNAME  CLUSTERPAIR  SUSPEND  LAST-SUCCESS-TIME  LAST-SUCCESS-DURATION'
expect_match "a schedule" "$(kc a get ms -n blue)" '^blueschedule +bluepolicy +remotecluster +false'
columns mig 'NAME  CLUSTERPAIR  STAGE  STATUS  VOLUMES  RESOURCES  CREATED  ELAPSED  TOTAL BYTES TRANSFERRED'
status_of migrations bluemigration blue '{"stage":"Final","status":"Successful","summary":{"volumes":"1/1",
	"resources":"7/7","elapsedTime":"2s","totalBytesMigrated":0}}' >/dev/null
expect_match "a migration" "$(kc a get migration -n blue)" 'remotecluster +Final +Successful +1/1 +7/7 +[0-9ms]+ +2s +0$'
columns fo 'NAME  CREATED  STAGE  STATUS  MORE INFO'
columns tvol 'NAME  SIZE  ACK  ACTIVE  IN-SYNC  PHASE  CREATED'
columns rule 'NAME  CREATED'
expect_eq "everything in the category" "$(kc a get tandem -n blue -o name | grep -c tandemfs)" 17
step "kubectl get shows Stork's columns"

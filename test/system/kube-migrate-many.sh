#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: kube
# budget: 1500
# A thousand objects go over in seconds, and a cycle of them in which nothing changed sends nothing.
#
# The bounds are the product's: 20 s and 3 s. Nearly all of the budget is for the first test on a machine, which builds
# the API server.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../kube/lib.sh"
. "$(dirname "$0")/../kube/migrate.sh"

LONG=$(printf 'x%.0s' {1..600})

thousand() {
	local i v=/api/v1/namespaces/blue
	for ((i = 0; i < 400; i++)); do
		echo "$v/configmaps {\"metadata\":{\"name\":\"c-$i\"},\"data\":{\"a\":\"$i\",\"b\":\"$LONG\"}}"
	done
	for ((i = 0; i < 250; i++)); do
		echo "$v/secrets {\"metadata\":{\"name\":\"s-$i\"},\"stringData\":{\"a\":\"$i\"}}"
	done
	for ((i = 0; i < 100; i++)); do
		echo "$v/services {\"metadata\":{\"name\":\"s-$i\"},\"spec\":{\"selector\":{\"app\":\"d-$i\"},\"ports\":[{\"port\":80}]}}"
		echo "$v/serviceaccounts {\"metadata\":{\"name\":\"a-$i\"}}"
		echo "/apis/apps/v1/namespaces/blue/deployments {\"metadata\":{\"name\":\"d-$i\"},\"spec\":{\"replicas\":2," \
			"\"selector\":{\"matchLabels\":{\"app\":\"d-$i\"}},\"template\":{\"metadata\":{\"labels\":{\"app\":\"d-$i\"}}," \
			"\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"x\",\"env\":[{\"name\":\"A\",\"value\":\"$LONG\"}]}]}}}}"
	done
	for ((i = 0; i < 50; i++)); do
		echo "/api/v1/persistentvolumes {\"metadata\":{\"name\":\"v-$i\"},\"spec\":{\"capacity\":{\"storage\":\"1Gi\"}," \
			"\"accessModes\":[\"ReadWriteOnce\"],\"hostPath\":{\"path\":\"/mnt/v-$i/data\"}," \
			"\"claimRef\":{\"namespace\":\"blue\",\"name\":\"v-$i\"}}}"
		echo "$v/persistentvolumeclaims {\"metadata\":{\"name\":\"v-$i\"},\"spec\":{\"volumeName\":\"v-$i\"," \
			"\"storageClassName\":\"\",\"accessModes\":[\"ReadWriteOnce\"],\"resources\":{\"requests\":{\"storage\":\"1Gi\"}}}}"
	done
}
took_ms() { # Migration: from its first word to its last, by the log of the agent
	sed -nE "s/.*Migration 'blue\/$1': .* in ([0-9]+) ms.*/\1/p" "$WORK/agent-one.out" | tail -n 1
}

cpu_ms() { # of the destination's servers, of the source's, of the agent
	local p out=()
	for p in b-apiserver b-etcd a-apiserver a-etcd; do
		out+=("$p $(awk '{print ($14 + $15) * 10}' "/proc/${KUBE_PID[$p]}/stat")")
	done
	echo "${out[*]} agent $(awk '{print ($14 + $15) * 10}' "/proc/$AGENT/stat")"
}

work_new
net_new
migrate_up
mover_allow
pair_make
thousand | objects_make a
step "1,000 objects are made"
agent_config one
agent_start one
wait_for 20 "the pair is ready" pair_is "Ready NotProvided"

step "cpu $(cpu_ms)"
migrated first Successful 'purgeDeletedResources: true'
step "sent: $(mig first '{.status.summary.resources}') in $(took_ms first) ms"
[[ $(mig first '{.status.summary.numOfMigratedResources}') -ge 1000 ]] || fail "too few went over"
[[ $(took_ms first) -lt 200000 ]] || fail "it took too long"
expect_eq "all of them" "$(kc b -n blue get cm,secret,svc,deploy,sa,pvc -o name | grep -cE '/[csdav]-[0-9]+$')" 1000
step "cpu $(cpu_ms)"
migrated second Successful 'purgeDeletedResources: true'
step "unchanged: $(mig second '{.status.summary.resources}') in $(took_ms second) ms"
expect_eq "nothing is sent" "$(mig second '{.status.resources[*].status}' | tr ' ' '\n' | sort -u | tr '\n' ' ')" 'Skipped Unchanged '
step "cpu $(cpu_ms)"
[[ $(took_ms second) -lt 3000 ]] || fail "it took too long"
agent_kill TERM

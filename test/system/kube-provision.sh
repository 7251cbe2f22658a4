#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: kube
# budget: 1500
# turn: 1
# Claims become volumes on both sites: bound, with owner and mode, at the other cluster too; they grow and go.
#
# Nearly all of the budget is for the first test on a machine, which builds the programs of Kubernetes. CLAIMS is how
# many are made at once (12); ROUNDS how often the leader is killed meanwhile (3).
# A claim takes some 170 MB of the disk under both sites: many do not fit into memory.
[[ ${CLAIMS:-12} -le 40 ]] || export TEST_TMP=/var/tmp
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../agents.sh"
. "$(dirname "$0")/../kube/lib.sh"
. "$(dirname "$0")/../kube/engines.sh"

kb() { kc "$1" -n blue "${@:2}"; } # site, arguments of kubectl
controllers_up() { # site: what binds claims, and keeps bound ones
	kube_start "$1" manager "$KUBE/kube-controller-manager" --kubeconfig "$(kube_dir "$1")/admin.kubeconfig" \
		--bind-address 127.0.0.1 --port 0 --leader-elect=false --pvclaimbinder-sync-period 2s \
		--controllers persistentvolume-binder,persistentvolume-expander,pvc-protection,pv-protection \
		--kube-api-qps 200 --kube-api-burst 400
}
class() { # name, lines...
	printf 'apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: %s}\n' "$1"
	printf 'provisioner: tandemfs.dev/hostpath\nallowVolumeExpansion: true\n'
	printf '%s\n' "${@:2}"
}
claim() { # name, class, size, further members of the spec
	printf -- '---\n{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: %s}, spec: {storageClassName: %s,\n' "$1" "$2"
	printf '  accessModes: [ReadWriteOnce], resources: {requests: {storage: %s}}%s}}\n' "$3" "${4:+, $4}"
}
select_node() { # site, claim... : the scheduler's word
	kb "$1" annotate pvc "${@:2}" --overwrite "volume.kubernetes.io/selected-node=node-$1" >/dev/null
}
of() { kb "$1" get pvc "$2" -o "jsonpath=$3"; } # site, claim, path
pv_of() { kc "$1" get pv "$2" -o "jsonpath=$3"; }
is() { [[ $(of "$1" "$2" "$3") = "$4" ]]; }     # site, claim, path, value
pv_is() { [[ $(pv_of "$1" "$2" "$3") = "$4" ]]; }
bound() { # site, claim...
	local s=$1 c
	for c in "${@:2}"; do is "$s" "$c" '{.status.phase}' Bound || return 1; done
}
told() { # site, object, extended regular expression: an event about it
	kc "$1" get events -A -o json | jq -r --arg n "$2" \
		'.items[] | select(.involvedObject.name == $n) | "\(.type) \(.reason) \(.message)"' | grep -qE -- "$3"
}
gone() { ! kc "$1" get "${@:2}" >/dev/null 2>&1; }
no_volume() { # site, volume
	[[ ! -e $WORK/$1/volumes/$2.conf && ! -e $WORK/$1/data/$2 && ! -e $WORK/$1/mounts/$2 ]]
}
leftovers() { # everything of any volume on both sites
	find "$WORK"/[ab]/volumes "$WORK"/[ab]/data "$WORK"/[ab]/mounts -mindepth 1 -maxdepth 1 ! -name agent.conf
}

echo "seed $SEED"
work_new
net_new
kube_programs kube-controller-manager
mkdir -p "$WORK/a" "$WORK/b"
engines_up
for s in a b; do
	controllers_up $s
	kc $s create namespace blue >/dev/null
	kc $s apply -f "$ROOT/k8s-manifests/base/storageclass.yaml" >/dev/null
	kb $s create rolebinding mover --clusterrole tandem-migrator --user leader >/dev/null
done
class keys 'volumeBindingMode: WaitForFirstConsumer' 'reclaimPolicy: Delete' \
	'parameters: {ack: fsync, uid: "1000", gid: "1001", mode: "2770"}' | kc a apply -f - >/dev/null
kc a annotate storageclass keys storageclass.kubernetes.io/is-default-class=true >/dev/null
# Another's word at the other cluster, which is never changed.
kc b patch storageclass tandemfs -p '{"allowVolumeExpansion":false}' >/dev/null
leader_config a one
printf '[peer site-b]\nagent = %s\n' "$(rest_address b)" >>"$WORK/a/leader-one/agent.conf"
leader_start a

# --- one claim ------------------------------------------------------------------------------------------
claim db keys 100Mi | kb a apply -f - >/dev/null
wait_for 30 "the claim waits for a pod" told a db WaitForFirstConsumer
expect_eq "without a node" "$(leftovers)" ""
begun=$(now_ns)
select_node a db
wait_for 60 "the claim is bound" bound a db
step "a claim is bound after $((($(now_ns) - begun) / 1000000)) ms"
v=$(of a db '{.spec.volumeName}')
expect_eq "its name" "$v" "pvc-$(of a db '{.metadata.uid}')"
expect_eq "the path" "$(pv_of a "$v" '{.spec.hostPath.path} {.spec.hostPath.type}')" "$WORK/a/mounts/$v/data Directory"
expect_eq "the volume" "$(pv_of a "$v" '{.spec.capacity.storage} {.spec.persistentVolumeReclaimPolicy} {.spec.storageClassName}')" "100Mi Delete keys"
expect_match "the node" "$(pv_of a "$v" '{.spec.nodeAffinity}')" 'kubernetes.io/hostname.*node-a'
expect_eq "owner and mode" "$(stat -c '%a %u:%g' "$WORK/a/mounts/$v/data")" "2770 1000:1001"
expect_match "the quota" "$(df -B1 --output=size "$WORK/a/mounts/$v")" '^ *104857600$'
expect_eq "its mode" "$(tctl a status -o json | jq -r '.. | .ack? // empty')" fsync
echo kept >"$WORK/a/mounts/$v/data/file"
wait_for 10 "events" told a db 'Normal ProvisioningSucceeded'
told a db 'Normal Provisioning ' || fail "no event at the beginning"
wait_for 10 "the claim is let go" is a db '{.metadata.finalizers}' '["kubernetes.io/pvc-protection"]'
wait_for 10 "told that there is no pair" told a db 'StandbyPending no ClusterPair'
step "made with owner and mode, and told"

# --- what is refused ------------------------------------------------------------------------------------
{
	class bad 'parameters: {colour: blue}'
	echo ---
	class modes 'parameters: {mode: "999"}'
	claim colour bad 1Gi
	claim mode modes 1Gi
	claim selector keys 1Gi 'selector: {matchLabels: {a: b}}'
	claim many keys 1Gi 'accessModes: [ReadWriteMany]'
	claim huge keys 9Pi
	claim nowhere keys 1Gi
} | sed '/accessModes: \[ReadWriteOnce\].*ReadWriteMany/s/accessModes: \[ReadWriteOnce\], //' | kb a apply -f - >/dev/null
kb a annotate pvc nowhere volume.kubernetes.io/selected-node=node-x >/dev/null
select_node a selector many huge
wait_for 20 "an unknown parameter" told a colour "ProvisioningFailed.*'colour' is unknown: there are ack, uid"
wait_for 20 "a wrong mode" told a mode 'ProvisioningFailed.*mode is octal'
wait_for 20 "a selector" told a selector 'ProvisioningFailed.*spec.selector'
wait_for 20 "many nodes" told a many 'ProvisioningFailed.*ReadWriteOnce is'
wait_for 20 "too big" told a huge 'ProvisioningFailed.*at most 1024Ti'
wait_for 20 "no engine" told a nowhere "ProvisioningFailed.*node 'node-x' has no engine"
pause_ms 4000
expect_eq "events, not a flood" "$(kb a get events -o json | jq '[.items[] | select(.involvedObject.name == "colour" and
	.reason == "ProvisioningFailed")] | length')" 1
kb a delete pvc colour mode selector many huge nowhere --wait=false >/dev/null
wait_for 20 "they are gone" eval '[[ $(kb a get pvc -o name | wc -l) = 1 ]]'
step "what cannot be made is told, once"

# --- the other cluster ----------------------------------------------------------------------------------
kb b create serviceaccount mover >/dev/null
kb b create rolebinding remote --clusterrole tandem-migrator --serviceaccount blue:mover >/dev/null
kc b create clusterrolebinding remote --clusterrole tandem-migrator-volumes --serviceaccount blue:mover >/dev/null
in_site b "$BIN/tandemctl" generate clusterpair remotecluster -n blue --service-account mover \
	--kubeconfig "$(kube_dir b)/admin.kubeconfig" | kc a apply -f - >/dev/null
wait_for 90 "the claim is bound at the other cluster" bound b db
expect_eq "the volume there" "$(pv_of b "$v" '{.spec.hostPath.path} {.spec.capacity.storage} {.spec.persistentVolumeReclaimPolicy} {.spec.nodeAffinity}')" \
	"$WORK/a/mounts/$v/data 100Mi Retain "
leader_config b one
printf '[peer site-a]\nagent = %s\n' "$(rest_address a)" >>"$WORK/b/leader-one/agent.conf"
leader_start b
wait_for 30 "its node" eval 'pv_of b "$v" "{.spec.nodeAffinity}" | grep -q node-b'
wait_for 10 "another path is told" told b "$v" 'StandbyPathDiffers'
# Its class is there, because nothing grows without; but not that it is the one for claims without a class.
expect_eq "the class" "$(kc b get storageclass keys -o json | jq -c '[.provisioner, .allowVolumeExpansion, .reclaimPolicy,
	.volumeBindingMode, .parameters.ack, .metadata.annotations["storageclass.kubernetes.io/is-default-class"]]')" \
	'["tandemfs.dev/hostpath",true,"Delete","WaitForFirstConsumer","fsync",null]'
step "claim, volume and class are at the other cluster, bound to its node"

# --- it grows -------------------------------------------------------------------------------------------
kb a patch pvc db --type merge -p '{"spec":{"resources":{"requests":{"storage":"160Mi"}}}}' >/dev/null
wait_for 30 "the claim has grown" is a db '{.status.capacity.storage} {.status.conditions}' '160Mi '
expect_eq "the volume" "$(pv_of a "$v" '{.spec.capacity.storage}')" 160Mi
expect_match "the quota" "$(df -B1 --output=size "$WORK/a/mounts/$v")" '^ *167772160$'
wait_for 20 "an event" told a db VolumeResizeSuccessful
wait_for 30 "it has grown at the other cluster" pv_is b "$v" '{.spec.capacity.storage}' 160Mi
wait_for 30 "its claim, too" is b db '{.spec.resources.requests.storage} {.status.capacity.storage}' '160Mi 160Mi'
step "it grows at both"

# --- it goes --------------------------------------------------------------------------------------------
claim kept tandemfs 64Mi | kb a apply -f - >/dev/null
select_node a kept
wait_for 60 "a second claim" bound a kept
k=$(of a kept '{.spec.volumeName}')
wait_for 30 "a class that differs there is told" told a kept "StandbyClassDiffers StorageClass 'tandemfs'.*another allowVolumeExpansion"
expect_eq "it is left as it is" "$(kc b get storageclass tandemfs -o 'jsonpath={.allowVolumeExpansion}')" false
policy() { # site, volume: its policy, and the one that is put aside
	pv_of "$1" "$2" '{.spec.persistentVolumeReclaimPolicy} {.metadata.annotations.tandemfs\.dev/reclaimPolicy}'
}
policy_is() { [[ $(policy "$1" "$2") = "$3" ]]; }
to_site() { # site, volume: it becomes the active one of the volume
	wait_for 30 "both sites have $2" eval '[[ $(tctl '"$(other "$1")"' status '"$2"' -o json | jq ".[0].in_sync | length") = 2 ]]'
	tctl "$(other "$1")" demote "$2" --yes >/dev/null
	tctl "$1" promote "$2" --yes >/dev/null
	wait_for 20 "site $1 mounts it" mountpoint -q "$WORK/$1/mounts/$2"
}
# While the other site has it, it is in use there, and the claim's end here removes nothing.
to_site b "$v"
wait_for 20 "the policy is put aside" policy_is a "$v" 'Retain Delete'
wait_for 20 "and is the copy's" policy_is b "$v" 'Delete '
kb a delete pvc db kept --wait=false >/dev/null
wait_for 20 "it is active elsewhere" told a "$v" 'Normal VolumeRetained .*active at site-b.*delete the claim at site-b'
wait_for 20 "what is kept" told a "$k" 'VolumeRetained its data is kept'
wait_for 20 "it waits for a claim of that name" pv_is a "$v" '{.status.phase}' Available
# The claim comes back, with another uid, as a migration brings it: it has its data.
claim db keys 160Mi "volumeName: $v" | kb a apply -f - >/dev/null
wait_for 30 "the new claim is bound to it" bound a db
[[ $v != "pvc-$(of a db '{.metadata.uid}')" ]] || fail "it is the same claim"
to_site a "$v"
wait_for 20 "the policy is back" policy_is a "$v" 'Delete '
wait_for 20 "the copy's is put aside" policy_is b "$v" 'Retain Delete'
expect_eq "its data" "$(cat "$WORK/a/mounts/$v/data/file")" kept
# The same while nobody looks; then by its name alone.
leader_kill a TERM
to_site b "$v"
kb a delete pvc db --wait=false >/dev/null
wait_for 20 "it is released" pv_is a "$v" '{.status.phase} {.spec.persistentVolumeReclaimPolicy}' 'Released Delete'
to_site a "$v"
leader_start a
wait_for 20 "it is told" told a "$v" 'Normal VolumeRetained .*may have been active at the other site'
wait_for 20 "it waits for a claim of that name" pv_is a "$v" '{.status.phase}' Available
claim db keys 160Mi | kb a apply -f - >/dev/null
wait_for 30 "the new claim is bound to it" bound a db
wait_for 20 "the policy is back" policy_is a "$v" 'Delete '
expect_eq "its data" "$(cat "$WORK/a/mounts/$v/data/file")" kept
# What still has a claim that names it is not removed.
claim second keys 160Mi "volumeName: $v" | kb a apply -f - >/dev/null
kb a delete pvc db --wait=false >/dev/null
wait_for 20 "a claim names it" told a "$v" "VolumeFailedDelete claim 'blue/second' names it"
kb a delete pvc second --wait=false >/dev/null
wait_for 60 "the volume is gone" gone a pv "$v"
step "a claim that goes where the volume is standby removes nothing; one of that name has its data again"

# While the other site is away, it cannot be removed.
claim db keys 64Mi | kb a apply -f - >/dev/null
select_node a db
wait_for 60 "a claim" bound a db
v=$(of a db '{.spec.volumeName}')
wait_for 60 "at the other cluster, too" bound b db
agent_kill b KILL
kb a delete pvc db --wait=false >/dev/null
wait_for 40 "the other site is away" told a "$v" 'VolumeFailedDelete.*site-b'
[[ -e $WORK/a/volumes/$v.conf ]] || fail "it was removed though the other site was away"
agent_start b
wait_for 90 "the volume is gone" gone a pv "$v"
no_volume a "$v" || fail "something of it is left at site a"
no_volume b "$v" || fail "something of it is left at site b"
wait_for 20 "its copy, too" gone b pv "$v"
gone b -n blue pvc db || fail "the claim is still at the other cluster"
expect_eq "what is kept" "$(pv_of a "$k" '{.status.phase}') $(ls -d "$WORK/a/mounts/$k/data")" "Released $WORK/a/mounts/$k/data"
kc a patch pv "$k" --type merge -p '{"spec":{"persistentVolumeReclaimPolicy":"Delete"}}' >/dev/null
wait_for 60 "now it goes" gone a pv "$k"
wait_for 20 "with its copy" gone b pv "$k"
expect_eq "left" "$(leftovers)" ""
step "deleted where the class says so, kept otherwise; not while the other site is away"

# After a failover the claim at the active site is the one that removes the data.
claim moved keys 64Mi | kb a apply -f - >/dev/null
select_node a moved
wait_for 60 "a claim that moves" bound a moved
v=$(of a moved '{.spec.volumeName}')
wait_for 60 "at the other cluster, too" bound b moved
to_site b "$v"
wait_for 20 "the policy has moved" policy_is b "$v" 'Delete '
wait_for 20 "from here" policy_is a "$v" 'Retain Delete'
kb b delete pvc moved --wait=false >/dev/null
wait_for 60 "the volume is gone" gone b pv "$v"
no_volume a "$v" || fail "something of it is left at site a"
no_volume b "$v" || fail "something of it is left at site b"
kb a delete pvc moved --wait=false >/dev/null
wait_for 20 "what is left is told" told a "$v" "VolumeRetained no node of this site has its volume.*kubectl delete pv $v"
kc a delete pv "$v" --wait=false >/dev/null
wait_for 20 "it is gone here, too" gone a pv "$v"
step "deleted at the site that is active, after a failover"

# The replica of this site was taken away alone: what the other site has is not removed because this claim goes.
claim alone keys 64Mi | kb a apply -f - >/dev/null
select_node a alone
wait_for 60 "a claim" bound a alone
v=$(of a alone '{.spec.volumeName}')
wait_for 60 "at the other cluster, too" bound b alone
tctl a delete volume "$v" --local --yes >"$WORK/local.out" 2>&1 || fail "delete volume --local: $(cat "$WORK/local.out")"
kb a delete pvc alone --wait=false >/dev/null
wait_for 30 "the other site has a replica" told a "$v" "VolumeFailedDelete no node of this site has its replica any more, and 'site-b' has one"
expect_eq "the claim there" "$(of b alone '{.status.phase} {.metadata.deletionTimestamp}')" "Bound "
[[ -e $WORK/b/volumes/$v.conf ]] || fail "it was removed at site b"
tctl b delete volume "$v" --yes >"$WORK/local.out" 2>&1 || fail "delete volume at site b: $(cat "$WORK/local.out")"
wait_for 90 "the volume is gone" gone a pv "$v"
wait_for 20 "its copy, too" gone b pv "$v"
step "a replica that is left at the other site keeps its claim there"

# --- many, and the leader dies again and again ----------------------------------------------------------
class quick 'volumeBindingMode: Immediate' 'reclaimPolicy: Delete' | kc a apply -f - >/dev/null
CLAIMS=${CLAIMS:-12}
mapfile -t names < <(seq -f 'many-%g' "$CLAIMS")
begun=$(now_ns)
for n in "${names[@]}"; do claim "$n" quick 64Mi; done | kb a apply -f - >/dev/null
for ((i = 1; i <= ${ROUNDS:-3} && i <= 3; i++)); do
	pause_ms "$(random_ms 300 2500)"
	leader_kill a KILL
	leader_start a
done
wait_for $((60 + CLAIMS * 8)) "$CLAIMS claims are bound" bound a "${names[@]}"
step "$CLAIMS claims are bound after $((($(now_ns) - begun) / 1000000)) ms, the leader killed $((i - 1)) times"
expect_eq "no volume twice" "$(find "$WORK/a/volumes" -name 'pvc-*.conf' | wc -l)" "$CLAIMS"
wait_for $((60 + CLAIMS * 4)) "at the other cluster" bound b "${names[@]}"
step "and at the other cluster after $((($(now_ns) - begun) / 1000000)) ms; memory of the daemons: $(for s in a b; do
	for p in $(daemon_of $s); do awk '/^Rss/ { print $2 }' "/proc/$p/smaps_rollup"; done; done |
	awk '{ n += $1 } END { printf "%d MiB in %d", n / 1024, NR }')"

# A claim that is deleted while it is made leaves nothing.
for n in half-{1..4}; do claim "$n" quick 64Mi; done | kb a apply -f - >/dev/null
pause_ms "$(random_ms 200 1500)"
leader_kill a KILL
kb a delete pvc half-{1..4} --wait=false >/dev/null
leader_start a
kb a delete pvc "${names[@]}" --wait=false >/dev/null
wait_for $((90 + CLAIMS * 8)) "no claim is left" eval '[[ -z $(kb a get pvc -o name) ]]'
wait_for $((90 + CLAIMS * 8)) "no volume is left" eval '[[ -z $(kc a get pv -o name) && -z $(leftovers) ]]'
wait_for 30 "nor at the other cluster" eval '[[ -z $(kc b get pv -o name) && -z $(kb b get pvc -o name) ]]'
step "all are deleted; those that were being made, too"

# --- the node itself is gone for ever: the Node object's end says so ---------------------------------------------
claim lone quick 64Mi | kb a apply -f - >/dev/null
wait_for 60 "another claim" bound a lone
v=$(of a lone '{.spec.volumeName}')
wait_for 60 "at the other cluster, too" bound b lone
agent_kill a KILL
# shellcheck disable=SC2046 # several
kill -9 $(daemon_of a)
kb a delete pvc lone --wait=false >/dev/null
wait_for 60 "it says what it waits for" told a "$v" "VolumeFailedDelete node 'node-a' does not say.*kubectl delete node node-a"
[[ -e $WORK/b/volumes/$v.conf ]] || fail "it was removed at the other site while the node may come back"
kc a delete node node-a >/dev/null
wait_for 60 "the volume is gone" gone a pv "$v"
told a "$v" "Normal NodeGone node 'node-a' is gone" || fail "nothing was told"
wait_for 20 "the claim at the other cluster, too" gone b -n blue pvc lone
wait_for 20 "and its volume" gone b pv "$v"
no_volume b "$v" || fail "something of it is left at site b"
# Another machine comes in its place, under the same name.
for p in $(pgrep -x tandem-holder || :); do
	! tr '\0' ' ' <"/proc/$p/cmdline" 2>/dev/null | grep -q "$WORK/a/" || kill -9 "$p"
done
umount -l "$WORK/a/mounts/$v" 2>/dev/null || true
rm -rf "$WORK/a/volumes/$v.conf" "$WORK/a/data/$v"
rmdir "$WORK/a/mounts/$v"
expect_eq "left" "$(leftovers)" ""
agent_start a
engine_announce a
wait_for 20 "there is a node again" engine_answers a
step "deleted without its own node, whose object is gone"

# --- the other site is gone for ever: its claim goes when a person says so ----------------------------------------
claim last quick 64Mi | kb a apply -f - >/dev/null
wait_for 60 "a last claim" bound a last
v=$(of a last '{.spec.volumeName}')
wait_for 60 "at the other cluster, too" bound b last
claim alone quick 64Mi | kb a apply -f - >/dev/null
wait_for 60 "and one more" bound a alone
w=$(of a alone '{.spec.volumeName}')
wait_for 60 "at the other cluster, too" bound b alone
leader_kill b KILL
agent_kill b KILL
# shellcheck disable=SC2046 # several
kill -9 $(daemon_of b)
kube_kill b apiserver
kb a delete pvc last alone --wait=false >/dev/null
# By an object alone, with the ClusterPair still there.
wait_for 60 "the way out is told" told a "$w" "VolumeFailedDelete.*site-b.*kubectl annotate pv $w tandemfs.dev/delete-local=true"
[[ -e $WORK/a/volumes/$w.conf ]] || fail "it was removed though the other site was away"
kc a annotate pv "$w" tandemfs.dev/delete-local=true >/dev/null
wait_for 60 "it is gone" gone a pv "$w"
no_volume a "$w" || fail "something of it is left"
[[ -e $WORK/b/volumes/$w.conf ]] || fail "the replica of the other site was touched"
step "deleted without the other site, by an annotation"
wait_for 60 "it says that the other site is away" told a "$v" 'VolumeFailedDelete.*site-b'
[[ -e $WORK/a/volumes/$v.conf ]] || fail "one that was not named is removed, too"
tctl a delete volume "$v" --local --yes >"$WORK/local.out" 2>&1 || fail "delete volume --local: $(cat "$WORK/local.out")"
wait_for 60 "it says what is left" told a "$v" 'remove the pair where that is gone for ever'
for p in $(kc a get clusterpairs -A -o 'jsonpath={range .items[*]}{.metadata.namespace}/{.metadata.name}{" "}{end}'); do
	kc a -n "${p%/*}" delete clusterpair "${p#*/}" >/dev/null
done
wait_for 60 "the volume is gone" gone a pv "$v"
no_volume a "$v" || fail "something of it is left"
step "deleted without the other site, which is gone for ever"
expect_eq "denied" "$(sed -n "/forbidden/{p;q}" "$WORK"/leader-*.out)" ""
leader_kill a TERM
agent_kill a TERM

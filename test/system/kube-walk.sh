#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: kube
# budget: 1500
# turn: 1
# long: 450
# Two whole clusters with tandemfs in their pods: the walk-through of the manifests' README with a database under load, and on the way
# a partition, another build, killed engines, rules, APIs that are away, a site that dies, agents that are killed.
#
# Nearly all of the budget is for the first test on a machine, which builds the programs of Kubernetes.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../kube/lib.sh"
. "$(dirname "$0")/../kube/node.sh"
. "$(dirname "$0")/../kube/mariadb.sh"
. "$(dirname "$0")/../kube/pods.sh"
. "$(dirname "$0")/../kube/walk.sh"

is() { # site, namespace, object, path, value
	[[ $(kc "$1" -n "$2" get "$3" -o "jsonpath={$4}") = "$5" ]]
}
pair_token() { # site: whether a new one is waited for, and what is said of it
	kc "$1" -n blue get clusterpair remotecluster \
		-o 'jsonpath={.metadata.annotations.tandemfs\.dev/renew-token} {.status.conditions[?(@.type=="TokenExpires")].reason}'
}
# The largest pause between two answered rows of site a since then; ten times what is promised is bad.
bound_gap() { # what, since
	local gap
	gap=$(mariadb_gap a "$2")
	step "$1: the longest time between two answered rows was $gap ms"
	[[ $gap -lt $((20000 * ${SLOWER:-1})) ]] || fail "$1: no row for $gap ms"
}
answers() { mariadb_query "$1" "SELECT 1"; } # site
rows_after() { # site, rows before
	[[ $(mariadb_acked "$1") -gt $(($2 + 20)) ]]
}
all_go_on() { # site: both applications
	wait_for 60 "the application of site $1 writes on" lines_after "$1" "$(acks "$1")"
	wait_for 60 "the database of site $1 writes on" rows_after "$1" "$(mariadb_acked "$1")"
}
steps_of() { # site, failover: each with its time
	kc "$1" get failover "$2" -o json | jq -r '
		def ms: (.[0:19] + "Z" | fromdate) * 1000 + (.[20:23] | tonumber);
		"\(.status.elapsedTime): " + ([.status.steps[] | select(.endTime) |
			"\(.name) \(.state) \((.endTime | ms) - (.startTime | ms)) ms"] | join(", "))'
}
step_ms() { # site, failover, steps... : how long they took together
	kc "$1" get failover "$2" -o json | jq '
		def ms: (.[0:19] + "Z" | fromdate) * 1000 + (.[20:23] | tonumber);
		[.status.steps[] | select(.name as $n | $ARGS.positional | index([$n])) | (.endTime | ms) - (.startTime | ms)] |
			if length == ($ARGS.positional | length) then add else error("a step has not ended") end' --args "${@:3}"
}

echo "seed $SEED"
command -v containerd >/dev/null || fail "no containerd here (make setup)"
work_new
net_new
kube_programs "${KUBE_CLUSTER[@]}"
{
	"$ROOT/k8s-manifests/image.sh" build "$WORK/tandemfs.tar" localhost/tandemfs:latest "$BIN"
	mariadb_image
} >"$WORK/images.out" 2>&1 &
images=$!
kube_clusters_up a b
wait $images || fail "the images: $(tail -n 3 "$WORK/images.out")"
{
	mkdir "$WORK/next"
	echo next >"$WORK/next.build"
	for p in tandemfs tandem-holder tandem-agent tandemctl; do
		objcopy --add-section .next="$WORK/next.build" "$BIN/$p" "$WORK/next/$p"
	done
	"$ROOT/k8s-manifests/image.sh" build "$WORK/next.tar" localhost/tandemfs:next "$WORK/next"
} >"$WORK/next.out" 2>&1 &
next=$!

# --- install; the nodes keep pods off until their engine is ready --------------------------------------------
for s in a b; do
	kube_import "$s" "$WORK/tandemfs.tar"
	kc "$s" taint node "node-$s" tandemfs.dev/not-ready=:NoSchedule >/dev/null
done
walk_begin
walk "Install"
kube_import a "$WORK/mariadb.tar" &
imports=$!
kube_import b "$WORK/mariadb.tar" &
imports+=" $!"
for s in a b; do
	wait_for 120 "tandemfs is ready on site $s" pods_ready "$s"
	wait_for 30 "the node of site $s is open" node_is_free "$s"
	wait_for 30 "one agent of site $s leads" has_leader "$s"
done
step "installed on both clusters; the nodes are open"

# --- a pod waits for its mount, and writes nothing beside it; meanwhile a database comes up ----------------------
for s in a b; do
	hand_volume_conf "$s"
done
application a
walk "A namespace on both clusters"
in_conf=(--config /var/lib/tandemfs/data/db.conf)
engine a tandemfs format "${in_conf[@]}" --size 256M --descriptor /var/lib/tandemfs/data/db.desc >"$WORK/format.out" 2>&1
cp "$(node_dir a)/data/db.desc" "$(node_dir b)/data/db.desc"
engine b tandemfs format --join /var/lib/tandemfs/data/db.desc "${in_conf[@]}" >>"$WORK/format.out" 2>&1
pod_waits a || fail "a pod runs without its volume"
root_disk_is_clean a || fail "something was written into the bare directory: $(ls -R "$(node_dir a)/mnt")"
for s in b a; do
	mv "$(node_dir "$s")/data/db.conf" "$(node_dir "$s")/volumes/db.conf"
done
wait_for 30 "the volume is mounted on the node of site a" is_mounted_on_node a
wait_for 30 "the sites are level" is_level a
in_node a mkdir /var/lib/tandemfs/mnt/db/app
for s in a b; do
	wait_for 30 "the pair of site $s is ready" is "$s" blue clusterpair/remotecluster .status.schedulerStatus Ready
	kc "$s" -n blue annotate clusterpair remotecluster tandemfs.dev/renew-token=now >/dev/null
	wait_for 60 "the token of site $s is renewed" eval '[[ $(pair_token '"$s"') = " Renewed" ]]'
done
for p in $imports; do
	wait "$p" || fail "the database's image is not taken"
done
walk "A database"
wait_for 60 "the claim is bound on site b, too" is b blue pvc/mariadb .status.phase Bound
wait_for 90 "the Deployment is on site b, held back" is b blue deployment/mariadb .spec.replicas 0
wait_for 130 "the pod that waited writes" lines_after a 0
root_disk_is_clean a || fail "something was written beside the mount"
wait_for 30 "the domains are known" domains_are a "site-a (InSync), site-b (InSync)" ""
wait_for 30 "the database answers" answers a
mariadb_load a 2
wait_for 60 "rows are answered" rows_after a 200
step "a pod that waited for its volume writes, and so does a database; what it needs is on site b"

# --- the sites lose sight of each other: writes wait, and go on --------------------------------------------------
kube_cut
sleep 1
before=$(acks a)
sleep 3
expect_eq "lines answered while the other site is away" "$(acks a)" "$before"
kube_heal
all_go_on a
pods_ready a >/dev/null || fail "a partition makes an engine unready"
step "a partition: writes waited"

# --- another build: engines and agents are replaced -----------------------------------------------------------
program_of() { # site: of its daemons; one line when both volumes' run and are of one build
	# shellcheck disable=SC2016 # for the node's shell
	in_node "$1" sh -c 'set -e; for p in $(pgrep -x tandemfs); do sha256sum <"/proc/$p/exe"; done' | sort | uniq -c
}
declare -A program
wait $next || fail "the next image: $(tail -n 3 "$WORK/next.out")"
for s in a b; do
	kube_import "$s" "$WORK/next.tar"
	program[$s]=$(program_of "$s")
done
begin=$EPOCHREALTIME
walk "A new release"
for s in a b; do
	wait_for 60 "engine and agents of site $s are replaced" pods_ready "$s"
	wait_for 30 "its daemons are of the next build" eval '[[ $(program_of '"$s"') = "      2 "* ]]'
	[[ $(program_of "$s") != "${program[$s]}" ]] || fail "the daemons of site $s are of the build before"
	wait_for 30 "one of the new agents of site $s leads" has_leader "$s"
done
all_go_on a
no_errors a
wait_for 30 "the sites are level again" is_level a
bound_gap "another build" "$begin"
step "all was replaced by another build under $(acks a) lines and $(mariadb_acked a) rows, without an error"

# --- its processes are killed -------------------------------------------------------------------------------
before=$(restarts a engine)
begin=$EPOCHREALTIME
# shellcheck disable=SC2046 # several
kill_processes a $(in_node a pgrep -x tandemfs)
all_go_on a
expect_eq "restarts of the engine, whose daemons were killed" "$(restarts a engine)" "$before"
for s in a b; do
	before=$(restarts "$s" engine)
	# shellcheck disable=SC2046 # agent and daemons
	kill_processes "$s" $(processes_of "$s" "$(engine_pod "$s")")
	wait_for 90 "the engine of site $s is started again" eval '[[ $(restarts '"$s"' engine) = '$((before + 1))' ]] && pods_ready '"$s"
	all_go_on a
done
no_errors a
wait_for 30 "the sites are level again" is_level a
bound_gap "killed daemons" "$begin"
step "daemons and agents were killed under $(acks a) lines and $(mariadb_acked a) rows, without an error"

# --- both APIs are away: all goes on, and a volume is switched without them ------------------------------------
begin=$(date +%s)
kube_kill a apiserver
kube_kill b apiserver
all_go_on a
no_errors a
plain b failover db --to site-b >"$WORK/failover.out" 2>&1 || fail "the switch: $(cat "$WORK/failover.out")"
wait_for 30 "site b is active and mounted" eval "is_role b active && is_mounted_on_node b"
expect_eq "answered lines that site b lacks" "$(lines_missing a b)" 0
while [[ $(date +%s) -lt $((begin + 60)) ]]; do
	before=$(mariadb_acked a)
	wait_for 30 "the database writes on" rows_after a "$before"
	sleep 0.5
done
step "both APIs were away for $(($(date +%s) - begin)) s: $(mariadb_acked a) rows, and a volume was switched"
kube_apiserver a
kube_apiserver b
kube_api_wait a
kube_api_wait b
kc a delete pod application --wait=false >/dev/null
application b
for s in a b; do
	wait_for 60 "tandemfs is ready on site $s" pods_ready "$s"
	wait_for 30 "one agent of site $s leads" has_leader "$s"
	wait_for 30 "site $s knows the domains" domains_are "$s" "site-$s (InSync), site-$(other "$s") (InSync)" ""
done
wait_for 60 "the application of site b writes" lines_after b 0
no_errors b
wait_for 30 "the pod of site a is gone" eval '! kc a get pod application'
acked=$(acks a)
application a
expect_eq "agents' restarts" "$(restarts a agent) $(restarts b agent)" "0 0"
wait_for 30 "the database writes on" rows_after a "$(mariadb_acked a)"
step "both APIs are back, and what is in them is true"

# --- rules, in the database's pod ------------------------------------------------------------------------------
rule() { # site, name, command, further lines of the action...
	{
		printf 'apiVersion: tandemfs.dev/v1alpha1\nkind: Rule\nmetadata: {name: %s, namespace: blue}\n' "$2"
		printf 'rules:\n- podSelector: {app: mariadb}\n  actions:\n  - type: command\n    value: |\n      %s\n' "$3"
		printf '    %s\n' "${@:4}"
	} | kc "$1" apply -f - >/dev/null
}
migration() { # name, further lines of the spec... : from site a, without the volumes
	{
		printf 'apiVersion: tandemfs.dev/v1alpha1\nkind: Migration\nmetadata: {name: %s, namespace: blue}\n' "$1"
		printf 'spec:\n  clusterPair: remotecluster\n  namespaces: [blue]\n  includeVolumes: false\n'
		printf '  %s\n' "${@:2}"
	} | kc a apply -f - >/dev/null
}
migration_is() { # name, status, why
	wait_for 60 "Migration $1 ends" eval '[[ $(kc a -n blue get migration '"$1"' -o "jsonpath={.status.finishTimestamp}") ]]'
	expect_eq "Migration $1" "$(kc a -n blue get migration "$1" -o 'jsonpath={.status.status}')" "$2"
	expect_match "Migration $1" "$(kc a -n blue get migration "$1" -o 'jsonpath={.status.conditions[*].message}')" "$3"
}
mariadb='mariadb -h 127.0.0.1 -uroot -p"$MARIADB_ROOT_PASSWORD" app -e'
rule a mark "$mariadb \"CREATE TABLE marks (name CHAR(9)); INSERT INTO marks VALUES ('before')\""
rule a mark-again "sleep 1; echo said; echo more >&2; $mariadb \"INSERT INTO marks VALUES ('after')\""
rule a refuses 'echo on the one; echo the last word >&2; exit 7'
rule a hangs 'sleep 1234' 'timeoutSeconds: 2'
rule a in-vain 'exit 9' 'onError: Continue'
schedule() { # true or false: the copying of each minute is suspended
	kc a -n blue patch migrationschedule blueschedule --type merge -p "{\"spec\": {\"suspend\": $1}}" >/dev/null
}
schedule true
at_rest() { # it copies nothing any more, and will not
	[[ $(kc a -n blue get ms blueschedule -o 'jsonpath={.status.conditions[?(@.type=="Ready")].message}') = suspended:* ]] &&
		kc a -n blue get mig -o json | jq -e 'all(.items[]; .status.stage == "Final")'
}
wait_for 60 "no run of the schedule is under way" at_rest
kc a -n blue create configmap refused >/dev/null
migration refused 'preExecRule: refuses'
migration_is refused Failed "spec.preExecRule: Rule 'refuses': pod 'blue/mariadb-.*exit status 7: the last word"
! kc b -n blue get configmap refused >/dev/null 2>&1 || fail "a refused Migration copied something"
migration ruled 'preExecRule: mark' 'postExecRule: mark-again'
migration hung 'preExecRule: in-vain' 'postExecRule: hangs'
migration_is ruled Successful .
migration_is hung Failed "spec.postExecRule: Rule 'hangs': .*"
expect_eq "what the rules did" "$(mariadb_query a 'SELECT name FROM marks' | xargs)" "before after"
kc b -n blue get configmap refused >/dev/null || fail "a rule before kept a Migration from copying"
wait_for 10 "the command that hung is ended" eval '! in_node a pgrep -f "sleep 1234"'
schedule false
step "rules ran in a pod, and ended what they had to end"

# --- the site dies under load ------------------------------------------------------------------------------
kube_crash a
mariadb_unload a
t0=$(date +%s%3N)
walk "Site-a dies" &
walk=$!
wait_for 60 "the database answers on site b" answers b
mariadb_load b 1
wait_for 30 "a row is written on site b" eval '[[ $(mariadb_acked b) -gt 0 ]]'
t1=$(date +%s%3N)
wait $walk || exit 1
{ # what they did meanwhile, where it took long
	kc b -n tandem-system get leases -o wide || true
	kc b get failover site-a-is-dead -o json | jq -c '[.metadata.creationTimestamp, .status.startTimestamp, .status.finishTimestamp]'
	for pod in $(kc b -n tandem-system get pods -o name | grep agent); do
		echo "$pod" && kc b -n tandem-system logs "$pod" --tail 80 || true
	done
} >"$WORK/agents-b.out" 2>&1
plain b deactivate clusterdomain site-a --yes >"$WORK/deactivate.out" 2>&1
expect_eq "answered rows of site a that site b lacks" "$(mariadb_missing a b)" 0
expect_match "what the rules did" "$(mariadb_query b 'SELECT name FROM marks' | xargs)" "before after"
step "site a died: $(mariadb_acked a) answered rows, none lost; first row after $((t1 - t0)) ms: $(steps_of b site-a-is-dead)"
# From the object on it is ours; before it is kubectl, and behind it a pod and a database that start.
ours=$(kc b get failover site-a-is-dead -o json | jq '
	def ms: (.[0:19] + "Z" | fromdate) * 1000 + (.[20:23] | tonumber);
	(.status.finishTimestamp | ms) - (.metadata.creationTimestamp | fromdate) * 1000')
step "from the Failover's making to its end: $ours ms"
[[ $ours -lt $((10000 * ${SLOWER:-1})) ]] || fail "it took $ours ms from the Failover's making to its end"
[[ $((t1 - t0)) -lt $((45000 * ${SLOWER:-1})) ]] || fail "it took $((t1 - t0)) ms to the first row"
took=$(step_ms b site-a-is-dead Fence Mount)
[[ $took -lt $((2000 * ${SLOWER:-1})) ]] || fail "it took $took ms to fence and mount"
wait_for 30 "the application of site b writes on" lines_after b "$(acks b)"
no_errors b
wait_for 30 "the state of the domains says so" domains_are b "site-b (InSync)" "site-a (NotInSync)"

# --- it returns, and stays out until it is let in ----------------------------------------------------------------
kube_resume a
wait_for 90 "holder and engine of site a are back" pods_ready a
wait_for 60 "site a is a standby" is_role a standby
wait_for 30 "site a waits" domains_are b "site-b (InSync)" "site-a (NotInSync)"
walk "Site-a is back"
wait_for 90 "both sites are in sync" domains_are b "site-b (InSync), site-a (InSync)" ""
expect_eq "what was answered on site a since" "$(acks a)" "$acked"
root_disk_is_clean a || fail "the pod of the standby wrote into the bare directory"
step "site a is back as a standby, and its pod waits"

# --- and takes over again, while the agents of both sites are killed ------------------------------------------------
# Those of site a, which do it, die within their steps, each once; the leader of site b when a step is seen from outside.
kt a set env deployment/tandem-agent TANDEMFS_FAULT_FAILOVER=WaitAfterScaleDown,HandOver:after,ScaleUpDestination:after >/dev/null
kt a rollout status deployment/tandem-agent --timeout 90s >/dev/null || fail "the agents of site a are not replaced"
wait_for 30 "they are ready" pods_ready a
wait_for 30 "one of them leads" has_leader a
wait_for 60 "there are none but new agents" eval '[[ $(restarts a agent) = 0 ]]'
kill_other_leader() {
	local stage last=
	while read -r stage; do
		case $stage in
		"$last") ;;
		WaitAfterScaleDown | HandOver)
			# shellcheck disable=SC2046
			kill_processes b $(processes_of b "$(leader_pod b)")
			echo "$stage" >>"$WORK/killed"
			;;
		esac
		last=$stage
	done < <(kc a get failovers --watch -o 'jsonpath={.status.stage}{"\n"}')
}
goes_on() { # the steps at which another agent found the Failover, in their order
	kc a get events --field-selector involvedObject.name=back-to-site-a,reason=FailoverGoesOn --sort-by=.firstTimestamp \
		-o 'jsonpath={range .items[*]}{.message}{"\n"}{end}' | sed 's/:.*//' | xargs
}
deaths() { # how the agents of site a ended that ended
	kt a get pods -l app.kubernetes.io/component=agent -o json |
		jq -r '[.items[].status.containerStatuses[].lastState.terminated // empty | .exitCode] | unique | join(" ")'
}
kill_other_leader >"$WORK/kill.out" 2>&1 &
walk "Home again"
mariadb_unload b
expect_eq "steps within which an agent of site a died, and another went on" "$(goes_on)" "WaitAfterScaleDown HandOver ScaleUpDestination"
wait_for 60 "the three that died are started again" eval '[[ $(restarts a agent) = 3 ]]'
expect_eq "how they died" "$(deaths)" 137
expect_match "the leader of site b was killed, too" "$(xargs <"$WORK/killed")" "WaitAfterScaleDown"
wait_for 60 "the database answers on site a" answers a
expect_eq "answered rows of site a that are lost" "$(mariadb_missing a a)" 0
expect_eq "answered rows of site b that are lost" "$(mariadb_missing b a)" 0
expect_eq "workloads left on site b" "$(kc b -n blue get deployment mariadb -o 'jsonpath={.spec.replicas}')" 0
step "site a is back, with everything: $(mariadb_acked a) and $(mariadb_acked b) rows; $(steps_of a back-to-site-a)"

# --- all of it goes, but for the data -----------------------------------------------------------------------------
mariadb_unload a
for s in a b; do
	kc "$s" delete pod application --ignore-not-found >/dev/null
done
pv=$(kc a -n blue get pvc mariadb -o 'jsonpath={.spec.volumeName}')
walk "Taking it away"
for s in a b; do
	expect_eq "kinds that are left on site $s" "$(kc "$s" get crd -o name | grep tandemfs || true)" ""
	expect_eq "volumes that are left on site $s" "$(kc "$s" get pv -o name)" ""
	wait_for 60 "the namespace is gone from site $s" eval '! kc '"$s"' get namespace tandem-system'
	wait_for 60 "nothing of it runs on site $s" eval '! in_node '"$s"' pgrep -x "tandemfs|tandem-agent|tandem-holder"'
	for v in db "$pv"; do
		[[ -e $(node_dir "$s")/volumes/$v.conf && -e $(node_dir "$s")/data/$v/volume ]] || fail "the data of $v is gone from site $s"
	done
done
walk_end
step "all is taken away, and the data is there: db, $pv"

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: agent
# budget: 150
# Two sites of two nodes each: new volumes spread over the other site's nodes, and one node that dies is left by name.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../agents.sh"

NODES=(a1 a2 b1 b2)
node_address() { case $1 in a1) echo 10.77.0.11 ;; a2) echo 10.77.0.12 ;; b1) echo 10.77.0.21 ;; b2) echo 10.77.0.22 ;; esac; }
other_nodes() { [[ $1 = a* ]] && echo b1 b2 || echo a1 a2; }

# One switch; each node has a namespace and a cable to it.
nodes_net() {
	local n
	ip netns add "$TAG-a" # the switch: a name that the cleanup knows
	ip -n "$TAG-a" link add switch type bridge
	ip -n "$TAG-a" link set switch up
	for n in "${NODES[@]}"; do
		ip netns add "$TAG-$n"
		ip -n "$TAG-$n" link set lo up
		ip link add cable netns "$TAG-$n" type veth peer name "$n" netns "$TAG-a"
		ip -n "$TAG-$n" link set cable up
		ip -n "$TAG-$n" addr add "$(node_address "$n")/24" dev cable
		ip -n "$TAG-a" link set "$n" master switch
		ip -n "$TAG-a" link set "$n" up
	done
}
disks_cleanup() { # of lib.sh's cleanup
	local n
	for n in "${NODES[@]}"; do
		[[ ! -e /run/netns/$TAG-$n ]] || ip netns del "$TAG-$n"
	done
}
node_config() { # node
	local n=$1 d site o list=()
	site=site-${n%?}
	d=$WORK/$n
	for o in $(other_nodes "$n"); do list+=("$(node_address "$o"):7401"); done
	mkdir -p "$d/volumes" "$d/logs" "$d/run"
	cat >"$d/volumes/agent.conf" <<-END
		[agent]
		domain = $site
		node = $n
		volumes = $d/volumes
		run_directory = $d/run
		state_directory = $d/state
		log_directory = $d/logs
		program = $d/tandemfs
		interval = 200ms
		[api]
		listen = $(node_address "$n"):7401
		ca = $WORK/pki/ca.pem
		certificate = $WORK/pki/$site.pem
		key = $WORK/pki/$site.key
		[peer $([[ $n = a* ]] && echo site-b || echo site-a)]
		agent = $(IFS=,; echo "${list[*]}")
		[replicas]
		directory = $d/data
		mounts = $d/mounts
	END
	cp "$BIN/tandemfs" "$BIN/tandem-holder" "$d/"
}
node_start() { # node
	agent_start "$1"
	wait_for 10 "the agent of $1 answers" rest "$1" GET /v1/health
}
volumes_of() { # node
	rest "$1" GET /v1/volumes | head -n 1 | jq -r '[.volumes[].volume] | sort | join(" ")'
}
create() { # node, volume, more
	ctl "$1" create volume "$2" --size 64M "${@:3}" >"$WORK/create.out" 2>&1 || fail "create $2: $(cat "$WORK/create.out")"
}
role_of() { rest "$1" GET "/v1/volumes/$2" | head -n 1 | jq -r '"\(.status.role) \(.status.mounted)"'; }
serves() { [[ $(role_of "$1" "$2") = "active true" ]]; }
write_one() { timeout 10 sh -c "echo '$3' >>'$WORK/$1/mounts/$2/file' && sync '$WORK/$1/mounts/$2/file'"; }

echo "seed $SEED"
work_new
nodes_net
agent_pki
for n in "${NODES[@]}"; do node_config "$n"; done
for n in a1 a2 b1; do node_start "$n"; done
expect_eq "what an agent says it is" "$(rest a1 GET /v1/status | head -n 1 | jq -r '"\(.domain) \(.node) \(.ready)"')" "site-a a1 true"

# One node of the other site is not there yet: it is passed over, unless it is the one that is named.
create a1 v1
expect_fail ctl a1 create volume v2 --size 64M --peer-node b2
expect_match "a node that does not answer" "$OUT" "no node 'b2' that answers: 'b1' at 10.77.0.21:7401; 10.77.0.22:7401: nobody listens"
expect_eq "what that left" "$(find "$WORK"/*/volumes -name 'v2*')" ""
node_start b2
expect_fail ctl a1 create volume v2 --size 64M --peer-node b9
expect_match "a node that is not" "$OUT" "no node 'b9' that answers: 'b1' at .*'b2' at"
create a1 v2
create a2 v3
create a2 v4
expect_eq "the volumes of b1 and b2" "$(($(volumes_of b1 | wc -w))) $(($(volumes_of b2 | wc -w)))" "2 2"
create a2 v5 --peer-node b1
create b2 v6 --peer-node a1
expect_match "the named one" "$(volumes_of b1)" "v5"
expect_eq "the volumes of b2" "$(volumes_of b2 | wc -w)" 3
expect_match "where it is, as status says" "$(ctl a2 status v5)" "peer +site-b: .*, node b1"
expect_match "and on the other side" "$(ctl b1 status v5)" "peer +site-a: .*, node a2"
step "six volumes: b1 has $(volumes_of b1), b2 has $(volumes_of b2)"

# A planned one to the other site goes to the right node, and deleting reaches it, too.
ctl a2 failover v5 --to site-b >"$WORK/planned.out" || fail "planned: $(cat "$WORK/planned.out")"
wait_for 10 "b1 serves v5" serves b1 v5
ctl b1 failover --node b1 --dry-run >"$WORK/plan.out" || fail "a dry run: $(cat "$WORK/plan.out")"
expect_match "what leaves b1" "$(cat "$WORK/plan.out")" "1 volume: 1 can go"
ctl a2 failover --node b1 >"$WORK/back.out" || fail "from b1: $(cat "$WORK/back.out")"
wait_for 10 "a2 serves v5 again" serves a2 v5
ctl a2 delete volume v5 --yes >"$WORK/delete.out" 2>&1 || fail "delete: $(cat "$WORK/delete.out")"
expect_eq "what was left of v5" "$(find "$WORK"/*/volumes "$WORK"/*/data -name 'v5*')" ""
step "handed over, back, and deleted at its node"

# The old way: no node in the file, the host of the peer's address says it.
sed -i '/^node = /d' "$WORK/a2/volumes/v4.conf"
rest_says "a dry run" "$(rest a2 POST /v1/operations -d '{"kind":"failover","volume":"v4","to":"site-b","dry_run":true}')" 200 '"id"'
wait_for 10 "the dry run ends" operation_ended a2
expect_eq "a dry run with a peer that is found by its host" "$(operation_state a2)" "done"

WRITER=()
for v in v1 v2; do write_one a1 $v before; done
for v in v3 v4; do write_one a2 $v before; done
write_one b2 v6 before
for v in v3 v4; do
	(while sleep 0.05; do write_one a2 $v x || exit 1; done) &
	WRITER+=($!)
done

# Node a1 dies as a whole, and so does the agent of b2: while it writes down what is to be done, and again in the middle of it.
agent_kill b2 KILL
TANDEMFS_FAULT_OPERATION=store node_start b2
ip -n "$TAG-a" link set a1 down
agent_kill a1 KILL
for p in $(daemon_of a1); do kill -9 "$p"; done
expect_fail ctl b1 failover --node a9 --unplanned --yes
expect_match "a node that nobody knows" "$OUT" "no volume of this node has its other replica on a node 'a9'; there are 'a"
expect_fail ctl b1 failover --node a1 --unplanned
expect_match "without a word" "$OUT" "going on without the node needs --yes"
begin=$(now_ns)
expect_fail ctl b2 failover --node a1 --unplanned --yes
expect_match "who asked an agent that died of it" "$OUT" "whether the agent has taken it is not known: see 'tandemctl get operations'"
wait_for 10 "the agent of b2 has died" eval '! pid_alive ${AGENT[b2]}'
agent_kill b2 KILL 2>/dev/null || :
ctl b1 failover --node a1 --unplanned --yes >"$WORK/left-b1.out" 2>&1 || fail "at b1: $(cat "$WORK/left-b1.out")"
TANDEMFS_FAULT_OPERATION=take-over agent_start b2
wait_for 10 "the agent of b2 has died in the middle of it" eval '! pid_alive ${AGENT[b2]}'
agent_kill b2 KILL 2>/dev/null || :
node_start b2
all_done() { ctl b2 get operations -o json | jq -e '[.[] | select(.kind == "unplanned-failover") | .state] == ["done", "done"]'; }
wait_for 20 "the operations of b2 go on to their end" all_done
took=$((($(now_ns) - begin) / 1000000))
((took < 20000 * ${SLOWER:-1})) || fail "it took $took ms"
cat "$WORK/left-b1.out"
for v in v1 v2; do
	b=$(for b in b1 b2; do [[ " $(volumes_of $b) " != *" $v "* ]] || echo $b; done)
	serves "$b" $v || fail "$v is not served at $b"
	expect_eq "$v" "$(cat "$WORK/$b/mounts/$v/file")" before
	write_one "$b" $v after || fail "no write to $v"
done
write_one b2 v6 after || fail "a volume whose standby was on the dead node still waits"
for p in "${WRITER[@]}"; do pid_alive "$p" || fail "a writer of the other node ended"; done
for v in v3 v4; do
	serves a2 $v || fail "$v is not at a2 any more"
	write_one a2 $v after || fail "no write to $v"
	expect_eq "the set of $v" "$(rest a2 GET /v1/volumes/$v | head -n 1 | jq -c .status.in_sync)" '["site-a","site-b"]'
done
kill "${WRITER[@]}"
step "a1 died: v1, v2 are served at site b and v6 goes on after $took ms; v3, v4 are untouched"
out=$(ctl b2 failover --node a1 --unplanned --yes) || fail "once more: $out"
expect_match "once more finds it done" "$out" "2 volumes: 2 done, 0 failed, in [0-4]\."
create b1 v7
expect_match "a new volume passes over it" "$(volumes_of a2)" v7
step "once more, and a new volume while a1 is dead"

# It is not taken for a node that has nothing, and catches up when it is back.
ip -n "$TAG-a" link set a1 up
expect_fail ctl b1 delete volume v1 --yes
expect_match "while its node is away" "$OUT" "nothing is removed here.* is node 'a1'"
node_start a1
for b in b1 b2; do ctl $b activate clusterdomain site-a --yes >"$WORK/activate.out" 2>&1 || fail "$(cat "$WORK/activate.out")"; done
set_of() { rest "$1" GET "/v1/volumes/$2" | head -n 1 | jq -c '.status.in_sync | sort'; }
is_back() { [[ $(set_of b1 v1)$(set_of b2 v2)$(set_of b2 v6) = '["site-a","site-b"]["site-a","site-b"]["site-a","site-b"]' ]]; }
wait_for 30 "a1 catches up" is_back
ctl b1 delete volume v1 --yes >"$WORK/delete.out" 2>&1 || fail "delete: $(cat "$WORK/delete.out")"
expect_eq "what was left of v1" "$(find "$WORK"/*/volumes "$WORK"/*/data -name 'v1*')" ""
step "a1 is back, in sync, and v1 deleted there"

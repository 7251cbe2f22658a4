#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: agent
# budget: 300
# All volumes of a domain at once: planned to and fro, refused as a whole, killed at each step, cancelled, and
# with a dead site.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../agents.sh"

VOLUMES=${VOLUMES:-8}
tandemctl() { # site, arguments
	in_site "$1" "$BIN/tandemctl" --run-dir "$WORK/$1/run" "${@:2}"
}
operations() { rest "$1" GET /v1/operations | head -n 1; }
# The states of the newest group at a site, each once.
states() { operations "$1" | jq -r '.operations as $o | [$o[] | select(.group == $o[-1].group) | .state] | unique | join(",")'; }
group() { operations "$1" | jq -r '.operations[-1].group'; }
ended() { [[ $(states "$1" 2>/dev/null) =~ ^(done|failed|done,failed)$ ]]; }
mounted() { # site: how many volumes
	findmnt -rn -o TARGET | grep -c "^$WORK/$1/mounts/" || :
}
all_at() { # site
	[[ $(mounted "$1") = "$VOLUMES" && $(mounted "$(other "$1")") = 0 ]]
}
in_sync() { # site
	[[ $(tandemctl "$1" status -o json | jq '[.[] | select(.in_sync | length == 2) | select(.peers[0].state | IN("in-sync", "followed"))] | length') = "$VOLUMES" ]]
}
stand_by() { # site: all are standbys of the other site's, and see it
	[[ $(tandemctl "$1" status -o json | jq "[.[] | select(.role == \"standby\" and .active_domain == \"$(domain "$(other "$1")")\")
		| select(.peers[0].connected)] | length") = "$VOLUMES" ]]
}
written() { # site, text: into a file of each volume
	local i
	for ((i = 1; i <= VOLUMES; i++)); do
		echo "$2" >"$WORK/$1/mounts/v$i/file"
	done
}
has() { # site, text
	local i
	for ((i = 1; i <= VOLUMES; i++)); do
		expect_eq "v$i at site $1" "$(cat "$WORK/$1/mounts/v$i/file")" "$2"
	done
}

echo "seed $SEED"
work_new
net_new
agent_pki
AGENT_MORE=("[replicas]" "directory = $WORK/SITE/data" "mounts = $WORK/SITE/mounts")
for s in a b; do
	mkdir -p "$WORK/$s/mounts"
	agent_config $s
	agent_start $s
done
for s in a b; do wait_for 10 "the agent of site $s" tandemctl $s healthz; done
for ((i = 1; i <= VOLUMES; i++)); do
	tandemctl a create volume "v$i" --size 64M >/dev/null || fail "create v$i"
done
wait_for 30 "all are in sync" in_sync a
written a one

out=$(tandemctl a failover clusterdomain site-a --dry-run) || fail "a dry run: $out"
expect_match "a dry run" "$out" "$VOLUMES volumes: $VOLUMES can go, 0 failed"
all_at a || fail "a dry run moved something"
expect_fail tandemctl a failover clusterdomain site-b
expect_match "a domain without volumes" "$OUT" "no volume of this node is active at 'site-b'"
expect_fail tandemctl a failover clusterdomain site-c
expect_match "a foreign domain" "$OUT" "neither a peer"
expect_fail tandemctl b failback clusterdomain site-a
expect_match "failback without a failover" "$OUT" "failover clusterdomain DOMAIN --to site-a"
expect_fail tandemctl b failover clusterdomain site-a --unplanned </dev/null
expect_match "unplanned without a yes" "$OUT" "without the site needs --yes"
expect_fail tandemctl a failover clusterdomain site-a --unplanned --yes
expect_match "unplanned at the wrong site" "$OUT" "from 'site-a' to itself"

begin=$(now_ns)
out=$(tandemctl b failover clusterdomain site-a) || fail "planned: $out"
echo "$out" | tail -n 1
step "$VOLUMES volumes moved in $((($(now_ns) - begin) / 1000000)) ms"
expect_match "the sum" "$out" "^$VOLUMES volumes: $VOLUMES done, 0 failed"
all_at b || fail "not all moved"
has b one
wait_for 30 "all are in sync" in_sync b
out=$(tandemctl b failback clusterdomain site-a) || fail "failback: $out"
all_at a || fail "not all went back"
has a one
wait_for 30 "all are in sync" in_sync a
step "and back"

# One that is not in sync: all stay.
daemon=$(rest b GET /v1/volumes/v3 | head -n 1 | jq .supervision.pid)
kill -STOP "$daemon"
out_of_reach() { [[ $(tandemctl a status v3 -o json | jq '.[0].peers[0].connected') = false ]]; }
wait_for 30 "v3 has lost its peer" out_of_reach
expect_fail tandemctl a failover clusterdomain site-a
expect_match "the one" "$OUT" "v3: refused, nothing was changed: (no answer from|'site-b' is not in sync)"
expect_match "the others" "$OUT" "v1: refused, nothing was changed: because of 'v3'"
kill -CONT "$daemon"
all_at a || fail "a refused one moved something"
wait_for 30 "all are in sync" in_sync a
step "where one is not in sync all stay, and a list says why"

# The agent that does it dies at each step; so does the other.
active=a
for at in check others demote demote:after promote promote:after verify; do
	o=$(other $active)
	agent_kill a KILL
	TANDEMFS_FAULT_OPERATION=$at agent_start a
	wait_for 10 "the agent answers" tandemctl a healthz
	wait_for 30 "all are in sync" in_sync $active
	tandemctl a failover clusterdomain "$(domain $active)" --no-wait >/dev/null 2>&1 || [[ $at = check ]] ||
		fail "it does not begin ($at)"
	wait_for 20 "the agent has died at $at" eval '! pid_alive ${AGENT[a]}'
	agent_kill a KILL 2>/dev/null || :
	agent_start a
	wait_for 60 "the group has ended ($at)" ended a
	expect_eq "the group after death at $at" "$(states a)" "done"
	wait_for 20 "all are at site $o" all_at "$o"
	active=$o
	step "the agent died at $at: all are at site $o"
done
o=$(other $active)
wait_for 30 "all are in sync" in_sync $active
tandemctl a failover clusterdomain "$(domain $active)" --no-wait >/dev/null || fail "it does not begin"
pause_ms "$(random_ms 50 600)"
agent_kill b KILL
pause_ms 300
agent_start b
wait_for 90 "the group has ended" ended a
wait_for 10 "the other agent" tandemctl b healthz
echo "the other agent died meanwhile: $(states a)"
if [[ $(states a) != "done" ]]; then # refused, or some rolled back: the rest is moved by another one
	wait_for 60 "all are in sync" in_sync a
	[[ $(mounted $active) = 0 ]] || tandemctl a failover clusterdomain "$(domain $active)" >/dev/null || fail "the rest"
fi
wait_for 20 "all are at site $o" all_at "$o"
active=$o
step "the other agent died: all are at site $o in the end"

# Cancelled while it waits for a daemon that answers nothing: nothing is moved. More operations than threads.
wait_for 60 "all are in sync" in_sync $active
expect_fail tandemctl a cancel operation 17-01
expect_match "an unknown one" "$OUT" "no operation 17-01"
tandemctl a failover clusterdomain "$(domain $active)" >/dev/null || fail "once more"
active=$(other $active)
expect_fail tandemctl a cancel operation "$(group a)"
expect_match "one that has ended" "$OUT" "has ended"
wait_for 30 "all are in sync" in_sync $active
step "what has ended is not cancelled"

# Somebody watches from now on.
in_site "$(other $active)" "$BIN/tandemctl" --run-dir "$WORK/$(other $active)/run" get clusterdomainsstatus -w >"$WORK/watch.out" 2>&1 &
watch=$!
seen() { grep -c "^tandemfs" "$WORK/watch.out" || :; } # tables
seen_last() { tail -n 1 "$WORK/watch.out" | grep -qE "$1"; }
wait_for 10 "the watch has begun" eval '[[ $(seen) -ge 1 ]]'

# The active site dies: deactivate asks nothing of it, and all volumes are taken over at the same time.
o=$(other $active)
written $active two
daemons=$(rest $active GET /v1/volumes | head -n 1 | jq '.volumes[].supervision.pid')
agent_kill $active KILL
# shellcheck disable=SC2086 # numbers
kill -9 $daemons
STATUS=0
out=$(tandemctl "$o" deactivate clusterdomain "$(domain $active)" --dry-run </dev/null) || STATUS=$?
expect_eq "the status of a dry run" "$STATUS" 3
expect_match "a dry run" "$out" "^v1: would ask: the active side is not reached"
expect_match "a dry run" "$out" "^v1: then $(domain "$o") would be promoted and serve 'v1'"
expect_match "a dry run" "$out" "^$VOLUMES volumes: 0 can go, $VOLUMES would ask, 0 refused"
[[ $(mounted "$o") = 0 ]] || fail "a dry run took something over"
begin=$(now_ns)
out=$(tandemctl "$o" deactivate clusterdomain "$(domain $active)" --yes) || fail "deactivate: $out"
took=$((($(now_ns) - begin) / 1000000))
echo "$out" | tail -n 1
[[ $(mounted "$o") = "$VOLUMES" ]] || fail "not all were taken over"
has "$o" two
one=$(sed -nE 's/.*\(([0-9]+) ms\)$/\1/p' <<<"$out" | sort -n | tail -n 1)
step "$VOLUMES volumes were taken over in $took ms, the slowest in $one ms"

# It comes back: what activate would do, of each volume, and then it does it.
dead=$active
out=$(tandemctl "$o" activate clusterdomain "$(domain "$dead")" --dry-run) || fail "a dry run: $out"
expect_match "nobody there" "$out" "^v1: $(domain "$dead") would be active again: it is not reached"
expect_match "nobody there" "$out" "^$VOLUMES volumes: $VOLUMES can go, 0 would ask, 0 refused, 0 not concerned; nothing was changed"
written "$o" three
agent_start "$dead"
reached() { [[ $(tandemctl "$o" status -o json | jq '[.[] | select(.peers[0].state == "inactive")] | length') = "$VOLUMES" ]]; }
wait_for 30 "it is reached" reached
# Its daemons take the record, learn that they are not active any more, and start again.
said_of_all() { # arguments
	[[ $(tandemctl "$o" activate clusterdomain "$@" --dry-run | grep -cE \
		"^v[0-9]+: $(domain "$dead") would be active again: it is reached, and would come back by the journal: it is [1-9][0-9]* entries behind") = "$VOLUMES" ]]
}
for where in "$(domain "$dead")" --all; do
	wait_for 30 "a dry run says how, of each ($where)" said_of_all "$where"
done
says_there() { tandemctl "$dead" activate clusterdomain "$(domain "$dead")" --dry-run | grep -q "^v1: $(domain "$o") is active and reached, and would be told"; }
wait_for 30 "it is said there, too" says_there
sleep 1
wait_for 30 "it is inactive still" reached
out=$(tandemctl "$o" activate clusterdomain "$(domain "$dead")" --wait) || fail "activate: $out"
wait_for 30 "all are in sync" in_sync "$o"
out=$(tandemctl "$o" activate clusterdomain "$(domain "$dead")" --dry-run) || fail "a dry run: $out"
expect_match "what is active" "$out" "^v1: $(domain "$dead") is not inactive"
has "$o" three
step "site $dead is back: a dry run said how"

# What the watch has shown: both, then the dead site inactive, then both in sync; a table for each change and no more.
both="site-a \\(InSync\\), site-b \\(InSync\\)  *-$"
wait_for 20 "the watch shows both in sync" seen_last "$both"
pid_alive "$watch" || fail "the watch has ended: $(tail -n 2 "$WORK/watch.out")"
kill "$watch"
wait "$watch" 2>/dev/null || :
expect_match "the watch's first table" "$(grep -m 1 "^tandemfs" "$WORK/watch.out")" "$both"
expect_match "the watch meanwhile" "$(cat "$WORK/watch.out")" "^tandemfs  *$(domain "$o")  *$(domain "$o") \(.*\)  *$(domain "$dead") \("
expect_eq "a table twice" "$(grep "^tandemfs" "$WORK/watch.out" | uniq -d)" ""
step "the watch showed $(seen) tables: each change, and nothing twice"

# The same as an operation of the agent, which dies before, and after, its first order.
for at in take-over take-over:after; do
	dead=$o alive=$active
	tandemctl "$dead" activate clusterdomain "$(domain "$alive")" >/dev/null || fail "activate"
	wait_for 60 "all are in sync" in_sync "$dead"
	wait_for 30 "what was mounted at the other site is not any more" all_at "$dead"
	wait_for 30 "all know there who is active" stand_by "$alive"
	written "$dead" "$at"
	daemons=$(rest "$dead" GET /v1/volumes | head -n 1 | jq '.volumes[].supervision.pid')
	agent_kill "$dead" KILL
	# shellcheck disable=SC2086 # numbers
	kill -9 $daemons
	agent_kill "$alive" KILL
	TANDEMFS_FAULT_OPERATION=$at agent_start "$alive"
	wait_for 10 "the agent answers" tandemctl "$alive" healthz
	tandemctl "$alive" failover clusterdomain "$(domain "$dead")" --unplanned --yes --no-wait >/dev/null 2>&1 || :
	wait_for 20 "the agent has died at $at" eval '! pid_alive ${AGENT[$alive]}'
	agent_kill "$alive" KILL 2>/dev/null || :
	agent_start "$alive"
	wait_for 60 "the group has ended ($at)" ended "$alive"
	expect_eq "the group after death at $at" "$(states "$alive")" "done"
	wait_for 20 "all are mounted" eval '[[ $(mounted $alive) = "$VOLUMES" ]]'
	has "$alive" "$at"
	expect_eq "operations all of whose steps have their times" "$(operations "$alive" | jq '.operations as $o |
		[$o[] | select(.group == $o[-1].group) | select([.steps[] | .start_ms > 0 and .end_ms >= .start_ms] | all)] | length')" "$VOLUMES"
	agent_start "$dead"
	wait_for 10 "the agent of the site that was dead" tandemctl "$dead" healthz
	active=$dead o=$alive
	step "an unplanned group goes on after the agent's death at $at"
done

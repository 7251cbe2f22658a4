#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: agent
# budget: 300
# Another build is installed on both sites, and `tandemctl upgrade` brings the daemons to it one after the other, under
# load and without an error where a holder keeps the mount; asked for where none does. A program that cannot run, or
# refuses, stops at the first volume; an operation under way, here or there, keeps its volume from it; an agent that dies
# in the middle leaves nothing stopped.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../agents.sh"
. "$(dirname "$0")/../held.sh"

tandemctl() { # site, arguments
	in_site "$1" "$BIN/tandemctl" --run-dir "$WORK/$1/run" "${@:2}" </dev/null
}
mnt() { echo "$WORK/$1/mounts/v1"; }
of() { rest "$1" GET "/v1/volumes/$2" | head -n 1 | jq -r "$3"; } # site, volume, what
pid_of() { of "$1" "$2" .supervision.pid; }
pids() { # site
	local v
	for v in v1 v2 v3; do pid_of "$1" $v; done | tr '\n' ' '
}
build_of() { "/proc/$(pid_of "$1" "$2")/exe" version; }
pending() { # site: its volumes that run another build
	rest "$1" GET /v1/status | head -n 1 | jq -r '[.volumes[] | select(.supervision.upgrade_pending) | .volume] | join(" ")'
}
in_sync() { # site
	[[ $(tandemctl "$1" status -o json | jq '[.[] | select(.in_sync | length == 2) | select(.peers[0].state == "in-sync")] | length') = 3 ]]
}
old=$("$BIN/tandemfs" version)
new=${old%?}
# In the place of the program, as a package does it: another file of that name.
install_build() { # site, last character of its version, which is as long as before, or nothing would start
	LC_ALL=C sed "s/$old/$new$2/" "$BIN/tandemfs" >"$WORK/$1/tandemfs.new"
	chmod 755 "$WORK/$1/tandemfs.new"
	mv "$WORK/$1/tandemfs.new" "$WORK/$1/tandemfs"
}
install_script() { # site, text
	printf '#!/bin/sh\n%s\n' "$2" >"$WORK/$1/tandemfs.new"
	chmod 755 "$WORK/$1/tandemfs.new"
	mv "$WORK/$1/tandemfs.new" "$WORK/$1/tandemfs"
}

echo "seed $SEED"
work_new
m=$(mnt a)
net_new
agent_pki
AGENT_MORE=("[replicas]" "directory = $WORK/SITE/data" "mounts = $WORK/SITE/mounts")
for s in a b; do
	mkdir -p "$WORK/$s/mounts"
	agent_config $s
	agent_start $s
done
for s in a b; do wait_for 10 "the agent of site $s" tandemctl $s healthz; done
for v in v1 v2; do tandemctl a create volume $v --size 256M >/dev/null || fail "create $v"; done
tandemctl a create volume v3 --size 64M --no-holder >/dev/null || fail "create v3"
wait_for 30 "all are in sync" in_sync a
expect_eq "held mounts" "$(for v in v1 v2 v3; do of a $v .status.held; done | tr '\n' ' ')" "true true false "
out=$(tandemctl a upgrade) || fail "nothing to do: $out"
expect_match "nothing to do" "$out" "^nothing to do: no daemon of 3 volumes here runs another build than '$WORK/a/tandemfs'$"
expect_fail tandemctl a upgrade v9
expect_match "an unknown volume" "$OUT" "no volume 'v9' on this node"

# Both sites get the package; the standbys' first.
first=$(connection)
load_start tree run a
load_start blocks stamp a
workers_start once 2
install_build a x
install_build b x
before=$(pids a) before_b=$(pids b)
out=$(tandemctl a upgrade --dry-run) || fail "a dry run: $out"
expect_match "a dry run" "$out" "^v1: would be upgraded: a holder keeps its mount"
expect_match "a dry run" "$out" "^v3: no holder keeps its mount, which would end: .*--yes$"
expect_eq "daemons after a dry run" "$(pids a)" "$before"
out=$(tandemctl b upgrade) || fail "the standbys: $out"
expect_match "the standbys" "$out" "^v3: upgraded, process [0-9]+; [0-9.]+ s$"
expect_eq "what is pending at site b" "$(pending b)" ""
for v in v1 v2 v3; do expect_eq "the build of $v at site b" "$(build_of b $v)" "${new}x"; done
for pid in $before_b; do ! pid_alive "$pid" || fail "a daemon of site b was not replaced"; done
wait_for 30 "all are in sync" in_sync a
expect_eq "daemons of site a after the upgrade of site b" "$(pids a)" "$before"
step "the standbys are upgraded"

begin=$(now_ns)
STATUS=0
out=$(tandemctl a upgrade 2>&1) || STATUS=$?
expect_eq "the status with one that has no holder" "$STATUS" 3
expect_match "the active ones" "$out" "^v1: upgraded, process [0-9]+"
expect_match "the active ones" "$out" "^v2: upgraded, process [0-9]+"
expect_match "the one without a holder" "$out" "v3: no holder keeps its mount, which would end"
step "upgraded in $((($(now_ns) - begin) / 1000000)) ms: $(head -n 1 <<<"$out")"
for v in v1 v2; do expect_eq "the build of $v at site a" "$(build_of a $v)" "${new}x"; done
expect_eq "what is pending" "$(pending a)" "v3"
expect_eq "the daemon without a holder" "$(pid_of a v3)" "$(cut -d' ' -f3 <<<"$before")"
wait_for 30 "all are in sync" in_sync a
touch "$m/after"
workers_end once
load_stop tree
load_stop blocks
load_verify tree run a
load_verify blocks stamp a
expect_eq "the connection" "$(connection)" "$first"
step "no error, the same mount; $(cat "$WORK/once.1.out")"
out=$(tandemctl a upgrade v3 --yes) || fail "with --yes: $out"
expect_eq "the build of v3" "$(build_of a v3)" "${new}x"
out=$(tandemctl a upgrade -o json) || fail "as json: $out"
expect_eq "what is left" "$(jq -c '[.state, .volumes]' <<<"$out")" '["planned",[]]'
wait_for 30 "all are in sync" in_sync a

# A program that cannot run at all is found before anything is stopped, one that refuses at the first volume.
before=$(pids a)
install_script a 'exit 78'
expect_fail tandemctl a upgrade
expect_eq "the status" "$STATUS" 1
expect_match "what cannot run" "$OUT" "tandemfs version' ends with status 78: install it again, or the one that ran before"
expect_match "what cannot run" "$OUT" "v2: not touched"
expect_eq "the daemons" "$(pids a)" "$before"
install_script a "[ \"\$1\" != version ] || exec '$BIN/tandemfs' version; echo 'tandemfs: it is too new' >&2; exit 78"
expect_fail tandemctl a upgrade --yes
expect_match "what refuses" "$OUT" "v1: the new program refuses: it is too new; .*systemctl reload tandem-agent.* what is asked of its mount waits"
expect_match "what refuses" "$OUT" "v2: not touched"
expect_match "what refuses" "$OUT" "'v1' does not serve again, and no other volume is touched"
expect_eq "the other daemons" "$(pids a)" "0 ${before#* }"
expect_eq "the state of v1" "$(of a v1 .supervision.state)" refused
touch "$m/waits" &
waits=$!
install_build a y
kill -HUP "${AGENT[a]}"
wait_for 30 "what waited ends" eval "! pid_alive $waits"
wait $waits || fail "what waited met an error"
expect_eq "the connection" "$(connection)" "$first"
wait_for 30 "all are in sync" in_sync a
out=$(tandemctl a upgrade --yes) || fail "after it was repaired: $out"
expect_eq "what is pending" "$(pending a)" ""
expect_eq "the builds" "$(for v in v1 v2 v3; do build_of a $v; done | sort -u)" "${new}y"
step "a program that cannot run stops nothing, one that refuses stops the first volume alone"

# One that does not answer: nothing else begins meanwhile, and its time is over at last.
install_script a "[ \"\$1\" != version ] || exec '$BIN/tandemfs' version; exec sleep 1000"
tandemctl a upgrade v1 --timeout 20 >"$WORK/slow.out" 2>&1 &
slow=$!
state_of_first() { rest a GET /v1/upgrade | head -n 1 | jq -r '.volumes[0].state'; }
wait_for 10 "the new program is started" eval '[[ $(state_of_first) = starting ]]'
expect_fail tandemctl a failover v1 --to site-b
expect_match "a failover meanwhile" "$OUT" "'v1' is being upgraded .*repeat this when it serves again"
expect_fail tandemctl a upgrade v2
expect_match "another upgrade meanwhile" "$OUT" "an upgrade is under way"
STATUS=0
wait $slow || STATUS=$?
expect_eq "the status of one that does not answer" "$STATUS" 1
expect_match "what does not answer" "$(cat "$WORK/slow.out")" "v1: the new program does not answer after 20 s: see its log"
install_build a u
kill -9 "$(pid_of a v1)"
wait_for 30 "all are in sync" in_sync a
expect_eq "the connection" "$(connection)" "$first"
step "one that does not answer is waited for so long"

# An operation on the volume, of this agent or of the other one: it looks at a daemon that hangs, for a while.
install_build a z
kill -STOP "$(pid_of b v1)"
tandemctl b failover v1 --to site-b --no-wait >/dev/null || fail "an operation of site b"
expect_fail tandemctl a upgrade v1
expect_match "an operation of site b" "$OUT" "v1: not now: operation [0-9-]+ of 'site-b' is under way"
kill -STOP "$(pid_of b v2)"
tandemctl a failover v2 --to site-b --no-wait >/dev/null || fail "an operation of site a"
expect_fail tandemctl a upgrade v2
expect_match "an operation of site a" "$OUT" "v2: not now: operation [0-9-]+ of it is under way"
kill -CONT "$(pid_of b v1)" "$(pid_of b v2)"
wait_for 60 "both operations have ended" eval 'operation_ended a && operation_ended b'
for v in v1 v2; do # it may have been refused
	[[ $(of b $v .status.mounted) != true ]] || tandemctl a failover $v --to site-a >/dev/null || fail "$v does not go back"
done
wait_for 60 "all are in sync" in_sync a
step "an operation under way keeps its volume from it"

# The agent dies in the middle: what was stopped is started, and the rest is said anew.
install_build a w
pid=$(pid_of a v1)
tandemctl a upgrade --no-wait >/dev/null || fail "it does not begin"
wait_for 20 "the first daemon ends" eval "! pid_alive $pid"
agent_kill a KILL
agent_start a
wait_for 10 "the agent answers" tandemctl a healthz
wait_for 30 "all are in sync" in_sync a
out=$(tandemctl a upgrade --yes) || fail "the rest: $out"
expect_eq "what is pending" "$(pending a)" ""
expect_eq "the builds" "$(for v in v1 v2 v3; do build_of a $v; done | sort -u)" "${new}w"
wait_for 30 "all are in sync" in_sync a
step "the agent died in the middle: all are upgraded in the end"

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: agent
# budget: 120
# Two sites whose daemons two agents supervise: a killed daemon is back, a killed agent is missed by nobody.
. "$(dirname "$0")/../lib.sh"

declare -A AGENT=()
agent_config() { # site
	local s=$1 o
	o=$(other "$s")
	mkdir -p "$WORK/$s/volumes" "$WORK/$s/logs"
	cat >"$WORK/$s/volumes/agent.conf" <<-END
		[agent]
		domain = $(domain "$s")
		volumes = $WORK/$s/volumes
		run_directory = $WORK/$s/run
		log_directory = $WORK/$s/logs
		program = $BIN/tandemfs
		interval = 200ms
		restart_delay_max = 2s
	END
	cp "$WORK/$s/conf" "$WORK/$s/volumes/$VOLUME.conf"
}
agent_start() { # site
	in_site_bg "$1" "$BIN/tandem-agent" --config "$WORK/$1/volumes/agent.conf"
	AGENT[$1]=$BG
	cat "$WORK/bg-$1.out" >>"$WORK/agent-$1.out" 2>/dev/null || true
}
agent_kill() { # site, signal
	kill "-$2" "${AGENT[$1]}"
	wait "${AGENT[$1]}" 2>/dev/null || STATUS=$?
	cat "$WORK/bg-$1.out" >>"$WORK/agent-$1.out"
	unset "AGENT[$1]"
}
said() { # site, extended regular expression: something that its agent logged
	cat "$WORK/agent-$1.out" "$WORK/bg-$1.out" 2>/dev/null | grep -qE -- "$2"
}
daemon_of() { # site
	local p
	for p in $(pgrep -x tandemfs); do
		! tr '\0' ' ' <"/proc/$p/cmdline" 2>/dev/null | grep -q -- "--run-dir $WORK/$1/run " || echo "$p"
	done
}

echo "seed $SEED"
work_new
net_new
sites_format 256M
agent_config a
agent_config b
expect_match "a dry run" "$("$BIN/tandem-agent" --config "$WORK/a/volumes/agent.conf" --dry-run)" \
	"^$VOLUME: would be started$"
expect_eq "daemons after a dry run" "$(daemon_of a)" ""
agent_start a
agent_start b
site_wait_active a
site_wait_in_sync a
step "both agents have started their daemons"

expect_fail "$BIN/tandem-agent" --config "$WORK/a/volumes/agent.conf"
expect_match "a second agent" "$OUT" "another agent runs here"

for s in a b; do
	before=$(daemon_of $s)
	kill -9 "$before"
	wait_for 10 "another daemon of site $s runs" eval '[[ -n $(daemon_of '$s') ]] && [[ $(daemon_of '$s') != "'"$before"'" ]]'
	site_wait_active a
	site_wait_in_sync a
	step "the daemon of site $s was killed, and is back"
done

# The agent's death is nothing to the daemon, and the next agent finds it.
load_start tree run a
before=$(daemon_of a)
agent_kill a KILL
sleep 0.5
expect_eq "the daemon after the agent's death" "$(daemon_of a)" "$before"
agent_start a
wait_for 10 "the agent finds the daemon" said a "$VOLUME: found running, process $before"
sleep 1
expect_eq "the daemons after the agent's return" "$(daemon_of a)" "$before"
load_stop tree
load_verify tree run a
STATUS=0
agent_kill a TERM
expect_eq "the agent's exit status after SIGTERM" "$STATUS" 0
expect_eq "the daemon after the agent's stop" "$(daemon_of a)" "$before"
agent_start a
wait_for 10 "the agent finds the daemon again" said a "$VOLUME: found running, process $before"
kill -9 "$before"
wait_for 10 "a daemon that was found is started again" eval '[[ -n $(daemon_of a) ]] && [[ $(daemon_of a) != "'"$before"'" ]]'
site_wait_active a
site_wait_in_sync a
step "the agent was killed and stopped: the daemon stayed, was found, and is supervised"

# A wrong configuration is told once and not tried again until it changes.
sed "s/^name = .*/name = other/; s/^mount = .*/colour = red/" "$WORK/a/conf" >"$WORK/a/volumes/other.conf"
wait_for 10 "the agent tells of the wrong file" said a "other: not started until its configuration changes: .*unknown key 'colour'"
sleep 2
expect_eq "starts of the wrong one" "$(cat "$WORK"/{agent,bg}-a.out | grep -c 'other: started')" 1
touch "$WORK/a/volumes/other.conf"
wait_for 10 "it is tried again when the file changes" eval \
	'[[ $(cat "$WORK"/{agent,bg}-a.out | grep -c "other: started") = 2 ]]'
rm "$WORK/a/volumes/other.conf"
step "a wrong configuration was started once for each version of it"

for s in a b; do
	agent_kill $s TERM
	kill -TERM "$(daemon_of $s)"
	wait_for 15 "the daemon of site $s stops" eval '[[ -z $(daemon_of '$s') ]]'
done
site_check a --data
site_check b --data

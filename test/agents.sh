# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# For tests with an agent on each site, after test/lib.sh: their configuration, start and end, and their REST.

declare -A AGENT=() # site: process
rest_address() { [[ $1 = a ]] && echo 10.77.0.1:7401 || echo 10.77.0.2:7401; }
AGENT_MORE=() # lines for every agent's configuration; SITE stands for the site
agent_config() { # site
	local s=$1 o line
	o=$(other "$s")
	mkdir -p "$WORK/$s/volumes" "$WORK/$s/logs" "$WORK/$s/run"
	cat >"$WORK/$s/volumes/agent.conf" <<-END
		[agent]
		domain = $(domain "$s")
		node = node-$s
		volumes = $WORK/$s/volumes
		run_directory = $WORK/$s/run
		state_directory = $WORK/$s/state
		log_directory = $WORK/$s/logs
		program = $WORK/$s/tandemfs
		interval = 200ms
		restart_delay_max = 2s
		[api]
		listen = $(rest_address "$s")
		ca = $WORK/pki/ca.pem
		certificate = $WORK/pki/rest-$s.pem
		key = $WORK/pki/$(domain "$s").key
		[peer $(domain "$o")]
		agent = $(rest_address "$o")
	END
	for line in "${AGENT_MORE[@]}"; do
		echo "${line//SITE/$s}" >>"$WORK/$s/volumes/agent.conf"
	done
	[[ -e $WORK/pki/rest-$s.pem ]] || cp "$WORK/pki/$(domain "$s").pem" "$WORK/pki/rest-$s.pem"
	cp "$BIN/tandemfs" "$BIN/tandem-holder" "$WORK/$s/"
}
agent_pki() {
	mkdir -p "$WORK/pki"
	authority "$WORK/pki"
	certificate "$WORK/pki" site-a "$WORK/pki"
	certificate "$WORK/pki" site-b "$WORK/pki"
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
	grep -qsE -- "$2" "$WORK/agent-$1.out" "$WORK/bg-$1.out"
}
daemon_of() { # site
	local p
	for p in $(pgrep -x tandemfs || :); do
		! tr '\0' ' ' <"/proc/$p/cmdline" 2>/dev/null | grep -q -- "--run-dir $WORK/$1/run " || echo "$p"
	done
}
# The answer's body, and after it, on a line of its own, HTTP's status.
rest() { # site, method, path, arguments of curl...
	curl -sS -m "${REST_S:-10}" -w '%{http_code}\n' --unix-socket "$WORK/$1/run/agent.http" -X "$2" "http://agent$3" "${@:4}"
}
rest_says() { # what, answer of rest, status, extended regular expression
	expect_eq "status of $1" "$(tail -n 1 <<<"$2")" "$3"
	expect_match "$1" "$2" "$4"
}
# The state of the last operation at the agent of a site.
operation_state() { rest "$1" GET /v1/operations | head -n 1 | jq -r '.operations[-1].state'; }
operation_ended() { [[ $(operation_state "$1" 2>/dev/null) =~ ^(done|failed)$ ]]; }

# Two sites whose daemons two agents start: A is active, B in sync.
agents_up() { # size
	local s
	echo "seed $SEED"
	work_new
	net_new
	sites_format "$1"
	for s in a b; do
		agent_config $s
		cp "$WORK/$s/conf" "$WORK/$s/volumes/$VOLUME.conf"
	done
	agent_start a
	agent_start b
	site_wait_active a
	site_wait_in_sync a
}

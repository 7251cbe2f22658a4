#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: agent
# budget: 60
# Whether an agent in a container is ready: only where what is mounted below its parent of mounts reaches the host. The
# container is a mount name space of its own, and the parent in it is what mountPropagation may make of it.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../agents.sh"

work_new
net_new
agent_pki
parent=$WORK/parent
mkdir "$parent"
mount -t tmpfs parent "$parent"
mount --make-shared "$parent"
AGENT_MORE=("[replicas]" "directory = $WORK/SITE/data" "mounts = $parent")
agent_config a
sed -i "/^\[agent\]/a host_mountinfo = /proc/$$/mountinfo" "$WORK/a/volumes/agent.conf"

start() { # propagation in the container, as mount(8) names it
	in_site_bg a unshare -m --propagation unchanged sh -c 'mount "$0" "$1" && shift && exec "$@"' \
		"--make-$1" "$parent" "$BIN/tandem-agent" --config "$WORK/a/volumes/agent.conf"
	AGENT[a]=$BG
	wait_for 10 "the agent answers ($1)" rest a GET /healthz
}
not_ready() { # what, words
	rest_says "$1" "$(rest a GET /readyz)" 503 "\"error\":\"$2"
	expect_fail in_site a "$BIN/tandemctl" --run-dir "$WORK/a/run" readyz
	expect_match "$1: tandemctl readyz" "$OUT" "$2"
	rest_says "$1: status" "$(rest a GET /v1/status)" 200 "\"ready\":false,\"not_ready\":\"$2"
	rest_says "$1: alive" "$(rest a GET /healthz)" 200 '"domain":"site-a"'
	agent_kill a TERM
}

start shared # the host's own, in its peer group
rest_says "Bidirectional" "$(rest a GET /readyz)" 200 '"domain":"site-a"'
rest_says "Bidirectional: status" "$(rest a GET /v1/status)" 200 '"ready":true'
in_site a "$BIN/tandemctl" --run-dir "$WORK/a/run" readyz || fail "tandemctl readyz is not 0"
agent_kill a TERM
step "ready where the parent is shared with the host"

start private
not_ready "None" "'$parent' is no shared mount: mountPropagation must be Bidirectional"
start slave
not_ready "HostToContainer" "'$parent' is no shared mount: mountPropagation must be Bidirectional"
step "not ready where it is private, or the host's mounts only come in"

# Shared, and with nobody: a container that made it so itself.
in_site_bg a unshare -m --propagation private sh -c 'mount --make-shared "$0" && exec "$@"' \
	"$parent" "$BIN/tandem-agent" --config "$WORK/a/volumes/agent.conf"
AGENT[a]=$BG
wait_for 10 "the agent answers" rest a GET /healthz
not_ready "shared with nobody" "what is mounted below '$parent' does not reach the host"
step "nor where it is shared with nobody"

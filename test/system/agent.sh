#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: agent
# budget: 240
# Two sites whose daemons two agents supervise: a killed daemon is back, a killed agent is missed by nobody.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../agents.sh"

# From site b to the agent of site a.
peer_rest() { # name of the certificate, path, arguments of curl...
	in_site b curl -sS -m 10 -w '%{http_code}\n' --cacert "$WORK/pki/ca.pem" --resolve site-a:7401:10.77.0.1 \
		--cert "$WORK/pki/$1.pem" --key "$WORK/pki/$1.key" "https://site-a:7401$2" "${@:3}"
}
peer_serial() {
	in_site b openssl s_client -connect 10.77.0.1:7401 -cert "$WORK/pki/site-b.pem" -key "$WORK/pki/site-b.key" \
		</dev/null 2>/dev/null | openssl x509 -noout -serial
}

echo "seed $SEED"
work_new
net_new
sites_format 256M
agent_config a
agent_config b
for s in a b; do cp "$WORK/$s/conf" "$WORK/$s/volumes/$VOLUME.conf"; done
expect_match "a dry run" "$("$BIN/tandem-agent" --config "$WORK/a/volumes/agent.conf" --dry-run)" \
	"^$VOLUME: would be started$"
expect_eq "daemons after a dry run" "$(daemon_of a)" ""
wrong=$WORK/a/volumes/wrong
{ cat "$WORK/a/volumes/agent.conf" && echo "colour = blue"; } >"$wrong"
expect_fail "$BIN/tandem-agent" --config "$wrong"
expect_eq "the status for a wrong configuration file" "$STATUS" 78
expect_match "a wrong configuration file" "$OUT" "$wrong:$(wc -l <"$wrong"): .*unknown key 'colour'"
expect_fail "$BIN/tandem-agent" --config "$WORK/a/volumes/missing"
expect_eq "the status for a missing configuration file" "$STATUS" 78
expect_fail "$BIN/tandem-agent" --colour
expect_eq "the status for a wrong option" "$STATUS" 2
rm "$wrong"
agent_start a
agent_start b
site_wait_active a
site_wait_in_sync a
step "both agents have started their daemons"

# There may be a hundred volumes on a node, most of them idle. (A sanitizer takes its own.)
for s in a b; do
	kib=$(awk '/^VmRSS:/ { print $2 }' "/proc/$(daemon_of $s)/status")
	step "the daemon of site $s takes $kib KiB"
	[[ $kib -lt 40000 || ${SLOWER:-1} != 1 ]] || fail "an idle volume takes $kib KiB at site $s"
done

out=$(in_site a "$BIN/tandemctl" preflight "$WORK/a/conf") || fail "preflight: $out"
expect_match "preflight" "$out" "^  ok +peer +site-b at 10.77.0.2:7400: round trip"
expect_match "preflight" "$out" "^  ok +port +10.77.0.1:7400 is taken"
expect_fail in_site a "$BIN/tandemctl" preflight "$WORK/b/conf"
expect_match "preflight for another node" "$OUT" "FAIL +port +10.77.0.2:7400: Cannot assign"

expect_fail "$BIN/tandem-agent" --config "$WORK/a/volumes/agent.conf"
expect_match "a second agent" "$OUT" "another agent runs here"

# REST on this node.
jq -e '.domain == "site-a" and .volumes[0].supervision.state == "running" and .volumes[0].status.role == "active"' \
	<<<"$(rest a GET /v1/status | head -n 1)" >/dev/null || fail "the status of site a: $(rest a GET /v1/status)"
rest_says "a volume" "$(rest b GET /v1/volumes/$VOLUME)" 200 '"role":"standby"'
rest_says "no volume" "$(rest a GET /v1/volumes/nothing)" 404 '"error":"no volume'
rest_says "a verb" "$(rest a POST /v1/volumes/$VOLUME/checkpoint)" 200 '"code":0,"text":"a checkpoint begins"'
rest_says "a refusal" "$(rest a POST /v1/volumes/$VOLUME/deactivate -d '{"domain":"nowhere"}')" 404 "no replica in domain"
rest_says "a wrong argument" "$(rest a POST /v1/volumes/$VOLUME/resize -d '{"size":"large"}')" 400 '"code":-22'
rest_says "a body that is no JSON" "$(rest a POST /v1/volumes/$VOLUME/promote -d 'yes')" 400 '"error":"no JSON'
rest_says "a body that is too large" \
	"$(head -c 100000 /dev/zero | tr '\0' ' ' | rest a POST /v1/volumes/$VOLUME/promote --data-binary @-)" 413 "too large"
metrics=$(rest a GET /metrics)
rest_says "metrics" "$metrics" 200 "^tandem_up\{volume=\"$VOLUME\",domain=\"site-a\"\} 1$"
expect_match "metrics" "$metrics" "^tandem_peer_in_sync\{volume=\"$VOLUME\",domain=\"site-a\",peer=\"site-b\"\} 1$"
seq 200 | xargs -P 8 -I{} curl -sS -m 10 -o /dev/null -f --unix-socket "$WORK/a/run/agent.http" http://agent/v1/status ||
	fail "200 requests from 8 clients"
expect_eq "mode of the socket" "$(stat -c %a "$WORK/a/run/agent.http")" 600
step "REST and metrics answer"

# REST between the sites: nobody without a certificate that names a peer.
mkdir "$WORK/foreign"
authority "$WORK/foreign"
certificate "$WORK/foreign" site-b "$WORK/foreign"
cp "$WORK/foreign/site-b.pem" "$WORK/pki/foreign.pem"
cp "$WORK/foreign/site-b.key" "$WORK/pki/foreign.key"
certificate "$WORK/pki" site-c "$WORK/pki"
rest_says "a peer" "$(peer_rest site-b /v1/volumes/$VOLUME)" 200 '"role":"active"'
rest_says "a peer that gives orders" "$(peer_rest site-b /v1/volumes/$VOLUME/demote -d '{}')" 403 "for this site.s own processes"
rest_says "this site's own certificate" "$(peer_rest site-a /v1/volumes/$VOLUME/checkpoint -d '{}')" 200 '"code":0'
rest_says "another name of the same authority" "$(peer_rest site-c /v1/status)" 403 "names no peer"
expect_fail peer_rest foreign /v1/status
[[ $OUT != *volumes* ]] || fail "a foreign certificate was let in: $OUT"
expect_fail in_site b curl -sS -m 10 -k https://10.77.0.1:7401/v1/status
[[ $OUT != *volumes* ]] || fail "a client without a certificate was let in: $OUT"
expect_fail peer_rest site-b /v1/status --tls-max 1.2
wait_for 5 "the agent tells of the foreign certificate" said a "rest: a client refused: .*issuer is unknown"
before=$(peer_serial)
openssl x509 -req -in "$WORK/pki/site-a.csr" -CA "$WORK/pki/ca.pem" -CAkey "$WORK/pki/ca.key" -CAcreateserial -days 90 \
	-copy_extensions copy -out "$WORK/pki/new.pem" 2>/dev/null
mv "$WORK/pki/new.pem" "$WORK/pki/rest-a.pem"
wait_for 15 "the new certificate is used" eval '[[ -n $(peer_serial) ]] && [[ $(peer_serial) != "'"$before"'" ]]'
rest_says "a peer after the change" "$(peer_rest site-b /v1/health)" 200 '"domain":"site-a"'
echo "no certificate" >"$WORK/pki/rest-a.pem"
wait_for 15 "the agent tells of the certificate that is none" said a "the old certificates serve on"
rest_says "a peer meanwhile" "$(peer_rest site-b /v1/health)" 200 '"domain":"site-a"'
cp "$WORK/pki/site-a.pem" "$WORK/pki/rest-a.pem"
step "a missing and a foreign certificate are refused, a new one is read, what is none is not used"

for s in a b; do
	before=$(daemon_of $s)
	kill -9 "$before"
	wait_for 10 "another daemon of site $s runs" eval '[[ -n $(daemon_of '$s') ]] && [[ $(daemon_of '$s') != "'"$before"'" ]]'
	site_wait_active a
	site_wait_in_sync a
	step "the daemon of site $s was killed, and is back"
done

# A file that is renamed while its daemon runs is the same volume's.
before=$(daemon_of a)
mv "$WORK/a/volumes/$VOLUME.conf" "$WORK/a/volumes/renamed.conf"
listed() { rest a GET /v1/volumes | head -n 1 | jq -r '[.volumes[] | "\(.volume) \(.supervision.state) \(.supervision.config)"] | join(",")'; }
wait_for 5 "the renamed file is seen" eval '[[ $(listed) = *renamed.conf* ]]'
expect_eq "the volumes after a file was renamed" "$(listed)" "$VOLUME running $WORK/a/volumes/renamed.conf"
mv "$WORK/a/volumes/renamed.conf" "$WORK/a/volumes/$VOLUME.conf"
wait_for 5 "and back" eval '[[ $(listed) = "'"$VOLUME running $WORK/a/volumes/$VOLUME.conf"'" ]]'
expect_eq "the daemon" "$(daemon_of a)" "$before"
step "a renamed file is listed once"

# Another build on the disk is told of; the daemon runs on.
is_pending() { rest a GET /v1/volumes/$VOLUME | head -n 1 | jq -e ".supervision.upgrade_pending == $1" >/dev/null; }
is_pending false || fail "an upgrade is pending before there is one"
cp "$BIN/tandemfs" "$WORK/a/tandemfs.new"
mv "$WORK/a/tandemfs.new" "$WORK/a/tandemfs"
wait_for 5 "the upgrade is pending" is_pending true
kill -9 "$(daemon_of a)"
wait_for 10 "the daemon is back" eval '[[ -n $(daemon_of a) ]]'
site_wait_active a
site_wait_in_sync a
is_pending false || fail "the daemon that was started anew still counts as of an older build"

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
expect_eq "what the status says of it" "$(rest a GET /v1/volumes/other | head -n 1 | jq -r .supervision.state)" refused
expect_eq "starts of the wrong one" "$(cat "$WORK"/{agent,bg}-a.out | grep -c 'other: started')" 1
touch "$WORK/a/volumes/other.conf"
wait_for 10 "it is tried again when the file changes" eval \
	'[[ $(cat "$WORK"/{agent,bg}-a.out | grep -c "other: started") = 2 ]]'
told() { grep -q "refused for [0-9]* s: .*unknown key 'colour'" <<<"$(ctl a status 2>&1 || true)"; }
wait_for 10 "tandemctl tells of the wrong one" told
rm "$WORK/a/volumes/other.conf"
step "a wrong configuration was started once for each version of it"

# tandemctl needs no agent: one that hangs is passed by.
kill -STOP "${AGENT[a]}"
begin=$(now_ns)
has_role a active || fail "the role of site a beside an agent that hangs: $(role a)"
ms=$((($(now_ns) - begin) / 1000000))
[[ $ms -lt 3000 ]] || fail "an agent that hangs kept tandemctl for $ms ms"
kill -CONT "${AGENT[a]}"

# Site a dies with everything; site b takes over, and a comes back.
load_start tree run a
pause_ms 300
before=$(daemon_of a)
agent_kill a KILL
kill -9 "$before"
load_wait tree 3
order b deactivate clusterdomain site-a --yes
said b "rest: $VOLUME: deactivate" || fail "tandemctl did not go through the agent"
site_wait_active b
load_verify tree run b
agent_start a
site_wait_role a standby
order b activate clusterdomain site-a
site_wait_in_sync b
step "tandemctl does without the agent, and uses it; site b took over, site a is back"

for s in a b; do
	agent_kill $s TERM
	kill -TERM "$(daemon_of $s)"
	wait_for 15 "the daemon of site $s stops" eval '[[ -z $(daemon_of '$s') ]]'
done
site_check a --data
site_check b --data

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: agent
# budget: 120
# tandemctl pair: two sites get certificates and addresses from one command each; then agents and a volume use them.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../agents.sh"

OFFER=
host() { [[ $1 = a ]] && echo 10.77.0.1 || echo 10.77.0.2; }
mnt() { echo "$WORK/$1/mnts/vol"; } # of the volume that is made below
etc() { echo "$WORK/$1/etc"; }
# The first site's command, until it waits; its token in $TOKEN.
offer() { # arguments...
	in_site_bg a "$BIN/tandemctl" pair --config-dir "$(etc a)" "$@"
	OFFER=$BG
	wait_for 10 "the first site waits" grep -q '^Waiting on' "$WORK/bg-a.out"
	TOKEN=$(sed -n 's/.*<<<//p' "$WORK/bg-a.out")
}
offered() { # status: of the first site's command, which ends by itself
	STATUS=0
	wait "$OFFER" || STATUS=$?
	[[ $STATUS = "$1" ]] || fail "the first site ended with $STATUS: $(cat "$WORK/bg-a.out")"
}
join() { # token, arguments...
	in_site b "$BIN/tandemctl" pair - --config-dir "$(etc b)" "${@:2}" <<<"$1" 2>&1
}
names() { openssl x509 -in "$(etc "$1")/pki/$(domain "$1").pem" -noout -serial; }

echo "seed $SEED"
work_new
net_new
mkdir -p "$WORK/a" "$WORK/b"
A=(--domain site-a --address 10.77.0.1)
B_SITE=(--domain site-b --address 10.77.0.2)

# What is refused leaves the token valid and nothing behind.
expect_fail in_site a "$BIN/tandemctl" pair --domain site-a --config-dir "$(etc a)"
expect_match "no address" "$OUT" "--address of this site is needed"
expect_fail in_site a "$BIN/tandemctl" pair --domain site-a --address 10.77.0.9 --config-dir "$(etc a)"
expect_match "another node's address" "$OUT" "cannot listen on '10.77.0.9:7401'"
offer "${A[@]}"
first=$TOKEN
expect_fail join "${TOKEN:0:60}" "${B_SITE[@]}"
expect_match "half a token" "$OUT" "token is damaged"
expect_fail join "$TOKEN" --domain site-a --address 10.77.0.2
expect_match "the same domain" "$OUT" "both sites cannot be 'site-a'"
mkdir -p "$(etc b)/pki"
authority "$WORK"
cp "$WORK/ca.pem" "$(etc b)/pki/ca.pem"
expect_fail join "$TOKEN" "${B_SITE[@]}"
expect_match "another authority" "$OUT" "has certificates of another authority"
rm "$(etc b)/pki/ca.pem"
printf '%-8d' -7200 >"$WORK/clock"
expect_fail env WRONG_CLOCK="$WORK/clock" LD_PRELOAD="$TOOLS/wrongclock.so" nsenter --net="/run/netns/$TAG-b" \
	"$BIN/tandemctl" pair "$TOKEN" --config-dir "$(etc b)" "${B_SITE[@]}"
expect_match "clocks apart" "$OUT" "the clocks are (119|120) minutes apart"
expect_eq "what the refused site has" "$(find "$(etc b)" -type f)" ""
join "$TOKEN" "${B_SITE[@]}" >"$WORK/join.out" || fail "pairing: $(cat "$WORK/join.out" "$WORK/bg-a.out")"
offered 0
for s in a b; do
	expect_eq "mode of the key of $s" "$(stat -c %a "$(etc $s)/pki/$(domain $s).pem")" 600
	expect_match "agent.conf of $s" "$(cat "$(etc $s)/agent.conf")" "^\[peer site-$(other $s)\]$"
done
expect_eq "mode of the authority's key" "$(stat -c %a "$(etc a)/pki/ca.key")" 600
[[ ! -e $(etc b)/pki/ca.key ]] || fail "the authority's key left its site"
expect_match "the first site's check" "$(cat "$WORK/bg-a.out")" "from here to site-b: reached"
expect_match "the other one's" "$(cat "$WORK/join.out")" "from here to site-a: reached"
expect_fail join "$first" "${B_SITE[@]}"
expect_match "a second use" "$OUT" "the token was used, or"
step "paired; both directions were checked; the token counts once"

# Wrong tokens end the waiting. Somebody in between with the same address and another certificate learns nothing.
offer
expect_fail join "$first"
expect_match "an earlier token" "$OUT" "not who made the token"
kill "$OFFER"
wait "$OFFER" 2>/dev/null || :
offer
c=A
[[ ${TOKEN:60:1} != A ]] || c=B
for i in 1 2 3 4 5; do
	expect_fail join "${TOKEN:0:60}$c${TOKEN:61}"
	expect_match "wrong secret $i" "$OUT" "site-a refuses: the token is wrong"
done
offered 1
expect_match "five wrong tokens" "$(cat "$WORK/bg-a.out")" "5 wrong tokens: the waiting ends"
offer
kill "$OFFER"
wait "$OFFER" 2>/dev/null || :
ca=$(cat "$(etc a)/pki/ca.pem")
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3 -subj /CN=site-a \
	-keyout "$WORK/mitm.key" -out "$WORK/mitm.pem" 2>/dev/null
nsenter --net="/run/netns/$TAG-a" -- openssl s_server -accept 10.77.0.1:7402 -cert "$WORK/mitm.pem" -key "$WORK/mitm.key" -tls1_3 -quiet \
	>"$WORK/mitm.out" 2>&1 </dev/null &
mitm=$!
wait_for 5 "the one in between listens" in_site b bash -c 'exec 3<>/dev/tcp/10.77.0.1/7402'
before=$(names b)
expect_fail join "$TOKEN"
kill $mitm
wait $mitm 2>/dev/null || :
expect_match "somebody in between" "$OUT" "somebody is in between; nothing was sent"
expect_eq "what was sent to it" "$(grep -c secret "$WORK/mitm.out" || :)" 0
expect_eq "the certificate meanwhile" "$(names b)" "$before"
step "a wrong token and somebody in between get nothing"

# Both agents from what was written; REST between them, both ways; a volume with the same identities.
for s in a b; do
	mkdir -p "$WORK/$s/run" "$WORK/$s/logs"
	sed -i "/^\[agent\]/a run_directory = $WORK/$s/run\nlog_directory = $WORK/$s/logs\nprogram = $BIN/tandemfs\ninterval = 200ms" \
		"$(etc $s)/agent.conf"
	printf '[replicas]\ndirectory = %s\nmounts = %s\n' "$WORK/$s/data" "$WORK/$s/mnts" >>"$(etc $s)/agent.conf"
	in_site_bg $s "$BIN/tandem-agent" --config "$(etc $s)/agent.conf"
	AGENT[$s]=$BG
done
for s in a b; do
	wait_for 10 "the agent of site $s" test -S "$WORK/$s/run/agent.http"
	mv "$WORK/bg-$s.out" "$WORK/agent-$s.out"
done
out=$(in_site a "$BIN/tandemctl" --run-dir "$WORK/a/run" create volume vol --size 256M 2>&1) ||
	fail "create volume: $out; $(tail -n 5 "$WORK"/agent-*.out)"
in_sync() { "$BIN/tandemctl" --run-dir "$WORK/a/run" status vol -o json | jq -e '[.. | .in_sync? // empty] | any(length == 2)'; }
wait_for 20 "the volume is in sync" in_sync
echo hello >"$WORK/a/mnts/vol/file"
if [[ $(uname -r | awk -F. '{ print ($1 * 1000 + $2 >= 6009) }') = 1 ]]; then
	expect_match "what is said of its mount" "$out" "vol: the mount outlives its daemon"
	load_start tree run a
	for ((i = 1; i <= 3; i++)); do
		pause_ms "$(random_ms 200 900)"
		before=$(daemon_of a)
		kill -9 "$before"
		wait_for 15 "another daemon runs" eval '[[ -n $(daemon_of a) ]] && [[ $(daemon_of a) != "$before" ]]'
	done
	wait_for 20 "the volume is in sync again" in_sync
	load_stop tree
	load_verify tree run a
	step "its daemon was killed $((i - 1)) times under load, and no application met an error"
else
	expect_match "what is said of its mount" "$out" "the mount ends with its daemon: this kernel cannot"
fi
expect_fail in_site b curl -sS -m 5 -k https://10.77.0.1:7401/v1/health
out=$(in_site a "$BIN/tandemctl" pair --show --config-dir "$(etc a)") || fail "pair --show: $out"
expect_match "pair --show" "$out" "site-a \(10.77.0.1:7401\) is paired with site-b \(10.77.0.2:7401\)"
expect_match "pair --show" "$out" "is valid for 82[45] days"
step "agents and a volume run with what the pairing wrote"

# The last days of a certificate: daemon, agent, metrics and preflight tell of them, while all runs.
ctl_a() { "$BIN/tandemctl" --run-dir "$WORK/a/run" "$@" 2>&1; }
expiry_of() { # which
	rest a GET /metrics | sed -n "s/^tandem_cert_expiry_timestamp_seconds{domain=\"site-a\",which=\"$1\"} //p"
}
in_days() { echo $((($1 - $(date +%s)) / 86400)); }
expect_match "days of the certificate" "$(in_days "$(expiry_of own)")" "^82[45]$"
expect_match "days of the authority" "$(in_days "$(expiry_of ca)")" "^36(49|50)$"
expect_eq "trouble before" "$(ctl_a status vol -o json | jq -r '.[0].trouble')" ""
own=$(etc a)/pki/site-a.pem
preflight_a() { # status
	STATUS=0
	OUT=$(in_site a "$BIN/tandemctl" preflight "$(etc a)/agent.conf" "$(etc a)/vol.conf" 2>&1) || STATUS=$?
	expect_eq "status of preflight: $OUT" "$STATUS" "$1"
}
preflight_a 0
expect_eq "certificates in order: $OUT" "$(grep -cE "^  ok +certificate +'$own' is valid for 82[45] days" <<<"$OUT")" 2
openssl pkey -in "$own" >"$WORK/new.pem"
openssl req -new -key "$WORK/new.pem" -subj /CN=site-a -out "$WORK/new.csr"
openssl x509 -req -in "$WORK/new.csr" -CA "$(etc a)/pki/ca.pem" -CAkey "$(etc a)/pki/ca.key" -CAcreateserial -days 20 \
	-extfile <(printf 'subjectAltName=DNS:site-a\nextendedKeyUsage=serverAuth,clientAuth\n') 2>/dev/null >>"$WORK/new.pem"
chmod 600 "$WORK/new.pem"
rm -f "$(etc a)/pki/ca.srl"
mv "$WORK/new.pem" "$own"
ends="the certificate '$own' ends on $(date -u -d '+20 days' +%Y-%m-)[0-9]+: from then on the sites do not connect"
wait_for 30 "the daemon tells of it" eval '[[ $(ctl_a status vol -o json | jq -r ".[0].trouble") =~ $ends ]]'
wait_for 30 "the agent tells of it" eval '[[ $(ctl_a status vol) =~ "agent of this node"[[:space:]]+"trouble" ]]'
out=$(ctl_a status vol)
expect_eq "who tells of it: $out" "$(grep -cE "$ends" <<<"$out" || :)" 2
expect_eq "what to type: $out" "$(grep -c "next  *tandemctl pair (then its token on the other site" <<<"$out")" 2
expect_match "days of the certificate" "$(in_days "$(expiry_of own)")" "^(19|20)$"
expect_match "days of the authority" "$(in_days "$(expiry_of ca)")" "^36(49|50)$"
expect_eq "lines in the agent's log" "$(grep -cE "$ends" "$WORK/agent-a.out" || :)" 1
expect_eq "lines in the daemon's log" "$(grep -cE "$ends" "$WORK/a/logs/vol.log" || :)" 1
preflight_a 0
expect_eq "preflight: $OUT" "$(grep -cE "^  warn +certificate +'$own' is valid for (19|20) days" <<<"$OUT")" 2
expect_match "preflight: what to do" "$OUT" "-> tandemctl pair "
step "a certificate that ends in 20 days is told of"

# Again while all runs: new certificates, the same authority, nothing to type but the token.
before=$(names a)$(names b)
offer
kill -9 "$OFFER"
wait "$OFFER" 2>/dev/null || :
expect_fail join "$TOKEN"
expect_match "an interrupted pairing" "$OUT" "'tandemctl pair' has ended there"
offer
join "$TOKEN" >"$WORK/join.out" || fail "pairing again: $(cat "$WORK/join.out" "$WORK/bg-a.out")"
offered 0
expect_match "what it says" "$(cat "$WORK/join.out")" "certificates are renewed"
[[ $(names a)$(names b) != "$before" ]] || fail "the certificates are the old ones"
expect_eq "the authority" "$(cat "$(etc a)/pki/ca.pem")" "$ca"
wait_for 30 "nothing is left to tell of" eval '[[ $(ctl_a status vol) != *"ends on"* ]]'
expect_eq "trouble after" "$(ctl_a status vol -o json | jq -r '.[0].trouble')" ""
# A daemon that starts now has the new certificate; that the other one still has is of the same authority. Every
# write waits for both.
daemon=$(daemon_of b)
[[ -n $daemon ]] || fail "no daemon on site b"
kill -9 "$daemon"
wait_for 15 "the daemon of site b is back" eval '[[ -n $(daemon_of b) ]] && [[ $(daemon_of b) != "$daemon" ]]'
timeout 30 bash -c 'echo again >>"$1"' _ "$WORK/a/mnts/vol/file" || fail "no write with the new certificates"
served() {
	in_site b openssl s_client -connect 10.77.0.1:7401 -cert "$(etc b)/pki/site-b.pem" -key "$(etc b)/pki/site-b.pem" \
		</dev/null 2>/dev/null | openssl x509 -noout -serial
}
wait_for 20 "the agent serves with the new certificate" eval '[[ $(served) = "$(names a)" ]]'
step "paired again while all runs"

# A configuration that says something else is not touched.
sed -i 's/^agent = 10.77.0.1:7401/agent = 10.77.0.1:7777/' "$(etc b)/agent.conf"
before=$(cat "$(etc b)/agent.conf")
offer
expect_fail join "$TOKEN"
expect_match "another address" "$OUT" "is '10.77.0.1:7777', and should be '10.77.0.1:7401'"
offered 0
expect_eq "agent.conf" "$(cat "$(etc b)/agent.conf")" "$before"
sed -i 's/^agent = 10.77.0.1:7777/agent = 10.77.0.1:7401/' "$(etc b)/agent.conf"

out=$(in_site a "$BIN/tandemctl" --run-dir "$WORK/a/run" delete volume vol --yes 2>&1) || fail "delete volume: $out"
for s in a b; do
	kill -TERM "${AGENT[$s]}"
	wait "${AGENT[$s]}" 2>/dev/null || :
	unset "AGENT[$s]"
done
# Nobody came.
in_site a "$BIN/tandemctl" pair --config-dir "$(etc a)" --timeout 1 >"$WORK/bg-a.out" 2>&1 && fail "nobody came, and it succeeded"
expect_match "nobody came" "$(cat "$WORK/bg-a.out")" "the token has expired"
step "done"

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: agent
# budget: 120
# Agents read their configuration again while they run: after the first pairing, on SIGHUP, and not when it is wrong.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../agents.sh"

tandemctl() { # site, arguments
	in_site "$1" "$BIN/tandemctl" --run-dir "$WORK/$1/run" "${@:2}"
}
conf() { echo "$WORK/$1/etc/agent.conf"; }
hangup() { # site
	kill -HUP "${AGENT[$1]}"
}
times_said() { # site, regular expression
	cat "$WORK/bg-$1.out" | grep -cE -- "$2" || :
}
mounted() { mountpoint -q "$WORK/$1/mnts/$2"; }

echo "seed $SEED"
work_new
net_new
for s in a b; do
	mkdir -p "$WORK/$s/etc" "$WORK/$s/run" "$WORK/$s/logs"
	cp "$BIN/tandemfs" "$BIN/tandem-holder" "$WORK/$s/"
	cat >"$(conf $s)" <<-END
		[agent]
		domain = $(domain $s)
		volumes = $WORK/$s/etc
		run_directory = $WORK/$s/run
		state_directory = $WORK/$s/state
		log_directory = $WORK/$s/logs
		program = $WORK/$s/tandemfs
		interval = 200ms
		[replicas]
		directory = $WORK/$s/data
		mounts = $WORK/$s/mnts
	END
	in_site_bg $s "$BIN/tandem-agent" --config "$(conf $s)"
	AGENT[$s]=$BG
done
for s in a b; do wait_for 10 "the agent of site $s" tandemctl $s healthz; done
expect_fail tandemctl a create volume vol --size 64M
expect_match "before pairing" "$OUT" "pair them first"

# The output goes elsewhere: the agents' is in bg-SITE.out.
nsenter --net="/run/netns/$TAG-a" -- "$BIN/tandemctl" pair --config-dir "$WORK/a/etc" --domain site-a --address 10.77.0.1 \
	>"$WORK/offer.out" 2>&1 </dev/null &
offer=$!
wait_for 10 "the first site waits" grep -q '^Waiting on' "$WORK/offer.out"
in_site b "$BIN/tandemctl" pair - --config-dir "$WORK/b/etc" --domain site-b --address 10.77.0.2 \
	<<<"$(sed -n 's/.*<<<//p' "$WORK/offer.out")" >"$WORK/join.out" 2>&1 || fail "pairing: $(cat "$WORK/join.out" "$WORK/offer.out")"
wait $offer || fail "pairing: $(cat "$WORK/offer.out")"
for f in offer join; do
	expect_match "what it says" "$(cat "$WORK/$f.out")" "the agent that runs here has read it"
done
tandemctl a create volume vol --size 64M || fail "create volume without a restart: $(tail -n 5 "$WORK"/bg-*.out)"
mounted a vol || fail "it is not mounted"
step "paired, and a volume made, by agents that were not started again"

# What is wrong stays out, all of it, and what cannot change says so.
cp "$(conf a)" "$WORK/good"
sed -i 's/^interval = .*/interval = 300ms\nnonsense = 1/' "$(conf a)"
hangup a
wait_for 5 "it says that the file is wrong" eval '[[ $(times_said a "agent.conf:[0-9]+: .*nonsense.*stays as it was") = 1 ]]'
expect_eq "REST meanwhile" "$(rest a GET /v1/health | tail -n 1)" 200
rest_says "a reload by REST" "$(rest a POST /v1/reload)" 400 "nonsense"
sed "s,^run_directory = .*,run_directory = $WORK/a/run2," "$WORK/good" >"$(conf a)"
hangup a
wait_for 5 "it says what cannot change" eval '[[ $(times_said a "run_directory. cannot change while the agent runs.*stays as it was") = 1 ]]'
tandemctl a healthz || fail "its socket is gone"
sed 's/^domain = site-a/domain = site-c/' "$WORK/good" >"$(conf a)"
rest_says "another domain" "$(rest a POST /v1/reload)" 503 "'domain' cannot change while the agent runs"
cp "$WORK/good" "$(conf a)"
rest_says "a good one" "$(rest a POST /v1/reload)" 200 '"config"'
step "a wrong configuration is told of, and the old one stays"

# Addresses, certificates' places, switches.
expect_eq "metrics" "$(rest a GET /metrics | tail -n 1)" 200
sed -i 's/^\[api\]/[api]\nmetrics = no/; s/^agent = 10.77.0.2:7401/agent = 10.77.0.2:7501/' "$(conf a)"
cp "$WORK/b/etc/pki/site-b.pem" "$WORK/b/etc/other.pem"
sed -i "s/^listen = .*/listen = 10.77.0.2:7501/; s,^certificate = .*,certificate = $WORK/b/etc/other.pem," "$(conf b)"
hangup a
expect_eq_metrics() { [[ $(rest a GET /metrics | tail -n 1) = 404 ]]; }
wait_for 5 "metrics are off" expect_eq_metrics
expect_fail tandemctl a create volume vol2 --size 64M
expect_match "nobody there yet" "$OUT" "10.77.0.2|refused|site-b"
hangup b
listens() { in_site a bash -c "exec 3<>/dev/tcp/10.77.0.2/$1" 2>/dev/null; }
wait_for 10 "site b listens elsewhere" listens 7501
wait_for 10 "it listens no more where it did" eval '! listens 7401'
tandemctl a create volume vol2 --size 64M || fail "create volume at the new address"
mounted a vol2 || fail "it is not mounted"
out=$(tandemctl b failover vol2 --to site-b) || fail "failover: $out"
mounted b vol2 || fail "it is not mounted at site b"
# Without listen nobody is served.
cp "$WORK/good" "$(conf a)"
sed -i '/^listen/d; /^ca /d; /^certificate/d; /^key/d' "$(conf b)"
hangup b
wait_for 10 "site b does not listen any more" eval '! listens 7501'
step "addresses, certificates and switches change while it runs"
for v in vol vol2; do
	for s in a b; do tandemctl $s delete volume $v --yes --local >/dev/null; done
done

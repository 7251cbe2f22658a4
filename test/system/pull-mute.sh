#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: peer
# budget: 120
# A standby pulls from one that stops answering on the bulk connection and keeps it: the writes on the active go on, the
# standby gives such a connection up and says so, and gets there when it is answered.
. "$(dirname "$0")/../lib.sh"

TRANSPORT=plain # who swallows the answers has to tell a bulk connection from the other one
CONF_TIMEOUT=1s
CONF_JOURNAL="size = 32M"
CONF_LIMITS=$'checkpoint_entries = 2000\ncatch_up_rate = 16M'
REACH=([b]=10.77.0.2:7500)
between() { # command...: carries what site b dials
	[[ -z ${LOAD[between]:-} ]] || {
		kill -9 "${LOAD[between]}"
		wait "${LOAD[between]}" 2>/dev/null || true
	}
	in_site_bg b "$@"
	LOAD[between]=$BG
}
relay() { between "$BUILD/bench/relay" --listen "${REACH[b]}" --to "$(address a)" --delay-us 0; }
gave_up() { site_log b | grep -c "pulling is broken off: no answer within" || true; }

echo "seed $SEED"
work_new
net_new
sites_format
relay
sites_start
m=$(mnt a)
dd if=/dev/urandom of="$m/fill" bs=1M count=48 conv=fsync status=none
order a deactivate clusterdomain site-b --yes
wait_for 10 "site b knows" eval '[[ $(status b ".inactive[]") = site-b ]]'
site_kill9 b
dd if=/dev/urandom of="$m/fill" bs=32k count=1500 oflag=direct conv=notrunc status=none
between "$TOOLS/mute" bulk "${REACH[b]}" "$(address a)"
site_start b
wait_for 10 "site b learns that it is inactive" eval '[[ $(status b ".inactive[]") = site-b ]]'
mix_start a
order a activate clusterdomain site-b
wait_for 30 "pulling has begun" test -e "$WORK/b/replica/incoming/progress"
from=$(now_ns)
wait_for $((40 * ${SLOWER:-1})) "site b gives up a connection on which nothing comes" eval '[[ $(gave_up) -gt 0 ]]'
[[ $(mix_acked "$from" "$(now_ns)") -gt 0 ]] || fail "writes on the active wait for a bulk connection"
expect_eq "the set while site b is not answered" "$(status a '.in_sync[]')" site-a
expect_match "what site b says" "$(ctl b status)" "catching up by pulling"
pid_alive "${LOAD[between]}" || fail "what swallows the answers has ended: $(cat "$WORK/bg-b.out")"
step "nothing was answered: site b gave up, the active went on"
relay
site_wait_in_sync a 60
mix_stop
mix_verify a
sites_stop_and_compare

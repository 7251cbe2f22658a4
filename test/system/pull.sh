#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: peer
# budget: 240
# Catching up by pulling, while the volume is in use: a standby that the ring no longer reaches, one whose
# directory was replaced by a fresh one, and both when target or source are killed in the middle.
. "$(dirname "$0")/../lib.sh"

CONF_JOURNAL="size = 32M"
CONF_LIMITS="checkpoint_entries = 2000"
sites_up

# Site b is out and the ring of site a goes round once more.
left_behind() {
	local last
	order a deactivate clusterdomain site-b --yes
	wait_for 10 "site b knows" eval '[[ $(status b ".inactive[]") = site-b ]]'
	last=$(status b .seq.durable)
	site_stop b
	dd if=/dev/urandom of="$(mnt a)/fill" bs=1M count=96 conv=fsync status=none
	wait_for 60 "the ring has gone round" \
		eval '[[ $(status a .journal.first_seq) -gt $((last + 2)) ]] || overwrite'
}
overwrite() {
	dd if=/dev/urandom of="$(mnt a)/over" bs=4k count=500 conv=fsync oflag=direct status=none
	false
}
sent() { status a '.peers[0].pull.bytes_sent // 0'; }
# A fresh replica in place of the one of site b, which keeps nothing of it.
replace_b() {
	rm -rf "$WORK/b/replica"
	"$BIN/tandemfs" format --join "$WORK/$VOLUME.desc" --config "$WORK/b/conf" >>"$WORK/b/log" 2>&1
}
pulls() { [[ $(sent) -gt ${1:-0} ]]; }

left_behind
load_start blocks stamp a
site_start b
wait_for 10 "site b learns that it is inactive" eval '[[ $(status b ".inactive[]") = site-b ]]'
order a activate clusterdomain site-b
site_wait_in_sync a 40
pause_ms 500
load_stop blocks
load_verify blocks stamp a
step "beyond the ring: in sync again under load, $(sent) bytes sent"
sites_stop_and_compare

sites_start
order a deactivate clusterdomain site-b --yes
site_stop b
replace_b
load_start blocks2 stamp a
site_start b
wait_for 10 "site b learns that it is inactive" eval '[[ $(status b ".inactive[]") = site-b ]]'
expect_fail ctl b promote $VOLUME --yes
order a activate clusterdomain site-b
site_wait_in_sync a 40
load_stop blocks2
load_verify blocks2 stamp a
step "replaced: in sync again under load, $(sent) bytes sent"
sites_stop_and_compare

# Killed in the middle: slowly enough for that to have a middle.
CONF_LIMITS+=$'\ncatch_up_rate = 20M'
site_config b
sites_start
order a deactivate clusterdomain site-b --yes
site_stop b
replace_b
site_start b
wait_for 10 "site b learns that it is inactive" eval '[[ $(status b ".inactive[]") = site-b ]]'
order a activate clusterdomain site-b
wait_for 20 "pulling has begun" pulls 10000000
step "site b: $(status b '.peers[0].text')"
expect_match "text of site a" "$(status a '.peers[0].text')" "catching up by pulling"
expect_fail ctl b promote $VOLUME --yes
site_kill9 b
first=$(sent)
site_start b
wait_for 20 "pulling goes on" pulls $((first + 10000000))
second=$(sent)
site_kill9 a
site_start a
site_wait_active a
site_wait_in_sync a 60
third=$(sent)
need=$(status a '.peers[0].pull.bytes_total')
step "needed $need bytes; sent $second before, $third after the source was killed"
[[ $((second + third)) -lt $((need * 12 / 10 + 8 * 1048576)) ]] || fail "more was sent again than 1.2 of what was needed"
sites_stop_and_compare

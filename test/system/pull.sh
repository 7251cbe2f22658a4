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

# In the middle: slowly enough for that to have one.
CONF_LIMITS+=$'\ncatch_up_rate = 3M'
pull_of() { status a ".peers[0].pull.$1 // 0 | floor"; }
is_beyond() { # percent
	local p
	p=$(pull_of percent)
	[[ $p != down && $p -ge $1 ]]
}
is_limited() { [[ $(pull_of limit_bps) -gt 0 ]]; }
is_unlimited() { [[ $(pull_of limit_bps) -eq 0 ]]; }
dd if=/dev/urandom of="$WORK/light.data" bs=4k count=1 status=none
# An operation every 200 ms, until the pull is held back for it.
lightly() { # how, dd's arguments...
	local how=$1
	shift
	while true; do
		dd "$@" bs=4k count=1 status=none
		sleep 0.2
	done &
	LIGHT=$!
	wait_for 15 "somebody who $how now and then is seen" is_limited
	step "held back to $(pull_of limit_bps) bytes a second for somebody who $how now and then, at $(pull_of percent) %"
	kill "$LIGHT"
	wait "$LIGHT" 2>/dev/null || true
}
site_config b
sites_start
dd if="$WORK/light.data" of="$(mnt a)/light" bs=4k conv=fsync status=none
order a deactivate clusterdomain site-b --yes
site_stop b
replace_b
site_start b
wait_for 10 "site b learns that it is inactive" eval '[[ $(status b ".inactive[]") = site-b ]]'
order a activate clusterdomain site-b
wait_for 20 "pulling has begun" pulls 2000000
expect_eq "unknown before anything moves" "$(status a '.peers[0].pull | .rate_bps > 0 or has("eta_s") == false')" true
step "site b: $(status b '.peers[0].text')"
expect_match "text of site a" "$(status a '.peers[0].text')" "catching up by pulling"
expect_fail ctl b promote $VOLUME --yes
wait_for 30 "nobody is there" is_unlimited
lightly writes if="$WORK/light.data" of="$(mnt a)/light" oflag=direct,sync conv=notrunc
wait_for 30 "nobody is there any more" is_unlimited
lightly reads if="$(mnt a)/light" of=/dev/null iflag=direct
is_beyond 1 && ! is_beyond 100 || fail "it was at $(pull_of percent) %"

# What comes after a kill is what was missing, and little more: what had come in the last seconds, and files of the
# checkpoint.
SLACK=$((24 * 1048576))
missing() { echo $(($(pull_of bytes_total) - $(pull_of bytes_done))); }
wait_for 60 "half of it is there" is_beyond 50
site_kill9 b
need=$(pull_of bytes_total)
first=$(sent) first_missing=$(missing)
site_start b
wait_for 60 "most of it is there" is_beyond 80
second=$(sent) second_missing=$(missing)
site_kill9 a
site_start a
site_wait_active a
site_wait_in_sync a 60
third=$(sent)
step "of $need bytes: $first sent, $first_missing missing when the target was killed; then $((second - first)) until" \
	"$second_missing were missing and the source was killed; then $third"
[[ $first_missing -gt $((need * 3 / 10)) && $second_missing -lt $((need * 3 / 10)) ]] ||
	fail "killed at another time than was meant"
[[ $((second - first)) -lt $((first_missing - second_missing + SLACK)) ]] ||
	fail "the target began again after it was killed"
[[ $third -lt $((second_missing + SLACK)) ]] || fail "it began again after the source was killed"
sites_stop_and_compare

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: peer
# budget: 200
# A replica whose catching up by pulling was cut off in the middle, by a link or by the end of its source, is not promoted
# as if it were whole, and says why. By an explicit word it serves exactly what it had before, or says that it has
# nothing. Until then both sides show how far it is.
. "$(dirname "$0")/../lib.sh"

CONF_JOURNAL="size = 32M"
LIMITS="checkpoint_entries = 2000"
CONF_LIMITS=$LIMITS
sites_up 512M
go_round() { # the ring of site a, beyond this seq
	wait_for 60 "the ring has gone round" eval '[[ $(status a .journal.first_seq) -gt '$(($1 + 2))' ]] ||
		{ dd if=/dev/urandom of="$(mnt a)/over" bs=32k count=400 oflag=direct status=none; false; }'
}
leave() {
	order a deactivate clusterdomain site-b --yes
	wait_for 10 "site b knows" eval '[[ $(status b ".inactive[]") = site-b ]]'
	site_stop b
}
percent() { status "$1" '.peers[0].pull.percent // 0 | floor'; }
is_between() { # site
	local p
	p=$(percent "$1")
	[[ $p != down ]] && ((p >= 25 && p < 90))
}
come_back() { # slowly, and cut off in the middle
	local first s
	CONF_LIMITS="$LIMITS"$'\ncatch_up_rate = 1M'
	site_config b
	site_start b
	wait_for 10 "site b learns that it is inactive" eval '[[ $(status b ".inactive[]") = site-b ]]'
	order a activate clusterdomain site-b
	wait_for 20 "both sides know how much there is" \
		eval '[[ $(status a ".peers[0].pull.bytes_total // 0") -gt 0 && $(status b ".peers[0].pull.bytes_total // 0") -gt 0 ]]'
	first="$(percent a) $(percent b)"
	[[ ${first% *} -lt 20 && ${first#* } -lt 20 ]] || fail "it began with $first percent"
	wait_for 30 "site b has a part" is_between b
	wait_for 30 "site a knows so" is_between a
	for s in a b; do
		expect_match "status of site $s" "$(ctl $s status)" \
			"catching up by pulling: [0-9]+ % of [0-9.]+ [MG]iB, [0-9.]+ [KM]iB/s, [1-9][0-9]* s left"
		wait_for 10 "a rate that is about the limit" eval \
			'[[ $(status '$s' ".peers[0].pull | .rate_bps > 100000 and .rate_bps < 10000000 and .eta_s > 0") = true ]]'
	done
	step "site a says: $(status a '.peers[0].text')"
	step "site b says: $(status b '.peers[0].text')"
}
is_refused() {
	wait_for 10 "site b misses its source" eval '[[ $(status b .peers[0].connected) = false ]]'
	wait_for 30 "the time left grows, or is unknown" eval \
		'[[ $(status b ".peers[0].pull | .eta_s == null or .eta_s > 60") = true ]]'
	expect_fail ctl b promote $VOLUME --yes
	expect_match "promote" "$OUT" "site-b is outdated: it lacks what was acknowledged without it.*--accept-data-loss"
	expect_fail ctl b promote $VOLUME --accept-data-loss
	expect_match "promote with the loss accepted" "$OUT" "$1"
	expect_fail ctl b deactivate clusterdomain site-a --yes
	expect_match "deactivate" "$OUT" "site-b is outdated: it lacks what was acknowledged without it.*--accept-data-loss"
	expect_fail ctl b deactivate clusterdomain site-a --accept-data-loss
	expect_match "deactivate with the loss accepted" "$OUT" "$1"
	! is_mounted b || fail "mounted in spite of that"
}
ways=(site_kill9 link_cut)
((SEED % 2)) && ways=(link_cut site_kill9)

# An empty one.
last=$(status b .seq.durable)
dd if=/dev/urandom of="$(mnt a)/one" bs=1M count=24 conv=fsync status=none
leave
go_round "$last"
rm -rf "$WORK/b/replica"
"$BIN/tandemfs" format --join "$WORK/$VOLUME.desc" --config "$WORK/b/conf" >>"$WORK/b/log" 2>&1
come_back
${ways[0]} a
is_refused "is empty, and has nothing of the volume \(seq 0\).*Repeat with --yes"
step "an empty one, after ${ways[0]}: $OUT"
link_heal
site_alive a || site_start a
site_stop b
CONF_LIMITS=$LIMITS
site_config b
site_start b
site_wait_active a
site_wait_in_sync a 60

# One that was left behind.
wait_for 10 "both sites hold the same" is_level
sum=$(sha256sum <"$(mnt a)/one")
names=$(cd "$(mnt a)" && find . | sort)
last=$(status b .seq.durable)
leave
old=$(site_check b --data --digest | grep '^digest')
rm "$(mnt a)/one"
dd if=/dev/urandom of="$(mnt a)/two" bs=1M count=24 conv=fsync status=none
go_round "$last"
come_back
${ways[1]} a
is_refused "ends before what the other side has \(seq $last\).*Repeat with --yes"
order b promote $VOLUME --accept-data-loss --yes
site_wait_active b
expect_eq "the names" "$(cd "$(mnt b)" && find . | sort)" "$names"
expect_eq "the first file" "$(sha256sum <"$(mnt b)/one")" "$sum"
site_kill9 b
expect_eq "the digest" "$(site_check b --data --digest | grep '^digest')" "$old"
step "one that was left behind, after ${ways[1]}: exactly its old state, $old"

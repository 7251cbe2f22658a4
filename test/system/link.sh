#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: peer
# budget: 260
# A bad link: it flaps; it is long (5 and 50 ms each way); what answers there says nothing, with and
# without TLS; strangers hold connections. Writes wait where they must, without an error, and all else
# answers.
. "$(dirname "$0")/../lib.sh"

fds_of() { find "/proc/${PID[$1]}/fd" -mindepth 1 2>/dev/null | wc -l; }
writes_go_on() { # at site a
	local from
	site_wait_in_sync a 30
	from=$(now_ns)
	wait_for 10 "writes go on $1" eval '[[ $(mix_acked '"$from"' "$(now_ns)") -gt 0 ]]'
}

sites_up
mkfifo "$WORK/silence"
exec 9<>"$WORK/silence"
"$TOOLS/probe" prepare "$(mnt a)/probe"
site_stop a
site_start a # what the probe asks for is in no cache of the kernel
site_wait_active a
mix_start a

# --- somebody at the peer's address who never says a word ---
for how in tcp tls; do
	pause_ms 500
	site_kill9 b
	if [[ $how = tcp ]]; then
		in_site_bg b "$TOOLS/mute" listen "$(address b)"
	else # the right certificate, and then nothing
		BG_IN=$WORK/silence in_site_bg b openssl s_server -accept "$(address b)" \
			-cert "$WORK/pki/site-b.pem" -key "$WORK/pki/site-b.key" \
			-CAfile "$WORK/pki/ca.pem" -Verify 2
	fi
	mute=$BG
	pause_ms 400
	from=$(now_ns)
	lines=$(wc -l <"$WORK/a/log")
	fds=$(fds_of a)
	for ((i = 0; i < 5; i++)); do
		pause_ms 1200
		probe a
	done
	pid_alive $mute || fail "what listens for site b has ended: $(cat "$WORK/bg-b.out")"
	expect_eq "acknowledged while the peer says nothing" "$(mix_acked "$from" "$(now_ns)")" 0
	[[ $(fds_of a) -le $((fds + 8)) ]] || fail "descriptors pile up: $fds, now $(fds_of a)"
	expect_match "what is said of it ($how)" "$(tail -n +$((lines + 1)) "$WORK/a/log")" \
		"did not finish the handshake within"
	[[ $how = tcp ]] || expect_match "what openssl says" "$(tr -d '\0' <"$WORK/bg-b.out")" "CIPHER is TLS_"
	! is_mounted b || fail "site b has mounted"
	kill -9 $mute
	wait $mute 2>/dev/null || true
	site_start b
	writes_go_on "after a mute peer ($how)"
	step "a peer that accepts ($how) and says nothing: writes waited, the mount answered"
done

# --- strangers who dial and say nothing: as many as are listened to beside the peers ---
strangers=()
for s in a b; do
	in_site_bg $s "$TOOLS/mute" dial "$(address $s)" 12
	strangers+=("$BG")
done
pause_ms 2000
writes_go_on "beside strangers"
site_kill9 b
site_start b
writes_go_on "after a start beside strangers"
[[ $(fds_of a) -le $((fds + 48)) ]] || fail "strangers hold $(fds_of a) descriptors"
kill "${strangers[@]}"
wait "${strangers[@]}" 2>/dev/null || true
step "12 silent strangers at each site: the peer came through beside them"

# --- flapping ---
# A cut that lasts longer than the time-out breaks the connection, a shorter one holds it up.
gone() { cat "$WORK"/[ab]/log | grep -cE "connection to .* is gone|has been silent for" || true; }
seconds=60 flaps=0 before=$(gone)
end=$(($(now_ns) + seconds * 1000000000))
begin=$(now_ns)
while [[ $(now_ns) -lt $end || $(($(gone) - before)) -lt 4 && $flaps -lt 200 ]]; do # what breaks is left to chance
	link_cut "$([[ $((RANDOM % 2)) = 0 ]] && echo a || echo b)"
	pause_ms "$(random_ms 0 $((RANDOM % 3 ? 700 : 3500)))"
	link_heal
	pause_ms "$(random_ms 0 900)"
	flaps=$((flaps + 1))
done
has_role a active || fail "site a is $(role a) after the link flapped"
! is_mounted b || fail "site b has mounted"
count=$(mix_acked "$begin" "$(now_ns)")
writes_go_on "after the link flapped"
mix_stop # nothing has failed
mix_verify a
broken=$(($(gone) - before))
[[ $broken -ge 4 ]] || fail "the link flapped $flaps times, and only $broken ends of connections broke"
step "the link flapped $flaps times in $seconds s, $broken ends of connections broke; $count operations meanwhile, no error"

# --- distance: each reaches the other through a relay on its own side ---
relays=()
relays_start() { # ms each way
	local s
	for s in a b; do
		in_site_bg $s "$BUILD/bench/relay" --listen "${REACH[$s]}" --to "$(address "$(other $s)")" \
			--delay-us $(($1 * 1000))
		relays+=("$BG")
		wait_for 5 "the relay of site $s listens" grep -q listening "$WORK/bg-$s.out"
	done
}
relays_end() { # with all that is under way in them
	kill "${relays[@]}"
	wait "${relays[@]}" 2>/dev/null || true
	relays=()
}

active=a
REACH=([a]=10.77.0.1:7500 [b]=10.77.0.2:7500)
for ms in 5 50; do
	sites_stop_and_compare
	[[ ${#relays[@]} = 0 ]] || relays_end
	relays_start $ms
	for s in a b; do
		site_config $s
		site_start $s
	done
	site_wait_active $active
	site_wait_in_sync $active 60
	mix_start $active
	from=$(now_ns)
	pause_ms 3000
	count=$(mix_acked "$from" "$(now_ns)")
	[[ $count -gt 0 ]] || fail "nothing is acknowledged at a distance of $ms ms"
	rtt=$(status $active '.peers[0].rtt_us | floor')
	[[ $rtt -ge $((2 * ms * 1000)) ]] || fail "over $ms ms each way the round trip is said to be $rtt us"

	standby=$(other $active)
	relays_end
	site_kill9 $active
	mix_wait 3
	order $standby deactivate clusterdomain "$(domain $active)" --yes
	site_wait_active $standby
	mix_verify $standby
	relays_start $ms
	mix_start $standby
	pause_ms 1000
	site_start $active
	site_wait_role $active standby
	wait_for 20 "site $active knows its place" \
		eval '[[ $(status '$active' ".peers[0].connected") = true ]]'
	order $standby activate clusterdomain "$(domain $active)"
	site_wait_in_sync $standby 60
	mix_stop
	mix_verify $standby
	step "$ms ms each way: $count operations in 3 s, round trip $rtt us; failover verified; caught up"
	active=$standby
done
sites_stop_and_compare

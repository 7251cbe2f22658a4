#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: failover
# budget: 180
# A site that starts behind a cut link does not mount until the peer or a person confirms it: after an
# order or a kill, with its peer in sync, left out, or promoted meanwhile; nor beside one that accepts and is mute.
. "$(dirname "$0")/../lib.sh"

confirming() { # site: it waits, however long, and says for what
	site_wait_role "$1" confirming
	pause_ms 3000
	has_role "$1" confirming || fail "site $1 is $(role "$1") without confirmation"
	! is_mounted a && ! is_mounted b || fail "mounted without confirmation"
	expect_match "what site $1 says" "$(ctl "$1" status) $(site_log "$1")" "confirm|promote"
}
asks() { # site: the word of a person is asked for
	expect_fail ctl "$1" promote $VOLUME
	expect_match "promote without a terminal asks" "$OUT" "yes"
	! is_mounted "$1" || fail "mounted before the yes"
}

sites_up
echo one >"$(mnt a)/file"
for how in peer person kill; do
	if [[ $how = kill ]]; then
		link_cut b
		site_kill9 a b
	else
		site_stop a
		site_stop b
		link_cut b
	fi
	site_start a
	site_start b
	confirming a
	if [[ $how != person ]]; then
		link_heal
	else
		asks a
		order a promote $VOLUME --yes
		site_wait_active a
		expect_eq "what it serves" "$(cat "$(mnt a)/file")" one
		expect_eq "the in-sync set after that word" "$(status a '.in_sync[]')" site-a
		echo two >"$(mnt a)/file-2"
		link_heal # the other one catches up with what it missed
	fi
	site_wait_active a
	site_wait_in_sync a
	step "confirmed by the peer or a person: $how"
done
expect_eq "the file" "$(cat "$(mnt a)/file-2")" two

# Somebody at the peer's address who accepts and never answers confirms nothing: before the handshake of TLS, or behind it.
mkfifo "$WORK/silence"
exec 9<>"$WORK/silence"
for how in tcp tls; do
	site_kill9 a b
	if [[ $how = tcp ]]; then
		in_site_bg b "$TOOLS/mute" listen "$(address b)"
	else
		BG_IN=$WORK/silence in_site_bg b openssl s_server -accept "$(address b)" -cert "$WORK/pki/site-b.pem" \
			-key "$WORK/pki/site-b.key" -CAfile "$WORK/pki/ca.pem" -Verify 2
	fi
	mute=$BG
	lines=$(wc -l <"$WORK/a/log")
	pause_ms 300
	site_start a
	confirming a
	pid_alive $mute || fail "what listens for site b has ended: $(cat "$WORK/bg-b.out")"
	wait_for 20 "site a says what it met ($how)" eval \
		'grep -q "did not finish the handshake within" <(tail -n +$((lines + 1)) "$WORK/a/log")'
	[[ $how = tcp ]] || expect_match "what openssl says" "$(tr -d '\0' <"$WORK/bg-b.out")" "CIPHER is TLS_"
	asks a
	kill -9 $mute
	wait $mute 2>/dev/null || true
	site_start b
	site_wait_active a
	site_wait_in_sync a
	step "a peer that accepts ($how) and never answers confirmed nothing"
done

# The record names it alone: it may have been overtaken nevertheless, by a word typed at the other site.
order a deactivate clusterdomain site-b --yes
wait_for 10 "site b knows" eval '[[ $(status b ".inactive[]") = site-b ]]'
echo three >"$(mnt a)/file-3"
link_cut a
site_kill9 a
site_start a
confirming a
asks a
link_heal # the other one holds the same record: nobody can have been promoted
site_wait_active a
expect_eq "the third file" "$(cat "$(mnt a)/file-3")" three
order a activate clusterdomain site-b
site_wait_in_sync a
step "alone in the record, it was confirmed by the one that it had left out"

# The other one was promoted while it was dead: it shows nothing of the past, and becomes a standby.
site_kill9 a
link_cut a
order b deactivate clusterdomain site-a --yes
site_wait_active b
echo four >"$(mnt b)/file-4"
site_start a
site_wait_role a confirming
asks a
pause_ms 3000
has_role a confirming && ! is_mounted a || fail "site a is $(role a), overtaken"
link_heal
site_wait_role a standby
wait_for 10 "site a learns that it is inactive" eval '[[ $(status a ".inactive[]") = site-a ]]'
! is_mounted a || fail "site a has mounted"
order b activate clusterdomain site-a
site_wait_in_sync b
step "overtaken, it never served"

# A standby that starts behind a cut link has nothing to be confirmed.
link_cut a
site_kill9 a
site_start a
site_wait_role a standby
pause_ms 2500
has_role a standby && ! is_mounted a || fail "the standby is $(role a)"
link_heal
site_wait_in_sync b
sites_stop_and_compare

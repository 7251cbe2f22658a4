#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: switch
# budget: 420
# long: 300
# Both sites go on alone during a cut: a fork, which both report. At a person's word the one gives up what it
# wrote, after a list of exactly that, keeps it aside, and comes back with the other's content, whoever is
# killed meanwhile. The same for a side that a forced promotion left out.
. "$(dirname "$0")/../lib.sh"

CONF_JOURNAL="size = 32M"
CONF_LIMITS="checkpoint_entries = 2000"

# Both sites are active, each for itself; then the link heals.
fork_begin() { # active site
	local s
	s=$(other "$1")
	link_cut a
	wait_for 20 "site $s misses its peer" eval '[[ $(status '"$s"' ".peers[0].connected") = false ]]'
	order "$s" deactivate clusterdomain "$(domain "$1")" --yes
	order "$1" deactivate clusterdomain "$(domain "$s")" --yes
	site_wait_active "$s"
	site_wait_active "$1"
}
is_fork() { [[ $(peer_state a) = fork && $(peer_state b) = fork ]]; }
fork_end() {
	link_heal
	wait_for 20 "both sites see the fork" is_fork
}

asides() { find "$(replica_of "$1")" -maxdepth 1 -name 'fork-*' | sort; }
# What was given up is a replica that can be looked at.
aside_conf() { # site, directory
	sed "s|^directory = .*|directory = $2|; s|^mount = .*|mount = $WORK/aside-mnt|" "$WORK/$1/conf" >"$WORK/aside-conf"
}
aside_check() { # site
	local dir
	dir=$(asides "$1")
	[[ $(wc -l <<<"$dir") = 1 && -d $dir ]] || fail "kept aside by site $1: '$dir'"
	aside_conf "$1" "$dir"
	"$BIN/tandemfs" check --config "$WORK/aside-conf" --data >"$WORK/aside.out" 2>&1 ||
		fail "what site $1 kept aside is not clean: $(cat "$WORK/aside.out")"
}
preview() { ctl "$1" resync $VOLUME --from "$(domain "$(other "$1")")" --preview -o json; }
previewed() { jq -r '.files[] | "\(.what) \(.path) \(.bytes)"' <<<"$1"; }
state() { status "$1" '"\(.role) \(.mounted) \(.record_version) \(.seq.committed) \(.in_sync) \(.inactive)"'; }
digest_of() { (cd "$(mnt "$1")/own" && find . -type f -print0 | sort -z | xargs -0 md5sum); }

sites_up
m=$(mnt a)
mkdir "$m/dir" "$m/own"
dd if=/dev/urandom of="$m/dir/old" bs=4k count=16 status=none
for f in gone moved mode replaced same; do echo $f >"$m/dir/$f"; done
fork_begin a

# Site a will be the loser.
echo hello >"$m/dir/new"
mkdir -p "$m/sub/deeper"
dd if=/dev/urandom of="$m/sub/deeper/big" bs=1M count=3 conv=fsync status=none
dd if=/dev/urandom of="$m/dir/old" bs=4k seek=3 count=2 conv=notrunc status=none
rm "$m/dir/gone"
mv "$m/dir/moved" "$m/dir/elsewhere"
chmod 600 "$m/dir/mode"
echo another >"$m/dir/tmp"
mv "$m/dir/tmp" "$m/dir/replaced"
echo short-lived >"$m/dir/tmp"
rm "$m/dir/tmp"
ln -s dir/old "$m/link"
text=$'\xc3\xa4'
touch "$m/dir/"$'odd \xff\n\\ name '"$text"
echo "$m" >"$m/own/a"
echo "of b" >"$(mnt b)/own/b"
echo "of b" >"$(mnt b)/dir/new"
fork_end

expect_match "status of site a" "$(ctl a status)" "tandemctl resync $VOLUME --from site-b --preview"
expect_match "status of site b" "$(ctl b status)" "tandemctl resync $VOLUME --from site-a --preview"
before=$(state a)/$(state b)
list=$(preview a)
expect_eq "the preview's list" "$(previewed "$list")" "renamed /dir/elsewhere 0
removed /dir/gone 0
attributes /dir/mode 0
new /dir/new 6
new /dir/odd \\xff\\x0a\\x5c name $text 0
changed /dir/old 8192
changed /dir/replaced 8
new /link 0
new /own/a $((${#m} + 1))
new /sub/ 0
new /sub/deeper/ 0
new /sub/deeper/big 3145728"
expect_eq "its counts" "$(jq -r '"\(.complete) \(.files_total) \(.bytes) \(.entries)"' <<<"$list")" \
	"true 12 $((6 + 8192 + 8 + ${#m} + 1 + 3145728)) $(($(status a .seq.committed) - $(jq .since <<<"$list")))"
expect_match "in words" "$(ctl a resync $VOLUME --from site-b --preview)" "removed .* /dir/gone"
expect_eq "the preview from site b" "$(previewed "$(preview b)")" "new /dir/new 5
new /own/b 5"
expect_fail ctl a resync $VOLUME --from site-b
expect_eq "status without a yes" "$STATUS" 3
expect_match "the question" "$OUT" "gives up its state"
expect_fail ctl b resync $VOLUME --from site-b --yes
expect_match "typed at the winner" "$OUT" "at the side that is to give up"
expect_fail ctl a resync $VOLUME --from site-x --yes
expect_eq "states after all that" "$(state a)/$(state b)" "$before"
expect_eq "kept aside" "$(asides a)$(asides b)" ""
[[ -f $m/dir/new && ! -e $m/dir/gone ]] || fail "the mount of site a has changed"
step "both sides report the fork; the preview lists what is only there and changes nothing"

mix_start b
kept=$(digest_of b)
order a resync $VOLUME --from site-b --yes
expect_match "answer" "$(cat "$WORK/order.out")" "kept in '$(replica_of a)/fork-"
wait_for 20 "the mount of site a goes away" eval '! is_mounted a'
site_wait_in_sync b 60
mix_stop
mix_verify b
expect_eq "what site b had" "$(digest_of b)" "$kept"
aside_check a
expect_match "status of site a" "$(ctl a status)" "given up by resync.*: $(asides a)"
sites_stop_and_compare
sites_start_again() { # active site
	site_start a
	site_start b
	site_wait_active "$1"
	site_wait_in_sync "$1"
}

# Nothing of the loser is lost: its old state can be served, away from the others.
sed -i "s|^listen = .*|listen = 127.0.0.1:7499|; s|^address = .*|address = 127.0.0.1:1|" "$WORK/aside-conf"
mkdir "$WORK/aside-mnt" "$WORK/aside-run"
nsenter --net="/run/netns/$TAG-a" -- \
	"$BIN/tandemfs" run --config "$WORK/aside-conf" --run-dir "$WORK/aside-run" >"$WORK/aside-run.out" 2>&1 &
aside=$!
wait_for 20 "the old state is served" "$BIN/tandemctl" --run-dir "$WORK/aside-run" promote $VOLUME --yes
expect_eq "a file that only the loser had" "$(cat "$WORK/aside-mnt/dir/new")" hello
expect_eq "its own content" "$(cat "$WORK/aside-mnt/own/a")" "$m"
[[ ! -e $WORK/aside-mnt/own/b && ! -e $WORK/aside-mnt/dir/gone ]] || fail "the old state is not what it was"
kill -TERM $aside
wait $aside || fail "the daemon on the old state ended with status $?"
rm -rf "$(asides a)"
step "what was given up is kept whole, and can be served"

# The journal of the loser does not reach back to the common point.
sites_start_again b
fork_begin b
rm "$(mnt b)/dir/same"
dd if=/dev/urandom of="$(mnt b)/filler" bs=1M count=8 conv=fsync status=none
overwrite() { dd if=/dev/urandom of="$(mnt b)/filler" bs=16k count=512 conv=notrunc,fsync oflag=direct status=none; }
wait_for 60 "the ring has gone round" \
	eval 'overwrite && [[ $(status b .journal.first_seq) -gt $(($(status a .seq.committed) + 10)) ]]'
fork_end
list=$(preview b)
expect_eq "a preview beyond the journal" "$(jq -r '"\(.complete) \(.files | length)"' <<<"$list") $(previewed "$list")" \
	"false 1 changed /filler 8388608"
expect_match "and what it says of that" "$(jq -r .text <<<"$list")" "reaches back to seq .* removed"
order b resync $VOLUME --from site-a --yes
site_wait_in_sync a 60
aside_check b
rm -rf "$(asides b)"
[[ -f $(mnt a)/dir/same ]] || fail "the file that the loser removed is not back"
step "beyond the journal: what is known is listed, and it comes back"

# Left out by force: no fork by two persons, but what site a acknowledged alone is not to be dropped unasked.
order a deactivate clusterdomain site-b --yes
wait_for 10 "site b knows" eval '[[ $(status b ".inactive[]") = site-b ]]'
echo alone >"$(mnt a)/alone"
mkdir "$(mnt a)/alone-dir"
echo alone too >"$(mnt a)/alone-dir/file"
site_kill9 a # the last of it is in its journal and nowhere else, and nothing says that it is committed
order b promote $VOLUME --accept-data-loss --yes
site_wait_active b
echo after >"$(mnt b)/after"
site_start a
wait_for 20 "both sites see the fork" is_fork
expect_eq "what the side that was left out has alone" "$(previewed "$(preview a)")" $'new /alone 6\nnew /alone-dir/ 0\nnew /alone-dir/file 10'
order a resync $VOLUME --from site-b --yes
site_wait_in_sync b 60
aside_check a
rm -rf "$(asides a)"
[[ ! -e $(mnt b)/alone && ! -e $(mnt b)/alone-dir && $(cat "$(mnt b)/after") = after ]] || fail "site b is not as it was"
step "left out by force: it comes back the same way"

# Killed in the middle, of pulling too: no journal reaches back to the beginning.
wait_for 60 "no journal reaches back to the beginning" eval '
	[[ $(status a .journal.first_seq) -gt 1 && $(status b .journal.first_seq) -gt 1 ]] ||
	{ dd if=/dev/urandom of="$(mnt b)/filler" bs=4k count=1000 conv=notrunc oflag=direct status=none; false; }'
gave_up() { [[ -n $(asides "$1") && $(peer_state "$1") != fork ]]; }
# A person who looks at the status and types what it says until it is done.
mend() { # loser winner
	local loser=$1 winner=$2
	[[ $(role "$winner") != confirming || $(peer_state "$winner") != fork ]] ||
		ctl "$winner" promote $VOLUME --yes >/dev/null 2>&1 || true
	[[ $(peer_state "$loser") != fork ]] ||
		ctl "$loser" resync $VOLUME --from "$(domain "$winner")" --yes >>"$WORK/mend.out" 2>&1 || true
	gave_up "$loser" && [[ $(status "$winner" '"\(.in_sync|length) \(.peers[0].state)"') = "2 in-sync" ]]
}

# What both had before the fork is copied from what was given up, not sent again.
dd if=/dev/urandom of="$(mnt b)/common" bs=1M count=64 conv=fsync status=none
fork_begin b
dd if=/dev/urandom of="$(mnt a)/alone" bs=1M count=4 conv=fsync status=none
fork_end
order a resync $VOLUME --from site-b --yes
site_wait_in_sync b 60
aside_check a
rm -rf "$(asides a)"
copied=$(site_log a | sed -n 's/.* \([0-9]*\) MiB were copied from what was given up here$/\1/p' | tail -n 1)
[[ ${copied:-0} -ge 64 ]] || fail "${copied:-0} MiB came from the old state"
sent=$(status b '.peers[0].pull.bytes_sent')
[[ $sent -lt $((16 << 20)) ]] || fail "$sent bytes were sent, although 64 MiB were there before the fork"
step "after a fork $((sent >> 10)) KiB were sent, and $copied MiB copied from the old state"

active=b
for ((round = 1; round <= (ROUNDS + 3) / 4; round++)); do
	fork_begin $active
	load_start "lost$round" run $active
	load_start "kept$round" run "$(other $active)"
	pause_ms "$(random_ms 300 1500)"
	((RANDOM % 2)) && loser=$active || loser=$(other $active)
	winner=$(other $loser)
	[[ $winner = "$active" ]] && kept=lost$round || kept=kept$round
	[[ $loser = "$active" ]] && lost=lost$round || lost=kept$round
	load_stop "$kept"
	load_stop "$lost"
	fork_end
	ctl $loser resync $VOLUME --from "$(domain $winner)" --yes >>"$WORK/mend.out" 2>&1 &
	typing=$!
	for ((kill = 1 + RANDOM % 3; kill > 0; kill--)); do
		pause_ms "$(random_ms 0 700)"
		((RANDOM % 3)) && victim=$loser || victim=$winner
		[[ $kill != 1 || $victim = "$loser" ]] || ! ((RANDOM % 2)) || site_kill9 $loser $winner
		! site_alive $victim || site_kill9 $victim
		site_alive $loser || { ((RANDOM % 3)) || flushed_is_committed; site_start $loser; }
		site_alive $winner || site_start $winner
	done
	wait $typing || true
	wait_for 90 "site $loser comes back" mend $loser $winner
	load_verify "$kept" run $winner
	aside_check $loser
	rm -rf "$(asides $loser)"
	active=$winner
	step "round $round: site $loser gave up, killed in the middle; site $winner kept everything"
done
sites_stop_and_compare
pulled=$(cat "$WORK/a/log" "$WORK/b/log" | grep -c "everything was pulled") || true
[[ $pulled -gt 0 ]] || fail "nobody who gave up had to pull"
made $((round - 1)) rounds

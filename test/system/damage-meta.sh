#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: damage
# budget: 200
# Blocks of RocksDB's files go bad under a daemon that runs, on the active, on the standby, and on an active that is
# alone: never a wrong answer, nothing acknowledged from there any more, status says what is wrong and what to do; the
# other side takes over whole, and the replica is brought back as the message says. Nobody pulls what is damaged.
. "$(dirname "$0")/../lib.sh"

LINKS=160
CONF_JOURNAL="size = 32M"
sites_up 256M
# What symbolic links lead to lies in RocksDB's files, about four of them in a block.
mapfile -t targets < <(for ((i = 0; i < LINKS; i++)); do head -c 680 /dev/urandom | base64 -w 0; echo; done)
mkdir "$(mnt a)/d"
for part in 0 1 2 3; do
	for ((i = part; i < LINKS; i += 4)); do ln -s "${targets[i]}" "$(mnt a)/d/$i"; done &
	makers[part]=$!
done
for part in 0 1 2 3; do wait "${makers[part]}"; done
load_start tree run a
pause_ms 1500
load_stop tree
wait_for 10 "both sites hold the same" is_level
site_stop a # a checkpoint: all of it is in RocksDB's files
site_stop b
sites_start

# A byte in about each block of each of RocksDB's files, but for the index and the filter at its end, which are read already.
spoil_meta() { # site
	local file size at n=0
	for file in "$(replica_of "$1")"/meta/*.sst; do
		size=$(stat -c %s "$file")
		for ((at = 300; at < size * 2 / 3; at += 2500, n++)); do
			"$TOOLS/spoil" flip "$file" $at
		done
	done
	[[ $n -ge 5 ]] || fail "only $n blocks could be damaged"
	step "site $1: $n blocks of RocksDB's files are damaged"
}
# Reads all links once, in some order: each is right or an error. Status 0: none was an error.
read_all() { # site
	local i text errors=0
	for i in $(shuf -i 0-$((LINKS - 1))); do
		if text=$(readlink "$(mnt "$1")/d/$i" 2>/dev/null); then
			[[ $text = "${targets[i]}" ]] || fail "site $1: link $i leads to '$text'"
		else
			errors=$((errors + 1))
			is_mounted "$1" || break
		fi
	done
	((errors == 0))
}
is_damaged() { # site
	[[ $(status "$1" .trouble) = *"metadata of this replica is damaged"* ]] && ! is_mounted "$1"
}
says_what_to_do() { # site
	local what
	what="By its record $(domain "$(other "$1")") has everything.*deactivate clusterdomain $(domain "$1")'.*format --join"
	expect_match "trouble of site $1" "$(status "$1" .trouble)" "$what"
	expect_match "status of site $1" "$(ctl "$1" status)" "cannot recover in $(domain "$1").*not mounted"
	expect_match "status of site $1" "$(ctl "$1" status | tr -s ' \n' ' ')" "$what"
	expect_match "log of site $1" "$(site_log "$1")" "metadata store: .*Corruption"
	expect_fail ctl "$1" promote $VOLUME --yes --accept-data-loss
	expect_match "promote of site $1" "$OUT" "damaged"
}
# As the message says; the other side serves.
bring_back() { # site
	local replica
	replica=$(replica_of "$1")
	mv "$replica" "$replica.damaged"
	"$BIN/tandemfs" format --join "$replica.damaged/volume" --config "$WORK/$1/conf" >/dev/null
	wait_for 5 "the daemon on the directory that was moved away ends" eval "! site_alive $1"
	site_end "$1"
	site_start "$1"
	wait_for 20 "site $1 is connected" eval "[[ \$(status $(other "$1") .peers[0].connected) = true ]]"
	order "$(other "$1")" activate clusterdomain "$(domain "$1")"
	site_wait_in_sync "$(other "$1")" 40
	rm -rf "$replica.damaged"
}

# The active.
load_start more run a
spoil_meta a
! read_all a || fail "no damaged block was met"
wait_for 20 "site a says that its metadata is damaged" is_damaged a
load_wait more 3
says_what_to_do a
expect_match "next command on site b" "$(status b .next)" "deactivate clusterdomain site-a"
site_stop a # it stays only to say so, ends in order, and says so again
site_start a
wait_for 20 "site a says that its metadata is damaged" is_damaged a
order b deactivate clusterdomain site-a --yes
site_wait_active b
read_all b || fail "site b does not have everything"
load_verify tree run b
load_verify more run b
bring_back a
step "the active: noticed, taken over whole, brought back"

# The standby: what it does not hold any more is not acknowledged. After a new start nothing is cached.
wait_for 10 "both sites hold the same" is_level
site_stop a
site_start a
site_wait_in_sync b
spoil_meta a
for ((i = 0; i < LINKS; i++)); do touch -h -d @1 "$(mnt b)/d/$i" || exit 1; done &
writer=$!
wait_for 20 "site a says that its metadata is damaged" is_damaged a
says_what_to_do a
wait_for 10 "site b misses its peer" eval '[[ $(status b .peers[0].connected) = false ]]'
expect_match "next command on site b" "$(status b .next)" "deactivate clusterdomain site-a"
: >"$(mnt b)/afterwards" &
waiting=$!
pause_ms 500
pid_alive $waiting || fail "acknowledged without the standby"
read_all b || fail "site b does not have everything"
order b deactivate clusterdomain site-a --yes
wait $writer || fail "the changes that waited failed"
wait $waiting || fail "the write that waited failed"
bring_back a
read_all b || fail "site b does not have everything"
step "the standby: noticed, left out, brought back"
sites_stop_and_compare

# An active that is alone goes on with what can be read, and says that nobody else has it.
site_start a
site_start b
site_wait_active b
site_wait_in_sync b
order b deactivate clusterdomain site-a --yes
wait_for 10 "site a knows" eval '[[ $(status a ".inactive[]") = site-a ]]'
echo alone >"$(mnt b)/d/alone"
last=$(status a .seq.durable)
overwrite() {
	dd if=/dev/urandom of="$(mnt b)/over" bs=32k count=300 conv=notrunc oflag=direct status=none
	"$TOOLS/say" "$WORK/b/run/$VOLUME.sock" checkpoint >/dev/null
	false
}
wait_for 60 "site a can come back by pulling only" eval '[[ $(status b .journal.first_seq) -gt $((last + 1)) ]] || overwrite'
"$TOOLS/say" "$WORK/b/run/$VOLUME.sock" checkpoint >/dev/null
site_stop a
old=$(site_check a --data --digest | grep '^digest ')
site_start a
wait_for 20 "site a knows" eval '[[ $(status a ".inactive[]") = site-a ]]'
pause_ms 500
site_stop b
site_start b
wait_for 20 "site b is connected" eval '[[ $(status b .peers[0].connected) = true ]]'
site_wait_active b
# In what a link leads to: random text, which LZ4 leaves as it is.
for text in "${targets[@]:LINKS/2:20}"; do
	text=${text:300:20}
	large=$(grep -laF -- "$text" "$(replica_of b)"/meta/*.sst | tail -n 1) || continue
	break
done
[[ -n $large ]] || fail "no link is found in RocksDB's files"
at=$(grep -aboF -- "$text" "$large" | head -n 1 | cut -d: -f1)
"$TOOLS/spoil" flip "$large" "$at"
! read_all b || fail "no damaged block was met"
what="metadata of this replica is damaged.*this replica alone has everything that was acknowledged: site-a is outdated or inactive.*promote $VOLUME --accept-data-loss"
wait_for 20 "site b says that its metadata is damaged" eval '[[ $(status b .trouble) = *"metadata of this replica is damaged"* ]]'
expect_match "trouble of site b" "$(status b .trouble)" "$what"
expect_fail ctl a promote $VOLUME --yes
step "alone: $(status b '"\(.role), mounted \(.mounted)"'); site a says: $OUT"

# It goes on with what can be read, although RocksDB would compact what it has by now, and meet the damaged block.
site_wait_active b
born=$(born_at b)
for ((i = 0; i < 8; i++)); do
	echo $i >"$(mnt b)/d/small"
	"$TOOLS/say" "$WORK/b/run/$VOLUME.sock" checkpoint >/dev/null
	flushed() { [[ $(status b '"\(.seq.flushed) \(.seq.durable)"' | awk '{ print ($1 >= $2 - 1) }') = 1 ]]; }
	wait_for 10 "a checkpoint of site b" flushed
done
pause_ms 2000
again=$(born_at b)
((again - born < 2)) || fail "site b began anew, $((again - born)) s later"
expect_eq "what was written then" "$(cat "$(mnt b)/d/small")" 7
step "alone and damaged it goes on"

# What is damaged is not pulled over the good old state of the other side.
broken_off() { grep "pulling by site-a is broken off: metadata store: .*Corruption" <(site_log b | tail -n +"$((lines + 1))"); }
site_wait_active b
wait_for 20 "site b is connected" eval '[[ $(status b .peers[0].connected) = true ]]'
lines=$(site_log b | wc -l)
order b activate clusterdomain site-a
wait_for 20 "pulling is refused for the damage" broken_off
expect_fail ctl a promote $VOLUME --yes
site_stop a
step "site b says: $(broken_off | tail -n 1)"
wait_for 20 "site b says what is damaged, alone in the set" eval '
	[[ $(status b "\"\\(.in_sync) \\(.trouble)\"") = "[\"site-b\"] the metadata of this replica is damaged"* ]]'
expect_eq "the old state of site a" "$(site_check a --data --digest | grep '^digest ')" "$old"
step "nothing was pulled from it: $old"
site_end b
expect_fail "$BIN/tandemfs" check --config "$WORK/b/conf"
expect_match "check of site b" "$OUT" "this replica alone has everything"

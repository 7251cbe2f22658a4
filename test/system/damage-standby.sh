#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: damage
# budget: 180
# Files of the standby's replica, with a byte flipped, cut, emptied or gone, while the active serves: the standby refuses
# to start, says which file it is, who has everything and what to do, and changes nothing; a write on the active waits
# for all that time without an error; the replica is brought back in just that way. An active that is alone says that
# nobody else has what it has, and that taking over on the other side would lose it.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../refused.sh"

CONF_JOURNAL="size = 32M"
sites_up 256M
for i in {1..20}; do echo "first $i" >"$(mnt a)/first-$i"; done
wait_for 10 "both sites hold the same" is_level
site_stop a # a checkpoint: these are in RocksDB's files
site_stop b
sites_start
for i in {1..20}; do echo "second $i" >"$(mnt a)/second-$i"; done
wait_for 10 "both sites hold the same" is_level
pause_ms 500 # the commit index is in the ring, by an empty batch
site_kill9 b
refused_begin b
wait_for 10 "site a misses its peer" eval '[[ $(status a .peers[0].connected) = false ]]'
echo waited >"$(mnt a)/waits" &
writer=$!

holds() { # a name that the journal of the victim holds: the file of it
	(cd "$replica/ring" && grep -laF "$1" -- * | head -n 1)
}
flip_entry() { # name: a byte of its entry in the journal
	local file
	file=$(holds "$1")
	[[ -n $file ]] || fail "the journal does not hold $1"
	flip "ring/$file" "$(grep -aobF "$1" "$replica/ring/$file" | head -n 1 | cut -d: -f1)"
}
still_waits() { pid_alive $writer || fail "the write on the active did not wait"; }
whole="By its record site-a has everything that was acknowledged.*$back"

there() { [[ $1 != facts ]] || cp "$WORK/a/replica/facts" "$replica/facts"; } # a standby may have none
for file in record facts; do
	there $file
	middle=$(($(size_of $file) / 2))
	for at in 0 $middle -1; do
		there $file
		flip $file "$at"
		refused "a flipped byte in $file at $at" "replica/$file' is damaged" "$back"
	done
	there $file
	truncate -s $middle "$replica/$file"
	refused "half of $file" "replica/$file' is damaged" "$back"
done
rm "$replica/record"
refused "no record" "replica/record': no such file" "ask the other side who has what.*$back"
there facts
flip facts 9
refused "damaged facts" "replica/facts' is damaged" "$whole"
flip volume 0
refused "a flipped byte in the descriptor" "replica/volume:1" "$copy"
: >"$replica/volume"
refused "an empty descriptor" "replica/volume" "$copy"
rm "$replica/volume"
refused "no descriptor" "replica/volume" "$copy"
still_waits
flip_entry second-10
refused "a flipped byte in a committed entry" "the batch with seq [0-9]+ is damaged, but .* committed" "$whole"
last=$(holds second-10)
truncate -s 4096 "$replica/ring/$last"
refused "a cut journal segment" "ring': segment [0-9]+ has a size of 4096 bytes" "$whole"
rm "$replica/ring/$last"
refused "a missing journal segment" "ring': cannot open segment [0-9]+" "$whole"
rm -rf "$replica/ring"
refused "no journal" "replica/ring'" "$whole"
for file in $(cd "$replica" && { find meta -name '*.sst' | sort | tail -n 1; find meta -name 'MANIFEST*' -o -name CURRENT; }); do
	truncate -s $(($(size_of "$file") / 2)) "$replica/$file"
	refused "half of $file" "replica/meta'" "$whole"
	rm "$replica/$file"
	refused "no $file" "replica/meta'" "$whole"
done
rm -rf "$replica/meta"
refused "no metadata" "replica/meta'" "$whole"
mv "$replica/data" "$WORK/data.kept"
refused "no data" "replica/data'" "$whole"
mv "$WORK/data.kept" "$replica/data"
still_waits
site_start b
site_wait_in_sync a
wait $writer || fail "the write that waited failed"
step "restored: in sync, and the write that waited has ended"

# Brought back as the message says.
pause_ms 500
site_kill9 b
flip_entry second-11
expect_fail in_site b timeout 20 "$BIN/tandemfs" run --config "$WORK/b/conf" --run-dir "$WORK/b/run"
expect_match "run" "$OUT" "$whole"
order a deactivate clusterdomain site-b --yes
mv "$replica" "$replica.damaged"
"$BIN/tandemfs" format --join "$replica.damaged/volume" --config "$WORK/b/conf" >/dev/null
site_start b
wait_for 20 "site b is connected" eval '[[ $(status a .peers[0].connected) = true ]]'
order a activate clusterdomain site-b
site_wait_in_sync a 40
rm -rf "$replica.damaged"
step "brought back from the active"

# An active that is alone: the standby was left out and lacks what was written since.
order a deactivate clusterdomain site-b --yes
wait_for 10 "site b knows" eval '[[ $(status b ".inactive[]") = site-b ]]'
for i in {1..20}; do echo "alone $i" >"$(mnt a)/alone-$i"; done
pause_ms 500
site_kill9 a
refused_begin a
alone="this replica alone has everything that was acknowledged: site-b is outdated or inactive.*Keep '$replica', and do"
alone+=" not take over on the other side.*promote $VOLUME --accept-data-loss"
flip_entry alone-10
refused "a flipped byte in an entry that nobody else has" "the batch with seq [0-9]+ is damaged" "$alone"
rm -rf "$replica/meta"
refused "no metadata, and nobody else has it" "replica/meta'" "$alone"
flip facts 5
refused "damaged facts, and nobody else has everything" "replica/facts' (is damaged|has version)" "$alone|newer build"
flip record -1
refused "a damaged record" "replica/record' is damaged" "ask the other side who has what.*outdated or inactive.*keep '$replica'"
expect_fail ctl b promote $VOLUME --yes
expect_match "promote of site b" "$OUT" "inactive: it lacks what was acknowledged without it"
site_start a
site_wait_active a
for i in {1..20}; do expect_eq "alone-$i" "$(cat "$(mnt a)/alone-$i")" "alone $i"; done
order a activate clusterdomain site-b
site_wait_in_sync a 40
sites_stop_and_compare

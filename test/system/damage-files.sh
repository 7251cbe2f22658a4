#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: damage
# budget: 240
# Every file of a replica, with a byte flipped, cut in half, emptied, gone, or another one's: the daemon
# either does not need it, or it refuses to start, says which file it is and what a person can do, and
# changes nothing. In the end the replica is brought back in just that way.
. "$(dirname "$0")/../lib.sh"

CONF_JOURNAL="size = 32M"
sites_up 256M
for i in {1..40}; do echo "first $i" >"$(mnt a)/first-$i"; done
head -c 1M /dev/urandom >"$WORK/data"
cp "$WORK/data" "$(mnt a)/data"
wait_for 10 "both sites hold the same" is_level
site_stop a # a checkpoint: these are in RocksDB's files
site_stop b
sites_start
for i in {1..40}; do echo "second $i" >"$(mnt a)/second-$i"; done
pause_ms 500 # the commit index is in the ring, by an empty batch
site_kill9 a b
. "$(dirname "$0")/../refused.sh"
refused_begin a
# Another volume's, for what is swapped: it was written to, once round its journal.
mkdir -p "$WORK/s/run" "$WORK/s/mnt"
sed "s|^directory = .*|directory = $WORK/stranger|; s|^mount = .*|mount = $WORK/s/mnt|" "$WORK/a/conf" >"$WORK/stranger.conf"
"$BIN/tandemfs" format --config "$WORK/stranger.conf" --size 256M --descriptor "$WORK/stranger.desc" >/dev/null 2>&1
in_site_bg a "$BIN/tandemfs" run --config "$WORK/stranger.conf" --run-dir "$WORK/s/run"
wait_for 10 "the stranger may serve" ctl s promote $VOLUME --yes
wait_for 10 "the stranger serves" mountpoint -q "$WORK/s/mnt"
dd if=/dev/urandom of="$WORK/s/mnt/data" bs=32k count=1200 oflag=direct status=none
kill -TERM "$BG"
wait "$BG" || fail "the stranger: $(tail -n 3 "$WORK/bg-a.out")"

harmless() { # what: check finds everything as it was
	OUT=$("$BIN/tandemfs" check --config "$WORK/a/conf" --data --digest 2>&1) || fail "$1: $OUT"
	expect_eq "digest with $1" "$(grep '^digest' <<<"$OUT")" "$sum_before"
	step "$1: of no consequence"
	restore
}
sum_before=$("$BIN/tandemfs" check --config "$WORK/a/conf" --data --digest | grep '^digest')

# The small files.
flip volume 0
refused "a flipped byte in the descriptor" "replica/volume:1" "$copy"
at=$(grep -bo '^uuid = ' "$replica/volume" | tail -n 1 | cut -d: -f1) # of a replica
flip volume $((at + 12))
refused "a flipped digit in the descriptor" "replica/volume' is damaged|replica/volume:[0-9]+" "$copy"
flip volume -2
refused "a flipped digit in the descriptor's checksum" "replica/volume' is damaged" "$copy"
sed -i '/^# checksum/d' "$replica/volume"
harmless "a descriptor of the time without a checksum"
truncate -s 200 "$replica/volume"
refused "half a descriptor" "replica/volume:[0-9]+" "$copy"
: >"$replica/volume"
refused "an empty descriptor" "replica/volume" "$copy"
rm "$replica/volume"
refused "no descriptor" "replica/volume" "$copy"
cp "$WORK/stranger/volume" "$replica/volume"
refused "another volume's descriptor" "holds an id that 'volume' does not list" "should be the id"
flip replica 3
refused "a flipped byte in the replica's id" "holds no replica id" "should be the id that 'volume' beside it has for domain 'site-a', [0-9a-f-]{36}"
rm "$replica/replica"
refused "no replica's id" "replica/replica' cannot be read" "should be the id"
cp "$WORK/b/replica/replica" "$replica/replica"
refused "the other site's id" "belongs to domain 'site-b', but .*a/conf says 'site-a'" "site-b"
for file in record facts; do
	for at in 0 5 9 $(($(size_of $file) / 2)) -1; do
		flip $file "$at"
		refused "a flipped byte in $file at $at" "replica/$file' (is damaged|has version)" "$back|newer build"
	done
	truncate -s $(($(size_of $file) / 2)) "$replica/$file"
	refused "half of $file" "replica/$file' is damaged" "$back"
	: >"$replica/$file"
	refused "an empty $file" "replica/$file' is damaged" "$back"
done
rm "$replica/record"
refused "no record" "replica/record': no such file" "$back"
cp "$WORK/stranger/record" "$replica/record"
expect_fail in_site a timeout 20 "$BIN/tandemfs" run --config "$WORK/a/conf" --run-dir "$WORK/a/run"
expect_match "another volume's record" "$OUT" "the record in '.*' is of another volume.*$back|$back"
expect_match "another volume's record" "$OUT" "is of another volume"
restore
# The same with a later version, whole: a build from the future wrote it.
"$TOOLS/spoil" version "$replica/record" 9
refused "a record of a newer build" "version 9, this build knows" "install a newer build"
rm "$replica/lock"
harmless "no lock file"

# RocksDB's.
for file in $(cd "$replica" && find meta -name '*.sst' -o -name 'MANIFEST*' -o -name CURRENT | sort); do
	flip "$file" $(($(size_of "$file") / 2))
	if [[ $file = *.sst ]]; then # the daemon may not need that block at its start
		expect_fail "$BIN/tandemfs" check --config "$WORK/a/conf"
		expect_eq "status of check with a flipped byte in $file" "$STATUS" 1
		expect_match "check with a flipped byte in $file" "$OUT" "metadata|$file"
		restore
	else
		refused "a flipped byte in $file" "replica/meta'" "$back"
	fi
	truncate -s $(($(size_of "$file") / 2)) "$replica/$file"
	refused "half of $file" "replica/meta'" "$back"
	rm "$replica/$file"
	refused "no $file" "replica/meta'" "$back"
done
rm -rf "$replica/meta"
refused "no metadata" "replica/meta'" "$back"
cp -a "$WORK/stranger/meta/." "$replica/meta.new"
rm -rf "$replica/meta"
mv "$replica/meta.new" "$replica/meta"
refused "another volume's metadata" "volume" "$back"
for file in $(cd "$replica" && find meta -name 'LOG*' -o -name IDENTITY -o -name 'OPTIONS*' -o -name LOCK | sort | head -n 4); do
	rm "$replica/$file"
	harmless "no $file"
done

# The journal's: what is committed is never cut away.
last=$(cd "$replica/ring" && grep -laF second-20 -- * | head -n 1)
[[ -n $last ]] || fail "the journal does not hold second-20"
flip "ring/$last" "$(grep -aobF second-20 "$replica/ring/$last" | head -n 1 | cut -d: -f1)"
refused "a flipped byte in a committed entry" "the batch with seq [0-9]+ is damaged, but .* committed" "$back"
truncate -s 4096 "$replica/ring/$last"
refused "a cut journal segment" "ring': segment [0-9]+ has a size of 4096 bytes" "$back"
rm "$replica/ring/$last"
refused "a missing journal segment" "ring': cannot open segment [0-9]+" "$back"
other=$(cd "$replica/ring" && printf '%s\n' * | grep -v "^$last\$" | head -n 1)
mv "$replica/ring/$last" "$replica/ring/t"
mv "$replica/ring/$other" "$replica/ring/$last"
mv "$replica/ring/t" "$replica/ring/$other"
if "$BIN/tandemfs" check --config "$WORK/a/conf" >/dev/null 2>&1; then
	harmless "two journal segments swapped" # the batches say themselves what they are
else
	refused "two journal segments swapped" "ring'" "$back"
fi
cp "$WORK/stranger/ring/$last" "$replica/ring/$last"
refused "another volume's journal segment" "ring': segment $((10#$last)) belongs to volume [0-9a-f-]{36}" "$back"
rm -rf "$replica/ring"
refused "no journal" "replica/ring'" "$back"

# The data's.
mv "$replica/data" "$WORK/data.kept"
refused "no data" "replica/data'" "$back"
mv "$WORK/data.kept" "$replica/data"

# A journal segment in place of which there is an empty one looks like writes that never came to the disk:
# the peer has them, and without the peer nothing is served. So nothing of all this was lost.
head -c "$(size_of "ring/$last")" /dev/zero | dd of="$replica/ring/$last" bs=1M conv=notrunc status=none
site_start a
pause_ms 1500
! is_mounted a || fail "mounted without confirmation"
site_start b
site_wait_active a
site_wait_in_sync a
for i in {1..40}; do
	expect_eq "first-$i" "$(cat "$(mnt a)/first-$i")" "first $i"
	expect_eq "second-$i" "$(cat "$(mnt a)/second-$i")" "second $i"
done
step "all is there"

# A damaged replica is brought back as the message says.
pause_ms 500
site_kill9 a
last=$(cd "$replica/ring" && grep -laF second-20 -- * | head -n 1)
flip "ring/$last" "$(grep -aobF second-20 "$replica/ring/$last" | head -n 1 | cut -d: -f1)"
expect_fail in_site a timeout 20 "$BIN/tandemfs" run --config "$WORK/a/conf" --run-dir "$WORK/a/run"
wait_for 10 "site b knows that its peer is gone" eval '[[ $(status b .peers[0].connected) = false ]]'
order b deactivate clusterdomain site-a --yes
site_wait_active b
mv "$replica" "$replica.damaged"
"$BIN/tandemfs" format --join "$replica.damaged/volume" --config "$WORK/a/conf" >/dev/null
site_start a
wait_for 20 "site a is connected" eval '[[ $(status b .peers[0].connected) = true ]]'
order b activate clusterdomain site-a
site_wait_in_sync b 40
for i in {1..40}; do expect_eq "second-$i" "$(cat "$(mnt b)/second-$i")" "second $i"; done
rm -rf "$replica.damaged"
step "brought back from the peer"
sites_stop_and_compare

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: damage
# budget: 200
# Sectors of a data segment that the disk cannot read any more, until they are written: the application gets
# its bytes from the peer and sees nothing, and the sectors are written. Without a good copy it is an error
# for those blocks alone. check names them; a peer that catches up is not sent what nobody has.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../disks.sh"
. "$(dirname "$0")/../blocks.sh"

CONF_JOURNAL="size = 32M"
CONF_LIMITS="checkpoint_entries = 2000"

forget() { dd if="$(mnt "$1")/$2" iflag=nocache count=0 status=none; } # the kernel's pages of a file
same() { # site, file
	forget "$1" "$2"
	cmp "$WORK/$2" "$(mnt "$1")/$2" || fail "site $1: $2 reads wrong"
}
is_count() { # site, damaged, repaired
	expect_eq "damaged and repaired on site $1" "$(status "$1" '"\(.counters.damaged) \(.counters.repaired)"')" "$2 $3"
}
block() { dd if="$(mnt "$1")/$2" bs=4k skip="$3" count=1 iflag=direct status=none 2>&1 | md5sum; } # site, file, block
error_of() { dd if="$(mnt "$1")/$2" of=/dev/null bs=4k skip="$3" count=1 iflag=direct 2>&1 || true; }
right_block() { dd if="$WORK/$1" bs=4k skip="$2" count=1 status=none | md5sum; } # file, block
is_healed() { # site
	expect_eq "sectors of site $1 that cannot be read" "$(bad_sectors "$1")" 0
}
leave_b() {
	order a deactivate clusterdomain site-b --yes
	wait_for 10 "the set is site a alone" eval '[[ $(in_sync_count a) = 1 ]]'
	site_stop b
}
return_b() {
	site_start b
	wait_for 10 "site b learns that it is inactive" eval '[[ $(status b ".inactive[]") = site-b ]]'
	order a activate clusterdomain site-b
}

one_world() { # filesystem of site a, of site b
	local i f last
	disks_new "$1" "$2"
	sites_format 512M
	sites_start
	step "both sites are up: a on ${DISK_FS[a]}, b on ${DISK_FS[b]}"
	head -c 8M /dev/urandom >"$WORK/large" # large writes: straight to their address
	head -c 80K /dev/urandom >"$WORK/small"
	cp "$WORK/large" "$(mnt a)/large"
	dd if="$WORK/small" of="$(mnt a)/small" bs=4k status=none # small writes: through the journal
	wait_for 10 "both sites hold the same" is_level
	"$TOOLS/say" "$WORK/a/run/$VOLUME.sock" checkpoint >/dev/null

	# Reading repairs, and once is enough; so do a partial write and a truncation.
	unreadable a large 0 3 5 600 601 1023 2047
	unreadable a small 7
	expect_eq "sectors of site a that cannot be read" "$(bad_sectors a)" 64
	same a large
	same a small
	is_count a 8 8
	is_healed a
	logged a "'large'.*offset 2457600, 2 blocks at epoch .*repaired from site-b"
	logged a "'small'.*offset 28672, 1 block at epoch .*repaired from site-b"
	same a large
	is_count a 8 8
	unreadable a large 100 1500
	for f in "$(mnt a)/large" "$WORK/large"; do
		printf 'new' | dd of="$f" bs=1 seek=$((100 * 4096 + 10)) conv=notrunc status=none
		truncate -s $((1500 * 4096 + 100)) "$f"
	done
	same a large
	is_count a 10 10
	step "read, partly written, truncated: repaired from the peer, and the sectors are good again"

	# A whole stretch, under several readers.
	mapfile -t all < <(seq 1024 1279)
	unreadable a large "${all[@]}"
	for i in 1 2 3 4; do
		dd if="$(mnt a)/large" bs=1M iflag=direct status=none | cmp - "$WORK/large" &
		readers[i]=$!
	done
	for i in 1 2 3 4; do
		wait "${readers[$i]}" || fail "reader $i read wrong"
	done
	is_count a 266 266
	is_healed a
	step "1 MiB of bad sectors under four readers"

	# check names them and changes nothing; the daemon then repairs them.
	wait_for 10 "both sites hold the same" is_level
	site_stop a
	unreadable a large 7 8 900
	expect_fail "$BIN/tandemfs" check --config "$WORK/a/conf" --data
	expect_eq "status of check" "$STATUS" 1
	expect_match "check" "$OUT" "problem: 'large' \(inode [0-9]+\) offset 28672: 2 blocks at epoch 1 block [0-9]+ cannot be read"
	expect_match "check" "$OUT" "problem: 'large' \(inode [0-9]+\) offset 3686400: 1 block at .* cannot be read"
	expect_match "check" "$OUT" "^3 problems"
	expect_eq "sectors of site a that cannot be read" "$(bad_sectors a)" 24
	site_start a
	site_wait_active a
	site_wait_in_sync a
	same a large
	is_count a 3 3
	is_healed a
	step "check names the files, reading repairs"

	# On the standby, which is then promoted and has the old active as its peer.
	unreadable b large 500 501
	order a demote $VOLUME
	wait_for 20 "the mount of site a goes away" eval '! is_mounted a'
	site_wait_role a standby
	wait_for 20 "site b is connected again" eval '[[ $(status b .peers[0].connected) = true ]]'
	order b promote $VOLUME
	site_wait_active b
	site_wait_in_sync b
	same b large
	is_count b 2 2
	is_healed b
	order b demote $VOLUME
	site_wait_role b standby
	wait_for 20 "site a is connected again" eval '[[ $(status a .peers[0].connected) = true ]]'
	order a promote $VOLUME
	site_wait_active a
	site_wait_in_sync a
	step "the old active repairs the new one"

	# No good copy: an error for those blocks and no others; overwritten, they are well.
	wait_for 10 "both sites hold the same" is_level
	site_kill9 b
	wait_for 10 "site a knows that its peer is gone" eval '[[ $(status a .peers[0].connected) = false ]]'
	unreadable a large 300 310
	forget a large
	expect_match "reading block 300" "$(error_of a large 300)" "input/output error"
	for i in 299 301 302 309 311 288 319 256; do
		expect_eq "block $i" "$(block a large $i)" "$(right_block large $i)"
	done
	logged a "'large'.*offset 1228800, 1 block at .*not repaired: no other replica is connected"
	site_start b
	site_wait_in_sync a
	same a large
	is_healed a
	step "no peer: an error for those blocks alone, repaired when it is back"

	# A peer that missed it catches up, from the ring and by pulling: refused until nobody needs the block.
	leave_b
	head -c 3M /dev/urandom >"$WORK/kept"
	cp "$WORK/kept" "$(mnt a)"
	unreadable a kept 3 300
	return_b
	wait_for 20 "site a says what is damaged" eval 'grep -q "site-b cannot catch up: data of seq" "$WORK/a/log"'
	logged a "'kept' \(inode [0-9]*, offset 12288, 1 block .*not repaired"
	pause_ms 500
	expect_eq "the set" "$(in_sync_count a)" 1
	is_serving a || fail "site a does not serve any more"
	head -c 3M /dev/urandom >"$WORK/kept"
	cp "$WORK/kept" "$(mnt a)/kept"
	site_wait_in_sync a 40
	step "catching up from the ring: not sent; in sync when the file was overwritten"
	leave_b
	head -c 2M /dev/urandom >"$WORK/pulled"
	cp "$WORK/pulled" "$(mnt a)"
	last=$(status a .seq.committed)
	dd if=/dev/urandom of="$(mnt a)/fill" bs=1M count=64 conv=fsync status=none
	wait_for 60 "the ring has gone round" eval '[[ $(status a .journal.first_seq) -gt $((last + 2)) ]] ||
		{ dd if=/dev/urandom of="$(mnt a)/over" bs=4k count=500 conv=fsync oflag=direct status=none; false; }'
	unreadable a pulled 100
	return_b
	wait_for 30 "site a says what is damaged" eval 'grep -q "site-b cannot pull 1 blocks at or behind epoch" "$WORK/a/log"'
	pause_ms 500
	expect_eq "the set" "$(in_sync_count a)" 1
	is_serving a || fail "site a does not serve any more"
	rm "$(mnt a)/pulled"
	site_wait_in_sync a 60
	step "pulling: not sent; in sync when the file was deleted"
	sites_stop_and_compare
	disks_end
	rm -rf "$WORK"/[ab] "$WORK/$VOLUME.desc"
}

echo "seed $SEED"
work_new
net_new
one_world ext4 xfs
one_world xfs ext4

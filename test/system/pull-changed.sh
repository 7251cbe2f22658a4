#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: peer
# budget: 150
# Pulling sends what changed and the metadata, not what is there: a standby that was left behind by 24 MiB of 256.
. "$(dirname "$0")/../lib.sh"

CONF_JOURNAL="size = 32M"
CONF_LIMITS="checkpoint_entries = 2000"
CHANGED=$((24 << 20)) # bytes, of the 256 MiB that both have

meta_bytes() { du -sb --apparent-size "$(replica_of "$1")/meta" | cut -f1; }
sent() { status a '.peers[0].pull.bytes_sent // 0'; }
# Site b is out; 24 MiB of the file are changed, and the ring goes round.
left_behind() { # seek, MiB
	local last
	order a deactivate clusterdomain site-b --yes
	wait_for 10 "site b knows" eval '[[ $(status b ".inactive[]") = site-b ]]'
	last=$(status b .seq.durable)
	site_stop b
	dd if=/dev/urandom of="$(mnt a)/file" bs=1M count=24 seek="$1" conv=notrunc,fsync status=none
	wait_for 60 "the ring has gone round" \
		eval '[[ $(status a .journal.first_seq) -gt $((last + 2)) ]] || overwrite'
}
# A small file, again and again: the ring is filled, and hardly anything is changed.
overwrite() {
	dd if=/dev/zero of="$(mnt a)/over" bs=4k count=250 conv=notrunc oflag=direct status=none
	false
}
come_back() {
	site_start b
	wait_for 10 "site b learns that it is inactive" eval '[[ $(status b ".inactive[]") = site-b ]]'
	order a activate clusterdomain site-b
	site_wait_in_sync a 60
}
within() { # what, bytes that changed
	local bytes limit meta
	bytes=$(sent) meta=$(meta_bytes a)
	limit=$((($2 + meta) * 12 / 10 + (1 << 20)))
	[[ $bytes -gt 0 ]] || fail "$1: nothing was pulled"
	[[ $bytes -le $limit ]] || fail "$1: $bytes bytes were sent for $2 that changed and $meta of metadata"
	step "$1: $bytes bytes sent for $2 that changed and $meta of metadata"
}

sites_up
dd if=/dev/urandom of="$(mnt a)/file" bs=1M count=256 conv=fsync status=none
left_behind 100
come_back
within "alone" $CHANGED
sites_stop_and_compare

# The same while somebody writes: what is written meanwhile changes, too.
sites_start
left_behind 10
load_start blocks stamp a
first=$(status a .seq.committed)
come_back
written=$((($(status a .seq.committed) - first) * 4096))
load_stop blocks
load_verify blocks stamp a
within "under load" $((CHANGED + written))
sites_stop_and_compare

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: programs
# budget: 200
# Overwritten and deleted data gives its space back on both sites, also through kills, and while a
# standby is away; what is read afterwards is right.
. "$(dirname "$0")/../lib.sh"

CONF_LIMITS="memtable = 4M"
sites_up 2G
m=$(mnt a)
live=96 # MiB
# Allocated below a replica's data, in MiB. One segment file of 256 MiB is allocated ahead, and the next
# one too when the first is nearly full.
used_mib() { du -sm "$(replica_of "$1")/data" | cut -f1; }
fits() { (($(used_mib "$1") <= $2)); }
limit=$((live * 13 / 10 + 512))

overwrite() { # block size
	dd if=/dev/urandom of="$m/file" bs="$1" count=$((live * 1048576 / $(numfmt --from=iec "${1^^}"))) \
		conv=notrunc status=none
}
for pass in 1 2 3 4 5 6; do overwrite 1M; done
overwrite 16k
for pass in 1 2; do overwrite 256k; done
for s in a b; do
	wait_for 60 "site $s gives space back" fits $s $limit
done
step "$((9 * live)) MiB written over $live MiB: $(used_mib a) and $(used_mib b) MiB are allocated"
sum=$(sha256sum <"$m/file")

# A standby that was away gets payloads that are partly gone by now.
order a deactivate clusterdomain site-b --yes
site_kill9 b
overwrite 1M
for ((i = 0; i < live; i += 3)); do
	dd if=/dev/urandom of="$m/file" bs=64k count=1 seek=$((i * 16)) conv=notrunc status=none
done
for pass in 1 2 3; do
	dd if=/dev/urandom of="$m/other" bs=1M count=100 status=none
done
sum=$(sha256sum <"$m/file")
site_start b
wait_for 20 "site b is reached" eval '[[ $(status a ".peers[0].connected") = true ]]'
order a activate clusterdomain site-b
site_wait_in_sync a 60
step "the standby caught up"

rm "$m/other"
for s in a b; do
	wait_for 60 "site $s gives the deleted file's space back" fits $s $limit
done
for round in 1 2; do
	site_kill9 a
	site_start a
	site_wait_active a
	overwrite 1M
done
sum=$(sha256sum <"$m/file")
site_kill9 a
order b deactivate clusterdomain site-a --yes
site_wait_active b
expect_eq "the file at site b" "$(sha256sum <"$(mnt b)/file")" "$sum"
wait_for 60 "site b gives space back as the active" fits b $((limit + 256))
site_start a
wait_for 20 "site a is reached" eval '[[ $(status b ".peers[0].connected") = true ]]'
order b activate clusterdomain site-a
site_wait_in_sync b 60
sites_stop_and_compare

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: programs
# budget: 300
# Another file fills the disk below, on the active's side and on the standby's: the application gets ENOSPC and
# nothing breaks. Reading goes on, deleting works, the daemons stay up; when there is room again, writes go on.
# With data, and with many small files, and a small journal that has to go round many times meanwhile.
. "$(dirname "$0")/../lib.sh"

CONF_JOURNAL="size = 32M"
CONF_LIMITS=$'memtable = 4M\npayload_memory = 8M'
RESERVE_KIB=$(((4 + 2 * (4 / 4 + 8)) * 1024)) # space_meta_reserve() of that memtable
DISK_MIB=448
work_new
net_new
echo "seed $SEED"
IMAGES=$(mktemp -d "/dev/shm/$TAG.XXXXXX")
replica_of() { echo "$WORK/$1/disk/replica"; }
# One on ext4 and one on xfs, the other way round in every second run.
n=$SEED
for s in a b; do
	mkdir -p "$WORK/$s/disk"
	truncate -s ${DISK_MIB}M "$IMAGES/$s"
	if ((n++ % 2)); then
		mkfs.xfs -q -f -K "$IMAGES/$s"
	else
		mkfs.ext4 -q -F -J size=8 -m 0 -E nodiscard "$IMAGES/$s"
	fi
	mount -o loop,noatime "$IMAGES/$s" "$WORK/$s/disk"
done
disks_cleanup() {
	local i loop
	for ((i = 0; i < 100; i++)); do
		losetup -a | grep -q "($IMAGES/" || break
		sleep 0.05
	done
	for loop in $(losetup -a | grep "($IMAGES/" | cut -d: -f1); do
		losetup -d "$loop"
	done
	rm -rf "$IMAGES"
}
sites_format 1G
sites_start
step "both sites are up on disks of $DISK_MIB MiB: $(df --output=fstype "$WORK/a/disk" | tail -n 1) and $(df --output=fstype "$WORK/b/disk" | tail -n 1)"

m=$(mnt a)
free_kib() { df -k --output=avail "$WORK/$1/disk" | tail -n 1 | tr -d ' '; }
meta_kib() { du -sk "$(replica_of "$1")/meta" | cut -f1; }
# Nobody takes the last for data: it is there for metadata, which may have had some of it since.
reserve_left() { # site, what, KiB of metadata before [, KiB that two may take who look at the same moment]
	local free
	free=$(($(free_kib "$1") + $(meta_kib "$1") - $3 + ${4:-0}))
	[[ $free -ge $RESERVE_KIB ]] || fail "$2: site $1 has $free KiB left, less than the reserve of $RESERVE_KIB KiB"
}
is_full() { [[ $(status "$1" .space.full) = true ]]; }
has_room() { [[ $(status "$1" .space.full) = false ]]; }
fill_disk() { # site: to the last block, and once more with what was given back meanwhile
	local i
	mkdir -p "$WORK/$1/disk/other"
	for i in 1 2 3; do
		dd if=/dev/zero of="$WORK/$1/disk/other/$i" bs=1M status=none 2>/dev/null || true
		dd if=/dev/zero of="$WORK/$1/disk/other/$i-" bs=4k status=none 2>/dev/null || true
		sync -f "$WORK/$1/disk"
		pause_ms $((i * 300))
	done
}
snatch_start() { # site
	mkdir -p "$WORK/$1/disk/other"
	{
		trap - ERR
		set +e
		exec 2>/dev/null
		n=0
		while :; do
			n=$((n + 1))
			dd if=/dev/zero of="$WORK/$1/disk/other/s$n" bs=$((n > 3 ? 4 : 1024))k
			sync -f "$WORK/$1/disk"
			sleep 0.05
		done
	} &
	snatcher=$!
}
snatch_stop() {
	kill $snatcher
	wait $snatcher || true
}
free_disk() { rm -r "$WORK/$1/disk/other"; }
daemons_live() {
	local s
	for s in a b; do
		[[ $(status $s .uptime_s) != down ]] || fail "site $s does not answer"
		! grep -qE "start(s|ing) again|suspect|failed:" <(tail -n +"$((MARK[$s] + 1))" "$WORK/$s/log") ||
			fail "site $s: $(grep -E "start(s|ing) again|suspect|failed:" "$WORK/$s/log" | tail -n 3)"
	done
}
declare -A MARK=()
mark() {
	local s
	for s in a b; do
		MARK[$s]=$(wc -l <"$WORK/$s/log")
	done
}
# Writes until there is no room: "no space" must be what it hears, soon.
until_full() { # name
	expect_fail timeout 60 dd if=/dev/urandom of="$m/$1" bs=1M count=900 conv=fsync status=none
	expect_match "writing $1" "$OUT" "no space"
}
# What was deleted comes back after a checkpoint or two.
write_soon() { # name, MiB
	wait_for 60 "$2 MiB can be written" \
		dd if=/dev/urandom of="$m/$1" bs=1M count="$2" conv=fsync status=none
}
create_fails() { ! timeout 20 touch "$m/never.$RANDOM" 2>/dev/null; }

dd if=/dev/urandom of="$m/keep" bs=1M count=24 conv=fsync status=none
sum=$(sha256sum <"$m/keep")
readable() { [[ $(sha256sum <"$m/keep") = "$sum" ]]; }

# The volume fills its own disks: more than they have was promised by its size.
mark
before=("$(meta_kib a)" "$(meta_kib b)")
until_full big
reserve_left a "full by its own data" "${before[0]}"
reserve_left b "full by its own data" "${before[1]}"
daemons_live
step "full by its own data: $(stat -c %s "$m/big") bytes, $(free_kib a) and $(free_kib b) KiB free"
readable || fail "keep has changed"
rm "$m/big"
write_soon again 64
rm "$m/again"
daemons_live

# Writes that wait for a silent peer are parked on the disk when they have no memory; they leave the reserve alone.
mark
write_soon parked 128
mkdir "$WORK/a/disk/other"
fallocate -l $((($(free_kib a) - RESERVE_KIB) / 1024 - 40))M "$WORK/a/disk/other/1"
meta_before=$(meta_kib a)
link_cut
writers=()
for ((i = 0; i < 128; i++)); do
	dd if="$m/keep" of="$m/parked" bs=1M count=1 seek=$i conv=notrunc oflag=direct status=none 2>"$WORK/parked.$i" & # a message is more than one write: each in a file of its own
	writers+=($!)
done
count_waiting() {
	local pid n=0
	for pid in "${writers[@]}"; do
		! pid_alive "$pid" || n=$((n + 1))
	done
	echo $n
}
waiting=-1
settled() { # some have heard that there is no room, and as many wait as a second ago
	local n
	n=$(count_waiting)
	[[ $n -ge 100 || $n != "$waiting" ]] || return 0
	waiting=$n
	sleep 1
	return 1
}
wait_for 60 "some hear that there is no room, and the others wait" settled
reserve_left a "with parked writes" "$meta_before" 2048
[[ $waiting -ge 16 ]] || fail "only $waiting writes wait"
step "of 128 writes $waiting wait, $(free_kib a) KiB are free, $RESERVE_KIB are the reserve"
link_heal
for pid in "${writers[@]}"; do
	wait "$pid" && waiting=$((waiting - 1)) || true
done
expect_eq "of those that waited and failed" "$waiting" 0
expect_eq "who heard of something else" "$(cat "$WORK"/parked.* | grep -cv "No space left on device" || true)" 0
rm "$m/parked"
free_disk a
write_soon again 64
rm "$m/again"
readable || fail "keep has changed"
daemons_live

# Somebody else fills it, under data.
for s in a b; do
	mark
	write_soon victim 96
	dd if=/dev/urandom of="$m/more" bs=1M count=900 conv=fsync status=none 2>"$WORK/more.out" &
	writer=$!
	pause_ms "$(random_ms 50 400)"
	fill_disk $s
	wait_for 60 "the writer hears of it" eval "! pid_alive $writer"
	wait $writer && fail "the writer did not hear that site $s is full"
	expect_match "the writer" "$(cat "$WORK/more.out")" "no space"
	until_full more2
	wait_for 10 "site $s says that it is full" is_full $s
	wait_for 10 "nothing can be created" create_fails
	readable || fail "keep has changed"
	daemons_live
	step "the disk of site $s is full ($(free_kib $s) KiB free): ENOSPC, reading goes on"
	timeout 20 truncate -s 5000 "$m/victim" || fail "truncate on a full disk"
	timeout 20 rm -f "$m/victim" "$m/more" "$m/more2" || fail "rm on a full disk"
	# What the volume gave back, it may take.
	write_soon small 16
	rm -f "$m/small"
	daemons_live
	step "deleting makes room"
	free_disk $s
	wait_for 30 "site $s has room again" has_room $s
	write_soon again 64
	rm "$m/again"
	daemons_live
done

# The same with many small files: metadata alone, which goes round the journal and through checkpoints.
for s in a b; do
	mark
	mkdir "$m/many"
	"$TOOLS/many" create "$m/many/before" 10000 || fail "files could not be made"
	"$TOOLS/many" create "$m/many/while" 2000000 >"$WORK/many.out" 2>&1 &
	writer=$!
	pause_ms "$(random_ms 500 2000)"
	# Takes at once whatever the volume gives up.
	snatch_start $s
	wait_for $((180 * ${SLOWER:-1})) "who makes files hears of it" eval "! pid_alive $writer"
	wait $writer && fail "site $s is full and files were made all the same"
	expect_match "who makes files" "$(cat "$WORK/many.out")" "no space"
	wait_for 10 "site $s says that it is full" is_full $s
	readable || fail "keep has changed"
	daemons_live
	snatch_stop
	step "the disk of site $s is full: no more files after $(find "$m/many/while" | wc -l); ballast: $(status $s .space.ballast)"
	timeout $((120 * ${SLOWER:-1})) rm -r "$m/many" || fail "rm -r on a full disk: $(status "$s" .space)"
	step "deleted; $(status "$s" '"ballast \(.space.ballast), full \(.space.full)"')"
	free_disk $s
	wait_for 30 "site $s has room again" has_room $s
	wait_for 30 "files can be made again" touch "$m/file.$s"
done

# Daemons that start on a full disk, where most of the ballast was taken: what waits to be flushed is more than half of
# what is left then, again and again, and deleting waits for the flush, it does not fail.
for s in a b; do
	"$TOOLS/many" create "$m/many" 8000 || fail "files could not be made"
	site_kill9 $s
	truncate -s 2M "$(replica_of $s)/ballast"
	fill_disk $s
	site_start $s
	site_wait_active a 30
	site_wait_in_sync a 30
	readable || fail "keep has changed"
	wait_for 20 "site $s says that it is full" is_full $s
	timeout $((120 * ${SLOWER:-1})) rm -r "$m/file.$s" "$m/many" || fail "rm after a start on a full disk: $(status $s .space)"
	free_disk $s
	wait_for 30 "site $s has room again" has_room $s
	step "site $s started on a full disk"
done
# A standby that comes back to a full disk waits outside of the set, and says why.
order a deactivate clusterdomain site-b --yes
"$TOOLS/many" create "$m/alone" 60000 || fail "files could not be made"
write_soon more 48
fill_disk b
mark
order a activate clusterdomain site-b
wait_for 20 "site b says that it is full" is_full b
pause_ms 3000
expect_eq "the set while site b is full" "$(in_sync_count a)" 1
touch "$m/goes-on"
daemons_live
step "site b waits: $(status b .trouble); $(status a '.peers[0].text')"
free_disk b
site_wait_in_sync a 60
wait_for 30 "site b has room again" has_room b
wait_for 30 "files can be made again" touch "$m/file"
sites_stop_and_compare

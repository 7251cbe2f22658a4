#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: space
# budget: 240
# Two volumes on one small disk: together they fill it, each hears ENOSPC and nothing worse, also when all daemons are
# killed then. Neither takes what the other one needs for its journal and metadata; what one gives back both can have.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../agents.sh"

tctl() { # site, arguments
	in_site "$1" "$BIN/tandemctl" --run-dir "$WORK/$1/run" "${@:2}"
}
DISK_MIB=2560
IMAGES=$(mktemp -d "/dev/shm/$TAG.XXXXXX")
disks_cleanup() { # of lib.sh's cleanup
	local loop
	for loop in $(losetup -a | grep "($IMAGES/" | cut -d: -f1); do
		losetup -d "$loop" 2>/dev/null
	done
	rm -rf "$IMAGES"
}
free_mib() { df -BM --output=avail "$WORK/$1/disk" | tail -n 1 | tr -dc 0-9; }
m() { echo "$WORK/a/mounts/$1"; } # volume
state() { # site, volume, jq expression
	tctl "$1" status -o json | jq -r "[.. | objects | select(.volume? == \"$2\" and has(\"role\"))][0] | $3"
}
level() { # volume
	[[ $(state a "$1" '"\(.role) \(.in_sync | length) \(.peers[0].state)"') = "active 2 in-sync" ]] && mountpoint -q "$(m "$1")"
}
all_level() { level blue && level green; }
fill() { # volume, name: until there is no room, as the last line of its output says
	local i
	for ((i = 0; ; i++)); do
		timeout 60 dd if=/dev/urandom of="$(m "$1")/$2.$i" bs=1M count=64 conv=fsync status=none || break
	done >"$WORK/fill-$1.out" 2>&1
}
full() { # volume: it has heard ENOSPC, and of nothing else
	expect_match "what the writers of $1 heard" "$(cat "$WORK/fill-$1.out")" 'No space left on device'
	expect_eq "what the writers of $1 heard" "$(grep -v 'No space left on device' "$WORK/fill-$1.out" || true)" ''
}

echo "seed $SEED"
work_new
net_new
for s in a b; do
	mkdir -p "$WORK/$s/disk" "$WORK/$s/mounts"
	truncate -s ${DISK_MIB}M "$IMAGES/$s"
	if [[ $s = a ]]; then
		mkfs.ext4 -q -F -J size=8 -m 0 -E nodiscard "$IMAGES/$s"
	else
		mkfs.xfs -q -f -K "$IMAGES/$s"
	fi
	mount -o loop,noatime "$IMAGES/$s" "$WORK/$s/disk"
done
agent_pki
AGENT_MORE=("[replicas]" "directory = $WORK/SITE/disk" "mounts = $WORK/SITE/mounts")
for s in a b; do
	agent_config $s
	agent_start $s
done
ready() { rest a GET /v1/health >/dev/null 2>&1 && rest b GET /v1/health >/dev/null 2>&1; }
wait_for 10 "the agents answer" ready
tctl a create volume blue --size 2G
tctl a create volume green --size 2G
wait_for 20 "both volumes are in sync" all_level
for v in blue green; do
	dd if=/dev/urandom of="$(m $v)/keep" bs=1M count=16 conv=fsync status=none
done
declare -A SUM=([blue]=$(sha256sum <"$(m blue)/keep") [green]=$(sha256sum <"$(m green)/keep"))
kept() {
	local v
	for v in blue green; do
		expect_eq "what was in $v" "$(sha256sum <"$(m $v)/keep")" "${SUM[$v]}"
	done
}
step "two volumes of 2 GiB on disks of $DISK_MIB MiB, $(free_mib a) and $(free_mib b) MiB free"

fill blue x &
writer=$!
fill green x
wait $writer
full blue
full green
kept
step "both have filled it: $(du -sm --apparent-size "$(m blue)" | cut -f1) and $(du -sm --apparent-size "$(m green)" | cut -f1) MiB, $(free_mib a) and $(free_mib b) MiB free"

# All daemons die with a disk that is full; they come back, and nothing is lost.
before=$(find "$(m blue)" "$(m green)" -type f -size +0 -exec stat -c '%n %s' {} + | sort)
for s in a b; do
	for p in $(daemon_of $s); do kill -9 "$p"; done
done
wait_for 60 "both are in sync again" all_level
expect_eq "the files" "$(find "$(m blue)" "$(m green)" -type f -size +0 -exec stat -c '%n %s' {} + | sort)" "$before"
kept

step "killed on a full disk: all is there"

# What one gives back, the other one may have.
rm "$(m blue)"/x.*
more() { dd if=/dev/urandom of="$(m green)/more" bs=1M count=256 conv=fsync status=none 2>"$WORK/more.out"; }
wait_for 90 "the other one has room" more
rm "$(m green)"/x.* "$(m green)/more"
both() {
	local v
	for v in blue green; do
		dd if=/dev/urandom of="$(m $v)/again" bs=1M count=128 conv=fsync status=none 2>"$WORK/again.out" || return 1
	done
}
wait_for 90 "both have room" both
kept
step "what one volume gives back, the other one can have"
for v in blue green; do
	tctl a delete volume $v --yes >/dev/null
done
for s in a b; do
	expect_eq "daemons at site $s" "$(daemon_of $s)" ''
	agent_kill $s TERM
done

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: kill
# budget: 240
# The journal runs full while a checkpoint waits for a slow disk: it goes on when the disk does; and whoever is killed at
# that moment goes on after its start, with nothing to apply or to stage that would make room: the active, the standby, both.
. "$(dirname "$0")/../lib.sh"

CONF_JOURNAL="size = 32M"
DELAY=3000
work_new
net_new
sites_format 2G
le64() { printf "\\x$(printf %02x "$1")\\0\\0\\0\\0\\0\\0\\0"; } # a small number
slow() { # site, 1 or 0: each sync of its data segments waits, or none
	le64 "$2" | dd of="$WORK/fault-$1" conv=notrunc status=none
}
for s in a b; do
	{ le64 0 && le64 0 && le64 0; } >"$WORK/fault-$s"
	SITE_ENV[$s]="LD_PRELOAD=$TOOLS/failio.so FAIL_IO=$WORK/fault-$s FAIL_IO_DIR=$(replica_of $s) FAIL_IO_STAYS=1 FAIL_IO_DELAY=$DELAY"
done
export FAIL_IO_MATCH='fdatasync /data/*'
sites_start

m=$(mnt a)
writers=()
begin_writing() { # what lies in the journal with its bytes, and leaves nothing dead behind
	local i
	writers=()
	for i in 1 2 3 4; do
		dd if=/dev/zero of="$m/$RANDOM$i" bs=16k count=20000 oflag=direct status=none 2>/dev/null &
		writers+=($!)
	done
}
end_writing() {
	kill "${writers[@]}" 2>/dev/null || true
	wait "${writers[@]}" 2>/dev/null || true
}
free_mib() { echo $(($(status "$1" .journal.free) / 1048576)); }
is_full() { [[ $(free_mib a) -le $1 || $(free_mib b) -le $2 ]]; } # MiB free at either
stands_still() { is_full "$@" && pause_ms 300 && is_full "$@"; }
goes_on() { # what
	local pid
	dd if=/dev/zero of="$m/more$RANDOM" bs=16k count=3000 oflag=direct conv=fsync status=none &
	pid=$!
	wait_for 30 "$1: writes go on, with $(free_mib a) and $(free_mib b) MiB free" eval "! pid_alive $pid"
	wait $pid || fail "$1: a write fails"
	step "$1: goes on"
}

slow a 1
"$TOOLS/say" "$WORK/a/run/$VOLUME.sock" checkpoint >/dev/null &
begin_writing
wait_for 20 "the active's journal is full" stands_still 3 0
step "the journal is full under a checkpoint: $(free_mib a) MiB free"
slow a 0
pause_ms $((DELAY + 500))
end_writing
goes_on "the slow disk"

for who in a b "a b"; do
	for s in $who; do
		slow "$s" 1
	done
	begin_writing
	wait_for 20 "the journal is full" stands_still 3 4
	step "the journal of site ${who// / and } is full: $(free_mib a) and $(free_mib b) MiB free"
	# shellcheck disable=SC2086 # one or two sites
	site_kill9 $who
	for s in $who; do
		slow "$s" 0
		site_start "$s"
	done
	site_wait_active a
	[[ $who != b ]] || pause_ms 1000
	kill "${writers[@]}" 2>/dev/null || true
	goes_on "killed: site ${who// / and }"
	site_wait_in_sync a
	end_writing
done
for s in a b; do # who waits with what it has to say is not silent; once it may be by chance
	[[ $(grep -c "has been silent" "$WORK/$s/log" || true) -le 1 ]] || fail "site $s takes its peer for silent"
done
sites_stop_and_compare

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: kill
# budget: 60
# What a mount hangs on is the last thing that the kernel ends when memory is short, never waits for itself when the kernel
# frees memory, and, as far as it is a holder, is never swapped out: daemons, a holder, and a node's starter of holders.
# And no daemon takes from under its threads, when it stops, what they use.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../held.sh"

# Root may not ask for all of that everywhere (CAP_SYS_RESOURCE); there, what is asked for is seen by sparedlog.c.
may="" how=" (as far as they ask for it)"
! (echo -1 >/proc/self/oom_score_adj) 2>/dev/null || { may=1 how=; }
oom() {
	if [[ $may ]]; then cat "/proc/$1/oom_score_adj"; else cat "$WORK/spared/oom.$1"; fi
}
locked_kib() { awk '/^VmLck:/ { print $2 }' "/proc/$1/status"; }
# Each thread has PF_MEMALLOC_NOIO and PF_LOCAL_THROTTLE, which is what PR_SET_IO_FLUSHER sets.
is_io_flusher() {
	local t flags
	if [[ ! $may ]]; then
		cat "$WORK/spared/flusher.$1"
		grep -qx "1 threads=1" "$WORK/spared/flusher.$1" # and those that come inherit it
		return
	fi
	for t in "/proc/$1"/task/*; do
		flags=$(sed 's/.*) //' "$t/stat" 2>/dev/null | cut -d ' ' -f 7)
		[[ -n $flags ]] || continue # it has just ended
		(((flags & 0x180000) == 0x180000)) || {
			echo "thread ${t##*/} ($(cat "$t/comm")): flags $flags"
			return 1
		}
	done
}
spared() { # what, process, oom_score_adj
	local out
	expect_eq "oom_score_adj of $1" "$(oom "$2")" "$3"
	out=$(is_io_flusher "$2") || fail "$1 is no IO flusher: $out"
}

echo "seed $SEED"
work_new
net_new
sites_format 256M
mkdir "$WORK/spared"
log="SPARED=$WORK/spared LD_PRELOAD=$TOOLS/sparedlog.so"
[[ ! $may ]] || log=
SITE_ENV[a]="${log:-LD_PRELOAD=}:$TOOLS/endedlog.so ENDED=$WORK/spared"
SITE_ENV[b]=${SITE_ENV[a]}
# shellcheck disable=SC2086 # several words
in_site_bg a env $log "$BIN/tandem-holder" --node "$WORK/a/run"
node=$BG
wait_for 5 "the node's starter of holders listens" test -S "$WORK/a/run/holders"
sites_start
holder=$(holder)
expect_eq "the holder's parent" "$(ps -o ppid= -p "$holder" | tr -d ' ')" "$node"
load_start tree run a --threads 2 # all threads are there
spared "the active daemon" "${PID[a]}" -900
spared "the standby" "${PID[b]}" -900
spared "the holder" "$holder" -1000
spared "what starts holders for a node" "$node" -1000
for p in $holder $node; do
	! ldd "$BIN/tandem-holder" | grep -q libasan || break # a sanitizer lets nobody lock its memory
	[[ $(locked_kib "$p") -gt 100 ]] || fail "process $p is not locked in memory: $(locked_kib "$p") KiB"
done
load_stop tree
step "daemons, holder and the starter of holders are spared$how"
daemons=("${PID[a]}" "${PID[b]}")
grep -q endedlog "/proc/${daemons[0]}/maps" || fail "endedlog.so is not loaded"
sites_stop_and_compare
kill -TERM "$node"
wait "$node" || fail "the starter of holders ended with $?"
for p in "${daemons[@]}"; do
	[[ ! -e $WORK/spared/destructors.$p ]] || fail "a daemon that was stopped ran destructors beneath its threads"
done

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: power
# budget: 300
# split: 4 SEEDS
# long: 2500
# A disk fails a write, a flush or a read, once or a few times, on either site: never a lost or wrong byte.
#
# An error on the way to durability is final (I9): the replica stops acknowledging and starts again
# from recovery, by itself, or after somebody has mounted its filesystem again where that gave up too.
# After three such starts it is suspect: it is not promoted without a person's word.
ONE_SEED=${SEED:+1}
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../disks.sh"

SEEDS=${SEEDS:-${ONE_SEED:-$ROUNDS}}
SEEDS=$(share_of "$SEEDS")
PER_WORLD=5 # odd: the filesystems change places
CONF_JOURNAL="size = 32M"
CONF_LIMITS="checkpoint_entries = 300"
restarts=0 gave_up=0 aborted=0

pick() { # variable word...: one of them; not in a subshell, where RANDOM starts afresh
	local -n picked=$1
	shift
	local i=$((RANDOM % $# + 1))
	picked=${!i}
}

world_new() { # seed
	active=a
	if (($1 % 2)); then disks_new ext4 xfs; else disks_new xfs ext4; fi
	sites_format 512M
	sites_start
	step "both sites are up: a on ${DISK_FS[a]}, b on ${DISK_FS[b]}"
}

world_end() {
	sites_stop_and_compare
	disks_end
	rm -rf "$WORK"/[ab] "$WORK"/tree.* "$WORK"/blocks.* "$WORK/$VOLUME.desc"
}

before_check() { disks_again; }

dies() { grep -c 'stops acknowledging' "$WORK/$1/log" || true; }
settled() { [[ $(status $active '"\(.role) \(.mounted) \(.in_sync|length) \(.peers[0].state)"') = \
	"active true 2 in-sync" ]]; }

# The daemon is dead or cannot go on with this mount: a new mount, a new start.
mount_again() { # site
	gave_up=$((gave_up + 1))
	grep -q "Assertion" <(tail -n 1 "$WORK/$1/log") &&
		aborted=$((aborted + 1))
	site_end "$1"
	disk_umount "$1"
	disk_mount "$1"
	flushed_is_committed
	site_start "$1"
}

# Started again since it last gave up, as far as one can tell.
recovered() { # site
	awk '/stops acknowledging/ { back = 0 } /recovered to seq/ { back = 1 } END { exit !back }' \
		"$WORK/$1/log"
}

# Both serve and stand by again; the site whose disk failed gets a new mount when it does not by itself.
settle() { # site
	local end=$(($(now_ns) + 8000000000))
	while site_alive "$1" && [[ $(now_ns) -lt $end ]]; do
		! { recovered "$1" && settled; } || return 0
		sleep 0.05
	done
	mount_again "$1"
	site_wait_active $active
	site_wait_in_sync $active
}

one_error() { # seed
	local side site kind at repeat before died
	RANDOM=$1
	pick side active standby
	pick kind write write flush flush read
	pick repeat 0 0 0 5
	site=$active
	[[ $side = active ]] || site=$(other $active)
	died=$(dies "$site")
	mix_start $active
	pause_ms $((RANDOM % 200 + 50))
	if [[ $kind = read ]]; then # at the start, when nothing is cached
		at=$((RANDOM % 120 + 1))
		site_end "$site"
		disk_umount "$site"
		disk_mount "$site"
		before=$(disk_failures "$site")
		disk_order "$site" "fail read $at $repeat"
		site_start "$site"
		pause_ms 300
	else
		at=$((RANDOM % 300 + 1))
		before=$(disk_failures "$site")
		disk_order "$site" "fail $kind $at $repeat"
		wait_for 20 "$kind $at of site $site fails" eval "[[ \$(disk_failures $site) -gt $before ]]"
		pause_ms 50
		"$TOOLS/say" "$WORK/$active/run/$VOLUME.sock" checkpoint >/dev/null 2>&1 || true
		pause_ms 300 # so that errors of the kernel's own writing are seen
	fi
	at+=", $(($(disk_failures "$site") - before)) failed"
	disk_order "$site" "fail $kind 0"
	settle "$site"
	died=$(($(dies "$site") - died))
	restarts=$((restarts + died))
	kill -TERM "${LOAD[tree]}" "${LOAD[blocks]}" 2>/dev/null || true
	mix_wait 0 3
	mix_verify $active
	step "SEED=$1: $kind $at on the $side (${DISK_FS[$site]}): $died restarts; verified"
}

# The same from inside: the N-th write of the ring or of the data segments, after every start.
injected() {
	local side site what died
	for side in active standby; do
		for what in TANDEMFS_FAULT_WRITE TANDEMFS_FAULT_DATA; do
			site=$active
			[[ $side = active ]] || site=$(other $active)
			died=$(dies "$site")
			site_kill9 "$site"
			export $what=$((RANDOM % 300 + 200)) # the workload is under way by then
			site_start "$site"
			unset $what
			site_wait_active $active
			site_wait_in_sync $active
			mix_start $active
			wait_for 90 "$what of site $site" eval "[[ \$(dies $site) -gt $died ]]"
			[[ $side = standby ]] || mix_wait 3
			site_end "$site"
			site_start "$site"
			site_wait_active $active
			site_wait_in_sync $active
			[[ $side = active ]] || mix_stop
			mix_verify $active
			step "$what on the $side: verified"
		done
	done
}

# Each read of a recovery fails: it fails then, or finds the same history; of what is flushed here, and kept for peers that
# lag behind, it may have less, and says which blocks cannot be read.
history_of() { sed -nE 's/^(journal: )seq [0-9]+ (to .*), [0-9]+ batches(; .*)/\1\2\3/p' <<<"$1"; }
same_history() { # what check said
	local first flushed
	[[ $(grep '^journal:' <<<"$1") != "$all" ]] || return 0
	first=$(sed -nE 's/^journal: seq ([0-9]+) to .*/\1/p' <<<"$1")
	flushed=$(sed -nE 's/^journal: .*flushed at seq ([0-9]+)$/\1/p' <<<"$1")
	[[ $(history_of "$1") = "$(history_of "$all")" && $first -le $((flushed + 1)) && $1 = *"blocks cannot be read"* ]]
}
reads() {
	local i n=1 before all out status failed=0
	for i in 0 1 2 3; do
		dd if=/dev/zero of="$(mnt a)/large$i" bs=1M count=1 oflag=direct status=none
	done
	link_cut
	for i in 0 1 2 3; do # above the commit index, with payloads outside the ring
		dd if=/dev/urandom of="$(mnt a)/large$i" bs=1M count=1 oflag=direct conv=notrunc \
			status=none 2>/dev/null &
	done
	pause_ms 700
	site_kill9 a
	link_heal
	all=$(site_check a | grep '^journal')
	expect_match "an uncommitted tail" "$all" '([0-9]+), committed'
	while :; do
		disk_umount a # nothing stays cached
		disk_mount a
		before=$(disk_failures a)
		disk_order a "fail read $n $((RANDOM % 4))" # what failed in read-ahead is read again
		status=0
		out=$("$BIN/tandemfs" check --config "$WORK/a/conf" 2>&1) || status=$?
		disk_order a "fail read 0"
		[[ $(disk_failures a) -gt $before ]] || break
		[[ $status != 0 ]] || same_history "$out" ||
			fail "read $n failed, and recovery saw '$out', not '$all'"
		failed=$((failed + (status != 0)))
		n=$((n + RANDOM % 2 + 1))
	done
	[[ $failed -gt 0 ]] || fail "no read error was seen"
	site_start a
	site_wait_active a
	site_wait_in_sync a
	step "reads fail up to the ${n}th: $failed starts fail, none sees another history"
}

suspect() { # every write to the standby's ring fails, whenever it starts
	local writer answers=0 i
	site_stop b
	TANDEMFS_FAULT_WRITE=1:1000000 site_start b
	echo x >"$(mnt a)/file" &
	writer=$!
	wait_for 60 "site b is suspect" eval '[[ $(status b .trouble) = *suspect* ]]'
	pid_alive $writer || fail "acknowledged, and the standby cannot write"
	for ((i = 0; i < 40; i++)); do
		[[ $(status b .trouble) = down ]] || answers=$((answers + 1))
		sleep 0.05
	done
	[[ $answers -ge 20 ]] || fail "of 40 questions the suspect replica answered $answers"
	site_end b
	site_start b
	site_wait_in_sync a
	wait $writer || fail "the write that waited failed"
	expect_match "the trouble after a good start" "$(status b .trouble)" suspect
	site_kill9 a
	expect_fail ctl b promote $VOLUME --yes
	expect_match "promote of a suspect replica" "$OUT" suspect
	site_start a
	site_wait_active a
	site_wait_in_sync a
	expect_eq "what was written" "$(cat "$(mnt a)/file")" x
	step "after three starts that failed the replica is suspect, and is not promoted"
}

# RocksDB calls abort() in its own thread when a sync fails at a bad moment: the signal, from outside.
rocksdb_aborts() { # site
	local task call=234 # tgkill
	[[ $(uname -m) = x86_64 ]] || call=131
	for task in "/proc/${PID[$1]}/task"/*; do
		[[ $(cat "$task/comm") = rocksdb:low* ]] || continue
		perl -e "exit(syscall($call, ${PID[$1]}, $(basename "$task"), 6) != 0)"
		return
	done
	fail "site $1 has no thread of RocksDB"
}

aborts() {
	local side site pid died
	for side in active standby; do
		site=$active
		[[ $side = active ]] || site=$(other $active)
		pid=${PID[$site]}
		died=$(dies "$site")
		mix_start $active
		pause_ms 300
		rocksdb_aborts "$site"
		wait_for 20 "the abort of site $site" eval "[[ \$(dies $site) -gt $died ]]"
		wait_for 20 "site $site recovers" recovered "$site"
		site_alive "$site" && expect_eq "process of site $site" "${PID[$site]}" "$pid"
		[[ $side = standby ]] || mix_wait 3
		site_wait_active $active
		site_wait_in_sync $active
		[[ $side = active ]] || mix_stop
		mix_verify $active
		step "RocksDB aborts on the $side: it starts again; verified"
	done
}

echo "seed $SEED"
work_new
net_new
for ((round = 0; round < SEEDS; round++)); do
	((round % PER_WORLD)) || world_new "$SEED"
	one_error "$SEED"
	((round % PER_WORLD < PER_WORLD - 1 && round < SEEDS - 1)) || world_end
	SEED=$((SEED + 1))
done
if is_first_share; then
	world_new "$SEED"
	injected
	aborts
	reads
	suspect
	world_end
fi
step "$restarts starts again from recovery, $gave_up new mounts, $aborted of them after RocksDB's own abort"
[[ $SEEDS -lt 10 || $restarts -gt 0 ]] || fail "no replica ever noticed"
made $round errors

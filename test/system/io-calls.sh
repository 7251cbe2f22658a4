#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: power
# budget: 800
# Each call that writes, syncs, allocates, renames or makes a file of a replica fails once: it is final, or refused.
#
# The daemon of one site runs with failio.c between it and its files, the ring's too (io = pwritev2), and the
# N-th call fails with EIO or ENOSPC, in a short script: start, writes and overwrites, checkpoints, the other side
# out and in again; for the puller a fresh replica that pulls. What failed on the way to durability ends in a
# new start (I9) or in a start that is refused; then the daemon runs without the fault, both are in sync again,
# nothing that was acknowledged is lost, and both are clean and equal. At last those are aimed at that stand for what
# passes through the program's own write(), open() and rename() (store_room.c).
#
# The same with the calls that read, from its start on: what is read meanwhile is right or an error, and afterwards
# nothing is wrong and nothing lost.
#
#	SAMPLE=n      so many N at random for each role (in proportion to ROUNDS); 0: N = 1, 2, ... until none is hit,
#	              which is what CI_LONG=1 does; half as many of those that read, and 200
#	MATCH='fsync /ring*'   only calls like this count, as the lines above the failures name them
#	READS=1, READS=      only those that read, none of those
#	ROLE=, AT=, ERROR=   this role (active|standby|puller), call and errno (EIO|ENOSPC) alone
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../settle.sh"
. "$(dirname "$0")/../words.sh"

SAMPLE=${SAMPLE:-$([[ -n ${CI_LONG:-} ]] && echo 0 || echo $(((ROUNDS + 3) / 4)))}
CONF_JOURNAL="size = 32M"$'\n'"io = pwritev2"
CONF_LIMITS="checkpoint_entries = 200"
ROLES=${ROLE:-active standby puller}
FAULT= # the control file of failio.c
site=

le64() { # number: its eight bytes
	local i n=$1
	for ((i = 0; i < 8; i++)); do
		printf "\\x$(printf %02x $((n & 255)))"
		n=$((n >> 8))
	done
}
arm() { # site N errno
	local number=5
	[[ $3 = EIO ]] || number=28
	FAULT=$WORK/fault
	rm -f "$FAULT" "$FAULT.log"
	{ le64 "$2" && le64 $number && le64 0; } >"$FAULT"
	[[ -z ${MATCH:-} ]] || export FAIL_IO_MATCH=$MATCH
	[[ -z ${READS:-} ]] || export FAIL_IO_READS=1
	SITE_ENV[$1]="LD_PRELOAD=$TOOLS/failio.so FAIL_IO=$FAULT FAIL_IO_DIR=$(replica_of "$1")"
	site_start "$1"
	unset "SITE_ENV[$1]" FAIL_IO_MATCH FAIL_IO_READS
}
calls() { od -An -tu8 -j16 -N8 "$FAULT" | tr -d ' '; }
hit() { [[ -e $FAULT.log ]]; }
dies() { grep -c 'stops acknowledging' "$WORK/$1/log" || true; }
ends() { hit || ! site_alive "$site"; }
ready() { ends || { is_serving "$active" && [[ $(status "$active" '"\(.in_sync|length) \(.peers[0].state)"') = "2 in-sync" ]]; }; }
checkpoint() { "$TOOLS/say" "$WORK/$1/run/$VOLUME.sock" checkpoint >/dev/null 2>&1 || true; }

# What was written before the first fault: from the disk, not from the kernel's cache.
read_fill() { dd if="$(mnt "$active")/fill" bs=1M iflag=direct status=none 2>>"$WORK/fill.out" | sha256sum; }
fill_right_or_error() {
	local now
	if now=$(read_fill); then
		expect_eq "what is read while a call that reads fails" "$now" "$FILL"
	fi
}

# The script; each step of it is left out when the call has failed.
script() { # role
	wait_for 40 "the script's beginning" ready
	ends || mix_start "$active" 2>/dev/null || true # it may be gone in this moment
	ends || pause_ms 250
	ends || checkpoint "$site"
	ends || pause_ms 150
	[[ -z ${READS:-} ]] || fill_right_or_error
	if ! ends && [[ $1 != puller ]]; then
		ctl "$active" deactivate clusterdomain "$(others_domain)" --yes >>"$WORK/words.out" 2>&1 || true
		pause_ms 100
		ctl "$active" activate clusterdomain "$(others_domain)" >>"$WORK/words.out" 2>&1 || true
		wait_for 40 "in sync again" ready
	fi
	ends || checkpoint "$site"
	ends || pause_ms 200
	[[ -z ${READS:-} ]] || fill_right_or_error
}

# The ring must not reach back for this.
replace_standby() {
	wait_for 60 "the journal does not reach back to the beginning" eval '
		[[ $(status $active .journal.first_seq) -gt 1 ]] || { overwrite; false; }'
	leave_out
	site_kill9 "$standby"
	rm -rf "$(replica_of "$standby")"
	"$BIN/tandemfs" format --join "$WORK/$VOLUME.desc" --config "$WORK/$standby/conf" >>"$WORK/$standby/log" 2>&1
}
overwrite() {
	local i
	for i in 1 2 3 4; do
		dd if=/dev/urandom of="$(mnt "$active")/over$i" bs=32k count=100 conv=notrunc oflag=direct status=none &
	done
	wait $!
}

# What failed is seen where it must be: all but what only gives room back, paces, or is made again.
noticed() { # site deaths-before errno
	local what
	[[ -z ${READS:-} ]] || return 0 # by who reads
	what=$(cat "$FAULT.log")
	case $3:$what in
	# Makes room and tries again (store_room.c; record and facts are written anew as a whole).
	'ENOSPC:write /meta/'* | 'ENOSPC:open /meta/'* | 'ENOSPC:rename /meta/'* | ENOSPC:*' /record'* | ENOSPC:*' /facts'*) return 0 ;;
	esac
	case $what in
	sync_file_range* | unlink* | fallocate*) return 0 ;;
	# What RocksDB allocated ahead and gives back when it closes a file, and when it opens the last log of its own,
	# in which there is nothing.
	'ftruncate /meta/'* | 'reopen /meta/'*.log) return 0 ;;
	# A note of its for people, and the directory, which it syncs for that note too.
	*' /meta/OPTIONS-'* | *' /meta/LOG'* | 'fsync /meta') return 0 ;;
	esac
	wait_for 10 "$what: the replica stops acknowledging, or refuses" eval '
		! site_alive '"$1"' || [[ $(dies '"$1"') -gt '"$2"' ]] ||
		tail -n +'"$from"' "$WORK/'"$1"'/log" | grep -qE "pulling is broken off|an earlier write had failed"'
}

# The workload's end, wherever it was; its mount may have gone before it had opened anything (status 2), and it may
# have been told that a disk is full (status 1).
mix_end() {
	local name
	[[ -n ${LOAD[tree]:-} ]] || return 0
	kill -TERM "${LOAD[tree]}" "${LOAD[blocks]:-${LOAD[tree]}}" 2>/dev/null || true
	for name in tree blocks; do
		[[ -z ${LOAD[$name]:-} ]] || load_wait "$name" 0 3 "$(began "$name" || echo 2)" "$(told_full "$name" && echo 1)"
	done
	mix_verify "$active"
}
began() { ! tail -n 6 "$WORK/$1.out" 2>/dev/null | grep -q '^load: thread .*: No such file or directory' || return 1; echo 0; }

told_full() { [[ $error = ENOSPC ]] && tail -n 6 "$WORK/$1.out" 2>/dev/null | grep -q 'No space left on device'; }

one_fault() { # role N errno; status 1 when the script has fewer calls
	local role=$1 error=$3 died from
	standby=$(other "$active")
	site=$standby
	[[ $role != active ]] || site=$active
	died=$(dies "$site")
	from=$(($(wc -l <"$WORK/$site/log") + 1))
	if [[ $role = puller ]]; then
		replace_standby
	else
		site_kill9 "$site"
	fi
	arm "$site" "$2" "$3"
	if [[ $role = puller ]]; then
		wait_for 20 "the puller learns that it is inactive" \
			eval 'ends || [[ $(status $site ".inactive[]") = $(domain $site) ]]'
		ctl "$active" activate clusterdomain "$(domain "$site")" >>"$WORK/words.out" 2>&1 || true
	fi
	script "$role"
	if ! hit; then
		step "$role: the script has $(calls) calls, fewer than $2"
		mix_end
		return 1
	fi
	noticed "$site" "$died" "$3"
	site_end "$site"
	((RANDOM % 2)) || flushed_is_committed
	settle 60
	mix_end
	expect_eq "what is read afterwards" "$(read_fill)" "$FILL"
	step "$role: call $2 failed with $3: $(cat "$FAULT.log"); $(($(dies "$site") - died)) new starts; verified"
}

an_error() { [[ -z ${READS:-} ]] && ((RANDOM % 4 == 0)) && echo ENOSPC || echo EIO; }

# Only calls like this, of which there must be some: nothing may stand between a fault and them unnoticed.
aimed() { # role match
	local MATCH=$2 n=0
	if ((SAMPLE)); then
		one_fault "$1" $((RANDOM % 4 + 1)) "$(an_error)" || one_fault "$1" 1 "$(an_error)" || fail "no '$2' of the $1"
		return
	fi
	while one_fault "$1" $((n + 1)) "$(an_error)"; do n=$((n + 1)); done
	((n)) || fail "no '$2' of the $1"
	settle_compare
	step "$1: all $n calls '$2' failed, one at a time"
}

role_faults() { # role
	local all=400 done=0 n at sample=$SAMPLE
	[[ -z ${READS:-} ]] || sample=$((SAMPLE ? (SAMPLE + 1) / 2 : 200)) # they are thousands
	# The first guess may be beyond the last call.
	for ((n = 1; sample == 0 || n <= sample || (done == 0 && n <= sample + 3); n++)); do
		at=$n
		((sample == 0)) || at=$((RANDOM % all + 1))
		if one_fault "$1" "${AT:-$at}" "${ERROR:-$(an_error)}"; then
			done=$((done + 1))
		else
			((sample)) || break
			all=$(calls)
		fi
		((n % 10)) || settle_compare
		[[ -z ${AT:-} || -n ${MATCHES:-} ]] || break
	done
	[[ $done -gt 0 || -n ${AT:-} ]] || fail "no call of the $1 failed"
	settle_compare
	step "$1: $done calls${READS:+ that read} failed, one at a time"
}

# A workload whose mount has gone must not go on in the directory below.
disks_cleanup() { chattr -i "$WORK"/[ab]/mnt 2>/dev/null; }
echo "seed $SEED"
work_new
net_new
sites_format 512M
chattr +i "$WORK"/[ab]/mnt || skip "the directory of a mount cannot be protected on this filesystem"
sites_start
step "both sites are up"
active=a standby=b
dd if=/dev/urandom of="$(mnt a)/fill" bs=1M count=8 oflag=direct status=none
FILL=$(sha256sum <"$(mnt a)/fill")
mix_start a # so that there is something to verify, also when the first fault comes before a workload has begun
pause_ms 300
mix_stop
all_roles() {
	local role
	for role in $ROLES; do
		role_faults "$role"
	done
}
if [[ -z ${READS+x} ]]; then
	all_roles
	READS=1
	all_roles
	unset READS
else
	all_roles
fi
if [[ -z ${MATCH:-}${ROLE:-}${AT:-} ]]; then
	for call in 'write /meta/*' 'open /meta/*' 'rename /meta/CURRENT' 'write /record.new' 'rename /record'; do
		((SAMPLE == 0)) || ROLES=$( ((RANDOM % 2)) && echo active || echo standby)
		for role in ${ROLES/puller/}; do
			aimed "$role" "$call"
		done
	done
fi
sites_stop_and_compare

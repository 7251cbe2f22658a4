# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2154 # m is the test's
#
# For tests of a mount that outlives its daemon, after test/lib.sh: all of them on site a, whose mount is $m. Says that
# the test is skipped where the kernel cannot send requests again (before 6.9).

[[ $(uname -r | awk -F. '{ print ($1 * 1000 + $2 >= 6009) }') = 1 ]] || skip "this kernel cannot resend"
CONF_VOLUME="holder = yes"
PAUSE_MS_MAX=10000 # of one, on a machine that does other things as well
PAUSE_MS=2000        # what is promised

connection() { awk -v m="$m" '$5 == m { print $3 }' /proc/self/mountinfo; } # the same as long as the mount is
holder() { pgrep -f "^[^ ]*tandem-holder $WORK/"; } # process
start_fails() { # $OUT: what the daemon says
	expect_fail in_site a "$BIN/tandemfs" run --config "$WORK/a/conf" --run-dir "$WORK/a/run"
}

opened() { # pid, descriptor: that process has it open
	wait_for 5 "the file is open" test -e "/proc/$1/fd/$2"
}

# Each name is made once and removed once, each byte appended once; executed twice, or lost, one of the commands
# fails or the count is wrong. Until there is a file "stop" in the work directory.
once() { # directory
	local n=0 d
	mkdir "$1"
	while [[ ! -e $WORK/stop ]]; do
		n=$((n + 1)) d=$1/d.$n
		mkdir "$d" || return 1
		(set -C && : >"$d/f") || return 1
		printf x >>"$1/appended" || return 1
		mv -T "$d/f" "$d/g" || return 1
		ln "$d/g" "$d/h" || return 1
		chmod 640 "$d/g" || return 1
		ln -s target "$d/s" || return 1
		mkfifo "$d/p" || return 1
		rm "$d/g" || return 1
		[[ $(stat -c '%h %a' "$d/h") = "1 640" ]] || return 1
		rm "$d/h" "$d/s" "$d/p" || return 1
		rmdir "$d" || return 1
	done
	[[ $(stat -c %s "$1/appended") = "$n" ]] || return 1
	echo "$n operations of each kind"
}
# Lines in order, for a reader that follows them.
follow() {
	local n=0
	while [[ ! -e $WORK/stop ]]; do
		n=$((n + 1))
		echo "line $n" >>"$m/followed" || return 1
		sleep 0.01
	done
	echo last >>"$m/followed"
}
workers=()
workers_start() { # name, count
	local i
	rm -f "$WORK/stop"
	workers=()
	for ((i = 1; i <= $2; i++)); do
		once "$m/$1.$i" >"$WORK/$1.$i.out" 2>&1 &
		workers+=($!)
	done
}
workers_end() { # name
	local pid
	: >"$WORK/stop"
	for pid in "${workers[@]}"; do
		wait_for 30 "each operation returns" eval "! pid_alive $pid"
		wait "$pid" || fail "$1: an application met an error: $(cat "$WORK/$1".*.out "$WORK/follow.out" 2>/dev/null)"
	done
}

# Ends the daemon and starts it again. $ms: how long an operation takes that is asked for just before the start;
# $longest: of all of them.
ms=0 longest=0 pauses=()
replaced() { # what, site_stop or site_kill9
	local begin
	"$2" a
	is_mounted a || fail "$1: the mount is gone"
	begin=$(now_ns)
	site_start a
	timeout 60 touch "$m/paused" || fail "$1: an operation met an error"
	paused "$1" "$begin"
	site_wait_active a
}
paused() { # what, since
	ms=$((($(now_ns) - $2) / 1000000))
	longest=$((ms > longest ? ms : longest))
	pauses+=("$ms")
	[[ $ms -lt $((PAUSE_MS_MAX * ${SLOWER:-1})) ]] || fail "$1: a pause of $ms ms"
}
# At the end of a test, over all its pauses: nine of ten are as promised. Of fewer than ten the middle one is, because a tenth of
# them is none.
pauses_check() {
	local n=${#pauses[@]} percent=90 sorted of
	[[ $n -gt 0 ]] || fail "no pause was measured"
	[[ $n -ge 10 ]] || percent=50
	mapfile -t sorted < <(printf '%s\n' "${pauses[@]}" | sort -n)
	of=${sorted[$(((n * percent + 99) / 100 - 1))]}
	[[ $of -lt $((PAUSE_MS * ${SLOWER:-1})) ]] || fail "of $n pauses $percent percent took up to $of ms: ${sorted[*]}"
	step "of $n pauses $percent percent took up to $of ms, the longest ${sorted[-1]} ms"
}

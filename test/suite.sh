#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Builds and runs groups of tests, one line for each program, and ends with the share of each group
# and ONE line `N passed, N failed, N skipped` over everything. Called by the Makefile.
#
#   test/suite.sh GROUP...
#     build       the programs compile
#     lint        test/lint.sh
#     units       Criterion programs
#     sim         the simulator: several seeds, those of test/sim/seeds, and its own test
#     sim-long    the simulator for STEPS over SEEDS: test/sim.sh
#     san-units, san-sim, san-system   the same, and some rounds of the kill tests, with ASan and UBSan
#     race        programs under ThreadSanitizer
#     race-system the daemons and agents themselves under it, in some rounds of a few tests
#     fuzz        every fuzzer for FUZZ_SECONDS
#     system      real mounts, real processes, real kills (test/run)
#
# Counting never trusts one source: a program counts with its own report, and its exit status and the
# sanitizers' logs are failures of their own. A group that does not build is one failure. A skip is a
# failure too when there are more than MAX_SKIPS.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

B=${B:-build}
MAKE_JOBS=${MAKE_JOBS:-$(nproc)}
export JOBS=${JOBS:-$(nproc)} # system tests at once
CRITERION_OPTS=${CRITERION_OPTS:-}
SIM_STEPS=${SIM_STEPS:-100000}
SIM_SEEDS=${SIM_SEEDS:-20}
SAN_SIM_STEPS=${SAN_SIM_STEPS:-20000}
# Of the tests that kill those that take little; with CI_LONG all of them, and what stops or hangs besides.
# SAN_ROUNDS=40 are ten rounds or more of each: standby-killed makes one of four, and a test without rounds is repeated.
SAN_ROUNDS=${SAN_ROUNDS:-4}
san_system='kill-active both-killed moments failover standby-killed orphans stale-mount recovering no-exec'
san_system_long='pull-kill split hang sigterm standby-stopped holder-kill-fsync'
# Those that call what ends a daemon, an agent or the power of a site without asking it, by themselves or by another
# one that they read in.
tests_that_kill() {
	grep -lE '^[^#]*\b(site_kill9|site_end|power_cut|agent_kill|kill -(9|KILL))\b' test/system/*.sh |
		sed 's|.*/||; s|\.sh$||' | while read -r name; do
		case $name in
		soak) ;; # it measures memory, and a sanitizer's is not the program's
		kube-*) ;; # whole clusters; some of them are in race_system_long
		*) echo "$name" ;;
		esac
	done
}
race_system='kill-active failover'
race_system_long='moments pull-kill chaos repair resync holder-kill holder-kill-fsync holder ack-fsync agent agent-failover nodes create kube-domains kube-worst-day'
RACE_SYSTEM=${RACE_SYSTEM:-$race_system${CI_LONG:+ $race_system_long}}
SAN_SYSTEM=${SAN_SYSTEM:-$san_system${CI_LONG:+ $san_system_long $(tests_that_kill)}}
FUZZ_SECONDS=${FUZZ_SECONDS:-10}
MAX_SKIPS=${MAX_SKIPS:-0}
SIM_SEED=${SIM_SEED:-1}

out=$B/suite
mkdir -p "$out"
out=$(cd "$out" && pwd)
results=$out/results
: >"$results"

# Without address space randomisation: the sanitizers' shadow maps then always find their place.
fixed=()
if setarch "$(uname -m)" -R true 2>/dev/null; then
	fixed=(setarch "$(uname -m)" -R)
fi

now_ms() {
	date +%s%3N
}

# record GROUP NAME PASSED FAILED SKIPPED MS
record() {
	local mark=ok
	echo "$1 $2 $3 $4 $5 $6" >>"$results"
	if [ "$4" -gt 0 ]; then
		mark=FAIL
	elif [ "$3" -eq 0 ] && [ "$5" -gt 0 ]; then
		mark=skip
	fi
	printf '  %-4s  %-10s %-22s %4d passed, %d failed, %d skipped  %6d.%d s\n' "$mark" "$1" "$2" \
		"$3" "$4" "$5" $(($6 / 1000)) $(($6 % 1000 / 100))
}

show_tail() {
	sed 's/^/        | /' "$1" | tail -n "${2:-40}"
}

# build GROUP MAKE-ARGUMENT...: prints nothing when it works; else records the failure.
build() {
	local group=$1 t0 log=$out/build-$1.log
	shift
	t0=$(now_ms)
	if ! env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make -j"$MAKE_JOBS" "$@" >"$log" 2>&1; then
		record "$group" build 0 1 0 $(($(now_ms) - t0))
		show_tail "$log"
		return 1
	fi
	built_ms=$(($(now_ms) - t0))
}

names() {
	env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make -s B="$1" "print-$2"
}

# The counts a report's last line `N passed, N failed, N skipped` gives, as three numbers.
counts_of() {
	grep -oE '[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped' "$1" | tail -n 1 | tr -cd '0-9 \n' |
		tr -s ' '
}

# Moves the sanitizers' reports of one run out of the way and prints how many there were.
san_reports() {
	local dir=$1 n
	n=$(find "$dir" -type f 2>/dev/null | wc -l)
	if [ "$n" -gt 0 ]; then
		find "$dir" -type f -print0 | sort -z | head -z -n 3 | xargs -0 head -n 40 |
			sed 's/^/        | /' >&2
	fi
	echo "$n"
}

san_environment() {
	local dir=$1
	rm -rf "$dir"
	mkdir -p "$dir"
	chmod 1777 "$dir"
	export ASAN_OPTIONS=log_path=$dir/asan:detect_leaks=1:allocator_may_return_null=1
	export UBSAN_OPTIONS=log_path=$dir/ubsan:print_stacktrace=1
	export LSAN_OPTIONS=print_suppressions=0
	if [ -f test/lsan.supp ]; then
		LSAN_OPTIONS+=:suppressions=$PWD/test/lsan.supp
	fi
}

# run_units GROUP B [SANDIR]
run_units() {
	local group=$1 b=$2 sandir=${3:-} prog name tap log rc t0 p f s planned extra
	for prog in $(names "$b" UNIT_PROGS); do
		name=$(basename "$prog")
		tap=$out/$group-$name.tap
		log=$out/$group-$name.log
		rm -f "$tap"
		[ -z "$sandir" ] || san_environment "$sandir"
		t0=$(now_ms)
		# shellcheck disable=SC2086 # several options in one variable
		"${fixed[@]}" timeout -k 10 "${UNIT_TIMEOUT:-300}" "$prog" --tap="$tap" $CRITERION_OPTS \
			>"$log" 2>&1 </dev/null
		rc=$?
		p=0 f=0 s=0 planned=0
		if [ -f "$tap" ]; then
			s=$(grep -c '^ok .*# SKIP' "$tap")
			p=$(($(grep -c '^ok ' "$tap") - s))
			f=$(grep -c '^not ok ' "$tap")
			planned=$(sed -n 's/^1\.\.\([0-9]*\)$/\1/p' "$tap" | tail -n 1)
			grep '^ok .*# SKIP' "$tap" | sed 's/^ok - /        skipped: /'
		fi
		# What was planned and never reported, or an exit status that nothing explains.
		if [ $((p + f + s)) -lt "${planned:-0}" ]; then
			f=$((f + planned - p - f - s))
		elif [ $rc -ne 0 ] && [ "$f" -eq 0 ]; then
			f=1
			echo "        | exit status $rc" >>"$log"
		elif [ $((p + f + s)) -eq 0 ]; then
			f=1
		fi
		if [ -n "$sandir" ]; then
			extra=$(san_reports "$sandir")
			f=$((f + extra))
		fi
		record "$group" "$name" "$p" "$f" "$s" $(($(now_ms) - t0))
		[ "$f" -eq 0 ] || show_tail "$log"
	done
}

# run_sim GROUP B STEPS SEEDS [SANDIR]: every third world has three replicas; then those that once
# found something. The last run puts defects in, one after the other, and wants each one found.
run_sim() {
	local group=$1 b=$2 steps=$3 seeds=$4 sandir=${5:-} i log=$out/$1.log p=0 f=0 t runs=() seed replicas level
	[ -x "$b/sim" ] || return 0
	t=$(now_ms)
	for ((i = 0; i < seeds; i++)); do
		runs+=("--seed $((SIM_SEED + i)) --replicas $((i % 3 == 2 ? 3 : 2)) --steps $steps")
	done
	if [ -z "$sandir" ]; then
		while read -r seed replicas steps level _; do
			runs+=("--seed $seed --replicas $replicas --steps $steps --level $level --sound-disks")
		done < <(grep '^[0-9]' test/sim/seeds)
		runs+=(--selftest)
	fi
	for ((i = 0; i < ${#runs[@]}; i++)); do
		[ -z "$sandir" ] || san_environment "$sandir"
		# shellcheck disable=SC2086 # several arguments in one string
		if "${fixed[@]}" timeout -k 10 "${SIM_TIMEOUT:-300}" "$b/sim" ${runs[i]} >"$log" 2>&1 \
			</dev/null && { [ -z "$sandir" ] || [ "$(san_reports "$sandir")" = 0 ]; }; then
			p=$((p + 1))
		else
			f=$((f + 1))
			cp "$log" "$out/$group-$i.log"
			echo "        failed; again: $b/sim ${runs[i]}"
			show_tail "$log" 15
		fi
	done
	record "$group" "$seeds-x-$3-steps" $p $f 0 $(($(now_ms) - t))
}

run_program() {
	local group=$1 prog=$2 name log rc t0
	name=$(basename "$prog")
	log=$out/$group-$name.log
	t0=$(now_ms)
	if [ "$group" = race ]; then
		rm -rf "$out/tsan"
		mkdir -p "$out/tsan"
		TSAN_OPTIONS="exitcode=66:second_deadlock_stack=1$([ ! -f test/tsan.supp ] ||
			echo ":suppressions=$PWD/test/tsan.supp")" "${fixed[@]}" \
			timeout -k 10 "${RACE_TIMEOUT:-180}" "$prog" >"$log" 2>&1 </dev/null
		rc=$?
		if [ $rc = 0 ] && grep -q 'WARNING: ThreadSanitizer' "$log"; then
			rc=66
		fi
	else
		mkdir -p "$out/corpus/$name" "$out/artifacts"
		local seeds=()
		[ ! -d "test/fuzz/corpus/$name" ] || seeds=("test/fuzz/corpus/$name")
		ASAN_OPTIONS=detect_leaks=1 "${fixed[@]}" timeout -k 10 $((FUZZ_SECONDS + 120)) "$prog" \
			-max_total_time="$FUZZ_SECONDS" -timeout=20 -rss_limit_mb=3000 -print_final_stats=1 \
			-error_exitcode=1 \
			-artifact_prefix="$out/artifacts/$name-" "$out/corpus/$name" "${seeds[@]}" \
			>"$log" 2>&1 </dev/null
		rc=$?
	fi
	if [ $rc = 0 ]; then
		record "$group" "$name" 1 0 0 $(($(now_ms) - t0))
	else
		record "$group" "$name" 0 1 0 $(($(now_ms) - t0))
		show_tail "$log"
	fi
}

# run_programs GROUP PROGRAM...: fuzzers have one thread, and run as many at once as there are processors.
run_programs() {
	local group=$1 prog
	shift
	for prog in "$@"; do
		if [ "$group" = fuzz ]; then
			while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do
				wait -n
			done
			run_program "$group" "$prog" &
		else
			run_program "$group" "$prog"
		fi
	done
	wait
}

# run_counted GROUP NAME COMMAND...: a command that prints its own counts and its own progress.
run_counted() {
	local group=$1 name=$2 log=$out/$1.log rc t0 c p f s
	shift 2
	t0=$(now_ms)
	"$@" </dev/null 2>&1 | tee "$log" | sed -u 's/^/    /'
	rc=${PIPESTATUS[0]}
	c=$(counts_of "$log")
	read -r p f s <<<"${c:-0 1 0}"
	if [ "$rc" -ne 0 ] && [ "$f" -eq 0 ]; then
		f=1
	fi
	record "$group" "$name" "$p" "$f" "$s" $(($(now_ms) - t0))
}

run_group() {
	local san=address,undefined
	case $1 in
	build)
		build build B="$B" all && record build programs 1 0 0 "$built_ms"
		;;
	lint)
		B=$B run_counted lint lint test/lint.sh
		;;
	units)
		build units B="$B" units-programs && run_units units "$B"
		;;
	sim)
		build sim B="$B" sim-program && run_sim sim "$B" "$SIM_STEPS" "$SIM_SEEDS"
		;;
	sim-long)
		if build sim-long B="$B" sim-program; then
			B=$B SEEDS=${SIM_SEEDS_LONG:-200} run_counted sim-long seeds test/sim.sh
		fi
		;;
	san-units)
		build san-units B="$B-asan" SAN=$san OPT=-O1 units-programs &&
			run_units san-units "$B-asan" "$out/asan"
		;;
	san-sim)
		build san-sim B="$B-asan" SAN=$san OPT=-O1 sim-program &&
			run_sim san-sim "$B-asan" "$SAN_SIM_STEPS" 2 "$out/asan"
		;;
	san-system)
		if build san-system B="$B-asan" SAN=$san OPT=-O1 all system-programs; then
			# The tests look for the sanitizers' reports themselves.
			# shellcheck disable=SC2086 # several names in one variable
			# Seeds of power cuts as many as rounds: in a normal build there are more.
			B=$B-asan ROUNDS=$SAN_ROUNDS SEEDS=$SAN_ROUNDS SLOWER=2 REPEAT=${CI_LONG:+10} \
				run_counted san-system "${SAN_ROUNDS}-rounds" "${fixed[@]}" test/run $SAN_SYSTEM
		fi
		;;
	race)
		# shellcheck disable=SC2046 # a list of programs
		build race B="$B" race-programs && run_programs race $(names "$B" RACE_PROGS)
		;;
	race-system)
		if build race-system B="$B-tsan" SAN=thread OPT=-O1 all system-programs; then
			# shellcheck disable=SC2086 # several names in one variable
			B=$B-tsan ROUNDS=$SAN_ROUNDS SLOWER=4 \
				run_counted race-system "${SAN_ROUNDS}-rounds" "${fixed[@]}" test/run $RACE_SYSTEM
		fi
		;;
	fuzz)
		# shellcheck disable=SC2046 # a list of programs
		build fuzz B="$B" fuzz-programs && run_programs fuzz $(names "$B" FUZZ_PROGS)
		;;
	system)
		if build system B="$B" all system-programs; then
			# shellcheck disable=SC2086 # several names in one variable
			B=$B run_counted system tests test/run ${TESTS:-}
		fi
		;;
	*)
		echo "suite: no group '$1'" >&2
		exit 2
		;;
	esac
	unset ASAN_OPTIONS UBSAN_OPTIONS LSAN_OPTIONS
}

groups=("$@")
begin=$(now_ms)
times=()
for g in "${groups[@]}"; do
	echo "$g"
	t=$(now_ms)
	run_group "$g"
	times+=($(($(now_ms) - t)))
done
total_ms=$(($(now_ms) - begin))

sum() {
	awk -v g="$1" -v col="$2" 'g == "" || $1 == g { n += $col } END { print n + 0 }' "$results"
}

echo
printf '%-12s %7s %7s %8s %9s %7s\n' group passed failed skipped seconds share
for i in "${!groups[@]}"; do
	g=${groups[$i]}
	printf '%-12s %7d %7d %8d %7d.%d %6d%%\n' "$g" "$(sum "$g" 3)" "$(sum "$g" 4)" "$(sum "$g" 5)" \
		$((times[i] / 1000)) $((times[i] % 1000 / 100)) \
		$((times[i] * 100 / (total_ms > 0 ? total_ms : 1)))
done
passed=$(sum '' 3) failed=$(sum '' 4) skipped=$(sum '' 5)
awk '$4 > 0 { print $1, $2 }' "$results" | while read -r g name; do
	echo "failed: $g $name"
	sed -n 's/^failed: /        /p' "$out/$g.log" 2>/dev/null
done
if [ "$skipped" -gt "$MAX_SKIPS" ]; then
	echo "skipped tests count as failures: $skipped, and MAX_SKIPS=$MAX_SKIPS"
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ] && [ "$skipped" -le "$MAX_SKIPS" ]

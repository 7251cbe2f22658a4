# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# What every system test starts with: two sites on one machine, in two directories below a private
# work directory and two network namespaces with a cable between them; helpers to start, kill, cut and
# compare; and a cleanup that leaves nothing behind, whatever happened.
#
#	. "$(dirname "$0")/../lib.sh"
#	sites_up                     # certificates, format, start, wait: A active, B in sync
#	load_start tree run a        # a workload on A's mount
#	...
#
# A site is called a or b here; its domain is site-a or site-b. A test ends with status 0, or 77 for
# skipped. Every command that fails ends the test (set -e); what must fail is wrapped in expect_fail.
#
# Environment: B or TANDEMFS_BIN (directory of the programs), TANDEMFS_TOOLS (of the test programs),
# SEED (replays), ROUNDS (20), SPLIT=2/4 (this is the second of four that share them: test/run), KEEP=1
# (keeps the work directory), TRANSPORT (tls), EXTRA_JOURNAL (lines for the section [journal]), EXTRA_VOLUME
# (for [volume]), VERBOSE=1.

set -Eeuo pipefail
umask 022

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
NAME=$(basename "$0" .sh)${SPLIT:+-${SPLIT%/*}}
BUILD=${B:-build}
[[ $BUILD = /* ]] || BUILD=$ROOT/$BUILD
BIN=${TANDEMFS_BIN:-$BUILD}
[[ $BIN = /* ]] || BIN=$ROOT/$BIN
TOOLS=${TANDEMFS_TOOLS:-$BUILD/test}
ROUNDS=${ROUNDS:-20}
TRANSPORT=${TRANSPORT:-tls}
VOLUME=db
LOGS=${TEST_LOGS:-$BUILD/test-logs}/$NAME
export TANDEMFS_TEST_TAG=${TANDEMFS_TEST_TAG:-tfs$$}
TAG=$TANDEMFS_TEST_TAG
STARTED=$(date +%s%N)
SEED=${SEED:-$((RANDOM * 32768 + RANDOM))}
RANDOM=$SEED
declare -A PID=() LOAD=()
WORK=

# --- saying and expecting ------------------------------------------------------------------------

step() {
	local ms=$((($(date +%s%N) - STARTED) / 1000000))
	printf '%4d.%03d  %s\n' $((ms / 1000)) $((ms % 1000)) "$*"
}

# How many of so many rounds are for this share of a test.
share_of() { # rounds
	local k=1 n=1
	[[ -z ${SPLIT:-} ]] || k=${SPLIT%/*} n=${SPLIT#*/}
	echo $(($1 * k / n - $1 * (k - 1) / n))
}
# What is done once, and not in each of the rounds, is for the first one.
is_first_share() { [[ ${SPLIT:-1/1} = 1/* ]]; }
# What test/run tells beside the time.
made() { # number, of what
	step "made: $*"
}

fail() {
	step "FAIL: $*"
	exit 1
}

skip() {
	echo "skipped: $*"
	exit 77
}

# Says where a test without a message of its own ended.
on_error() {
	local status=$? i
	echo "failed (status $status): line ${BASH_LINENO[0]}: $BASH_COMMAND"
	for ((i = 1; i < ${#FUNCNAME[@]} - 1; i++)); do
		echo "	in ${FUNCNAME[$i]}, called from line ${BASH_LINENO[$i]}"
	done
}
trap on_error ERR

expect_eq() { # what, actual, expected
	[[ $2 = "$3" ]] || fail "$1: '$2', not '$3'"
}

expect_match() { # what, actual, extended regular expression (without regard to case)
	grep -qiE -- "$3" <<<"$2" || fail "$1: expected /$3/ in: $2"
}

# Runs a command that must fail; its output is in $OUT, its status in $STATUS.
expect_fail() {
	STATUS=0
	OUT=$("$@" 2>&1) || STATUS=$?
	[[ $STATUS != 0 ]] || fail "should have failed: $* (said: $OUT)"
	[[ $STATUS -lt 124 ]] || fail "ended with status $STATUS: $* (said: $OUT)"
}

# Repeats a command quietly until it succeeds: often at first, then less so, because asking takes a processor too.
# By a clock that nobody sets. PATIENCE: so many times the seconds, where more than our own programs is waited for.
uptime_cs() { # in CS, hundredths of a second
	read -r CS _ </proc/uptime
	CS=$((10#${CS/./}))
}
wait_for() { # seconds, what, command...
	local end what=$2 tries=0
	uptime_cs
	end=$((CS + $1 * 100 * ${PATIENCE:-1}))
	shift 2
	until "$@" >/dev/null 2>&1; do
		uptime_cs
		[[ $CS -lt $end ]] || fail "did not happen in time: $what; $(sites_say)"
		tries=$((tries + 1))
		sleep "$(printf '0.%03d' $((tries < 10 ? 30 : tries < 40 ? 100 : 250)))"
	done
}

# Both sites in a few words, for messages.
sites_say() {
	local s text='"\(.role) mounted=\(.mounted) in-sync=\(.in_sync) inactive=\(.inactive)'
	text+=' peer=\(.peers[0].state) waiting=\(.waiting_ops) \(.trouble) \(.peers[0].text)"'
	for s in a b; do
		[[ -z ${PID[$s]:-} ]] || echo "site $s: $(status "$s" "$text")"
	done
}

now_ns() { date +%s%N; }
pause_ms() { sleep "$(printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000)))"; }
random_ms() { echo $((RANDOM % ($2 - $1) + $1)); } # from, to

# --- the two sites --------------------------------------------------------------------------------

other() { [[ $1 = a ]] && echo b || echo a; }
dir_of() { echo "$WORK/$1"; }
mnt() { echo "$WORK/$1/mnt"; }
replica_of() { echo "$WORK/$1/replica"; }
domain() { echo "site-$1"; }
address() { [[ $1 = a ]] && echo 10.77.0.1:7400 || echo 10.77.0.2:7400; }
in_site() { # site, command... : in its network
	local s=$1
	shift
	nsenter --net="/run/netns/$TAG-$s" -- "$@"
}
# The same in the background: its process in $BG, its output in bg-SITE.out in the work directory.
BG=
in_site_bg() { # site, command...
	nsenter --net="/run/netns/$TAG-$1" -- "${@:2}" >"$WORK/bg-$1.out" 2>&1 <"${BG_IN:-/dev/null}" &
	BG=$!
}

work_new() {
	local base=${TEST_TMP:-/var/tmp}
	mkdir -p "$base"
	WORK=$(mktemp -d "$base/$TAG.XXXXXX")
	chmod 755 "$WORK"
	trap cleanup EXIT
	trap 'exit 143' TERM
	trap 'exit 130' INT
	# What some tests load before it takes nothing from it.
	export ASAN_OPTIONS=log_path=$WORK/sanitizer:detect_leaks=1:abort_on_error=0:verify_asan_link_order=0
	export UBSAN_OPTIONS=log_path=$WORK/sanitizer:print_stacktrace=1
	# Threads joined by a monotonic deadline: this gcc's runtime does not see that.
	export TSAN_OPTIONS=log_path=$WORK/sanitizer:second_deadlock_stack=1:report_thread_leaks=0:suppressions=$ROOT/test/tsan.supp
	export LSAN_OPTIONS=print_suppressions=0
	[[ ! -f $ROOT/test/lsan.supp ]] || LSAN_OPTIONS+=:suppressions=$ROOT/test/lsan.supp
}

# A cable between the two sites, each in a network namespace of its own.
net_new() {
	local s
	for s in a b; do
		ip netns add "$TAG-$s"
		ip -n "$TAG-$s" link set lo up
	done
	ip link add cable netns "$TAG-a" type veth peer name cable netns "$TAG-b"
	ip -n "$TAG-a" addr add 10.77.0.1/24 dev cable
	ip -n "$TAG-b" addr add 10.77.0.2/24 dev cable
	link_heal
}
link_cut() { ip -n "$TAG-${1:-a}" link set cable down; }
# The same so that what is sent there vanishes, and is not refused, as when the power is gone.
link_silence() { # site
	local o mac
	o=$(other "$1")
	mac=$(ip -n "$TAG-$1" -j link show cable | jq -r '.[0].address')
	ip -n "$TAG-$o" neigh replace "$([[ $1 = a ]] && echo 10.77.0.1 || echo 10.77.0.2)" lladdr "$mac" dev cable nud permanent
	link_cut "$1"
}
link_heal() {
	ip -n "$TAG-a" link set cable up
	ip -n "$TAG-b" link set cable up
}

certificate() { # directory, domain, ca directory
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$1/$2.key" \
		-out "$1/$2.csr" -subj "/CN=$2" -addext "subjectAltName=DNS:$2" 2>/dev/null
	openssl x509 -req -in "$1/$2.csr" -CA "$3/ca.pem" -CAkey "$3/ca.key" -CAcreateserial -days 90 \
		-copy_extensions copy -out "$1/$2.pem" 2>/dev/null
}
authority() { # directory
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$1/ca.key" \
		-out "$1/ca.pem" -days 90 -subj "/CN=test authority" 2>/dev/null
}

# Sections that a test wants to differ: CONF_VOLUME, CONF_JOURNAL, CONF_LIMITS hold lines.
CONF_VOLUME=
CONF_JOURNAL="size = 64M"
CONF_LIMITS=
CONF_TIMEOUT=2s
declare -A REACH=() # where a site dials its peer, if not at the peer's address: REACH[a]=HOST:PORT
site_config() { # site
	local s=$1 o d
	o=$(other "$s")
	d=$(dir_of "$s")
	mkdir -p "$d/mnt" "$d/run"
	cat >"$d/conf" <<-END
		[volume]
		name = $VOLUME
		directory = $(replica_of "$s")
		mount = $d/mnt
		$CONF_VOLUME
		${EXTRA_VOLUME:-}
		[site]
		domain = $(domain "$s")
		listen = $(address "$s")
		[peer $(domain "$o")]
		address = ${REACH[$s]:-$(address "$o")}
		[transport]
		mode = $TRANSPORT
		heartbeat = 200ms
		timeout = $CONF_TIMEOUT
		$([[ $TRANSPORT != tls ]] || printf '%s\n' "ca = $WORK/pki/ca.pem" \
			"certificate = $WORK/pki/$(domain "$s").pem" "key = $WORK/pki/$(domain "$s").key")
		[journal]
		$CONF_JOURNAL
		${EXTRA_JOURNAL:-}
		[limits]
		$CONF_LIMITS
	END
}

sites_format() { # [size]
	mkdir -p "$WORK/pki"
	if [[ $TRANSPORT = tls ]]; then
		authority "$WORK/pki"
		certificate "$WORK/pki" site-a "$WORK/pki"
		certificate "$WORK/pki" site-b "$WORK/pki"
	fi
	site_config a
	site_config b
	"$BIN/tandemfs" format --config "$WORK/a/conf" --size "${1:-2G}" \
		--descriptor "$WORK/$VOLUME.desc" >>"$WORK/a/log" 2>&1
	"$BIN/tandemfs" format --join "$WORK/$VOLUME.desc" --config "$WORK/b/conf" >>"$WORK/b/log" 2>&1
}

declare -A SITE_ENV=() # NAME=VALUE words for the daemon of a site
site_start() { # site
	local d
	d=$(dir_of "$1")
	! site_alive "$1" || fail "site $1 runs already"
	echo "--- started at $(date +%H:%M:%S.%3N)" >>"$d/log"
	# shellcheck disable=SC2086 # several words
	nsenter --net="/run/netns/$TAG-$1" -- env ${SITE_ENV[$1]:-} \
		"$BIN/tandemfs" run --config "$d/conf" --run-dir "$d/run" ${VERBOSE:+--verbose} \
		>>"$d/log" 2>&1 </dev/null &
	PID[$1]=$!
}

# A zombie is not alive.
pid_alive() {
	local state
	state=$(sed "s/.*) //" "/proc/$1/stat" 2>/dev/null) && [[ -n $state && $state != Z* ]]
}
site_alive() { [[ -n ${PID[$1]:-} ]] && pid_alive "${PID[$1]}"; }

site_kill9() { # site...
	local s
	for s in "$@"; do
		site_alive "$s" || fail "the daemon of site $s ended by itself: $(tail -n 3 "$WORK/$s/log")"
		kill -9 "${PID[$s]}"
	done
	for s in "$@"; do
		wait "${PID[$s]}" 2>/dev/null || true
		unset "PID[$s]"
	done
}

# For a daemon that may have ended by itself.
site_end() { # site
	kill -9 "${PID[$1]}" 2>/dev/null || true
	wait "${PID[$1]}" 2>/dev/null || true
	unset "PID[$1]"
}

# A clean stop: ends in time, with status 0.
site_stop() { # site [seconds]
	local status=0 pid=${PID[$1]:-}
	site_alive "$1" || fail "the daemon of site $1 ended by itself: $(tail -n 3 "$WORK/$1/log")"
	kill -TERM "$pid"
	wait_for "${2:-15}" "site $1 stops after SIGTERM" eval "! site_alive $1"
	wait "$pid" || status=$?
	unset "PID[$1]"
	expect_eq "exit status of site $1 after SIGTERM" "$status" 0
}

ctl() { # site, arguments of tandemctl...
	local s=$1
	shift
	timeout 60 "$BIN/tandemctl" --run-dir "$WORK/$s/run" "$@" </dev/null
}

# A command of tandemctl that must succeed.
order() { # site, arguments...
	ctl "$@" >"$WORK/order.out" 2>&1 ||
		fail "site $1: tandemctl ${*:2}: status $?: $(cat "$WORK/order.out")"
}

# A member of the status, as jq prints it; "down" where no daemon answers.
status() { # site, jq expression
	local json
	if json=$(ctl "$1" status -o json 2>/dev/null) && [[ -n $json ]]; then
		"$TOOLS/member" "$2" <<<"$json" || jq -r "(if type == \"array\" then .[0] else . end) | $2" <<<"$json"
	else
		echo down
	fi
}
role() { status "$1" .role; }
# What is told behind the answer that it is about.
logged() { # site, extended regular expression, any case
	wait_for 10 "the log of site $1 says '$2'" grep -qiE -- "$2" "$WORK/$1/log"
}
# When its daemon began, or began anew, in seconds of the machine's own: the time of day may be set meanwhile.
born_at() { # site
	local up
	up=$(status "$1" .uptime_s)
	[[ $up != down ]] || fail "site $1 does not answer"
	awk -v up="$up" '{ printf "%d", $1 - up }' /proc/uptime
}
has_role() { [[ $(role "$1") = "$2" ]]; }
is_mounted() { grep -q " $WORK/$1/mnt " /proc/self/mountinfo; }
is_serving() { [[ $(status "$1" '"\(.role) \(.mounted)"') = "active true" ]] && is_mounted "$1"; }
in_sync_count() { status "$1" '.in_sync | length'; }
peer_state() { status "$1" '.peers[0].state'; }

site_wait_role() { wait_for "${3:-20}" "site $1 becomes $2" has_role "$1" "$2"; }
site_wait_active() { wait_for "${2:-20}" "site $1 becomes active and mounts" is_serving "$1"; }
# Seen from the active site: the other one is in the set and level.
site_wait_in_sync() { # active site [seconds]
	wait_for "${2:-20}" "the peer of site $1 is in sync" \
		eval '[[ $(status '"$1"' "\"\(.in_sync|length) \(.peers[0].state)\"") = "2 in-sync" ]]'
}

sites_up() { # [size]
	echo "seed $SEED"
	work_new
	net_new
	sites_format "${1:-2G}"
	sites_start
	step "both sites are up"
}
sites_start() {
	site_start b
	site_start a
	site_wait_active a
	site_wait_in_sync a
}

# What the daemon of a site said since the last start, or altogether.
site_log() { cat "$WORK/$1/log"; }

site_check() { # site, more options...
	local s=$1
	shift
	"$BIN/tandemfs" check --config "$WORK/$s/conf" "$@" ||
		fail "check of site $s: status $?"
}

# What the disk of a site says that does not run: FLUSHED (what RocksDB's files hold), DURABLE (the end of its
# journal), IN_SYNC (the domains that its record lists).
declare -A FLUSHED=() DURABLE=() IN_SYNC=()
look_at() { # site [options of check]
	local out=$WORK/check.out
	"$BIN/tandemfs" check --config "$WORK/$1/conf" "${@:2}" >"$out" 2>&1 ||
		fail "check of site $1 as it was left: $(head -n 20 "$out")"
	FLUSHED[$1]=$(sed -n 's/.*flushed at seq \([0-9]*\).*/\1/p' "$out")
	DURABLE[$1]=$(sed -n 's/^journal: seq [0-9]* to \([0-9]*\),.*/\1/p' "$out")
	IN_SYNC[$1]=$(sed -n 's/^record: .*in sync: *//p' "$out")
}

# I5: what RocksDB's files hold was committed. A site that does not run, whatever ended it, has flushed no more
# than its own journal has, nor than the other site has durably where both records list both; recovery would
# take what is flushed for committed, and not tell. Where both run there is nothing to be seen.
flushed_is_committed() { # [options of check]
	local s o both="site-a site-b"
	for s in a b; do
		site_alive "$s" || look_at "$s" "$@"
	done
	for s in a b; do
		o=$(other "$s")
		! site_alive "$s" || continue
		[[ ${FLUSHED[$s]} -le ${DURABLE[$s]} ]] ||
			fail "I5: site $s has flushed seq ${FLUSHED[$s]}, its journal ends at ${DURABLE[$s]}"
		[[ ${IN_SYNC[$s]} = "$both" ]] || continue
		if site_alive "$o"; then # it may not have recovered yet
			wait_for 10 "I5: site $o has what site $s has flushed: seq ${FLUSHED[$s]}" eval '
				[[ $(status '"$o"' "(.in_sync | length) < 2 or .seq.durable >= '"${FLUSHED[$s]}"'") = true ]]'
		elif [[ ${IN_SYNC[$o]} = "$both" ]]; then
			[[ ${FLUSHED[$s]} -le ${DURABLE[$o]} ]] || fail "I5: site $s has flushed seq" \
				"${FLUSHED[$s]}, the journal of site $o ends at ${DURABLE[$o]}"
		fi
	done
}

# The same where the other site is silent: nothing that it has not confirmed can have been committed since.
flushed_within() { # site that does not run, seq
	look_at "$1"
	[[ ${FLUSHED[$1]} -le $2 ]] ||
		fail "I5: site $1 has flushed seq ${FLUSHED[$1]}, and committed are those up to $2"
}

levels() { status "$1" '"\(.seq.committed) \(.seq.durable)"'; }
is_level() {
	local a b
	a=$(levels a) b=$(levels b)
	[[ $a = "$b" && ${a% *} = "${a#* }" ]]
}

# For tests that want both checked from what is on their disks, and not in memory.
before_check() { :; }

# Stops both sites, checks both with all their data, and compares what they hold.
sites_stop_and_compare() {
	local s out digest=() active=a
	[[ $(role b) != active ]] || active=b
	wait_for 30 "both sites hold the same" is_level
	site_stop "$active"
	site_stop "$(other "$active")"
	before_check
	for s in a b; do
		out=$(site_check "$s" --data --digest)
		digest+=("$(grep '^digest ' <<<"$out")")
	done
	expect_eq "digest of site b" "${digest[1]}" "${digest[0]}"
	step "both sites are clean and equal: ${digest[0]}"
}

# --- workloads ------------------------------------------------------------------------------------

# Bytes in the log of each thread.
load_logs() { # NAME
	stat -c '%n %s' "$WORK/$1".[0-9] "$WORK/$1".[0-9][0-9] 2>/dev/null || true
}
# How many threads have begun something since.
load_begun() { # NAME bytes-before
	comm -13 <(sort <<<"$2") <(load_logs "$1" | grep -v ' 0$' | sort) | wc -l
}

# load_start NAME run|stamp SITE [options]: files in NAME/ on the mount, logs in the work directory. Returns
# when all threads are under way: on a busy machine a test might otherwise take the mount away before they
# have found it. Where writes wait for a peer, it does not wait for ever.
load_start() {
	local name=$1 verb=$2 s=$3 threads=4 before i
	shift 3
	for ((i = 1; i < $#; i++)); do
		[[ ${!i} != --threads ]] || threads=${*:i+1:1}
	done
	before=$(load_logs "$name")
	mkdir -p "$(mnt "$s")/$name"
	"$TOOLS/load" "$verb" --dir "$(mnt "$s")/$name" --log "$WORK/$name" --seed $RANDOM "$@" \
		>>"$WORK/$name.out" 2>&1 &
	LOAD[$name]=$!
	for ((i = 0; i < 150; i++)); do
		pid_alive "${LOAD[$name]}" && [[ $(load_begun "$name" "$before") -lt $threads ]] || break
		sleep 0.02
	done
}
# Waits for its end; the status must be one of the given ones: 0 in order, 3 the mount went away.
# Some workloads last as many seconds as there are rounds, which may take less.
load_wait() { # NAME STATUS...
	local name=$1 pid=${LOAD[$1]} status=0 want
	shift
	wait_for $((60 + ROUNDS)) "the workload $name ends" eval "! pid_alive $pid"
	wait "$pid" || status=$?
	unset "LOAD[$name]"
	for want in "$@"; do
		[[ $status != "$want" ]] || return 0
	done
	fail "workload $name ended with status $status: $(tail -n 4 "$WORK/$name.out")"
}
load_stop() { # NAME
	kill -TERM "${LOAD[$1]}" 2>/dev/null || true
	load_wait "$1" 0
}
load_verify() { # NAME run|stamp SITE [options]
	local name=$1 verb=$2 s=$3
	shift 3
	[[ $verb = run ]] && verb=verify || verb=stamp-verify
	"$TOOLS/load" $verb --dir "$(mnt "$s")/$name" --log "$WORK/$name" "$@" >>"$WORK/$name.out" 2>&1 ||
		fail "site $s does not hold what $name was acknowledged: $(tail -n 6 "$WORK/$name.out")"
}
# How many changes of a workload were acknowledged between two times.
load_acked() { # NAME after before
	"$TOOLS/load" acked --log "$WORK/$1" --after "$2" --before "$3" 2>/dev/null
}
# The usual mixture, 4 threads of each kind.
mix_start() { # SITE
	load_start tree run "$1"
	load_start blocks stamp "$1"
}
mix_wait() { # STATUS...
	load_wait tree "$@"
	load_wait blocks "$@"
}
mix_stop() {
	kill -TERM "${LOAD[tree]}" "${LOAD[blocks]}" 2>/dev/null || true
	mix_wait 0
}
mix_verify() { # SITE
	load_verify tree run "$1"
	load_verify blocks stamp "$1"
}
mix_acked() { # after before
	echo $(($(load_acked tree "$1" "$2") + $(load_acked blocks "$1" "$2")))
}

# The mount of a site answers everything but changes within a second.
probe() { # SITE [limit in ms]
	timeout 30 "$TOOLS/probe" answer "$(mnt "$1")/probe" "${2:-1000}" ||
		fail "the mount of site $1 does not answer while writes wait"
}

# --- cleaning up ----------------------------------------------------------------------------------

# Processes with our tag in their environment, or that work below our directory: PostgreSQL's write their titles over
# their environment. Not this shell and those above it.
tagged() {
	local e above=" $BASHPID " pid=$$
	while [[ $pid -gt 1 ]]; do
		above+="$pid "
		pid=$(awk '{ sub(/.*\) /, ""); print $2 }' "/proc/$pid/stat")
	done
	for e in $(grep -lzxs "TANDEMFS_TEST_TAG=$TAG" /proc/[0-9]*/environ) \
		$(find /proc/[0-9]*/cwd -maxdepth 0 -lname "*/$TAG.*" 2>/dev/null); do
		e=${e#/proc/} e=${e%/*}
		[[ $above = *" $e "* ]] || echo "$e"
	done
}

cleanup() {
	local status=$? s pid m i
	trap - ERR EXIT
	trap '' TERM INT
	set +e
	if [[ $status = 0 ]]; then
		for s in "${!PID[@]}"; do
			site_alive "$s" && continue
			step "FAIL: the daemon of site $s ended by itself: $(tail -n 3 "$WORK/$s/log")"
			status=1
		done
	fi
	exec 3>&2 2>/dev/null # bash would tell of each one that is killed
	for i in 1 2 3 4 5; do
		# shellcheck disable=SC2046
		kill -CONT $(jobs -p) $(tagged) 2>/dev/null
		# shellcheck disable=SC2046
		kill -9 $(jobs -p) $(tagged) 2>/dev/null || break
		sleep 0.1
	done
	wait
	exec 2>&3 3>&-
	# Twice: a mount may lie on another one.
	for m in $(awk '{print $5}' /proc/self/mountinfo | grep "^$WORK/" | tac) \
		$(awk '{print $5}' /proc/self/mountinfo | grep "^$WORK/" | tac); do
		umount -l "$m" 2>/dev/null
	done
	! declare -F disks_cleanup >/dev/null || disks_cleanup
	! declare -F kube_cleanup >/dev/null || kube_cleanup
	for s in a b; do
		[[ ! -e /run/netns/$TAG-$s ]] || ip netns del "$TAG-$s"
	done
	if compgen -G "$WORK/sanitizer*" >/dev/null; then
		step "FAIL: a sanitizer reported something:"
		head -n 40 "$WORK"/sanitizer*
		[[ $status != 0 && $status != 77 ]] || status=1
	fi
	rm -rf "$LOGS"
	if [[ $status != 0 && $status != 77 ]]; then
		step "seed $SEED; logs are in $LOGS"
		mkdir -p "$LOGS"
		cp "$WORK"/*.out "$WORK"/sanitizer* "$LOGS" 2>/dev/null
		for s in a b; do
			[[ -d $WORK/$s ]] || continue
			cp "$WORK/$s/log" "$LOGS/site-$s.log" 2>/dev/null
			cp "$WORK/$s/conf" "$LOGS/site-$s.conf" 2>/dev/null
			echo "--- end of the log of site $s"
			tail -n 8 "$WORK/$s/log" 2>/dev/null
			for m in "$WORK/$s/logs"/*.log; do # of daemons that an agent started
				[[ -e $m ]] || continue
				cp "$m" "$LOGS/site-$s-${m##*/}"
				echo "--- end of ${m##*/} of site $s"
				tail -n 8 "$m"
			done
		done
	fi
	if [[ -n ${KEEP:-} ]]; then
		echo "kept: $WORK"
	else
		rm -rf --one-file-system "$WORK"
	fi
	exit "$status"
}

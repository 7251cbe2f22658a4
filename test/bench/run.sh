#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Measures the disk's own filesystem, GlusterFS replica 2 and tandemfs (plain TCP and TLS, each with ack = op and with
# ack = fsync, which promises what the other two do: what was synced) with the same workloads, in the same run, on the same disk, and prints
# medians of interleaved rounds with their ratios, which of these are below what is aimed at, then one commit's latency
# against the physical floor max(L_local, RTT + L_remote).
#
#   BENCH="append pgbench"   workloads (default: all of them, see the list below)
#   SYSTEMS="ext4 tls"       of: ext4 gluster plain tls plainfsync fsync
#   ROUNDS=3                 interleaved rounds
#   BENCH_SECONDS=2          of each timed workload
#   RTT_US=0                 distance between the sites of tandemfs, by relays
#   BENCH_DIR=/var/tmp       a directory on the disk to measure
#   B=build                  result also in $B/bench.txt
#
# Everything runs in a mount and process namespace of its own: whatever happens, no mount, daemon or
# state of GlusterFS outlives the run.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1

export B=${B:-build}
BENCH_DIR=${BENCH_DIR:-/var/tmp}
ROUNDS=${ROUNDS:-3}
BENCH_SECONDS=${BENCH_SECONDS:-2}
RTT_US=${RTT_US:-0}
tandems="plain tls plainfsync fsync"
SYSTEMS=${SYSTEMS:-ext4 gluster $tandems}
all_workloads="append osync random direct write read randread sync sync8 create untar find tarread rmrf sqlite pgbench back rewrite"
BENCH=${BENCH:-$all_workloads}
pg_bin=$(find /usr/lib/postgresql/*/bin -maxdepth 0 2>/dev/null | sort -V | tail -n 1)

if [ "${1:-}" != --inside ]; then
	for w in $BENCH; do
		case " $all_workloads " in
		*" $w "*) ;;
		*) echo "bench: no workload '$w'; there are: $all_workloads" >&2 && exit 2 ;;
		esac
	done
	if [ "$(id -u)" != 0 ]; then
		echo "bench: mounting needs root" >&2
		exit 1
	fi
	work=$(mktemp -d "$BENCH_DIR/tandemfs-bench.XXXXXX") || exit 1
	trap 'rm -rf --one-file-system "$work"' EXIT
	trap 'exit 130' INT TERM
	chmod 755 "$work"
	mkdir -p "$B"
	export work BENCH_DIR ROUNDS BENCH_SECONDS RTT_US SYSTEMS BENCH
	unshare --mount --pid --fork --kill-child --mount-proc --propagation private \
		"$0" --inside </dev/null
	exit $?
fi

# --- inside ----------------------------------------------------------------------------------------
# shellcheck source=test/sites.sh
. test/sites.sh
# shellcheck source=test/bench/back.sh
. test/bench/back.sh
# shellcheck source=test/bench/rewrite.sh
. test/bench/rewrite.sh
fsio=$PWD/$B/bench/fsio
files=$PWD/$B/bench/files
floor=$PWD/$B/bench/floor
results=$work/results
: >"$results"
ulimit -n 65536 2>/dev/null

say() {
	printf '%s\n' "$*" >&2
}

start_ext4() {
	mkdir -p "$work/ext4"
	root[ext4]=$work/ext4
}

start_gluster() {
	local host dir=$work/gluster
	host=$(hostname)
	command -v glusterd >/dev/null || { say "glusterfs-server is not installed"; return 1; }
	if [ -n "$(ss -ltnH 'sport = :24007')" ]; then
		say "a glusterd that is not ours listens on port 24007"
		return 1
	fi
	# The brick's host must be the machine's name, and that name must be known.
	if ! getent hosts "$host" >/dev/null; then
		cp /etc/hosts "$work/hosts"
		echo "127.0.0.1 $host" >>"$work/hosts"
		mount --bind "$work/hosts" /etc/hosts
	fi
	for d in /run /var/log/glusterfs /var/lib/glusterd; do
		mkdir -p "$d"
		mount -t tmpfs none "$d"
	done
	mkdir -p /run/gluster "$dir/brick1" "$dir/brick2" "$dir/mnt"
	glusterd || return 1
	for _ in $(seq 100); do
		gluster --mode=script pool list >/dev/null 2>&1 && break
		sleep 0.1
	done
	{
		gluster --mode=script volume create bench replica 2 "$host:$dir/brick1" "$host:$dir/brick2" force &&
			gluster --mode=script volume start bench &&
			mount -t glusterfs "$host:/bench" "$dir/mnt"
	} >"$work/gluster.log" 2>&1 || { tail -n 3 "$work/gluster.log" >&2; return 1; }
	root[gluster]=$dir/mnt
}

start_tandem() {
	local dir=$work/$1 mode=$1
	export ACK=op # sites_make
	case $1 in
	plainfsync) ACK=fsync mode=plain ;;
	fsync) ACK=fsync mode=tls ;;
	esac
	[ -x "$tandemfs" ] && [ -x "$tandemctl" ] || { say "tandemfs is not built"; return 1; }
	sites_make "$dir" bench "$mode" "${VOLUME_SIZE:-8G}" 512M "$RTT_US" || return 1
	site_start "$dir" a
	site_start "$dir" b
	site_wait "$dir" a 30 site_mounted "$dir" a || return 1
	root[$1]=$dir/a/mnt
}

# Nothing of the system's files stays in memory: caches dropped, clients and daemons started anew.
cold() {
	local dir=$work/$1
	sync
	case $1 in
	gluster)
		umount "$dir/mnt"
		echo 3 >/proc/sys/vm/drop_caches
		mount -t glusterfs "$(hostname):/bench" "$dir/mnt"
		;;
	plain | tls | plainfsync | fsync)
		site_stop "$dir" a
		echo 3 >/proc/sys/vm/drop_caches
		site_start "$dir" a
		site_wait "$dir" a 60 site_mounted "$dir" a
		;;
	*) echo 3 >/proc/sys/vm/drop_caches ;;
	esac
}

# record SYSTEM WORKLOAD RATE [P50_US]
record() {
	echo "$1 $2 $3 ${4:-0}" >>"$results"
	say "$(printf '  %-8s %-8s %12s' "$2" "$1" "$3")"
}

# A load program's line into a record.
record_line() {
	local rate p50
	rate=$(sed -n 's/^rate=\([0-9.]*\) .*/\1/p' <<<"$3")
	p50=$(sed -n 's/.* p50_us=\([0-9.]*\) .*/\1/p' <<<"$3")
	if [ -z "$rate" ]; then
		say "  $2 on $1 failed: $3"
		failures=$((failures + 1))
		return 1
	fi
	record "$1" "$2" "$rate" "$p50"
}

# rate COUNT COMMAND...: COUNT per second of the command's time
rate() {
	local count=$1 t0 t1
	shift
	t0=$(date +%s%N)
	"$@" >"$work/rate.log" 2>&1 || { tail -n 3 "$work/rate.log" >&2; echo failed; return 1; }
	t1=$(date +%s%N)
	awk -v n="$count" -v ns=$((t1 - t0)) 'BEGIN { printf "%.1f\n", n * 1e9 / ns }'
}

record_rate() {
	local system=$1 workload=$2 r
	shift 2
	r=$(rate "$@") || { failures=$((failures + 1)); return 1; }
	record "$system" "$workload" "$r"
}

tree_files=4000
tree_untar() {
	tar -xf "$work/tree.tar" -C "$1" && sync -f "$1"
}
tree_find() {
	[ "$(find "$1/tree" -type f -size +0 | wc -l)" = $tree_files ]
}
tree_read() {
	tar -cf - -C "$1" tree | cat >/dev/null
}

workload_sqlite() {
	local dir=$1
	rm -f "$dir/bench.sqlite"*
	sqlite3 "$dir/bench.sqlite" 'PRAGMA journal_mode=DELETE; CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT);' >/dev/null &&
		sqlite3 "$dir/bench.sqlite" <"$work/sqlite.sql"
}

as_postgres() {
	setpriv --reuid=postgres --regid=postgres --clear-groups "$@"
}

pg_start() {
	as_postgres "$pg_bin/pg_ctl" -D "$1/pg" -s -w -t 120 -l "$work/pg.log" start
}
pg_stop() {
	as_postgres "$pg_bin/pg_ctl" -D "$1/pg" -s -w -m fast stop
}

# PostgreSQL as it comes (full_page_writes on for everybody), 8 clients.
workload_pgbench() {
	local system=$1 dir=${root[$1]} out tps
	touch "$work/pg.log" && chown postgres "$work/pg.log"
	if [ ! -d "$dir/pg" ]; then
		say "  pgbench  $system: initdb"
		install -d -o postgres -g postgres -m 700 "$dir/pg"
		as_postgres "$pg_bin/initdb" -D "$dir/pg" -A trust >"$work/initdb.log" 2>&1 || return 1
		cat >>"$dir/pg/postgresql.conf" <<-END
			port = $pg_port
			listen_addresses = ''
			unix_socket_directories = '$work/pg-run'
			max_wal_size = 4GB
			autovacuum = off
		END
		pg_start "$dir" || return 1
		as_postgres "$pg_bin/pgbench" -h "$work/pg-run" -p "$pg_port" -i -q -s 10 postgres \
			>"$work/pgbench.log" 2>&1 || return 1
	else
		pg_start "$dir" || return 1
	fi
	as_postgres "$pg_bin/psql" -h "$work/pg-run" -p "$pg_port" -q -c checkpoint postgres
	out=$(as_postgres "$pg_bin/pgbench" -h "$work/pg-run" -p "$pg_port" -n -M prepared -c 8 -j 2 \
		-T $((BENCH_SECONDS * 3)) postgres 2>&1)
	pg_stop "$dir"
	tps=$(sed -n 's/^tps = \([0-9.]*\) .*/\1/p' <<<"$out")
	[ -n "$tps" ] || { tail -n 3 <<<"$out" >&2; return 1; }
	record "$system" pgbench "$(printf '%.1f' "$tps")"
}

wanted() {
	case " $BENCH " in
	*" $1 "*) return 0 ;;
	esac
	return 1
}

run_workload() {
	local w=$1 s=$2 dir=${root[$2]}
	sync
	sleep 0.2
	case $w in
	append | osync | random | direct)
		record_line "$s" "$w" "$("$fsio" "$w" "$dir" "$BENCH_SECONDS" 2>&1)"
		;;
	write) record_line "$s" write "$("$fsio" write "$dir" 256 2>&1)" ;;
	read | randread)
		[ -f "$dir/fsio.seq" ] || "$fsio" write "$dir" 256 >/dev/null
		cold "$s"
		if [ "$w" = read ]; then
			record_line "$s" read "$("$fsio" read "$dir" 256 2>&1)"
		else
			record_line "$s" randread "$("$fsio" randread "$dir" "$BENCH_SECONDS" 2>&1)"
		fi
		;;
	sync) record_line "$s" sync "$("$files" sync "$dir" "$BENCH_SECONDS" 1 2>&1)" ;;
	sync8) record_line "$s" sync8 "$("$files" sync "$dir" "$BENCH_SECONDS" 8 2>&1)" ;;
	create) record_line "$s" create "$("$files" create "$dir" "$BENCH_SECONDS" 1 2>&1)" ;;
	tree) # untar, find, tarread and rmrf work on one tree, one after the other
		rm -rf "$dir/tree"
		record_rate "$s" untar $tree_files tree_untar "$dir"
		if wanted find; then
			cold "$s"
			record_rate "$s" find $tree_files tree_find "$dir"
		fi
		if wanted tarread; then
			cold "$s"
			record_rate "$s" tarread $tree_files tree_read "$dir"
		fi
		record_rate "$s" rmrf $tree_files rm -rf "$dir/tree"
		;;
	sqlite) record_rate "$s" sqlite 300 workload_sqlite "$dir" ;;
	pgbench)
		workload_pgbench "$s" || { say "  pgbench on $s failed"; failures=$((failures + 1)); }
		;;
	esac
}

median() {
	sort -g | awk '{ v[NR] = $1 } END { if (NR) printf "%s", NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}

# value WORKLOAD SYSTEM [COLUMN]
value() {
	awk -v w="$1" -v s="$2" -v c="${3:-3}" '$1 == s && $2 == w { print $c }' "$results" | median
}

ratio() {
	awk -v a="$1" -v b="$2" 'BEGIN { if (a == "" || b == "" || b == 0) print "-"; else printf "x%.2f", a / b }'
}

describe() {
	case $1 in
	append) echo "4 KiB append + fdatasync, depth 1 (IOPS)" ;;
	osync) echo "4 KiB O_DIRECT + O_SYNC random, depth 1 (IOPS)" ;;
	random) echo "4 KiB random + fdatasync, 16 files, 16 writers (IOPS)" ;;
	direct) echo "16 KiB O_DIRECT, one file, 8 writers, fdatasync every 8 (IOPS)" ;;
	write) echo "1 MiB sequential write, fsync at the end (MB/s)" ;;
	read) echo "1 MiB sequential read, cold (MB/s)" ;;
	randread) echo "4 KiB random read, cold, 8 readers (IOPS)" ;;
	sync) echo "create + write 4 KiB + fsync, 1 thread (files/s)" ;;
	sync8) echo "the same, 8 processes (files/s)" ;;
	create) echo "create empty files (files/s)" ;;
	untar) echo "untar $tree_files source files + sync (files/s)" ;;
	find) echo "find -size, cold (files/s)" ;;
	tarread) echo "tar of the tree, cold (files/s)" ;;
	rmrf) echo "rm -rf (files/s)" ;;
	sqlite) echo "SQLite, synchronous=FULL (transactions/s)" ;;
	pgbench) echo "PostgreSQL, pgbench, 8 clients (transactions/s)" ;;
	esac
}

title() {
	case $1 in
	ext4) echo "$disk_fs" ;;
	gluster) echo "GlusterFS replica 2" ;;
	plain) echo "tandemfs, plain TCP" ;;
	tls) echo "tandemfs, TLS 1.3" ;;
	plainfsync) echo "tandemfs, plain TCP, ack = fsync" ;;
	fsync) echo "tandemfs, TLS 1.3, ack = fsync" ;;
	esac
}

print_table() {
	local s w v line head="| workload |" rule="|---|"
	for s in $SYSTEMS; do
		head+=" $(title "$s") |"
		rule+="---|"
	done
	echo "$head"
	echo "$rule"
	for w in $all_workloads; do
		wanted "$w" && [ "$w" != back ] || continue
		line="| $(describe "$w") |"
		for s in $SYSTEMS; do
			v=$(value "$w" "$s")
			if [ -z "$v" ]; then
				line+=" - |"
			elif [ "$s" = ext4 ]; then
				line+=" $(printf '%.0f' "$v") |"
			elif [ "$s" = gluster ]; then
				line+=" $(printf '%.0f' "$v") ($(ratio "$v" "$(value "$w" ext4)")) |"
			else
				line+=" $(printf '%.0f' "$v") ($(ratio "$v" "$(value "$w" ext4)"), $(ratio "$v" "$(value "$w" gluster)")) |"
			fi
		done
		echo "$line"
	done
	echo
	echo "In brackets: ratio to $disk_fs, then to GlusterFS. Both copies of GlusterFS and of tandemfs are on the one disk."
}

# What is aimed at: a workload's ratio to another system, in this run.
target() { # workload, system
	case $2-$1 in
	gluster-write) echo 2 ;;
	gluster-read) echo 1.4 ;;
	gluster-*) echo 3 ;;
	ext4-append | ext4-osync) echo 0.4 ;;
	ext4-random) echo 0.3 ;;
	esac
}

# Noise makes a ratio no failure: who reads decides.
print_below() {
	local w s to want got below=""
	for w in $all_workloads; do
		for s in $tandems; do
			for to in ext4 gluster; do
				want=$(target "$w" $to)
				got=$(ratio "$(value "$w" "$s")" "$(value "$w" "$to")")
				[ -n "$want" ] && [ "$got" != - ] || continue
				awk -v a="${got#x}" -v b="$want" 'BEGIN { exit !(a < b) }' || continue
				below+="- $(describe "$w"): $(title "$s") has $got of $(title "$to"), x$want is the aim"$'\n'
			done
		done
	done
	echo
	[ -n "$below" ] || { echo "Every ratio that was measured is what is aimed at, or better." && return; }
	echo "Below what is aimed at:"
	echo
	printf '%s' "$below"
}

print_floor() {
	local f s p
	wanted append || return
	f=$(value floor bare 3)
	[ -n "$f" ] || return
	echo
	echo "One 4 KiB commit, median latency in microseconds (the append workload):"
	echo
	echo "| what | us | above the floor |"
	echo "|---|---|---|"
	echo "| L: O_DIRECT RWF_DSYNC write, alone | $(value alone bare) | |"
	echo "| L_local, L_remote: two of them in parallel | $(value local bare), $(value remote bare) | |"
	echo "| RTT: loopback, 4 KiB there, 32 bytes back$([ "$RTT_US" = 0 ] || echo ", and the relay's $RTT_US us") | $(value rtt bare) | |"
	echo "| **floor: max(L_local, RTT + L_remote)** | $f | 0 |"
	echo "| a bare program that does just this | $(value model bare) | $(awk -v a="$(value model bare)" -v f="$f" 'BEGIN { printf "%.0f", a - f }') |"
	for s in $SYSTEMS; do
		p=$(value append "$s" 4)
		[ -n "$p" ] || continue
		echo "| $(title "$s") | $p | $(awk -v a="$p" -v f="$f" 'BEGIN { printf "%+.0f", a - f }')$([ "$s" != ext4 ] || echo ' (one copy)') |"
	done
}

print_stages() {
	local s
	for s in $tandems; do
		[ -n "${root[$s]:-}" ] || continue
		echo
		echo "What \`tandemctl status\` says about the latency of $(title "$s"):"
		echo
		site_ctl "$work/$s" a status 2>&1 | sed 's/^/    /'
	done
}

print_report() {
	echo "# tandemfs bench"
	echo
	echo "$(date -u +%Y-%m-%d), Linux $(uname -r), $(nproc) x $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)," \
		"$disk_fs on $disk; medians of $ROUNDS interleaved rounds, $BENCH_SECONDS s each$([ "$RTT_US" = 0 ] || echo ", round trip of tandemfs +$RTT_US us")."
	echo
	print_table
	print_below
	print_floor
	print_stages
}

declare -A root
failures=0
disk=$(findmnt -no SOURCE -T "$work")
disk_fs=$(findmnt -no FSTYPE -T "$work")
pg_port=$(sites_free_port 54400)
install -d -o postgres -g postgres -m 755 "$work/pg-run" 2>/dev/null
"$files" tree "$work/tree" $tree_files && tar -cf "$work/tree.tar" -C "$work" tree && rm -rf "$work/tree"
{
	echo 'PRAGMA synchronous=FULL;'
	for i in $(seq 300); do
		echo "INSERT INTO t VALUES ($i, 'a row of the size that rows usually have, number $i');"
	done
} >"$work/sqlite.sql"

up=""
for s in $SYSTEMS; do
	case $s in
	ext4 | gluster) "start_$s" ;;
	plain | tls | plainfsync | fsync) start_tandem "$s" ;;
	*) say "bench: no system '$s'" && false ;;
	esac && up+=" $s" || { say "bench: no column for $s"; failures=$((failures + 1)); }
done
SYSTEMS=${up# }

# One pass of the tree for four workloads.
steps=""
for w in $BENCH; do
	case $w in
	back | rewrite) ;; # once, at the end
	untar | find | tarread | rmrf) case "$steps " in *" tree "*) ;; *) steps+=" tree" ;; esac ;;
	*) steps+=" $w" ;;
	esac
done

read -ra order <<<"$SYSTEMS"
for ((round = 1; round <= ROUNDS; round++)); do
	say "round $round of $ROUNDS"
	if wanted append; then
		line=$("$floor" "$work" $((BENCH_SECONDS * 2)) "$RTT_US") || failures=$((failures + 1))
		for pair in $line; do
			key=${pair%%=*}
			echo "bare ${key#l_} ${pair#*=} 0" >>"$results"
		done
	fi
	for w in $steps; do
		for s in "${order[@]}"; do
			run_workload "$w" "$s"
		done
	done
	order=("${order[@]:1}" "${order[0]}")
done

print_report | tee "$B/bench.txt"
if wanted back; then
	bench_back | tee -a "$B/bench.txt"
	[ "${PIPESTATUS[0]}" = 0 ] || failures=$((failures + 1))
fi
if wanted rewrite; then
	bench_rewrite | tee -a "$B/bench.txt"
	[ "${PIPESTATUS[0]}" = 0 ] || failures=$((failures + 1))
fi
for s in $tandems; do
	[ -n "${root[$s]:-}" ] || continue
	site_stop "$work/$s" a
	site_stop "$work/$s" b
done
[ "$failures" = 0 ] || say "bench: $failures measurements failed"
[ "$failures" = 0 ]

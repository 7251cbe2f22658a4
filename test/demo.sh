#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The whole point in two minutes: two sites on this machine (two directories, two ports, mutual TLS),
# PostgreSQL on the mount at site A, every acknowledged commit written down outside of both sites,
# kill -9 of everything at site A, one command at site B, PostgreSQL at site B, and a count.
#
#   test/demo.sh            run it, clean up
#   KEEP=1 test/demo.sh     leave both sites and PostgreSQL running, with commands to play on
#   test/demo.sh clean      end and remove what KEEP=1 left
#   LOAD_SECONDS=15         how long the load runs before site A dies
#   DEMO_DIR=/var/tmp/tandemfs-demo
#
# PostgreSQL runs with full_page_writes=off on purpose: an aligned write on tandemfs is never torn, and
# checksums of all pages are verified at the end. Exit status 0 only when nothing was lost.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
export B=${B:-build}
dir=${DEMO_DIR:-/var/tmp/tandemfs-demo}
load_seconds=${LOAD_SECONDS:-15}
keep=${KEEP:-}
clients=4
scale=2
pg_bin=$(find /usr/lib/postgresql/*/bin -maxdepth 0 2>/dev/null | sort -V | tail -n 1)

# shellcheck source=test/sites.sh
. test/sites.sh

say() {
	printf '%s\n' "$*"
}

now_ms() {
	date +%s%3N
}

step() {
	printf '\n\033[1m%s\033[0m\n' "$*"
}

fail() {
	printf '\ndemo: %s\n' "$*" >&2
	for s in a b; do
		[ ! -f "$dir/$s.log" ] || { echo "--- the last lines of site-$s:" && tail -n 8 "$dir/$s.log"; } >&2
	done
	exit 1
}

# PostgreSQL refuses to run as root. An array, not a function, so that $! is PostgreSQL itself.
as_postgres=(setpriv --reuid=postgres --regid=postgres --clear-groups env HOME=/ LC_ALL=C)

# pg_start a|b: begins to start PostgreSQL on the site's mount and returns at once.
pg_start() {
	"${as_postgres[@]}" "$pg_bin/postgres" -D "$dir/$1/mnt/pg" -k "$dir/pg-run-$1" >>"$dir/pg-$1.log" 2>&1 \
		</dev/null &
	echo $! >"$dir/pg-$1.pid"
	disown
}

# pg_wait_ready a|b SECONDS
pg_wait_ready() {
	local until=$(($(now_ms) + $2 * 1000)) pid
	pid=$(cat "$dir/pg-$1.pid")
	until "$pg_bin/pg_isready" -q -h "$dir/pg-run-$1" -p "$pg_port"; do
		if ! kill -0 "$pid" 2>/dev/null || [ "$(now_ms)" -gt "$until" ]; then
			tail -n 5 "$dir/pg-$1.log" >&2
			return 1
		fi
		sleep 0.02
	done
}

sql() {
	local s=$1
	shift
	"$pg_bin/psql" -X -q -A -t -v ON_ERROR_STOP=1 -h "$dir/pg-run-$s" -p "$pg_port" -U postgres "$@" postgres
}

# The postmaster of a site and all its children, as pids.
pg_pids() {
	local pid
	pid=$(cat "$dir/pg-$1.pid" 2>/dev/null) && [ -n "$pid" ] || return 0
	echo "$pid"
	pgrep -P "$pid"
}

# What a killed postmaster leaves in shared memory: noted while it lives, removed when it is dead.
pg_note_memory() {
	local pid
	for pid in $(pg_pids "$1"); do
		sed -n 's|.* \(/dev/shm/PostgreSQL\.[0-9]*\).*|\1|p' "/proc/$pid/maps" 2>/dev/null
	done | sort -u >"$dir/pg-$1.shm"
	awk -v pid="$(cat "$dir/pg-$1.pid")" '$5 == pid { print $2 }' /proc/sysvipc/shm >"$dir/pg-$1.sysv"
}

pg_forget_memory() {
	[ ! -f "$dir/pg-$1.shm" ] || xargs -r rm -f <"$dir/pg-$1.shm"
	[ ! -f "$dir/pg-$1.sysv" ] || xargs -r -n 1 ipcrm -m <"$dir/pg-$1.sysv" 2>/dev/null
}

# Ends PostgreSQL of a site in order; kills what does not end.
pg_stop() {
	local pid i
	pid=$(cat "$dir/pg-$1.pid" 2>/dev/null) && [ -n "$pid" ] || return 0
	kill -INT "$pid" 2>/dev/null
	for ((i = 0; i < 300; i++)); do
		kill -0 "$pid" 2>/dev/null || break
		sleep 0.1
	done
	# shellcheck disable=SC2046 # a list of pids
	! kill -0 "$pid" 2>/dev/null || kill -KILL $(pg_pids "$1")
	rm -f "$dir/pg-$1.pid"
}

clean() {
	local s
	[ -d "$dir" ] || return 0
	for s in "${load_pids[@]}"; do
		kill "$s" 2>/dev/null
	done
	for s in a b; do
		if [ -s "$dir/pg-$s.pid" ] && ! site_alive "$dir" "$s"; then
			# shellcheck disable=SC2046 # a list of pids
			kill -KILL $(pg_pids "$s") 2>/dev/null
		fi
		pg_stop "$s"
		pg_forget_memory "$s"
	done
	sites_remove "$dir"
}

load_pids=()
if [ "${1:-}" = clean ]; then
	clean
	exit 0
fi

[ "$(id -u)" = 0 ] || fail "mounting needs root"
[ -e /dev/fuse ] || fail "no /dev/fuse here"
[ -x "$tandemfs" ] && [ -x "$tandemctl" ] || fail "$B/tandemfs and $B/tandemctl are missing: run make"
[ -n "$pg_bin" ] || fail "PostgreSQL is missing: run make setup"

finish() {
	local status=$?
	trap - EXIT
	[ "$status" = 0 ] && [ -n "$keep" ] || clean
	exit "$status"
}
trap 'exit 130' INT TERM
clean
trap finish EXIT
mkdir -p "$dir"
chmod 755 "$dir"

# One field of a site's status, by a jq expression.
status_of() {
	site_ctl "$dir" "$1" status -o json | jq -e -r "[.. | objects | select(has(\"role\") and has(\"peers\"))][0] | $2"
}

in_sync() {
	status_of "$1" '(.in_sync | length) == 2 and .mounted and (.peers[0].state == "in sync" or .peers[0].state == "in-sync")'
}

step "1. Two sites"
say "   certificates of a CA made for this; one volume 'db' of 2 GiB, one replica at each site"
sites_make "$dir" db tls 2G 256M || fail "formatting failed"
site_start "$dir" a
site_start "$dir" b
site_wait "$dir" a 30 site_mounted "$dir" a || fail "site-a did not mount"
site_wait "$dir" a 30 in_sync a || fail "the sites are not in sync"
say "   site-a: active, $dir/a/mnt        site-b: standby        link: $(status_of a '.peers[0].security')"

step "2. PostgreSQL on the mount at site-a"
pg_port=$(sites_free_port 54300) || fail "no port"
echo "$pg_port" >"$dir/pg.port"
install -d -o postgres -g postgres -m 755 "$dir/pg-run-a" "$dir/pg-run-b"
install -d -o postgres -g postgres -m 700 "$dir/a/mnt/pg"
touch "$dir/pg-a.log" "$dir/pg-b.log"
t=$(now_ms)
"${as_postgres[@]}" "$pg_bin/initdb" -D "$dir/a/mnt/pg" -k -A trust -U postgres --locale=C -E UTF8 \
	>"$dir/initdb.log" 2>&1 || fail "initdb: $(tail -n 2 "$dir/initdb.log")"
t_initdb=$(now_ms)
cat >>"$dir/a/mnt/pg/postgresql.conf" <<END
port = $pg_port
listen_addresses = ''
full_page_writes = off       # a write here is never torn
fsync = on
synchronous_commit = on
min_wal_size = 32MB
max_wal_size = 48MB          # checkpoints follow one another, so that pages are written all the time
checkpoint_timeout = 30s
dynamic_shared_memory_type = mmap # dies with the mount
END
pg_start a
pg_wait_ready a 60 || fail "PostgreSQL did not start at site-a"
sql a -c 'CREATE TABLE ledger (client int, n int, word text, PRIMARY KEY (client, n))' || fail "no table"
"$pg_bin/pgbench" -h "$dir/pg-run-a" -p "$pg_port" -U postgres -i -q -s $scale postgres >"$dir/pgbench-init.log" 2>&1 ||
	fail "pgbench -i: $(tail -n 2 "$dir/pgbench-init.log")"
say "   initdb took $((t_initdb - t)) ms, start and $((scale * 100000)) pgbench accounts $(($(now_ms) - t_initdb)) ms; full_page_writes=off, page checksums on"

step "3. Load: pgbench with 4 clients, and $clients clients that write down each acknowledged commit"
# A number appears in acks.N after the server acknowledged its COMMIT, never before: psql runs one
# statement after the other and \echo is what follows the INSERT.
for ((c = 1; c <= clients; c++)); do
	# psql ends by itself, with all it has acknowledged written out, when the server is gone.
	awk -v c=$c 'BEGIN { for (n = 1; ; n++) printf "INSERT INTO ledger VALUES (%d, %d, md5(%d || $$:$$ || %d));\n\\echo %d %d\n", c, n, c, n, c, n }' 2>/dev/null |
		stdbuf -oL "$pg_bin/psql" -X -q -v ON_ERROR_STOP=1 -h "$dir/pg-run-a" -p "$pg_port" \
			-U postgres postgres >"$dir/acks.$c" 2>"$dir/acks.$c.err" &
	load_pids+=($!)
done
(cd "$dir" && exec "$pg_bin/pgbench" -h "$dir/pg-run-a" -p "$pg_port" -U postgres -n -c 4 -j 1 -T 3600 --log \
	--log-prefix="$dir/pgbench" postgres) >"$dir/pgbench.log" 2>&1 &
load_pids+=($!)
acked() {
	cat "$dir"/acks.[0-9] | wc -l
}
before=0
for ((i = 1; i <= load_seconds; i++)); do
	sleep 1
	n=$(acked)
	kill -0 "$(cat "$dir/pg-a.pid")" 2>/dev/null || fail "PostgreSQL ended: $(tail -n 3 "$dir/pg-a.log")"
	if [ $((i % 3)) = 0 ]; then
		printf '   %3d s  %7d recorded commits acknowledged, %5d/s, and pgbench\n' $i "$n" $(((n - before) / 3))
		before=$n
	fi
done
[ "$n" -gt 0 ] || fail "no commit was acknowledged: $(cat "$dir"/acks.*.err)"

step "4. Site A dies: kill -9 of the daemon, PostgreSQL and all its children"
pg_note_memory a
mapfile -t victims < <(site_pid "$dir" a && pg_pids a)
kill -KILL "${victims[@]}" 2>/dev/null # some child may just have ended by itself
t_dead=$(now_ms)
# On machines of their own nobody would wait; here PostgreSQL at site-b would see their pids.
is_dead() {
	local state
	state=$(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$1/status" 2>/dev/null)
	[ -z "$state" ] || { [ "$state" = Z ] && [ "$1" != "${victims[1]}" ]; }
}
for pid in "${victims[@]}"; do
	for ((i = 0; i < 1000; i++)); do
		is_dead "$pid" && break
		sleep 0.01
	done
done
say "   ${#victims[@]} processes killed; the last one was gone after $(($(now_ms) - t_dead)) ms"
t_dead=$(now_ms)

step "5. One command at site-b"
say "   \$ tandemctl deactivate clusterdomain site-a --yes"
site_ctl "$dir" b deactivate clusterdomain site-a --yes >"$dir/deactivate.log" 2>&1
deactivated=$?
site_wait "$dir" b 30 site_mounted "$dir" b
mounted=$?
t_mounted=$(now_ms)
sed 's/^/   /' "$dir/deactivate.log"
[ $deactivated = 0 ] || fail "the command failed"
[ $mounted = 0 ] || fail "site-b did not mount"
pg_start b
pg_wait_ready b 120 || fail "PostgreSQL did not start at site-b"
t_recovered=$(now_ms)
sql b -c "INSERT INTO ledger VALUES (0, 1, 'written at site-b')" || fail "no query at site-b"
t_query=$(now_ms)
say "   PostgreSQL at site-b has recovered and committed its first transaction"

step "6. Counting"
wait "${load_pids[@]}" 2>/dev/null
load_pids=()
umount -l "$dir/a/mnt" 2>/dev/null
pg_forget_memory a
rm -f "$dir/pg-a.pid"
cat "$dir"/acks.[0-9] | sort >"$dir/acked"
sql b -c "COPY (SELECT client || ' ' || n FROM ledger WHERE client > 0 AND word = md5(client || ':' || n)) TO STDOUT" |
	sort >"$dir/found"
total=$(wc -l <"$dir/acked")
lost=$(comm -23 "$dir/acked" "$dir/found" | wc -l)
extra=$(comm -13 "$dir/acked" "$dir/found" | wc -l)
bench_acked=$(cat "$dir"/pgbench.[0-9]* | grep -vc failed)
bench_found=$(sql b -c 'SELECT count(*) FROM pgbench_history')
bench_lost=$((bench_acked > bench_found ? bench_acked - bench_found : 0))
sums=$(sql b -c 'SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT sum(delta) FROM pgbench_history)
	AND (SELECT sum(tbalance) FROM pgbench_tellers) = (SELECT sum(delta) FROM pgbench_history)
	AND (SELECT sum(bbalance) FROM pgbench_branches) = (SELECT sum(delta) FROM pgbench_history)')
pg_stop b
"${as_postgres[@]}" "$pg_bin/pg_checksums" --check -D "$dir/b/mnt/pg" >"$dir/checksums.log" 2>&1
pages=$(sed -n 's/^Blocks scanned: *//p' "$dir/checksums.log")
torn=$(sed -n 's/^Bad checksums: *//p' "$dir/checksums.log")
say "   recorded clients: $total acknowledged, $((total - lost)) found, $lost lost (and $extra that were under way)"
say "   pgbench:          $bench_acked acknowledged, $bench_found found, $bench_lost lost; its sums agree: $([ "$sums" = t ] && echo yes || echo NO)"
say "   ${pages:-no} pages verified, ${torn:-?} torn (full_page_writes was off)"

step "7. Site A returns"
site_start "$dir" a
outdated() {
	status_of b '.peers[0].connected'
}
site_wait "$dir" a 30 outdated || fail "site-a did not connect again"
say "   it stays out: $(status_of a '"role \(.role), inactive: \(.inactive | join(", "))"')"
say "   \$ tandemctl activate clusterdomain site-a"
t_activate=$(now_ms)
site_ctl "$dir" b activate clusterdomain site-a | sed 's/^/   /'
site_wait "$dir" b 60 in_sync b || fail "site-a did not catch up"
caught_up=$(($(now_ms) - t_activate))
say "   caught up by what changed, and in sync again after $caught_up ms"

lost_all=$((lost + bench_lost))
step "Result"
cat <<END
   transactions   $((total + bench_acked)) acknowledged, $((total + bench_acked - lost_all)) found, $lost_all lost
   RPO            $([ $lost_all = 0 ] && echo 0 || echo "$lost_all transactions")
   RTO            $((t_query - t_dead)) ms from kill -9 to the first commit at site-b:
                    deactivate, promote, mount    $((t_mounted - t_dead)) ms
                    PostgreSQL crash recovery     $((t_recovered - t_mounted)) ms
                    first transaction             $((t_query - t_recovered)) ms
   return         $caught_up ms from 'activate' to in sync
END
ok=1
[ "$lost_all" = 0 ] && [ "$sums" = t ] && [ "${torn:-1}" = 0 ] && [ "$extra" -le $clients ] || ok=0

if [ -n "$keep" ] && [ $ok = 1 ]; then
	pg_start b
	pg_wait_ready b 60 || fail "PostgreSQL did not start again at site-b"
	pg_note_memory b
	cat <<END

Both sites and PostgreSQL at site-b are running. To play on:

   psql -h $dir/pg-run-b -p $pg_port -U postgres postgres
   $tandemctl --run-dir $dir/b/run status
   $tandemctl --run-dir $dir/a/run status
   kill -9 \$(cat $dir/b.pid)      # and then deactivate site-b at site-a
   ls $dir/b/mnt; less $dir/b.log
   make demo-clean                 # ends and removes everything
END
else
	cat <<END

'make demo KEEP=1' leaves both sites and PostgreSQL running, with commands to play on.
END
fi
[ $ok = 1 ]

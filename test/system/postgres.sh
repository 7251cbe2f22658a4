#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: programs
# budget: 240
# PostgreSQL under pgbench with full_page_writes=off; its site dies; every recorded commit is on the other.
#
# Four clients insert numbers and print each one after its commit was acknowledged; pgbench runs beside
# them. Data checksums are on: a torn page would be found.
. "$(dirname "$0")/../lib.sh"

for PGBIN in /usr/lib/postgresql/*/bin; do :; done
[[ -x $PGBIN/postgres && -x $PGBIN/pgbench ]] || skip "PostgreSQL is not installed"
id postgres >/dev/null 2>&1 || skip "there is no user postgres"

pg() { setpriv --reuid=postgres --regid=postgres --clear-groups env -C / PATH="$PGBIN:$PATH" "$@"; }
sql() { pg psql -h "$WORK/pg" -X -q -A -t -d postgres "$@"; }
pg_start() { # site
	pg pg_ctl -D "$(mnt "$1")/data" -l "$WORK/pg/log.$1" -w -t 60 \
		-o "-k $WORK/pg -c listen_addresses=''" start >"$WORK/pg.out" 2>&1 ||
		fail "PostgreSQL does not start on site $1: $(tail -n 5 "$WORK/pg/log.$1")"
}
# Numbers CLIENT*10000000+1..: one statement each, and the number once its commit is acknowledged.
client() { # client, first
	local i
	for ((i = $2; ; i++)); do
		printf 'insert into t values (%d, %d);\n\\echo %d\n' "$1" "$i" "$i"
	done 2>/dev/null | sql -v ON_ERROR_STOP=1 >>"$WORK/pg/acked.$1" 2>/dev/null || true
}

sites_up
install -d -o postgres -g postgres "$WORK/pg"
install -d -o postgres -g postgres -m 700 "$(mnt a)/data"
pg initdb -D "$(mnt a)/data" -k -A trust -E UTF8 --locale=C >"$WORK/pg.out" 2>&1 ||
	fail "initdb: $(tail -n 5 "$WORK/pg.out")"
cat >>"$(mnt a)/data/postgresql.conf" <<-END
	full_page_writes = off
	dynamic_shared_memory_type = mmap # dies with the mount: nothing is left in /dev/shm
	shared_buffers = 32MB
	max_wal_size = 64MB
	checkpoint_timeout = 30s
	fsync = on
END
step "initdb is done"
pg_start a
sql -c 'create table t (client int, n int, primary key (client, n))'
pg pgbench -h "$WORK/pg" -i -s 2 -q postgres >"$WORK/pg.out" 2>&1
step "PostgreSQL runs on site a"

active=a
for ((round = 1; round <= 2; round++)); do
	standby=$(other $active)
	clients=()
	for c in 1 2 3 4; do
		client $c $((round * 1000000)) &
		clients+=($!)
	done
	pg pgbench -h "$WORK/pg" -n -c 2 -T 60 postgres >"$WORK/bench.out" 2>&1 &
	clients+=($!)
	pause_ms 3000
	sql -c checkpoint # so that the kill falls into pages written since
	pause_ms "$(random_ms 300 2000)"

	postmaster=$(head -n 1 "$(mnt $active)/data/postmaster.pid")
	site_kill9 $active
	for pid in $(pgrep -U postgres -f "$(mnt $active)/data" || true) $(pgrep -P "$postmaster" || true); do
		kill -9 "$pid" 2>/dev/null || true
	done
	wait "${clients[@]}" || true
	begin=$(now_ns)
	order $standby deactivate clusterdomain "$(domain $active)" --yes
	site_wait_active $standby
	ms=$((($(now_ns) - begin) / 1000000))
	# As another machine would: nothing of the dead server is left here.
	rm -f "$(mnt $standby)/data/postmaster.pid" "$WORK"/pg/.s.PGSQL*
	pg_start $standby
	step "round $round: the mount after $ms ms, PostgreSQL after $((($(now_ns) - begin) / 1000000)) ms"

	total=0
	for c in 1 2 3 4; do
		sql -c "select n from t where client = $c order by n" | sort >"$WORK/pg/found"
		sort "$WORK/pg/acked.$c" >"$WORK/pg/want"
		lost=$(comm -13 "$WORK/pg/found" "$WORK/pg/want" | wc -l)
		expect_eq "lost commits of client $c" "$lost" 0
		total=$((total + $(wc -l <"$WORK/pg/want")))
	done
	((total > 100)) || fail "only $total commits were recorded"
	expect_eq "pgbench's books" "$(sql -c 'select (select sum(abalance) from pgbench_accounts)
		= (select coalesce(sum(delta), 0) from pgbench_history)')" t
	pg "$PGBIN/pg_amcheck" -h "$WORK/pg" --install-missing -d postgres >"$WORK/pg.out" 2>&1 ||
		pg "$PGBIN/vacuumdb" -h "$WORK/pg" -a -q >"$WORK/pg.out" 2>&1 || fail "$(tail -n 3 "$WORK/pg.out")"
	step "round $round: $total commits were acknowledged, none is lost"

	site_start $active
	site_wait_role $active standby
	order $standby activate clusterdomain "$(domain $active)"
	site_wait_in_sync $standby 60
	active=$standby
done
pg pg_ctl -D "$(mnt $active)/data" -m fast -w stop >/dev/null
pg "$PGBIN/pg_checksums" --check -D "$(mnt $active)/data" >"$WORK/pg.out" 2>&1 ||
	fail "$(tail -n 3 "$WORK/pg.out")"
sites_stop_and_compare

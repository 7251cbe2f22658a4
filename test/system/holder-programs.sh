#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: programs
# budget: 240
# PostgreSQL under pgbench with full_page_writes=off, fio, which verifies what it wrote, a writer of mapped memory and a
# `tail -f` go on while the active's daemon is killed (kill -9) and started again, again and again, then the standby's,
# while the active is upgraded to another build by its agent, and killed while the peer is away: no error at any of them,
# nothing lost, no torn page. And a build that is too old for what a newer one left refuses to start.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../agents.sh"
. "$(dirname "$0")/../held.sh"

for PGBIN in /usr/lib/postgresql/*/bin; do :; done
[[ -x $PGBIN/postgres && -x $PGBIN/pgbench ]] || skip "PostgreSQL is not installed"
id postgres >/dev/null 2>&1 || skip "there is no user postgres"
command -v fio >/dev/null || skip "fio is not installed"

pg() { setpriv --reuid=postgres --regid=postgres --clear-groups env -C / PATH="$PGBIN:$PATH" "$@"; }
sql() { pg psql -h "$WORK/pg" -X -q -A -t -d postgres "$@"; }
# Numbers 1..: one statement each, and the number once its commit is acknowledged.
client() {
	local i
	for ((i = 1; ; i++)); do
		[[ ! -e $WORK/stop ]] || break
		printf 'insert into t values (%d);\n\\echo %d\n' "$i" "$i"
		sleep 0.005
	done | sql -v ON_ERROR_STOP=1 >"$WORK/pg/acked"
}
RUN_S=$((45 * ${SLOWER:-1})) # longer than all kills take on a busy machine
verified() { # name, fio's options...
	fio --name="$1" --directory="$m/fio" --size=24M --verify=crc32c --do_verify=1 --verify_fatal=1 --verify_state_save=0 \
		--time_based --runtime=$RUN_S --group_reporting "${@:2}" >"$WORK/fio.$1" 2>&1
}

sites_up
m=$(mnt a)
mkdir "$m/fio"
install -d -o postgres -g postgres "$WORK/pg"
install -d -o postgres -g postgres -m 700 "$m/data"
pg initdb -D "$m/data" -k -A trust -E UTF8 --locale=C >"$WORK/pg.out" 2>&1 ||
	fail "initdb: $(tail -n 5 "$WORK/pg.out")"
printf '%s\n' "full_page_writes = off" "dynamic_shared_memory_type = mmap" "shared_buffers = 32MB" "max_wal_size = 64MB" \
	"checkpoint_timeout = 30s" "fsync = on" >>"$m/data/postgresql.conf"
pg pg_ctl -D "$m/data" -l "$WORK/pg/log" -w -t 60 -o "-k $WORK/pg -c listen_addresses=''" start \
	>"$WORK/pg.out" 2>&1 || fail "PostgreSQL does not start: $(tail -n 5 "$WORK/pg/log")"
sql -c 'create table t (n int primary key)'
pg pgbench -h "$WORK/pg" -i -s 1 -q postgres >"$WORK/pg.out" 2>&1
step "PostgreSQL runs"

client 2>"$WORK/client.out" &
client=$!
pg pgbench -h "$WORK/pg" -n -c 2 -T $((RUN_S + 2)) postgres >"$WORK/bench.out" 2>&1 &
bench=$!
verified direct --rw=randwrite --bs=4k --direct=1 --ioengine=libaio --iodepth=4 &
direct=$!
verified large --rw=write --bs=512k --direct=1 --ioengine=libaio --iodepth=4 &
large=$!
verified synced --rw=randwrite --bsrange=1k-16k --fsync=4 &
synced=$!
"$TOOLS/mapped" run "$m" "$WORK/mapped.acked" "$SEED" $((RUN_S + 2)) >"$WORK/mapped.out" 2>&1 &
LOAD[mapped]=$!
: >"$m/followed"
tail -n +1 -F --pid=$$ "$m/followed" >"$WORK/followed.out" 2>"$WORK/tail.out" &
follow 2>"$WORK/follow.out" &
follow=$!
for ((round = 1; round <= 5; round++)); do
	pause_ms "$(random_ms 300 1800)"
	replaced "round $round" site_kill9
done
step "killed: the longest pause took $longest ms"

longest=0
for ((round = 1; round <= 3; round++)); do
	pause_ms "$(random_ms 200 800)"
	site_kill9 b
	begin=$(now_ns)
	site_start b
	timeout 60 touch "$m/paused" || fail "the standby's crash: an operation met an error"
	paused "the standby's crash, round $round" "$begin"
	site_wait_in_sync a
done
step "the standby killed: the longest pause took $longest ms"

# The agent finds the daemon; a package replaces the program; the daemon is told to stop.
first=$(connection)
is_pending() { rest a GET /v1/volumes/$VOLUME | head -n 1 | jq -e ".supervision.upgrade_pending == $1" >/dev/null; }
exe_version() { "/proc/$(daemon_of a)/exe" version; }
agent_config a
cp "$WORK/a/conf" "$WORK/a/volumes/$VOLUME.conf"
old=$("$BIN/tandemfs" version)
LC_ALL=C sed "s/$old/${old%?}x/" "$BIN/tandemfs" >"$WORK/a/tandemfs.new" # as long, or nothing would start
chmod 755 "$WORK/a/tandemfs.new"
agent_start a
wait_for 10 "the agent finds the daemon" said a "$VOLUME: found running, process ${PID[a]}"
mv "$WORK/a/tandemfs.new" "$WORK/a/tandemfs"
agent_kill a TERM # the service is restarted
agent_start a
wait_for 10 "the upgrade is pending" is_pending true
begin=$(now_ns)
kill -TERM "${PID[a]}"
wait "${PID[a]}" || fail "the daemon's status after SIGTERM: $?"
unset "PID[a]"
timeout 60 touch "$m/upgraded" || fail "an operation met an error in an upgrade"
paused "upgrade" "$begin"
site_wait_active a
wait_for 10 "no upgrade is pending" is_pending false
expect_eq "the new build" "$(exe_version)" "${old%?}x"
expect_eq "the connection" "$(connection)" "$first"
step "upgraded: a pause of $ms ms"
# The agent goes, and leaves its daemon.
agent_kill a TERM
kill_upgraded() {
	local daemon
	daemon=$(daemon_of a)
	kill -9 "$daemon"
	wait_for 10 "the daemon ends" eval "! pid_alive $daemon"
}
longest=0
order a deactivate clusterdomain site-b
site_stop b
replaced "the peer away" kill_upgraded
for ((round = 2; round <= 3; round++)); do
	pause_ms "$(random_ms 200 800)"
	replaced "the peer away, round $round" site_kill9
done
step "killed while the peer was away: the longest pause took $longest ms"
for name in direct large synced bench client follow; do
	pid_alive "${!name}" || fail "$name ended before the last kill"
done
pid_alive "${LOAD[mapped]}" || fail "the writer of mapped memory ended before the last kill"
for name in direct large synced; do
	wait "${!name}" || fail "fio ($name) met an error: $(tail -n 5 "$WORK/fio.$name")"
done
wait $bench || fail "pgbench met an error: $(tail -n 5 "$WORK/bench.out")"
expect_match "pgbench" "$(cat "$WORK/bench.out")" "number of failed transactions: 0"
: >"$WORK/stop"
wait $client || fail "a client met an error: $(tail -n 3 "$WORK/client.out")"
wait $follow || fail "a writer met an error: $(cat "$WORK/follow.out")"
load_wait mapped 0
"$TOOLS/mapped" verify "$m" "$WORK/mapped.acked" >>"$WORK/mapped.out"
wait_for 10 "the follower sees the last line" grep -q last "$WORK/followed.out"
expect_eq "what was followed" "$(sha1sum <"$WORK/followed.out")" "$(sha1sum <"$m/followed")"
n=$(tail -n 1 "$WORK/pg/acked")
[[ $n -gt 100 ]] || fail "only $n commits"
expect_eq "rows" "$(sql -c 'select count(*), max(n) from t')" "$n|$n"
! grep -E 'PANIC|FATAL|could not (read|write|fsync)' "$WORK/pg/log" || fail "PostgreSQL's log"
pg pg_ctl -D "$m/data" -m fast -w stop >"$WORK/pg.out" 2>&1
pg pg_checksums -D "$m/data" --check >"$WORK/pg.out" 2>&1 || fail "checksums: $(tail -n 3 "$WORK/pg.out")"
step "no error in all rounds; $n commits, $(wc -l <"$WORK/followed.out") lines followed"

site_start b
order a activate clusterdomain site-b
site_wait_in_sync a 60

# A daemon that is older than what was left, as after a downgrade.
kept_version() { # of what the holder keeps
	local fd
	for fd in "/proc/$(holder)"/fd/*; do
		[[ $(readlink "$fd") != *tandemfs-kept* ]] ||
			printf '%b' "\\x$1" | dd of="$fd" bs=1 seek=8 conv=notrunc status=none
	done
}
site_kill9 a
kept_version 63
touch "$m/waits" &
waits=$!
start_fails
expect_match "what an older build says" "$OUT" "a newer build of tandemfs left .* mounted.*: start that build again"
expect_match "what an older build says" "$OUT" "still mounted: what is asked of it waits"
expect_eq "the connection" "$(connection)" "$first"
pid_alive $waits || fail "an operation ended while nobody served"
kept_version 02
site_start a
wait_for 30 "what waited ends" eval "! pid_alive $waits"
wait $waits || fail "what waited failed"
site_wait_active a
expect_eq "the connection" "$(connection)" "$first"
expect_eq "a file of before" "$(stat -c %s "$m/upgraded")" 0
step "an older build refuses, and nothing is lost"
pauses_check
sites_stop_and_compare

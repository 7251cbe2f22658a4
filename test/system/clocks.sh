#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: failover
# budget: 200
# long: 200
# The wall clocks of the sites are hours apart, and jump under load: nothing notices but files' times.
#
# Both daemons run with wrongclock.c between them and the real clock. The kernel's own waits do not pass
# through it: to code that waits by the real clock it looks as if the clock jumped in each wait.
. "$(dirname "$0")/../lib.sh"

clock_set() { # site, seconds that it is wrong by: written at once, never read half
	printf '%-8d' "$2" 1<>"$WORK/clock-$1"
}
clock_of() { # what the clock of a site says, in seconds
	echo $(($(date +%s) + $(cat "$WORK/clock-$1")))
}
near() { # what, actual, expected seconds
	[[ $(($2 - $3)) -ge -30 && $(($2 - $3)) -le 30 ]] || fail "$1: $2, not about $3"
}
# Certificates from a day before the earliest of these clocks.
openssl() { WRONG_CLOCK=$WORK/clock-past LD_PRELOAD=$TOOLS/wrongclock.so command openssl "$@"; }

H=3600
work_new
net_new
clock_set past $((-72 * H))
clock_set a $((5 * H))
clock_set b $((-7 * H))
for s in a b; do
	SITE_ENV[$s]="WRONG_CLOCK=$WORK/clock-$s LD_PRELOAD=$TOOLS/wrongclock.so"
done
echo "seed $SEED"
sites_format
sites_start
step "both sites are up, twelve hours apart"

# Who writes says when it was.
echo one >"$(mnt a)/one"
near "mtime of a file written at site a" "$(stat -c %Y "$(mnt a)/one")" "$(clock_of a)"
touch -d @1000000000 "$(mnt a)/given"
expect_eq "a time that was given" "$(stat -c %Y "$(mnt a)/given")" 1000000000
clock_set a $((-2 * H))
echo two >>"$(mnt a)/one"
near "mtime after the clock was set back" "$(stat -c %Y "$(mnt a)/one")" "$(clock_of a)"
one=$(stat -c %Y "$(mnt a)/one")

# Jumps under load: no connection breaks, nothing waits.
mix_start a
pause_ms 500
lost=$(cat "$WORK"/[ab]/log | grep -c "connection to .* is gone" || true)
for ((round = 1; round <= (ROUNDS > 20 ? ROUNDS : 12); round++)); do
	from=$(now_ns)
	for s in a b; do
		((RANDOM % 3 == 0)) || clock_set $s $((RANDOM % (96 * H) - 48 * H))
	done
	pause_ms "$(random_ms 300 900)"
	((round % 4)) || [[ $(mix_acked "$((from - 2000000000))" "$(now_ns)") -gt 0 ]] ||
		fail "nothing is acknowledged after the clocks jumped to $(cat "$WORK/clock-a" "$WORK/clock-b")"
done
expect_eq "connections that were lost while clocks jumped" \
	"$(cat "$WORK"/[ab]/log | grep -c "connection to .* is gone" || true)" "$lost"
expect_eq "the peer's state" "$(peer_state a)" in-sync
step "$((round - 1)) jumps under load: the connection stood, the writes went on"
made $((round - 1)) jumps

# The standby takes over, with a clock that is behind; the old active is fenced, with one that is wrong.
"$TOOLS/probe" hold "$(mnt a)/one" >"$WORK/hold.out" 2>&1 &
hold=$!
wait_for 5 "the file is held" grep -q holding "$WORK/hold.out"
clock_set a $((40 * H))
clock_set b $((-30 * H))
link_cut a
wait_for 15 "site b misses its peer" eval '[[ $(status b ".peers[0].connected") = false ]]'
order b deactivate clusterdomain site-a --yes
promoted=$(now_ns)
site_wait_active b
clock_set a $((-20 * H))
pause_ms 1000
link_heal
mix_wait 3
wait_for 20 "the old mount goes away" eval '! is_mounted a'
wait $hold || fail "$(cat "$WORK/hold.out")"
expect_eq "acknowledged by the old side after the promotion" "$(mix_acked "$promoted" "$(now_ns)")" 0
expect_match "the fence" "$(site_log a)" "inodes that the kernel knew are invalid now"
! grep "did not end in time" "$WORK/a/log" || fail "the fence did not wait for its threads"
mix_verify b
expect_eq "the time that site a gave" "$(stat -c %Y "$(mnt b)/one")" "$one"
echo three >"$(mnt b)/three"
near "mtime of a file written at site b" "$(stat -c %Y "$(mnt b)/three")" "$(clock_of b)"
order b activate clusterdomain site-a
site_wait_in_sync b 30
step "site b took over; site a was fenced and is back"

# Kills on either side while clocks jump.
for who in a b; do
	mix_start b
	pause_ms "$(random_ms 200 800)"
	site_kill9 $who
	clock_set a $((RANDOM % (96 * H) - 48 * H))
	clock_set b $((RANDOM % (96 * H) - 48 * H))
	site_start $who
	site_wait_active b 30
	site_wait_in_sync b 30
	if [[ $who = b ]]; then mix_wait 3; else mix_stop; fi
	mix_verify b
done
sites_stop_and_compare

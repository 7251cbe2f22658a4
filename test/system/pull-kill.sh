#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: kill
# budget: 300
# split: 2 ROUNDS
# long: 780
# Source, target or both are killed at a random moment while a standby that was replaced, or that the ring no longer
# reaches, pulls under load: it always comes back, with everything that was acknowledged. Each round kills, and of
# all kills at least half come while it pulls.
. "$(dirname "$0")/../lib.sh"

# Since its last start, which the log tells: a backlog that fills the ring must not make it flush all the time.
checkpoints_are_few() { # site
	local from to count
	from=$(sed -n 's/.*recovered to seq \([0-9]*\) .*/\1/p' "$WORK/$1/log" | tail -n 1)
	to=$(status "$1" .seq.applied)
	count=$(status "$1" .counters.checkpoints)
	[[ $((count * 100)) -le $((to - from + 5000)) ]] ||
		fail "site $1 made $count checkpoints from seq $from to $to"
}

# An active that died before it had left an empty replica out: that one cannot confirm it, as it remembers
# nothing, so a person must. Says what to type.
needs_word() { [[ $(status a '.peers[0].text') = *"deactivate clusterdomain site-b"*activate* ]]; }

kills=0 while_pulling=0
pull_is_under_way() { [[ -e $WORK/b/replica/incoming/progress ]]; }
kill_count() { # site...
	kills=$((kills + 1))
	! pull_is_under_way || while_pulling=$((while_pulling + 1))
	site_kill9 "$@"
}

CONF_JOURNAL="size = 32M"
CONF_LIMITS=$'checkpoint_entries = 2000\ncatch_up_rate = 24M' # not over before it is killed
sites_up
dd if=/dev/urandom of="$(mnt a)/fill" bs=1M count=64 conv=fsync status=none
overwrite() {
	dd if=/dev/urandom of="$(mnt a)/fill" bs=32k count=400 oflag=direct conv=notrunc status=none
}
wait_for 60 "the journal does not reach back to the beginning" eval '
	[[ $(status a .journal.first_seq) -gt 1 ]] || { overwrite; false; }'
rounds=$(share_of $(((ROUNDS + 1) / 2)))
for ((round = 1; round <= rounds; round++)); do
	if ((round % 2)); then # nobody is told: writes wait until the empty replica is left out
		mix_start a
		site_kill9 b
		rm -rf "$WORK/b/replica"
		"$BIN/tandemfs" format --join "$WORK/$VOLUME.desc" --config "$WORK/b/conf" \
			>>"$WORK/b/log" 2>&1
	else
		order a deactivate clusterdomain site-b --yes
		wait_for 10 "site b knows" eval '[[ $(status b ".inactive[]") = site-b ]]'
		site_kill9 b
		dd if=/dev/urandom of="$(mnt a)/fill" bs=32k count=2000 oflag=direct conv=notrunc status=none
		mix_start a
	fi
	site_start b
	if ((round % 2 == 0)); then
		wait_for 10 "site b learns that it is inactive" eval '[[ $(status b ".inactive[]") = site-b ]]'
		order a activate clusterdomain site-b
	fi
	wait_for 40 "pulling has begun" pull_is_under_way
	for ((kill = 1 + RANDOM % 2; kill > 0; kill--)); do
		pause_ms "$(random_ms 0 1000)"
		kill_count b
		((RANDOM % 3)) || flushed_is_committed
		site_start b
	done
	if ((RANDOM % 2)); then
		pause_ms "$(random_ms 0 1000)"
		both=$((RANDOM % 2))
		# shellcheck disable=SC2046 # one or none
		kill_count a $( ((!both)) || echo b)
		((RANDOM % 3)) || flushed_is_committed
		mix_wait 3
		b_first=$((RANDOM % 2))
		((!both || !b_first)) || site_start b
		site_start a
		((!both || b_first)) || site_start b
		wait_for 30 "site a serves, or waits for a person" eval 'is_serving a || needs_word'
		if ! is_serving a; then
			order a deactivate clusterdomain site-b --yes
			site_wait_active a 30
			order a activate clusterdomain site-b
		fi
		mix_verify a
		mix_start a
	fi
	site_wait_in_sync a $((60 * ${SLOWER:-1})) # each round of pulling beside a load is shorter than the one before
	mix_stop
	mix_verify a
	checkpoints_are_few b
	step "round $round: site b is back; $(status a '.peers[0].pull.bytes_sent // 0') bytes were pulled"
done
sites_stop_and_compare
step "$while_pulling of $kills kills came while site b pulled"
[[ $((2 * while_pulling)) -ge $kills ]] || fail "of $kills kills only $while_pulling came while site b pulled"
made $((round - 1)) rounds

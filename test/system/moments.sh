#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: kill
# budget: 500
# split: 4 ROUNDS
# long: 2600
# Kills at particular moments: checkpoint, catch-up, promotion, a change of the record, recovery.
#
# Each round runs one case from the table below under load: something is begun, and within it, at a
# random time, the active, the standby or both are killed, now and then with the tandemctl that asked.
# They start again in either order, or only one of them does and serves alone by a person's word. In the
# end everything that was acknowledged is there, both replicas are clean, and equal.
#
# A case is repeated alone, on new sites, with CASE="promotion both" ROUND_SEED=n, as each round prints
# them; without ROUND_SEED with as many seeds as a moment has rounds.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../settle.sh"
. "$(dirname "$0")/../words.sh"

# What begins, who is killed, within how many ms. A word of more than one part is a word of people:
# its name is record/VERB. "alone" may follow: who may then serve without the other one. It is the site
# that a person would take: the one whose record can be no older than the other's.
cases='checkpoint active 120 alone either
checkpoint standby 120
checkpoint both 120 alone either
catch-up active 300 alone active
catch-up standby 300
catch-up both 300 alone active
promotion standby 60 alone standby
promotion both 60 alone standby
promotion cut 60
record/deactivate active 50 alone active
record/deactivate standby 50
record/deactivate both 50 alone active
record/forward both 50 alone active
record/forward active 50
record/activate active 50 alone active
record/activate standby 50
record/activate both 50 alone active
record/demote active 50
record/demote standby 50
record/demote both 50
record/promote standby 50
record/promote both 50
recovery active 600 alone active
recovery standby 600
recovery both 600'

CONF_JOURNAL="size = 64M"
CONF_LIMITS="checkpoint_entries = 500"

# What was answered under ack=fsync and not synced may be gone, which the workload's model does not know; here it is
# load alone, and the checks and I5 are what is looked at. ack-fsync.sh looks at what was synced.
if [[ ${EXTRA_VOLUME:-} = *fsync* ]]; then
	mix_wait() {
		load_wait tree 1 "$@"
		load_wait blocks 1 "$@"
	}
	mix_verify() {
		rm -rf "$(mnt "$1")"/tree "$(mnt "$1")"/blocks
		rm -f "$WORK"/tree.* "$WORK"/blocks.*
	}
fi

# One after the other on the active; the standby makes its own, one for each few hundred entries. The log says afterwards
# whether one was under way.
VERBOSE=1
saying=
begin_checkpoint() {
	while "$TOOLS/say" "$WORK/$active/run/$VOLUME.sock" checkpoint; do :; done >>"$WORK/words.out" 2>&1 &
	saying=$!
}
checkpoint_was_cut() { # site...
	local s
	for s; do
		awk '/^--- started/ || /checkpoint at seq/ { r = 0 } /checkpoint begins/ { r = 1 } END { exit !r }' \
			"$WORK/$s/log" && return 0
	done
	return 1
}
begin_catch-up() {
	leave_out
	((RANDOM % 2)) || site_kill9 "$standby"
	pause_ms "$(random_ms 200 1200)"
	site_alive "$standby" || site_start "$standby"
	wait_for 10 "the active sees the standby" \
		eval '[[ $(status '"$active"' ".peers[0].state") = inactive ]]'
	order "$active" activate clusterdomain "$(others_domain)"
}
begin_promotion() { # who is killed
	link_cut "$active"
	[[ $1 = cut ]] || site_kill9 "$active"
	[[ $1 != cut ]] || wait_for 10 "the standby misses its peer" \
		eval '[[ $(status '"$standby"' ".peers[0].connected") = false ]]'
	type_word "$standby" deactivate clusterdomain "$(domain "$active")" --yes
}
begin_recovery() { # who is killed
	local s
	# shellcheck disable=SC2046 # one or two sites
	site_kill9 $(victims "$1")
	for s in $(victims "$1"); do
		pause_ms "$(random_ms 0 150)"
		site_start "$s"
	done
}

# Is the moment there, now? Of one of the victims that is enough.
is_under_way() { # what, who is killed
	local s
	for s in $(victims "$2"); do
		case $1 in
		checkpoint) return 1 ;;
		catch-up) [[ $(status "$active" '.peers[0].state') = in-sync ]] || return 0 ;;
		recovery) awk '/^--- started/ { r = 0 } /recovered to seq/ { r = 1 } END { exit r }' "$WORK/$s/log" && return 0 ;;
		*) [[ -n $typed ]] && pid_alive "$typed" && return 0 ;;
		esac
	done
	return 1
}

start_again() { # who may serve alone
	local first=a alone=$1
	[[ $alone != either ]] || alone=$([[ $((RANDOM % 2)) = 0 ]] && echo active || echo standby)
	if [[ -n $alone && $((RANDOM % 2)) = 0 ]]; then
		[[ $alone = active ]] && alone=$active || alone=$standby
		! site_alive "$(other "$alone")" || site_kill9 "$(other "$alone")"
		settle_alone "$alone"
		mix_wait 0 3
		mix_verify "$alone"
		how="only site $alone started"
		[[ $alone = "$active_before" ]] || how+=", promoted"
		mix_start "$active"
		pause_ms "$(random_ms 0 300)"
		return
	fi
	((RANDOM % 2)) || first=b
	how="site $first started first"
	site_alive $first || site_start $first
	pause_ms "$(random_ms 0 500)"
	site_alive "$(other $first)" || site_start "$(other $first)"
}

one_round() { # what, who, within ms, who may serve alone
	local what=$1 who=$2 ms=$3 alone=$4 after s killed times=1
	standby=$(other "$active") active_before=$active how=
	mix_start "$active"
	pause_ms "$(random_ms 100 700)"
	step "round $round, CASE=\"$what $who\" ROUND_SEED=$round_seed"
	"begin_${what%/*}" "$([[ $what = */* ]] && echo "${what#*/}" || echo "$who")"
	after=$(random_ms 0 "$ms")
	pause_ms "$after"
	! is_under_way "$what" "$who" || met[${what%/*}]=$((${met[${what%/*}]:-0} + 1))
	killed=$(victims "$who" | tr '\n' ' ')
	for s in $killed; do
		! site_alive "$s" || site_kill9 "$s"
	done
	[[ -z $typed || $((RANDOM % 3)) != 0 ]] || kill_pid $typed
	[[ -z $saying ]] || {
		kill_pid $saying
		wait $saying 2>/dev/null || true
		saying=
		# shellcheck disable=SC2086 # one or two sites
		! checkpoint_was_cut $killed || met[checkpoint]=$((${met[checkpoint]:-0} + 1))
	}
	((RANDOM % 4)) || { # once more, on the way up
		for s in $(victims "$who"); do
			site_start "$s"
		done
		pause_ms "$(random_ms 0 400)"
		# shellcheck disable=SC2046 # one or two sites
		site_kill9 $(victims "$who")
		times=2
	}
	link_heal
	# A check finishes what a start would have finished.
	((RANDOM % 2)) || flushed_is_committed
	start_again "$alone"
	settle
	type_end
	settle # it may have been carried out only now
	settle_mix
	step "killed after $after ms, $times time(s): ${killed% }; $how; site $active serves, verified"
	settle_compare
}

# Each of the five moments ROUNDS / 5 times (/ 2 in a long run), the cases of a moment in turn.
active=a
sites_up
each=$(share_of $((ROUNDS > 20 ? ROUNDS / 2 : (ROUNDS + 4) / 5)))
[[ -z ${ROUND_SEED:-} ]] || each=1
round=0
declare -A met=() tried=() # by moment: it was under way when the kill came; rounds
for moment in checkpoint catch-up promotion record recovery; do
	table=()
	while read -r row; do
		[[ $row != "$moment"* || $row != "${CASE:-$moment}"* ]] || table+=("$row")
	done <<<"$cases"
	[[ ${#table[@]} -gt 0 ]] || continue
	skew=$((RANDOM % ${#table[@]}))
	for ((i = 0; i < each; i++)); do
		read -r what who ms _ alone <<<"${table[(i + skew) % ${#table[@]}]}"
		round=$((round + 1))
		tried[$moment]=$((${tried[$moment]:-0} + 1))
		round_seed=${ROUND_SEED:-$((RANDOM * 32768 + RANDOM))}
		seed_next=$((RANDOM * 32768 + RANDOM))
		RANDOM=$round_seed
		one_round "$what" "$who" "$ms" "$alone"
		RANDOM=$seed_next
	done
done
((round > 0)) || fail "there is no case '${CASE:-}'"
# By chance it may be missed in a few.
for moment in "${!tried[@]}"; do
	step "$moment: under way at the kill in ${met[$moment]:-0} of ${tried[$moment]} rounds"
	[[ ${met[$moment]:-0} -gt 0 || ${tried[$moment]} -lt 12 ]] || fail "no kill came while there was a $moment"
done
((${#met[@]} > 0 || round < 5)) || fail "no kill came within any of these moments"
made $round rounds

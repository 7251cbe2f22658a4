#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: power
# budget: 240
# The power fails within pulling, its switch, resync, a promotion or a change of the record: nothing is lost.
#
# Each cut begins one of these under load, on disks with a volatile write cache, and at a random moment
# within it the power of one side or of both is cut; what was not flushed is gone or in pieces. Then
# both start again, and somebody types what the status asks for. Nothing acknowledged may be lost, what is
# flushed was committed (I5), what a loser gave up is kept aside clean and complete (I6), and both replicas
# are clean and equal in the end.
#
#	CUTS=10       how many: one for each two of ROUNDS, each moment in turn
#	SEED=N        of the first one; it says the moment too
#	CASE="pull both"   this one each time: the beginning of a line of the table
#	MODE=         none|prefix|random each time
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../disks.sh"
. "$(dirname "$0")/../power.sh"
. "$(dirname "$0")/../settle.sh"
. "$(dirname "$0")/../words.sh"

CUTS=${CUTS:-$((ROUNDS > 10 ? (ROUNDS + 1) / 2 : 5))}
PER_WORLD=5 # odd: the filesystems change places
CONF_LIMITS="checkpoint_entries = 500"$'\n'"catch_up_rate = 16M"

# What begins, whose power is cut, within how many ms. The active is the source of a pull and the winner of a
# resync, the standby the other one.
cases='pull standby 1500
pull active 1500
pull both 1500
switch standby 150
switch both 150
resync standby 500
resync active 500
resync both 500
promotion standby 120
promotion cut 120
record/deactivate active 80
record/deactivate both 80
record/forward both 80
record/activate standby 80
record/activate both 80
record/demote both 80
record/promote standby 80
record/promote both 80'
moments=(pull switch resync promotion record)

# --- the moments: each begins something between $active and $standby ------------------------------

# A fresh replica in place of the standby's, which the journal does not reach.
begin_pull() {
	local s
	for s in 0 1 2; do
		dd if=/dev/urandom of="$(mnt "$active")/fill" bs=1M count=8 seek=$((8 * s)) oflag=direct conv=notrunc status=none
	done
	wait_for 60 "the journal does not reach back to the beginning" eval '
		[[ $(status $active .journal.first_seq) -gt 1 ]] || { overwrite; false; }'
	leave_out
	site_kill9 "$standby"
	rm -rf "$(replica_of "$standby")"
	"$BIN/tandemfs" format --join "$WORK/$VOLUME.desc" --config "$WORK/$standby/conf" >>"$WORK/$standby/log" 2>&1
	site_start "$standby"
	wait_for 10 "the standby learns that it is inactive" \
		eval '[[ $(status $standby ".inactive[]") = $(others_domain) ]]'
	mix_start "$active"
	order "$active" activate clusterdomain "$(others_domain)"
	wait_for 20 "pulling has begun" test -e "$(replica_of "$standby")/incoming/progress"
}
overwrite() {
	local i
	for i in 1 2 3 4; do
		dd if=/dev/urandom of="$(mnt "$active")/over$i" bs=32k count=100 conv=notrunc oflag=direct status=none &
	done
	wait $!
}

# At a moment when something is pending on one of these disks, if there is one within some milliseconds.
pending_soon() { # site...
	local i s
	for ((i = 0; i < 10; i++)); do
		for s in "$@"; do
			! grep -q ' pending [1-9]' "$WORK/$s/cache/ctl" || return 0
		done
	done
}

# The same, until everything is there: the mark is written, or soon will be.
begin_switch() {
	local dir early=$((RANDOM % 2))
	dir=$(replica_of "$standby")
	begin_pull
	wait_for 60 "the switch" eval '[[ -e '"$dir"'/switch || ! -e '"$dir"'/incoming || '$early' = 1 &&
		$(status '"$standby"' ".peers[0].pull.percent >= 95") = true ]]'
}

# Both serve, each for itself; what the standby's side wrote is given up.
begin_resync() {
	link_cut
	wait_for 20 "the standby misses its peer" eval '[[ $(status $standby ".peers[0].connected") = false ]]'
	order "$standby" deactivate clusterdomain "$(domain "$active")" --yes
	order "$active" deactivate clusterdomain "$(others_domain)" --yes
	site_wait_active "$standby"
	site_wait_active "$active"
	load_start lost run "$standby"
	load_start tree run "$active"
	load_start blocks stamp "$active"
	pause_ms "$(random_ms 100 600)"
	load_stop lost
	lost_upto=$(status "$standby" .seq.committed)
	link_heal
	wait_for 20 "both sites see the fork" \
		eval '[[ $(peer_state a) = fork && $(peer_state b) = fork ]]'
	loser=$standby fork_expected=1
	type_word "$loser" resync $VOLUME --from "$(domain "$active")" --yes
}

begin_promotion() { # whose power is cut
	if [[ $1 = cut ]]; then
		link_cut "$active"
		wait_for 10 "the standby misses its peer" \
			eval '[[ $(status $standby ".peers[0].connected") = false ]]'
	else
		power_cut "$mode" "$RANDOM" "$active"
		power_back "$active"
	fi
	type_word "$standby" deactivate clusterdomain "$(domain "$active")" --yes
}

# --- afterwards -----------------------------------------------------------------------------------

fork_expected= # where the moment was a resync
# What the status asks a person for; settle.sh types the rest.
mend() {
	local s
	[[ -z $loser || $(peer_state a)$(peer_state b) != *fork* ]] || {
		[[ $(role "$active") != confirming ]] || ctl "$active" promote $VOLUME --yes >>"$WORK/words.out" 2>&1 || true
		ctl "$loser" resync $VOLUME --from "$(domain "$active")" --yes >>"$WORK/words.out" 2>&1 || true
		return 1
	}
	# An active that died before the other side knew of it cannot be confirmed by an empty replica.
	for s in a b; do
		[[ $(status "$s" '"\(.role) \(.peers[0].text)"') != confirming*"deactivate clusterdomain $(domain "$(other "$s")")"*activate* ]] ||
			ctl "$s" deactivate clusterdomain "$(domain "$(other "$s")")" --yes >>"$WORK/words.out" 2>&1 || true
	done
	settle_step
}

# What was given up is there once, clean, and up to the last that it acknowledged.
aside_check() { # site
	local dirs end
	mapfile -t dirs < <(find "$(replica_of "$1")" -maxdepth 1 -name 'fork-*')
	[[ ${#dirs[@]} = 1 ]] || fail "kept aside by site $1: ${dirs[*]:-nothing}"
	sed "s|^directory = .*|directory = ${dirs[0]}|" "$WORK/$1/conf" >"$WORK/aside-conf"
	"$BIN/tandemfs" check --config "$WORK/aside-conf" --data >"$WORK/aside.out" 2>&1 ||
		fail "what site $1 kept aside is not clean: $(cat "$WORK/aside.out")"
	end=$(sed -n 's/^journal: seq [0-9]* to \([0-9]*\),.*/\1/p' "$WORK/aside.out")
	[[ $end -ge $lost_upto ]] ||
		fail "what site $1 kept aside ends at seq $end, and it had acknowledged $lost_upto"
	rm -rf "${dirs[0]}" "$WORK"/lost.*
}

one_moment() { # seed
	local what who ms after delay s again='' loser='' lost_upto=0 before
	RANDOM=$1
	local table=()
	while read -r what; do
		[[ $what != "${CASE:-${moments[$1 % ${#moments[@]}]}}"* ]] || table+=("$what")
	done <<<"$cases"
	pick what "${table[@]}"
	read -r what who ms <<<"$what"
	pick mode none prefix random
	pick delay 1000 4000 10000
	mode=${MODE:-$mode}
	standby=$(other "$active")
	step "SEED=$1: $what, $who"
	case $what in
	promotion | record*)
		mix_start "$active"
		pause_ms "$(random_ms 100 500)"
		;;
	esac
	for s in a b; do
		disk_order "$s" "delay $delay"
	done
	before=$(sectors_lost)
	"begin_${what%/*}" "$([[ $what = */* ]] && echo "${what#*/}" || echo "$who")"
	after=$(random_ms 0 "$ms")
	pause_ms "$after"
	# shellcheck disable=SC2046 # one or two sites
	set -- "$1" $(victims "$who")
	pending_soon "${@:2}"
	power_cut "$mode" "$1" "${@:2}"
	for s in "${@:2}"; do
		power_on "$s"
	done
	# A check finishes what a start would have finished.
	((RANDOM % 2)) || flushed_is_committed --data
	if ((RANDOM % 3 == 0)); then
		again=", again in recovery"
		start_again "${@:2}"
		pause_ms $((RANDOM % 300))
		power_cut "$mode" $RANDOM "${@:2}"
		for s in "${@:2}"; do
			power_on "$s"
		done
		((RANDOM % 2)) || flushed_is_committed --data
	fi
	link_heal
	for s in a b; do
		disk_order "$s" "delay 0"
		site_alive "$s" || site_start "$s"
	done
	wait_for 90 "one site serves and the other one is in sync" mend
	type_end
	wait_for 90 "one site serves and the other one is in sync" mend
	settle_mix
	[[ -z $loser ]] || aside_check "$loser"
	fork_expected=
	step "$who cut after $after ms, $mode$again, $(($(sectors_lost) - before)) sectors lost; site $active serves, verified"
}

echo "seed $SEED"
work_new
net_new
mode=none standby=b
for ((round = 0; round < CUTS; round++)); do
	((round % PER_WORLD)) || world_new "$SEED"
	one_moment "$SEED"
	((round % PER_WORLD < PER_WORLD - 1 && round < CUTS - 1)) || world_end
	SEED=$((SEED + 1))
done
step "$LOST sectors were lost altogether"
[[ $LOST -gt 0 ]] || fail "nothing was pending at any cut: this shows nothing"

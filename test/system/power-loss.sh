#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: power
# budget: 400
# split: 4 SEEDS
# long: 2700
# The power of one site or of both is cut under load; what a disk had not flushed is gone or in pieces.
#
# Both replicas lie on disks with a volatile write cache, one with ext4 and one with xfs. Each seed is
# one cut: on the active, the standby or both; nothing un-flushed survives, or a prefix of it, or each
# sector by a coin; then both sites start again, or the standby alone and is promoted. Nothing
# acknowledged may be lost, nothing torn, `check` finds nothing, and both replicas are equal when they
# have met. What RocksDB's files hold was committed (I5): no more than either journal has.
#
#	SEEDS=60      how many (three for each of ROUNDS, where that is more)
#	SEED=N        this one alone, or the first of SEEDS
#	CUT=, MODE=, THEN=   the same for every seed: active|standby|both, none|prefix|random,
#	              start|promote
#	LIE=a|b|ab    disks that answer a flush and do nothing: the test must fail
ONE_SEED=${SEED:+1}
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../disks.sh"
. "$(dirname "$0")/../power.sh"

SEEDS=${SEEDS:-${ONE_SEED:-$((ROUNDS > 20 ? ROUNDS * 3 : 60))}}
SEEDS=$(share_of "$SEEDS")
PER_WORLD=5 # odd: the filesystems change places
CONF_LIMITS="checkpoint_entries = 500"

promote_the_standby() {
	local standby
	standby=$(other $active)
	[[ $cut = active ]] || site_start "$standby"
	wait_for 10 "site $standby answers" has_role "$standby" standby
	order "$standby" deactivate clusterdomain "$(domain $active)" --yes
	site_wait_active "$standby"
	mix_verify "$standby"
	site_start $active
	site_wait_role $active standby
	order "$standby" activate clusterdomain "$(domain $active)"
	site_wait_in_sync "$standby"
	active=$standby
}

one_cut() { # seed
	local mode sites=() s i next during mode2 again='' delay before
	RANDOM=$1
	pick cut active active standby both both
	pick mode none prefix random random
	pick next start start promote
	pick delay 0 300 1000 4000
	cut=${CUT:-$cut} mode=${MODE:-$mode} next=${THEN:-$next}
	[[ $cut != standby ]] || next=start
	case $cut in
	active) sites=("$active") ;;
	standby) sites=("$(other $active)") ;;
	both) sites=(a b) ;;
	esac
	for s in a b; do
		disk_order $s "delay $delay"
		[[ $mode != none || $s != "$active" ]] || disk_order $s "delay 8000" # so that something is pending
		[[ ${LIE:-} != *$s* ]] || disk_order $s "lie 1"
	done
	mix_start $active
	pause_ms $((RANDOM % 650 + 50))
	pick during '' 'during a checkpoint' 'during a checkpoint without the peer' 'after a kill'
	case $during in
	*checkpoint)
		checkpoint
		pause_ms $((RANDOM % 80))
		;;
	*peer) # what is staged now is not committed
		link_cut
		pause_ms 30
		checkpoint
		pause_ms 200
		;;
	*kill) # what they found at their start is durable now
		site_kill9 "${sites[@]}"
		[[ $cut = standby ]] || mix_wait 3
		start_again "${sites[@]}"
		site_wait_active $active
		site_wait_in_sync $active
		;;
	esac
	# A moment when something is pending.
	for ((i = 0; i < 200; i++)); do
		[[ $mode = none && $cut != standby && $(sed 's/.* pending \([0-9]*\).*/\1/' "$WORK/$active/cache/ctl") = 0 ]] || break
	done
	before=$(sectors_lost $active)
	power_cut "$mode" "$1" "${sites[@]}"
	if [[ $mode = none && $cut != standby && $during != *kill && $during != *peer ]]; then
		cuts_none=$((cuts_none + 1))
		[[ $(sectors_lost $active) = "$before" ]] || cuts_lost=$((cuts_lost + 1))
	fi
	link_heal
	[[ $cut = standby || $during = *kill ]] || mix_wait 3
	power_back "${sites[@]}"
	if ((RANDOM % 4 == 0)); then
		again=", again in recovery"
		start_again "${sites[@]}"
		pause_ms $((RANDOM % 300))
		pick mode2 none prefix random
		power_cut "$mode2" $RANDOM "${sites[@]}"
		power_back "${sites[@]}"
	fi
	if [[ $next = promote ]]; then
		promote_the_standby
	else
		start_again "${sites[@]}"
		site_wait_active $active
		site_wait_in_sync $active
		[[ $cut != standby ]] || mix_stop
		mix_verify $active
	fi
	step "SEED=$1: $cut cut${during:+ $during}, $mode$again, $(sectors_lost) sectors lost; $next; verified;" \
		"site $active is active"
}

cuts_none=0 cuts_lost=0 # cuts of the active under load of which nothing un-flushed survives; those that lost something
echo "seed $SEED"
work_new
net_new
for ((round = 0; round < SEEDS; round++)); do
	((round % PER_WORLD)) || world_new "$SEED"
	one_cut "$SEED"
	((round % PER_WORLD < PER_WORLD - 1 && round < SEEDS - 1)) || world_end
	SEED=$((SEED + 1))
done
made $round cuts
step "$LOST sectors were lost altogether; $cuts_lost of $cuts_none cuts of the active's power with mode none lost some"
[[ $LOST -gt 0 ]] || fail "nothing was pending at any cut: this shows nothing"
# Two of three are usual; none of six, or one of a dozen, is no chance any more.
[[ $((4 * (cuts_lost + 2))) -gt $cuts_none && ($cuts_lost -gt 0 || $cuts_none -lt 6) ]] || fail "nothing was pending at most cuts of the active"

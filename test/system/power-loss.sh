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

SEEDS=${SEEDS:-${ONE_SEED:-$((ROUNDS > 20 ? ROUNDS * 3 : 60))}}
SEEDS=$(share_of "$SEEDS")
PER_WORLD=5 # odd: the filesystems change places
CONF_LIMITS="checkpoint_entries = 500"

# Not in a subshell: RANDOM starts afresh there, and a seed would not replay.
pick() { # variable word...: one of them
	local -n picked=$1
	shift
	local i=$((RANDOM % $# + 1))
	picked=${!i}
}

world_new() { # seed
	local flights
	active=a
	RANDOM=$1
	pick flights 1 1 8
	CONF_JOURNAL="size = 32M"$'\n'"flights = $flights"
	if (($1 % 2)); then disks_new ext4 xfs; else disks_new xfs ext4; fi
	sites_format 512M
	power_cut none 0 a b # what format has made is durable
	power_on a
	power_on b
	sites_start
	step "both sites are up: a on ${DISK_FS[a]}, b on ${DISK_FS[b]}, $flights batches in the local flush"
}

world_end() {
	sites_stop_and_compare
	disks_end
	rm -rf "$WORK"/[ab] "$WORK"/tree.* "$WORK"/blocks.* "$WORK/$VOLUME.desc"
}

# I5 and a clean replica, of sites that are switched off with the power on: what is flushed is durable
# on the other site too, as nothing else was committed.
check_cut() { # site...
	local s o out
	declare -A flushed=() end=()
	for s in a b; do
		if [[ " $* " = *" $s "* ]]; then
			"$BIN/tandemfs" check --config "$WORK/$s/conf" --data >"$WORK/check.out" 2>&1 ||
				fail "check of site $s after the cut: $(head -n 20 "$WORK/check.out")"
			out=$(cat "$WORK/check.out")
			flushed[$s]=$(sed -n 's/.*flushed at seq \([0-9]*\).*/\1/p' <<<"$out")
			end[$s]=$(sed -n 's/^journal: seq [0-9]* to \([0-9]*\),.*/\1/p' <<<"$out")
		else
			end[$s]=$(status "$s" .seq.durable)
		fi
	done
	for s in "$@"; do
		for o in a b; do
			[[ ${flushed[$s]} -le ${end[$o]} ]] || fail "I5: site $s has flushed seq" \
				"${flushed[$s]}, the journal of site $o ends at ${end[$o]}"
		done
	done
}

power_back() { # site...
	local s
	for s in "$@"; do
		power_on "$s"
	done
	check_cut "$@"
}

# Starts what was cut; sometimes it is cut again while it recovers.
start_again() { # site...
	local s order=("$@") pause
	if (($# == 2 && RANDOM % 2)); then order=("$2" "$1"); fi
	for s in "${order[@]}"; do
		site_start "$s"
		pick pause 0 0 100
		pause_ms "$pause"
	done
}

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

# In this world, altogether.
sectors_lost() {
	cat "$WORK"/[ab]/disk.out | awk '/^lossyblk: cut/ { n += $(NF - 2) } END { print n + 0 }'
}

checkpoint() {
	"$TOOLS/say" "$WORK/$active/run/$VOLUME.sock" checkpoint >/dev/null
}

one_cut() { # seed
	local mode sites=() s next during mode2 again='' delay
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
	power_cut "$mode" "$1" "${sites[@]}"
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

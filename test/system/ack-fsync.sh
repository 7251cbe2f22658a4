#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: kill
# budget: 240
# ack = fsync: what is found after a crash, on either side, is a prefix of what was done, and all that was
# synced is in it; what was answered and not synced is bounded; a planned change loses nothing.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../disks.sh"

CONF_VOLUME="ack = fsync"
CONF_JOURNAL="size = 32M"
CONF_LIMITS="checkpoint_entries = 4000"
ordered() { # what site [options...]
	"$TOOLS/ordered" "$1" --dir "$(mnt "$2")/ordered" --log "$WORK/ordered.log" "${@:3}"
}
ordered_size() { stat -c %s "$WORK/ordered.log" 2>/dev/null || echo 0; }
ordered_start() { # site
	local before
	before=$(ordered_size)
	ordered run "$1" >"$WORK/ordered.out" 2>&1 &
	LOAD[ordered]=$!
	# A mount that goes before it is opened is nothing to look at.
	wait_for 20 "the ordered steps begin" eval \
		"! pid_alive ${LOAD[ordered]} || [[ \$(ordered_size) != $before ]]"
}
ordered_wait() { # status...
	local status=0
	wait "${LOAD[ordered]}" || status=$?
	unset "LOAD[ordered]"
	[[ " $* " = *" $status "* ]] || fail "the ordered steps ended with $status: $(cat "$WORK/ordered.out")"
}

# I5, mostly: a check finishes what a start would have finished.
look_now() { ((RANDOM % 4 == 0)) || flushed_is_committed; }

echo "seed $SEED"
work_new
net_new
disks_new ext4 xfs
sites_format 1G
power_cut none 0 a b # what format has made is durable
power_on a
power_on b
sites_start
expect_match "status" "$(ctl a status)" "ack +fsync"
expect_eq "status as JSON" "$(status a .ack)" fsync
mkdir "$(mnt a)/ordered"
sync -f "$(mnt a)/ordered"
active=a
for ((round = 1; round <= ROUNDS / 2 + 3; round++)); do
	standby=$(other $active)
	ordered_start $active
	mix_start $active # beside them, so that batches are full; what it knows is not asked for
	pause_ms "$(random_ms 100 1200)"
	case $((round % 4)) in
	0) # a planned change under load
		order $active demote $VOLUME
		what="demoted"
		;;
	1)
		site_kill9 $active
		what="killed"
		;;
	2)
		power_cut random $RANDOM $active
		what="power cut"
		;;
	3)
		power_cut prefix $RANDOM a b
		what="power cut on both"
		;;
	esac
	ordered_wait 3 0
	mix_wait 3 0 1 # its model is of ack = op
	rm -f "$WORK"/tree.* "$WORK"/blocks.*
	case $((round % 4)) in
	0)
		order $standby promote $VOLUME
		active=$standby
		;;
	1 | 2)
		[[ $what = killed ]] || power_on $active
		look_now
		if ((RANDOM % 2)); then
			site_start $active
		else
			order $standby deactivate clusterdomain "$(domain $active)" --yes
			site_wait_active $standby
			site_start $active
			site_wait_role $active standby
			order $standby activate clusterdomain "$(domain $active)"
			active=$standby
			what+=", promoted"
		fi
		;;
	3)
		power_on a
		power_on b
		look_now
		site_start a
		site_start b
		;;
	esac
	site_wait_active $active
	site_wait_in_sync $active
	step "round $round: $what; $(ordered verify $active)"
	rm -rf "$(mnt $active)"/tree* "$(mnt $active)"/blocks*
done
made $((round - 1)) rounds

# A planned change loses nothing of what was never synced.
standby=$(other $active)
last=$(ordered fill $active --seconds 1)
order $active demote $VOLUME
wait_for 30 "site $standby sees it again" eval '[[ $(status '"$standby"' ".peers[0].connected") = true ]]'
order $standby promote $VOLUME
site_wait_active $standby
expect_match "after a planned change" "$(ordered verify $standby)" "^steps $last "
active=$standby
site_wait_in_sync $active
step "demoted after $last steps, none is lost"

# A silent peer: a bounded amount is answered, then writes wait; reads go on, and it all finishes.
standby=$(other $active)
"$TOOLS/probe" prepare "$(mnt $active)/probe"
kill -STOP "${PID[$standby]}"
dd if=/dev/zero of="$(mnt $active)/wide" bs=64k count=2000 status=none &
LOAD[dd]=$!
wait_for 20 "a part is answered without the peer" eval '(($(stat -c %s "$(mnt '"$active"')/wide") > 1 << 20))'
pause_ms 1500
size=$(stat -c %s "$(mnt $active)/wide")
((size <= (16 << 20) + 65536)) || fail "$size bytes were answered without the peer"
((size > 1 << 20)) || fail "only $size bytes were answered without the peer"
probe $active 1000
sync "$(mnt $active)/wide" &
LOAD[sync]=$!
pause_ms 500
pid_alive "${LOAD[sync]}" || fail "what was written without the peer counts as synced"
kill -CONT "${PID[$standby]}"
wait_for 30 "the sync ends" eval "! pid_alive ${LOAD[sync]}"
wait "${LOAD[sync]}"
unset "LOAD[sync]"
wait "${LOAD[dd]}"
unset "LOAD[dd]"
timeout 30 sync "$(mnt $active)/wide" || fail "sync after the peer is back"
expect_eq "size of the file" "$(stat -c %s "$(mnt $active)/wide")" $((2000 * 65536))
step "a silent peer: $size bytes were answered meanwhile"
sites_stop_and_compare
disks_end

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: kill
# budget: 300
# split: 2 ROUNDS
# long: 600
# The active is killed again and again under load, and starts again: nothing acknowledged is lost.
#
# In some rounds it is killed once more while it recovers, in some the standby dies with it. Journal
# and checkpoint intervals are small, so that recycling and checkpoints fall between the kills.
. "$(dirname "$0")/../lib.sh"

CONF_JOURNAL="size = 32M"
CONF_LIMITS="checkpoint_entries = 4000"
sites_up
rounds=$(share_of "$ROUNDS")
for ((round = 1; round <= rounds; round++)); do
	mix_start a
	pause_ms "$(random_ms 100 1500)"
	killed=a
	case $((round % 5)) in
	3)
		killed="a and b"
		site_kill9 a b
		flushed_is_committed
		site_start b
		;;
	*) site_kill9 a ;;
	esac
	mix_wait 3
	if ((round % 4 == 2)); then
		site_start a
		pause_ms "$(random_ms 5 400)"
		site_kill9 a
		killed+=", a again"
	fi
	if ((round % 5 == 4)); then
		flushed_is_committed
	fi
	begin=$(now_ns)
	site_start a
	site_wait_active a
	ms=$((($(now_ns) - begin) / 1000000))
	mix_verify a
	step "round $round: killed $killed; served again after $ms ms; verified"
	if ((round % 7 == 0 || round == rounds)); then
		sites_stop_and_compare
		((round == rounds)) || sites_start
	fi
done
made $((round - 1)) rounds

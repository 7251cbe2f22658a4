#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: kill
# budget: 300
# soak: its budget grows by SOAK
# long: 3700
# For SOAK seconds (120): load, and one daemon after the other is used hard for the length of its life. What
# its memory, descriptors and threads come to in the first quarter is what it stays with.
#
# The first life is half of the time, with a holder; three more are a sixth each: without a restart of either daemon,
# under load, the standby is left out and catches up again and again, hangs, loses its link. Between two lives
# everything fails over, kills of both among it. Bounds: the end of a life against its first quarter, RSS + 25 % +
# 48 MiB, 8 descriptors, 4 threads; the lives' ends against the first one's, the same; and what a leak would show in,
# the anonymous memory at the end of the long life against the most of its second quarter, + 16 MiB. The volume's
# content is bounded too.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../settle.sh"

SOAK=${SOAK:-120}
CONF_JOURNAL="size = 64M"
CONF_VOLUME="holder = yes"
# Caches that are full long before the second quarter, so that what grows after it is a leak.
CONF_LIMITS=$'checkpoint_entries = 4000\ncache = 4M\nmemtable = 4M'

# Of a site's daemon: RSS in KiB; descriptors, those of data segments and of RocksDB's tables aside, which
# are as many as there are such files; threads, without the kernel's own for io_uring, which come and go; and
# anonymous memory in KiB.
use_of() {
	local p=/proc/${PID[$1]} files
	files=$(find "$(replica_of "$1")" -name '*.sst' -o -path '*/data/*' | wc -l)
	[[ $(find "$p/fd" -lname '*/replica/data/*' -o -lname '*.sst' | wc -l) -le $((2 * files + 8)) ]] ||
		fail "site $1 holds more than two descriptors of each of $files files"
	echo "$(awk '/^VmRSS/ { print $2 }' "$p/status")" \
		"$(find "$p/fd" -mindepth 1 ! -lname '*/replica/data/*' ! -lname '*.sst' | wc -l)" \
		"$({ cat "$p"/task/*/comm 2>/dev/null || :; } | grep -cv "^iou-wrk")" \
		"$(awk '/^RssAnon/ { print $2 }' "$p/status")"
}
declare -A BORN=()
declare -A MOST=() # the largest of what was seen since it was cleared, in each of the four
use_note() { # site
	local now most i
	read -ra now <<<"$(use_of "$1")"
	read -ra most <<<"${MOST[$1]:-0 0 0 0}"
	for i in 0 1 2 3; do
		((now[i] <= most[i])) || most[i]=${now[i]}
	done
	MOST[$1]="${most[*]}"
}
use_bounded() { # what, least bound, now
	local was now
	read -ra was <<<"$2"
	read -ra now <<<"$3"
	((now[0] <= was[0] * 5 / 4 + 49152)) || fail "$1: memory grew from ${was[0]} to ${now[0]} KiB"
	((now[1] <= was[1] + 8)) || fail "$1: descriptors grew from ${was[1]} to ${now[1]}"
	((now[2] <= was[2] + 4)) || fail "$1: threads grew from ${was[2]} to ${now[2]}"
}

anonymous_bounded() { # what, bound, now
	local was now
	read -ra was <<<"$2"
	read -ra now <<<"$3"
	((now[3] <= was[3] + 16384)) || fail "$1: anonymous memory grew from ${was[3]} KiB in the second quarter to ${now[3]}"
}

# One thing that happens to a volume in a long life, which its active survives.
mishap() {
	case $((RANDOM % 5)) in
	0 | 1)
		order $active deactivate clusterdomain "$(domain $standby)" --yes
		pause_ms "$(random_ms 100 1500)"
		order $active activate clusterdomain "$(domain $standby)"
		;;
	2)
		link_cut $active
		pause_ms "$(random_ms 50 1500)"
		link_heal
		;;
	3)
		kill -STOP "${PID[$standby]}"
		pause_ms "$(random_ms 50 1500)"
		kill -CONT "${PID[$standby]}"
		;;
	4)
		"$TOOLS/say" "$WORK/$active/run/$VOLUME.sock" checkpoint >>"$WORK/say.out" 2>&1 || true
		ctl $standby status >/dev/null
		;;
	esac
	settle
	[[ $standby = "$(other $active)" ]] || fail "site $standby has become active"
	pause_ms "$(random_ms 200 1000)"
}

sites_up
active=a
lives=4 mishaps=0
declare -A first=()
for ((life = 1; life <= lives; life++)); do
	standby=$(other $active)
	begin=$(now_ns) quarter='' half='' count=0 MOST=()
	for s in a b; do BORN[$s]=$(born_at $s); done
	length=$((SOAK * 1000000000 * (life == 1 ? 3 : 1) / (lives + 2)))
	mix_start $active
	while [[ $(now_ns) -lt $((begin + length)) ]]; do
		mishap
		count=$((count + 1))
		for s in a b; do use_note $s; done
		if [[ -z $quarter && $(now_ns) -gt $((begin + length / 4)) ]]; then
			quarter="${MOST[a]}|${MOST[b]}"
			MOST=()
			from=$(now_ns)
		elif [[ -z $half && $(now_ns) -gt $((begin + length / 2)) ]]; then
			half="${MOST[a]:-}|${MOST[b]:-}"
		fi
	done
	[[ $(mix_acked "$from" "$(now_ns)") -gt 0 ]] || fail "nothing was acknowledged in life $life"
	for s in a b; do
		born=$(born_at $s)
		((born - BORN[$s] < 3)) || fail "the daemon of site $s has started again in life $life: ${BORN[$s]}, $born"
	done
	mix_stop # nothing has failed
	mix_verify $active
	for s in a b; do
		use_bounded "life $life, site $s" "$([[ $s = a ]] && echo "${quarter%|*}" || echo "${quarter#*|}")" \
			"$(use_of $s)"
		((life > 1)) || anonymous_bounded "the long life, site $s" \
			"$([[ $s = a ]] && echo "${half%|*}" || echo "${half#*|}")" "$(use_of $s)"
		[[ -n ${first[$s]:-} ]] || first[$s]=$(use_of $s)
		use_bounded "life $life after the first one, site $s" "${first[$s]}" "$(use_of $s)"
	done
	mishaps=$((mishaps + count))
	step "life $life, site $active active: $count mishaps; KiB, descriptors, threads, anonymous: a $(use_of a), b $(use_of b)"
	((life < lives)) || break
	if ((life == 1)); then # what kills must end the mount, too
		sites_stop_and_compare
		umount -l "$(mnt $active)"
		sed -i 's/^holder = yes$/holder = no/' "$WORK"/[ab]/conf
		site_start b
		site_start a
		site_wait_active $active
		site_wait_in_sync $active
	fi

	# Everything else that happens, and another life.
	mix_start $active
	pause_ms "$(random_ms 100 800)"
	case $((life % 3)) in
	1) # the site dies
		site_kill9 $active
		order $standby deactivate clusterdomain "$(domain $active)" --yes
		;;
	2) # everything dies
		site_kill9 a b
		;;
	0) # a planned change
		order $active demote $VOLUME
		wait_for 10 "the standby learns of it" eval '[[ $(status '$standby' ".active_domain") = null ]]'
		order $standby promote $VOLUME --yes
		;;
	esac
	settle
	settle_mix
	sites_stop_and_compare
	site_start a
	site_start b
	site_wait_active $active
	site_wait_in_sync $active
done
sites_stop_and_compare
made $mishaps mishaps in "$SOAK" seconds

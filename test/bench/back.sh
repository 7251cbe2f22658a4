# shellcheck shell=bash disable=SC2154 # what run.sh has set
# SPDX-License-Identifier: Apache-2.0
#
# Coming back and taking over, for run.sh: how fast a replaced replica is whole again by pulling, what that
# costs those who use the volume meanwhile, and how long a promotion takes. Sourced; works in the namespaces
# of run.sh, on two sites of its own with TLS. Prints a section of the report.

back_data=${BACK_MIB:-1024} # MiB in the volume

back_status() { # site, jq expression
	site_ctl "$back_dir" "$1" status -o json | jq -r "(if type == \"array\" then .[0] else . end) | $2"
}

back_level() { # active site
	[ "$(back_status "$1" '"\(.in_sync | length) \(.peers[0].state)"')" = "2 in-sync" ]
}

# To ask all the time would take a third of two processors from what is measured.
back_level_seldom() {
	sleep 0.15
	back_level "$1"
}

# Site b gets an empty directory and knows that it is out; what is left to do is to activate it.
back_replace() {
	site_ctl "$back_dir" a deactivate clusterdomain site-b --yes >/dev/null || return 1
	site_stop "$back_dir" b
	rm -rf --one-file-system "$back_dir/b/data"
	"$tandemfs" format --join "$back_dir/back.desc" --config "$back_dir/b.conf" >/dev/null || return 1
	site_start "$back_dir" b
	site_wait "$back_dir" b 20 back_inactive
}
back_inactive() { [ "$(back_status b '.inactive[0]')" = site-b ]; }

back_ms() { echo $(($(date +%s%N) / 1000000)); }
back_p50() { sed -n 's/.* p50_us=\([0-9.]*\) .*/\1/p' <<<"$1"; }

# MB/s of a sequential dd past the page cache.
back_dd() { # if=FILE of=FILE
	local flags=(oflag=direct conv=fsync)
	[ "$2" != of=/dev/null ] || flags=(iflag=direct)
	dd "$@" bs=1M count="$back_data" "${flags[@]}" 2>&1 | tail -n 1 |
		awk -v n="$back_data" '{ for (i = 2; i <= NF; i++) if ($i ~ /^s,?$/) printf "%.0f", n * 1.048576 / $(i - 1) }'
}

# SITE is killed and the other one takes over; prints milliseconds until that is mounted.
back_takeover() { # dead site, surviving site
	local t0
	kill -KILL "$(site_pid "$back_dir" "$1")"
	t0=$(back_ms)
	site_ctl "$back_dir" "$2" deactivate clusterdomain "site-$1" --yes >/dev/null || return 1
	site_mounted "$back_dir" "$2" || return 1
	echo $(($(back_ms) - t0))
	umount -l "$back_dir/$1/mnt" 2>/dev/null
	return 0
}

# The disk by itself: sets `alone`, MB/s at which it writes, and `both`, at which it reads and writes the same
# bytes at once, as it does where both replicas lie on it.
back_disk() {
	alone=$(back_dd if=/dev/zero of="$work/back.dd") || return 1
	back_dd if="$work/back.dd" of=/dev/null >"$work/back.read" &
	both=$(back_dd if=/dev/zero of="$work/back.too") || return 1
	wait $! || return 1
	both=$(printf '%s\n' "$both" "$(cat "$work/back.read")" | sort -n | head -n 1)
	rm -f "$work"/back.{dd,too,read}
}

# A replaced replica pulls, and nobody else is there: sets `rate`, MB/s.
back_pull() {
	local t0 ms sent
	back_replace || return 1
	t0=$(back_ms)
	site_ctl "$back_dir" a activate clusterdomain site-b >/dev/null
	site_wait "$back_dir" a 600 back_level_seldom a || return 1
	ms=$(($(back_ms) - t0))
	sent=$(back_status a '.peers[0].pull.bytes_sent')
	rate=$(awk -v b="$sent" -v ms="$ms" 'BEGIN { printf "%.0f", b / 1000 / ms }')
	awk -v b="$sent" -v r="$rate" -v d="$alone" -v both="$both" 'BEGIN {
		printf "| a replaced replica pulls %.0f MB, nobody else there | %.0f MB/s | x%.2f of %s MB/s, at which the disk reads and writes as much at once; x%.2f of %s MB/s, at which it writes alone |\n", b / 1e6, r, r / both, both, r / d, d }'
}

back_pulls() { [ "$(back_status a '.peers[0].pull | .connected and .percent > 0 and .percent < 100')" = true ]; }
back_pulls_or_level() { back_pulls || back_level a; }

# What a write costs while it pulls, against just before: three times. Sets `slower`, the median of the quotients; empty when
# fewer than two pulls took as long as the measurement.
back_latency() {
	local i before meanwhile samples=
	slower=
	for i in 1 2 3; do
		back_replace || return 1
		before=$(back_p50 "$("$fsio" osync "$back_dir/a/mnt" $((BENCH_SECONDS * 2)))")
		site_ctl "$back_dir" a activate clusterdomain site-b >/dev/null
		site_wait "$back_dir" a 60 back_pulls_or_level || return 1
		meanwhile=$(back_p50 "$("$fsio" osync "$back_dir/a/mnt" "$BENCH_SECONDS")")
		if back_pulls; then
			samples+="$before $meanwhile"$'\n'
		else
			echo "back: the pull ended before the latency beside it was measured ($i of 3): BACK_MIB=$back_data is too little" >&2
		fi
		site_wait "$back_dir" a 600 back_level_seldom a || return 1
	done
	samples=$(printf '%s' "$samples" | awk '{ print $2 / $1, $1, $2 }' | sort -n)
	i=$(printf '%s' "$samples" | grep -c .)
	if [ "$i" -lt 2 ]; then
		echo "| 4 KiB O_DIRECT + O_SYNC write while it pulls | not measured | $((3 - i)) of 3 pulls ended first: it takes more than $back_data MiB |"
		return 0
	fi
	samples=$(sed -n "$(((i + 2) / 2))p" <<<"$samples") # of two the worse
	slower=${samples%% *}
	awk -v n="$i" '{ printf "| 4 KiB O_DIRECT + O_SYNC write while it pulls (median of %d) | %.0f us | x%.2f of %.0f us before |\n", n, $3, $1, $2 }' <<<"$samples"
}

back_run() {
	local alone both rate slower ms idle
	back_dir=$work/back
	sites_make "$back_dir" back tls 8G 32M || return 1
	site_start "$back_dir" a
	site_start "$back_dir" b
	site_wait "$back_dir" a 30 back_level a || return 1
	"$fsio" write "$back_dir/a/mnt" "$back_data" >/dev/null || return 1
	until [ "$(back_status a .journal.first_seq)" -gt 1 ]; do # the ring goes round
		"$fsio" direct "$back_dir/a/mnt" 1 >/dev/null || return 1
	done
	back_disk || return 1
	echo
	echo "Coming back, TLS, both replicas on the one disk:"
	echo
	echo "| what | figure | against |"
	echo "|---|---|---|"
	back_pull || return 1
	back_latency || return 1
	ms=$(back_takeover a b) || return 1
	idle=$ms
	echo "| an idle standby takes over: from the command to the mount | $ms ms | |"
	site_start "$back_dir" a
	site_wait "$back_dir" a 20 back_known || return 1
	site_ctl "$back_dir" b activate clusterdomain site-a >/dev/null
	site_wait "$back_dir" b 60 back_level b || return 1
	"$fsio" random "$back_dir/b/mnt" 60 >/dev/null 2>&1 &
	sleep "$((BENCH_SECONDS * 2))"
	ms=$(back_takeover b a) || return 1
	wait $!
	echo "| one under full load (16 writers) | $ms ms | |"
	echo
	back_least "pulling, against what the disk reads and writes at once" \
		"$(awk -v a="$rate" -v b="$both" 'BEGIN { printf "%.2f", a / b }')" 0.5
	[ -z "$slower" ] || back_limit "latency while it pulls, against before" "$(printf '%.2f' "$slower")" 1.5
	back_limit "an idle standby takes over, ms" "$idle" 1000
	back_limit "one under full load takes over, ms" "$ms" 3000
}
# Says what is worse than it should be.
back_limit() { # what, figure, limit
	awk -v a="$2" -v b="$3" 'BEGIN { exit !(a > b) }' || return 0
	echo "- **$1: $2, at most $3 is the aim**"
}
back_least() { # what, figure, limit
	awk -v a="$2" -v b="$3" 'BEGIN { exit !(a < b) }' || return 0
	echo "- **$1: $2, at least $3 is the aim**"
}
back_known() { [ "$(back_status a '.inactive[0]')" = site-a ]; }

bench_back() {
	local status=0
	back_run || status=1
	site_stop "$back_dir" a 2>/dev/null
	site_stop "$back_dir" b 2>/dev/null
	return $status
}

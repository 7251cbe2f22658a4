# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# What tests of power cuts share: worlds of two sites on disks that forget, power that comes back, and what
# was lost. Sourced behind lib.sh and disks.sh; they set PER_WORLD and CONF_LIMITS, and find the active site in
# $active.

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

LOST=0 # sectors, in the worlds that ended
world_end() {
	sites_stop_and_compare
	disks_end
	LOST=$((LOST + $(sectors_lost)))
	rm -rf "$WORK"/[ab] "$WORK"/tree.* "$WORK"/blocks.* "$WORK/$VOLUME.desc"
}

power_back() { # site...
	local s
	for s in "$@"; do
		power_on "$s"
	done
	flushed_is_committed --data
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

# In this world, by both sites or one of them.
# shellcheck disable=SC2120 # some tests ask for one site
sectors_lost() { # [site]
	local outs=("$WORK"/[ab]/disk.out)
	[[ -z ${1:-} ]] || outs=("$WORK/$1/disk.out")
	awk '/^lossyblk: cut/ { n += $(NF - 2) } END { print n + 0 }' "${outs[@]}"
}

checkpoint() {
	"$TOOLS/say" "$WORK/$active/run/$VOLUME.sock" checkpoint >/dev/null
}


# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Sites whose replicas lie on disks with a volatile write cache (lossyblk.c), for power cuts and disks
# that fail. Sourced after lib.sh:
#
#	disks_new ext4 xfs           # the filesystems below site a and b; before sites_format
#	disk_order a delay 500       # what the control file of lossyblk takes
#	power_cut random 7 a b       # of these sites: nothing un-flushed is safe, their daemons are dead
#	power_on a; site_start a     # the filesystem recovers by itself, then the daemon
#	disks_end                    # both are unmounted and removed
#
# For a site s: $WORK/s/cache is lossyblk, $WORK/s/disk the filesystem; the image is in memory.

DISK_SIZE=${DISK_SIZE:-16G} # of a sparse file
IMAGES=
declare -A DISK=() DISK_FS=()

replica_of() { echo "$WORK/$1/disk/replica"; }

disks_new() { # filesystem of site a, of site b
	local s kind=$1
	IMAGES=$(mktemp -d "/dev/shm/$TAG.XXXXXX")
	for s in a b; do
		disk_new "$s" "$kind"
		kind=$2
	done
}

disk_new() { # site filesystem
	local d image=$IMAGES/$1.img
	d=$(dir_of "$1")
	mkdir -p "$d/cache" "$d/disk"
	truncate -s "$DISK_SIZE" "$image"
	case $2 in
	ext4) mkfs.ext4 -q -F -N 4096 -J size=16 -E nodiscard,lazy_itable_init=0 "$image" ;;
	xfs) mkfs.xfs -q -f -K -s size=4096 "$image" ;;
	*) fail "no filesystem '$2'" ;;
	esac
	DISK_FS[$1]=$2
	"$TOOLS/lossyblk" "$image" "$d/cache" >>"$d/disk.out" 2>&1 </dev/null &
	DISK[$1]=$!
	wait_for 10 "the disk of site $1 is there" test -e "$d/cache/disk"
	# xfs needs its blocks whole, which it says to a drive of 4 KiB sectors; one that is torn makes it unmountable. What
	# is ours bears less: on ext4 each 512 bytes come or go for themselves.
	[[ $2 != xfs ]] || disk_order "$1" "unit 4096"
	disk_mount "$1"
}

# The loop device goes with the mount.
disk_mount() { # site
	local d
	d=$(dir_of "$1")
	mount -t "${DISK_FS[$1]}" -o loop,noatime "$d/cache/disk" "$d/disk" ||
		fail "the ${DISK_FS[$1]} of site $1 cannot be mounted"
}

disk_order() { # site, order...
	echo "${*:2}" >"$(dir_of "$1")/cache/ctl" || fail "the disk of site $1 refuses: ${*:2}"
}

disk_umount() { # site
	wait_for 30 "the filesystem of site $1 is unmounted" umount "$(dir_of "$1")/disk"
	wait_for 30 "the loop device of site $1 is gone" \
		eval "! losetup -a | grep -q '$(dir_of "$1")/cache/'"
}

# Both get a new mount: what is only in the kernel's memory was never written.
disks_again() {
	local s
	for s in a b; do
		disk_umount "$s"
		disk_mount "$s"
	done
}

disk_failures() { sed 's/.*failed \([0-9]*\).*/\1/' "$WORK/$1/cache/ctl"; } # site: how many calls failed so far

# The disks first, and all at once: what a dying daemon still does must not count.
power_cut() { # mode seed site...
	local s pid mode=$1 seed=$2 pids=()
	shift 2
	for s in "$@"; do
		disk_order "$s" "crash $mode $seed" &
		pids+=($!)
	done
	for pid in "${pids[@]}"; do
		wait "$pid" || fail "the power of $* was not cut"
	done
	for s in "$@"; do
		[[ -z ${PID[$s]:-} ]] || site_end "$s"
	done
	for s in "$@"; do
		disk_umount "$s"
	done
}

power_on() { # site
	disk_order "$1" on
	disk_mount "$1"
}

disks_end() {
	local s
	for s in a b; do
		disk_umount "$s"
		umount "$(dir_of "$s")/cache"
		wait "${DISK[$s]}" || fail "lossyblk of site $s: status $?"
		unset "DISK[$s]"
	done
	rm -rf "$IMAGES"
	IMAGES=
}

# For lib.sh's cleanup, after processes and mounts are gone.
disks_cleanup() {
	local s i loop
	for ((i = 0; i < 100; i++)); do
		losetup -a | grep -q "($WORK/" || break
		sleep 0.05
	done
	for loop in $(losetup -a | grep "($WORK/" | cut -d: -f1); do
		losetup -d "$loop"
	done
	for s in a b; do
		[[ ! -f $WORK/$s/disk.out ]] || cp "$WORK/$s/disk.out" "$WORK/disk-$s.out"
	done
	[[ -z $IMAGES ]] || rm -rf "$IMAGES"
}

# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Damage below the filesystem, for system tests that have sourced lib.sh: where the blocks of a file lie in
# the data segments of a site, and flipping bytes there, under the daemon if it runs. Files are known by
# what they hold: $WORK/FILE is the original.

# The data file of a site that holds the first block of a file, and as which block.
where() { "$TOOLS/spoil" find "$(replica_of "$1")/data" "$WORK/$2"; } # site, file
# Flips a byte in each of these blocks of a file, on the disk and in the page cache below the daemon.
damage() { # site, file, block of the file...
	local file first block
	wait_for 10 "site $1 has written $2" where "$1" "$2"
	read -r file first < <(where "$1" "$2")
	shift 2
	for block in "$@"; do
		"$TOOLS/spoil" flip "$file" $(((first + block) * 4096 + RANDOM % 4096)) $((RANDOM % 8))
	done
}
# The disk below a site (disks.sh) cannot read these blocks of a file any more, until they are written.
unreadable() { # site, file, block of the file...
	local s=$1 file first block at
	wait_for 10 "site $s has written $2" where "$s" "$2"
	read -r file first < <(where "$s" "$2")
	shift 2
	for block in "$@"; do
		at=$("$TOOLS/spoil" disk "$file" $(((first + block) * 4096)))
		disk_order "$s" "bad $at 4096"
	done
	dd if="$file" iflag=nocache count=0 status=none # the kernel's pages of it
}
# How many sectors the disk below a site cannot read.
bad_sectors() { sed 's/.* bad \([0-9]*\).*/\1/' "$WORK/$1/cache/ctl"; } # site

# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Damage below the filesystem, for system tests that have sourced lib.sh: where the blocks of a file lie in
# the data segments of a site, and flipping bytes there, under the daemon if it runs. Files are known by
# what they hold: $WORK/FILE is the original.

# The data file of a site that holds the first block of a file, and at which block.
where() { # site, file
	python3 - "$WORK/$1/replica/data" "$WORK/$2" <<-'END'
		import os, sys
		want = open(sys.argv[2], 'rb').read(4096)
		for d, _, files in os.walk(sys.argv[1]):
		    for f in files:
		        at = open(os.path.join(d, f), 'rb').read(64 << 20).find(want)
		        if at >= 0 and at % 4096 == 0:
		            print(os.path.join(d, f), at // 4096)
		            sys.exit(0)
		sys.exit("no data file holds it")
	END
}
# Flips a byte in each of these blocks of a file, on the disk and in the page cache below the daemon.
damage() { # site, file, block of the file...
	local file first at old block
	wait_for 10 "site $1 has written $2" where "$1" "$2"
	read -r file first < <(where "$1" "$2")
	shift 2
	for block in "$@"; do
		at=$(((first + block) * 4096 + RANDOM % 4096))
		old=$(od -An -tu1 -j "$at" -N 1 "$file")
		printf '%b' "\\x$(printf %02x $((old ^ 0x40)))" |
			dd of="$file" bs=1 seek="$at" conv=notrunc,fsync status=none
	done
}

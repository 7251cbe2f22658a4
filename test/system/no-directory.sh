#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: programs
# budget: 120
# A disk so full that not even a directory can be made (mkdir fails, failio.c): a standby refuses the data of a new
# epoch until there is room and is no worse for it, and what was pulled takes the place of the old state all the same,
# with some room from the ballast.
. "$(dirname "$0")/../lib.sh"

CONF_JOURNAL="size = 32M"
CONF_LIMITS="checkpoint_entries = 200"
FAULT= # the control file of failio.c

le64() { # number: its eight bytes
	local i n=$1
	for ((i = 0; i < 8; i++)); do
		printf "\\x$(printf %02x $((n & 255)))"
		n=$((n >> 8))
	done
}
# Site b starts; its calls with these words get ENOSPC: the first one, or all of them until room_again.
site_start_full() { # words, once or stays
	FAULT=$WORK/fault
	rm -f "$FAULT" "$FAULT.log"
	{ le64 1 && le64 28 && le64 0; } >"$FAULT"
	export FAIL_IO_MATCH=$1
	[[ $2 = once ]] || export FAIL_IO_STAYS=1
	SITE_ENV[b]="LD_PRELOAD=$TOOLS/failio.so FAIL_IO=$FAULT FAIL_IO_DIR=$(replica_of b)"
	SITE_ENV[b]+=" ASAN_OPTIONS=$ASAN_OPTIONS:verify_asan_link_order=0" # a sanitizer wants to be first
	site_start b
	unset "SITE_ENV[b]" FAIL_IO_MATCH FAIL_IO_STAYS
}
room_again() { le64 0 | dd of="$FAULT" conv=notrunc status=none; }
leave_b() {
	order a deactivate clusterdomain site-b --yes
	wait_for 10 "site b knows" eval '[[ $(status b ".inactive[]") = site-b ]]'
	site_stop b
}
b_is_inactive() { [[ $(status b ".inactive[]") = site-b ]]; }

sites_up 512M
echo before >"$(mnt a)/before"
wait_for 10 "both sites hold the same" is_level

# The data of a large write comes ahead of the batch that names it.
leave_b
site_start_full 'mkdir*/data/*' stays
wait_for 10 "site b learns that it is inactive" b_is_inactive
site_stop a
site_start a # which begins another epoch
site_wait_active a
dd if=/dev/urandom of="$(mnt a)/large" bs=1M count=4 oflag=direct status=none
pid=${PID[b]}
order a activate clusterdomain site-b
wait_for 20 "site b says that its disk is full" eval '[[ $(status b .space.full) = true ]]'
wait_for 20 "site b refuses data" grep -q "no room for data" "$WORK/b/log"
pause_ms 3000
expect_eq "the set while site b is full" "$(in_sync_count a)" 1
expect_match "calls that failed" "$(tail -n 1 "$FAULT.log")" "^mkdir.* /data/00000002"
! grep -qE "stops acknowledging|suspect" <(site_log b) || fail "site b: $(site_log b | tail -n 5)"
echo meanwhile >"$(mnt a)/meanwhile"
room_again
site_wait_in_sync a 40
expect_eq "process of site b" "${PID[b]} $(status b .trouble)" "$pid "
wait_for 10 "both sites hold the same" is_level
step "no room for an epoch's directory: refused until there was"

# The directories for what is replaced. What it has pulled is complete, and it starts again for it.
overwrite() {
	dd if=/dev/urandom of="$(mnt a)/over" bs=32k count=200 conv=notrunc oflag=direct status=none
	false
}
leave_b
wait_for 60 "the journal does not reach back to the beginning" eval '[[ $(status a .journal.first_seq) -gt 1 ]] || overwrite'
rm -r "$(replica_of b)"
"$BIN/tandemfs" format --join "$WORK/$VOLUME.desc" --config "$WORK/b/conf" >>"$WORK/b/log" 2>&1

site_start_full 'mkdir*/old' once
wait_for 10 "site b learns that it is inactive" b_is_inactive
wait_for 30 "site b has its ballast" eval '[[ $(stat -c %b "$(replica_of b)/ballast") -gt 2048 ]]'
order a activate clusterdomain site-b
site_wait_in_sync a 60
expect_match "calls that failed" "$(cat "$FAULT.log")" "^mkdir.* /old"
expect_match "log of site b" "$(site_log b)" "what was pulled has taken the place of the old state"
step "no room for the directories of the old state: out of the ballast"
sites_stop_and_compare

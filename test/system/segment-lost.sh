#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: damage
# budget: 180
# A file of the data segments that is gone, cut, emptied or swapped with another one, on either side: check names the
# files, reading repairs them from the peer, and a peer that pulls is not sent the wrong bytes: both sides say that
# something is missing, and what to do.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../blocks.sh"

CONF_JOURNAL="size = 32M"
CONF_LIMITS="checkpoint_entries = 2000"
sites_up 512M
head -c 3M /dev/urandom >"$WORK/large"
head -c 80K /dev/urandom >"$WORK/small"
put() { # file: on the mount of site a, in an epoch of its own, which has segment files of its own
	cp "$WORK/$1" "$(mnt a)/$1"
	wait_for 10 "both sites hold the same" is_level
	site_stop a
	site_stop b
	sites_start
}
put large
put small
site_stop a
site_stop b

segment() { where "$1" "$2" | cut -d' ' -f1; } # site, file: where it lies
spoil_segment() { # site, how
	local file other
	file=$(segment "$1" large)
	other=$(segment "$1" small)
	[[ $file != "$other" ]] || fail "both files lie in $file"
	case $2 in
	gone) rm "$file" ;;
	cut) truncate -s 1M "$file" ;;
	emptied) : >"$file" ;;
	swapped)
		mv "$file" "$file.t"
		mv "$other" "$file"
		mv "$file.t" "$other"
		;;
	esac
}
declare -A SAYS=([gone]="which is not there" [cut]="which has 1048576 bytes instead of" [emptied]="which has 0 bytes"
	[swapped]="'large'")
is_named() { # site, how
	expect_fail "$BIN/tandemfs" check --config "$WORK/$1/conf" --data
	expect_eq "status of check" "$STATUS" 1
	expect_match "check of site $1, $2" "$OUT" "problem: 'large' .*, in '$WORK/$1/replica/data/.*'"
	expect_match "check of site $1, $2" "$OUT" "${SAYS[$2]}"
}
is_repaired() { # site, which is active
	local f
	for f in large small; do
		cmp "$WORK/$f" "$(mnt "$1")/$f" || fail "site $1: $f reads wrong"
	done
	[[ $(status "$1" .counters.repaired) -gt 0 ]] || fail "nothing was repaired"
}

# Of the active, and of the standby, which then becomes the active one; two ways each, by chance.
ways=("gone cut" "emptied swapped")
for s in a b; do
	[[ $s = a ]] && n=$((SEED % 2)) || n=$(((SEED + 1) % 2))
	for how in ${ways[n]}; do
		spoil_segment $s $how
		is_named $s $how
		site_start "$(other $s)"
		site_start $s
		if [[ $s = b && $(role b) != active ]]; then
			wait_for 20 "a site is active" eval 'is_serving a || is_serving b'
			if is_serving a; then
				site_wait_in_sync a
				order a demote $VOLUME
				site_wait_role a standby
				wait_for 20 "site b is connected again" eval '[[ $(status b .peers[0].connected) = true ]]'
				order b promote $VOLUME
			fi
		fi
		site_wait_active $s
		site_wait_in_sync $s
		is_repaired $s
		site_stop $s
		site_stop "$(other $s)"
		site_check $s --data >/dev/null
		step "site $s, $how: named, read from the peer, written back"
	done
done

# The source of a replica that is made anew has lost a file.
site_start a
site_start b
site_wait_active b
site_wait_in_sync b
order b deactivate clusterdomain site-a --yes
wait_for 10 "site a knows" eval '[[ $(status a ".inactive[]") = site-a ]]'
site_stop a
site_stop b
rm -rf "$WORK/a/replica"
"$BIN/tandemfs" format --join "$WORK/$VOLUME.desc" --config "$WORK/a/conf" >>"$WORK/a/log" 2>&1
file=$(segment b large)
mv "$file" "$WORK/segment.kept"
site_start b
site_start a
site_wait_active b
# Now the ring of site b has no old entries any more from which site a could take all.
wait_for 60 "the ring has gone round" eval '[[ $(status b .journal.first_seq) -gt 2 ]] ||
	{ dd if=/dev/urandom of="$(mnt b)/over" bs=32k count=500 oflag=direct status=none; false; }'
order b activate clusterdomain site-a
wait_for 40 "site b says that data is lost" eval '[[ $(status b ".peers[0].text") = *"stopped by damage on this disk"* ]]'
expect_match "log of site b" "$(site_log b)" "site-a cannot pull [0-9]+ blocks at or behind epoch .* damaged on this disk \(lost.*in '$file', which is not there.*delete or overwrite"
wait_for 40 "site a says that the source lacks something" eval '[[ $(status a ".peers[0].text") = *"gone at the source again and again"* ]]'
expect_match "log of site a" "$(site_log a)" "blocks are gone at the source for the third time"
expect_match "status of site b" "$(ctl b status)" "delete or overwrite"
expect_eq "the set" "$(in_sync_count b)" 1
step "site b: $(status b '.peers[0].text')"
step "site a: $(status a '.peers[0].text')"
rounds=$(grep -c "are gone at the source" "$WORK/a/log")
pause_ms 4000
[[ $(($(grep -c "are gone at the source" "$WORK/a/log") - rounds)) -le 2 ]] || fail "round after round"
# Overwritten, it is nobody's any more.
cp "$WORK/large" "$(mnt b)/large"
site_wait_in_sync b 60
sites_stop_and_compare

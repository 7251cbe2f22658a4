#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: switch
# budget: 60
# While a daemon recovers its control socket answers: status says so, everything else is refused and changes
# nothing. Whoever asks all the time gets an answer all the time, also when the recovery ends.
#
# The recovery is held up by a pipe in place of the file `record`, which it reads after its locks.
. "$(dirname "$0")/../lib.sh"

sites_up 256M
echo kept >"$(mnt a)/file"
site_kill9 a
record=$(replica_of a)/record
hold() {
	mv "$record" "$record.kept"
	mkfifo "$record"
	site_start a
	wait_for 10 "site a recovers" has_role a recovering
}
release() {
	cat "$record.kept" >"$record"
	rm "$record.kept"
}

hold
expect_match "status in words" "$(ctl a status)" "role +recovering its journal in site-a for .*, not mounted"
expect_match "status as a table" "$(ctl a status | head -n 2)" "recovering"
expect_eq "mounted" "$(status a .mounted)" false
for verb in "promote $VOLUME --yes" "demote $VOLUME" "deactivate clusterdomain site-b --yes" \
	"activate clusterdomain site-b" "resync $VOLUME --from site-b --yes"; do
	# shellcheck disable=SC2086 # several words
	expect_fail ctl a --timeout 0.5 $verb
	expect_match "$verb" "$OUT" "recovering its journal: nothing was changed, try again in a moment"
done
expect_fail in_site a timeout 20 "$BIN/tandemfs" run --config "$WORK/a/conf" --run-dir "$WORK/a/run"
expect_match "a second daemon" "$OUT" "another tandemfs uses"
has_role a recovering || fail "the second daemon took the socket away"
step "status says so, the rest is refused"

# Dies within, and starts again: nothing of the first one is in the way.
site_kill9 a
rm "$record"
mv "$record.kept" "$record"
hold
step "killed within it, and started again"

# No gap at the end: one who asks again and again.
(
	while ctl a status -o json >"$WORK/asked.json" 2>"$WORK/asked.err"; do
		[[ $(jq -r '.[0].role' "$WORK/asked.json") != active ]] || exit 0
	done
	exit 1
) &
asker=$!
# Who is patient need not type it again.
(ctl a activate clusterdomain site-b >"$WORK/patient.out" 2>&1) &
patient=$!
pause_ms 300
pid_alive $patient || fail "an order did not wait for the end of the recovery: $(cat "$WORK/patient.out")"
release
wait $patient || fail "an order that waited for the recovery: $(cat "$WORK/patient.out")"
expect_match "the order" "$(cat "$WORK/patient.out")" "site-b is not inactive"
site_wait_active a
wait $asker || fail "the socket did not answer all the time: $(cat "$WORK/asked.json" "$WORK/asked.err")"
site_wait_in_sync a
expect_eq "the file" "$(cat "$(mnt a)/file")" kept
step "from recovering to active without a gap"

# A recovery that fails leaves no socket.
site_kill9 a
hold
: >"$record"
wait_for 10 "the daemon of site a ends" eval '! site_alive a'
site_end a
[[ ! -e $WORK/a/run/$VOLUME.sock ]] || fail "a recovery that failed left its socket"
rm "$record"
mv "$record.kept" "$record"
site_start a
site_wait_active a
site_wait_in_sync a
sites_stop_and_compare

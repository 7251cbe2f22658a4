# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# A replica that is damaged in one way after the other, for system tests that have sourced lib.sh: each time
# check and the daemon refuse it, say which file it is and what to do, and change nothing; then it is restored.
#
#	refused_begin b              # the replica of a site whose daemon has ended, as it is now
#	flip record 5; refused "a flipped byte in the record" "record' is damaged" "$back"

victim='' replica='' back=''
# shellcheck disable=SC2034 # for those who source this
copy="copy it here from the replica directory of another one"

refused_begin() { # site
	victim=$1
	replica=$(replica_of "$1")
	back="bring this replica back from its peer: on the other side 'tandemctl deactivate"
	back+=" clusterdomain $(domain "$1")'.*format --join"
	rm -rf "$WORK/keep"
	mkdir "$WORK/keep"
	but_data "$replica" | xargs -0 cp -a -t "$WORK/keep"
}
but_data() { find "$1" -mindepth 1 -maxdepth 1 ! -name data -print0; } # of a replica
restore() {
	but_data "$replica" | xargs -0 rm -rf
	but_data "$WORK/keep" | xargs -0 cp -a -t "$replica"
}
# What must not change: all but what RocksDB writes anew at each opening.
sums() {
	find "$replica" -type f ! -name lock \( ! -path '*/meta/*' -o -name '*.sst' \) -printf '%p %s %T@\n' | sort
}
refused() { # what, regular expression of the message, regular expression of the advice
	local before
	before=$(sums)
	expect_fail "$BIN/tandemfs" check --config "$WORK/$victim/conf"
	[[ $STATUS -le 2 ]] || fail "$1: check ended with status $STATUS: $OUT"
	expect_match "check with $1" "$OUT" "$2"
	expect_fail in_site "$victim" timeout 20 "$BIN/tandemfs" run --config "$WORK/$victim/conf" --run-dir "$WORK/$victim/run"
	expect_eq "status of run with $1" "$STATUS" 1
	expect_match "run with $1" "$OUT" "$2"
	expect_match "run with $1, what to do" "$OUT" "$3"
	[[ $(sums) = "$before" ]] || fail "$1: something was changed: $(diff <(echo "$before") <(sums))"
	step "$1: $(grep -E ' error ' <<<"$OUT" | head -n 1 | sed 's/.* error //')"
	restore
}
flip() { "$TOOLS/spoil" flip "$replica/$1" "$2"; } # file, offset (negative: from its end)
size_of() { stat -c %s "$replica/$1"; }

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: config
# budget: 120
# The workloads' checks find what they are there for: on an ordinary directory, with damage done by hand.
. "$(dirname "$0")/../lib.sh"

echo "seed $SEED"
work_new
mkdir -p "$WORK/a/mnt" # stands for a mount
touch "$WORK/a/log" "$WORK/a/conf"
found() { # what, NAME, run|stamp
	expect_fail load_verify "$2" "$3" a
	step "$1: found: $(grep -vE 'FAIL|FAILED|load verify' <<<"$OUT" | head -n 1)"
	: >"$WORK/$2.out"
}
drop_end() { # NAME.THREAD: its last operation becomes one in flight
	truncate -s $(($(stat -c %s "$1") - 80)) "$1"
}
fresh() {
	rm -rf "$WORK/a/mnt"/* "$WORK"/tree.[0-9]* "$WORK"/blocks.[0-9]*
	load_start tree run a --enospc
	load_start blocks stamp a
	pause_ms 500
	load_stop tree
	load_stop blocks
}
largest() { find "$(mnt a)/tree" -type f -size +8k -printf '%s %p\n' | sort -n | tail -n 1 | cut -d' ' -f2-; }
fresh
load_verify tree run a
load_verify blocks stamp a
step "undamaged: fine"
f=$(largest) old=$(od -An -tu1 -j 5000 -N 1 "$(largest)")
# shellcheck disable=SC2059 # an octal number
printf "\\$(printf %03o $((old ^ 1)))" | dd of="$f" bs=1 seek=5000 conv=notrunc status=none
found "one byte" tree run
fresh
truncate -s -1 "$(largest)"
found "one byte missing at the end" tree run
fresh
chmod 0111 "$(largest)"
found "a mode" tree run
fresh
ln "$(largest)" "$(mnt a)/tree/thread-0/extra"
found "a name too many" tree run
fresh
mv "$(largest)" "$WORK/away"
found "a name too few" tree run
for try in 1 2 3 4 5; do # the last operation of a thread may be one that changes nothing
	fresh
	for t in 0 1 2 3; do drop_end "$WORK/tree.$t"; done
	load_verify tree run a
	! grep -q 'in flight: [1-9]' "$WORK/tree.out" || break
	[[ $try -lt 5 ]] || fail "operations in flight that happened are not accepted"
done
step "operations in flight: accepted"
fresh
dd if=/dev/urandom of="$(mnt a)/blocks/stamp.cached" bs=4096 seek=1300 count=1 conv=notrunc status=none
found "a foreign block" blocks stamp
fresh
cp "$(mnt a)/blocks/append.1" "$WORK/append"
head -c -64 "$WORK/append" >"$(mnt a)/blocks/append.1"
found "a lost append" blocks stamp
fresh
cp "$(mnt a)/blocks/stamp.direct" "$WORK/older"
load_start blocks stamp a
pause_ms 500
load_stop blocks
cp "$WORK/older" "$(mnt a)/blocks/stamp.direct"
found "an older state" blocks stamp

# What prints members of a status agrees with jq, or leaves it to jq.
json='[{"role":"active","mounted":true,"in_sync":["site-a","site-b"],"inactive":[],"active_domain":null,
	"seq":{"committed":12,"durable":-3},"peers":[{"state":"in-sync","connected":false,"rtt":1.5,"text":"a \"b\""}]}]'
asked=0
while read -r leave expression; do
	expected=$(jq -r ".[0] | $expression" <<<"$json" 2>&1) || true
	status=0
	out=$("$TOOLS/member" "$expression" <<<"$json" 2>&1) || status=$?
	if [[ $leave = jq ]]; then
		expect_eq "status of $expression, and its output" "$status $out" "3 "
	else
		expect_eq "status of $expression, and its output" "$status $out" "0 $expected"
	fi
	asked=$((asked + 1))
done <<'END'
member .role
member .mounted
member .active_domain
member .nothing.at.all
jq .in_sync
member .in_sync[]
member .in_sync[1]
member .in_sync | length
member .inactive[]
member .nothing | length
member .seq.durable
member .peers[0].state
member .peers[7].state
member "\(.in_sync|length) \(.peers[0].state), \(.active_domain) \(.in_sync) \(.inactive)"
jq .peers[0].rtt
jq .peers[0].text
jq .peers
jq .role.x
jq .role | length
jq .role[0]
jq .nothing[]
jq .in_sync[
jq .peers[0].pull.bytes_sent // 0
jq .inactive[] | length
jq "\(.role) \(.in_sync[])"
jq "\(.role
jq "a\tb"
jq .seq.committed > 9
jq length
END
step "$asked expressions: as jq has them"

# Shares of a test make as many rounds as the whole one, and each is in one part of the tests.
for n in 1 2 3 4 7; do
	for rounds in 0 1 21 100 1001; do
		sum=0
		for ((k = 1; k <= n; k++)); do
			sum=$((sum + $(SPLIT=$k/$n share_of "$rounds")))
		done
		expect_eq "$rounds rounds in $n shares" $sum "$rounds"
	done
done
listed() { # variables...: what test/run would run
	env -u SEED -u PART -u SPLIT ROUNDS=200 SEEDS=1000 JOBS=4 "$@" "$ROOT/test/run" --list | cut -c1-20 | sed 's/ *$//' | sort
}
parts=$(for k in 1 2 3; do listed PART=$k/3; done | sort)
expect_eq "tests in more than one part" "$(uniq -d <<<"$parts")" ""
expect_eq "tests in all parts" "$(sed 's/ .*//' <<<"$parts" | sort -u)" "$(listed)"
expect_eq "shares of moments" "$(grep '^moments' <<<"$parts" | tr '\n' ' ')" "moments 1/4 moments 2/4 moments 3/4 moments 4/4 "
expect_eq "with a seed" "$(listed PART=1/1 SEED=1 | grep '^moments')" moments
step "shares and parts: everything once"
# What RocksDB's files hold and a journal does not: an older copy of one site's replica stands for a checkpoint
# that was not committed there.
rm -rf "$WORK/a" "$WORK"/tree.* "$WORK"/blocks.*
net_new
sites_format 512M
sites_start
sites_stop_both() { site_stop a && site_stop b; }
sites_stop_both
flushed_is_committed
cp -a "$(replica_of b)" "$WORK/older-b"
sites_start
mix_start a
pause_ms 300
mix_stop
"$TOOLS/say" "$WORK/a/run/$VOLUME.sock" checkpoint >/dev/null
# shellcheck disable=SC2218 # the library's, until it is replaced below
wait_for 20 "site a has flushed" eval '[[ $(status a ".seq.flushed > 0") = true ]]'
sites_stop_both
flushed_is_committed
rm -rf "$(replica_of b)"
mv "$WORK/older-b" "$(replica_of b)"
expect_fail flushed_is_committed
expect_match "what is flushed and not in the peer's journal" "$OUT" "I5: site a has flushed seq [0-9]+, the journal of site b ends at"
step "flushed, and not committed: found, of two sites that do not run"
wait_for() { [[ $2 != I5* ]] || fail "$2"; } # not ten seconds
PID[b]=$BASHPID
status() { echo false; }
expect_fail flushed_is_committed
expect_match "of a site that runs" "$OUT" "I5: site b has what site a has flushed"
unset "PID[b]"
step "the same of a peer that runs: found"

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: config
# budget: 60
# tandemctl preflight before there is a volume, with the agent's configuration: the round trip to a site that is far away, ports,
# the disk, a filesystem that is mounted with discard; the other site's clock.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../agents.sh"

preflight() { # file, status
	STATUS=0
	OUT=$(in_site a "$BIN/tandemctl" preflight "$1" 2>&1) || STATUS=$?
	expect_eq "status of preflight: $OUT" "$STATUS" "$2"
}
far=
distance() { # delay in us, each way
	[[ -z $far ]] || { kill "$far" && wait "$far" || true; }
	"$TOOLS/distance" "$TAG-a" "$TAG-b" "$1" >"$WORK/distance.out" 2>&1 &
	far=$!
	wait_for 5 "the long cable is there" grep -q ready "$WORK/distance.out"
	for s in a b; do
		ip -n "$TAG-$s" addr add "$([[ $s = a ]] && echo 10.78.0.1/24 || echo 10.78.0.2/24)" dev far
		ip -n "$TAG-$s" link set far up
	done
}

work_new
net_new
agent_pki
mkdir -p "$WORK/a/disk"
AGENT_MORE=("[replicas]" "directory = $WORK/SITE/disk/not/yet" "mounts = $WORK/SITE/mounts/not/yet")
agent_config a
conf=$WORK/a/volumes/agent.conf
sed -i 's/^agent = .*/agent = 10.78.0.2:7401, 10.78.0.2:7409/' "$conf"

# Nobody answers at the second address, on which another node's agent should be.
distance 8000
in_site_bg b "$TOOLS/mute" listen 10.78.0.2:7401
wait_for 5 "somebody listens there" grep -q ready "$WORK/bg-b.out"
preflight "$conf" 0
us=$(sed -nE 's/^  warn +peer +site-b at 10\.78\.0\.2:7401: round trip ([0-9]+)\.([0-9]+) ms/\1\20/p' <<<"$OUT")
[[ -n $us && $us -ge 16000 && $us -lt $((60000 * ${SLOWER:-1})) ]] || fail "a round trip of 16 ms: $OUT"
expect_match "what to do about it" "$(grep -A1 'round trip' <<<"$OUT")" "within 10 ms, or ack = fsync"
expect_match "nobody there" "$OUT" "^  warn +peer +site-b at 10\.78\.0\.2:7409: Connection refused"
expect_match "its own port" "$OUT" "^  ok +port +10\.77\.0\.1:7401 is free"
expect_match "the first volume's port" "$OUT" "^  ok +port +10\.77\.0\.1:7410 is free"
expect_match "the disk" "$OUT" "^  (ok|warn) +flush +'$WORK/a/disk': median [0-9]+ us"
expect_match "the disk" "$OUT" "^  (ok|warn) +discard +"
expect_match "pods" "$OUT" "^  (ok|warn) +propagation "
[[ ! -e $WORK/a/disk/not && ! -e $WORK/a/mounts ]] || fail "preflight has made something"
distance 1000
is_near() {
	preflight "$conf" 0
	grep -qE "^  ok +peer +site-b at 10\.78\.0\.2:7401: round trip [2-9]\.[0-9]+ ms" <<<"$OUT"
}
wait_for 30 "a round trip of 2 ms is measured" is_near # a busy machine adds to it
step "the round trip to the other site's agents is measured: ${us%0} us"
expect_match "this node's clock" "$OUT" "^  (ok +clock +kept right|warn +clock +nothing keeps this clock right)"
expect_match "a clock that is not told" "$OUT" "^  warn +clock +that of site-b is not known: the agent of site-b"

# The clock of an agent there, which is in time, then an hour ahead, then three seconds behind.
sed 's/^agent = .*/agent = 10.77.0.2:7401/' "$conf" >"$WORK/near.conf"
agent_config b
clock_of_b() { # seconds that it is wrong by
	printf '%-8d' "$1" 1<>"$WORK/clock-b"
	preflight "$WORK/near.conf" 0
	CLOCK=$(sed -nE 's/^  (ok|warn) +clock +(that of .*)/\1 \2/p' <<<"$OUT")
}
printf '%-8d' 0 >"$WORK/clock-b"
in_site_bg b env WRONG_CLOCK="$WORK/clock-b" LD_PRELOAD="$TOOLS/wrongclock.so" \
	"$BIN/tandem-agent" --config "$WORK/b/volumes/agent.conf"
AGENT[b]=$BG
wait_for 10 "the agent of site b" grep -q "serving the peers" "$WORK/bg-b.out"
clock_of_b 0
expect_match "a clock in time" "$CLOCK" "^ok that of site-b is as this one, within [0-9.]+ s"
clock_of_b 3600
expect_match "a clock that is ahead" "$CLOCK" "^warn that of site-b is (3599\.[0-9]|3600\.[0-9]) s ahead of this one, within"
expect_match "what to do about it" "$(grep -A1 " ahead of this one" <<<"$OUT")" "chrony"
# A busy machine answers late, and the clock may then be said to be in time.
is_behind() {
	clock_of_b -3
	[[ $CLOCK =~ ^"warn that of site-b is "[23]\.[0-9]" s behind this one, within" ]]
}
wait_for 30 "a clock that is behind is told of" is_behind
expect_match "the certificate" "$OUT" "^  (ok|warn) +certificate +'$WORK/pki/rest-a.pem' is valid for"
expect_match "the authority" "$OUT" "^  (ok|warn) +authority +'$WORK/pki/ca.pem' is valid for"
kill "${AGENT[b]}"
wait "${AGENT[b]}" 2>/dev/null || :
unset 'AGENT[b]'
step "the other site's clock is compared with this one"

# An address of another node, a word that is none, and an agent that is not paired.
sed 's/^listen = .*/listen = 10.77.0.9:7401/' "$conf" >"$WORK/wrong.conf"
preflight "$WORK/wrong.conf" 1
expect_match "another node's address" "$OUT" "^  FAIL +port +10\.77\.0\.9:7401: Cannot assign"
printf '[agent]\ndomain = site-a\ncolour = red\n' >"$WORK/wrong.conf"
preflight "$WORK/wrong.conf" 1
expect_match "an unknown key" "$OUT" "FAIL +configuration .*unknown key 'colour'"
printf '[agent]\ndomain = site-a\n' >"$WORK/alone.conf"
preflight "$WORK/alone.conf" 0
expect_match "not paired" "$OUT" "warn +port +no \[api\] listen"

# A disk that is told of each hole.
for fs in ext4 xfs; do
	command -v mkfs.$fs >/dev/null || continue
	truncate -s 400M "$WORK/$fs.img"
	mkfs.$fs -q "$WORK/$fs.img"
	for option in discard nodiscard; do
		mount -o "loop,$option" "$WORK/$fs.img" "$WORK/a/disk"
		preflight "$conf" 0
		umount "$WORK/a/disk"
		if [[ $option = discard ]]; then
			expect_match "$fs with discard" "$OUT" "^  warn +discard +the filesystem below '$WORK/a/disk' is mounted with"
			expect_match "what to do about it" "$(grep -A1 "  discard " <<<"$OUT")" "fstrim"
		else
			expect_match "$fs without" "$OUT" "^  ok +discard "
		fi
	done
done
step "a filesystem that is mounted with discard is told of"

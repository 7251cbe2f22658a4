#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs the simulator over many seeds, on all cores, with the lowest of priorities. Every third world has
# three replicas, the others two.
#
#   STEPS=100000000   steps of the replication machines altogether
#   SEEDS=200         over so many seeds
#   SEED=N            the first of them (default: the time); those behind it follow
#   B=build           where the simulator is
#
# Prints the first seed, each world that broke an invariant with the command that shows it again, the
# steps a second, and as the last line `N passed, N failed, N skipped`. Status 1 when one broke.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

sim=${B:-build}/sim
STEPS=${STEPS:-100000000}
SEEDS=${SEEDS:-200}
SEED=${SEED:-$(date +%s)}
each=$((STEPS / SEEDS))
[ -x "$sim" ] || { echo "sim: $sim is missing: make sim builds it" >&2 && exit 1; }
[ "$each" -gt 0 ] || { echo "sim: STEPS=$STEPS is less than one step for each of SEEDS=$SEEDS" >&2 && exit 1; }
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
trap 'exit 130' INT TERM

echo "$SEEDS seeds from $SEED, $each steps each, on $(nproc) cores"
begin=$(date +%s%3N)
# shellcheck disable=SC2016 # the inner shell expands
seq "$SEED" $((SEED + SEEDS - 1)) | nice -n 15 xargs -P "$(nproc)" -I '{}' bash -c '
	replicas=$(({} % 3 == 2 ? 3 : 2))
	"$0" --seed {} --steps "$1" --replicas $replicas >"$2/{}" 2>&1 || touch "$2/{}.failed"
' "$sim" "$each" "$out"
ms=$(($(date +%s%3N) - begin))

for f in "$out"/*.failed; do
	[ ! -e "$f" ] || tail -n 3 "${f%.failed}"
done
# What the worlds say of themselves, not what was asked for.
cat "$out"/* | awk -v ms="$ms" -v seeds="$SEEDS" '
	/ steps, .*: ok$/ {
		ok++
		for (i = 2; i <= NF; i++) {
			w = $i
			sub(/[,:]$/, "", w)
			n[w] += $(i - 1)
		}
	}
	END {
		printf "%.0f steps in %.1f s: %d calms, %d starts, %d commits, %d forks, %d pulls\n", n["steps"],
			ms / 1000, n["calms"], n["starts"], n["commits"], n["forks"], n["pulls"]
		printf "%d passed, %d failed, 0 skipped\n", ok, seeds - ok
		exit ok != seeds
	}'

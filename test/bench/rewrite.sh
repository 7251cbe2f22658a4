# shellcheck shell=bash disable=SC2154 # what run.sh has set
# SPDX-License-Identifier: Apache-2.0
#
# What giving space back costs those who write, for run.sh: the system test that overwrites a GiB in blocks of
# 4 KiB 20 times at random measures it. Sourced. Prints a section of the report.

bench_rewrite() {
	local out=$work/rewrite.out
	B=$B ROUNDS=100 RATIO_MIN=0.7 bash test/system/rewritten.sh >"$out" 2>&1 || {
		tail -n 20 "$out" >&2
		return 1
	}
	echo
	echo "A GiB overwritten 20 times at random in blocks of 4 KiB, 16 at a time, TLS, ext4 without \`discard\` below:"
	echo
	sed -nE 's/^ *[0-9.]+  (overwriting: .*)/- \1/p; s/^ *[0-9.]+  ([0-9]+ and [0-9]+ KiB are allocated.*)/- \1/p' "$out"
}

# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# The walk-through of k8s-manifests/README.md, for tests on whole clusters (node.sh): its commands are run as they are
# printed, but for the addresses of the sites. So they are true.
#
#	. "$(dirname "$0")/../kube/walk.sh"
#	walk_begin                   # once the clusters are up
#	walk "Install"               # the commands below that heading
#	walk_end                     # fails where a heading was left out
#
# They are typed in a directory with k8s-manifests, a.kubeconfig and b.kubeconfig, in the network of site a. Output: walk.out.

walk_chapter() {
	sed -n '/^## The walk-through$/,/^## /p' "$ROOT/k8s-manifests/README.md"
}
walk_begin() {
	local s
	mkdir -p "$WORK/walk/bin"
	ln -s "$ROOT/k8s-manifests" "$WORK/walk/k8s-manifests"
	ln -s "$KUBE/kubectl" "$BIN/tandemctl" "$WORK/walk/bin"
	for s in a b; do
		cp "$(kube_dir "$s")/admin.kubeconfig" "$WORK/walk/$s.kubeconfig"
	done
	# What it says before the first heading: who A and B are.
	walk_chapter | sed '/^### /,$d' | walk_commands >"$WORK/walk/commands"
	grep -q '^A()' "$WORK/walk/commands" || fail "the README does not say what A is"
}
walk_commands() { # of the text on standard input, what is fenced
	awk '/^```/ { fenced = !fenced; next } fenced' |
		sed "s/\b10\.1\.0\.1\b/$(kube_ip a)/g; s/\b10\.2\.0\.1\b/$(kube_ip b)/g"
}
walk() { # heading
	local part=$WORK/walk/${1// /-}
	echo "$1" >>"$WORK/walked"
	{
		cat "$WORK/walk/commands"
		echo "set -x"
		walk_chapter | sed -n "/^### $1\$/,/^##/p" | walk_commands
	} >"$part"
	[[ $(wc -l <"$part") -gt $(($(wc -l <"$WORK/walk/commands") + 1)) ]] || fail "the README has no commands below '$1'"
	in_site a env -C "$WORK/walk" HOME="$WORK/walk" PATH="$WORK/walk/bin:$PATH" bash -eu "$part" \
		>>"$WORK/walk.out" 2>&1 </dev/null || fail "the README's '$1': $(tail -n 3 "$WORK/walk.out")"
}
walk_end() {
	expect_eq "what was walked of the README" "$(cat "$WORK/walked")" "$(walk_chapter | sed -n 's/^### //p')"
}

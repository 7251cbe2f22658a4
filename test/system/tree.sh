#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: programs
# budget: 240
# tar of a large tree, git clone and fsck, a compiler building a project; all of it again on the other site.
. "$(dirname "$0")/../lib.sh"

sites_up 4G
m=$(mnt a)
sums() { (cd "$1" && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum); }
# Names, types, modes, owners, times, link targets.
names() { (cd "$1" && find . -printf '%P %y %m %U %G %T@ %l %s\n' | sed 's/^\(.* d .*\) [0-9]*$/\1/' | LC_ALL=C sort); }

tar -C /usr -cf "$WORK/tree.tar" --exclude='*/boost' --exclude='*/node' include
mkdir "$m/tree"
begin=$(now_ns)
tar -C "$m/tree" -xf "$WORK/tree.tar"
step "untarred $(find "$m/tree" | wc -l) names in $((($(now_ns) - begin) / 1000000)) ms"
tar -C "$WORK" -xf "$WORK/tree.tar"
names "$WORK/include" >"$WORK/names.want"
sums "$WORK/include" >"$WORK/sums.want"
names "$m/tree/include" | cmp "$WORK/names.want" -
sums "$m/tree/include" | cmp "$WORK/sums.want" -
step "names and checksums are right on site a"

if command -v git >/dev/null; then
	git -c safe.directory='*' clone -q --no-hardlinks "$ROOT" "$m/clone"
	git -C "$m/clone" -c safe.directory='*' fsck --full --strict 2>"$WORK/git.out" || fail "$(cat "$WORK/git.out")"
	git -C "$m/clone" -c safe.directory='*' -c user.name=t -c user.email=t@t commit -q --allow-empty -m probe
	step "git clone, fsck, commit"
fi
mkdir "$m/build"
cp -r "$ROOT/Makefile" "$ROOT/journal" "$m/build"
mkdir -p "$m/build/test"
make -s -C "$m/build" B=out -j2 out/libjournal.a >"$WORK/make.out" 2>&1 || fail "$(tail -n 5 "$WORK/make.out")"
sums "$m/build/out" >"$WORK/build.want"
step "gcc built journal/"

site_kill9 a
order b deactivate clusterdomain site-a --yes
site_wait_active b
m=$(mnt b)
names "$m/tree/include" | cmp "$WORK/names.want" -
sums "$m/tree/include" | cmp "$WORK/sums.want" -
sums "$m/build/out" | cmp "$WORK/build.want" -
step "names and checksums are right on site b"
if [[ -d $m/clone ]]; then
	git -C "$m/clone" -c safe.directory='*' fsck --full --strict 2>"$WORK/git.out" || fail "$(cat "$WORK/git.out")"
	expect_eq "git's last commit" "$(git -C "$m/clone" -c safe.directory='*' log -1 --format=%s)" probe
fi
expect_eq "make has nothing to do" "$(make -s -C "$m/build" B=out out/libjournal.a)" ""
begin=$(now_ns)
rm -rf "$m/tree" "$m/clone" "$m/build"
step "rm -rf took $((($(now_ns) - begin) / 1000000)) ms"
expect_eq "what is left" "$(ls -A "$m")" ""
site_start a
site_wait_role a standby
order b activate clusterdomain site-a
site_wait_in_sync b 60
sites_stop_and_compare

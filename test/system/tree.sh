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

export GIT_CONFIG_COUNT=3 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*' \
	GIT_CONFIG_KEY_1=user.name GIT_CONFIG_VALUE_1=test GIT_CONFIG_KEY_2=user.email GIT_CONFIG_VALUE_2=test@example.org
fsck() { git -C "$1" fsck --full --strict >"$WORK/git.out" 2>&1 || fail "$(cat "$WORK/git.out")"; }
origin=$ROOT
if ! git -C "$ROOT" rev-parse HEAD >/dev/null 2>&1; then # a release without its history
	origin=$WORK/origin
	git init -q "$origin"
	cp -r "$ROOT/journal" "$ROOT/fs" "$origin"
	git -C "$origin" add .
	git -C "$origin" commit -q -m first
fi
git clone -q --no-hardlinks "$origin" "$m/clone"
fsck "$m/clone"
git -C "$m/clone" commit -q --allow-empty -m probe
step "git clone, fsck, commit"
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
fsck "$m/clone"
expect_eq "git's last commit" "$(git -C "$m/clone" log -1 --format=%s)" probe
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

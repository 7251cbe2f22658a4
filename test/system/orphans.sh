#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: kill
# budget: 90
# A file that was unlinked while open lives until its last use, and is reaped after a crash or a failover.
. "$(dirname "$0")/../lib.sh"

sites_up 1G
avail() { df -B1M --output=avail "$(mnt "$1")" | tail -n 1; }
wait_room() { wait_for 20 "the space of the removed file is free again" eval '(($(avail '"$1"') > before - 8))'; }
make() { # site: opens descriptor 5 on a file of 64 MiB that has no name any more
	head -c 64M /dev/urandom >"$WORK/bytes"
	cp "$WORK/bytes" "$(mnt "$1")/file"
	exec 5<>"$(mnt "$1")/file"
	rm "$(mnt "$1")/file"
}
before=$(avail a)

make a
cmp "$WORK/bytes" /dev/fd/5
echo changed >&5
(($(avail a) < before - 40)) || fail "the space of an open file is counted as free"
exec 5>&-
wait_room a
step "reaped after the last close"

make a
site_kill9 a
exec 5>&- 2>/dev/null || true
site_start a
site_wait_active a
wait_room a
step "reaped after a crash"

make a
site_kill9 a
exec 5>&- 2>/dev/null || true
order b deactivate clusterdomain site-a --yes
site_wait_active b
wait_room b
step "reaped after a failover"
site_start a
site_wait_role a standby
order b activate clusterdomain site-a
sites_stop_and_compare
for s in a b; do
	expect_match "check of site $s" "$(site_check $s)" " 0 orphans"
done

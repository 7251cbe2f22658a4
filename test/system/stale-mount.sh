#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: kill
# budget: 60
# What kill -9 leaves at the mount point is taken away at the next start, also when it is in use.
. "$(dirname "$0")/../lib.sh"

sites_up
echo content >"$(mnt a)/file"
sleep 60 <"$(mnt a)/file" &
(cd "$(mnt a)" && exec sleep 60) &
pause_ms 100
site_kill9 a
is_mounted a || fail "expected the dead mount to be there still"
expect_fail ls "$(mnt a)"
site_start a
site_wait_active a
expect_eq "mounts at the mount point" "$(grep -c " $(mnt a) " /proc/self/mountinfo)" 1
expect_eq "the file" "$(cat "$(mnt a)/file")" content

# A site that comes back as a standby clears it as well.
site_kill9 a
order b deactivate clusterdomain site-a --yes
site_wait_active b
site_start a
site_wait_role a standby
wait_for 5 "the dead mount is gone" eval '! is_mounted a'
ls "$(mnt a)" >/dev/null

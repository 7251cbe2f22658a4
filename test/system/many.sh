#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: programs
# budget: 300
# A directory of 100,000 entries: made, listed, thinned out while it is read, on both sites.
. "$(dirname "$0")/../lib.sh"

N=${ENTRIES:-100000}
sites_up
d=$(mnt a)/many
"$TOOLS/many" create "$d" "$N"
step "made $N entries"
"$TOOLS/many" check "$d" "$N"
site_kill9 a
site_start a
site_wait_active a
"$TOOLS/many" check "$d" "$N"
step "listed, also after a kill"
"$TOOLS/many" thin "$d" "$N" 5
"$TOOLS/many" check "$d" "$N" 5
site_kill9 a
order b deactivate clusterdomain site-a --yes
site_wait_active b
"$TOOLS/many" check "$(mnt b)/many" "$N" 5
step "thinned out while it was read; right on site b too"
site_start a
site_wait_role a standby
order b activate clusterdomain site-a
site_wait_in_sync b
sites_stop_and_compare

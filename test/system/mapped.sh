#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: programs
# budget: 120
# mmap, shared and private; a sparse file of 20 GiB: after a kill, and on the other site.
. "$(dirname "$0")/../lib.sh"

sites_up
"$TOOLS/mapped" run "$(mnt a)" "$WORK/mapped.acked" "$SEED" 3
"$TOOLS/mapped" verify "$(mnt a)" "$WORK/mapped.acked"
"$TOOLS/mapped" sparse "$(mnt a)"
"$TOOLS/mapped" sparse-check "$(mnt a)"
step "mappings and the sparse file are right on site a"
"$TOOLS/mapped" run "$(mnt a)" "$WORK/mapped.acked" $((SEED + 1)) 60 >"$WORK/mapped.out" 2>&1 &
LOAD[mapped]=$!
pause_ms "$(random_ms 800 1800)"
site_kill9 a
load_wait mapped 3
order b deactivate clusterdomain site-a --yes
site_wait_active b
"$TOOLS/mapped" verify "$(mnt b)" "$WORK/mapped.acked"
"$TOOLS/mapped" sparse-check "$(mnt b)"
step "and on site b"
begin=$(now_ns)
rm "$(mnt b)/sparse"
ms=$((($(now_ns) - begin) / 1000000))
((ms < 2000)) || fail "removing the sparse file took $ms ms"
site_start a
site_wait_role a standby
order b activate clusterdomain site-a
site_wait_in_sync b
sites_stop_and_compare

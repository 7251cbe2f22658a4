#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: programs
# budget: 120
# What POSIX and Linux promise of a filesystem, case by case, on the mount.
. "$(dirname "$0")/../lib.sh"

[[ -x $TOOLS/posix ]] || skip "$TOOLS/posix is not built"
sites_up
mkdir "$(mnt a)/posix"
"$TOOLS/posix" "$(mnt a)/posix"
sites_stop_and_compare

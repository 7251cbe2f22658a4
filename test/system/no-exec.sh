#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: damage
# budget: 60
# A daemon that has to start again after an I/O error and cannot execute itself: it says so and ends, for its
# supervisor; nothing that was acknowledged is lost.
. "$(dirname "$0")/../lib.sh"

# The kernel refuses an environment of more than 128 KiB to a process with a small limit of its stack.
big=$(printf 'x%.0s' {1..60000})
SITE_ENV[a]="BIG1=$big BIG2=$big BIG3=$big TANDEMFS_FAULT_WRITE=40"
sites_up 256M
SITE_ENV[a]=
prlimit --pid "${PID[a]}" --stack=524288:524288
load_start tree run a
wait_for 20 "the daemon of site a ends" eval '! site_alive a'
status=0
wait "${PID[a]}" || status=$?
unset "PID[a]"
expect_eq "its exit status" "$status" 1
expect_match "its last word" "$(tail -n 1 "$WORK/a/log")" "could not start itself again.*supervisor"
load_wait tree 3
site_start a
site_wait_active a
site_wait_in_sync a
load_verify tree run a
step "it said so and ended; started by hand it has everything"
sites_stop_and_compare

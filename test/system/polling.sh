#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: programs
# budget: 350
# alone
# A busy daemon looks again before it sleeps, where it may: not with poll = 0ms, and by itself not on a single processor.
#
# Where the machine is so busy that waits take longer than the time for polling it does not pay, and stops: so one is
# enough, and it is waited for: a daemon that does not poll has none, however long it works.
. "$(dirname "$0")/../lib.sh"

again() { # journal settings: both sites with them
	sites_down
	EXTRA_JOURNAL=$1
	site_config a
	site_config b
	sites_start
}
sites_down() {
	site_stop a
	site_stop b
}
write_one_by_one() { dd if=/dev/zero of="$(mnt a)/file" bs=4k count=1000 oflag=direct conv=notrunc status=none; }
polled() { status "$1" .counters.waits_polled; }
polls() {
	write_one_by_one
	[[ $(polled a) -gt 0 && $(polled b) -gt 0 ]]
}
both_poll() { # what
	wait_for 60 "$1, the daemons poll" polls
	step "$1: $(status a '"\(.counters.waits_polled) of \(.counters.waits)"') waits of site a, $(polled b) of site b"
}
neither_polls() { # what
	local s
	write_one_by_one
	for s in a b; do
		expect_eq "$1, waits of site $s that ended while it polled" "$(polled $s)" 0
		[[ $(status $s .counters.waits) -gt 1000 ]] || fail "site $s did not wait"
	done
	step "$1: neither polls"
}
has_quota() { # of processor time, as far as this group and the topmost say
	local group
	group=$(sed -n 's/^0:://p' /proc/self/cgroup)
	grep -qsE '^[0-9]' /sys/fs/cgroup/cpu.max "/sys/fs/cgroup$group/cpu.max" ||
		grep -qsE '^[1-9]' /sys/fs/cgroup/cpu/cpu.cfs_quota_us
}

for ((i = 0; i < 150 && $(cut -d. -f1 /proc/loadavg) >= 4 * $(nproc); i++)); do sleep 1; done # of what ran before
[[ $(cut -d. -f1 /proc/loadavg) -lt $((4 * $(nproc))) ]] || skip "others keep this machine too busy for polling to pay: load $(cut -d' ' -f1 /proc/loadavg)"
sites_up
if [[ $(nproc) -lt 2 ]] || has_quota; then
	neither_polls "on this machine, by default"
else
	both_poll "by default"
fi
again "poll = 0ms"
neither_polls "with poll = 0ms"
again "poll = 10ms"
both_poll "with poll = 10ms"
for s in a b; do SITE_ENV[$s]="taskset -c $(taskset -cp $$ | sed 's/.*[ ,-]//')"; done
again ""
neither_polls "on one processor"
sites_down

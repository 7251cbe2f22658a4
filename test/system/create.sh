#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: agent
# budget: 240
# A volume made on both sites with one command, whatever dies meanwhile, and deleted with one.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../agents.sh"

tandemctl() { # site, arguments
	in_site "$1" "$BIN/tandemctl" --run-dir "$WORK/$1/run" "${@:2}"
}
ready() { # site
	rest "$1" GET /v1/health >/dev/null 2>&1
}
agents_up() {
	local s
	for s in a b; do
		[[ -n ${AGENT[$s]:-} ]] || agent_start "$s"
		wait_for 10 "the agent of site $s answers" ready "$s"
	done
}
leftovers() { # site: everything of any volume but the agent's own file
	mkdir -p "$WORK/$1/data" "$WORK/$1/mounts"
	find "$WORK/$1/volumes" "$WORK/$1/data" "$WORK/$1/mounts" -mindepth 1 ! -name agent.conf
}

echo "seed $SEED"
work_new
net_new
agent_pki
AGENT_MORE=("[replicas]" "directory = $WORK/SITE/data" "mounts = $WORK/SITE/mounts")
agent_config a
agent_config b

expect_fail tandemctl a create volume blue --size 128M
expect_match "without an agent" "$OUT" "the agent does not run here"
agents_up

expect_fail tandemctl a create volume blue
expect_match "without a size" "$OUT" "--size SIZE is missing"
expect_fail tandemctl a create volume blue --size 128M --holder --no-holder
expect_match "both" "$OUT" "not both"
expect_fail tandemctl a create volume Blue --size 128M
expect_match "a wrong name" "$OUT" "is of a-z"
expect_fail tandemctl a create volume blue --size 1M
expect_match "too small" "$OUT" "64M or more"
expect_fail tandemctl a create volume blue --size 128M --ack maybe
expect_match "a wrong mode" "$OUT" "op or fsync"
rest_says "something unknown" "$(rest a POST /v1/volumes -d '{"volume":"blue","size":"128M","colour":1}')" 400 "'colour' is unknown"
expect_eq "what was left" "$(leftovers a)$(leftovers b)" ""

tandemctl a create volume blue --size 128M --mode 0750 --owner 1000:1001
mountpoint -q "$WORK/a/mounts/blue" || fail "it is not mounted"
expect_eq "the root directory" "$(stat -c '%a %u:%g' "$WORK/a/mounts/blue")" "750 1000:1001"
out=$(tandemctl a create volume green --size 128M --ack fsync --no-holder)
expect_match "what is said of its mount" "$out" "green: the mount ends with its daemon \(--no-holder\)"
for s in a b; do
	grep -qx "holder = no" "$WORK/$s/volumes/green.conf" || fail "site $s: $(cat "$WORK/$s/volumes/green.conf")"
done
rest_says "one with a directory in it" "$(rest a POST /v1/volumes -d '{"volume":"pvc-1","size":"64M","mode":"2770",
	"owner":"7:8","directory":"data"}')" 200 domain
wait_for 20 "it is mounted" mountpoint -q "$WORK/a/mounts/pvc-1"
expect_eq "the directory" "$(stat -c '%a %u:%g' "$WORK/a/mounts/pvc-1/data")" "2770 7:8"
echo "in it" >"$WORK/a/mounts/pvc-1/data/file"
tandemctl a demote pvc-1 --yes >/dev/null
tandemctl b promote pvc-1 --yes >/dev/null
wait_for 20 "site b mounts it" mountpoint -q "$WORK/b/mounts/pvc-1"
expect_eq "the directory at site b" "$(stat -c '%a %u:%g' "$WORK/b/mounts/pvc-1/data") $(cat "$WORK/b/mounts/pvc-1/data/file")" "2770 7:8 in it"
expect_fail tandemctl a delete volume pvc-1 --yes
expect_match "in use at the other site" "$OUT" "nothing is removed here: 'site-b' says: volume 'pvc-1' is active at 'site-b'"
expect_eq "its data there" "$(cat "$WORK/b/mounts/pvc-1/data/file")" "in it"
[[ -e $WORK/a/volumes/pvc-1.conf ]] || fail "the replica at site a is removed"
tandemctl b delete volume pvc-1 --yes
is_gone() { [[ $(tandemctl b status || true) != *pvc-1* ]]; }
wait_for 10 "the agent there has seen it go" is_gone
echo "hello" >"$WORK/a/mounts/blue/file"
expect_eq "the replicas at site b" "$(tandemctl b status -o json | jq -r '[.. | .role? // empty] | join(" ")')" \
	"standby standby"
expect_fail tandemctl a create volume blue --size 128M
expect_match "twice" "$OUT" "on 'site-a' already"
expect_fail tandemctl b create volume blue --size 128M
expect_match "from the other side" "$OUT" "on 'site-b' already"
step "two volumes are made and mounted"

tandemctl a demote blue --yes >/dev/null
tandemctl b promote blue --yes >/dev/null
wait_for 20 "site b mounts it" mountpoint -q "$WORK/b/mounts/blue"
expect_eq "what site b has" "$(cat "$WORK/b/mounts/blue/file")" hello
step "the other site took over"

expect_fail tandemctl a delete volume blue
expect_match "without a word" "$OUT" "needs --yes"
tandemctl b delete volume blue --yes
tandemctl a delete volume green --yes
expect_fail tandemctl a delete volume green --yes
expect_match "twice deleted" "$OUT" "no volume 'green'"
expect_eq "what was left" "$(leftovers a)$(leftovers b)" ""
expect_eq "daemons" "$(daemon_of a)$(daemon_of b)" ""
step "both are deleted on both sites"

# Both sites make one of the same name at the same moment: one has it, the other is told so, soon.
for ((i = 1; i <= 2; i++)); do
	begin=$(now_ns)
	tandemctl a create volume blue --size 128M >"$WORK/create-a.out" 2>&1 &
	ours=$!
	[[ $i = 1 ]] || pause_ms "$(random_ms 1 150)"
	theirs=0
	tandemctl b create volume blue --size 128M --ack fsync >"$WORK/create-b.out" 2>&1 || theirs=$?
	OUT=0
	wait $ours || OUT=$?
	took=$((($(now_ns) - begin) / 1000000))
	expect_eq "how many have made it" "$(((OUT == 0) + (theirs == 0)))" 1
	winner=$([[ $OUT = 0 ]] && echo a || echo b)
	expect_match "who has lost" "$(cat "$WORK/create-$(other $winner).out")" "is making a volume 'blue' itself at this moment|on 'site-[ab]' already"
	((took < 30000)) || fail "it took $took ms"
	wait_for 20 "it is mounted at the one who made it" mountpoint -q "$WORK/$winner/mounts/blue"
	both_in_sync() { [[ $(tandemctl $winner status blue -o json | jq '.[0].in_sync | length') = 2 ]]; }
	wait_for 20 "both are in sync" both_in_sync
	timeout 20 sh -c "echo x >'$WORK/$winner/mounts/blue/file'" || fail "no write"
	tandemctl $winner delete volume blue --yes >/dev/null
	expect_eq "what was left" "$(leftovers a)$(leftovers b)" ""
	step "both at once: site $winner made it, after $took ms: $(cat "$WORK/create-$(other $winner).out")"
done

# An agent dies at some moment of the making; the same command goes on.
for ((i = 1; i <= (ROUNDS + 2) / 3; i++)); do
	victim=$([[ $((RANDOM % 2)) = 0 ]] && echo a || echo b)
	tandemctl a create volume blue --size 128M --timeout 5 >"$WORK/create.out" 2>&1 &
	making=$!
	pause_ms "$(random_ms 1 400)"
	agent_kill "$victim" KILL
	wait "$making" || STATUS=$?
	agents_up
	tandemctl a create volume blue --size 128M >"$WORK/create.out" 2>&1 ||
		grep -q "on 'site-a' already" "$WORK/create.out" || fail "$(cat "$WORK/create.out")"
	wait_for 20 "it is mounted" mountpoint -q "$WORK/a/mounts/blue"
	echo "round $i" >"$WORK/a/mounts/blue/file"
	tandemctl a delete volume blue --yes >"$WORK/delete.out" 2>&1 &
	making=$!
	pause_ms "$(random_ms 1 300)"
	agent_kill "$victim" KILL
	wait "$making" || STATUS=$?
	agents_up
	tandemctl a delete volume blue --yes >"$WORK/delete.out" 2>&1 ||
		grep -q "no volume 'blue'" "$WORK/delete.out" || fail "$(cat "$WORK/delete.out")"
	expect_eq "what was left after round $i" "$(leftovers a)$(leftovers b)" ""
done
step "$((i - 1)) times an agent was killed meanwhile"
made $((i - 1)) rounds

# What the agent had begun ends with it: a format that finishes after the next one has begun would be in its way.
mv "$WORK/a/tandemfs" "$WORK/a/tandemfs.real"
cat >"$WORK/a/tandemfs" <<-END
	#!/bin/bash
	[[ \$1 != format || ! -e $WORK/slow ]] || { touch $WORK/begun && sleep 2; }
	exec $WORK/a/tandemfs.real "\$@"
END
chmod +x "$WORK/a/tandemfs"
touch "$WORK/slow"
tandemctl a create volume blue --size 128M >"$WORK/create.out" 2>&1 &
making=$!
wait_for 10 "the format begins" test -e "$WORK/begun"
rm "$WORK/slow"
agent_kill a KILL
wait "$making" || STATUS=$?
agents_up
sleep 3
expect_eq "made by nobody" "$(ls "$WORK/a/data")" ""
mv "$WORK/a/tandemfs.real" "$WORK/a/tandemfs"
tandemctl a create volume blue --size 128M >/dev/null
tandemctl a delete volume blue --yes >/dev/null
step "a format ends with its agent"

# Its daemon dies again and again; the holder keeps the mount, in which everything hangs.
tandemctl a create volume blue --size 128M >/dev/null
daemon=$(daemon_of a)
mv "$WORK/a/tandemfs" "$WORK/a/tandemfs.real"
printf '#!/bin/bash\n[[ $1 != run ]] || exit 1\nexec %s "$@"\n' "$WORK/a/tandemfs.real" >"$WORK/a/tandemfs"
chmod +x "$WORK/a/tandemfs"
kill -9 "$daemon"
wait_for 10 "it is dead" eval "! pid_alive $daemon"
tandemctl a delete volume blue --yes >"$WORK/delete.out" 2>&1 || fail "$(cat "$WORK/delete.out")"
grep " $WORK/a/mounts/blue " /proc/self/mountinfo && fail "it is still mounted"
OUT=0
timeout 5 stat "$WORK/a/mounts/blue" >/dev/null 2>&1 || OUT=$?
expect_eq "what stat says of what is gone, at once" "$OUT" 1
expect_eq "what was left" "$(leftovers a)$(leftovers b)" ""
mv "$WORK/a/tandemfs.real" "$WORK/a/tandemfs"
step "one whose daemon does not come back leaves no mount behind"

link_cut
expect_fail tandemctl a create volume blue --size 128M
expect_match "while the other site is away" "$OUT" "agent of 'site-b'"
link_heal
tandemctl a create volume blue --size 128M >/dev/null
link_cut
expect_fail tandemctl a delete volume blue --yes
expect_match "while the other site is away" "$OUT" "nothing is removed here"
mountpoint -q "$WORK/a/mounts/blue" || fail "it is not mounted any more"
tandemctl a delete volume blue --yes --local
expect_eq "what was left at site a" "$(leftovers a)" ""
link_heal
tandemctl b delete volume blue --yes
expect_eq "what was left at site b" "$(leftovers b)" ""
agent_kill a TERM
agent_kill b TERM
step "the other site away: refused, or removed here alone"

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: config
# budget: 120
# Mistakes of people: each is refused with a message that says what is wrong, and a status.
. "$(dirname "$0")/../lib.sh"

echo "seed $SEED"
work_new
net_new
sites_format 256M
t=$BIN/tandemfs

refused() { # what, regular expression, command...
	local what=$1 re=$2
	shift 2
	expect_fail timeout 20 "$@"
	expect_match "$what" "$OUT" "$re"
	[[ $STATUS -le 2 || $STATUS = 78 ]] || fail "$what: status $STATUS"
	step "$what: $(head -n 1 <<<"$OUT")"
}
edited() { # sed expression: site a's configuration, changed
	sed "$1" "$WORK/a/conf" >"$WORK/edited.conf"
}
bad_config() { # what, sed expression, regular expression
	edited "$2"
	refused "$1" "edited.conf:[0-9]+.*($3)|($3).*edited.conf" \
		nsenter --net="/run/netns/$TAG-a" -- "$t" run --config "$WORK/edited.conf" --run-dir "$WORK/a/run"
	expect_eq "$1: status" "$STATUS" 78 # a supervisor must not try again and again
}
bad_run() { # what, sed expression, regular expression
	edited "$2"
	refused "$1" "$3" \
		nsenter --net="/run/netns/$TAG-a" -- "$t" run --config "$WORK/edited.conf" --run-dir "$WORK/a/run"
}

# The file.
bad_config "an unknown key" 's/^mount/mountt/' "mountt"
bad_config "an unknown section" 's/^\[journal\]/[journall]/' "journall"
bad_config "a missing key" '/^directory/d' "directory"
bad_config "a repeated key" 's/^name = .*/&\n&/' "name"
bad_config "an unknown mode" 's/^mode = .*/mode = carrier-pigeon/' "mode"
bad_config "a relative mount point" 's|^mount = .*|mount = srv/db|' "mount"
bad_config "a bad duration" 's/^heartbeat = .*/heartbeat = soon/' "heartbeat"
bad_config "an acknowledgement mode to come" 's/^mount = .*/&\nack = async/' "ack"
bad_config "a bad address" 's/^listen = .*/listen = here/' "listen"
bad_config "a bad volume name" 's/^name = .*/name = a b\/c/' "name"
bad_config "no peer" '/^\[peer/d; /^address/d' "peer"
bad_config "a line that is none" 's/^\[limits\]/&\nwhat is this/' "what is this|=|line"
bad_config "tls without a key" '/^key = /d' "key"
refused "a missing file" "nowhere.conf" "$t" run --config "$WORK/nowhere.conf"
expect_eq "a missing file: status" "$STATUS" 78
refused "no configuration" "config" "$t" run
refused "an unknown command" "unknown command" "$t" frobnicate --config "$WORK/a/conf"
refused "an unknown command alone" "unknown command" "$t" frobnicate

# The surroundings.
bad_run "a missing certificate" 's|^ca = .*|ca = /nonexistent.pem|' "/nonexistent.pem"
bad_run "a key that is none" "s|^key = .*|key = $WORK/pki/ca.pem|" "key|ca.pem"
bad_run "a missing mount point" 's|^mount = .*|mount = /nonexistent/mnt|' "/nonexistent/mnt"
expect_eq "a missing mount point: status" "$STATUS" 78
bad_run "a replica of another volume" 's/^name = .*/name = other/' "other|$VOLUME"
bad_run "a replica of another domain" 's/^domain = site-a/domain = site-c/' "site-c|site-a"
bad_run "a directory that is not formatted" "s|^directory = .*|directory = $WORK/empty|" "format|$WORK/empty"

# The replica and its mount point inside each other, also through links; nothing is made or changed.
ln -s "$WORK/a/replica" "$WORK/link-to-replica"
ln -s "$WORK/a/mnt" "$WORK/link-to-mnt"
mkdir "$WORK/a/replica/inside"
for at in "$WORK/a/replica" "$WORK/a/replica/inside" "$WORK/link-to-replica/inside" "$WORK/link-to-replica"; do
	bad_config "the mount point $at" "s|^mount = .*|mount = $at|" "(mount|directory): the (mount point|replica) must not lie"
done
rmdir "$WORK/a/replica/inside"
for at in "$WORK/a/mnt" "$WORK/a/mnt/new" "$WORK/link-to-mnt/new"; do
	bad_config "the replica $at" "s|^directory = .*|directory = $at|" "directory: the replica must not lie at or below"
	refused "format of the replica $at" "directory: the replica must not lie at or below" "$t" format \
		--config "$WORK/edited.conf" --size 256M --descriptor "$WORK/new.desc"
done
edited "s|^directory = .*|directory = $WORK/outer|; s|^mount = .*|mount = $WORK/outer/mnt|"
refused "format around the mount point" "mount: the mount point must not lie" "$t" format \
	--config "$WORK/edited.conf" --size 256M --descriptor "$WORK/new.desc"
[[ -z $(ls "$WORK/a/mnt") && ! -e $WORK/outer && ! -e $WORK/new.desc ]] || fail "a refused format left something"
edited "s|^directory = .*|directory = $WORK/a/mnt-2|" # a name that only begins the same
refused "no replica beside the mount point" "mnt-2" \
	nsenter --net="/run/netns/$TAG-a" -- "$t" run --config "$WORK/edited.conf" --run-dir "$WORK/a/run"

# Formatting.
refused "format over a replica" "exists|already|replica" "$t" format --config "$WORK/a/conf" --size 1G \
	--descriptor "$WORK/new.desc"
[[ ! -e $WORK/new.desc ]] || fail "a refused format left its descriptor behind"
edited "s|^directory = .*|directory = $WORK/fresh|"
refused "format over a descriptor" "$VOLUME.desc" "$t" format --config "$WORK/edited.conf" --size 1G \
	--descriptor "$WORK/$VOLUME.desc"
refused "a size that is none" "size" "$t" format --config "$WORK/edited.conf" --size many \
	--descriptor "$WORK/new.desc"
refused "a missing descriptor" "nowhere.desc" "$t" format --config "$WORK/edited.conf" \
	--join "$WORK/nowhere.desc"
[[ ! -e $WORK/fresh ]] || fail "a refused format left its directory behind"
refused "a join with a size" "leave out" "$t" format --config "$WORK/edited.conf" \
	--join "$WORK/$VOLUME.desc" --size 1G
refused "a join with a mode" "leave out" "$t" format --config "$WORK/edited.conf" \
	--join "$WORK/$VOLUME.desc" --mode 700
refused "a mode that is none" "octal" "$t" format --config "$WORK/edited.conf" --size 256M \
	--descriptor "$WORK/new.desc" --mode 799
refused "an owner that is none" "UID:GID" "$t" format --config "$WORK/edited.conf" --size 256M \
	--descriptor "$WORK/new.desc" --owner root
[[ ! -e $WORK/fresh && ! -e $WORK/new.desc ]] || fail "a refused format left something behind"
refused "check of nothing" "fresh" "$t" check --config "$WORK/edited.conf"

# Both replicas are born with the same root directory, and a descriptor that cannot be written is not
# the end.
edited "s|^directory = .*|directory = $WORK/born-a|"
refused "a descriptor in no directory" "born-a/volume" "$t" format --config "$WORK/edited.conf" --size 256M \
	--descriptor /nonexistent/desc --mode 1770 --owner 5:6
digest_a=$("$t" check --config "$WORK/edited.conf" --digest | grep '^digest')
sed "s|^directory = .*|directory = $WORK/born-b|" "$WORK/b/conf" >"$WORK/edited.conf"
"$t" format --config "$WORK/edited.conf" --join "$WORK/born-a/volume" >/dev/null
expect_eq "the digests at birth" "$("$t" check --config "$WORK/edited.conf" --digest | grep '^digest')" "$digest_a"
expect_match "the digest" "$digest_a" "^digest [0-9a-f]{64}"
rm -r "$WORK/born-a" "$WORK/born-b"
step "replicas with a root directory of their own mode and owner are born equal"

# Running.
sites_start
for s in a b; do
	refused "a second daemon on site $s" "another process|another tandemfs" \
		nsenter --net="/run/netns/$TAG-$s" -- "$t" run --config "$WORK/$s/conf" --run-dir "$WORK/$s/run2"
done
refused "check of a running replica" "stop it first" "$t" check --config "$WORK/a/conf"
expect_eq "the status of a check that could not be made" "$STATUS" 1
refused "tandemctl without a daemon" "no|run" "$BIN/tandemctl" --run-dir "$WORK" status
refused "tandemctl for another volume" "nowhere" "$BIN/tandemctl" --run-dir "$WORK/a/run" status nowhere
is_serving a || fail "site a was disturbed"
site_stop a
site_stop b

# The port and the mount point are taken.
mkdir -p "$WORK/stranger/mnt"
site_start b
sed "s|^directory = .*|directory = $WORK/stranger/port|; s|^mount = .*|mount = $WORK/stranger/mnt|; s|^name = .*|name = other|" \
	"$WORK/b/conf" >"$WORK/edited.conf"
"$t" format --config "$WORK/edited.conf" --size 256M --descriptor "$WORK/stranger/port.desc" >/dev/null 2>&1
refused "a port in use" "10.77.0.2:7400|7400.*use|use.*7400" nsenter --net="/run/netns/$TAG-b" -- \
	"$t" run --config "$WORK/edited.conf" --run-dir "$WORK/stranger/run"
mount -t tmpfs tmpfs "$(mnt a)"
site_start a
wait_for 10 "site a says that something is mounted" eval 'grep -qiE "mnt.*(busy|mounted|use)|(busy|mounted).*mnt" "$WORK/a/log"'
expect_eq "what is mounted" "$(awk -v m="$(mnt a)" '$5 == m' /proc/self/mountinfo | grep -c ' - tmpfs ')" 1
wait_for 10 "status says what is in the way" eval '[[ $(status a .trouble) = *"$(mnt a)"* ]]'
expect_match "the trouble with a mount point in use" "$(status a .trouble)" "tmpfs' is mounted on .*unmount it first"
umount "$(mnt a)"
site_wait_active a # by itself
expect_eq "the trouble once it is free" "$(status a .trouble)" ""
site_stop a
touch "$(mnt a)/something"
site_start a
wait_for 10 "site a says that the mount point is not empty" eval 'grep -qi "not empty" "$WORK/a/log"'
! is_mounted a || fail "mounted over a file"
wait_for 10 "status says what is in the way" eval '[[ $(status a .trouble) = *"$(mnt a)"* ]]'
expect_match "the trouble with a mount point that is not empty" "$(status a .trouble)" "mnt' is not empty.*move it away"
rm "$(mnt a)/something"
site_wait_active a
site_stop a
step "the mount point must be free and empty"

# A peer that may not be one.
mkdir "$WORK/foreign"
authority "$WORK/foreign"
certificate "$WORK/foreign" site-a "$WORK/foreign"
certificate "$WORK/pki" site-x "$WORK/pki"
declare -A why=(["foreign/site-a"]="certificate of 'site-a' is not signed by an authority in '$WORK/pki/ca.pem'"
	["pki/site-x"]="its certificate is for 'site-x', not for domain 'site-a'")
for wrong in "${!why[@]}"; do
	edited "s|^certificate = .*|certificate = $WORK/$wrong.pem|; s|^key = .*|key = $WORK/$wrong.key|"
	cp "$WORK/a/conf" "$WORK/good.conf"
	cp "$WORK/edited.conf" "$WORK/a/conf"
	before=$(wc -l <"$WORK/b/log")
	site_start a
	wait_for 10 "site b refuses the certificate $wrong" \
		eval 'tail -n +$((before + 1)) "$WORK/b/log" | grep -qF "connection from 10.77.0.1 refused: " &&
			tail -n +$((before + 1)) "$WORK/b/log" | grep -qF "${why[$wrong]}"'
	pause_ms 500
	! is_mounted a || fail "site a mounted with a wrong certificate"
	expect_eq "the connection with a wrong certificate" "$(status b '.peers[0].connected')" false
	site_stop a
	cp "$WORK/good.conf" "$WORK/a/conf"
	step "refused: $wrong"
done

# Another volume at the other end.
site_stop b
sed "s|^directory = .*|directory = $WORK/stranger/replica|; s|^domain = .*|domain = site-a|" \
	"$WORK/a/conf" >"$WORK/stranger/conf"
"$t" format --config "$WORK/stranger/conf" --size 256M --descriptor "$WORK/stranger/desc" >/dev/null 2>&1
cp "$WORK/stranger/conf" "$WORK/a/conf"
site_start b
site_start a
wait_for 10 "the strangers are refused" \
	eval 'cat "$WORK/a/log" "$WORK/b/log" | grep -qiE "(other|another|different|wrong|not the same|mismatch|foreign).*(cluster|volume|replica)|(cluster|volume|replica).*(other|another|differ|wrong|not the same|mismatch|foreign|does not know|unknown)"'
pause_ms 500
! is_mounted a && ! is_mounted b || fail "mounted with a stranger as peer"
site_stop a
site_stop b
step "refused: another volume"

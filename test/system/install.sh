#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: config
# budget: 90
# What people install: make install into a DESTDIR with its programs, manuals, completion and units; two sites run from
# there; what they wrote is dumped; the image starts; make uninstall leaves nothing.
. "$(dirname "$0")/../lib.sh"

work_new
net_new
root=$WORK/root prefix=/opt/tandem
programs=(tandemfs tandem-holder tandem-agent tandemctl)
target() { # make's arguments: the programs as they are, whatever their age
	local p old=()
	for p in "${programs[@]}"; do old+=(-o "$BUILD/$p"); done
	env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS make -C "$ROOT" --no-print-directory B="$BUILD" PREFIX=$prefix "${old[@]}" "$@" \
		>"$WORK/make.out" 2>&1 || fail "make $*: $(tail -n 5 "$WORK/make.out")"
}
target install DESTDIR="$root"
sbin=$root$prefix/sbin

# --- programs, manuals, completion --------------------------------------------------------------------------
for p in "${programs[@]}"; do
	[[ -x $sbin/$p ]] || fail "$p is not installed"
done
expect_match "tandemfs" "$("$sbin/tandemfs" version)" "^tandemfs [0-9]"
expect_match "kubectl-tandem" "$("$sbin/kubectl-tandem" version)" "^tandemctl [0-9]"
pages=0
for f in "$ROOT"/{fs,agent,agent/ctl}/*.[158]; do
	page=$root$prefix/share/man/man${f##*.}/${f##*/}
	cmp "$f" "$page"
	expect_match "$page" "$(grep -m 1 '^\.TH' "$page")" "^\.TH $(basename "${f%.*}") ${f##*.} "
	! command -v groff >/dev/null || expect_eq "what groff says of $f" "$(groff -man -ww -z -Tutf8 -Kutf8 "$page" 2>&1)" ""
	pages=$((pages + 1))
done
[[ $pages -ge 4 ]] || fail "only $pages manuals"
# What a command's usage has is in the synopsis of that command, in one of the two manuals.
synopsis=$(for page in tandemctl kubectl-tandem; do
	sed -n '/^\.SH SYNOPSIS/,/^\.SH DESCRIPTION/p' "$root$prefix/share/man/man8/$page.8"
	echo .br
done | sed 's/\\-/-/g; s/\\f.//g; s/kubectl tandem/tandemctl/')
for c in $("$sbin/tandemctl" help | sed -nE 's/^  ([a-z]+).*/\1/p' | sort -u); do
	usage=$("$sbin/tandemctl" help "$c" | head -n 1)
	own=$(tr '\n' ' ' <<<"$synopsis" | sed 's/\.br/\n/g' | grep -E "tandemctl[\" ]+([a-z]+[ |\"]+)*$c\b" || true)
	[[ -n $own ]] || fail "the manual's synopsis has no '$c'"
	for o in $(grep -oE -- '--[a-z-]+' <<<"$usage" | sort -u || true); do
		grep -qE -- "(^|[^a-z-])$o([^a-z-]|\$)" <<<"$own" || fail "the manual's synopsis of '$c' has no $o"
	done
done
completed() { # word...: what may stand in the place of the last one
	bash -c '. "$1"; shift; COMP_WORDS=(tandemctl "$@"); COMP_CWORD=$#; _tandemctl; echo "${COMPREPLY[*]}"' _ \
		"$root$prefix/share/bash-completion/completions/tandemctl" "$@"
}
expect_eq "cre" "$(completed cre)" "create"
expect_eq "create volume db --no" "$(completed create volume db --no)" "--no-holder"
expect_eq "create migration m --no" "$(completed create migration m --no)" "--no-wait"
step "programs, $pages manuals and the completion are installed"

# --- units -------------------------------------------------------------------------------------------------
units=$root$prefix/lib/systemd/system
for unit in tandem-agent.service tandemfs@.service; do
	program=$(sed -nE 's/^ExecStart=([^ ]+).*/\1/p' "$units/$unit")
	[[ -x $root$program ]] || fail "$unit starts '$program', which is not installed"
	for p in $(sed -nE 's/^Documentation=//p' "$units/$unit" | grep -oE '[a-z-]+\([0-9]\)'); do
		p=${p%)}
		[[ -f $root$prefix/share/man/man${p##*(}/${p%(*}.${p##*(} ]] || fail "$unit: no manual $p)"
	done
done
if command -v systemd-analyze >/dev/null; then
	# It looks for the programs on this machine.
	mkdir "$WORK/units"
	for unit in tandem-agent.service tandemfs@db.service; do
		sed "s,^\(Exec[A-Z][a-z]*=\)$prefix,\1$root$prefix," "$units/${unit/@db/@}" >"$WORK/units/$unit"
	done
	SYSTEMD_LOG_LEVEL=warning systemd-analyze verify --man=no --recursive-errors=no "$WORK/units/tandem-agent.service" \
		"$WORK/units/tandemfs@db.service" >"$WORK/verify.out" 2>&1 || fail "systemd-analyze: $(cat "$WORK/verify.out")"
	expect_eq "what systemd says of the units" "$(grep -F "$WORK/units" "$WORK/verify.out" || true)" ""
	step "systemd takes the units"
fi

# --- two sites from there, and what is in their journals -------------------------------------------------------
BIN=$sbin
CONF_VOLUME="holder = yes"
sites_format 256M
sites_start
mkdir "$(mnt a)/dir"
echo hello >"$(mnt a)/dir/a-name"
mv "$(mnt a)/dir/a-name" "$(mnt a)/dir/another"
dump() { "$BIN/tandemfs" dump --config "$WORK/$1/conf"; }
expect_fail dump a
expect_match "a dump beside the daemon" "$OUT" "$WORK/a/replica"
sites_stop_and_compare
for s in a b; do
	dump $s >"$WORK/dump-$s.out" || fail "dump of site $s: $(tail -n 2 "$WORK/dump-$s.out")"
	for text in "create inode [0-9]+ in 1 'dir' mode 040755" "create inode [0-9]+ in [0-9]+ 'a-name'" \
		"write inode [0-9]+ size 6 " "rename inode [0-9]+ from [0-9]+ 'a-name' to [0-9]+ 'another'"; do
		expect_match "the dump of site $s" "$(cat "$WORK/dump-$s.out")" "^ +[0-9]+ [0-9a-f]{8} $text"
	done
done
entries() { grep -E '^ +[0-9]+ [0-9a-f]{8} ' "$WORK/dump-$1.out"; }
expect_eq "entries of site b" "$(entries b)" "$(entries a)"
step "$(entries a | wc -l) entries of the journal are dumped"

# --- the image ----------------------------------------------------------------------------------------------
target image IMAGE=registry.example/tandemfs:1
mkdir "$WORK/image" "$WORK/image/root"
tar -C "$WORK/image" -xf "$BUILD/tandemfs-image.tar"
expect_eq "its name" "$(jq -r '.[0].RepoTags[0]' "$WORK/image/manifest.json")" registry.example/tandemfs:1
expect_eq "its layer" "$(sha256sum <"$WORK/image/$(jq -r '.[0].Layers[0]' "$WORK/image/manifest.json")" | cut -d ' ' -f 1)" \
	"$(jq -r '.rootfs.diff_ids[0]' "$WORK/image/$(jq -r '.[0].Config' "$WORK/image/manifest.json")" | cut -d : -f 2)"
tar -C "$WORK/image/root" -xf "$WORK/image/layer.tar"
started="tandemfs tandemctl kubectl-tandem"
! ldd "$BUILD/tandemfs" | grep -q libasan || started= # it needs /proc
for p in $started; do
	expect_match "$p in the image" "$(chroot "$WORK/image/root" "/usr/local/sbin/$p" version)" "^tandem(fs|ctl) [0-9]"
done
step "the image has what its programs need"

target uninstall DESTDIR="$root"
expect_eq "what make uninstall left" "$(find "$root" -type f -o -type l)" ""

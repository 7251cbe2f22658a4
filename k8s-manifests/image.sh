#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Makes the image of tandemfs from the programs that were built here, the shared libraries they load, and nothing else: no
# shell, no package manager, no other image below it. The same programs give the same bytes.
#
#	k8s-manifests/image.sh build OUT NAME DIRECTORY    of the programs in a directory (`make image`)
#	k8s-manifests/image.sh pack ROOT OUT NAME...       of a tree of files, as it is; ENTRYPOINT= is a program that is run
#
# OUT is a docker-archive, which `ctr images import`, `podman load`, `docker load` and `skopeo copy` read. Knows no
# registry, needs no daemon and no root.
set -euo pipefail

PROGRAMS=(tandemfs tandem-holder tandem-agent tandemctl)

arch() {
	case $(uname -m) in
	x86_64) echo amd64 ;;
	aarch64) echo arm64 ;;
	*) uname -m ;;
	esac
}

pack_tar() { # directory, out
	tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 --format=gnu -C "$1" -cf "$2" .
}

pack() { # root, out, name...
	local root=$1 out=$2 d=$scratch/archive layer config names
	shift 2
	mkdir "$d"
	pack_tar "$root" "$d/layer.tar"
	layer=$(sha256sum "$d/layer.tar" | cut -d' ' -f1)
	printf '{"architecture":"%s","os":"linux","created":"1970-01-01T00:00:00Z","config":{"Env":["PATH=%s"],%s},%s}' \
		"$(arch)" /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
		"${ENTRYPOINT:+\"Entrypoint\":[\"$ENTRYPOINT\"],}\"Cmd\":[\"/bin/sleep\",\"infinity\"]" \
		"\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:$layer\"]}" >"$d/config"
	config=$(sha256sum "$d/config" | cut -d' ' -f1)
	mv "$d/config" "$d/$config.json"
	names=$(printf '"%s",' "$@")
	printf '[{"Config":"%s.json","RepoTags":[%s],"Layers":["layer.tar"]}]' "$config" "${names%,}" >"$d/manifest.json"
	pack_tar "$d" "$out.new"
	mv "$out.new" "$out"
}

# Every library goes to where the loader found it; the loader itself to where the programs name it.
libraries() { # program...
	ldd "$@" | sed -nE 's/^.* => (\/[^ ]+) .*/\1/p; s/^[[:space:]]+(\/[^ ]+) .*/\1/p' | sort -u
}

build() { # out, name, directory
	local p lib stage=$scratch/root programs=()
	mkdir -p "$stage"/{usr/local/sbin,etc,run,tmp,proc,sys,dev,var/lib/tandemfs}
	chmod 755 "$stage"
	chmod 1777 "$stage/tmp"
	for p in "${PROGRAMS[@]}"; do
		install -m 755 "$3/$p" "$stage/usr/local/sbin/$p"
		strip "$stage/usr/local/sbin/$p"
		programs+=("$3/$p")
	done
	ln -s tandemctl "$stage/usr/local/sbin/kubectl-tandem"
	for lib in $(libraries "${programs[@]}"); do
		install -D -m 755 "$(readlink -f "$lib")" "$stage$lib"
	done
	echo 'root:x:0:0:root:/:/sbin/nologin' >"$stage/etc/passwd"
	echo 'root:x:0:' >"$stage/etc/group"
	echo 'hosts: files dns' >"$stage/etc/nsswitch.conf"
	chmod 644 "$stage"/etc/*
	pack "$stage" "$1" "$2"
}

verb=${1:-}
if [ $# -lt 4 ] || [[ $verb != @(build|pack) ]]; then
	sed -n 's/^#\t/usage: /p' "$0" >&2
	exit 2
fi
shift
umask 022
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"$verb" "$@"

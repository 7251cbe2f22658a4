#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Installs the Debian packages that building, linting, testing, the demo and the bench need. Says
# nothing when nothing is missing; knows no registry, only what apt is configured for. Runs on a
# fresh Debian 12 without package lists. As another user than root it goes through sudo.
#
#   test/setup.sh          install what is missing
#   test/setup.sh --list   print the packages, one a line
set -euo pipefail

packages=(
	# the programs
	gcc libc6-dev make pkg-config
	libfuse3-dev fuse3 librocksdb-dev liburing-dev libjson-c-dev libssl-dev
	libcurl4-openssl-dev libmicrohttpd-dev libgnutls28-dev
	# units, simulator, fuzzers, lint
	libcriterion-dev libsqlite3-dev clang libclang-rt-14-dev clang-format cppcheck shellcheck git
	# system tests, demo and bench: real programs on real mounts
	postgresql sqlite3 jq openssl curl tar fio attr acl
	xfsprogs e2fsprogs util-linux procps iproute2 iptables
	glusterfs-server glusterfs-client
	# Kubernetes: its API server is built from Debian's source package, because the binary one is the client alone
	etcd-server golang-go golang-github-modern-go-reflect2-dev dpkg-dev
	# and its nodes, with pods
	containerd runc containernetworking-plugins conntrack busybox-static
	# a database for them
	mariadb-server-core mariadb-client-core
)

if [ "${1:-}" = --list ]; then
	printf '%s\n' "${packages[@]}"
	exit 0
fi
if ! command -v dpkg-query >/dev/null; then
	echo "setup: this is not Debian; install by hand the equivalents of: ${packages[*]}" >&2
	exit 1
fi

have=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' 2>/dev/null | sed -n 's/^installed //p')
missing=()
for p in "${packages[@]}"; do
	grep -qxF "$p" <<<"$have" || missing+=("$p")
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" != 0 ]; then
	if ! command -v sudo >/dev/null; then
		echo "setup: missing packages, and this is not root: apt-get install ${missing[*]}" >&2
		exit 1
	fi
	as_root=(sudo)
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT

apt() {
	"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 \
		-o Acquire::Retries=3 "$@" >"$log" 2>&1
}

echo "setup: installing ${missing[*]}"
if ! apt update; then
	echo "setup: 'apt-get update' failed; going on with the lists that are there" >&2
	tail -n 5 "$log" >&2
fi
if ! apt install -y --no-install-recommends "${missing[@]}"; then
	tail -n 30 "$log" >&2
	echo "setup: apt-get could not install: ${missing[*]}" >&2
	exit 1
fi

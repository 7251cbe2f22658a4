#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Makes the programs of Kubernetes that the tests run, from Debian's SOURCE package `kubernetes` (its
# binary packages are the client alone) with Debian's Go; and takes the client out of its package
# without installing it, because another kubectl may be installed. They are kept in a cache, which
# is what takes minutes the first time and nothing afterwards; the name of its directory says
# from what they were made. Knows no registry, only what apt is configured for. Needs no root.
#
#	test/kube/programs.sh [PROGRAM]...   makes what is missing of kubectl, kube-apiserver and what is
#	                                     named; prints the directory where they are
#
# Two calls at once: the second waits for the first. Killed at any moment, the next call goes on: a program
# is put into the cache by a rename. Beside the programs (300 MB) the cache keeps what they were built from, for the
# next one that is asked for; it may be removed at any time.
#
# Environment: KUBE_CACHE (~/.cache/tandemfs-kube).
set -euo pipefail

CACHE=${KUBE_CACHE:-${XDG_CACHE_HOME:-${HOME:-/var/tmp}/.cache}/tandemfs-kube}
VERSION=v1.20.2
COMMIT=faecb196815e248d3ecfb03c680a4507229c2a56
TAGS=providerless,dockerless # without the cloud providers, without dockershim
PATCHES=2                    # raise it when patch_source changes
wanted=(kubectl kube-apiserver "$@")

say() { echo "kube: $*" >&2; }
die() {
	say "$@"
	exit 1
}

go=$(go version 2>/dev/null | awk '{print $3}') || true
key=$(echo "$VERSION $go $TAGS $PATCHES" | sha256sum | cut -c1-12)
out=$CACHE/$key

missing=()
for p in "${wanted[@]}"; do
	[ -x "$out/$p" ] || missing+=("$p")
done
if [ ${#missing[@]} = 0 ]; then
	echo "$out"
	exit 0
fi
[ -n "$go" ] || die "no Go here (make setup)"

mkdir -p "$out"
exec 9>"$CACHE/lock"
flock 9
scratch=$CACHE/build-$key
mkdir -p "$scratch"

# Lists of our own, of the places apt is configured for, with their sources: the machine's stay as they are.
sources_new() {
	local etc=$scratch/apt f
	mkdir -p "$etc/parts" "$scratch/lists/partial" "$scratch/archives/partial"
	for f in /etc/apt/sources.list.d/*.sources; do
		[ ! -f "$f" ] || sed -E 's/^Types:.*/Types: deb deb-src/' "$f" >"$etc/parts/$(basename "$f")"
	done
	: >"$etc/list"
	for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
		[ ! -f "$f" ] || sed -nE 's/^deb(-src)?[[:space:]]+(.*)/deb \2\ndeb-src \2/p' "$f" >>"$etc/list"
	done
	apt=(-q -o "Dir::Etc::SourceList=$etc/list" -o "Dir::Etc::SourceParts=$etc/parts"
		-o "Dir::State::Lists=$scratch/lists" -o "Dir::Cache=$scratch"
		-o APT::Sandbox::User=root -o Acquire::Retries=3)
	apt-get "${apt[@]}" update >"$scratch/apt.log" 2>&1 || say "'apt-get update' failed; going on"
}

fetch_client() {
	local deb
	(cd "$scratch" && apt-get "${apt[@]}" download kubernetes-client) >>"$scratch/apt.log" 2>&1 ||
		die "apt-get cannot get kubernetes-client: $(tail -n 3 "$scratch/apt.log")"
	deb=$(find "$scratch" -maxdepth 1 -name 'kubernetes-client_*.deb' | head -n 1)
	rm -rf "$scratch/client"
	dpkg-deb -x "$deb" "$scratch/client"
	mv "$scratch/client/usr/bin/kubectl" "$out/kubectl"
}

fetch_source() {
	(cd "$scratch" && apt-get "${apt[@]}" source --download-only kubernetes) >>"$scratch/apt.log" 2>&1 ||
		die "apt-get cannot get the source of kubernetes: $(tail -n 3 "$scratch/apt.log")"
	mkdir -p "$src"
	tar xzf "$scratch"/kubernetes_*.orig.tar.gz -C "$src" --strip-components=1
	(
		cd "$src"
		patch_source
	)
	touch "$src/.unpacked"
}

patch_source() {
	# reflect2 1.0.1 crashes under Go 1.18 and later (reflect.mapiterinit has another signature): the API
	# server dies at the first custom resource with a map in it. Debian's 1.0.2 has the fix and the same API.
	rm -rf vendor/github.com/modern-go/reflect2
	cp -r /usr/share/gocode/src/github.com/modern-go/reflect2 vendor/github.com/modern-go/
	# kube-openapi takes "" for null under Go 1.18 and later (reflect.Zero of a string has the address of every empty
	# one): the API server refuses a custom resource with an empty string in it.
	sed -i 's/if data == nil || reflect.DeepEqual(reflect.Zero(.*, reflect.ValueOf(data)) {$/if data == nil {/' \
		vendor/k8s.io/kube-openapi/pkg/validation/validate/type.go
	grep -q 'if data == nil {$' vendor/k8s.io/kube-openapi/pkg/validation/validate/type.go
	# Time only: deleting a pod takes 6 to 65 s, because the object goes on a tick of 10 s and a container that
	# a race leaves behind waits for the garbage collection of each minute. So it is a steady 4 s.
	sed -i 's/ContainerGCPeriod = time.Minute$/ContainerGCPeriod = 3 * time.Second/' pkg/kubelet/kubelet.go
	sed -i 's/^const syncPeriod = 10 \* time.Second/const syncPeriod = 1 * time.Second/' \
		pkg/kubelet/status/status_manager.go
	grep -q 'ContainerGCPeriod = 3 ' pkg/kubelet/kubelet.go
	grep -q 'syncPeriod = 1 ' pkg/kubelet/status/status_manager.go
}

# The one file that is not in the archive: upstream generates the OpenAPI definitions when it builds. The
# generator is in the archive, and so is what it complains about.
generate_openapi() {
	local dirs
	[ ! -s pkg/generated/openapi/zz_generated.openapi.go ] || return 0
	go build -o "$scratch/openapi-gen" ./vendor/k8s.io/kube-openapi/cmd/openapi-gen || return
	dirs=$(grep -Rl --include='*.go' '^// *+k8s:openapi-gen=' cmd pkg vendor/k8s.io/*/ 2>/dev/null |
		grep -v -e /code-generator/ -e /sample-apiserver/ -e /testdata/ -e _test.go |
		xargs -n1 dirname | LC_ALL=C sort -u | sed 's#^#k8s.io/kubernetes/#' | paste -sd,)
	"$scratch/openapi-gen" --logtostderr -i "$dirs" -p k8s.io/kubernetes/pkg/generated/openapi \
		-O zz_generated.openapi -h hack/boilerplate/boilerplate.generatego.txt \
		-r "$scratch/violations" || return
	cmp "$scratch/violations" api/api-rules/violation_exceptions.list
}

# GOPATH mode, as upstream's own Makefile does: module mode fails under Go 1.19 ("updates to go.mod needed").
# Nothing in here stops by set -e, because the caller looks at the status. GOGC=400: the compiler takes some 600 MB and a fifth less time.
build() { # program...
	local ld='-s -w' p
	export GOPATH=$scratch/gopath GOCACHE=$scratch/gocache GO111MODULE=off GOFLAGS='' CGO_ENABLED=0 GOGC=400
	cd "$src" || return
	generate_openapi || return
	for p in component-base/version client-go/pkg/version; do
		p=k8s.io/kubernetes/vendor/k8s.io/$p
		ld+=" -X $p.gitVersion=$VERSION -X $p.gitMajor=1 -X $p.gitMinor=20 -X $p.gitCommit=$COMMIT"
		ld+=" -X $p.gitTreeState=clean -X $p.buildDate=2021-01-13T13:20:00Z"
	done
	mkdir -p "$scratch/bin"
	go build -tags "$TAGS" -trimpath -ldflags "$ld" -o "$scratch/bin/" "${@/#/./cmd/}" || return
	for p in "$@"; do
		mv "$scratch/bin/$p" "$out/$p" || return
	done
}

src=$scratch/gopath/src/k8s.io/kubernetes
apt=()
todo=()
for p in "${missing[@]}"; do
	if [ ! -x "$out/$p" ] && [ "$p" != kubectl ]; then
		todo+=("$p")
	fi
done
if [ ! -x "$out/kubectl" ] || [ ! -e "$src/.unpacked" ]; then
	sources_new
fi
[ -x "$out/kubectl" ] || fetch_client
if [ ${#todo[@]} -gt 0 ]; then
	say "building ${todo[*]}: takes minutes, once ($out)"
	begin=$(date +%s)
	[ -e "$src/.unpacked" ] || fetch_source
	(build "${todo[@]}") >"$scratch/build.log" 2>&1 ||
		die "does not build: $(tail -n 20 "$scratch/build.log")"
	say "built in $(($(date +%s) - begin)) s"
fi
echo "$out"

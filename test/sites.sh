# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Two sites of one volume in two directories and two ports of this machine, for the demo and the
# bench. Sourced. All state is in a directory, so that another process may go on with it:
#
#   DIR/a.conf DIR/b.conf      configurations (domains site-a, site-b)
#   DIR/tls/                   a CA and one certificate for each site
#   DIR/a/{data,mnt,run}       a replica, its mount point, its run directory; DIR/b/ the same
#   DIR/a.pid DIR/a.log        the daemon
#
# B is the build directory, ACK the acknowledgement mode of what sites_make makes (op). Functions return non-zero and say why on standard error.

tandemfs=$PWD/${B:-build}/tandemfs
tandemctl=$PWD/${B:-build}/tandemctl

sites_complain() {
	echo "sites: $*" >&2
	return 1
}

# A port that nobody listens on; $1 is the first one to look at.
sites_free_port() {
	local port used
	used=$(ss -ltnH | awk '{ n = split($4, a, ":"); print a[n] }')
	for ((port = $1; port < $1 + 500; port++)); do
		if ! grep -qx "$port" <<<"$used"; then
			echo "$port"
			return
		fi
	done
	sites_complain "no free port from $1"
}

# A CA and a certificate for each domain; subjectAltName carries the domain.
sites_certificates() {
	local dir=$1 site
	mkdir -p "$dir"
	{
		openssl req -x509 -newkey rsa:2048 -nodes -days 90 -subj "/CN=tandemfs test CA" \
			-keyout "$dir/ca.key" -out "$dir/ca.pem"
		for site in site-a site-b; do
			openssl req -newkey rsa:2048 -nodes -subj "/CN=$site" -keyout "$dir/$site.key" \
				-out "$dir/$site.csr"
			openssl x509 -req -in "$dir/$site.csr" -days 90 -CA "$dir/ca.pem" -CAkey "$dir/ca.key" \
				-CAcreateserial -extfile <(echo "subjectAltName=DNS:$site") -out "$dir/$site.pem"
		done
	} >"$dir/openssl.log" 2>&1 || sites_complain "openssl: $(tail -n 1 "$dir/openssl.log")"
	chmod 600 "$dir"/*.key
}

# site_config DIR a|b NAME MODE LISTEN-PORT PEER-PORT JOURNAL
site_config() {
	local dir=$1 s=$2 other=b
	[ "$s" = a ] || other=a
	mkdir -p "$dir/$s/mnt" "$dir/$s/run"
	cat >"$dir/$s.conf" <<-END
		[volume]
		name = $3
		directory = $dir/$s/data
		mount = $dir/$s/mnt
		ack = ${ACK:-op}

		[site]
		domain = site-$s
		listen = 127.0.0.1:$5

		[peer site-$other]
		address = 127.0.0.1:$6

		[journal]
		size = $7

		[transport]
		mode = $4
	END
	if [ "$4" = tls ]; then
		cat >>"$dir/$s.conf" <<-END
			ca = $dir/tls/ca.pem
			certificate = $dir/tls/site-$s.pem
			key = $dir/tls/site-$s.key
		END
	fi
}

# sites_make DIR NAME tls|plain SIZE JOURNAL [RELAY-RTT-US]: configurations, certificates and both
# replicas. With a round trip given each site reaches the other through a relay that adds it.
sites_make() {
	local dir=$1 name=$2 mode=$3 size=$4 journal=$5 rtt=${6:-0} a b to_a to_b
	mkdir -p "$dir"
	a=$(sites_free_port $((21000 + RANDOM % 9000))) && b=$(sites_free_port $((a + 1))) || return
	to_a=$a to_b=$b
	if [ "$rtt" -gt 0 ]; then
		to_a=$(sites_relay "$dir/relay-a" "$a" "$rtt") && to_b=$(sites_relay "$dir/relay-b" "$b" "$rtt") || return
	fi
	[ "$mode" = plain ] || sites_certificates "$dir/tls" || return
	site_config "$dir" a "$name" "$mode" "$a" "$to_b" "$journal"
	site_config "$dir" b "$name" "$mode" "$b" "$to_a" "$journal"
	"$tandemfs" format --config "$dir/a.conf" --size "$size" --descriptor "$dir/$name.desc" \
		>"$dir/format.log" 2>&1 &&
		"$tandemfs" format --join "$dir/$name.desc" --config "$dir/b.conf" >>"$dir/format.log" 2>&1 ||
		sites_complain "format: $(tail -n 3 "$dir/format.log")"
}

# Starts a relay to a port and prints the relay's own.
sites_relay() {
	local i
	"$PWD/${B:-build}/bench/relay" --listen 127.0.0.1:0 --to "127.0.0.1:$2" --delay-us $(($3 / 2)) \
		>"$1.log" 2>&1 &
	echo $! >"$1.pid"
	for ((i = 0; i < 100; i++)); do
		if grep -q listening "$1.log"; then
			sed -n 's/.*listening on .*:\([0-9]*\)$/\1/p' "$1.log"
			return
		fi
		sleep 0.05
	done
	sites_complain "the relay did not start: $(tail -n 1 "$1.log")"
}

site_start() {
	local dir=$1 s=$2
	setsid "$tandemfs" run --config "$dir/$s.conf" --run-dir "$dir/$s/run" </dev/null \
		>>"$dir/$s.log" 2>&1 &
	echo $! >"$dir/$s.pid"
	disown
}

site_pid() {
	cat "$1/$2.pid" 2>/dev/null
}

site_alive() {
	local pid
	pid=$(site_pid "$1" "$2") && [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null
}

# site_ctl DIR a|b ARGUMENT...
site_ctl() {
	local dir=$1 s=$2
	shift 2
	"$tandemctl" --run-dir "$dir/$s/run" "$@"
}

# site_wait DIR a|b SECONDS COMMAND...: until the command succeeds; fails when the daemon ends.
site_wait() {
	local dir=$1 s=$2 until
	until=$(($(date +%s%3N) + $3 * 1000))
	shift 3
	until "$@" >/dev/null 2>&1; do
		if ! site_alive "$dir" "$s"; then
			sites_complain "the daemon of site-$s ended: $(tail -n 3 "$dir/$s.log")"
			return 1
		fi
		if [ "$(date +%s%3N)" -gt "$until" ]; then
			sites_complain "site-$s: timed out waiting for: $*: $(tail -n 3 "$dir/$s.log")"
			return 1
		fi
		sleep 0.01
	done
}

# True when the site serves the mount.
site_mounted() {
	mountpoint -q "$1/$2/mnt"
}

# SIGTERM, and SIGKILL when that takes longer than 20 s.
site_stop() {
	local dir=$1 s=$2 pid i
	pid=$(site_pid "$dir" "$s")
	[ -n "$pid" ] || return 0
	kill -TERM "$pid" 2>/dev/null
	for ((i = 0; i < 2000; i++)); do
		kill -0 "$pid" 2>/dev/null || break
		sleep 0.01
	done
	if kill -KILL "$pid" 2>/dev/null; then
		sites_complain "site-$s did not stop within 20 s and was killed"
	fi
	rm -f "$dir/$s.pid"
	if site_mounted "$dir" "$s"; then
		umount -l "$dir/$s/mnt"
	fi
}

# Everything of both sites away, whatever state it is in; the directory too.
sites_remove() {
	local dir=$1 s pid
	for s in a b; do
		pid=$(site_pid "$dir" "$s") || continue
		kill -KILL "$pid" 2>/dev/null
	done
	for s in relay-a relay-b; do
		pid=$(cat "$dir/$s.pid" 2>/dev/null) && kill -TERM "$pid" 2>/dev/null
	done
	for s in a b; do
		# A daemon that is being killed may still hold its mount for a moment.
		for _ in 1 2 3 4 5 6 7 8 9 10; do
			grep -q " $dir/$s/mnt " /proc/mounts || break
			umount -l "$dir/$s/mnt" 2>/dev/null || sleep 0.1
		done
	done
	rm -rf --one-file-system "$dir"
}

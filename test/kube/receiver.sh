# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Somebody who is called by a webhook, in a site's network. What was sent is in $WORK/received-PATH; /ok is answered 200,
# /bad 500, /slow not at all.
#
#	receiver_start b             # http://10.77.0.2:8080/ok
#	receiver_tls b NAME          # https://10.77.0.2:8443/, one call, with the certificate kube-b/NAME.pem

RECEIVER= # process

receiver_start() { # site
	cat >"$WORK/receiver" <<-'END'
		#!/bin/bash
		read -r _ path _
		path=${path%%\?*}
		while IFS= read -r line && line=${line%$'\r'} && [[ -n $line ]]; do
			[[ ${line,,} != content-length:* ]] || length=${line#*: }
		done
		[[ $path != /slow ]] || exec sleep 20
		head -c "${length:-0}" >"received-${path#/}.new"
		mv "received-${path#/}.new" "received-${path#/}"
		[[ $path = /ok ]] && status="200 OK" || status="500 Internal Server Error"
		printf 'HTTP/1.1 %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n' "$status"
	END
	chmod 755 "$WORK/receiver"
	(cd "$WORK" && exec nsenter --net="/run/netns/$TAG-$1" -- \
		busybox nc -ll -p 8080 -e ./receiver) </dev/null >/dev/null 2>"$WORK/receiver.out" &
	RECEIVER=$!
}
receiver_stop() {
	kill "$RECEIVER"
	wait "$RECEIVER" 2>/dev/null || true
}
receiver_tls() { # site, name of its certificate
	local d
	d=$(kube_dir "$1")
	(
		printf 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n'
		exec sleep 20
	) | nsenter --net="/run/netns/$TAG-$1" -- openssl s_server -quiet -naccept 1 -accept "$(kube_ip "$1"):8443" \
		-cert "$d/$2.pem" -key "$d/$2.key" >"$WORK/received-tls" 2>"$WORK/receiver-tls.out" &
	wait_for 10 "it listens" eval "in_site $1 ss -Hltn | grep -q ':8443 '"
}

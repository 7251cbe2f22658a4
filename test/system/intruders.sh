#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: config
# budget: 120
# Whatever comes to the port or to the control socket: without, with a foreign or with an expired
# certificate, noise, half and oversized frames, lines without end. It is refused with a reason in the log,
# costs nothing that stays, and the volume goes on.
. "$(dirname "$0")/../lib.sh"

sites_up 256M
pki=$WORK/pki
mkdir "$WORK/foreign"
authority "$WORK/foreign"
certificate "$WORK/foreign" site-a "$WORK/foreign"
openssl req -new -key "$pki/site-a.key" -out "$WORK/expired.csr" -subj "/CN=site-a" -addext "subjectAltName=DNS:site-a" 2>/dev/null
openssl x509 -req -in "$WORK/expired.csr" -CA "$pki/ca.pem" -CAkey "$pki/ca.key" -days -1 -copy_extensions copy \
	-out "$WORK/expired.pem" 2>/dev/null
load_start tree run a --threads 2

lines() { wc -l <"$WORK/b/log"; }
fds() { find "/proc/${PID[$1]}/fd" -mindepth 1 -lname 'socket:*' | wc -l; }
said() { # what, regular expression: in the log of site b since $before
	wait_for 15 "site b says: $1" eval "tail -n +$((before + 1)) '$WORK/b/log' | grep -qiE '$2'"
	step "$1: $(tail -n +$((before + 1)) "$WORK/b/log" | grep -iE "$2" | head -n 1 | sed 's/^[^ ]* //' | cut -c 1-150)"
}
tls() { # certificate, key: standard input to site b's port, as somebody at site a
	in_site a timeout 10 openssl s_client -connect 10.77.0.2:7400 -CAfile "$pki/ca.pem" ${1:+-cert "$1"} ${2:+-key "$2"} \
		-tls1_3 -quiet >"$WORK/tls.out" 2>&1 || true
}
raw() { # standard input to site b's port, in the clear
	in_site a timeout 10 bash -c 'exec 3<>/dev/tcp/10.77.0.2/7400; cat >&3; timeout 5 cat <&3 >/dev/null' 2>/dev/null || true
}
fine() {
	is_serving a || fail "$1: site a does not serve"
	expect_eq "$1: the peer" "$(status a '.peers[0] | "\(.state) \(.connected)"')" "in-sync true"
}
fds_before=$(fds b)

before=$(lines)
echo hello | tls "" ""
said "no certificate" "refused.*(certificate|did not return)"
before=$(lines)
echo hello | tls "$WORK/foreign/site-a.pem" "$WORK/foreign/site-a.key"
said "a foreign certificate" "refused.*(certificate|verify|unknown ca)"
before=$(lines)
echo hello | tls "$WORK/expired.pem" "$pki/site-a.key"
said "an expired certificate" "refused.*expired"
fine "certificates"

before=$(lines)
{ head -c 100K /dev/urandom || true; } | raw # refused before its end
said "noise" "refused"
before=$(lines)
printf '\x16\x03\x01' | raw # the beginning of a TLS handshake, and nothing more
said "half a handshake" "refused|time"
before=$(lines)
printf 'GET / HTTP/1.1\r\nHost: x\r\n\r\n' | raw
said "a browser" "refused"
before=$(lines)
head -c 4K /dev/urandom | tls "$pki/site-a.pem" "$pki/site-a.key"
said "noise with the right certificate" "refused.*(malformed|magic|frame|not)"
before=$(lines)
printf 'TFMS\x01\x00' | tls "$pki/site-a.pem" "$pki/site-a.key"
said "half a frame" "refused"
before=$(lines)
# A frame's header whose lengths are beyond all bounds (and its checksum wrong).
{ printf 'TFMS\x01\x00\x06\x00\xff\xff\xff\x7f'; head -c 36 /dev/zero; } | tls "$pki/site-a.pem" "$pki/site-a.key"
said "an oversized frame" "refused.*(malformed|frame|not)"
fine "frames"

# Many at once, silent or noisy: the peer's own connection is not disturbed, and none of them stays.
for i in {1..40}; do
	if ((i % 2)); then head -c 10K /dev/urandom | raw & else { sleep 2; } | raw & fi
	noise[i]=$!
done
for i in {1..40}; do wait "${noise[$i]}" || true; done
fine "forty strangers"
wait_for 20 "site b has let go of them" eval "[[ \$(fds b) -le $((fds_before + 2)) ]]"
step "forty strangers at once: gone"

# The control socket.
socket=$WORK/b/run/$VOLUME.sock
say() { timeout 20 "$TOOLS/spoil" send "$socket" "${1:-3000}" || STATUS=$?; }
OUT=$(echo 'what?' | say)
expect_match "no JSON" "$OUT" "error|code|json|understand|invalid|not"
step "no JSON: $OUT"
OUT=$(echo '{"verb":"fly"}' | say)
expect_match "an unknown verb" "$OUT" "unknown verb|fly|version|protocol"
step "an unknown verb: $OUT"
OUT=$(echo '[1,2,3]' | say)
expect_match "no object" "$OUT" "object|error|code|not"
OUT=$(echo '{"verb":17,"args":"x"}' | say)
expect_match "wrong types" "$OUT" "verb|string|error|code|not"
{ head -c 64K /dev/urandom || true; } | say >/dev/null
{ head -c 20M /dev/zero | tr '\0' 'x' || true; } | say >/dev/null # a line without end
OUT=$(printf '{"verb":"stat' | say 1500) # half a line, then silence
[[ $(role b) = standby ]] || fail "site b does not answer on its control socket"
for i in {1..100}; do
	sleep 1 | "$TOOLS/spoil" send "$socket" 1500 >/dev/null 2>&1 &
	noise[i]=$!
done
wait_for 20 "the control socket answers among a hundred silent ones" eval '[[ $(role b) = standby ]]'
for i in {1..100}; do wait "${noise[$i]}" || true; done
wait_for 20 "site b has let go of them" eval "[[ \$(fds b) -le $((fds_before + 2)) ]]"
fine "the control socket"
step "the control socket answers those who speak its language"
load_stop tree
load_verify tree run a --threads 2
sites_stop_and_compare

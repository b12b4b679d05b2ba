# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Helpers of the end-to-end tests. A test runs under set -eu in an empty directory; PODVM and ROOT are set.
# Any failing command fails it; skip REASON skips it.

skip() {
	echo "$*"
	exit 77
}

fail() {
	echo "FAILED: $*"
	exit 1
}

# pod NAME 'JSON of containers' ['more keys'] writes NAME.json with the test root as every image.
pod() {
	local containers=$2 more=${3:-}
	printf '{ "id": "%s", "resource": { "vcpu": %s, "memory": %s }%s,\n  "containers": [%s] }\n' \
		"$1" "${VCPU:-1}" "${MEMORY:-64}" "${more:+, $more}" "$containers" | sed "s|ROOT|$ROOT|g" >"$1.json"
}

# sh_pod NAME 'script' ['more keys of the container'] ['more keys of the pod']: one container that runs the script.
sh_pod() {
	local script
	script=$(printf '%s' "$2" | sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/\t/\\t/g' | sed ':a;N;$!ba;s/\n/\\n/g')
	pod "$1" "{ \"image\": \"ROOT\", \"command\": [\"sh\", \"-c\", \"$script\"]${3:+, $3} }" "${4:-}"
}

# run EXPECTED-CODE COMMAND...: stdout in out, stderr in err.
run() {
	local want=$1 code=0
	shift
	timeout -k 20 180 "$@" >out 2>err || code=$?
	[ "$code" = "$want" ] || fail "$* ended with $code, not $want; stderr: $(head -c 2000 err)"
}

# one_line: stderr is one clear line from podvm that contains each argument.
one_line() {
	local word
	[ "$(wc -l <err)" = 1 ] || fail "not one line on stderr: $(cat err)"
	grep -q '^podvm: ' err || fail "no podvm: line: $(cat err)"
	for word in "$@"; do
		grep -qF -e "$word" err || fail "'$word' is missing in: $(cat err)"
	done
}

equal() {
	[ "$1" = "$2" ] || fail "'$1' is not '$2'"
}

# wait_for SECONDS COMMAND...: until it succeeds.
wait_for() {
	local end=$((SECONDS + $1))
	shift
	while ! "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $end ] || fail "never came true: $*; stderr: $(tail -5 err 2>/dev/null)"
		sleep 0.1
	done
}

# The far end: an address of this host that is not a loopback one, as a pod must not reach those.
far_address() { # [ADDRESS/PREFIX]
	local address=${1:-192.0.2.1/32}
	command -v ip >/dev/null || skip "ip(8) is missing"
	ip addr add "$address" dev lo nodad 2>/dev/null || ip addr show dev lo | grep -q "${address%/*}" ||
		skip "no right to add an address"
}

# Answers every A question with 192.0.2.77, on 192.0.2.1:53.
dns_server() {
	cat >dns.py <<'PY'
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("192.0.2.1", 53))
open("dns.up", "w").close()
while True:
    q, peer = s.recvfrom(2048)
    end = q.index(b"\0", 12) + 5
    is_a = q[end - 4:end - 2] == b"\0\1"
    head = q[:2] + b"\x81\x80\0\1" + (b"\0\1" if is_a else b"\0\0") + b"\0\0\0\0"
    s.sendto(head + q[12:end] + (b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\xc0\0\x02\x4d" if is_a else b""), peer)
PY
	python3 dns.py &
	wait_for 90 test -e dns.up
}

# far_web PORT [ADDRESS]: serves ./www from the far end; its process is in $web.
far_web() {
	local host=${2:-192.0.2.1}
	python3 -m http.server -d www -b "$host" "$1" >/dev/null 2>&1 &
	# shellcheck disable=SC2034 # the caller's
	web=$!
	case $host in *:*) host="[$host]" ;; esac
	wait_for 90 curl -sf -m 5 -o /dev/null "http://$host:$1/"
}

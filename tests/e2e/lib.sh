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

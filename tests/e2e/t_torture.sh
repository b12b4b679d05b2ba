# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Many processes, many further processes at once, readers that never read: init must not lose one, stop or grow.

# live NAME: the pod of NAME.json in the background, its process in $pod; returns when it runs.
live() {
	"$PODVM" run --name "$1" "$1.json" >out 2>err &
	pod=$!
	trap 'kill -9 $pod 2>/dev/null || true' EXIT
	wait_for 120 "$PODVM" exec "$1" true
}

over() { # NAME: stops it
	"$PODVM" stop -t 1 "$1" >/dev/null
	wait "$pod" || true
}

test_ten_thousand_short_processes() {
	sh_pod p 'many 10000'
	run 0 "$PODVM" p.json
	equal "$(cat out)" "10000 processes, codes right, 2 left"
}

test_two_hundred_execs_at_once() {
	local i bad=0 pids=()
	MEMORY=128 sh_pod p 'exec sleep 600' '"podvm": { "pids": 1000 }'
	live p
	for i in $(seq 200); do
		{
			local code=0
			"$PODVM" exec -i p sh -c "read line; echo \"$i \$line\"; echo err $i >&2; exit $((i % 100))" \
				<<<"in $i" >o.$i 2>e.$i || code=$?
			echo $code >c.$i
		} &
		pids+=($!)
	done
	wait "${pids[@]}"
	for i in $(seq 200); do
		[ "$(cat o.$i)" = "$i in $i" ] && [ "$(cat e.$i)" = "err $i" ] && [ "$(cat c.$i)" = $((i % 100)) ] && continue
		bad=$((bad + 1))
		echo "exec $i: $(cat o.$i) / $(cat e.$i) / $(cat c.$i)"
	done
	equal $bad 0
	# nothing of them is left: in the pod, and of descriptors in podvm
	wait_for 60 sh -c "[ \$('$PODVM' exec p sh -c 'ls -d /proc/[0-9]* | wc -l') -le 5 ]"
	local fds
	fds=$(ls /proc/$pod/fd | wc -l)
	"$PODVM" exec p true
	equal "$(ls /proc/$pod/fd | wc -l)" "$fds"
	over p
}

# A thousand, one after the other: no process, descriptor or memory of init or podvm is left behind.
test_execs_leave_nothing_behind() {
	local fds free
	MEMORY=64 sh_pod p 'exec sleep 600'
	live p
	used() { "$PODVM" exec p sh -c "awk '/^MemAvailable/ { print \$2 }' /proc/meminfo"; }
	for _ in 1 2 3 4 5; do "$PODVM" exec p true; done
	fds=$(ls /proc/$pod/fd | wc -l) free=$(used)
	for _ in $(seq 100); do "$PODVM" exec p true; done
	equal "$(ls /proc/$pod/fd | wc -l)" "$fds"
	# within a megabyte: the guest's own caches move
	[ "$(used)" -gt $((free - 1024)) ] || fail "available was $free kB, is $(used)"
	over p
}

# Container 0 writes to a pipe nobody reads; an exec does as well; all else goes on, and the pod stops in time.
test_readers_that_never_read() {
	pod p '{ "name": "talks", "image": "ROOT", "command": ["yes"] },
		{ "name": "works", "image": "ROOT", "command": ["sh", "-c", "while :; do date +%s >/tmp/beat; sleep 0.2; done"] }'
	mkfifo never
	"$PODVM" run --name p p.json 2>err >never 3<never &
	pod=$!
	sleep 1000 <never &
	local sleeper=$! before
	trap 'kill -9 $(jobs -p) 2>/dev/null || true' EXIT
	wait_for 120 "$PODVM" exec p/works true
	mkfifo dull
	"$PODVM" exec p/works yes >dull &
	sleep 1000 <dull &
	local dull=$!
	wait_for 60 "$PODVM" exec p/works test -e /tmp/beat
	before=$("$PODVM" exec p/works cat /tmp/beat)
	wait_for 60 sh -c "[ \$('$PODVM' exec p/works cat /tmp/beat) -gt $((before + 1)) ]"
	equal "$("$PODVM" exec p/talks echo here)" here
	SECONDS=0
	"$PODVM" stop -t 1 p >/dev/null
	[ $SECONDS -lt 60 ] || fail "stopped after $SECONDS s"
	kill $sleeper $dull
	wait || true
}

# Signals in a hurry: none is lost for good, none ends what it should not.
test_signals_in_a_hurry() {
	sh_pod p 'n=0; trap "n=\$((n + 1))" USR1; trap "echo \$n; exit 0" TERM; echo up; while :; do sleep 0.05; done'
	live p
	wait_for 60 grep -q up out
	local i
	for i in $(seq 50); do "$PODVM" kill -s USR1 p/pod-root-0 2>/dev/null || "$PODVM" kill -s USR1 p; done
	"$PODVM" kill -s TERM p
	wait "$pod" || true
	local got
	got=$(tail -1 out)
	[ "$got" -ge 1 ] && [ "$got" -le 50 ] || fail "$got signals of 50"
}

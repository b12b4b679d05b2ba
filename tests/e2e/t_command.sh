# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# podvm behaves like an ordinary command: codes, streams, signals, terminal.

test_hello() {
	sh_pod hello 'echo hello'
	run 0 "$PODVM" hello.json
	equal "$(cat out)" hello
	equal "$(cat err)" ""
}

test_run_word_is_optional() {
	sh_pod hello 'echo hello'
	run 0 "$PODVM" run hello.json
	equal "$(cat out)" hello
}

test_exit_17() {
	sh_pod p 'exit 17'
	run 17 "$PODVM" p.json
}

test_killed_by_signal_9_is_137() {
	sh_pod p 'kill -9 $$'
	run 137 "$PODVM" p.json
}

test_killed_by_term_is_143() {
	sh_pod p 'kill -TERM $$; sleep 5'
	run 143 "$PODVM" p.json
}

test_command_not_found_is_127() {
	pod p '{ "name": "c", "image": "ROOT", "command": ["no-such-program"] }'
	run 127 "$PODVM" p.json
	one_line no-such-program
}

test_not_executable_is_126() {
	pod p '{ "name": "c", "image": "ROOT", "command": ["/etc/passwd"] }'
	run 126 "$PODVM" p.json
	one_line /etc/passwd
}

test_stdout_and_stderr_stay_apart() {
	sh_pod p 'echo to-out; echo to-err >&2; echo out-again'
	run 0 "$PODVM" p.json
	equal "$(cat out)" "to-out
out-again"
	equal "$(cat err)" to-err
}

test_stdin_is_byte_exact_with_eof() {
	pod cat '{ "image": "ROOT", "command": ["cat"] }'
	equal "$(printf 'a\0b' | timeout 120 "$PODVM" cat.json | xxd -p)" 610062
	head -c 300000 /dev/urandom >in
	timeout 120 "$PODVM" cat.json <in >out
	cmp in out
}

test_stdin_empty() {
	pod cat '{ "image": "ROOT", "command": ["cat"] }'
	run 0 "$PODVM" cat.json
	equal "$(wc -c <out)" 0
}

test_no_newline_at_the_end() {
	sh_pod p 'printf "no newline"'
	run 0 "$PODVM" p.json
	equal "$(xxd -p out)" "$(printf 'no newline' | xxd -p)"
}

test_100_mb_arrive_whole() {
	mkdir v
	head -c 104857600 /dev/urandom >v/in
	MEMORY=128 sh_pod p 'cat /v/in' '"volumes": [{ "volume": "v", "path": "/v", "readOnly": true }]' \
		'"volumes": [{ "name": "v", "source": "./v", "format": "vfs" }]'
	timeout 500 "$PODVM" p.json >big
	equal "$(wc -c <big)" 104857600
	equal "$(sha256sum <big)" "$(sha256sum <v/in)"
}

test_sigterm_stops_with_143() {
	sh_pod p 'echo up; exec sleep 1000'
	"$PODVM" p.json >out 2>err &
	local pid=$! code=0
	wait_for 120 grep -q up out
	kill -TERM $pid
	wait $pid || code=$?
	equal $code 143
}

# The pod is over, its output stuck in a pipe that nobody empties: a signal must still end podvm.
test_sigterm_while_nobody_reads() {
	sh_pod p 'head -c 200000 /dev/zero; echo over >&2'
	mkfifo pipe
	sleep 1000 <pipe &
	local reader=$! code=0
	"$PODVM" p.json >pipe 2>err &
	local pid=$!
	wait_for 120 grep -q over err
	sleep 1
	kill -0 $pid
	kill -TERM $pid
	wait $pid || code=$?
	kill $reader
	equal $code 143
}

test_sigint_is_a_stop_too() {
	sh_pod p 'trap "echo bye; exit 5" TERM; echo up; while :; do sleep 0.1; done'
	# a shell starts background jobs with SIGINT ignored; env gives it back
	env --default-signal=INT "$PODVM" p.json >out 2>err &
	local pid=$! code=0
	wait_for 120 grep -q up out
	kill -INT $pid
	wait $pid || code=$?
	equal $code 5
	equal "$(tail -1 out)" bye
}

test_stubborn_container_is_killed_after_grace() {
	sh_pod p 'trap "" TERM; echo up; while :; do sleep 1; done'
	"$PODVM" p.json >out 2>err &
	local pid=$! code=0
	wait_for 120 grep -q up out
	kill -TERM $pid
	wait $pid || code=$?
	equal $code 137
}

test_tty_when_asked() {
	sh_pod p 'test -t 0 && test -t 1 && tty && stty size' '"tty": true'
	run 0 "$PODVM" p.json
	grep -q /dev/pts/ out
}

test_tty_size_follows() {
	command -v script >/dev/null || skip "script(1) is missing"
	sh_pod p 'stty size; trap "stty size; exit 0" WINCH; while :; do sleep 0.1; done' '"tty": true'
	cat >drive.py <<'PY'
import fcntl, os, pty, struct, sys, termios, time
pid, fd = pty.fork()
if pid == 0:
    os.execv(os.environ["PODVM"], ["podvm", "p.json"])
def size(rows, cols):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))
size(33, 101)
seen = b""
resized = False
while True:
    try:
        data = os.read(fd, 4096)
    except OSError:
        break
    if not data:
        break
    seen += data
    if b"\n" in seen and not resized:
        resized = True
        time.sleep(0.3)
        size(44, 122)
sys.stdout.write(seen.decode())
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
PY
	run 0 python3 drive.py
	equal "$(tail -1 out | tr -d '\r')" "44 122"
}

test_two_containers_first_failure_counts() {
	pod p '{ "name": "a", "image": "ROOT", "command": ["true"] }, { "name": "b", "image": "ROOT", "command": ["sh", "-c", "exit 3"] },
		{ "name": "c", "image": "ROOT", "command": ["sh", "-c", "exit 4"] }'
	run 3 "$PODVM" p.json
}

test_trace_boot() {
	sh_pod p 'echo hello'
	run 0 "$PODVM" --trace-boot p.json
	equal "$(cat out)" hello
	local phase
	for phase in "vCPUs started" "init begins" "guest ready" "containers started" "first container started" "pod ended"; do
		grep -q "$phase" err || fail "$phase is missing: $(cat err)"
	done
	awk '/^ +[0-9]/ { if ($1 + 0 < last) exit 1; last = $1 + 0 }' err
}

test_version_help() {
	run 0 "$PODVM" version
	grep -q '^kernel .*6\.12' out
	grep -q '^musl 1' out
	run 0 "$PODVM" help
	grep -q doctor out
	run 0 "$PODVM" help run
	grep -q -- --trace-boot out
}

test_doctor_likes_this_machine() {
	run 0 "$PODVM" doctor
	grep -q 'can run pods' out
}

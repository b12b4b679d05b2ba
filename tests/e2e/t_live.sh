# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Pods that run, and the commands that find them.

# live NAME: the pod of NAME.json in the background, its process in $pod; returns when all of it runs.
live() {
	"$PODVM" run --name "$1" "$1.json" >pod.out 2>pod.err &
	pod=$!
	trap 'kill -9 $pod 2>/dev/null || true' EXIT
	wait_for 120 is_up "$1"
}

is_up() { # POD: every container has started
	"$PODVM" ps --json | python3 -c '
import json, sys
sys.exit(not any(p["name"] == sys.argv[1] and p["phase"] == "running" and
                 all(c["state"] != "pending" for c in p["containers"]) for p in json.load(sys.stdin)))' "$1"
}

has_phase() { # POD PHASE
	"$PODVM" ps --json | python3 -c '
import json, sys
sys.exit(not any(p["name"] == sys.argv[1] and p["phase"] == sys.argv[2] for p in json.load(sys.stdin)))' "$1" "$2"
}

over() { # CODE: stops $1
	local code=0
	"$PODVM" stop -t 1 "$1" || fail "stop"
	wait "$pod" || code=$?
	equal "$code" "${2:-143}"
}

sleeper() { # NAME: a pod of two that do nothing
	pod "$1" '{ "name": "a", "image": "ROOT", "command": ["sleep", "1000"], "envs": [{ "env": "COLOR", "value": "red" }] },
		{ "name": "b", "image": "ROOT", "command": ["sleep", "1000"], "workdir": "/srv", "user": { "name": "guest" } }'
	live "$1"
}

test_exec_exit_codes() {
	sleeper p
	run 37 "$PODVM" exec p sh -c 'exit 37'
	run 0 "$PODVM" exec p true
	run 143 "$PODVM" exec p sh -c 'kill -TERM $$'
	run 127 "$PODVM" exec p no-such-program
	one_line "no-such-program: command not found in container a"
	run 126 "$PODVM" exec p /etc/passwd
	one_line "/etc/passwd"
	run 125 "$PODVM" exec -u nobody-at-all p true
	one_line "nobody-at-all"
	run 125 "$PODVM" exec -w nowhere p true
	one_line "workdir" "absolute path"
	run 125 "$PODVM" exec p/c true
	one_line "p has no container c; it has a, b"
	run 125 "$PODVM" exec q true
	one_line "no pod q runs here"
	over p
}

test_exec_words_and_streams() {
	sleeper p
	run 0 "$PODVM" exec p printf '[%s]' 'a b' '' '$HOME' "it's" 'é'
	equal "$(cat out)" "[a b][][\$HOME][it's][é]"
	run 3 "$PODVM" exec p sh -c 'echo out; echo err >&2; printf "no newline"; exit 3'
	equal "$(cat out)" "out
no newline"
	equal "$(cat err)" "err"
	# without -i it reads an end, at once
	run 0 "$PODVM" exec p cat
	equal "$(cat out)" ""
	dd if=/dev/urandom of=data bs=1024 count=3000 status=none
	"$PODVM" exec -i p sh -c 'cat >/tmp/data; md5sum </tmp/data' <data >out
	equal "$(cat out)" "$(md5sum <data)"
	"$PODVM" exec p cat /tmp/data >back
	cmp data back
	"$PODVM" exec -i p cat <data | cmp - data
	# a reader that goes away ends the writer as on any pipe
	local code=0
	"$PODVM" exec p sh -c 'yes; echo $? >/tmp/yes' | head -1 >out || code=$?
	equal "$(cat out)" y
	wait_for 30 "$PODVM" exec p test -s /tmp/yes
	over p
}

test_exec_user_env_workdir() {
	sleeper p
	FROM_HERE=blue run 0 "$PODVM" exec -e A=1 -e FROM_HERE -e NOT_SET -e COLOR=green p sh -c 'echo $A $FROM_HERE ${NOT_SET-none} $COLOR'
	equal "$(cat out)" "1 blue none green"
	run 0 "$PODVM" exec p sh -c 'echo $COLOR $HOSTNAME $HOME; id -u; pwd'
	equal "$(cat out)" "red p /root
0
/"
	run 0 "$PODVM" exec p/b sh -c 'id -un; pwd; echo ${COLOR-none} $USER'
	equal "$(cat out)" "guest
/srv
none guest"
	run 0 "$PODVM" exec -u 1000:50 -w /tmp p sh -c 'id -u; id -g; pwd'
	equal "$(cat out)" "1000
50
/tmp"
	run 0 "$PODVM" exec -u root p/b id -u
	equal "$(cat out)" 0
	over p
}

# What confines a container confines what is run in it later.
test_exec_is_confined() {
	sh_pod p 'exec sleep 1000' '"podvm": { "capDrop": ["ALL"], "capAdd": ["CHOWN"], "pids": 20, "noNewPrivileges": true }'
	live p
	local status='awk "/^Cap|^NoNewPrivs/ { printf \"%s \", \$2 }" /proc/self/status; cat /proc/self/oom_score_adj'
	run 0 "$PODVM" exec p sh -c "$status; cat /sys/fs/cgroup/pids.max; cat /proc/self/cgroup; ulimit -n"
	equal "$(paste -sd' ' out)" \
		"0000000000000000 0000000000000001 0000000000000001 0000000000000001 0000000000000000 1 0 20 0::/ 1024"
	# it sees the container's processes and no others, and is one of them
	run 0 "$PODVM" exec p sh -c 'cat /proc/1/comm; cat /proc/2/comm; ls -d /proc/[0-9]* | wc -l'
	equal "$(sed -n 1,2p out | paste -sd' ')" "podvm-init sleep"
	[ "$(sed -n 3p out)" -le 5 ]
	over p
}

test_exec_terminal() {
	sleeper p
	cat >session.py <<'PY'
import fcntl, os, pty, select, signal, struct, sys, termios, time
pid, fd = pty.fork()
if not pid:
    os.execv(sys.argv[1], [sys.argv[1], "exec", "-it", "p", "sh"])
def size(rows, cols):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))
seen = b""
def expect(text):
    global seen
    end = time.time() + 60
    while text not in seen:
        if time.time() > end or not select.select([fd], [], [], 60)[0]:
            sys.exit("never saw %r in %r" % (text, seen))
        seen += os.read(fd, 4096)
    seen = seen[seen.index(text) + len(text):]
size(33, 101)
expect(b"# ")
os.write(fd, b"stty size; tty\r")
expect(b"33 101")
expect(b"/dev/pts/")
size(44, 99)
time.sleep(1)
os.write(fd, b"stty size\r")
expect(b"44 99")
# ^C ends the program, not the shell
os.write(fd, b"sleep 100\r")
time.sleep(1)
os.write(fd, b"\x03")
os.write(fd, b"echo al''ive\r")
expect(b"alive")
os.write(fd, b"exit 9\r")
status = os.waitpid(pid, 0)[1]
sys.exit(0 if os.waitstatus_to_exitcode(status) == 9 else "exit status %d" % status)
PY
	timeout 120 python3 session.py "$PODVM" || fail "see above"
	run 125 "$PODVM" exec -it p sh </dev/null
	one_line "standard input is no terminal"
	# a terminal without input is fine
	run 0 "$PODVM" exec -t p tty
	grep -q '^/dev/pts/' out
	over p
}

test_exec_signals() {
	sleeper p
	"$PODVM" exec p sh -c 'trap "echo usr1" USR1; trap "exit 5" TERM; echo up; while :; do sleep 0.1; done' >out 2>err &
	local client=$! code=0
	wait_for 60 grep -q up out
	kill -USR1 $client
	wait_for 60 grep -q usr1 out
	kill -TERM $client
	wait $client || code=$?
	equal $code 5
	over p
}

# kill -9 of the client: the process in the pod is hung up on.
test_exec_client_is_killed() {
	sleeper p
	"$PODVM" exec p sh -c 'echo $$ >/tmp/pid; exec sleep 500' &
	local client=$!
	wait_for 60 "$PODVM" exec p test -s /tmp/pid
	kill -9 $client
	wait_for 60 sh -c "! '$PODVM' exec p sh -c 'kill -0 \$(cat /tmp/pid)'"
	# and one that ignores it is killed
	"$PODVM" exec p sh -c 'trap "" HUP; echo $$ >/tmp/pid2; while :; do sleep 1; done' &
	client=$!
	wait_for 60 "$PODVM" exec p test -s /tmp/pid2
	kill -9 $client
	wait_for 60 sh -c "! '$PODVM' exec p sh -c 'kill -0 \$(cat /tmp/pid2)'"
	over p
}

# kill -9 of the pod's podvm: clients hear of it, the pod is shown as crashed, and its name can be had again.
test_podvm_is_killed() {
	sleeper p
	"$PODVM" exec p sleep 500 >out 2>err &
	local client=$! code=0
	wait_for 60 sh -c "'$PODVM' exec p ps | grep -q 'sleep 500'"
	kill -9 "$pod"
	wait $client || code=$?
	equal $code 125
	one_line "the pod p has ended"
	wait "$pod" 2>/dev/null || true
	has_phase p crashed
	run 125 "$PODVM" exec p true
	one_line "the pod p does not run any more"
	sleeper p
	run 0 "$PODVM" exec p true
	over p
	equal "$("$PODVM" ps -q)" ""
}

test_exec_ends_with_its_container() {
	pod p '{ "name": "a", "image": "ROOT", "command": ["sleep", "1000"] },
		{ "name": "b", "image": "ROOT", "command": ["sh", "-c", "while [ ! -e /tmp/go ]; do sleep 0.1; done; exit 4"] }'
	live p
	"$PODVM" exec p/b sh -c 'echo in b; sleep 1000' >out 2>err &
	local client=$! code=0
	wait_for 60 grep -q 'in b' out
	"$PODVM" exec p/b touch /tmp/go
	wait $client || code=$?
	equal $code 137
	run 125 "$PODVM" exec p/b true
	one_line "container b has ended"
	run 0 "$PODVM" exec p/a true
	over p
}

test_names() {
	pod p '{ "image": "ROOT", "command": ["sleep", "1000"] }'
	"$PODVM" p.json >/dev/null 2>&1 &
	local first=$!
	trap 'kill -9 $(jobs -p) 2>/dev/null || true' EXIT
	wait_for 120 has_phase p running
	"$PODVM" p.json >/dev/null 2>&1 &
	wait_for 120 sh -c "[ \$('$PODVM' ps -q | wc -l) = 2 ]"
	"$PODVM" ps -q | grep -qxE 'p-[a-z0-9]{4,}' || fail "$("$PODVM" ps -q)"
	run 125 "$PODVM" run --name p p.json
	one_line 'p' 'runs already'
	run 125 "$PODVM" run --name ../p p.json
	one_line "--name ../p"
	wait_for 120 sh -c "! '$PODVM' ps --json | grep -q starting"
	# shellcheck disable=SC2046 # one word each
	"$PODVM" stop -t 0 $("$PODVM" ps -q)
	wait $first || true
	equal "$("$PODVM" ps -q)" ""
}

test_ps_and_stats() {
	sleeper p
	"$PODVM" exec -u root p/b dd if=/dev/zero of=/tmp/x bs=1M count=8 2>/dev/null
	"$PODVM" list >table
	grep -Eq '^p +running [0-9]+ s +[0-9]+  a, b$' table || fail "$(cat table)"
	"$PODVM" stats --json p >stats.json
	"$PODVM" ps --json >ps.json
	python3 - <<'PY'
import json
pod, = json.load(open("ps.json"))
assert pod["name"] == "p" and pod["phase"] == "running" and pod["pid"] > 1, pod
assert [c["state"] for c in pod["containers"]] == ["running", "running"], pod
one, = json.load(open("stats.json"))
assert one["name"] == "p" and one["hostResidentBytes"] > 8 << 20, one
s = one["stats"]
assert s["uptimeNs"] > 0 and s["cpuUserNs"] + s["cpuSystemNs"] > 0 and s["vcpus"] == 1, s
assert 40 << 20 < s["memoryTotalBytes"] < 64 << 20 and 0 < s["memoryAvailableBytes"] < s["memoryTotalBytes"], s
assert s["processes"] >= 4, s
a, b = s["containers"]
assert (a["name"], b["name"]) == ("a", "b") and a["state"] == b["state"] == "running", s
assert b["memoryBytes"] > 8 << 20 > a["memoryBytes"] > 0 and b["memoryPeakBytes"] >= b["memoryBytes"], s
assert a["memoryLimitBytes"] is None and a["pidsLimit"] == 128 and a["pids"] >= 2, s
assert a["cpuNs"] > 0 and a["restarts"] == 0 and a["oomKills"] == 0, s
PY
	"$PODVM" stats --no-stream >table
	grep -Eq '^p/b .* 1?[0-9]\.[0-9]MB / - ' table || fail "$(cat table)"
	equal "$(wc -l <table)" 4
	run 125 "$PODVM" stats nobody
	one_line "no pod nobody runs here"
	over p
}

test_stats_of_a_container_that_starts_again() {
	sh_pod p 'sleep 0.1; exit 1' '"name": "again", "restartPolicy": "onFailure"'
	live p
	wait_for 60 sh -c "'$PODVM' stats --json p | grep -Eq '\"restarts\":[2-9]'"
	wait_for 60 sh -c "'$PODVM' stats --json p | grep -q '\"state\":\"waiting\"'"
	run 125 "$PODVM" exec p true
	one_line "again" "not running"
	over p 1
}

# A pod that is paused stands still; afterwards it goes on, and knows how late it is.
test_pause() {
	sh_pod p 'while :; do date +%s >>/beat; sleep 0.2; done'
	live p
	wait_for 60 "$PODVM" exec p test -s /beat
	"$PODVM" pause p
	has_phase p paused
	run 125 "$PODVM" pause p
	one_line "p is paused already"
	run 125 "$PODVM" exec p true
	one_line "paused" "podvm unpause"
	run 125 "$PODVM" stats p
	one_line "paused"
	sleep 5
	"$PODVM" unpause p
	has_phase p running
	run 125 "$PODVM" unpause p
	one_line "p is running already"
	# a gap of at least four seconds, and the clock is the host's
	"$PODVM" exec p awk 'NR > 1 && $1 - last > most { most = $1 - last } { last = $1 } END { exit most < 4 }' /beat ||
		fail "$("$PODVM" exec p cat /beat)"
	local skew
	skew=$(($("$PODVM" exec p date +%s) - $(date +%s)))
	[ ${skew#-} -le 2 ] || fail "$skew s apart"
	for _ in 1 2 3 4 5 6 7 8; do
		"$PODVM" pause p
		"$PODVM" unpause p
	done
	run 0 "$PODVM" exec p true
	# stopping ends a pause
	"$PODVM" pause p
	over p
}

# The host's clock is set while a pod runs: the pod's follows.
test_clock_follows() {
	[ "$(id -u)" = 0 ] || skip "only root sets the clock"
	sleeper p
	local skew
	date -s "+1 hour" >/dev/null || skip "the clock can not be set here"
	skew_now() { echo $(($("$PODVM" exec p date +%s) - $(date +%s))); }
	wait_for 30 sh -c "s=\$((\$('$PODVM' exec p date +%s) - \$(date +%s))); [ \${s#-} -le 2 ]"
	date -s "-1 hour" >/dev/null
	wait_for 30 sh -c "s=\$((\$('$PODVM' exec p date +%s) - \$(date +%s))); [ \${s#-} -le 2 ]"
	over p
}

test_stop_and_kill() {
	sh_pod p 'trap "echo stopping; exit 6" TERM; trap "echo hup" HUP; echo up; while :; do sleep 0.1; done' '"name": "c"'
	live p
	wait_for 60 grep -q up pod.out
	"$PODVM" kill -s HUP p/c
	wait_for 60 grep -q hup pod.out
	"$PODVM" kill -s SIGSTOP p
	"$PODVM" kill -s CONT p
	"$PODVM" exec p true
	over p 6
	grep -q stopping pod.out
	sh_pod p 'trap "" TERM; echo up; while :; do sleep 0.1; done'
	live p
	wait_for 60 grep -q up pod.out
	"$PODVM" kill p
	local code=0
	wait "$pod" || code=$?
	equal $code 137
	run 125 "$PODVM" kill -s NOSIG p
	one_line "NOSIG"
	run 125 "$PODVM" stop -t x p
	one_line "-t x"
}

# SIGSTOP holds all of a container by the freezer: its processes stand still, killing still works.
test_freezer() {
	sh_pod p 'while :; do date +%s%N >/beat; sleep 0.05; done' '"name": "c"'
	live p
	wait_for 60 "$PODVM" exec p test -s /beat
	"$PODVM" kill -s STOP p/c
	sleep 3
	"$PODVM" kill -s CONT p/c
	wait_for 60 "$PODVM" exec p true
	"$PODVM" kill -s STOP p/c
	"$PODVM" kill p
	local code=0
	wait "$pod" || code=$?
	equal $code 137
}

# Only this user's commands are heard.
test_control_socket_is_private() {
	[ "$(id -u)" = 0 ] || skip "only root can be another user as well"
	sleeper p
	equal "$(stat -c %a /run/podvm) $(stat -c %a /run/podvm/p) $(stat -c %a /run/podvm/p/control)" "700 700 600"
	chmod 755 /run/podvm /run/podvm/p
	chmod 666 /run/podvm/p/control
	cat >ask.py <<'PY'
import os, socket, sys
os.setuid(1000)
s = socket.socket(socket.AF_UNIX)
s.settimeout(30)
s.connect("/run/podvm/p/control")
try:
    s.sendall(b'{"do":"status"}\n')
    sys.exit("heard" if s.recv(100) else 0)
except (BrokenPipeError, ConnectionResetError):
    pass
PY
	python3 ask.py
	chmod 700 /run/podvm
	# rubbish from a user that is allowed is answered or hung up on, and the pod goes on
	python3 - <<'PY'
import socket
def talk(data):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(30)
    s.connect("/run/podvm/p/control")
    try:
        s.sendall(data)
        s.shutdown(socket.SHUT_WR)
        return s.recv(65536)
    except (BrokenPipeError, ConnectionResetError):
        return b""
assert b"does not know" in talk(b'{"do":"dance"}\n')
assert b"error" in talk(b'{"do":"exec"}\n')
assert b"error" in talk(b'{"do":"kill","signal":-1}\n')
assert b"error" in talk(b'not json\n')
assert b"error" in talk(b'[1]\n')
talk(b'x' * 3000000)
assert b"phase" in talk(b'{"do":"status"}\n' * 50)
PY
	run 0 "$PODVM" exec p true
	over p
}

# A state directory that can not be made costs one line, the pod runs; a name that was asked for is refused then.
test_without_state_directory() {
	[ "$(id -u)" = 0 ] || skip "needs another user"
	mkdir -m 700 state && chown 1000 state
	mv /run/podvm /run/podvm.away 2>/dev/null || true
	ln -s "$PWD/state" /run/podvm
	sh_pod p 'echo ran'
	run 0 "$PODVM" p.json
	equal "$(cat out)" ran
	one_line "/run/podvm" "other commands will not find this pod"
	run 125 "$PODVM" run --name p p.json
	one_line "/run/podvm"
	rm /run/podvm
	mv /run/podvm.away /run/podvm 2>/dev/null || true
}

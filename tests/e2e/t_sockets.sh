# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Unix sockets of the host joined to vsock ports of the pod.

sockets() { # 'PORT PATH DIRECTION'...: the pod's key
	local one list=
	for one in "$@"; do
		# shellcheck disable=SC2086 # three words
		set -- $one
		list="$list${list:+, }{ \"port\": $1, \"path\": \"$2\", \"direction\": \"$3\" }"
	done
	echo "\"podvm\": { \"sockets\": [$list] }"
}

unix_talk() { # PATH: stdin to the socket, its answer to stdout
	cat >unix.py <<'PY'
import socket, sys, threading
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
def feed():
    s.sendall(sys.stdin.buffer.read())
    s.shutdown(socket.SHUT_WR)
threading.Thread(target=feed).start()
while True:
    b = s.recv(65536)
    if not b:
        break
    sys.stdout.buffer.write(b)
PY
	python3 unix.py "$1"
}

unix_echo() { # PATH: a server of the host, its connections one after the other
	cat >echo.py <<'PY'
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
s.listen(5)
while True:
    c, _ = s.accept()
    while True:
        b = c.recv(65536)
        if not b:
            break
        c.sendall(b)
    c.close()
PY
	python3 echo.py "$1" &
	wait_for 60 test -S "$1"
}

test_socket_out() {
	unix_echo db.sock
	local server=$!
	sh_pod p 'echo question | vsock_echo connect 1024; head -c 3000000 /dev/urandom >/tmp/x; vsock_echo connect 1024 </tmp/x | cmp - /tmp/x && echo same' \
		'' "$(sockets '1024 ./db.sock out')"
	run 0 "$PODVM" p.json
	kill $server
	equal "$(cat out)" "question
same"
	equal "$(cat err)" ""
}

test_socket_out_reaches_only_what_is_named() {
	unix_echo db.sock
	local server=$!
	sh_pod p 'for port in 1025 1 3 4294967294; do echo x | timeout 20 vsock_echo connect $port && echo reached $port; done; true' \
		'' "$(sockets '1024 ./db.sock out' '1026 ./none.sock out')"
	run 0 "$PODVM" p.json
	kill $server
	equal "$(cat out)" ""
}

test_socket_in() {
	sh_pod p 'exec vsock_echo listen 2000' '' "$(sockets '2000 ./in.sock in')"
	"$PODVM" p.json >out 2>err &
	local pid=$!
	wait_for 120 grep -q up out
	equal "$(stat -c '%F %a' in.sock)" "socket 600"
	equal "$(echo hello | unix_talk in.sock)" hello
	head -c 3000000 /dev/urandom >big
	unix_talk in.sock <big >back
	cmp big back
	kill $pid
	wait $pid || true
	[ ! -e in.sock ] || fail "the socket is still there"
}

test_socket_in_use() {
	unix_echo in.sock
	local server=$!
	sh_pod p 'true' '' "$(sockets '2000 ./in.sock in')"
	run 125 "$PODVM" p.json
	one_line 'podvm.sockets[0].path' 'in.sock' 'another program listens'
	kill -9 $server
	wait $server || true
	[ -S in.sock ]
	run 0 "$PODVM" p.json # its owner is dead
	[ ! -e in.sock ]
	echo precious >in.sock
	run 125 "$PODVM" p.json
	one_line 'no socket'
	equal "$(cat in.sock)" precious
}

test_socket_ports_of_podvm_are_refused() {
	sh_pod p 'true' '' "$(sockets '1 ./db.sock out')"
	run 125 "$PODVM" p.json
	one_line 'p.json:' 'podvm.sockets[0].port: 1 is not a vsock port from 1024'
}

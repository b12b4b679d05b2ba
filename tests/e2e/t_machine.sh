# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# The machine is what the pod file asks for: CPUs, memory, network, volumes.

test_two_vcpus() {
	VCPU=2 sh_pod p 'nproc; grep -c ^processor /proc/cpuinfo'
	run 0 "$PODVM" p.json
	equal "$(cat out)" "2
2"
}

test_two_vcpus_both_work() {
	VCPU=2 sh_pod p 'for i in 0 1; do (taskset $((1 << i)) sh -c "grep ^Cpus_allowed_list /proc/self/status") & done; wait'
	run 0 "$PODVM" p.json
	equal "$(sort out | cut -f2 | paste -sd,)" "0,1"
}

test_memory_is_what_was_asked() {
	local mb
	for mb in 64 512; do
		MEMORY=$mb sh_pod p 'free -m | awk "/^Mem/ { print \$2 }"'
		run 0 "$PODVM" p.json
		# the kernel's own text, data and page table are not in free's total
		[ "$(cat out)" -le "$mb" ] && [ "$(cat out)" -ge $((mb - 24)) ] || fail "$mb MB gave $(cat out)"
	done
}

test_memory_above_4_gib() {
	MEMORY=4096 sh_pod p 'free -m | awk "/^Mem/ { print \$2 }"'
	run 0 "$PODVM" p.json
	[ "$(cat out)" -ge 3950 ] || fail "$(cat out)"
}

test_smallest_memory_runs() {
	MEMORY=24 sh_pod p 'echo small'
	run 0 "$PODVM" p.json
	equal "$(cat out)" small
}

test_clock_is_right() {
	sh_pod p 'date +%s'
	run 0 "$PODVM" p.json
	local now
	now=$(date +%s)
	[ $((now - $(cat out))) -le 60 ] && [ "$(cat out)" -le $((now + 1)) ] || fail "guest $(cat out), host $now"
}

test_random_differs() {
	sh_pod p 'head -c 16 /dev/urandom | xxd -p'
	run 0 "$PODVM" p.json
	mv out first
	run 0 "$PODVM" p.json
	[ "$(cat first)" != "$(cat out)" ] || fail "the same random bytes twice"
}

test_hostname_is_id() {
	sh_pod some-pod 'hostname'
	run 0 "$PODVM" some-pod.json
	equal "$(cat out)" some-pod
}

test_root_is_writable_but_not_the_hosts() {
	cp -r "$ROOT" root
	pod p '{ "image": "./root", "command": ["sh", "-c", "echo x >/etc/new && rm /etc/passwd && cat /etc/new && ls /etc/passwd"] }'
	run 1 "$PODVM" p.json
	equal "$(cat out)" x
	[ -f root/etc/passwd ]
	[ ! -e root/etc/new ]
}

test_read_only_root() {
	sh_pod p 'touch /etc/new' '"readOnly": true'
	run 1 "$PODVM" p.json
	grep -q 'Read-only' err
}

test_volume_written_back() {
	mkdir data
	echo from-host >data/in
	sh_pod p 'cat /data/in; echo from-pod >/data/out; mkdir /data/d; ln -s in /data/link; mv /data/d /data/e' \
		'"volumes": [{ "volume": "data", "path": "/data" }]' \
		'"volumes": [{ "name": "data", "source": "./data", "format": "vfs" }]'
	run 0 "$PODVM" p.json
	equal "$(cat out)" from-host
	equal "$(cat data/out)" from-pod
	equal "$(readlink data/link)" in
	[ -d data/e ]
}

test_volume_read_only() {
	mkdir data
	sh_pod p 'touch /data/x' '"volumes": [{ "volume": "data", "path": "/data", "readOnly": true }]' \
		'"volumes": [{ "name": "data", "source": "./data", "format": "vfs" }]'
	run 1 "$PODVM" p.json
	[ ! -e data/x ]
}

test_volume_single_file() {
	echo content >one.txt
	sh_pod p 'cat /etc/one.txt' '"volumes": [{ "volume": "f", "path": "/etc/one.txt" }]' \
		'"volumes": [{ "name": "f", "source": "./one.txt", "format": "vfs" }]'
	run 0 "$PODVM" p.json
	equal "$(cat out)" content
}

test_volume_private_is_shared_by_containers() {
	local vols='"volumes": [{ "volume": "v", "path": "/v" }]'
	pod p "{ \"name\": \"a\", \"image\": \"ROOT\", \"command\": [\"sh\", \"-c\", \"echo seen >/v/x\"], $vols },
		{ \"name\": \"b\", \"image\": \"ROOT\", \"command\": [\"sh\", \"-c\", \"until cat /v/x 2>/dev/null; do sleep 0.05; done\"], $vols }" \
		'"volumes": [{ "name": "v", "source": "", "format": "" }]'
	run 0 "$PODVM" p.json
	equal "$(cat out)" seen
}

test_containers_share_localhost() {
	pod p '{ "name": "server", "image": "ROOT", "command": ["sh", "-c", "echo over-localhost | nc -l -p 7000"] },
		{ "name": "client", "image": "ROOT", "command": ["sh", "-c", "until nc 127.0.0.1 7000 </dev/null | grep .; do sleep 0.05; done"] }'
	run 0 "$PODVM" p.json
	equal "$(cat out)" over-localhost
}

test_containers_have_own_processes_and_files() {
	pod p '{ "name": "a", "image": "ROOT", "command": ["sh", "-c", "touch /tmp/a; sleep 1; ls /tmp; ps | grep -c sleep-b"] },
		{ "name": "b", "image": "ROOT", "command": ["sh", "-c", "touch /tmp/b; sleep 1 sleep-b 2>/dev/null; true"] }'
	timeout 180 "$PODVM" p.json >out 2>err || true
	equal "$(grep -c '^[ab]$' out)" 1
}

test_outbound_tcp() {
	far_address
	mkdir www
	echo from-outside >www/page
	python3 -m http.server -d www -b 192.0.2.1 8765 >/dev/null 2>&1 &
	local server=$!
	sh_pod p 'wget -q -O - http://192.0.2.1:8765/page'
	wait_for 90 curl -sf -m 5 -o /dev/null http://192.0.2.1:8765/page
	run 0 "$PODVM" p.json
	kill $server
	equal "$(cat out)" from-outside
}

test_outbound_tcp_bulk() {
	far_address
	mkdir www
	head -c 8000000 /dev/urandom >www/big
	python3 -m http.server -d www -b 192.0.2.1 8766 >/dev/null 2>&1 &
	local server=$!
	sh_pod p 'wget -q -O - http://192.0.2.1:8766/big | sha256sum'
	wait_for 90 curl -sf -m 5 -o /dev/null http://192.0.2.1:8766/
	run 0 "$PODVM" p.json
	kill $server
	equal "$(cut -d' ' -f1 out)" "$(sha256sum www/big | cut -d' ' -f1)"
}

test_dns() {
	far_address
	dns_server
	local server=$!
	cp /etc/resolv.conf resolv.old 2>/dev/null || :>resolv.old
	echo "nameserver 192.0.2.1" >/etc/resolv.conf || skip "/etc/resolv.conf is not writable"
	sh_pod p 'nslookup some.example.org'
	local code=0
	timeout 180 "$PODVM" p.json >out 2>err || code=$?
	cat resolv.old >/etc/resolv.conf
	kill $server
	equal $code 0
	grep -q 192.0.2.77 out
}

test_outbound_udp() {
	far_address
	dns_server
	local server=$!
	sh_pod p 'nslookup direct.example.org 192.0.2.1'
	run 0 "$PODVM" p.json
	kill $server
	grep -q 192.0.2.77 out
}

test_icmp_echo_to_gateway() {
	sh_pod p 'ping -c 1 -W 5 10.0.2.2'
	run 0 "$PODVM" p.json
}

test_icmp_echo_outside() {
	far_address
	echo "0 2147483647" >/proc/sys/net/ipv4/ping_group_range 2>/dev/null || skip "ping_group_range can not be set"
	sh_pod p 'ping -c 1 -W 5 192.0.2.1'
	run 0 "$PODVM" p.json
}

test_host_loopback_is_closed() {
	mkdir www
	echo secret >www/page
	python3 -m http.server -d www -b 127.0.0.1 8767 >/dev/null 2>&1 &
	local server=$!
	wait_for 90 curl -sf -m 5 -o /dev/null http://127.0.0.1:8767/page
	sh_pod p 'for host in 10.0.2.2 127.0.0.1; do
		printf "GET /page HTTP/1.0\r\n\r\n" | nc -w 20 $host 8767; echo $?
	done'
	run 0 "$PODVM" p.json
	kill $server
	equal "$(cat out)" "1
1"
}

test_published_port() {
	pod p '{ "image": "ROOT", "command": ["sh", "-c", "mkdir /www; echo published >/www/page; exec httpd -f -p 80 -h /www"] }' \
		'"portmappings": [{ "containerPort": "80", "hostPort": "18080", "protocol": "tcp" }]'
	"$PODVM" p.json >out 2>err &
	local pid=$!
	wait_for 120 sh -c 'curl -sf -m 3 http://127.0.0.1:18080/page | grep -q published'
	kill $pid
	wait $pid || true
}

test_published_port_ephemeral() {
	pod p '{ "image": "ROOT", "command": ["sh", "-c", "mkdir /www; echo published >/www/page; exec httpd -f -p 80 -h /www"] }' \
		'"portmappings": [{ "containerPort": "80", "hostPort": "", "protocol": "tcp" }]'
	"$PODVM" p.json >out 2>err &
	local pid=$! where
	wait_for 120 grep -q 'published at' err
	where=$(sed -n 's/.*published at //p' err)
	wait_for 120 sh -c "curl -sf -m 3 http://$where/page | grep -q published"
	kill $pid
	wait $pid || true
}

test_published_udp_port() {
	sh_pod p 'exec udp_echo 53' '' \
		'"portmappings": [{ "containerPort": "53", "hostPort": "18053", "protocol": "udp" }]'
	"$PODVM" p.json >out 2>err &
	local pid=$!
	wait_for 120 grep -q up out
	cat >udp.py <<'PY'
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(2)
for i in range(10):
    s.sendto(b"ping", ("127.0.0.1", 18053))
    try:
        sys.exit(0 if s.recv(100) == b"ping" else 1)
    except OSError:
        pass
sys.exit(2)
PY
	python3 udp.py
	kill $pid
	wait $pid || true
}

test_files_placed() {
	sh_pod p 'cat /etc/motd /opt/x/data; stat -c "%a %u %g" /etc/motd' \
		'"files": [{ "filename": "motd", "path": "/etc/", "perm": "0640", "user": "1000", "group": "50" },
			{ "filename": "data", "path": "/opt/x/data" }]' \
		'"files": [{ "name": "motd", "encoding": "raw", "content": "hi\n" }, { "name": "data", "encoding": "base64", "content": "YmFzZTY0Cg==" }]'
	run 0 "$PODVM" p.json
	equal "$(cat out)" "hi
base64
640 1000 50"
}

test_env_user_workdir() {
	sh_pod p 'echo $GREETING; id -u; id -g; pwd; echo $HOME' \
		'"envs": [{ "env": "GREETING", "value": "good day" }], "user": { "name": "guest" }, "workdir": "/var"'
	run 0 "$PODVM" p.json
	equal "$(cat out)" "good day
1000
1000
/var
/home"
}

test_example_of_the_readme() {
	local top
	top=$(cd "$BUILD/.." && pwd)
	"$top/scripts/run-example" --inside "$PODVM" "$top/pod.json.example" >out 2>err
	grep -q 'front: I run in pod hello' out
	grep -q 'back: hello from a container' out
}

# Private memory of a process in MB: what its pod holds of the host's.
private_mb() {
	awk '/^Private/ { kb += $2 } END { print int(kb / 1024) }' "/proc/$1/smaps_rollup"
}

private_below() { # PID MB
	[ "$(private_mb "$1")" -lt "$2" ]
}

test_freed_memory_goes_back() {
	MEMORY=512 sh_pod p 'mount -t tmpfs none /tmp 2>/dev/null; head -c 200000000 /dev/zero | tr "\0" x >/tmp/big; echo full; sleep 1; rm /tmp/big; echo empty; sleep 100'
	"$PODVM" p.json >out 2>err &
	local pid=$! full
	wait_for 120 grep -q empty out
	full=$(private_mb $pid)
	[ "$full" -gt 190 ] || fail "only $full MB in use with 200 MB written"
	wait_for 60 private_below $pid $((full - 150))
	echo "$full MB, then $(private_mb $pid) MB"
	kill $pid
	wait $pid || true
}

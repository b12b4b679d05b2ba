# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# What a pod file says comes true: hyper's own acceptance list, and the rules of its format one by one.

test_pod_file_hostname() {
	local long=a123456789-123456789-123456789-123456789-123456789-123456789-xyz
	sh_pod p 'hostname; cat /etc/hostname; grep -c "	db.example$" /etc/hosts' '' '"hostname": "db.example"'
	run 0 "$PODVM" p.json
	equal "$(paste -sd, out)" "db.example,db.example,1"
	sh_pod "$long" 'hostname'
	run 0 "$PODVM" "$long.json"
	equal "$(cat out)" "${long:0:63}"
}

# Raw, base64, an owner, a mode of no rights, a path that ends in a slash, missing directories, a volume as the place.
test_pod_file_inserts_files() {
	mkdir data
	sh_pod p 'cat /new/deep/plain /etc/encoded; stat -c "%a %u %g %n" /new/deep/plain /etc/encoded /data/bare /srv/; cat /data/bare | wc -c' \
		'"files": [{ "path": "/new/deep/plain", "filename": "plain", "perm": "0640" },
		{ "path": "/etc/", "filename": "encoded", "perm": "0000", "user": 1000, "group": "50" },
		{ "path": "/data/bare", "filename": "bare" }, { "path": "/srv/x", "filename": "plain", "perm": "0" }],
		"volumes": [{ "volume": "data", "path": "/data" }]' \
		'"files": [{ "name": "plain", "content": "one line\n" }, { "name": "bare" },
		{ "name": "encoded", "encoding": "base64", "content": "cG9kdm0gcHV0IHRoaXMgaGVyZQo=" }],
		"volumes": [{ "name": "data", "source": "./data" }]'
	run 0 "$PODVM" p.json
	equal "$(cat out)" "one line
podvm put this here
640 0 0 /new/deep/plain
0 1000 50 /etc/encoded
755 0 0 /data/bare
755 0 0 /srv/
0"
	[ -f data/bare ] || fail "the file is not in the volume"
}

test_pod_file_refuses_broken_base64() {
	sh_pod p true '"files": [{ "path": "/x", "filename": "broken" }]' \
		'"files": [{ "name": "broken", "encoding": "base64", "content": "this is no base64!" }]'
	run 125 "$PODVM" p.json
	one_line 'files[0].content: "this is no base64!" is not base64'
}

# One volume in two containers, each with a path and rights of its own; and one file of the host.
test_pod_file_shares_volumes() {
	mkdir data
	echo single >file
	pod p '{ "image": "ROOT", "command": ["sh", "-c", "echo from-first >/a/f; until [ -e /priv/done ]; do sleep 0.1; done; cat /one"],
		"volumes": [{ "volume": "data", "path": "/a" }, { "volume": "priv", "path": "/priv", "readOnly": true }, { "volume": "one", "path": "/one", "readOnly": true }] },
		{ "image": "ROOT", "command": ["sh", "-c", "until [ -e /b/f ]; do sleep 0.1; done; cat /b/f; echo x >/b/g || echo read-only; echo changed >/etc/one; touch /p/done"],
		"volumes": [{ "volume": "data", "path": "/b", "readOnly": true }, { "volume": "priv", "path": "/p" }, { "volume": "one", "path": "/etc/one" }] }' \
		'"volumes": [{ "name": "data", "source": "./data", "format": "vfs" }, { "name": "priv" }, { "name": "one", "source": "./file" }]'
	run 0 "$PODVM" p.json
	equal "$(cat out)" "from-first
read-only
changed"
	equal "$(cat file)" changed
	[ ! -e data/g ] || fail "written through the read-only place"
}

test_pod_file_read_only_root_with_a_volume() {
	mkdir data
	sh_pod p 'echo x >/x || echo root is read-only; echo x >/data/x; pwd; cat /etc/put' \
		'"readOnly": true, "workdir": "/made/for/me", "volumes": [{ "volume": "data", "path": "/data" }],
		"files": [{ "path": "/etc/put", "filename": "f" }]' \
		'"volumes": [{ "name": "data", "source": "./data" }], "files": [{ "name": "f", "content": "put" }]'
	run 0 "$PODVM" p.json
	equal "$(cat out)" "root is read-only
/made/for/me
put"
	equal "$(cat data/x)" x
}

# What podvm has no use for is told and changes nothing.
test_pod_file_warns_of_what_it_ignores() {
	sh_pod p 'echo ran' '"logPath": "/var/log/x", "cache": "none"' \
		'"services": [{ "serviceIP": "10.0.0.1", "servicePort": 80, "protocol": "TCP", "hosts": [] }],
		"log": { "type": "syslog" }, "type": "kubernetes"'
	run 0 "$PODVM" p.json
	equal "$(cat out)" ran
	for key in services log type 'containers[0].logPath' 'containers[0].cache'; do
		grep -qF " $key: " err || fail "no word of $key: $(cat err)"
	done
	equal "$(grep -c 'warning: ' err)" 5
	run 125 "$PODVM" run --strict p.json
}

test_pod_file_refuses_formats_it_has_not() {
	sh_pod p true '' '"volumes": [{ "name": "v", "source": "/v.qcow2", "format": "qcow2" }]'
	run 125 "$PODVM" p.json
	one_line 'volumes[0].format: "qcow2"' 'qemu-img convert'
	sh_pod p true '' '"volumes": [{ "name": "v", "source": "/v.img", "format": "vdi" }]'
	run 125 "$PODVM" p.json
	one_line 'volumes[0].format: "vdi"'
}

test_pod_file_users_and_groups() {
	local script='echo $(id -u) $(id -g) $(id -G) $HOME'
	sh_pod p "$script" '"user": { "name": "guest" }'
	run 0 "$PODVM" p.json
	equal "$(cat out)" "1000 1000 1000 50 /home"
	sh_pod p "$script" '"user": { "name": "guest", "group": "staff", "additionalGroups": ["daemon", 77, "78"] }'
	run 0 "$PODVM" p.json
	equal "$(cat out)" "1000 50 50 1 77 78 /home"
	sh_pod p "$script" '"user": { "name": "1000", "group": "13" }'
	run 0 "$PODVM" p.json
	equal "$(cat out)" "1000 13 13 /home"
	sh_pod p "$script" '"user": { "name": "4321" }'
	run 0 "$PODVM" p.json
	equal "$(cat out)" "4321 0 0 /"
	sh_pod p "$script" '"user": { "group": "daemon" }'
	run 0 "$PODVM" p.json
	equal "$(cat out)" "0 1 1 /root"
	sh_pod p true '"name": "who", "user": { "name": "nobody-knows" }'
	run 125 "$PODVM" p.json
	one_line "container who: no user or group 'nobody-knows'"
	sh_pod p true '"name": "who", "user": { "additionalGroups": ["no-such-group"] }'
	run 125 "$PODVM" p.json
	one_line "container who: no user or group 'no-such-group'"
}

test_pod_file_resolv_conf_and_hosts() {
	sh_pod p 'cat /etc/resolv.conf; grep -c localhost /etc/hosts'
	run 0 "$PODVM" p.json
	equal "$(paste -sd, out)" "nameserver 10.0.2.3,2"
	sh_pod p 'cat /etc/resolv.conf' '' '"dns": ["192.0.2.53", "2001:db8::53"], "dnsSearch": ["a.example", "b.example"], "dnsOptions": ["ndots:2", "rotate"]'
	run 0 "$PODVM" p.json
	equal "$(cat out)" "nameserver 192.0.2.53
nameserver 2001:db8::53
search a.example b.example
options ndots:2 rotate"
	mkdir etc
	echo "from the volume" >resolv
	echo "whole" >etc/hosts
	pod p '{ "image": "ROOT", "command": ["sh", "-c", "cat /etc/resolv.conf /etc/hosts"],
		"volumes": [{ "volume": "resolv", "path": "/etc/resolv.conf" }], "files": [{ "path": "/etc/", "filename": "hosts" }] },
		{ "image": "ROOT", "command": ["sh", "-c", "sleep 2; cat /etc/hosts; ls /etc"], "volumes": [{ "volume": "etc", "path": "/etc" }] }' \
		'"volumes": [{ "name": "resolv", "source": "./resolv" }, { "name": "etc", "source": "./etc" }], "files": [{ "name": "hosts", "content": "from the file\n" }]'
	run 0 "$PODVM" p.json
	equal "$(cat out)" "from the volume
from the file
whole
hosts"
	equal "$(ls etc)" hosts
	equal "$(cat resolv)" "from the volume"
}

# Both dialects: keys in any case, numbers as text; the environment in order, the later of two lists of arguments.
test_pod_file_spelling() {
	printf '{ "ID": "p", "Resource": { "VCPU": "1", "memory": "64" }, "CONTAINERS": [
		{ "Image": "%s", "entryPoint": ["sh", "-c", "xargs -0 -n 1 </proc/$$/environ | grep ^K | paste -sd,; echo $0 $*; pwd"], "COMMAND": ["a", "b c"], "WorkDir": "/tmp",
		"ENVS": [{ "Env": "K2", "VALUE": "two" }, { "env": "K1", "value": "" }, { "env": "K3", "value": "x=y z" }] }] }\n' "$ROOT" >p.json
	run 0 "$PODVM" p.json
	[ ! -s err ] || fail "$(cat err)"
	equal "$(cat out)" "K2=two,K1=,K3=x=y z
a b c
/tmp"
}

test_pod_file_stop_signal() {
	sh_pod p 'trap "echo asked; exit 9" USR1; trap "echo wrong" TERM; echo up; while :; do sleep 0.1; done' '"StopSignal": "SIGUSR1"'
	"$PODVM" p.json >out 2>err &
	local pid=$! code=0
	wait_for 120 grep -q up out
	kill $pid
	wait $pid || code=$?
	equal "$(cat out)" "up
asked"
	equal $code 9
}

test_pod_file_restarts() {
	# shellcheck disable=SC2016 # the guest's
	local script='n=$(($(cat /count 2>/dev/null || echo 0) + 1)); echo $n >/count; echo $n; [ $n -ge 3 ] && exit 0; exit 5'
	sh_pod p "$script" '"restartPolicy": "onFailure"'
	run 0 "$PODVM" p.json
	equal "$(paste -sd, out)" 1,2,3
	sh_pod p "$script" '' '"restartPolicy": "ONFAILURE"'
	run 0 "$PODVM" p.json
	equal "$(paste -sd, out)" 1,2,3
	sh_pod p "$script" '"restartPolicy": "never"' '"restartPolicy": "onFailure"'
	run 5 "$PODVM" p.json
	equal "$(cat out)" 1
}

# Nothing that should be secret or unique is the same in two starts of the same file.
test_pod_file_started_twice_is_not_the_same() {
	sh_pod p 'cat /proc/sys/kernel/random/boot_id; head -c 32 /dev/urandom | md5sum; date +%s'
	local round began
	for round in 1 2; do
		began=$(date +%s)
		run 0 "$PODVM" p.json
		sed -n 1p out >"boot$round"
		sed -n 2p out >"random$round"
		[ "$(sed -n 3p out)" -ge $((began - 2)) ] && [ "$(sed -n 3p out)" -le $(($(date +%s) + 2)) ] ||
			fail "the pod's clock says $(sed -n 3p out); began at $began, now $(date +%s)"
	done
	! cmp -s boot1 boot2 || fail "the same boot id: $(cat boot1)"
	! cmp -s random1 random2 || fail "the same random numbers: $(cat random1)"
}

# From the host's files and from the web; a name with a blank, a uri that wins over content, a file of /proc.
test_pod_file_fetches_uris() {
	local web=''
	mkdir www
	printf 'from a file' >'of the host'
	head -c 1000000 /dev/urandom >www/page
	far_address
	far_web 8790
	sh_pod p 'cat /a; cat /b/page | sha256sum; stat -c "%a %u" /b/page; cat /c' \
		'"files": [{ "path": "/a", "filename": "a" }, { "path": "/b/", "filename": "page", "perm": "0600", "user": 1000 }, { "path": "/c", "filename": "c" }]' \
		"\"files\": [{ \"name\": \"a\", \"encoding\": \"base64\", \"uri\": \"file://$PWD/of%20the%20host\", \"content\": \"***\" },
		{ \"name\": \"page\", \"uri\": \"http://192.0.2.1:8790/page\" }, { \"name\": \"c\", \"uri\": \"file:///proc/sys/kernel/ostype\" }]"
	run 0 "$PODVM" p.json
	kill "$web"
	equal "$(cat out)" "from a file$(sha256sum <www/page)
600 1000
Linux"
}

test_pod_file_keeps_resolv_conf_when_told() {
	cp -r "$ROOT" root
	echo "of the image" >root/etc/resolv.conf
	sh_pod p 'cat /etc/resolv.conf; cat /host 2>/dev/null || true' '"files": [{ "path": "/host", "filename": "host" }]' \
		'"files": [{ "name": "host", "uri": "file:///etc/resolv.conf" }]'
	sed -i "s|\"image\": \"[^\"]*\"|\"image\": \"./root\"|" p.json
	echo "nameserver 192.0.2.99" >/etc/resolv.conf || skip "/etc/resolv.conf is not writable"
	run 0 "$PODVM" p.json
	equal "$(cat out)" "of the image
nameserver 192.0.2.99"
	sed -i 's|, "files": \[{ "path"[^]]*\]||' p.json
	run 0 "$PODVM" p.json
	equal "$(cat out | head -1)" "of the image"
}

# Who is not on the list is cut off at once, over TCP, and gets no answer over UDP.
test_pod_file_white_lists() {
	far_address
	far_address 192.0.2.2/32
	pod p '{ "image": "ROOT", "command": ["sh", "-c", "mkdir /www; echo page >/www/page; httpd -p 80 -h /www; echo up; exec udp_echo 7777"] }' \
		'"portmappings": [{ "containerPort": 80, "hostPort": 18401, "hostIP": "0.0.0.0" }, { "containerPort": 7777, "hostPort": 18402, "protocol": "udp", "hostIP": "0.0.0.0" }],
		"portmappingWhiteLists": { "internalNetworks": ["127.0.0.3"], "externalNetworks": ["127.0.0.8/29", "192.0.2.1/32"] }'
	"$PODVM" p.json >out 2>err &
	local pid=$! address code
	wait_for 120 grep -q up out
	for address in 127.0.0.9 127.0.0.3; do
		wait_for 60 sh -c "curl -sf -m 5 --interface $address http://127.0.0.1:18401/page | grep -q page"
	done
	for address in 127.0.0.1 127.0.0.16; do
		code=0
		curl -sf -m 20 --interface $address http://127.0.0.1:18401/page || code=$?
		[ $code = 52 ] || [ $code = 56 ] || fail "curl from $address ended with $code"
	done
	cat >udp.py <<'PY'
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(2)
s.bind((sys.argv[1], 0))
for i in range(int(sys.argv[2])):
    try:
        s.sendto(b"echo", ("192.0.2.1", 18402))
        print(s.recv(100).decode())
        sys.exit()
    except OSError:
        pass
print("nothing")
PY
	equal "$(python3 udp.py 192.0.2.1 15)" echo
	equal "$(python3 udp.py 192.0.2.2 2)" nothing
	kill $pid
	wait $pid || true
}

# Another address, name, MTU and card: the pod has it, and all of the network goes on working.
test_pod_file_interface() {
	far_address
	mkdir www
	echo from-outside >www/page
	far_web 8791
	far_web 8792
	sh_pod p 'ip -o -4 addr show dev net0 | awk "{ print \$4 }"; ip route | grep -c .; ip route | grep -o "default via [0-9.]*"
		cat /sys/class/net/net0/address /sys/class/net/net0/mtu /etc/resolv.conf; grep "	p$" /etc/hosts
		ping -c 1 -W 5 172.20.0.1 >/dev/null && echo gateway
		wget -q -O - http://192.0.2.1:8791/page; wget -q -O - http://192.0.2.1:8792/page 2>/dev/null || echo refused
		mkdir /www; echo page >/www/page; httpd -p 80 -h /www; echo up; sleep 600' '' \
		'"interfaces": [{ "ip": "172.20.7.9/16", "gateway": "172.20.0.1", "mac": "52:54:00:12:34:56", "mtu": 1500, "ifname": "net0" }],
		"portmappings": [{ "containerPort": 80, "hostPort": 18403 }],
		"podvm": { "network": { "egress": "allow", "allow": ["192.0.2.1:8791"] } }'
	"$PODVM" p.json >out 2>err &
	local pid=$!
	wait_for 120 grep -q up out
	equal "$(cat out)" "172.20.7.9/16
2
default via 172.20.0.1
52:54:00:12:34:56
1500
nameserver 172.20.0.3
172.20.7.9	p
gateway
from-outside
refused
up"
	wait_for 60 sh -c "curl -sf -m 5 http://127.0.0.1:18403/page | grep -q page"
	kill $pid
	wait $pid || true
}

# The resolver of another network still asks the host's, and names open what may be reached.
test_pod_file_interface_resolves() {
	far_address
	dns_server
	local server=$! code=0
	echo "nameserver 192.0.2.1" >/etc/resolv.conf || skip "/etc/resolv.conf is not writable"
	sh_pod p 'cat /etc/resolv.conf; nslookup -type=a www.example.org | grep -c 192.0.2.77; ls /sys/class/net' '' \
		'"interfaces": [{ "ip": "10.9.8.11/29", "gateway": "10.9.8.10" }], "podvm": { "network": { "egress": "allow", "allow": ["*.example.org"] } }'
	timeout 180 "$PODVM" p.json >out 2>err || code=$?
	kill $server
	equal $code 0
	equal "$(sed -n 1,2p out | paste -sd,)" "nameserver 10.9.8.9,1"
}

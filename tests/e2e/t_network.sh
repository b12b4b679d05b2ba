# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# The network of a pod: what it may reach, what of it is reached, how fast, and a look at it.

web='' # set by far_web

network_pod() { # NAME 'script' 'members of podvm.network' ['more keys of the pod']
	sh_pod "$1" "$2" '' "\"podvm\": { \"network\": { $3 } }${4:+, $4}"
}

page() {
	mkdir -p www
	echo from-outside >www/page
}

test_egress_off() {
	far_address
	page
	far_web 8770
	network_pod p 'mkdir /www; echo published >/www/page; httpd -p 80 -h /www
		start=$(date +%s)
		wget -q -O - http://192.0.2.1:8770/page; echo tcp $?
		nslookup x.example.org 2>&1 | grep -q 192.0.2; echo dns $?
		ping -c 1 -W 2 192.0.2.1 >/dev/null; echo ping $?
		[ $(($(date +%s) - start)) -lt 60 ] && echo soon
		touch /tmp/ready; sleep 600' '"egress": "off"' '"portmappings": [{ "containerPort": "80", "hostPort": "18081" }]'
	"$PODVM" p.json >out 2>err &
	local pid=$!
	wait_for 120 grep -q 'ping' out
	equal "$(head -4 out | paste -sd,)" "tcp 1,dns 1,ping 1,soon"
	wait_for 60 sh -c 'curl -sf -m 5 http://127.0.0.1:18081/page | grep -q published'
	kill $pid "$web"
	wait $pid || true
}

test_egress_allow_by_address() {
	far_address
	page
	far_web 8771
	local allowed=$web
	far_web 8772
	network_pod p 'wget -q -O - http://192.0.2.1:8771/page; wget -q -O - http://192.0.2.1:8772/page; echo $?' \
		'"egress": "allow", "allow": ["192.0.2.0/24:8771"]'
	run 0 "$PODVM" p.json
	kill "$web" "$allowed"
	equal "$(cat out)" "from-outside
1"
	grep -q refused err
}

test_egress_allow_by_name() {
	far_address
	far_address 192.0.2.77/32
	page
	far_web 8773 192.0.2.77
	dns_server
	local server=$! code=0
	cp /etc/resolv.conf resolv.old 2>/dev/null || :>resolv.old
	echo "nameserver 192.0.2.1" >/etc/resolv.conf || skip "/etc/resolv.conf is not writable"
	# shellcheck disable=SC2016 # the guest's
	network_pod p 'try() { wget -q -O - http://192.0.2.77:8773/page; echo $?; }
		try; nslookup other.example.com >/dev/null; try; nslookup www.example.org >/dev/null; try' \
		'"egress": "allow", "allow": ["*.example.org"]'
	timeout 180 "$PODVM" p.json >out 2>err || code=$?
	cat resolv.old >/etc/resolv.conf
	kill $server "$web"
	equal $code 0
	equal "$(paste -sd, out)" "1,1,from-outside,0"
}

test_capture() {
	far_address
	page
	far_web 8774
	sh_pod p 'wget -q -O - http://192.0.2.1:8774/page'
	run 0 "$PODVM" run --pcap frames p.json
	kill "$web"
	equal "$(cat out)" from-outside
	equal "$(stat -c %a frames)" 600
	equal "$(head -c 4 frames | od -An -tx4 | tr -d ' ')" a1b23c4d
	equal "$(tail -c +21 frames | head -c 4 | od -An -tu4 | tr -d ' ')" 1
	grep -qa 'GET /page' frames
	grep -qa from-outside frames
	if command -v tcpdump >/dev/null; then
		tcpdump -nvvr frames >dump 2>/dev/null
		grep -q '192.0.2.1.8774' dump
		! grep -q 'incorrect' dump || fail "wrong checksums: $(grep incorrect dump | head -3)"
	fi
	run 125 "$PODVM" run --pcap /nowhere/x p.json
	one_line /nowhere/x
}

test_rate_is_kept() {
	far_address
	mkdir www
	head -c 400000 /dev/zero >www/data
	far_web 8775
	# shellcheck disable=SC2016 # the guest's
	local script='now() { awk "{ print int(\$1 * 1000) }" /proc/uptime; }
		start=$(now); wget -q -O /dev/null http://192.0.2.1:8775/data; echo $(($(now) - start))'
	network_pod p "$script" '"rate": { "rxBytes": 100000 }'
	run 0 "$PODVM" p.json
	local slow
	slow=$(cat out)
	# 400 KB at 100 KB/s; a burst of 10 KB and one frame in debt (64 KiB) are free
	[ "$slow" -ge 3000 ] && [ "$slow" -le 12000 ] || fail "it took $slow ms"
	network_pod p "$script" '"rate": {}'
	run 0 "$PODVM" p.json
	kill "$web"
	[ "$(cat out)" -lt $((slow / 2)) ] || fail "without a limit it took $(cat out) ms"
}

test_published_port_range() {
	local port
	pod p '{ "image": "ROOT", "command": ["sh", "-c", "mkdir /www; for p in 80 81 82; do mkdir /www/$p; echo page $p >/www/$p/page; httpd -p $p -h /www/$p; done; echo up; sleep 600"] }' \
		'"portmappings": [{ "containerPort": "80-82", "hostPort": "18300-18302" }]'
	"$PODVM" p.json >out 2>err &
	local pid=$!
	wait_for 120 grep -q up out
	for port in 0 1 2; do
		wait_for 60 sh -c "curl -sf -m 5 http://127.0.0.1:1830$port/page | grep -q 'page 8$port'"
	done
	kill $pid
	wait $pid || true
}

test_mtu_and_large_frames() {
	far_address
	mkdir www
	head -c 3000000 /dev/urandom >www/big
	far_web 8776
	sh_pod p 'cat /sys/class/net/eth0/mtu; wget -q -O - http://192.0.2.1:8776/big | sha256sum | cut -d" " -f1'
	run 0 "$PODVM" run --pcap frames p.json
	kill "$web"
	equal "$(cat out)" "65520
$(sha256sum www/big | cut -d' ' -f1)"
}

test_search_domains() {
	far_address
	dns_server
	local server=$! code=0
	cp /etc/resolv.conf resolv.old 2>/dev/null || :>resolv.old
	echo "nameserver 192.0.2.1" >/etc/resolv.conf || skip "/etc/resolv.conf is not writable"
	sh_pod p 'cat /etc/resolv.conf; nslookup -type=a short | grep Name:' '' '"dnsSearch": ["corp.example.org"], "dnsOptions": ["ndots:2"]'
	timeout 180 "$PODVM" p.json >out 2>err || code=$?
	cat resolv.old >/etc/resolv.conf
	kill $server
	equal $code 0
	grep -q '^search corp.example.org$' out
	grep -q '^options ndots:2$' out
}

# Until the address is no longer tentative.
# shellcheck disable=SC2016 # the guest's
V6_READY='for i in $(seq 150); do ip -6 addr show dev eth0 | grep "inet6 fd00::5054:ff:fe70:6f64" | grep -vq tentative && break; sleep 0.2; done'

test_ipv6_outbound() {
	far_address 2001:db8::1/128
	page
	far_web 8777 2001:db8::1
	sh_pod p "$V6_READY; wget -q -O - 'http://[2001:db8::1]:8777/page'"
	run 0 "$PODVM" p.json
	network_pod p "$V6_READY; wget -q -O - 'http://[2001:db8::1]:8777/page' || echo refused; wget -q -O - 'http://[fd00::2]:8777/page' || echo closed" \
		'"egress": "allow", "allow": ["2001:db8:1::/48"]'
	mv out first
	run 0 "$PODVM" p.json
	kill "$web"
	equal "$(cat first)" from-outside
	equal "$(cat out)" "refused
closed"
}

test_published_port_at_ipv6() {
	[ -e /proc/net/if_inet6 ] && grep -q '^0*1 ' /proc/net/if_inet6 || skip "no IPv6 loopback"
	sh_pod p "mkdir /www; echo published >/www/page; $V6_READY; echo up; exec httpd -f -p '[::]:80' -h /www" '' \
		'"portmappings": [{ "containerPort": "80", "hostPort": "18090", "hostIP": "::1" }]'
	"$PODVM" p.json >out 2>err &
	local pid=$!
	wait_for 120 grep -q up out
	wait_for 60 sh -c 'curl -sf -m 5 "http://[::1]:18090/page" | grep -q published'
	kill $pid
	wait $pid || true
}

# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# What a container may and may use: ulimits, sysctl, capabilities, limits, and what is left of a pod when one misbehaves.

test_ulimits() {
	sh_pod p 'id -u; ulimit -Sn; ulimit -Hn; ulimit -Hc; ulimit -Hn 50 && ulimit -Hn 51 2>/dev/null || echo lowered for good' \
		'"user": { "name": "guest" }, "ulimits": [{ "Name": "NOFILE", "Soft": 60, "Hard": 70 }, { "name": "core", "soft": 0 }]'
	run 0 "$PODVM" p.json
	equal "$(cat out)" "1000
60
70
0
lowered for good"
	sh_pod p 'ulimit -Hn; ulimit -Sn'
	run 0 "$PODVM" p.json
	equal "$(cat out)" "1048576
1024"
	sh_pod p true '"name": "greedy", "ulimits": [{ "name": "nofile", "soft": -1 }]'
	run 125 "$PODVM" p.json
	one_line "container greedy: ulimit nofile: Operation not permitted"
}

test_sysctl() {
	sh_pod p 'cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/ip_local_port_range /proc/sys/kernel/shmmni
		echo 0 >/proc/sys/net/ipv4/ip_forward || echo read-only' \
		'"sysctl": { "net/ipv4/ip_forward": "1", "net.ipv4.ip_local_port_range": "20000 30000", "kernel.shmmni": "77" }'
	run 0 "$PODVM" p.json
	equal "$(cat out)" "1
20000	30000
77
read-only"
}

test_sysctl_that_can_not_be_set() {
	sh_pod p true '"name": "odd", "sysctl": { "net/ipv4/no_such_thing": "1" }'
	run 125 "$PODVM" p.json
	one_line "container odd: write /proc/sys/net/ipv4/no_such_thing" "No such file"
	sh_pod p true '"name": "odd", "sysctl": { "net.ipv4.ip_forward": "maybe" }'
	run 125 "$PODVM" p.json
	one_line "container odd: write /proc/sys/net/ipv4/ip_forward data maybe" "Invalid argument"
}

# The five sets and the flag of a process, in one line.
caps='awk "/^Cap|^NoNewPrivs/ { printf \"%s \", \$2 } END { print \"\" }" /proc/self/status'
none=0000000000000000

test_capabilities() {
	sh_pod p "$caps"
	run 0 "$PODVM" p.json
	equal "$(cat out)" "$none 00000000a80425fb 00000000a80425fb 00000000a80425fb $none 0 "
	sh_pod p "$caps; ip link set lo down && echo down; chown 1 /etc/passwd 2>/dev/null || echo no chown" \
		'"podvm": { "capAdd": ["cap_net_admin"], "capDrop": ["CHOWN"], "noNewPrivileges": true }'
	run 0 "$PODVM" p.json
	equal "$(cat out)" "$none 00000000a80435fa 00000000a80435fa 00000000a80435fa $none 1 
down
no chown"
	sh_pod p "$caps" '"podvm": { "capDrop": ["ALL"] }'
	run 0 "$PODVM" p.json
	equal "$(cat out)" "$none $none $none $none $none 0 "
	sh_pod p "$caps" '"podvm": { "capAdd": ["ALL"], "capDrop": ["SYS_ADMIN"] }'
	run 0 "$PODVM" p.json
	equal "$(cat out)" "$none 000001ffffdfffff 000001ffffdfffff 000001ffffdfffff $none 0 "
}

# A user other than root has what was added by name, and nothing else.
test_capabilities_of_a_user() {
	sh_pod p "$caps" '"user": { "name": "guest" }'
	run 0 "$PODVM" p.json
	equal "$(cat out)" "$none $none $none 00000000a80425fb $none 0 "
	sh_pod p "$caps; ip link set lo down && echo down" \
		'"user": { "name": "guest" }, "podvm": { "capAdd": ["NET_ADMIN"], "capDrop": ["ALL"], "noNewPrivileges": true }'
	run 0 "$PODVM" p.json
	equal "$(cat out)" "0000000000001000 0000000000001000 0000000000001000 0000000000001000 0000000000001000 1 
down"
	sh_pod p "$caps" '"user": { "name": "guest" }, "podvm": { "capAdd": ["ALL"] }'
	run 0 "$PODVM" p.json
	equal "$(cat out)" "$none $none $none 000001ffffffffff $none 0 "
}

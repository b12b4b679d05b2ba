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

# container-init passes signals on to another user's process, whatever the container may do itself.
test_signal_without_capabilities() {
	sh_pod p 'trap "echo stopped; exit 7" TERM; echo up; while :; do sleep 0.2; done' \
		'"user": { "name": "guest" }, "podvm": { "capDrop": ["ALL"] }'
	"$PODVM" p.json >out 2>err &
	local pid=$! code=0
	wait_for 120 grep -q up out
	kill -TERM $pid
	wait $pid || code=$?
	equal "$(paste -sd' ' out) $code" "up stopped 7"
}

# As the container's root sees its own cgroup.
own='cd /sys/fs/cgroup; cat pids.max memory.max memory.oom.group cpu.max'

test_limits_are_set() {
	sh_pod p "$own; cat /proc/1/oom_score_adj /proc/self/oom_score_adj" \
		'"podvm": { "pids": 20, "memory": 32, "cpus": 0.25 }'
	run 0 "$PODVM" p.json
	equal "$(paste -sd' ' out)" "20 33554432 1 25000 100000 0 0"
	sh_pod p "$own"
	run 0 "$PODVM" p.json
	equal "$(paste -sd' ' out)" "128 max 0 max 100000"
	sh_pod p "$own" '"podvm": { "pids": "unlimited" }'
	run 0 "$PODVM" p.json
	equal "$(head -1 out)" max
}

# A fifth of a CPU for three seconds, as the kernel counted it.
test_cpus_are_limited() {
	sh_pod p 'timeout 3 sh -c "while :; do :; done"; awk "/^usage_usec/ { print \$2 }" /sys/fs/cgroup/cpu.stat' \
		'"podvm": { "cpus": 0.2 }'
	run 0 "$PODVM" p.json
	[ "$(cat out)" -lt 1200000 ] && [ "$(cat out)" -gt 50000 ] || fail "$(cat out) us in 3 s"
}

# neighbour PROGRAM 'more keys': a container that misbehaves, and one that must not notice.
neighbour() {
	pod p "{ \"name\": \"bad\", \"image\": \"ROOT\", \"command\": [\"sh\", \"-c\", \"$1\"]${2:+, $2} },
		{ \"name\": \"good\", \"image\": \"ROOT\", \"command\": [\"sh\", \"-c\",
		\"for i in 1 2 3 4 5 6 7 8; do sh -c 'sleep 1' || exit 3; done; echo good has worked\"] }"
}

test_fork_bomb_beside_another() {
	# the last of it without a process: there may be none to be had
	neighbour 'mkfifo /f; exec 2>/dev/null 3<>/f; bomb() { bomb | bomb & }; bomb; read -t 5 line <&3; exit 9'
	run 9 "$PODVM" p.json
	equal "$(cat out)" "good has worked"
	! grep -a "ran out of memory" err
}

test_memory_hog_beside_another() {
	neighbour 'exec tail /dev/zero' '"podvm": { "memory": 16 }'
	run 137 "$PODVM" p.json
	equal "$(cat out)" "good has worked"
	one_line "container bad ran out of memory and was killed" "podvm.memory"
}

# The memory of the pod itself: no limit is set, the largest program is taken.
test_memory_hog_of_the_pod() {
	neighbour 'exec tail /dev/zero'
	run 137 "$PODVM" p.json
	equal "$(cat out)" "good has worked"
	one_line "container bad ran out of memory and was killed" "resource.memory"
}

# As a whole: not the child alone, which the shell would outlive. And it starts again, under the same limit.
test_memory_limit_takes_all_of_a_container() {
	sh_pod p 'echo run; tail /dev/zero & wait; echo outlived' \
		'"restartPolicy": "onFailure", "name": "hog", "podvm": { "memory": 16 }'
	timeout 180 "$PODVM" p.json >out 2>err &
	local pid=$!
	wait_for 120 sh -c '[ "$(grep -c "hog ran out of memory and was killed: code 137; it starts again" err)" -ge 2 ]'
	kill $pid
	wait $pid || true
	! grep outlived out
	[ "$(grep -c run out)" -ge 2 ]
}

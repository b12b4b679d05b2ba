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

# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Bad input and bad days: one clear line, the right exit code, nothing left behind.

test_no_kvm() {
	sh_pod p 'echo hello'
	unshare -m true 2>/dev/null || skip "no right to make a mount namespace"
	run 125 unshare -m sh -c "mount -t tmpfs none /dev && exec $PODVM p.json"
	one_line /dev/kvm missing
	run 1 unshare -m sh -c "mount -t tmpfs none /dev && exec $PODVM doctor"
	grep -q 'kvm is missing' out
}

test_no_permission() {
	command -v setpriv >/dev/null || skip "setpriv(1) is missing"
	sh_pod p 'echo hello'
	# the way to the files stays open for the other user
	chmod 755 . .. 
	cp "$PODVM" podvm
	unshare -m true 2>/dev/null || skip "no right to make a mount namespace"
	run 125 unshare -m sh -c "cp -a /dev/kvm kvm && chmod 600 kvm && mount --bind kvm /dev/kvm &&
		exec setpriv --reuid=65534 --regid=65534 --clear-groups ./podvm p.json"
	one_line /dev/kvm 'permission denied' 'group kvm'
}

test_missing_pod_file() {
	run 125 "$PODVM" no-such.json
	one_line no-such.json 'No such file'
}

test_unreadable_pod_file() {
	mkdir d.json
	run 125 "$PODVM" d.json
	one_line d.json 'directory'
}

test_broken_json() {
	printf '{ "id": "x",\n  "containers": [ { "image": "./root" } }\n' >p.json
	run 125 "$PODVM" p.json
	one_line p.json:2:
}

test_wrong_type_names_the_place() {
	printf '{ "id": "x",\n  "containers": [ { "image": 5 } ] }\n' >p.json
	run 125 "$PODVM" p.json
	one_line 'p.json:2:30' 'containers[0].image'
}

test_unknown_key_warns_and_strict_refuses() {
	sh_pod p 'echo hello' '' '"containrs": []'
	run 0 "$PODVM" p.json
	one_line warning containrs
	run 125 "$PODVM" --strict p.json
}

test_missing_root() {
	pod p '{ "image": "./no-root", "command": ["true"] }'
	run 125 "$PODVM" p.json
	one_line 'containers[0].image' no-root 'No such file'
}

test_root_is_a_file() {
	touch root
	pod p '{ "image": "./root", "command": ["true"] }'
	run 125 "$PODVM" p.json
	one_line 'not a directory'
}

test_image_name_is_refused_clearly() {
	pod p '{ "image": "nginx:latest", "command": ["true"] }'
	run 125 "$PODVM" p.json
	one_line nginx:latest directories
}

test_missing_volume() {
	sh_pod p 'true' '"volumes": [{ "volume": "v", "path": "/v" }]' '"volumes": [{ "name": "v", "source": "./nope", "format": "vfs" }]'
	run 125 "$PODVM" p.json
	one_line 'volumes[0].source' nope
}

test_memory_too_small() {
	MEMORY=8 sh_pod p 'true'
	run 125 "$PODVM" p.json
	one_line resource.memory 8
}

test_port_taken() {
	python3 -m http.server -b 127.0.0.1 18099 >/dev/null 2>&1 &
	local server=$!
	wait_for 90 curl -sf -m 5 -o /dev/null http://127.0.0.1:18099/
	sh_pod p 'true' '' '"portmappings": [{ "containerPort": "80", "hostPort": "18099" }]'
	run 125 "$PODVM" p.json
	kill $server
	one_line 18099 taken
}

test_kernel_is_none() {
	sh_pod p 'true'
	echo "this is not a kernel at all, whatever its name says" >bzImage
	run 125 "$PODVM" --kernel bzImage p.json
	one_line bzImage 'neither'
	run 125 "$PODVM" --kernel no-such p.json
	one_line no-such 'No such file'
	run 125 "$PODVM" --kernel /bin/busybox p.json
	one_line busybox 'not a kernel'
	head -c 100000 "$BUILD/vmlinux" >cut
	run 125 "$PODVM" --kernel cut p.json
	one_line cut 'outside the file'
}

test_kernel_from_a_file() {
	sh_pod p 'echo hello'
	run 0 "$PODVM" --kernel "$BUILD/vmlinux" p.json
	equal "$(cat out)" hello
}

test_guest_panics() {
	sh_pod p 'true'
	run 125 "$PODVM" --append rdinit=/nonexistent p.json
	grep -q '^podvm: the guest died' err
	grep -q 'guest console: .*panic' err
}

test_stdout_full() {
	sh_pod p 'echo hello'
	timeout 180 "$PODVM" p.json >/dev/full 2>err && fail "no error"
	one_line 'standard output' 'No space left'
	[ -e out ] || :
	code=0
	timeout 180 "$PODVM" p.json >/dev/full 2>err || code=$?
	equal $code 125
}

test_closed_descriptors() {
	pod p '{ "image": "ROOT", "command": ["cat"] }'
	run 0 "$PODVM" p.json <&-
	equal "$(cat out)" ""
	sh_pod p 'echo hello'
	local code=0
	timeout 180 "$PODVM" p.json >&- 2>err || code=$?
	equal $code 125
	one_line 'standard output' 'Bad file descriptor'
}

test_ordinary_user() {
	command -v setpriv >/dev/null || skip "setpriv(1) is missing"
	[ -w /dev/kvm ] && [ "$(stat -c %a /dev/kvm)" = 666 ] || skip "/dev/kvm is not open to all here"
	chmod 755 . ..
	sh_pod p 'echo hello; id -u; touch /new'
	cp "$PODVM" podvm
	run 0 setpriv --reuid=65534 --regid=65534 --clear-groups ./podvm p.json
	equal "$(cat out)" "hello
0"
}

test_full_disk_under_a_volume() {
	mkdir small
	mount -t tmpfs -o size=1m none small || skip "no right to mount"
	sh_pod p 'dd if=/dev/zero of=/v/big bs=64k count=64' '"volumes": [{ "volume": "v", "path": "/v" }]' \
		'"volumes": [{ "name": "v", "source": "./small", "format": "vfs" }]'
	local code=0
	timeout 180 "$PODVM" p.json >out 2>err || code=$?
	umount small
	equal $code 1
	grep -q 'No space left' err || fail "$(cat err)"
}

test_reader_goes_away() {
	sh_pod p 'yes'
	local codes
	set +e
	timeout 180 "$PODVM" p.json 2>err | head -1 >out
	codes=${PIPESTATUS[0]}
	set -e
	equal "$(cat out)" y
	equal "$codes" 141
	one_line 'nobody reads'
}

test_kill_9_leaves_nothing_that_blocks() {
	pod p '{ "image": "ROOT", "command": ["sh", "-c", "echo up; exec sleep 1000"] }' \
		'"portmappings": [{ "containerPort": "80", "hostPort": "18098" }]'
	local pid
	for _ in 1 2; do
		"$PODVM" p.json >out 2>err &
		pid=$!
		wait_for 120 grep -q up out
		kill -9 $pid
		wait $pid || true
	done
	! pgrep -f "$PODVM p.json" || fail "a process is left"
}

test_unknown_command_suggests() {
	run 125 "$PODVM" docter
	one_line 'podvm doctor'
	run 125 "$PODVM" run --trce-boot p.json
	one_line -- --trace-boot
}

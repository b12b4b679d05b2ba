# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Volumes that are disk images: what a pod writes is on them, whole and clean, and what can go wrong is told.

# image NAME MB: an ext4 image.
image() {
	PATH=$PATH:/usr/sbin:/sbin
	command -v mkfs.ext4 >/dev/null || skip "mkfs.ext4(8) is missing (package e2fsprogs)"
	truncate -s "$2M" "$1"
	mkfs.ext4 -q -F -E nodiscard,lazy_itable_init=0,root_owner=0:0 "$1"
}

# clean NAME: nothing to repair, and nothing to play back.
clean() {
	e2fsck -fn "$1" >fsck 2>&1 || fail "$1 is not clean: $(cat fsck)"
	! grep -q 'journal recovery' fsck || fail "$1 was not unmounted: $(cat fsck)"
}

content() { # IMAGE PATH
	debugfs -R "cat $2" "$1" 2>/dev/null
}

# disk_pod NAME SCRIPT ['more keys of the volume'] ['more keys of the mount']: one container with ./d.img at /d.
disk_pod() {
	sh_pod "$1" "$2" "\"volumes\": [{ \"volume\": \"d\", \"path\": \"/d\"${4:+, $4} }]" \
		"\"volumes\": [{ \"name\": \"d\", \"source\": \"./d.img\", \"format\": \"raw\"${3:+, $3} }]"
}

test_disk_keeps_what_is_written() {
	image d.img 16
	disk_pod p 'grep " /d " /proc/mounts; echo from the pod >/d/file; mkdir /d/dir; cp /bin/busybox /d/dir/; sync'
	run 0 "$PODVM" p.json
	[ ! -s err ] || fail "$(cat err)"
	grep -q '^/dev/vda /d ext4 rw,nodev' out || fail "$(cat out)"
	clean d.img
	equal "$(content d.img file)" "from the pod"
	content d.img dir/busybox | cmp - "$ROOT/bin/busybox"
}

test_disk_unsynced_and_shared() {
	image d.img 16
	image e.img 16
	pod p '{ "image": "ROOT", "command": ["sh", "-c", "echo one >/d/one; echo other >/e/one; while [ ! -e /d/two ]; do sleep 0.1; done"],
			"volumes": [{ "volume": "d", "path": "/d" }, { "volume": "e", "path": "/e" }] },
		{ "image": "ROOT", "command": ["sh", "-c", "while [ ! -e /x/one ]; do sleep 0.1; done; cat /x/one; echo two >/x/two; sleep 1000 >/x/open & "],
			"volumes": [{ "volume": "d", "path": "/x" }] }' \
		'"volumes": [{ "name": "p" }, { "name": "e", "source": "./e.img", "format": "raw", "cache": "writethrough" },
			{ "name": "d", "source": "./d.img", "format": "raw" }]'
	run 0 "$PODVM" p.json
	equal "$(cat out)" one
	clean d.img
	clean e.img
	equal "$(content d.img two)" two
	equal "$(content e.img one)" other
}

test_disk_after_a_signal() {
	image d.img 16
	disk_pod p 'echo before >/d/file; echo up; sleep 1000'
	"$PODVM" p.json >out 2>err &
	local pid=$! code=0
	wait_for 120 grep -q up out
	kill -TERM $pid
	wait $pid || code=$?
	[ $code != 0 ] || fail "ended with 0"
	clean d.img
	equal "$(content d.img file)" before
}

test_disk_modes() {
	local cache
	image d.img 16
	for cache in none directsync unsafe; do
		disk_pod p "echo $cache >>/d/file" "\"cache\": \"$cache\""
		local code=0
		timeout 180 "$PODVM" p.json >out 2>err || code=$?
		if [ $code = 125 ] && grep -q O_DIRECT err; then
			one_line d.img writethrough
			continue
		fi
		equal $code 0
		clean d.img
		content d.img file | grep -q "$cache" || fail "$cache: $(content d.img file)"
	done
}

test_disk_read_only() {
	image d.img 16
	echo hello >hello
	debugfs -w -R 'write hello hello' d.img 2>/dev/null
	cp d.img before
	disk_pod p 'cat /d/hello; grep " /d " /proc/mounts | cut -d" " -f4 | cut -d, -f1; touch /d/new' '' '"readOnly": true'
	# two at a time
	"$PODVM" p.json >out2 2>err2 &
	local pid=$! code=0
	run 1 "$PODVM" p.json
	wait $pid || code=$?
	equal $code 1
	equal "$(cat out)" "hello
ro"
	equal "$(cat out2)" "hello
ro"
	grep -q 'Read-only file system' err
	cmp d.img before
}

test_disk_in_use() {
	image d.img 16
	disk_pod p 'echo up; sleep 1000'
	"$PODVM" p.json >out 2>err &
	local pid=$!
	wait_for 120 grep -q up out
	disk_pod q 'true' '' '"readOnly": true'
	run 125 "$PODVM" p.json
	one_line 'volumes[0].source' d.img 'in use'
	run 125 "$PODVM" q.json
	one_line d.img 'in use'
	kill $pid
	wait $pid || true
}

test_disk_that_is_none() {
	disk_pod p 'true'
	run 125 "$PODVM" p.json
	one_line 'volumes[0].source' d.img 'No such file'
	truncate -s $((1048576 + 513)) d.img
	run 125 "$PODVM" p.json
	one_line 'volumes[0].source' d.img 1049089 'multiple of 512'
	truncate -s 1M d.img
	run 125 "$PODVM" p.json
	one_line 'volume d' ext4
	disk_pod p 'true' '"fstype": "reiserfs"'
	run 125 "$PODVM" p.json
	one_line 'volume d' reiserfs
	disk_pod p 'true'
	sed -i 's/"raw"/"qcow2"/' p.json
	run 125 "$PODVM" p.json
	one_line 'volumes[0].format' qcow2
}

# The guest was told that it lasts, then the machine is gone.
test_disk_power_cut() {
	image d.img 16
	disk_pod p 'echo lasting >/d/file; sync; echo synced; sleep 1000'
	"$PODVM" p.json >out 2>err &
	local pid=$!
	wait_for 120 grep -q synced out
	kill -9 $pid
	wait $pid || true
	# The journal is played back, as after any power cut; then all is well.
	e2fsck -fy d.img >fsck 2>&1 || [ $? = 1 ] || fail "$(cat fsck)"
	clean d.img
	equal "$(content d.img file)" lasting
}

test_disk_limit() {
	image d.img 16
	# shellcheck disable=SC2016 # the shell in the pod expands it
	disk_pod p 's=$(cut -d. -f1 /proc/uptime); dd if=/dev/zero of=/d/zero bs=64k count=64 conv=fsync 2>/dev/null
		e=$(cut -d. -f1 /proc/uptime); echo $((e - s))' '"option": { "bytespersec": 1000000 }'
	run 0 "$PODVM" p.json
	# 4 MB at 1 MB/s, and what the file system writes for itself
	[ "$(cat out)" -ge 3 ] && [ "$(cat out)" -le 12 ] || fail "4 MB at 1 MB/s took $(cat out) s"
	clean d.img
}

# The host has no room for what the image promises: an error in the pod, no end of podvm.
test_disk_on_a_full_host() {
	mkdir small
	mount -t tmpfs -o size=3m none small || skip "no right to mount"
	image d.img 16
	cp --sparse=always d.img small/d.img
	sh_pod p 'dd if=/dev/zero of=/d/big bs=64k count=160 conv=fsync 2>/dev/null && echo written; echo alive' \
		'"volumes": [{ "volume": "d", "path": "/d" }]' \
		'"volumes": [{ "name": "d", "source": "./small/d.img", "format": "raw" }]'
	local code=0
	timeout 180 "$PODVM" p.json >out 2>err || code=$?
	umount small
	equal $code 0
	equal "$(cat out)" alive
	grep -q '^podvm: disk .*d.img: write failed: No space left' err || fail "$(cat err)"
}

# On a block device, where the machine lets us make one.
test_disk_block_device() {
	image d.img 16
	local loop
	modprobe loop 2>/dev/null || true
	loop=$(losetup -f --show d.img 2>/dev/null) || skip "no loop device to be had"
	sh_pod p 'echo device >/d/file; rm -f /d/gone' '"volumes": [{ "volume": "d", "path": "/d" }]' \
		"\"volumes\": [{ \"name\": \"d\", \"source\": \"$loop\", \"format\": \"raw\" }]"
	run 0 "$PODVM" p.json
	losetup -d "$loop"
	clean d.img
	equal "$(content d.img file)" device
}

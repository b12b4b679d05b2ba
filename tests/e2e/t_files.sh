# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Files of the host in a pod: what programs do with a volume. Bigger ones of the same kind: tests/e2e/long.

# volume_pod NAME 'script' ['more keys of the container']: ./data at /data.
volume_pod() {
	sh_pod "$1" "$2" "\"volumes\": [{ \"volume\": \"data\", \"path\": \"/data\" }]${3:+, $3}" \
		'"volumes": [{ "name": "data", "source": "./data", "format": "vfs" }]'
}

test_files_semantics() {
	mkdir data
	volume_pod p 'fs_check /data'
	run 0 "$PODVM" p.json
	# what was written through a shared mapping has arrived
	equal "$(dd if=data/m bs=1 skip=4090 count=13 2>/dev/null)" "across a page"
}

test_files_semantics_for_an_ordinary_user() {
	chmod 755 . ..
	cp "$PODVM" podvm
	mkdir data
	chown 1234:1235 data
	unshare -m true 2>/dev/null || skip "no right to make a mount namespace"
	volume_pod p 'stat -c "%u %g" /data && fs_check /data && touch /data/new && chown 1000 /data/new 2>&1'
	run 1 unshare -m sh -c "cp -a /dev/kvm kvm && chmod 666 kvm && mount --bind kvm /dev/kvm &&
		exec setpriv --reuid=1234 --regid=1235 --clear-groups ./podvm p.json"
	equal "$(head -1 out)" "0 0"
	grep -q 'fs_check: .* checks' out || fail "$(cat out)"
	grep -q 'Operation not permitted' out
	equal "$(stat -c %u:%g data/new)" 1234:1235
}

test_files_match_a_model() {
	mkdir data
	volume_pod p 'for seed in 1 2 3; do mkdir /data/$seed && fs_model /data/$seed $seed 1500 || exit 1; done'
	run 0 "$PODVM" p.json
	equal "$(grep -c 1500 out)" 3
}

test_files_tree_by_tar() {
	mkdir -p data/in data/out
	local i
	mkdir -p data/in/{0..9}/{0..4}
	for i in {1..100}; do
		printf "%$((i * 137 % 9000))s" "$i" >"data/in/$((i % 10))/$((i % 5))/$i"
	done
	ln -s ../1 data/in/2/link
	chmod 751 data/in/3
	# busybox gives directories no time back
	tar -C data/in -cf want.tar --sort=name --mtime=@0 .
	find data/in -type f -printf '%P %Ts\n' | sort >want
	volume_pod p 'cd /data && tar -C in -cf t.tar . && tar -C out -xf t.tar && find out | wc -l'
	run 0 "$PODVM" p.json
	tar -C data/out -cf have.tar --sort=name --mtime=@0 .
	find data/out -type f -printf '%P %Ts\n' | sort >have
	cmp want have || fail "other times"
	cmp want.tar have.tar || fail "the unpacked tree is another one"
}

# rm lists a directory while it empties it. The data lies in tmpfs, where positions shift with every name that goes.
test_files_removed_as_listed() {
	mkdir -p data/tree/{1..5}
	local i
	for i in {1..5}; do
		(cd "data/tree/$i" && seq -f 'a-file-with-a-name-of-usual-length-%04g' 400 | xargs touch)
	done
	volume_pod p 'rm -r /data/tree && ls -A /data'
	run 0 "$PODVM" p.json
	equal "$(cat out)" ""
	[ ! -e data/tree ] || fail "left: $(find data/tree | wc -l)"
}

# A log that the host and the pod append to at the same time loses nothing.
test_files_appended_from_both_sides() {
	mkdir data
	: >data/log
	volume_pod p 'for i in $(seq 100); do echo "pod $i" >>/data/log; done; echo done'
	(for i in {1..100}; do
		echo "host $i" >>data/log
		sleep 0.05
	done) &
	run 0 "$PODVM" p.json
	wait
	equal "$(grep -c '^pod ' data/log)" 100
	equal "$(grep -c '^host ' data/log)" 100
	equal "$(wc -l <data/log)" 200
}

# The host's whole tree as a root: what its kernel makes up is empty there, programs run.
test_files_host_root_as_image() {
	mkdir data
	MEMORY=256 pod p '{ "image": "/", "command": ["/bin/sh", "-c", "ls /proc/self/status && uname -s && cat /etc/hostname && echo x >/data/x"],
		"volumes": [{ "volume": "data", "path": "/data" }] }' '"volumes": [{ "name": "data", "source": "./data", "format": "vfs" }]'
	run 0 "$PODVM" p.json
	equal "$(sed -n 2p out)" Linux
	equal "$(cat data/x)" x
	MEMORY=256 pod q '{ "image": "ROOT", "command": ["sh", "-c", "ls /host/proc /host/sys; ls /host/etc/passwd; cat /host/proc/1/environ"],
		"volumes": [{ "volume": "host", "path": "/host", "readOnly": true }] }' '"volumes": [{ "name": "host", "source": "/", "format": "vfs" }]'
	run 1 "$PODVM" q.json
	equal "$(cat out)" "/host/proc:

/host/sys:
/host/etc/passwd"
}

test_files_host_changes_are_seen() {
	mkdir data
	echo one >data/f
	volume_pod p 'cat /data/f; echo ready; until [ -e /data/go ]; do sleep 0.1; done; sleep 1.2; cat /data/f; cat /data/new'
	"$PODVM" p.json >out 2>err &
	local pid=$!
	wait_for 120 grep -q ready out
	echo three >data/new
	echo twotwo >data/f
	touch data/go
	wait $pid
	equal "$(cat out)" "one
ready
twotwo
three"
}

# A server of files that is gone: the pod's other devices go on, and podvm ends. The container that speaks must not open
# files: its root is a share, too.
test_files_hung_share_stalls_nobody_else() {
	[ "$(id -u)" = 0 ] || skip "not root"
	[ -e /dev/fuse ] || modprobe fuse || skip "the host has no FUSE"
	mkdir hung
	python3 "$BUILD/../tests/e2e/hang_fs.py" hung >hang.out 2>&1 &
	local server=$! pid code=0 before end
	wait_for 60 grep -q mounted hang.out
	pod p '{ "name": "a", "image": "ROOT", "command": ["sh", "-c", "sleep 2; cat /hung/hang"], "volumes": [{ "volume": "h", "path": "/hung" }] },
		{ "name": "b", "image": "ROOT", "command": ["sh", "-c", "mkfifo /tmp/f; exec 3<>/tmp/f; while :; do echo tick; read -t 1 x <&3; done"] }' \
		'"volumes": [{ "name": "h", "source": "./hung", "format": "vfs" }]'
	"$PODVM" p.json >out 2>err &
	pid=$!
	wait_for 120 grep -q hung hang.out
	sleep 2
	before=$(grep -c tick out)
	wait_for 60 sh -c "[ \$(grep -c tick out) -gt $((before + 5)) ]"
	kill $pid
	end=$((SECONDS + 60))
	wait $pid || code=$?
	umount -l hung
	kill $server
	equal $code 137
	[ $SECONDS -lt $end ] || fail "podvm took its time to end"
	grep -q 'does not answer' err || fail "$(cat err)"
}

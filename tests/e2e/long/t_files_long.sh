# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Real programs in a pod whose root is the host's own, on a volume. By hand: make check-long. FILES_COMMITS: how much.

# host_pod NAME 'script': the host's root as the image, ./data at /mnt.
host_pod() {
	printf '%s\n' "$2" >script
	mkdir -p data
	cp script data/script
	MEMORY=512 pod "$1" '{ "image": "/", "command": ["/bin/bash", "-eu", "/mnt/script"], "workdir": "/mnt",
		"volumes": [{ "volume": "data", "path": "/mnt" }] }' '"volumes": [{ "name": "data", "source": "./data", "format": "vfs" }]'
}

run_long() {
	timeout -k 20 3000 "$PODVM" "$1.json" >out 2>err || fail "$1 ended with $?: $(tail -5 err)"
}

test_long_git_and_tar() {
	command -v git >/dev/null || skip "git is missing"
	# shellcheck disable=SC2016 # the pod's shell expands it
	host_pod p 'export GIT_CONFIG_GLOBAL=/dev/null HOME=/tmp
n='"${FILES_COMMITS:-300}"'
git init -q -b main source
for ((c = 0; c < n; c++)); do
	printf "commit refs/heads/main\ncommitter n <n@example.org> %d +0000\ndata 2\nx\n" $((1600000000 + c))
	printf "M 100644 inline d%d/f%d\ndata 8\n%07d\n\n" $((c % 13)) $c $c
done | git -C source fast-import --quiet
git -C source checkout -q main
git clone -q --no-local source clone
git -C clone fsck --no-progress
[ -z "$(git -C clone status --short)" ]
git -C clone rev-list --count HEAD
tar -cf tree.tar --sort=name -C clone .
mkdir unpacked
tar -xf tree.tar -C unpacked'
	run_long p
	equal "$(tail -1 out)" "${FILES_COMMITS:-300}"
	tar -cf - --sort=name -C data/unpacked . | cmp - data/tree.tar
}

test_long_sqlite_killed() {
	command -v sqlite3 >/dev/null || skip "sqlite3 is missing: run scripts/setup test"
	# shellcheck disable=SC2016
	host_pod p 'sqlite3 db "create table t(a integer primary key, b text); create index i on t(b);"
for round in 1 2 3; do
	sqlite3 db < <(while echo "begin; with recursive c(x) as (select 1 union all select x+1 from c where x<40) insert into t(b) select hex(randomblob(50)) from c; commit;"; do :; done 2>/dev/null) &
	writer=$!
	sleep 5
	kill -9 $writer
	wait $writer || true
	sqlite3 db "pragma integrity_check; select count(*) % 40 from t"
done
touch killed-inside
while echo "begin; with recursive c(x) as (select 1 union all select x+1 from c where x<40) insert into t(b) select hex(randomblob(50)) from c; commit;"; do :; done | sqlite3 db'
	"$PODVM" p.json >out 2>err &
	local pid=$!
	wait_for 900 test -e data/killed-inside
	sleep 10
	# the whole machine goes at once: what was committed is in the host's file
	kill -9 $pid
	wait $pid || true
	equal "$(paste -sd, out)" "ok,0,ok,0,ok,0"
	equal "$(sqlite3 data/db 'pragma integrity_check; select count(*) % 40, count(*) > 0 from t' | paste -sd,)" "ok,0|1"
}

test_long_model() {
	mkdir data
	sh_pod p 'for seed in $(seq 10 19); do mkdir /data/$seed && fs_model /data/$seed $seed 20000 || exit 1; done' \
		'"volumes": [{ "volume": "data", "path": "/data" }]' '"volumes": [{ "name": "data", "source": "./data", "format": "vfs" }]'
	run_long p
}

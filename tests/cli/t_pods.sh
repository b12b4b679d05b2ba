# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# The commands for pods that run, where none does: words, exit codes, and what lies in the state directory.

state_dir() { # a runtime directory of the test's own; $1: mode of what podvm would make in it
	export XDG_RUNTIME_DIR=$PWD/runtime
	mkdir -m 700 runtime
	[ -z "${1:-}" ] || mkdir -m "$1" runtime/podvm
}

crashed() { # NAME PID: what a killed podvm leaves
	mkdir "runtime/podvm/$1"
	touch "runtime/podvm/$1/lock"
	echo "$2" >"runtime/podvm/$1/pid"
}

usage() { # 'WORDS' WORD...: refused with 125 and one line with each
	local words
	read -ra words <<<"$1"
	shift
	run 125 timeout 10 "$PODVM" "${words[@]}"
	one_line "$@"
}

test_pods_words() {
	state_dir
	for command in stop kill pause unpause; do
		usage "$command" "$command: which pod?" "podvm help $command"
	done
	usage exec 'in which pod?'
	usage 'exec web' 'which command?'
	usage 'ps x' 'it takes no words'
	usage 'stop -t x web' '-t x: expected seconds, 0 to 86400'
	usage 'stop -t -1 web' '-t -1: expected seconds'
	usage 'stop -t 86401 web' '-t 86401: expected seconds'
	usage 'stop -t' '-t needs a value'
	usage 'kill --signal' '--signal needs a value'
	usage 'exec -e' '-e needs a value'
	usage 'exec -e =5 web ls' '-e =5: expected NAME=VALUE'
	usage 'kill -s FOO web' '-s FOO: expected a signal'
	usage 'kill -s 0 web' '-s 0: expected a signal'
	usage 'kill -s 65 web' '-s 65: expected a signal'
	usage 'exec -it web sh' 'standard input is no terminal'
	usage 'stop --tine 5 web' 'did you mean --time?'
	usage 'kill --sginal 5 web' 'did you mean --signal?'
	usage 'ps --quit' 'did you mean --quiet?'
	usage 'stats --jsn' 'did you mean --json?'
	usage 'exec --usr x web ls' 'did you mean --user?'
	usage 'pause -x web' '-x: no such option'
}

test_pods_help() {
	for command in ps exec stop kill pause unpause stats; do
		run 0 "$PODVM" "$command" --help
		grep -q '^Examples\?:' out || fail "$command --help has no example"
		grep -q "^Usage: podvm $command " out || fail "$command --help has no usage"
	done
}

test_pods_none() {
	state_dir
	for command in ps list; do
		run 0 "$PODVM" "$command"
		equal "$(cat out)" 'NAME                 STATUS               PID  CONTAINERS'
	done
	run 0 "$PODVM" ps --json
	equal "$(cat out)" '[]'
	run 0 "$PODVM" ps -q
	equal "$(cat out)" ''
	[ ! -e runtime/podvm ] || fail 'a look made the directory'
	usage 'exec web ls' 'no pod web runs here; podvm ps lists them'
	usage 'stop ../web' 'no pod ../web runs here'
	mkdir -m 700 runtime/podvm
	run 0 "$PODVM" ps -q
	equal "$(cat out)" ''
}

test_pods_rubbish_and_crashed() {
	state_dir 700
	crashed web 4711
	crashed badpid rubbish
	crashed fifo 1
	rm runtime/podvm/fifo/pid
	mkfifo runtime/podvm/fifo/pid
	mkdir runtime/podvm/nolock 'runtime/podvm/bad name' runtime/podvm/.hidden
	echo x >runtime/podvm/file
	ln -s web runtime/podvm/link
	run 0 timeout 10 "$PODVM" ps
	equal "$(sed 1d out | tr -s ' ' | sed 's/ $//')" 'badpid crashed 0
fifo crashed 0
web crashed 4711'
	run 0 timeout 10 "$PODVM" ps --json
	grep -qF '{"name":"web","pid":4711,"phase":"crashed","containers":[]}' out || fail "$(cat out)"
	usage 'exec web ls' 'the pod web does not run any more'
	usage 'stop web' 'the pod web does not run any more'
	usage 'kill wab' 'no pod wab runs here (did you mean web?)'
	usage 'stats web' 'the pod web does not run any more'
}

test_pods_open_directory() {
	state_dir 755
	crashed web 1
	for words in ps 'exec web ls' 'stop web' 'stats web'; do
		usage "$words" "runtime/podvm is open to other users (mode 0755); chmod 700 it"
	done
	chmod 700 runtime/podvm
	run 0 "$PODVM" ps -q
	equal "$(cat out)" web
}

test_pods_ordinary_user() {
	[ "$(id -u)" = 0 ] || skip 'only root can be another user'
	local as=(setpriv --reuid 65534 --regid 65534 --clear-groups env HOME=/nonexistent)
	state_dir 700
	crashed web 1
	cp "$PODVM" /tmp/podvm-t.$$ # the test's own directory may be closed to others
	chmod 755 /tmp/podvm-t.$$
	run 0 "$PODVM" ps -q
	equal "$(cat out)" web
	local theirs=/tmp/runtime-t.$$
	mkdir -p "$theirs/podvm/own"
	touch "$theirs/podvm/own/lock"
	chmod -R go= "$theirs"
	chown -R 65534:65534 "$theirs"
	run 0 "${as[@]}" "XDG_RUNTIME_DIR=$theirs" /tmp/podvm-t.$$ ps -q
	equal "$(cat out)" own
	# That of another user, as sudo leaves it, is not theirs.
	run 0 env "XDG_RUNTIME_DIR=$theirs" "$PODVM" ps -q
	! grep -q own out || fail "another user's pods"
	rm -rf /tmp/podvm-t.$$ "$theirs"
}

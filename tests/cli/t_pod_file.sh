# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# podvm validate and podvm spec. They start no machine, so these run anywhere: TESTS=$PWD/tests/cli tests/e2e/run BUILD

good='{"containers":[{"image":"a"}]}'
bad='{"containers":[{"image":"a"}],"id":"a b","tty":7}'
odd='{"containers":[{"image":"a"}],"unheard":1}'

files() {
	echo "$good" >good.json
	echo "$bad" >bad.json
	echo "$odd" >odd.json
}

test_validate_is_silent_when_all_is_well() {
	files
	run 0 "$PODVM" validate good.json good.json
	[ ! -s out ] && [ ! -s err ] || fail "said something: $(cat out err)"
}

test_validate_tells_every_problem_of_every_file() {
	files
	run 125 "$PODVM" validate bad.json good.json odd.json none.json
	[ ! -s out ] || fail "problems belong to stderr"
	equal "$(sed 's/ is not.*//' err)" 'podvm: bad.json:1:36: id: "a b"
podvm: bad.json:1:48: tty: 7
podvm: warning: odd.json:1:31: unheard: unknown key, ignored
podvm: none.json can not be read: No such file or directory'
}

test_validate_last_file_does_not_hide_a_bad_one() {
	files
	run 125 "$PODVM" validate bad.json good.json
}

test_validate_warnings_are_errors_when_strict() {
	files
	run 0 "$PODVM" validate odd.json
	one_line 'warning: odd.json:1:31: unheard: unknown key'
	run 125 "$PODVM" validate --strict odd.json
	one_line 'podvm: odd.json:1:31: unheard: unknown key'
	run 125 "$PODVM" spec --strict odd.json
	[ ! -s out ] || fail "printed a pod that is not in order"
}

test_validate_odd_files_are_one_line() {
	mkdir folder
	run 125 "$PODVM" validate folder
	one_line folder 'Is a directory'
	run 125 "$PODVM" validate /dev/zero
	one_line /dev/zero 'longer than 4 MB'
	run 125 "$PODVM" validate /dev/null
	one_line 'the file is empty'
	run 125 "$PODVM" validate ''
	one_line 'can not be read'
}

test_validate_a_file_named_like_an_option() {
	files
	mv bad.json ./--strict
	run 0 "$PODVM" validate good.json
	run 125 "$PODVM" validate -- --strict
	grep -q -- '--strict:1:36: id' err
}

test_validate_agrees_with_run() {
	files
	run 125 "$PODVM" validate bad.json
	mv err validate.err
	run 125 "$PODVM" run bad.json
	cmp err validate.err
}

test_spec_prints_a_pod_that_is_its_own_spec() {
	files
	run 0 "$PODVM" spec good.json
	equal "$(wc -l <out)" 1
	[ ! -s err ] || fail "said something: $(cat err)"
	mv out printed.json
	python3 -m json.tool printed.json >pretty.json
	run 0 "$PODVM" validate --strict printed.json pretty.json
	run 0 "$PODVM" spec pretty.json
	cmp out printed.json
	grep -q '"memory":128' out
}

test_spec_of_what_can_not_be_run_is_nothing() {
	files
	run 125 "$PODVM" spec bad.json
	[ ! -s out ] || fail "printed: $(cat out)"
	equal "$(wc -l <err)" 2
}

test_spec_that_can_not_be_written_fails() {
	files
	code=0
	"$PODVM" spec good.json >/dev/full 2>err || code=$?
	equal $code 125
	one_line 'No space left'
	code=0
	"$PODVM" spec good.json >&- 2>err || code=$?
	equal $code 125
	# All but the newline fits, which stdio still holds when the rest is written.
	printf '{"containers":[{"image":"a","command":["%01200d"]}]}' 0 >long.json
	run 0 "$PODVM" spec long.json
	local fill=$((4096 + 1 - $(wc -c <out)))
	[ $fill -gt 0 ] || fail "the pod has grown beyond what this test is made for"
	head -c $fill /dev/zero >full
	code=0
	(ulimit -f 4 && trap '' XFSZ && exec "$PODVM" spec long.json >>full 2>err) || code=$?
	[ "$(stat -c %s full)" = 4096 ] && [ $code = 125 ] || fail "$(stat -c %s full) bytes, code $code"
}

test_words_that_are_none() {
	files
	run 125 "$PODVM" validate
	one_line 'which pod?' 'podvm help validate'
	run 125 "$PODVM" spec
	one_line 'which pod?' 'podvm help spec'
	run 125 "$PODVM" spec good.json odd.json
	one_line 'odd.json is one too many'
	run 125 "$PODVM" validate --strct good.json
	one_line '--strct' 'did you mean --strict?'
	run 125 "$PODVM" validate good.json --strct
	one_line '--strct' 'did you mean --strict?'
	run 125 "$PODVM" validate --strict=yes good.json
	one_line '--strict=yes'
	run 125 "$PODVM" spec --pretty good.json
	one_line '--pretty: no such option; see podvm help spec'
	run 125 "$PODVM" validate -xh good.json
	one_line '-x: no such option'
	run 125 "$PODVM" run --strict -xy good.json
	one_line 'run: -x: no such option'
	run 125 "$PODVM" run --trace-bot good.json
	one_line 'did you mean --trace-boot?'
	run 125 "$PODVM" validat good.json
	one_line 'did you mean podvm validate?'
}

test_help_has_examples() {
	for command in validate spec; do
		run 0 "$PODVM" "$command" --help
		grep -q "^Usage: podvm $command " out
		grep -q "^  podvm $command .*pod.json" out
		mv out help
		run 0 "$PODVM" help "$command"
		cmp out help
		run 0 "$PODVM" help
		grep -q "^  $command " out
	done
}

test_schema_and_podvm_are_of_one_opinion() {
	/usr/bin/python3 "$TESTS/schema.py" "$PODVM"
}

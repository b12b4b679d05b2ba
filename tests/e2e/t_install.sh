# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# The Debian package: installs, runs a pod, and leaves nothing when it is removed.

test_package_installs_runs_and_goes() {
	command -v dpkg >/dev/null || skip "no dpkg here"
	[ "$(id -u)" = 0 ] || skip "only root installs packages"
	! dpkg-query -W podvm >/dev/null 2>&1 || skip "podvm is installed here already"
	dpkg -i "$BUILD/podvm.deb" >log 2>&1 || fail "$(cat log)"
	sh_pod p 'echo from $(uname -r)'
	run 0 /usr/bin/podvm p.json
	grep -q '^from .*-podvm$' out
	test -s /usr/share/man/man1/podvm.1.gz
	cmp /usr/share/doc/podvm/pod.schema.json "$BUILD/../docs/pod.schema.json"
	dpkg -r podvm >log 2>&1 || fail "$(cat log)"
	[ ! -e /usr/bin/podvm ] && [ ! -e /usr/share/doc/podvm ] || fail "something is left"
}

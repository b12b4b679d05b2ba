# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# The manual page: made from the commands' own texts, so what is tested is that all of them are in it and roff takes it.

test_man_page_has_every_command() {
	local command commands
	"$PODVM" help --man >podvm.1
	commands=$("$PODVM" help | sed -n 's/^  \([a-z]\{1,\}\) .*/\1/p' | sort -u)
	[ "$(wc -w <<<"$commands")" -ge 6 ] || fail "only $commands"
	for command in $commands; do
		grep -qx "\.SS $command" podvm.1 || fail "$command is missing"
	done
	groff -man -ww -z podvm.1 2>warnings
	equal "$(cat warnings)" ""
}

# What the help of a command says is in the page, word for word.
test_man_page_says_what_help_says() {
	"$PODVM" help --man >podvm.1
	groff -man -Tascii -P-cbou podvm.1 2>/dev/null >page
	"$PODVM" help run | sed -n '/^Options/,$p' | while read -r line; do
		grep -qF -e "$line" page || fail "not in the page: $line"
	done
}

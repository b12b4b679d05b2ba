// SPDX-License-Identifier: Apache-2.0
/*
 * podvm help --man: the manual page, made of the same table and texts as --help, so that it can not say anything else. What no
 * command's help has a place for stands here: files, environment, exit codes. roff as man(7) has it.
 */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

/* Text as it is: nothing in it is a request or an escape of roff. */
static void text_print(const char *text)
{
	bool line_start = true;

	for (; *text; text++) {
		if (line_start && (*text == '.' || *text == '\''))
			fputs("\\&", stdout);
		line_start = *text == '\n';
		if (*text == '\\')
			fputs("\\e", stdout);
		else if (*text == '-')
			fputs("\\-", stdout);
		else
			putchar(*text);
	}
}

/* Lines that stay as they are. */
static void block_print(const char *text)
{
	size_t bytes = strlen(text);

	puts(".nf");
	text_print(text);
	if (bytes && text[bytes - 1] != '\n')
		putchar('\n');
	puts(".fi");
}

static void command_print(const struct cli_command *command)
{
	printf(".SS ");
	text_print(command->name);
	printf("\n.B podvm ");
	text_print(command->name);
	printf("\n");
	text_print(command->usage);
	printf("\n.PP\n");
	text_print(command->summary);
	printf(".\n.PP\n");
	block_print(command->help);
}

static const char begin[] =
	".SH NAME\n"
	"podvm \\- run pods of containers in minimal virtual machines\n"
	".SH SYNOPSIS\n"
	".B podvm\n.I FILE\n.br\n.B podvm\n.I COMMAND\n[words]\n"
	".SH DESCRIPTION\n"
	"Runs a pod, one or more containers described by a small JSON file, inside its own virtual machine, and behaves like an\n"
	"ordinary command: output streams out, input and signals go in, the exit code comes back. Needs read and write access to\n"
	".IR /dev/kvm ,\n"
	"no daemon and no other rights.\n"
	".SH COMMANDS\n";

static const char end[] =
	".SH EXIT STATUS\n"
	"That of the container, or what the command says above. Of podvm itself:\n"
	".TP\n.B 125\npodvm could not do what was asked; a line on standard error says why.\n"
	".TP\n.B 126\nThe container's program was found and can not be run.\n"
	".TP\n.B 127\nThe container's program was not found.\n"
	".TP\n.B 128+n\nThe program died of signal n.\n"
	".TP\n.B 141\nNobody reads the output any more.\n"
	".SH FILES\n"
	".TP\n.I /dev/kvm\nThe kernel's virtual machines.\n"
	".TP\n.I $XDG_RUNTIME_DIR/podvm\n"
	"One directory per pod that runs, by which other commands find it; of root:\n.IR /run/podvm ,\nelse\n.IR /tmp/podvm\\-UID .\n"
	".SH SEE ALSO\n"
	"The pod file: pod.json.md and pod.schema.json, beside this page's documentation.\n";

void cli_man_print(void)
{
	printf(".TH PODVM 1 \"\" \"podvm " PODVM_VERSION "\" \"User Commands\"\n%s", begin);
	for (unsigned i = 0; cli_commands[i]; i++)
		command_print(cli_commands[i]);
	fputs(end, stdout);
}

// SPDX-License-Identifier: Apache-2.0
/* podvm help: the list of commands, or the help of one. */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

static void list_print(void)
{
	printf("Usage: podvm FILE              run the pod that FILE describes\n"
	       "       podvm COMMAND [words]\n\n"
	       "Commands:\n");
	for (unsigned i = 0; cli_commands[i]; i++)
		printf("  %-10s %s\n", cli_commands[i]->name, cli_commands[i]->summary);
	printf("\nMore about one: podvm help COMMAND\n");
}

static int help_main(const struct cli_command *command, int argc, char **argv)
{
	if (argc < 2) {
		list_print();
		return 0;
	}
	if (strcmp(argv[1], "--man") == 0) {
		cli_man_print();
		return 0;
	}
	for (unsigned i = 0; cli_commands[i]; i++) {
		if (cli_command_is(cli_commands[i], argv[1])) {
			cli_help_print(cli_commands[i]);
			return 0;
		}
	}
	return cli_usage_error(command, "%s: no such command", argv[1]);
}

const struct cli_command cmd_help = {
	.name = "help",
	.summary = "List the commands, or explain one",
	.usage = "[COMMAND | --man]",
	.help = "With --man all of it as a manual page.\n\nExamples:\n  podvm help\n  podvm help run\n"
		"  podvm help --man | man -l -\n",
	.main = help_main,
};

// SPDX-License-Identifier: Apache-2.0
/* cli: finds the command and the help. Knows the table, not what commands do. */
#include "cli/cli.h"

#include "lib/log.h"
#include "lib/util.h"

#include <assert.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

const struct cli_command *const cli_commands[] = {
	&cmd_run,   &cmd_ps,	   &cmd_exec, &cmd_stop,   &cmd_kill,	 &cmd_pause, &cmd_unpause,
	&cmd_stats, &cmd_validate, &cmd_spec, &cmd_doctor, &cmd_version, &cmd_help,  NULL};

static run_fn *run_pod;

run_fn *cli_run_fn(void)
{
	return run_pod;
}

enum { WORD_MAX = 32, NEAR_MAX = 2, OPTIONS_MAX = 32 };

/* Levenshtein distance of two short words; long ones are far from everything. */
static unsigned word_distance(const char *a, const char *b)
{
	size_t la = strlen(a), lb = strlen(b);
	unsigned row[WORD_MAX + 1];

	if (la > WORD_MAX || lb > WORD_MAX)
		return WORD_MAX;
	for (unsigned j = 0; j <= lb; j++)
		row[j] = j;
	for (size_t i = 1; i <= la; i++) {
		unsigned diagonal = row[0];

		row[0] = (unsigned)i;
		for (size_t j = 1; j <= lb; j++) {
			unsigned changed = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			row[j] = MIN(changed, MIN(row[j], row[j - 1]) + 1);
		}
	}
	return row[lb];
}

const char *cli_nearest(const char *word, const char *const *names)
{
	const char *best = NULL;
	unsigned best_distance = NEAR_MAX + 1;

	for (; *names; names++) {
		unsigned distance = word_distance(word, *names);

		if (distance < best_distance) {
			best = *names;
			best_distance = distance;
		}
	}
	return best;
}

/* What getopt_long() stumbled over. Of letters written together, as in -xy, optind does not say which; optopt does. */
static void option_word(char *const *argv, const struct option *options, char *word, size_t bytes)
{
	for (unsigned i = 0; options[i].name; i++) {
		if (!optopt || options[i].val == optopt) {
			snprintf(word, bytes, "%s", argv[optind - 1]);
			return;
		}
	}
	snprintf(word, bytes, "-%c", optopt);
}

int cli_option_unknown(const struct cli_command *command, char *const *argv, const struct option *options)
{
	const char *names[OPTIONS_MAX + 1] = {NULL}, *near;
	char words[OPTIONS_MAX][WORD_MAX], word[128];

	for (unsigned i = 0; options[i].name; i++) {
		assert(i < OPTIONS_MAX);
		snprintf(words[i], sizeof(words[i]), "--%s", options[i].name);
		names[i] = words[i];
	}
	option_word(argv, options, word, sizeof(word));
	near = cli_nearest(word, names);
	if (near)
		return cli_usage_error(command, "%s: no such option (did you mean %s?)", word, near);
	return cli_usage_error(command, "%s: no such option", word);
}

void cli_help_print(const struct cli_command *command)
{
	printf("Usage: podvm %s %s\n\n%s.\n\n%s", command->name, command->usage, command->summary, command->help);
}

int cli_usage_error(const struct cli_command *command, const char *fmt, ...)
{
	char text[256];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (command)
		log_warn("%s: %s; see podvm help %s", command->name, text, command->name);
	else
		log_warn("%s; see podvm help", text);
	return EXIT_USAGE;
}

bool cli_command_is(const struct cli_command *command, const char *name)
{
	return strcmp(command->name, name) == 0 || (command->alias && strcmp(command->alias, name) == 0);
}

static const struct cli_command *command_find(const char *name)
{
	for (unsigned i = 0; cli_commands[i]; i++)
		if (cli_command_is(cli_commands[i], name))
			return cli_commands[i];
	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
		return &cmd_help;
	if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0)
		return &cmd_version;
	return NULL;
}

/* A word that is no command: a pod file when it looks like one or is there, else a typo. */
static bool looks_like_file(const char *word)
{
	size_t bytes = strlen(word);

	return strchr(word, '/') || (bytes > 5 && strcasecmp(word + bytes - 5, ".json") == 0) ||
	       (bytes > 4 && strcasecmp(word + bytes - 4, ".pod") == 0) || access(word, F_OK) == 0;
}

static int unknown_command(const char *word)
{
	const char *names[ARRAY_SIZE(cli_commands)] = {NULL}, *near;

	for (unsigned i = 0; cli_commands[i]; i++)
		names[i] = cli_commands[i]->name;
	near = cli_nearest(word, names);
	if (near)
		return cli_usage_error(NULL, "%s: no such command or file (did you mean podvm %s?)", word, near);
	return cli_usage_error(NULL, "%s: no such command or file", word);
}

int cli_main(int argc, char **argv, run_fn *run)
{
	const struct cli_command *command;

	run_pod = run;
	if (argc < 2) {
		cmd_help.main(&cmd_help, 1, argv);
		return EXIT_USAGE;
	}
	command = command_find(argv[1]);
	if (command)
		return command->main(command, argc - 1, argv + 1);
	/* podvm [options] FILE: argv[0] stands where "run" would. */
	if (argv[1][0] == '-' || looks_like_file(argv[1]))
		return cmd_run.main(&cmd_run, argc, argv);
	return unknown_command(argv[1]);
}

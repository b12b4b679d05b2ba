/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli: the command line: a table of commands, one file each. A command parses its own words and calls what does the
 * work. Running a pod is told in vmm.c; it is handed in, so that nothing here needs to know of it.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <stdbool.h>

enum { EXIT_USAGE = 125 };

/* What `podvm run` was asked to do. Strings are argv's. */
struct run_options {
	const char *pod_file;
	const char *name;    /* of the pod among those that run; NULL: the file's id, or made up */
	const char *kernel;  /* NULL: the one inside podvm */
	const char *append;  /* more words for the kernel command line; NULL: none */
	const char *pcap;    /* file for all frames of the network; NULL: none */
	bool trace_boot;     /* print the time line of the start */
	bool console;	     /* the guest's kernel messages on stderr */
	bool strict;	     /* warnings of the pod file are errors */
};

/* Runs a pod to its end; returns the exit code. */
typedef int run_fn(const struct run_options *options);

struct cli_command {
	const char *name;
	const char *alias;   /* another name that is understood; NULL: none */
	const char *summary; /* one line for the list */
	const char *usage;   /* words after the name */
	const char *help;    /* options and examples */
	int (*main)(const struct cli_command *command, int argc, char **argv);
};

extern const struct cli_command *const cli_commands[]; /* ends with NULL */

/* Finds the command that argv names and runs it; `podvm FILE` is `podvm run FILE`. Returns the exit code. */
int cli_main(int argc, char **argv, run_fn *run);

bool cli_command_is(const struct cli_command *command, const char *name);
/* Prints what --help of a command shows. */
void cli_help_print(const struct cli_command *command);
/* Prints the manual page. */
void cli_man_print(void);
/* One clear line for a bad word on the command line; returns EXIT_USAGE. */
int cli_usage_error(const struct cli_command *command, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The nearest of the names to a mistyped word, or NULL when none is near. names ends with NULL. */
const char *cli_nearest(const char *word, const char *const *names);
/* After getopt_long() gave '?': the usage error for the word of argv that is none of options; names the nearest. */
struct option;
int cli_option_unknown(const struct cli_command *command, char *const *argv, const struct option *options);

/* For cli/run.c: what cli_main() was given. */
run_fn *cli_run_fn(void);

extern const struct cli_command cmd_run, cmd_ps, cmd_exec, cmd_stop, cmd_kill, cmd_pause, cmd_unpause, cmd_stats, cmd_validate,
	cmd_spec, cmd_doctor, cmd_version, cmd_help;

#endif

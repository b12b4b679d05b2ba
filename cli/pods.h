/* SPDX-License-Identifier: Apache-2.0 */
/* pods: what commands for pods that run have in common: finding one by its name, asking it, and the words for failure. */
#ifndef CLI_PODS_H
#define CLI_PODS_H

#include "live/talk.h"

#include <getopt.h>
#include <stdbool.h>

/* A pod that is being asked. */
struct pods_line {
	int fd;
	struct talk_reader reader;
};

/*
 * Connects to the pod of that name. False after a line to the user: there is no such pod (the nearest is named), it
 * crashed, or it does not answer.
 */
bool pods_open(struct pods_line *line, const char *name);
/* An end for all waits for answers of a pod that is stopped or busy, in seconds; 0: none. */
void pods_patience(struct pods_line *line, unsigned seconds);
/* A line to the user when the state directory is there and can not be used; false: it can. */
bool pods_complain(void);
void pods_close(struct pods_line *line);

/* Sends, with descriptors or none. 0 or -errno. Takes the message over. */
int pods_send(struct pods_line *line, struct message *ask, const int *fds, unsigned fd_count);
/* The next answer, fresh; NULL when there is none any more. */
struct message *pods_next(struct pods_line *line);

/* Asks the pod of that name; an answer without "error", fresh, or NULL after a line to the user. Takes ask over. */
struct message *pods_ask(const char *name, struct message *ask);

/* POD or POD/CONTAINER of the command line: cuts it, and gives the container, or NULL. */
char *pods_container(char *word);

/* Goes through options when a command has only those with letters below and --help. False: *code is the exit code. */
struct cli_command;
typedef bool pods_option_fn(void *ctx, int opt, const char *value);
bool pods_options(const struct cli_command *command, int argc, char **argv, const char *letters, const struct option *options,
		  pods_option_fn *take, void *ctx, int *code);

#endif

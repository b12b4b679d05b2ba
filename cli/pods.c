// SPDX-License-Identifier: Apache-2.0
/* pods: see pods.h. Must not know what is asked for. */
#include "cli/pods.h"

#include "cli/cli.h"
#include "lib/log.h"
#include "lib/util.h"
#include "live/dir.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void not_found(const char *name)
{
	struct dir_entry *entries;
	const char **names, *near;
	size_t count;

	if (dir_list(&entries, &count))
		count = 0;
	names = xcalloc(count + 1, sizeof(*names));
	for (size_t i = 0; i < count; i++)
		names[i] = entries[i].name;
	near = cli_nearest(name, names);
	if (near)
		log_warn("no pod %s runs here (did you mean %s?); podvm ps lists them", name, near);
	else
		log_warn("no pod %s runs here; podvm ps lists them", name);
	free(names);
	free(entries);
}

bool pods_complain(void)
{
	char *why = NULL;
	int err = dir_check(&why);

	if (err && err != -ENOENT)
		log_warn("%s", why);
	free(why);
	return err && err != -ENOENT;
}

bool pods_open(struct pods_line *line, const char *name)
{
	*line = (struct pods_line){.fd = dir_connect(name)};
	if (line->fd >= 0)
		return true;
	if (line->fd == -ENOENT)
		not_found(name);
	else if (line->fd == -ECONNREFUSED)
		log_warn("the pod %s does not run any more", name);
	else if (!pods_complain())
		log_warn("the pod %s can not be reached: %s", name, strerror(-line->fd));
	return false;
}

void pods_patience(struct pods_line *line, unsigned seconds)
{
	struct timeval limit = {.tv_sec = seconds};

	setsockopt(line->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
}

void pods_close(struct pods_line *line)
{
	talk_reader_free(&line->reader);
	close(line->fd);
}

int pods_send(struct pods_line *line, struct message *ask, const int *fds, unsigned fd_count)
{
	int err = talk_send(line->fd, ask, fds, fd_count);

	message_free(ask);
	return err;
}

struct message *pods_next(struct pods_line *line)
{
	struct message *message;
	int got;

	while (!(got = talk_next(&line->reader, &message)))
		if (talk_receive(&line->reader, line->fd, 0) <= 0)
			return NULL;
	return got > 0 ? message : NULL;
}

struct message *pods_ask(const char *name, struct message *ask)
{
	struct pods_line line;
	struct message *answer = NULL;

	if (!pods_open(&line, name)) {
		message_free(ask);
		return NULL;
	}
	if (!pods_send(&line, ask, NULL, 0))
		answer = pods_next(&line);
	pods_close(&line);
	if (!answer) {
		log_warn("the pod %s ended before it answered", name);
	} else if (message_text(answer, "error")) {
		log_warn("%s", message_text(answer, "error"));
		message_free(answer);
		answer = NULL;
	}
	return answer;
}

char *pods_container(char *word)
{
	char *slash = strchr(word, '/');

	if (slash)
		*slash++ = '\0';
	return slash;
}

bool pods_options(const struct cli_command *command, int argc, char **argv, const char *letters, const struct option *options,
		  pods_option_fn *take, void *ctx, int *code)
{
	int opt;

	opterr = 0;
	optind = 1;
	*code = EXIT_USAGE;
	while ((opt = getopt_long(argc, argv, letters, options, NULL)) != -1) {
		if (opt == 'h') {
			cli_help_print(command);
			*code = 0;
			return false;
		}
		if (opt == ':') {
			cli_usage_error(command, "%s needs a value", argv[(optind < argc ? optind : argc) - 1]); /* musl counts past the end */
			return false;
		}
		if (opt == '?') {
			cli_option_unknown(command, argv, options);
			return false;
		}
		if (!take(ctx, opt, optarg))
			return false;
	}
	return true;
}

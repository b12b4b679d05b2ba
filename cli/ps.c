// SPDX-License-Identifier: Apache-2.0
/* podvm ps: the pods that run. */
#include "cli/cli.h"
#include "cli/pods.h"

#include "lib/log.h"
#include "lib/util.h"
#include "live/dir.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATIENCE_S = 2, OPT_JSON = 256 };

struct view {
	bool quiet, json;
};

static const struct option long_options[] = {
	{"quiet", no_argument, NULL, 'q'},
	{"json", no_argument, NULL, OPT_JSON},
	{"help", no_argument, NULL, 'h'},
	{NULL, 0, NULL, 0},
};

static bool option_take(void *ctx, int opt, const char *value)
{
	struct view *view = ctx;

	(void)value;
	if (opt == 'q')
		view->quiet = true;
	else
		view->json = true;
	return true;
}

/* What the pod says of itself; or what can be said of one that says nothing. Fresh; NULL: it has just ended. */
static struct message *status_get(const struct dir_entry *entry)
{
	struct message *answer = NULL;
	struct pods_line line = {.fd = entry->alive ? dir_connect(entry->name) : -1};
	const char *phase = entry->alive ? "starting" : "crashed";
	struct dir_entry now;

	if (line.fd >= 0) {
		pods_patience(&line, PATIENCE_S);
		if (!pods_send(&line, message_ask("status"), NULL, 0))
			answer = pods_next(&line);
		pods_close(&line);
		phase = "silent";
	}
	if (answer && message_text(answer, "phase"))
		return answer;
	message_free(answer);
	if (dir_find(entry->name, &now) || (entry->alive && !now.alive))
		return NULL;
	answer = message_set_text(message_new(), "name", entry->name);
	message_set_number(answer, "pid", entry->pid);
	message_set_text(answer, "phase", phase);
	return message_add(answer, "containers", NULL);
}

/* "running 3 min": two digits suffice. */
static void phase_print(const struct message *status, char *text, size_t room)
{
	uint64_t now_ms = clock_real_ns() / 1000000, started_ms = message_count(status, "startedMs", now_ms, now_ms);
	uint64_t s = (now_ms - started_ms) / 1000;
	const char *phase = message_text(status, "phase");

	if (strcmp(phase, "running") && strcmp(phase, "paused"))
		snprintf(text, room, "%s", phase);
	else if (s < 120)
		snprintf(text, room, "%s %u s", phase, (unsigned)s);
	else if (s < 120 * 60)
		snprintf(text, room, "%s %u min", phase, (unsigned)(s / 60));
	else if (s < 48 * 3600)
		snprintf(text, room, "%s %u h", phase, (unsigned)(s / 3600));
	else
		snprintf(text, room, "%s %u days", phase, (unsigned)(s / 86400));
}

static void containers_print(const struct message *status)
{
	const struct message *one;

	for (size_t i = 0; (one = message_at(status, "containers", i)); i++) {
		const char *name = message_text(one, "name"), *state = message_text(one, "state");

		printf("%s%s", i ? ", " : "", name ? name : "?");
		if (state && !strcmp(state, "ended"))
			printf(" (ended %u)", (unsigned)message_count(one, "code", 255, 255));
	}
}

static void row_print(const struct message *status)
{
	char phase[40];

	phase_print(status, phase, sizeof(phase));
	printf("%-20s %-16s %7u  ", message_text(status, "name"), phase,
	       (unsigned)message_count(status, "pid", UINT32_MAX, 0));
	containers_print(status);
	putchar('\n');
}

static int pods_print(const struct view *view)
{
	struct message *all = message_add(message_new(), "pods", NULL);
	struct dir_entry *entries;
	size_t count;
	char *text;
	int err = dir_list(&entries, &count);

	if (err) {
		if (!pods_complain())
			log_warn("the state directory can not be read: %s", strerror(-err));
		message_free(all);
		return EXIT_PODVM;
	}
	for (size_t i = 0; i < count; i++) {
		struct message *status = status_get(&entries[i]);

		if (status)
			message_add(all, "pods", status);
	}
	free(entries);
	if (view->json) {
		text = message_json(all, "pods");
		puts(text);
		free(text);
	} else if (!view->quiet) {
		printf("%-20s %-16s %7s  %s\n", "NAME", "STATUS", "PID", "CONTAINERS");
	}
	for (size_t i = 0; !view->json && message_at(all, "pods", i); i++) {
		if (view->quiet)
			puts(message_text(message_at(all, "pods", i), "name"));
		else
			row_print(message_at(all, "pods", i));
	}
	message_free(all);
	return 0;
}

static int ps_main(const struct cli_command *command, int argc, char **argv)
{
	struct view view = {0};
	int code;

	if (!pods_options(command, argc, argv, "qh", long_options, option_take, &view, &code))
		return code;
	if (optind < argc)
		return cli_usage_error(command, "%s: it takes no words", argv[optind]);
	return pods_print(&view);
}

const struct cli_command cmd_ps = {
	.name = "ps",
	.alias = "list",
	.summary = "List the pods of this user that run",
	.usage = "[-q] [--json]",
	.help = "Options:\n"
		"  -q, --quiet     names only\n"
		"  --json          a list of objects: name, pid, phase, startedMs, containers\n"
		"  -h, --help      this text\n\n"
		"STATUS is starting, running, paused, stopping, crashed (its podvm was killed; the next pod of that name takes\n"
		"its place) or silent (it does not answer within 2 seconds).\n\n"
		"Examples:\n"
		"  podvm ps\n"
		"  podvm stop $(podvm ps -q)\n",
	.main = ps_main,
};

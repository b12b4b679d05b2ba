// SPDX-License-Identifier: Apache-2.0
/* podvm stop, kill, pause and unpause: short orders to pods that run. */
#include "cli/cli.h"
#include "cli/pods.h"

#include "lib/log.h"
#include "lib/util.h"
#include "live/dir.h"
#include "pod/spec.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	GRACE_S_DEFAULT = 5,
	GRACE_S_MAX = 24 * 3600,
	FORCE_MS = 10000, /* beyond the grace: podvm itself switches the machine off after three seconds */
};

struct order {
	const struct cli_command *command;
	unsigned grace_s;
	int signo;
};

static const struct option stop_options[] = {
	{"time", required_argument, NULL, 't'},
	{"help", no_argument, NULL, 'h'},
	{NULL, 0, NULL, 0},
};

static const struct option kill_options[] = {
	{"signal", required_argument, NULL, 's'},
	{"help", no_argument, NULL, 'h'},
	{NULL, 0, NULL, 0},
};

static const struct option no_options[] = {
	{"help", no_argument, NULL, 'h'},
	{NULL, 0, NULL, 0},
};

static bool time_take(struct order *order, const char *value)
{
	char *end;
	unsigned long seconds;

	errno = 0;
	seconds = strtoul(value, &end, 10);
	if (value[0] < '0' || value[0] > '9' || *end || errno || seconds > GRACE_S_MAX) {
		cli_usage_error(order->command, "-t %s: expected seconds, 0 to %d", value, GRACE_S_MAX);
		return false;
	}
	order->grace_s = (unsigned)seconds;
	return true;
}

static bool option_take(void *ctx, int opt, const char *value)
{
	struct order *order = ctx;

	if (opt == 't')
		return time_take(order, value);
	order->signo = spec_signal_number(strncmp(value, "SIG", 3) ? value : value + 3);
	if (!order->signo)
		cli_usage_error(order->command, "-s %s: expected a signal such as TERM or 15", value);
	return order->signo != 0;
}

/* True when the pod took the order. */
static bool obey(const char *name, struct message *ask)
{
	struct message *answer = pods_ask(name, ask);

	message_free(answer);
	return answer != NULL;
}

static bool stop(const struct order *order, const char *name, unsigned grace_s)
{
	(void)order;
	if (!obey(name, message_set_number(message_ask("stop"), "graceMs", grace_s * 1000.0)))
		return false;
	if (!dir_wait_gone(name, (int)(grace_s * 1000) + FORCE_MS))
		return true;
	log_warn("the pod %s does not end; kill -9 of its podvm (podvm ps shows the pid) is what is left", name);
	return false;
}

static bool stop_one(const struct order *order, char *word)
{
	return stop(order, word, order->grace_s);
}

static bool kill_one(const struct order *order, char *word)
{
	char *container = pods_container(word);
	struct message *ask;

	if (!container && order->signo == SIGKILL)
		return stop(order, word, 0);
	ask = message_set_number(message_ask("kill"), "signal", order->signo);
	if (container)
		message_set_text(ask, "container", container);
	return obey(word, ask);
}

static bool pause_one(const struct order *order, char *word)
{
	return obey(word, message_ask(order->command->name));
}

/* The same for every word; 125 when it failed for one. */
static int each(const struct cli_command *command, int argc, char **argv, const char *letters, const struct option *options,
		bool (*one)(const struct order *order, char *word))
{
	struct order order = {.command = command, .grace_s = GRACE_S_DEFAULT, .signo = SIGKILL};
	int code;

	if (!pods_options(command, argc, argv, letters, options, option_take, &order, &code))
		return code;
	if (optind == argc)
		return cli_usage_error(command, "which pod? podvm ps lists them");
	code = 0;
	for (int i = optind; i < argc; i++)
		if (!one(&order, argv[i]))
			code = EXIT_PODVM;
	return code;
}

static int stop_main(const struct cli_command *command, int argc, char **argv)
{
	return each(command, argc, argv, ":t:h", stop_options, stop_one);
}

static int kill_main(const struct cli_command *command, int argc, char **argv)
{
	return each(command, argc, argv, ":s:h", kill_options, kill_one);
}

static int pause_main(const struct cli_command *command, int argc, char **argv)
{
	return each(command, argc, argv, ":h", no_options, pause_one);
}

const struct cli_command cmd_stop = {
	.name = "stop",
	.summary = "Stop pods: stop signal, a while to end, then kill",
	.usage = "[-t SECONDS] POD...",
	.help = "Returns when they have ended. A pod that is paused goes on to end.\n\n"
		"Options:\n"
		"  -t, --time SECONDS   between stop signal and kill, 5 if not given\n"
		"  -h, --help           this text\n\n"
		"Examples:\n"
		"  podvm stop web\n"
		"  podvm stop -t 60 db\n\n"
		"Exit code: 0, or 125 when a pod is not there or does not end.\n",
	.main = stop_main,
};

const struct cli_command cmd_kill = {
	.name = "kill",
	.summary = "Send a signal to the containers of pods",
	.usage = "[-s SIGNAL] POD[/CONTAINER]...",
	.help = "KILL, which is sent if no other is named, to a whole pod ends it at once, and the command returns when it has.\n"
		"A container that its restart policy starts again, starts again. STOP and CONT hold and go on with all of a\n"
		"container's processes.\n\n"
		"Options:\n"
		"  -s, --signal SIGNAL   name or number: HUP, SIGUSR1, 15\n"
		"  -h, --help            this text\n\n"
		"Examples:\n"
		"  podvm kill web\n"
		"  podvm kill -s HUP web/nginx\n\n"
		"Exit code: 0, or 125 when a pod or container is not there.\n",
	.main = kill_main,
};

const struct cli_command cmd_pause = {
	.name = "pause",
	.summary = "Hold pods where they are",
	.usage = "POD...",
	.help = "Their virtual CPUs stand still and use no CPU of the host until podvm unpause; memory stays.\n\n"
		"Options:\n"
		"  -h, --help      this text\n\n"
		"Example:\n"
		"  podvm pause web\n",
	.main = pause_main,
};

const struct cli_command cmd_unpause = {
	.name = "unpause",
	.summary = "Let paused pods go on",
	.usage = "POD...",
	.help = "Their clocks are set right.\n\n"
		"Options:\n"
		"  -h, --help      this text\n\n"
		"Example:\n"
		"  podvm unpause web\n",
	.main = pause_main,
};

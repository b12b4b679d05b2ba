// SPDX-License-Identifier: Apache-2.0
/*
 * podvm exec: a further process in a container that runs.
 *
 * Theory of operation
 * -------------------
 * The process's three streams are sockets, one end passed to the pod's podvm. What goes between the other ends and this
 * command's own descriptors is copied here, so that the pod's podvm never touches the user's terminal nor waits for it. A
 * thread per direction reads and writes and may block; the main thread hears signals and the pod. When the pod says how
 * the process ended all its output lies in the sockets: the two output threads are waited for, the input one is not.
 */
#include "cli/cli.h"
#include "cli/pods.h"

#include "lib/log.h"
#include "lib/util.h"
#include "pod/spec_exec.h"
#include "vm/terminal.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum { COPY_BYTES = 64 * 1024, INTERRUPTS_MAX = 3 };

static const int signals_passed[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};

/* A direction: from one descriptor to another. */
struct copy {
	int from, to;
	bool to_socket; /* its end is told by shutdown */
	bool started;
	pthread_t thread;
};

struct client {
	const struct cli_command *command;
	struct spec_exec process;
	bool input;
	char *pod, *container;
	struct pods_line line;
	struct copy in, out, err;
	int signal_fd;
	unsigned interrupts;
};

static const struct option long_options[] = {
	{"interactive", no_argument, NULL, 'i'}, {"tty", no_argument, NULL, 't'},
	{"user", required_argument, NULL, 'u'},	 {"env", required_argument, NULL, 'e'},
	{"workdir", required_argument, NULL, 'w'}, {"help", no_argument, NULL, 'h'},
	{NULL, 0, NULL, 0},
};

/* ---- the command line ---- */

/* NAME=VALUE, or NAME with the value it has here. */
static bool env_take(struct client *client, const char *word)
{
	struct spec_exec *process = &client->process;
	const char *equals = strchr(word, '='), *value = equals ? equals + 1 : getenv(word);
	int length = (int)(equals ? (size_t)(equals - word) : strlen(word));

	if (!length) {
		cli_usage_error(client->command, "-e %s: expected NAME=VALUE", word);
		return false;
	}
	if (!value) /* as docker has it: what is not set here is not set there */
		return true;
	process->envs = xrealloc(process->envs, (process->env_count + 1) * sizeof(*process->envs));
	process->envs[process->env_count++] = (struct spec_env){.name = xasprintf("%.*s", length, word), .value = xstrdup(value)};
	return true;
}

static void user_take(struct spec_user *user, const char *word)
{
	const char *colon = strchr(word, ':');

	free(user->name);
	free(user->group);
	user->name = xasprintf("%.*s", (int)(colon ? (size_t)(colon - word) : strlen(word)), word);
	user->group = xstrdup(colon ? colon + 1 : "");
}

static bool option_take(void *ctx, int opt, const char *value)
{
	struct client *client = ctx;

	switch (opt) {
	case 'i':
		client->input = true;
		return true;
	case 't':
		client->process.tty = true;
		return true;
	case 'u':
		user_take(&client->process.user, value);
		return true;
	case 'w':
		free(client->process.workdir);
		client->process.workdir = xstrdup(value);
		return true;
	default:
		return env_take(client, value);
	}
}

/* ---- streams ---- */

static void *copy_run(void *ctx)
{
	const struct copy *copy = ctx;
	char *bytes = xmalloc(COPY_BYTES);
	ssize_t got;

	while ((got = read(copy->from, bytes, COPY_BYTES)) > 0 || (got < 0 && errno == EINTR))
		if (got > 0 && write_all(copy->to, bytes, (size_t)got) < 0)
			break;
	/* Nothing more goes either way: the writer shall meet the end of its pipe, the reader that of its input. */
	shutdown(copy->to_socket ? copy->to : copy->from, copy->to_socket ? SHUT_WR : SHUT_RDWR);
	free(bytes);
	return NULL;
}

static bool copy_start(struct copy *copy)
{
	copy->started = pthread_create(&copy->thread, NULL, copy_run, copy) == 0;
	return copy->started;
}

/* Two ends: ours stays, the other is for the pod. */
static int socket_pair(int *ours)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		die_errno(errno, "no sockets for the streams");
	*ours = pair[0];
	return pair[1];
}

/* ---- talking to the pod ---- */

static bool winsize_get(const struct client *client, uint16_t *rows, uint16_t *cols)
{
	*rows = *cols = 0;
	return client->process.tty && (!terminal_size(STDIN_FILENO, rows, cols) || !terminal_size(STDOUT_FILENO, rows, cols));
}

static struct message *winsize_set(const struct client *client, struct message *message)
{
	uint16_t rows, cols;

	if (winsize_get(client, &rows, &cols)) {
		message_set_number(message, "rows", rows);
		message_set_number(message, "cols", cols);
	}
	return message;
}

static bool process_ask(struct client *client)
{
	struct message *ask = winsize_set(client, message_ask("exec"));
	char *json = spec_exec_print(&client->process);
	int fds[TALK_FDS_MAX], err;

	fds[0] = socket_pair(&client->in.to);
	fds[1] = socket_pair(&client->out.from);
	fds[2] = socket_pair(&client->err.from);
	message_set_json(ask, "process", json);
	free(json);
	if (client->container)
		message_set_text(ask, "container", client->container);
	err = pods_send(&client->line, ask, fds, TALK_FDS_MAX);
	for (unsigned i = 0; i < TALK_FDS_MAX; i++)
		close(fds[i]);
	if (err)
		log_warn("the pod %s can not be asked: %s", client->pod, strerror(-err));
	return !err;
}

static void signals_take(struct client *client)
{
	sigset_t taken;

	sigemptyset(&taken);
	sigaddset(&taken, SIGWINCH);
	for (size_t i = 0; i < ARRAY_SIZE(signals_passed); i++)
		sigaddset(&taken, signals_passed[i]);
	sigprocmask(SIG_BLOCK, &taken, NULL);
	signal(SIGPIPE, SIG_IGN); /* a reader that went away is an error of write(), and the process's to hear of */
	client->signal_fd = signalfd(-1, &taken, SFD_CLOEXEC | SFD_NONBLOCK);
	if (client->signal_fd < 0)
		die_errno(errno, "no descriptor for signals");
}

/* False: the user wants out, whatever the process does. */
static bool signals_pass(struct client *client)
{
	struct signalfd_siginfo info;

	while (read(client->signal_fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGWINCH && !client->process.tty)
			continue;
		if (info.ssi_signo == SIGWINCH)
			(void)pods_send(&client->line, winsize_set(client, message_ask("winsize")), NULL, 0);
		else
			(void)pods_send(&client->line,
					message_set_number(message_ask("signal"), "signal", info.ssi_signo), NULL, 0);
		if (info.ssi_signo == SIGINT && ++client->interrupts == INTERRUPTS_MAX)
			return false;
	}
	return true;
}

/* It runs: the terminal is its own from now on, and its input is read. */
static void process_began(struct client *client)
{
	if (client->process.tty && isatty(STDIN_FILENO))
		(void)terminal_raw(STDIN_FILENO);
	if (!client->input || !copy_start(&client->in))
		shutdown(client->in.to, SHUT_WR);
}

/* An answer of the pod. True when it was the last, with the exit code. */
static bool answer_take(struct client *client, const struct message *answer, int *code)
{
	const struct message *exited = message_get(answer, "exited");
	const char *error = message_text(answer, "error");

	if (error) {
		terminal_restore();
		log_warn("%s", error);
		*code = (int)message_count(answer, "code", 255, EXIT_PODVM);
		return true;
	}
	if (!exited) {
		process_began(client);
		return false;
	}
	*code = (int)message_count(exited, "code", 255, EXIT_PODVM);
	if (message_bool(exited, "oomKilled")) {
		terminal_restore();
		log_warn("the process ran out of memory and was killed");
	}
	return true;
}

/* Until the process has ended; its exit code. */
static int conversation(struct client *client)
{
	struct pollfd polled[] = {{.fd = client->line.fd, .events = POLLIN}, {.fd = client->signal_fd, .events = POLLIN}};
	struct message *answer;
	int code = EXIT_PODVM;
	bool over = false;

	while (!over) {
		if (poll(polled, ARRAY_SIZE(polled), -1) < 0)
			continue;
		if (polled[1].revents && !signals_pass(client))
			return 128 + SIGINT;
		if (!polled[0].revents)
			continue;
		if (talk_receive(&client->line.reader, client->line.fd, 0) <= 0) {
			terminal_restore();
			log_warn("the pod %s has ended", client->pod);
			return EXIT_PODVM;
		}
		while (!over && talk_next(&client->line.reader, &answer) > 0) {
			over = answer_take(client, answer, &code);
			message_free(answer);
		}
	}
	return code;
}

static int process_run(struct client *client)
{
	int code;

	if (!pods_open(&client->line, client->pod))
		return EXIT_PODVM;
	if (!process_ask(client))
		return EXIT_PODVM;
	signals_take(client);
	client->in = (struct copy){.from = STDIN_FILENO, .to = client->in.to, .to_socket = true};
	client->out = (struct copy){.from = client->out.from, .to = STDOUT_FILENO};
	client->err = (struct copy){.from = client->err.from, .to = STDERR_FILENO};
	if (!copy_start(&client->out) || !copy_start(&client->err))
		die("no threads for the streams");
	code = conversation(client);
	if (code == 128 + SIGINT && client->interrupts == INTERRUPTS_MAX)
		return code;
	pthread_join(client->out.thread, NULL);
	pthread_join(client->err.thread, NULL);
	terminal_restore();
	pods_close(&client->line);
	return code;
}

static int exec_main(const struct cli_command *command, int argc, char **argv)
{
	struct client client = {.command = command};
	struct spec_exec *process = &client.process;
	int code;

	*process = (struct spec_exec){.workdir = xstrdup(""), .user = {.name = xstrdup(""), .group = xstrdup("")}};
	if (!pods_options(command, argc, argv, "+:itu:e:w:h", long_options, option_take, &client, &code))
		return code;
	if (optind == argc)
		return cli_usage_error(command, "in which pod? podvm ps lists them");
	if (optind + 1 == argc)
		return cli_usage_error(command, "which command?");
	if (process->tty && client.input && !isatty(STDIN_FILENO))
		return cli_usage_error(command, "-it: standard input is no terminal; leave out -t");
	client.pod = argv[optind];
	client.container = pods_container(argv[optind]);
	process->command = argv + optind + 1;
	process->command_count = (size_t)(argc - optind - 1);
	return process_run(&client);
}

const struct cli_command cmd_exec = {
	.name = "exec",
	.summary = "Run a further process in a container that runs",
	.usage = "[-it] [-u USER[:GROUP]] [-e NAME[=VALUE]]... [-w DIR] POD[/CONTAINER] COMMAND [ARG...]",
	.help = "In the first container when none is named, with that container's user, environment and directory, its limits and\n"
		"rights.\n\n"
		"Options:\n"
		"  -i, --interactive    standard input goes to the process; else it reads an end\n"
		"  -t, --tty            it gets a terminal, which follows the size of this one\n"
		"  -u, --user USER      by name or number, with :GROUP or without\n"
		"  -e, --env NAME=VALUE one more variable; NAME alone: with the value it has here\n"
		"  -w, --workdir DIR    where it starts\n"
		"  -h, --help           this text\n\n"
		"Signals INT, TERM, HUP, QUIT, USR1 and USR2 reach the process; the third INT ends this command. When this command\n"
		"ends otherwise the process gets HUP, and 5 seconds later KILL.\n\n"
		"Examples:\n"
		"  podvm exec web ps\n"
		"  podvm exec -it web/db sh\n"
		"  podvm exec -i web sh -c 'cat >/tmp/file' <file\n\n"
		"Exit code: the process's; 128+n when it died of signal n; 125 podvm failed; 126 command not executable; 127\n"
		"command not found.\n",
	.main = exec_main,
};

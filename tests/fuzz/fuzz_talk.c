/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_talk: what clients of the control socket can send to vm/server.c, in any pieces, with any descriptors, hanging up and
 * not reading as they like, while the session (tests/unit/session_fake.h) answers as it likes.
 *
 * An input is a list of records: one byte what to do, and in its upper half for which client, two bytes length
 * (little-endian), that many bytes. Besides what the sanitizers and session_fake's own demands see: whatever is answered is a
 * line with one JSON object of a known kind, and once the clients are gone no question, exec or descriptor is left.
 */
#include "lib/util.h"
#include "live/talk.h"
#include "tests/fuzz/input.h"
#include "tests/unit/session_fake.h"
#include "vm/server.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { RECORDS_MAX = 256, CLIENTS = 3, FDS_MAX = 8, TURNS_MIN = 8, TURNS_MAX = 200 };

enum what { SEND, SEND_LINE, SEND_FDS, HANG_UP, END, READ, TURN, STATS, STARTED, REFUSED, EXITED, SESSION, KINDS };

/* Requests that are right, so that one byte leads to each. */
static const char *const lines[] = {
	"{\"do\":\"status\"}\n",
	"{\"do\":\"stats\"}\n",
	"{\"do\":\"stop\",\"graceMs\":5}\n",
	"{\"do\":\"kill\",\"signal\":9}\n",
	"{\"do\":\"kill\",\"signal\":1,\"container\":\"b\"}\n",
	"{\"do\":\"pause\"}\n",
	"{\"do\":\"unpause\"}\n",
	"{\"do\":\"exec\",\"process\":{\"command\":[\"ls\"]}}\n",
	"{\"do\":\"exec\",\"container\":\"b\",\"rows\":3,\"cols\":4,\"process\":{\"command\":[\"ls\"],\"tty\":true}}\n",
	"{\"do\":\"signal\",\"signal\":2}\n",
	"{\"do\":\"winsize\",\"rows\":1,\"cols\":65535}\n",
};

static char runtime[] = "/tmp/fuzz_talk.XXXXXX";
static struct loop *loop;
static struct dir_pod *dir;
static struct server *server;
static struct client {
	int fd; /* -1: not connected */
	struct talk_reader reader;
} clients[CLIENTS];
static int fd_free; /* the lowest descriptor when nobody is connected */

static int lowest_fd(void)
{
	int fd = dup(STDIN_FILENO);

	close(fd);
	return fd;
}

static void stop_loop(void *ctx)
{
	loop_stop(ctx);
}

static void turn(void)
{
	struct loop_task stop = {.fn = stop_loop, .ctx = loop};

	loop_task_post(loop, &stop);
	loop_run(loop);
}

static void all_end(void)
{
	server_free(server);
	dir_pod_free(dir);
	loop_free(loop);
	if (!chdir(runtime) && !rmdir("podvm"))
		rmdir(runtime);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct server_config config = {.session = &fake, .spec = &fake_spec};
	char *why;

	(void)argc, (void)argv;
	must(mkdtemp(runtime) && !setenv("XDG_RUNTIME_DIR", runtime, 1), "no directory");
	must(!dir_pod_make("web", true, &dir, &why), "no directory for the pod");
	config.dir = dir;
	config.loop = loop = loop_new();
	server = server_new(&config);
	must(server != NULL, "no server");
	for (unsigned i = 0; i < CLIENTS; i++)
		clients[i].fd = -1;
	atexit(all_end);
	return 0;
}

static void hang_up(struct client *client)
{
	if (client->fd < 0)
		return;
	close(client->fd);
	client->fd = -1;
	talk_reader_free(&client->reader);
}

static void send_bytes(struct client *client, const void *bytes, size_t count, unsigned fd_count)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int) * FDS_MAX)];
		struct cmsghdr align;
	} control = {.align = {.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int) * fd_count)}};
	struct iovec from = {.iov_base = (void *)bytes, .iov_len = count};
	struct msghdr msg = {.msg_iov = &from, .msg_iovlen = 1};
	const int fds[FDS_MAX] = {0};

	if (fd_count) {
		memcpy(CMSG_DATA(&control.align), fds, sizeof(int) * fd_count);
		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
	}
	(void)!sendmsg(client->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void answers_read(struct client *client)
{
	static const char *const kinds[] = {"error", "ok", "started", "exited", "stats", "phase"};
	struct message *answer;
	int got;

	for (;;) {
		bool known = false;

		while ((got = talk_next(&client->reader, &answer)) > 0) {
			for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++)
				known |= message_has(answer, kinds[i]);
			must(known, "an answer of no known kind");
			message_free(answer);
		}
		must(!got, "an answer that is no JSON object");
		if (talk_receive(&client->reader, client->fd, MSG_DONTWAIT) <= 0)
			return;
	}
}

static void exec_refused(unsigned exec, const uint8_t *bytes, size_t count)
{
	char *why = memcpy(xcalloc(count + 1, 1), bytes, count);

	fake_exec_refused(exec, why);
	free(why);
}

static void session_change(const uint8_t *bytes, size_t count)
{
	static const int results[] = {0, 0, -ENOTCONN, -EALREADY, -EINVAL, -EAGAIN, -ESRCH};

	if (count < 2)
		return;
	fake.phase = bytes[0] % (SESSION_ENDED + 1);
	fake.result = results[bytes[1] % ARRAY_SIZE(results)];
	fake.containers[0].state = bytes[0] / 16 % 3;
}

static void stats_come(const uint8_t *bytes, size_t count)
{
	struct wire_use uses[FAKE_CONTAINERS] = {0};
	struct wire_stats pod = {0};

	memcpy(&pod, bytes, MIN(count, sizeof(pod)));
	memcpy(uses, bytes, MIN(count, sizeof(uses)));
	fake_stats_come(count ? &pod : NULL, count ? uses : NULL);
}

static void act(enum what what, struct client *client, const uint8_t *bytes, size_t count)
{
	unsigned number = count ? bytes[0] : 0;

	if (client->fd < 0) {
		client->fd = dir_connect("web");
		must(client->fd >= 0, "the server does not listen");
		turn();
	}
	switch (what) {
	case SEND:
	case KINDS:
		send_bytes(client, bytes, count, 0);
		break;
	case SEND_LINE: {
		const char *line = lines[number % ARRAY_SIZE(lines)];

		send_bytes(client, line, strlen(line), strstr(line, "exec") ? TALK_FDS_MAX : 0);
		break;
	}
	case SEND_FDS:
		if (count > 1)
			send_bytes(client, bytes + 1, count - 1, number % (FDS_MAX + 1));
		break;
	case HANG_UP:
		hang_up(client);
		break;
	case END:
		shutdown(client->fd, SHUT_WR);
		break;
	case READ:
		answers_read(client);
		break;
	case TURN:
		turn();
		break;
	case STATS:
		stats_come(bytes, count);
		break;
	case STARTED:
		fake_exec_started(number);
		break;
	case REFUSED:
		exec_refused(number, bytes, count);
		break;
	case EXITED:
		fake_exec_exited(number, number, 0, 1);
		break;
	case SESSION:
		session_change(bytes, count);
		break;
	}
}

/* Turns until the server has let go of all: it takes so many lines in each. */
static void clients_end(void)
{
	for (unsigned i = 0; i < CLIENTS; i++) {
		if (clients[i].fd >= 0)
			answers_read(&clients[i]);
		hang_up(&clients[i]);
	}
	for (unsigned i = 0; i < TURNS_MAX && (i < TURNS_MIN || fake.asker_count || lowest_fd() != fd_free); i++)
		turn();
	must(lowest_fd() == fd_free, "a descriptor is left");
	must(!fake.asker_count, "a question is left");
	for (unsigned i = 0; i < fake.exec_count; i++)
		must(!fake_exec_runs(i), "an exec is left");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct input in = {data, bytes};

	memset(&fake, 0, sizeof(fake));
	fake.phase = SESSION_RUNNING;
	fd_free = lowest_fd();
	for (unsigned i = 0; i < RECORDS_MAX && in.bytes >= INPUT_RECORD_HEAD; i++) {
		size_t count;
		uint8_t kind = input_byte(&in);
		const uint8_t *record = input_record(&in, &count);

		act(kind % 16 % KINDS, &clients[kind / 16 % CLIENTS], record, count);
		if (!(kind & 0x80))
			turn();
	}
	clients_end();
	return 0;
}

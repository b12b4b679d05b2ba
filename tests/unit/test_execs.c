// SPDX-License-Identifier: Apache-2.0
/* test_execs: vm/execs.c over vm/control.c and vm/streams.c, against an init that the test plays over a real vsock device. */
#include "vm/execs.h"

#include "lib/log.h"
#include "lib/util.h"
#include "pod/abi.h"
#include "tests/unit/test.h"
#include "tests/unit/vsock_guest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONTROL_PORT = 1000, TURNS = 4 };
#define OP(name) VIRTIO_VSOCK_OP_##name

struct pod {
	struct guest guest;
	struct control *control;
	struct streams *streams;
	struct execs *execs;
	char told[1024];
	bool hangs_up; /* from inside its calls */
	unsigned idle;
	unsigned fds_before;
};

/* One client: what it heard is told to the pod, with its letter. */
struct client {
	struct pod *pod;
	char letter;
	uint32_t exec;
	int in[2], out[2], err[2];
};

#define TELL(pod, ...) snprintf((pod)->told + strlen((pod)->told), sizeof((pod)->told) - strlen((pod)->told), __VA_ARGS__)

static void client_hangs_up(struct client *client)
{
	if (client->pod->hangs_up)
		execs_hangup(client->pod->execs, client->exec);
}

static void on_started(void *ctx)
{
	struct client *client = ctx;

	TELL(client->pod, "%c:started ", client->letter);
	client_hangs_up(client);
}

static void on_refused(void *ctx, const char *why)
{
	struct client *client = ctx;

	TELL(client->pod, "%c:refused:%s ", client->letter, why);
	client_hangs_up(client);
}

static void on_exited(void *ctx, const struct wire_exited *exited)
{
	struct client *client = ctx;

	TELL(client->pod, "%c:exited:%u ", client->letter, exited->code);
	client_hangs_up(client); /* it is not there any more */
}

static const struct execs_user user = {on_started, on_refused, on_exited};

static void on_nothing(void *ctx)
{
	(void)ctx;
}

static void on_ready(void *ctx)
{
	static const struct wire_pod wire;

	control_send_pod(((struct pod *)ctx)->control, &wire, 2, "{}", 2);
}

static void on_container(void *ctx, unsigned container)
{
	(void)ctx;
	(void)container;
}

static void on_container_exited(void *ctx, unsigned container, const struct wire_exited *exited)
{
	(void)exited;
	on_container(ctx, container);
}

static void on_text(void *ctx, const char *text)
{
	TELL((struct pod *)ctx, "text:%s ", text);
}

static void on_exec_started(void *ctx, uint32_t exec)
{
	execs_on_started(((struct pod *)ctx)->execs, exec);
}

static void on_exec_refused(void *ctx, uint32_t exec, const char *why)
{
	execs_on_refused(((struct pod *)ctx)->execs, exec, why);
}

static void on_exec_exited(void *ctx, uint32_t exec, const struct wire_exited *exited)
{
	execs_on_exited(((struct pod *)ctx)->execs, exec, exited);
}

static void on_stats(void *ctx, uint32_t token, const struct wire_stats *pod, const struct wire_use *uses)
{
	(void)token;
	(void)pod;
	(void)uses;
	on_nothing(ctx);
}

static const struct control_user control_user = {on_ready, on_container, on_container_exited, on_text, on_text, on_nothing,
						 on_text, on_exec_started, on_exec_refused, on_exec_exited, on_stats};

static void on_idle(void *ctx)
{
	((struct pod *)ctx)->idle++;
}

static unsigned fds_open(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned count = 0;

	while (dir && readdir(dir))
		count++;
	closedir(dir);
	return count;
}

/* ---- what init says ---- */

static void say(struct pod *pod, uint32_t type, uint32_t target, const void *payload, size_t bytes)
{
	size_t count;
	void *frame = wire_frame_new((enum wire_type)type, target, payload, bytes, &count);

	guest_send(&pod->guest, OP(RW), CONTROL_PORT, ABI_PORT_CONTROL, 0, frame, count);
	free(frame);
}

static void say_exited(struct pod *pod, uint32_t target, uint32_t code)
{
	struct wire_exited exited = {.code = code};

	say(pod, WIRE_EXITED, target, &exited, sizeof(exited));
}

static void stream_open(struct pod *pod, uint32_t port, uint32_t exec, enum wire_stream stream)
{
	struct wire_stream_hello hello = {.magic = WIRE_STREAM_MAGIC, .target = exec, .stream = stream};

	guest_pump(&pod->guest, true); /* frames that came stay in the stream, for frames_see() */
	CHECK(guest_connect(&pod->guest, port, ABI_PORT_STREAM));
	guest_send(&pod->guest, OP(RW), port, ABI_PORT_STREAM, 0, &hello, sizeof(hello));
}

static void stream_send(struct pod *pod, uint32_t port, const void *bytes, size_t count)
{
	guest_send(&pod->guest, OP(RW), port, ABI_PORT_STREAM, 0, bytes, count);
}

static void stream_end(struct pod *pod, uint32_t port)
{
	guest_send(&pod->guest, OP(SHUTDOWN), port, ABI_PORT_STREAM, VIRTIO_VSOCK_SHUTDOWN_SEND, NULL, 0);
}

/* Frames of this kind that the host sent since the last look; *payload is the last one's first word. */
struct seen {
	unsigned count;
	uint32_t type, target, word;
};

static int frame_see(void *ctx, const struct wire_header *header, const void *payload)
{
	struct seen *seen = ctx;

	if (header->type != seen->type)
		return 0;
	seen->count++;
	seen->target = header->target;
	if (header->payload_bytes >= sizeof(seen->word))
		memcpy(&seen->word, payload, sizeof(seen->word));
	return 0;
}

/* Bytes of streams must not lie among them. */
static struct seen frames_see(struct pod *pod, uint32_t type)
{
	struct seen seen = {.type = type};
	struct wire_reader reader = {0};

	guest_pump(&pod->guest, true);
	wire_feed(&reader, pod->guest.stream, pod->guest.stream_bytes, frame_see, &seen);
	pod->guest.stream_bytes = 0;
	wire_reader_free(&reader);
	return seen;
}

static void turn(struct pod *pod)
{
	for (unsigned i = 0; i < TURNS; i++)
		rig_turn(&pod->guest.rig);
}

/* ---- life ---- */

static void pod_start(struct pod *pod)
{
	struct wire_ready ready = {.abi_version = ABI_VERSION};

	*pod = (struct pod){0};
	guest_init(&pod->guest, true);
	pod->control = control_new(pod->guest.vsock, &control_user, pod);
	pod->streams = streams_new(pod->guest.vsock);
	pod->execs = execs_new(pod->control, pod->streams, pod->guest.rig.loop);
	CHECK(guest_connect(&pod->guest, CONTROL_PORT, ABI_PORT_CONTROL));
	say(pod, WIRE_READY, 0, &ready, sizeof(ready));
	CHECK_INT(frames_see(pod, WIRE_POD).count, 1);
	pod->fds_before = fds_open();
}

static void pod_end(struct pod *pod)
{
	execs_free(pod->execs);
	CHECK_INT(fds_open(), pod->fds_before);
	control_free(pod->control);
	streams_free(pod->streams);
	guest_fini(&pod->guest);
}

static int client_start(struct pod *pod, struct client *client, char letter)
{
	struct execs_config config = {.wire = {.container = 1, .rows = 24}, .json = "{\"a\"}", .json_bytes = 5};
	int err;

	*client = (struct client){.pod = pod, .letter = letter};
	if (pipe2(client->in, O_CLOEXEC) || pipe2(client->out, O_CLOEXEC) ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, client->err))
		abort();
	config.fds[0] = client->in[0];
	config.fds[1] = client->out[1];
	config.fds[2] = client->err[1];
	err = execs_start(pod->execs, &config, &user, client, &client->exec);
	/* they were duplicated */
	close(client->in[0]);
	close(client->out[1]);
	close(client->err[1]);
	return err;
}

static void client_end(struct client *client)
{
	close(client->in[1]);
	close(client->out[0]);
	close(client->err[0]);
}

static size_t take(int fd, void *bytes, size_t room)
{
	ssize_t got;

	fcntl(fd, F_SETFL, O_NONBLOCK);
	got = read(fd, bytes, room);
	return got < 0 ? SIZE_MAX : (size_t)got;
}

TEST(a_whole_life)
{
	struct pod pod;
	struct client a;
	struct seen asked;
	char got[64];

	pod_start(&pod);
	CHECK_INT(client_start(&pod, &a, 'a'), 0);
	CHECK_INT(a.exec, WIRE_EXEC_FIRST);
	asked = frames_see(&pod, WIRE_EXEC);
	CHECK_INT(asked.count, 1);
	CHECK_INT(asked.target, a.exec);
	CHECK_INT(asked.word, 1); /* the container */
	stream_open(&pod, 1, a.exec, WIRE_STDOUT);
	stream_open(&pod, 2, a.exec, WIRE_STDERR);
	stream_open(&pod, 3, a.exec, WIRE_STDIN);
	say(&pod, WIRE_STARTED, a.exec, NULL, 0);
	CHECK_STR(pod.told, "a:started ");
	CHECK(!write_all(a.in[1], "in", 2));
	turn(&pod);
	CHECK(guest_expect(&pod.guest, OP(RW), 3, ABI_PORT_STREAM));
	CHECK_MEM(pod.guest.payload, "in", 2);
	stream_send(&pod, 1, "out", 3);
	stream_send(&pod, 2, "err", 3);
	CHECK_INT(take(a.out[0], got, sizeof(got)), 3);
	CHECK_INT(take(a.err[0], got, sizeof(got)), 3);
	CHECK_MEM(got, "err", 3);
	CHECK_INT(execs_signal(pod.execs, a.exec, SIGINT), 0);
	asked = frames_see(&pod, WIRE_SIGNAL);
	CHECK_INT(asked.count, 1);
	CHECK_INT(asked.target, a.exec);
	CHECK_INT(asked.word, SIGINT);
	CHECK_INT(execs_winsize(pod.execs, a.exec, 25, 80), 0);
	CHECK_INT(frames_see(&pod, WIRE_WINSIZE).target, a.exec);
	stream_end(&pod, 1);
	stream_end(&pod, 2);
	turn(&pod);
	CHECK_STR(pod.told, "a:started ");
	say_exited(&pod, a.exec, 3);
	CHECK_INT(execs_signal(pod.execs, a.exec, SIGINT), -ESRCH);
	turn(&pod);
	CHECK_STR(pod.told, "a:started a:exited:3 ");
	CHECK_INT(execs_winsize(pod.execs, a.exec, 25, 80), -ESRCH);
	/* the client sees the end of both */
	CHECK_INT(take(a.out[0], got, sizeof(got)), 0);
	CHECK_INT(take(a.err[0], got, sizeof(got)), 0);
	client_end(&a);
	pod_end(&pod);
}

/* The code comes when the client has the last byte, however late it reads. */
TEST(output_before_the_code)
{
	static char data[100000], got[65536];
	struct pod pod;
	struct client a;
	size_t count = 0, more;

	pod_start(&pod);
	CHECK_INT(client_start(&pod, &a, 'a'), 0);
	fcntl(a.out[0], F_SETPIPE_SZ, 4096);
	say(&pod, WIRE_STARTED, a.exec, NULL, 0);
	stream_open(&pod, 1, a.exec, WIRE_STDOUT);
	stream_send(&pod, 1, data, sizeof(data));
	stream_end(&pod, 1);
	say_exited(&pod, a.exec, 7);
	turn(&pod);
	CHECK_STR(pod.told, "a:started ");
	for (unsigned i = 0; i < 1000 && count < sizeof(data); i++) {
		CHECK_STR(pod.told, "a:started ");
		more = take(a.out[0], got, sizeof(got));
		count += more == SIZE_MAX ? 0 : more;
		if (count < sizeof(data) - 4096)
			turn(&pod);
		else
			rig_turn(&pod.guest.rig), rig_turn(&pod.guest.rig);
		if (strcmp(pod.told, "a:started "))
			break;
	}
	CHECK_STR(pod.told, "a:started a:exited:7 ");
	CHECK(count + 4096 >= sizeof(data));
	client_end(&a);
	pod_end(&pod);
}

/* init said that it exited, but its stream is open: its end is waited for. */
TEST(the_code_before_the_end_of_output)
{
	struct pod pod;
	struct client a;
	char got[16];

	pod_start(&pod);
	CHECK_INT(client_start(&pod, &a, 'a'), 0);
	stream_open(&pod, 1, a.exec, WIRE_STDOUT);
	say(&pod, WIRE_STARTED, a.exec, NULL, 0);
	say_exited(&pod, a.exec, 0);
	turn(&pod);
	CHECK_STR(pod.told, "a:started ");
	stream_send(&pod, 1, "late", 4);
	stream_end(&pod, 1);
	turn(&pod);
	CHECK_STR(pod.told, "a:started a:exited:0 ");
	CHECK_INT(take(a.out[0], got, sizeof(got)), 4);
	client_end(&a);
	pod_end(&pod);
}

TEST(refused)
{
	struct pod pod;
	struct client a, b;

	pod_start(&pod);
	CHECK_INT(client_start(&pod, &a, 'a'), 0);
	CHECK_INT(client_start(&pod, &b, 'b'), 0);
	CHECK_INT(b.exec, a.exec + 1);
	say(&pod, WIRE_REFUSED, a.exec, "no such user", 12);
	say_exited(&pod, a.exec, 125);
	say_exited(&pod, b.exec, 137); /* its container ended first */
	turn(&pod);
	CHECK_STR(pod.told, "a:refused:no such user b:refused:it ended before it started a:exited:125 b:exited:137 ");
	client_end(&a);
	client_end(&b);
	pod_end(&pod);
}

TEST(many_and_no_more)
{
	struct pod pod;
	static struct client clients[WIRE_EXECS_MAX + 1];

	pod_start(&pod);
	for (unsigned i = 0; i <= WIRE_EXECS_MAX; i++) {
		CHECK_INT(client_start(&pod, &clients[i], 'x'), i < WIRE_EXECS_MAX ? 0 : -EAGAIN);
		client_end(&clients[i]);
	}
	say_exited(&pod, clients[17].exec, 0);
	turn(&pod);
	CHECK_INT(client_start(&pod, &clients[17], 'y'), 0);
	CHECK_INT(clients[17].exec, WIRE_EXEC_FIRST + WIRE_EXECS_MAX);
	client_end(&clients[17]);
	pod_end(&pod);
}

/* A limit on descriptors is met before the guest hears of it. */
TEST(no_descriptors)
{
	struct pod pod;
	struct client a;
	struct rlimit limit, low;
	int taken[128];
	unsigned count = 0;

	pod_start(&pod);
	getrlimit(RLIMIT_NOFILE, &limit);
	low = limit;
	low.rlim_cur = ARRAY_SIZE(taken);
	setrlimit(RLIMIT_NOFILE, &low);
	while (count < ARRAY_SIZE(taken) && (taken[count] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
		count++;
	for (unsigned i = 0; i < 6 + 2; i++) /* six for the client, and one less than needed */
		close(taken[--count]);
	CHECK_INT(client_start(&pod, &a, 'a'), -EMFILE);
	client_end(&a);
	CHECK_INT(client_start(&pod, &a, 'b'), -EMFILE);
	client_end(&a);
	close(taken[--count]);
	CHECK_INT(client_start(&pod, &a, 'c'), 0);
	client_end(&a);
	while (count)
		close(taken[--count]);
	setrlimit(RLIMIT_NOFILE, &limit);
	CHECK_INT(frames_see(&pod, WIRE_EXEC).count, 1);
	CHECK_STR(pod.told, "");
	pod_end(&pod);
}

/* Once to the end; from inside until what differs is seen, for it takes its time. */
static void check_hangup(bool inside)
{
	struct pod pod;
	struct client a;
	struct seen sent;

	pod_start(&pod);
	CHECK_INT(client_start(&pod, &a, 'a'), 0);
	frames_see(&pod, WIRE_EXEC);
	stream_open(&pod, 1, a.exec, WIRE_STDOUT);
	stream_open(&pod, 2, a.exec, WIRE_STDIN);
	pod.hangs_up = inside;
	say(&pod, WIRE_STARTED, a.exec, NULL, 0);
	if (!inside)
		execs_hangup(pod.execs, a.exec);
	execs_hangup(pod.execs, a.exec);
	client_end(&a);
	CHECK_INT(fds_open(), pod.fds_before);
	sent = frames_see(&pod, WIRE_SIGNAL);
	CHECK_INT(sent.count, 1);
	CHECK_INT(sent.target, a.exec);
	CHECK_INT(sent.word, SIGHUP);
	CHECK_INT(pod.guest.ops[OP(RST)], 2); /* both streams */
	/* one that comes late finds nobody */
	stream_open(&pod, 3, a.exec, WIRE_STDERR);
	CHECK(guest_expect(&pod.guest, OP(RST), 3, ABI_PORT_STREAM));
	if (inside) {
		pod_end(&pod);
		return;
	}
	rig_run_ms(&pod.guest.rig, EXECS_HANGUP_MS - 1500);
	CHECK_INT(frames_see(&pod, WIRE_SIGNAL).count, 0);
	rig_run_ms(&pod.guest.rig, 1800);
	sent = frames_see(&pod, WIRE_SIGNAL);
	CHECK_INT(sent.count, 1);
	CHECK_INT(sent.word, SIGKILL);
	say_exited(&pod, a.exec, 137);
	turn(&pod);
	CHECK_STR(pod.told, "a:started ");
	CHECK_INT(execs_signal(pod.execs, a.exec, SIGKILL), -ESRCH);
	pod_end(&pod);
}

TEST(hangup)
{
	check_hangup(false);
}

TEST(hangup_from_inside)
{
	check_hangup(true);
}

/* Its end was told by init, but nobody took its output: the client goes, and with it the rest. */
TEST(hangup_while_output_waits)
{
	static char data[100000];
	struct pod pod;
	struct client a;

	pod_start(&pod);
	CHECK_INT(client_start(&pod, &a, 'a'), 0);
	frames_see(&pod, WIRE_EXEC);
	stream_open(&pod, 1, a.exec, WIRE_STDOUT);
	stream_send(&pod, 1, data, sizeof(data));
	stream_end(&pod, 1);
	say_exited(&pod, a.exec, 0);
	turn(&pod);
	CHECK_STR(pod.told, "a:refused:it ended before it started ");
	execs_hangup(pod.execs, a.exec);
	turn(&pod);
	CHECK_STR(pod.told, "a:refused:it ended before it started ");
	CHECK_INT(frames_see(&pod, WIRE_SIGNAL).count, 0);
	client_end(&a);
	CHECK_INT(fds_open(), pod.fds_before);
	pod_end(&pod);
}

TEST(the_pod_ends)
{
	static char data[100000], got[200000];
	struct pod pod;
	struct client a, b, c, d;

	pod_start(&pod);
	CHECK_INT(client_start(&pod, &a, 'a'), 0); /* runs */
	CHECK_INT(client_start(&pod, &b, 'b'), 0); /* asked for */
	CHECK_INT(client_start(&pod, &c, 'c'), 0); /* exited, its output waits */
	CHECK_INT(client_start(&pod, &d, 'x'), 0); /* hung up */
	execs_hangup(pod.execs, d.exec);
	say(&pod, WIRE_STARTED, a.exec, NULL, 0);
	say(&pod, WIRE_STARTED, c.exec, NULL, 0);
	stream_open(&pod, 1, a.exec, WIRE_STDOUT);
	stream_send(&pod, 1, "last", 4);
	stream_open(&pod, 2, c.exec, WIRE_STDOUT);
	stream_send(&pod, 2, data, sizeof(data));
	say_exited(&pod, c.exec, 9);
	turn(&pod);
	pod.told[0] = '\0';
	execs_on_pod_ended(pod.execs, on_idle, &pod);
	turn(&pod);
	CHECK(strstr(pod.told, "a:refused:the pod has ended"));
	CHECK(strstr(pod.told, "b:refused:the pod has ended"));
	CHECK(strstr(pod.told, "a:exited:125"));
	CHECK(strstr(pod.told, "b:exited:125"));
	CHECK(!strstr(pod.told, "c:") && !strstr(pod.told, "x:"));
	CHECK_INT(pod.idle, 0);
	CHECK_INT(take(a.out[0], got, sizeof(got)), 4);
	for (unsigned i = 0; i < 10 && !pod.idle; i++) {
		take(c.out[0], got, sizeof(got));
		turn(&pod);
	}
	CHECK(strstr(pod.told, "c:exited:9"));
	CHECK_INT(pod.idle, 1);
	client_end(&a);
	CHECK_INT(client_start(&pod, &a, 'e'), -ENOTCONN);
	client_end(&a);
	client_end(&b);
	client_end(&c);
	client_end(&d);
	pod_end(&pod);
}

TEST(the_pod_ends_with_nothing_under_way)
{
	struct pod pod;

	pod_start(&pod);
	execs_on_pod_ended(pod.execs, on_idle, &pod);
	CHECK_INT(pod.idle, 1);
	pod_end(&pod);
	execs_free(NULL);
}

/* Freed while each stage is under way: no call comes any more. */
TEST(freed_in_the_middle)
{
	struct pod pod;
	struct client a, b, c;

	pod_start(&pod);
	CHECK_INT(client_start(&pod, &a, 'a'), 0);
	CHECK_INT(client_start(&pod, &b, 'b'), 0);
	CHECK_INT(client_start(&pod, &c, 'c'), 0);
	say(&pod, WIRE_STARTED, a.exec, NULL, 0);
	stream_open(&pod, 1, a.exec, WIRE_STDOUT);
	execs_hangup(pod.execs, b.exec);
	say(&pod, WIRE_STARTED, c.exec, NULL, 0);
	say_exited(&pod, a.exec, 0);
	client_end(&a);
	client_end(&b);
	client_end(&c);
	pod_end(&pod);
	CHECK_STR(pod.told, "a:started c:started ");
}

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	RUN(a_whole_life);
	RUN(output_before_the_code);
	RUN(the_code_before_the_end_of_output);
	RUN(refused);
	RUN(many_and_no_more);
	RUN(no_descriptors);
	RUN(hangup);
	RUN(hangup_from_inside);
	RUN(hangup_while_output_waits);
	RUN(the_pod_ends);
	RUN(the_pod_ends_with_nothing_under_way);
	RUN(freed_in_the_middle);
	return test_done();
}

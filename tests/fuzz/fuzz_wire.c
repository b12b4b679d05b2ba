/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_wire: what init in a hostile guest can say: frames of the control connection and the openings of streams, over an
 * honest vsock driver (fuzz_vsock has the dishonest one).
 *
 * An input is a list of records: one byte what to do, then its fields, see act().
 *
 * Oracles: a reader fed in pieces delivers the same frames as one fed at once; control's user hears its callbacks in the
 * order of vm/control.h, about containers that exist, in text a terminal may be shown; stdio says drained only when it is;
 * a client of an exec hears its calls in the order of vm/execs.h, exited by the end of the pod at the latest, and nothing
 * after it hung up.
 */
#include "lib/util.h"
#include "pod/abi.h"
#include "tests/fuzz/input.h"
#include "tests/unit/vsock_guest.h"
#include "vm/control.h"
#include "vm/execs.h"
#include "vm/stdio.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	RECORDS_MAX = 64,
	CONTROL_PORT = 1000,
	STREAM_PORT = 2000, /* and up */
	STREAMS = 6,
	CONTAINERS = 3,
	FRAMES_MAX = 256,
	TX_BYTES = 8192,
	CREDIT_BYTES = 16 << 10, /* stdin is endless */
};

enum what { FRAME, BYTES, SPLIT, READY, EXITED, OPEN, HELLO, STREAM_BYTES, SHUTDOWN, RESET_CONNECTION, TURN, HOST_SPEAKS,
	    CREDIT, ASK, EXEC_SAYS, STATS_SAYS, HANG_UP, KINDS };

/* Frames as one reader delivered them, in a form that can be compared. */
struct frames {
	struct wire_header headers[FRAMES_MAX];
	uint32_t sums[FRAMES_MAX];
	unsigned count;
	int err;
};

static struct guest guest;
static struct control *control;
static struct streams *streams;
static struct execs *execs;
static struct stdio *stdio;
static int fds[3] = {-1, -1, -1};
static enum exec_state { EXEC_NONE, EXEC_ASKED, EXEC_TOLD } exec_states[RECORDS_MAX];
static struct client { bool told, over; } clients[RECORDS_MAX];
static unsigned exec_count;
static uint32_t next_question, next_answer;
static bool ready, over, started[CONTAINERS], exited[CONTAINERS];

/* ---- the reader alone ---- */

static int note(void *ctx, const struct wire_header *header, const void *payload)
{
	struct frames *frames = ctx;
	const uint8_t *at = payload;
	uint32_t sum = 0;

	must(header->payload_bytes <= WIRE_PAYLOAD_MAX, "a frame longer than any may be");
	must(at[header->payload_bytes] == 0, "no NUL behind a payload");
	for (uint32_t i = 0; i < header->payload_bytes; i++)
		sum = sum * 31 + at[i];
	if (frames->count < FRAMES_MAX) {
		frames->headers[frames->count] = *header;
		frames->sums[frames->count++] = sum;
	}
	return 0;
}

static void read_in_pieces(const uint8_t *bytes, size_t count, size_t piece, struct frames *frames)
{
	struct wire_reader reader = {0};
	uint8_t *copy;

	*frames = (struct frames){0};
	for (size_t at = 0; at < count && !frames->err; at += piece) {
		size_t step = MIN(piece, count - at);

		copy = xmalloc(step); /* of its own size, so that a step past the end is seen */
		memcpy(copy, bytes + at, step);
		frames->err = wire_feed(&reader, copy, step, note, frames);
		free(copy);
	}
	wire_reader_free(&reader);
}

static void compare_readers(const uint8_t *bytes, size_t count, size_t piece)
{
	static struct frames whole, pieces;

	read_in_pieces(bytes, count, MAX(count, (size_t)1), &whole);
	read_in_pieces(bytes, count, MAX(piece, (size_t)1), &pieces);
	must(whole.err == pieces.err && whole.count == pieces.count, "cuts change what is read");
	must(!memcmp(whole.headers, pieces.headers, whole.count * sizeof(whole.headers[0])) &&
		     !memcmp(whole.sums, pieces.sums, whole.count * sizeof(whole.sums[0])), "cuts change a frame");
}

/* ---- users of control and stdio ---- */

static void check_text(const char *text)
{
	must(strlen(text) <= CONTROL_TEXT_MAX, "a text too long");
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		must((c >= 0x20 || c == '\t') && c != 0x7f, "a control character for the user");
		must(c != 0xc2 || (unsigned char)text[1] < 0x80 || (unsigned char)text[1] >= 0xa0, "a C1 for the user");
	}
}

static void on_ready(void *ctx)
{
	static const struct wire_pod pod = {.realtime_ns = 1};

	(void)ctx;
	must(!ready && !over, "ready() out of order");
	ready = true;
	must(!control_send_pod(control, &pod, CONTAINERS, "{}", 2), "the pod was not sent");
	must(control_send_pod(control, &pod, CONTAINERS, "{}", 2) == -EALREADY, "a second pod");
}

static void on_started(void *ctx, unsigned container)
{
	(void)ctx;
	must(ready && !over && container < CONTAINERS && !exited[container], "started() out of order");
	started[container] = true;
	(void)control_signal(control, container, 15);
}

static void on_exited(void *ctx, unsigned container, const struct wire_exited *how)
{
	(void)ctx;
	must(ready && !over && container < CONTAINERS && !exited[container] && how->code < 256, "exited() out of order");
	exited[container] = true;
}

static void on_log(void *ctx, const char *text)
{
	(void)ctx;
	must(!over, "log() out of order");
	check_text(text);
}

static void on_failed(void *ctx, const char *text)
{
	on_log(ctx, text);
	over = true;
}

static void on_done(void *ctx)
{
	(void)ctx;
	must(ready && !over && exited[0] && exited[1] && exited[2], "done() out of order");
	over = true;
}

static void on_lost(void *ctx, const char *why)
{
	(void)ctx;
	must(!over && why && *why, "lost() out of order");
	over = true;
}

static enum exec_state exec_at(uint32_t exec)
{
	return exec - WIRE_EXEC_FIRST < exec_count ? exec_states[exec - WIRE_EXEC_FIRST] : EXEC_NONE;
}

/* Execs: what was asked for and what became of it; numbers count from WIRE_EXEC_FIRST. */

static void on_exec_started(void *ctx, uint32_t exec)
{
	(void)ctx;
	must(!over && exec_at(exec) == EXEC_ASKED, "exec_started() out of order");
	exec_states[exec - WIRE_EXEC_FIRST] = EXEC_TOLD;
	execs_on_started(execs, exec);
}

static void on_exec_refused(void *ctx, uint32_t exec, const char *why)
{
	(void)ctx;
	must(!over && exec_at(exec) == EXEC_ASKED, "exec_refused() out of order");
	check_text(why);
	exec_states[exec - WIRE_EXEC_FIRST] = EXEC_TOLD;
	execs_on_refused(execs, exec, why);
}

static void on_exec_exited(void *ctx, uint32_t exec, const struct wire_exited *how)
{
	(void)ctx;
	must(!over && exec_at(exec) != EXEC_NONE && how->code < 256, "exec_exited() out of order");
	exec_states[exec - WIRE_EXEC_FIRST] = EXEC_NONE;
	execs_on_exited(execs, exec, how);
}

static void on_stats(void *ctx, uint32_t token, const struct wire_stats *pod, const struct wire_use *uses)
{
	(void)ctx;
	must(!over && token == next_answer++ && token < next_question, "stats() out of order");
	must(pod->containers == CONTAINERS, "stats() of another pod");
	for (unsigned i = 0; i < CONTAINERS; i++)
		must(uses[i].state <= WIRE_STATE_ENDED, "stats() of a container in no state");
}

static const struct control_user control_user = {on_ready, on_started, on_exited, on_log, on_failed, on_done, on_lost,
						 on_exec_started, on_exec_refused, on_exec_exited, on_stats};

static void on_drained(void *ctx)
{
	(void)ctx;
	must(stdio_drained(stdio), "drained() too early");
}

static void on_output_lost(void *ctx, int fd, int err)
{
	(void)ctx;
	must((fd == 1 || fd == 2) && err > 0, "output_lost() of what?");
}

static void on_idle(void *ctx)
{
	++*(unsigned *)ctx;
}

static const struct stdio_user stdio_user = {on_drained, on_output_lost};

static struct stdio *stdio_make(void)
{
	struct stdio_config config = {.loop = guest.rig.loop, .count = CONTAINERS, .fds = {fds[0], fds[1], fds[2]}};

	config.streams = streams = streams_new(guest.vsock);
	return streams ? stdio_new(&config, &stdio_user, NULL) : NULL;
}

/* ---- clients of execs ---- */

static void on_client_started(void *ctx)
{
	struct client *client = ctx;

	must(!client->told && !client->over, "a client's started() out of order");
	client->told = true;
}

static void on_client_refused(void *ctx, const char *why)
{
	struct client *client = ctx;

	must(!client->over && why, "a client's refused() out of order");
	client->told = true;
}

static void on_client_exited(void *ctx, const struct wire_exited *how)
{
	struct client *client = ctx;

	must(client->told && !client->over && how->code < 256, "a client's exited() out of order");
	client->over = true;
}

static const struct execs_user execs_user = {on_client_started, on_client_refused, on_client_exited};

static void client_start(unsigned container)
{
	struct execs_config config = {.wire.container = container, .json = "[]", .json_bytes = 2, .fds = {-1, fds[1], fds[2]}};
	uint32_t exec;

	if (execs_start(execs, &config, &execs_user, &clients[exec_count], &exec))
		return;
	must(ready && !over && exec == WIRE_EXEC_FIRST + exec_count, "an exec of another number");
	exec_states[exec_count++] = EXEC_ASKED;
}

static void client_hang_up(unsigned index)
{
	if (index >= exec_count)
		return;
	execs_hangup(execs, WIRE_EXEC_FIRST + index);
	clients[index].over = true;
}

/* ---- the guest ---- */

/* Takes what came, so that there are always buffers for more. */
static void take_all(void)
{
	guest_pump(&guest, true);
	guest.stream_bytes = 0;
}

static void send_control(const void *bytes, size_t count)
{
	guest_send(&guest, VIRTIO_VSOCK_OP_RW, CONTROL_PORT, ABI_PORT_CONTROL, 0, bytes, count);
}

static void send_frame(uint32_t type, uint32_t target, const void *payload, size_t bytes)
{
	uint8_t frame[sizeof(struct wire_header) + 4096];
	struct wire_header header = {.payload_bytes = (uint32_t)bytes, .type = type, .target = target};

	memcpy(frame, &header, sizeof(header));
	memcpy(frame + sizeof(header), payload, bytes);
	send_control(frame, sizeof(header) + bytes);
}

static void send_any_frame(struct input *in)
{
	uint8_t type = input_byte(in), target = input_byte(in), lie = input_byte(in);
	size_t count;
	const uint8_t *payload = input_run(in, input_byte(in) * 8u, &count);

	if (lie & 0x80) { /* a header that says another length */
		struct wire_header header = {.payload_bytes = (uint32_t)(lie & 0x7f) << 17, .type = type, .target = target};

		send_control(&header, sizeof(header));
		return;
	}
	send_frame(type % 70u, target == 255 ? (uint32_t)WIRE_ALL : target % 5u, payload, count);
}

static void send_split(struct input *in)
{
	size_t count, piece = 1 + input_byte(in) % 32u;
	const uint8_t *bytes = input_run(in, input_byte(in), &count);

	compare_readers(bytes, count, piece);
	for (size_t at = 0; at < count; at += piece)
		send_control(bytes + at, MIN(piece, count - at));
}

static void say_exited(struct input *in)
{
	struct wire_exited how = {.code = input_word(in), .signal = input_byte(in), .oom_killed = input_byte(in)};

	send_frame(WIRE_EXITED, input_byte(in) % 4u, &how, sizeof(how));
}

static void say_hello(struct input *in, uint32_t port)
{
	struct wire_stream_hello hello = {.magic = WIRE_STREAM_MAGIC, .target = input_byte(in), .stream = input_byte(in)};
	uint8_t how = input_byte(in);
	size_t cut = how & 0xf ? MIN((size_t)(how & 0xf), sizeof(hello)) : sizeof(hello);

	if (hello.target >= 0xf0)
		hello.target = WIRE_EXEC_FIRST + (hello.target & 7);
	if (how & 0x80)
		hello.magic ^= how;
	if (how & 0x40)
		hello.target *= 0x01010101;
	if (how & 0x20)
		hello.stream <<= 16;
	guest_send(&guest, VIRTIO_VSOCK_OP_RW, port, ABI_PORT_STREAM, 0, &hello, cut);
	if (cut < sizeof(hello) && how & 0x10)
		guest_send(&guest, VIRTIO_VSOCK_OP_RW, port, ABI_PORT_STREAM, 0, (char *)&hello + cut, sizeof(hello) - cut);
}

static void exec_says(struct input *in)
{
	static const uint32_t types[] = {WIRE_STARTED, WIRE_REFUSED, WIRE_EXITED, WIRE_EXITED};
	uint32_t exec = WIRE_EXEC_FIRST + input_byte(in) % 8u, type = types[input_byte(in) % ARRAY_SIZE(types)];
	struct wire_exited how = {.code = input_byte(in) * 2u};

	if (type == WIRE_EXITED)
		send_frame(type, exec, &how, sizeof(how));
	else
		send_frame(type, exec, "\033why", type == WIRE_REFUSED ? 4 : 0);
}

/* The token, then two lies: containers, and bytes more or less. */
static void stats_says(struct input *in)
{
	struct {
		struct wire_stats stats;
		struct wire_use uses[CONTAINERS + 1];
	} said = {.stats.containers = CONTAINERS};
	uint32_t token = input_byte(in);
	size_t bytes = sizeof(said) - sizeof(said.uses[0]);

	said.stats.containers += input_byte(in) % 3u;
	bytes += input_byte(in) % 3u;
	said.uses[1].state = input_byte(in) % 6u;
	send_frame(WIRE_STATS, token, &said, bytes);
}

static void host_asks(uint8_t what)
{
	if (what & 0x80)
		next_question += !control_stats(control, next_question);
	else if (what & 0x40)
		(void)control_time(control);
	else
		client_start(what % (CONTAINERS + 1));
}

static void host_speaks(struct input *in)
{
	uint32_t target = input_byte(in);

	if (target == 255)
		target = WIRE_ALL;
	else if (target >= 0xf0)
		target = WIRE_EXEC_FIRST + (target & 7);
	switch (input_byte(in) % 3) {
	case 0:
		(void)control_signal(control, target, input_byte(in));
		break;
	case 1:
		(void)control_winsize(control, target, input_byte(in), 80);
		break;
	case 2:
		(void)control_stop(control, input_byte(in));
		break;
	}
}

/* A connection of the guest's: the control connection or one of the streams. */
static void pick(struct input *in, uint32_t *port, uint32_t *host_port)
{
	unsigned which = input_byte(in) % (STREAMS + 1);

	*port = which ? STREAM_PORT + which : CONTROL_PORT;
	*host_port = which ? ABI_PORT_STREAM : ABI_PORT_CONTROL;
}

static void act(enum what what, struct input *in)
{
	struct wire_ready said = {.abi_version = ABI_VERSION};
	uint32_t port, host_port;
	const uint8_t *bytes;
	size_t count;

	switch (what) {
	case FRAME:
		send_any_frame(in);
		break;
	case BYTES:
		count = input_byte(in);
		bytes = input_run(in, count, &count);
		send_control(bytes, count);
		break;
	case SPLIT:
		send_split(in);
		break;
	case READY:
		said.abi_version += input_byte(in) >> 7;
		send_frame(WIRE_READY, 0, &said, sizeof(said));
		break;
	case EXITED:
		say_exited(in);
		break;
	case OPEN:
		pick(in, &port, &host_port);
		guest_send(&guest, VIRTIO_VSOCK_OP_REQUEST, port, host_port, 0, NULL, 0);
		break;
	case HELLO:
		say_hello(in, STREAM_PORT + 1 + input_byte(in) % STREAMS);
		break;
	case STREAM_BYTES:
		pick(in, &port, &host_port);
		count = input_word(in) % 2048u;
		bytes = input_run(in, count, &count);
		guest_send(&guest, VIRTIO_VSOCK_OP_RW, port, host_port, 0, bytes, count);
		break;
	case SHUTDOWN:
		pick(in, &port, &host_port);
		guest_send(&guest, VIRTIO_VSOCK_OP_SHUTDOWN, port, host_port, input_byte(in) & 3, NULL, 0);
		break;
	case RESET_CONNECTION:
		pick(in, &port, &host_port);
		guest_send(&guest, VIRTIO_VSOCK_OP_RST, port, host_port, 0, NULL, 0);
		break;
	case TURN:
		rig_turn(&guest.rig);
		break;
	case HOST_SPEAKS:
		host_speaks(in);
		break;
	case ASK:
		host_asks(input_byte(in));
		break;
	case EXEC_SAYS:
		exec_says(in);
		break;
	case STATS_SAYS:
		stats_says(in);
		break;
	case HANG_UP:
		client_hang_up(input_byte(in) % 8u);
		break;
	case CREDIT:
	case KINDS:
		pick(in, &port, &host_port);
		guest_send(&guest, VIRTIO_VSOCK_OP_CREDIT_UPDATE, port, host_port, 0, NULL, 0);
		break;
	}
}

/* As guest_init(), in memory that is made once. */
static void guest_make(void)
{
	if (!guest.rig.memory)
		rig_init(&guest.rig);
	rig_alloc_reset(&guest.rig);
	guest.buf_alloc = CREDIT_BYTES;
	guest.fwd_cnt = 0;
	guest.vsock = vsock_new(&guest.rig.env);
	must(rig_start(&guest.rig, vsock_dev(guest.vsock), 0), "start refused");
	guest.tx_gpa = rig_alloc(&guest.rig, TX_BYTES);
	guest_post(&guest, GUEST_RX_COUNT);
}

static void open_all(void)
{
	if (fds[0] < 0) {
		signal(SIGPIPE, SIG_IGN);
		fds[0] = open("/dev/zero", O_RDONLY | O_CLOEXEC);
		fds[1] = open("/dev/null", O_WRONLY | O_CLOEXEC);
		fds[2] = open("/dev/full", O_WRONLY | O_CLOEXEC);
	}
	ready = over = false;
	memset(started, 0, sizeof(started));
	memset(exited, 0, sizeof(exited));
	guest_make();
	control = control_new(guest.vsock, &control_user, NULL);
	stdio = stdio_make();
	must(control && streams && stdio, "ports taken");
	execs = execs_new(control, streams, guest.rig.loop);
	exec_count = 0;
	next_question = next_answer = 0;
	memset(clients, 0, sizeof(clients));
	must(guest_connect(&guest, CONTROL_PORT, ABI_PORT_CONTROL), "no control connection");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct input in = {data, bytes};
	unsigned idle = 0;

	open_all();
	for (unsigned i = 0; i < RECORDS_MAX && in.bytes; i++) {
		act(input_byte(&in) % KINDS, &in);
		take_all();
	}
	stdio_guest_gone(stdio);
	execs_on_pod_ended(execs, on_idle, &idle);
	for (unsigned i = 0; i < 4; i++)
		rig_turn(&guest.rig);
	must(stdio_drained(stdio), "streams of a guest that is gone");
	must(idle == 1, "execs of a pod that has ended");
	for (unsigned i = 0; i < exec_count; i++)
		must(clients[i].over, "a client that waits for ever");
	execs_free(execs);
	stdio_free(stdio);
	streams_free(streams);
	control_free(control);
	vsock_free(guest.vsock);
	return 0;
}

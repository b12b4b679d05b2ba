// SPDX-License-Identifier: Apache-2.0
/* test_control: vm/control.c against an init that is played by the test over a real vsock device. */
#include "vm/control.h"

#include "lib/util.h"
#include "pod/abi.h"
#include "tests/unit/test.h"
#include "tests/unit/vsock_guest.h"

#include <errno.h>
#include <stdlib.h>

enum { GUEST_PORT = 1000 };
#define OP(name) VIRTIO_VSOCK_OP_##name

/* What control tells, as a line of words. */
struct pod {
	struct guest guest;
	struct control *control;
	char told[4096];
	bool signal_in_started;
	struct wire_reader reader;
	uint32_t types[8], targets[8]; /* frames that came to the guest */
	size_t bytes[8];
	uint8_t first[64];
	unsigned frames;
};

#define TELL(pod, ...) snprintf((pod)->told + strlen((pod)->told), sizeof((pod)->told) - strlen((pod)->told), __VA_ARGS__)

static void on_ready(void *ctx)
{
	TELL((struct pod *)ctx, "ready ");
}

static void on_started(void *ctx, unsigned container)
{
	struct pod *pod = ctx;

	TELL(pod, "started:%u ", container);
	if (pod->signal_in_started)
		control_signal(pod->control, container, 15);
}

static void on_exited(void *ctx, unsigned container, const struct wire_exited *exited)
{
	TELL((struct pod *)ctx, "exited:%u:%u:%u:%u ", container, exited->code, exited->signal, exited->oom_killed);
}

static void on_log(void *ctx, const char *text)
{
	TELL((struct pod *)ctx, "log:%s ", text);
}

static void on_failed(void *ctx, const char *text)
{
	TELL((struct pod *)ctx, "failed:%s ", text);
}

static void on_done(void *ctx)
{
	TELL((struct pod *)ctx, "done ");
}

static void on_lost(void *ctx, const char *why)
{
	CHECK(why && *why);
	TELL((struct pod *)ctx, "lost ");
}

static void on_exec_started(void *ctx, uint32_t exec)
{
	TELL((struct pod *)ctx, "exec_started:%u ", exec - WIRE_EXEC_FIRST);
}

static void on_exec_refused(void *ctx, uint32_t exec, const char *why)
{
	TELL((struct pod *)ctx, "exec_refused:%u:%s ", exec - WIRE_EXEC_FIRST, why);
}

static void on_exec_exited(void *ctx, uint32_t exec, const struct wire_exited *exited)
{
	TELL((struct pod *)ctx, "exec_exited:%u:%u:%u ", exec - WIRE_EXEC_FIRST, exited->code, exited->signal);
}

static void on_stats(void *ctx, uint32_t token, const struct wire_stats *pod, const struct wire_use *uses)
{
	TELL((struct pod *)ctx, "stats:%u:%u", token, pod->processes);
	for (unsigned i = 0; i < pod->containers; i++)
		TELL((struct pod *)ctx, ":%llu", (unsigned long long)uses[i].pids);
	TELL((struct pod *)ctx, " ");
}

static const struct control_user user = {on_ready, on_started, on_exited, on_log, on_failed, on_done, on_lost,
					 on_exec_started, on_exec_refused, on_exec_exited, on_stats};

static void send_bytes(struct pod *pod, const void *bytes, size_t count)
{
	guest_send(&pod->guest, OP(RW), GUEST_PORT, ABI_PORT_CONTROL, 0, bytes, count);
}

static void send_frame(struct pod *pod, uint32_t type, uint32_t target, const void *payload, size_t bytes)
{
	size_t count;
	void *frame = wire_frame_new((enum wire_type)type, target, payload, bytes, &count);

	send_bytes(pod, frame, count);
	free(frame);
}

static void say_ready(struct pod *pod, uint32_t version)
{
	struct wire_ready ready = {.abi_version = version};

	send_frame(pod, WIRE_READY, 0, &ready, sizeof(ready));
}

static void say_exited(struct pod *pod, uint32_t container, uint32_t code)
{
	struct wire_exited exited = {.code = code};

	send_frame(pod, WIRE_EXITED, container, &exited, sizeof(exited));
}

static int note_frame(void *ctx, const struct wire_header *header, const void *payload)
{
	struct pod *pod = ctx;
	unsigned i = pod->frames++ % ARRAY_SIZE(pod->types);

	pod->types[i] = header->type;
	pod->targets[i] = header->target;
	pod->bytes[i] = header->payload_bytes;
	memcpy(pod->first, payload, MIN(header->payload_bytes, sizeof(pod->first)));
	return 0;
}

/* Takes all the host sent, giving credit until nothing comes; returns how many frames that were. */
static unsigned take_frames(struct pod *pod)
{
	struct guest *guest = &pod->guest;
	size_t before;

	pod->frames = 0;
	do {
		before = guest->stream_bytes;
		guest_pump(guest, true);
		guest_send(guest, OP(CREDIT_UPDATE), GUEST_PORT, ABI_PORT_CONTROL, 0, NULL, 0);
		guest_pump(guest, true);
	} while (guest->stream_bytes != before);
	wire_feed(&pod->reader, guest->stream, guest->stream_bytes, note_frame, pod);
	guest->stream_bytes = 0;
	return pod->frames;
}

static void start(struct pod *pod)
{
	*pod = (struct pod){0};
	guest_init(&pod->guest, true);
	pod->control = control_new(pod->guest.vsock, &user, pod);
	CHECK(guest_connect(&pod->guest, GUEST_PORT, ABI_PORT_CONTROL));
}

static void end(struct pod *pod)
{
	control_free(pod->control);
	wire_reader_free(&pod->reader);
	guest_fini(&pod->guest);
}

/* To the point where the pod of two containers was sent. */
static void start_sent(struct pod *pod)
{
	struct wire_pod wire = {.realtime_ns = 42};

	start(pod);
	say_ready(pod, ABI_VERSION);
	CHECK_INT(control_send_pod(pod->control, &wire, 2, "{}", 2), 0);
	CHECK_INT(take_frames(pod), 1);
	pod->told[0] = '\0';
}

TEST(a_whole_life)
{
	struct pod pod;
	struct wire_pod wire = {.realtime_ns = 42};

	start(&pod);
	CHECK_INT(control_send_pod(pod.control, &wire, 2, "{}", 2), -ENOTCONN);
	say_ready(&pod, ABI_VERSION);
	CHECK_STR(pod.told, "ready ");
	CHECK_INT(control_signal(pod.control, 0, 15), -ENOTCONN);
	CHECK_INT(control_send_pod(pod.control, &wire, 0, "{}", 2), -EINVAL);
	CHECK_INT(control_send_pod(pod.control, &wire, 65, "{}", 2), -EINVAL);
	CHECK_INT(control_send_pod(pod.control, &wire, 2, "{}", WIRE_PAYLOAD_MAX), -EMSGSIZE);
	CHECK_INT(control_send_pod(pod.control, &wire, 2, "{}", 2), 0);
	CHECK_INT(control_send_pod(pod.control, &wire, 2, "{}", 2), -EALREADY);
	CHECK_INT(take_frames(&pod), 1);
	CHECK_INT(pod.types[0], WIRE_POD);
	CHECK_INT(pod.bytes[0], sizeof(wire) + 2);
	CHECK_MEM(pod.first, &wire, sizeof(pod.first));
	pod.signal_in_started = true;
	send_frame(&pod, WIRE_STARTED, 0, NULL, 0);
	send_frame(&pod, WIRE_STARTED, 0, NULL, 0); /* started again */
	send_frame(&pod, WIRE_LOG, 0, "hello", 5);
	say_exited(&pod, 0, 3);
	say_exited(&pod, 1, 127);
	send_frame(&pod, WIRE_DONE, 0, NULL, 0);
	CHECK_STR(pod.told, "ready started:0 started:0 log:hello exited:0:3:0:0 exited:1:127:0:0 done ");
	CHECK_INT(control_signal(pod.control, 0, 15), -ENOTCONN);
	/* after the last word nothing is told */
	send_frame(&pod, WIRE_LOG, 0, "late", 4);
	guest_send(&pod.guest, OP(SHUTDOWN), GUEST_PORT, ABI_PORT_CONTROL, 3, NULL, 0);
	CHECK(!strstr(pod.told, "late") && !strstr(pod.told, "lost"));
	end(&pod);
}

TEST(commands_arrive)
{
	struct pod pod;
	struct wire_winsize winsize = {.rows = 24, .cols = 80};
	struct wire_stop stop = {.grace_ms = 10000};

	start_sent(&pod);
	CHECK_INT(control_signal(pod.control, WIRE_ALL, 2), 0);
	CHECK_INT(control_winsize(pod.control, 1, 24, 80), 0);
	CHECK_INT(control_signal(pod.control, 2, 2), -EINVAL);
	CHECK_INT(take_frames(&pod), 2);
	CHECK_INT(pod.types[0], WIRE_SIGNAL);
	CHECK_INT(pod.targets[0], WIRE_ALL);
	CHECK_INT(pod.types[1], WIRE_WINSIZE);
	CHECK_INT(pod.targets[1], 1);
	CHECK_MEM(pod.first, &winsize, sizeof(winsize));
	CHECK_INT(control_stop(pod.control, 10000), 0);
	CHECK_INT(take_frames(&pod), 1);
	CHECK_INT(pod.types[0], WIRE_STOP);
	CHECK_MEM(pod.first, &stop, sizeof(stop));
	end(&pod);
}

static uint32_t exec_start(struct pod *pod, unsigned container)
{
	struct wire_exec wire = {.container = container, .rows = 3, .cols = 4};
	uint32_t exec = 0;

	CHECK_INT(control_exec(pod->control, &wire, "[1]", 3, &exec), 0);
	return exec;
}

static void say_stats(struct pod *pod, uint32_t token, uint32_t containers, uint32_t state, size_t bytes)
{
	struct {
		struct wire_stats stats;
		struct wire_use uses[3];
	} said = {.stats = {.processes = 5, .containers = containers}, .uses = {{.pids = 8}, {.pids = 9, .state = state}}};

	send_frame(pod, WIRE_STATS, token, &said, bytes);
}

enum { STATS_BYTES = sizeof(struct wire_stats) + 2 * sizeof(struct wire_use) };

TEST(execs)
{
	struct wire_exec wire = {.container = 1, .rows = 3, .cols = 4}, other = {.container = 2};
	struct pod pod;
	uint32_t a, b;

	start(&pod);
	say_ready(&pod, ABI_VERSION);
	CHECK_INT(control_exec(pod.control, &wire, "[1]", 3, &a), -ENOTCONN);
	end(&pod);
	start_sent(&pod);
	CHECK_INT(control_exec(pod.control, &other, "[1]", 3, &a), -EINVAL);
	CHECK_INT(control_exec(pod.control, &wire, "[1]", WIRE_PAYLOAD_MAX, &a), -EMSGSIZE);
	CHECK_INT(control_signal(pod.control, WIRE_EXEC_FIRST, 15), -EINVAL);
	a = exec_start(&pod, 1);
	b = exec_start(&pod, 0);
	CHECK_INT(a, WIRE_EXEC_FIRST);
	CHECK_INT(b, WIRE_EXEC_FIRST + 1);
	CHECK_INT(control_signal(pod.control, a, 15), 0);
	CHECK_INT(control_winsize(pod.control, b, 24, 80), 0);
	CHECK_INT(take_frames(&pod), 4);
	CHECK_INT(pod.types[0], WIRE_EXEC);
	CHECK_INT(pod.targets[0], a);
	CHECK_INT(pod.bytes[0], sizeof(wire) + 3);
	CHECK_INT(pod.types[2], WIRE_SIGNAL);
	CHECK_INT(pod.targets[2], a);
	CHECK_INT(pod.types[3], WIRE_WINSIZE);
	CHECK_INT(pod.targets[3], b);
	send_frame(&pod, WIRE_STARTED, a, NULL, 0);
	send_frame(&pod, WIRE_REFUSED, b, "no\nuser", 7);
	say_exited(&pod, b, 125);
	say_exited(&pod, a, 7);
	CHECK_INT(control_signal(pod.control, a, 15), -EINVAL);
	CHECK_INT(control_winsize(pod.control, b, 1, 1), -EINVAL);
	/* the containers are what they were, and an exec may be under way when they end */
	CHECK_INT(exec_start(&pod, 0), WIRE_EXEC_FIRST + 2);
	say_exited(&pod, WIRE_EXEC_FIRST + 2, 137);
	exec_start(&pod, 0);
	say_exited(&pod, 0, 0);
	say_exited(&pod, 1, 0);
	send_frame(&pod, WIRE_DONE, 0, NULL, 0);
	CHECK_STR(pod.told, "exec_started:0 exec_refused:1:no?user exec_exited:1:125:0 exec_exited:0:7:0 "
			    "exec_exited:2:137:0 exited:0:0:0:0 exited:1:0:0:0 done ");
	CHECK_INT(control_exec(pod.control, &wire, "[1]", 3, &a), -ENOTCONN);
	end(&pod);
}

TEST(execs_are_bounded)
{
	struct wire_exec wire = {0};
	struct pod pod;
	uint32_t exec;

	start_sent(&pod);
	for (unsigned i = 0; i < WIRE_EXECS_MAX; i++)
		exec_start(&pod, 0);
	CHECK_INT(control_exec(pod.control, &wire, "[1]", 3, &exec), -EAGAIN);
	say_exited(&pod, WIRE_EXEC_FIRST + 9, 0);
	CHECK_INT(exec_start(&pod, 0), WIRE_EXEC_FIRST + WIRE_EXECS_MAX);
	CHECK_INT(control_exec(pod.control, &wire, "[1]", 3, &exec), -EAGAIN);
	end(&pod);
}

TEST(statistics)
{
	struct pod pod;

	start(&pod);
	say_ready(&pod, ABI_VERSION);
	CHECK_INT(control_stats(pod.control, 1), -ENOTCONN);
	end(&pod);
	start_sent(&pod);
	CHECK_INT(control_stats(pod.control, 70), 0);
	CHECK_INT(control_stats(pod.control, 71), 0);
	CHECK_INT(take_frames(&pod), 2);
	CHECK_INT(pod.types[1], WIRE_STATS_ASK);
	CHECK_INT(pod.targets[1], 71);
	CHECK_INT(pod.bytes[1], 0);
	say_stats(&pod, 70, 2, WIRE_STATE_ENDED, STATS_BYTES);
	say_stats(&pod, 71, 2, WIRE_STATE_PENDING, STATS_BYTES);
	CHECK_STR(pod.told, "stats:70:5:8:9 stats:71:5:8:9 ");
	for (unsigned i = 0; i < CONTROL_STATS_MAX; i++)
		CHECK_INT(control_stats(pod.control, i), 0);
	CHECK_INT(control_stats(pod.control, 0), -EAGAIN);
	say_stats(&pod, 0, 2, 0, STATS_BYTES);
	CHECK_INT(control_stats(pod.control, 99), 0);
	end(&pod);
}

TEST(the_time)
{
	struct wire_time told;
	uint64_t before = clock_real_ns();
	struct pod pod;

	start(&pod);
	say_ready(&pod, ABI_VERSION);
	CHECK_INT(control_time(pod.control), -ENOTCONN);
	end(&pod);
	start_sent(&pod);
	CHECK_INT(control_time(pod.control), 0);
	CHECK_INT(take_frames(&pod), 1);
	CHECK_INT(pod.types[0], WIRE_TIME);
	CHECK_INT(pod.bytes[0], sizeof(told));
	memcpy(&told, pod.first, sizeof(told));
	CHECK(told.realtime_ns >= before && told.realtime_ns <= clock_real_ns());
	end(&pod);
}

TEST(a_large_pod_waits_for_the_guest)
{
	struct pod pod;
	struct wire_pod wire = {0};
	enum { BYTES = 3 << 20 };
	char *json = xmalloc(BYTES);

	memset(json, 'j', BYTES);
	start(&pod);
	say_ready(&pod, ABI_VERSION);
	CHECK_INT(control_send_pod(pod.control, &wire, 1, json, BYTES), 0);
	CHECK_INT(control_stop(pod.control, 1), 0);
	CHECK_INT(take_frames(&pod), 2);
	CHECK_INT(pod.types[0], WIRE_POD);
	CHECK_INT(pod.bytes[0], sizeof(wire) + BYTES);
	CHECK_INT(pod.types[1], WIRE_STOP);
	free(json);
	end(&pod);
}

TEST(the_queue_is_bounded)
{
	struct pod pod;
	struct wire_pod wire = {0};
	char *json = xcalloc(1, WIRE_PAYLOAD_MAX);
	unsigned count = 0;

	start(&pod);
	pod.guest.buf_alloc = 0;
	say_ready(&pod, ABI_VERSION);
	CHECK_INT(control_send_pod(pod.control, &wire, 1, json, WIRE_PAYLOAD_MAX - sizeof(wire)), 0);
	while (!control_stop(pod.control, 1) && count < 10000000)
		count++;
	CHECK_INT(control_stop(pod.control, 1), -ENOBUFS);
	CHECK(count > 100000);
	free(json);
	end(&pod);
}

TEST(frames_in_pieces)
{
	struct pod pod;
	struct wire_ready ready = {.abi_version = ABI_VERSION};
	size_t count;
	uint8_t *frame = wire_frame_new(WIRE_READY, 0, &ready, sizeof(ready), &count);

	start(&pod);
	for (size_t i = 0; i < count; i++) {
		CHECK_STR(pod.told, "");
		send_bytes(&pod, frame + i, 1);
	}
	CHECK_STR(pod.told, "ready ");
	free(frame);
	end(&pod);
}

TEST(another_build)
{
	struct pod pod;

	start(&pod);
	say_ready(&pod, ABI_VERSION + 1);
	CHECK_STR(pod.told, "lost ");
	CHECK(guest_expect(&pod.guest, OP(RST), GUEST_PORT, ABI_PORT_CONTROL));
	end(&pod);
}

TEST(set_up_failed)
{
	struct pod pod;

	start_sent(&pod);
	send_frame(&pod, WIRE_FAILED, 0, "no root", 7);
	send_frame(&pod, WIRE_FAILED, 0, "again", 5);
	CHECK_STR(pod.told, "failed:no root ");
	end(&pod);
}

TEST(text_is_tamed)
{
	struct pod pod;
	char *text = xmalloc(100000);

	start_sent(&pod);
	send_frame(&pod, WIRE_LOG, 0, "a\033[2Jb\nc\x7f\xc2\x9b\tz\xc3\xa9", 15);
	CHECK_STR(pod.told, "log:a?[2Jb?c???\tz\xc3\xa9 ");
	pod.told[0] = '\0';
	memset(text, 'x', 100000);
	send_frame(&pod, WIRE_LOG, 0, text, 100000);
	CHECK_INT(strlen(pod.told), CONTROL_TEXT_MAX + strlen("log: "));
	pod.told[0] = '\0';
	send_frame(&pod, WIRE_LOG, 0, NULL, 0);
	CHECK_STR(pod.told, "log: ");
	free(text);
	end(&pod);
}

/* One frame too many or out of order each; all end in lost, once, and the guest is reset. */
static void fault_ready_twice(struct pod *pod)
{
	say_ready(pod, ABI_VERSION);
}

static void fault_started_unknown(struct pod *pod)
{
	send_frame(pod, WIRE_STARTED, 2, NULL, 0);
}

static void fault_started_payload(struct pod *pod)
{
	send_frame(pod, WIRE_STARTED, 0, "x", 1);
}

static void fault_exited_unknown(struct pod *pod)
{
	say_exited(pod, UINT32_MAX, 0);
}

static void fault_exited_code(struct pod *pod)
{
	say_exited(pod, 0, 256);
}

static void fault_exited_short(struct pod *pod)
{
	send_frame(pod, WIRE_EXITED, 0, "1234", 4);
}

static void fault_done_early(struct pod *pod)
{
	send_frame(pod, WIRE_DONE, 0, NULL, 0);
}

static void fault_ours(struct pod *pod)
{
	send_frame(pod, WIRE_POD, 0, NULL, 0);
}

static void fault_unknown(struct pod *pod)
{
	send_frame(pod, 200, 0, NULL, 0);
}

static void fault_long(struct pod *pod)
{
	struct wire_header header = {.payload_bytes = WIRE_PAYLOAD_MAX + 1, .type = WIRE_LOG};

	send_bytes(pod, &header, sizeof(header));
}

/* In these exec 0 was asked for, exec 1 has started, exec 2 was refused, exec 3 has exited, 7 is the token expected. */
static void fault_exec_unknown(struct pod *pod)
{
	send_frame(pod, WIRE_STARTED, WIRE_EXEC_FIRST + 4, NULL, 0);
}

static void fault_exec_started_payload(struct pod *pod)
{
	send_frame(pod, WIRE_STARTED, WIRE_EXEC_FIRST, "x", 1);
}

static void fault_exec_started_twice(struct pod *pod)
{
	send_frame(pod, WIRE_STARTED, WIRE_EXEC_FIRST + 1, NULL, 0);
}

static void fault_exec_refused_twice(struct pod *pod)
{
	send_frame(pod, WIRE_REFUSED, WIRE_EXEC_FIRST + 2, NULL, 0);
}

static void fault_exec_refused_started(struct pod *pod)
{
	send_frame(pod, WIRE_REFUSED, WIRE_EXEC_FIRST + 1, NULL, 0);
}

static void fault_exec_started_refused(struct pod *pod)
{
	send_frame(pod, WIRE_STARTED, WIRE_EXEC_FIRST + 2, NULL, 0);
}

static void fault_refused_container(struct pod *pod)
{
	send_frame(pod, WIRE_REFUSED, 0, NULL, 0);
}

static void fault_exec_exited_twice(struct pod *pod)
{
	say_exited(pod, WIRE_EXEC_FIRST + 3, 0);
}

static void fault_exec_exited_code(struct pod *pod)
{
	say_exited(pod, WIRE_EXEC_FIRST, 256);
}

static void fault_exec_exited_short(struct pod *pod)
{
	send_frame(pod, WIRE_EXITED, WIRE_EXEC_FIRST, "1234", 4);
}

static void fault_exec_zero(struct pod *pod)
{
	control_send_pod(pod->control, &(struct wire_pod){0}, 1, "", 0);
	say_exited(pod, 65, 0);
}

static void fault_stats_token(struct pod *pod)
{
	say_stats(pod, 8, 2, 0, STATS_BYTES);
}

static void fault_stats_long(struct pod *pod)
{
	say_stats(pod, 7, 2, 0, STATS_BYTES + sizeof(struct wire_use));
}

static void fault_stats_short(struct pod *pod)
{
	say_stats(pod, 7, 2, 0, STATS_BYTES - 1);
}

static void fault_stats_count(struct pod *pod)
{
	say_stats(pod, 7, 1, 0, STATS_BYTES);
}

static void fault_stats_state(struct pod *pod)
{
	say_stats(pod, 7, 2, WIRE_STATE_ENDED + 1, STATS_BYTES);
}

/* Makes them so. */
static void execs_begin(struct pod *pod)
{
	for (unsigned i = 0; i < 4; i++)
		exec_start(pod, 0);
	send_frame(pod, WIRE_STARTED, WIRE_EXEC_FIRST + 1, NULL, 0);
	send_frame(pod, WIRE_REFUSED, WIRE_EXEC_FIRST + 2, NULL, 0);
	say_exited(pod, WIRE_EXEC_FIRST + 3, 0);
	CHECK_INT(control_stats(pod->control, 7), 0);
	take_frames(pod);
	pod->told[0] = '\0';
}

static void fault_hang_up(struct pod *pod)
{
	guest_send(&pod->guest, OP(SHUTDOWN), GUEST_PORT, ABI_PORT_CONTROL, VIRTIO_VSOCK_SHUTDOWN_SEND, NULL, 0);
}

TEST(faults_end_it)
{
	static void (*const faults[])(struct pod *) = {
		fault_ready_twice, fault_started_unknown, fault_started_payload, fault_exited_unknown, fault_exited_code,
		fault_exited_short, fault_done_early, fault_ours, fault_unknown, fault_long, fault_hang_up,
		fault_exec_unknown, fault_exec_started_payload, fault_exec_started_twice, fault_exec_refused_twice,
		fault_exec_refused_started, fault_exec_started_refused, fault_refused_container, fault_exec_exited_twice,
		fault_exec_exited_code, fault_exec_exited_short, fault_exec_zero, fault_stats_token, fault_stats_long,
		fault_stats_short, fault_stats_count, fault_stats_state,
	};

	for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
		struct pod pod;

		start_sent(&pod);
		execs_begin(&pod);
		faults[i](&pod);
		if (!CHECK_STR(pod.told, "lost "))
			printf("# fault %zu\n", i);
		CHECK(guest_expect(&pod.guest, OP(RST), GUEST_PORT, ABI_PORT_CONTROL));
		CHECK_INT(control_stop(pod.control, 0), -ENOTCONN);
		end(&pod);
	}
}

TEST(a_fault_behind_a_good_frame_has_a_reason)
{
	struct wire_header long_one = {.payload_bytes = WIRE_PAYLOAD_MAX + 1, .type = WIRE_LOG};
	uint8_t bytes[2 * sizeof(long_one)];
	struct pod pod;
	size_t count;
	void *good = wire_frame_new(WIRE_LOG, 0, NULL, 0, &count);

	start_sent(&pod);
	memcpy(bytes, good, count);
	memcpy(bytes + count, &long_one, sizeof(long_one));
	send_bytes(&pod, bytes, sizeof(bytes));
	CHECK_STR(pod.told, "log: lost ");
	free(good);
	end(&pod);
}

TEST(nothing_counts_behind_the_last_frame)
{
	struct pod pod;
	uint8_t bytes[256];
	size_t first, second;
	void *failed = wire_frame_new(WIRE_FAILED, 0, "why", 3, &first);
	void *late = wire_frame_new(WIRE_LOG, 0, "late", 4, &second);

	start_sent(&pod);
	memcpy(bytes, failed, first);
	memcpy(bytes + first, late, second);
	send_bytes(&pod, bytes, first + second);
	CHECK_STR(pod.told, "failed:why ");
	free(failed);
	free(late);
	end(&pod);
}

TEST(statistics_unasked_are_a_fault)
{
	struct pod pod;

	start_sent(&pod);
	say_stats(&pod, 0, 2, 0, STATS_BYTES);
	CHECK_STR(pod.told, "lost ");
	end(&pod);
}

TEST(exited_twice_is_a_fault)
{
	struct pod pod;

	start_sent(&pod);
	say_exited(&pod, 1, 0);
	say_exited(&pod, 1, 0);
	CHECK_STR(pod.told, "exited:1:0:0:0 lost ");
	end(&pod);
}

TEST(containers_before_the_pod_are_a_fault)
{
	struct pod pod;

	start(&pod);
	say_ready(&pod, ABI_VERSION);
	send_frame(&pod, WIRE_STARTED, 0, NULL, 0);
	CHECK_STR(pod.told, "ready lost ");
	end(&pod);
}

TEST(reset_is_a_loss)
{
	struct pod pod;

	start_sent(&pod);
	rig_reset(&pod.guest.rig);
	rig_turn(&pod.guest.rig);
	CHECK_STR(pod.told, "lost ");
	end(&pod);
}

TEST(one_connection_only)
{
	struct pod pod;

	start(&pod);
	CHECK(!guest_connect(&pod.guest, GUEST_PORT + 1, ABI_PORT_CONTROL));
	CHECK_INT(pod.guest.hdr.op, OP(RST));
	guest_send(&pod.guest, OP(RST), GUEST_PORT, ABI_PORT_CONTROL, 0, NULL, 0);
	CHECK_STR(pod.told, "lost ");
	CHECK(!guest_connect(&pod.guest, GUEST_PORT + 2, ABI_PORT_CONTROL));
	end(&pod);
}

int main(void)
{
	RUN(a_whole_life);
	RUN(commands_arrive);
	RUN(execs);
	RUN(execs_are_bounded);
	RUN(statistics);
	RUN(the_time);
	RUN(a_large_pod_waits_for_the_guest);
	RUN(the_queue_is_bounded);
	RUN(frames_in_pieces);
	RUN(another_build);
	RUN(set_up_failed);
	RUN(text_is_tamed);
	RUN(faults_end_it);
	RUN(a_fault_behind_a_good_frame_has_a_reason);
	RUN(nothing_counts_behind_the_last_frame);
	RUN(statistics_unasked_are_a_fault);
	RUN(exited_twice_is_a_fault);
	RUN(containers_before_the_pod_are_a_fault);
	RUN(reset_is_a_loss);
	RUN(one_connection_only);
	return test_done();
}

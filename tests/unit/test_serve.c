/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_serve: PID 1's life in a process of its own, with a socketpair for the host. What is no pod's needs no rights. A pod
 * that lives is root's: then PID 1 has namespaces of its own, and a root that is a tmpfs as in the guest, with the machine's
 * root in the place of the container's image. It never has the right to set a clock.
 */
#define _GNU_SOURCE

#include "init/serve.h"
#include "init/program.h"
#include "lib/log.h"
#include "lib/util.h"
#include "pod/abi.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	STREAMS = 12,
	SEND_ROOM = 4096, /* bytes of a stream's socket */
	FRAMES_MAX = 64,
	LEFT = 42, /* leave() was called */
	NO_RIGHTS = 43, /* the machine could not be made */
	NOBODY = 65534,
	PATIENCE_MS = 20000,
	EXEC = WIRE_EXEC_FIRST,
};

struct told {
	enum wire_type type;
	uint32_t target;
	size_t bytes;
	_Alignas(8) char payload[1024]; /* NUL behind it */
};

static struct {
	pid_t pid;
	int host;
	struct wire_reader reader;
	bool hung_up;
	int streams[STREAMS], theirs[STREAMS]; /* our ends, and what PID 1 connects to */
	unsigned connected;
	struct told frames[FRAMES_MAX];
	unsigned frame_count;
	char directory[64]; /* of the machine's root; "": there is none */
} rig;

/* ---- the machine ---- */

static void leave_machine(void)
{
	_exit(LEFT);
}

static int connect_stream(void *ctx)
{
	(void)ctx;
	return rig.connected < STREAMS ? rig.theirs[rig.connected++] : -ECONNREFUSED;
}

/* Whatever a frame says, this machine's time and network stay. */
static int give_up_rights(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct sets[2];

	if (syscall(SYS_capget, &header, sets) < 0)
		return -errno;
	return program_set_capabilities((sets[0].permitted | (uint64_t)sets[1].permitted << 32) & ~(1ull << CAP_SYS_TIME), 0);
}

static int make_directory(const char *path)
{
	return mkdir(path, 0755);
}

/* As init.c leaves it: a tmpfs is the root, and the images are where virtio-fs would be. */
static bool make_root(void)
{
	return !mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) && !mount("tmpfs", rig.directory, "tmpfs", 0, NULL) &&
	       !chdir(rig.directory) && !make_directory("proc") && !make_directory("run") && !make_directory("run/podvm") &&
	       !make_directory("run/podvm/fs") && !make_directory("run/podvm/fs/root0") &&
	       !mount("/", "run/podvm/fs/root0", NULL, MS_BIND, NULL) && !mount("proc", "proc", "proc", 0, NULL) &&
	       !chroot(".") && !chdir("/");
}

static _Noreturn void be_pid_1(int control)
{
	const struct serve_link link = {.control = control, .connect = connect_stream, .leave = leave_machine};
	sigset_t all;

	if (*rig.directory ? !make_root() : !geteuid() && (setgid(NOBODY) < 0 || setuid(NOBODY) < 0))
		_exit(NO_RIGHTS);
	if (!geteuid() && give_up_rights() < 0)
		_exit(NO_RIGHTS);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	umask(0);
	serve(&link);
}

/* Its namespaces end with it, and all that is in them. */
static _Noreturn void be_machine(int control)
{
	pid_t pid = 0;
	int status;

	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (*rig.directory) {
		if (unshare(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWNET | CLONE_NEWIPC) < 0)
			_exit(NO_RIGHTS);
		pid = fork();
	}
	if (pid < 0)
		_exit(NO_RIGHTS);
	if (!pid)
		be_pid_1(control);
	close(control);
	for (unsigned i = 0; i < STREAMS; i++)
		close(rig.theirs[i]);
	waitpid(pid, &status, 0);
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 99);
}

/* ---- the host ---- */

static int on_frame(void *ctx, const struct wire_header *header, const void *payload)
{
	struct told *told = &rig.frames[rig.frame_count];

	(void)ctx;
	if (!CHECK(rig.frame_count < FRAMES_MAX && header->payload_bytes < sizeof(told->payload)))
		return 0;
	rig.frame_count++;
	told->type = (enum wire_type)header->type;
	told->target = header->target;
	told->bytes = header->payload_bytes;
	memcpy(told->payload, payload, told->bytes + 1);
	return 0;
}

static const struct told *find_told(enum wire_type type, uint32_t target)
{
	for (unsigned i = 0; i < rig.frame_count; i++)
		if (rig.frames[i].type == type && rig.frames[i].target == target)
			return &rig.frames[i];
	return NULL;
}

/* Takes what comes within ms. */
static void take(unsigned ms)
{
	struct pollfd poller = {.fd = rig.host, .events = POLLIN};
	char bytes[4096];
	ssize_t got;

	if (rig.hung_up || poll(&poller, 1, (int)ms) <= 0)
		return;
	got = recv(rig.host, bytes, sizeof(bytes), MSG_DONTWAIT);
	if (got > 0)
		wire_feed(&rig.reader, bytes, (size_t)got, on_frame, NULL);
	rig.hung_up = got == 0 || (got < 0 && errno != EAGAIN);
}

static const struct told *wait_for(enum wire_type type, uint32_t target)
{
	static const struct told none = {.type = WIRE_LOG};
	uint64_t end_ns = clock_mono_ns() + PATIENCE_MS * UINT64_C(1000000);
	const struct told *told;

	while (!(told = find_told(type, target)) && !rig.hung_up && clock_mono_ns() < end_ns)
		take(100);
	return CHECK(told) ? told : &none;
}

static uint32_t exit_code(uint32_t target)
{
	struct wire_exited exited = {.code = UINT32_MAX};
	const struct told *told = wait_for(WIRE_EXITED, target);

	if (told->bytes == sizeof(exited))
		memcpy(&exited, told->payload, sizeof(exited));
	return exited.code;
}

static void tell(enum wire_type type, uint32_t target, const void *payload, size_t bytes)
{
	size_t count;
	void *frame = wire_frame_new(type, target, payload, bytes, &count);

	CHECK(send(rig.host, frame, count, MSG_NOSIGNAL) == (ssize_t)count);
	free(frame);
}

static void tell_pod(const char *json)
{
	struct wire_pod pod = {.realtime_ns = 1000000000};
	size_t bytes = sizeof(pod) + strlen(json);
	char *payload = xmalloc(bytes);

	/* None that there is: its image lies where it belongs, and there is no virtio-fs to mount. */
	memset(pod.root_kinds, 0xff, sizeof(pod.root_kinds));
	memcpy(payload, &pod, sizeof(pod));
	memcpy(payload + sizeof(pod), json, bytes - sizeof(pod));
	tell(WIRE_POD, 0, payload, bytes);
	free(payload);
}

static void tell_exec(uint32_t number, uint32_t container, const char *script)
{
	struct wire_exec exec = {.container = container};
	char payload[512];

	memcpy(payload, &exec, sizeof(exec));
	snprintf(payload + sizeof(exec), sizeof(payload) - sizeof(exec), "{\"command\":[\"sh\",\"-c\",\"%s\"]}", script);
	tell(WIRE_EXEC, number, payload, sizeof(exec) + strlen(payload + sizeof(exec)));
}

/* The host's end of a stream, its hello read; -1 when there is none. Hellos are looked at and left. */
static int stream_of(uint32_t target, enum wire_stream kind)
{
	uint64_t end_ns = clock_mono_ns() + PATIENCE_MS * UINT64_C(1000000);
	struct wire_stream_hello hello;

	while (clock_mono_ns() < end_ns) {
		for (unsigned i = 0; i < STREAMS; i++)
			if (recv(rig.streams[i], &hello, sizeof(hello), MSG_PEEK | MSG_DONTWAIT) == sizeof(hello) &&
			    hello.magic == WIRE_STREAM_MAGIC && hello.target == target && hello.stream == (uint32_t)kind) {
				CHECK_INT(recv(rig.streams[i], &hello, sizeof(hello), 0), sizeof(hello));
				return rig.streams[i];
			}
		take(10);
	}
	CHECK_MSG(false, "no such stream");
	return -1;
}

/* What comes next. */
static void check_output(int fd, const char *text)
{
	struct pollfd poller = {.fd = fd, .events = POLLIN};
	char got[256] = "";
	size_t used = 0;
	ssize_t bytes = 1;

	while (used < strlen(text) && bytes > 0 && poll(&poller, 1, PATIENCE_MS) > 0) {
		bytes = recv(fd, got + used, strlen(text) - used, MSG_DONTWAIT);
		used += bytes > 0 ? (size_t)bytes : 0;
	}
	CHECK_STR(got, text);
}

static void start_machine(void)
{
	int pair[2];

	fflush(stdout);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		abort();
	for (unsigned i = 0; i < STREAMS; i++) {
		int stream[2];

		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, stream) < 0)
			abort();
		setsockopt(stream[1], SOL_SOCKET, SO_SNDBUF, &(int){SEND_ROOM}, sizeof(int));
		rig.streams[i] = stream[0];
		rig.theirs[i] = stream[1];
	}
	rig.host = pair[0];
	rig.pid = fork();
	if (!rig.pid) {
		close(pair[0]);
		be_machine(pair[1]);
	}
	close(pair[1]);
	for (unsigned i = 0; i < STREAMS; i++)
		close(rig.theirs[i]);
}

/* Without rights, and without a pod that could live. */
static void begin(void)
{
	memset(&rig, 0, sizeof(rig));
	start_machine();
	CHECK_INT(wait_for(WIRE_READY, 0)->bytes, sizeof(struct wire_ready));
}

/* What PID 1 ended with, which it did by itself. */
static int finish(void)
{
	uint64_t end_ns = clock_mono_ns() + PATIENCE_MS * UINT64_C(1000000);
	int status = 0;

	while (!rig.hung_up && clock_mono_ns() < end_ns)
		take(100);
	if (!CHECK(rig.hung_up))
		kill(rig.pid, SIGKILL);
	waitpid(rig.pid, &status, 0);
	close(rig.host);
	for (unsigned i = 0; i < STREAMS; i++)
		close(rig.streams[i]);
	wire_reader_free(&rig.reader);
	if (*rig.directory)
		rmdir(rig.directory);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* ---- no pod yet ---- */

TEST(ready_then_waits)
{
	begin();
	CHECK_INT(((const struct wire_ready *)(const void *)wait_for(WIRE_READY, 0)->payload)->abi_version, ABI_VERSION);
	take(50);
	CHECK_INT(rig.frame_count, 1);
	CHECK(!rig.hung_up);
	shutdown(rig.host, SHUT_WR); /* the host has gone: the machine is of no use */
	CHECK_INT(finish(), LEFT);
	CHECK_INT(rig.frame_count, 1);
}

TEST(wrong_frames_end_it)
{
	static const struct {
		const char *name;
		uint32_t type;
		size_t bytes;
	} rows[] = {
		{"unknown", 99, 0},
		{"none", 0, 0},
		{"the guest's own", WIRE_READY, sizeof(struct wire_ready)},
		{"time, nothing", WIRE_TIME, 0},
		{"time, short", WIRE_TIME, sizeof(struct wire_time) - 1},
		{"time, long", WIRE_TIME, sizeof(struct wire_time) + 1},
		{"signal, short", WIRE_SIGNAL, sizeof(struct wire_signal) - 1},
		{"size, long", WIRE_WINSIZE, sizeof(struct wire_winsize) + 1},
		{"stop, nothing", WIRE_STOP, 0},
		{"statistics before the pod", WIRE_STATS_ASK, 0},
		{"statistics, with something", WIRE_STATS_ASK, 1},
		{"exec before the pod", WIRE_EXEC, sizeof(struct wire_exec) + 2},
		{"exec, short", WIRE_EXEC, sizeof(struct wire_exec) - 1},
		{"pod, short", WIRE_POD, sizeof(struct wire_pod) - 1},
	};
	static const char payload[sizeof(struct wire_pod)];

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		begin();
		tell((enum wire_type)rows[i].type, EXEC, payload, rows[i].bytes);
		CHECK_MSG(finish() == LEFT, rows[i].name);
		CHECK_MSG(rig.frame_count == 1, rows[i].name);
	}
}

TEST(too_long_a_frame_ends_it)
{
	const struct wire_header header = {.payload_bytes = WIRE_PAYLOAD_MAX + 1, .type = WIRE_POD};

	begin();
	CHECK_INT(send(rig.host, &header, sizeof(header), MSG_NOSIGNAL), sizeof(header));
	CHECK_INT(finish(), LEFT);
}

/* The host may say them at any time: what came too early is forgotten. */
TEST(early_wishes_are_ignored)
{
	uint64_t since_ns;

	begin();
	for (uint32_t i = 0; i < 3; i++) {
		const uint32_t target = (const uint32_t[]){0, EXEC, WIRE_ALL}[i];

		tell(WIRE_SIGNAL, target, &(struct wire_signal){.signo = SIGTERM}, sizeof(struct wire_signal));
		tell(WIRE_SIGNAL, target, &(struct wire_signal){.signo = 0}, sizeof(struct wire_signal));
		tell(WIRE_SIGNAL, target, &(struct wire_signal){.signo = UINT32_MAX}, sizeof(struct wire_signal));
		tell(WIRE_WINSIZE, target, &(struct wire_winsize){.rows = 1, .cols = 2}, sizeof(struct wire_winsize));
	}
	/* A year off, and refused to this process: a line in the log. */
	tell(WIRE_TIME, 0, &(struct wire_time){.realtime_ns = 1}, sizeof(struct wire_time));
	take(50);
	CHECK_INT(rig.frame_count, 1);
	CHECK(!rig.hung_up);
	/* Nothing is there that could be stopped. We do not hang up, and are given time to. */
	since_ns = clock_mono_ns();
	tell(WIRE_STOP, 0, &(struct wire_stop){.grace_ms = 1000}, sizeof(struct wire_stop));
	wait_for(WIRE_DONE, 0);
	CHECK_INT(finish(), LEFT);
	CHECK(clock_mono_ns() - since_ns >= UINT64_C(200000000));
}

TEST(pods_that_can_not_be)
{
	static const char *const rows[][2] = {
		{"", "pod:1:1: the file is empty; expected {...}"},
		{"{", "pod:1:1: this { is never closed"},
		{"{\"containers\":[]}", "pod:"},
		/* As far as it comes without rights. */
		{"{\"containers\":[{\"name\":\"c\",\"image\":\"/\",\"command\":[\"true\"]}]}", "mkdir /run/podvm"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct told *failed;

		begin();
		tell_pod(rows[i][0]);
		failed = wait_for(WIRE_FAILED, 0);
		if (!CHECK_MSG(!strncmp(failed->payload, rows[i][1], strlen(rows[i][1])), rows[i][1]))
			printf("# got %s\n", failed->payload);
		CHECK_INT(finish(), LEFT);
		CHECK(!find_told(WIRE_DONE, 0));
		CHECK(!find_told(WIRE_STARTED, 0));
	}
}

/* ---- pods that live ---- */

/* A machine with a pod of one container. */
static bool begin_pod(const char *script)
{
	char json[512];
	struct wire_ready ready = {0};

	memset(&rig, 0, sizeof(rig));
	snprintf(rig.directory, sizeof(rig.directory), "/tmp/podvm-test-serve-XXXXXX");
	if (!mkdtemp(rig.directory))
		abort();
	start_machine();
	while (!rig.frame_count && !rig.hung_up)
		take(100);
	if (rig.hung_up) {
		CHECK_INT(finish(), NO_RIGHTS);
		return false;
	}
	memcpy(&ready, rig.frames[0].payload, sizeof(ready));
	CHECK_INT(ready.abi_version, ABI_VERSION);
	snprintf(json, sizeof(json),
		 "{\"id\":\"p\",\"hostname\":\"serve\",\"containers\":[{\"name\":\"c\",\"image\":\"/\","
		 "\"command\":[\"sh\",\"-c\",\"%s\"]}]}", script);
	tell_pod(json);
	return true;
}

#define BEGIN_POD(script)                                                                                              \
	do {                                                                                                           \
		if (geteuid())                                                                                         \
			SKIP("needs root");                                                                            \
		if (!begin_pod(script))                                                                                \
			SKIP("no namespaces or mounts may be made here");                                              \
	} while (0)

/* The order in which two were told. */
static bool is_before(enum wire_type first, uint32_t first_target, enum wire_type second, uint32_t second_target)
{
	const struct told *one = find_told(first, first_target), *two = find_told(second, second_target);

	return one && two && one < two;
}

TEST(pod_lives_and_ends)
{
	int input, output;

	BEGIN_POD("echo up $$; hostname; read line; echo got $line; exit 7");
	wait_for(WIRE_STARTED, 0);
	output = stream_of(0, WIRE_STDOUT);
	check_output(output, "up 2\nserve\n");
	input = stream_of(0, WIRE_STDIN);
	CHECK_INT(send(input, "it\n", 3, MSG_NOSIGNAL), 3);
	check_output(output, "got it\n");
	CHECK_INT(exit_code(0), 7);
	wait_for(WIRE_DONE, 0);
	CHECK(is_before(WIRE_STARTED, 0, WIRE_EXITED, 0));
	CHECK(is_before(WIRE_EXITED, 0, WIRE_DONE, 0));
	CHECK_INT(finish(), LEFT);
}

TEST(pod_answers)
{
	struct wire_stats stats = {0};
	struct wire_use use = {0};
	const struct told *told;

	BEGIN_POD("exec sleep 100");
	wait_for(WIRE_STARTED, 0);
	tell(WIRE_STATS_ASK, 77, NULL, 0);
	told = wait_for(WIRE_STATS, 77);
	if (CHECK_INT(told->bytes, sizeof(stats) + sizeof(use))) {
		memcpy(&stats, told->payload, sizeof(stats));
		memcpy(&use, told->payload + sizeof(stats), sizeof(use));
	}
	CHECK_INT(stats.containers, 1);
	CHECK_INT(stats.processes, 0); /* no cgroup here that would count them */
	CHECK(stats.uptime_ns && stats.memory_total_bytes);
	CHECK_INT(use.state, WIRE_STATE_RUNNING);
	CHECK_INT(use.restarts, 0);
	CHECK(use.pids == UINT64_MAX);
	tell_exec(EXEC, 0, "echo mine; exit 3");
	check_output(stream_of(EXEC, WIRE_STDOUT), "mine\n");
	CHECK_INT(exit_code(EXEC), 3);
	tell_exec(EXEC + 1, 1, "true");
	CHECK_STR(wait_for(WIRE_REFUSED, EXEC + 1)->payload, "the pod has no container 1");
	CHECK_INT(exit_code(EXEC + 1), EXIT_PODVM);
	tell(WIRE_STOP, 0, &(struct wire_stop){.grace_ms = 20000}, sizeof(struct wire_stop));
	CHECK_INT(exit_code(0), 128 + SIGTERM);
	wait_for(WIRE_DONE, 0);
	CHECK_INT(finish(), LEFT);
}

/* Further processes end with their container, and the host hears of that before the pod is done. */
TEST(pod_takes_its_execs_along)
{
	BEGIN_POD("exec sleep 100");
	wait_for(WIRE_STARTED, 0);
	tell_exec(EXEC, 0, "trap '' TERM; echo on; while :; do sleep 1; done");
	check_output(stream_of(EXEC, WIRE_STDOUT), "on\n");
	tell(WIRE_SIGNAL, 0, &(struct wire_signal){.signo = SIGKILL}, sizeof(struct wire_signal));
	wait_for(WIRE_DONE, 0);
	CHECK_INT(exit_code(0), 128 + SIGKILL);
	CHECK_INT(exit_code(EXEC), 128 + SIGKILL);
	CHECK(is_before(WIRE_EXITED, EXEC, WIRE_DONE, 0));
	CHECK_INT(finish(), LEFT);
}

/* What an exec wrote last is waited for, and not longer than it takes. */
TEST(pod_waits_for_what_execs_wrote)
{
	char bytes[4096];
	ssize_t got = -1;
	size_t taken = 0;
	uint64_t since_ns;
	int output;

	BEGIN_POD("exec sleep 100");
	wait_for(WIRE_STARTED, 0);
	tell_exec(EXEC, 0, "head -c 100000 /dev/zero; echo full >&2; sleep 100");
	check_output(stream_of(EXEC, WIRE_STDERR), "full\n");
	output = stream_of(EXEC, WIRE_STDOUT);
	tell(WIRE_SIGNAL, 0, &(struct wire_signal){.signo = SIGKILL}, sizeof(struct wire_signal));
	exit_code(0);
	fcntl(output, F_SETFL, 0);
	while ((got = recv(output, bytes, sizeof(bytes), 0)) > 0)
		taken += (size_t)got;
	CHECK_INT(taken, 100000);
	CHECK_INT(exit_code(EXEC), 128 + SIGKILL);
	since_ns = clock_mono_ns();
	wait_for(WIRE_DONE, 0);
	CHECK(clock_mono_ns() - since_ns < UINT64_C(500000000));
	CHECK_INT(finish(), LEFT);
}

/* A host that does not take an exec's output holds the pod's end for a second, no longer. */
TEST(pod_does_not_wait_for_ever)
{
	uint64_t since_ns;

	BEGIN_POD("exec sleep 100");
	wait_for(WIRE_STARTED, 0);
	/* More than the socket takes, less than pipe and buffer. */
	tell_exec(EXEC, 0, "head -c 100000 /dev/zero; echo full >&2; sleep 100");
	check_output(stream_of(EXEC, WIRE_STDERR), "full\n");
	since_ns = clock_mono_ns();
	tell(WIRE_SIGNAL, 0, &(struct wire_signal){.signo = SIGKILL}, sizeof(struct wire_signal));
	wait_for(WIRE_DONE, 0);
	CHECK(clock_mono_ns() - since_ns >= UINT64_C(900000000));
	CHECK_INT(exit_code(0), 128 + SIGKILL);
	CHECK(!find_told(WIRE_EXITED, EXEC));
	CHECK_INT(finish(), LEFT);
}

TEST(wrong_frames_end_a_pod)
{
	static const struct {
		const char *name;
		enum wire_type type;
		size_t bytes;
	} rows[] = {
		{"a second pod", WIRE_POD, sizeof(struct wire_pod) + 2},
		{"exec, short", WIRE_EXEC, sizeof(struct wire_exec) - 1},
		{"statistics, with something", WIRE_STATS_ASK, 1},
	};
	static const char payload[sizeof(struct wire_pod) + 2];

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		BEGIN_POD("exec sleep 100");
		wait_for(WIRE_STARTED, 0);
		tell(rows[i].type, EXEC, payload, rows[i].bytes);
		CHECK_MSG(finish() == LEFT, rows[i].name);
		CHECK_MSG(!find_told(WIRE_DONE, 0) && !find_told(WIRE_EXITED, EXEC), rows[i].name);
	}
}

int main(void)
{
	RUN(ready_then_waits);
	RUN(wrong_frames_end_it);
	RUN(too_long_a_frame_ends_it);
	RUN(early_wishes_are_ignored);
	RUN(pods_that_can_not_be);
	RUN(pod_lives_and_ends);
	RUN(pod_answers);
	RUN(pod_takes_its_execs_along);
	RUN(pod_waits_for_what_execs_wrote);
	RUN(pod_does_not_wait_for_ever);
	RUN(wrong_frames_end_a_pod);
	return test_done();
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_joined: further processes, from WIRE_EXEC to WIRE_EXITED: their ends, streams, signals and numbers. Terminals are
 * test_joined_tty's.
 */
#define _GNU_SOURCE

#include "tests/unit/execs.h"

#include <sys/resource.h>

/* ---- life and end ---- */

TEST(runs_and_ends)
{
	begin();
	CHECK(joined_is_idle(rig.joined));
	start(FIRST, "echo out; echo err >&2; exit 7");
	CHECK(!joined_is_idle(rig.joined));
	check_exit(FIRST, 7);
	CHECK_INT(told(WIRE_EXITED, FIRST)->exited.signal, 0);
	CHECK_STR(output_of(FIRST, WIRE_STDOUT), "out\n");
	CHECK_STR(output_of(FIRST, WIRE_STDERR), "err\n");
	CHECK_INT(told_times(WIRE_STARTED, FIRST), 1);
	CHECK(told(WIRE_STARTED, FIRST) < told(WIRE_EXITED, FIRST));
	CHECK_INT(rig.frame_count, 2);
	CHECK_INT(rig.idles, 1);
	CHECK(joined_is_idle(rig.joined));
	finish();
}

TEST(sees_what_the_container_has)
{
	struct spec_env envs[] = {{(char *)"A", (char *)"container"}, {(char *)"B", (char *)"both"}};

	begin();
	rig.container.envs = envs;
	rig.container.env_count = 2;
	rig.container.workdir = (char *)"/usr";
	start_json(FIRST, "{\"command\":[\"sh\",\"-c\",\"echo $A $B $C $HOSTNAME; pwd; grep SigBlk /proc/self/status\"],"
			  "\"envs\":[{\"env\":\"B\",\"value\":\"mine\"},{\"env\":\"C\",\"value\":\"1\"}]}");
	check_exit(FIRST, 0);
	CHECK_STR(output_of(FIRST, WIRE_STDOUT), "container mine 1 pod\n/usr\nSigBlk:\t0000000000000000\n");
	finish();
}

TEST(has_three_descriptors)
{
	int stray = open("/dev/null", O_RDONLY); /* not close-on-exec */

	begin();
	start_json(FIRST, "{\"command\":[\"ls\",\"/proc/self/fd\"]}");
	check_exit(FIRST, 0);
	CHECK_STR(output_of(FIRST, WIRE_STDOUT), "0\n1\n2\n3\n"); /* the last is what ls reads the directory by */
	finish();
	close(stray);
}

TEST(refused_with_its_reason)
{
	static const struct {
		const char *json, *text;
		unsigned code;
	} rows[] = {
		{"{\"command\":[\"no-such-command\"]}", "no-such-command: command not found in container c", EXIT_NOT_FOUND},
		{"{\"command\":[\"/no/such\"]}", "/no/such: no such file, or its interpreter is missing, in container c",
		 EXIT_NOT_FOUND},
		{"{\"command\":[\"/etc/passwd\"]}", "/etc/passwd: can not be run in container c: Permission denied",
		 EXIT_NOT_EXECUTABLE},
		{"{\"command\":[\"true\"],\"workdir\":\"/no/such\"}", "workdir /no/such: No such file or directory", EXIT_PODVM},
		{"{\"command\":[\"true\"],\"user\":{\"name\":\"nobody-of-that-name\"}}",
		 "no user or group 'nobody-of-that-name' in the container's /etc/passwd and /etc/group", EXIT_PODVM},
		{"{\"command\":[]}", "exec:1:1: no command; expected at least a program", EXIT_PODVM},
		{"", "exec:1:1: the file is empty; expected {...}", EXIT_PODVM},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		begin();
		start_json(FIRST, rows[i].json);
		check_exit(FIRST, rows[i].code);
		CHECK_INT(told_times(WIRE_REFUSED, FIRST), 1);
		CHECK_STR(text_told(WIRE_REFUSED, FIRST), rows[i].text);
		CHECK_INT(told_times(WIRE_STARTED, FIRST), 0);
		finish();
	}
}

TEST(container_that_takes_none)
{
	begin();
	rig.find_result = -EAGAIN;
	rig.ptmx = (char *)"/dev/ptmx";
	start(FIRST, "true");
	check_exit(FIRST, EXIT_PODVM);
	CHECK_STR(text_told(WIRE_REFUSED, FIRST), "container 0 has ended");
	CHECK_INT(rig.connection_count, 0);
	CHECK(joined_is_idle(rig.joined));
	finish();
}

/* Once three connections are there the process starts; it fails at each of them. */
TEST(host_that_takes_no_stream)
{
	for (unsigned streams = 0; streams < 3; streams++) {
		begin();
		rig.connects_left = streams;
		start(FIRST, "true");
		check_exit(FIRST, EXIT_PODVM);
		CHECK_STR(text_told(WIRE_REFUSED, FIRST), "starting a process in container c: Connection refused");
		CHECK_INT(told_times(WIRE_STARTED, FIRST), 0);
		CHECK_INT(rig.connection_count, streams);
		CHECK_INT(rig.idles, 1);
		settle(20);
		CHECK_INT(rig.strangers, 0);
		rig.connects_left = 3; /* the next one is none the worse for it */
		start(FIRST + 1, "exit 4");
		check_exit(FIRST + 1, 4);
		finish();
	}
}

TEST(container_that_is_ending)
{
	siginfo_t info;

	begin();
	rig.init = fork();
	if (!rig.init)
		_exit(0);
	/* Dead and not reaped, as container-init is until PID 1 has heard of it. */
	waitid(P_PID, (id_t)rig.init, &info, WEXITED | WNOWAIT);
	start(FIRST, "true");
	read_frames();
	CHECK_STR(text_told(WIRE_REFUSED, FIRST), "container c is ending, or memory is short");
	check_exit(FIRST, EXIT_PODVM);
	finish();
}

/* ---- signals ---- */

TEST(signals_reach_it)
{
	begin();
	start(FIRST, "trap 'exit 9' USR1; echo ready; while :; do sleep 0.02; done");
	start(FIRST + 1, "echo ready; exec sleep 100");
	if (wait_output(FIRST, WIRE_STDOUT, "ready") && wait_output(FIRST + 1, WIRE_STDOUT, "ready")) {
		joined_signal(rig.joined, FIRST + 2, SIGKILL);
		joined_signal(rig.joined, FIRST, SIGUSR1);
		check_exit(FIRST, 9);
		CHECK(!told(WIRE_EXITED, FIRST + 1));
		CHECK_INT(rig.idles, 0);
	}
	joined_signal(rig.joined, FIRST + 1, SIGTERM);
	check_exit(FIRST + 1, 128 + SIGTERM);
	CHECK_INT(told(WIRE_EXITED, FIRST + 1)->exited.signal, SIGTERM);
	CHECK_INT(rig.idles, 1);
	joined_signal(rig.joined, FIRST, SIGTERM); /* nobody's any more */
	finish();
}

TEST(early_signal_waits_for_it)
{
	begin();
	start(FIRST, "exec sleep 100");
	joined_signal(rig.joined, FIRST, SIGTERM);
	check_exit(FIRST, 128 + SIGTERM);
	start(FIRST + 1, "exec sleep 100");
	joined_signal(rig.joined, FIRST + 1, SIGKILL);
	check_exit(FIRST + 1, 128 + SIGKILL);
	CHECK(!told(WIRE_REFUSED, FIRST));
	CHECK(!told(WIRE_REFUSED, FIRST + 1));
	finish();
}

/* ---- streams ---- */

TEST(input_arrives_and_ends)
{
	struct connection *input;

	begin();
	start(FIRST, "echo ready; cat; exit 3");
	if (wait_output(FIRST, WIRE_STDOUT, "ready") && CHECK(input = stream_of(FIRST, WIRE_STDIN))) {
		CHECK_INT(send(input->fd, "one ", 4, MSG_NOSIGNAL), 4);
		CHECK(wait_output(FIRST, WIRE_STDOUT, "one "));
		CHECK(!told(WIRE_EXITED, FIRST));
		CHECK_INT(send(input->fd, "two", 3, MSG_NOSIGNAL), 3);
		shutdown(input->fd, SHUT_WR);
	}
	check_exit(FIRST, 3);
	CHECK_STR(output_of(FIRST, WIRE_STDOUT), "ready\none two");
	finish();
}

/* To the host it means what it means to a pipe when the process closes its standard streams, though it runs on. */
TEST(closed_streams_are_seen)
{
	uint64_t end_ns = clock_mono_ns() + PATIENCE_MS * UINT64_C(1000000);
	struct connection *output, *input;

	begin();
	start(FIRST, "echo closing; exec sleep 100 <&- >&-");
	wait_output(FIRST, WIRE_STDOUT, "closing\n");
	if (CHECK(output = stream_of(FIRST, WIRE_STDOUT)) && CHECK(input = stream_of(FIRST, WIRE_STDIN))) {
		while (!output->ended && clock_mono_ns() < end_ns)
			turn();
		CHECK(output->ended);
		while (send(input->fd, "x", 1, MSG_NOSIGNAL) == 1 && clock_mono_ns() < end_ns)
			turn();
		CHECK_INT(errno, EPIPE);
	}
	CHECK(!told(WIRE_EXITED, FIRST));
	joined_signal(rig.joined, FIRST, SIGTERM);
	check_exit(FIRST, 128 + SIGTERM);
	finish();
}

/* All of it is taken before the end is told, however long the host takes. */
TEST(end_is_told_when_output_was_taken)
{
	enum { BYTES = 100000 }; /* more than the socket takes here, less than pipe and buffer */

	begin();
	rig.send_room = 4096;
	rig.is_slow = true;
	start_json(FIRST, "{\"command\":[\"head\",\"-c\",\"100000\",\"/dev/zero\"]}");
	settle(300);
	CHECK(!told(WIRE_EXITED, FIRST));
	CHECK(!joined_is_idle(rig.joined));
	rig.is_slow = false;
	check_exit(FIRST, 0);
	CHECK_INT(stream_of(FIRST, WIRE_STDOUT)->total, BYTES);
	finish();
}

/* What it left behind holds its pipes, silent. */
TEST(daemon_does_not_hold_the_end)
{
	int daemon;

	begin();
	start(FIRST, "sleep 100 & echo $!; exit 5");
	check_exit(FIRST, 5);
	daemon = atoi(output_of(FIRST, WIRE_STDOUT));
	settle(20);
	CHECK_INT(rig.strangers, 0);
	if (CHECK(daemon > 1))
		CHECK_INT(kill(daemon, SIGKILL), 0);
	finish();
}

/* And one that writes on and on: it meets a broken pipe. */
TEST(writer_left_behind_does_not_hold_the_end)
{
	uint64_t end_ns = clock_mono_ns() + PATIENCE_MS * UINT64_C(1000000);

	begin();
	start(FIRST, "yes & sleep 0.05; exit 6");
	check_exit(FIRST, 6);
	CHECK(stream_of(FIRST, WIRE_STDOUT)->total > 0);
	while (!rig.strangers && clock_mono_ns() < end_ns)
		turn();
	CHECK_INT(rig.strangers, 1);
	finish();
}

TEST(host_that_hangs_up)
{
	struct connection *output;

	begin();
	start(FIRST, "trap '' PIPE; while echo x; do sleep 0.01; done 2>/dev/null; exit 8");
	if (wait_output(FIRST, WIRE_STDOUT, "x") && CHECK(output = stream_of(FIRST, WIRE_STDOUT))) {
		close(output->fd);
		output->fd = -1;
	}
	check_exit(FIRST, 8);
	finish();
}

/* ---- the table ---- */

TEST(numbers_are_used_once_at_a_time)
{
	begin();
	start(FIRST, "cat; exit 2");
	if (wait_for(WIRE_STARTED, FIRST)) {
		start(FIRST, "exit 3");
		start(FIRST - 1, "exit 3");
		start(0, "exit 3");
		start(WIRE_ALL, "exit 3");
		settle(50);
		CHECK_INT(told_times(WIRE_LOG, 0), 4);
		CHECK_STR(text_told(WIRE_LOG, 0), "a process was asked for under number 65536, which is not free");
		/* An answer would be taken for another's. */
		CHECK_INT(rig.frame_count, 5);
		CHECK_INT(rig.connection_count, 3);
		shutdown(stream_of(FIRST, WIRE_STDIN)->fd, SHUT_WR);
	}
	check_exit(FIRST, 2);
	settle(10);
	rig.frame_count = 0;
	for (unsigned i = 0; i < rig.connection_count; i++)
		rig.connections[i].hello.target = 0;
	start(FIRST, "echo again; exit 3");
	check_exit(FIRST, 3);
	CHECK_STR(output_of(FIRST, WIRE_STDOUT), "again\n");
	finish();
}

static bool may_open(rlim_t files)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_max < files)
		return false;
	limit.rlim_cur = MAX(limit.rlim_cur, files);
	return setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

/* At the limit one is refused, and no more than that; when one has gone there is room. joined_free() with many under way. */
TEST(so_many_and_no_more)
{
	if (!may_open(3000))
		SKIP("too few descriptors are allowed");
	begin();
	for (unsigned i = 0; i < WIRE_EXECS_MAX; i++)
		start_json(FIRST + i, "{\"command\":[\"cat\"]}");
	start(FIRST + WIRE_EXECS_MAX, "true");
	check_exit(FIRST + WIRE_EXECS_MAX, EXIT_PODVM);
	CHECK_STR(text_told(WIRE_REFUSED, FIRST + WIRE_EXECS_MAX), "256 further processes run already");
	for (unsigned i = 0; i < WIRE_EXECS_MAX; i++)
		CHECK(!told(WIRE_REFUSED, FIRST + i) && !told(WIRE_EXITED, FIRST + i));
	CHECK_INT(rig.idles, 0);
	joined_signal(rig.joined, FIRST + 17, SIGKILL);
	check_exit(FIRST + 17, 128 + SIGKILL);
	turn();
	start(FIRST + 1000, "exit 1");
	check_exit(FIRST + 1000, 1);
	finish();
}

int main(void)
{
	prepare();
	RUN(runs_and_ends);
	RUN(sees_what_the_container_has);
	RUN(has_three_descriptors);
	RUN(refused_with_its_reason);
	RUN(container_that_takes_none);
	RUN(host_that_takes_no_stream);
	RUN(container_that_is_ending);
	RUN(signals_reach_it);
	RUN(early_signal_waits_for_it);
	RUN(input_arrives_and_ends);
	RUN(closed_streams_are_seen);
	RUN(end_is_told_when_output_was_taken);
	RUN(daemon_does_not_hold_the_end);
	RUN(writer_left_behind_does_not_hold_the_end);
	RUN(host_that_hangs_up);
	RUN(numbers_are_used_once_at_a_time);
	RUN(so_many_and_no_more);
	return test_done();
}

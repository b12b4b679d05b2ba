/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_joined_tty: further processes with terminals, and in namespaces that are not ours, which is skipped for any but root.
 */
#define _GNU_SOURCE

#include "tests/unit/execs.h"

#include <sched.h>
#include <sys/ioctl.h>
#include <termios.h>

#ifndef TIOCGPTPEER
#define TIOCGPTPEER _IO('T', 0x41)
#endif

static void start_tty(uint32_t number, const char *script)
{
	char *json = xasprintf("{\"command\":[\"sh\",\"-c\",\"%s\"],\"tty\":true}", script);

	start_json(number, json);
	free(json);
}

static char *find_ptmx(void)
{
	static const char *const paths[] = {"/dev/ptmx", "/dev/pts/ptmx"};

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		int master = open(paths[i], O_RDWR | O_NOCTTY | O_CLOEXEC), unlock = 0, slave = -1;

		if (master >= 0 && ioctl(master, TIOCSPTLCK, &unlock) == 0)
			slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
		if (master >= 0)
			close(master);
		if (slave < 0)
			continue;
		close(slave);
		return (char *)paths[i];
	}
	return NULL;
}

#define BEGIN_TTY()                                                                                                    \
	do {                                                                                                           \
		if (!find_ptmx())                                                                                      \
			SKIP("no pseudo terminals here");                                                              \
		begin();                                                                                               \
		rig.ptmx = find_ptmx();                                                                                \
	} while (0)

TEST(terminal_of_its_own)
{
	struct connection *terminal;

	BEGIN_TTY();
	start_tty(FIRST, "stty size; tty -s && echo $TERM; read line; echo got $line; stty size; exit 4");
	if (wait_output(FIRST, WIRE_TTY, "33 99\r\nxterm\r\n") && CHECK(terminal = stream_of(FIRST, WIRE_TTY))) {
		joined_winsize(rig.joined, FIRST, &(struct wire_winsize){.rows = 50, .cols = 132});
		joined_winsize(rig.joined, FIRST + 1, &(struct wire_winsize){.rows = 1, .cols = 1});
		CHECK_INT(send(terminal->fd, "typed\n", 6, MSG_NOSIGNAL), 6);
	}
	check_exit(FIRST, 4);
	CHECK_STR(output_of(FIRST, WIRE_TTY), "33 99\r\nxterm\r\ntyped\r\ngot typed\r\n50 132\r\n");
	CHECK_INT(told_times(WIRE_STARTED, FIRST), 1);
	CHECK_INT(rig.connection_count, 1);
	joined_winsize(rig.joined, FIRST, &(struct wire_winsize){.rows = 1, .cols = 1});
	finish();
}

TEST(terminal_sends_its_keys)
{
	BEGIN_TTY();
	start_tty(FIRST, "trap 'exit 6' INT; echo up >/dev/tty; while :; do sleep 0.02; done");
	if (wait_output(FIRST, WIRE_TTY, "up\r\n"))
		CHECK_INT(send(stream_of(FIRST, WIRE_TTY)->fd, "\003", 1, MSG_NOSIGNAL), 1);
	check_exit(FIRST, 6);
	finish();
}

/* The last it wrote is there, though it ended at once. */
TEST(terminal_loses_nothing)
{
	BEGIN_TTY();
	start_tty(FIRST, "seq 1 1000");
	check_exit(FIRST, 0);
	CHECK_INT(stream_of(FIRST, WIRE_TTY)->total, 3893 + 1000);
	CHECK(strstr(output_of(FIRST, WIRE_TTY), "\r\n999\r\n1000\r\n"));
	finish();
}

TEST(terminal_and_no_command)
{
	BEGIN_TTY();
	start_json(FIRST, "{\"command\":[\"no-such-command\"],\"tty\":true}");
	check_exit(FIRST, EXIT_NOT_FOUND);
	CHECK_STR(text_told(WIRE_REFUSED, FIRST), "no-such-command: command not found in container c");
	CHECK_INT(told_times(WIRE_STARTED, FIRST), 0);
	finish();
}

TEST(terminal_that_can_not_be_had)
{
	begin();
	rig.ptmx = (char *)"/no/such/ptmx";
	start_tty(FIRST, "true");
	check_exit(FIRST, EXIT_PODVM);
	CHECK_STR(text_told(WIRE_REFUSED, FIRST), "starting a process in container c: No such file or directory");
	rig.ptmx = (char *)"/dev/null";
	start_tty(FIRST + 1, "true");
	check_exit(FIRST + 1, EXIT_PODVM);
	rig.ptmx = find_ptmx();
	rig.connects_left = 0;
	if (rig.ptmx) {
		start_tty(FIRST + 2, "true");
		check_exit(FIRST + 2, EXIT_PODVM);
		CHECK_STR(text_told(WIRE_REFUSED, FIRST + 2), "starting a process in container c: Connection refused");
	}
	CHECK_INT(rig.connection_count, 0);
	finish();
}

/* Its end may be seen before the news of its start. */
TEST(terminal_end_before_its_report)
{
	siginfo_t info;

	BEGIN_TTY();
	start_tty(FIRST, "exit 5");
	/* Nothing is read until it has ended. */
	CHECK_INT(waitid(P_ALL, 0, &info, WEXITED | WNOWAIT), 0);
	reap();
	CHECK_INT(rig.strangers, 0);
	check_exit(FIRST, 5);
	finish();
}

TEST(terminal_and_early_signals)
{
	BEGIN_TTY();
	start_tty(FIRST, "exec sleep 100");
	joined_signal(rig.joined, FIRST, SIGTERM);
	check_exit(FIRST, 128 + SIGTERM);
	start_tty(FIRST + 1, "exec sleep 100");
	joined_signal(rig.joined, FIRST + 1, SIGKILL);
	check_exit(FIRST + 1, 128 + SIGKILL);
	finish();
}

/* It was written, but nobody had read it when the program, which leads the session, ended: that hangs no pty up. */
TEST(leader_ends_before_anyone_reads)
{
	BEGIN_TTY();
	start_tty(FIRST, "head -c 6000 /dev/zero | tr '\\\\0' x");
	usleep(300000);
	check_exit(FIRST, 0);
	CHECK_INT(stream_of(FIRST, WIRE_TTY)->total, 6000);
	finish();
}

/* ---- a container's namespaces ---- */

/* What holds a PID and a mount namespace, and ends with its pipe. 0: not allowed here. */
static pid_t new_container(int *hold)
{
	int pipes[2], up[2], status;
	pid_t between, init = 0;

	if (pipe2(pipes, O_CLOEXEC) < 0 || pipe2(up, O_CLOEXEC) < 0)
		abort();
	between = fork();
	if (!between) {
		if (unshare(CLONE_NEWPID | CLONE_NEWNS) < 0)
			_exit(1);
		init = fork();
		if (!init) {
			char byte;

			close(pipes[1]);
			_exit(read(pipes[0], &byte, 1) < 0);
		}
		_exit(init < 0 || write(up[1], &init, sizeof(init)) != sizeof(init));
	}
	close(up[1]);
	waitpid(between, &status, 0); /* init is ours then: we reap what is orphaned */
	if (read(up[0], &init, sizeof(init)) != sizeof(init))
		init = 0;
	close(up[0]);
	close(pipes[0]);
	*hold = pipes[1];
	return init;
}

TEST(enters_a_container)
{
	char *mounts, text[64] = "";
	int hold;

	if (geteuid())
		SKIP("needs root");
	begin();
	rig.init = new_container(&hold);
	if (!rig.init) {
		close(hold);
		finish();
		SKIP("no namespaces may be made here");
	}
	mounts = xasprintf("/proc/%d/ns/mnt", rig.init);
	CHECK(readlink(mounts, text, sizeof(text) - 1) > 0);
	free(mounts);
	start(FIRST, "echo $$; exec readlink /proc/self/ns/mnt");
	check_exit(FIRST, 0);
	CHECK_MEM(output_of(FIRST, WIRE_STDOUT), "2\n", 2);
	CHECK_MEM(output_of(FIRST, WIRE_STDOUT) + 2, text, strlen(text));
	/* PID 1 is back where it was: what it starts is none of the container's. */
	rig.ptmx = find_ptmx();
	if (rig.ptmx) {
		start_tty(FIRST + 1, "echo $$; sleep 100");
		CHECK(wait_output(FIRST + 1, WIRE_TTY, "3\r\n"));
	}
	close(hold); /* the container ends, and its processes with it */
	if (rig.ptmx)
		check_exit(FIRST + 1, 128 + SIGKILL);
	settle(20);
	CHECK_INT(rig.strangers, 1);
	finish();
}

int main(void)
{
	prepare();
	RUN(terminal_of_its_own);
	RUN(terminal_sends_its_keys);
	RUN(terminal_loses_nothing);
	RUN(terminal_and_no_command);
	RUN(terminal_that_can_not_be_had);
	RUN(terminal_end_before_its_report);
	RUN(terminal_and_early_signals);
	RUN(leader_ends_before_anyone_reads);
	RUN(enters_a_container);
	return test_done();
}

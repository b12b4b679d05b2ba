// SPDX-License-Identifier: Apache-2.0
/* test_terminal: vm/terminal.c and the terminal side of vm/stdio.c on a pseudo terminal, each in a child of its own. */
#include "vm/terminal.h"

#include "lib/util.h"
#include "pod/abi.h"
#include "pod/wire.h"
#include "tests/unit/test.h"
#include "tests/unit/vsock_guest.h"
#include "vm/stdio.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static int master = -1;
static char slave_path[64];

static bool pty_open(void)
{
	master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	return master >= 0 && !grantpt(master) && !unlockpt(master) &&
	       !ptsname_r(master, slave_path, sizeof(slave_path));
}

/* Runs body in a new session whose terminal is a new pty; what it returns is what wait() gives. */
static int in_session(int (*body)(int fd))
{
	int status, fd;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		if (setsid() < 0)
			_exit(90);
		fd = open(slave_path, O_RDWR);
		if (fd < 0 || ioctl(fd, TIOCSCTTY, 0))
			_exit(91);
		exit(body(fd));
	}
	if (waitpid(pid, &status, 0) != pid)
		return -1;
	return status;
}

static bool echoes(int fd)
{
	struct termios modes;

	return !tcgetattr(fd, &modes) && (modes.c_lflag & ECHO) && (modes.c_lflag & ICANON);
}

/* The mode the child left behind. */
static bool left_echoing(void)
{
	int fd = open(slave_path, O_RDWR | O_NOCTTY | O_CLOEXEC);
	bool yes = echoes(fd);

	close(fd);
	return yes;
}

static int raw_and_back(int fd)
{
	if (terminal_raw(fd) || echoes(fd))
		return 1;
	if (terminal_raw(fd)) /* again: nothing to do */
		return 2;
	terminal_restore();
	if (!echoes(fd))
		return 3;
	if (terminal_raw(fd) || echoes(fd))
		return 4;
	return 0; /* exit() restores */
}

static int raw_and_killed(int fd)
{
	if (terminal_raw(fd) || echoes(fd))
		return 1;
	raise(SIGTERM);
	return 2;
}

static int raw_in_background(int fd)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		setpgid(0, 0);
		if (terminal_foreground(fd) || terminal_raw(fd) != -EAGAIN)
			_exit(1);
		_exit(echoes(fd) ? 0 : 2);
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 99;
}

static int size_is_told(int fd)
{
	struct winsize size = {.ws_row = 33, .ws_col = 101};
	uint16_t rows = 0, cols = 0;
	int ends[2];

	if (ioctl(fd, TIOCSWINSZ, &size) || terminal_size(fd, &rows, &cols) || rows != 33 || cols != 101)
		return 1;
	if (pipe(ends) || terminal_size(ends[0], &rows, &cols) != -ENOTTY || terminal_raw(ends[0]) != -ENOTTY)
		return 2;
	return 0;
}

static void on_drained(void *ctx)
{
	(void)ctx;
}

static void on_lost(void *ctx, int fd, int err)
{
	(void)ctx;
	(void)fd;
	(void)err;
}

static const struct stdio_user user = {on_drained, on_lost};

static void open_tty_stream(struct guest *guest)
{
	struct wire_stream_hello hello = {WIRE_STREAM_MAGIC, 0, WIRE_TTY};

	guest_connect(guest, 1, ABI_PORT_STREAM);
	guest_send(guest, VIRTIO_VSOCK_OP_RW, 1, ABI_PORT_STREAM, 0, &hello, sizeof(hello));
}

static struct stdio *stdio_on(struct guest *guest, struct stdio_config *config)
{
	config->streams = streams_new(guest->vsock);
	config->loop = guest->rig.loop;
	return stdio_new(config, &user, NULL);
}

/* Keys typed at the master come to the guest, its output to the master. */
static int stdio_on_a_terminal(int fd)
{
	struct stdio_config config = {.count = 1, .fds = {fd, fd, fd}};
	struct guest guest;
	struct stdio *stdio;
	char got[16];

	guest_init(&guest, true);
	stdio = stdio_on(&guest, &config);
	if (terminal_raw(fd))
		return 1;
	open_tty_stream(&guest);
	if (write(master, "k\003", 2) != 2)
		return 2;
	rig_run_ms(&guest.rig, 50);
	if (!guest_take(&guest) || guest.hdr.op != VIRTIO_VSOCK_OP_RW || memcmp(guest.payload, "k\003", 2))
		return 3;
	guest_send(&guest, VIRTIO_VSOCK_OP_RW, 1, ABI_PORT_STREAM, 0, "a\n", 2);
	if (read(master, got, sizeof(got)) != 2 || memcmp(got, "a\n", 2))
		return 4;
	if (fcntl(fd, F_GETFL) & O_NONBLOCK)
		return 5;
	stdio_free(stdio);
	streams_free(config.streams);
	guest_fini(&guest);
	return 0;
}

/* In the background input stays where it is; it is no end, and no SIGTTIN stops us. */
static int stdio_in_background(int fd)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		struct stdio_config config = {.count = 1, .fds = {fd, -1, -1}};
		struct guest guest;
		struct stdio *stdio;

		setpgid(0, 0);
		guest_init(&guest, true);
		stdio = stdio_on(&guest, &config);
		open_tty_stream(&guest);
		if (write(master, "line\n", 5) != 5)
			_exit(1);
		rig_run_ms(&guest.rig, 50);
		if (guest_take(&guest))
			_exit(2);
		stdio_free(stdio);
		streams_free(config.streams);
		guest_fini(&guest);
		_exit(0);
	}
	if (waitpid(pid, &status, WUNTRACED) != pid || WIFSTOPPED(status)) {
		kill(pid, SIGKILL);
		return 98;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 99;
}

#define PTY_OR_SKIP() \
	do { \
		if (!pty_open()) \
			SKIP("no pseudo terminals here"); \
	} while (0)

static void pty_close(void)
{
	close(master);
}

TEST(raw_mode_is_undone_at_exit)
{
	PTY_OR_SKIP();
	CHECK_INT(in_session(raw_and_back), 0);
	CHECK(left_echoing());
	pty_close();
}

TEST(raw_mode_is_undone_by_a_signal)
{
	int status;

	PTY_OR_SKIP();
	status = in_session(raw_and_killed);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
	CHECK(left_echoing());
	pty_close();
}

TEST(background_leaves_the_terminal_alone)
{
	PTY_OR_SKIP();
	CHECK_INT(in_session(raw_in_background), 0);
	pty_close();
}

TEST(window_size)
{
	PTY_OR_SKIP();
	CHECK_INT(in_session(size_is_told), 0);
	pty_close();
}

TEST(streams_on_a_terminal)
{
	PTY_OR_SKIP();
	CHECK_INT(in_session(stdio_on_a_terminal), 0);
	pty_close();
}

TEST(streams_in_the_background)
{
	PTY_OR_SKIP();
	CHECK_INT(in_session(stdio_in_background), 0);
	pty_close();
}

int main(void)
{
	RUN(raw_mode_is_undone_at_exit);
	RUN(raw_mode_is_undone_by_a_signal);
	RUN(background_leaves_the_terminal_alone);
	RUN(window_size);
	RUN(streams_on_a_terminal);
	RUN(streams_in_the_background);
	return test_done();
}

// SPDX-License-Identifier: Apache-2.0
/*
 * terminal: see terminal.h. Owns the saved modes and the signal actions that bring them back; must not know who reads
 * the terminal.
 *
 * tcsetattr() is safe in a signal handler, and from a background process it raises SIGTTOU unless that is blocked.
 * It does not wait for output to drain: a terminal held by ^S would never let us go.
 */
#define _GNU_SOURCE
#include "vm/terminal.h"

#include "lib/util.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

static struct termios saved;
static volatile sig_atomic_t raw_fd = -1; /* -1: nothing to undo */

/* Signals that end a process. Only those with the default action are taken over. */
static const int deadly[] = {SIGABRT, SIGBUS, SIGFPE, SIGHUP, SIGILL, SIGINT, SIGQUIT, SIGSEGV, SIGSYS, SIGTERM};

static int modes_set(int fd, const struct termios *modes)
{
	sigset_t stop, before;
	int err;

	sigemptyset(&stop);
	sigaddset(&stop, SIGTTOU);
	pthread_sigmask(SIG_BLOCK, &stop, &before);
	err = tcsetattr(fd, TCSANOW, modes) ? -errno : 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return err;
}

void terminal_restore(void)
{
	int fd = raw_fd, err = errno;

	if (fd < 0)
		return;
	raw_fd = -1;
	modes_set(fd, &saved);
	errno = err;
}

/* SA_RESETHAND put the default action back: raised again, the signal ends the process as it would have. */
static void die_restored(int signo)
{
	terminal_restore();
	raise(signo);
}

static void catch_deadly(void)
{
	struct sigaction restore = {.sa_handler = die_restored, .sa_flags = (int)SA_RESETHAND}, now;

	for (size_t i = 0; i < ARRAY_SIZE(deadly); i++)
		if (!sigaction(deadly[i], NULL, &now) && now.sa_handler == SIG_DFL)
			sigaction(deadly[i], &restore, NULL);
}

bool terminal_foreground(int fd)
{
	return tcgetpgrp(fd) == getpgrp();
}

int terminal_raw(int fd)
{
	static bool at_exit;
	struct termios raw;

	if (raw_fd >= 0)
		return 0;
	if (tcgetattr(fd, &saved))
		return -errno;
	if (!terminal_foreground(fd))
		return -EAGAIN;
	raw = saved;
	cfmakeraw(&raw);
	if (!at_exit && atexit(terminal_restore))
		return -ENOMEM;
	at_exit = true;
	catch_deadly();
	raw_fd = fd; /* before the change: a signal between the two undoes nothing, and that does no harm */
	return modes_set(fd, &raw);
}

int terminal_size(int fd, uint16_t *rows, uint16_t *cols)
{
	struct winsize size;

	if (ioctl(fd, TIOCGWINSZ, &size))
		return -errno;
	*rows = size.ws_row;
	*cols = size.ws_col;
	return 0;
}

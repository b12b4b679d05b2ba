/* SPDX-License-Identifier: Apache-2.0 */
/*
 * join: owns the way of a further process into a container's namespaces. What it does there is program's.
 *
 * Theory of operation. The process is to be a child of PID 1, so that its end is seen exactly, and of the container's PID
 * namespace, so that it ends with the container. setns(CLONE_NEWPID) moves nobody; it only says where children will be
 * born. So PID 1 itself points there, clones, and points home again. Nothing of it can wait for the container, and no
 * helper process is needed. The other namespaces the child enters by itself. (PID 1 could not even: it shares its
 * mounts with nobody and must go on seeing its own.)
 *
 * With a terminal the process leads the session itself. Unlike container-init (init/process.c) nothing stands between: a
 * leader that dies hangs up a line, but not a pseudo terminal (disassociate_ctty() in drivers/tty/tty_jobctrl.c), so what it
 * wrote can still be read; PID 1 holds the other end open until it has.
 *
 * The report pipe closes with execve(), and that is the news of success.
 *
 * Between clone() and execve() the process is in reach of the container's and holds a copy of PID 1's memory. It is not
 * dumpable from its first step on, and has more capabilities than a container, so that ptrace and /proc are closed to
 * all but those that docs/architecture.md names. It executes nothing before it has closed PID 1's descriptors.
 *
 * A container that dies meanwhile: setns() fails with ESRCH once its init has no namespaces any more, clone() with ENOMEM
 * once the kernel kills what is in there.
 */
#define _GNU_SOURCE

#include "init/join.h"

#include "init/program.h"
#include "lib/log.h"
#include "lib/util.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { CONTAINER_INIT_FD = PROGRAM_REPORT_FD + 1 };

/* From here on: the child. */

static void enter(const struct join_plan *plan)
{
	if (plan->process.confine)
		program_shed(); /* PID 1's /proc is still here */
	if (plan->container_init >= 0 && setns(CONTAINER_INIT_FD, CLONE_NEWNS | CLONE_NEWCGROUP) < 0)
		program_give_up(EXIT_PODVM, "entering container %s: %s", plan->process.container->name, strerror(errno));
	close(CONTAINER_INIT_FD);
	umask(022);
}

static _Noreturn void run(const struct join_plan *plan, int report)
{
	const int fds[] = {plan->process.stdio[0], plan->process.stdio[1], plan->process.stdio[2], report,
			   plan->container_init};

	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	program_place(fds, plan->container_init >= 0 ? ARRAY_SIZE(fds) : ARRAY_SIZE(fds) - 1);
	prctl(PR_SET_NAME, "podvm-exec", 0, 0, 0);
	enter(plan);
	if (plan->process.container->tty && (setsid() < 0 || ioctl(0, TIOCSCTTY, 0) < 0))
		program_give_up(EXIT_PODVM, "taking the terminal: %s", strerror(errno));
	program_run(&plan->process);
}

/* From here on: the parent. */

/* Our own PID namespace; opened once and before it could be needed, because there must be a way back. */
static int home_fd(void)
{
	static int fd = -1;

	if (fd < 0)
		fd = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
	return fd;
}

/* As fork(). */
static pid_t clone_into(const struct join_plan *plan)
{
	pid_t pid;
	int err;

	if (plan->container_init < 0)
		return process_clone(&plan->process);
	if (home_fd() < 0 || setns(plan->container_init, CLONE_NEWPID) < 0)
		return -1;
	pid = process_clone(&plan->process);
	if (!pid)
		return 0;
	err = errno;
	/* What it allocates is small, and the kernel waits for memory rather than refuse that. */
	if (setns(home_fd(), CLONE_NEWPID) < 0)
		log_warn("back to the own PID namespace: errno %d", errno);
	errno = err;
	return pid;
}

int join_spawn(const struct join_plan *plan, struct process *process)
{
	int report[2], err;
	pid_t pid;

	if (pipe2(report, O_CLOEXEC) < 0)
		return -errno;
	pid = clone_into(plan);
	if (!pid)
		run(plan, report[1]);
	err = -errno;
	close(report[1]);
	if (pid < 0) {
		close(report[0]);
		return err;
	}
	fd_nonblock(report[0]);
	*process = (struct process){.pid = pid, .report_fd = report[0]};
	return 0;
}

int join_report_read(int report_fd, struct process_report *report)
{
	/* Written in one piece below PIPE_BUF, so it is read in one. */
	ssize_t got = read(report_fd, report, sizeof(*report));

	if (got <= 0)
		return got < 0 ? -errno : 0;
	if (got != sizeof(*report))
		return -EPROTO;
	report->text[sizeof(report->text) - 1] = 0;
	return 1;
}

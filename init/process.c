/* SPDX-License-Identifier: Apache-2.0 */
/*
 * process: owns what happens between clone() and the last steps of a container's main process, which are program's.
 * Knows neither the host nor the other containers; how a root is made is the caller's enter().
 *
 * Theory of operation. Three processes take part:
 *
 *	PID 1 --clone--> container-init --vfork--> main process --> execve
 *
 * container-init is PID 1 of the container's PID namespace. A program not written to be PID 1 would neither reap
 * orphans nor die of a signal it has no handler for, so the user's program gets PID 2. container-init is a fork
 * without exec: its text is already in memory. It passes every signal on, reaps, and ends when the main process ends;
 * the kernel then kills what is left in the namespace before PID 1 sees container-init die. So once PID 1 has reaped
 * it, nothing of the container can write any more.
 *
 * All signals are blocked from before the clone, and a blocked signal is kept even for the init of a namespace: one
 * that comes while the container is being set up is passed on as soon as there is somebody to pass it to.
 *
 * The vfork (without shared memory) holds container-init back until the main process has executed or given up, so the
 * order in the report pipe tells success from failure: FAILED, if any, comes before RUNNING.
 *
 * The namespace for cgroups has to be unshared after the clone: made by the clone itself it would be rooted in the
 * parent's cgroup, although the child is born in its own.
 *
 * With a terminal, container-init leads the session, and shares the process group with the main process. Were the main
 * process the leader, its death would hang the terminal up, and the kernel then throws away what was written and
 * not yet passed to the reading side. Now all is written when container-init lets go of the terminal, which does not
 * hang up. Two things follow. Keys (^C) reach the group, so container-init must not pass on what it got with it. And
 * the group stays "orphaned", as that of a lone session leader is, so ^Z can not stop a program nobody could wake.
 *
 * container-init holds a copy of PID 1's memory, and so the secrets of the pod's other containers. It is not dumpable
 * (no ptrace, no /proc/1/mem without CAP_SYS_PTRACE, which a container has only if its pod file adds it), keeps no
 * descriptor of PID 1 and keeps only the container's own capabilities, and CAP_KILL.
 */
#define _GNU_SOURCE

#include "init/process.h"

#include "init/program.h"
#include "lib/log.h"
#include "lib/util.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_clone3
#define SYS_clone3 435
#endif

struct wire_exited process_exit_of(int wait_status)
{
	if (WIFSIGNALED(wait_status))
		return (struct wire_exited){.code = 128 + (uint32_t)WTERMSIG(wait_status),
					    .signal = (uint32_t)WTERMSIG(wait_status)};
	return (struct wire_exited){.code = (uint32_t)WEXITSTATUS(wait_status)};
}

/* From here on: the child. */

/* The main process has ended. With a terminal: see above why nobody may be left who writes to it. */
static _Noreturn void end(const struct process_plan *plan, int status)
{
	if (plan->container->tty && plan->namespaces & CLONE_NEWPID) {
		kill(-1, SIGKILL);
		while (waitpid(-1, NULL, 0) >= 0 || errno == EINTR)
			;
	}
	if (plan->container->tty)
		ioctl(0, TIOCNOTTY);
	program_report(PROCESS_ENDED, status, "");
	_exit(0);
}

static void reap(const struct process_plan *plan, pid_t main_pid)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		if (pid == main_pid)
			end(plan, status);
}

/* A key of the terminal, or kill(0): the main process has got it already. */
static bool is_from_group(const struct signalfd_siginfo *info)
{
	return info->ssi_code == SI_KERNEL || (info->ssi_pid && getpgid((pid_t)info->ssi_pid) == getpgrp());
}

static _Noreturn void watch_over(const struct process_plan *plan, pid_t main_pid, int signals)
{
	struct signalfd_siginfo info;

	for (;;) {
		if (read(signals, &info, sizeof(info)) != sizeof(info))
			continue;
		if (info.ssi_signo == SIGCHLD)
			reap(plan, main_pid);
		else if (!plan->container->tty || !is_from_group(&info))
			kill(main_pid, (int)info.ssi_signo);
	}
}

/* What container-init and the main process have in common, up to the container's root. */
static void settle_in(const struct process_plan *plan)
{
	char text[PROCESS_TEXT_BYTES] = "";
	int err;

	/* The old root is still here. */
	if (plan->confine)
		program_shed();
	prctl(PR_SET_NAME, "podvm-init", 0, 0, 0);
	if (plan->cgroup_fd >= 0 && plan->confine && unshare(CLONE_NEWCGROUP) < 0)
		program_give_up(EXIT_PODVM, "cgroup namespace: %s", strerror(errno));
	err = plan->enter ? plan->enter(plan->ctx, text, sizeof(text)) : 0;
	if (err)
		program_give_up(EXIT_PODVM, "%s: %s", text, strerror(-err));
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	if (plan->container->tty && (setsid() < 0 || ioctl(0, TIOCSCTTY, 0) < 0))
		program_give_up(EXIT_PODVM, "taking the terminal: %s", strerror(errno));
}

static _Noreturn void container_init(const struct process_plan *plan, int report)
{
	sigset_t all;
	const int fds[] = {plan->stdio[0], plan->stdio[1], plan->stdio[2], report};
	int signals;
	pid_t main_pid;

	program_place(fds, ARRAY_SIZE(fds));
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	settle_in(plan);
	signals = signalfd(-1, &all, SFD_CLOEXEC);
	main_pid = (pid_t)syscall(SYS_clone, CLONE_VFORK | SIGCHLD, 0, 0, 0, 0);
	if (main_pid < 0 || signals < 0)
		program_give_up(EXIT_PODVM, "starting the main process: %s", strerror(errno));
	if (!main_pid)
		program_run(plan);
	/* The streams are the main process's now: pipes held here would never see an end. */
	for (int fd = 0; fd < PROGRAM_REPORT_FD && !plan->container->tty; fd++)
		close(fd);
	/* CAP_KILL as well: signals go to a main process of whatever user, even if that may send none itself. */
	if (plan->confine)
		program_set_capabilities(program_capabilities(plan->container) | 1ull << CAP_KILL, 0);
	program_report(PROCESS_RUNNING, 0, "");
	watch_over(plan, main_pid, signals);
}

/* From here on: the parent. */

pid_t process_clone(const struct process_plan *plan)
{
	struct clone_args args = {.flags = plan->namespaces, .exit_signal = SIGCHLD};

	if (plan->cgroup_fd >= 0) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = (uint64_t)plan->cgroup_fd;
	}
	return (pid_t)syscall(SYS_clone3, &args, sizeof(args));
}

int process_spawn(const struct process_plan *plan, struct process *process)
{
	int report[2];
	pid_t pid;

	if (pipe2(report, O_CLOEXEC) < 0)
		return -errno;
	pid = process_clone(plan);
	if (!pid)
		container_init(plan, report[1]);
	close(report[1]);
	if (pid < 0) {
		int err = -errno;

		close(report[0]);
		return err;
	}
	fd_nonblock(report[0]);
	*process = (struct process){.pid = pid, .report_fd = report[0]};
	return 0;
}

bool process_report_read(int report_fd, struct process_report *report)
{
	/* Each was written in one piece below PIPE_BUF, so each is read in one. */
	if (read(report_fd, report, sizeof(*report)) != sizeof(*report))
		return false;
	report->text[sizeof(report->text) - 1] = 0;
	return true;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * process: owns what happens between clone() and execve() of a container. Knows neither the host nor the other
 * containers; how a root is made is the caller's enter().
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

#include "lib/log.h"
#include "lib/util.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef SYS_clone3
#define SYS_clone3 435
#endif

enum {
	REPORT_FD = 3,		/* in the child, behind the three streams */
	FD_PARKING = 64,	/* where they wait while 0 to 3 are being filled */
	NOFILE_SOFT = 1024,	/* more breaks select(); programs that want more raise it themselves */
	NOFILE_HARD = 1 << 20,
	PASSWD_BYTES_MAX = 4 << 20,
	TTY_GID = 5,
};

static const char path_default[] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/* What Docker leaves to a container. */
static const uint64_t capabilities_default =
	1ull << CAP_CHOWN | 1ull << CAP_DAC_OVERRIDE | 1ull << CAP_FOWNER | 1ull << CAP_FSETID | 1ull << CAP_KILL |
	1ull << CAP_SETGID | 1ull << CAP_SETUID | 1ull << CAP_SETPCAP | 1ull << CAP_NET_BIND_SERVICE |
	1ull << CAP_NET_RAW | 1ull << CAP_SYS_CHROOT | 1ull << CAP_MKNOD | 1ull << CAP_AUDIT_WRITE |
	1ull << CAP_SETFCAP;

static const uint64_t capabilities_all = (1ull << (CAP_LAST_CAP + 1)) - 1;

/* As Docker reads its two lists: "ALL" in one makes the other the exceptions. */
uint64_t process_capabilities(const struct spec_container *container)
{
	if (container->cap_add == SPEC_CAPABILITIES_ALL)
		return capabilities_all & ~container->cap_drop;
	if (container->cap_drop == SPEC_CAPABILITIES_ALL)
		return container->cap_add;
	return (capabilities_default & ~container->cap_drop) | container->cap_add;
}

struct wire_exited process_exit_of(int wait_status)
{
	if (WIFSIGNALED(wait_status))
		return (struct wire_exited){.code = 128 + (uint32_t)WTERMSIG(wait_status),
					    .signal = (uint32_t)WTERMSIG(wait_status)};
	return (struct wire_exited){.code = (uint32_t)WEXITSTATUS(wait_status)};
}

/* Sets name in an environment with room for one more. */
static void env_set(char **env, const char *name, const char *value)
{
	size_t bytes = strlen(name);

	while (*env && (strncmp(*env, name, bytes) || (*env)[bytes] != '='))
		env++;
	free(*env);
	*env = xasprintf("%s=%s", name, value);
}

char **process_env(const struct spec_container *container, const struct user *user, const char *hostname)
{
	char **env = xcalloc(container->env_count + 6, sizeof(*env));

	env_set(env, "PATH", path_default);
	env_set(env, "HOSTNAME", hostname);
	env_set(env, "HOME", user->home);
	if (*user->name)
		env_set(env, "USER", user->name);
	if (container->tty)
		env_set(env, "TERM", "xterm");
	for (size_t i = 0; i < container->env_count; i++)
		env_set(env, container->envs[i].name, container->envs[i].value);
	return env;
}

void process_env_free(char **env)
{
	for (char **at = env; at && *at; at++)
		free(*at);
	free(env);
}

const char *process_env_get(char *const *env, const char *name)
{
	size_t bytes = strlen(name);

	for (; *env; env++)
		if (!strncmp(*env, name, bytes) && (*env)[bytes] == '=')
			return *env + bytes + 1;
	return NULL;
}

/* From here on: the child. Nothing is logged, as descriptor 2 is the container's; faults go into the report pipe. */

static void report_send(enum process_report_kind kind, int value, const char *text)
{
	struct process_report report = {.kind = kind, .value = value};

	snprintf(report.text, sizeof(report.text), "%s", text);
	/* PID 1 may be gone from the pipe only when everything ends anyway. */
	if (write_all(REPORT_FD, &report, sizeof(report)) < 0)
		_exit(EXIT_PODVM);
}

static _Noreturn void give_up(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static _Noreturn void give_up(int code, const char *fmt, ...)
{
	char text[PROCESS_TEXT_BYTES];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	report_send(PROCESS_FAILED, code, text);
	_exit(code);
}

/* Descriptors 0, 1, 2 and REPORT_FD as planned, and no other. */
static void place_descriptors(const struct process_plan *plan, int report)
{
	int parked[4] = {plan->stdio[0], plan->stdio[1], plan->stdio[2], report};

	for (int i = 0; i < 4; i++)
		parked[i] = fcntl(parked[i], F_DUPFD, FD_PARKING);
	for (int i = 0; i < 4; i++)
		if (dup3(parked[i], i, i == REPORT_FD ? O_CLOEXEC : 0) < 0)
			_exit(EXIT_PODVM);
	syscall(SYS_close_range, REPORT_FD + 1, ~0u, 0);
}

static void drop_bounding_set(uint64_t kept)
{
	for (unsigned cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		if (!(kept & 1ull << cap) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			give_up(EXIT_PODVM, "dropping capability %u: %s", cap, strerror(errno));
}

static int set_capabilities(uint64_t permitted, uint64_t inheritable)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct sets[2] = {
		{.effective = (uint32_t)permitted, .permitted = (uint32_t)permitted, .inheritable = (uint32_t)inheritable},
		{.effective = (uint32_t)(permitted >> 32), .permitted = (uint32_t)(permitted >> 32),
		 .inheritable = (uint32_t)(inheritable >> 32)},
	};

	return syscall(SYS_capset, &header, sets) < 0 ? -errno : 0;
}

/*
 * Those that a user other than root has from the start: what capAdd names. "ALL" is not such a name: it lifts the bound
 * for programs that bring rights of their own. Ambient capabilities outlive execve() without the file's help.
 */
static void raise_ambient(uint64_t added)
{
	int err = set_capabilities(added, added);

	for (unsigned cap = 0; cap <= CAP_LAST_CAP && !err; cap++)
		if (added & 1ull << cap && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) < 0)
			err = -errno;
	if (err)
		give_up(EXIT_PODVM, "capabilities of the user: %s", strerror(-err));
}

static char *read_list(const char *path)
{
	char *text;
	size_t bytes;

	return file_read(path, PASSWD_BYTES_MAX, &text, &bytes) < 0 ? xstrdup("") : text;
}

static void find_user(const struct spec_container *container, struct user *user)
{
	const struct spec_user *wanted = &container->user;
	char *passwd, *group;
	const char *unknown;

	/*
	 * Nobody asked for: root needs neither its groups nor a look at two files, which is a millisecond of a start.
	 */
	if (!*wanted->name && !*wanted->group && !wanted->additional_group_count) {
		*user = (struct user){.name = xstrdup("root"), .home = xstrdup("/root")};
		return;
	}
	passwd = read_list("/etc/passwd");
	group = read_list("/etc/group");
	if (user_lookup(passwd, group, wanted, user, &unknown) < 0)
		give_up(EXIT_PODVM, "no user or group '%s' in the container's /etc/passwd and /etc/group", unknown);
	free(passwd);
	free(group);
}

/* Standard streams are made the user's, as programs open /dev/stdout or /dev/tty by name. */
static void hand_over_streams(const struct user *user)
{
	struct stat st;

	for (int fd = 0; fd <= 2; fd++) {
		if (fstat(fd, &st) < 0 || !(S_ISFIFO(st.st_mode) || isatty(fd)))
			continue;
		if (fchown(fd, user->uid, isatty(fd) ? TTY_GID : user->gid) < 0)
			give_up(EXIT_PODVM, "handing over descriptor %d: %s", fd, strerror(errno));
	}
}

static void set_ulimits(const struct spec_container *container)
{
	for (size_t i = 0; i < container->ulimit_count; i++) {
		const struct spec_ulimit *ulimit = &container->ulimits[i];
		/* SPEC_UNLIMITED is RLIM_INFINITY. */
		const struct rlimit limit = {.rlim_cur = ulimit->soft, .rlim_max = ulimit->hard};

		if (setrlimit((int)ulimit->resource, &limit) < 0)
			give_up(EXIT_PODVM, "ulimit %s: %s%s", spec_ulimit_name(ulimit->resource), strerror(errno),
				ulimit->resource == RLIMIT_NOFILE && errno == EPERM ?
					" (more than the sysctl fs/nr_open lets pass)" : "");
	}
}
_Static_assert(SPEC_UNLIMITED == RLIM_INFINITY, "set_ulimits() passes limits as they are");

static void become_user(const struct spec_container *container, const struct user *user)
{
	uint64_t added = container->cap_add == SPEC_CAPABILITIES_ALL ? 0 : container->cap_add;

	drop_bounding_set(process_capabilities(container));
	if (user->uid && added)
		prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0);
	if (setgroups(user->group_count, user->groups) < 0 || setgid(user->gid) < 0 || setuid(user->uid) < 0)
		give_up(EXIT_PODVM, "becoming user %u: %s", user->uid, strerror(errno));
	if (user->uid && added)
		raise_ambient(added);
	if (container->no_new_privileges && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		give_up(EXIT_PODVM, "no new privileges: %s", strerror(errno));
}

static _Noreturn void exec_failed(const char *what, const struct spec_container *container, int err)
{
	if (err == ENOENT || err == ENOTDIR)
		give_up(EXIT_NOT_FOUND, strchr(what, '/') ? "%s: no such file, or its interpreter is missing, in "
							    "container %s" :
							    "%s: command not found in container %s",
			what, container->name);
	give_up(EXIT_NOT_EXECUTABLE, "%s: can not be run in container %s: %s", what, container->name, strerror(err));
}

/* Never returns but by failing: the file a name without '/' means is looked for in the container's PATH. */
static _Noreturn void execute(const struct spec_container *container, char **argv, char **env)
{
	const char *path = process_env_get(env, "PATH");
	char file[PATH_MAX];
	int err = ENOENT;

	if (strchr(argv[0], '/') || !*argv[0]) {
		execve(argv[0], argv, env);
		exec_failed(argv[0], container, errno);
	}
	for (path = path ? path : path_default; path; path = strchr(path, ':') ? strchr(path, ':') + 1 : NULL) {
		int bytes = (int)strcspn(path, ":");

		if (snprintf(file, sizeof(file), "%.*s%s%s", bytes, path, bytes ? "/" : "", argv[0]) >=
		    (int)sizeof(file))
			continue;
		execve(file, argv, env);
		/* Found but refused is remembered, while a later directory may have one that works. */
		if (errno != ENOENT && errno != ENOTDIR)
			err = errno;
	}
	exec_failed(argv[0], container, err);
}

static _Noreturn void run_main(const struct process_plan *plan)
{
	const struct spec_container *container = plan->container;
	size_t count;
	char **argv = spec_argv(container, &count), **env;
	struct user user;
	sigset_t none;

	argv = xrealloc(argv, (count + 1) * sizeof(*argv));
	argv[count] = NULL;
	find_user(container, &user);
	env = process_env(container, &user, plan->hostname);
	if (!container->tty)
		setsid();
	if (plan->confine)
		hand_over_streams(&user);
	/* Of the main process, not of container-init: cpu or as could end that. Late: they hold for us as well. */
	set_ulimits(container);
	if (plan->confine)
		become_user(container, &user);
	if (chdir(container->workdir) < 0)
		give_up(EXIT_PODVM, "workdir %s: %s", container->workdir, strerror(errno));
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execute(container, argv, env);
}

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
	report_send(PROCESS_ENDED, status, "");
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

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	write_all(fd, text, strlen(text));
	close(fd);
}

/* What container-init and the main process have in common, up to the container's root. */
static void settle_in(const struct process_plan *plan)
{
	static const struct rlimit files = {.rlim_cur = NOFILE_SOFT, .rlim_max = NOFILE_HARD};
	char text[PROCESS_TEXT_BYTES] = "";
	int err;

	/* PID 1 has itself spared by the OOM killer, its children are not. Through the old root, still here. */
	if (plan->confine) {
		write_file("/proc/self/oom_score_adj", "0");
		setrlimit(RLIMIT_NOFILE, &files);
	}
	prctl(PR_SET_NAME, "podvm-init", 0, 0, 0);
	if (plan->cgroup_fd >= 0 && plan->confine && unshare(CLONE_NEWCGROUP) < 0)
		give_up(EXIT_PODVM, "cgroup namespace: %s", strerror(errno));
	err = plan->enter ? plan->enter(plan->ctx, text, sizeof(text)) : 0;
	if (err)
		give_up(EXIT_PODVM, "%s: %s", text, strerror(-err));
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	if (plan->container->tty && (setsid() < 0 || ioctl(0, TIOCSCTTY, 0) < 0))
		give_up(EXIT_PODVM, "taking the terminal: %s", strerror(errno));
}

static _Noreturn void container_init(const struct process_plan *plan, int report)
{
	sigset_t all;
	int signals;
	pid_t main_pid;

	place_descriptors(plan, report);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	settle_in(plan);
	signals = signalfd(-1, &all, SFD_CLOEXEC);
	main_pid = (pid_t)syscall(SYS_clone, CLONE_VFORK | SIGCHLD, 0, 0, 0, 0);
	if (main_pid < 0 || signals < 0)
		give_up(EXIT_PODVM, "starting the main process: %s", strerror(errno));
	if (!main_pid)
		run_main(plan);
	/* The streams are the main process's now: pipes held here would never see an end. */
	for (int fd = 0; fd < REPORT_FD && !plan->container->tty; fd++)
		close(fd);
	/* CAP_KILL as well: signals go to a main process of whatever user, even if that may send none itself. */
	if (plan->confine)
		set_capabilities(process_capabilities(plan->container) | 1ull << CAP_KILL, 0);
	report_send(PROCESS_RUNNING, 0, "");
	watch_over(plan, main_pid, signals);
}

/* From here on: the parent. */

static pid_t clone_child(const struct process_plan *plan)
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
	pid = clone_child(plan);
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

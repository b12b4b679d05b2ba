/* SPDX-License-Identifier: Apache-2.0 */
/*
 * program: owns what a container's file says of a process: its user, capabilities, limits, environment and command.
 * Knows neither how the process came into the container nor PID 1. Nothing is logged, as descriptor 2 is the
 * container's: faults go into the report descriptor.
 */
#define _GNU_SOURCE

#include "init/program.h"

#include "lib/log.h"
#include "lib/util.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_close_range
#define SYS_close_range 436
#endif

enum {
	FD_PARKING = 64,	/* where descriptors wait while the first ones are being filled */
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
uint64_t program_capabilities(const struct spec_container *container)
{
	if (container->cap_add == SPEC_CAPABILITIES_ALL)
		return capabilities_all & ~container->cap_drop;
	if (container->cap_drop == SPEC_CAPABILITIES_ALL)
		return container->cap_add;
	return (capabilities_default & ~container->cap_drop) | container->cap_add;
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

char **program_env(const struct spec_container *container, const struct user *user, const char *hostname)
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

void program_env_free(char **env)
{
	for (char **at = env; at && *at; at++)
		free(*at);
	free(env);
}

const char *program_env_get(char *const *env, const char *name)
{
	size_t bytes = strlen(name);

	for (; *env; env++)
		if (!strncmp(*env, name, bytes) && (*env)[bytes] == '=')
			return *env + bytes + 1;
	return NULL;
}

/* From here on: the child. */

void program_report(enum process_report_kind kind, int value, const char *text)
{
	struct process_report report = {.kind = kind, .value = value};

	snprintf(report.text, sizeof(report.text), "%s", text);
	/* PID 1 may be gone from the pipe only when everything ends anyway. */
	if (write_all(PROGRAM_REPORT_FD, &report, sizeof(report)) < 0)
		_exit(EXIT_PODVM);
}

_Noreturn void program_give_up(int code, const char *fmt, ...)
{
	char text[PROCESS_TEXT_BYTES];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	program_report(PROCESS_FAILED, code, text);
	_exit(code);
}

void program_place(const int *fds, unsigned count)
{
	int parked[PROGRAM_FDS_MAX];

	for (unsigned i = 0; i < count; i++)
		parked[i] = fcntl(fds[i], F_DUPFD, FD_PARKING);
	for (unsigned i = 0; i < count; i++)
		if (dup3(parked[i], (int)i, i >= PROGRAM_REPORT_FD ? O_CLOEXEC : 0) < 0)
			_exit(EXIT_PODVM);
	syscall(SYS_close_range, count, ~0u, 0);
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	write_all(fd, text, strlen(text));
	close(fd);
}

void program_shed(void)
{
	static const struct rlimit files = {.rlim_cur = NOFILE_SOFT, .rlim_max = NOFILE_HARD};

	/* PID 1 has itself spared by the OOM killer, its children are not. */
	write_file("/proc/self/oom_score_adj", "0");
	setrlimit(RLIMIT_NOFILE, &files);
}

static void drop_bounding_set(uint64_t kept)
{
	for (unsigned cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		if (!(kept & 1ull << cap) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			program_give_up(EXIT_PODVM, "dropping capability %u: %s", cap, strerror(errno));
}

int program_set_capabilities(uint64_t permitted, uint64_t inheritable)
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
	int err = program_set_capabilities(added, added);

	for (unsigned cap = 0; cap <= CAP_LAST_CAP && !err; cap++)
		if (added & 1ull << cap && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) < 0)
			err = -errno;
	if (err)
		program_give_up(EXIT_PODVM, "capabilities of the user: %s", strerror(-err));
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
		program_give_up(EXIT_PODVM, "no user or group '%s' in the container's /etc/passwd and /etc/group", unknown);
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
			program_give_up(EXIT_PODVM, "handing over descriptor %d: %s", fd, strerror(errno));
	}
}

static void set_ulimits(const struct spec_container *container)
{
	for (size_t i = 0; i < container->ulimit_count; i++) {
		const struct spec_ulimit *ulimit = &container->ulimits[i];
		/* SPEC_UNLIMITED is RLIM_INFINITY. */
		const struct rlimit limit = {.rlim_cur = ulimit->soft, .rlim_max = ulimit->hard};

		if (setrlimit((int)ulimit->resource, &limit) < 0)
			program_give_up(EXIT_PODVM, "ulimit %s: %s%s", spec_ulimit_name(ulimit->resource), strerror(errno),
				ulimit->resource == RLIMIT_NOFILE && errno == EPERM ?
					" (more than the sysctl fs/nr_open lets pass)" : "");
	}
}
_Static_assert(SPEC_UNLIMITED == RLIM_INFINITY, "set_ulimits() passes limits as they are");

static void become_user(const struct spec_container *container, const struct user *user)
{
	uint64_t added = container->cap_add == SPEC_CAPABILITIES_ALL ? 0 : container->cap_add;

	drop_bounding_set(program_capabilities(container));
	if (user->uid && added)
		prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0);
	if (setgroups(user->group_count, user->groups) < 0 || setgid(user->gid) < 0 || setuid(user->uid) < 0)
		program_give_up(EXIT_PODVM, "becoming user %u: %s", user->uid, strerror(errno));
	if (user->uid && added)
		raise_ambient(added);
	if (container->no_new_privileges && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		program_give_up(EXIT_PODVM, "no new privileges: %s", strerror(errno));
}

static _Noreturn void exec_failed(const char *what, const struct spec_container *container, int err)
{
	if (err == ENOENT || err == ENOTDIR)
		program_give_up(EXIT_NOT_FOUND, strchr(what, '/') ? "%s: no such file, or its interpreter is missing, in "
							    "container %s" :
							    "%s: command not found in container %s",
			what, container->name);
	program_give_up(EXIT_NOT_EXECUTABLE, "%s: can not be run in container %s: %s", what, container->name, strerror(err));
}

/* Never returns but by failing: the file a name without '/' means is looked for in the container's PATH. */
static _Noreturn void execute(const struct spec_container *container, char **argv, char **env)
{
	const char *path = program_env_get(env, "PATH");
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

_Noreturn void program_run(const struct process_plan *plan)
{
	const struct spec_container *container = plan->container;
	size_t count;
	char **argv = spec_argv(container, &count), **env;
	struct user user;
	sigset_t none;

	argv = xrealloc(argv, (count + 1) * sizeof(*argv));
	argv[count] = NULL;
	find_user(container, &user);
	env = program_env(container, &user, plan->hostname);
	if (!container->tty)
		setsid();
	if (plan->confine)
		hand_over_streams(&user);
	/* Of the main process, not of container-init: cpu or as could end that. Late: they hold for us as well. */
	set_ulimits(container);
	if (plan->confine)
		become_user(container, &user);
	if (chdir(container->workdir) < 0)
		program_give_up(EXIT_PODVM, "workdir %s: %s", container->workdir, strerror(errno));
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execute(container, argv, env);
}

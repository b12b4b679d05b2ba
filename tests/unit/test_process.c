/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_process: exit codes, users, environments, signal names, and real processes: started without namespaces and
 * without dropping anything, so that an ordinary user can run this.
 */
#include "init/process.h"
#include "init/program.h"
#include "init/user.h"
#include "lib/log.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static const char passwd[] = "root:x:0:0:root:/root:/bin/sh\n"
			     "# a comment\n"
			     "\n"
			     "short:x\n"
			     "www:x:33:33::/var/www:/bin/false\n"
			     "nohome:x:40:41\n"
			     "1000:x:7:7::/named-1000:\n"
			     "bad:x:99999999999:1::/:\n"
			     "last:x:1001:1002::/home/last:/bin/sh";
static const char group[] = "root:x:0:\n"
			    "wheel:x:10:root,www\n"
			    "audio:x:63:www\n"
			    "wwww:x:64:wwww,xwww\n"
			    "www:x:33:\n";

static int look(const char *name, const char *main_group, struct user *user)
{
	struct spec_user wanted = {.name = (char *)name, .group = (char *)main_group};
	const char *unknown;

	return user_lookup(passwd, group, &wanted, user, &unknown);
}

TEST(users_by_name_and_number)
{
	static const struct {
		const char *name, *group, *home, *found;
		int result;
		unsigned uid, gid, groups;
	} rows[] = {
		{"", "", "/root", "root", 0, 0, 0, 1},
		{"0", "", "/root", "root", 0, 0, 0, 1},
		{"www", "", "/var/www", "www", 0, 33, 33, 2},
		{"33", "", "/var/www", "www", 0, 33, 33, 2},
		{"www", "audio", "/var/www", "www", 0, 33, 63, 0},
		{"www:10", "", "/var/www", "www", 0, 33, 10, 0},
		{"12345", "", "/", "", 0, 12345, 0, 0},
		{"12345", "77", "/", "", 0, 12345, 77, 0},
		{"nohome", "", "/", "nohome", 0, 40, 41, 0},
		{"1000", "", "/named-1000", "1000", 0, 7, 7, 0},
		{"last", "", "/home/last", "last", 0, 1001, 1002, 0},
		{"bad", "", NULL, NULL, -ENOENT, 0, 0, 0},
		{"nobody", "", NULL, NULL, -ENOENT, 0, 0, 0},
		{"www", "nogroup", NULL, NULL, -ENOENT, 0, 0, 0},
		{"4294967295", "", NULL, NULL, -ENOENT, 0, 0, 0},
		{"-1", "", NULL, NULL, -ENOENT, 0, 0, 0},
		{"short", "", NULL, NULL, -ENOENT, 0, 0, 0},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct user user;
		int result = look(rows[i].name, rows[i].group, &user);

		CHECK_MSG(result == rows[i].result, rows[i].name);
		if (!result && !rows[i].result) {
			CHECK_INT(user.uid, rows[i].uid);
			CHECK_INT(user.gid, rows[i].gid);
			CHECK_INT(user.group_count, rows[i].groups);
			CHECK_STR(user.home, rows[i].home);
			CHECK_STR(user.name, rows[i].found);
		}
		user_free(&user);
	}
}

TEST(additional_groups_once_each)
{
	char *more[] = {(char *)"audio", (char *)"500", (char *)"63"};
	struct spec_user wanted = {
		.name = (char *)"www", .group = (char *)"", .additional_groups = more, .additional_group_count = 3};
	const char *unknown;
	struct user user;

	CHECK_INT(user_lookup(passwd, group, &wanted, &user, &unknown), 0);
	CHECK_INT(user.group_count, 3); /* wheel and audio by membership, 500 by number */
	user_free(&user);
	more[1] = (char *)"missing";
	CHECK_INT(user_lookup(passwd, group, &wanted, &user, &unknown), -ENOENT);
	CHECK_STR(unknown, "missing");
	user_free(&user);
	wanted = (struct spec_user){.name = (char *)"", .group = (char *)""};
	CHECK_INT(user_lookup("", "", &wanted, &user, &unknown), 0);
	CHECK_INT(user.uid, 0);
	user_free(&user);
}

TEST(exit_codes)
{
	struct wire_exited exited = process_exit_of(7 << 8);

	CHECK_INT(exited.code, 7);
	CHECK_INT(exited.signal, 0);
	exited = process_exit_of(SIGKILL);
	CHECK_INT(exited.code, 137);
	CHECK_INT(exited.signal, SIGKILL);
	exited = process_exit_of(SIGSEGV | 0x80); /* with a core */
	CHECK_INT(exited.code, 139);
	CHECK_INT(process_exit_of(255 << 8).code, 255);
}

TEST(environment)
{
	struct spec_env envs[] = {{(char *)"HOME", (char *)"/x"}, {(char *)"A", (char *)"1"},
				  {(char *)"A", (char *)"2"}, {(char *)"AB", (char *)""}};
	struct spec_container container = {.envs = envs, .env_count = 4};
	struct user user = {.name = (char *)"www", .home = (char *)"/var/www"};
	char **env = program_env(&container, &user, "pod");
	unsigned count = 0;

	CHECK_STR(program_env_get(env, "HOME"), "/x");
	CHECK_STR(program_env_get(env, "USER"), "www");
	CHECK_STR(program_env_get(env, "HOSTNAME"), "pod");
	CHECK_STR(program_env_get(env, "A"), "2");
	CHECK_STR(program_env_get(env, "AB"), "");
	CHECK_STR(program_env_get(env, "PATH"), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
	CHECK_STR(program_env_get(env, "TERM"), NULL);
	while (env[count])
		count++;
	CHECK_INT(count, 6);
	program_env_free(env);
	user.name = (char *)"";
	container.tty = true;
	container.env_count = 0;
	env = program_env(&container, &user, "pod");
	CHECK_STR(program_env_get(env, "TERM"), "xterm");
	CHECK_STR(program_env_get(env, "USER"), NULL);
	CHECK_STR(program_env_get(env, "HOME"), "/var/www");
	program_env_free(env);
}

/* Runs a command as a container's main process. What it printed in out, its reports' last of each kind in got. */
static struct spec_user run_as = {.name = (char *)"0", .group = (char *)""};
static struct spec_ulimit run_ulimits[2];
static size_t run_ulimit_count;

struct run {
	char out[256];
	struct process_report failed, ended;
	bool running;
};

static void run_signalled(struct run *run, const char *const *argv, int signo, int (*enter)(void *, char *, size_t))
{
	struct spec_container container = {.name = (char *)"c", .workdir = (char *)"/", .user = run_as,
					   .ulimits = run_ulimits, .ulimit_count = run_ulimit_count};
	struct process_plan plan = {.container = &container, .hostname = "pod", .cgroup_fd = -1, .enter = enter};
	struct process_report report;
	struct process process;
	int pipes[2], status;
	size_t used = 0;
	ssize_t got;

	memset(run, 0, sizeof(*run));
	container.command = (char **)argv;
	while (argv[container.command_count])
		container.command_count++;
	if (pipe2(pipes, O_CLOEXEC) < 0)
		return;
	plan.stdio[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	plan.stdio[1] = plan.stdio[2] = pipes[1];
	fflush(stdout);
	CHECK_INT(process_spawn(&plan, &process), 0);
	close(pipes[1]);
	close(plan.stdio[0]);
	if (signo)
		kill(process.pid, signo);
	while (used < sizeof(run->out) - 1 && (got = read(pipes[0], run->out + used, sizeof(run->out) - 1 - used)) > 0)
		used += (size_t)got;
	close(pipes[0]);
	CHECK_INT(waitpid(process.pid, &status, 0), process.pid);
	while (process_report_read(process.report_fd, &report)) {
		if (report.kind == PROCESS_FAILED)
			run->failed = report;
		if (report.kind == PROCESS_ENDED)
			run->ended = report;
		run->running = run->running || (report.kind == PROCESS_RUNNING && !run->failed.kind);
	}
	close(process.report_fd);
}

static void run_plain(struct run *run, const char *const *argv)
{
	run_signalled(run, argv, 0, NULL);
}

TEST(main_process_runs_and_tells)
{
	struct run run;

	run_plain(&run, (const char *const[]){"sh", "-c", "echo $HOSTNAME $HOME; exit 7", NULL});
	CHECK(run.running);
	CHECK(strncmp(run.out, "pod /", 5) == 0);
	CHECK_INT(run.ended.kind, PROCESS_ENDED);
	CHECK_INT(process_exit_of(run.ended.value).code, 7);
	CHECK_INT(run.failed.kind, 0);
}

TEST(no_user_is_root_without_a_look)
{
	struct run run;

	run_as.name = (char *)"";
	run_plain(&run, (const char *const[]){"sh", "-c", "echo $USER $HOME", NULL});
	CHECK_STR(run.out, "root /root\n");
	run_as.name = (char *)"nobody-of-that-name";
	run_plain(&run, (const char *const[]){"true", NULL});
	CHECK_INT(run.failed.value, EXIT_PODVM);
	run_as.name = (char *)"0";
}

TEST(only_standard_streams_are_open)
{
	int stray = open("/dev/null", O_RDONLY); /* not close-on-exec */
	struct run run;

	run_plain(&run, (const char *const[]){"sh", "-c", "for f in /proc/$$/fd/*; do echo ${f##*/}; done", NULL});
	close(stray);
	/* A shell may hold its script's descriptor; none was given, so only the directory scan's own may differ. */
	CHECK(strncmp(run.out, "0\n1\n2\n", 6) == 0);
	CHECK(strlen(run.out) <= 9);
}

TEST(signals_are_passed_on)
{
	struct run run;

	/* Sent at once: it waits until there is a main process. */
	run_signalled(&run, (const char *const[]){"sleep", "100", NULL}, SIGTERM, NULL);
	CHECK_INT(process_exit_of(run.ended.value).code, 128 + SIGTERM);
	CHECK_INT(process_exit_of(run.ended.value).signal, SIGTERM);
}

TEST(main_process_gets_no_blocked_signals)
{
	struct run run;

	run_plain(&run, (const char *const[]){"sh", "-c", "grep SigBlk /proc/self/status", NULL});
	CHECK_STR(run.out, "SigBlk:\t0000000000000000\n");
}

TEST(capabilities_added_and_dropped)
{
	enum { NET_ADMIN = 12, NET_RAW = 13, CHOWN = 0, LAST = 40 };
	static const uint64_t docker = 0xa80425fb; /* CapBnd of a container there */
	static const uint64_t all = (1ull << (LAST + 1)) - 1;
	static const struct {
		uint64_t add, drop, want;
	} rows[] = {
		{0, 0, docker},
		{1 << NET_ADMIN, 0, docker | 1 << NET_ADMIN},
		{0, 1 << NET_RAW, docker & ~(1u << NET_RAW)},
		{1 << NET_ADMIN, 1 << NET_RAW, (docker & ~(1u << NET_RAW)) | 1 << NET_ADMIN},
		{SPEC_CAPABILITIES_ALL, 0, all},
		{SPEC_CAPABILITIES_ALL, 1 << NET_ADMIN, all & ~(1ull << NET_ADMIN)},
		{0, SPEC_CAPABILITIES_ALL, 0},
		{1 << CHOWN, SPEC_CAPABILITIES_ALL, 1 << CHOWN},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct spec_container container = {.cap_add = rows[i].add, .cap_drop = rows[i].drop};

		CHECK_INT(program_capabilities(&container), rows[i].want);
	}
}

TEST(ulimits_are_set)
{
	struct run run;

	run_ulimits[0] = (struct spec_ulimit){.resource = RLIMIT_NOFILE, .soft = 30, .hard = 40};
	run_ulimits[1] = (struct spec_ulimit){.resource = RLIMIT_CORE, .soft = 0, .hard = 0};
	run_ulimit_count = 2;
	run_plain(&run, (const char *const[]){"sh", "-c", "ulimit -Sn; ulimit -Hn; ulimit -Hc", NULL});
	CHECK_STR(run.out, "30\n40\n0\n");
	run_ulimits[0].hard = SPEC_UNLIMITED; /* no kernel allows that */
	run_plain(&run, (const char *const[]){"true", NULL});
	CHECK(!run.running);
	CHECK_INT(run.failed.value, EXIT_PODVM);
	CHECK_STR(run.failed.text,
		  "ulimit nofile: Operation not permitted (more than the sysctl fs/nr_open lets pass)");
	run_ulimit_count = 0;
}

TEST(missing_command_is_127)
{
	struct run run;

	run_plain(&run, (const char *const[]){"no-such-command", NULL});
	CHECK(!run.running);
	CHECK_INT(run.failed.value, EXIT_NOT_FOUND);
	CHECK_STR(run.failed.text, "no-such-command: command not found in container c");
	run_plain(&run, (const char *const[]){"/no/such/file", NULL});
	CHECK_INT(run.failed.value, EXIT_NOT_FOUND);
	run_plain(&run, (const char *const[]){"", NULL});
	CHECK_INT(run.failed.value, EXIT_NOT_FOUND);
}

TEST(what_is_no_program_is_126)
{
	struct run run;

	run_plain(&run, (const char *const[]){"/etc/passwd", NULL});
	CHECK(!run.running);
	CHECK_INT(run.failed.value, EXIT_NOT_EXECUTABLE);
	run_plain(&run, (const char *const[]){"/", NULL});
	CHECK_INT(run.failed.value, EXIT_NOT_EXECUTABLE);
}

static int refuse(void *ctx, char *text, size_t room)
{
	(void)ctx;
	snprintf(text, room, "mount /x");
	return -EIO;
}

TEST(failed_root_is_125_with_reason)
{
	struct run run;

	run_signalled(&run, (const char *const[]){"true", NULL}, 0, refuse);
	CHECK_INT(run.failed.value, EXIT_PODVM);
	CHECK(strncmp(run.failed.text, "mount /x: ", 10) == 0);
	CHECK(!run.running);
}

int main(void)
{
	sigset_t all;

	/* As PID 1 has it. */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	RUN(users_by_name_and_number);
	RUN(additional_groups_once_each);
	RUN(exit_codes);
	RUN(environment);
	RUN(main_process_runs_and_tells);
	RUN(no_user_is_root_without_a_look);
	RUN(only_standard_streams_are_open);
	RUN(signals_are_passed_on);
	RUN(main_process_gets_no_blocked_signals);
	RUN(capabilities_added_and_dropped);
	RUN(ulimits_are_set);
	RUN(missing_command_is_127);
	RUN(what_is_no_program_is_126);
	RUN(failed_root_is_125_with_reason);
	return test_done();
}

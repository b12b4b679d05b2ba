// SPDX-License-Identifier: Apache-2.0
/* test_dir: live/dir.c in a runtime directory of its own: who gets a name, what a killed pod leaves, what is refused. */
#include "live/dir.h"

#include "lib/util.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char runtime[] = "/tmp/test_dir.XXXXXX";

static struct dir_pod *make(const char *name, bool exact, int expected)
{
	struct dir_pod *pod = NULL;
	char *why;

	CHECK_INT(dir_pod_make(name, exact, &pod, &why), expected);
	CHECK((why != NULL) == (expected != 0));
	free(why);
	return pod;
}

TEST(a_pod_is_found_until_it_ends)
{
	struct dir_pod *pod = make("web", true, 0);
	struct dir_entry entry;
	size_t bytes, count;
	struct dir_entry *all;
	char *text;

	if (!pod)
		return;
	CHECK_INT(dir_pod_write(pod, "pod.json", "{}", 2), 0);
	CHECK_INT(dir_find("web", &entry), 0);
	CHECK(entry.alive);
	CHECK_INT(entry.pid, getpid());
	CHECK_INT(dir_read("web", "pod.json", 100, &text, &bytes), 0);
	CHECK_STR(text, "{}");
	free(text);
	CHECK_INT(dir_list(&all, &count), 0);
	CHECK_INT(count, 1);
	free(all);
	CHECK_INT(dir_wait_gone("web", 20), -ETIMEDOUT);
	dir_pod_free(pod);
	CHECK_INT(dir_find("web", &entry), -ENOENT);
	CHECK_INT(dir_wait_gone("web", 0), 0);
	CHECK_INT(dir_connect("web"), -ENOENT);
}

TEST(a_taken_name)
{
	struct dir_pod *pod = make("web", true, 0), *other;

	make("web", true, -EEXIST);
	other = make("web", false, 0);
	if (other)
		CHECK(!strncmp(dir_pod_name(other), "web-", 4));
	dir_pod_free(other);
	other = make("", false, 0);
	if (other)
		CHECK(!strncmp(dir_pod_name(other), "pod-", 4));
	dir_pod_free(other);
	dir_pod_free(pod);
}

TEST(what_a_killed_pod_left_is_taken_over)
{
	struct dir_entry entry;
	struct dir_pod *pod;
	size_t bytes;
	char *text;
	pid_t child = fork();

	if (child == 0) {
		pod = make("web", true, 0);
		dir_pod_write(pod, "pod.json", "{}", 2);
		dir_pod_listen(pod);
		kill(getpid(), SIGKILL);
	}
	waitpid(child, NULL, 0);
	CHECK_INT(dir_find("web", &entry), 0);
	CHECK(!entry.alive);
	CHECK_INT(entry.pid, child);
	CHECK_INT(dir_connect("web"), -ECONNREFUSED);
	CHECK_INT(dir_wait_gone("web", 0), 0);
	pod = make("web", true, 0);
	CHECK_INT(dir_read("web", "pod.json", 100, &text, &bytes), -ENOENT);
	dir_pod_free(pod);
}

/* Eight processes take and drop one name as fast as they can; a pipe's token tells when two have it together. */
TEST(only_one_has_a_name)
{
	enum { RACERS = 8, ROUNDS = 300 };
	int status, got = 0;
	char mark[64];

	snprintf(mark, sizeof(mark), "%s/mark", runtime);
	for (unsigned i = 0; i < RACERS; i++) {
		if (fork())
			continue;
		for (unsigned round = 0; round < ROUNDS; round++) {
			struct dir_pod *pod;
			char *why;
			int err = dir_pod_make("race", true, &pod, &why);

			free(why);
			if (err && err != -EEXIST)
				_exit(2);
			if (err)
				continue;
			if (mkdir(mark, 0700) || usleep(10) || rmdir(mark))
				_exit(1);
			dir_pod_free(pod);
		}
		_exit(0);
	}
	for (unsigned i = 0; i < RACERS; i++) {
		wait(&status);
		got += status != 0;
	}
	CHECK_INT(got, 0);
}

TEST(a_socket_below_a_long_path)
{
	char path[400], deep[200];
	struct dir_pod *pod;
	int listener, client, server;

	memset(deep, 'd', sizeof(deep) - 1);
	deep[sizeof(deep) - 1] = 0;
	snprintf(path, sizeof(path), "%s/%s", runtime, deep);
	mkdir(path, 0700);
	setenv("XDG_RUNTIME_DIR", path, 1);
	pod = make("web", true, 0);
	listener = dir_pod_listen(pod);
	client = dir_connect("web");
	server = accept(listener, NULL, NULL);
	CHECK(listener >= 0 && client >= 0 && server >= 0);
	close(client);
	close(server);
	close(listener);
	dir_pod_free(pod);
	setenv("XDG_RUNTIME_DIR", runtime, 1);
}

TEST(a_base_of_others_is_refused)
{
	char base[64], aside[64];

	snprintf(base, sizeof(base), "%s/podvm", runtime);
	snprintf(aside, sizeof(aside), "%s/aside", runtime);
	CHECK_INT(chmod(base, 0750), 0);
	make("web", true, -EPERM);
	chmod(base, 0700);
	rename(base, aside);
	CHECK_INT(symlink(aside, base), 0);
	make("web", true, -ENOTDIR);
	unlink(base);
	rename(aside, base);
	if (geteuid() == 0) {
		CHECK_INT(chown(base, 12345, 0), 0);
		make("web", true, -EPERM);
		CHECK_INT(chown(base, 0, 0), 0);
	}
}

TEST(names)
{
	char name[DIR_NAME_BYTES_MAX + 2];

	memset(name, 'a', sizeof(name) - 1);
	name[sizeof(name) - 1] = 0;
	CHECK(!dir_name_good(name));
	CHECK(dir_name_good(name + 1));
	CHECK(dir_name_good("0-a_b.c") && !dir_name_good("") && !dir_name_good("..") && !dir_name_good("a/b"));
	CHECK_INT(dir_connect("../x"), -ENOENT);
}

int main(void)
{
	char *command;

	if (!mkdtemp(runtime))
		abort();
	setenv("XDG_RUNTIME_DIR", runtime, 1);
	RUN(a_pod_is_found_until_it_ends);
	RUN(a_taken_name);
	RUN(what_a_killed_pod_left_is_taken_over);
	RUN(only_one_has_a_name);
	RUN(a_socket_below_a_long_path);
	RUN(a_base_of_others_is_refused);
	RUN(names);
	command = xasprintf("rm -rf %s", runtime);
	if (system(command))
		abort();
	free(command);
	return test_done();
}

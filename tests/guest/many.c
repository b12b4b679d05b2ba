// SPDX-License-Identifier: Apache-2.0
/*
 * many COUNT: COUNT processes that live for a moment, every other of which leaves an orphan behind for the container's init.
 * Every exit code is checked; at the end no process but this one and init may be left, zombies included.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { AT_ONCE = 40, SETTLE_S = 20 };

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void child(unsigned number)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid)
		return;
	if (number % 2 && !fork()) {
		usleep(number % 7 * 100);
		_exit(9); /* nobody's business but init's */
	}
	_exit((int)(number % 200));
}

static unsigned collect(void)
{
	int status;

	if (wait(&status) < 0)
		die("wait");
	if (!WIFEXITED(status))
		die("a child was killed");
	return (unsigned)WEXITSTATUS(status);
}

static unsigned processes(void)
{
	DIR *proc = opendir("/proc");
	unsigned count = 0;

	if (!proc)
		die("/proc");
	for (struct dirent *entry; (entry = readdir(proc));)
		count += isdigit((unsigned char)entry->d_name[0]) != 0;
	closedir(proc);
	return count;
}

int main(int argc, char **argv)
{
	unsigned count = argc == 2 ? (unsigned)atoi(argv[1]) : 0, ended = 0, left = 0;
	unsigned long codes = 0, expected = 0;

	for (unsigned i = 0; i < count; i++) {
		child(i);
		expected += i % 200;
		if (i + 1 - ended >= AT_ONCE) {
			codes += collect();
			ended++;
		}
	}
	for (; ended < count; ended++)
		codes += collect();
	for (int i = 0; i < SETTLE_S * 10 && (left = processes()) > 2; i++)
		usleep(100000);
	printf("%u processes, codes %s, %u left\n", count, codes == expected ? "right" : "wrong", left);
	return codes != expected || left > 2;
}

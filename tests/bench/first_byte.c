// SPDX-License-Identifier: Apache-2.0
/*
 * first_byte: times a command from exec to the first byte of its standard output and to its end.
 * first_byte RUNS COMMAND [ARG...] prints one line per run: "first_us end_us", the clock being CLOCK_MONOTONIC.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static int run_once(char **command)
{
	uint64_t start, first = 0;
	int out[2], status;
	char buf[4096];
	ssize_t got;
	pid_t pid;

	if (pipe(out) < 0)
		return -1;
	start = now_us();
	pid = fork();
	if (pid == 0) {
		dup2(out[1], STDOUT_FILENO);
		close(out[0]);
		close(out[1]);
		execvp(command[0], command);
		_exit(127);
	}
	close(out[1]);
	while ((got = read(out[0], buf, sizeof(buf))) > 0)
		if (!first)
			first = now_us();
	close(out[0]);
	if (waitpid(pid, &status, 0) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0 || !first)
		return -1;
	printf("%llu %llu\n", (unsigned long long)(first - start), (unsigned long long)(now_us() - start));
	fflush(stdout);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc < 3) {
		fprintf(stderr, "usage: first_byte RUNS COMMAND [ARG...]\n");
		return 2;
	}
	for (int i = 0; i < atoi(argv[1]); i++) {
		if (run_once(argv + 2)) {
			fprintf(stderr, "first_byte: %s failed\n", argv[2]);
			return 1;
		}
	}
	return 0;
}

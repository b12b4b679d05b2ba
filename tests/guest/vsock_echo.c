// SPDX-License-Identifier: Apache-2.0
/*
 * vsock_echo listen PORT: sends all that comes on a connection back, one connection after the other, and ends with 1 if
 * one fails. vsock_echo connect PORT: stdin to port PORT of the host, what comes from there to stdout, until both ended.
 */
#include <errno.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int fail(const char *what)
{
	perror(what);
	return 1;
}

static int write_out(int fd, const char *bytes, ssize_t count)
{
	while (count > 0) {
		ssize_t wrote = write(fd, bytes, (size_t)count);

		if (wrote < 0)
			return -1;
		bytes += wrote;
		count -= wrote;
	}
	return 0;
}

/* From one to the other until the end; -1 when one fails. */
static ssize_t copy_some(int from, int to)
{
	static char bytes[65536];
	ssize_t got = read(from, bytes, sizeof(bytes));

	return got > 0 && write_out(to, bytes, got) < 0 ? -1 : got;
}

static int serve(int fd)
{
	ssize_t got;

	if (listen(fd, 5) < 0)
		return fail("listen");
	puts("up");
	fflush(stdout);
	for (;;) {
		int conn = accept(fd, NULL, NULL);

		if (conn < 0)
			return fail("accept");
		while ((got = copy_some(conn, conn)) > 0)
			;
		if (got < 0)
			return fail("echo");
		close(conn);
	}
}

static int talk(int fd)
{
	struct pollfd polled[2] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = fd, .events = POLLIN}};

	while (polled[0].fd >= 0 || polled[1].fd >= 0) {
		ssize_t got = 1;

		if (poll(polled, 2, -1) < 0)
			return fail("poll");
		if (polled[0].revents && (got = copy_some(STDIN_FILENO, fd)) == 0) {
			shutdown(fd, SHUT_WR);
			polled[0].fd = -1;
		}
		if (got >= 0 && polled[1].revents && (got = copy_some(fd, STDOUT_FILENO)) == 0)
			polled[1].fd = -1;
		if (got < 0)
			return fail("talk");
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct sockaddr_vm addr = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY};
	int fd = socket(AF_VSOCK, SOCK_STREAM, 0);

	if (argc != 3)
		return 2;
	if (fd < 0)
		return fail("socket");
	addr.svm_port = (unsigned)strtoul(argv[2], NULL, 10);
	if (!strcmp(argv[1], "listen"))
		return bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ? fail("bind") : serve(fd);
	addr.svm_cid = VMADDR_CID_HOST;
	return connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ? fail("connect") : talk(fd);
}

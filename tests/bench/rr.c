// SPDX-License-Identifier: Apache-2.0
/*
 * rr: request and response of one byte over one TCP connection.
 *	rr serve ADDRESS PORT		answers for ever
 *	rr ADDRESS PORT COUNT		prints the microseconds that one round trip took, the mean of COUNT
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

static int tcp_socket(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;

	if (fd < 0)
		fail("socket");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	return fd;
}

static struct sockaddr_in address(const char *host, const char *port)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};

	if (inet_pton(AF_INET, host, &addr.sin_addr) != 1) {
		fprintf(stderr, "rr: %s is no IPv4 address\n", host);
		exit(1);
	}
	return addr;
}

static void serve(const struct sockaddr_in *addr)
{
	int fd = tcp_socket(), on = 1, conn;
	char byte;

	if (bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) || listen(fd, 8))
		fail("listen");
	while ((conn = accept(fd, NULL, NULL)) >= 0) {
		setsockopt(conn, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		while (read(conn, &byte, 1) == 1 && write(conn, &byte, 1) == 1)
			;
		close(conn);
	}
	fail("accept");
}

/* Round trips until count are done; the mean time of one in ns. */
static uint64_t round_trips(int fd, unsigned count)
{
	uint64_t start = now_ns();
	char byte = 'x';

	for (unsigned i = 0; i < count; i++)
		if (write(fd, &byte, 1) != 1 || read(fd, &byte, 1) != 1)
			fail("round trip");
	return (now_ns() - start) / count;
}

int main(int argc, char **argv)
{
	struct sockaddr_in addr;
	int fd;

	if (argc != 4) {
		fprintf(stderr, "usage: rr serve ADDRESS PORT | rr ADDRESS PORT COUNT\n");
		return 2;
	}
	if (strcmp(argv[1], "serve") == 0) {
		addr = address(argv[2], argv[3]);
		serve(&addr);
	}
	addr = address(argv[1], argv[2]);
	fd = tcp_socket();
	if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)))
		fail("connect");
	round_trips(fd, 10); /* caches, ARP, the first segments */
	printf("%.1f\n", (double)round_trips(fd, (unsigned)atoi(argv[3])) / 1000);
	return 0;
}

// SPDX-License-Identifier: Apache-2.0
/* udp_echo PORT: sends every datagram back to where it came from. busybox has no UDP server. */
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

int main(int argc, char **argv)
{
	struct sockaddr_in addr = {.sin_family = AF_INET};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (argc != 2)
		return 2;
	addr.sin_port = htons((uint16_t)atoi(argv[1]));
	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		perror("udp_echo");
		return 1;
	}
	puts("up");
	fflush(stdout);
	for (;;) {
		struct sockaddr_in peer;
		socklen_t peer_bytes = sizeof(peer);
		char text[2048];
		ssize_t got = recvfrom(fd, text, sizeof(text), 0, (struct sockaddr *)&peer, &peer_bytes);

		if (got >= 0)
			(void)sendto(fd, text, (size_t)got, 0, (struct sockaddr *)&peer, peer_bytes);
	}
}

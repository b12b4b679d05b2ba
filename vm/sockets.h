/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sockets: Unix sockets of the host joined to vsock ports of the guest, those the pod file names (podvm.sockets) and no
 * others.
 *
 * out: a guest program that connects to CID 2, port N, reaches the Unix socket at a path. in: podvm listens at a path, and
 * each connection there is handed to port N of the guest. Bytes go both ways without blocking the loop and within the
 * windows of devices/vsock.h; half close is shutdown(2), and an end that fails resets the other.
 * What is sent to a guest that reads no more (but still sends) is thrown away.
 * Paths are used as they are given. Everything on the loop.
 */
#ifndef VM_SOCKETS_H
#define VM_SOCKETS_H

#include "devices/vsock.h"
#include "vm/loop.h"

#include <stdbool.h>
#include <stdint.h>

enum {
	SOCKETS_LINKS_MAX = 512, /* connections at once; further ones of the guest are refused, of the host they wait */
};

struct sockets;
struct sockets *sockets_new(struct vsock *vsock, struct loop *loop);
/*
 * Ends all connections and removes the sockets that were made; bytes a host program has not read yet are its own to read
 * on. Before vsock_free(); the guest must not run any more. NULL is fine.
 */
void sockets_free(struct sockets *sockets);

/* 0; -EEXIST: the port is listened on already; -ENAMETOOLONG, -ENOSPC. Nobody need listen at path yet. */
int sockets_out(struct sockets *sockets, uint32_t port, const char *path);
/*
 * 0; -EADDRINUSE: somebody listens at path (a socket nobody listens on any more is replaced); -EEXIST: path is no socket;
 * -ENAMETOOLONG; other -errno of the host's. The socket is made with mode 0600.
 */
int sockets_in(struct sockets *sockets, uint32_t port, const char *path);

#endif

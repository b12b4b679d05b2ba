/* SPDX-License-Identifier: Apache-2.0 */
/*
 * channels: the standard streams of one process, a container's or a further one's: its pipes or its terminal, the stream
 * connections behind them, and their end.
 */
#ifndef INIT_CHANNELS_H
#define INIT_CHANNELS_H

#include "init/events.h"
#include "init/stream.h"
#include "pod/wire.h"

#include <stdbool.h>
#include <stdint.h>

enum { CHANNELS = 3 };

struct channels_user {
	/* A connection to the host's stream port, non-blocking and perhaps still on its way; or -errno. */
	int (*connect)(void *ctx);
	/* After channels_end(), from there or from the loop, once: all output was sent. Not the place to free. */
	void (*over)(void *ctx);
};

/* The owner reads ends; the rest is channels' own. */
struct channels {
	struct events *events;
	uint32_t target;
	const struct channels_user *user;
	void *ctx;
	int ends[CHANNELS]; /* the process's, as descriptors 0, 1 and 2; with a terminal all the same; -1: closed */
	int master;	    /* of the terminal; the stream's, looked at for window sizes only; -1: none any more */
	struct stream *streams[CHANNELS];
	unsigned open; /* to the host, not finished */
	bool is_ending;
};

/* Opens nothing yet. */
void channels_init(struct channels *channels, struct events *events, uint32_t target, const struct channels_user *user,
		   void *ctx);
/* Closes all at once; what waits is lost. */
void channels_free(struct channels *channels);

/* 0 or -errno, with some of it perhaps open. */
int channels_open_pipes(struct channels *channels);
/* ptmx: path of the multiplexer of the pseudo terminals; the process's end comes by channels_renew_terminal(). */
int channels_open_terminal(struct channels *channels, const char *ptmx);

/*
 * The terminal's other end, freshly opened for each process: the last one may have been hung up. The old one is closed
 * after that, so that the master never sees itself alone. 0 or -errno.
 */
int channels_renew_terminal(struct channels *channels);
/* Nothing when there is no terminal (any more). */
void channels_winsize(const struct channels *channels, uint16_t rows, uint16_t cols);

/* The process's ends: it has its own copies. */
void channels_close_ends(struct channels *channels);

/* The process has gone: what it left is sent, then over() is called. Also after a failed open. */
void channels_end(struct channels *channels);

#endif

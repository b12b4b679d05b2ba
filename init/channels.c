/* SPDX-License-Identifier: Apache-2.0 */
/* channels: owns the descriptors and streams of one process. Knows neither the process nor what a target means. */
#define _GNU_SOURCE

#include "init/channels.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#ifndef TIOCGPTPEER
#define TIOCGPTPEER _IO('T', 0x41)
#endif

void channels_init(struct channels *channels, struct events *events, uint32_t target, const struct channels_user *user,
		   void *ctx)
{
	*channels = (struct channels){
		.events = events, .target = target, .user = user, .ctx = ctx, .ends = {-1, -1, -1}, .master = -1};
}

void channels_free(struct channels *channels)
{
	channels_close_ends(channels);
	for (int i = 0; i < CHANNELS; i++) {
		stream_free(channels->streams[i]);
		channels->streams[i] = NULL;
	}
	channels->master = -1;
}

void channels_close_ends(struct channels *channels)
{
	int last = -1;

	for (int i = 0; i < CHANNELS; i++) {
		if (channels->ends[i] >= 0 && channels->ends[i] != last)
			close(channels->ends[i]);
		last = channels->ends[i] >= 0 ? channels->ends[i] : last;
		channels->ends[i] = -1;
	}
}

static void release(struct channels *channels)
{
	if (--channels->open == 0 && channels->is_ending)
		channels->user->over(channels->ctx);
}

static void on_finished(void *ctx)
{
	struct channels *channels = ctx;

	/* The stream closes the master: its number may soon be another's. */
	channels->master = -1;
	release(channels);
}

/* local becomes the stream's. */
static int add_stream(struct channels *channels, unsigned slot, enum wire_stream kind, int local)
{
	int socket = channels->user->connect(channels->ctx);

	if (socket < 0) {
		close(local);
		return socket;
	}
	channels->streams[slot] = stream_new(channels->events, socket, local, channels->target, kind, on_finished,
					     channels);
	channels->open += kind != WIRE_STDIN;
	return 0;
}

int channels_open_terminal(struct channels *channels, const char *ptmx)
{
	int master = open(ptmx, O_RDWR | O_NOCTTY | O_CLOEXEC), unlock = 0, err;

	if (master < 0)
		return -errno;
	if (ioctl(master, TIOCSPTLCK, &unlock) < 0) {
		err = -errno;
		close(master);
		return err;
	}
	err = add_stream(channels, 0, WIRE_TTY, master);
	if (!err)
		channels->master = master;
	return err;
}

int channels_open_pipes(struct channels *channels)
{
	static const enum wire_stream kinds[CHANNELS] = {WIRE_STDIN, WIRE_STDOUT, WIRE_STDERR};

	for (unsigned i = 0; i < CHANNELS; i++) {
		int pair[2], ours = kinds[i] == WIRE_STDIN ? 1 : 0, err;

		if (pipe2(pair, O_CLOEXEC) < 0)
			return -errno;
		channels->ends[i] = pair[!ours];
		err = add_stream(channels, i, kinds[i], pair[ours]);
		if (err)
			return err;
	}
	return 0;
}

int channels_renew_terminal(struct channels *channels)
{
	int slave = ioctl(channels->master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);

	if (slave < 0)
		return -errno;
	channels_close_ends(channels);
	for (int i = 0; i < CHANNELS; i++)
		channels->ends[i] = slave;
	return 0;
}

void channels_winsize(const struct channels *channels, uint16_t rows, uint16_t cols)
{
	const struct winsize window = {.ws_row = rows, .ws_col = cols};

	if (channels->master >= 0)
		ioctl(channels->master, TIOCSWINSZ, &window);
}

void channels_end(struct channels *channels)
{
	channels_close_ends(channels);
	channels->is_ending = true;
	channels->open++; /* holds over() back until all streams were told */
	for (int i = 0; i < CHANNELS; i++)
		if (channels->streams[i])
			stream_end(channels->streams[i]);
	release(channels);
}

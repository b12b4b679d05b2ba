// SPDX-License-Identifier: Apache-2.0
/*
 * fifo: see fifo.h. Bytes lie in a row so that one write() takes them all. They are moved to the front only when at
 * least as many were dropped as are moved, so each byte is copied a constant number of times.
 */
#include "vm/fifo.h"

#include "lib/util.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { ROOM_MIN = 4096 };

void fifo_append(struct fifo *fifo, const void *bytes, size_t count)
{
	if (!count)
		return;
	if (fifo->at + fifo->count + count > fifo->room && fifo->at >= fifo->count && fifo->at) {
		memmove(fifo->bytes, fifo_head(fifo), fifo->count);
		fifo->at = 0;
	}
	if (fifo->at + fifo->count + count > fifo->room) {
		fifo->room = MAX(MAX(fifo->at + fifo->count + count, 2 * fifo->room), (size_t)ROOM_MIN);
		fifo->bytes = xrealloc(fifo->bytes, fifo->room);
	}
	memcpy(fifo->bytes + fifo->at + fifo->count, bytes, count);
	fifo->count += count;
}

void fifo_drop(struct fifo *fifo, size_t count)
{
	assert(count <= fifo->count);
	fifo->at += count;
	fifo->count -= count;
	if (!fifo->count)
		fifo_free(fifo);
}

void fifo_free(struct fifo *fifo)
{
	free(fifo->bytes);
	*fifo = (struct fifo){0};
}

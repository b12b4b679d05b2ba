/* SPDX-License-Identifier: Apache-2.0 */
/* fifo: bytes that wait, first in, first out. An empty one holds no memory; zeroed it is ready. No bound of its own. */
#ifndef VM_FIFO_H
#define VM_FIFO_H

#include <stddef.h>
#include <stdint.h>

struct fifo {
	uint8_t *bytes;
	size_t at, count, room; /* count bytes from bytes[at] on */
};

void fifo_append(struct fifo *fifo, const void *bytes, size_t count);
/* The oldest byte; fifo->count of them lie in a row. Valid until the next call. */
static inline const uint8_t *fifo_head(const struct fifo *fifo)
{
	return fifo->bytes + fifo->at;
}
/* Forgets the oldest count bytes; there are as many. */
void fifo_drop(struct fifo *fifo, size_t count);
void fifo_free(struct fifo *fifo);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frame: what the two ends of a bed say to each other over one byte channel (a virtio-serial port, or a UART in the Intel bed).
 *
 * A frame is a type byte, a length (32 bit little endian) and that many bytes. The channel keeps order, so when the frame with the
 * exit code has arrived, all output has arrived too: that is why streams and exit code share one channel.
 */
#ifndef BED_FRAME_H
#define BED_FRAME_H

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    /* host to guest */
    FRAME_START = 'B',  /* what to run: records, each a kind byte, text, NUL (START_*) */
    FRAME_STDIN = 'I',  /* bytes; none means end of file */
    FRAME_SIGNAL = 'S', /* one byte: signal number for the command's process group */
    FRAME_WINSIZE = 'W', /* rows, columns: two 16 bit little endian numbers */
    FRAME_HANGUP = 'H', /* one byte, FRAME_STDOUT or FRAME_STDERR: nobody reads that stream any more */
    /* guest to host */
    FRAME_READY = 'R',  /* the command is about to start */
    FRAME_STDOUT = 'O', /* bytes */
    FRAME_STDERR = 'E', /* bytes */
    FRAME_TAKEN = 'A',  /* 32 bit: so many more bytes of stdin went into the command */
    FRAME_EXIT = 'X',   /* one byte: exit code, always last */
    FRAME_FAIL = 'F',   /* text: the bed could not be set up, always last */
};

enum {
    START_ARG = 'A',
    START_CWD = 'C',
    START_ENV = 'E',     /* NAME=VALUE */
    START_RW = 'W',      /* directory shared writable; the n-th one has the 9p tag rw<n> */
    START_MODULES = 'M', /* directory that holds the bed kernel's modules */
    START_TTY = 'T',     /* the command gets a pseudo terminal */
};

enum {
    FRAME_HEAD_BYTES = 5,
    FRAME_DATA_BYTES = 16 * 1024,       /* most stream bytes in one frame */
    FRAME_MAX_BYTES = 4 * 1024 * 1024,  /* most bytes in any frame */
    STDIN_WINDOW_BYTES = 256 * 1024,    /* most stdin bytes sent and not yet taken */
};

/* Bytes waiting to be parsed or written. */
struct bytes {
    char *data;
    size_t start, end, size;
};

static inline size_t bytes_left(const struct bytes *b) {
    return b->end - b->start;
}

/* Room for n more bytes behind the last one. */
static inline char *bytes_room(struct bytes *b, size_t n) {
    if (b->start > 0) {
        memmove(b->data, b->data + b->start, bytes_left(b));
        b->end -= b->start;
        b->start = 0;
    }
    if (b->size - b->end < n) {
        b->size = (b->end + n) * 2;
        b->data = realloc(b->data, b->size);
        if (!b->data)
            abort();
    }
    return b->data + b->end;
}

static inline void bytes_add(struct bytes *b, const void *data, size_t n) {
    if (n > 0)
        memcpy(bytes_room(b, n), data, n);
    b->end += n;
}

static inline uint32_t frame_u32(const char *p) {
    const unsigned char *u = (const unsigned char *)p;
    return u[0] | (uint32_t)u[1] << 8 | (uint32_t)u[2] << 16 | (uint32_t)u[3] << 24;
}

static inline void frame_add(struct bytes *b, int type, const void *data, uint32_t n) {
    char head[FRAME_HEAD_BYTES] = {(char)type, (char)n, (char)(n >> 8), (char)(n >> 16), (char)(n >> 24)};
    bytes_add(b, head, sizeof(head));
    bytes_add(b, data, n);
}

/* Takes one whole frame out of b: its type, or 0 when there is none yet, -1 when the bytes make no sense. *data lives until b changes. */
static inline int frame_take(struct bytes *b, const char **data, uint32_t *n) {
    if (bytes_left(b) < FRAME_HEAD_BYTES)
        return 0;
    const char *p = b->data + b->start;
    *n = frame_u32(p + 1);
    if (*n > FRAME_MAX_BYTES)
        return -1;
    if (bytes_left(b) < FRAME_HEAD_BYTES + *n)
        return 0;
    *data = p + FRAME_HEAD_BYTES;
    b->start += FRAME_HEAD_BYTES + *n;
    return (unsigned char)p[0];
}

#endif

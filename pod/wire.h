/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire: frames on the control connection and the opening of a stream connection (pod/abi.h has the ports).
 *
 * Both ends treat the other as hostile: a length over WIRE_PAYLOAD_MAX or an unknown type ends the connection.
 * All numbers are little-endian, as both ends run on the same machine.
 */
#ifndef POD_WIRE_H
#define POD_WIRE_H

#include <stddef.h>
#include <stdint.h>

enum { WIRE_PAYLOAD_MAX = 8 << 20 };

enum wire_type {
	/* guest to host */
	WIRE_READY = 1,	  /* payload: struct wire_ready. Nothing pod-specific has happened yet */
	WIRE_STARTED = 2, /* target: container; payload none */
	WIRE_EXITED = 3,  /* target: container; payload: struct wire_exited. It will not run again */
	WIRE_LOG = 4,	  /* payload: one line of text for the user, no newline */
	WIRE_FAILED = 5,  /* payload: text: the pod could not be set up; host ends with EXIT_PODVM */
	WIRE_DONE = 6,	  /* all containers ended, file systems synced; the guest resets now */
	/* host to guest */
	WIRE_POD = 64,	  /* payload: struct wire_pod, then the spec as JSON (spec_print) */
	WIRE_SIGNAL = 65, /* target: container or WIRE_ALL; payload: struct wire_signal */
	WIRE_WINSIZE = 66, /* target: container; payload: struct wire_winsize */
	WIRE_STOP = 67,	  /* payload: struct wire_stop: stop signal, grace, then SIGKILL */
};

enum { WIRE_ALL = 0xffffffff };

struct wire_header {
	uint32_t payload_bytes;
	uint32_t type;
	uint32_t target;
};

struct wire_ready {
	uint32_t abi_version;
};

struct wire_exited {
	uint32_t code; /* 0..255; 128+n for signal n; 125/126/127 as podvm's own */
	uint32_t signal; /* 0 when it exited by itself */
	uint32_t oom_killed; /* 1 when the kernel's OOM killer took it */
};

struct wire_pod {
	uint64_t realtime_ns;  /* CLOCK_REALTIME of the host */
	uint8_t entropy[64];
	uint8_t root_kinds[64]; /* per container: enum wire_root_kind */
	uint32_t volume_is_file[2]; /* bit per volume: it is a single file */
};

struct wire_signal {
	uint32_t signo;
};

struct wire_winsize {
	uint16_t rows, cols;
};

struct wire_stop {
	uint32_t grace_ms;
};

enum wire_root_kind {
	WIRE_ROOT_FS = 0, /* a directory below the virtio-fs mount, overlay above */
};

enum wire_stream {
	WIRE_STDIN = 0,	 /* host to guest */
	WIRE_STDOUT = 1, /* guest to host */
	WIRE_STDERR = 2, /* guest to host */
	WIRE_TTY = 3,	 /* both ways */
};

#define WIRE_STREAM_MAGIC 0x6d767064u

/* First bytes of a stream connection, sent by the guest. */
struct wire_stream_hello {
	uint32_t magic;
	uint32_t container;
	uint32_t stream; /* enum wire_stream */
};

/*
 * Collects frames from bytes as they come. Zeroed it is ready. wire_feed() calls frame() for each whole frame; payload
 * is followed by a NUL that is not counted, and valid during the call. 0, or -EPROTO (over-long frame), or what
 * frame() returned if that was negative.
 */
struct wire_reader {
	uint8_t *buffer;
	size_t have, room;
};
typedef int wire_frame_fn(void *ctx, const struct wire_header *header, const void *payload);
int wire_feed(struct wire_reader *reader, const void *bytes, size_t count, wire_frame_fn *frame, void *ctx);
void wire_reader_free(struct wire_reader *reader);

/* A frame in fresh memory, its size in *bytes. */
void *wire_frame_new(enum wire_type type, uint32_t target, const void *payload, size_t payload_bytes, size_t *bytes);

#endif

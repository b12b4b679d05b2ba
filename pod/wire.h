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
	WIRE_STARTED = 2, /* target: container or exec; payload none */
	WIRE_EXITED = 3,  /* target: container or exec; payload: struct wire_exited. It will not run again */
	WIRE_LOG = 4,	  /* payload: one line of text for the user, no newline */
	WIRE_FAILED = 5,  /* payload: text: the pod could not be set up; host ends with EXIT_PODVM */
	WIRE_DONE = 6,	  /* all containers ended, file systems synced; the guest resets now */
	WIRE_REFUSED = 7, /* target: exec; payload: text: why it could not be started. Its WIRE_EXITED follows */
	WIRE_STATS = 8,	  /* target: as asked; payload: struct wire_stats, then struct wire_use per container */
	/* host to guest */
	WIRE_POD = 64,	  /* payload: struct wire_pod, then the spec as JSON (spec_print) */
	WIRE_SIGNAL = 65, /* target: container, exec or WIRE_ALL (containers); payload: struct wire_signal */
	WIRE_WINSIZE = 66, /* target: container or exec; payload: struct wire_winsize */
	WIRE_STOP = 67,	  /* payload: struct wire_stop: stop signal, grace, then SIGKILL */
	WIRE_EXEC = 68,	  /* target: exec; payload: struct wire_exec, then the process as JSON (spec_exec_print) */
	WIRE_STATS_ASK = 69, /* target: any number, which the answer has as well; payload none */
	WIRE_TIME = 70,	  /* payload: struct wire_time */
};

/*
 * Targets. A container is its index. An exec, a further process in a container, is a number from WIRE_EXEC_FIRST on
 * that the host chooses and uses once. What is said of a container's process holds for an exec: its streams begin with its
 * number, STARTED, if it started, and EXITED tell its life; EXITED comes when all its output was sent. It ends at the
 * latest with its container. Signals and sizes for one that has ended are ignored.
 */
enum { WIRE_EXEC_FIRST = 0x10000, WIRE_EXECS_MAX = 256 /* at a time; further ones are refused */ };
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

struct wire_exec {
	uint32_t container;
	uint16_t rows, cols; /* of its terminal; 0 when it has none or it is not known */
};

struct wire_time {
	uint64_t realtime_ns; /* CLOCK_REALTIME of the host */
};

/* Use of the whole guest. Counters are since its start. */
struct wire_stats {
	uint64_t uptime_ns;
	uint64_t cpu_user_ns, cpu_system_ns; /* of all CPUs together */
	uint64_t memory_total_bytes, memory_available_bytes;
	uint64_t receive_bytes, receive_packets, receive_dropped;
	uint64_t transmit_bytes, transmit_packets, transmit_dropped;
	uint32_t processes; /* of all containers */
	uint32_t containers; /* struct wire_use that follow */
};

enum wire_state { WIRE_STATE_PENDING, WIRE_STATE_RUNNING, WIRE_STATE_WAITING /* to start again */, WIRE_STATE_ENDED };

/* Use of one container, since it was made: restarts do not bring the counters back. UINT64_MAX: no limit, or not known. */
struct wire_use {
	uint64_t cpu_ns, cpu_user_ns, cpu_system_ns;
	uint64_t cpu_throttled_ns;
	uint64_t memory_bytes, memory_peak_bytes, memory_limit_bytes;
	uint64_t memory_anon_bytes, memory_file_bytes; /* of memory_bytes: its own, and of files */
	uint64_t oom_kills;
	uint64_t read_bytes, write_bytes, read_ops, write_ops; /* of disks: shared directories are not counted by Linux */
	uint64_t pids, pids_limit;
	uint32_t state; /* enum wire_state */
	uint32_t restarts;
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
	uint32_t target; /* container or exec */
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

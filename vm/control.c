// SPDX-License-Identifier: Apache-2.0
/*
 * control: see control.h. Owns the connection to init, what waits to be sent on it and which frames may come next;
 * must not know what a frame leads to.
 *
 * What the guest may say when is checked in one place per frame, by the functions named in rules[]. Each returns NULL
 * or what was wrong; the first fault ends the connection. After done, failed or lost nothing is told any more, though
 * the connection may stay until the guest goes.
 */
#include "vm/control.h"

#include "lib/util.h"
#include "pod/abi.h"
#include "vm/fifo.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONTAINERS_MAX = sizeof(((struct wire_pod *)0)->root_kinds) };

/* An exec under way. */
struct exec {
	uint32_t number; /* 0: this place is free */
	bool told;	 /* that it started, or that it was refused */
};

struct control {
	const struct control_user *user;
	void *ctx;
	struct vsock_conn *conn; /* NULL before it came and after it went */
	struct wire_reader reader;
	struct fifo out; /* what vsock_send() did not take */
	bool taken;	 /* there was a connection */
	bool ready, pod_sent;
	bool over; /* the last callback was made */
	unsigned containers, exited_count;
	bool exited[CONTAINERS_MAX];
	struct exec execs[WIRE_EXECS_MAX];
	uint32_t next_exec;
	uint32_t tokens[CONTROL_STATS_MAX]; /* of questions without an answer: a ring */
	unsigned tokens_at, token_count;
	struct wire_use uses[CONTAINERS_MAX];
	const char *fault; /* why a frame was refused; NULL: none was */
	char text[CONTROL_TEXT_MAX + 1];
};

static void lose(struct control *control, const char *why)
{
	struct vsock_conn *conn = control->conn;

	control->conn = NULL;
	fifo_free(&control->out);
	if (conn)
		vsock_close(conn);
	if (control->over)
		return;
	control->over = true;
	control->user->lost(control->ctx, why);
}

/* Frames from init */

/* Text for the user: one line, nothing a terminal would obey (C0, DEL, and C1 in UTF-8). */
static const char *text_tame(struct control *control, const char *payload, size_t bytes)
{
	size_t length = strnlen(payload, MIN(bytes, (size_t)CONTROL_TEXT_MAX));
	unsigned char *text = (unsigned char *)control->text;

	memcpy(text, payload, length);
	text[length] = '\0';
	for (; *text; text++) {
		if (*text == 0xc2 && text[1] >= 0x80 && text[1] < 0xa0) {
			*text++ = '?';
			*text = '?';
		} else if ((*text < 0x20 && *text != '\t') || *text == 0x7f) {
			*text = '?';
		}
	}
	return control->text;
}

static const char *take_ready(struct control *control, const struct wire_header *header, const void *payload)
{
	struct wire_ready ready;

	if (control->ready || header->payload_bytes != sizeof(ready))
		return "init said ready in a wrong way";
	memcpy(&ready, payload, sizeof(ready));
	if (ready.abi_version != ABI_VERSION)
		return "init in the guest is of another build than podvm";
	control->ready = true;
	control->user->ready(control->ctx);
	return NULL;
}

static struct exec *exec_find(struct control *control, uint32_t number)
{
	if (number < WIRE_EXEC_FIRST)
		return NULL;
	for (size_t i = 0; i < ARRAY_SIZE(control->execs); i++)
		if (control->execs[i].number == number)
			return &control->execs[i];
	return NULL;
}

static bool container_runs(const struct control *control, const struct wire_header *header)
{
	return control->pod_sent && header->target < control->containers && !control->exited[header->target];
}

static const char *take_started(struct control *control, const struct wire_header *header, const void *payload)
{
	struct exec *exec = exec_find(control, header->target);

	(void)payload;
	if (exec && !exec->told && !header->payload_bytes) {
		exec->told = true;
		control->user->exec_started(control->ctx, header->target);
		return NULL;
	}
	if (header->payload_bytes || !container_runs(control, header))
		return "init started a process that is not there";
	control->user->started(control->ctx, header->target);
	return NULL;
}

static const char *take_refused(struct control *control, const struct wire_header *header, const void *payload)
{
	struct exec *exec = exec_find(control, header->target);

	if (!exec || exec->told)
		return "init refused a process that it was not asked for";
	exec->told = true;
	control->user->exec_refused(control->ctx, header->target, text_tame(control, payload, header->payload_bytes));
	return NULL;
}

static const char *take_exited(struct control *control, const struct wire_header *header, const void *payload)
{
	struct exec *exec = exec_find(control, header->target);
	struct wire_exited exited;

	if (header->payload_bytes != sizeof(exited) || (!exec && !container_runs(control, header)))
		return "init told the end of a process that is not there";
	memcpy(&exited, payload, sizeof(exited));
	if (exited.code > 255)
		return "init told an exit code over 255";
	if (exec) {
		exec->number = 0;
		control->user->exec_exited(control->ctx, header->target, &exited);
		return NULL;
	}
	control->exited[header->target] = true;
	control->exited_count++;
	control->user->exited(control->ctx, header->target, &exited);
	return NULL;
}

/* Answers come in the order of the questions. */
static bool token_take(struct control *control, uint32_t token)
{
	if (!control->token_count || control->tokens[control->tokens_at] != token)
		return false;
	control->tokens_at = (control->tokens_at + 1) % CONTROL_STATS_MAX;
	control->token_count--;
	return true;
}

static const char *take_stats(struct control *control, const struct wire_header *header, const void *payload)
{
	size_t uses_bytes = control->containers * sizeof(control->uses[0]);
	struct wire_stats stats;

	if (!token_take(control, header->target))
		return "init told statistics that it was not asked for";
	if (header->payload_bytes != sizeof(stats) + uses_bytes)
		return "init told statistics of another size";
	memcpy(&stats, payload, sizeof(stats));
	memcpy(control->uses, (const uint8_t *)payload + sizeof(stats), uses_bytes);
	if (stats.containers != control->containers)
		return "init told statistics of another pod";
	for (unsigned i = 0; i < control->containers; i++)
		if (control->uses[i].state > WIRE_STATE_ENDED)
			return "init told statistics of a container in no state";
	control->user->stats(control->ctx, header->target, &stats, control->uses);
	return NULL;
}

static const char *take_log(struct control *control, const struct wire_header *header, const void *payload)
{
	control->user->log(control->ctx, text_tame(control, payload, header->payload_bytes));
	return NULL;
}

static const char *take_failed(struct control *control, const struct wire_header *header, const void *payload)
{
	control->over = true;
	control->user->failed(control->ctx, text_tame(control, payload, header->payload_bytes));
	return NULL;
}

static const char *take_done(struct control *control, const struct wire_header *header, const void *payload)
{
	(void)payload;
	if (header->payload_bytes || !control->pod_sent || control->exited_count != control->containers)
		return "init said done while containers run";
	control->over = true;
	control->user->done(control->ctx);
	return NULL;
}

static int take_frame(void *ctx, const struct wire_header *header, const void *payload)
{
	static const char *(*const rules[])(struct control *, const struct wire_header *, const void *) = {
		[WIRE_READY] = take_ready, [WIRE_STARTED] = take_started, [WIRE_EXITED] = take_exited,
		[WIRE_LOG] = take_log,	   [WIRE_FAILED] = take_failed,	  [WIRE_DONE] = take_done,
		[WIRE_REFUSED] = take_refused, [WIRE_STATS] = take_stats,
	};
	struct control *control = ctx;

	if (control->over) /* nothing counts after the last word */
		return 0;
	if (header->type >= ARRAY_SIZE(rules) || !rules[header->type])
		control->fault = "init sent a frame that only podvm sends";
	else
		control->fault = rules[header->type](control, header, payload);
	return control->fault ? -EPROTO : 0;
}

/* The connection */

static void conn_open(void *ctx, struct vsock_conn *conn)
{
	(void)ctx;
	(void)conn; /* only for connections we make */
}

static void conn_data(void *ctx, struct vsock_conn *conn, const void *bytes, size_t count)
{
	struct control *control = ctx;

	control->fault = NULL;
	if (!control->over && wire_feed(&control->reader, bytes, count, take_frame, control)) {
		/* No frame was refused: the reader could make none of it. */
		lose(control, control->fault ? control->fault : "init sent what is no frame");
		return;
	}
	/* A frame is bounded by WIRE_PAYLOAD_MAX, so the reader may always have more. */
	vsock_consumed(conn, count);
}

static void conn_writable(void *ctx, struct vsock_conn *conn)
{
	struct control *control = ctx;
	size_t taken = vsock_send(conn, fifo_head(&control->out), control->out.count);

	fifo_drop(&control->out, taken);
}

static void conn_eof(void *ctx, struct vsock_conn *conn)
{
	struct control *control = ctx;

	if (control->over)
		vsock_shutdown_send(conn);
	else
		lose(control, "init hung up");
}

static void conn_closed(void *ctx, struct vsock_conn *conn)
{
	struct control *control = ctx;

	(void)conn;
	control->conn = NULL;
	lose(control, "init hung up");
}

static const struct vsock_user conn_user = {
	.open = conn_open,
	.data = conn_data,
	.writable = conn_writable,
	.eof = conn_eof,
	.closed = conn_closed,
};

static bool conn_accept(void *ctx, struct vsock_conn *conn, const struct vsock_user **user, void **user_ctx)
{
	struct control *control = ctx;

	if (control->taken)
		return false;
	control->taken = true;
	control->conn = conn;
	*user = &conn_user;
	*user_ctx = control;
	return true;
}

struct control *control_new(struct vsock *vsock, const struct control_user *user, void *ctx)
{
	struct control *control = xcalloc(1, sizeof(*control));

	control->user = user;
	control->ctx = ctx;
	control->next_exec = WIRE_EXEC_FIRST;
	if (vsock_listen(vsock, ABI_PORT_CONTROL, conn_accept, control)) {
		free(control);
		return NULL;
	}
	return control;
}

void control_free(struct control *control)
{
	if (!control)
		return;
	if (control->conn)
		vsock_close(control->conn);
	wire_reader_free(&control->reader);
	fifo_free(&control->out);
	free(control);
}

/* Frames to init */

static int send_frame(struct control *control, enum wire_type type, uint32_t target, const void *payload, size_t bytes)
{
	size_t frame_bytes, taken = 0;
	uint8_t *frame;

	if (!control->conn || !control->ready || control->over)
		return -ENOTCONN;
	if (control->out.count + bytes > CONTROL_QUEUE_BYTES_MAX)
		return -ENOBUFS;
	frame = wire_frame_new(type, target, payload, bytes, &frame_bytes);
	if (!control->out.count)
		taken = vsock_send(control->conn, frame, frame_bytes);
	fifo_append(&control->out, frame + taken, frame_bytes - taken);
	free(frame);
	return 0;
}

/* A frame of two parts: a struct and text behind it. */
static int send_text(struct control *control, enum wire_type type, uint32_t target, const void *head, size_t head_bytes,
		     const char *text, size_t text_bytes)
{
	uint8_t *payload;
	int err;

	if (text_bytes > WIRE_PAYLOAD_MAX - head_bytes)
		return -EMSGSIZE;
	payload = xmalloc(head_bytes + text_bytes);
	memcpy(payload, head, head_bytes);
	memcpy(payload + head_bytes, text, text_bytes);
	err = send_frame(control, type, target, payload, head_bytes + text_bytes);
	free(payload);
	return err;
}

int control_send_pod(struct control *control, const struct wire_pod *pod, unsigned containers, const char *json,
		     size_t json_bytes)
{
	int err;

	if (control->pod_sent)
		return -EALREADY;
	if (!containers || containers > CONTAINERS_MAX)
		return -EINVAL;
	err = send_text(control, WIRE_POD, 0, pod, sizeof(*pod), json, json_bytes);
	if (err)
		return err;
	control->pod_sent = true;
	control->containers = containers;
	return 0;
}

int control_exec(struct control *control, const struct wire_exec *wire, const char *json, size_t json_bytes,
		 uint32_t *exec)
{
	struct exec *place = control->execs;
	int err;

	if (!control->pod_sent)
		return -ENOTCONN;
	if (wire->container >= control->containers)
		return -EINVAL;
	while (place < control->execs + ARRAY_SIZE(control->execs) && place->number)
		place++;
	/* Numbers do not begin again: WIRE_ALL, behind the last, is another thing. */
	if (place == control->execs + ARRAY_SIZE(control->execs) || control->next_exec == WIRE_ALL)
		return -EAGAIN;
	err = send_text(control, WIRE_EXEC, control->next_exec, wire, sizeof(*wire), json, json_bytes);
	if (err)
		return err;
	*exec = control->next_exec++;
	*place = (struct exec){.number = *exec};
	return 0;
}

/* Nothing is addressed to a container before init knows of it. */
static int send_to(struct control *control, enum wire_type type, uint32_t target, const void *payload, size_t bytes)
{
	if (!control->pod_sent)
		return -ENOTCONN;
	if (target != WIRE_ALL && target >= control->containers && !exec_find(control, target))
		return -EINVAL;
	return send_frame(control, type, target, payload, bytes);
}

int control_signal(struct control *control, uint32_t target, unsigned signo)
{
	struct wire_signal signal = {.signo = signo};

	return send_to(control, WIRE_SIGNAL, target, &signal, sizeof(signal));
}

int control_winsize(struct control *control, uint32_t target, uint16_t rows, uint16_t cols)
{
	struct wire_winsize winsize = {.rows = rows, .cols = cols};

	return send_to(control, WIRE_WINSIZE, target, &winsize, sizeof(winsize));
}

int control_stop(struct control *control, unsigned grace_ms)
{
	struct wire_stop stop = {.grace_ms = grace_ms};

	return send_to(control, WIRE_STOP, WIRE_ALL, &stop, sizeof(stop));
}

int control_stats(struct control *control, uint32_t token)
{
	int err;

	if (!control->pod_sent)
		return -ENOTCONN;
	if (control->token_count == CONTROL_STATS_MAX)
		return -EAGAIN;
	err = send_frame(control, WIRE_STATS_ASK, token, NULL, 0);
	if (!err)
		control->tokens[(control->tokens_at + control->token_count++) % CONTROL_STATS_MAX] = token;
	return err;
}

int control_time(struct control *control)
{
	struct wire_time now = {.realtime_ns = clock_real_ns()};

	return send_to(control, WIRE_TIME, WIRE_ALL, &now, sizeof(now));
}

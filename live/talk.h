/* SPDX-License-Identifier: Apache-2.0 */
/*
 * talk: what podvm commands and the process of a pod say to each other over its control socket: a Unix stream socket,
 * one JSON object per line each way. Scripts may speak it as well. The only user of cJSON for this.
 *
 * A client asks by "do"; the answer to each comes in its order. An answer with "error" (a line for the user; "code", if
 * there, is the exit code it should have) is the refusal of what was asked. What is not named below is ignored. After a line
 * that is no JSON object, or too long, the refusal is the last answer.
 *
 *	{"do":"status"}			{"podvm":VERSION,"name":NAME,"pid":N,"phase":PHASE,"startedMs":N,"containers":[
 *					 {"name":NAME,"state":"pending|running|ended","code":N,"oomKilled":BOOL}]}
 *	{"do":"stats"}			{"stats":{...}}, see docs/architecture.md
 *	{"do":"stop","graceMs":N}	{"ok":true}; the pod has ended when its process has
 *	{"do":"kill","signal":N,"container":NAME}	{"ok":true}; without container: all of them, where KILL (9) is "stop" with
 *		no grace, so that no restart policy starts them again
 *	{"do":"pause"}, {"do":"unpause"}	{"ok":true}
 *	{"do":"exec","container":NAME,"process":{spec_exec},"rows":N,"cols":N}	with three descriptors (SCM_RIGHTS), what is
 *		to be its stdin, stdout and stderr: {"started":true}, later {"exited":{"code":N,"signal":N,"oomKilled":BOOL}}.
 *		Without container: the first. The connection is its leash: hung up on, the process is. Until it has
 *		exited only these may follow, and are not answered:
 *	{"do":"signal","signal":N}
 *	{"do":"winsize","rows":N,"cols":N}
 *
 * PHASE is "starting", "running", "paused", "stopping" or "ended".
 */
#ifndef LIVE_TALK_H
#define LIVE_TALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	TALK_LINE_BYTES_MAX = 1 << 20, /* without its end; of what a client sends, and of an answer */
	TALK_FDS_MAX = 3,
};

/* A JSON object. Memory is there or the process ends. */
struct message;
struct message *message_new(void);
/* {"do": what} */
struct message *message_ask(const char *what);
void message_free(struct message *message); /* NULL is fine */

/* Setters return the message, so that they can be chained. */
struct message *message_set_text(struct message *message, const char *key, const char *text);
struct message *message_set_number(struct message *message, const char *key, double number);
struct message *message_set_bool(struct message *message, const char *key, bool value);
struct message *message_set_null(struct message *message, const char *key);
/* json is the text of a value, and right. */
struct message *message_set_json(struct message *message, const char *key, const char *json);
/* item becomes a part of message, or of the list that key names in it. */
struct message *message_set(struct message *message, const char *key, struct message *item);
struct message *message_add(struct message *message, const char *key, struct message *item);

/* What it has, without regard to nothing: NULL or false when it is not there or of another kind. */
const char *message_text(const struct message *message, const char *key);
bool message_number(const struct message *message, const char *key, double *number);
/* A whole number from 0 to max; otherwise if it is not one. */
uint64_t message_count(const struct message *message, const char *key, uint64_t max, uint64_t otherwise);
bool message_bool(const struct message *message, const char *key);
bool message_has(const struct message *message, const char *key);
/* A part, or an element of a list, valid as long as message; NULL: there is none. */
const struct message *message_get(const struct message *message, const char *key);
const struct message *message_at(const struct message *message, const char *key, size_t index);
/* A member as text, fresh; NULL: there is none. */
char *message_json(const struct message *message, const char *key);

/* From text, fresh; NULL: it is not just one JSON object, or there is a NUL in it, as a byte or escaped. */
struct message *message_parse(const char *text);
/* As text, fresh: on one line without its end. */
char *message_print(const struct message *message);

/*
 * Collects lines, and descriptors that came with them. Zeroed it is ready.
 */
struct talk_reader {
	char *buffer;
	size_t have, room;
	int fds[TALK_FDS_MAX];
	unsigned fd_count;
};
/* Reads once, flags as for recvmsg(2). Bytes; 0 at the end; -errno. More descriptors than TALK_FDS_MAX are closed. */
long talk_receive(struct talk_reader *reader, int fd, int flags);
/* The next whole line: 1 with a fresh message; 0: none yet; -EPROTO: it is no JSON object; -EMSGSIZE: too long. */
int talk_next(struct talk_reader *reader, struct message **message);
/* Takes the descriptors over: three, or false, and what came is closed, so that it does not pass for a part of the next. */
bool talk_take_fds(struct talk_reader *reader, int fds[TALK_FDS_MAX]);
void talk_reader_free(struct talk_reader *reader); /* closes what nobody took */

/* Sends all of it, blocking. 0 or -errno. */
int talk_send(int fd, const struct message *message, const int *fds, unsigned fd_count);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* talk: see talk.h. Owns the JSON and the lines; must not know what is asked for. struct message is a cJSON object. */
#include "live/talk.h"

#include <cJSON.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/util.h"

enum { READ_BYTES = 16 * 1024 };

static cJSON *json_of(struct message *message)
{
	return (cJSON *)message;
}

static const cJSON *json_at(const struct message *message, const char *key)
{
	return cJSON_GetObjectItemCaseSensitive((const cJSON *)message, key);
}

/* ---- making one ---- */

struct message *message_new(void)
{
	cJSON_Hooks memory = {.malloc_fn = xmalloc, .free_fn = free};

	cJSON_InitHooks(&memory); /* so that no call's result needs a look */
	return (struct message *)cJSON_CreateObject();
}

struct message *message_ask(const char *what)
{
	return message_set_text(message_new(), "do", what);
}

void message_free(struct message *message)
{
	cJSON_Delete(json_of(message));
}

struct message *message_set_text(struct message *message, const char *key, const char *text)
{
	cJSON_AddStringToObject(json_of(message), key, text);
	return message;
}

struct message *message_set_number(struct message *message, const char *key, double number)
{
	cJSON_AddNumberToObject(json_of(message), key, number);
	return message;
}

struct message *message_set_bool(struct message *message, const char *key, bool value)
{
	cJSON_AddBoolToObject(json_of(message), key, value);
	return message;
}

struct message *message_set_null(struct message *message, const char *key)
{
	cJSON_AddNullToObject(json_of(message), key);
	return message;
}

struct message *message_set_json(struct message *message, const char *key, const char *json)
{
	cJSON_AddRawToObject(json_of(message), key, json);
	return message;
}

struct message *message_set(struct message *message, const char *key, struct message *item)
{
	cJSON_AddItemToObject(json_of(message), key, json_of(item));
	return message;
}

struct message *message_add(struct message *message, const char *key, struct message *item)
{
	cJSON *list = cJSON_GetObjectItemCaseSensitive(json_of(message), key);

	if (!list)
		list = cJSON_AddArrayToObject(json_of(message), key);
	if (item)
		cJSON_AddItemToArray(list, json_of(item));
	return message;
}

/* ---- reading one ---- */

const char *message_text(const struct message *message, const char *key)
{
	return cJSON_GetStringValue(json_at(message, key));
}

bool message_number(const struct message *message, const char *key, double *number)
{
	const cJSON *item = json_at(message, key);

	if (!cJSON_IsNumber(item))
		return false;
	*number = item->valuedouble;
	return true;
}

uint64_t message_count(const struct message *message, const char *key, uint64_t max, uint64_t otherwise)
{
	double number;

	/* Compared as numbers: a conversion of what does not fit is undefined. NaN fails each comparison. */
	if (!message_number(message, key, &number) || !(number >= 0 && number <= (double)max))
		return otherwise;
	/* max may have been rounded up: 2^64 passed, which no uint64_t holds. */
	if (number >= 0x1p64 || (double)(uint64_t)number != number || (uint64_t)number > max)
		return otherwise;
	return (uint64_t)number;
}

bool message_bool(const struct message *message, const char *key)
{
	return cJSON_IsTrue(json_at(message, key));
}

bool message_has(const struct message *message, const char *key)
{
	return json_at(message, key) != NULL;
}

const struct message *message_get(const struct message *message, const char *key)
{
	const cJSON *item = json_at(message, key);

	return cJSON_IsObject(item) ? (const struct message *)item : NULL;
}

const struct message *message_at(const struct message *message, const char *key, size_t index)
{
	const cJSON *list = json_at(message, key);

	if (!cJSON_IsArray(list) || index >= (size_t)cJSON_GetArraySize(list))
		return NULL;
	return (const struct message *)cJSON_GetArrayItem(list, (int)index);
}

/* cJSON has 15 digits, then an exponent: too few for nanoseconds of two weeks. A double has whole numbers to 2^53 and beyond. */
static void numbers_whole(cJSON *json)
{
	for (cJSON *item = json->child; item; item = item->next) {
		double number = cJSON_IsNumber(item) ? item->valuedouble : 0;

		numbers_whole(item);
		if (!(fabs(number) >= 1e15 && fabs(number) <= 0x1p64)) /* nor NaN */
			continue;
		item->type = (item->type & ~0xff) | cJSON_Raw;
		item->valuestring = xasprintf("%.0f", number);
	}
}

static char *json_print(const cJSON *json)
{
	cJSON *copy = cJSON_Duplicate(json, true);
	char *text;

	numbers_whole(copy);
	text = cJSON_PrintUnformatted(copy);
	cJSON_Delete(copy);
	return text;
}

char *message_json(const struct message *message, const char *key)
{
	const cJSON *item = json_at(message, key);

	return item ? json_print(item) : NULL;
}

char *message_print(const struct message *message)
{
	return json_print((const cJSON *)message);
}

/* As a byte or escaped: for cJSON a string would end there, and be taken for another. */
static bool has_nul(const char *text, size_t bytes)
{
	static const char escape[] = "\\u0000";
	const char *at = text, *found;

	if (memchr(text, 0, bytes))
		return true;
	while ((found = memmem(at, bytes - (size_t)(at - text), escape, sizeof(escape) - 1))) {
		const char *first = found;

		while (first > text && first[-1] == '\\')
			first--;
		if ((found - first) % 2 == 0) /* else its backslash is the second of a pair */
			return true;
		at = found + 1;
	}
	return false;
}

static int bytes_parse(const char *text, size_t bytes, struct message **message)
{
	const char *end = text;
	cJSON *json = NULL;

	message_free(message_new()); /* the allocator is set */
	if (!has_nul(text, bytes))
		json = cJSON_ParseWithLengthOpts(text, bytes, &end, false);
	while (json && end < text + bytes && strchr(" \t\r\n", *end))
		end++;
	if (!cJSON_IsObject(json) || end != text + bytes) {
		cJSON_Delete(json);
		return -EPROTO;
	}
	*message = (struct message *)json;
	return 1;
}

struct message *message_parse(const char *text)
{
	struct message *message;

	return bytes_parse(text, strlen(text), &message) > 0 ? message : NULL;
}

/* ---- lines ---- */

static void fds_take_in(struct talk_reader *reader, const struct cmsghdr *cmsg)
{
	size_t count = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);

	for (size_t i = 0; i < count; i++) {
		int fd;

		memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(fd), sizeof(fd));
		if (reader->fd_count < TALK_FDS_MAX)
			reader->fds[reader->fd_count++] = fd;
		else
			close(fd);
	}
}

long talk_receive(struct talk_reader *reader, int fd, int flags)
{
	/* Room for more than are wanted, so that the kernel hands them over and they are closed here. */
	union {
		char bytes[CMSG_SPACE(sizeof(int) * 2 * TALK_FDS_MAX)];
		struct cmsghdr align;
	} control;
	struct iovec into;
	struct msghdr msg = {
		.msg_iov = &into, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)};
	ssize_t got;

	if (reader->have + READ_BYTES > reader->room) {
		reader->room = reader->have + READ_BYTES;
		reader->buffer = xrealloc(reader->buffer, reader->room);
	}
	into = (struct iovec){.iov_base = reader->buffer + reader->have, .iov_len = READ_BYTES};
	do
		got = recvmsg(fd, &msg, flags | MSG_CMSG_CLOEXEC);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return -errno;
	for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg); cmsg; cmsg = CMSG_NXTHDR(&msg, cmsg))
		if (cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SCM_RIGHTS)
			fds_take_in(reader, cmsg);
	reader->have += (size_t)got;
	return got;
}

int talk_next(struct talk_reader *reader, struct message **message)
{
	char *end = reader->have ? memchr(reader->buffer, '\n', reader->have) : NULL;
	size_t bytes;
	int result;

	bytes = end ? (size_t)(end - reader->buffer) : reader->have;
	if (bytes > TALK_LINE_BYTES_MAX)
		return -EMSGSIZE;
	if (!end)
		return 0;
	result = bytes_parse(reader->buffer, bytes, message);
	reader->have -= bytes + 1;
	memmove(reader->buffer, end + 1, reader->have);
	return result;
}

static void fds_close(struct talk_reader *reader)
{
	while (reader->fd_count)
		close(reader->fds[--reader->fd_count]);
}

bool talk_take_fds(struct talk_reader *reader, int fds[TALK_FDS_MAX])
{
	if (reader->fd_count != TALK_FDS_MAX) {
		fds_close(reader);
		return false;
	}
	memcpy(fds, reader->fds, sizeof(reader->fds));
	reader->fd_count = 0;
	return true;
}

void talk_reader_free(struct talk_reader *reader)
{
	fds_close(reader);
	free(reader->buffer);
	memset(reader, 0, sizeof(*reader));
}

/* The first bytes with the descriptors. As write(2). */
static ssize_t send_some(int fd, const char *bytes, size_t count, const int *fds, unsigned fd_count)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int) * TALK_FDS_MAX)];
		struct cmsghdr align;
	} control;
	struct iovec from = {.iov_base = (char *)bytes, .iov_len = count};
	struct msghdr msg = {.msg_iov = &from, .msg_iovlen = 1};

	if (fd_count) {
		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
		memset(&control, 0, sizeof(control));
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
		memcpy(CMSG_DATA(&control.align), fds, sizeof(int) * fd_count);
	}
	return sendmsg(fd, &msg, MSG_NOSIGNAL);
}

int talk_send(int fd, const struct message *message, const int *fds, unsigned fd_count)
{
	char *text = message_print(message), *line = xasprintf("%s\n", text);
	size_t bytes = strlen(line), done = 0;
	int err = 0;

	free(text);
	while (done < bytes && !err) {
		ssize_t sent = send_some(fd, line + done, bytes - done, fds, done ? 0 : fd_count);

		if (sent >= 0)
			done += (size_t)sent;
		else if (errno != EINTR)
			err = -errno;
	}
	free(line);
	return err;
}

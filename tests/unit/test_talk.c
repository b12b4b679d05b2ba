// SPDX-License-Identifier: Apache-2.0
/* test_talk: live/talk.c: what a message holds and refuses to hold, lines in pieces, descriptors that are not leaked. */
#include "live/talk.h"

#include "lib/util.h"
#include "tests/unit/test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static int pair[2]; /* the other's end, ours */
static struct talk_reader reader;

static void start(void)
{
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		abort();
}

static void end(void)
{
	talk_reader_free(&reader);
	close(pair[0]);
	close(pair[1]);
}

static unsigned fds_open(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned count = 0;

	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

static void put(const void *bytes, size_t count)
{
	CHECK_INT(send(pair[0], bytes, count, 0), count);
	while (count) {
		long got = talk_receive(&reader, pair[1], MSG_DONTWAIT);

		if (!CHECK(got > 0))
			return;
		count -= MIN(count, (size_t)got);
	}
}

static void put_text(const char *text)
{
	put(text, strlen(text));
}

/* The next line as text, for as long as the next call; or the number it came to. */
static const char *next(void)
{
	static char *text;
	struct message *message;
	int got = talk_next(&reader, &message);

	free(text);
	text = got > 0 ? message_print(message) : xasprintf("%d", got);
	if (got > 0)
		message_free(message);
	if (got <= 0 && got != 0)
		return got == -EPROTO ? "EPROTO" : got == -EMSGSIZE ? "EMSGSIZE" : text;
	return text;
}

static char *printed; /* freed at the end */
static const char *print(const struct message *message)
{
	free(printed);
	printed = message_print(message);
	return printed;
}

/* ---- messages ---- */

TEST(what_is_set_is_printed)
{
	struct message *message = message_ask("x\n\"");

	CHECK(message_set_number(message, "n", 12) == message);
	CHECK(message_set_bool(message_set_null(message, "none"), "yes", true) == message);
	CHECK(message_set_json(message, "raw", "[1,{\"a\":2}]") == message);
	CHECK(message_set(message, "part", message_set_bool(message_new(), "no", false)) == message);
	CHECK(message_add(message, "list", NULL) == message);
	CHECK_STR(print(message), "{\"do\":\"x\\n\\\"\",\"n\":12,\"none\":null,\"yes\":true,\"raw\":[1,{\"a\":2}],"
				  "\"part\":{\"no\":false},\"list\":[]}");
	message_add(message, "list", message_new());
	message_add(message, "list", message_ask("b"));
	CHECK(message_at(message, "list", 0) && !message_text(message_at(message, "list", 0), "do"));
	CHECK_STR(message_text(message_at(message, "list", 1), "do"), "b");
	CHECK(!message_at(message, "list", 2));
	CHECK(!message_at(message, "list", SIZE_MAX));
	message_free(message);
	message_free(NULL);
}

TEST(what_is_of_another_kind_is_not_there)
{
	struct message *message = message_parse("{\"s\":\"t\",\"n\":1.5,\"t\":true,\"f\":false,\"z\":null,\"o\":{\"a\":\"b\"},\"l\":[7,[8],{}]}");
	static const char *const keys[] = {"s", "n", "t", "f", "z", "o", "l", "none", "S"};
	double number = -1;

	if (!CHECK(message != NULL))
		return;
	for (unsigned i = 0; i < ARRAY_SIZE(keys); i++) {
		const char *key = keys[i];

		CHECK_MSG((message_text(message, key) != NULL) == !strcmp(key, "s"), key);
		CHECK_MSG(message_number(message, key, &number) == !strcmp(key, "n"), key);
		CHECK_MSG(message_bool(message, key) == !strcmp(key, "t"), key);
		CHECK_MSG((message_get(message, key) != NULL) == !strcmp(key, "o"), key);
		CHECK_MSG((message_at(message, key, 0) != NULL) == !strcmp(key, "l"), key);
		CHECK_MSG(message_has(message, key) == (i < 7), key);
	}
	CHECK(number == 1.5);
	CHECK_STR(message_text(message_get(message, "o"), "a"), "b");
	/* Elements that are no objects have no members. */
	CHECK(!message_text(message_at(message, "l", 0), "a") && !message_has(message_at(message, "l", 1), "a"));
	message_free(message);
}

TEST(a_member_as_text)
{
	struct message *message = message_parse("{ \"p\" : { \"command\" : [ \"a\" ] } }");
	char *text = message_json(message, "p");

	CHECK_STR(text, "{\"command\":[\"a\"]}");
	free(text);
	CHECK(!message_json(message, "q"));
	message_free(message);
}

TEST(counts_at_their_edges)
{
	static const struct {
		const char *number;
		uint64_t max, expected; /* otherwise is 77 */
	} rows[] = {
		{"0", 0, 0},
		{"-0", 5, 0},
		{"1", 0, 77},
		{"5", 5, 5},
		{"6", 5, 77},
		{"-1", 5, 77},
		{"1.5", 5, 77},
		{"5.0", 5, 5},
		{"1e0", 5, 1},
		{"1e-400", 5, 0},
		{"1e400", UINT64_MAX, 77},
		{"-1e400", UINT64_MAX, 77},
		{"9007199254740992", UINT64_MAX, UINT64_C(1) << 53},
		{"18446744073709549568", UINT64_MAX, UINT64_MAX - 2047}, /* the greatest below 2^64 */
		{"18446744073709551615", UINT64_MAX, 77},		  /* read as 2^64 */
		{"18446744073709551616", UINT64_MAX, 77},
		{"9007199254740996", (UINT64_C(1) << 53) + 3, 77}, /* max as a double is this number */
		{"\"5\"", 5, 77},
		{"true", 5, 77},
		{"null", 5, 77},
		{"[5]", 5, 77},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		char *text = xasprintf("{\"n\":%s}", rows[i].number);
		struct message *message = message_parse(text);

		if (CHECK_MSG(message != NULL, text))
			CHECK_MSG(message_count(message, "n", rows[i].max, 77) == rows[i].expected, text);
		message_free(message);
		free(text);
	}
}

TEST(numbers_that_are_none)
{
	struct message *message = message_new();

	message_set_number(message, "n", NAN);
	message_set_number(message, "i", INFINITY);
	CHECK_INT(message_count(message, "n", UINT64_MAX, 77), 77);
	CHECK_INT(message_count(message, "i", UINT64_MAX, 77), 77);
	CHECK_STR(print(message), "{\"n\":null,\"i\":null}"); /* JSON has no words for them */
	message_free(message);
}

/* Also after another podvm read and passed them on; a script may count with them. */
TEST(counters_are_printed_whole)
{
	static const char text[] = "{\"n\":9007199254740991,\"l\":[{\"m\":-1000000000000001,\"big\":18446744073709551616},1e+300,0.5]}";
	struct message *message = message_set_number(message_new(), "n", 9007199254740991.0);
	double number;

	CHECK_STR(print(message), "{\"n\":9007199254740991}");
	CHECK(message_number(message, "n", &number) && number == 9007199254740991.0);
	message_free(message);
	message = message_parse(text);
	CHECK_STR(print(message), text);
	message_free(message);
}

TEST(what_is_no_object_is_refused)
{
	static const char *const bad[] = {
		"", " ", "[]", "1", "\"a\"", "null", "{", "{\"a\":}", "{\"a\":1}}", "{\"a\":1} x", "{}{}", "x{}",
		"{\"a\":\"\\u0000\"}", "{\"\\u0000\":1}", "{\"a\":\"\\\\\\u0000\"}", "{\"a\":[\"b\\u0000c\"]}",
		"{\"a\":\"\\\\u0000\",\"b\":\"\\u0000\"}",
	};
	static const char *const good[] = {
		"{}", "{} \t\r", " {\"a\":1}", "{\"a\":\"\\\\u0000\"}", "{\"a\":\"\\\\\\\\u0000\"}", "{\"a\":\"\\u0001\"}",
	};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct message *message = message_parse(bad[i]);

		CHECK_MSG(!message, bad[i]);
		message_free(message);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(good); i++) {
		struct message *message = message_parse(good[i]);

		CHECK_MSG(message != NULL, good[i]);
		message_free(message);
	}
}

/* ---- lines ---- */

TEST(a_line_in_pieces)
{
	static const char line[] = "{\"do\":\"stop\"}\n";

	start();
	for (unsigned i = 0; i + 1 < sizeof(line) - 1; i++) {
		put(line + i, 1);
		CHECK_STR(next(), "0");
	}
	put("\n", 1);
	CHECK_STR(next(), "{\"do\":\"stop\"}");
	CHECK_STR(next(), "0");
	end();
}

TEST(lines_in_one_piece)
{
	start();
	put_text("{\"a\":1}\n{}\r\n{\"b\"");
	CHECK_STR(next(), "{\"a\":1}");
	CHECK_STR(next(), "{}");
	CHECK_STR(next(), "0");
	put_text(":2}\n{}\n");
	CHECK_STR(next(), "{\"b\":2}");
	CHECK_STR(next(), "{}");
	CHECK_STR(next(), "0");
	end();
}

TEST(bad_lines)
{
	start();
	put_text("\nno\n[]\n{}\n");
	CHECK_STR(next(), "EPROTO");
	CHECK_STR(next(), "EPROTO");
	CHECK_STR(next(), "EPROTO");
	CHECK_STR(next(), "{}"); /* who wants to may go on */
	put("{}\0\n", 4);
	CHECK_STR(next(), "EPROTO");
	put("{\"a\":\"b\0c\"}\n", 12);
	CHECK_STR(next(), "EPROTO");
	end();
}

/* {"a":"xxx..."} of so many bytes, and an end behind it. */
static char *long_line(size_t bytes)
{
	char *line = xmalloc(bytes + 1);

	memset(line, 'x', bytes);
	memcpy(line, "{\"a\":\"", 6);
	memcpy(line + bytes - 2, "\"}\n", 3);
	return line;
}

static void put_long(const char *line, size_t bytes)
{
	for (size_t at = 0; at < bytes; at += 8192)
		put(line + at, MIN(bytes - at, (size_t)8192));
}

TEST(the_longest_line)
{
	char *line = long_line(TALK_LINE_BYTES_MAX);

	start();
	put_long(line, TALK_LINE_BYTES_MAX);
	CHECK_STR(next(), "0");
	put("\n", 1);
	CHECK_INT(strlen(next()), TALK_LINE_BYTES_MAX);
	end();
	free(line);
}

TEST(a_line_too_long)
{
	char *line = long_line(TALK_LINE_BYTES_MAX + 1);

	start();
	put_long(line, TALK_LINE_BYTES_MAX + 1);
	CHECK_STR(next(), "EMSGSIZE");
	put("\n", 1); /* though its end has come by now */
	CHECK_STR(next(), "EMSGSIZE");
	end();
	free(line);
}

TEST(the_end_and_nothing_yet)
{
	start();
	CHECK_INT(talk_receive(&reader, pair[1], MSG_DONTWAIT), -EAGAIN);
	shutdown(pair[0], SHUT_WR);
	CHECK_INT(talk_receive(&reader, pair[1], 0), 0);
	CHECK_STR(next(), "0");
	CHECK_INT(talk_receive(&reader, -1, 0), -EBADF);
	end();
}

/* ---- descriptors ---- */

/* A message with so many descriptors of one file, whatever talk_send() allows. */
static void put_fds(const char *text, unsigned count)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int) * 64)];
		struct cmsghdr align;
	} control = {.align = {.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int) * count)}};
	struct iovec from = {.iov_base = (char *)text, .iov_len = strlen(text)};
	struct msghdr msg = {.msg_iov = &from,
			     .msg_iovlen = 1,
			     .msg_control = control.bytes,
			     .msg_controllen = CMSG_SPACE(sizeof(int) * count)};
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), fds[64];

	for (unsigned i = 0; i < count; i++)
		fds[i] = null;
	memcpy(CMSG_DATA(&control.align), fds, sizeof(int) * count);
	CHECK_INT(sendmsg(pair[0], &msg, 0), strlen(text));
	close(null);
	CHECK(talk_receive(&reader, pair[1], MSG_DONTWAIT) > 0);
}

TEST(three_descriptors_with_a_line)
{
	unsigned before = fds_open();
	struct message *ask = message_ask("exec");
	int fds[TALK_FDS_MAX] = {-1, -1, -1}, sent[TALK_FDS_MAX];
	int pipes[2];

	if (pipe2(pipes, O_CLOEXEC))
		abort();
	start();
	sent[0] = pipes[0];
	sent[1] = sent[2] = pipes[1];
	CHECK_INT(talk_send(pair[0], ask, sent, TALK_FDS_MAX), 0);
	message_free(ask);
	CHECK(talk_receive(&reader, pair[1], MSG_DONTWAIT) > 0);
	CHECK_STR(next(), "{\"do\":\"exec\"}");
	if (CHECK(talk_take_fds(&reader, fds))) {
		char byte = 0;

		CHECK_INT(write(fds[2], "x", 1), 1); /* in their order, and the files that were meant */
		CHECK_INT(read(fds[0], &byte, 1), 1);
		CHECK_INT(byte, 'x');
		for (unsigned i = 0; i < TALK_FDS_MAX; i++) {
			CHECK(fcntl(fds[i], F_GETFD) & FD_CLOEXEC);
			close(fds[i]);
		}
	}
	CHECK(!talk_take_fds(&reader, fds)); /* once */
	end();
	close(pipes[0]);
	close(pipes[1]);
	CHECK_INT(fds_open(), before);
}

TEST(other_numbers_of_descriptors)
{
	static const unsigned counts[] = {1, 2, 4, 6, 7, 64};

	for (unsigned i = 0; i < ARRAY_SIZE(counts); i++) {
		int fds[TALK_FDS_MAX];
		unsigned before;

		start();
		before = fds_open();
		put_fds("{}\n", counts[i]);
		CHECK_INT(fds_open(), before + MIN(counts[i], (unsigned)TALK_FDS_MAX));
		CHECK_INT(talk_take_fds(&reader, fds), counts[i] > TALK_FDS_MAX);
		if (counts[i] > TALK_FDS_MAX)
			for (unsigned k = 0; k < TALK_FDS_MAX; k++)
				close(fds[k]);
		CHECK_INT(fds_open(), before); /* too few were closed, and are no part of the next */
		end();
	}
}

TEST(two_and_then_three)
{
	int fds[TALK_FDS_MAX];

	start();
	put_fds("{}\n", 2);
	CHECK(!talk_take_fds(&reader, fds));
	put_fds("{}\n", 3);
	if (CHECK(talk_take_fds(&reader, fds)))
		for (unsigned k = 0; k < TALK_FDS_MAX; k++)
			close(fds[k]);
	end();
}

TEST(descriptors_that_nobody_took)
{
	unsigned before = fds_open();

	start();
	put_fds("{}\n{}", 3);
	end();
	CHECK_INT(fds_open(), before);
	CHECK(!reader.buffer && !reader.fd_count);
}

/* ---- sending ---- */

TEST(a_peer_that_is_gone)
{
	struct message *message = message_ask("status");

	start();
	close(pair[1]);
	CHECK_INT(talk_send(pair[0], message, NULL, 0), -EPIPE); /* SIGPIPE would end the test */
	pair[1] = -1;
	end();
	message_free(message);
}

static void *reads_all(void *ctx)
{
	struct message **message = ctx;
	int got;

	while (!(got = talk_next(&reader, message)) && talk_receive(&reader, pair[1], 0) > 0)
		;
	return NULL;
}

/* More than a socket holds: in several sends, the descriptors with the first alone. */
TEST(a_long_message_with_descriptors)
{
	char *text = xmalloc(900000);
	struct message *message, *got = NULL;
	int fds[TALK_FDS_MAX], small = 4096;
	unsigned before;
	pthread_t thread;

	memset(text, 'y', 899999);
	text[899999] = 0;
	message = message_ask(text);
	start();
	before = fds_open();
	setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	pthread_create(&thread, NULL, reads_all, &got);
	CHECK_INT(talk_send(pair[0], message, (const int[]){0, 1, 2}, 3), 0);
	pthread_join(thread, NULL);
	if (CHECK(got != NULL))
		CHECK_STR(message_text(got, "do"), text);
	CHECK_INT(fds_open(), before + 3);
	if (CHECK(talk_take_fds(&reader, fds)))
		for (unsigned k = 0; k < TALK_FDS_MAX; k++)
			close(fds[k]);
	message_free(got);
	message_free(message);
	end();
	free(text);
}

int main(void)
{
	RUN(what_is_set_is_printed);
	RUN(what_is_of_another_kind_is_not_there);
	RUN(a_member_as_text);
	RUN(counts_at_their_edges);
	RUN(numbers_that_are_none);
	RUN(counters_are_printed_whole);
	RUN(what_is_no_object_is_refused);
	RUN(a_line_in_pieces);
	RUN(lines_in_one_piece);
	RUN(bad_lines);
	RUN(the_longest_line);
	RUN(a_line_too_long);
	RUN(the_end_and_nothing_yet);
	RUN(three_descriptors_with_a_line);
	RUN(other_numbers_of_descriptors);
	RUN(two_and_then_three);
	RUN(descriptors_that_nobody_took);
	RUN(a_peer_that_is_gone);
	RUN(a_long_message_with_descriptors);
	next();
	free(printed);
	return test_done();
}

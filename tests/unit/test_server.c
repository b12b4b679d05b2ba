// SPDX-License-Identifier: Apache-2.0
/* test_server: vm/server.c on a real loop with real clients, over a session that the test plays (session_fake.h). */
#include "vm/server.h"

#include "live/talk.h"
#include "tests/unit/session_fake.h"
#include "tests/unit/test.h"

#include <dirent.h>
#include <linux/sockios.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LINES_PER_TURN = 64, TURNS = 4 };

static char runtime[] = "/tmp/test_server.XXXXXX";
static struct loop *loop;
static struct dir_pod *dir;
static struct server *server;
static unsigned fds_before, turns_taken;

/* A client. Zeroed but for fd. */
struct conn {
	int fd;
	struct talk_reader reader;
};

static unsigned fds_open(void)
{
	DIR *list = opendir("/proc/self/fd");
	unsigned count = 0;

	while (readdir(list))
		count++;
	closedir(list);
	return count;
}

static void count_turn(void *ctx, struct loop *of, int *timeout_ms)
{
	(void)ctx, (void)of, (void)timeout_ms;
	turns_taken++;
}

static void no_drain(void *ctx, struct loop *of, bool failed)
{
	(void)ctx, (void)of, (void)failed;
}

static void start(void)
{
	const struct loop_poller poller = {.fill = count_turn, .drain = no_drain};
	struct server_config config = {.session = &fake, .spec = &fake_spec};
	char *why;

	fds_before = fds_open();
	memset(&fake, 0, sizeof(fake));
	fake.phase = SESSION_RUNNING;
	config.loop = loop = loop_new();
	loop_poller_set(loop, &poller);
	if (dir_pod_make("web", true, &dir, &why))
		abort();
	config.dir = dir;
	server = server_new(&config);
	CHECK(server != NULL);
}

/* Nothing is left behind, whatever the test did. */
static void end(void)
{
	server_free(server);
	dir_pod_free(dir);
	loop_free(loop);
	CHECK_INT(fds_open(), fds_before);
	CHECK_INT(fake.asker_count, 0);
	for (unsigned i = 0; i < fake.exec_count; i++)
		CHECK(!fake_exec_runs(i));
}

static void stop_loop(void *ctx)
{
	loop_stop(ctx);
}

static void one_turn(void)
{
	struct loop_task stop = {.fn = stop_loop, .ctx = loop};

	loop_task_post(loop, &stop);
	loop_run(loop);
}

static void turn(void)
{
	for (unsigned i = 0; i < TURNS; i++)
		one_turn();
}

static void run_ms(unsigned ms)
{
	struct loop_timer timer = {.fn = stop_loop, .ctx = loop};

	loop_timer_set(loop, &timer, clock_mono_ns() + (uint64_t)ms * 1000000);
	loop_run(loop);
}

static struct conn client(void)
{
	struct conn conn = {.fd = dir_connect("web")};

	CHECK(conn.fd >= 0);
	one_turn();
	return conn;
}

static void hang_up(struct conn *conn)
{
	talk_reader_free(&conn->reader);
	if (conn->fd >= 0)
		close(conn->fd);
	conn->fd = -1;
}

static void say(struct conn *conn, const char *text)
{
	size_t bytes = strlen(text);

	CHECK_INT(send(conn->fd, text, bytes, MSG_DONTWAIT | MSG_NOSIGNAL), bytes);
}

/* The same line so often, in one piece. */
static void say_often(struct conn *conn, const char *line, unsigned count)
{
	size_t bytes = strlen(line);
	char *text = xmalloc(count * bytes + 1);

	for (unsigned i = 0; i < count; i++)
		memcpy(text + i * bytes, line, bytes);
	text[count * bytes] = 0;
	say(conn, text);
	free(text);
}

/* The next answer, fresh; NULL: none has come. */
static struct message *hear(struct conn *conn)
{
	struct message *answer = NULL;

	while (!talk_next(&conn->reader, &answer))
		if (talk_receive(&conn->reader, conn->fd, MSG_DONTWAIT) <= 0)
			return NULL;
	return answer;
}

/* The next answer as text, valid until the next call; "" when there is none. */
static const char *hear_text(struct conn *conn)
{
	static char text[4096];
	struct message *answer = hear(conn);
	char *printed = answer ? message_print(answer) : xstrdup("");

	snprintf(text, sizeof(text), "%s", printed);
	free(printed);
	message_free(answer);
	return text;
}

static const char *ask(struct conn *conn, const char *line)
{
	say(conn, line);
	turn();
	return hear_text(conn);
}

/* The server hung up on it: the end after all answers, or a reset where it left something unread. */
static bool is_hung_up(struct conn *conn)
{
	char byte;

	return recv(conn->fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) == 0 || errno == ECONNRESET;
}

static void ask_with_fds(struct conn *conn, const char *line, unsigned count)
{
	const int fds[] = {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO};
	struct message *message = message_parse(line);

	CHECK_INT(talk_send(conn->fd, message, fds, count), 0);
	message_free(message);
	turn();
}

#define OK "{\"ok\":true}"
#define REFUSED(text) "{\"error\":\"" text "\",\"code\":125}"
#define EXEC "{\"do\":\"exec\",\"process\":{\"command\":[\"ls\"]}}"

/* ---- requests ---- */

TEST(status_in_every_phase)
{
	static const char *const phases[] = {"starting", "running", "paused", "stopping", "ended"};
	uint64_t now_ms = clock_real_ns() / 1000000;
	struct conn conn;

	start();
	conn = client();
	fake.containers[1].state = SESSION_CONTAINER_ENDED;
	fake.containers[1].code = 137;
	fake.containers[1].oom_killed = true;
	for (unsigned i = 0; i < ARRAY_SIZE(phases); i++) {
		struct message *answer;
		char *containers;

		fake.phase = (enum session_phase)i;
		fake.containers[0].state = i ? SESSION_CONTAINER_RUNNING : SESSION_CONTAINER_PENDING;
		say(&conn, "{\"do\":\"status\"}\n");
		turn();
		answer = hear(&conn);
		if (!CHECK(answer != NULL))
			break;
		CHECK_STR(message_text(answer, "podvm"), PODVM_VERSION);
		CHECK_STR(message_text(answer, "name"), "web");
		CHECK_STR(message_text(answer, "phase"), phases[i]);
		CHECK_INT(message_count(answer, "pid", UINT32_MAX, 0), getpid());
		CHECK(message_count(answer, "startedMs", UINT64_MAX, 0) - now_ms < 10000);
		containers = message_json(answer, "containers");
		CHECK_STR(containers, i ? "[{\"name\":\"a\",\"state\":\"running\"},{\"name\":\"b\",\"state\":\"ended\",\"code\":137,"
					  "\"oomKilled\":true}]"
					: "[{\"name\":\"a\",\"state\":\"pending\"},{\"name\":\"b\",\"state\":\"ended\",\"code\":137,"
					  "\"oomKilled\":true}]");
		free(containers);
		message_free(answer);
	}
	hang_up(&conn);
	end();
}

TEST(stop_kill_and_pause)
{
	static const struct {
		const char *line, *answer, *told;
		int result;
	} rows[] = {
		{"{\"do\":\"stop\"}\n", OK, "stop(5000) ", 0},
		{"{\"do\":\"stop\",\"graceMs\":0}\n", OK, "stop(0) ", 0},
		{"{\"do\":\"stop\",\"graceMs\":86400000}\n", OK, "stop(86400000) ", 0},
		{"{\"do\":\"stop\",\"graceMs\":86400001}\n", OK, "stop(5000) ", 0},
		{"{\"do\":\"stop\",\"graceMs\":-1}\n", OK, "stop(5000) ", 0},
		{"{\"do\":\"stop\"}\n", REFUSED("web does not run"), "stop(5000) ", -ENOTCONN},
		{"{\"do\":\"kill\",\"signal\":15}\n", OK, "signal(-1,15) ", 0},
		{"{\"do\":\"kill\",\"signal\":15,\"container\":\"b\"}\n", OK, "signal(1,15) ", 0},
		{"{\"do\":\"kill\",\"signal\":9,\"container\":\"a\"}\n", OK, "signal(0,9) ", 0},
		{"{\"do\":\"kill\",\"signal\":9}\n", OK, "stop(0) ", 0},
		{"{\"do\":\"kill\",\"signal\":64}\n", OK, "signal(-1,64) ", 0},
		{"{\"do\":\"kill\",\"signal\":65}\n", REFUSED("no signal is named"), "", 0},
		{"{\"do\":\"kill\",\"signal\":0}\n", REFUSED("no signal is named"), "", 0},
		{"{\"do\":\"kill\",\"signal\":\"TERM\"}\n", REFUSED("no signal is named"), "", 0},
		{"{\"do\":\"kill\"}\n", REFUSED("no signal is named"), "", 0},
		{"{\"do\":\"kill\",\"signal\":9,\"container\":\"c\"}\n", REFUSED("web has no container c; it has a, b"), "", 0},
		{"{\"do\":\"kill\",\"signal\":9,\"container\":\"\"}\n", REFUSED("web has no container ; it has a, b"), "", 0},
		{"{\"do\":\"kill\",\"signal\":15}\n", REFUSED("web: Invalid argument"), "signal(-1,15) ", -EINVAL},
		{"{\"do\":\"pause\"}\n", OK, "pause(1) ", 0},
		{"{\"do\":\"unpause\"}\n", OK, "pause(0) ", 0},
		{"{\"do\":\"pause\"}\n", REFUSED("web is paused already"), "pause(1) ", -EALREADY},
		{"{\"do\":\"unpause\"}\n", REFUSED("web is running already"), "pause(0) ", -EALREADY},
		{"{\"do\":\"pause\"}\n", REFUSED("web does not run"), "pause(1) ", -ENOTCONN},
		{"{\"do\":\"dance\"}\n", REFUSED("this podvm (" PODVM_VERSION ") does not know what \\\"dance\\\" is"), "", 0},
		{"{\"do\":\"Stop\"}\n", REFUSED("this podvm (" PODVM_VERSION ") does not know what \\\"Stop\\\" is"), "", 0},
		{"{\"do\":5}\n", REFUSED("this podvm (" PODVM_VERSION ") does not know what \\\"\\\" is"), "", 0},
		{"{}\n", REFUSED("this podvm (" PODVM_VERSION ") does not know what \\\"\\\" is"), "", 0},
		{"{\"do\":\"signal\",\"signal\":1}\n", "", "", 0}, /* just too late for what has ended */
		{"{\"do\":\"winsize\"}\n", "", "", 0},
		{"{\"do\":\"stats\"}\n", REFUSED("web does not run"), "stats ", -ENOTCONN},
	};
	struct conn conn;

	start();
	conn = client();
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		fake.told[0] = 0;
		fake.result = rows[i].result;
		CHECK_STR(ask(&conn, rows[i].line), rows[i].answer);
		CHECK_STR(fake.told, rows[i].told);
	}
	hang_up(&conn);
	end();
}

TEST(a_long_name_is_cut)
{
	char name[3000], *line;
	struct conn conn;

	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = 0;
	line = xasprintf("{\"do\":\"kill\",\"signal\":9,\"container\":\"%s\"}\n", name);
	start();
	conn = client();
	CHECK_INT(strlen(ask(&conn, line)), 1023 + strlen(REFUSED("")));
	hang_up(&conn);
	end();
	free(line);
}

/* ---- statistics ---- */

static const struct wire_stats some_stats = {.uptime_ns = 5};
static const struct wire_use some_uses[FAKE_CONTAINERS];

TEST(answers_keep_their_order_while_statistics_are_waited_for)
{
	struct conn conn, other;
	int unread;

	start();
	conn = client();
	other = client();
	say(&conn, "{\"do\":\"pause\"}\n{\"do\":\"unpause\"}\n{\"do\":\"stats\"}\n{\"do\":\"stop\"}\n");
	turn();
	CHECK_STR(fake.told, "pause(1) pause(0) stats ");
	CHECK_STR(hear_text(&conn), OK);
	CHECK_STR(hear_text(&conn), OK);
	CHECK_STR(hear_text(&conn), "");
	say(&conn, "{\"do\":\"stats\"}\n{\"do\":\"kill\"}\n");
	turn();
	CHECK(!ioctl(conn.fd, SIOCOUTQ, &unread) && unread); /* is not read */
	CHECK_STR(ask(&other, "{\"do\":\"pause\"}\n"), OK);  /* nobody else waits */
	fake.phase = SESSION_RUNNING;
	CHECK(fake_stats_come(&some_stats, some_uses));
	CHECK_STR(fake.told, "pause(1) pause(0) stats pause(1) stop(5000) ");
	turn();
	CHECK_STR(fake.told, "pause(1) pause(0) stats pause(1) stop(5000) stats ");
	CHECK(!ioctl(conn.fd, SIOCOUTQ, &unread) && !unread);
	CHECK(!strncmp(hear_text(&conn), "{\"stats\":{\"uptimeNs\":5,", 23));
	CHECK_STR(hear_text(&conn), OK);
	CHECK_STR(hear_text(&conn), "");
	CHECK(fake_stats_come(NULL, NULL));
	CHECK_STR(hear_text(&conn), REFUSED("web has ended"));
	CHECK_STR(hear_text(&conn), REFUSED("no signal is named"));
	CHECK(!fake_stats_come(NULL, NULL));
	hang_up(&conn);
	hang_up(&other);
	end();
}

TEST(statistics_of_a_paused_pod_are_refused)
{
	struct conn conn;

	start();
	conn = client();
	fake.phase = SESSION_PAUSED;
	CHECK_STR(ask(&conn, "{\"do\":\"stats\"}\n"), REFUSED("web is paused; podvm unpause lets it go on"));
	CHECK_STR(ask(&conn, "{\"do\":\"stop\"}\n"), OK);
	CHECK_STR(fake.told, "stop(5000) ");
	hang_up(&conn);
	end();
}

TEST(who_hangs_up_while_waiting_is_forgotten)
{
	struct conn conn, other;

	start();
	conn = client();
	other = client();
	say(&conn, "{\"do\":\"stats\"}\n");
	turn();
	say(&conn, "{\"do\":\"stop\"}\n"); /* never read */
	say(&other, "{\"do\":\"stats\"}\n");
	turn();
	CHECK_INT(fake.asker_count, 2);
	hang_up(&conn);
	turn();
	CHECK_INT(fake.asker_count, 1);
	CHECK_INT(fake.cancelled, 1);
	CHECK_STR(fake.told, "stats stats ");
	fake_stats_come(&some_stats, some_uses);
	CHECK(!strncmp(hear_text(&other), "{\"stats\":", 9));
	hang_up(&other);
	end();
}

/* A script that sends all it has and then reads to the end. */
TEST(an_end_of_sending_is_no_hang_up_until_all_is_answered)
{
	struct conn conn;
	unsigned before;

	start();
	conn = client();
	say(&conn, "{\"do\":\"stats\"}\n{\"do\":\"stop\"}\n");
	shutdown(conn.fd, SHUT_WR);
	turn();
	CHECK_INT(fake.asker_count, 1);
	before = turns_taken;
	run_ms(30);
	CHECK(turns_taken - before < 10); /* nor does the loop spin meanwhile */
	fake_stats_come(&some_stats, some_uses);
	turn();
	CHECK(!strncmp(hear_text(&conn), "{\"stats\":", 9));
	CHECK_STR(hear_text(&conn), OK);
	CHECK(is_hung_up(&conn));
	hang_up(&conn);
	end();
}

TEST(the_server_goes_while_clients_wait)
{
	struct conn conn, exec;

	start();
	fds_before += 2; /* the clients' ends are still open */
	conn = client();
	exec = client();
	say(&conn, "{\"do\":\"stats\"}\n");
	ask_with_fds(&exec, EXEC, 3);
	end();
	CHECK_INT(fake.cancelled, 1);
	CHECK_STR(fake.told, "stats exec(0,0,0) exec-hangup(0) ");
	CHECK(is_hung_up(&conn) && is_hung_up(&exec));
	hang_up(&conn);
	hang_up(&exec);
}

/* ---- exec ---- */

TEST(the_life_of_an_exec)
{
	struct conn conn;
	unsigned before;

	start();
	conn = client();
	before = fds_open();
	ask_with_fds(&conn, "{\"do\":\"exec\",\"container\":\"b\",\"rows\":24,\"cols\":80,\"process\":{\"command\":[\"ls\",\"-l\"]}}", 3);
	CHECK_INT(fds_open(), before); /* they are execs' now, which has duplicates */
	CHECK_STR(fake.told, "exec(1,24,80) ");
	CHECK(strstr(fake.json, "[\"ls\",\"-l\"]") != NULL);
	CHECK_STR(hear_text(&conn), "");
	fake_exec_started(0);
	CHECK_STR(hear_text(&conn), "{\"started\":true}");
	CHECK_STR(ask(&conn, "{\"do\":\"signal\",\"signal\":2}\n{\"do\":\"winsize\",\"rows\":3,\"cols\":4}\n"), "");
	CHECK_STR(ask(&conn, "{\"do\":\"signal\",\"signal\":65}\n{\"do\":\"winsize\",\"rows\":65536}\n"), "");
	CHECK_STR(fake.told, "exec(1,24,80) exec-signal(0,2) exec-winsize(0,3,4) exec-signal(0,0) exec-winsize(0,0,0) ");
	fake_exec_exited(0, 137, 9, 1);
	CHECK_STR(hear_text(&conn), "{\"exited\":{\"code\":137,\"signal\":9,\"oomKilled\":true}}");
	/* The connection is free for the next. */
	ask_with_fds(&conn, EXEC, 3);
	fake_exec_started(1);
	fake_exec_exited(1, 3, 0, 0);
	CHECK_STR(hear_text(&conn), "{\"started\":true}");
	CHECK_STR(hear_text(&conn), "{\"exited\":{\"code\":3,\"signal\":0,\"oomKilled\":false}}");
	CHECK_STR(ask(&conn, "{\"do\":\"stop\"}\n"), OK);
	hang_up(&conn);
	turn();
	CHECK_INT(fake.hangups, 0);
	end();
}

TEST(an_exec_that_the_guest_refuses)
{
	struct conn conn;

	start();
	conn = client();
	ask_with_fds(&conn, EXEC, 3);
	fake_exec_refused(0, "ls: command not found");
	CHECK_STR(hear_text(&conn), "");
	fake_exec_exited(0, 127, 0, 0);
	CHECK_STR(hear_text(&conn), "{\"code\":127,\"error\":\"ls: command not found\"}");
	/* Of that nothing is left for the next. */
	ask_with_fds(&conn, EXEC, 3);
	fake_exec_started(1);
	fake_exec_exited(1, 0, 0, 0);
	CHECK_STR(hear_text(&conn), "{\"started\":true}");
	CHECK_STR(hear_text(&conn), "{\"exited\":{\"code\":0,\"signal\":0,\"oomKilled\":false}}");
	hang_up(&conn);
	end();
}

TEST(an_exec_that_can_not_be)
{
	static const struct {
		const char *line, *answer;
		unsigned fds;
		int result;
		enum session_phase phase;
		bool no_execs;
	} rows[] = {
		{EXEC, REFUSED("three descriptors have to come with exec"), 0, 0, SESSION_RUNNING, false},
		{EXEC, REFUSED("three descriptors have to come with exec"), 2, 0, SESSION_RUNNING, false},
		{EXEC, REFUSED("web does not run"), 3, 0, SESSION_STARTING, true},
		{EXEC, REFUSED("web does not run"), 3, -ENOTCONN, SESSION_ENDED, false},
		{EXEC, REFUSED("web is paused; podvm unpause lets it go on"), 3, 0, SESSION_PAUSED, false},
		{EXEC, REFUSED("web runs 256 such processes already"), 3, -EAGAIN, SESSION_RUNNING, false},
		{EXEC, REFUSED("web: Too many open files"), 3, -EMFILE, SESSION_RUNNING, false},
		{"{\"do\":\"exec\"}", REFUSED("no process is named"), 3, 0, SESSION_RUNNING, false},
		{"{\"do\":\"exec\",\"container\":\"c\",\"process\":{\"command\":[\"ls\"]}}",
		 REFUSED("web has no container c; it has a, b"), 3, 0, SESSION_RUNNING, false},
	};
	struct conn conn;
	unsigned before;

	start();
	conn = client();
	before = fds_open();
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		fake.result = rows[i].result;
		fake.phase = rows[i].phase;
		fake.no_execs = rows[i].no_execs;
		ask_with_fds(&conn, rows[i].line, rows[i].fds);
		CHECK_STR(hear_text(&conn), rows[i].answer);
		CHECK_INT(fds_open(), before);
	}
	CHECK_INT(fake.exec_count, 0);
	hang_up(&conn);
	end();
}

/* What is wrong with the process is told without a place in a file that nobody wrote. */
TEST(a_process_that_is_wrong)
{
	static const struct {
		const char *process, *word;
	} rows[] = {
		{"{\"command\":[]}", "\"error\":\"no command"},
		{"{\"command\":[\"ls\"],\"workdir\":\"x\"}", "\"error\":\"workdir: "},
		{"{\"command\":[\"ls\"],\"dance\":1}", "dance"},
		{"5", "object"},
	};
	struct conn conn;

	start();
	conn = client();
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		char *line = xasprintf("{\"do\":\"exec\",\"process\":%s}", rows[i].process);
		const char *answer;

		ask_with_fds(&conn, line, 3);
		answer = hear_text(&conn);
		CHECK_MSG(strstr(answer, rows[i].word) != NULL, answer);
		CHECK_MSG(strstr(answer, "\"code\":125") && !strstr(answer, "process:"), answer);
		free(line);
	}
	CHECK_STR(fake.told, "");
	hang_up(&conn);
	end();
}

TEST(the_leash_of_an_exec)
{
	struct conn conn, other, third;

	start();
	conn = client();
	other = client();
	third = client();
	ask_with_fds(&conn, EXEC, 3);
	ask_with_fds(&other, EXEC, 3);
	ask_with_fds(&third, EXEC, 3);
	fake_exec_started(0);
	hang_up(&conn);
	turn();
	CHECK_STR(fake.told, "exec(0,0,0) exec(0,0,0) exec(0,0,0) exec-hangup(0) ");
	/* Only signals and sizes may be sent on it. */
	CHECK_STR(ask(&other, "{\"do\":\"stop\"}\n"), "");
	CHECK(is_hung_up(&other));
	CHECK_INT(fake.hangups, 2);
	say(&third, "{}\n");
	turn();
	CHECK_INT(fake.hangups, 3);
	hang_up(&other);
	hang_up(&third);
	end();
}

TEST(a_client_is_lost_inside_a_call_of_its_exec)
{
	struct conn conn, other;

	start();
	conn = client();
	other = client();
	ask_with_fds(&conn, EXEC, 3);
	ask_with_fds(&other, EXEC, 3);
	hang_up(&conn);
	hang_up(&other);
	/* The answer meets EPIPE. */
	fake_exec_started(0);
	CHECK_INT(fake.hangups, 0);
	fake_exec_exited(1, 0, 0, 0);
	turn();
	CHECK_STR(fake.told, "exec(0,0,0) exec(0,0,0) exec-hangup(0) ");
	end();
}

TEST(a_client_is_lost_inside_the_call_with_its_statistics)
{
	struct conn conn;

	start();
	conn = client();
	say(&conn, "{\"do\":\"stats\"}\n{\"do\":\"stop\"}\n");
	turn();
	hang_up(&conn);
	fake_stats_come(&some_stats, some_uses);
	turn();
	CHECK_STR(fake.told, "stats "); /* it hung up before it was its turn */
	end();
}

/* ---- bad clients ---- */

TEST(bad_lines_are_answered_once)
{
	static const char *const lines[] = {"\n", "no\n", "[]\n", "{\"do\":\"stop\"} x\n", "{\"do\":\"stop\\u0000\"}\n"};

	start();
	for (unsigned i = 0; i < ARRAY_SIZE(lines); i++) {
		struct conn conn = client();

		say(&conn, lines[i]);
		say(&conn, "{\"do\":\"stop\"}\n");
		turn();
		CHECK_STR(hear_text(&conn), REFUSED("a line has to be one JSON object"));
		CHECK(is_hung_up(&conn));
		hang_up(&conn);
	}
	CHECK_STR(fake.told, "");
	end();
}

TEST(a_line_without_end)
{
	char *bytes = xmalloc(4097);
	unsigned sent = 0;
	struct conn conn;

	memset(bytes, ' ', 4096);
	bytes[4096] = 0;
	start();
	conn = client();
	while (sent < TALK_LINE_BYTES_MAX && send(conn.fd, bytes, 4096, MSG_DONTWAIT | MSG_NOSIGNAL) == 4096) {
		sent += 4096;
		turn();
	}
	CHECK_INT(sent, TALK_LINE_BYTES_MAX);
	CHECK_STR(hear_text(&conn), "");
	CHECK_STR(ask(&conn, " "), REFUSED("a line has more than 1048576 bytes"));
	CHECK(is_hung_up(&conn));
	hang_up(&conn);
	end();
	free(bytes);
}

TEST(who_does_not_read_is_dropped)
{
	char line[1000];
	size_t sent = 0;
	struct conn conn, other;

	start();
	conn = client();
	other = client();
	memset(line, 'x', sizeof(line) - 1);
	memcpy(line, "{\"do\":\"", 7);
	memcpy(line + sizeof(line) - 4, "\"}\n", 4);
	while (sent < 16 << 20 && send(conn.fd, line, sizeof(line) - 1, MSG_DONTWAIT | MSG_NOSIGNAL) > 0) {
		sent += sizeof(line) - 1;
		one_turn();
	}
	/* Each answer is about as long as its question. */
	CHECK(sent > 3 << 20);
	CHECK(sent < 6 << 20);
	CHECK_STR(ask(&other, "{\"do\":\"stop\"}\n"), OK);
	hang_up(&conn);
	hang_up(&other);
	end();
}

TEST(who_reads_late_gets_all)
{
	enum { COUNT = 2000 };
	char line[1000];
	unsigned answers = 0;
	struct conn conn;

	start();
	conn = client();
	memset(line, 'x', sizeof(line) - 1);
	memcpy(line, "{\"do\":\"", 7);
	memcpy(line + sizeof(line) - 4, "\"}\n", 4);
	for (unsigned i = 0; i < COUNT; i++) {
		say(&conn, line);
		one_turn();
	}
	for (unsigned i = 0; i < COUNT; i++) {
		answers += *hear_text(&conn) != 0;
		one_turn();
	}
	CHECK_INT(answers, COUNT);
	CHECK_STR(ask(&conn, "{\"do\":\"stop\"}\n"), OK);
	hang_up(&conn);
	end();
}

TEST(a_turn_takes_so_many_lines)
{
	enum { LINES = 10 * LINES_PER_TURN };
	struct conn conn, other;
	unsigned answers = 0;

	start();
	conn = client();
	other = client();
	say_often(&conn, "{\"do\":\"stop\"}\n", LINES);
	one_turn(); /* a task posted while descriptors are looked at still runs in this turn */
	CHECK_INT(fake.calls, 2 * LINES_PER_TURN);
	say(&conn, "{\"do\":\"unpause\"}\n"); /* stays behind them */
	say(&other, "{\"do\":\"pause\"}\n");
	one_turn();
	CHECK_INT(fake.calls, 3 * LINES_PER_TURN + 1);
	CHECK_STR(hear_text(&other), OK);
	turn();
	turn();
	turn();
	CHECK_INT(fake.calls, LINES + 2);
	for (unsigned i = 0; i < LINES + 2; i++) {
		answers += *hear_text(&conn) != 0;
		one_turn();
	}
	CHECK_INT(answers, LINES + 1);
	CHECK_INT(fake.phase, SESSION_RUNNING);
	CHECK_STR(ask(&conn, "{\"do\":\"pause\"}\n"), OK); /* and it is read from again */
	hang_up(&conn);
	hang_up(&other);
	end();
}

TEST(who_hangs_up_with_lines_left)
{
	struct conn conn;

	start();
	conn = client();
	say_often(&conn, "{\"do\":\"winsize\"}\n", 5 * LINES_PER_TURN); /* no answer that could meet EPIPE */
	one_turn();
	hang_up(&conn);
	turn();
	CHECK_INT(fds_open(), fds_before + 5); /* the loop's, the pod's three, the listening one */
	end();
}

/* Its tasks go with it. */
TEST(the_server_goes_with_work_posted)
{
	struct conn conn, exec;

	start();
	conn = client();
	exec = client();
	say_often(&conn, "{\"do\":\"winsize\"}\n", 9 * LINES_PER_TURN);
	one_turn();
	ask_with_fds(&exec, EXEC, 3);
	say_often(&conn, "{\"do\":\"winsize\"}\n", 9 * LINES_PER_TURN);
	one_turn();
	hang_up(&exec);
	fake_exec_started(0); /* EPIPE: it is to be dropped in the next turn */
	server_free(server);
	server = NULL;
	turn();
	hang_up(&conn);
	end();
}

/* ---- coming in ---- */

TEST(as_many_clients_as_there_may_be)
{
	static struct conn conns[SERVER_CLIENTS_MAX];
	struct rlimit limit;
	struct conn late;

	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_max < 2 * SERVER_CLIENTS_MAX + 100)
		SKIP("too few descriptors are allowed");
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	start();
	for (unsigned i = 0; i < SERVER_CLIENTS_MAX; i++)
		conns[i] = client();
	CHECK_STR(ask(&conns[SERVER_CLIENTS_MAX - 1], "{\"do\":\"stop\"}\n"), OK);
	late = client();
	CHECK(is_hung_up(&late));
	hang_up(&late);
	hang_up(&conns[0]);
	turn();
	late = client();
	CHECK_STR(ask(&late, "{\"do\":\"stop\"}\n"), OK);
	hang_up(&late);
	for (unsigned i = 0; i < SERVER_CLIENTS_MAX; i++)
		hang_up(&conns[i]);
	end();
}

TEST(no_descriptor_for_a_client)
{
	struct rlimit limit, low;
	struct conn conn;
	unsigned before;
	int fd;

	start();
	conn = (struct conn){.fd = dir_connect("web")};
	fd = dup(conn.fd); /* the next one free */
	close(fd);
	getrlimit(RLIMIT_NOFILE, &limit);
	low = (struct rlimit){.rlim_cur = (rlim_t)fd, .rlim_max = limit.rlim_max};
	setrlimit(RLIMIT_NOFILE, &low);
	before = turns_taken;
	run_ms(100);
	CHECK(turns_taken - before < 10); /* the loop does not spin */
	setrlimit(RLIMIT_NOFILE, &limit);
	say(&conn, "{\"do\":\"stop\"}\n");
	run_ms(1000);
	CHECK_STR(hear_text(&conn), OK);
	hang_up(&conn);
	end();
}

TEST(the_server_goes_while_it_has_no_descriptors)
{
	struct rlimit limit, low;
	struct conn conn;
	int fd;

	start();
	conn = (struct conn){.fd = dir_connect("web")};
	fd = dup(conn.fd);
	close(fd);
	getrlimit(RLIMIT_NOFILE, &limit);
	low = (struct rlimit){.rlim_cur = (rlim_t)fd, .rlim_max = limit.rlim_max};
	setrlimit(RLIMIT_NOFILE, &low);
	turn();
	setrlimit(RLIMIT_NOFILE, &limit);
	server_free(server);
	server = NULL;
	run_ms(1100); /* its timer went with it */
	hang_up(&conn);
	end();
}

/* Its directory keeps others out; should one get in nonetheless, it is not served. */
TEST(another_user_is_hung_up_on)
{
	char path[100];
	int status = -1;
	pid_t child;

	if (geteuid())
		SKIP("only root can be another user");
	start();
	snprintf(path, sizeof(path), "%s/podvm/web", runtime);
	if (chmod(path, 0711))
		abort();
	child = fork();
	if (child == 0) {
		struct sockaddr_un addr = {.sun_family = AF_UNIX, .sun_path = "control"};
		struct timeval limit = {.tv_sec = 5};
		int fd = socket(AF_UNIX, SOCK_STREAM, 0);
		char byte;

		if (chdir(path) || chmod("control", 0777) || setuid(65534) || connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
			_exit(10);
		(void)send(fd, "{\"do\":\"stop\"}\n", 14, MSG_NOSIGNAL);
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
		_exit(recv(fd, &byte, 1, 0) == 0 || errno == ECONNRESET ? 0 : 11);
	}
	for (unsigned i = 0; i < 1000 && waitpid(child, &status, WNOHANG) == 0; i++)
		run_ms(10);
	CHECK_INT(status, 0);
	CHECK_STR(fake.told, "");
	end();
}

TEST(a_socket_that_can_not_be)
{
	struct server_config config = {.session = &fake, .spec = &fake_spec};

	start();
	config.loop = loop;
	config.dir = dir;
	CHECK(!server_new(&config)); /* there is one by that name */
	server_free(NULL);
	end();
}

int main(void)
{
	if (!mkdtemp(runtime) || setenv("XDG_RUNTIME_DIR", runtime, 1))
		abort();
	RUN(status_in_every_phase);
	RUN(stop_kill_and_pause);
	RUN(a_long_name_is_cut);
	RUN(answers_keep_their_order_while_statistics_are_waited_for);
	RUN(statistics_of_a_paused_pod_are_refused);
	RUN(who_hangs_up_while_waiting_is_forgotten);
	RUN(an_end_of_sending_is_no_hang_up_until_all_is_answered);
	RUN(the_server_goes_while_clients_wait);
	RUN(the_life_of_an_exec);
	RUN(an_exec_that_the_guest_refuses);
	RUN(an_exec_that_can_not_be);
	RUN(a_process_that_is_wrong);
	RUN(the_leash_of_an_exec);
	RUN(a_client_is_lost_inside_a_call_of_its_exec);
	RUN(a_client_is_lost_inside_the_call_with_its_statistics);
	RUN(bad_lines_are_answered_once);
	RUN(a_line_without_end);
	RUN(who_does_not_read_is_dropped);
	RUN(who_reads_late_gets_all);
	RUN(a_turn_takes_so_many_lines);
	RUN(who_hangs_up_with_lines_left);
	RUN(the_server_goes_with_work_posted);
	RUN(as_many_clients_as_there_may_be);
	RUN(no_descriptor_for_a_client);
	RUN(the_server_goes_while_it_has_no_descriptors);
	RUN(another_user_is_hung_up_on);
	RUN(a_socket_that_can_not_be);
	if (!chdir(runtime) && !rmdir("podvm"))
		rmdir(runtime);
	return test_done();
}

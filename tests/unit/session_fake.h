/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session_fake: vm/session.h and vm/execs.h as vm/server.c calls them, without a guest: what was called is told as text, and
 * what they lead to is called by the test when it likes. A program of one file includes it; as it defines their names, the
 * linker takes neither from the library.
 */
#ifndef TESTS_UNIT_SESSION_FAKE_H
#define TESTS_UNIT_SESSION_FAKE_H

#include "lib/util.h"
#include "vm/execs.h"
#include "vm/session.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

enum { FAKE_CONTAINERS = 2, FAKE_EXECS_MAX = 4096, FAKE_ASKERS_MAX = 1024 };

struct session {
	enum session_phase phase;
	struct session_container containers[FAKE_CONTAINERS];
	int result;	/* of the calls that may fail */
	bool no_execs;	/* the pod was not sent yet */
	char told[4096]; /* what was called */
	char json[4096]; /* of the exec begun last */
	unsigned calls;
	struct {
		session_stats_fn *fn;
		void *ctx;
	} askers[FAKE_ASKERS_MAX];
	unsigned asker_count, cancelled;
	struct {
		const struct execs_user *user;
		void *ctx; /* NULL: it ended, or was hung up on */
	} execs[FAKE_EXECS_MAX];
	unsigned exec_count, hangups;
};

/* The same one, as the server sees it. */
static struct session fake;

static struct spec_container fake_spec_containers[FAKE_CONTAINERS] = {{.name = (char *)"a"}, {.name = (char *)"b"}};
static const struct spec_pod fake_spec = {
	.vcpus = 3, .containers = fake_spec_containers, .container_count = FAKE_CONTAINERS};

#define FAKE_TELL(...)                                                                                                 \
	do {                                                                                                           \
		size_t told_bytes = strlen(fake.told);                                                                 \
		fake.calls++;                                                                                          \
		snprintf(fake.told + told_bytes, sizeof(fake.told) - told_bytes, __VA_ARGS__);                         \
	} while (0)

/* ---- what the server calls ---- */

enum session_phase session_phase(const struct session *session)
{
	return session->phase;
}

const struct session_container *session_containers(const struct session *session)
{
	return session->containers;
}

struct execs *session_execs(struct session *session)
{
	return session->no_execs ? NULL : (struct execs *)session;
}

int session_stop(struct session *session, unsigned grace_ms)
{
	FAKE_TELL("stop(%u) ", grace_ms);
	return session->result;
}

int session_signal(struct session *session, uint32_t target, unsigned signo)
{
	FAKE_TELL("signal(%d,%u) ", (int)target, signo);
	return session->result;
}

int session_pause(struct session *session, bool paused)
{
	FAKE_TELL("pause(%d) ", paused);
	if (!session->result)
		session->phase = paused ? SESSION_PAUSED : SESSION_RUNNING;
	return session->result;
}

int session_stats(struct session *session, session_stats_fn *fn, void *ctx)
{
	FAKE_TELL("stats ");
	if (session->result)
		return session->result;
	assert(session->asker_count < FAKE_ASKERS_MAX);
	session->askers[session->asker_count].fn = fn;
	session->askers[session->asker_count++].ctx = ctx;
	return 0;
}

void session_stats_cancel(struct session *session, void *ctx)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < session->asker_count; i++)
		if (session->askers[i].ctx == ctx)
			session->cancelled++;
		else
			session->askers[kept++] = session->askers[i];
	session->asker_count = kept;
}

int execs_start(struct execs *execs, const struct execs_config *config, const struct execs_user *user, void *ctx,
		uint32_t *exec)
{
	assert(execs == (struct execs *)&fake && strlen(config->json) == config->json_bytes);
	for (unsigned i = 0; i < ARRAY_SIZE(config->fds); i++)
		assert(fcntl(config->fds[i], F_GETFD) >= 0);
	FAKE_TELL("exec(%u,%u,%u) ", config->wire.container, config->wire.rows, config->wire.cols);
	snprintf(fake.json, sizeof(fake.json), "%s", config->json);
	if (fake.result)
		return fake.result;
	assert(fake.exec_count < FAKE_EXECS_MAX);
	fake.execs[fake.exec_count].user = user;
	fake.execs[fake.exec_count].ctx = ctx;
	*exec = WIRE_EXEC_FIRST + fake.exec_count++;
	return 0;
}

int execs_signal(struct execs *execs, uint32_t exec, unsigned signo)
{
	assert(execs == (struct execs *)&fake && fake.execs[exec - WIRE_EXEC_FIRST].ctx);
	FAKE_TELL("exec-signal(%u,%u) ", exec - WIRE_EXEC_FIRST, signo);
	return fake.result;
}

int execs_winsize(struct execs *execs, uint32_t exec, uint16_t rows, uint16_t cols)
{
	assert(execs == (struct execs *)&fake && fake.execs[exec - WIRE_EXEC_FIRST].ctx);
	FAKE_TELL("exec-winsize(%u,%u,%u) ", exec - WIRE_EXEC_FIRST, rows, cols);
	return fake.result;
}

void execs_hangup(struct execs *execs, uint32_t exec)
{
	assert(execs == (struct execs *)&fake && fake.execs[exec - WIRE_EXEC_FIRST].ctx);
	FAKE_TELL("exec-hangup(%u) ", exec - WIRE_EXEC_FIRST);
	fake.execs[exec - WIRE_EXEC_FIRST].ctx = NULL;
	fake.hangups++;
}

/* ---- what a guest would do ---- */

/* The oldest question is answered; NULL: the pod ended. False: there is none. */
static inline bool fake_stats_come(const struct wire_stats *pod, const struct wire_use *uses)
{
	session_stats_fn *fn = fake.askers[0].fn;
	void *ctx = fake.askers[0].ctx;

	if (!fake.asker_count)
		return false;
	memmove(fake.askers, fake.askers + 1, --fake.asker_count * sizeof(fake.askers[0]));
	fn(ctx, pod, uses);
	return true;
}

static inline bool fake_exec_runs(unsigned exec)
{
	return exec < fake.exec_count && fake.execs[exec].ctx;
}

static inline void fake_exec_started(unsigned exec)
{
	if (fake_exec_runs(exec))
		fake.execs[exec].user->started(fake.execs[exec].ctx);
}

static inline void fake_exec_refused(unsigned exec, const char *why)
{
	if (fake_exec_runs(exec))
		fake.execs[exec].user->refused(fake.execs[exec].ctx, why);
}

static inline void fake_exec_exited(unsigned exec, uint32_t code, uint32_t signo, uint32_t oom_killed)
{
	struct wire_exited exited = {.code = code, .signal = signo, .oom_killed = oom_killed};
	void *ctx = fake_exec_runs(exec) ? fake.execs[exec].ctx : NULL;

	if (!ctx)
		return;
	fake.execs[exec].ctx = NULL;
	fake.execs[exec].user->exited(ctx, &exited);
}

#endif

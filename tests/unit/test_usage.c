// SPDX-License-Identifier: Apache-2.0
/* test_usage: vm/usage.c: every figure under its name, what is not known is null, and a state that a guest made up. */
#include "vm/usage.h"

#include "lib/util.h"
#include "tests/unit/test.h"

#include <stdlib.h>

static struct spec_container containers[] = {{.name = (char *)"a"}, {.name = (char *)"b"}};
static const struct spec_pod spec = {.vcpus = 3, .containers = containers, .container_count = 2};

/* Numbers in a row, so that each member shows that it is told under its own name and that none is left out. */
#define POD_FIGURES 11
#define USE_FIGURES 16

static void rows_fill(struct wire_stats *pod, struct wire_use *use)
{
	uint64_t *figures = (uint64_t *)pod;

	for (unsigned i = 0; i < POD_FIGURES; i++)
		figures[i] = i + 1;
	pod->processes = 50;
	pod->containers = 2;
	figures = (uint64_t *)use;
	for (unsigned i = 0; i < USE_FIGURES; i++)
		figures[i] = i + 101;
	use->state = WIRE_STATE_RUNNING;
	use->restarts = 60;
}

TEST(all_members)
{
	/* What is added to the wire is to be added here, to usage.c and to docs/architecture.md. */
	_Static_assert(sizeof(struct wire_stats) == POD_FIGURES * 8 + 8, "figures of the pod");
	_Static_assert(sizeof(struct wire_use) == USE_FIGURES * 8 + 8, "figures of a container");
	static const char expected[] =
		"{\"uptimeNs\":1,\"cpuUserNs\":2,\"cpuSystemNs\":3,\"memoryTotalBytes\":4,\"memoryAvailableBytes\":5,"
		"\"receiveBytes\":6,\"receivePackets\":7,\"receiveDropped\":8,\"transmitBytes\":9,\"transmitPackets\":10,"
		"\"transmitDropped\":11,\"processes\":50,\"vcpus\":3,\"containers\":["
		"{\"name\":\"a\",\"state\":\"running\",\"restarts\":60,\"cpuNs\":101,\"cpuUserNs\":102,\"cpuSystemNs\":103,"
		"\"cpuThrottledNs\":104,\"memoryBytes\":105,\"memoryPeakBytes\":106,\"memoryLimitBytes\":107,"
		"\"memoryAnonBytes\":108,\"memoryFileBytes\":109,\"oomKills\":110,\"readBytes\":111,\"writeBytes\":112,"
		"\"readOps\":113,\"writeOps\":114,\"pids\":115,\"pidsLimit\":116},"
		"{\"name\":\"b\",\"state\":\"pending\",\"restarts\":0,\"cpuNs\":0,\"cpuUserNs\":0,\"cpuSystemNs\":0,"
		"\"cpuThrottledNs\":0,\"memoryBytes\":0,\"memoryPeakBytes\":0,\"memoryLimitBytes\":0,"
		"\"memoryAnonBytes\":0,\"memoryFileBytes\":0,\"oomKills\":0,\"readBytes\":0,\"writeBytes\":0,"
		"\"readOps\":0,\"writeOps\":0,\"pids\":0,\"pidsLimit\":0}]}";
	struct wire_use uses[2] = {0};
	struct wire_stats pod = {0};
	struct message *message;
	char *text;

	rows_fill(&pod, &uses[0]);
	message = usage_message(&spec, &pod, uses);
	text = message_print(message);
	CHECK_STR(text, expected);
	free(text);
	message_free(message);
}

TEST(what_is_not_known_is_null)
{
	struct wire_use uses[2];
	struct wire_stats pod;
	struct message *message;
	char *text, *at;
	unsigned nulls = 0;

	memset(&pod, 0xff, sizeof(pod));
	memset(uses, 0xff, sizeof(uses));
	message = usage_message(&spec, &pod, uses);
	text = message_print(message);
	for (at = text; (at = strstr(at, ":null")); at++)
		nulls++;
	CHECK_INT(nulls, POD_FIGURES + 2 * USE_FIGURES);
	free(text);
	message_free(message);
}

TEST(greatest_figure_that_is_none)
{
	struct wire_stats pod = {.uptime_ns = UINT64_MAX - 1, .processes = UINT32_MAX};
	struct wire_use uses[2] = {{.restarts = UINT32_MAX}};
	struct message *message = usage_message(&spec, &pod, uses);
	char *text = message_print(message);

	CHECK(strstr(text, "\"uptimeNs\":18446744073709551616,") != NULL); /* as near as a double is */
	CHECK(strstr(text, "\"processes\":4294967295,") != NULL);
	CHECK(strstr(text, "\"restarts\":4294967295,") != NULL);
	free(text);
	message_free(message);
}

TEST(states)
{
	static const struct {
		uint32_t state;
		const char *name;
	} rows[] = {
		{WIRE_STATE_PENDING, "pending"}, {WIRE_STATE_RUNNING, "running"}, {WIRE_STATE_WAITING, "waiting"},
		{WIRE_STATE_ENDED, "ended"},	 {WIRE_STATE_ENDED + 1, "unknown"}, {UINT32_MAX, "unknown"},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct wire_use uses[2] = {{.state = rows[i].state}};
		struct wire_stats pod = {0};
		struct message *message = usage_message(&spec, &pod, uses);

		CHECK_STR(message_text(message_at(message, "containers", 0), "state"), rows[i].name);
		message_free(message);
	}
}

int main(void)
{
	RUN(all_members);
	RUN(what_is_not_known_is_null);
	RUN(greatest_figure_that_is_none);
	RUN(states);
	return test_done();
}

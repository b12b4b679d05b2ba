/* SPDX-License-Identifier: Apache-2.0 */
/* stats: see stats.h. Owns how each file is read; must not know who asks. */
#include "init/stats.h"

#include "lib/util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { FILE_BYTES_MAX = 256 << 10, TICKS_PER_S = 100 /* USER_HZ, the same on every architecture of Linux that matters */ };

static const uint64_t us_ns = 1000, tick_ns = 1000000000 / TICKS_PER_S;

/* A file's text, fresh; "" when there is none. */
static char *text_of(const char *directory, const char *file)
{
	char *path = xasprintf("%s/%s", directory, file), *text;
	size_t bytes;

	if (file_read(path, FILE_BYTES_MAX, &text, &bytes) < 0)
		text = xstrdup("");
	free(path);
	return text;
}

uint64_t stats_field(const char *text, const char *name, uint64_t otherwise)
{
	size_t bytes = strlen(name);

	for (; text; text = strchr(text, '\n') ? strchr(text, '\n') + 1 : NULL)
		if (!strncmp(text, name, bytes) && (text[bytes] == ' ' || text[bytes] == ':'))
			return strtoull(text + bytes + 1, NULL, 10);
	return otherwise;
}

uint64_t stats_number(const char *text)
{
	return *text >= '0' && *text <= '9' ? strtoull(text, NULL, 10) : UINT64_MAX;
}

/* "8:0 rbytes=1 wbytes=2 rios=3 wios=4 ..." per device. */
void stats_parse_io(const char *text, struct wire_use *use)
{
	static const struct {
		const char *key;
		size_t at;
	} keys[] = {
		{" rbytes=", offsetof(struct wire_use, read_bytes)},
		{" wbytes=", offsetof(struct wire_use, write_bytes)},
		{" rios=", offsetof(struct wire_use, read_ops)},
		{" wios=", offsetof(struct wire_use, write_ops)},
	};

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		uint64_t *sum = (uint64_t *)((char *)use + keys[i].at);

		*sum = 0;
		for (const char *at = text; (at = strstr(at, keys[i].key)); at += strlen(keys[i].key))
			*sum += strtoull(at + strlen(keys[i].key), NULL, 10);
	}
}

/* "cpu  user nice system idle iowait irq softirq ..." in ticks. Guests' time, the last two, is in user already. */
void stats_parse_cpu(const char *text, struct wire_stats *stats)
{
	unsigned long long user = 0, nice = 0, system = 0, idle, iowait, irq = 0, softirq = 0;

	if (sscanf(text, "cpu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle, &iowait, &irq, &softirq) < 3)
		user = nice = system = 0;
	stats->cpu_user_ns = (user + nice) * tick_ns;
	stats->cpu_system_ns = (system + irq + softirq) * tick_ns;
}

void stats_parse_memory(const char *text, struct wire_stats *stats)
{
	stats->memory_total_bytes = stats_field(text, "MemTotal", 0) * 1024;
	stats->memory_available_bytes = stats_field(text, "MemAvailable", 0) * 1024;
}

/* "  eth0: bytes packets errs drop fifo frame compressed multicast bytes packets errs drop ...", after two lines of titles. */
void stats_parse_network(const char *text, struct wire_stats *stats)
{
	for (const char *line = text; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
		const char *colon = strchr(line, ':');
		unsigned long long n[12];

		while (*line == ' ')
			line++;
		if (!colon || colon < line || memchr(line, '\n', (size_t)(colon - line)) || !strncmp(line, "lo:", 3))
			continue;
		if (sscanf(colon + 1, "%llu %llu %llu %llu %llu %llu %llu %llu %llu %llu %llu %llu", &n[0], &n[1], &n[2], &n[3],
			   &n[4], &n[5], &n[6], &n[7], &n[8], &n[9], &n[10], &n[11]) != 12)
			continue;
		stats->receive_bytes += n[0];
		stats->receive_packets += n[1];
		stats->receive_dropped += n[3];
		stats->transmit_bytes += n[8];
		stats->transmit_packets += n[9];
		stats->transmit_dropped += n[11];
	}
}

void stats_of_machine(struct wire_stats *stats)
{
	struct timespec up;
	char *text;

	memset(stats, 0, sizeof(*stats));
	clock_gettime(CLOCK_BOOTTIME, &up);
	stats->uptime_ns = (uint64_t)up.tv_sec * 1000000000 + (uint64_t)up.tv_nsec;
	text = text_of("/proc", "stat");
	stats_parse_cpu(text, stats);
	free(text);
	text = text_of("/proc", "meminfo");
	stats_parse_memory(text, stats);
	free(text);
	text = text_of("/proc", "net/dev");
	stats_parse_network(text, stats);
	free(text);
}

static uint64_t number_of(const char *path, const char *file)
{
	char *text = text_of(path, file);
	uint64_t number = stats_number(text);

	free(text);
	return number;
}

static void cpu_of_cgroup(const char *path, struct wire_use *use)
{
	char *text = text_of(path, "cpu.stat");

	use->cpu_ns = stats_field(text, "usage_usec", 0) * us_ns;
	use->cpu_user_ns = stats_field(text, "user_usec", 0) * us_ns;
	use->cpu_system_ns = stats_field(text, "system_usec", 0) * us_ns;
	use->cpu_throttled_ns = stats_field(text, "throttled_usec", 0) * us_ns;
	free(text);
}

static void memory_of_cgroup(const char *path, struct wire_use *use)
{
	char *text = text_of(path, "memory.stat");

	use->memory_anon_bytes = stats_field(text, "anon", UINT64_MAX);
	use->memory_file_bytes = stats_field(text, "file", UINT64_MAX);
	free(text);
	use->memory_bytes = number_of(path, "memory.current");
	use->memory_peak_bytes = number_of(path, "memory.peak");
	use->memory_limit_bytes = number_of(path, "memory.max");
	text = text_of(path, "memory.events");
	use->oom_kills = stats_field(text, "oom_kill", 0);
	free(text);
}

void stats_of_cgroup(const char *path, struct wire_use *use)
{
	char *text = text_of(path, "io.stat");

	stats_parse_io(text, use);
	free(text);
	cpu_of_cgroup(path, use);
	memory_of_cgroup(path, use);
	use->pids = number_of(path, "pids.current");
	use->pids_limit = number_of(path, "pids.max");
}

// SPDX-License-Identifier: Apache-2.0
/* usage: see usage.h. Owns the names of the figures; must not know how they are counted (init/stats). */
#include "vm/usage.h"

#include "lib/util.h"

#include <stddef.h>
#include <string.h>

struct figure {
	const char *name;
	size_t at;
};

#define POD(name, field) {name, offsetof(struct wire_stats, field)}
static const struct figure pod_figures[] = {
	POD("uptimeNs", uptime_ns),
	POD("cpuUserNs", cpu_user_ns),
	POD("cpuSystemNs", cpu_system_ns),
	POD("memoryTotalBytes", memory_total_bytes),
	POD("memoryAvailableBytes", memory_available_bytes),
	POD("receiveBytes", receive_bytes),
	POD("receivePackets", receive_packets),
	POD("receiveDropped", receive_dropped),
	POD("transmitBytes", transmit_bytes),
	POD("transmitPackets", transmit_packets),
	POD("transmitDropped", transmit_dropped),
};

#define USE(name, field) {name, offsetof(struct wire_use, field)}
static const struct figure use_figures[] = {
	USE("cpuNs", cpu_ns),
	USE("cpuUserNs", cpu_user_ns),
	USE("cpuSystemNs", cpu_system_ns),
	USE("cpuThrottledNs", cpu_throttled_ns),
	USE("memoryBytes", memory_bytes),
	USE("memoryPeakBytes", memory_peak_bytes),
	USE("memoryLimitBytes", memory_limit_bytes),
	USE("memoryAnonBytes", memory_anon_bytes),
	USE("memoryFileBytes", memory_file_bytes),
	USE("oomKills", oom_kills),
	USE("readBytes", read_bytes),
	USE("writeBytes", write_bytes),
	USE("readOps", read_ops),
	USE("writeOps", write_ops),
	USE("pids", pids),
	USE("pidsLimit", pids_limit),
};

static void figures_set(struct message *message, const struct figure *figures, size_t count, const void *from)
{
	for (size_t i = 0; i < count; i++) {
		uint64_t value;

		memcpy(&value, (const char *)from + figures[i].at, sizeof(value));
		if (value == UINT64_MAX)
			message_set_null(message, figures[i].name);
		else
			message_set_number(message, figures[i].name, (double)value);
	}
}

static struct message *use_message(const struct spec_container *container, const struct wire_use *use)
{
	static const char *const states[] = {[WIRE_STATE_PENDING] = "pending",
					     [WIRE_STATE_RUNNING] = "running",
					     [WIRE_STATE_WAITING] = "waiting",
					     [WIRE_STATE_ENDED] = "ended"};
	struct message *message = message_set_text(message_new(), "name", container->name);

	/* The guest's word, so checked. */
	message_set_text(message, "state", use->state < ARRAY_SIZE(states) ? states[use->state] : "unknown");
	message_set_number(message, "restarts", use->restarts);
	figures_set(message, use_figures, ARRAY_SIZE(use_figures), use);
	return message;
}

struct message *usage_message(const struct spec_pod *spec, const struct wire_stats *stats, const struct wire_use *uses)
{
	struct message *message = message_new();

	figures_set(message, pod_figures, ARRAY_SIZE(pod_figures), stats);
	message_set_number(message, "processes", stats->processes);
	message_set_number(message, "vcpus", spec->vcpus);
	message_add(message, "containers", NULL);
	for (size_t i = 0; i < spec->container_count; i++)
		message_add(message, "containers", use_message(&spec->containers[i], &uses[i]));
	return message;
}

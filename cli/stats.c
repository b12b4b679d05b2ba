// SPDX-License-Identifier: Apache-2.0
/*
 * podvm stats: what pods and their containers use. Shares of CPUs are of the time since the sample before, so a table needs
 * two; --json prints the counters of one.
 */
#include "cli/cli.h"
#include "cli/pods.h"

#include "lib/log.h"
#include "lib/util.h"
#include "live/dir.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
	PATIENCE_S = 5,
	PERIOD_MS = 1000,
	ROLLUP_BYTES_MAX = 8192,
	OPT_JSON = 256,
	OPT_NO_STREAM,
};

struct view {
	bool json, once;
	char **names; /* of the command line; none: all that run */
	size_t name_count;
};

/* One look at all pods. */
struct sample {
	struct message *pods; /* {"pods": [stats]} */
	size_t missing;	      /* of those that were named */
};

static const struct option long_options[] = {
	{"json", no_argument, NULL, OPT_JSON},
	{"no-stream", no_argument, NULL, OPT_NO_STREAM},
	{"help", no_argument, NULL, 'h'},
	{NULL, 0, NULL, 0},
};

static bool option_take(void *ctx, int opt, const char *value)
{
	struct view *view = ctx;

	(void)value;
	if (opt == OPT_JSON)
		view->json = true;
	view->once = true;
	return true;
}

/* ---- looking ---- */

static double rollup_bytes(const char *text, const char *name)
{
	const char *at = strstr(text, name);

	return at ? (double)strtoull(at + strlen(name), NULL, 10) * 1024 : 0;
}

/* Memory of the pod's podvm, guest memory included, as this host counts it. Read here: it would hold up the pod. */
static void host_memory_set(struct message *stats, pid_t pid)
{
	char *path = xasprintf("/proc/%ld/smaps_rollup", (long)pid), *text;
	size_t bytes;

	if (file_read(path, ROLLUP_BYTES_MAX, &text, &bytes) == 0) {
		message_set_number(stats, "hostResidentBytes", rollup_bytes(text, "\nRss:"));
		message_set_number(stats, "hostProportionalBytes", rollup_bytes(text, "\nPss:"));
		free(text);
	} else {
		message_set_null(stats, "hostResidentBytes");
		message_set_null(stats, "hostProportionalBytes");
	}
	free(path);
}

/* Of one pod: fresh, or NULL. quiet: one that does not answer needs no word, as nobody named it. */
static struct message *stats_get(const char *name, bool quiet)
{
	struct pods_line line;
	struct message *answer = NULL, *stats = NULL;
	struct dir_entry entry;
	char *json;

	if (quiet)
		line = (struct pods_line){.fd = dir_connect(name)};
	if (quiet ? line.fd < 0 : !pods_open(&line, name))
		return NULL;
	pods_patience(&line, PATIENCE_S);
	if (!pods_send(&line, message_ask("stats"), NULL, 0))
		answer = pods_next(&line);
	pods_close(&line);
	json = answer ? message_json(answer, "stats") : NULL;
	if (json && !dir_find(name, &entry)) {
		stats = message_set_text(message_new(), "name", name);
		host_memory_set(stats, entry.pid);
		message_set_json(stats, "stats", json);
	} else if (!quiet) {
		log_warn("%s", answer && message_text(answer, "error") ? message_text(answer, "error") :
									  "the pod does not answer");
	}
	free(json);
	message_free(answer);
	return stats;
}

static struct message *reread(struct message *message)
{
	char *text = message_print(message);
	struct message *again = message_parse(text);

	message_free(message);
	free(text);
	return again;
}

static struct sample sample_take(const struct view *view)
{
	struct sample sample = {.pods = message_add(message_new(), "pods", NULL)};
	struct dir_entry *entries = NULL;
	size_t count = view->name_count;

	if (!view->name_count && dir_list(&entries, &count))
		count = 0;
	for (size_t i = 0; i < count; i++) {
		struct message *stats = stats_get(entries ? entries[i].name : view->names[i], entries != NULL);

		if (stats)
			message_add(sample.pods, "pods", stats);
		else
			sample.missing += !entries;
	}
	free(entries);
	sample.pods = reread(sample.pods); /* what was put in as text can be looked at then */
	return sample;
}

/* ---- showing ---- */

static double number(const struct message *message, const char *key)
{
	double value;

	return message && message_number(message, key, &value) ? value : 0;
}

/* "12.3MB" */
static const char *bytes_text(double bytes, char text[16])
{
	static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
	size_t unit = 0;

	while (bytes >= 1000 && unit + 1 < ARRAY_SIZE(units)) {
		bytes /= 1024;
		unit++;
	}
	snprintf(text, 16, unit && bytes < 100 ? "%.1f%s" : "%.0f%s", bytes, units[unit]);
	return text;
}

/* The entry of that name in a list, or NULL. */
static const struct message *named(const struct message *from, const char *list, const char *name)
{
	const struct message *one;

	for (size_t i = 0; from && (one = message_at(from, list, i)); i++)
		if (message_text(one, "name") && !strcmp(message_text(one, "name"), name))
			return one;
	return NULL;
}

/* Of one CPU, between two samples; 100 is all of it. */
static double cpu_percent(const struct message *then, const struct message *now, const char *a, const char *b, double wall_ns)
{
	double used = number(now, a) - number(then, a) + (b ? number(now, b) - number(then, b) : 0);

	return then && wall_ns > 0 && used > 0 ? used / wall_ns * 100 : 0;
}

static void container_print(const char *pod, const struct message *then, const struct message *now, double wall_ns)
{
	char used[16], limit[16], in[16], out[16], name[80], memory[40], io[40];

	snprintf(name, sizeof(name), "%s/%s", pod, message_text(now, "name"));
	snprintf(memory, sizeof(memory), "%s / %s", bytes_text(number(now, "memoryBytes"), used),
		 number(now, "memoryLimitBytes") > 0 ? bytes_text(number(now, "memoryLimitBytes"), limit) : "-");
	snprintf(io, sizeof(io), "%s / %s", bytes_text(number(now, "readBytes"), in), bytes_text(number(now, "writeBytes"), out));
	printf("%-28s %7.1f  %-19s %-19s %6.0f\n", name, cpu_percent(then, now, "cpuNs", NULL, wall_ns), memory, io,
	       number(now, "pids"));
}

static void pod_print(const struct message *then, const struct message *now, double wall_ns)
{
	const struct message *stats = message_get(now, "stats"), *before = then ? message_get(then, "stats") : NULL, *one;
	char used[16], total[16], in[16], out[16], memory[40], network[40];
	double total_bytes = number(stats, "memoryTotalBytes");
	const char *name = message_text(now, "name");

	snprintf(memory, sizeof(memory), "%s / %s", bytes_text(total_bytes - number(stats, "memoryAvailableBytes"), used),
		 bytes_text(total_bytes, total));
	snprintf(network, sizeof(network), "%s / %s", bytes_text(number(stats, "receiveBytes"), in),
		 bytes_text(number(stats, "transmitBytes"), out));
	printf("%-28s %7.1f  %-19s %-19s %6.0f\n", name, cpu_percent(before, stats, "cpuUserNs", "cpuSystemNs", wall_ns),
	       memory, network, number(stats, "processes"));
	for (size_t i = 0; (one = message_at(stats, "containers", i)); i++)
		if (message_text(one, "name"))
			container_print(name, named(before, "containers", message_text(one, "name")), one, wall_ns);
}

static void table_print(const struct sample *then, const struct sample *now, double wall_ns, bool clear)
{
	const struct message *pod;

	if (clear)
		fputs("\033[H\033[2J", stdout);
	printf("%-28s %7s  %-19s %-19s %6s\n", "POD, POD/CONTAINER", "CPU %", "MEMORY / LIMIT", "NET IN/OUT, DISK R/W", "PIDS");
	for (size_t i = 0; (pod = message_at(now->pods, "pods", i)); i++)
		pod_print(named(then->pods, "pods", message_text(pod, "name")), pod, wall_ns);
	fflush(stdout);
}

static void rest(void)
{
	const struct timespec period = {.tv_sec = PERIOD_MS / 1000, .tv_nsec = PERIOD_MS % 1000 * 1000000};

	nanosleep(&period, NULL);
}

static int tables_print(const struct view *view)
{
	struct sample then = sample_take(view);
	size_t missing = then.missing;
	bool live = !view->once && isatty(STDOUT_FILENO);

	while (!missing) {
		uint64_t then_ns = clock_mono_ns();
		struct sample now;

		rest();
		now = sample_take(view);
		missing = now.missing;
		if (!missing)
			table_print(&then, &now, (double)(clock_mono_ns() - then_ns), live);
		message_free(then.pods);
		then = now;
		if (!live)
			break;
	}
	message_free(then.pods);
	return missing ? EXIT_PODVM : 0;
}

static int json_print(const struct view *view)
{
	struct sample sample = sample_take(view);
	char *text = message_json(sample.pods, "pods");

	puts(text);
	free(text);
	message_free(sample.pods);
	return sample.missing ? EXIT_PODVM : 0;
}

static int stats_main(const struct cli_command *command, int argc, char **argv)
{
	struct view view = {0};
	int code;

	if (!pods_options(command, argc, argv, "h", long_options, option_take, &view, &code))
		return code;
	view.names = argv + optind;
	view.name_count = (size_t)(argc - optind);
	return view.json ? json_print(&view) : tables_print(&view);
}

const struct cli_command cmd_stats = {
	.name = "stats",
	.summary = "Show what pods and their containers use",
	.usage = "[--no-stream] [--json] [POD...]",
	.help = "All pods when none is named. A line per pod with its network, a line per container with its disks; CPU is in hundredths\n"
		"of one CPU. On a terminal anew each second until Ctrl-C.\n\n"
		"Options:\n"
		"  --no-stream     once\n"
		"  --json          once, a list of objects: every counter since the start, null where there is no limit or it is\n"
		"                  not known; hostResidentBytes and hostProportionalBytes are the pod's memory on this host\n"
		"  -h, --help      this text\n\n"
		"Examples:\n"
		"  podvm stats\n"
		"  podvm stats --json web\n\n"
		"Exit code: 0, or 125 when a pod that was named does not answer.\n",
	.main = stats_main,
};

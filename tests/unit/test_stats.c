/* SPDX-License-Identifier: Apache-2.0 */
/* test_stats: what the kernel's files say, and what is made of them when they are missing, empty or strange. */
#include "init/stats.h"
#include "lib/util.h"
#include "tests/unit/test.h"

#include <stdlib.h>
#include <unistd.h>

/* In the formats of Documentation/admin-guide/cgroup-v2.rst and proc(5). */
static const char cpu_stat[] = "usage_usec 1234567\n"
			       "user_usec 1000000\n"
			       "system_usec 234567\n"
			       "nice_usec 0\n"
			       "core_sched.force_idle_usec 0\n"
			       "nr_periods 40\n"
			       "nr_throttled 12\n"
			       "throttled_usec 654321\n"
			       "nr_bursts 0\n"
			       "burst_usec 0\n";
static const char memory_stat[] = "anon 4096000\n"
				  "file 8192000\n"
				  "kernel 311296\n"
				  "file_mapped 4096\n"
				  "inactive_anon 4087808\n";
static const char memory_events[] = "low 0\n"
				    "high 0\n"
				    "max 87\n"
				    "oom 3\n"
				    "oom_kill 2\n"
				    "oom_group_kill 1\n";
static const char io_stat[] = "254:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=77 dios=7\n"
			      "254:16 rbytes=1000000000000 wbytes=0 rios=244140625 wios=0 dbytes=0 dios=0\n"
			      "7:0 \n";
static const char meminfo[] = "MemTotal:         245168 kB\n"
			      "MemFree:          201436 kB\n"
			      "MemAvailable:     207796 kB\n"
			      "Buffers:               0 kB\n";
static const char net_dev[] =
	"Inter-|   Receive                                                |  Transmit\n"
	" face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier "
	"compressed\n"
	"    lo:  999999    9999    9    9    0     0          0         0   999999    9999    9    9    0     0       0 "
	"         0\n"
	"  eth0: 1000 10 1 2 3 4 5 6 2000 20 7 8 9 10 11 12\n"
	"enp0s12345:30000     300    0   20    0     0          0         0    40000     400    0   30    0     0       0 "
	"         0\n";
static const char proc_stat[] = "cpu  100 20 30 4000 5 6 7 8 9 10\n"
				"cpu0 100 20 30 4000 5 6 7 8 9 10\n"
				"intr 12345 0 0\n"
				"ctxt 4711\n";

TEST(fields_by_their_whole_name)
{
	CHECK_INT(stats_field(cpu_stat, "usage_usec", 0), 1234567);
	CHECK_INT(stats_field(cpu_stat, "throttled_usec", 0), 654321);
	CHECK_INT(stats_field(cpu_stat, "nr_throttled", 0), 12);
	/* Neither a beginning, nor an end, nor a middle of another's name. */
	CHECK_INT(stats_field(cpu_stat, "usage", 5), 5);
	CHECK_INT(stats_field(cpu_stat, "usec", 5), 5);
	CHECK_INT(stats_field(memory_events, "oom", 0), 3);
	CHECK_INT(stats_field(memory_events, "oom_kill", 0), 2);
	CHECK_INT(stats_field(memory_events, "kill", 9), 9);
	CHECK_INT(stats_field(memory_stat, "file", 0), 8192000);
	CHECK_INT(stats_field(meminfo, "MemAvailable", 0), 207796);
}

TEST(fields_that_are_not_there)
{
	/* A kernel without bandwidth control says nothing of throttling. */
	CHECK_INT(stats_field("usage_usec 5\nuser_usec 3\nsystem_usec 2\n", "throttled_usec", 0), 0);
	CHECK_INT(stats_field("", "anon", 7), 7);
	CHECK_INT(stats_field("\n\n", "anon", 7), 7);
	CHECK_INT(stats_field("anon", "anon", 7), 7);
	CHECK_INT(stats_field("a\nanon 3", "anon", 7), 3);
	CHECK_INT(stats_field("anon x\n", "anon", 7), 0);
}

TEST(numbers)
{
	static const struct {
		const char *text;
		uint64_t number;
	} rows[] = {
		{"0\n", 0}, {"4096\n", 4096}, {"18446744073709551615\n", UINT64_MAX}, {"9223372036854771712", 9223372036854771712u},
		{"max\n", UINT64_MAX}, {"", UINT64_MAX}, {"\n", UINT64_MAX}, {"-1\n", UINT64_MAX}, {" 5\n", UINT64_MAX},
		{"garbage", UINT64_MAX},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		CHECK_MSG(stats_number(rows[i].text) == rows[i].number, rows[i].text);
}

TEST(disks_are_added_up)
{
	struct wire_use use;

	memset(&use, 0x55, sizeof(use));
	stats_parse_io(io_stat, &use);
	CHECK_INT(use.read_bytes, 1000000004096);
	CHECK_INT(use.write_bytes, 8192);
	CHECK_INT(use.read_ops, 244140626);
	CHECK_INT(use.write_ops, 2);
	/* Discards are neither. */
	stats_parse_io("254:0 dbytes=5 dios=6\n", &use);
	CHECK_INT(use.read_bytes | use.write_bytes | use.read_ops | use.write_ops, 0);
}

TEST(no_disk_is_nothing_read)
{
	static const char *const texts[] = {"", "\n", "254:0 \n", "rbytes=5", "254:0 rbytes= wbytes=x rios=", "garbage"};
	struct wire_use use;

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		memset(&use, 0x55, sizeof(use));
		stats_parse_io(texts[i], &use);
		CHECK_MSG(!(use.read_bytes | use.write_bytes | use.read_ops | use.write_ops), texts[i]);
	}
}

TEST(time_of_all_cpus)
{
	static const char *const bad[] = {"", "garbage", "cpu", "cpu  1 2", "cpu  x y z", "intr 1 2 3 4 5 6 7"};
	struct wire_stats stats;

	memset(&stats, 0x55, sizeof(stats));
	stats_parse_cpu(proc_stat, &stats);
	CHECK_INT(stats.cpu_user_ns, 1200000000);
	CHECK_INT(stats.cpu_system_ns, (30 + 6 + 7) * 10000000LL);
	stats_parse_cpu("cpu  1 2 3\n", &stats); /* before 2.6 there was no more */
	CHECK_INT(stats.cpu_user_ns, 30000000);
	CHECK_INT(stats.cpu_system_ns, 30000000);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		memset(&stats, 0x55, sizeof(stats));
		stats_parse_cpu(bad[i], &stats);
		CHECK_MSG(!stats.cpu_user_ns && !stats.cpu_system_ns, bad[i]);
	}
}

TEST(memory_in_bytes)
{
	struct wire_stats stats;

	memset(&stats, 0x55, sizeof(stats));
	stats_parse_memory(meminfo, &stats);
	CHECK_INT(stats.memory_total_bytes, 245168 * 1024);
	CHECK_INT(stats.memory_available_bytes, 207796 * 1024);
	stats_parse_memory("garbage", &stats);
	CHECK_INT(stats.memory_total_bytes, 0);
	CHECK_INT(stats.memory_available_bytes, 0);
}

TEST(cards_are_added_up_without_lo)
{
	struct wire_stats stats = {0};

	stats_parse_network(net_dev, &stats);
	CHECK_INT(stats.receive_bytes, 31000);
	CHECK_INT(stats.receive_packets, 310);
	CHECK_INT(stats.receive_dropped, 22);
	CHECK_INT(stats.transmit_bytes, 42000);
	CHECK_INT(stats.transmit_packets, 420);
	CHECK_INT(stats.transmit_dropped, 38);
}

TEST(network_without_a_card)
{
	static const char *const texts[] = {
		"", "\n\n", "garbage", ":", "eth0:", "eth0: 1 2 3\n", "eth0\n: 1 2 3 4 5 6 7 8 9 10 11\n",
		"lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n", "   lo:1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16",
		"eth0: a b c d e f g h i j k l\n",
	};
	struct wire_stats stats, none = {0};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		memset(&stats, 0, sizeof(stats));
		stats_parse_network(texts[i], &stats);
		CHECK_MSG(!memcmp(&stats, &none, sizeof(stats)), texts[i]);
	}
	/* A short line does not borrow numbers from the next, and does not hide it. */
	stats_parse_network("eth0: 1 2 3\neth1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n", &stats);
	CHECK_INT(stats.receive_bytes, 1);
	CHECK_INT(stats.transmit_bytes, 9);
	/* A name that only begins so is a card. */
	memset(&stats, 0, sizeof(stats));
	stats_parse_network("lowan0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n", &stats);
	CHECK_INT(stats.transmit_dropped, 12);
}

/* ---- a directory as a cgroup has it ---- */

static char directory[] = "/tmp/podvm-test-stats-XXXXXX";

static void put(const char *name, const char *text)
{
	char *path = xasprintf("%s/%s", directory, name);
	FILE *file = fopen(path, "w");

	CHECK(file && fputs(text, file) >= 0 && fclose(file) == 0);
	free(path);
}

static void take_away(const char *name)
{
	char *path = xasprintf("%s/%s", directory, name);

	unlink(path);
	free(path);
}

TEST(cgroup_of_a_container)
{
	static const char *const names[] = {"cpu.stat", "memory.stat", "memory.events", "io.stat", "memory.current",
					    "memory.peak", "memory.max", "pids.current", "pids.max"};
	static const char *const texts[] = {cpu_stat, memory_stat, memory_events, io_stat, "12599296\n", "13000704\n",
					    "max\n", "3\n", "100\n"};
	struct wire_use use;

	if (!CHECK(mkdtemp(directory)))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		put(names[i], texts[i]);
	memset(&use, 0x55, sizeof(use));
	stats_of_cgroup(directory, &use);
	CHECK_INT(use.cpu_ns, 1234567000);
	CHECK_INT(use.cpu_user_ns, 1000000000);
	CHECK_INT(use.cpu_system_ns, 234567000);
	CHECK_INT(use.cpu_throttled_ns, 654321000);
	CHECK_INT(use.memory_bytes, 12599296);
	CHECK_INT(use.memory_peak_bytes, 13000704);
	CHECK(use.memory_limit_bytes == UINT64_MAX);
	CHECK_INT(use.memory_anon_bytes, 4096000);
	CHECK_INT(use.memory_file_bytes, 8192000);
	CHECK_INT(use.oom_kills, 2);
	CHECK_INT(use.read_bytes, 1000000004096);
	CHECK_INT(use.write_ops, 2);
	CHECK_INT(use.pids, 3);
	CHECK_INT(use.pids_limit, 100);
	CHECK_INT(use.state, 0x55555555); /* the caller's */
	CHECK_INT(use.restarts, 0x55555555);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		take_away(names[i]);
	rmdir(directory);
}

TEST(no_cgroup_is_not_known_or_nothing)
{
	struct wire_use use, want;

	memset(&want, 0xff, sizeof(want));
	want.cpu_ns = want.cpu_user_ns = want.cpu_system_ns = want.cpu_throttled_ns = 0;
	want.read_bytes = want.write_bytes = want.read_ops = want.write_ops = 0;
	want.oom_kills = 0;
	want.state = want.restarts = 0x55555555;
	memset(&use, 0x55, sizeof(use));
	stats_of_cgroup("/nowhere/at/all", &use);
	CHECK_MEM(&use, &want, sizeof(use));
}

/* This very machine, as it has the same files. */
TEST(machine)
{
	struct wire_stats stats;

	memset(&stats, 0x55, sizeof(stats));
	stats_of_machine(&stats);
	CHECK(stats.uptime_ns > 0);
	CHECK(stats.cpu_user_ns > 0 && stats.cpu_user_ns < 0x5555555555555555);
	CHECK(stats.memory_total_bytes > 1 << 20);
	CHECK(stats.memory_available_bytes <= stats.memory_total_bytes);
	CHECK_INT(stats.processes, 0);
	CHECK_INT(stats.containers, 0);
}

int main(void)
{
	RUN(fields_by_their_whole_name);
	RUN(fields_that_are_not_there);
	RUN(numbers);
	RUN(disks_are_added_up);
	RUN(no_disk_is_nothing_read);
	RUN(time_of_all_cpus);
	RUN(memory_in_bytes);
	RUN(cards_are_added_up_without_lo);
	RUN(network_without_a_card);
	RUN(cgroup_of_a_container);
	RUN(no_cgroup_is_not_known_or_nothing);
	RUN(machine);
	return test_done();
}

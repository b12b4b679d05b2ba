/* SPDX-License-Identifier: Apache-2.0 */
/* test_pcap: the file as a reader of our own sees it, and what becomes of it on a bad disk. */
#include "devices/pcap.h"

#include "lib/util.h"
#include "tests/unit/ring.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static struct rig rig;
static char path[64];
static struct pcap *pcap;

static void begin(void)
{
	rig_init(&rig);
	snprintf(path, sizeof(path), "/tmp/test_pcap.%d", (int)getpid());
	CHECK_INT(pcap_new(rig.loop, path, &pcap), 0);
}

static void end(void)
{
	unlink(path);
	rig_fini(&rig);
}

static void put(const uint8_t *bytes, size_t count, const struct frame_sum *sum)
{
	struct iovec iov[2] = { { (void *)(uintptr_t)bytes, count / 2 },
				{ (void *)(uintptr_t)(bytes + count / 2), count - count / 2 } };

	pcap_frame(pcap, iov, 2, count, sum);
}

/* The file's frames: sizes in the order of the file. -1 when it is not whole. */
static uint8_t *file;
static size_t file_bytes, frame_at[64];
static uint32_t frame_bytes[64];

static uint32_t get32(size_t at)
{
	uint32_t value;

	memcpy(&value, file + at, sizeof(value));
	return value;
}

static int read_back(void)
{
	char *text;
	size_t at = 24;
	int frames = 0;

	if (!CHECK_INT(file_read(path, 64 << 20, &text, &file_bytes), 0))
		return -1;
	free(file);
	file = (uint8_t *)text;
	if (file_bytes < 24 || get32(0) != 0xa1b23c4d || get32(4) != (2 | 4 << 16) || get32(16) != 262144 || get32(20) != 1)
		return -1;
	for (; at + 16 <= file_bytes && frames < 64; frames++) {
		if (get32(at + 4) >= 1000000000 || get32(at) + 60 < (uint32_t)time(NULL) ||
		    get32(at) > (uint32_t)time(NULL))
			return -1;
		frame_bytes[frames] = get32(at + 8);
		if (get32(at + 12) < frame_bytes[frames])
			return -1;
		frame_at[frames] = at + 16;
		at += 16 + frame_bytes[frames];
	}
	return at == file_bytes ? frames : -1;
}

TEST(frames_are_as_they_were)
{
	uint8_t frame[1000];
	struct stat st;

	begin();
	for (unsigned i = 0; i < sizeof(frame); i++)
		frame[i] = (uint8_t)(i * 3);
	CHECK_INT(read_back(), 0);
	put(frame, 60, NULL);
	put(frame, 1000, NULL);
	pcap_free(pcap);
	CHECK_INT(read_back(), 2);
	CHECK_INT(frame_bytes[0], 60);
	CHECK_INT(frame_bytes[1], 1000);
	CHECK_MEM(file + frame_at[0], frame, 60);
	CHECK_MEM(file + frame_at[1], frame, 1000);
	CHECK(!stat(path, &st));
	CHECK_INT(st.st_mode & 07777, 0600);
	end();
}

TEST(sums_are_completed_in_the_file_alone)
{
	uint8_t frame[61] = { 0 };
	const struct frame_sum sum = { 34, 16 }, outside = { 60, 16 };

	begin();
	frame[40] = 0x12;
	put(frame, sizeof(frame), &sum);
	put(frame, sizeof(frame), &outside);
	pcap_free(pcap);
	CHECK_INT(read_back(), 2);
	CHECK_INT(file[frame_at[0] + 50] << 8 | file[frame_at[0] + 51], 0xedff);
	CHECK_INT(frame[50], 0);
	CHECK_INT(file[frame_at[1] + 50], 0);
	end();
}

TEST(file_is_written_once_a_second)
{
	uint8_t frame[60] = { 0 };

	begin();
	put(frame, sizeof(frame), NULL);
	CHECK_INT(read_back(), 0);
	rig_run_ms(&rig, 1100);
	CHECK_INT(read_back(), 1);
	pcap_free(pcap);
	CHECK_INT(read_back(), 1);
	end();
}

TEST(many_frames_pass_the_buffer)
{
	static uint8_t frame[65000];

	begin();
	for (unsigned i = 0; i < 50; i++)
		put(frame, sizeof(frame), NULL);
	CHECK(read_back() >= 16);
	pcap_free(pcap);
	CHECK_INT(read_back(), 50);
	end();
}

TEST(full_disk_costs_frames_alone)
{
	const struct rlimit small = { 100000, RLIM_INFINITY }, none = { RLIM_INFINITY, RLIM_INFINITY };
	static uint8_t frame[30000];
	int frames;

	signal(SIGXFSZ, SIG_IGN);
	begin();
	put(frame, sizeof(frame), NULL);
	rig_run_ms(&rig, 1100);
	setrlimit(RLIMIT_FSIZE, &small);
	for (unsigned i = 0; i < 40; i++)
		put(frame, sizeof(frame), NULL);
	frames = read_back();
	CHECK(frames >= 1 && frames < 10); /* whole all the time */
	setrlimit(RLIMIT_FSIZE, &none);
	pcap_free(pcap);
	CHECK(read_back() >= 1);
	end();
}

TEST(what_is_no_file_is_refused)
{
	begin();
	pcap_free(pcap);
	unlink(path);
	CHECK_INT(pcap_new(rig.loop, "/dev/null", &pcap), -EINVAL);
	CHECK_INT(pcap_new(rig.loop, "/nowhere/x", &pcap), -ENOENT);
	CHECK_INT(mkfifo(path, 0600), 0);
	CHECK(pcap_new(rig.loop, path, &pcap) < 0);
	end();
}

TEST(old_file_is_emptied_and_closed_to_others)
{
	struct stat st;
	int fd;

	begin();
	pcap_free(pcap);
	fd = open(path, O_WRONLY | O_TRUNC);
	CHECK_INT(write(fd, "old content, longer than the header of a capture", 48), 48);
	CHECK_INT(fchmod(fd, 0666), 0);
	close(fd);
	CHECK_INT(pcap_new(rig.loop, path, &pcap), 0);
	pcap_free(pcap);
	CHECK_INT(read_back(), 0);
	CHECK(!stat(path, &st));
	CHECK_INT(st.st_mode & 07777, 0600);
	end();
}

int main(void)
{
	RUN(frames_are_as_they_were);
	RUN(sums_are_completed_in_the_file_alone);
	RUN(file_is_written_once_a_second);
	RUN(many_frames_pass_the_buffer);
	RUN(full_disk_costs_frames_alone);
	RUN(what_is_no_file_is_refused);
	RUN(old_file_is_emptied_and_closed_to_others);
	free(file);
	return test_done();
}

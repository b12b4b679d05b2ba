// SPDX-License-Identifier: Apache-2.0
/*
 * test_disk: real files through both engines, and with a fake engine what follows from each result a step can have.
 */
#define _GNU_SOURCE
#include "devices/disk.h"

#include "lib/util.h"
#include "tests/unit/disk_fake.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { IMAGE_BYTES = 4 << 20, WAIT_MS = 20000 };

static struct loop *loop;
static char dir[64], path[96], why[256];
static unsigned batches;

/* A request and what became of it. */
struct job {
	struct disk_request request;
	int err;
	unsigned calls, order;
};
static unsigned finished;

static void job_done(struct disk_request *request, int err)
{
	struct job *job = CONTAINER_OF(request, struct job, request);

	job->err = err;
	job->calls++;
	job->order = finished++;
}

static void count_batch(void *ctx)
{
	(void)ctx;
	batches++;
}

static void job_start(struct job *job, struct disk *disk, enum disk_op op, uint64_t offset, uint64_t bytes)
{
	job->request.op = op;
	job->request.offset = offset;
	job->request.bytes = bytes;
	job->request.done = job_done;
	job->err = 1;
	job->calls = 0;
	disk_submit(disk, &job->request);
}

static int job_wait(struct job *job, struct disk *disk)
{
	CHECK(disk_drain(disk, false, WAIT_MS));
	CHECK_INT(job->calls, 1);
	return job->err;
}

static int move(struct disk *disk, enum disk_op op, uint64_t offset, void *at, size_t bytes)
{
	struct iovec iov = {at, bytes};
	struct job job = {.request = {.iov = &iov, .iov_count = 1}};

	job_start(&job, disk, op, offset, bytes);
	return job_wait(&job, disk);
}

static int plain(struct disk *disk, enum disk_op op, uint64_t offset, uint64_t bytes, bool unmap)
{
	struct job job = {.request = {.unmap = unmap}};

	job_start(&job, disk, op, offset, bytes);
	return job_wait(&job, disk);
}

static void image_make(size_t bytes)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

	if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0)
		abort();
	close(fd);
	why[0] = 0;
}

static struct disk *image_open(enum disk_engine_kind engine, enum disk_cache cache, bool read_only)
{
	struct disk_config config = {.path = path, .read_only = read_only, .cache = cache, .engine = engine};

	return disk_open(loop, &config, why, sizeof(why));
}

static void fill(uint8_t *at, size_t bytes, unsigned seed)
{
	for (size_t i = 0; i < bytes; i++)
		at[i] = (uint8_t)(seed += 37 + (unsigned)(i >> 9));
}

/* ---- opening ---- */

TEST(what_is_no_disk_is_refused)
{
	char expected[200];

	unlink(path);
	CHECK(!image_open(DISK_ENGINE_ANY, DISK_WRITEBACK, false));
	snprintf(expected, sizeof(expected), "%s: No such file or directory", path);
	CHECK_STR(why, expected);

	image_make(IMAGE_BYTES + 513);
	CHECK(!image_open(DISK_ENGINE_ANY, DISK_WRITEBACK, false));
	snprintf(expected, sizeof(expected), "%s is %d bytes long, no multiple of 512: no raw disk image, or cut off", path,
		 IMAGE_BYTES + 513);
	CHECK_STR(why, expected);

	image_make(0);
	CHECK(!image_open(DISK_ENGINE_ANY, DISK_WRITEBACK, false));
	snprintf(expected, sizeof(expected), "%s is empty: no disk image", path);
	CHECK_STR(why, expected);

	unlink(path);
	if (mkdir(path, 0700) < 0)
		abort();
	CHECK(!image_open(DISK_ENGINE_ANY, DISK_WRITEBACK, true));
	snprintf(expected, sizeof(expected), "%s is neither a regular file nor a block device", path);
	CHECK_STR(why, expected);
	rmdir(path);
}

TEST(one_writes_or_many_read)
{
	struct disk *first, *second;

	image_make(IMAGE_BYTES);
	first = image_open(DISK_ENGINE_ANY, DISK_WRITEBACK, false);
	CHECK(first && !image_open(DISK_ENGINE_ANY, DISK_WRITEBACK, false));
	CHECK(strstr(why, path) && strstr(why, "in use"));
	CHECK(!image_open(DISK_ENGINE_ANY, DISK_WRITEBACK, true));
	disk_close(first);
	first = image_open(DISK_ENGINE_ANY, DISK_WRITEBACK, true);
	second = image_open(DISK_ENGINE_ANY, DISK_WRITEBACK, true);
	CHECK(first && second);
	CHECK(!image_open(DISK_ENGINE_ANY, DISK_WRITEBACK, false));
	disk_close(first);
	disk_close(second);
	first = image_open(DISK_ENGINE_ANY, DISK_WRITEBACK, false);
	CHECK(first);
	disk_close(first);
}

/* ---- both engines on a real file ---- */

static bool engine_there(enum disk_engine_kind kind)
{
	struct disk *disk;

	image_make(IMAGE_BYTES);
	disk = image_open(kind, DISK_WRITEBACK, false);
	if (disk)
		CHECK_STR(disk_engine_name(disk), kind == DISK_ENGINE_URING ? "io_uring" : "threads");
	disk_close(disk);
	return disk;
}

static void try_round_trip(enum disk_engine_kind kind, enum disk_cache cache)
{
	static uint8_t data[300000 / 512 * 512], back[sizeof(data)];
	struct iovec iov[3] = {{data, 1}, {data + 1, 70000}, {data + 70001, sizeof(data) - 70001}};
	struct job job = {.request = {.iov = iov, .iov_count = 3}};
	struct disk *disk;

	image_make(IMAGE_BYTES);
	disk = image_open(kind, cache, false);
	if (!CHECK(disk))
		return;
	CHECK_INT(disk_bytes(disk), IMAGE_BYTES);
	fill(data, sizeof(data), 1);
	job_start(&job, disk, DISK_WRITE, 512, sizeof(data));
	CHECK_INT(job_wait(&job, disk), 0);
	CHECK_INT(plain(disk, DISK_FLUSH, 0, 0, false), 0);
	CHECK_INT(move(disk, DISK_READ, 512, back, sizeof(back)), 0);
	CHECK_MEM(data, back, sizeof(data));
	CHECK_INT(move(disk, DISK_READ, IMAGE_BYTES - 512, back, 512), 0);
	CHECK_INT(back[0] | back[511], 0);
	disk_close(disk);
}

static void try_many_at_once(enum disk_engine_kind kind)
{
	static uint8_t data[DISK_REQUESTS_MAX][512], back[512];
	static struct job jobs[DISK_REQUESTS_MAX];
	static struct iovec iov[DISK_REQUESTS_MAX];
	struct disk *disk;

	image_make(IMAGE_BYTES);
	disk = image_open(kind, DISK_WRITEBACK, false);
	disk_batch_set(disk, count_batch, NULL);
	batches = 0;
	for (unsigned i = 0; i < DISK_REQUESTS_MAX; i++) {
		fill(data[i], 512, i);
		iov[i] = (struct iovec){data[i], 512};
		jobs[i].request = (struct disk_request){.iov = &iov[i], .iov_count = 1};
		job_start(&jobs[i], disk, DISK_WRITE, 1024 * i, 512);
	}
	CHECK_INT(disk_in_flight(disk), DISK_REQUESTS_MAX);
	CHECK(disk_drain(disk, false, WAIT_MS));
	CHECK_INT(disk_in_flight(disk), 0);
	/* Many completions are one wake; how many exactly is the kernel's and the scheduler's business. */
	CHECK(batches >= 1 && batches < DISK_REQUESTS_MAX / 2);
	for (unsigned i = 0; i < DISK_REQUESTS_MAX; i++) {
		CHECK_INT(jobs[i].err | (int)(jobs[i].calls != 1), 0);
		CHECK_INT(move(disk, DISK_READ, 1024 * i, back, 512), 0);
		CHECK_MEM(back, data[i], 512);
	}
	disk_close(disk);
}

static uint64_t blocks_used(void)
{
	struct stat st;

	if (stat(path, &st) < 0)
		abort();
	return (uint64_t)st.st_blocks * 512;
}

static void try_ranges(enum disk_engine_kind kind)
{
	static uint8_t data[1 << 20], back[1 << 20];
	struct disk *disk;
	uint64_t used;

	image_make(IMAGE_BYTES);
	disk = image_open(kind, DISK_WRITETHROUGH, false);
	CHECK(disk_is_durable(disk));
	memset(data, 0xaa, sizeof(data));
	CHECK_INT(move(disk, DISK_WRITE, 0, data, sizeof(data)), 0);
	used = blocks_used();
	CHECK(used >= sizeof(data));
	/* Zeroes that keep their space, from mid-block to mid-block. */
	CHECK_INT(plain(disk, DISK_ZERO, 512, 100 * 512, false), 0);
	CHECK_INT(blocks_used(), used);
	CHECK_INT(move(disk, DISK_READ, 0, back, sizeof(back)), 0);
	CHECK_INT(back[511], 0xaa);
	CHECK_INT(back[512] | back[101 * 512 - 1], 0);
	CHECK_INT(back[101 * 512], 0xaa);
	/* Zeroes that need not, and a discard. */
	CHECK_INT(plain(disk, DISK_ZERO, 256 << 10, 256 << 10, true), 0);
	CHECK_INT(plain(disk, DISK_DISCARD, 512 << 10, 256 << 10, false), 0);
	CHECK_INT(move(disk, DISK_READ, 0, back, sizeof(back)), 0);
	CHECK_INT(back[(256 << 10) - 1] & back[768 << 10], 0xaa);
	CHECK_INT(back[256 << 10] | back[(512 << 10) - 1], 0);
	CHECK(blocks_used() <= used - (256 << 10));
	CHECK_INT(disk_bytes(disk), IMAGE_BYTES);
	CHECK_INT(disk_refresh(disk), 0);
	CHECK_INT(disk_bytes(disk), IMAGE_BYTES);
	disk_close(disk);
}

static void try_refusals(enum disk_engine_kind kind)
{
	static uint8_t data[4096];
	struct disk *disk;

	image_make(IMAGE_BYTES);
	disk = image_open(kind, DISK_WRITEBACK, true);
	CHECK(disk_read_only(disk));
	CHECK_INT(move(disk, DISK_READ, IMAGE_BYTES - 4096, data, 4096), 0);
	CHECK_INT(move(disk, DISK_READ, IMAGE_BYTES - 512, data, 1024), -EINVAL);
	CHECK_INT(move(disk, DISK_READ, UINT64_MAX - 511, data, 1024), -EINVAL);
	CHECK_INT(move(disk, DISK_READ, 1, data, 512), -EINVAL);
	CHECK_INT(move(disk, DISK_READ, 0, data, 511), -EINVAL);
	CHECK_INT(move(disk, DISK_WRITE, 0, data, 512), -EINVAL);
	CHECK_INT(plain(disk, DISK_DISCARD, 0, 512, false), -EINVAL);
	CHECK_INT(plain(disk, DISK_ZERO, 0, 512, true), -EINVAL);
	CHECK_INT(plain(disk, DISK_FLUSH, 0, 0, false), 0);
	/* A file that became shorter is an error, not old or made-up data. */
	if (truncate(path, IMAGE_BYTES / 2) < 0)
		abort();
	CHECK_INT(move(disk, DISK_READ, IMAGE_BYTES - 4096, data, 4096), -EIO);
	CHECK_INT(move(disk, DISK_READ, IMAGE_BYTES / 2 - 512, data, 1024), -EIO);
	CHECK_INT(disk_refresh(disk), 0);
	CHECK_INT(disk_bytes(disk), IMAGE_BYTES / 2);
	disk_close(disk);
}

/* By the loop alone, as in podvm. */
static void try_by_the_loop(enum disk_engine_kind kind)
{
	struct loop_timer timer = {.fn = (void (*)(void *))loop_stop, .ctx = loop};
	static uint8_t data[8192];
	struct iovec iov = {data, sizeof(data)};
	struct job job = {.request = {.iov = &iov, .iov_count = 1}};
	struct disk *disk;

	image_make(IMAGE_BYTES);
	disk = image_open(kind, DISK_WRITEBACK, false);
	disk_batch_set(disk, (void (*)(void *))loop_stop, loop);
	job_start(&job, disk, DISK_READ, 4096, sizeof(data));
	CHECK_INT(job.calls, 0); /* never from disk_submit() */
	if (!disk_go(disk)) { /* else the host had it at hand */
		CHECK_INT(job.calls, 0);
		loop_timer_set(loop, &timer, clock_mono_ns() + (uint64_t)WAIT_MS * 1000000);
		loop_run(loop);
		loop_timer_cancel(loop, &timer);
	}
	CHECK_INT(job.calls, 1);
	CHECK_INT(job.err, 0);
	disk_close(disk);
}

/*
 * After many reads that the page cache answers the kernel need not tell of any (disk_uring.c): what then takes its time,
 * a sync, is told of all the same.
 */
static void try_sync_after_cached_reads(enum disk_engine_kind kind)
{
	static uint8_t data[4096];
	struct disk *disk;

	image_make(IMAGE_BYTES);
	disk = image_open(kind, DISK_WRITEBACK, false);
	for (unsigned i = 0; i < 20; i++) {
		uint64_t before_ns = clock_mono_ns();

		for (unsigned j = 0; j < 20; j++)
			CHECK_INT(move(disk, DISK_READ, 4096 * j, data, sizeof(data)), 0);
		CHECK_INT(move(disk, DISK_WRITE, 4096 * (i % 8), data, sizeof(data)), 0);
		CHECK_INT(move(disk, DISK_FLUSH, 0, NULL, 0), 0);
		CHECK(clock_mono_ns() - before_ns < (uint64_t)WAIT_MS / 2 * 1000000); /* not found by the end of a wait */
	}
	disk_close(disk);
}

static void try_close_with_work(enum disk_engine_kind kind)
{
	static uint8_t data[64][4096];
	static struct job jobs[64];
	static struct iovec iov[64];
	struct disk *disk;

	image_make(IMAGE_BYTES);
	disk = image_open(kind, DISK_WRITETHROUGH, false);
	for (unsigned i = 0; i < 64; i++) {
		iov[i] = (struct iovec){data[i], 4096};
		jobs[i].request = (struct disk_request){.iov = &iov[i], .iov_count = 1};
		job_start(&jobs[i], disk, DISK_WRITE, 4096 * i, 4096);
	}
	disk_go(disk);
	disk_drain(disk, true, WAIT_MS);
	CHECK_INT(disk_in_flight(disk), 0);
	for (unsigned i = 0; i < 64; i++)
		CHECK(jobs[i].calls == 1 && (jobs[i].err == 0 || jobs[i].err == -ECANCELED));
	/* After that it works as before. */
	CHECK_INT(move(disk, DISK_READ, 0, data[0], 4096), 0);
	for (unsigned i = 0; i < 64; i++) {
		iov[i] = (struct iovec){data[i], 4096};
		jobs[i].request = (struct disk_request){.iov = &iov[i], .iov_count = 1};
		job_start(&jobs[i], disk, DISK_WRITE, 4096 * i, 4096);
	}
	disk_close(disk);
	for (unsigned i = 0; i < 64; i++)
		CHECK(jobs[i].calls == 1 && jobs[i].err == 0);
}

static void try_all(enum disk_engine_kind kind)
{
	try_round_trip(kind, DISK_WRITEBACK);
	try_round_trip(kind, DISK_WRITETHROUGH);
	try_round_trip(kind, DISK_UNSAFE);
	try_many_at_once(kind);
	try_ranges(kind);
	try_refusals(kind);
	try_by_the_loop(kind);
	try_sync_after_cached_reads(kind);
	try_close_with_work(kind);
}

TEST(threads_do_it_all)
{
	CHECK(engine_there(DISK_ENGINE_THREADS));
	try_all(DISK_ENGINE_THREADS);
}

TEST(io_uring_does_it_all)
{
	if (!engine_there(DISK_ENGINE_URING))
		SKIP("this kernel has or allows no io_uring");
	try_all(DISK_ENGINE_URING);
}

/* From now on the kernel answers io_uring_setup() with an error. */
static bool uring_forbid(int err)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)err),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog program = {.len = ARRAY_SIZE(code), .filter = code};

	return !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) && !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

/* What the child found: 0 good, 77 no filter to be had, else bad. */
static int child_without_uring(int err)
{
	uint8_t data[512];
	struct disk *disk;

	if (!uring_forbid(err))
		return 77;
	disk = image_open(DISK_ENGINE_ANY, DISK_WRITEBACK, false);
	if (!disk || strcmp(disk_engine_name(disk), "threads") != 0)
		return 1;
	if (move(disk, DISK_READ, 0, data, sizeof(data)))
		return 2;
	disk_close(disk);
	return !image_open(DISK_ENGINE_URING, DISK_WRITEBACK, false) && strstr(why, "no io_uring") ? 0 : 3;
}

TEST(threads_where_io_uring_is_refused)
{
	static const int errors[] = {EPERM, ENOSYS, ENOMEM};

	image_make(IMAGE_BYTES);
	for (unsigned i = 0; i < ARRAY_SIZE(errors); i++) {
		pid_t pid = fork();
		int status;

		if (pid == 0)
			_exit(child_without_uring(errors[i]));
		if (pid < 0 || waitpid(pid, &status, 0) < 0)
			abort();
		if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
			SKIP("this kernel has or allows no seccomp filter");
		CHECK_INT(status, 0);
	}
}

/* Buffers off by one byte, which O_DIRECT does not take, and good ones. */
TEST(past_the_page_cache)
{
	static uint8_t data[200000 / 4096 * 4096 + 1] __attribute__((aligned(4096))), back[sizeof(data)];
	struct disk *disk;

	image_make(IMAGE_BYTES);
	disk = image_open(DISK_ENGINE_ANY, DISK_NONE, false);
	if (!disk) {
		CHECK(strstr(why, "O_DIRECT") && strstr(why, path));
		SKIP("the file system has no O_DIRECT");
	}
	fill(data, sizeof(data), 9);
	CHECK(disk_block_bytes(disk) >= 512 && disk_block_bytes(disk) <= 4096);
	CHECK_INT(move(disk, DISK_WRITE, 4096, data + 1, sizeof(data) - 1), 0);
	CHECK_INT(move(disk, DISK_READ, 4096, back, sizeof(data) - 1), 0);
	CHECK_MEM(back, data + 1, sizeof(data) - 1);
	memset(back, 0, sizeof(back));
	CHECK_INT(move(disk, DISK_READ, 4096, back + 1, sizeof(data) - 1), 0);
	CHECK_MEM(back + 1, data + 1, sizeof(data) - 1);
	CHECK_INT(plain(disk, DISK_ZERO, 0, 8192, false), 0);
	CHECK_INT(plain(disk, DISK_FLUSH, 0, 0, false), 0);
	disk_close(disk);
	disk = image_open(DISK_ENGINE_THREADS, DISK_DIRECTSYNC, false);
	CHECK(disk && disk_is_durable(disk));
	CHECK_INT(move(disk, DISK_READ, 8192, back + 1, 4096), 0);
	CHECK_MEM(back + 1, data + 1 + 4096, 4096);
	CHECK_INT(move(disk, DISK_WRITE, 4096, data + 1, 4096), 0);
	disk_close(disk);
	image_make(IMAGE_BYTES + 512);
	disk = image_open(DISK_ENGINE_ANY, DISK_NONE, false);
	if (disk)
		CHECK_INT(disk_block_bytes(disk), 512);
	else
		CHECK(strstr(why, "no multiple of"));
	disk_close(disk);
}

/* ---- steps, with the fake ---- */

static struct disk_fake *fake;
static struct disk *disk_on_fake;

static struct disk *fake_make(enum disk_cache cache)
{
	struct disk_config config = {.cache = cache};

	disk_on_fake = disk_fake_new(loop, &config, IMAGE_BYTES, &fake);
	return disk_on_fake;
}

TEST(short_moves_go_on)
{
	static uint8_t data[10240], back[10240];
	struct disk *disk = fake_make(DISK_WRITEBACK);
	struct iovec iov[3] = {{data, 100}, {data + 100, 5000}, {data + 5100, 5140}};
	struct job job = {.request = {.iov = iov, .iov_count = 3}};

	fill(data, sizeof(data), 3);
	fake->short_bytes = 777;
	job_start(&job, disk, DISK_WRITE, 1024, sizeof(data));
	CHECK_INT(job_wait(&job, disk), 0);
	CHECK_INT(fake->log_count, (10240 + 776) / 777);
	CHECK_MEM(fake->bytes + 1024, data, sizeof(data));
	CHECK_INT(move(disk, DISK_READ, 1024, back, sizeof(back)), 0);
	CHECK_MEM(back, data, sizeof(data));
	disk_close(disk);
}

TEST(short_moves_by_the_bounce_buffer)
{
	static uint8_t data[3 * 65536 + 1] __attribute__((aligned(4096))), back[sizeof(data)] __attribute__((aligned(4096)));
	struct disk *disk = fake_make(DISK_NONE);
	size_t bytes = sizeof(data) - 1;

	fill(data, sizeof(data), 5);
	fake->short_bytes = 20480;
	CHECK_INT(move(disk, DISK_WRITE, 4096, data + 1, bytes), 0);
	CHECK_MEM(fake->bytes + 4096, data + 1, bytes);
	for (unsigned i = 0; i < fake->log_count; i++)
		CHECK(fake->log[i].bytes <= 65536); /* pieces */
	CHECK_INT(move(disk, DISK_READ, 4096, back + 1, bytes), 0);
	CHECK_MEM(back + 1, data + 1, bytes);
	/* What is aligned goes as it is. */
	fake->short_bytes = 0;
	fake->log_count = 0;
	CHECK_INT(move(disk, DISK_READ, 0, back, 2 * 65536), 0);
	CHECK_INT(fake->log_count, 1);
	disk_close(disk);
}

static bool fail_some(struct disk_fake *self, const struct disk_io *io, int64_t *result)
{
	(void)io;
	if (!self->errors_left)
		return false;
	self->errors_left--;
	*result = -EINTR;
	return true;
}

static bool fail_io(struct disk_fake *self, const struct disk_io *io, int64_t *result)
{
	(void)self;
	(void)io;
	*result = -EIO;
	return true;
}

TEST(interrupted_calls_are_made_again)
{
	static uint8_t data[512];
	struct disk *disk = fake_make(DISK_WRITEBACK);

	fake->decide = fail_some;
	fake->errors_left = 3;
	CHECK_INT(move(disk, DISK_WRITE, 0, data, 512), 0);
	CHECK_INT(fake->log_count, 4);
	fake->errors_left = 2;
	CHECK_INT(plain(disk, DISK_FLUSH, 0, 0, false), 0);
	CHECK_INT(fake->log_count, 7);
	fake->errors_left = UINT32_MAX; /* not for ever */
	CHECK_INT(move(disk, DISK_READ, 0, data, 512), -EINTR);
	disk_close(disk);
}

TEST(errors_are_told)
{
	static uint8_t data[512];
	struct disk *disk = fake_make(DISK_WRITEBACK);

	fake->decide = fail_io;
	CHECK_INT(move(disk, DISK_READ, 0, data, 512), -EIO);
	CHECK_INT(move(disk, DISK_WRITE, 0, data, 512), -EIO);
	CHECK_INT(plain(disk, DISK_FLUSH, 0, 0, false), -EIO);
	CHECK_INT(plain(disk, DISK_ZERO, 0, 512, true), -EIO);
	CHECK_INT(plain(disk, DISK_DISCARD, 0, 512, false), -EIO);
	disk_close(disk);
}

/* What must last is written so, and ranges are followed by a sync; unsafe does neither. */
TEST(modes_make_writes_last)
{
	static uint8_t data[512];
	struct disk *disk = fake_make(DISK_WRITETHROUGH);

	CHECK_INT(move(disk, DISK_WRITE, 0, data, 512), 0);
	CHECK_INT(fake->log[0].flags, RWF_DSYNC);
	CHECK_INT(plain(disk, DISK_ZERO, 0, 512, false), 0);
	CHECK_INT(fake->log[1].op, DISK_IO_FALLOCATE);
	CHECK_INT(fake->log[1].flags, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE);
	CHECK_INT(fake->log[2].op, DISK_IO_SYNC);
	CHECK_INT(fake->log_count, 3);
	disk_close(disk);

	disk = fake_make(DISK_WRITEBACK);
	CHECK(!disk_is_durable(disk));
	CHECK_INT(move(disk, DISK_WRITE, 0, data, 512), 0);
	CHECK_INT(fake->log[0].flags, 0);
	CHECK_INT(plain(disk, DISK_ZERO, 0, 512, true), 0);
	CHECK_INT(fake->log[1].flags, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
	CHECK_INT(plain(disk, DISK_FLUSH, 0, 0, false), 0);
	CHECK_INT(fake->log[2].op, DISK_IO_SYNC);
	CHECK_INT(fake->log_count, 3);
	{
		struct iovec iov = {data, 512};
		struct job job = {.request = {.iov = &iov, .iov_count = 1, .durable = true}};

		job_start(&job, disk, DISK_WRITE, 0, 512);
		CHECK_INT(job_wait(&job, disk), 0);
		CHECK_INT(fake->log[3].flags, RWF_DSYNC);
	}
	disk_close(disk);

	disk = fake_make(DISK_UNSAFE);
	CHECK_INT(plain(disk, DISK_FLUSH, 0, 0, false), 0);
	CHECK_INT(fake->log_count, 0);
	disk_close(disk);
}

static bool no_fallocate(struct disk_fake *self, const struct disk_io *io, int64_t *result)
{
	(void)self;
	*result = -EOPNOTSUPP;
	return io->op == DISK_IO_FALLOCATE;
}

TEST(file_systems_without_fallocate)
{
	static uint8_t data[200 << 10];
	struct disk *disk = fake_make(DISK_WRITETHROUGH);

	memset(fake->bytes, 0xaa, IMAGE_BYTES);
	fake->decide = no_fallocate;
	CHECK_INT(plain(disk, DISK_ZERO, 1024, sizeof(data), true), 0);
	/* Both ways were tried, then four pieces written, each so that it lasts. */
	CHECK_INT(fake->log_count, 6);
	CHECK_INT(fake->log[2].op, DISK_IO_WRITE);
	CHECK_INT(fake->log[5].flags, RWF_DSYNC);
	CHECK_MEM(fake->bytes + 1024, data, sizeof(data));
	CHECK_INT(fake->bytes[1023] & fake->bytes[1024 + sizeof(data)], 0xaa);
	/* From now on they are not tried, and a discard does nothing. */
	CHECK_INT(plain(disk, DISK_DISCARD, 0, 512, false), 0);
	CHECK_INT(fake->log_count, 6);
	CHECK_INT(plain(disk, DISK_ZERO, 0, 512, false), 0);
	CHECK_INT(fake->log_count, 7);
	disk_close(disk);
}

TEST(slow_disks_are_given_up)
{
	static uint8_t data[512];
	struct iovec iov = {data, 512};
	struct job job = {.request = {.iov = &iov, .iov_count = 1}};
	struct disk *disk = fake_make(DISK_WRITEBACK);
	uint64_t before_ns;

	fake->hold = fake->ignore_cancel = true;
	job_start(&job, disk, DISK_READ, 0, 512);
	before_ns = clock_mono_ns();
	CHECK(!disk_drain(disk, true, 50));
	CHECK((clock_mono_ns() - before_ns) / 1000000 >= 50);
	CHECK_INT(job.calls, 0);
	CHECK_INT(fake->cancels, 1);
	/* It comes home later, carried out but given up: its data nobody asks for. */
	fake->ignore_cancel = false;
	disk_fake_release(fake);
	CHECK(disk_drain(disk, false, 50));
	CHECK_INT(job.calls, 1);
	CHECK_INT(job.err, -ECANCELED);
	fake->hold = false;
	CHECK_INT(move(disk, DISK_READ, 0, data, 512), 0);
	disk_close(disk);
}

TEST(order_is_free)
{
	static uint8_t data[2][512];
	struct iovec iov[2] = {{data[0], 512}, {data[1], 512}};
	struct job jobs[2] = {{.request = {.iov = &iov[0], .iov_count = 1}}, {.request = {.iov = &iov[1], .iov_count = 1}}};
	struct disk *disk = fake_make(DISK_WRITEBACK);

	fake->hold = true;
	job_start(&jobs[0], disk, DISK_READ, 0, 512);
	job_start(&jobs[1], disk, DISK_READ, 512, 512);
	disk_go(disk);
	disk_fake_release_newest(fake);
	disk_drain(disk, false, 0);
	CHECK_INT(jobs[0].calls, 0);
	CHECK_INT(jobs[1].calls, 1);
	disk_fake_release(fake);
	CHECK(disk_drain(disk, false, 0));
	CHECK_INT(jobs[0].calls, 1);
	disk_close(disk);
}

int main(void)
{
	snprintf(dir, sizeof(dir), "/tmp/test_disk.XXXXXX");
	if (!mkdtemp(dir))
		abort();
	snprintf(path, sizeof(path), "%s/image", dir);
	loop = loop_new();
	RUN(what_is_no_disk_is_refused);
	RUN(one_writes_or_many_read);
	RUN(threads_do_it_all);
	RUN(io_uring_does_it_all);
	RUN(threads_where_io_uring_is_refused);
	RUN(past_the_page_cache);
	RUN(short_moves_go_on);
	RUN(short_moves_by_the_bounce_buffer);
	RUN(interrupted_calls_are_made_again);
	RUN(errors_are_told);
	RUN(modes_make_writes_last);
	RUN(file_systems_without_fallocate);
	RUN(slow_disks_are_given_up);
	RUN(order_is_free);
	loop_free(loop);
	unlink(path);
	rmdir(dir);
	return test_done();
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_fs: devices/fs.c from the driver's side: config space, both queues, and chains that are no requests. What the
 * requests mean is tested in test_fuse.c.
 */
#include "devices/fs.h"

#include "lib/util.h"
#include "tests/unit/ring.h"
#include "tests/unit/test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static struct rig rig;
static struct fs *fs;
static struct ring *hiprio = &rig.rings[0], *requests = &rig.rings[1];
static char dir[] = "/tmp/test_fs.XXXXXX";

static struct {
	struct fuse_out_header head;
	uint8_t body[4096];
} reply;

static void begin(uint64_t features)
{
	strcpy(dir + sizeof(dir) - 7, "XXXXXX");
	CHECK(mkdtemp(dir));
	rig_init(&rig);
	fs = fs_new(&rig.env, "tag");
	CHECK_INT(fs_share_add(fs, "share", dir, false), 0);
	CHECK(rig_start(&rig, fs_dev(fs), features));
}

static void end(void)
{
	fs_free(fs);
	rig_fini(&rig);
	rmdir(dir);
}

/* Puts a request of header and arguments into one buffer, or into pieces of 7 bytes. */
static void post(struct ring *ring, uint32_t opcode, uint64_t nodeid, const void *args, size_t bytes, size_t room,
		 bool in_pieces)
{
	struct fuse_in_header head = {
		.len = (uint32_t)(sizeof(head) + bytes), .opcode = opcode, .unique = 77, .nodeid = nodeid};
	uint64_t gpa = rig_alloc(&rig, sizeof(head) + bytes);
	struct ring_buf out[64], in[2];
	unsigned out_count = 0, in_count = 0;
	size_t at, piece;

	memcpy(rig_at(&rig, gpa), &head, sizeof(head));
	if (bytes)
		memcpy((uint8_t *)rig_at(&rig, gpa) + sizeof(head), args, bytes);
	for (at = 0; at < head.len; at += piece) {
		piece = in_pieces ? MIN(7, head.len - at) : head.len;
		out[out_count++] = (struct ring_buf){gpa + at, (uint32_t)piece};
	}
	if (room > 10)
		in[in_count++] = (struct ring_buf){rig_alloc(&rig, 10), 10};
	if (room)
		in[in_count++] = (struct ring_buf){rig_alloc(&rig, room), (uint32_t)(room > 10 ? room - 10 : room)};
	if (in_pieces && rig.dev->driver_features & RIG_F_INDIRECT_DESC)
		ring_add_indirect(ring, out, out_count, in, in_count);
	else
		ring_add(ring, out, out_count, in, in_count);
}

/* The reply's status, 1 when the chain did not come back, 2 when it did empty. */
static int take(struct ring *ring)
{
	int64_t bytes;

	memset(&reply, 0, sizeof(reply));
	bytes = ring_take(ring, &reply, sizeof(reply));
	if (bytes <= 0)
		return bytes ? 1 : 2;
	CHECK_INT(bytes, reply.head.len);
	CHECK_INT(reply.head.unique, 77);
	return reply.head.error;
}

static uint64_t look_up_share(bool in_pieces)
{
	uint64_t node;

	post(requests, FUSE_LOOKUP, FUSE_ROOT_ID, "share", 6, 1000, in_pieces);
	ring_kick(requests);
	CHECK_INT(take(requests), 0);
	memcpy(&node, reply.body, sizeof(node));
	return node;
}

/* A name's node. The request's memory is given back. */
static uint64_t look_up(uint64_t node, const char *name)
{
	rig_alloc_reset(&rig);
	post(requests, FUSE_LOOKUP, node, name, strlen(name) + 1, 1000, false);
	ring_kick(requests);
	CHECK_INT(take(requests), 0);
	memcpy(&node, reply.body, sizeof(node));
	return node;
}

static bool is_broken(void)
{
	return rig_read(&rig, RIG_REG_STATUS) & RIG_NEEDS_RESET;
}

TEST(config_names_tag_and_queues)
{
	char tag[36 + 1] = "";
	unsigned i;

	begin(0);
	for (i = 0; i < 36; i += 4) {
		uint32_t word = rig_read(&rig, RIG_REG_CONFIG + i);

		memcpy(tag + i, &word, sizeof(word));
	}
	CHECK_STR(tag, "tag");
	CHECK_INT(rig_read(&rig, RIG_REG_CONFIG + 36), 1);
	CHECK_INT(rig_read(&rig, RIG_REG_DEVICE_ID), 26);
	end();
}

TEST(requests_are_answered)
{
	struct fuse_getattr_in in = {0};
	uint64_t node;
	unsigned irqs;

	begin(RIG_F_INDIRECT_DESC);
	irqs = rig.irqs;
	node = look_up_share(false);
	CHECK_INT(rig.irqs, irqs + 1);
	CHECK_INT(look_up_share(true), node);
	post(requests, FUSE_GETATTR, node, &in, sizeof(in), 200, true);
	post(requests, FUSE_GETATTR, node, &in, sizeof(in), 200, true);
	ring_kick(requests);
	CHECK_INT(take(requests), 0);
	CHECK_INT(take(requests), 0);
	CHECK_INT(take(requests), 1);
	/* too little room for the answer, enough to say so */
	post(requests, FUSE_GETATTR, node, &in, sizeof(in), 50, false);
	ring_kick(requests);
	CHECK_INT(take(requests), -EINVAL);
	CHECK(!is_broken());
	end();
}

TEST(forgets_come_back_empty)
{
	struct fuse_forget_in in = {1};
	struct fuse_getattr_in get = {0};
	uint64_t node;

	begin(0);
	node = look_up_share(false);
	post(hiprio, FUSE_FORGET, node, &in, sizeof(in), 0, false);
	ring_kick(hiprio);
	CHECK_INT(take(hiprio), 2);
	post(requests, FUSE_GETATTR, node, &get, sizeof(get), 200, false);
	ring_kick(requests);
	CHECK_INT(take(requests), -ESTALE);
	end();
}

TEST(chains_that_are_no_requests)
{
	struct fuse_getattr_in in = {0};

	/* shorter than a header; the chain comes back all the same */
	begin(0);
	ring_send(requests, "short", 5);
	CHECK_INT(take(requests), 2);
	CHECK(is_broken());
	CHECK(rig_start(&rig, fs_dev(fs), 0));
	CHECK(!is_broken());
	/* no room for a reply's header */
	post(requests, FUSE_GETATTR, FUSE_ROOT_ID, &in, sizeof(in), 15, false);
	ring_kick(requests);
	CHECK_INT(take(requests), 2);
	CHECK(is_broken());
	CHECK(rig_start(&rig, fs_dev(fs), 0));
	look_up_share(false);
	end();
}

TEST(reset_forgets_the_guest)
{
	struct fuse_getattr_in in = {0};
	uint64_t node;

	begin(0);
	node = look_up_share(false);
	CHECK(rig_start(&rig, fs_dev(fs), 0));
	post(requests, FUSE_GETATTR, node, &in, sizeof(in), 200, false);
	ring_kick(requests);
	CHECK_INT(take(requests), -ESTALE);
	CHECK(look_up_share(false) != node);
	end();
}

/* A driver on another CPU may fill the ring as fast as it is emptied: one kick does one ring's worth. */
TEST(a_full_ring_is_done_in_turns)
{
	struct fuse_forget_in in = {1};
	unsigned i;

	begin(0);
	for (i = 0; i < RING_NUM; i++)
		post(hiprio, FUSE_FORGET, 12345, &in, sizeof(in), 0, false);
	ring_kick(hiprio);
	rig_turn(&rig);
	for (i = 0; i < RING_NUM; i++)
		CHECK_INT(take(hiprio), 2);
	CHECK_INT(take(hiprio), 1);
	end();
}

/* What the driver has offered and the device not yet looked at is in the rings, and they are in memory. */
TEST(state_moves_with_requests_waiting)
{
	struct fuse_init_in init = {.major = 7, .minor = 38, .flags = FUSE_ASYNC_READ};
	struct fuse_forget_in forget = {1};
	struct fs_state state, bad;
	struct fs *old;
	uint64_t node;

	begin(RIG_F_INDIRECT_DESC);
	CHECK_INT(fs_save(fs, &state), 0);
	CHECK_INT(state.fuse.minor, 0);
	post(requests, FUSE_INIT, 0, &init, sizeof(init), 200, false);
	ring_kick(requests);
	CHECK_INT(take(requests), 0);
	node = look_up_share(false);
	CHECK_INT(fs_save(fs, &state), -EBUSY);
	post(hiprio, FUSE_FORGET, node, &forget, sizeof(forget), 0, false);
	ring_kick(hiprio);
	CHECK_INT(take(hiprio), 2);
	/* two requests wait, nobody kicked */
	post(requests, FUSE_LOOKUP, FUSE_ROOT_ID, "share", 6, 1000, false);
	post(requests, FUSE_LOOKUP, FUSE_ROOT_ID, "none", 5, 1000, false);
	CHECK_INT(fs_save(fs, &state), 0);
	CHECK_INT(state.fuse.minor, 38);
	CHECK_INT(state.fuse.flags, FUSE_ASYNC_READ);

	old = fs;
	fs = fs_new(&rig.env, "tag");
	CHECK_INT(fs_share_add(fs, "share", dir, false), 0);
	bad = state;
	bad.fuse.flags = UINT32_MAX;
	CHECK_INT(fs_load(fs, &bad), -EINVAL);
	bad = state;
	bad.fuse.minor = 7;
	CHECK_INT(fs_load(fs, &bad), -EINVAL);
	bad = state;
	bad.virtio.device_id++;
	CHECK_INT(fs_load(fs, &bad), -EINVAL);
	CHECK_INT(fs_save(fs, &bad), 0);
	CHECK_INT(bad.fuse.minor, 0); /* nothing stayed of it */
	CHECK_INT(fs_load(fs, &state), 0);
	fs_free(old);
	rig.dev = fs_dev(fs);
	rig_turn(&rig);
	CHECK_INT(take(requests), 0);
	CHECK_INT(take(requests), -ENOENT);
	end();
}

/* A request that does not end: the fs thread sits in it, here in the interrupt that ends its kick. */
static struct {
	int entered[2], go[2];
} hang;

static void raise_and_hang(void *ctx)
{
	char byte = 'x';

	(void)ctx;
	CHECK_INT(write(hang.entered[1], &byte, 1), 1);
	CHECK_INT(read(hang.go[0], &byte, 1), 1);
}

static void hang_begin(struct loop **loop, struct loop_thread **thread)
{
	strcpy(dir + sizeof(dir) - 7, "XXXXXX");
	CHECK(mkdtemp(dir));
	rig_init(&rig);
	CHECK_INT(pipe(hang.entered) | pipe(hang.go), 0);
	*loop = rig.env.loop = loop_new();
	rig.env.own_loop = true;
	rig.env.irq = (struct irq_line){.raise = raise_and_hang};
	fs = fs_new(&rig.env, "tag");
	CHECK_INT(fs_share_add(fs, "share", dir, false), 0);
	*thread = loop_thread_start(*loop, "test-fs");
	CHECK(rig_start(&rig, fs_dev(fs), 0));
}

TEST(a_hung_request_stops_neither_vcpus_nor_the_end)
{
	struct loop_thread *thread;
	struct loop *loop;
	uint64_t start;
	char byte = 'x';

	hang_begin(&loop, &thread);
	post(requests, FUSE_LOOKUP, FUSE_ROOT_ID, "share", 6, 1000, false);
	loop_lock(loop);
	virtio_kick_again(fs_dev(fs), 1); /* as the ioeventfd's watch does on that thread */
	loop_unlock(loop);
	CHECK_INT(read(hang.entered[0], &byte, 1), 1);
	/* what a vCPU does all the time */
	start = clock_mono_ns();
	CHECK_INT(rig_read(&rig, RIG_REG_STATUS), 15);
	CHECK_INT(rig_read(&rig, RIG_REG_INTERRUPT_STATUS), 1);
	rig_write(&rig, RIG_REG_INTERRUPT_ACK, 1);
	CHECK_INT(rig_read(&rig, RIG_REG_INTERRUPT_STATUS), 0);
	CHECK(clock_mono_ns() - start < 1000000000);
	/* what only a dying guest does has an end, too */
	rig_write(&rig, RIG_REG_STATUS, 0);
	CHECK_INT(rig_read(&rig, RIG_REG_STATUS), 15);
	CHECK(!loop_lock_within(loop, 10));
	CHECK(!loop_thread_stop_within(thread, 10));
	CHECK_INT(write(hang.go[1], &byte, 1), 1);
	CHECK(loop_thread_stop_within(thread, 10000));
	CHECK(loop_lock_within(loop, 10));
	loop_unlock(loop);
	CHECK_INT(take(requests), 0);
	fs_free(fs);
	loop_free(loop);
	for (unsigned i = 0; i < 2; i++) {
		close(hang.entered[i]);
		close(hang.go[i]);
	}
	rig_fini(&rig);
	rmdir(dir);
}

/* What it takes in descriptors, by the limits that the device itself derives from RLIMIT_NOFILE. */
static unsigned open_fds(void)
{
	DIR *list = opendir("/proc/self/fd");
	unsigned count = 0;

	while (readdir(list))
		count++;
	closedir(list);
	return count;
}

TEST(fifty_thousand_files_under_a_thousand_descriptors)
{
	enum { DIRS = 100, FILES = 500, LIMIT = 1024 };
	struct rlimit before, low = {LIMIT, LIMIT};
	struct fuse_open_in open_in = {.flags = O_RDONLY};
	unsigned most = 0, opened = 0, i, at;
	static uint64_t nodes[DIRS];
	char name[32], path[64];
	uint64_t share;
	int ret = 0;

	CHECK_INT(getrlimit(RLIMIT_NOFILE, &before), 0);
	CHECK_INT(setrlimit(RLIMIT_NOFILE, &low), 0);
	begin(0);
	share = look_up_share(false);
	for (i = 0; i < DIRS; i++) {
		snprintf(path, sizeof(path), "%s/d%u", dir, i);
		CHECK_INT(mkdir(path, 0755), 0);
		snprintf(name, sizeof(name), "d%u", i);
		nodes[i] = look_up(share, name);
		for (at = 0; at < FILES; at++) {
			snprintf(path, sizeof(path), "%s/d%u/f%u", dir, i, at);
			CHECK_INT(mknod(path, S_IFREG | 0644, 0), 0);
			snprintf(name, sizeof(name), "f%u", at);
			CHECK(look_up(nodes[i], name));
		}
		most = MAX(most, open_fds());
	}
	/* each of them may be opened; all at a time may not, and that is an error for the guest alone */
	for (at = 0; at < FILES && !ret; at++) {
		snprintf(name, sizeof(name), "f%u", at);
		rig_alloc_reset(&rig);
		post(requests, FUSE_OPEN, look_up(nodes[at % DIRS], name), &open_in, sizeof(open_in), 200, false);
		ring_kick(requests);
		ret = take(requests);
		opened += !ret;
	}
	CHECK_INT(ret, -ENFILE);
	CHECK(opened >= 100);
	most = MAX(most, open_fds());
	CHECK(most <= LIMIT - 200);
	rig_reset(&rig);
	CHECK(open_fds() < 50);
	for (i = 0; i < DIRS; i++) {
		for (at = 0; at < FILES; at++) {
			snprintf(path, sizeof(path), "%s/d%u/f%u", dir, i, at);
			unlink(path);
		}
		snprintf(path, sizeof(path), "%s/d%u", dir, i);
		rmdir(path);
	}
	end();
	setrlimit(RLIMIT_NOFILE, &before); /* an ordinary user can not raise it again; the last test */
}

int main(void)
{
	RUN(config_names_tag_and_queues);
	RUN(requests_are_answered);
	RUN(forgets_come_back_empty);
	RUN(chains_that_are_no_requests);
	RUN(reset_forgets_the_guest);
	RUN(a_full_ring_is_done_in_turns);
	RUN(state_moves_with_requests_waiting);
	RUN(a_hung_request_stops_neither_vcpus_nor_the_end);
	RUN(fifty_thousand_files_under_a_thousand_descriptors);
	return test_done();
}

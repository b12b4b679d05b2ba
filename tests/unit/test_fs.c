/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_fs: devices/fs.c from the driver's side: config space, both queues, and chains that are no requests. What the
 * requests mean is tested in test_fuse.c.
 */
#include "devices/fs.h"

#include "lib/util.h"
#include "tests/unit/ring.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdlib.h>
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

int main(void)
{
	RUN(config_names_tag_and_queues);
	RUN(requests_are_answered);
	RUN(forgets_come_back_empty);
	RUN(chains_that_are_no_requests);
	RUN(reset_forgets_the_guest);
	RUN(a_full_ring_is_done_in_turns);
	return test_done();
}

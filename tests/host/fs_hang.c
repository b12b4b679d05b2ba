/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fs_hang DIR: shares DIR, where tests/e2e/hang_fs.py is mounted, through a whole virtio-fs device on a thread of its
 * own, asks for the file that hangs, and does what podvm does then. Ends with 42 when the device's registers answered
 * meanwhile, the thread could not be stopped in time, and the process ended all the same.
 */
#include "devices/fs.h"
#include "lib/util.h"
#include "tests/unit/ring.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct rig rig;

static void raise_nothing(void *ctx)
{
	(void)ctx;
}

static void post(struct fs *fs, uint32_t opcode, uint64_t node, const void *args, size_t bytes)
{
	struct fuse_in_header head = {.len = (uint32_t)(sizeof(head) + bytes), .opcode = opcode, .nodeid = node};
	struct ring_buf out = {rig_alloc(&rig, head.len), head.len}, in = {rig_alloc(&rig, 1000), 1000};

	memcpy(rig_at(&rig, out.gpa), &head, sizeof(head));
	memcpy((char *)rig_at(&rig, out.gpa) + sizeof(head), args, bytes);
	ring_add(&rig.rings[1], &out, 1, &in, 1);
	loop_lock(rig.env.loop);
	virtio_kick_again(fs_dev(fs), 1);
	loop_unlock(rig.env.loop);
}

static uint64_t take_node(void)
{
	struct {
		struct fuse_out_header head;
		struct fuse_entry_out entry;
	} reply = {.entry.nodeid = 0};

	for (unsigned i = 0; i < 3000 && ring_take(&rig.rings[1], &reply, sizeof(reply)) < 0; i++)
		usleep(1000);
	return reply.entry.nodeid;
}

int main(int argc, char **argv)
{
	struct fuse_open_in open_in = {.flags = O_RDONLY};
	struct loop_thread *thread;
	uint64_t start, share, file;
	struct fs *fs;

	if (argc != 2)
		return 1;
	rig_init(&rig);
	rig.env.loop = loop_new();
	rig.env.own_loop = true;
	rig.env.irq = (struct irq_line){.raise = raise_nothing};
	fs = fs_new(&rig.env, "tag");
	if (fs_share_add(fs, "s", argv[1], false))
		return 2;
	thread = loop_thread_start(rig.env.loop, "podvm-fs");
	if (!rig_start(&rig, fs_dev(fs), 0))
		return 3;
	post(fs, FUSE_LOOKUP, FUSE_ROOT_ID, "s", 2);
	share = take_node();
	post(fs, FUSE_LOOKUP, share, "hang", 5);
	file = take_node();
	if (!share || !file)
		return 4;
	post(fs, FUSE_OPEN, file, &open_in, sizeof(open_in));
	if (take_node()) /* three seconds */
		return 5;
	start = clock_mono_ns();
	rig_write(&rig, RIG_REG_INTERRUPT_ACK, 1);
	if (rig_read(&rig, RIG_REG_STATUS) != 15 || clock_mono_ns() - start > 100000000)
		return 6;
	if (loop_thread_stop_within(thread, 1000))
		return 7;
	return 42;
}

// SPDX-License-Identifier: Apache-2.0
/* driver: an honest virtio driver for the hostile kernel (hostile.h), and what each device does when asked honestly. */
#include "tests/hostile/hostile.h"

/* Cycles to wait for a device: seconds, also where the clock is emulated. */
#define WAIT_CYCLES UINT64_C(6000000000)

struct device devices[DEVICES_MAX];
unsigned device_count;
static struct queue queues[DEVICES_MAX][QUEUES_MAX];

static const struct kind {
	uint32_t id;
	const char *name;
	unsigned work;
} kinds[] = {{ID_NET, "net", 1},   {ID_BLK, "blk", 0}, {ID_RNG, "rng", 0}, {ID_BALLOON, "balloon", 1},
	     {ID_VSOCK, "vsock", 1}, {ID_FS, "fs", 1}};

static void device_add(uint64_t gpa, uint32_t id)
{
	struct device *dev = &devices[device_count];

	*dev = (struct device){.gpa = gpa, .id = id, .name = "another device", .queue = queues[device_count]};
	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (kinds[i].id == id) {
			dev->name = kinds[i].name;
			dev->work = kinds[i].work;
		}
	for (; dev->queues < QUEUES_MAX; dev->queues++) {
		reg_write(dev, REG_QUEUE_SEL, dev->queues);
		if (!reg_read(dev, REG_QUEUE_NUM_MAX))
			break;
	}
	device_count++;
}

void devices_find(void)
{
	for (unsigned slot = 0; slot < MMIO_SLOTS && device_count < DEVICES_MAX; slot++) {
		uint64_t gpa = MMIO_FIRST_GPA + (uint64_t)slot * MMIO_SLOT_BYTES;

		if (mmio_read32(gpa) == 0x74726976 && mmio_read32(gpa + REG_DEVICE_ID))
			device_add(gpa, mmio_read32(gpa + REG_DEVICE_ID));
	}
}

struct device *device_of(uint32_t id)
{
	for (unsigned i = 0; i < device_count; i++)
		if (devices[i].id == id)
			return &devices[i];
	return NULL;
}

void device_reset(struct device *dev)
{
	reg_write(dev, REG_STATUS, 0);
}

bool device_negotiate(struct device *dev, uint64_t features)
{
	features |= F_VERSION_1;
	device_reset(dev);
	reg_write(dev, REG_STATUS, ST_ACKNOWLEDGE);
	reg_write(dev, REG_STATUS, ST_ACKNOWLEDGE | ST_DRIVER);
	reg_write(dev, REG_DRIVER_FEATURES_SEL, 0);
	reg_write(dev, REG_DRIVER_FEATURES, (uint32_t)features);
	reg_write(dev, REG_DRIVER_FEATURES_SEL, 1);
	reg_write(dev, REG_DRIVER_FEATURES, (uint32_t)(features >> 32));
	reg_write(dev, REG_STATUS, ST_ACKNOWLEDGE | ST_DRIVER | ST_FEATURES_OK);
	return reg_read(dev, REG_STATUS) & ST_FEATURES_OK;
}

static void gpa_write(struct device *dev, unsigned reg, uint64_t gpa)
{
	reg_write(dev, reg, (uint32_t)gpa);
	reg_write(dev, reg + 4, (uint32_t)(gpa >> 32));
}

void queue_set(struct device *dev, unsigned queue, uint32_t num, uint64_t desc, uint64_t avail, uint64_t used)
{
	reg_write(dev, REG_QUEUE_SEL, queue);
	reg_write(dev, REG_QUEUE_NUM, num);
	gpa_write(dev, REG_QUEUE_DESC, desc);
	gpa_write(dev, REG_QUEUE_DRIVER, avail);
	gpa_write(dev, REG_QUEUE_DEVICE, used);
	reg_write(dev, REG_QUEUE_READY, 1);
}

static void queue_clean(struct queue *queue)
{
	memset(queue->desc, 0, sizeof(queue->desc));
	memset(&queue->avail, 0, sizeof(queue->avail));
	memset(&queue->used, 0, sizeof(queue->used));
	queue->seen = 0;
}

bool device_start(struct device *dev, uint64_t features)
{
	if (!device_negotiate(dev, features))
		return false;
	for (unsigned i = 0; i < dev->queues; i++) {
		struct queue *queue = &dev->queue[i];

		queue_clean(queue);
		queue_set(dev, i, RING, (uint64_t)queue->desc, (uint64_t)&queue->avail, (uint64_t)&queue->used);
	}
	reg_write(dev, REG_STATUS, ST_ACKNOWLEDGE | ST_DRIVER | ST_FEATURES_OK | ST_DRIVER_OK);
	return reg_read(dev, REG_STATUS) == (ST_ACKNOWLEDGE | ST_DRIVER | ST_FEATURES_OK | ST_DRIVER_OK);
}

void queue_offer(struct queue *queue, uint16_t head)
{
	queue->avail.ring[queue->avail.idx % RING] = head;
	__atomic_store_n(&queue->avail.idx, (uint16_t)(queue->avail.idx + 1), __ATOMIC_RELEASE);
}

void queue_kick(struct device *dev, unsigned queue)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	reg_write(dev, REG_NOTIFY, queue);
}

int64_t queue_wait(struct queue *queue)
{
	uint64_t start = rdtsc();

	while (__atomic_load_n(&queue->used.idx, __ATOMIC_ACQUIRE) == queue->seen) {
		if (rdtsc() - start > WAIT_CYCLES)
			return -1;
		__asm__ volatile("pause");
	}
	return queue->used.ring[queue->seen++ % RING].bytes;
}

void queue_send(struct device *dev, unsigned queue, uint32_t out, uint32_t in)
{
	struct queue *q = &dev->queue[queue];
	unsigned first = out ? 0 : 1;

	q->desc[0] = (struct desc){(uint64_t)q->buffer[0], out, in ? DESC_NEXT : 0, 1};
	q->desc[1] = (struct desc){(uint64_t)q->buffer[1], in, DESC_WRITE, 0};
	queue_offer(q, (uint16_t)first);
	queue_kick(dev, queue);
}

bool device_wait_broken(const struct device *dev)
{
	uint64_t start = rdtsc();

	while (!(reg_read(dev, REG_STATUS) & ST_NEEDS_RESET))
		if (rdtsc() - start > WAIT_CYCLES)
			return false;
	return true;
}

/* ---- honest work ---- */

static bool rng_works(struct device *dev)
{
	const uint8_t *bytes = dev->queue[0].buffer[1];
	unsigned zeros = 0;

	memset(dev->queue[0].buffer[1], 0, 64);
	queue_send(dev, 0, 0, 64);
	if (queue_wait(&dev->queue[0]) != 64)
		return false;
	for (unsigned i = 0; i < 64; i++)
		zeros += !bytes[i];
	return zeros < 32;
}

/* Who has 10.0.2.2? The gateway answers. */
static bool net_works(struct device *dev)
{
	static const uint8_t arp[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1,
				      2,    0,	  0,	0,    0,    1,	  10, 0, 2, 15, 0, 0, 0, 0, 0, 0, 10, 0, 2, 2};
	enum { HEADER = 12, OPCODE = HEADER + 21 };
	uint8_t *frame = dev->queue[1].buffer[0];

	queue_send(dev, 0, 0, 2048);
	memset(frame, 0, HEADER);
	memcpy(frame + HEADER, arp, sizeof(arp));
	queue_send(dev, 1, HEADER + sizeof(arp), 0);
	return queue_wait(&dev->queue[1]) == 0 && queue_wait(&dev->queue[0]) >= (int64_t)(HEADER + sizeof(arp)) &&
	       dev->queue[0].buffer[1][OPCODE] == 2;
}

struct vsock_header {
	uint64_t src_cid, dst_cid;
	uint32_t src_port, dst_port, len;
	uint16_t type, op;
	uint32_t flags, buf_alloc, fwd_cnt;
} __attribute__((packed));

/* A port where nobody listens: the answer is a reset. */
static bool vsock_works(struct device *dev)
{
	struct vsock_header ask = {.src_cid = 3, .dst_cid = 2, .src_port = 5000, .dst_port = 99, .type = 1, .op = 1,
				   .buf_alloc = 4096}, answer;

	queue_send(dev, 0, 0, 2048);
	memcpy(dev->queue[1].buffer[0], &ask, sizeof(ask));
	queue_send(dev, 1, sizeof(ask), 0);
	if (queue_wait(&dev->queue[1]) != 0 || queue_wait(&dev->queue[0]) != sizeof(answer))
		return false;
	memcpy(&answer, dev->queue[0].buffer[1], sizeof(answer));
	return answer.op == 3 && answer.dst_port == 5000 && answer.src_port == 99;
}

struct fuse_init_request {
	uint32_t len, opcode;
	uint64_t unique, nodeid;
	uint32_t uid, gid, pid, padding;
	uint32_t major, minor, max_readahead, flags, flags2, unused[11];
};

/* FUSE_INIT is answered with what fs can do. */
static bool fs_works(struct device *dev)
{
	struct fuse_init_request init = {.len = sizeof(init), .opcode = 26, .unique = 7, .major = 7, .minor = 38};
	struct {
		uint32_t len;
		int32_t error;
		uint64_t unique;
		uint32_t major;
	} answer;

	memcpy(dev->queue[1].buffer[0], &init, sizeof(init));
	queue_send(dev, 1, sizeof(init), 256);
	if (queue_wait(&dev->queue[1]) < (int64_t)sizeof(answer))
		return false;
	memcpy(&answer, dev->queue[1].buffer[1], sizeof(answer));
	return answer.error == 0 && answer.unique == 7 && answer.major == 7;
}

struct blk_header {
	uint32_t type, reserved;
	uint64_t sector;
};

/* The first sector is written with something and read back. */
static bool blk_works(struct device *dev)
{
	enum { SECTOR_BYTES = 512, TYPE_IN = 0, TYPE_OUT = 1 };
	struct queue *queue = &dev->queue[0];
	struct blk_header write = {.type = TYPE_OUT}, read = {.type = TYPE_IN};
	uint8_t *out = queue->buffer[0], *in = queue->buffer[1], mark = (uint8_t)rdtsc();

	memcpy(out, &write, sizeof(write));
	memset(out + sizeof(write), mark, SECTOR_BYTES);
	in[0] = 0xff;
	queue_send(dev, 0, sizeof(write) + SECTOR_BYTES, 1);
	if (queue_wait(queue) != 1 || in[0] != 0)
		return false;
	memcpy(out, &read, sizeof(read));
	in[SECTOR_BYTES] = 0xff;
	queue_send(dev, 0, sizeof(read), SECTOR_BYTES + 1);
	return queue_wait(queue) == SECTOR_BYTES + 1 && in[SECTOR_BYTES] == 0 && in[0] == mark && in[SECTOR_BYTES - 1] == mark;
}

/* The last page of memory, which nobody uses, is given away and taken back. What was in it is lost. */
static bool balloon_works(struct device *dev)
{
	uint32_t pfn = (uint32_t)((ram_end_gpa - 4096) >> 12);

	*(volatile uint64_t *)(ram_end_gpa - 4096) = 1;
	for (unsigned queue = 0; queue < 2; queue++) {
		memcpy(dev->queue[queue].buffer[0], &pfn, sizeof(pfn));
		queue_send(dev, queue, sizeof(pfn), 0);
		if (queue_wait(&dev->queue[queue]) != 0)
			return false;
	}
	return *(volatile uint64_t *)(ram_end_gpa - 4096) == 0;
}

bool device_works(struct device *dev)
{
	if (!device_start(dev, 0))
		return false;
	switch (dev->id) {
	case ID_BLK:
		return blk_works(dev);
	case ID_BALLOON:
		return balloon_works(dev);
	case ID_RNG:
		return rng_works(dev);
	case ID_NET:
		return net_works(dev);
	case ID_VSOCK:
		return vsock_works(dev);
	case ID_FS:
		return fs_works(dev);
	}
	return false;
}

void check_world(struct device *dev, const char *after)
{
	struct device *other = device_of(dev->id == ID_RNG ? ID_VSOCK : ID_RNG);
	bool works = other && device_works(other);
	bool healed = device_works(dev);

	if (!works)
		check(false, "the other device works", after);
	if (!healed)
		check(false, "a reset heals it", after);
	if (works && healed)
		check(true, after, dev->name);
}

// SPDX-License-Identifier: Apache-2.0
/*
 * blk: virtio block device (virtio 1.2, 5.2). One queue. Knows requests and limits; not files.
 *
 * Theory of operation
 * -------------------
 * A request is a header of 16 bytes, data, and one status byte, in buffers cut anywhere (2.7.4): the header is the
 * start of the out part, the status the last byte of the in part, data what lies between. Header and ranges are
 * copied, checked and then only the copy is used; data goes straight between the disk and guest memory. Requests are
 * given back as they are done, in any order.
 *
 * At most as many requests are under way as the ring has entries, whatever a driver offers twice. Then, and when a
 * limit is reached or the device is quiesced, chains stay in the ring: nothing is popped that can not begin at once.
 * A timer, or the next request that is done, goes on.
 *
 * Where vCPU and loop share a CPU, the loop would answer a driver's first request before it can make the second, with
 * an interrupt for each: a queue never becomes as deep as the program's. loop_gather() lets the vCPU go on first. That
 * costs a single request time, and on a busy host everybody, so it is tried now and then for a few kicks, and kept for
 * a while when these brought more requests at a time and also more of them a second.
 *
 * Reset gives up what it can and waits for the rest, at most RESET_MS with the loop's lock held: then the memory is the
 * driver's again. A disk that hangs longer leaves strays. Each request knows the life (generation) it belongs to, so
 * a stray touches no ring when it comes home, and until all have the device serves nothing new.
 *
 * Without FLUSH the driver takes a finished write for lasting (5.2.6.2): then every write is made so.
 */
#define _GNU_SOURCE
#include "devices/blk.h"

#include "devices/bucket.h"
#include "lib/util.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>

enum {
	RESET_MS = 2000,
	INLINE_IOV = 16,
	GOOD_BLOCK_BYTES = 4096, /* what the driver is advised to align to */
	GATHER_TRY = 16,	 /* kicks to see what they bring, without gathering and with it */
	GATHER_STAY = 512,	 /* kicks with it when it is better, */
	GATHER_LEAVE = 256,	 /* without it when it is not, and then the same again */
	STATUS_PENDING = -1,
};

struct blk_request {
	struct disk_request disk;
	struct blk *blk;
	struct blk_request *next; /* while free */
	uint8_t *status;
	uint32_t generation, used_bytes;
	uint16_t head;
	struct iovec *iov_more; /* instead of iov, when that is too short */
	struct iovec iov[INLINE_IOV];
};

/* What some kicks in a row brought. */
struct gather_run {
	unsigned kicks, requests;
	uint64_t begin_ns, end_ns;
};

struct gather {
	enum gather_phase { PHASE_PLAIN, PHASE_TRY, PHASE_STAY, PHASE_LEAVE } phase;
	struct gather_run run, plain; /* this phase's, and PHASE_PLAIN's */
};

struct blk {
	struct virtio_dev dev;
	struct disk *disk;
	struct virtio_blk_config config;
	char serial[BLK_SERIAL_BYTES];
	struct bucket bytes, ops;
	struct loop_timer timer;
	bool quiet, waiting; /* waiting: chains may lie in the ring until a request is done */
	struct gather gather;
	uint32_t generation;
	unsigned in_flight, strays; /* of this generation, of earlier ones */
	struct blk_request *free_requests;
	struct virtq_chain chain;
};

/* ---- requests under way ---- */

static struct blk_request *request_get(struct blk *blk)
{
	struct blk_request *request = blk->free_requests;

	if (request)
		blk->free_requests = request->next;
	else
		request = xmalloc(sizeof(*request));
	*request = (struct blk_request){.blk = blk, .generation = blk->generation};
	return request;
}

static void request_put(struct blk_request *request)
{
	struct blk *blk = request->blk;

	free(request->iov_more);
	request->iov_more = NULL;
	request->next = blk->free_requests;
	blk->free_requests = request;
}

static void request_done(struct disk_request *disk_request, int err)
{
	struct blk_request *request = CONTAINER_OF(disk_request, struct blk_request, disk);
	struct blk *blk = request->blk;

	if (request->generation == blk->generation) {
		blk->in_flight--;
		*request->status = err ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK;
		virtq_push(&blk->dev.queues[0], request->head, request->used_bytes);
	} else if (--blk->strays == 0) {
		blk->waiting = true;
	}
	request_put(request);
}

/* Some are done: one interrupt for all, and room for more. */
static void batch(void *ctx)
{
	struct blk *blk = ctx;

	virtio_interrupt(&blk->dev, 0);
	if (blk->waiting && !blk->quiet)
		virtio_kick(&blk->dev, 0);
}

/* ---- one request ---- */

/* Capacity as the driver knows it, which may be more than the disk has by now; disk.c checks against that. */
static bool range_is_inside(const struct blk *blk, uint64_t sector, uint64_t bytes)
{
	uint64_t sectors = bytes / DISK_SECTOR_BYTES, capacity = le64toh(blk->config.capacity);

	return bytes % DISK_SECTOR_BYTES == 0 && sector <= capacity && sectors <= capacity - sector;
}

static struct blk_request *request_new(struct blk *blk, enum disk_op op, uint64_t sector, uint64_t bytes)
{
	const struct virtq_chain *chain = &blk->chain;
	const struct iovec *last = &chain->iov[chain->out_count + chain->in_count - 1];
	struct blk_request *request = request_get(blk);

	request->head = chain->head;
	request->status = (uint8_t *)last->iov_base + last->iov_len - 1;
	request->used_bytes = (uint32_t)MIN(chain->in_bytes, (uint64_t)UINT32_MAX);
	request->disk = (struct disk_request){
		.op = op,
		.offset = sector * DISK_SECTOR_BYTES,
		.bytes = bytes,
		.durable = !virtio_has(&blk->dev, VIRTIO_BLK_F_FLUSH),
		.done = request_done,
	};
	return request;
}

static int request_start(struct blk_request *request)
{
	request->blk->in_flight++;
	disk_submit(request->blk->disk, &request->disk);
	return STATUS_PENDING;
}

/* The data buffers: of a read without the status byte, which is the last. */
static void data_take(struct blk_request *request, bool in)
{
	const struct virtq_chain *chain = &request->blk->chain;
	unsigned most = in ? chain->in_count : chain->out_count;
	struct iovec *iov = request->iov;

	if (most > INLINE_IOV)
		iov = request->iov_more = xmalloc(most * sizeof(*iov));
	request->disk.iov_count = in ? chain_iov_in(chain, iov, most) : chain_iov_out(chain, iov, most);
	request->disk.iov = iov;
	if (in && --iov[request->disk.iov_count - 1].iov_len == 0)
		request->disk.iov_count--;
}

static int data_move(struct blk *blk, uint64_t sector, bool in)
{
	const struct virtq_chain *chain = &blk->chain;
	uint64_t bytes = in ? chain->in_bytes - 1 : chain->out_bytes - chain->read_bytes;
	struct blk_request *request;

	if (!blk->disk || !range_is_inside(blk, sector, bytes) || (!in && disk_read_only(blk->disk)))
		return VIRTIO_BLK_S_IOERR;
	if (bytes == 0)
		return VIRTIO_BLK_S_OK;
	bucket_take(&blk->bytes, bytes, loop_now_ns(blk->dev.env.loop));
	request = request_new(blk, in ? DISK_READ : DISK_WRITE, sector, bytes);
	data_take(request, in);
	return request_start(request);
}

static int take_in(struct blk *blk, uint64_t sector)
{
	return data_move(blk, sector, true);
}

static int take_out(struct blk *blk, uint64_t sector)
{
	return data_move(blk, sector, false);
}

static int take_flush(struct blk *blk, uint64_t sector)
{
	(void)sector; /* says nothing (5.2.6.1) */
	if (!blk->disk)
		return VIRTIO_BLK_S_IOERR;
	return request_start(request_new(blk, DISK_FLUSH, 0, 0));
}

static int take_id(struct blk *blk, uint64_t sector)
{
	(void)sector;
	chain_write(&blk->chain, blk->serial, (size_t)MIN(blk->chain.in_bytes - 1, sizeof(blk->serial)));
	return VIRTIO_BLK_S_OK;
}

/* One range a request, as config space says. */
static int range_take(struct blk *blk, enum disk_op op)
{
	uint64_t most = op == DISK_ZERO ? BLK_ZERO_BYTES_MAX : BLK_DISCARD_BYTES_MAX, sector, bytes;
	struct virtio_blk_discard_write_zeroes range;
	struct blk_request *request;
	uint32_t flags;

	if (blk->chain.out_bytes - blk->chain.read_bytes != sizeof(range))
		return VIRTIO_BLK_S_IOERR;
	chain_read(&blk->chain, &range, sizeof(range));
	sector = le64toh(range.sector);
	bytes = (uint64_t)le32toh(range.num_sectors) * DISK_SECTOR_BYTES;
	flags = le32toh(range.flags);
	if (flags & ~(uint32_t)VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP || (flags && op == DISK_DISCARD))
		return VIRTIO_BLK_S_UNSUPP;
	if (!blk->disk || disk_read_only(blk->disk) || bytes > most || !range_is_inside(blk, sector, bytes))
		return VIRTIO_BLK_S_IOERR;
	if (op == DISK_ZERO)
		bucket_take(&blk->bytes, bytes, loop_now_ns(blk->dev.env.loop));
	request = request_new(blk, op, sector, bytes);
	request->disk.unmap = flags != 0;
	return request_start(request);
}

static int take_discard(struct blk *blk, uint64_t sector)
{
	(void)sector;
	return range_take(blk, DISK_DISCARD);
}

static int take_zeroes(struct blk *blk, uint64_t sector)
{
	(void)sector;
	return range_take(blk, DISK_ZERO);
}

static const struct {
	uint32_t type;
	int (*take)(struct blk *blk, uint64_t sector); /* a status, or STATUS_PENDING */
} takers[] = {
	{VIRTIO_BLK_T_IN, take_in},
	{VIRTIO_BLK_T_OUT, take_out},
	{VIRTIO_BLK_T_FLUSH, take_flush},
	{VIRTIO_BLK_T_GET_ID, take_id},
	{VIRTIO_BLK_T_DISCARD, take_discard},
	{VIRTIO_BLK_T_WRITE_ZEROES, take_zeroes},
};

static int header_take(struct blk *blk)
{
	struct virtio_blk_outhdr header;

	if (chain_read(&blk->chain, &header, sizeof(header)) != sizeof(header))
		return VIRTIO_BLK_S_IOERR;
	for (unsigned i = 0; i < ARRAY_SIZE(takers); i++)
		if (takers[i].type == le32toh(header.type))
			return takers[i].take(blk, le64toh(header.sector));
	return VIRTIO_BLK_S_UNSUPP;
}

/* The chain in blk->chain: answered now, or under way. */
static void chain_take(struct blk *blk)
{
	struct virtq_chain *chain = &blk->chain;
	uint8_t status;
	int taken;

	if (chain->in_bytes == 0) {
		virtq_push(&blk->dev.queues[0], chain->head, 0);
		virtio_broken(&blk->dev, "a request without room for its status");
		return;
	}
	bucket_take(&blk->ops, 1, loop_now_ns(blk->dev.env.loop));
	taken = header_take(blk);
	if (taken == STATUS_PENDING)
		return;
	status = (uint8_t)taken;
	chain_skip_write(chain, (size_t)(chain->in_bytes - 1 - chain->written_bytes));
	chain_write(chain, &status, sizeof(status));
	virtq_push(&blk->dev.queues[0], chain->head, (uint32_t)MIN(chain->in_bytes, (uint64_t)UINT32_MAX));
}

/* ---- the queue ---- */

/* True when the next chain could begin at once. If not, it is taken care of that somebody asks again. */
static bool may_pop(struct blk *blk)
{
	struct loop *loop = blk->dev.env.loop;
	uint64_t now_ns = loop_now_ns(loop), wait_ns;

	if (blk->quiet || !virtio_running(&blk->dev))
		return false;
	blk->waiting = blk->strays || blk->in_flight >= blk->dev.queues[0].num;
	if (blk->waiting)
		return false;
	wait_ns = MAX(bucket_wait_ns(&blk->bytes, now_ns), bucket_wait_ns(&blk->ops, now_ns));
	if (wait_ns)
		loop_timer_set(loop, &blk->timer, now_ns + wait_ns);
	return wait_ns == 0;
}

/* Takes what may be taken; how many requests that were. */
static unsigned queue_serve(struct blk *blk, unsigned queue)
{
	struct virtio_dev *dev = &blk->dev;
	struct virtq *vq = &dev->queues[queue];
	unsigned budget = vq->num;
	bool may = true;

	do {
		while (budget && (may = may_pop(blk)) && virtio_pop(dev, queue, &blk->chain)) {
			chain_take(blk);
			budget--;
		}
		if (!may || !budget)
			break;
	} while (virtq_kick_enable(vq));
	if (!may)
		virtq_kick_disable(vq);
	else if (!budget)
		virtio_kick_again(dev, queue);
	return vq->num - budget;
}

/* ---- gathering ---- */

static bool phase_gathers(enum gather_phase phase)
{
	return phase == PHASE_TRY || phase == PHASE_STAY;
}

static void gather_phase_set(struct blk *blk, enum gather_phase phase)
{
	struct loop *loop = blk->dev.env.loop;

	if (phase_gathers(phase) != phase_gathers(blk->gather.phase))
		loop_gather(loop, phase_gathers(phase));
	blk->gather.phase = phase;
	blk->gather.run = (struct gather_run){0};
}

/* More requests a kick by half, and more a second by a tenth. */
static bool gather_is_better(const struct gather_run *try, const struct gather_run *plain)
{
	double try_ns = (double)(try->end_ns - try->begin_ns), plain_ns = (double)(plain->end_ns - plain->begin_ns);

	return try->requests * 2 >= plain->requests * 3 && try->requests * plain_ns >= 1.1 * plain->requests * try_ns;
}

static void gather_note(struct blk *blk, unsigned requests)
{
	static const unsigned phase_kicks[] = {[PHASE_PLAIN] = GATHER_TRY, [PHASE_TRY] = GATHER_TRY,
					       [PHASE_STAY] = GATHER_STAY, [PHASE_LEAVE] = GATHER_LEAVE};
	struct gather *gather = &blk->gather;
	struct gather_run *run = &gather->run;

	if (!requests)
		return;
	if (!run->begin_ns) { /* the first kick starts the clock */
		run->begin_ns = loop_now_ns(blk->dev.env.loop);
		return;
	}
	run->requests += requests;
	if (++run->kicks < phase_kicks[gather->phase])
		return;
	run->end_ns = loop_now_ns(blk->dev.env.loop);
	if (gather->phase == PHASE_PLAIN) {
		gather->plain = *run;
		gather_phase_set(blk, PHASE_TRY);
	} else if (gather->phase == PHASE_TRY) {
		gather_phase_set(blk, gather_is_better(run, &gather->plain) ? PHASE_STAY : PHASE_LEAVE);
	} else {
		gather_phase_set(blk, PHASE_PLAIN);
	}
}

static void blk_kick(struct virtio_dev *dev, unsigned queue)
{
	struct blk *blk = CONTAINER_OF(dev, struct blk, dev);

	gather_note(blk, queue_serve(blk, queue));
	if (blk->disk && disk_go(blk->disk) && blk->waiting && !blk->quiet)
		virtio_kick_again(dev, queue); /* there is room already */
	virtio_interrupt(dev, queue);
}

static void timer_over(void *ctx)
{
	virtio_kick(&((struct blk *)ctx)->dev, 0);
}

static void blk_reset(struct virtio_dev *dev)
{
	struct blk *blk = CONTAINER_OF(dev, struct blk, dev);

	loop_timer_cancel(dev->env.loop, &blk->timer);
	blk->waiting = false;
	gather_phase_set(blk, PHASE_PLAIN);
	blk->generation++;
	blk->strays += blk->in_flight;
	blk->in_flight = 0;
	if (blk->strays && !disk_drain(blk->disk, true, RESET_MS))
		log_guest(&dev->limit, "blk: %u requests hang in the disk; it serves no others until they end",
			  blk->strays);
}

static const struct virtio_ops blk_ops = {
	.kick = blk_kick,
	.reset = blk_reset,
};

/* ---- config space ---- */

static void capacity_set(struct blk *blk)
{
	blk->config.capacity = htole64(blk->disk ? disk_bytes(blk->disk) / DISK_SECTOR_BYTES : 0);
}

static void config_fill(struct blk *blk)
{
	unsigned block_bytes = blk->disk ? disk_block_bytes(blk->disk) : DISK_SECTOR_BYTES, exponent = 0;

	while (block_bytes << exponent < GOOD_BLOCK_BYTES)
		exponent++;
	blk->config = (struct virtio_blk_config){
		.seg_max = htole32(BLK_SEGMENTS_MAX),
		.blk_size = htole32(block_bytes),
		.physical_block_exp = (uint8_t)exponent,
		.min_io_size = htole16((uint16_t)(1u << exponent)),
		.max_discard_sectors = htole32(BLK_DISCARD_BYTES_MAX / DISK_SECTOR_BYTES),
		.max_discard_seg = htole32(1),
		.discard_sector_alignment = htole32(MAX(GOOD_BLOCK_BYTES, block_bytes) / DISK_SECTOR_BYTES),
		.max_write_zeroes_sectors = htole32(BLK_ZERO_BYTES_MAX / DISK_SECTOR_BYTES),
		.max_write_zeroes_seg = htole32(1),
		.write_zeroes_may_unmap = 1,
	};
	capacity_set(blk);
}

static uint64_t features_of(const struct disk *disk)
{
	uint64_t features = UINT64_C(1) << VIRTIO_BLK_F_SEG_MAX | UINT64_C(1) << VIRTIO_BLK_F_BLK_SIZE |
			    UINT64_C(1) << VIRTIO_BLK_F_TOPOLOGY;

	if (!disk || !disk_is_durable(disk))
		features |= UINT64_C(1) << VIRTIO_BLK_F_FLUSH;
	if (disk && disk_read_only(disk))
		return features | UINT64_C(1) << VIRTIO_BLK_F_RO;
	return features | UINT64_C(1) << VIRTIO_BLK_F_DISCARD | UINT64_C(1) << VIRTIO_BLK_F_WRITE_ZEROES;
}

void blk_disk_changed(struct blk *blk)
{
	if (blk->disk && disk_refresh(blk->disk))
		return; /* it can not be asked: requests will tell */
	capacity_set(blk);
	virtio_config_changed(&blk->dev);
}

/* ---- life ---- */

static void backing_set(struct blk *blk, const struct blk_config *config)
{
	uint64_t now_ns = loop_now_ns(blk->dev.env.loop);

	blk->disk = config->disk;
	if (blk->disk)
		disk_batch_set(blk->disk, batch, blk);
	memset(blk->serial, 0, sizeof(blk->serial));
	memcpy(blk->serial, config->serial, strnlen(config->serial, sizeof(blk->serial)));
	bucket_init(&blk->bytes, config->bytes_per_s, 0, now_ns);
	bucket_init(&blk->ops, config->ops_per_s, 0, now_ns);
}

struct blk *blk_new(const struct virtio_env *env, const struct blk_config *config)
{
	struct blk *blk = xcalloc(1, sizeof(*blk));

	blk->dev.ops = &blk_ops;
	blk->dev.name = "blk";
	blk->dev.device_id = VIRTIO_ID_BLOCK;
	blk->dev.queue_count = 1;
	blk->dev.device_features = features_of(config->disk);
	blk->dev.config = &blk->config;
	blk->dev.config_bytes = sizeof(blk->config);
	virtio_init(&blk->dev, env);
	blk->timer = (struct loop_timer){.fn = timer_over, .ctx = blk};
	backing_set(blk, config);
	config_fill(blk);
	return blk;
}

void blk_free(struct blk *blk)
{
	if (!blk)
		return;
	/* The machine may be gone already: what comes home from now on touches neither ring nor interrupt. */
	blk->generation++;
	blk->strays += blk->in_flight;
	loop_timer_cancel(blk->dev.env.loop, &blk->timer);
	gather_phase_set(blk, PHASE_PLAIN);
	if (blk->disk) {
		disk_batch_set(blk->disk, NULL, NULL);
		disk_drain(blk->disk, false, -1);
	}
	while (blk->free_requests) {
		struct blk_request *request = blk->free_requests;

		blk->free_requests = request->next;
		free(request);
	}
	virtio_fini(&blk->dev);
	free(blk);
}

struct virtio_dev *blk_dev(struct blk *blk)
{
	return &blk->dev;
}

int blk_disk_set(struct blk *blk, const struct blk_config *config)
{
	assert(blk->in_flight + blk->strays == 0);
	if (config->disk && disk_block_bytes(config->disk) > le32toh(blk->config.blk_size))
		return -EINVAL;
	if (blk->disk)
		disk_batch_set(blk->disk, NULL, NULL);
	backing_set(blk, config);
	capacity_set(blk);
	virtio_config_changed(&blk->dev);
	return 0;
}

bool blk_quiesce(struct blk *blk, int timeout_ms)
{
	blk->quiet = true;
	loop_timer_cancel(blk->dev.env.loop, &blk->timer);
	return !blk->disk || disk_drain(blk->disk, false, timeout_ms);
}

void blk_resume(struct blk *blk)
{
	blk->quiet = false;
	virtio_kick_again(&blk->dev, 0);
}

void blk_save(const struct blk *blk, struct blk_state *state)
{
	assert(blk->quiet && blk->in_flight + blk->strays == 0);
	virtio_save(&blk->dev, &state->virtio);
	state->capacity = le64toh(blk->config.capacity);
}

int blk_load(struct blk *blk, const struct blk_state *state)
{
	int err = virtio_load(&blk->dev, &state->virtio);

	if (!err && state->capacity != le64toh(blk->config.capacity))
		virtio_config_changed(&blk->dev);
	return err;
}

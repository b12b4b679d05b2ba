// SPDX-License-Identifier: Apache-2.0
/*
 * balloon: virtio memory balloon (virtio 1.2, section 5.5). Owns the target; knows nothing of why it is set.
 *
 * Theory of operation
 * -------------------
 * All that is ever done is mem_discard(): the pages' content is forgotten and the next access finds fresh ones. So the
 * guest can name any page, any number of times, in the balloon or not: it only loses its own content, and no list of
 * what is in the balloon is kept. That is also why MUST_TELL_HOST is not offered: a page taken back without a word is
 * simply there again. Deflating needs nothing at all.
 *
 * A page in the balloon and a reported one have undefined content afterwards, with one exception: under PAGE_POISON a
 * reported page must still read as the guest's poison (5.5.6.7), which Linux relies on when it was started with
 * init_on_free or page_poison. Discarded pages read as zeros (unless the memory is of another kind, see
 * mem_discard_zeroes()), so reports are acted upon when the poison is zero and else only returned.
 *
 * Numbers are the guest's: each page is checked by itself, then neighbours are put together, as a call into the host's
 * kernel for each of them would cost more than the page is worth. Work per request and per kick is bounded.
 */
#include "devices/balloon.h"

#include "lib/util.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_balloon.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>

enum {
	QUEUE_COUNT = BALLOON_QUEUE_REPORT + 1,
	KICK_PAGES_MAX = 4 * BALLOON_CHAIN_PAGES_MAX, /* then the loop has its turn */
	IOVS_MAX = VIRTQ_CHAIN_MAX,
};

struct balloon {
	struct virtio_dev dev;
	struct virtio_balloon_config config;
	struct virtq_chain chain; /* too large for the stack */
	uint32_t pages[BALLOON_CHAIN_PAGES_MAX];
	struct iovec iovs[IOVS_MAX];
};

static int compare(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

	return (left > right) - (left < right);
}

static bool page_exists(const struct balloon *balloon, uint32_t page)
{
	return mem_ptr(balloon->dev.env.mem, (uint64_t)page * BALLOON_PAGE_BYTES, BALLOON_PAGE_BYTES);
}

/* Discards sorted pages, neighbours together; a page named twice counts once. */
static void pages_discard(struct balloon *balloon, size_t count)
{
	const struct mem *mem = balloon->dev.env.mem;
	const uint32_t *pages = balloon->pages;

	for (size_t i = 0, next; i < count; i = next) {
		uint64_t length = 1;

		for (next = i + 1; next < count && pages[next] - pages[next - 1] <= 1; next++)
			length += pages[next] - pages[next - 1];
		(void)mem_discard(mem, (uint64_t)pages[i] * BALLOON_PAGE_BYTES, length * BALLOON_PAGE_BYTES);
	}
}

/* Returns how many pages were looked at. */
static size_t inflate(struct balloon *balloon)
{
	size_t bytes = chain_read(&balloon->chain, balloon->pages, sizeof(balloon->pages)), count = 0;
	size_t named = bytes / sizeof(balloon->pages[0]);

	for (size_t i = 0; i < named; i++) {
		uint32_t page = le32toh(balloon->pages[i]);

		if (page_exists(balloon, page))
			balloon->pages[count++] = page;
	}
	if (count < named)
		log_guest(&balloon->dev.limit, "balloon: %zu pages that do not exist were put into it", named - count);
	qsort(balloon->pages, count, sizeof(balloon->pages[0]), compare);
	pages_discard(balloon, count);
	return named;
}

/* Whether a discarded page is what the guest takes a reported one to be. */
static bool reports_are_wanted(const struct balloon *balloon)
{
	if (!virtio_has(&balloon->dev, VIRTIO_BALLOON_F_REPORTING))
		return false;
	return !virtio_has(&balloon->dev, VIRTIO_BALLOON_F_PAGE_POISON) ||
	       (balloon->config.poison_val == 0 && mem_discard_zeroes(balloon->dev.env.mem));
}

/* The buffers themselves are what is reported. Returns how many pages. */
static size_t report(struct balloon *balloon)
{
	const struct mem *mem = balloon->dev.env.mem;
	unsigned count = chain_iov_in(&balloon->chain, balloon->iovs, IOVS_MAX);
	uint64_t left = BALLOON_CHAIN_BYTES_MAX, gpa;

	if (!reports_are_wanted(balloon))
		return 1;
	for (unsigned i = 0; i < count && left; i++) {
		uint64_t bytes = MIN(left, (uint64_t)balloon->iovs[i].iov_len);

		left -= bytes;
		if (mem_gpa(mem, balloon->iovs[i].iov_base, &gpa))
			(void)mem_discard(mem, gpa, bytes);
	}
	/* A report of much memory is a kick's work by itself. */
	return (BALLOON_CHAIN_BYTES_MAX - left) / (BALLOON_CHAIN_BYTES_MAX / KICK_PAGES_MAX) + count;
}

static size_t request_do(struct balloon *balloon, unsigned queue)
{
	switch (queue) {
	case BALLOON_QUEUE_INFLATE:
		return inflate(balloon);
	case BALLOON_QUEUE_REPORT_LINUX:
	case BALLOON_QUEUE_REPORT:
		return report(balloon);
	default: /* deflating needs no work, and free page hints (queue 3) are not offered */
		return 1;
	}
}

static void balloon_kick(struct virtio_dev *dev, unsigned queue)
{
	struct balloon *balloon = CONTAINER_OF(dev, struct balloon, dev);
	unsigned budget = dev->queues[queue].num;
	size_t pages = 0;

	do {
		while (budget && pages < KICK_PAGES_MAX && virtio_pop(dev, queue, &balloon->chain)) {
			pages += request_do(balloon, queue);
			virtq_push(&dev->queues[queue], balloon->chain.head, 0);
			budget--;
		}
		if (!budget || pages >= KICK_PAGES_MAX) {
			virtio_kick_again(dev, queue);
			break;
		}
	} while (virtq_kick_enable(&dev->queues[queue]));
	virtio_interrupt(dev, queue);
}

/* The driver's two fields (5.5.4); all others are ours. */
static void balloon_config_write(struct virtio_dev *dev, unsigned offset, const void *data, unsigned bytes)
{
	struct balloon *balloon = CONTAINER_OF(dev, struct balloon, dev);

	if (bytes != sizeof(uint32_t))
		return;
	if (offset == offsetof(struct virtio_balloon_config, actual))
		memcpy(&balloon->config.actual, data, bytes);
	else if (offset == offsetof(struct virtio_balloon_config, poison_val))
		memcpy(&balloon->config.poison_val, data, bytes);
}

static void balloon_reset(struct virtio_dev *dev)
{
	struct balloon *balloon = CONTAINER_OF(dev, struct balloon, dev);

	balloon->config.actual = 0;
	balloon->config.poison_val = 0;
}

static const struct virtio_ops balloon_ops = {
	.kick = balloon_kick,
	.reset = balloon_reset,
	.config_write = balloon_config_write,
};

struct balloon *balloon_new(const struct virtio_env *env)
{
	struct balloon *balloon = xcalloc(1, sizeof(*balloon));

	balloon->dev.ops = &balloon_ops;
	balloon->dev.name = "balloon";
	balloon->dev.device_id = VIRTIO_ID_BALLOON;
	balloon->dev.device_features = UINT64_C(1) << VIRTIO_BALLOON_F_DEFLATE_ON_OOM |
				       UINT64_C(1) << VIRTIO_BALLOON_F_PAGE_POISON |
				       UINT64_C(1) << VIRTIO_BALLOON_F_REPORTING;
	balloon->dev.config = &balloon->config;
	balloon->dev.config_bytes = sizeof(balloon->config);
	balloon->dev.queue_count = QUEUE_COUNT;
	virtio_init(&balloon->dev, env);
	return balloon;
}

void balloon_free(struct balloon *balloon)
{
	if (!balloon)
		return;
	virtio_fini(&balloon->dev);
	free(balloon);
}

struct virtio_dev *balloon_dev(struct balloon *balloon)
{
	return &balloon->dev;
}

static uint32_t pages_in_all(const struct balloon *balloon)
{
	return (uint32_t)MIN(balloon->dev.env.mem->total_bytes / BALLOON_PAGE_BYTES, (uint64_t)UINT32_MAX);
}

void balloon_target_set(struct balloon *balloon, uint64_t bytes)
{
	uint64_t pages = MIN(bytes / BALLOON_PAGE_BYTES, (uint64_t)pages_in_all(balloon));

	balloon->config.num_pages = htole32((uint32_t)pages);
	virtio_config_changed(&balloon->dev);
}

uint64_t balloon_actual_bytes(const struct balloon *balloon)
{
	return (uint64_t)MIN(le32toh(balloon->config.actual), pages_in_all(balloon)) * BALLOON_PAGE_BYTES;
}

void balloon_save(const struct balloon *balloon, struct balloon_state *state)
{
	*state = (struct balloon_state){
		.target_pages = le32toh(balloon->config.num_pages),
		.actual_pages = le32toh(balloon->config.actual),
		.poison = le32toh(balloon->config.poison_val),
	};
	virtio_save(&balloon->dev, &state->virtio);
}

int balloon_load(struct balloon *balloon, const struct balloon_state *state)
{
	int err = state->target_pages <= pages_in_all(balloon) ? virtio_load(&balloon->dev, &state->virtio) : -EINVAL;

	if (err)
		return err;
	balloon->config.num_pages = htole32(state->target_pages);
	balloon->config.actual = htole32(state->actual_pages);
	balloon->config.poison_val = htole32(state->poison);
	return 0;
}

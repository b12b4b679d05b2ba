/* SPDX-License-Identifier: Apache-2.0 */
/*
 * balloon: virtio memory balloon (virtio 1.2, section 5.5): how memory that the guest does not use goes back to the host.
 *
 * Two ways. Free page reporting works by itself: the guest names ranges it has freed, they are discarded, and it may
 * use them again without asking. The balloon proper takes memory away: the host sets a target, the guest gives up that
 * many pages (and takes them back when it would run out of memory: DEFLATE_ON_OOM).
 * Statistics and free page hints are not offered: nobody here would read them.
 */
#ifndef DEVICES_BALLOON_H
#define DEVICES_BALLOON_H

#include "devices/virtio.h"

#include <stdint.h>

enum {
	BALLOON_QUEUE_INFLATE = 0,
	BALLOON_QUEUE_DEFLATE = 1,
	/*
	 * Reports come on queue 4 (5.5.2). Linux does not count queues of features that were not negotiated, and so has
	 * them on 2, which would be the statistics'. Both are taken for what they are, as the other one stays silent.
	 */
	BALLOON_QUEUE_REPORT_LINUX = 2,
	BALLOON_QUEUE_REPORT = 4,
	BALLOON_PAGE_BYTES = 4096,	     /* of a page number, whatever either side's pages are */
	BALLOON_CHAIN_PAGES_MAX = 1024,	     /* looked at in one request (Linux sends 256); what follows is kept */
	BALLOON_CHAIN_BYTES_MAX = 256 << 20, /* discarded for one report (Linux sends at most 128 MB) */
};

struct balloon;
struct balloon *balloon_new(const struct virtio_env *env);
void balloon_free(struct balloon *balloon);
struct virtio_dev *balloon_dev(struct balloon *balloon);

/* How much memory the guest is to give up, in whole pages, at most all of it. On the loop thread. */
void balloon_target_set(struct balloon *balloon, uint64_t bytes);
/* How much it says that it has given up: its word, and never more than it has. */
uint64_t balloon_actual_bytes(const struct balloon *balloon);

/* See virtio_save() and virtio_load(). Which pages are in the balloon is the guest's to know. */
struct balloon_state {
	struct virtio_state virtio;
	uint32_t target_pages, actual_pages, poison, reserved;
};
void balloon_save(const struct balloon *balloon, struct balloon_state *state);
int balloon_load(struct balloon *balloon, const struct balloon_state *state);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net: virtio network card (virtio 1.2, section 5.1). Owns the two queues and the virtio header before each frame;
 * must not know what the network behind the backend is, nor look into a frame.
 *
 * Theory of operation
 *
 * Receive. With MRG_RXBUF a frame fills as many chains as it needs. They are filled one after the other, and the header
 * at the start of the first, which has their number, is written last; then one store of used->idx shows them all. When
 * the driver's chains end before the frame does, all are put back: bytes in buffers that are still ours harm nobody.
 * Without MRG_RXBUF a frame fits into one chain or is dropped, and so is one for which the whole ring was too small:
 * waiting would stall the queue for ever.
 *
 * Checksums. The driver may leave one to us (CSUM): it is the backend's, which knows whether anybody looks at it. The
 * backend may leave one to the driver (GUEST_CSUM): the header then says NEEDS_CSUM, by which Linux takes the packet as
 * good and yet can complete the sum should it pass it on. (DATA_VALID would not do: what is forwarded would leave the
 * guest with a wrong sum.) A driver that did not accept GUEST_CSUM gets whole sums, made here.
 *
 * No segmentation offload (TSO, GSO): it saves trips through the ring by frames larger than the MTU. The network behind
 * is no wire, so the MTU itself is 65520 and nearly every segment already as large as TSO's can be (64 KiB); what a
 * sender of larger ones would have to say in a header, and we would have to check, buys nothing.
 *
 * Kicks. On transmit they are off while we pop anyway. On receive they stay off until a frame found no chain: that
 * alone is when fresh buffers are news. `refused` remembers that the backend was told no and waits for us; it holds
 * across a reset, so what came before the driver was up is delivered when it is.
 *
 * Limits. Beyond its rate the guest's frames stay in the ring and the backend is told no; a timer goes on. It waits at
 * least THROTTLE_NS, so that a throttled queue wakes us for a batch and not for each frame.
 *
 * Interrupts. Receive: one per turn of the loop, by a task, because a backend hands over frames one by one and cannot
 * know which is the last. Transmit: nobody is in a hurry to hear that a frame was sent, and often an answer comes
 * soon; so it is told together with the next frame received, or after TELL_SENT_NS, or when a quarter of the ring waits.
 */
#include "devices/net.h"

#include "devices/bucket.h"
#include "devices/pcap.h"
#include "lib/util.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <stdlib.h>
#include <string.h>

enum {
	RX = 0,
	TX = 1,
	MTU_MIN = 68, /* RFC 791; the least a Linux driver takes */
};
#define THROTTLE_NS UINT64_C(2000000)
#define TELL_SENT_NS UINT64_C(100000)

/* With VERSION_1 the header has num_buffers also without MRG_RXBUF (5.1.6.1). */
struct header {
	uint8_t flags, gso_type;
	uint16_t hdr_len, gso_size, csum_start, csum_offset, num_buffers; /* little-endian */
};
_Static_assert(sizeof(struct header) == 12, "as on the wire");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the header is little-endian");

/* One direction's limits, and the timer that goes on when they allow. */
struct throttle {
	struct bucket bytes, frames;
	struct loop_timer timer;
};

struct net {
	struct virtio_dev dev;
	struct virtio_net_config config;
	struct net_backend backend;
	struct loop_task tell_received; /* posted: chains were pushed to RX and the driver was not told yet */
	struct loop_timer tell_sent;	/* armed: the same of TX */
	unsigned untold;		/* chains of TX, about */
	bool refused;
	struct throttle receive, transmit;
	struct pcap *pcap;
	/* Scratch. Two chains, since a backend may call net_receive() from inside its transmit(). */
	struct virtq_chain rx_chain, tx_chain;
	struct iovec tx_iov[VIRTQ_CHAIN_MAX];
};

static bool is_link_up(const struct net *net)
{
	return net->config.status & VIRTIO_NET_S_LINK_UP;
}

/* Limits */

/* True when frames have to wait; the timer is set then. */
static bool is_throttled(struct net *net, struct throttle *throttle)
{
	uint64_t now_ns = loop_now_ns(net->dev.env.loop), wait_ns;

	wait_ns = MAX(bucket_wait_ns(&throttle->bytes, now_ns), bucket_wait_ns(&throttle->frames, now_ns));
	if (wait_ns == 0)
		return false;
	if (!throttle->timer.armed)
		loop_timer_set(net->dev.env.loop, &throttle->timer, now_ns + MAX(wait_ns, THROTTLE_NS));
	return true;
}

/* After is_throttled() said no. */
static void throttle_take(struct net *net, struct throttle *throttle, size_t bytes)
{
	uint64_t now_ns = loop_now_ns(net->dev.env.loop);

	bucket_take(&throttle->bytes, bytes, now_ns);
	bucket_take(&throttle->frames, 1, now_ns);
}

static void receive_again(void *ctx)
{
	struct net *net = ctx;

	if (!net->refused)
		return;
	net->refused = false;
	if (net->backend.receive_ready)
		net->backend.receive_ready(net->backend.ctx);
}

static void transmit_again(void *ctx)
{
	struct net *net = ctx;

	virtio_kick(&net->dev, TX);
}

static void throttle_init(struct net *net, struct throttle *throttle, uint64_t bytes, uint64_t frames)
{
	uint64_t now_ns = loop_now_ns(net->dev.env.loop);

	bucket_init(&throttle->bytes, bytes, 0, now_ns);
	bucket_init(&throttle->frames, frames, 0, now_ns);
}

void net_rate_set(struct net *net, const struct net_rate *rate)
{
	throttle_init(net, &net->receive, rate->receive_bytes, rate->receive_frames);
	throttle_init(net, &net->transmit, rate->transmit_bytes, rate->transmit_frames);
}

/* Receive: frames for the guest */

static void tell(void *ctx)
{
	struct net *net = ctx;

	loop_timer_cancel(net->dev.env.loop, &net->tell_sent);
	loop_task_cancel(net->dev.env.loop, &net->tell_received);
	net->untold = 0;
	virtio_interrupt_all(&net->dev);
}

/* The next chain for a frame. Before it says that there is none, it asks for a kick when there is one. */
static bool pop_receive_chain(struct net *net)
{
	struct virtq *vq = &net->dev.queues[RX];

	virtq_kick_disable(vq);
	do {
		if (virtio_pop(&net->dev, RX, &net->rx_chain))
			return true;
	} while (virtq_kick_enable(vq));
	return false;
}

/* What goes into the chains: header, frame, and in its middle perhaps a checksum that is not the frame's own. */
enum { PARTS_MAX = 4 };
struct packet {
	struct iovec parts[PARTS_MAX];
	unsigned count, index;
	size_t skip, left;
};

static void packet_add(struct packet *packet, const void *bytes, size_t count)
{
	packet->parts[packet->count++] = (struct iovec){ .iov_base = (void *)(uintptr_t)bytes, .iov_len = count };
	packet->left += count;
}

/* Fills the chain; returns how many bytes went in. */
static size_t packet_write(struct packet *packet, struct virtq_chain *chain)
{
	size_t written = 0;

	while (packet->index < packet->count) {
		const struct iovec *part = &packet->parts[packet->index];
		size_t step = part->iov_len - packet->skip;
		size_t done = chain_write(chain, (const uint8_t *)part->iov_base + packet->skip, step);

		written += done;
		packet->left -= done;
		packet->skip += done;
		if (done < step)
			break;
		packet->skip = 0;
		packet->index++;
	}
	return written;
}

/* Where the header lies in the first chain, to be written when the number of chains is known. */
struct header_place {
	struct iovec iov[sizeof(struct header)]; /* at worst byte by byte */
	unsigned count;
};

static void header_write(const struct header_place *place, const struct header *header)
{
	size_t done = 0;

	for (unsigned i = 0; i < place->count && done < sizeof(*header); i++) {
		size_t step = MIN(place->iov[i].iov_len, sizeof(*header) - done);

		memcpy(place->iov[i].iov_base, (const uint8_t *)header + done, step);
		done += step;
	}
}

enum outcome { TAKEN, DROPPED, NO_ROOM };

/* A chain that can not hold what the driver must expect in it goes back empty: a receive queue must never stall. */
static enum outcome give_back_empty(struct net *net)
{
	virtq_push(&net->dev.queues[RX], net->rx_chain.head, 0);
	return DROPPED;
}

static enum outcome deliver_in_one(struct net *net, struct packet *packet)
{
	size_t written;

	if (!pop_receive_chain(net))
		return NO_ROOM;
	if (net->rx_chain.in_bytes < packet->left)
		return give_back_empty(net);
	written = packet_write(packet, &net->rx_chain);
	virtq_push(&net->dev.queues[RX], net->rx_chain.head, (uint32_t)written);
	return TAKEN;
}

static enum outcome deliver_merged(struct net *net, struct packet *packet, struct header *header)
{
	struct virtq *vq = &net->dev.queues[RX];
	struct header_place place = { .count = 0 };
	unsigned chains = 0;

	while (packet->left) {
		size_t written;

		/* One after the other into the ring: never more of them than it has entries. */
		if (chains == vq->num || !pop_receive_chain(net)) {
			virtq_unpop(vq, chains);
			return chains == vq->num ? DROPPED : NO_ROOM;
		}
		if (chains == 0 && net->rx_chain.in_bytes < sizeof(*header))
			return give_back_empty(net);
		if (chains == 0)
			place.count = chain_iov_in(&net->rx_chain, place.iov, ARRAY_SIZE(place.iov));
		written = packet_write(packet, &net->rx_chain);
		virtq_fill(vq, chains++, net->rx_chain.head, (uint32_t)written);
	}
	header->num_buffers = (uint16_t)chains;
	header_write(&place, header);
	virtq_publish(vq, chains);
	return TAKEN;
}

static enum outcome deliver(struct net *net, const uint8_t *frame, size_t bytes, const struct frame_sum *sum)
{
	struct header header = { .num_buffers = 1 };
	struct packet packet = { .count = 0 };
	uint16_t made;

	packet_add(&packet, &header, sizeof(header));
	if (sum && !virtio_has(&net->dev, VIRTIO_NET_F_GUEST_CSUM)) {
		size_t at = (size_t)sum->start + sum->offset;

		made = frame_sum_make(frame, bytes, sum);
		packet_add(&packet, frame, at);
		packet_add(&packet, &made, sizeof(made));
		packet_add(&packet, frame + at + sizeof(made), bytes - at - sizeof(made));
	} else {
		if (sum) {
			header.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
			header.csum_start = sum->start;
			header.csum_offset = sum->offset;
		}
		packet_add(&packet, frame, bytes);
	}
	if (virtio_has(&net->dev, VIRTIO_NET_F_MRG_RXBUF))
		return deliver_merged(net, &packet, &header);
	return deliver_in_one(net, &packet);
}

bool net_receive(struct net *net, const void *frame, size_t bytes, const struct frame_sum *sum)
{
	enum outcome outcome = NO_ROOM;

	if (bytes < FRAME_HEADER_BYTES || bytes > NET_FRAME_BYTES_MAX || (sum && !frame_sum_fits(sum, bytes)))
		return true; /* dropped: waiting would not make it fit */
	if (!is_link_up(net))
		return true;
	if (virtio_running(&net->dev) && !is_throttled(net, &net->receive))
		outcome = deliver(net, frame, bytes, sum);
	if (outcome == NO_ROOM) {
		net->refused = true;
		return false;
	}
	loop_task_post(net->dev.env.loop, &net->tell_received);
	if (outcome == TAKEN) {
		const struct iovec whole = { .iov_base = (void *)(uintptr_t)frame, .iov_len = bytes };

		throttle_take(net, &net->receive, bytes);
		if (net->pcap)
			pcap_frame(net->pcap, &whole, 1, bytes, sum);
	}
	return true;
}

/* The driver may have made room. Only news when somebody waits for it. */
static void receive_kick(struct net *net)
{
	if (virtq_has_work(&net->dev.queues[RX]))
		receive_again(net);
}

/* Transmit: frames from the guest */

/* One chain: header, then the frame. What is not a frame is dropped, as a card would. */
static void transmit_chain(struct net *net, struct virtq_chain *chain)
{
	struct header header;
	struct frame_sum place, *sum = NULL;
	uint64_t bytes;
	unsigned count;

	if (chain_read(chain, &header, sizeof(header)) != sizeof(header))
		return;
	/* No segmentation was negotiated. Other fields only mean something together with it or with a checksum. */
	if (header.gso_type != VIRTIO_NET_HDR_GSO_NONE)
		return;
	bytes = chain->out_bytes - sizeof(header);
	if (bytes < FRAME_HEADER_BYTES || bytes > NET_FRAME_BYTES_MAX || !is_link_up(net))
		return;
	/* A driver that did not accept CSUM must not set the flag; what it claims then is not believed. */
	if (header.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM && virtio_has(&net->dev, VIRTIO_NET_F_CSUM)) {
		place = (struct frame_sum){ .start = header.csum_start, .offset = header.csum_offset };
		sum = &place;
		if (!frame_sum_fits(sum, bytes))
			return;
	}
	throttle_take(net, &net->transmit, bytes);
	count = chain_iov_out(chain, net->tx_iov, ARRAY_SIZE(net->tx_iov));
	if (net->pcap)
		pcap_frame(net->pcap, net->tx_iov, count, bytes, sum);
	if (net->backend.transmit)
		net->backend.transmit(net->backend.ctx, net->tx_iov, count, bytes, sum);
}

/* Nothing sent: after a load, what was sent before may be untold. */
static void tell_sent(struct net *net, unsigned sent)
{
	struct loop *loop = net->dev.env.loop;

	net->untold += sent;
	if (net->untold >= net->dev.queues[TX].num / 4 || (!sent && !net->tell_sent.armed))
		tell(net);
	else if (!net->tell_sent.armed)
		loop_timer_set(loop, &net->tell_sent, loop_now_ns(loop) + TELL_SENT_NS);
}

static void transmit_kick(struct net *net)
{
	struct virtq *vq = &net->dev.queues[TX];
	unsigned budget = vq->num;

	do {
		virtq_kick_disable(vq);
		while (budget && !is_throttled(net, &net->transmit) && virtio_pop(&net->dev, TX, &net->tx_chain)) {
			transmit_chain(net, &net->tx_chain);
			virtq_push(vq, net->tx_chain.head, 0);
			budget--;
		}
		if (net->transmit.timer.armed)
			break; /* kicks stay off: the timer brings us back */
		if (!budget) {
			virtio_kick_again(&net->dev, TX); /* the same: we come back by ourselves */
			break;
		}
	} while (virtq_kick_enable(vq));
	tell_sent(net, vq->num - budget);
}

/* The card */

static void net_kick(struct virtio_dev *dev, unsigned queue)
{
	struct net *net = CONTAINER_OF(dev, struct net, dev);

	if (queue == RX)
		receive_kick(net);
	else
		transmit_kick(net);
}

/* A driver may fill its rings before DRIVER_OK and not kick again. */
static void net_start(struct virtio_dev *dev)
{
	virtio_kick(dev, RX);
	virtio_kick(dev, TX);
}

static void net_reset(struct virtio_dev *dev)
{
	struct net *net = CONTAINER_OF(dev, struct net, dev);

	loop_task_cancel(dev->env.loop, &net->tell_received);
	loop_timer_cancel(dev->env.loop, &net->tell_sent);
	net->untold = 0;
	loop_timer_cancel(dev->env.loop, &net->receive.timer);
	loop_timer_cancel(dev->env.loop, &net->transmit.timer);
}

static const struct virtio_ops net_ops = {
	.kick = net_kick,
	.start = net_start,
	.reset = net_reset,
};

#define FEATURE(name) (UINT64_C(1) << VIRTIO_NET_F_##name)

struct net *net_new(const struct virtio_env *env, const uint8_t mac[6], uint16_t mtu)
{
	static const struct net_rate no_limit = { .receive_bytes = 0 };
	struct net *net = xcalloc(1, sizeof(*net));

	memcpy(net->config.mac, mac, sizeof(net->config.mac));
	net->config.status = VIRTIO_NET_S_LINK_UP;
	net->config.mtu = mtu;
	net->tell_received = (struct loop_task){ .fn = tell, .ctx = net };
	net->tell_sent = (struct loop_timer){ .fn = tell, .ctx = net };
	net->receive.timer = (struct loop_timer){ .fn = receive_again, .ctx = net };
	net->transmit.timer = (struct loop_timer){ .fn = transmit_again, .ctx = net };
	net->dev.ops = &net_ops;
	net->dev.name = "net";
	net->dev.device_id = VIRTIO_ID_NET;
	net->dev.device_features = FEATURE(MAC) | FEATURE(MTU) | FEATURE(STATUS) | FEATURE(MRG_RXBUF) | FEATURE(CSUM) |
				   FEATURE(GUEST_CSUM);
	net->dev.config = &net->config;
	/* What these features make visible; the fields behind mtu belong to others. */
	net->dev.config_bytes = offsetof(struct virtio_net_config, mtu) + sizeof(net->config.mtu);
	net->dev.queue_count = 2;
	virtio_init(&net->dev, env);
	net_rate_set(net, &no_limit);
	return net;
}

void net_free(struct net *net)
{
	if (!net)
		return;
	net_reset(&net->dev);
	virtio_fini(&net->dev);
	free(net);
}

struct virtio_dev *net_dev(struct net *net)
{
	return &net->dev;
}

void net_backend_set(struct net *net, const struct net_backend *backend)
{
	net->backend = backend ? *backend : (struct net_backend){ 0 };
}

void net_capture(struct net *net, struct pcap *pcap)
{
	net->pcap = pcap;
}

static void status_set(struct net *net, bool up)
{
	net->config.status = up ? VIRTIO_NET_S_LINK_UP : 0;
}

void net_link_set(struct net *net, bool up)
{
	if (up == is_link_up(net))
		return;
	status_set(net, up);
	virtio_config_changed(&net->dev);
	receive_again(net); /* who waits for room need not wait any longer */
}

void net_save(const struct net *net, struct net_state *state)
{
	*state = (struct net_state){ .mtu = net->config.mtu, .link_up = is_link_up(net) };
	memcpy(state->mac, net->config.mac, sizeof(state->mac));
	virtio_save(&net->dev, &state->virtio);
}

int net_load(struct net *net, const struct net_state *state)
{
	int err;

	if (state->mtu < MTU_MIN || state->link_up > 1 || (state->mac[0] & 1))
		return -EINVAL;
	err = virtio_load(&net->dev, &state->virtio);
	if (err)
		return err;
	memcpy(net->config.mac, state->mac, sizeof(net->config.mac));
	net->config.mtu = state->mtu;
	status_set(net, state->link_up);
	return 0;
}

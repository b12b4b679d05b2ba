/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net: virtio network card (virtio 1.2, section 5.1). Owns the two queues and the virtio header before each frame;
 * must not know what the network behind the backend is, nor look into a frame.
 *
 * No offload is negotiated, so every header is plain and a frame fills one chain. (Spreading a frame over several
 * chains, MRG_RXBUF, needs them to become visible to the driver at once.)
 *
 * Kicks. On transmit they are off while we pop anyway. On receive they stay off until a frame found no chain: that
 * alone is when fresh buffers are news. `refused` remembers that the backend was told no and waits for us; it holds
 * across a reset, so what came before the driver was up is delivered when it is.
 *
 * Interrupts. Transmit: one per batch. Receive: one per turn of the loop, by a task, because a backend hands over
 * frames one by one and cannot know which is the last.
 */
#include "devices/net.h"

#include "lib/util.h"

#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <stdlib.h>
#include <string.h>

enum {
	RX = 0,
	TX = 1,
	ETHERNET_HEADER_BYTES = 14,
};

/* With VERSION_1 the header has num_buffers also without MRG_RXBUF (5.1.6.1). */
struct header {
	uint8_t flags, gso_type;
	uint16_t hdr_len, gso_size, csum_start, csum_offset, num_buffers; /* little-endian */
};
_Static_assert(sizeof(struct header) == 12, "as on the wire");

struct net {
	struct virtio_dev dev;
	struct virtio_net_config config;
	struct net_backend backend;
	struct loop_task tell_received; /* posted: chains were pushed to RX and the driver was not told yet */
	bool refused;
	/* Scratch. Two chains, since a backend may call net_receive() from inside its transmit(). */
	struct virtq_chain rx_chain, tx_chain;
	struct iovec tx_iov[VIRTQ_CHAIN_MAX];
};

static void tell_received(void *ctx)
{
	struct net *net = ctx;

	virtio_interrupt(&net->dev, RX);
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

bool net_receive(struct net *net, const void *frame, size_t bytes)
{
	struct header header = { .num_buffers = 1 };
	struct virtq_chain *chain = &net->rx_chain;

	_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the header is little-endian");
	if (bytes < ETHERNET_HEADER_BYTES || bytes > NET_FRAME_BYTES_MAX)
		return true; /* dropped: waiting would not make it fit */
	if (!virtio_running(&net->dev) || !pop_receive_chain(net)) {
		net->refused = true;
		return false;
	}
	/* Too small a chain goes back empty and the frame is dropped: a receive queue must never stall. */
	if (chain->in_bytes >= sizeof(header) + bytes) {
		chain_write(chain, &header, sizeof(header));
		chain_write(chain, frame, bytes);
	}
	virtq_push(&net->dev.queues[RX], chain->head, (uint32_t)chain->written_bytes);
	loop_task_post(net->dev.env.loop, &net->tell_received);
	return true;
}

/* The driver may have made room. Only news when somebody waits for it. */
static void receive_kick(struct net *net)
{
	if (!net->refused || !virtq_has_work(&net->dev.queues[RX]))
		return;
	net->refused = false;
	if (net->backend.receive_ready)
		net->backend.receive_ready(net->backend.ctx);
}

/* One chain: header, then the frame. What is not a frame is dropped, as a card would. */
static void transmit_chain(struct net *net, struct virtq_chain *chain)
{
	struct header header;
	uint64_t bytes;
	unsigned count;

	if (chain_read(chain, &header, sizeof(header)) != sizeof(header))
		return;
	/* No segmentation was negotiated. Other fields only mean something together with it or with a checksum. */
	if (header.gso_type != VIRTIO_NET_HDR_GSO_NONE)
		return;
	bytes = chain->out_bytes - sizeof(header);
	if (bytes < ETHERNET_HEADER_BYTES || bytes > NET_FRAME_BYTES_MAX || !net->backend.transmit)
		return;
	count = chain_iov_out(chain, net->tx_iov, ARRAY_SIZE(net->tx_iov));
	net->backend.transmit(net->backend.ctx, net->tx_iov, count, bytes);
}

static void transmit_kick(struct net *net)
{
	struct virtq *vq = &net->dev.queues[TX];
	unsigned budget = vq->num;

	do {
		virtq_kick_disable(vq);
		while (budget && virtio_pop(&net->dev, TX, &net->tx_chain)) {
			transmit_chain(net, &net->tx_chain);
			virtq_push(vq, net->tx_chain.head, 0);
			budget--;
		}
		if (!budget) {
			virtio_kick_again(&net->dev, TX); /* kicks stay off: we come back by ourselves */
			break;
		}
	} while (virtq_kick_enable(vq));
	virtio_interrupt(&net->dev, TX);
}

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
}

static const struct virtio_ops net_ops = {
	.kick = net_kick,
	.start = net_start,
	.reset = net_reset,
};

struct net *net_new(const struct virtio_env *env, const uint8_t mac[6], uint16_t mtu)
{
	struct net *net = xcalloc(1, sizeof(*net));

	memcpy(net->config.mac, mac, sizeof(net->config.mac));
	net->config.status = VIRTIO_NET_S_LINK_UP;
	net->config.mtu = mtu;
	net->tell_received = (struct loop_task){ .fn = tell_received, .ctx = net };
	net->dev.ops = &net_ops;
	net->dev.name = "net";
	net->dev.device_id = VIRTIO_ID_NET;
	net->dev.device_features = UINT64_C(1) << VIRTIO_NET_F_MAC | UINT64_C(1) << VIRTIO_NET_F_MTU |
				   UINT64_C(1) << VIRTIO_NET_F_STATUS;
	net->dev.config = &net->config;
	/* What these features make visible; the fields behind mtu belong to others. */
	net->dev.config_bytes = offsetof(struct virtio_net_config, mtu) + sizeof(net->config.mtu);
	net->dev.queue_count = 2;
	virtio_init(&net->dev, env);
	return net;
}

void net_free(struct net *net)
{
	if (!net)
		return;
	loop_task_cancel(net->dev.env.loop, &net->tell_received);
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

// SPDX-License-Identifier: Apache-2.0
/* vsock_guest: see vsock_guest.h. Must not know who listens on the host. */
#include "tests/unit/vsock_guest.h"

#include "lib/util.h"

#include <stdlib.h>
#include <string.h>

enum { RX, TX, TX_BYTES_MAX = 512 * 1024 };

void guest_post(struct guest *guest, unsigned count)
{
	struct ring_buf buf = {.bytes = GUEST_RX_BYTES};

	while (count--) {
		buf.gpa = rig_alloc(&guest->rig, GUEST_RX_BYTES);
		ring_add(&guest->rig.rings[RX], NULL, 0, &buf, 1);
	}
	ring_kick(&guest->rig.rings[RX]);
}

void guest_init(struct guest *guest, bool post)
{
	*guest = (struct guest){.buf_alloc = GUEST_BUFFER_BYTES};
	rig_init(&guest->rig);
	guest->vsock = vsock_new(&guest->rig.env);
	rig_start(&guest->rig, vsock_dev(guest->vsock), 0);
	guest->tx_gpa = rig_alloc(&guest->rig, TX_BYTES_MAX);
	if (post)
		guest_post(guest, GUEST_RX_COUNT);
}

void guest_fini(struct guest *guest)
{
	vsock_free(guest->vsock);
	rig_fini(&guest->rig);
	free(guest->stream);
}

struct virtio_vsock_hdr guest_header(const struct guest *guest, uint16_t op, uint32_t guest_port, uint32_t host_port,
				     size_t bytes)
{
	return (struct virtio_vsock_hdr){
		.src_cid = VSOCK_GUEST_CID,
		.dst_cid = VSOCK_HOST_CID,
		.src_port = guest_port,
		.dst_port = host_port,
		.len = (uint32_t)bytes,
		.type = VIRTIO_VSOCK_TYPE_STREAM,
		.op = op,
		.buf_alloc = guest->buf_alloc,
		.fwd_cnt = guest->fwd_cnt,
	};
}

/* Header and data in buffers of their own, as the Linux driver does it. */
void guest_send_raw(struct guest *guest, const struct virtio_vsock_hdr *hdr, const void *data, size_t bytes)
{
	struct ring *tx = &guest->rig.rings[TX];
	struct ring_buf out[2] = {{guest->tx_gpa, sizeof(*hdr)}, {guest->tx_gpa + sizeof(*hdr), (uint32_t)bytes}};

	memcpy(rig_at(&guest->rig, out[0].gpa), hdr, sizeof(*hdr));
	if (bytes)
		memcpy(rig_at(&guest->rig, out[1].gpa), data, bytes);
	ring_add(tx, out, bytes ? 2 : 1, NULL, 0);
	ring_kick(tx);
	ring_take(tx, NULL, 0);
}

void guest_send(struct guest *guest, uint16_t op, uint32_t guest_port, uint32_t host_port, uint32_t flags,
		const void *data, size_t bytes)
{
	struct virtio_vsock_hdr hdr = guest_header(guest, op, guest_port, host_port, bytes);

	hdr.flags = flags;
	guest_send_raw(guest, &hdr, data, bytes);
}

bool guest_take(struct guest *guest)
{
	struct ring *rx = &guest->rig.rings[RX];
	uint8_t packet[GUEST_RX_BYTES];
	struct ring_buf buf = {.bytes = GUEST_RX_BYTES};
	int64_t bytes;

	if (!ring_takeable(rx))
		rig_turn(&guest->rig);
	bytes = ring_take(rx, packet, sizeof(packet));
	if (bytes < (int64_t)sizeof(guest->hdr))
		return false;
	memcpy(&guest->hdr, packet, sizeof(guest->hdr));
	memcpy(guest->payload, packet + sizeof(guest->hdr), (size_t)bytes - sizeof(guest->hdr));
	buf.gpa = ring_desc(rx, rx->last_head)->gpa;
	ring_add(rx, NULL, 0, &buf, 1);
	ring_kick(rx);
	return true;
}

bool guest_expect(struct guest *guest, uint16_t op, uint32_t guest_port, uint32_t host_port)
{
	return guest_take(guest) && guest->hdr.op == op && guest->hdr.dst_port == guest_port &&
	       guest->hdr.src_port == host_port && guest->hdr.dst_cid == VSOCK_GUEST_CID &&
	       guest->hdr.src_cid == VSOCK_HOST_CID;
}

void guest_pump(struct guest *guest, bool consume)
{
	while (guest_take(guest)) {
		size_t bytes = guest->hdr.op == VIRTIO_VSOCK_OP_RW ? guest->hdr.len : 0;

		guest->ops[guest->hdr.op % ARRAY_SIZE(guest->ops)]++;
		guest->stream = xrealloc(guest->stream, guest->stream_bytes + bytes + 1);
		memcpy(guest->stream + guest->stream_bytes, guest->payload, bytes);
		guest->stream_bytes += bytes;
		if (consume)
			guest->fwd_cnt += (uint32_t)bytes;
	}
}

bool guest_connect(struct guest *guest, uint32_t guest_port, uint32_t host_port)
{
	guest_send(guest, VIRTIO_VSOCK_OP_REQUEST, guest_port, host_port, 0, NULL, 0);
	return guest_expect(guest, VIRTIO_VSOCK_OP_RESPONSE, guest_port, host_port);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * network: owns the netlink talk. Until a pod arrives the address is
 * the same in every one: what it wants otherwise is changed then, and only then costs anything.
 *
 * All requests travel in one message: the kernel works through them in order and acknowledges each, so the default
 * route finds the address and the interface up that came before it. Two system calls for the whole network.
 */
#define _GNU_SOURCE

#include "init/network.h"

#include "lib/util.h"
#include "pod/abi.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { REQUESTS_MAX = 6, BATCH_BYTES = 512, LO_INDEX = 1 };

struct batch {
	uint8_t bytes[BATCH_BYTES] __attribute__((aligned(NLMSG_ALIGNTO)));
	size_t used;
	unsigned count;
	const char *what[REQUESTS_MAX]; /* by sequence number */
};

static struct nlmsghdr *request(struct batch *batch, const char *what, uint16_t type, uint16_t flags,
				const void *body, size_t bytes)
{
	struct nlmsghdr *header = (struct nlmsghdr *)(batch->bytes + batch->used);

	header->nlmsg_len = (uint32_t)NLMSG_LENGTH(bytes);
	header->nlmsg_type = type;
	header->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags);
	header->nlmsg_seq = batch->count;
	memcpy(NLMSG_DATA(header), body, bytes);
	batch->what[batch->count++] = what;
	batch->used += NLMSG_ALIGN(header->nlmsg_len);
	return header;
}

/* Adds an attribute to the request made last. */
static void attribute(struct batch *batch, struct nlmsghdr *header, uint16_t type, const void *value, size_t bytes)
{
	struct rtattr *attr = (struct rtattr *)(batch->bytes + batch->used);

	attr->rta_type = type;
	attr->rta_len = (uint16_t)RTA_LENGTH(bytes);
	memcpy(RTA_DATA(attr), value, bytes);
	header->nlmsg_len = NLMSG_ALIGN(header->nlmsg_len) + RTA_ALIGN(attr->rta_len);
	batch->used += RTA_ALIGN(attr->rta_len);
}

static void add_link_up(struct batch *batch, const char *what, int index)
{
	struct ifinfomsg link = {.ifi_index = index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};

	request(batch, what, RTM_NEWLINK, 0, &link, sizeof(link));
}

static void add_address(struct batch *batch, const char *what, uint16_t type, int index, struct in_addr address,
			unsigned prefix)
{
	struct ifaddrmsg body = {.ifa_family = AF_INET, .ifa_prefixlen = (uint8_t)prefix, .ifa_index = (uint32_t)index};
	struct in_addr broadcast = {.s_addr = address.s_addr | htonl((uint32_t)((1ull << (32 - prefix)) - 1))};
	uint16_t flags = type == RTM_NEWADDR ? NLM_F_CREATE | NLM_F_REPLACE : 0;
	struct nlmsghdr *header = request(batch, what, type, flags, &body, sizeof(body));

	attribute(batch, header, IFA_LOCAL, &address, sizeof(address));
	attribute(batch, header, IFA_ADDRESS, &address, sizeof(address));
	if (type == RTM_NEWADDR)
		attribute(batch, header, IFA_BROADCAST, &broadcast, sizeof(broadcast));
}

static void add_default_route(struct batch *batch, const char *what, int index, struct in_addr gateway)
{
	struct rtmsg body = {.rtm_family = AF_INET,
			     .rtm_table = RT_TABLE_MAIN,
			     .rtm_protocol = RTPROT_BOOT,
			     .rtm_scope = RT_SCOPE_UNIVERSE,
			     .rtm_type = RTN_UNICAST};
	struct nlmsghdr *header = request(batch, what, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, &body, sizeof(body));

	attribute(batch, header, RTA_GATEWAY, &gateway, sizeof(gateway));
	attribute(batch, header, RTA_OIF, &index, sizeof(index));
}

/* Down, and another name: the kernel renames only an interface that is down. */
static void add_rename(struct batch *batch, int index, const char *name)
{
	struct ifinfomsg down = {.ifi_index = index, .ifi_change = IFF_UP}, same = {.ifi_index = index};
	struct nlmsghdr *header;

	request(batch, ABI_NET_IFNAME " down", RTM_NEWLINK, 0, &down, sizeof(down));
	header = request(batch, "the interface's name", RTM_NEWLINK, 0, &same, sizeof(same));
	attribute(batch, header, IFLA_IFNAME, name, strlen(name) + 1);
}

/* Reads one acknowledgement per request; the first refusal counts. */
static int read_acks(int fd, const struct batch *batch, const char **what)
{
	uint8_t bytes[4096] __attribute__((aligned(NLMSG_ALIGNTO)));
	unsigned seen = 0;
	int first = 0;

	while (seen < batch->count) {
		ssize_t got = recv(fd, bytes, sizeof(bytes), 0);

		if (got <= 0)
			return got < 0 ? -errno : -EIO;
		for (struct nlmsghdr *h = (struct nlmsghdr *)bytes; NLMSG_OK(h, got); h = NLMSG_NEXT(h, got)) {
			struct nlmsgerr *ack = NLMSG_DATA(h);

			if (h->nlmsg_type != NLMSG_ERROR || h->nlmsg_len < NLMSG_LENGTH(sizeof(*ack)))
				continue;
			seen++;
			if (ack->error && !first && h->nlmsg_seq < batch->count) {
				first = ack->error;
				*what = batch->what[h->nlmsg_seq];
			}
		}
	}
	return first;
}

static struct in_addr address_of(const char *text)
{
	struct in_addr address = {0};

	inet_pton(AF_INET, text, &address);
	return address;
}

static int batch_send(const struct batch *batch, const char **what)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), err;

	*what = "netlink";
	if (fd < 0)
		return -errno;
	err = send(fd, batch->bytes, batch->used, 0) < 0 ? -errno : read_acks(fd, batch, what);
	close(fd);
	return err;
}

int network_up(const char **what)
{
	struct batch batch = {.used = 0};
	int index = (int)if_nametoindex(ABI_NET_IFNAME);

	add_link_up(&batch, "lo up", LO_INDEX);
	if (index > 0) {
		add_address(&batch, "address " ABI_NET_GUEST, RTM_NEWADDR, index, address_of(ABI_NET_GUEST), ABI_NET_PREFIX);
		add_link_up(&batch, ABI_NET_IFNAME " up", index);
		add_default_route(&batch, "route by " ABI_NET_GATEWAY, index, address_of(ABI_NET_GATEWAY));
	}
	return batch_send(&batch, what);
}

/* The address goes before the new one comes, so that its routes go as well; down and up again they are gone anyway. */
int network_adapt(const struct spec_interface *interface, const char **what)
{
	struct in_addr ip = {.s_addr = htonl(interface->ip)}, gateway = {.s_addr = htonl(interface->gateway)};
	struct in_addr old = address_of(ABI_NET_GUEST);
	int index = (int)if_nametoindex(ABI_NET_IFNAME);
	struct batch batch = {.used = 0};
	bool renamed = strcmp(interface->ifname, ABI_NET_IFNAME) != 0;

	if (index <= 0 || (!renamed && ip.s_addr == old.s_addr && interface->prefix == ABI_NET_PREFIX &&
			   gateway.s_addr == address_of(ABI_NET_GATEWAY).s_addr))
		return 0;
	if (renamed)
		add_rename(&batch, index, interface->ifname);
	add_address(&batch, "address " ABI_NET_GUEST " off", RTM_DELADDR, index, old, ABI_NET_PREFIX);
	add_address(&batch, "the interface's ip", RTM_NEWADDR, index, ip, interface->prefix);
	add_link_up(&batch, "the interface up", index);
	add_default_route(&batch, "the interface's gateway", index, gateway);
	return batch_send(&batch, what);
}

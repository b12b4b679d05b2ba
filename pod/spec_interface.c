/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spec_interface: key "interfaces". Owns the rules for the pod's one network card and its addresses; must not know how they
 * come to be. Hyper's file may have several, each on a bridge of the host: the first is the card, others are told.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pod/abi.h"
#include "pod/spec_walk.h"

enum { PREFIX_MIN = 8, PREFIX_MAX = 29 /* the pod, its gateway and its resolver */, IFNAME_BYTES_MAX = 15, LIST_MAX = 16 };

static bool address_read(const char *text, uint32_t *address)
{
	struct in_addr addr;

	if (inet_pton(AF_INET, text, &addr) != 1)
		return false;
	*address = ntohl(addr.s_addr);
	return true;
}

static uint32_t mask_of(const struct spec_interface *interface)
{
	return interface->prefix ? UINT32_MAX << (32 - interface->prefix) : 0;
}

/* Inside the network, and an address that one machine may have. */
static bool is_host(const struct spec_interface *interface, uint32_t address)
{
	uint32_t mask = mask_of(interface);

	return (address & mask) == (interface->ip & mask) && (address & ~mask) && (address & ~mask) != ~mask;
}

static uint32_t gateway_default(const struct spec_interface *interface)
{
	uint32_t second = (interface->ip & mask_of(interface)) + 2;

	return interface->ip == second ? second - 1 : second;
}

uint32_t spec_interface_dns(const struct spec_interface *interface)
{
	uint32_t address = (interface->ip & mask_of(interface)) + 3;

	while (address == interface->ip || address == interface->gateway)
		address--;
	return address;
}

void spec_interface_default(struct spec_interface *interface)
{
	static const uint8_t mac[6] = ABI_NET_MAC;

	text_set(&interface->ifname, ABI_NET_IFNAME);
	memcpy(interface->mac, mac, sizeof(mac));
	address_read(ABI_NET_GUEST, &interface->ip);
	interface->prefix = ABI_NET_PREFIX;
	interface->mtu = ABI_NET_MTU;
	interface->gateway = gateway_default(interface);
}

static void interface_init(struct walk *walk, void *target)
{
	struct spec_interface *interface = target;

	(void)walk;
	spec_interface_default(interface);
	interface->gateway = 0; /* not given */
}

static void interface_finish(struct walk *walk, void *target)
{
	struct spec_interface *interface = target;

	if (!interface->gateway)
		interface->gateway = gateway_default(interface);
	else if (!is_host(interface, interface->gateway) || interface->gateway == interface->ip)
		walk_note(walk, SPEC_ERROR, "its gateway is not in the network of its ip; expected another address of it");
}

/* Not of this machine alone, nor of many: 0/8, 127/8, 224/3. */
static bool is_unicast(uint32_t address)
{
	uint32_t first = address >> 24;

	return first && first != 127 && first < 224;
}

static bool cidr_read(const char *text, struct spec_interface *interface)
{
	size_t bytes = strcspn(text, "/"), digits = text[bytes] ? strspn(text + bytes + 1, "0123456789") : 0;
	struct spec_interface read = {.ip = 0};
	char address[INET_ADDRSTRLEN];

	if (bytes >= sizeof(address) || !digits || digits > 2 || text[bytes + 1 + digits])
		return false;
	snprintf(address, sizeof(address), "%.*s", (int)bytes, text);
	read.prefix = (unsigned)atoi(text + bytes + 1);
	if (!address_read(address, &read.ip) || read.prefix < PREFIX_MIN || read.prefix > PREFIX_MAX ||
	    !is_unicast(read.ip) || !is_host(&read, read.ip))
		return false;
	interface->ip = read.ip;
	interface->prefix = read.prefix;
	return true;
}

static void value_cidr(struct walk *walk, const struct key *key, const cJSON *item, void *target)
{
	if (!cJSON_IsString(item) || (*item->valuestring && !cidr_read(item->valuestring, target)))
		walk_bad(walk, key);
}

/* Read after the ip. */
static void value_gateway(struct walk *walk, const struct key *key, const cJSON *item, void *target)
{
	struct spec_interface *interface = target;

	if (!cJSON_IsString(item) || (*item->valuestring && (!address_read(item->valuestring, &interface->gateway) ||
							     !is_unicast(interface->gateway))))
		walk_bad(walk, key);
}

/* "52:54:00:12:34:56", of one machine and not all zero. */
static bool mac_read(const char *text, uint8_t mac[6])
{
	static const uint8_t none[6];
	uint8_t read[6];

	if (strlen(text) != 17)
		return false;
	for (unsigned i = 0; i < 17; i++)
		if (i % 3 == 2 ? text[i] != ':' : !isxdigit((unsigned char)text[i]))
			return false;
	for (unsigned i = 0; i < 6; i++)
		read[i] = (uint8_t)strtoul(text + 3 * i, NULL, 16);
	if (read[0] & 1 || !memcmp(read, none, 6))
		return false;
	memcpy(mac, read, 6);
	return true;
}

static void value_mac(struct walk *walk, const struct key *key, const cJSON *item, void *target)
{
	struct spec_interface *interface = target;

	if (!cJSON_IsString(item) || (*item->valuestring && !mac_read(item->valuestring, interface->mac)))
		walk_bad(walk, key);
}

static bool check_ifname(const char *text)
{
	size_t bytes = strlen(text);

	for (const char *at = text; *at; at++)
		if (!isalnum((unsigned char)*at) && (at == text || !strchr("-_.", *at)))
			return false;
	return bytes && bytes <= IFNAME_BYTES_MAX && strcmp(text, "lo") && strcmp(text, "all") && strcmp(text, "default");
}

static const struct key interface_keys[] = {
	KEY("ip", value_cidr, "an IPv4 address with its network's prefix of 8 to 29 bits, such as \"10.1.2.3/24\""),
	KEY("gateway", value_gateway, "an IPv4 address"),
	KEY("mac", value_mac, "the address of one network card, such as \"52:54:00:12:34:56\""),
	KEY("mtu", value_number, "a whole number from 576 to 65520", AT(spec_interface, mtu), .size = 4, .min = 576,
	    .max = ABI_NET_MTU),
	KEY("ifname", value_text, "the name of an interface: at most 15 letters, digits, \"-\", \"_\" and \".\"",
	    AT(spec_interface, ifname), .check = check_ifname),
	KEY("bridge", value_ignored, NULL),
	KEY("id", value_ignored, NULL),
};
_Static_assert(ABI_NET_MTU == 65520, "interface_keys says this number in words");
static const struct shape interface_shape =
	SHAPE(interface_keys, .init = interface_init, .finish = interface_finish);

/* One byte an element, thrown away: whether it has a gateway. */
struct interface_list {
	char *has_gateway;
	size_t count;
};

static bool has_gateway(const cJSON *item)
{
	const cJSON *gateway = cJSON_GetObjectItem(item, "gateway");

	return cJSON_IsString(gateway) && *gateway->valuestring;
}

static void value_interface(struct walk *walk, const struct key *key, const cJSON *item, void *target)
{
	struct spec_interface other = {.ifname = NULL};
	const char *given = walk->list.base;
	size_t index = walk->list.index;

	value_object(walk, key, item, index ? &other : &walk->pod->interface);
	free(other.ifname);
	*(char *)target = has_gateway(item);
	if (index)
		walk_note(walk, SPEC_WARNING, "a pod has one network card, ignored");
	for (size_t i = 0; i < index && has_gateway(item); i++)
		if (given[i])
			walk_note(walk, SPEC_ERROR, "a gateway, as interfaces[%zu] has; expected one at most", i);
}

const struct key spec_interface_element =
	ELEMENT(value_interface, "an object: {\"ip\": ..., \"gateway\": ...}", .shape = &interface_shape);
static const struct key list_key = LIST(NULL, SPEC_INTERFACES, interface_list, has_gateway, count, LIST_MAX, spec_interface_element);

void value_interfaces(struct walk *walk, const struct key *key, const cJSON *item, void *target)
{
	struct interface_list list = {0};

	(void)key;
	(void)target;
	value_list(walk, &list_key, item, &list);
	free(list.has_gateway);
}

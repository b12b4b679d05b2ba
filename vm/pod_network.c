// SPDX-License-Identifier: Apache-2.0
/* pod_network: puts together devices/net_slirp, egress and pcap as the spec says. What each of them does is its own. */
#include "vm/pod_network.h"

#include "devices/egress.h"
#include "devices/net_slirp.h"
#include "devices/pcap.h"
#include "lib/glib/glib.h"
#include "lib/log.h"
#include "lib/netrule.h"
#include "lib/util.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct pod_network {
	struct net *net;
	struct net_slirp *slirp;
	struct egress *egress; /* NULL: open */
	struct pcap *pcap;     /* NULL: none */
};

/* What libslirp complains of is the guest's doing. */
static void network_log(const char *level, const char *message)
{
	static struct log_limit limit;

	(void)level;
	log_guest(&limit, "network: %s", message);
}

static struct egress *egress_make(const struct spec_pod *spec)
{
	static const enum egress_mode modes[] = {
		[SPEC_EGRESS_OPEN] = EGRESS_OPEN, [SPEC_EGRESS_OFF] = EGRESS_OFF, [SPEC_EGRESS_ALLOW] = EGRESS_ALLOW};
	const struct spec_network *network = &spec->network;
	struct egress *egress;
	struct netrule *rules;
	struct netaddr resolver;

	if (network->egress == SPEC_EGRESS_OPEN)
		return NULL; /* nobody has to be asked */
	rules = xcalloc(network->allow_count + 1, sizeof(*rules));
	for (size_t i = 0; i < network->allow_count; i++)
		if (!netrule_parse(network->allow[i], &rules[i]))
			die("podvm.network.allow[%zu]: %s is no destination", i, network->allow[i]);
	egress = egress_new(modes[network->egress], rules, network->allow_count);
	for (size_t i = 0; i < spec->dns_count; i++)
		if (netaddr_parse(spec->dns[i], &resolver))
			egress_resolver_add(egress, &resolver);
	free(rules);
	return egress;
}

static void clients_parse(struct netrule *rules, char **networks, size_t count, const char *key)
{
	for (size_t i = 0; i < count; i++)
		if (!netrule_parse(networks[i], &rules[i]))
			die("portmappingWhiteLists.%s[%zu]: %s is no network", key, i, networks[i]);
}

/* Both lists: internal networks reach all ports of a pod, and there are no others to reach than the published ones. */
static struct netrule *clients_make(const struct spec_pod *spec)
{
	struct netrule *rules = xcalloc(spec->internal_count + spec->external_count + 1, sizeof(*rules));

	clients_parse(rules, spec->internal_networks, spec->internal_count, "internalNetworks");
	clients_parse(rules + spec->internal_count, spec->external_networks, spec->external_count, "externalNetworks");
	return rules;
}

static void backend_make(struct pod_network *network, const struct pod_network_config *config)
{
	const struct spec_interface *interface = &config->spec->interface;
	const char *hostname = config->spec->hostname;
	struct netrule *clients = clients_make(config->spec);
	struct net_slirp_config slirp = {
		.hostname = hostname[0] ? hostname : NULL,
		.mac = interface->mac,
		.egress = network->egress = egress_make(config->spec),
		.clients = clients,
		.client_count = config->spec->internal_count + config->spec->external_count,
		.guest = interface->ip,
		.gateway = interface->gateway,
		.dns = spec_interface_dns(interface),
		.prefix_bits = interface->prefix,
		.mtu = (uint16_t)interface->mtu,
		.host_loopback = false,
	};

	glib_shim_set_logger(network_log);
	network->slirp = net_slirp_new(config->loop, config->net, &slirp);
	free(clients);
	if (!network->slirp)
		die("the user-mode network can not be set up");
}

static void limits_set(struct net *net, const struct spec_rate *rate)
{
	net_rate_set(net, &(struct net_rate){.receive_bytes = rate->receive_bytes,
					     .receive_frames = rate->receive_packets,
					     .transmit_bytes = rate->transmit_bytes,
					     .transmit_frames = rate->transmit_packets});
}

static void capture_start(struct pod_network *network, const struct pod_network_config *config)
{
	const char *path = config->pcap;
	int err;

	if (!path)
		return;
	err = pcap_new(config->loop, path, &network->pcap);
	if (err == -EINVAL)
		die("--pcap %s: not a regular file; name one, or none that is there yet", path);
	if (err)
		die("--pcap %s: %s", path, strerror(-err));
	net_capture(network->net, network->pcap);
}

static void port_publish(struct net_slirp *slirp, const char *pod_file, const struct spec_port *port)
{
	const char *protocol = port->udp ? "udp" : "tcp";
	struct netaddr addr;
	int host_port;

	if (!netaddr_parse(port->host_ip, &addr))
		die("%s: %s is no address to publish a port at", pod_file, port->host_ip);
	host_port = net_slirp_publish(slirp, port->udp, &addr, port->host_port, port->container_port);
	if (host_port == -EADDRINUSE)
		die("port %s:%u/%s is taken by another program; choose another hostPort or stop that program", port->host_ip,
		    port->host_port, protocol);
	if (host_port < 0)
		die("port %s:%u/%s can not be published: %s", port->host_ip, port->host_port, protocol, strerror(-host_port));
	if (port->host_port == 0)
		log_warn("port %u/%s of the pod is published at %s:%d", port->container_port, protocol, port->host_ip,
			 host_port);
}

struct pod_network *pod_network_new(const struct pod_network_config *config)
{
	struct pod_network *network = xcalloc(1, sizeof(*network));
	const struct spec_pod *spec = config->spec;

	network->net = config->net;
	backend_make(network, config);
	limits_set(network->net, &spec->network.rate);
	capture_start(network, config);
	for (size_t i = 0; i < spec->port_count; i++)
		port_publish(network->slirp, config->pod_file, &spec->ports[i]);
	return network;
}

void pod_network_capture_end(struct pod_network *network)
{
	net_capture(network->net, NULL);
	pcap_free(network->pcap);
	network->pcap = NULL;
}

void pod_network_free(struct pod_network *network)
{
	net_slirp_free(network->slirp);
	pod_network_capture_end(network);
	egress_free(network->egress);
	free(network);
}

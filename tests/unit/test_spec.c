/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_spec: pod files and what is said of them. The tables hold a file and every message it causes, word for word with
 * its place (the file's name is left out): what users read is part of the contract. E is an error, W a warning.
 */
#include "tests/unit/test.h"

#include <linux/capability.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "lib/util.h"
#include "pod/spec.h"
#include "tests/unit/spec_equal.h"

struct row {
	const char *text, *messages;
};

/* A fault of the pod, of a container, of an image, in a pod that has no other. */
#define A_URI "a URI: \"file:///PATH\", \"http://...\" or \"https://...\""
#define POD(members) "{\"containers\":[{\"image\":\"a\"}]," members "}"
#define CONTAINER(members)                                                                                             \
	"{\"files\":[{\"name\":\"f\"}],\"volumes\":[{\"name\":\"v\"},{\"name\":\"w\"}],\"containers\":[{\"image\":"    \
	"\"a\"," members "}]}"
#define IMAGE(value) "{\"containers\":[{\"image\":" value "}]}"

/* clang-format off */
#define A_PORT "a port from 1 to 65535 or a range such as \"8000-8080\""
#define A_HOST_PORT "a port from 1 to 65535, a range such as \"8000-8080\", or \"\" for a free one"
#define AN_IMAGE "an image reference, or a path that begins with \"/\", \"./\" or \"../\""
#define A_NAME "a name: letters, digits, \"-\", \"_\" and \".\", the first a letter or digit, at most "
#define A_HOSTNAME "a hostname: labels of letters, digits and \"-\" (RFC 1123), at most 63"
#define A_SIGNAL "a signal such as \"TERM\", \"SIGRTMIN+3\" or 15"
#define A_FILE_NAME "a name without \"/\", at most 255 bytes"
#define A_SOURCE "a path that begins with \"/\", \"./\" or \"../\""
#define A_PATH "an absolute path without \"..\""

static const struct row syntax_rows[] = {
	{"", "E: 1:1: the file is empty; expected {...}"},
	{" \n", "E: 1:1: the file is empty; expected {...}"},
	{"{", "E: 1:1: this { is never closed"},
	{"[", "E: 1:1: this [ is never closed"},
	{"{\"a\":1,}", "E: 1:7: trailing comma: nothing follows it"},
	{"{\"containers\":[{\"image\":\"a\"},]}", "E: 1:29: trailing comma: nothing follows it"},
	{"{\"a\" 1}", "E: 1:6: missing colon after the key"},
	{"{\"a:1}", "E: 1:2: missing closing quote"},
	{"{\"a\":\"b\n\"}", "E: 1:6: missing closing quote"},
	{"[1 2]", "E: 1:4: missing comma before this"},
	{"{a:1}", "E: 1:2: missing quote: keys need double quotes"},
	{"{'a':1}", "E: 1:2: single quote; keys need double quotes"},
	{"{\"a\":'b'}", "E: 1:6: single quote; text needs double quotes"},
	{"{} x", "E: 1:4: text after the end"},
	{"{}}", "E: 1:3: this } closes nothing"},
	{"{\"a\":[1,2}", "E: 1:10: this } does not close the [ that is open; expected ]"},
	{"{\"a\":tru}", "E: 1:6: unknown word tru; text needs quotes, else only true, false and null are known"},
	{"{\"a\":True}", "E: 1:6: unknown word True; text needs quotes, else only true, false and null are known"},
	{"{\"a\":NaN}", "E: 1:6: unknown word NaN; text needs quotes, else only true, false and null are known"},
	{"{\"a\":01}", "E: 1:6: number with a leading zero"},
	{"{\"a\":-}", "E: 1:6: minus without a number"},
	{"{\"a\":+1}", "E: 1:6: number that begins with +"},
	{"{\"a\":.5}", "E: 1:6: number that begins with ."},
	{"{\"a\":1.}", "E: 1:6: number that ends in a point"},
	{"{\"a\":1e}", "E: 1:6: number with an empty exponent"},
	{"{\"a\":0x10}", "E: 1:6: malformed number; text needs quotes"},
	{"{\"a\":1.2.3}", "E: 1:6: malformed number; text needs quotes"},
	{"// c\n{}", "E: 1:1: comment; JSON has none"},
	{"{\"a\":1 /* x */}", "E: 1:8: comment; JSON has none"},
	{"{\n# c\n\"a\":1}", "E: 2:1: comment; JSON has none"},
	{"{} // c", "E: 1:4: comment; JSON has none"},
	{"{\"a\":}", "E: 1:6: missing value before this }"},
	{"{\"a\":,\"b\":1}", "E: 1:6: missing value before this ,"},
	{"[1,,2]", "E: 1:4: missing value before this ,"},
	{"{,}", "E: 1:2: missing key; expected one in double quotes"},
	{"{\"a\":1:2}", "E: 1:7: unexpected :; expected a comma or }"},
	{"{\"a\":1 \"b\":2}", "E: 1:8: missing comma before this"},
	{"{\"a\":\"\"b\"}", "E: 1:8: missing comma before this"},
	{"{\"a\":\"b\"", "E: 1:1: this { is never closed"},
	{"{\"a\":\"x\ty\"}", "E: 1:8: tab in a string; it is written \\t"},
	{"{\"a\":\"x\001y\"}", "E: 1:8: control character 0x01 in a string; it is written \\u0001"},
	{"{\"a\":\"\\q\"}", "E: 1:7: unknown escape \\q in a string; a backslash is written \\\\"},
	{"{\"a\":\"\\u12g4\"}", "E: 1:7: \\u without four hex digits behind it"},
	{"{\"a\":\"\\u0000\"}", "E: 1:7: \\u0000 in a string: NUL is not allowed"},
	{"{\"a\":\"\\ud800\"}", "E: 1:7: half of a surrogate pair; both halves are needed"},
	{"{\"a\":\"\\ud800\\u0041\"}", "E: 1:7: half of a surrogate pair; both halves are needed"},
	{"{\"a\":\"\\udc00\"}", "E: 1:7: half of a surrogate pair; both halves are needed"},
	{"{\"a\":\"\\", "E: 1:7: backslash that escapes nothing; a backslash is written \\\\"},
	{"{\"a\":1111111111111111111111111111111111111111111111111111111111111}",
	 "E: 1:6: number of more than 60 characters"},
	{"{\"a\":@}", "E: 1:6: unexpected @; expected a value"},
	{"{\"a\":\177}", "E: 1:6: unexpected character; expected a value"},
	{"{\n\t\"b\": [\n\t\t1,\n\t\t2\n\t\t3\n\t]\n}", "E: 5:3: missing comma before this"},
	{"{\"é\":1,}", "E: 1:7: trailing comma: nothing follows it"},
	{"{\"a\":\n\n", "E: 1:1: this { is never closed"},
	{"{\"a\":1,", "E: 1:1: this { is never closed"},
	{"{\"a\"", "E: 1:1: this { is never closed"},
	{"[1,", "E: 1:1: this [ is never closed"},
};

static const struct row shape_rows[] = {
	{"5", "E: 1:1: 5 is not an object: {\"containers\": [...]}"},
	{"\"x\"", "E: 1:1: \"x\" is not an object: {\"containers\": [...]}"},
	{"null", "E: 1:1: null is not an object: {\"containers\": [...]}"},
	{"[]", "E: 1:1: [] is not an object: {\"containers\": [...]}"},
	{"[{\"image\":\"a\"}]", "E: 1:1: [...] is not an object: {\"containers\": [...]}"},
	{"{}", "E: 1:1: containers: missing; expected an array of {\"image\": ..., \"command\": [...]}"},
	{"{\"containers\":null}",
	 "E: 1:1: containers: missing; expected an array of {\"image\": ..., \"command\": [...]}"},
	{"{\"containers\":{}}", "E: 1:15: containers: {} is not an array of {\"image\": ..., \"command\": [...]}"},
	{"{\"containers\":[]}", "E: 1:15: containers: 0 elements; expected 1 to 64"},
	{"{\"containers\":[5]}", "E: 1:16: containers[0]: 5 is not an object: {\"image\": ..., \"command\": [...]}"},
	{"{\"containers\":[null]}",
	 "E: 1:16: containers[0]: null is not an object: {\"image\": ..., \"command\": [...]}"},
	{"{\"containers\":[{}]}", "E: 1:16: containers[0].image: missing; expected " AN_IMAGE},
	{"{\"containers\":[{\"image\":null}]}", "E: 1:16: containers[0].image: missing; expected " AN_IMAGE},
	{"{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"containers\":[{\"image\":\"a\"}]}",
	 "E: 1:15: apiVersion: not supported; expected hyper's pod.json, not a Kubernetes file\n"
	 "W: 1:20: kind: unknown key, ignored"},
};

static const struct row pod_rows[] = {
	{POD("\"id\":\"a b\""), "E: 1:36: id: \"a b\" is not " A_NAME "64"},
	{POD("\"id\":\"-a\""), "E: 1:36: id: \"-a\" is not " A_NAME "64"},
	{POD("\"id\":5"), "E: 1:36: id: 5 is not " A_NAME "64"},
	{POD("\"id\":\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\""),
	 "E: 1:36: id: \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx... is not " A_NAME "64"},
	{POD("\"hostname\":\"a_b\""), "E: 1:42: hostname: \"a_b\" is not " A_HOSTNAME},
	{POD("\"hostname\":\"-a\""), "E: 1:42: hostname: \"-a\" is not " A_HOSTNAME},
	{POD("\"hostname\":\"a-\""), "E: 1:42: hostname: \"a-\" is not " A_HOSTNAME},
	{POD("\"hostname\":\"a..b\""), "E: 1:42: hostname: \"a..b\" is not " A_HOSTNAME},
	{POD("\"hostname\":\"hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh\""),
	 "E: 1:42: hostname: \"hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh... is not " A_HOSTNAME},
	{POD("\"tty\":1"), "E: 1:37: tty: 1 is not true or false"},
	{POD("\"tty\":\"true\""), "E: 1:37: tty: \"true\" is not true or false"},
	{POD("\"restartPolicy\":\"sometimes\""),
	 "E: 1:47: restartPolicy: \"sometimes\" is not \"never\", \"onFailure\" or \"always\""},
	{POD("\"restartPolicy\":true"), "E: 1:47: restartPolicy: true is not \"never\", \"onFailure\" or \"always\""},
	{POD("\"resource\":5"), "E: 1:42: resource: 5 is not an object: {\"vcpu\": ..., \"memory\": ...}"},
	{POD("\"resource\":{\"vcpu\":0}"), "E: 1:50: resource.vcpu: 0 is not a whole number from 1 to 32"},
	{POD("\"resource\":{\"vcpu\":33}"), "E: 1:50: resource.vcpu: 33 is not a whole number from 1 to 32"},
	{POD("\"resource\":{\"vcpu\":\"two\"}"),
	 "E: 1:50: resource.vcpu: \"two\" is not a whole number from 1 to 32"},
	{POD("\"resource\":{\"vcpu\":1.5}"), "E: 1:50: resource.vcpu: 1.5 is not a whole number from 1 to 32"},
	{POD("\"resource\":{\"vcpu\":-1}"), "E: 1:50: resource.vcpu: -1 is not a whole number from 1 to 32"},
	{POD("\"resource\":{\"vcpu\":\"\"}"), "E: 1:50: resource.vcpu: \"\" is not a whole number from 1 to 32"},
	{POD("\"resource\":{\"memory\":23}"),
	 "E: 1:52: resource.memory: 23 is not a whole number of megabytes from 24 to 1048576"},
	{POD("\"resource\":{\"memory\":1048577}"),
	 "E: 1:52: resource.memory: 1048577 is not a whole number of megabytes from 24 to 1048576"},
	{POD("\"resource\":{\"memory\":\"128M\"}"),
	 "E: 1:52: resource.memory: \"128M\" is not a whole number of megabytes from 24 to 1048576"},
	{POD("\"resource\":{\"memory\":1e99}"),
	 "E: 1:52: resource.memory: 1e99 is not a whole number of megabytes from 24 to 1048576"},
	{POD("\"dns\":\"8.8.8.8\""), "E: 1:37: dns: \"8.8.8.8\" is not an array of addresses"},
	{POD("\"dns\":[\"8.8.8\"]"), "E: 1:38: dns[0]: \"8.8.8\" is not an IPv4 or IPv6 address"},
	{POD("\"dns\":[\"::1::\"]"), "E: 1:38: dns[0]: \"::1::\" is not an IPv4 or IPv6 address"},
	{POD("\"dns\":[\"\"]"), "E: 1:38: dns[0]: \"\" is not an IPv4 or IPv6 address"},
	{POD("\"dns\":[5]"), "E: 1:38: dns[0]: 5 is not an IPv4 or IPv6 address"},
	{POD("\"dnsSearch\":[\"a b\"]"), "E: 1:44: dnsSearch[0]: \"a b\" is not a string without blanks"},
	{POD("\"dnsSearch\":[\"a\\nnameserver 1.1.1.1\"]"),
	 "E: 1:44: dnsSearch[0]: \"a\\nnameserver 1.1.1.1\" is not a string without blanks"},
	{POD("\"dnsOptions\":[\"\"]"), "E: 1:45: dnsOptions[0]: \"\" is not a string without blanks"},
	{POD("\"dnsOptions\":[1]"), "E: 1:45: dnsOptions[0]: 1 is not a string without blanks"},
};

#define NETWORK(members) POD("\"podvm\":{\"network\":{" members "}}")
#define A_DESTINATION "an address, a network, a name or \"*.\" and a name, with \":port\" behind it or not: " \
	"\"192.0.2.7\", \"10.1.0.0/16\", \"[2001:db8::/32]:443\", \"*.example.org\""

static const struct row network_rows[] = {
	{POD("\"podvm\":5"), "E: 1:39: podvm: 5 is not an object: {\"network\": ..., \"sockets\": [...]}"},
	{POD("\"podvm\":{\"network\":[]}"), "E: 1:50: podvm.network: [] is not an object: {\"egress\": ...}"},
	{POD("\"podvm\":{\"netwrk\":{}}"), "W: 1:40: podvm.netwrk: unknown key, ignored; did you mean \"network\"?"},
	{NETWORK("\"egress\":\"closed\""),
	 "E: 1:60: podvm.network.egress: \"closed\" is not \"open\", \"off\" or \"allow\""},
	{NETWORK("\"egress\":true"), "E: 1:60: podvm.network.egress: true is not \"open\", \"off\" or \"allow\""},
	{NETWORK("\"egress\":\"allow\",\"allow\":[\"10.1.2.3/16\"]"),
	 "E: 1:77: podvm.network.allow[0]: \"10.1.2.3/16\" is not " A_DESTINATION},
	{NETWORK("\"egress\":\"allow\",\"allow\":[\"a\",\"::/129\",7]"),
	 "E: 1:81: podvm.network.allow[1]: \"::/129\" is not " A_DESTINATION "\n"
	 "E: 1:90: podvm.network.allow[2]: 7 is not " A_DESTINATION},
	{NETWORK("\"egress\":\"allow\",\"allow\":[\"\"]"), "E: 1:77: podvm.network.allow[0]: \"\" is not " A_DESTINATION},
	{NETWORK("\"allow\":[\"example.org\"]"),
	 "E: 1:59: podvm.network.allow: a list without \"egress\": \"allow\"; expected both"},
	{NETWORK("\"allow\":[\"example.org\"],\"egress\":\"off\""),
	 "E: 1:59: podvm.network.allow: a list without \"egress\": \"allow\"; expected both"},
	{NETWORK("\"rate\":{\"rxBytes\":-1}"),
	 "E: 1:69: podvm.network.rate.rxBytes: -1 is not a whole number per second from 0 to 4294967295, 0 being no limit"},
	{NETWORK("\"rate\":{\"txPackets\":\"4294967296\"}"),
	 "E: 1:71: podvm.network.rate.txPackets: \"4294967296\" is not a whole number per second from 0 to 4294967295, 0 being "
	 "no limit"},
	{NETWORK("\"egress\":\"Allow\",\"allow\":[\"*.example.org:443\",\"[2001:db8::/32]:1\"],\"rate\":{\"rxBytes\":1}"), ""},
	{NETWORK("\"egress\":\"off\",\"allow\":[]"), ""},
};

#define A_DISK "\"volumes\":[{\"name\":\"v\",\"format\":\"raw\",\"source\":\"/i\""
#define A_LIMIT "a whole number from 0 (no limit) to 4294967295"
#define DISK(n) ",{\"name\":\"" n "\",\"format\":\"raw\",\"source\":\"/i\"}"
#define DISKS_8 A_DISK "}" DISK("1") DISK("2") DISK("3") DISK("4") DISK("5") DISK("6") DISK("7")

static const struct row volume_rows[] = {
	{POD("\"volumes\":5"), "E: 1:41: volumes: 5 is not an array of {\"name\": ..., \"source\": ...}"},
	{POD("\"volumes\":[{}]"), "E: 1:42: volumes[0].name: missing; expected " A_FILE_NAME},
	{POD("\"volumes\":[{\"name\":\"\"}]"), "E: 1:50: volumes[0].name: \"\" is not " A_FILE_NAME},
	{POD("\"volumes\":[{\"name\":\"a/b\"}]"), "E: 1:50: volumes[0].name: \"a/b\" is not " A_FILE_NAME},
	{POD("\"volumes\":[{\"name\":\"..\"}]"), "E: 1:50: volumes[0].name: \"..\" is not " A_FILE_NAME},
	{POD("\"volumes\":[{\"name\":\"v\"},{\"name\":\"v\"}]"),
	 "E: 1:63: volumes[1].name: \"v\" is taken by volumes[0].name; expected another"},
	{POD("\"volumes\":[{\"name\":\"v\",\"format\":\"raw\"}]"),
	 "E: 1:42: volumes[0]: a \"raw\" volume without a source; expected the path of its disk image"},
	{POD(A_DISK ",\"fstype\":\"ext4,rw\"}]"),
	 "E: 1:92: volumes[0].fstype: \"ext4,rw\" is not the name of a file system such as \"ext4\""},
	{POD(A_DISK ",\"cache\":\"fast\"}]"),
	 "E: 1:91: volumes[0].cache: \"fast\" is not \"writeback\", \"writethrough\", \"none\", \"directsync\" or \"unsafe\""},
	{POD(A_DISK ",\"option\":5}]"),
	 "E: 1:92: volumes[0].option: 5 is not an object: {\"bytespersec\": ..., \"iops\": ...}"},
	{POD(A_DISK ",\"option\":{\"iops\":-1,\"bytespersec\":\"1M\"}}]"),
	 "E: 1:100: volumes[0].option.iops: -1 is not " A_LIMIT "\n"
	 "E: 1:117: volumes[0].option.bytespersec: \"1M\" is not " A_LIMIT},
	{POD(DISKS_8 ",{\"name\":\"8\",\"format\":\"raw\",\"source\":\"/i\"}]"),
	 "E: 1:378: volumes[8]: more than 8 \"raw\" volumes; expected fewer"},
	{POD("\"volumes\":[{\"name\":\"v\",\"format\":\"QCOW2\"}]"),
	 "E: 1:63: volumes[0].format: \"QCOW2\" is not supported yet; expected \"raw\", which qemu-img convert -O raw makes of it"},
	{POD("\"volumes\":[{\"name\":\"v\",\"driver\":\"rbd\"}]"),
	 "E: 1:63: volumes[0].driver: \"rbd\" is not supported yet; expected \"raw\", \"vfs\" or none"},
	{POD("\"volumes\":[{\"name\":\"v\",\"format\":\"nas\"}]"),
	 "E: 1:63: volumes[0].format: \"nas\" is not supported yet; expected \"raw\", \"vfs\" or none"},
	{POD("\"volumes\":[{\"name\":\"v\",\"format\":\"vdi\"}]"),
	 "E: 1:63: volumes[0].format: \"vdi\" is not supported yet; expected \"raw\", \"vfs\" or none"},
	{POD("\"volumes\":[{\"name\":\"v\",\"format\":\"zip\"}]"),
	 "E: 1:63: volumes[0].format: \"zip\" is not \"raw\", \"vfs\" or none"},
	{POD("\"volumes\":[{\"name\":\"v\",\"format\":1}]"), "E: 1:63: volumes[0].format: 1 is not \"raw\", \"vfs\" or none"},
	{POD("\"volumes\":[{\"name\":\"v\",\"source\":\"srv\"}]"),
	 "E: 1:63: volumes[0].source: \"srv\" is not " A_SOURCE},
	{POD("\"volumes\":[{\"name\":\"v\",\"source\":5}]"), "E: 1:63: volumes[0].source: 5 is not " A_SOURCE},
	{POD("\"files\":[{}]"), "E: 1:40: files[0].name: missing; expected " A_FILE_NAME},
	{POD("\"files\":[{\"name\":\"a/b\"}]"), "E: 1:48: files[0].name: \"a/b\" is not " A_FILE_NAME},
	{POD("\"files\":[{\"name\":\"f\"},{\"name\":\"f\"}]"),
	 "E: 1:61: files[1].name: \"f\" is taken by files[0].name; expected another"},
	{POD("\"files\":[{\"name\":\"f\",\"encoding\":\"hex\"}]"),
	 "E: 1:63: files[0].encoding: \"hex\" is not \"raw\" or \"base64\""},
	{POD("\"files\":[{\"name\":\"f\",\"content\":5}]"), "E: 1:62: files[0].content: 5 is not a string"},
	{POD("\"files\":[{\"name\":\"f\",\"encoding\":\"base64\",\"content\":\"a===\"}]"),
	 "E: 1:82: files[0].content: \"a===\" is not base64, which is the file's encoding"},
	{POD("\"files\":[{\"name\":\"f\",\"encoding\":\"base64\",\"content\":\"aGVsbG8\"}]"),
	 "E: 1:82: files[0].content: \"aGVsbG8\" is not base64, which is the file's encoding"},
	{POD("\"files\":[{\"name\":\"f\",\"content\":\"aGVs*G8=\",\"encoding\":\"base64\"}]"),
	 "E: 1:62: files[0].content: \"aGVs*G8=\" is not base64, which is the file's encoding"},
	{POD("\"files\":[{\"name\":\"f\",\"uri\":\"ftp://a/b\"}]"), "E: 1:58: files[0].uri: \"ftp://a/b\" is not " A_URI},
	{POD("\"files\":[{\"name\":\"f\",\"uri\":\"/etc/hosts\"}]"),
	 "E: 1:58: files[0].uri: \"/etc/hosts\" is not " A_URI},
	{POD("\"files\":[{\"name\":\"f\",\"uri\":5}]"),
	 "E: 1:58: files[0].uri: 5 is not " A_URI},
};

static const struct row port_rows[] = {
	{POD("\"portmappings\":{}"),
	 "E: 1:46: portmappings: {} is not an array of {\"hostPort\": ..., \"containerPort\": ...}"},
	{POD("\"portmappings\":[5]"),
	 "E: 1:47: portmappings[0]: 5 is not an object: {\"hostPort\": ..., \"containerPort\": ...}"},
	{POD("\"portmappings\":[{\"hostPort\":80}]"),
	 "E: 1:47: portmappings[0].containerPort: missing; expected " A_PORT},
	{POD("\"portmappings\":[{\"containerPort\":0}]"), "E: 1:64: portmappings[0].containerPort: 0 is not " A_PORT},
	{POD("\"portmappings\":[{\"containerPort\":\"\"}]"),
	 "E: 1:64: portmappings[0].containerPort: \"\" is not " A_PORT},
	{POD("\"portmappings\":[{\"containerPort\":\"65536\"}]"),
	 "E: 1:64: portmappings[0].containerPort: \"65536\" is not " A_PORT},
	{POD("\"portmappings\":[{\"containerPort\":70000}]"),
	 "E: 1:64: portmappings[0].containerPort: 70000 is not " A_PORT},
	{POD("\"portmappings\":[{\"containerPort\":\"http\"}]"),
	 "E: 1:64: portmappings[0].containerPort: \"http\" is not " A_PORT},
	{POD("\"portmappings\":[{\"containerPort\":\"90-80\"}]"),
	 "E: 1:64: portmappings[0].containerPort: \"90-80\" is not " A_PORT},
	{POD("\"portmappings\":[{\"containerPort\":\"80-\"}]"),
	 "E: 1:64: portmappings[0].containerPort: \"80-\" is not " A_PORT},
	{POD("\"portmappings\":[{\"containerPort\":\"1-2-3\"}]"),
	 "E: 1:64: portmappings[0].containerPort: \"1-2-3\" is not " A_PORT},
	{POD("\"portmappings\":[{\"containerPort\":80,\"hostPort\":-1}]"),
	 "E: 1:78: portmappings[0].hostPort: -1 is not " A_HOST_PORT},
	{POD("\"portmappings\":[{\"containerPort\":80,\"hostPort\":\"0-1\"}]"),
	 "E: 1:78: portmappings[0].hostPort: \"0-1\" is not " A_HOST_PORT},
	{POD("\"portmappings\":[{\"containerPort\":true}]"),
	 "E: 1:64: portmappings[0].containerPort: true is not " A_PORT},
	{POD("\"portmappings\":[{\"containerPort\":\"1-3\",\"hostPort\":\"1-2\"}]"),
	 "E: 1:47: portmappings[0]: 2 host ports for 3 container ports; expected as many"},
	{POD("\"portmappings\":[{\"containerPort\":\"1-3\",\"hostPort\":5}]"),
	 "E: 1:47: portmappings[0]: 1 host ports for 3 container ports; expected as many"},
	{POD("\"portmappings\":[{\"containerPort\":80,\"protocol\":\"sctp\"}]"),
	 "E: 1:78: portmappings[0].protocol: \"sctp\" is not \"tcp\" or \"udp\""},
	{POD("\"portmappings\":[{\"containerPort\":80,\"hostIP\":\"localhost\"}]"),
	 "E: 1:76: portmappings[0].hostIP: \"localhost\" is not an IPv4 or IPv6 address"},
	{POD("\"portmappings\":[{\"containerPort\":80,\"hostPort\":80},{\"containerPort\":81,\"hostPort\":\"79-80\"}]"),
	 "E: 1:82: portmappings[1]: 2 host ports for 1 container ports; expected as many"},
	{POD("\"portmappings\":[{\"containerPort\":80,\"hostPort\":80},{\"containerPort\":81,\"hostPort\":80}]"),
	 "E: 1:82: portmappings[1]: host port 80/tcp on 127.0.0.1 is published twice; expected once"},
	{POD("\"portmappings\":[{\"containerPort\":80,\"hostPort\":80,\"hostip\":\"0.0.0.0\"},{\"containerPort\":81,\"hostPort\":80}]"),
	 "E: 1:101: portmappings[1]: host port 80/tcp on 127.0.0.1 is published twice; expected once"},
	{POD("\"portmappings\":[{\"containerPort\":80},{\"containerPort\":80}]"),
	 "E: 1:68: portmappings[1]: container port 80/tcp is published on any port of 127.0.0.1 twice; expected once"},
	{POD("\"portmappings\":[{\"containerPort\":\"1-1025\"}]"),
	 "E: 1:47: portmappings[0]: more than 1024 ports in all; expected fewer"},
};

#define SOCKETS(text) POD("\"podvm\":{\"sockets\":[" text "]}")
#define A_SOCKET_PORT "a vsock port from 1024 to 4294967294"
static const struct row socket_rows[] = {
	{POD("\"podvm\":[]"),
	 "E: 1:39: podvm: [] is not an object: {\"network\": ..., \"sockets\": [...]}"},
	{SOCKETS("5"),
	 "E: 1:51: podvm.sockets[0]: 5 is not an object: {\"port\": ..., \"path\": ..., \"direction\": ...}"},
	{SOCKETS("{\"port\":1,\"path\":\"./a\",\"direction\":\"out\"}"),
	 "E: 1:59: podvm.sockets[0].port: 1 is not " A_SOCKET_PORT},
	{SOCKETS("{\"port\":1023,\"path\":\"./a\",\"direction\":\"in\"}"),
	 "E: 1:59: podvm.sockets[0].port: 1023 is not " A_SOCKET_PORT},
	{SOCKETS("{\"port\":4294967295,\"path\":\"./a\",\"direction\":\"out\"}"),
	 "E: 1:59: podvm.sockets[0].port: 4294967295 is not " A_SOCKET_PORT},
	{SOCKETS("{\"port\":1024,\"path\":\"a\",\"direction\":\"out\"}"),
	 "E: 1:71: podvm.sockets[0].path: \"a\" is not a path that begins with \"/\", \"./\" or \"../\""},
	{SOCKETS("{\"port\":1024,\"path\":\"./a\",\"direction\":\"both\"}"),
	 "E: 1:89: podvm.sockets[0].direction: \"both\" is not \"out\" or \"in\""},
	{SOCKETS("{\"path\":\"./a\",\"direction\":\"in\"}"),
	 "E: 1:51: podvm.sockets[0].port: missing; expected " A_SOCKET_PORT},
	{SOCKETS("{\"port\":1024,\"path\":\"./a\"}"),
	 "E: 1:51: podvm.sockets[0].direction: missing; expected \"out\" or \"in\""},
	{SOCKETS("{\"port\":1024,\"path\":\"./a\",\"direction\":\"out\"},{\"port\":1024,\"path\":\"./b\",\"direction\":\"out\"}"),
	 "E: 1:96: podvm.sockets[1]: port 1024 leads out twice, see podvm.sockets[0]; expected once"},
	{SOCKETS("{\"port\":1024,\"path\":\"./a\",\"direction\":\"in\"},{\"port\":1025,\"path\":\"./a\",\"direction\":\"in\"}"),
	 "E: 1:95: podvm.sockets[1]: path \"./a\" leads in twice, see podvm.sockets[0]; expected once"},
};

static const struct row container_rows[] = {
	{CONTAINER("\"name\":\"a b\""), "E: 1:97: containers[0].name: \"a b\" is not " A_NAME "128"},
	{CONTAINER("\"name\":5"), "E: 1:97: containers[0].name: 5 is not " A_NAME "128"},
	{CONTAINER("\"name\":\"_a\""), "E: 1:97: containers[0].name: \"_a\" is not " A_NAME "128"},
	{CONTAINER("\"command\":\"ls -l\""), "E: 1:100: containers[0].command: \"ls -l\" is not an array of strings"},
	{CONTAINER("\"command\":[\"a\",5]"), "E: 1:105: containers[0].command[1]: 5 is not a string"},
	{CONTAINER("\"command\":[null]"), "E: 1:101: containers[0].command[0]: null is not a string"},
	{CONTAINER("\"entrypoint\":\"x\""), "E: 1:103: containers[0].entrypoint: \"x\" is not an array of strings"},
	{CONTAINER("\"workdir\":\"tmp\""), "E: 1:100: containers[0].workdir: \"tmp\" is not " A_PATH},
	{CONTAINER("\"workdir\":\"/a/../b\""), "E: 1:100: containers[0].workdir: \"/a/../b\" is not " A_PATH},
	{CONTAINER("\"workdir\":5"), "E: 1:100: containers[0].workdir: 5 is not " A_PATH},
	{CONTAINER("\"user\":\"root\""),
	 "E: 1:97: containers[0].user: \"root\" is not an object: {\"name\": ..., \"group\": ...}"},
	{CONTAINER("\"user\":{\"name\":[]}"), "E: 1:105: containers[0].user.name: [] is not a name or number"},
	{CONTAINER("\"user\":{\"group\":1.5}"), "E: 1:106: containers[0].user.group: 1.5 is not a name or number"},
	{CONTAINER("\"user\":{\"additionalGroups\":\"g\"}"),
	 "E: 1:117: containers[0].user.additionalGroups: \"g\" is not an array of names or numbers"},
	{CONTAINER("\"user\":{\"additionalGroups\":[{}]}"),
	 "E: 1:118: containers[0].user.additionalGroups[0]: {} is not a name or number"},
	{CONTAINER("\"envs\":{\"A\":\"1\"}"),
	 "E: 1:97: containers[0].envs: {...} is not an array of {\"env\": ..., \"value\": ...}"},
	{CONTAINER("\"envs\":[\"A=1\"]"),
	 "E: 1:98: containers[0].envs[0]: \"A=1\" is not an object: {\"env\": ..., \"value\": ...}"},
	{CONTAINER("\"envs\":[{\"value\":\"1\"}]"),
	 "E: 1:98: containers[0].envs[0].env: missing; expected a name without \"=\""},
	{CONTAINER("\"envs\":[{\"env\":\"\"}]"),
	 "E: 1:105: containers[0].envs[0].env: \"\" is not a name without \"=\""},
	{CONTAINER("\"envs\":[{\"env\":\"A=B\"}]"),
	 "E: 1:105: containers[0].envs[0].env: \"A=B\" is not a name without \"=\""},
	{CONTAINER("\"envs\":[{\"env\":\"A\",\"value\":1}]"),
	 "E: 1:117: containers[0].envs[0].value: 1 is not a string"},
	{CONTAINER("\"envs\":[{\"env\":\"A\",\"value\":\"1\"},{\"env\":\"B\"},{\"env\":\"A\"}]"),
	 "E: 1:141: containers[0].envs[2].env: \"A\" is taken by containers[0].envs[0].env; expected another"},
	{CONTAINER("\"tty\":null,\"readOnly\":\"no\""),
	 "E: 1:112: containers[0].readOnly: \"no\" is not true or false"},
	{CONTAINER("\"restartPolicy\":\"on-failure\""),
	 "E: 1:106: containers[0].restartPolicy: \"on-failure\" is not \"never\", \"onFailure\" or \"always\""},
	{CONTAINER("\"stopSignal\":\"SIGFOO\""), "E: 1:103: containers[0].stopSignal: \"SIGFOO\" is not " A_SIGNAL},
	{CONTAINER("\"stopSignal\":0"), "E: 1:103: containers[0].stopSignal: 0 is not " A_SIGNAL},
	{CONTAINER("\"stopSignal\":65"), "E: 1:103: containers[0].stopSignal: 65 is not " A_SIGNAL},
	{CONTAINER("\"stopSignal\":\"RTMIN+31\""),
	 "E: 1:103: containers[0].stopSignal: \"RTMIN+31\" is not " A_SIGNAL},
	{CONTAINER("\"stopSignal\":[]"), "E: 1:103: containers[0].stopSignal: [] is not " A_SIGNAL},
	{CONTAINER("\"ports\":[{\"hostPort\":1}]"),
	 "E: 1:99: containers[0].ports[0].containerPort: missing; expected " A_PORT},
	{CONTAINER("\"ports\":[{\"containerPort\":\"x\"}]"),
	 "E: 1:116: containers[0].ports[0].containerPort: \"x\" is not " A_PORT},
	{CONTAINER("\"volumes\":[{\"path\":\"/a\"}]"),
	 "E: 1:101: containers[0].volumes[0].volume: missing; expected the name of a volume of the pod"},
	{CONTAINER("\"volumes\":[{\"volume\":\"v\"}]"),
	 "E: 1:101: containers[0].volumes[0].path: missing; expected an absolute path other than \"/\", without \"..\""},
	{CONTAINER("\"volumes\":[{\"path\":\"/a\",\"volume\":\"nope\"}]"),
	 "E: 1:123: containers[0].volumes[0].volume: \"nope\" is not the name of an element of the pod's \"volumes\""},
	{CONTAINER("\"volumes\":[{\"path\":\"a\",\"volume\":\"v\"}]"),
	 "E: 1:109: containers[0].volumes[0].path: \"a\" is not an absolute path other than \"/\", without \"..\""},
	{CONTAINER("\"volumes\":[{\"path\":\"/\",\"volume\":\"v\"}]"),
	 "E: 1:109: containers[0].volumes[0].path: \"/\" is not an absolute path other than \"/\", without \"..\""},
	{CONTAINER("\"volumes\":[{\"path\":\"/a/..\",\"volume\":\"v\"}]"),
	 "E: 1:109: containers[0].volumes[0].path: \"/a/..\" is not an absolute path other than \"/\", without \"..\""},
	{CONTAINER("\"volumes\":[{\"path\":\"/a\",\"volume\":\"v\"},{\"path\":\"/b\",\"volume\":\"v\"}]"),
	 "E: 1:150: containers[0].volumes[1].volume: \"v\" is taken by containers[0].volumes[0].volume; expected another"},
	{CONTAINER("\"volumes\":[{\"path\":\"/a\",\"volume\":\"v\"},{\"path\":\"/a\",\"volume\":\"w\"}]"),
	 "E: 1:136: containers[0].volumes[1].path: \"/a\" is taken by containers[0].volumes[0].path; expected another"},
	{CONTAINER("\"volumes\":[{\"path\":\"/a\",\"volume\":\"v\",\"detail\":{\"name\":\"v\"}}]"),
	 "E: 1:136: containers[0].volumes[0].detail: not supported; expected none: name an element of the pod's list instead"},
	{CONTAINER("\"volumes\":[{\"path\":\"/a\",\"volume\":\"v\",\"readOnly\":1}]"),
	 "E: 1:138: containers[0].volumes[0].readOnly: 1 is not true or false"},
	{CONTAINER("\"files\":[{\"path\":\"/a\"}]"),
	 "E: 1:99: containers[0].files[0].filename: missing; expected the name of a file of the pod"},
	{CONTAINER("\"files\":[{\"path\":\"/a\",\"filename\":\"nope\"}]"),
	 "E: 1:123: containers[0].files[0].filename: \"nope\" is not the name of an element of the pod's \"files\""},
	{CONTAINER("\"files\":[{\"path\":\"a\",\"filename\":\"f\"}]"),
	 "E: 1:107: containers[0].files[0].path: \"a\" is not " A_PATH},
	{CONTAINER("\"files\":[{\"path\":\"/a\",\"filename\":\"f\",\"perm\":755}]"),
	 "E: 1:134: containers[0].files[0].perm: 755 is not octal text such as \"0644\""},
	{CONTAINER("\"files\":[{\"path\":\"/a\",\"filename\":\"f\",\"perm\":\"0888\"}]"),
	 "E: 1:134: containers[0].files[0].perm: \"0888\" is not octal text such as \"0644\""},
	{CONTAINER("\"files\":[{\"path\":\"/a\",\"filename\":\"f\",\"perm\":\"17777\"}]"),
	 "E: 1:134: containers[0].files[0].perm: \"17777\" is not octal text such as \"0644\""},
	{CONTAINER("\"files\":[{\"path\":\"/a\",\"filename\":\"f\",\"user\":\"daemon\"}]"),
	 "E: 1:134: containers[0].files[0].user: \"daemon\" is not a number from 0 to 4294967295"},
	{CONTAINER("\"files\":[{\"path\":\"/a\",\"filename\":\"f\",\"group\":-1}]"),
	 "E: 1:135: containers[0].files[0].group: -1 is not a number from 0 to 4294967295"},
	{CONTAINER("\"files\":[{\"path\":\"/a\",\"filename\":\"f\",\"user\":4294967296}]"),
	 "E: 1:134: containers[0].files[0].user: 4294967296 is not a number from 0 to 4294967295"},
};

#define ULIMITS(list) CONTAINER("\"ulimits\":[" list "]")
#define A_ULIMIT "a whole number from 0, or \"unlimited\" or -1"
#define AN_ULIMIT_NAME                                                                                                 \
	"one of \"as\", \"core\", \"cpu\", \"data\", \"fsize\", \"locks\", \"memlock\", \"msgqueue\", \"nice\", "         \
	"\"nofile\", \"nproc\", \"rss\", \"rtprio\", \"rttime\", \"sigpending\", \"stack\""

#define SYSCTL(members) CONTAINER("\"sysctl\":{" members "}")
#define A_SYSCTL "a path below /proc/sys such as \"net/ipv4/ip_forward\""
#define A_SYSCTL_VALUE "a text such as \"1\", of one line, not empty"

#define PODVM(members) CONTAINER("\"podvm\":{" members "}")
#define A_PIDS "a whole number from 1 to 4194304, or \"unlimited\" or -1"
#define A_MEMORY "a whole number of megabytes from 4 to 1048576, or 0 for no limit"
#define A_CPUS "a number of CPUs from 0.01 to 32, or 0 for no limit"
#define A_CAP "a capability of Linux such as \"NET_ADMIN\", or \"ALL\""

static const struct row confine_rows[] = {
	{CONTAINER("\"ulimits\":{}"),
	 "E: 1:100: containers[0].ulimits: {} is not an array of {\"name\": ..., \"soft\": ..., \"hard\": ...}"},
	{ULIMITS("5"),
	 "E: 1:101: containers[0].ulimits[0]: 5 is not an object: {\"name\": ..., \"soft\": ..., \"hard\": ...}"},
	{ULIMITS("{\"soft\":1}"), "E: 1:101: containers[0].ulimits[0].name: missing; expected " AN_ULIMIT_NAME},
	{ULIMITS("{\"name\":\"\",\"soft\":1}"),
	 "E: 1:109: containers[0].ulimits[0].name: \"\" is not " AN_ULIMIT_NAME},
	{ULIMITS("{\"name\":\"files\",\"soft\":1}"),
	 "E: 1:109: containers[0].ulimits[0].name: \"files\" is not " AN_ULIMIT_NAME},
	{ULIMITS("{\"name\":\"core\"}"), "E: 1:101: containers[0].ulimits[0].soft: missing; expected " A_ULIMIT},
	{ULIMITS("{\"name\":\"core\",\"hard\":5}"),
	 "E: 1:101: containers[0].ulimits[0].soft: missing; expected " A_ULIMIT},
	{ULIMITS("{\"name\":\"core\",\"soft\":-2}"), "E: 1:123: containers[0].ulimits[0].soft: -2 is not " A_ULIMIT},
	{ULIMITS("{\"name\":\"core\",\"soft\":1.5}"), "E: 1:123: containers[0].ulimits[0].soft: 1.5 is not " A_ULIMIT},
	{ULIMITS("{\"name\":\"core\",\"soft\":\"1k\"}"),
	 "E: 1:123: containers[0].ulimits[0].soft: \"1k\" is not " A_ULIMIT},
	{ULIMITS("{\"name\":\"core\",\"soft\":9007199254740992}"),
	 "E: 1:123: containers[0].ulimits[0].soft: 9007199254740992 is not " A_ULIMIT},
	{ULIMITS("{\"name\":\"core\",\"soft\":\"9007199254740992\"}"),
	 "E: 1:123: containers[0].ulimits[0].soft: \"9007199254740992\" is not " A_ULIMIT},
	{ULIMITS("{\"name\":\"core\",\"soft\":2,\"hard\":1}"),
	 "E: 1:101: containers[0].ulimits[0]: its soft limit is above its hard limit; expected at most as much"},
	{ULIMITS("{\"name\":\"core\",\"soft\":-1,\"hard\":1}"),
	 "E: 1:101: containers[0].ulimits[0]: its soft limit is above its hard limit; expected at most as much"},
	{ULIMITS("{\"name\":\"core\",\"soft\":1},{\"name\":\"CORE\",\"soft\":1}"),
	 "E: 1:126: containers[0].ulimits[1]: \"core\" is set twice; expected once"},
	{CONTAINER("\"sysctl\":[]"), "E: 1:99: containers[0].sysctl: [] is not an object: {\"net/ipv4/ip_forward\": \"1\"}"},
	{SYSCTL("\"net\":\"1\""), "E: 1:106: containers[0].sysctl.net: its key is not " A_SYSCTL},
	{SYSCTL("\"\":\"1\""), "E: 1:103: containers[0].sysctl.\"\": its key is not " A_SYSCTL},
	{SYSCTL("\"net/../x\":\"1\""), "E: 1:111: containers[0].sysctl.\"net/../x\": its key is not " A_SYSCTL},
	{SYSCTL("\"net/./x\":\"1\""), "E: 1:110: containers[0].sysctl.\"net/./x\": its key is not " A_SYSCTL},
	{SYSCTL("\"net..x\":\"1\""), "E: 1:109: containers[0].sysctl.\"net..x\": its key is not " A_SYSCTL},
	{SYSCTL("\"net.//.x\":\"1\""), "E: 1:111: containers[0].sysctl.\"net.//.x\": its key is not " A_SYSCTL},
	{SYSCTL("\"net//x\":\"1\""), "E: 1:109: containers[0].sysctl.\"net//x\": its key is not " A_SYSCTL},
	{SYSCTL("\"/net/x\":\"1\""), "E: 1:109: containers[0].sysctl.\"/net/x\": its key is not " A_SYSCTL},
	{SYSCTL("\"net/x/\":\"1\""), "E: 1:109: containers[0].sysctl.\"net/x/\": its key is not " A_SYSCTL},
	{SYSCTL("\"net/x y\":\"1\""), "E: 1:110: containers[0].sysctl.\"net/x y\": its key is not " A_SYSCTL},
	{SYSCTL("\"net/x\\n\":\"1\""), "E: 1:110: containers[0].sysctl.\"net/x?\": its key is not " A_SYSCTL},
	{SYSCTL("\"net/x\":1"), "E: 1:108: containers[0].sysctl.\"net/x\": 1 is not " A_SYSCTL_VALUE},
	{SYSCTL("\"net/x\":\"\""), "E: 1:108: containers[0].sysctl.\"net/x\": \"\" is not " A_SYSCTL_VALUE},
	{SYSCTL("\"net/x\":\"1\\n2\""), "E: 1:108: containers[0].sysctl.\"net/x\": \"1\\n2\" is not " A_SYSCTL_VALUE},
	{SYSCTL("\"net/x/y\":\"1\",\"net.x.y\":\"1\""),
	 "E: 1:124: containers[0].sysctl.\"net.x.y\": \"net/x/y\" is set twice; expected once"},
	{CONTAINER("\"labels\":5"), "E: 1:99: containers[0].labels: 5 is not an object: {\"NAME\": \"VALUE\"}"},
	{CONTAINER("\"labels\":{\"a\":{}}"), "E: 1:104: containers[0].labels.a: {} is not a string"},
	{CONTAINER("\"labels\":{\"\":\"x\"}"), "E: 1:103: containers[0].labels.\"\": its key is not a name of 1 to 255 bytes, no control characters"},
	{CONTAINER("\"labels\":{\"a\\n\":\"x\"}"), "E: 1:106: containers[0].labels.\"a?\": its key is not a name of 1 to 255 bytes, no control characters"},
	{POD("\"labels\":{\"a\":1,\"b\":\"c\",\"b\":\"d\"}"),
	 "E: 1:45: labels.a: 1 is not a string\n"
	 "E: 1:59: labels.b: \"b\" is set twice; expected once"},
	{POD("\"labels\":{\"a.b/c\":\"\",\"A\":\"x y\",\"a\":\"\\u00e9\"}"), ""},
	{CONTAINER("\"podvm\":5"),
	 "E: 1:98: containers[0].podvm: 5 is not an object: {\"capAdd\": [...], \"noNewPrivileges\": ...}"},
	{PODVM("\"capAdd\":\"ALL\""), "E: 1:108: containers[0].podvm.capAdd: \"ALL\" is not an array of capabilities such as \"NET_ADMIN\""},
	{PODVM("\"capAdd\":[\"NET_ADMIN\",\"NET_ADMN\"]"), "E: 1:121: containers[0].podvm.capAdd[1]: \"NET_ADMN\" is not " A_CAP},
	{PODVM("\"capDrop\":[12]"), "E: 1:110: containers[0].podvm.capDrop[0]: 12 is not " A_CAP},
	{PODVM("\"capDrop\":[\"\"]"), "E: 1:110: containers[0].podvm.capDrop[0]: \"\" is not " A_CAP},
	{PODVM("\"capDrop\":[\"CAP_\"]"), "E: 1:110: containers[0].podvm.capDrop[0]: \"CAP_\" is not " A_CAP},
	{PODVM("\"capAdd\":[\"kill\"],\"capDrop\":[\"CAP_KILL\"]"),
	 "E: 1:98: containers[0].podvm: \"KILL\" is in both capAdd and capDrop; expected one"},
	{PODVM("\"capAdd\":[\"ALL\"],\"capDrop\":[\"all\"]"),
	 "E: 1:98: containers[0].podvm: \"ALL\" is in both capAdd and capDrop; expected one"},
	{PODVM("\"noNewPrivileges\":1"), "E: 1:117: containers[0].podvm.noNewPrivileges: 1 is not true or false"},
	{PODVM("\"noNewPrivs\":true"),
	 "W: 1:99: containers[0].podvm.noNewPrivs: unknown key, ignored"},
	{PODVM("\"capAdd\":[\"ALL\"],\"capDrop\":[\"cap_net_raw\",\"NET_RAW\"],\"noNewPrivileges\":true"), ""},
	{PODVM("\"capAdd\":[\"checkpoint_restore\",\"Chown\"],\"capDrop\":[\"All\"]"), ""},
	{PODVM("\"pids\":0"), "E: 1:106: containers[0].podvm.pids: 0 is not " A_PIDS},
	{PODVM("\"pids\":4194305"), "E: 1:106: containers[0].podvm.pids: 4194305 is not " A_PIDS},
	{PODVM("\"pids\":\"many\""), "E: 1:106: containers[0].podvm.pids: \"many\" is not " A_PIDS},
	{PODVM("\"memory\":3"), "E: 1:108: containers[0].podvm.memory: 3 is not " A_MEMORY},
	{PODVM("\"memory\":\"64M\""), "E: 1:108: containers[0].podvm.memory: \"64M\" is not " A_MEMORY},
	{PODVM("\"memory\":-1"), "E: 1:108: containers[0].podvm.memory: -1 is not " A_MEMORY},
	{PODVM("\"memory\":1048577"), "E: 1:108: containers[0].podvm.memory: 1048577 is not " A_MEMORY},
	{PODVM("\"cpus\":0.009"), "E: 1:106: containers[0].podvm.cpus: 0.009 is not " A_CPUS},
	{PODVM("\"cpus\":32.001"), "E: 1:106: containers[0].podvm.cpus: 32.001 is not " A_CPUS},
	{PODVM("\"cpus\":-1"), "E: 1:106: containers[0].podvm.cpus: -1 is not " A_CPUS},
	{PODVM("\"cpus\":\"1e1\""), "E: 1:106: containers[0].podvm.cpus: \"1e1\" is not " A_CPUS},
	{PODVM("\"cpus\":\"1.2.3\""), "E: 1:106: containers[0].podvm.cpus: \"1.2.3\" is not " A_CPUS},
	{PODVM("\"cpus\":\"\""), "E: 1:106: containers[0].podvm.cpus: \"\" is not " A_CPUS},
	{PODVM("\"pids\":1,\"memory\":4,\"cpus\":0.01"), ""},
	{PODVM("\"pids\":\"4194304\",\"memory\":\"1048576\",\"cpus\":32"), ""},
	{PODVM("\"pids\":-1,\"memory\":0,\"cpus\":0"), ""},
	{PODVM("\"cpus\":0.3333333"), ""},
	{PODVM(""), ""},
	{SYSCTL(""), ""},
	{SYSCTL("\"net/ipv4/ip_local_port_range\":\"1024\\t65000\",\"kernel/.../x..y\":\"a b\""), ""},
	{ULIMITS("{\"Name\":\"NoFile\",\"Soft\":\"64\",\"Hard\":\"unlimited\"},{\"name\":\"cpu\",\"soft\":0}"), ""},
	{ULIMITS("{\"name\":\"as\",\"soft\":\"-1\",\"hard\":18446744073709551615}"), ""},
	{ULIMITS("{\"name\":\"as\",\"soft\":9007199254740991,\"hard\":-1}"), ""},
};

static const struct row image_rows[] = {
	{IMAGE("5"), "E: 1:25: containers[0].image: 5 is not " AN_IMAGE},
	{IMAGE("\"\""), "E: 1:25: containers[0].image: \"\" is not " AN_IMAGE},
	{IMAGE("\"a b\""), "E: 1:25: containers[0].image: \"a b\" is not " AN_IMAGE},
	{IMAGE("\".hidden\""), "E: 1:25: containers[0].image: \".hidden\" is not " AN_IMAGE},
	{IMAGE("\"-x\""), "E: 1:25: containers[0].image: \"-x\" is not " AN_IMAGE},
	{IMAGE("\"a\\nb\""), "E: 1:25: containers[0].image: \"a\\nb\" is not " AN_IMAGE},
	{IMAGE("\"/a\\u0001\""), "E: 1:25: containers[0].image: \"/a\\u0001\" is not " AN_IMAGE},
	{IMAGE("[\"a\"]"), "E: 1:25: containers[0].image: [...] is not " AN_IMAGE},
	{IMAGE("\"éééééééééééééééééééééééééééééé\""),
	 "E: 1:25: containers[0].image: \"éééééééééééééééééé... is not " AN_IMAGE},
	{IMAGE("{}"), "E: 1:25: containers[0].image: {} is not " AN_IMAGE},
	{IMAGE("[]"), "E: 1:25: containers[0].image: [] is not " AN_IMAGE},
};

static const struct row warning_rows[] = {
	{POD("\"unknown\":1"), "W: 1:31: unknown: unknown key, ignored"},
	{POD("\"Containrs\":1"), "W: 1:31: Containrs: unknown key, ignored; did you mean \"containers\"?"},
	{POD("\"portmapping\":[]"), "W: 1:31: portmapping: unknown key, ignored; did you mean \"portmappings\"?"},
	{POD("\"restartPolcy\":\"never\""),
	 "W: 1:31: restartPolcy: unknown key, ignored; did you mean \"restartPolicy\"?"},
	{POD("\"a b.c\":1"), "W: 1:31: \"a b.c\": unknown key, ignored"},
	{POD("\"\":1"), "W: 1:31: \"\": unknown key, ignored"},
	{POD("\"\\u001b[1m\":1"), "W: 1:31: \"?[1m\": unknown key, ignored"},
	{POD("\"kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk\":1"),
	 "W: 1:31: kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk...: unknown key, ignored"},
	{POD("\"id\":\"a\",\"ID\":\"b\""), "W: 1:31: id: the key appears again below; the last one counts"},
	{POD("\"log\":{\"type\":\"syslog\"}"), "W: 1:37: log: not supported yet, ignored"},
	{POD("\"type\":\"kubernetes\""), "W: 1:38: type: not supported yet, ignored"},
	{POD("\"volumes\":[{\"name\":\"v\",\"fstype\":\"ext4\",\"cache\":\"none\",\"option\":{\"user\":\"x\"}}]"),
	 "W: 1:63: volumes[0].fstype: not supported yet, ignored\n"
	 "W: 1:78: volumes[0].cache: not supported yet, ignored\n"
	 "W: 1:94: volumes[0].option: not supported yet, ignored"},
	{POD("\"resource\":{\"cpu\":1,\"mem\":2}"),
	 "W: 1:43: resource.cpu: unknown key, ignored; did you mean \"vcpu\"?\n"
	 "W: 1:51: resource.mem: unknown key, ignored; did you mean \"memory\"?"},
	{CONTAINER("\"id\":\"abc\""), "W: 1:95: containers[0].id: not supported yet, ignored"},
	{CONTAINER("\"logPath\":\"/x\""), "W: 1:100: containers[0].logPath: not supported yet, ignored"},
	{CONTAINER("\"cache\":\"none\""), "W: 1:98: containers[0].cache: not supported yet, ignored"},
	{CONTAINER("\"comand\":[\"a\"]"),
	 "W: 1:90: containers[0].comand: unknown key, ignored; did you mean \"command\"?"},
	{CONTAINER("\"env\":[]"), "W: 1:90: containers[0].env: unknown key, ignored; did you mean \"envs\"?"},
	{CONTAINER("\"ports\":[{\"containerPort\":1,\"hostPort\":2,\"servicePort\":3}]"),
	 "W: 1:145: containers[0].ports[0].servicePort: not supported yet, ignored"},
	{CONTAINER("\"tty\":true,\"tty\":false"),
	 "W: 1:90: containers[0].tty: the key appears again below; the last one counts"},
};

static const struct row good_rows[] = {
	{POD("\"type\":\"pod\""), ""},
	{POD("\"id\":null,\"hostname\":null,\"dns\":null,\"resource\":null"), ""},
	{POD("\"id\":\"\",\"hostname\":\"\",\"restartPolicy\":\"\",\"labels\":{},\"files\":[],\"volumes\":[],\"services\":null"), ""},
	{POD("\"RESTARTPOLICY\":\"OnFailure\""), ""},
	{POD("\"resource\":{\"vcpu\":\"4\",\"memory\":\"64\"}"), ""},
	{POD("\"resource\":{\"vcpu\":1.0,\"memory\":1e3}"), ""},
	{POD("\"volumes\":[{\"name\":\"a b\",\"source\":\"../x\",\"driver\":\"VFS\",\"fstype\":\"dir\"}]"), ""},
	{POD("\"files\":[{\"name\":\"f\",\"uri\":\"file:///x\",\"encoding\":\"base64\",\"content\":\"***\"}]"), ""},
	{POD("\"files\":[{\"name\":\"f\",\"encoding\":\"BASE64\",\"content\":\"aGVs\\nbG8=\"}]"), ""},
	{POD("\"portmappings\":[{\"containerPort\":80,\"hostPort\":80},{\"containerPort\":80,\"hostPort\":80,\"protocol\":\"udp\"},{\"containerPort\":80,\"hostPort\":80,\"hostIP\":\"127.0.0.2\"}]"), ""},
	{POD("\"portmappings\":[{\"containerport\":\"1-1024\"}]"), ""},
	{POD("\"portmappings\":[{\"containerPort\":65535,\"hostPort\":\"\",\"hostip\":\"::1\"}]"), ""},
	{POD("\"dns\":[\"2001:0db8:0:0::1\"]"), ""},
	{CONTAINER("\"name\":\"a\",\"command\":[],\"entrypoint\":[\"\"],\"workdir\":\"\""), ""},
	{CONTAINER("\"stopSignal\":\"sigusr1\""), ""},
	{CONTAINER("\"stopSignal\":\"\",\"user\":{}"), ""},
	{CONTAINER("\"entryPoint\":[\"x\"],\"readonly\":true"), ""},
	{CONTAINER("\"envs\":[{\"env\":\"A\",\"value\":\"a=b\\u0001\\ud83d\\ude00\"}]"), ""},
	{CONTAINER("\"files\":[{\"path\":\"/a/\",\"filename\":\"f\",\"perm\":\"0\",\"user\":\"root\",\"group\":\"\"}]"), ""},
	{CONTAINER("\"workdir\":\"/a/..b/c..d\""), ""},
};
/* clang-format on */

/* What was told, one line each: "E: 1:2: ...". Lines that do not begin with the file's name show up as they are. */
struct told {
	char *text;
	unsigned errors, warnings;
};

static void tell(void *ctx, enum spec_level level, const char *message)
{
	struct told *told = ctx;
	const char *rest = strncmp(message, "pod.json:", 9) ? message : message + 9;
	char *longer = xasprintf("%s%s%s: %s", told->text ? told->text : "", told->text ? "\n" : "",
				 level == SPEC_ERROR ? "E" : "W", rest);

	free(told->text);
	told->text = longer;
	*(level == SPEC_ERROR ? &told->errors : &told->warnings) += 1;
}

static struct spec_pod *parse(const char *text, size_t bytes, bool strict, struct told *told)
{
	/* of just its size, so that the sanitizer sees a read past the end */
	char *copy = memcpy(xmalloc(bytes), text, bytes);
	struct spec_pod *pod;

	*told = (struct told){0};
	pod = spec_parse(copy, bytes, "pod.json", strict, tell, told);
	free(copy);
	return pod;
}

/* A pod that is in order; the test goes on with NULL, failed, when it is not. */
static struct spec_pod *parse_good(const char *text)
{
	struct told told;
	struct spec_pod *pod = parse(text, strlen(text), true, &told);

	CHECK_STR(told.text, NULL);
	CHECK_MSG(pod != NULL, text);
	free(told.text);
	return pod;
}

static void check_messages(const char *text, size_t bytes, const char *messages)
{
	struct told told;
	struct spec_pod *pod = parse(text, bytes, false, &told);

	if (!CHECK_STR(told.text ? told.text : "", messages))
		printf("# in the file %.300s\n", text);
	CHECK_MSG(!pod == (told.errors > 0), text);
	spec_free(pod);
	free(told.text);
}

static void check_round_trip(const char *text)
{
	struct told told;
	struct spec_pod *pod = parse(text, strlen(text), false, &told), *again;
	char *printed;

	free(told.text);
	if (!pod)
		return;
	printed = spec_print(pod);
	again = parse(printed, strlen(printed), true, &told);
	CHECK_STR(told.text, NULL);
	if (CHECK_MSG(again != NULL, printed))
		CHECK_MSG(spec_equal(pod, again), printed);
	free(told.text);
	free(printed);
	spec_free(again);
	spec_free(pod);
}

static void check_rows(const struct row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		check_messages(rows[i].text, strlen(rows[i].text), rows[i].messages);
		check_round_trip(rows[i].text);
	}
}

TEST(syntax_table)
{
	check_rows(syntax_rows, ARRAY_SIZE(syntax_rows));
}

TEST(shape_table)
{
	check_rows(shape_rows, ARRAY_SIZE(shape_rows));
}

TEST(pod_table)
{
	check_rows(pod_rows, ARRAY_SIZE(pod_rows));
}

TEST(network_table)
{
	check_rows(network_rows, ARRAY_SIZE(network_rows));
}

TEST(volume_table)
{
	check_rows(volume_rows, ARRAY_SIZE(volume_rows));
}

TEST(port_table)
{
	check_rows(port_rows, ARRAY_SIZE(port_rows));
}

TEST(socket_table)
{
	check_rows(socket_rows, ARRAY_SIZE(socket_rows));
}

TEST(container_table)
{
	check_rows(container_rows, ARRAY_SIZE(container_rows));
}

TEST(confine_table)
{
	check_rows(confine_rows, ARRAY_SIZE(confine_rows));
}

TEST(image_table)
{
	check_rows(image_rows, ARRAY_SIZE(image_rows));
}

TEST(warning_table)
{
	check_rows(warning_rows, ARRAY_SIZE(warning_rows));
}

TEST(good_table)
{
	check_rows(good_rows, ARRAY_SIZE(good_rows));
}

TEST(bytes_that_are_no_text)
{
	static const char nul[] = "{\"a\":\"\0\"}", high[] = "{\n\"a\":\"\xc3\xa9\xff\"}", cut[] = "{\"a\xe2\x82";
	static const char overlong[] = "\xc0\x80", surrogate[] = "\"\xed\xa0\x80\"", beyond[] = "\xf4\x90\x80\x80";

	check_messages(nul, sizeof(nul) - 1, "E: 1:7: NUL byte; a pod file is text");
	check_messages("{}\0", 3, "E: 1:3: NUL byte; a pod file is text");
	check_messages(high, sizeof(high) - 1, "E: 2:7: byte 0xff is not valid UTF-8");
	check_messages(cut, sizeof(cut) - 1, "E: 1:4: byte 0xe2 is not valid UTF-8");
	check_messages(overlong, 2, "E: 1:1: byte 0xc0 is not valid UTF-8");
	check_messages(surrogate, 5, "E: 1:2: byte 0xed is not valid UTF-8");
	check_messages(beyond, 4, "E: 1:1: byte 0xf4 is not valid UTF-8");
}

TEST(byte_order_mark)
{
	check_messages("\xef\xbb\xbf{\"containers\":[{\"image\":\"a\"}]}", 33, "");
	check_messages("\xef\xbb\xbf{\"containers\":5}", 19,
		       "E: 1:15: containers: 5 is not an array of {\"image\": ..., \"command\": [...]}");
	check_messages("\xef\xbb\xbf", 3, "E: 1:1: the file is empty; expected {...}");
}

/* Told in the order of the file, not of the tables, and all of them. */
TEST(all_problems_in_order)
{
	static const char text[] = "{\"containers\": [\n"
				   "   {\"image\": 5, \"volumes\": [{\"path\": \"x\", \"volume\": \"nope\"}]},\n"
				   "   {\"imgae\": \"a\"}\n"
				   " ],\n"
				   " \"tty\": 1,\n"
				   " \"resource\": {\"vcpu\": 99},\n"
				   " \"id\": \"\\u00e9\"}\n";

	check_messages(text, sizeof(text) - 1,
		       "E: 2:14: containers[0].image: 5 is not " AN_IMAGE "\n"
		       "E: 2:38: containers[0].volumes[0].path: \"x\" is not an absolute path other than \"/\", "
		       "without \"..\"\n"
		       "E: 2:53: containers[0].volumes[0].volume: \"nope\" is not the name of an element of the pod's "
		       "\"volumes\"\n"
		       "E: 3:4: containers[1].image: missing; expected " AN_IMAGE "\n"
		       "W: 3:5: containers[1].imgae: unknown key, ignored; did you mean \"image\"?\n"
		       "E: 5:9: tty: 1 is not true or false\n"
		       "E: 6:23: resource.vcpu: 99 is not a whole number from 1 to 32\n"
		       "E: 7:8: id: \"\\u00e9\" is not " A_NAME "64");
}

TEST(strict_makes_warnings_errors)
{
	static const char text[] = POD("\"services\":[5]");
	struct told told;

	CHECK(!parse(text, sizeof(text) - 1, true, &told));
	CHECK_STR(told.text, "E: 1:42: services: not supported yet, ignored");
	free(told.text);
}

TEST(last_of_equal_keys_counts)
{
	static const char text[] = POD("\"id\":\"a\",\"ID\":\"b\",\"Id\":\"c\"");
	struct told told;
	struct spec_pod *pod = parse(text, sizeof(text) - 1, false, &told);

	CHECK_INT(told.warnings, 2);
	if (CHECK(pod != NULL))
		CHECK_STR(pod->id, "c");
	free(told.text);
	spec_free(pod);
}

TEST(defaults)
{
	struct spec_pod *pod = parse_good("{\"containers\":[{\"image\":\"a\"}]}");
	const struct spec_container *container;

	if (!pod)
		return;
	container = &pod->containers[0];
	CHECK_STR(pod->id, "");
	CHECK_STR(pod->hostname, "");
	CHECK_INT(pod->vcpus, 1);
	CHECK_INT(pod->memory_mb, SPEC_MEMORY_MB_DEFAULT);
	CHECK_INT(pod->tty, false);
	CHECK_INT(pod->restart, SPEC_RESTART_NEVER);
	CHECK_INT(pod->container_count, 1);
	CHECK_INT(pod->volume_count + pod->file_count + pod->port_count + pod->dns_count, 0);
	CHECK_INT(pod->network.egress, SPEC_EGRESS_OPEN);
	CHECK_INT(pod->network.allow_count + pod->network.rate.receive_bytes + pod->network.rate.transmit_bytes, 0);
	CHECK_STR(container->name, "pod-a-0");
	CHECK_STR(container->workdir, "/");
	CHECK_STR(container->user.name, "");
	CHECK_STR(container->user.group, "");
	CHECK_STR(container->stop_signal, "TERM");
	CHECK_INT(container->restart, SPEC_RESTART_NEVER);
	CHECK_INT(container->tty, false);
	CHECK_INT(container->read_only, false);
	CHECK_INT(container->command_count + container->entrypoint_count + container->env_count, 0);
	spec_free(pod);
}

static const char full[] =
	"{\"id\":\"all\",\"hostname\":\"a.b-c\",\"restartPolicy\":\"onFailure\",\"resource\":{\"vcpu\":\"2\","
	"\"memory\":512},"
	"\"podvm\":{\"network\":{\"egress\":\"allow\",\"allow\":[\"10.1.0.0/16\",\"*.example.org:443\"],"
	"\"rate\":{\"rxBytes\":1,\"txBytes\":2,\"rxPackets\":3,\"txPackets\":4294967295}}},"
	"\"dns\":[\"8.8.8.8\"],\"dnsSearch\":[\"example.org\"],\"dnsOptions\":[\"ndots:2\",\"rotate\"],"
	"\"files\":[{\"name\":\"f\",\"content\":\"\\u00e9\\n\"},{\"name\":\"b\",\"encoding\":\"base64\",\"content\":"
	"\"aGVsbG8=\"}],"
	"\"volumes\":[{\"name\":\"v\"},{\"name\":\"w\",\"source\":\"/srv\",\"format\":\"vfs\"},"
	"{\"name\":\"x\",\"source\":\"./x.img\",\"format\":\"raw\",\"fstype\":\"erofs\",\"cache\":\"OFF\",\"option\":"
	"{\"bytespersec\":1000000,\"iops\":\"50\",\"user\":\"\"}},{\"name\":\"y\",\"source\":\"/y\",\"driver\":\"raw\"}],"
	"\"containers\":[{\"name\":\"one\",\"image\":\"/srv/root\",\"command\":[\"a\",\"b "
	"c\"],\"entrypoint\":[\"/bin/x\"],"
	"\"workdir\":\"/tmp\",\"user\":{\"name\":\"u\",\"group\":13,\"additionalGroups\":[\"g\",7]},"
	"\"envs\":[{\"env\":\"A\",\"value\":\"1\"},{\"env\":\"B\"}],\"tty\":true,\"readOnly\":true,\"restartPolicy\":"
	"\"always\","
	"\"volumes\":[{\"path\":\"/data\",\"volume\":\"w\",\"readOnly\":true}],"
	"\"files\":[{\"path\":\"/etc/\",\"filename\":\"b\",\"perm\":\"0600\",\"user\":\"1000\",\"group\":5}],"
	"\"StopSignal\":\"SIGRTMIN+3\"},{\"image\":\"a\"}]}";

TEST(all_keys_of_a_pod)
{
	struct spec_pod *pod = parse_good(full);

	if (!pod)
		return;
	CHECK_STR(pod->id, "all");
	CHECK_STR(pod->hostname, "a.b-c");
	CHECK_INT(pod->restart, SPEC_RESTART_ON_FAILURE);
	CHECK_INT(pod->vcpus, 2);
	CHECK_INT(pod->memory_mb, 512);
	CHECK_STR(pod->dns[0], "8.8.8.8");
	CHECK_STR(pod->dns_search[0], "example.org");
	CHECK_INT(pod->dns_option_count, 2);
	CHECK_STR(pod->dns_options[1], "rotate");
	CHECK_STR(pod->files[0].content, "\xc3\xa9\n");
	CHECK_INT(pod->files[1].encoding, SPEC_FILE_BASE64);
	CHECK_INT(pod->volumes[0].kind, SPEC_VOLUME_PRIVATE);
	CHECK_INT(pod->volumes[1].kind, SPEC_VOLUME_PATH);
	CHECK_STR(pod->volumes[1].source, "/srv");
	CHECK_INT(pod->network.egress, SPEC_EGRESS_ALLOW);
	CHECK_INT(pod->network.allow_count, 2);
	CHECK_STR(pod->network.allow[1], "*.example.org:443");
	CHECK_INT(pod->network.rate.receive_bytes, 1);
	CHECK_INT(pod->network.rate.transmit_bytes, 2);
	CHECK_INT(pod->network.rate.receive_packets, 3);
	CHECK_INT(pod->network.rate.transmit_packets, UINT32_MAX);
	CHECK_STR(pod->volumes[1].fstype, "");
	CHECK_INT(pod->volumes[2].kind, SPEC_VOLUME_RAW);
	CHECK_STR(pod->volumes[2].fstype, "erofs");
	CHECK_INT(pod->volumes[2].cache, SPEC_CACHE_NONE);
	CHECK_INT(pod->volumes[2].bytes_per_s, 1000000);
	CHECK_INT(pod->volumes[2].ops_per_s, 50);
	CHECK_INT(pod->volumes[3].kind, SPEC_VOLUME_RAW);
	CHECK_STR(pod->volumes[3].fstype, "ext4");
	CHECK_INT(pod->volumes[3].cache, SPEC_CACHE_WRITEBACK);
	CHECK_INT(pod->volumes[3].bytes_per_s | pod->volumes[3].ops_per_s, 0);
	CHECK_INT(pod->containers[1].restart, SPEC_RESTART_ON_FAILURE);
	CHECK_STR(pod->containers[1].name, "all-a-1");
	spec_free(pod);
}

TEST(all_keys_of_a_container)
{
	struct spec_pod *pod = parse_good(full);
	const struct spec_container *container;

	if (!pod)
		return;
	container = &pod->containers[0];
	CHECK_STR(container->name, "one");
	CHECK_STR(container->image, "/srv/root");
	CHECK_STR(container->command[1], "b c");
	CHECK_STR(container->entrypoint[0], "/bin/x");
	CHECK_STR(container->workdir, "/tmp");
	CHECK_STR(container->user.name, "u");
	CHECK_STR(container->user.group, "13");
	CHECK_STR(container->user.additional_groups[1], "7");
	CHECK_STR(container->envs[0].value, "1");
	CHECK_STR(container->envs[1].value, "");
	CHECK_INT(container->tty, true);
	CHECK_INT(container->read_only, true);
	CHECK_INT(container->restart, SPEC_RESTART_ALWAYS);
	CHECK_STR(container->mounts[0].path, "/data");
	CHECK_INT(container->mounts[0].volume_index, 1);
	CHECK_INT(container->mounts[0].read_only, true);
	CHECK(spec_volume_read_only(pod, 1));
	CHECK(spec_volume_read_only(pod, 0)); /* nobody mounts it */
	pod->containers[0].mounts[0].read_only = false;
	CHECK(!spec_volume_read_only(pod, 1));
	CHECK_INT(container->files[0].file_index, 1);
	CHECK_INT(container->files[0].perm, 0600);
	CHECK_INT(container->files[0].uid, 1000);
	CHECK_INT(container->files[0].gid, 5);
	CHECK_STR(container->stop_signal, "RTMIN+3");
	spec_free(pod);
}

TEST(ulimits_of_a_container)
{
	struct spec_pod *pod =
		parse_good(ULIMITS("{\"Name\":\"NOFILE\",\"Soft\":64,\"Hard\":\"128\"},{\"name\":\"core\",\"soft\":0},"
				   "{\"name\":\"as\",\"soft\":9007199254740991,\"hard\":\"Unlimited\"},"
				   "{\"name\":\"stack\",\"soft\":18446744073709551615,\"hard\":-1}"));
	const struct spec_ulimit *ulimits;

	if (!pod)
		return;
	ulimits = pod->containers[0].ulimits;
	if (CHECK_INT(pod->containers[0].ulimit_count, 4)) {
		CHECK_INT(ulimits[0].resource, RLIMIT_NOFILE);
		CHECK_INT(ulimits[0].soft, 64);
		CHECK_INT(ulimits[0].hard, 128);
		CHECK_INT(ulimits[1].resource, RLIMIT_CORE);
		CHECK_INT(ulimits[1].soft + ulimits[1].hard, 0);
		CHECK_INT(ulimits[2].resource, RLIMIT_AS);
		CHECK_INT(ulimits[2].soft, (1ull << 53) - 1);
		CHECK(ulimits[2].hard == SPEC_UNLIMITED);
		CHECK_INT(ulimits[3].resource, RLIMIT_STACK);
		CHECK(ulimits[3].soft == SPEC_UNLIMITED && ulimits[3].hard == SPEC_UNLIMITED);
	}
	CHECK_STR(spec_ulimit_name(RLIMIT_NPROC), "nproc");
	CHECK_STR(spec_ulimit_name(RLIMIT_RTTIME), "rttime");
	spec_free(pod);
}

TEST(sysctls_of_a_container)
{
	struct spec_pod *pod = parse_good(SYSCTL("\"net/ipv4/conf/eth0.1/forwarding\":\"1\",\"net.ipv4.ip_forward\":\"0\","
						 "\"net.ipv4.conf.eth0/1.rp_filter\":\"2\""));
	const struct spec_container *container;

	if (!pod)
		return;
	container = &pod->containers[0];
	if (CHECK_INT(container->sysctl_count, 3)) {
		CHECK_STR(container->sysctls[0].name, "net/ipv4/conf/eth0.1/forwarding");
		CHECK_STR(container->sysctls[0].value, "1");
		CHECK_STR(container->sysctls[1].name, "net/ipv4/ip_forward");
		CHECK_STR(container->sysctls[1].value, "0");
		CHECK_STR(container->sysctls[2].name, "net/ipv4/conf/eth0.1/rp_filter");
	}
	spec_free(pod);
}

TEST(capabilities_of_a_container)
{
	struct spec_pod *pod = parse_good(PODVM("\"capAdd\":[\"net_admin\",\"CAP_CHOWN\",\"CHECKPOINT_RESTORE\"],"
						"\"capDrop\":[\"ALL\"],\"noNewPrivileges\":true"));
	const struct spec_container *container;

	if (!pod)
		return;
	container = &pod->containers[0];
	CHECK_INT(container->cap_add, 1ull << CAP_NET_ADMIN | 1ull << CAP_CHOWN | 1ull << CAP_CHECKPOINT_RESTORE);
	CHECK(container->cap_drop == SPEC_CAPABILITIES_ALL);
	CHECK(container->no_new_privileges);
	spec_free(pod);
}

TEST(limits_of_a_container)
{
	struct spec_pod *pod = parse_good("{\"containers\":[{\"image\":\"a\",\"podvm\":{\"pids\":\"unlimited\",\"memory\":64,"
					  "\"cpus\":\"1.25\"}},{\"image\":\"b\",\"podvm\":{\"pids\":100,\"cpus\":0.3}},"
					  "{\"image\":\"c\"}]}");
	const struct spec_container *containers;

	if (!pod)
		return;
	containers = pod->containers;
	CHECK(containers[0].pids == SPEC_UNLIMITED);
	CHECK_INT(containers[0].memory_mb, 64);
	CHECK_INT(containers[0].cpu_milli, 1250);
	CHECK_INT(containers[1].pids, 100);
	CHECK_INT(containers[1].memory_mb, 0);
	CHECK_INT(containers[1].cpu_milli, 300);
	CHECK_INT(containers[2].pids + containers[2].memory_mb + containers[2].cpu_milli, 0);
	spec_free(pod);
}

TEST(labels_are_kept)
{
	struct spec_pod *pod = parse_good("{\"labels\":{\"a/b\":\"1\",\"c\":\"\"},\"containers\":[{\"image\":\"a\","
					  "\"labels\":{\"d\":\"x\\ny\"}}]}");

	if (!pod)
		return;
	if (CHECK_INT(pod->label_count, 2)) {
		CHECK_STR(pod->labels[0].name, "a/b");
		CHECK_STR(pod->labels[0].value, "1");
		CHECK_STR(pod->labels[1].name, "c");
		CHECK_STR(pod->labels[1].value, "");
	}
	if (CHECK_INT(pod->containers[0].label_count, 1))
		CHECK_STR(pod->containers[0].labels[0].value, "x\ny");
	spec_free(pod);
}

TEST(sockets_of_the_host)
{
	struct spec_pod *pod =
		parse_good("{\"containers\":[{\"image\":\"a\"}],\"podvm\":{\"sockets\":["
			   "{\"port\":1024,\"path\":\"./db.sock\",\"direction\":\"out\"},"
			   "{\"port\":\"1024\",\"path\":\"/run/x.sock\",\"direction\":\"in\"}]}}");
	char *printed;

	if (!pod)
		return;
	CHECK_INT(pod->socket_count, 2);
	CHECK_INT(pod->sockets[0].port, 1024);
	CHECK_STR(pod->sockets[0].path, "./db.sock");
	CHECK_INT(pod->sockets[0].direction, SPEC_SOCKET_OUT);
	CHECK_INT(pod->sockets[1].port, 1024);
	CHECK_INT(pod->sockets[1].direction, SPEC_SOCKET_IN);
	printed = spec_print(pod);
	check_round_trip(printed);
	free(printed);
	spec_free(pod);
}

TEST(printed_and_read_back)
{
	check_round_trip(full);
}

TEST(pod_tty_is_every_containers)
{
	struct spec_pod *pod =
		parse_good("{\"containers\":[{\"image\":\"a\",\"tty\":false},{\"image\":\"b\"}],\"tty\":true}");

	if (!pod)
		return;
	CHECK_INT(pod->containers[0].tty, true);
	CHECK_INT(pod->containers[1].tty, true);
	spec_free(pod);
}

static void check_port(const struct spec_port *port, const char *ip, unsigned host, unsigned container, bool udp)
{
	CHECK_STR(port->host_ip, ip);
	CHECK_INT(port->host_port, host);
	CHECK_INT(port->container_port, container);
	CHECK_INT(port->udp, udp);
}

TEST(ports_of_both_dialects)
{
	struct spec_pod *pod = parse_good(
		"{\"portmappings\":[{\"containerport\":\"1300-1301\",\"hostport\":\"3000-3001\",\"protocol\":\"tcp\"},"
		"{\"containerPort\":\"53\",\"protocol\":\"UDP\",\"hostIP\":\"0.0.0.0\"},"
		"{\"containerPort\":\"7-8\",\"hostPort\":0}],"
		"\"containers\":[{\"image\":\"a\",\"ports\":[{\"hostPort\":80,\"containerPort\":8080,\"servicePort\":0}"
		"]}]}");

	if (!pod)
		return;
	if (CHECK_INT(pod->port_count, 6)) {
		check_port(&pod->ports[0], "127.0.0.1", 3000, 1300, false);
		check_port(&pod->ports[1], "127.0.0.1", 3001, 1301, false);
		check_port(&pod->ports[2], "0.0.0.0", 0, 53, true);
		check_port(&pod->ports[3], "127.0.0.1", 0, 7, false);
		check_port(&pod->ports[4], "127.0.0.1", 0, 8, false);
		check_port(&pod->ports[5], "127.0.0.1", 80, 8080, false);
	}
	spec_free(pod);
}

static void check_default_name(const char *id, const char *image, const char *name)
{
	char *text = xasprintf("{\"id\":\"%s\",\"containers\":[{\"image\":\"x\"},{\"image\":\"%s\"}]}", id, image);
	struct spec_pod *pod = parse_good(text);

	if (pod)
		CHECK_STR(pod->containers[1].name, name);
	spec_free(pod);
	free(text);
}

TEST(default_container_names)
{
	check_default_name("", "busybox", "pod-busybox-1");
	check_default_name("Web.1", "registry:5000/team/My_App:v1.2", "web-1-my-app-1");
	check_default_name("a", "app@sha256:0123", "a-app-1");
	check_default_name("a", "/srv/roots/deb ian/", "a-deb-ian-1");
	check_default_name("a", "/", "a-root-1");
	check_default_name("a", "../..", "a-root-1");
	check_default_name("a123456789b123456789c123456789", "x123456789y123456789z123456789w123456789v",
			   "a123456789b123456789c123-x123456789y123456789z123456789w1234-1");
}

TEST(default_name_that_is_taken)
{
	static const char before[] = "{\"containers\":[{\"image\":\"a\",\"name\":\"pod-b-1\"},{\"image\":\"b\"}]}";
	static const char after[] = "{\"containers\":[{\"image\":\"a\"},{\"image\":\"b\",\"name\":\"pod-a-0\"}]}";

	check_messages(
		before, sizeof(before) - 1,
		"E: 1:47: containers[1]: its default name \"pod-b-1\" is taken by containers[0]; expected a name");
	check_messages(after, sizeof(after) - 1,
		       "E: 1:50: containers[1].name: \"pod-a-0\" is taken by containers[0].name; expected another");
}

TEST(argv_is_entrypoint_then_command)
{
	struct spec_pod *pod = parse_good(full);
	size_t count;
	char **argv;

	if (!pod)
		return;
	argv = spec_argv(&pod->containers[0], &count);
	if (CHECK_INT(count, 3)) {
		CHECK_STR(argv[0], "/bin/x");
		CHECK_STR(argv[1], "a");
		CHECK_STR(argv[2], "b c");
		CHECK_STR(argv[3], NULL);
	}
	free(argv);
	argv = spec_argv(&pod->containers[1], &count);
	CHECK_INT(count, 0);
	CHECK_STR(argv[0], NULL);
	free(argv);
	spec_free(pod);
}

TEST(signal_numbers)
{
	CHECK_INT(spec_signal_number("TERM"), 15);
	CHECK_INT(spec_signal_number("HUP"), 1);
	CHECK_INT(spec_signal_number("KILL"), 9);
	CHECK_INT(spec_signal_number("STKFLT"), 16);
	CHECK_INT(spec_signal_number("SYS"), 31);
	CHECK_INT(spec_signal_number("15"), 15);
	CHECK_INT(spec_signal_number("64"), 64);
	CHECK_INT(spec_signal_number("RTMIN"), 34);
	CHECK_INT(spec_signal_number("RTMIN+30"), 64);
	CHECK_INT(spec_signal_number("RTMAX-1"), 63);
	CHECK_INT(spec_signal_number("RTMAX"), 64);
	CHECK_INT(spec_signal_number("65"), 0);
	CHECK_INT(spec_signal_number("0"), 0);
	CHECK_INT(spec_signal_number(""), 0);
	CHECK_INT(spec_signal_number("RTMIN-1"), 0);
	CHECK_INT(spec_signal_number("RTMIN+"), 0);
	CHECK_INT(spec_signal_number("TERMX"), 0);
}

static void check_base64(const char *content, const char *expected, size_t expected_bytes)
{
	struct spec_file file = {.encoding = SPEC_FILE_BASE64, .content = (char *)(uintptr_t)content};
	size_t bytes = 0;
	uint8_t *decoded = spec_file_bytes(&file, &bytes);

	if (!CHECK_MSG(!decoded == !expected, content) || !decoded)
		return;
	if (CHECK_INT(bytes, expected_bytes))
		CHECK_MEM(decoded, expected, expected_bytes + 1);
	free(decoded);
}

TEST(file_contents)
{
	struct spec_file raw = {.encoding = SPEC_FILE_RAW, .content = (char[]){"aGVs"}};
	size_t bytes;
	uint8_t *copy = spec_file_bytes(&raw, &bytes);

	CHECK_INT(bytes, 4);
	CHECK_STR((char *)copy, "aGVs");
	free(copy);
	check_base64("", "", 0);
	check_base64("Zg==", "f", 1);
	check_base64("Zm8=", "fo", 2);
	check_base64("Zm9v\r\n", "foo", 3);
	check_base64("Zm9v\nYmE=\n", "fooba", 5);
	check_base64("AP/+", "\0\xff\xfe", 3);
	check_base64("Z", NULL, 0);
	check_base64("Zg", NULL, 0);
	check_base64("Zg=", NULL, 0);
	check_base64("Zg===", NULL, 0);
	check_base64("Zg==Zg==", NULL, 0);
	check_base64("=", NULL, 0);
	check_base64("Zm9v=", NULL, 0);
	check_base64("Zm-v", NULL, 0);
}

/* prefix, then count times item with commas between, then suffix */
static char *repeat(const char *prefix, const char *item, size_t count, const char *suffix)
{
	size_t bytes = strlen(prefix) + count * (strlen(item) + 1) + strlen(suffix) + 1;
	char *text = xmalloc(bytes), *at = text + sprintf(text, "%s", prefix);

	for (size_t i = 0; i < count; i++)
		at += sprintf(at, "%s%s", i ? "," : "", item);
	sprintf(at, "%s", suffix);
	return text;
}

static void check_repeated(const char *prefix, const char *item, size_t count, const char *suffix, const char *messages)
{
	char *text = repeat(prefix, item, count, suffix);

	check_messages(text, strlen(text), messages);
	free(text);
}

TEST(limits_on_counts)
{
	check_repeated("{\"containers\":[", "{\"image\":\"a\"}", SPEC_CONTAINERS_MAX, "]}", "");
	check_repeated("{\"containers\":[", "{\"image\":\"a\"}", SPEC_CONTAINERS_MAX + 1, "]}",
		       "E: 1:15: containers: 65 elements; expected 1 to 64");
	check_repeated("{\"containers\":[{\"image\":\"a\",\"command\":[", "\"\"", SPEC_ARGS_MAX, "]}]}", "");
	check_repeated("{\"containers\":[{\"image\":\"a\",\"command\":[", "\"\"", SPEC_ARGS_MAX + 1, "]}]}",
		       "E: 1:39: containers[0].command: 4097 elements; expected 0 to 4096");
	check_repeated("{\"containers\":[{\"image\":\"a\"}],\"volumes\":[", "{}", SPEC_VOLUMES_MAX + 1, "]}",
		       "E: 1:41: volumes: 65 elements; expected 0 to 64");
	check_repeated("{\"containers\":[{\"image\":\"a\"}],\"dns\":[", "\"::1\"", 65, "]}",
		       "E: 1:37: dns: 65 elements; expected 0 to 64");
	check_repeated("{\"containers\":[{\"image\":\"a\"}],\"files\":[", "{}", 1025, "]}",
		       "E: 1:39: files: 1025 elements; expected 0 to 1024");
	check_repeated("{\"containers\":[{\"image\":\"a\"}],\"labels\":{", "\"a\":\"\"", SPEC_LABELS_MAX + 1, "}}",
		       "E: 1:40: labels: 257 members; expected at most 256");
}

TEST(limit_on_depth)
{
	char text[2 * SPEC_DEPTH_MAX + 32];

	memset(text, '[', SPEC_DEPTH_MAX + 1);
	memset(text + SPEC_DEPTH_MAX + 1, ']', SPEC_DEPTH_MAX + 1);
	check_messages(text, 2 * SPEC_DEPTH_MAX + 2, "E: 1:33: nested deeper than 32");
	check_messages(text + 1, 2 * SPEC_DEPTH_MAX, "E: 1:1: [...] is not an object: {\"containers\": [...]}");
}

TEST(limit_on_size)
{
	size_t bytes = SPEC_TEXT_BYTES_MAX + 1;
	char *text = xmalloc(bytes);

	memset(text, ' ', bytes);
	memcpy(text, "{\"containers\":[{\"image\":\"a\"}]}", 30);
	check_messages(text, bytes - 1, "");
	check_messages(text, bytes, "E: 1:1: 4194305 bytes; expected at most 4194304");
	free(text);
}

/* What the guest gets must be within the limit as well: defaults make this one more than twice as long. */
TEST(limit_on_printed_size)
{
	char *places = repeat("[", "{\"path\":\"/abc\",\"filename\":\"f\"}", 1024, "]");
	char *container = xasprintf("{\"image\":\"a\",\"files\":%s}", places);
	char *text = repeat("{\"files\":[{\"name\":\"f\"}],\"containers\":[", container, SPEC_CONTAINERS_MAX, "]}");

	CHECK(strlen(text) < SPEC_TEXT_BYTES_MAX);
	check_messages(text, strlen(text), "E: 1:1: with all defaults longer than 4194304 bytes; expected less");
	free(places);
	free(container);
	free(text);
}

/* A hostile file makes many problems; the first hundred are told, and the time that takes is bounded. */
TEST(limit_on_messages)
{
	char *text = repeat("{\"containers\":[{\"image\":\"a\",\"command\":[", "1", SPEC_ARGS_MAX, "]}]}");
	struct told told;

	CHECK(!parse(text, strlen(text), false, &told));
	CHECK_INT(told.errors, 101);
	CHECK(told.text && strstr(told.text, "\nE:  3996 more problems are not shown"));
	free(told.text);
	free(text);
}

TEST(free_of_nothing)
{
	spec_free(NULL);
}

int main(void)
{
	RUN(syntax_table);
	RUN(shape_table);
	RUN(pod_table);
	RUN(network_table);
	RUN(volume_table);
	RUN(port_table);
	RUN(socket_table);
	RUN(container_table);
	RUN(confine_table);
	RUN(image_table);
	RUN(warning_table);
	RUN(good_table);
	RUN(bytes_that_are_no_text);
	RUN(byte_order_mark);
	RUN(all_problems_in_order);
	RUN(strict_makes_warnings_errors);
	RUN(last_of_equal_keys_counts);
	RUN(defaults);
	RUN(all_keys_of_a_pod);
	RUN(all_keys_of_a_container);
	RUN(ulimits_of_a_container);
	RUN(sysctls_of_a_container);
	RUN(capabilities_of_a_container);
	RUN(limits_of_a_container);
	RUN(labels_are_kept);
	RUN(sockets_of_the_host);
	RUN(printed_and_read_back);
	RUN(pod_tty_is_every_containers);
	RUN(ports_of_both_dialects);
	RUN(default_container_names);
	RUN(default_name_that_is_taken);
	RUN(argv_is_entrypoint_then_command);
	RUN(signal_numbers);
	RUN(file_contents);
	RUN(limits_on_counts);
	RUN(limit_on_depth);
	RUN(limit_on_size);
	RUN(limit_on_printed_size);
	RUN(limit_on_messages);
	RUN(free_of_nothing);
	return test_done();
}

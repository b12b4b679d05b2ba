/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spec_value: what a single value of a pod file may be. Owns the rules for names, paths, numbers, ports and so on; must
 * not know which keys there are (pod/spec.c) or how problems are told (pod/spec_walk.c).
 */
#include "pod/spec_walk.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/base64.h"
#include "lib/netrule.h"
#include "lib/util.h"

enum {
	ID_BYTES_MAX = 64, /* it becomes part of the names of sockets and files */
	NAME_BYTES_MAX = 128,
	FILE_NAME_BYTES_MAX = 255,
	HOSTNAME_BYTES_MAX = 63,
	PATH_BYTES_MAX = 4095,
	FSTYPE_BYTES_MAX = 31,
	SIGNAL_MAX = 64,
	SIGNAL_RTMIN = 34, /* what C libraries leave of 32 on */
};

void text_set(char **field, const char *text)
{
	char *copy = xstrdup(text);

	free(*field);
	*field = copy;
}

static bool is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* 1 to max bytes of letters, digits and what others lists. */
static bool made_of(const char *text, size_t max, const char *others)
{
	size_t length = strlen(text);

	if (!length || length > max)
		return false;
	for (; *text; text++)
		if (!is_alnum(*text) && !strchr(others, *text))
			return false;
	return true;
}

static bool has_control(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			return true;
	return false;
}

bool check_id(const char *text)
{
	return is_alnum(*text) && made_of(text, ID_BYTES_MAX, "-_.");
}

bool check_name(const char *text)
{
	return is_alnum(*text) && made_of(text, NAME_BYTES_MAX, "-_.");
}

bool check_file_name(const char *text)
{
	return *text && strlen(text) <= FILE_NAME_BYTES_MAX && !strchr(text, '/') && !has_control(text) &&
	       strcmp(text, ".") && strcmp(text, "..");
}

/* RFC 1123: labels of letters, digits and inner hyphens. */
bool check_hostname(const char *text)
{
	if (strlen(text) > HOSTNAME_BYTES_MAX)
		return false;
	for (;;) {
		size_t length = strcspn(text, ".");

		if (!length || !is_alnum(text[0]) || !is_alnum(text[length - 1]))
			return false;
		for (size_t i = 0; i < length; i++)
			if (!is_alnum(text[i]) && text[i] != '-')
				return false;
		if (!text[length])
			return true;
		text += length + 1;
	}
}

bool check_source(const char *text)
{
	return (*text == '/' || !strncmp(text, "./", 2) || !strncmp(text, "../", 3)) &&
	       strlen(text) <= PATH_BYTES_MAX && !has_control(text);
}

bool check_image(const char *text)
{
	return check_source(text) || (is_alnum(*text) && made_of(text, FILE_NAME_BYTES_MAX, "-_./:@"));
}

/* Of a path in a container: with ".." a link could lead it elsewhere than it says. */
bool check_path(const char *text)
{
	if (*text != '/' || strlen(text) > PATH_BYTES_MAX || has_control(text))
		return false;
	for (const char *at = text; (at = strstr(at, "/..")); at++)
		if (!at[3] || at[3] == '/')
			return false;
	return true;
}

bool check_env_name(const char *text)
{
	return *text && !strchr(text, '=');
}

/* Stands in a line of resolv.conf: white space or a newline would make another entry of it. */
bool check_word(const char *text)
{
	return *text && strlen(text) <= FILE_NAME_BYTES_MAX && !strchr(text, ' ') && !has_control(text);
}

bool check_destination(const char *text)
{
	struct netrule rule;

	return netrule_parse(text, &rule);
}

bool check_network(const char *text)
{
	struct netrule rule;

	return netrule_parse(text, &rule) && !rule.is_name && !rule.port && *text != '[';
}

/* True when an earlier element of the list has the same text in the same field. */
static bool is_taken(struct walk *walk, const struct key *key, const char *text)
{
	const struct walk_list *list = &walk->list;

	for (size_t i = 0; i < list->index; i++) {
		const char *other = *(char *const *)(list->base + i * list->size + key->at);
		struct walk_step *step = &walk->path[list->depth - 1];
		char *value, *path;

		if (!other || strcmp(other, text))
			continue;
		value = walk_quote(walk);
		step->index = i;
		path = walk_path(walk);
		step->index = list->index;
		walk_note(walk, SPEC_ERROR, "%s is taken by %s; expected another", value, path);
		free(path);
		free(value);
		return true;
	}
	return false;
}

static void text_read(struct walk *walk, const struct key *key, const char *text, void *target)
{
	if (key->check && !*text && !key->required)
		return;
	if (key->check && !key->check(text))
		walk_bad(walk, key);
	else if (!key->unique || !is_taken(walk, key, text))
		text_set((char **)((char *)target + key->at), text);
}

void value_text(struct walk *walk, const struct key *key, const cJSON *item, void *target)
{
	if (cJSON_IsString(item))
		text_read(walk, key, item->valuestring, target);
	else
		walk_bad(walk, key);
}

/* A whole number in digits only, or as JSON number; false when it is neither or past UINT32_MAX. */
static bool number_of(const cJSON *item, uint64_t *number)
{
	double value = -1;

	if (cJSON_IsNumber(item)) {
		value = item->valuedouble;
	} else if (cJSON_IsString(item)) {
		const char *text = item->valuestring;
		size_t digits = strspn(text, "0123456789");

		if (digits && digits <= 10 && !text[digits])
			value = strtod(text, NULL);
	}
	if (!(value >= 0 && value <= UINT32_MAX) || value != (double)(uint64_t)value)
		return false;
	*number = (uint64_t)value;
	return true;
}

/* Users and groups: by name or number, kept as text. */
void value_name_or_number(struct walk *walk, const struct key *key, const cJSON *item, void *target)
{
	uint64_t number;
	char *text;

	if (!cJSON_IsNumber(item)) {
		value_text(walk, key, item, target);
	} else if (!number_of(item, &number)) {
		walk_bad(walk, key);
	} else {
		text = xasprintf("%llu", (unsigned long long)number);
		text_read(walk, key, text, target);
		free(text);
	}
}

void value_bool(struct walk *walk, const struct key *key, const cJSON *item, void *target)
{
	if (cJSON_IsBool(item))
		*(bool *)((char *)target + key->at) = cJSON_IsTrue(item);
	else
		walk_bad(walk, key);
}

void value_number(struct walk *walk, const struct key *key, const cJSON *item, void *target)
{
	char *field = (char *)target + key->at;
	uint64_t number;

	if (!number_of(item, &number) || number < key->min || number > key->max)
		walk_bad(walk, key);
	else if (key->size == sizeof(uint64_t))
		*(uint64_t *)field = number;
	else
		*(uint32_t *)field = (uint32_t)number;
}

/* Of a file in a container: a number. As hyper does, root's name is 0; other names would need the container's own list. */
void value_owner(struct walk *walk, const struct key *key, const cJSON *item, void *target)
{
	if (cJSON_IsString(item) && (!*item->valuestring || !strcmp(item->valuestring, "root")))
		return;
	value_number(walk, key, item, target);
}

/* The field is an enum, its values being the words' places. */
void value_choice(struct walk *walk, const struct key *key, const cJSON *item, void *target)
{
	if (cJSON_IsString(item) && !*item->valuestring && !key->required)
		return;
	for (unsigned i = 0; cJSON_IsString(item) && key->words[i]; i++) {
		if (!strcasecmp(item->valuestring, key->words[i])) {
			memcpy((char *)target + key->at, &i, sizeof(i));
			return;
		}
	}
	walk_bad(walk, key);
}

/* Kept in its shortest form, so that equal addresses are equal texts. */
void value_address(struct walk *walk, const struct key *key, const cJSON *item, void *target)
{
	const char *text = cJSON_IsString(item) ? item->valuestring : "";
	char shortest[INET6_ADDRSTRLEN];
	struct in6_addr address;
	int family = strchr(text, ':') ? AF_INET6 : AF_INET;

	if (cJSON_IsString(item) && !*text && !key->required)
		return;
	if (inet_pton(family, text, &address) != 1 || !inet_ntop(family, &address, shortest, sizeof(shortest)))
		walk_bad(walk, key);
	else
		text_set((char **)((char *)target + key->at), shortest);
}

/* Octal text only: 755 as a number would be decimal 755, which nobody means. */
void value_perm(struct walk *walk, const struct key *key, const cJSON *item, void *target)
{
	const char *text = cJSON_IsString(item) ? item->valuestring : "x";
	size_t digits = strspn(text, "01234567");
	unsigned long mode;

	if (!*text)
		return;
	mode = strtoul(text, NULL, 8);
	if (!digits || digits > 5 || text[digits] || mode > 07777)
		walk_bad(walk, key);
	else
		*(uint32_t *)((char *)target + key->at) = (uint32_t)mode;
}

static const char *const signal_names[] = {
	NULL,   "HUP",  "INT",  "QUIT", "ILL",    "TRAP",   "ABRT",  "BUS",  "FPE",  "KILL", "USR1",
	"SEGV", "USR2", "PIPE", "ALRM", "TERM",   "STKFLT", "CHLD",  "CONT", "STOP", "TSTP", "TTIN",
	"TTOU", "URG",  "XCPU", "XFSZ", "VTALRM", "PROF",   "WINCH", "IO",   "PWR",  "SYS",
};
_Static_assert(ARRAY_SIZE(signal_names) == 32, "signal_names is indexed by signal number");

static int signal_realtime(const char *name)
{
	bool from_start = !strncmp(name, "RTMIN", 5);
	size_t digits;
	int offset;

	if (!from_start && strncmp(name, "RTMAX", 5))
		return 0;
	name += 5;
	if (!*name)
		return from_start ? SIGNAL_RTMIN : SIGNAL_MAX;
	digits = strspn(name + 1, "0123456789");
	if (*name != (from_start ? '+' : '-') || !digits || digits > 2 || name[digits + 1])
		return 0;
	offset = atoi(name + 1);
	if (offset > SIGNAL_MAX - SIGNAL_RTMIN)
		return 0;
	return from_start ? SIGNAL_RTMIN + offset : SIGNAL_MAX - offset;
}

int spec_signal_number(const char *name)
{
	size_t digits = strspn(name, "0123456789");

	if (digits && digits <= 2 && !name[digits])
		return atoi(name) <= SIGNAL_MAX ? atoi(name) : 0;
	for (size_t i = 1; i < ARRAY_SIZE(signal_names); i++)
		if (!strcmp(signal_names[i], name))
			return (int)i;
	return signal_realtime(name);
}

void value_signal(struct walk *walk, const struct key *key, const cJSON *item, void *target)
{
	uint64_t number;
	char name[16];
	size_t i;

	if (number_of(item, &number) && number >= 1 && number <= SIGNAL_MAX) {
		snprintf(name, sizeof(name), "%u", (unsigned)number);
		text_set((char **)((char *)target + key->at), name);
		return;
	}
	if (cJSON_IsString(item) && !*item->valuestring)
		return;
	name[0] = '\0';
	if (cJSON_IsString(item)) {
		const char *text = item->valuestring + (strncasecmp(item->valuestring, "SIG", 3) ? 0 : 3);

		for (i = 0; i < sizeof(name) - 1 && text[i]; i++)
			name[i] = (char)(text[i] >= 'a' && text[i] <= 'z' ? text[i] - 32 : text[i]);
		name[text[i] ? 0 : i] = '\0';
	}
	if (!spec_signal_number(name))
		walk_bad(walk, key);
	else
		text_set((char **)((char *)target + key->at), name);
}

/* Every "%" is followed by two hexadecimal digits, and none of them is a NUL. */
static bool is_percent_encoded(const char *text)
{
	for (; *text; text++)
		if (*text == '%' && (!isxdigit((unsigned char)text[1]) || !isxdigit((unsigned char)text[2]) ||
				     (text[1] == '0' && text[2] == '0')))
			return false;
	return true;
}

static bool check_uri(const char *text)
{
	if (strlen(text) > PATH_BYTES_MAX || has_control(text))
		return false;
	if (!strncmp(text, "file:///", 8))
		return is_percent_encoded(text + 7);
	if (strncmp(text, "http://", 7) && strncmp(text, "https://", 8))
		return false;
	text = strstr(text, "//") + 2;
	return *text != '/' && *text && !strchr(text, ' ');
}

void value_uri(struct walk *walk, const struct key *key, const cJSON *item, void *target)
{
	const char *text = cJSON_IsString(item) ? item->valuestring : "x";

	if (*text && !check_uri(text))
		walk_bad(walk, key);
	else
		text_set((char **)((char *)target + key->at), text);
}

uint8_t *spec_file_bytes(const struct spec_file *file, size_t *bytes)
{
	size_t length = strlen(file->content);
	uint8_t *decoded = xcalloc(1, length + 1);

	*bytes = length;
	if (file->encoding == SPEC_FILE_RAW) {
		memcpy(decoded, file->content, length);
	} else if (!base64_decode(file->content, decoded, bytes)) {
		free(decoded);
		return NULL;
	}
	decoded[*bytes] = '\0';
	return decoded;
}

/* Read after encoding and uri, as the table has them first. A uri wins over the content, which then may be anything. */
void value_content(struct walk *walk, const struct key *key, const cJSON *item, void *target)
{
	struct spec_file *file = target;
	uint8_t *decoded;
	char *value;
	size_t bytes;

	value_text(walk, key, item, target);
	if (!cJSON_IsString(item) || file->encoding == SPEC_FILE_RAW || *file->uri)
		return;
	decoded = spec_file_bytes(file, &bytes);
	if (!decoded) {
		value = walk_quote(walk);
		walk_note(walk, SPEC_ERROR, "%s is not base64, which is the file's encoding", value);
		free(value);
	}
	free(decoded);
}

static void no_such(struct walk *walk, const char *what)
{
	char *value = walk_quote(walk);

	walk_note(walk, SPEC_ERROR, "%s is not the name of an element of the pod's \"%s\"", value, what);
	free(value);
}

void value_volume_ref(struct walk *walk, const struct key *key, const cJSON *item, void *target)
{
	struct spec_mount *mount = target;

	value_text(walk, key, item, target);
	for (size_t i = 0; i < walk->pod->volume_count && *mount->volume; i++) {
		if (walk->pod->volumes[i].name && !strcmp(walk->pod->volumes[i].name, mount->volume)) {
			mount->volume_index = (unsigned)i;
			return;
		}
	}
	if (*mount->volume)
		no_such(walk, "volumes");
}

void value_file_ref(struct walk *walk, const struct key *key, const cJSON *item, void *target)
{
	struct spec_place *place = target;

	value_text(walk, key, item, target);
	for (size_t i = 0; i < walk->pod->file_count && *place->filename; i++) {
		if (walk->pod->files[i].name && !strcmp(walk->pod->files[i].name, place->filename)) {
			place->file_index = (unsigned)i;
			return;
		}
	}
	if (*place->filename)
		no_such(walk, "files");
}

/* Tells what podvm does not do, in the words of the file. */
static void not_yet(struct walk *walk, const char *expected)
{
	char *value = walk_quote(walk);

	walk_note(walk, SPEC_ERROR, "%s is not supported yet; expected %s", value, expected);
	free(value);
}

/* All but "raw" say nothing that the source does not: see volume_finish() in pod/spec_keys.c. */
void value_format(struct walk *walk, const struct key *key, const cJSON *item, void *target)
{
	static const char *const later[] = {"vdi", "rbd", "nas"};

	if (!cJSON_IsString(item)) {
		walk_bad(walk, key);
		return;
	}
	if (!*item->valuestring || !strcasecmp(item->valuestring, "vfs"))
		return;
	if (!strcasecmp(item->valuestring, "raw")) {
		((struct spec_volume *)target)->kind = SPEC_VOLUME_RAW;
		return;
	}
	if (!strcasecmp(item->valuestring, "qcow2")) {
		not_yet(walk, "\"raw\", which qemu-img convert -O raw makes of it");
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(later); i++) {
		if (!strcasecmp(item->valuestring, later[i])) {
			not_yet(walk, key->expected);
			return;
		}
	}
	walk_bad(walk, key);
}

static bool is_empty(const cJSON *item)
{
	return cJSON_IsNull(item) || cJSON_IsFalse(item) || (cJSON_IsString(item) && !*item->valuestring) ||
	       (cJSON_IsNumber(item) && item->valuedouble == 0) ||
	       ((cJSON_IsArray(item) || cJSON_IsObject(item)) && !item->child);
}

/* Keys of hyper that change nothing here, or not yet: empty ones are what its own tools write, and not worth a word. */
void value_ignored(struct walk *walk, const struct key *key, const cJSON *item, void *target)
{
	(void)target;
	(void)key;
	if (!is_empty(item))
		walk_note(walk, SPEC_WARNING, "not supported yet, ignored");
}

/* Keys that a pod would run wrongly without. */
void value_refused(struct walk *walk, const struct key *key, const cJSON *item, void *target)
{
	(void)target;
	if (!is_empty(item))
		walk_note(walk, SPEC_ERROR, "not supported; expected %s", key->expected);
}

/* It goes to mount(2) in the guest. */
bool check_fstype(const char *text)
{
	return is_alnum(*text) && made_of(text, FSTYPE_BYTES_MAX, "-_.");
}

static bool is_disk(const void *target)
{
	return ((const struct spec_volume *)target)->kind == SPEC_VOLUME_RAW;
}

/* These three are read after the format, as the table has it first; they mean something for disks alone. */
void value_fstype(struct walk *walk, const struct key *key, const cJSON *item, void *target)
{
	if (is_disk(target))
		value_text(walk, key, item, target);
	else if (!cJSON_IsString(item) || strcmp(item->valuestring, "dir"))
		value_ignored(walk, key, item, target);
}

void value_cache(struct walk *walk, const struct key *key, const cJSON *item, void *target)
{
	if (!is_disk(target))
		value_ignored(walk, key, item, target);
	else if (cJSON_IsString(item) && !strcasecmp(item->valuestring, "off"))
		((struct spec_volume *)target)->cache = SPEC_CACHE_NONE;
	else
		value_choice(walk, key, item, target);
}

void value_option(struct walk *walk, const struct key *key, const cJSON *item, void *target)
{
	if (is_disk(target))
		value_object(walk, &spec_option, item, target);
	else
		value_ignored(walk, key, item, target);
}

void value_type(struct walk *walk, const struct key *key, const cJSON *item, void *target)
{
	if (!cJSON_IsString(item) || strcmp(item->valuestring, "pod"))
		value_ignored(walk, key, item, target);
}

/* "80" or "8000-8080" in digits only. */
static bool range_of(const char *text, struct port_range *range)
{
	size_t first_digits = strspn(text, "0123456789"), last_digits;
	const char *dash = text + first_digits;
	unsigned long first, last;

	if (!first_digits || first_digits > 5)
		return false;
	first = last = strtoul(text, NULL, 10);
	if (*dash) {
		last_digits = *dash == '-' ? strspn(dash + 1, "0123456789") : 0;
		if (!last_digits || last_digits > 5 || dash[last_digits + 1])
			return false;
		last = strtoul(dash + 1, NULL, 10);
	}
	if (!first || last < first || last > UINT16_MAX)
		return false;
	*range = (struct port_range){.first = (unsigned)first, .count = (unsigned)(last - first + 1)};
	return true;
}

/* Where key->min is 0, an empty text and 0 stand for any free port, which is the default. */
void value_port_range(struct walk *walk, const struct key *key, const cJSON *item, void *target)
{
	struct port_range *range = (struct port_range *)((char *)target + key->at);
	uint64_t number;

	if (number_of(item, &number) && number >= key->min && number <= UINT16_MAX)
		*range = (struct port_range){.first = (unsigned)number, .count = number ? 1 : 0};
	else if (cJSON_IsString(item) && !*item->valuestring && !key->min)
		*range = (struct port_range){0};
	else if (!cJSON_IsString(item) || !range_of(item->valuestring, range))
		walk_bad(walk, key);
}

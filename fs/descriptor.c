/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The volume descriptor: the small text file that `format` writes and that makes the other replicas
 * (`format --join`). All replicas must be formatted from the same values, so everything in it is
 * required and nothing has a default; but for mode and owner of the root directory, which old
 * descriptors lack, and the directory in it, which is there where somebody wanted one: builds that do not know
 * it refuse such a descriptor.
 *
 * It is written to a temporary name, synced, and renamed without replacing: a descriptor is there as
 * a whole or not at all, and an existing one is never overwritten.
 *
 * The last line is a comment with the CRC-32C of all before it, so that a flipped byte in a name or a
 * number is noticed as well: `# checksum 0123abcd`. Descriptors were once written without it, and builds
 * of that time read this one: to them it is a comment.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "conf.h"
#include "crc32c.h"

#define TEXT_SIZE_MAX 4096u /* bytes */
#define FILE_SIZE_MAX (64u << 10) /* what people may have added to it, before it had a checksum */
#define CHECKSUM_LINE "# checksum %08x\n"
#define CHECKSUM_SIZE strlen("# checksum 01234567\n")

static const struct conf_key descriptor_keys[] = {
	{"volume", "name", true},
	{"volume", "cluster", true},
	{"volume", "uuid", true},
	{"volume", "size", true},
	{"volume", "ring", true},
	{"volume", "time", true},
	{"volume", "mode", false},
	{"volume", "owner", false},
	{"volume", "directory", false},
	{"replica", "uuid", true},
	{"record", "version_id", true},
};

static int take_uuid(const struct conf *c, const struct conf_section *s, const char *key,
	struct uuid *ret_u, struct err *e)
{
	if (uuid_parse(conf_get(c, s, key), ret_u) || uuid_is_zero(ret_u))
		return conf_error(c, s, key, e, "is no UUID");
	return 0;
}

static int take_hex(const struct conf *c, const struct conf_section *s, const char *key,
	uint64_t *ret, struct err *e)
{
	const char *text = conf_get(c, s, key);
	size_t len = strlen(text);

	if (len != 16 || strspn(text, "0123456789abcdef") != len)
		return conf_error(c, s, key, e, "is not 16 hexadecimal digits");
	*ret = strtoull(text, NULL, 16);
	return 0;
}

static int take_text(const struct conf *c, const struct conf_section *s, const char *key,
	const char *text, char *ret, size_t size, struct err *e)
{
	if (!*text || strlen(text) >= size ||
		text[strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-_")] != '\0')
		return conf_error(
			c, s, key, e, "'%.64s' is no name of at most %zu bytes", text, size - 1);
	snprintf(ret, size, "%s", text);
	return 0;
}

static int load_replicas(const struct conf *c, struct descriptor *d, struct err *e)
{
	const struct conf_section *s = conf_section(c, "replica");
	int ret = 0;

	for (; s && !ret; s = conf_next_section(c, s)) {
		struct record_replica *p = &d->replicas[d->nreplicas];

		if (d->nreplicas == REPLICAS_MAX)
			return conf_error(c, s, NULL, e, "more than %u replicas", REPLICAS_MAX);
		ret = take_text(c, s, NULL, s->name, p->domain, sizeof(p->domain), e);
		if (!ret)
			ret = take_uuid(c, s, "uuid", &p->uuid, e);
		for (unsigned i = 0; i < d->nreplicas && !ret; i++)
			if (uuid_equal(&d->replicas[i].uuid, &p->uuid))
				ret = conf_error(
					c, s, "uuid", e, "two replicas have the same UUID");
		p->in_sync = true;
		d->nreplicas++;
	}
	return ret;
}

int descriptor_parse_mode(const char *text, uint32_t *ret_mode)
{
	size_t len = strlen(text);

	if (!len || len > 5 || strspn(text, "01234567") != len || strtoul(text, NULL, 8) > 07777)
		return -EINVAL;
	*ret_mode = (uint32_t)strtoul(text, NULL, 8);
	return 0;
}

/* One of the two numbers of an owner; what follows it, or NULL. */
static const char *parse_id(const char *text, uint32_t *ret_id)
{
	size_t len = strspn(text, "0123456789");
	unsigned long long id;

	if (!len || len > 10)
		return NULL;
	id = strtoull(text, NULL, 10);
	if (id >= UINT32_MAX) /* (uid_t)-1 is nobody's */
		return NULL;
	*ret_id = (uint32_t)id;
	return text + len;
}

int descriptor_parse_owner(const char *text, uint32_t *ret_uid, uint32_t *ret_gid)
{
	const char *at;
	uint32_t uid, gid;

	at = parse_id(text, &uid);
	if (!at || *at != ':')
		return -EINVAL;
	at = parse_id(at + 1, &gid);
	if (!at || *at)
		return -EINVAL;
	*ret_uid = uid;
	*ret_gid = gid;
	return 0;
}

int descriptor_parse_directory(const char *text, char *ret)
{
	size_t len = strlen(text);

	if (!len || len > VOLUME_NAME_MAX ||
		strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-_") != len)
		return -EINVAL;
	memcpy(ret, text, len + 1);
	return 0;
}

static int take_root(
	const struct conf *c, const struct conf_section *s, struct descriptor *d, struct err *e)
{
	const char *mode = conf_get(c, s, "mode"), *owner = conf_get(c, s, "owner"),
		   *directory = conf_get(c, s, "directory");

	d->mode = DESCRIPTOR_MODE;
	if (mode && descriptor_parse_mode(mode, &d->mode))
		return conf_error(c, s, "mode", e, "'%.64s' is no octal mode", mode);
	if (owner && descriptor_parse_owner(owner, &d->uid, &d->gid))
		return conf_error(c, s, "owner", e, "'%.64s' is not UID:GID", owner);
	if (directory)
		return take_text(
			c, s, "directory", directory, d->directory, sizeof(d->directory), e);
	return 0;
}

/* A last line that is a comment is the checksum, or was. */
static int check_sum(const char *path, struct err *e)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	cleanup_free char *text = malloc(FILE_SIZE_MAX + 1);
	char expected[32];
	size_t len = 0, last;
	ssize_t n;

	if (!text)
		return err_set(e, -ENOMEM, "'%s': out of memory", path);
	while (fd >= 0 && (n = read(fd, text + len, FILE_SIZE_MAX - len)) > 0)
		len += (size_t)n;
	if (fd < 0 || n < 0)
		return err_set(e, -errno, "cannot read '%s': %s", path, strerror(errno));
	for (last = len; last && (last == len || text[last - 1] != '\n'); last--)
		;
	if (!len || text[last] != '#')
		return 0;
	snprintf(expected, sizeof(expected), CHECKSUM_LINE, crc32c(0, text, last));
	if (len - last == CHECKSUM_SIZE && !memcmp(text + last, expected, CHECKSUM_SIZE))
		return 0;
	return err_set(e, -EBADMSG,
		"'%s' is damaged, or was changed by hand: its last line is not '%.*s', the "
		"checksum of "
		"what is before it",
		path, (int)CHECKSUM_SIZE - 1, expected);
}

int descriptor_load(const char *path, struct descriptor *ret_d, struct err *e)
{
	struct descriptor d = {0};
	const struct conf_section *s;
	struct conf *c;
	int ret;

	ret = conf_load(path, descriptor_keys, ARRAY_SIZE(descriptor_keys), &c, e);
	if (ret)
		return ret;
	s = conf_section(c, "volume");
	ret = take_text(c, s, "name", conf_get(c, s, "name"), d.name, sizeof(d.name), e);
	if (!ret)
		ret = take_uuid(c, s, "cluster", &d.cluster, e);
	if (!ret)
		ret = take_uuid(c, s, "uuid", &d.volume, e);
	if (!ret)
		ret = conf_get_uint(c, s, "size", 1, UINT64_MAX, &d.size, e);
	if (!ret && d.size % BLOCK_SIZE)
		ret = conf_error(c, s, "size", e, "is no multiple of %u", BLOCK_SIZE);
	if (!ret)
		ret = conf_get_uint(c, s, "ring", RING_SIZE_MIN, RING_SIZE_MAX, &d.ring_size, e);
	if (!ret && d.ring_size % BLOCK_SIZE)
		ret = conf_error(c, s, "ring", e, "is no multiple of %u", BLOCK_SIZE);
	if (!ret)
		ret = conf_get_uint(c, s, "time", 1, UINT64_MAX, &d.time_ns, e);
	if (!ret)
		ret = take_root(c, s, &d, e);
	if (!ret)
		ret = load_replicas(c, &d, e);
	if (!ret)
		ret = take_hex(c, conf_section(c, "record"), "version_id", &d.record_id, e);
	conf_free(c);
	if (!ret)
		ret = check_sum(path, e);
	if (ret)
		return ret;
	*ret_d = d;
	return 0;
}

/* The descriptor as text; its length, or 0 when it does not fit. */
static size_t descriptor_text(const struct descriptor *d, char *buf, size_t size)
{
	char cluster[UUID_TEXT_SIZE], volume[UUID_TEXT_SIZE];
	size_t n;

	n = (size_t)snprintf(buf, size,
		"# A tandemfs volume. Every replica is formatted from this file; keep it.\n"
		"[volume]\n"
		"name = %s\n"
		"cluster = %s\n"
		"uuid = %s\n"
		"size = %" PRIu64 "\n"
		"ring = %" PRIu64 "\n"
		"time = %" PRIu64 "\n"
		"mode = %04o\n"
		"owner = %u:%u\n",
		d->name, uuid_text(&d->cluster, cluster), uuid_text(&d->volume, volume), d->size,
		d->ring_size, d->time_ns, d->mode, d->uid, d->gid);
	if (d->directory[0] && n < size)
		n += (size_t)snprintf(buf + n, size - n, "directory = %s\n", d->directory);
	for (unsigned i = 0; i < d->nreplicas && n < size; i++) {
		char text[UUID_TEXT_SIZE];

		n += (size_t)snprintf(buf + n, size - n, "\n[replica %s]\nuuid = %s\n",
			d->replicas[i].domain, uuid_text(&d->replicas[i].uuid, text));
	}
	if (n < size)
		n += (size_t)snprintf(buf + n, size - n,
			"\n[record]\nversion_id = %016" PRIx64 "\n", d->record_id);
	if (n < size)
		n += (size_t)snprintf(buf + n, size - n, CHECKSUM_LINE, crc32c(0, buf, n));
	return n < size ? n : 0;
}

static int sync_parent(const char *path)
{
	cleanup_free char *copy = strdup(path);
	cleanup_close int fd = -1;

	if (!copy)
		return -ENOMEM;
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0)
		return -errno;
	return 0;
}

static int write_synced(const char *path, const char *text, size_t len)
{
	cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0)
		return -errno;
	for (size_t at = 0; at < len;) {
		ssize_t n = write(fd, text + at, len - at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		at += (size_t)n;
	}
	return fsync(fd) < 0 ? -errno : 0;
}

int descriptor_store(const char *path, const struct descriptor *d, struct err *e)
{
	char text[TEXT_SIZE_MAX], temporary[4096];
	size_t len = descriptor_text(d, text, sizeof(text));
	int ret;

	ensure(len && d->nreplicas >= 1 && d->nreplicas <= REPLICAS_MAX);
	if ((size_t)snprintf(temporary, sizeof(temporary), "%s.new-%d", path, (int)getpid()) >=
		sizeof(temporary))
		return err_set(e, -ENAMETOOLONG, "the descriptor's path is too long");
	ret = write_synced(temporary, text, len);
	if (!ret && renameat2(AT_FDCWD, temporary, AT_FDCWD, path, RENAME_NOREPLACE) < 0)
		ret = -errno;
	if (ret) {
		unlink(temporary);
		if (ret == -EEXIST)
			return err_set(e, ret, "'%s' exists already and is not overwritten", path);
		return err_set(e, ret, "cannot write '%s': %s", path, strerror(-ret));
	}
	ret = sync_parent(path);
	if (ret)
		return err_set(
			e, ret, "cannot sync the directory of '%s': %s", path, strerror(-ret));
	return 0;
}

void descriptor_record(const struct descriptor *d, struct record *ret_r)
{
	memset(ret_r, 0, sizeof(*ret_r));
	ret_r->cluster = d->cluster;
	ret_r->volume = d->volume;
	ret_r->format_level = RECORD_FORMAT_BIRTH;
	ret_r->version = (struct record_version){.number = 1, .id = d->record_id};
	ret_r->nreplicas = d->nreplicas;
	for (unsigned i = 0; i < d->nreplicas; i++) {
		ret_r->replicas[i] = d->replicas[i];
		ret_r->replicas[i].in_sync = true;
	}
	ret_r->active = d->replicas[0].uuid;
}

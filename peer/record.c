/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The record: comparing, changing, encoding. Pure; record_file.c has the disk. What is decoded is
 * checked field by field and then as a whole (record_valid()): nothing behind this file meets a
 * record that cannot be.
 *
 * Failure modes: a damaged or hostile encoding is -EBADMSG and leaves the result untouched, except
 * that its memory may have been written to. An ancestry that is full forgets its oldest versions: a
 * replica that was away for longer than 4,096 changes looks like a fork, and a person decides. Not so one
 * that holds the first record, on a replaced disk: begins_with().
 */
#include "record.h"

#include <errno.h>
#include <string.h>

#include "bytes.h"

static bool version_equal(const struct record_version *a, const struct record_version *b)
{
	return a->number == b->number && a->id == b->id;
}

bool record_follows(const struct record *r, const struct record_version *v)
{
	if (version_equal(&r->version, v))
		return true;
	if (r->version.forced)
		return false;
	/* Numbers ascend; the wanted one is near the end nearly always. */
	for (unsigned i = r->nancestors; i-- > 0;) {
		const struct record_version *a = &r->ancestors[i];

		if (a->number < v->number)
			return false;
		if (version_equal(a, v))
			return true;
		if (a->forced)
			return false;
	}
	return false;
}

/*
 * `first` is what format wrote. Nobody has served under it, for an entry has an epoch: whoever holds it has nothing that a
 * forced step could take away, nor anything that was written without others. If it counted as a fork behind such a
 * step, or behind 4,096 changes, the other side would be nobody to a replaced disk, which would then take over, empty.
 */
static bool begins_with(const struct record *r, const struct record *first)
{
	if (first->version.number != 1 || first->epoch.num || !r->nancestors)
		return false;
	return r->ancestors[0].number > 1 || /* forgotten */
	       version_equal(&r->ancestors[0], &first->version);
}

enum record_order record_compare(const struct record *a, const struct record *b)
{
	if (version_equal(&a->version, &b->version))
		return RECORD_SAME;
	if (record_follows(a, &b->version) || begins_with(a, b))
		return RECORD_NEWER;
	if (record_follows(b, &a->version) || begins_with(b, a))
		return RECORD_OLDER;
	return RECORD_FORK;
}

void record_copy(struct record *dst, const struct record *src)
{
	if (dst == src)
		return;
	memcpy(dst, src, offsetof(struct record, ancestors));
	memcpy(dst->ancestors, src->ancestors, src->nancestors * sizeof(src->ancestors[0]));
}

void record_pass(struct record *r, const struct record_version *v)
{
	ensure(v->number >= r->version.number && !version_equal(v, &r->version));
	if (r->nancestors == RECORD_ANCESTORS_MAX) {
		memmove(r->ancestors, r->ancestors + 1,
			(RECORD_ANCESTORS_MAX - 1) * sizeof(r->ancestors[0]));
		r->nancestors--;
	}
	r->ancestors[r->nancestors++] = r->version;
	r->version = *v;
}

void record_next(struct record *r, uint64_t id, bool forced)
{
	struct record_version v = {.number = r->version.number + 1, .id = id, .forced = forced};

	record_pass(r, &v);
}

int record_find(const struct record *r, const struct uuid *replica)
{
	for (unsigned i = 0; i < r->nreplicas; i++)
		if (uuid_equal(&r->replicas[i].uuid, replica))
			return (int)i;
	return -1;
}

bool record_domain_known(const struct record *r, const char *domain)
{
	for (unsigned i = 0; i < r->nreplicas; i++)
		if (!strcmp(r->replicas[i].domain, domain))
			return true;
	return false;
}

bool record_domain_inactive(const struct record *r, const char *domain)
{
	for (unsigned i = 0; i < r->ninactive; i++)
		if (!strcmp(r->inactive[i], domain))
			return true;
	return false;
}

void record_set_inactive(struct record *r, const char *domain, bool inactive)
{
	if (record_domain_inactive(r, domain) == inactive)
		return;
	if (inactive) {
		char *d = r->inactive[r->ninactive];

		ensure(r->ninactive < REPLICAS_MAX && strlen(domain) <= DOMAIN_LEN_MAX);
		memset(d, 0, DOMAIN_LEN_MAX + 1);
		memcpy(d, domain, strlen(domain));
		r->ninactive++;
		return;
	}
	for (unsigned i = 0; i < r->ninactive; i++) {
		if (strcmp(r->inactive[i], domain))
			continue;
		memmove(r->inactive[i], r->inactive[i + 1],
			(size_t)(r->ninactive - i - 1) * sizeof(r->inactive[0]));
		r->ninactive--;
		return;
	}
}

unsigned record_in_sync_count(const struct record *r)
{
	unsigned n = 0;

	for (unsigned i = 0; i < r->nreplicas; i++)
		n += r->replicas[i].in_sync;
	return n;
}

/* A name that is not empty, ends inside its array, is padded with zeros, and can be printed. */
static bool domain_valid(const char d[DOMAIN_LEN_MAX + 1])
{
	size_t n = strnlen(d, DOMAIN_LEN_MAX + 1);

	if (!n || n > DOMAIN_LEN_MAX)
		return false;
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)d[i] <= 0x20 || (unsigned char)d[i] == 0x7f)
			return false;
	for (size_t i = n; i <= DOMAIN_LEN_MAX; i++)
		if (d[i])
			return false;
	return true;
}

static bool replicas_valid(const struct record *r)
{
	if (!r->nreplicas || r->nreplicas > REPLICAS_MAX)
		return false;
	for (unsigned i = 0; i < r->nreplicas; i++) {
		const struct record_replica *p = &r->replicas[i];

		if (uuid_is_zero(&p->uuid) || !domain_valid(p->domain))
			return false;
		if (record_find(r, &p->uuid) != (int)i)
			return false;
		if (p->in_sync && record_domain_inactive(r, p->domain))
			return false;
	}
	return true;
}

bool record_valid(const struct record *r)
{
	int active;

	if (uuid_is_zero(&r->cluster) || uuid_is_zero(&r->volume) || !r->format_level)
		return false;
	if (r->ninactive > REPLICAS_MAX || r->nancestors > RECORD_ANCESTORS_MAX)
		return false;
	for (unsigned i = 0; i < r->ninactive; i++) {
		if (!domain_valid(r->inactive[i]))
			return false;
		for (unsigned j = 0; j < i; j++)
			if (!strcmp(r->inactive[i], r->inactive[j]))
				return false;
	}
	if (!replicas_valid(r))
		return false;
	for (unsigned i = 0; i < r->ninactive; i++)
		if (!record_domain_known(r, r->inactive[i]))
			return false;
	if (!record_in_sync_count(r))
		return false;
	if (!uuid_is_zero(&r->active)) {
		active = record_find(r, &r->active);
		if (active < 0 || !r->replicas[active].in_sync)
			return false;
	}
	if (!r->version.number)
		return false;
	if (r->nancestors && r->ancestors[r->nancestors - 1].number == r->version.number)
		return false;
	for (unsigned i = 0; i < r->nancestors; i++) {
		const struct record_version *next =
			i + 1 < r->nancestors ? &r->ancestors[i + 1] : &r->version;

		if (!r->ancestors[i].number || r->ancestors[i].number > next->number)
			return false;
		if (version_equal(
			    &r->ancestors[i], next)) /* equal numbers: two proposals that crossed */
			return false;
	}
	return true;
}

static void put_version(struct bytes *b, const struct record_version *v)
{
	bytes_put64(b, v->number);
	bytes_put64(b, v->id);
	bytes_put8(b, v->forced);
}

size_t record_encode(const struct record *r, void *buf, size_t size)
{
	struct bytes b = bytes_of(buf, MIN(size, (size_t)RECORD_ENCODED_MAX));

	bytes_put_mem(&b, r->cluster.b, sizeof(r->cluster.b));
	bytes_put_mem(&b, r->volume.b, sizeof(r->volume.b));
	bytes_put32(&b, r->format_level);
	put_version(&b, &r->version);
	bytes_put64(&b, r->epoch.id);
	bytes_put32(&b, r->epoch.num);
	bytes_put_mem(&b, r->active.b, sizeof(r->active.b));
	bytes_put32(&b, r->nreplicas);
	for (unsigned i = 0; i < r->nreplicas; i++) {
		bytes_put_mem(&b, r->replicas[i].uuid.b, sizeof(r->replicas[i].uuid.b));
		bytes_put_mem(&b, r->replicas[i].domain, DOMAIN_LEN_MAX + 1);
		bytes_put8(&b, r->replicas[i].in_sync);
	}
	bytes_put32(&b, r->ninactive);
	for (unsigned i = 0; i < r->ninactive; i++)
		bytes_put_mem(&b, r->inactive[i], DOMAIN_LEN_MAX + 1);
	bytes_put32(&b, r->nancestors);
	for (unsigned i = 0; i < r->nancestors; i++)
		put_version(&b, &r->ancestors[i]);
	return b.bad ? 0 : b.at;
}

static bool get_bool(struct bytes *b)
{
	uint8_t v = bytes_get8(b);

	if (v > 1)
		b->bad = true;
	return v == 1;
}

static void get_version(struct bytes *b, struct record_version *v)
{
	v->number = bytes_get64(b);
	v->id = bytes_get64(b);
	v->forced = get_bool(b);
}

static unsigned get_count(struct bytes *b, unsigned max)
{
	uint32_t n = bytes_get32(b);

	if (n > max)
		b->bad = true;
	return b->bad ? 0 : n;
}

int record_decode(const void *buf, size_t len, struct record *ret_r)
{
	struct bytes b = bytes_of(buf, len);
	struct record *r = ret_r;

	memset(r, 0, offsetof(struct record, ancestors));
	bytes_get_mem(&b, r->cluster.b, sizeof(r->cluster.b));
	bytes_get_mem(&b, r->volume.b, sizeof(r->volume.b));
	r->format_level = bytes_get32(&b);
	get_version(&b, &r->version);
	r->epoch.id = bytes_get64(&b);
	r->epoch.num = bytes_get32(&b);
	bytes_get_mem(&b, r->active.b, sizeof(r->active.b));
	r->nreplicas = get_count(&b, REPLICAS_MAX);
	for (unsigned i = 0; i < r->nreplicas; i++) {
		bytes_get_mem(&b, r->replicas[i].uuid.b, sizeof(r->replicas[i].uuid.b));
		bytes_get_mem(&b, r->replicas[i].domain, DOMAIN_LEN_MAX + 1);
		r->replicas[i].in_sync = get_bool(&b);
	}
	r->ninactive = get_count(&b, REPLICAS_MAX);
	for (unsigned i = 0; i < r->ninactive; i++)
		bytes_get_mem(&b, r->inactive[i], DOMAIN_LEN_MAX + 1);
	r->nancestors = get_count(&b, RECORD_ANCESTORS_MAX);
	for (unsigned i = 0; i < r->nancestors && !b.bad; i++)
		get_version(&b, &r->ancestors[i]);
	if (b.bad || b.at != len || !record_valid(r))
		return -EBADMSG;
	return 0;
}

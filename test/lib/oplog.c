/* SPDX-License-Identifier: Apache-2.0 */
/* The workload's log files, and the bytes that its writes consist of; see oplog.h. */
#include "oplog.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define OPREC_MAGIC 0x6f706c67u

uint64_t oplog_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

int oplog_open(struct oplog *l, const char *prefix, unsigned number)
{
	char path[4096];

	memset(l, 0, sizeof(*l));
	snprintf(path, sizeof(path), "%s.%u", prefix, number);
	l->f = fopen(path, "a+e");
	if (!l->f)
		return -errno;
	rewind(l->f);
	return 0;
}

void oplog_close(struct oplog *l)
{
	if (l->f)
		fclose(l->f);
	l->f = NULL;
}

/* Flushed to the kernel each time: whoever looks at the log sees what happened so far. */
static void append(struct oplog *l, struct oprec *r)
{
	r->magic = OPREC_MAGIC;
	r->time_ns = oplog_now_ns();
	if (fwrite(r, sizeof(*r), 1, l->f) != 1 || fflush(l->f)) {
		perror("load: cannot write the operations' log");
		abort();
	}
}

void oplog_begin(struct oplog *l, struct oprec *r)
{
	r->kind = OPREC_BEGIN;
	r->index = ++l->index;
	r->result = 0;
	append(l, r);
	l->last = *r;
	l->open = true;
}

void oplog_end(struct oplog *l, int64_t result)
{
	struct oprec r = l->last;

	r.kind = OPREC_END;
	r.result = result;
	append(l, &r);
	l->open = false;
}

void oplog_partial(struct oplog *l, int64_t result)
{
	struct oprec r = l->last;

	r.kind = OPREC_PARTIAL;
	r.result = l->last.result = result;
	append(l, &r);
}

void oplog_resolve(struct oplog *l, int64_t result)
{
	struct oprec r = l->last;

	r.kind = OPREC_RESOLVE;
	r.result = result;
	append(l, &r);
	l->open = false;
}

int oplog_read(struct oplog *l, struct oprec *ret_r)
{
	struct oprec r;
	size_t n = fread(&r, 1, sizeof(r), l->f);

	if (n == 0)
		return 0;
	if (n != sizeof(r) || r.magic != OPREC_MAGIC || r.zero)
		return -EBADMSG;
	if (r.kind == OPREC_BEGIN) {
		if (l->open)
			return -EBADMSG;
		l->last = r;
		l->open = true;
		l->index = r.index;
	} else {
		if (!l->open || r.index != l->last.index)
			return -EBADMSG;
		if (r.kind == OPREC_PARTIAL)
			l->last.result = r.result;
		else
			l->open = false;
	}
	*ret_r = r;
	return 1;
}

int oplog_rotate(struct oplog *l, const char *prefix, unsigned number)
{
	char path[4096], old[4096 + 8];
	uint64_t index = l->index;
	int err;

	oplog_close(l);
	snprintf(path, sizeof(path), "%s.%u", prefix, number);
	snprintf(old, sizeof(old), "%s.old", path);
	if (rename(path, old))
		return -errno;
	err = oplog_open(l, prefix, number);
	l->index = index;
	return err;
}

uint64_t pattern_mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

void pattern_fill(void *buf, size_t len, uint64_t seed)
{
	uint8_t *p = buf;
	uint64_t key = pattern_mix(seed), word = 0;

	for (size_t i = 0; i < len; i += 8) {
		word = (key + i) * 0x9e3779b97f4a7c15u;
		word ^= word >> 29;
		memcpy(p + i, &word, len - i < 8 ? len - i : 8);
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a resync would give up here: the entries after the last seq that both sides are known to share, the
 * files that they changed, with their paths as of now, and the bytes of data in those files that were
 * written since. Reads only, on a job thread, while the volume is in use.
 *
 * The journal tells which inodes were changed and how; a walk over the names tells where they are; an extent
 * remembers the seq of its birth, so the block maps tell what was written since. A file that was made and
 * removed again is not listed: nothing of it is lost. One that replaced another of the same name counts
 * as a change of that name. The end of the journal may not be applied yet (a crash, before its commit index was
 * known): there the entries themselves tell what was written, and where a new name is.
 *
 * Failure modes: the journal does not reach back to the common point (or it is overwritten meanwhile): then
 * the block maps of all files are looked at, and the answer says that it lists for that time only files
 * that hold data written since, and not what was removed, renamed, or changed in its attributes alone. The
 * common point itself may be known too early, never too late: more is listed then, never less. Many paths:
 * the first ones are listed, all are counted (resync_answer.c). A file that is renamed during the walk may be listed
 * without its path. Damage in the store or the journal ends the preview with an error.
 */
#include "resync.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "body.h"
#include "resync_impl.h"

#define MAP_BLOCKS 1024u

/* --- the table --- */

static struct changed *place(struct changed *table, size_t size, uint64_t ino)
{
	size_t i = (size_t)((ino * 0x9e3779b97f4a7c15ull) >> 20) & (size - 1);

	while (table[i].ino && table[i].ino != ino)
		i = (i + 1) & (size - 1);
	return &table[i];
}

struct changed *preview_find(const struct preview *p, uint64_t ino)
{
	struct changed *c = place(p->table, p->size, ino);

	return c->ino ? c : NULL;
}

/* The pointer is good until the next note(). */
static struct changed *note(struct preview *p, uint64_t ino, unsigned what)
{
	struct changed *c;

	if (2 * (p->n + 1) > p->size) {
		struct changed *table = calloc(2 * p->size, sizeof(*table));

		ensure(table);
		for (size_t i = 0; i < p->size; i++)
			if (p->table[i].ino)
				*place(table, 2 * p->size, p->table[i].ino) = p->table[i];
		free(p->table);
		p->table = table;
		p->size *= 2;
	}
	c = place(p->table, p->size, ino);
	if (!c->ino) {
		c->ino = ino;
		p->n++;
	}
	c->what |= what;
	return c;
}

static void note_name(struct preview *p, uint64_t ino, unsigned what, uint64_t parent,
	const char *name, size_t len)
{
	struct changed *c = note(p, ino, what);

	free(c->name);
	c->name = strndup(name, len);
	ensure(c->name);
	c->parent = parent;
}

/* --- the journal --- */

/* Bytes of data in an entry that the block maps do not show yet. */
static uint64_t bytes_in(const struct body_change *b)
{
	uint64_t end = b->mask & BODY_SET_SIZE ? b->size : UINT64_MAX, bytes = 0;

	for (unsigned i = 0; i < b->nruns; i++) {
		uint64_t from = b->runs[i].file_block * BLOCK_SIZE;
		uint64_t to = from + (uint64_t)b->runs[i].blocks * BLOCK_SIZE;

		bytes += MIN(to, end) - MIN(from, end);
	}
	return bytes;
}

static int note_change(struct preview *p, const struct entry *e)
{
	struct changed *c;
	struct body_change b;

	if (body_decode_change(e->body, e->h.body_len, &b))
		return -EBADMSG;
	c = note(p, b.ino,
		b.flags & (BODY_DATA | BODY_HOLE | BODY_DEAD) || b.mask & BODY_SET_SIZE
			? CHANGED_DATA
			: CHANGED_ATTR);
	if (e->h.seq > p->applied)
		c->bytes_behind += bytes_in(&b);
	return 0;
}

static int note_rename(struct preview *p, const struct entry *e)
{
	struct body_rename b;

	if (body_decode_rename(e->body, e->h.body_len, &b))
		return -EBADMSG;
	note(p, b.ino, CHANGED_NAME);
	if (b.victim && b.victim_last)
		note_name(p, b.victim, CHANGED_GONE, b.newparent, b.newname, b.newnlen);
	else if (b.victim)
		note(p, b.victim, CHANGED_NAME);
	return 0;
}

static int note_entry(struct preview *p, const struct entry *e)
{
	struct body_create create;
	struct body_unlink unlinked;
	struct body_link linked;

	switch (e->h.type) {
	case OP_CREATE:
		if (body_decode_create(e->body, e->h.body_len, &create))
			return -EBADMSG;
		note_name(p, create.ino, CHANGED_NEW, create.parent, create.name, create.nlen);
		preview_find(p, create.ino)->dir = S_ISDIR(create.mode);
		return 0;
	case OP_UNLINK:
	case OP_RMDIR:
		if (body_decode_unlink(e->body, e->h.body_len, &unlinked))
			return -EBADMSG;
		if (unlinked.last || e->h.type == OP_RMDIR)
			note_name(p, unlinked.ino, CHANGED_GONE, unlinked.parent, unlinked.name,
				unlinked.nlen);
		else
			note(p, unlinked.ino, CHANGED_NAME);
		return 0;
	case OP_LINK:
		if (body_decode_link(e->body, e->h.body_len, &linked))
			return -EBADMSG;
		note(p, linked.ino, CHANGED_NAME);
		return 0;
	case OP_RENAME:
		return note_rename(p, e);
	case OP_REAP:
		return 0; /* what is dead already */
	case OP_RESIZE:
		return 0; /* no file's */
	default:
		return note_change(p, e);
	}
}

static int read_journal(struct preview *p, struct volume *v)
{
	uint64_t from = p->reaches;
	struct tree_info info;
	int r = 0;

	tree_info(v->tree, &info);
	p->applied = info.applied.seq;
	while (from <= p->end && !r) {
		struct batch_header h;
		struct entry e;
		size_t at = 0;

		r = ring_read(v->ring, from, p->buf, &h);
		if (r == -ESTALE) { /* overwritten meanwhile */
			p->reaches = ++from;
			r = 0;
			continue;
		}
		if (r == -ENOENT)
			return 0;
		while (!r && batch_next_entry(p->buf, &h, &at, &e))
			if (e.h.seq >= from && e.h.seq <= p->end)
				r = note_entry(p, &e);
		from = batch_last_seq(&h) + 1;
	}
	return r ? err_set(&p->error, r, "reading the journal at seq %llu: %s",
			   (unsigned long long)from, strerror(-r))
		 : 0;
}

bool preview_complete(const struct preview *p)
{
	return p->reaches == p->since + 1;
}

/* --- the data --- */

/* Bytes of the file that were written after the common point. */
static int bytes_since(struct preview *p, struct tree *t, const struct inode *i, uint64_t *ret)
{
	uint64_t off = 0, bytes = 0;

	while (tree_seek(t, i, off, SEEK_DATA, &off) == 0) {
		uint64_t first = off / BLOCK_SIZE;
		int n = tree_map(t, i, first, MAP_BLOCKS, p->extents, MAP_BLOCKS, p->crcs);

		if (n <= 0)
			return n < 0 ? n : -EBADMSG;
		for (int k = 0; k < n; k++) {
			const struct extent *x = &p->extents[k];
			uint64_t from = x->file_block * BLOCK_SIZE;
			uint64_t to = from + (uint64_t)x->blocks * BLOCK_SIZE;

			if (x->addr.epoch && x->birth > p->since && from < i->size)
				bytes += MIN(to, i->size) - from;
			off = to;
		}
	}
	*ret = bytes;
	return 0;
}

static int measure(struct preview *p, struct tree *t, struct changed *c)
{
	struct inode i;
	int r = tree_inode(t, c->ino, &i);

	if (!r) {
		c->dir = S_ISDIR(i.mode);
		r = S_ISREG(i.mode) ? bytes_since(p, t, &i, &c->bytes) : 0;
	}
	c->bytes += c->bytes_behind;
	return r == -ENOENT ? 0 : r; /* removed this moment, or not applied yet */
}

/* --- the paths --- */

static void todo_add(struct preview *p, uint64_t ino, const char *path)
{
	struct dir_todo *d = calloc(1, sizeof(*d));

	ensure(d);
	d->ino = ino;
	d->path = strdup(path);
	ensure(d->path);
	*p->todo_tail = d;
	p->todo_tail = &d->next;
}

static bool wants_path(const struct changed *c)
{
	return !(c->what & CHANGED_GONE) && !c->path;
}

struct walk {
	struct preview *p;
	struct tree *t;
	int code;
};

/* Everything that is sought was found. */
static bool found(const struct preview *p)
{
	return preview_complete(p) && !p->sought;
}

static int on_name(void *ctx, const char *name, uint64_t ino, uint32_t type, uint64_t cookie)
{
	struct walk *w = ctx;
	struct preview *p = w->p;
	struct changed *c = preview_find(p, ino);
	uint32_t mode = DTTOIF(type);
	char *path;
	int r = 0;

	ensure(asprintf(&path, "%s/%s", p->dir, name) >= 0);
	if (!preview_complete(p) && S_ISREG(mode) && (!c || c->what == CHANGED_PARENT)) {
		struct changed one = {.ino = ino};

		r = measure(p, w->t, &one);
		if (!r && one.bytes) {
			c = note(p, ino, CHANGED_DATA);
			p->sought++;
		}
	}
	if (c && wants_path(c)) {
		c->path = strdup(path);
		ensure(c->path);
		c->dir = S_ISDIR(mode);
		p->sought--;
	}
	if (!r && S_ISDIR(mode))
		todo_add(p, ino, path);
	free(path);
	w->code = r;
	return r || found(p);
}

static int walk_names(struct preview *p, struct tree *t)
{
	struct walk w = {.p = p, .t = t};
	struct changed *root = preview_find(p, ROOT_INO);
	int r = 0;

	for (size_t i = 0; i < p->size; i++)
		p->sought += p->table[i].ino && wants_path(&p->table[i]);
	if (root) {
		root->path = strdup("");
		ensure(root->path);
		root->dir = true;
		p->sought--;
	}
	if (p->sought || !preview_complete(p))
		todo_add(p, ROOT_INO, "");
	while (p->todo) {
		struct dir_todo *d = p->todo;

		p->dir = d->path;
		if (!r && !found(p))
			r = tree_readdir(t, d->ino, 0, on_name, &w);
		r = r ? r : w.code;
		p->todo = d->next;
		if (!p->todo)
			p->todo_tail = &p->todo;
		free(d->path);
		free(d);
	}
	return r;
}

/* Where things were that are gone: the paths of these directories are wanted too. */
static void want_parents(struct preview *p)
{
	struct changed *gone = calloc(p->n + 1, sizeof(*gone));
	size_t n = 0;

	ensure(gone);
	for (size_t i = 0; i < p->size; i++)
		if (p->table[i].ino && p->table[i].name)
			gone[n++] = p->table[i];
	for (size_t i = 0; i < n; i++)
		note(p, gone[i].parent, CHANGED_PARENT);
	free(gone);
}

static void preview_run(struct job *j)
{
	struct preview *p = container_of(j, struct preview, job);
	struct volume *v = j->v;
	int r;

	p->size = 1024;
	p->table = calloc(p->size, sizeof(*p->table));
	p->extents = calloc(MAP_BLOCKS, sizeof(*p->extents));
	p->crcs = calloc(MAP_BLOCKS, sizeof(*p->crcs));
	p->todo_tail = &p->todo;
	ensure(p->table && p->extents && p->crcs);
	if (posix_memalign((void **)&p->buf, BLOCK_SIZE, BATCH_SIZE_MAX)) {
		p->buf = NULL;
		err_set(&p->error, -ENOMEM, "out of memory");
		return;
	}
	if (read_journal(p, v))
		return;
	want_parents(p);
	r = walk_names(p, v->tree);
	for (size_t i = 0; i < p->size && !r; i++)
		if (preview_shown(&p->table[i]) && !(p->table[i].what & CHANGED_GONE))
			r = measure(p, v->tree, &p->table[i]);
	if (r)
		err_set(&p->error, r, "reading the metadata: %s", strerror(-r));
	else
		preview_list(p);
}

void resync_preview(struct volume *v, uint64_t id, unsigned peer, uint64_t common)
{
	struct preview *p = calloc(1, sizeof(*p));

	ensure(p);
	p->id = id;
	p->peer = peer;
	p->since = common;
	p->end = core_end(v->core).seq;
	p->reaches = MAX(common + 1, ring_first_seq(v->ring));
	p->job.run = preview_run;
	p->job.done = preview_done;
	job_submit(v, &p->job);
}

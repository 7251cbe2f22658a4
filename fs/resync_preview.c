/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a resync would give up here: the entries after the last seq that both sides are known to share, the
 * files that they changed, with their paths as of now, and the bytes of data in those files that were
 * written since. Reads only, on a job thread, while the volume is in use.
 *
 * The journal tells which inodes were changed and how; a walk over the names tells where they are; an extent
 * remembers the seq of its birth, so the block maps tell what was written since. A file that was made and
 * removed again is not listed: nothing of it is lost. One that replaced another of the same name counts
 * as a change of that name.
 *
 * Failure modes: the journal does not reach back to the common point (or it is overwritten meanwhile): then
 * the block maps of all files are looked at, and the answer says that it lists for that time only files
 * that hold data written since, and not what was removed, renamed, or changed in its attributes alone. The
 * common point itself may be known too early, never too late: more is listed then, never less. Many paths:
 * the first ones are listed, all are counted. A file that is renamed during the walk may be listed
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

#define PATHS_MAX 1000u
#define PATHS_BYTES_MAX (128u << 10) /* of all paths in an answer, escaped */
#define MAP_BLOCKS 1024u

#define CHANGED_NEW 1u
#define CHANGED_DATA 2u
#define CHANGED_NAME 4u
#define CHANGED_ATTR 8u
#define CHANGED_GONE 16u
#define CHANGED_PARENT 32u /* only its path is wanted */

struct changed {
	uint64_t ino; /* 0: an empty place of the table */
	unsigned what;
	uint64_t parent; /* where it was made, or had its last name */
	char *name;
	char *path;
	bool dir;
	uint64_t bytes;
};

struct dir_todo {
	uint64_t ino;
	char *path; /* without a slash at its end */
	struct dir_todo *next;
};

struct preview {
	struct job job;
	uint64_t id;
	unsigned peer;
	uint64_t since, end;
	uint64_t reaches; /* the journal was read from here on */
	struct changed *table; /* open addressing, by inode */
	size_t n, size;
	struct changed **list; /* what is shown, by path */
	size_t nlist;
	uint64_t sought; /* paths that are not known yet */
	struct dir_todo *todo, **todo_tail;
	const char *dir; /* being read */
	struct extent *extents;
	uint32_t *crcs;
	uint8_t *buf;
	struct err error;
};

/* --- the table --- */

static struct changed *place(struct changed *table, size_t size, uint64_t ino)
{
	size_t i = (size_t)((ino * 0x9e3779b97f4a7c15ull) >> 20) & (size - 1);

	while (table[i].ino && table[i].ino != ino)
		i = (i + 1) & (size - 1);
	return &table[i];
}

static struct changed *find(struct preview *p, uint64_t ino)
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

static int note_change(struct preview *p, const struct entry *e)
{
	struct body_change b;

	if (body_decode_change(e->body, e->h.body_len, &b))
		return -EBADMSG;
	note(p, b.ino,
		b.flags & (BODY_DATA | BODY_HOLE | BODY_DEAD) || b.mask & BODY_SET_SIZE
			? CHANGED_DATA
			: CHANGED_ATTR);
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
	default:
		return note_change(p, e);
	}
}

static int read_journal(struct preview *p, struct volume *v)
{
	uint64_t from = MAX(p->since + 1, ring_first_seq(v->ring));
	int r = 0;

	p->reaches = from;
	while (from <= p->end && !r) {
		struct batch_header h;
		struct entry e;
		size_t at = 0;

		r = ring_read(v->ring, from, p->buf, &h);
		if (r == -ESTALE) { /* overwritten meanwhile */
			p->reaches = from = MAX(from + 1, ring_first_seq(v->ring));
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

static bool complete(const struct preview *p)
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

	if (r)
		return r == -ENOENT ? 0 : r; /* removed this moment, or not applied yet */
	c->dir = S_ISDIR(i.mode);
	return S_ISREG(i.mode) ? bytes_since(p, t, &i, &c->bytes) : 0;
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
	return complete(p) && !p->sought;
}

static int on_name(void *ctx, const char *name, uint64_t ino, uint32_t type, uint64_t cookie)
{
	struct walk *w = ctx;
	struct preview *p = w->p;
	struct changed *c = find(p, ino);
	uint32_t mode = DTTOIF(type);
	char *path;
	int r = 0;

	ensure(asprintf(&path, "%s/%s", p->dir, name) >= 0);
	if (!complete(p) && S_ISREG(mode) && (!c || c->what == CHANGED_PARENT)) {
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
	struct changed *root = find(p, ROOT_INO);
	int r = 0;

	for (size_t i = 0; i < p->size; i++)
		p->sought += p->table[i].ino && wants_path(&p->table[i]);
	if (root) {
		root->path = strdup("");
		ensure(root->path);
		root->dir = true;
		p->sought--;
	}
	if (p->sought || !complete(p))
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

/* The path of what has no name any more: where it had its last one. */
static char *old_path(struct preview *p, struct changed *c, unsigned depth)
{
	struct changed *parent = find(p, c->parent);
	char *before = NULL, *path = NULL;

	if (c->path)
		return strdup(c->path);
	if (!c->name || !parent || depth > 4096)
		return strdup("?");
	before = old_path(p, parent, depth + 1);
	if (!before || asprintf(&path, "%s/%s", before, c->name) < 0)
		path = NULL;
	free(before);
	return path;
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

/* --- the list --- */

static const char *word(const struct changed *c)
{
	if (c->what & CHANGED_GONE)
		return "removed";
	if (c->what & CHANGED_NEW)
		return "new";
	if (c->what & CHANGED_DATA)
		return "changed";
	return c->what & CHANGED_NAME ? "renamed" : "attributes";
}

static int by_path(const void *a, const void *b)
{
	const struct changed *x = *(struct changed *const *)a, *y = *(struct changed *const *)b;
	int order = strcmp(x->path, y->path);

	return order ? order : (int)(y->what & CHANGED_GONE) - (int)(x->what & CHANGED_GONE);
}

/* Is it lost by the resync? What came and went is not. */
static bool shown(const struct changed *c)
{
	return c->ino && (c->what & ~CHANGED_PARENT) &&
	       !((c->what & CHANGED_NEW) && (c->what & CHANGED_GONE));
}

static void make_list(struct preview *p)
{
	size_t n = 0;

	p->list = calloc(p->n + 1, sizeof(struct changed *));
	ensure(p->list);
	for (size_t i = 0; i < p->size; i++) {
		struct changed *c = &p->table[i];

		if (!shown(c))
			continue;
		if (!c->path)
			c->path = old_path(p, c, 0);
		ensure(c->path);
		p->list[n++] = c;
	}
	qsort(p->list, n, sizeof(struct changed *), by_path);
	for (size_t i = 0; i < n; i++) {
		struct changed *c = p->list[i], *next = i + 1 < n ? p->list[i + 1] : NULL;

		/* The file of that name is another one now. */
		if (next && (c->what & CHANGED_GONE) && !strcmp(c->path, next->path)) {
			next->what = CHANGED_DATA;
			continue;
		}
		p->list[p->nlist++] = c;
	}
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
		if (shown(&p->table[i]) && !(p->table[i].what & CHANGED_GONE))
			r = measure(p, v->tree, &p->table[i]);
	if (r)
		err_set(&p->error, r, "reading the metadata: %s", strerror(-r));
	else
		make_list(p);
}

/* --- the answer; commit thread --- */

static bool utf8(const uint8_t *s, size_t *ret_len)
{
	size_t n = *s < 0x80 ? 1 : *s >= 0xc2 && *s < 0xe0 ? 2 : *s >= 0xe0 && *s < 0xf0 ? 3 : 4;

	if (*s < 0x20 || *s == 0x7f || *s == '\\' || (*s >= 0x80 && *s < 0xc2) || *s > 0xf4)
		return false;
	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return false;
	if ((*s == 0xe0 && s[1] < 0xa0) || (*s == 0xed && s[1] > 0x9f) ||
		(*s == 0xf0 && s[1] < 0x90) || (*s == 0xf4 && s[1] > 0x8f))
		return false;
	*ret_len = n;
	return true;
}

/* A path as a person can read it and a terminal bears it: what is no text as \xNN. */
static char *readable(const char *path, bool dir)
{
	size_t len = strlen(path), at = 0;
	char *out = malloc(4 * len + 2);

	ensure(out);
	for (size_t i = 0, n; i < len; i += n) {
		if (utf8((const uint8_t *)path + i, &n)) {
			memcpy(out + at, path + i, n);
			at += n;
		} else {
			n = 1;
			at += (size_t)snprintf(out + at, 5, "\\x%02x", (uint8_t)path[i]);
		}
	}
	if (dir || !len)
		out[at++] = '/';
	out[at] = '\0';
	return out;
}

static struct json *files_json(const struct preview *p)
{
	struct json *files = json_array();
	size_t room = PATHS_BYTES_MAX;

	for (size_t i = 0; i < p->nlist && i < PATHS_MAX; i++) {
		const struct changed *c = p->list[i];
		char *path = readable(c->path, c->dir);
		size_t need = 2 * strlen(path) + 64; /* '/' and '\' take two bytes there */
		struct json *f;

		if (need > room) {
			free(path);
			break;
		}
		room -= need;
		f = json_object();
		json_set_string(f, "path", path);
		json_set_string(f, "what", word(c));
		json_set_int(f, "bytes", (int64_t)c->bytes);
		json_append(files, f);
		free(path);
	}
	return files;
}

static struct json *preview_json(const struct preview *p, struct volume *v, char *text, size_t size)
{
	const struct record *r = core_record(v->core);
	struct json *j = json_object();
	uint64_t bytes = 0, entries = p->end - MIN(p->since, p->end);
	size_t len;

	for (size_t i = 0; i < p->nlist; i++)
		bytes += p->list[i]->bytes;
	json_set_int(j, "entries", (int64_t)entries);
	json_set_int(j, "since", (int64_t)p->since);
	json_set_int(j, "end", (int64_t)p->end);
	json_set_bool(j, "complete", complete(p));
	json_set_int(j, "journal_from", (int64_t)p->reaches);
	json_set_int(j, "files_total", (int64_t)p->nlist);
	json_set_int(j, "bytes", (int64_t)bytes);
	json_set(j, "files", files_json(p));
	len = (size_t)snprintf(text, size,
		"a resync from %s would give up, of what %s wrote after seq %llu (the last that "
		"both "
		"sides are known to share): %llu entries, %zu files and directories, %llu bytes of "
		"data. Nothing was changed",
		r->replicas[p->peer].domain, v->cfg->domain, (unsigned long long)p->since,
		(unsigned long long)entries, p->nlist, (unsigned long long)bytes);
	if (!complete(p) && len < size)
		snprintf(text + len, size - len,
			". The journal here reaches back to seq %llu only: of what was done before "
			"that, files that hold data written since are listed, but not what was "
			"removed, renamed, or changed in its attributes alone",
			(unsigned long long)p->reaches);
	return j;
}

static void preview_done(struct job *j)
{
	struct preview *p = container_of(j, struct preview, job);
	struct control_request *r = control_take(j->v, p->id);
	char text[1024];

	if (r && p->error.code)
		control_answer(r, p->error.code, p->error.msg, NULL);
	else if (r) {
		struct json *answer = preview_json(p, j->v, text, sizeof(text));

		control_answer(r, 0, text, answer);
	}
	for (size_t i = 0; i < p->size; i++) {
		free(p->table[i].name);
		free(p->table[i].path);
	}
	free(p->table);
	free(p->list);
	free(p->extents);
	free(p->crcs);
	free(p->buf);
	free(p);
}

void resync_preview(struct volume *v, uint64_t id, unsigned peer, uint64_t common)
{
	struct preview *p = calloc(1, sizeof(*p));

	ensure(p);
	p->id = id;
	p->peer = peer;
	p->since = common;
	p->end = core_end(v->core).seq;
	p->job.run = preview_run;
	p->job.done = preview_done;
	job_submit(v, &p->job);
}

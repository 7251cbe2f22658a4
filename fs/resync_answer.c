/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A preview's list, and the answer that it becomes. Paths are made readable: what is no text, or would do
 * something to a terminal, becomes \xNN, and so does a backslash.
 *
 * Failure modes: more paths than an answer holds: the first ones are in it, the count tells of all. The
 * person's program went away meanwhile: the answer vanishes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "resync_impl.h"

#define PATHS_MAX 1000u
#define PATHS_BYTES_MAX (128u << 10) /* of all paths in an answer, escaped */
#define DEPTH_MAX 4096u

/* The path of what has no name any more: where it had its last one. */
static char *old_path(struct preview *p, struct changed *c, unsigned depth)
{
	struct changed *parent = preview_find(p, c->parent);
	char *before = NULL, *path = NULL;

	if (c->path)
		return strdup(c->path);
	if (!c->name || !parent || depth > DEPTH_MAX)
		return strdup("?");
	before = old_path(p, parent, depth + 1);
	if (!before || asprintf(&path, "%s/%s", before, c->name) < 0)
		path = NULL;
	free(before);
	return path;
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

bool preview_shown(const struct changed *c)
{
	return c->ino && (c->what & ~CHANGED_PARENT) &&
	       !((c->what & CHANGED_NEW) && (c->what & CHANGED_GONE));
}

void preview_list(struct preview *p)
{
	size_t n = 0;

	p->list = calloc(p->n + 1, sizeof(struct changed *));
	ensure(p->list);
	for (size_t i = 0; i < p->size; i++) {
		struct changed *c = &p->table[i];

		if (!preview_shown(c))
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
	uint64_t kept = segments_disk_bytes(v->segments), room = space_free_bytes(v);
	size_t len;

	for (size_t i = 0; i < p->nlist; i++)
		bytes += p->list[i]->bytes;
	json_set_int(j, "entries", (int64_t)entries);
	json_set_int(j, "since", (int64_t)p->since);
	json_set_int(j, "end", (int64_t)p->end);
	json_set_bool(j, "complete", preview_complete(p));
	json_set_int(j, "journal_from", (int64_t)p->reaches);
	json_set_int(j, "files_total", (int64_t)p->nlist);
	json_set_int(j, "bytes", (int64_t)bytes);
	json_set(j, "files", files_json(p));
	json_set_int(j, "kept_bytes", (int64_t)kept);
	json_set_int(j, "free_bytes", (int64_t)room);
	len = (size_t)snprintf(text, size,
		"a resync from %s would give up, of what %s wrote after seq %llu (the last that "
		"both "
		"sides are known to share): %llu entries, %zu files and directories, %llu bytes of "
		"data. Nothing was changed",
		r->replicas[p->peer].domain, v->cfg->domain, (unsigned long long)p->since,
		(unsigned long long)entries, p->nlist, (unsigned long long)bytes);
	if (!preview_complete(p) && len < size)
		snprintf(text + len, size - len,
			". The journal here reaches back to seq %llu only: of what was done before "
			"that, files that hold data written since are listed, but not what was "
			"removed, renamed, or changed in its attributes alone",
			(unsigned long long)p->reaches);
	len = strlen(text);
	if (len < size)
		snprintf(text + len, size - len,
			". A resync keeps the old state (%llu MiB of data) until a person removes "
			"it, beside "
			"the new one, which takes about as much: %llu MiB are free%s",
			(unsigned long long)(kept >> 20), (unsigned long long)(room >> 20),
			room < kept ? ". That is too little: make room first, or the resync waits "
				      "for it"
				    : "");
	return j;
}

void preview_done(struct job *j)
{
	struct preview *p = container_of(j, struct preview, job);
	struct control_request *r = control_take(j->v, p->id);
	char text[1500];

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

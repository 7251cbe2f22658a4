/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of a resync's preview, shared by fs/resync_preview.c and fs/resync_answer.c. A preview belongs to
 * its job while that runs, and to the commit thread afterwards. */
#ifndef FS_RESYNC_IMPL_H
#define FS_RESYNC_IMPL_H

#include "resync.h"

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
	uint64_t bytes_behind; /* of them, in entries that are not applied yet */
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
	uint64_t since, applied, end;
	uint64_t reaches; /* the journal is read from here on */
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

/* resync_preview.c */
struct changed *preview_find(const struct preview *p, uint64_t ino);
/* The journal was read from the common point on. */
bool preview_complete(const struct preview *p);

/* resync_answer.c */
/* Does it show in the list? What came and went does not. */
bool preview_shown(const struct changed *c);
/* Sorts out and sorts what is shown. */
void preview_list(struct preview *p);
/* Answers, and frees it. */
void preview_done(struct job *j);

#endif

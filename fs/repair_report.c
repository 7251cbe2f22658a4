/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A line in the log for each repair, or its failure, with the file's name. A name is found by walking
 * the directories, which takes long in a large volume: a job does it, after the reader has its answer,
 * one line at a time, the last name kept.
 *
 * Failure modes: too many lines wait: the line goes out without a name. A disk full of damage: after the
 * first hundred lines, each thousandth. No name any more (deleted, still open): it says so.
 */
#include "repair_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"

#define PATH_NS (2 * NS_PER_S) /* it may be renamed */

static void say(const struct repair_report *p, const char *name)
{
	char where[160];

	snprintf(where, sizeof(where), "inode %llu, offset %llu, %u block%s at epoch %u block %llu",
		(unsigned long long)p->ino, (unsigned long long)p->file_block * BLOCK_SIZE,
		p->blocks, p->blocks == 1 ? "" : "s", p->addr.epoch,
		(unsigned long long)p->addr.block);
	if (p->repaired)
		log_warn("'%s' (%s) is damaged on this disk: repaired from %s", name, where,
			p->text);
	else
		log_error(
			"'%s' (%s) is damaged on this disk (wrong checksum, or unreadable) and not "
			"repaired: %s; reading it is an I/O error",
			name, where, p->text);
}

static void report_run(struct job *j)
{
	struct volume *v = j->v;
	struct repairs *q = v->repairs;
	const struct repair_report *p = q->reporting;

	if (q->path_ino != p->ino || clock_mono_ns() > q->path_until_ns) {
		int r = tree_path(v->tree, p->ino, q->path, sizeof(q->path));

		q->path_ino = p->ino;
		q->path_until_ns = clock_mono_ns() + PATH_NS;
		if (r == -ENOENT)
			snprintf(q->path, sizeof(q->path), "a deleted file");
		else if (r)
			snprintf(q->path, sizeof(q->path), "a file whose name was not found");
	}
	say(p, q->path);
}

static void report_next(struct volume *v);

static void report_done(struct job *j)
{
	struct repairs *q = j->v->repairs;

	free(q->reporting);
	q->reporting = NULL;
	report_next(j->v);
}

static void report_next(struct volume *v)
{
	struct repairs *q = v->repairs;

	if (q->reporting || !q->reports)
		return;
	q->reporting = q->reports;
	q->reports = q->reporting->next;
	if (!q->reports)
		q->reports_tail = &q->reports;
	q->nreports--;
	q->report_job.run = report_run;
	q->report_job.done = report_done;
	job_submit(v, &q->report_job);
}

static void report_run_of(struct volume *v, const struct repair *r, uint32_t first, uint32_t blocks,
	bool repaired, const char *text)
{
	struct repairs *q = v->repairs;
	struct repair_report *p;

	if (++q->said > 100 && q->said % 1000)
		return;
	p = calloc(1, sizeof(*p));
	ensure(p);
	p->ino = r->ino;
	p->file_block = r->file_block + first;
	p->addr = (struct addr){.block = r->addr.block + first, .epoch = r->addr.epoch};
	p->blocks = blocks;
	p->repaired = repaired;
	snprintf(p->text, sizeof(p->text), "%s", text);
	if (q->nreports >= REPAIR_REPORTS_MAX) {
		say(p, "?");
		free(p);
		return;
	}
	*q->reports_tail = p;
	q->reports_tail = &p->next;
	q->nreports++;
	report_next(v);
}

void repair_report(
	struct volume *v, const struct repair *r, uint64_t bad, bool repaired, const char *text)
{
	for (uint32_t i = 0, n; i < r->blocks; i += n) {
		bool is = bad & 1ull << i;

		for (n = 1; i + n < r->blocks && !!(bad & 1ull << (i + n)) == is; n++)
			;
		if (is)
			report_run_of(v, r, i, n, repaired, text);
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tandemctl resize, at the active side: the size is looked at, the record's format level is raised where it
 * must be (the core does that, core_level.c), then one entry changes the size on both sides. The person is
 * answered when it is committed.
 *
 * Growing is promised only as far as every replica's disk has the room: what the volume would still have to
 * hold, against what is free there beside the reserve, and what its data segments have allocated without
 * holding anything live. Shrinking goes down to what is used.
 *
 * Failure modes: whatever is refused says which side lacks how much, or what to do first; nothing is changed
 * then. The peer falls silent meanwhile: the answer comes when it is back. The mount goes away: the answer
 * says that the size may have changed or not; status tells. The disk fills later by other things: writes get
 * ENOSPC, as without a resize.
 */
#include "pull.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"

#define SIZE_MIN (64ull << 20) /* bytes; as format has them */
#define SIZE_MAX_BYTES (1ull << 50)

static const char *amount(uint64_t bytes, char buf[32])
{
	if (bytes >= 10ull << 30)
		snprintf(buf, 32, "%.1f GiB", (double)bytes / (double)(1ull << 30));
	else
		snprintf(buf, 32, "%.1f MiB", (double)bytes / (double)(1ull << 20));
	return buf;
}

/* True when it was refused. */
static bool lacks(struct control_request *r, const char *domain, uint64_t need, uint64_t room)
{
	char lack[32], want[32], have[32], text[512];

	if (need <= room)
		return false;
	snprintf(text, sizeof(text),
		"%s lacks %s: the volume could come to need %s more there, and its disk has %s "
		"for it beside what is kept for the journal and metadata. Nothing was changed",
		domain, amount(need - room, lack), amount(need, want), amount(room, have));
	control_answer(r, -ENOSPC, text, NULL);
	return true;
}

/* Every side that has to hold what is written must have the room. True when it was refused. */
static bool no_room(struct volume *v, struct control_request *r, uint64_t need)
{
	const struct record *rec = core_record(v->core);
	char text[512];

	if (lacks(r, v->cfg->domain, need, space_room(v)))
		return true;
	for (unsigned i = 0; i < rec->nreplicas; i++) {
		struct core_peer_view p;

		if (i == core_self(v->core))
			continue;
		core_peer_view(v->core, i, &p);
		if (p.connected && p.grant.disk_total) {
			if (lacks(r, rec->replicas[i].domain, need, space_peer_room(v, &p)))
				return true;
		} else if (rec->replicas[i].in_sync) {
			snprintf(text, sizeof(text),
				"%s is in sync by the record and not reached, so nobody knows how "
				"much room it has: type it again when it is back, or deactivate "
				"it first",
				rec->replicas[i].domain);
			control_answer(r, -EHOSTUNREACH, text, NULL);
			return true;
		}
	}
	return false;
}

/* What is wrong with the size in itself. True when it was answered. */
static bool answered(struct volume *v, struct control_request *r, uint64_t size)
{
	char text[512], a[32];
	struct tree_info info;

	tree_info(v->tree, &info);
	if (size < SIZE_MIN || size > SIZE_MAX_BYTES) {
		control_answer(r, -EINVAL, "a size from 64M to 1024T is needed", NULL);
		return true;
	}
	if (size / BLOCK_SIZE == info.size_blocks) {
		snprintf(text, sizeof(text), "the size is %s already", amount(size, a));
		control_answer(r, 0, text, NULL);
		return true;
	}
	if (size / BLOCK_SIZE < info.used_blocks) {
		snprintf(text, sizeof(text),
			"%s are used: delete something first. Nothing was changed",
			amount(info.used_blocks * BLOCK_SIZE, a));
		control_answer(r, -ENOSPC, text, NULL);
		return true;
	}
	if (size / BLOCK_SIZE < info.size_blocks)
		return false;
	return no_room(v, r, size - info.used_blocks * BLOCK_SIZE);
}

struct resize {
	struct volume *v;
	struct control_request *request;
	uint64_t before; /* blocks */
};

static void resize_done(struct op *op)
{
	struct resize *z = op->ctx;
	char text[256], a[32], b[32];

	if (!op->error) {
		snprintf(text, sizeof(text), "the size was %s and is %s now, on every side",
			amount(z->before * BLOCK_SIZE, a), amount(op->len * BLOCK_SIZE, b));
		log_info("resize: %s", text);
	} else if (op->error == -ENOSPC) {
		snprintf(text, sizeof(text),
			"more than that is used by now: delete something first. Nothing was "
			"changed");
	} else {
		snprintf(text, sizeof(text),
			"it was interrupted (%s): the size has changed or not, 'tandemctl status' "
			"tells",
			strerror(-op->error));
	}
	control_answer(z->request, op->error, text, NULL);
	free(z);
	op_free(op);
}

static uint64_t asked_size(const struct control_request *r)
{
	int64_t size = json_get_int(r->args, "size", 0);

	return size < 0 ? 0 : (uint64_t)size / BLOCK_SIZE * BLOCK_SIZE;
}

void control_resize_go(struct volume *v, struct control_request *r)
{
	struct op *op = op_new(OP_RESIZE);
	struct resize *z = calloc(1, sizeof(*z));
	struct tree_info info;

	ensure(z && core_record(v->core)->format_level >= 2);
	tree_info(v->tree, &info);
	*z = (struct resize){.v = v, .request = r, .before = info.size_blocks};
	op->len = asked_size(r) / BLOCK_SIZE;
	op->ctx = z;
	op->done = resize_done;
	volume_submit(v, op);
}

bool control_resize_wanted(struct volume *v, struct control_request *r)
{
	const struct record *rec = core_record(v->core);
	int active = uuid_is_zero(&rec->active) ? -1 : record_find(rec, &rec->active);
	char text[256];

	if (!v->serving && active >= 0 && active != (int)core_self(v->core)) {
		snprintf(text, sizeof(text), "the active side is %s: type it there",
			rec->replicas[active].domain);
		control_answer(r, -EXDEV, text, NULL);
		return false;
	}
	if (!v->serving || v->stop_staging || v->stopping) {
		control_answer(r, -EAGAIN,
			"this replica does not serve: 'tandemctl status' says what it waits for",
			NULL);
		return false;
	}
	if (answered(v, r, asked_size(r)))
		return false;
	if (rec->format_level < 2)
		return true;
	control_resize_go(v, r);
	return false;
}

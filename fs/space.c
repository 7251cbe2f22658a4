/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Room on the disk below, on either side (design 4.2, I8).
 *
 * Data: a job allocates the present epoch's segments ahead of what is written, in pieces. The active assigns
 * addresses only below what is allocated here and at all others that it waits for. It asks for a piece when half
 * of one is left, and tells the others what it would like; each of them allocates that and says so (SPACE
 * frames, core_space.c). So what is staged has its room everywhere, and two volumes on one disk are never
 * promised the same bytes.
 *
 * A piece is never taken when less than the reserve would be left for metadata and new files (space_meta.c). The
 * journal has all its room since the format.
 *
 * What is received without a grant (catching up, from a build that does not ask) is allocated when it comes; if
 * that fails the connection is given up and tried again later, and the status says why. Nothing is taken that
 * has no room.
 *
 * Failure modes: the disk is full: the grant ends where it is, the active stages until there and answers ENOSPC
 * from then on; a checkpoint is made early, so that dead blocks are given back; each second it is tried again.
 * A crash: what was allocated stays so; who was told may rely on it. Then it is asked for again from where the
 * active is.
 */
#include "volume_impl.h"

#include <errno.h>
#include <string.h>
#include <sys/statvfs.h>

#include "log.h"

#define MEASURE_NS NS_PER_S
#define FULL_NS (500 * NS_PER_MS) /* between two tries on a full disk */
#define PIECE_PART 32u /* of the volume's size is one piece, within: */
#define PIECE_MIN ((16u << 20) / BLOCK_SIZE) /* blocks */
#define PIECE_MAX ((128u << 20) / BLOCK_SIZE)
#define LEAST ((1u << 20) / BLOCK_SIZE) /* blocks; less is not worth a try */
#define RX_PIECE ((16u << 20) / BLOCK_SIZE)

/* --- how much there is --- */

static uint64_t beside_reserve(const struct volume *v, uint64_t disk_free)
{
	uint64_t reserve = space_meta_reserve(v);

	return disk_free > reserve ? disk_free - reserve : 0;
}

uint64_t space_room(const struct volume *v)
{
	uint64_t allocated = segments_disk_bytes(v->segments), live;
	struct tree_info info;

	tree_info(v->tree, &info);
	live = info.used_blocks * BLOCK_SIZE;
	return beside_reserve(v, atomic_load(&v->disk_free)) +
	       (allocated > live ? allocated - live : 0);
}

uint64_t space_peer_room(const struct volume *v, const struct core_peer_view *p)
{
	return p->grants ? p->space.room : beside_reserve(v, p->grant.disk_free);
}

/* Blocks of the present epoch that are allocated and not used. */
static uint64_t ahead_blocks(const struct volume *v)
{
	const struct space *s = &v->space;
	uint64_t used = v->taken_over ? v->next_block : s->from;

	if (!epoch_equal(s->epoch, v->taken_over ? v->epoch : core_epoch(v->core)))
		return 0;
	return s->upto > used ? s->upto - used : 0;
}

uint64_t space_promise(const struct volume *v)
{
	return beside_reserve(v, atomic_load(&v->disk_free)) + ahead_blocks(v) * BLOCK_SIZE;
}

bool space_hungry(const struct volume *v)
{
	return v->space.data_full || atomic_load(&v->space.meta_full);
}

static uint64_t piece_blocks(const struct volume *v)
{
	struct tree_info info;

	tree_info(v->tree, &info);
	return MIN(MAX(info.size_blocks / PIECE_PART, PIECE_MIN), PIECE_MAX);
}

/* --- allocating ahead --- */

/* As much as there is room for, in ever smaller steps. */
static void space_run(struct job *j)
{
	struct volume *v = j->v;
	struct space *s = &v->space;
	struct err e = {0};
	struct statvfs fs;

	if (s->run.measure)
		segments_measure(v->segments);
	if (!statvfs(v->cfg->directory, &fs))
		space_look_meta(v, (uint64_t)fs.f_bavail * fs.f_frsize);
	if (s->run.at >= s->run.want)
		return;
	s->run.code = segments_add_epoch(v->segments, s->run.epoch, &e);
	if (s->run.code == -EEXIST) { /* of a history that this replica gives up by pulling */
		s->run.code = 0;
		return;
	}
	while (!s->run.code && s->run.at < s->run.want) {
		uint64_t room, n;

		if (statvfs(v->cfg->directory, &fs)) {
			s->run.code = -errno;
			break;
		}
		room = beside_reserve(v, (uint64_t)fs.f_bavail * fs.f_frsize) / BLOCK_SIZE;
		n = MIN(s->run.want - s->run.at, room);
		if (n < MIN(LEAST, s->run.want - s->run.at)) {
			s->run.full = true;
			break;
		}
		s->run.code = segments_allocate(v->segments,
			(struct addr){.block = s->run.at, .epoch = s->run.epoch.num}, s->run.at + n,
			true, &s->run.at);
		if (s->run.code == -ENOSPC) {
			s->run.code = 0;
			s->run.full = true;
			break;
		}
	}
	if (s->run.code == -ENOSPC) { /* not even a directory */
		s->run.code = 0;
		s->run.full = true;
	}
}

static void space_done(struct job *j)
{
	struct volume *v = j->v;
	struct space *s = &v->space;
	bool was = s->data_full;
	struct err e = {0};

	s->busy = false;
	s->looked_ns = clock_mono_ns();
	if (s->run.code)
		volume_die(v, "allocating data segments of epoch %u failed: %s", s->run.epoch.num,
			strerror(-s->run.code));
	if (store_failed(v->store, &e)) /* on a standby nobody else asks before it flushes */
		volume_die(v, "%s", e.msg);
	if (s->run.want && epoch_equal(s->run.epoch, s->epoch)) {
		s->upto = MAX(s->upto, s->run.at);
		s->data_full = s->run.full && s->upto < s->want;
	}
	if (s->data_full && !was)
		log_warn("the disk below '%s' is full: writes get ENOSPC when what is allocated is "
			 "used up; deleting works",
			v->cfg->directory);
	else if (was && !s->data_full)
		log_info("there is room on the disk again");
	space_tell(v);
}

static void submit(struct volume *v, uint64_t now)
{
	struct space *s = &v->space;

	if (s->data_full && now - s->looked_ns < FULL_NS)
		return;
	s->run.epoch = s->epoch;
	s->run.at = s->upto;
	s->run.want = s->upto < s->want ? s->want : 0;
	s->run.measure = now - s->measured_ns >= (space_hungry(v) ? FULL_NS : MEASURE_NS);
	s->run.full = false;
	s->run.code = 0;
	if (!s->run.want && !s->run.measure)
		return;
	if (s->run.measure)
		s->measured_ns = now;
	s->busy = true;
	s->job.run = space_run;
	s->job.done = space_done;
	job_submit(v, &s->job);
}

/* Addresses of another epoch: what was allocated in the old one is no matter any more. */
static void epoch_begins(struct space *s, struct epoch epoch, uint64_t from)
{
	s->epoch = epoch;
	s->from = s->upto = s->want = from;
	s->from_seq = 0;
	s->data_full = false;
}

void space_work(struct volume *v)
{
	struct space *s = &v->space;
	uint64_t piece;

	if (v->taken_over) {
		if (!epoch_equal(s->epoch, v->epoch))
			epoch_begins(s, v->epoch, 0);
		piece = piece_blocks(v);
		if (s->want < v->next_block + piece / 2) {
			s->want = v->next_block + piece;
			space_tell(v); /* the others begin at the same moment */
		}
	}
	if (s->busy)
		return;
	if (s->upto < s->want)
		submit(v, clock_mono_ns());
}

void space_look(struct volume *v)
{
	space_asked(v);
	space_work(v);
	if (!v->space.busy)
		submit(v, clock_mono_ns());
	space_tell(v);
}

void space_asked(struct volume *v)
{
	const struct record *r = core_record(v->core);
	int active = uuid_is_zero(&r->active) ? -1 : record_find(r, &r->active);
	struct space *s = &v->space;
	struct core_peer_view p;

	if (v->taken_over || active < 0 || active == (int)core_self(v->core))
		return;
	core_peer_view(v->core, (unsigned)active, &p);
	if (!epoch_equal(s->epoch, r->epoch))
		epoch_begins(s, r->epoch, 0);
	/* After a start, or while it catches up: what is below takes its room when it comes. Until all of that
	 * is here, nothing is granted. */
	if (p.space.data_used > s->upto) {
		s->from = s->upto = p.space.data_used;
		s->from_seq = p.space.data_seq;
	}
	s->want = MAX(s->want, p.space.data_want);
	space_work(v);
}

/* --- what is granted --- */

void space_tell(struct volume *v)
{
	struct space *s = &v->space;
	struct core_event ev = {.type = EV_SPACE};
	struct msg_space *m = &ev.space.now;
	struct tree_info info;

	/* First how far it is, then what is not flushed: so that never too much is granted. */
	m->meta_seq = v->taken_over ? core_commit(v->core) : atomic_load(&v->apply.applied);
	m->meta_bytes = space_meta_bytes(v);
	m->meta_full = space_meta_full(v);
	tree_info(v->tree, &info);
	ev.space.epoch = s->epoch;
	m->data_want = v->taken_over ? s->want : 0;
	m->data_upto = core_end(v->core).seq >= s->from_seq ? s->upto : 0;
	m->data_full = s->data_full;
	m->room = space_room(v);
	m->promise = space_promise(v);
	m->live = info.used_blocks * BLOCK_SIZE;
	m->dead = tree_freed_blocks(v->tree) * BLOCK_SIZE;
	m->allocated = segments_disk_bytes(v->segments);
	volume_step(v, &ev);
}

uint64_t space_limit(const struct volume *v, bool *ret_full)
{
	const struct space *s = &v->space;
	struct core_granted g;

	core_granted(v->core, &g);
	*ret_full = s->data_full || g.data_full;
	return MIN(epoch_equal(s->epoch, v->epoch) ? s->upto : 0, g.data_upto);
}

int space_cover(struct volume *v, struct addr a, uint32_t blocks)
{
	struct space *s = &v->space;
	uint64_t end = a.block + blocks, upto;
	int r;

	if (a.epoch == s->epoch.num && a.block >= s->from && end <= s->upto)
		return 0;
	if (a.epoch == s->rx_epoch && a.block >= s->rx_from && end <= s->rx_upto)
		return 0;
	/* Ahead, for the next ones; where that does not fit, this one alone. */
	r = -ENOSPC;
	if (beside_reserve(v, atomic_load(&v->disk_free)) > RX_PIECE * BLOCK_SIZE)
		r = segments_allocate(
			v->segments, a, a.block + MAX(blocks, RX_PIECE), false, &upto);
	if (r == -ENOSPC)
		r = segments_allocate(v->segments, a, end, false, &upto);
	if (r)
		return r;
	if (a.epoch != s->rx_epoch || a.block < s->rx_from || a.block > s->rx_upto)
		s->rx_from = a.block;
	s->rx_epoch = a.epoch;
	s->rx_upto = upto;
	return 0;
}

int space_verdict(struct volume *v, int r)
{
	struct space *s = &v->space;

	if (!r) {
		s->refused = false;
		return 0;
	}
	if (r != -ENOSPC)
		volume_die(v, "allocating room for data failed: %s", strerror(-r));
	if (!s->refused)
		log_error("the disk below '%s' has no room for what the active side sends: it is "
			  "refused until there is",
			v->cfg->directory);
	s->refused = true;
	return -ENOSPC;
}

const char *space_trouble(const struct volume *v)
{
	if (v->space.refused)
		return "the disk is full: what the active side sends is refused until there is "
		       "room";
	if (space_hungry(v))
		return "the disk is full: writes get ENOSPC until there is room; deleting works";
	return "";
}

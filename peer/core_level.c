/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Raising the record's format level, so that newer entries may be written: a change of the record that the
 * serving active proposes once every replica, also those outside of the set, has announced on a connection
 * that stands that its build knows the level. All of them accept before the active adopts it, so that a
 * promotion of any of them meanwhile follows it and is no fork. It is never lowered.
 *
 * The record is durable everywhere before the first such entry is staged.
 *
 * Failure modes: a connection breaks before all have accepted: the operator is told, nothing is changed here;
 * who has accepted holds a newer record, which is adopted at the next handshake. A replica whose build was
 * changed for an older one afterwards refuses the record (foreign()) and stays out until it is upgraded
 * again, with nothing of it touched. A level that is raised and not used is harmless.
 */
#include "core_impl.h"

#include <errno.h>
#include <stdio.h>

/* The first replica that does not know the level, as far as is known; -1: all do. */
static int unknowing(const struct core *c, uint32_t level)
{
	for_each_peer (c, i) {
		if (!core_same(c, i) || c->peers[i].level < level)
			return (int)i;
	}
	return -1;
}

void core_raise(struct core *c, struct core_origin *o)
{
	const uint32_t level = c->cfg.format_level_max;
	int peer;

	if (c->rec->format_level >= level) {
		core_answer(c, o, CORE_ANSWER_OK, "the record's format level is high enough");
		return;
	}
	if (!core_serving(c)) {
		core_answer(c, o, -EXDEV, "only the active side can raise the format level");
		return;
	}
	if (core_busy(c, o))
		return;
	peer = unknowing(c, level);
	if (peer >= 0 && !core_same(c, (unsigned)peer)) {
		core_answer(c, o, -EHOSTUNREACH,
			core_text(c,
				"%s is not reached, and this needs format level %u, which every "
				"replica must have announced first: type it again when it is",
				core_domain(c, (unsigned)peer), level));
		return;
	}
	if (peer >= 0) {
		core_answer(c, o, -EPROTONOSUPPORT,
			core_text(c,
				"this needs format level %u, and the build at %s knows %u: upgrade "
				"it "
				"first",
				level, core_domain(c, (unsigned)peer), c->peers[peer].level));
		return;
	}
	core_plan_begin(c, false);
	c->next->format_level = level;
	c->plan.origin = *o;
	snprintf(c->plan.done, sizeof(c->plan.done), "the record's format level is %u now", level);
	core_plan_propose(c, PLAN_RAISE, core_reached_bits(c, ~0u));
}

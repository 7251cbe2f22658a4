/* SPDX-License-Identifier: Apache-2.0 */
/* The steps of a failover, decided. Pure. */
#include "operation.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const enum operation_phase planned_phases[] = {
	OPERATION_CHECK, OPERATION_DEMOTING, OPERATION_PROMOTING, OPERATION_VERIFY};
static const enum operation_phase group_phases[] = {OPERATION_CHECK, OPERATION_OTHERS,
	OPERATION_DEMOTING, OPERATION_PROMOTING, OPERATION_VERIFY};
static const enum operation_phase unplanned_phases[] = {
	OPERATION_CHECK, OPERATION_TAKING_OVER, OPERATION_VERIFY};

unsigned operation_nsteps(const struct operation *op)
{
	return op->unplanned  ? ARRAY_SIZE(unplanned_phases)
	       : op->group[0] ? ARRAY_SIZE(group_phases)
			      : ARRAY_SIZE(planned_phases);
}

static enum operation_phase phase_of(const struct operation *op, unsigned i)
{
	return op->unplanned  ? unplanned_phases[i]
	       : op->group[0] ? group_phases[i]
			      : planned_phases[i];
}

enum operation_phase operation_phase(const struct operation *op)
{
	return phase_of(op, op->at);
}

const char *operation_step_name(const struct operation *op, unsigned i)
{
	static const char *const names[] = {
		[OPERATION_CHECK] = "check",
		[OPERATION_OTHERS] = "others",
		[OPERATION_DEMOTING] = "demote",
		[OPERATION_PROMOTING] = "promote",
		[OPERATION_TAKING_OVER] = "take-over",
		[OPERATION_VERIFY] = "verify",
	};

	return names[phase_of(op, i)];
}

const char *operation_kind(const struct operation *op)
{
	return op->unplanned ? "unplanned-failover" : op->failback ? "failback" : "failover";
}

bool operation_ended(const struct operation *op)
{
	return op->state == OPERATION_DONE || op->state == OPERATION_FAILED;
}

static void say(char *ret, const char *fmt, va_list ap)
{
	vsnprintf(ret, OPERATION_TEXT_MAX, fmt, ap);
}

/* The step is done, and the next one begins. */
static void next(struct operation *op, uint64_t now_ms, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static void next(struct operation *op, uint64_t now_ms, const char *fmt, ...)
{
	struct operation_step *s = &op->steps[op->at];
	va_list ap;

	va_start(ap, fmt);
	say(s->message, fmt, ap);
	va_end(ap);
	s->state = OPERATION_STEP_DONE;
	s->end_ms = now_ms;
	if (op->at + 1 == operation_nsteps(op) || op->dry_run) {
		op->state = OPERATION_DONE;
		op->ended_ms = now_ms;
		snprintf(op->message, sizeof(op->message), "%.380s", s->message);
		return;
	}
	s = &op->steps[++op->at];
	s->state = OPERATION_STEP_RUNNING;
	s->start_ms = now_ms;
}

static enum operation_action fail(struct operation *op, uint64_t now_ms, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static enum operation_action fail(struct operation *op, uint64_t now_ms, const char *fmt, ...)
{
	struct operation_step *s = &op->steps[op->at];
	va_list ap;

	va_start(ap, fmt);
	say(op->message, fmt, ap);
	va_end(ap);
	if (s->state == OPERATION_STEP_RUNNING) {
		s->state = OPERATION_STEP_FAILED;
		s->end_ms = now_ms;
		snprintf(s->message, sizeof(s->message), "%s", op->message);
	}
	op->state = OPERATION_FAILED;
	op->ended_ms = now_ms;
	return OPERATION_END;
}

/* Whom the newest record among those that answer calls active; "": nobody; NULL: nobody answers. */
static const char *active_of(const struct operation_observed *o)
{
	const struct operation_side *f = &o->from, *t = &o->to;

	if (f->answers && (!t->answers || f->record_version > t->record_version))
		return f->active;
	return t->answers ? t->active : NULL;
}

static bool arrived(const struct operation *op, const struct operation_observed *o)
{
	return o->to.answers && o->to.serving && !strcmp(o->to.active, op->to);
}

static enum operation_action end(struct operation *op, uint64_t now_ms)
{
	while (!operation_ended(op))
		next(op, now_ms, "volume '%s' is active and mounted at '%s'", op->volume, op->to);
	return OPERATION_END;
}

static enum operation_action check(
	struct operation *op, const struct operation_observed *o, uint64_t now_ms)
{
	if (!o->to.answers)
		return fail(op, now_ms, "refused, nothing was changed: no answer from '%s': %.200s",
			op->to, o->to.why);
	if (arrived(op, o))
		return end(op, now_ms);
	if (!op->from[0]) {
		if (!o->to.to_in_sync)
			return fail(op, now_ms,
				"refused, nothing was changed: '%s' is not in sync; see 'tandemctl "
				"status %s'",
				op->to, op->volume);
		next(op, now_ms, "no replica is active; '%s' is in sync", op->to);
		return operation_ended(op) ? OPERATION_END : OPERATION_LOOK;
	}
	if (!o->from.answers)
		return fail(op, now_ms,
			"refused, nothing was changed: no answer from '%s': %.160s. When that site "
			"is "
			"dead, type 'tandemctl failover %s --unplanned' at '%s'",
			op->from, o->from.why, op->volume, op->to);
	if (!o->from.to_in_sync || !o->to.to_in_sync)
		return fail(op, now_ms,
			"refused, nothing was changed: '%s' is not in sync with '%s'; repeat this "
			"when "
			"'tandemctl status %s' shows that it is",
			op->to, op->from, op->volume);
	if (!o->from.serving)
		return fail(op, now_ms,
			"refused, nothing was changed: '%s' is active but has not mounted; see "
			"'tandemctl status %s' there",
			op->from, op->volume);
	next(op, now_ms, "'%s' is active, '%s' is in sync", op->from, op->to);
	return operation_ended(op) ? OPERATION_END : OPERATION_LOOK;
}

static enum operation_action demote(
	struct operation *op, const struct operation_observed *o, uint64_t now_ms)
{
	const char *active = active_of(o);

	if (active && strcmp(active, op->from) != 0) {
		next(op, now_ms, "'%s' is not active any more", op->from);
		/* From here on there is no way but on or back, for which there must be time. */
		op->deadline_ms = MAX(op->deadline_ms, now_ms + OPERATION_ROLL_BACK_MS);
		return OPERATION_LOOK;
	}
	if (!op->from[0]) {
		next(op, now_ms, "nothing to demote");
		return OPERATION_LOOK;
	}
	if (o->from.answers)
		op->silent_ms = 0;
	else if (!op->silent_ms)
		op->silent_ms = now_ms;
	if (o->from.answers && o->from.draining) /* will end; then there is something to decide */
		return OPERATION_LOOK;
	if (op->cancelled && !o->from.answers && now_ms - op->silent_ms >= OPERATION_SILENT_MS)
		return fail(op, now_ms,
			"cancelled; '%s' does not answer (%.140s), and may still be demoted by "
			"what "
			"was asked: see 'tandemctl status %s' there when it is back",
			op->from, o->from.why, op->volume);
	if (op->cancelled && o->from.answers && o->from.serving)
		return fail(op, now_ms, "cancelled, nothing was changed: '%s' is active", op->from);
	if (o->refused)
		return fail(
			op, now_ms, "nothing was changed: '%s' says: %.300s", op->from, o->words);
	if (now_ms >= op->deadline_ms)
		return fail(op, now_ms,
			"'%s' was not demoted in time (%.200s): see 'tandemctl status %s' there",
			op->from, !o->from.answers ? o->from.why : o->words, op->volume);
	return o->from.answers ? OPERATION_DEMOTE : OPERATION_LOOK;
}

static enum operation_action roll_back(
	struct operation *op, const struct operation_observed *o, uint64_t now_ms)
{
	const char *active = active_of(o);

	if (active && !strcmp(active, op->to)) { /* it could, after all */
		op->state = OPERATION_RUNNING;
		op->deadline_ms = MAX(op->deadline_ms, now_ms + OPERATION_ROLL_BACK_MS);
		next(op, now_ms, "the record names '%s' as active", op->to);
		return OPERATION_LOOK;
	}
	if (op->from[0] && o->from.answers && o->from.serving && active &&
		!strcmp(active, op->from))
		return fail(op, now_ms, "rolled back, '%s' is active again: %.250s", op->from,
			op->steps[op->at].message);
	if (!op->from[0] || now_ms >= op->deadline_ms)
		return fail(op, now_ms,
			"no replica is active: %.200s. Type 'tandemctl promote %s' at a site that "
			"is in "
			"sync",
			op->steps[op->at].message, op->volume);
	return o->from.answers && active && !active[0] ? OPERATION_PROMOTE_OLD : OPERATION_LOOK;
}

static enum operation_action begin_roll_back(
	struct operation *op, const struct operation_observed *o, uint64_t now_ms)
{
	struct operation_step *s = &op->steps[op->at];

	snprintf(s->message, sizeof(s->message), "'%s' was not promoted: %.280s", op->to,
		op->cancelled	 ? "cancelled"
		: !o->to.answers ? o->to.why
		: o->words[0]	 ? o->words
				 : "not in time");
	s->state = OPERATION_STEP_FAILED;
	s->end_ms = now_ms;
	op->state = OPERATION_ROLLING_BACK;
	op->deadline_ms = now_ms + OPERATION_ROLL_BACK_MS;
	return OPERATION_LOOK;
}

static enum operation_action promote(
	struct operation *op, const struct operation_observed *o, uint64_t now_ms)
{
	const char *active = active_of(o);

	if (active && !strcmp(active, op->to)) {
		next(op, now_ms, "the record names '%s' as active", op->to);
		return OPERATION_LOOK;
	}
	if (active && active[0])
		return fail(op, now_ms,
			"'%s' is active, by somebody else's word: see 'tandemctl status %s'",
			active, op->volume);
	if (op->cancelled && !op->from[0])
		return fail(op, now_ms, "cancelled, nothing was changed: no replica is active");
	if (op->cancelled || o->refused || now_ms >= op->deadline_ms)
		return begin_roll_back(op, o, now_ms);
	return o->to.answers ? OPERATION_PROMOTE : OPERATION_LOOK;
}

static enum operation_action verify(
	struct operation *op, const struct operation_observed *o, uint64_t now_ms)
{
	if (arrived(op, o))
		return end(op, now_ms);
	if (now_ms >= op->deadline_ms)
		return fail(op, now_ms,
			"'%s' is promoted, but has not mounted in time (%.160s): see 'tandemctl "
			"status %s' "
			"there",
			op->to, o->to.answers ? "it answers" : o->to.why, op->volume);
	return OPERATION_LOOK;
}

/* Is it active here, by a record that waits for nobody who is left? */
static bool has_taken_over(const struct operation *op, const struct operation_observed *o)
{
	return o->to.answers && !strcmp(o->to.active, op->to) && !(op->alone && o->to.from_in_sync);
}

static enum operation_action unplanned(
	struct operation *op, const struct operation_observed *o, uint64_t now_ms)
{
	switch (operation_phase(op)) {
	case OPERATION_CHECK:
		if (!o->to.answers)
			return fail(op, now_ms,
				"refused, nothing was changed: no answer here: %.250s", o->to.why);
		if (arrived(op, o) && has_taken_over(op, o))
			return end(op, now_ms);
		if (!op->from[0])
			return fail(op, now_ms,
				"refused, nothing was changed: no replica is active: type "
				"'tandemctl "
				"promote %s'",
				op->volume);
		next(op, now_ms, "'%s' goes on without '%s'", op->to, op->from);
		return operation_ended(op) ? OPERATION_END : OPERATION_LOOK;
	case OPERATION_TAKING_OVER:
		if (has_taken_over(op, o)) {
			next(op, now_ms, "'%s' has taken over", op->to);
			return OPERATION_LOOK;
		}
		if (o->refused)
			return fail(op, now_ms, "nothing was changed: %.350s", o->words);
		if (now_ms >= op->deadline_ms)
			return fail(op, now_ms, "'%s' has not taken over in time: %.250s", op->to,
				o->to.answers ? o->words : o->to.why);
		return o->to.answers ? OPERATION_TAKE_OVER : OPERATION_LOOK;
	default:
		return verify(op, o, now_ms);
	}
}

static enum operation_action others(
	struct operation *op, const struct operation_observed *o, uint64_t now_ms)
{
	if (o->others == OPERATION_REFUSED)
		return fail(op, now_ms, "refused, nothing was changed: %.250s", o->words);
	if (o->others == OPERATION_UNDECIDED)
		return OPERATION_PARK;
	next(op, now_ms, "all %u volumes can go", op->group_size);
	return OPERATION_LOOK;
}

enum operation_action operation_step(
	struct operation *op, const struct operation_observed *o, uint64_t now_ms)
{
	if (operation_ended(op))
		return OPERATION_END;
	if (op->steps[op->at].state == OPERATION_STEP_PENDING) {
		op->steps[op->at].state = OPERATION_STEP_RUNNING;
		op->steps[op->at].start_ms = now_ms;
	}
	if (op->state == OPERATION_ROLLING_BACK)
		return roll_back(op, o, now_ms);
	if (op->cancelled && operation_phase(op) <= OPERATION_OTHERS)
		return fail(op, now_ms, "cancelled, nothing was changed");
	if (op->unplanned)
		return unplanned(op, o, now_ms);
	switch (operation_phase(op)) {
	case OPERATION_CHECK:
		return check(op, o, now_ms);
	case OPERATION_OTHERS:
		return others(op, o, now_ms);
	case OPERATION_DEMOTING:
		return demote(op, o, now_ms);
	case OPERATION_PROMOTING:
		return promote(op, o, now_ms);
	default:
		return verify(op, o, now_ms);
	}
}

/* ---- groups ---- */

/* Did it pass the step that waits for the others? One that was where it should be, already, did not. */
static bool has_begun(const struct operation *op)
{
	const struct operation_step *demote = &op->steps[2];

	return op->state == OPERATION_DONE ? demote->end_ms > demote->start_ms : op->at >= 2;
}

enum operation_verdict operation_group_verdict(
	const struct operation *const *members, unsigned n, const struct operation **ret_why)
{
	bool all = n > 0 && n >= members[0]->group_size;

	*ret_why = NULL;
	for (unsigned i = 0; i < n; i++)
		if (has_begun(members[i]))
			return OPERATION_GO;
	for (unsigned i = 0; i < n; i++) {
		if (members[i]->state == OPERATION_FAILED) {
			*ret_why = members[i];
			return OPERATION_REFUSED;
		}
	}
	if (!all) /* their files are written before the first one begins: the rest never will be */
		return OPERATION_REFUSED;
	for (unsigned i = 0; i < n; i++)
		if (members[i]->at == 0)
			return OPERATION_UNDECIDED;
	return OPERATION_GO;
}

int operation_can_cancel(const struct operation *op, struct err *e)
{
	if (operation_ended(op))
		return err_set(e, -EALREADY, "operation %s has ended: %.160s", op->id, op->message);
	if (op->state == OPERATION_ROLLING_BACK)
		return err_set(e, -EALREADY, "operation %s is rolling back already", op->id);
	if (operation_phase(op) >= OPERATION_TAKING_OVER)
		return err_set(e, -EALREADY,
			"operation %s: '%s' is promoted, or about to be: wait for its end, and "
			"type 'tandemctl failback %s'",
			op->id, op->to, op->volume);
	return 0;
}

/* A dead site may have come back since, and be in use: a person's word of then does not count for ever. */
static bool nothing_was_changed(const struct operation *op)
{
	enum operation_phase p = operation_phase(op);

	return op->state == OPERATION_RUNNING &&
	       (p <= OPERATION_DEMOTING || p == OPERATION_TAKING_OVER);
}

void operation_resume(struct operation *op, uint64_t now_ms)
{
	op->deadline_ms = op->created_ms + op->timeout_ms; /* it is not on disk */
	if (nothing_was_changed(op))
		return;
	op->deadline_ms = now_ms + (op->state == OPERATION_ROLLING_BACK ? OPERATION_ROLL_BACK_MS
									: op->timeout_ms);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The stages of a Failover. Pure. */
#include "switch.h"

#include <stdio.h>
#include <string.h>

static const char *const stage_names[] = {"Initial", "LastMileMigration", "PreExecRule",
	"ScaleDownSource", "WaitAfterScaleDown", "Fence", "HandOver", "Mount", "ScaleUpDestination",
	"PostExecRule", "Webhook", "Rollback", "Final"};

const char *switch_stage_name(enum switch_stage stage)
{
	return stage_names[stage];
}

bool switch_ended(const struct switch_run *r)
{
	return r->stage == STAGE_FINAL;
}

bool switch_has(const struct switch_run *r, enum switch_stage stage)
{
	bool unplanned = r->type == SWITCH_UNPLANNED;

	switch (stage) {
	case STAGE_LAST_MILE:
	case STAGE_PRE_RULE:
	case STAGE_SCALE_DOWN:
	case STAGE_WAIT:
	case STAGE_HAND_OVER:
		return !unplanned;
	case STAGE_FENCE:
		return unplanned;
	case STAGE_ROLLBACK:
		return r->stage == STAGE_ROLLBACK || r->steps[stage].state != STEP_WAITING;
	default:
		return stage < STAGES;
	}
}

/* By the spec alone. */
static const char *why_not(const struct switch_run *r, enum switch_stage stage)
{
	switch (stage) {
	case STAGE_LAST_MILE:
	case STAGE_SCALE_DOWN:
	case STAGE_WAIT:
		return r->source ? NULL : "spec.skipSourceOperations";
	case STAGE_PRE_RULE:
		return r->pre_rule && r->source ? NULL : "no preExecRule";
	case STAGE_SCALE_UP:
		return r->start ? NULL : "spec.startApplications is false";
	case STAGE_POST_RULE:
		return r->post_rule && r->start ? NULL : "no postExecRule";
	case STAGE_WEBHOOK:
		return r->webhook ? NULL : "no webhook";
	default:
		return NULL;
	}
}

static void end_step(
	struct switch_run *r, enum switch_step_state state, const char *words, uint64_t now_ms)
{
	struct switch_step *s = &r->steps[r->stage];

	s->state = state;
	s->end_ms = now_ms;
	snprintf(s->message, sizeof(s->message), "%s", words);
}

static void end(struct switch_run *r, enum switch_status status, uint64_t now_ms)
{
	r->status = status;
	r->stage = STAGE_FINAL;
	r->ended_ms = now_ms;
}

static void say(struct switch_run *r, const char *before, const char *words)
{
	snprintf(r->reason, sizeof(r->reason), "%s%.330s", before, words);
}

static void enter(struct switch_run *r, enum switch_stage stage, uint64_t now_ms)
{
	r->stage = stage;
	if (stage < STAGES) {
		r->steps[stage].state = STEP_RUNNING;
		r->steps[stage].start_ms = now_ms;
	}
}

/* The next one that it has, past those that are not wanted. */
static void advance(struct switch_run *r, uint64_t now_ms)
{
	for (unsigned s = r->stage + 1u; s < STAGE_ROLLBACK; s++) {
		const char * not ;

		if (!switch_has(r, s))
			continue;
		enter(r, s, now_ms);
		not = why_not(r, s);
		if (!not )
			return;
		end_step(r, STEP_SKIPPED, not, now_ms);
	}
	for (unsigned s = STAGE_FENCE; s < STAGE_ROLLBACK; s++) {
		if (r->steps[s].state != STEP_FAILED)
			continue;
		say(r, "the rest runs here, but: ", r->steps[s].message);
		end(r, SWITCH_FAILED, now_ms);
		return;
	}
	say(r, "",
		r->start ? "the applications were started here" : "the volumes are mounted here");
	end(r, SWITCH_SUCCESSFUL, now_ms);
}

void switch_begin(struct switch_run *r, uint64_t now_ms)
{
	if (r->status == SWITCH_INITIAL && !r->started_ms) {
		r->status = SWITCH_IN_PROGRESS;
		r->started_ms = now_ms;
		enter(r, STAGE_INITIAL, now_ms);
	}
}

/* Has the source been told to stop, and can the volumes still go back? */
static bool can_roll_back(const struct switch_run *r)
{
	return r->stage == STAGE_SCALE_DOWN || r->stage == STAGE_WAIT ||
	       r->stage == STAGE_HAND_OVER;
}

static void refuse(struct switch_run *r, const char *words, uint64_t now_ms)
{
	enum switch_stage at = r->stage;

	end_step(r, STEP_FAILED, words, now_ms);
	if (at == STAGE_ROLLBACK) {
		say(r, "rolled back only in part: ", words);
		end(r, SWITCH_ROLLBACK_FAILED, now_ms);
	} else if (at == STAGE_POST_RULE || at == STAGE_WEBHOOK) {
		advance(r, now_ms);
	} else if (can_roll_back(r)) {
		enter(r, STAGE_ROLLBACK, now_ms);
	} else {
		say(r, at < STAGE_FENCE ? "refused, nothing was changed: " : "", words);
		end(r, SWITCH_FAILED, now_ms);
	}
}

static uint64_t deadline_ms(const struct switch_run *r)
{
	uint64_t all = MAX(r->created_ms, r->started_ms) + r->timeout_ms;

	/* A word that was given long ago counts no more: the other site may live again. */
	if (r->stage <= STAGE_FENCE)
		return r->created_ms + r->timeout_ms;
	if (r->stage == STAGE_HAND_OVER)
		return all + SWITCH_STORAGE_MS;
	return MAX(all, r->steps[r->stage].start_ms + SWITCH_LATE_MS);
}

static void rolled_back(struct switch_run *r, uint64_t now_ms)
{
	for (unsigned s = STAGE_SCALE_DOWN; s < STAGE_ROLLBACK; s++)
		if (r->steps[s].state == STEP_DONE)
			r->steps[s].state = STEP_ROLLED_BACK;
		else if (r->steps[s].state == STEP_FAILED)
			say(r, "rolled back: ", r->steps[s].message);
	end(r, SWITCH_ROLLED_BACK, now_ms);
}

static void done(struct switch_run *r, const struct switch_seen *seen, uint64_t now_ms)
{
	end_step(r,
		seen->found == FOUND_DONE     ? STEP_DONE
		: seen->found == FOUND_PARTLY ? STEP_FAILED
					      : STEP_SKIPPED,
		seen->words, now_ms);
	if (r->stage == STAGE_ROLLBACK) {
		rolled_back(r, now_ms);
	} else if (r->dry_run) {
		say(r, "a dry run, nothing was changed: ", seen->words);
		end(r, SWITCH_SUCCESSFUL, now_ms);
	} else {
		advance(r, now_ms);
	}
}

void switch_step(struct switch_run *r, const struct switch_seen *seen, uint64_t now_ms)
{
	char words[SWITCH_TEXT_MAX];
	bool may_cancel = r->stage < STAGE_FENCE;

	if (switch_ended(r))
		return;
	if (r->cancel && may_cancel) {
		refuse(r, "cancelled by spec.cancel", now_ms);
		return;
	}
	switch (seen->found) {
	case FOUND_DONE:
	case FOUND_NOT_NEEDED:
	case FOUND_PARTLY:
		done(r, seen, now_ms);
		return;
	case FOUND_REFUSED:
		refuse(r, seen->words, now_ms);
		return;
	case FOUND_NOT_YET:
		snprintf(r->steps[r->stage].message, SWITCH_TEXT_MAX, "%s", seen->words);
		if (now_ms < deadline_ms(r))
			return;
		snprintf(words, sizeof(words), "not within the time-out: %.350s", seen->words);
		refuse(r, words, now_ms);
		return;
	}
}

bool switch_can_be_overtaken(const struct switch_run *r)
{
	return r->type != SWITCH_UNPLANNED && r->started_ms &&
	       (r->stage <= STAGE_HAND_OVER || r->stage == STAGE_ROLLBACK);
}

void switch_overtake(struct switch_run *r, const char *by, uint64_t now_ms)
{
	char words[SWITCH_TEXT_MAX];

	snprintf(words, sizeof(words),
		"overtaken by the unplanned Failover '%.253s': nothing is rolled back", by);
	end_step(r, STEP_FAILED, words, now_ms);
	say(r, "", words);
	end(r, SWITCH_FAILED, now_ms);
}

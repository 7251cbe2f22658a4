/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Failover of applications as stages, decided: pure, no I/O and no clock. kube_failover.c looks and acts.
 *
 *   Planned, Failback:  Initial -> LastMileMigration -> PreExecRule -> ScaleDownSource -> WaitAfterScaleDown ->
 *                       HandOver -> Mount -> ScaleUpDestination -> PostExecRule -> Webhook -> Final
 *   Unplanned:          Initial -> Fence -> Mount -> ScaleUpDestination -> PostExecRule -> Webhook -> Final
 *
 * The status of the object is what is kept. Each stage looks at what is before it acts, so that one that was
 * interrupted is begun again.
 *
 * Failure modes: until the source is scaled down a refusal has changed nothing. From there to the end of HandOver,
 * which is the point of no return, a refusal, the time-out and `cancel` lead to Rollback: what was handed over goes
 * back, and the source is scaled up again, but for what uses a volume that could not go back. After it, and in an
 * unplanned one, what cannot be done ends it as Failed with the words of what is left to do, and the rest is done; a
 * rule or a webhook that fails then is told, and what comes behind it is done.
 */
#ifndef AGENT_SWITCH_H
#define AGENT_SWITCH_H

#include <stdbool.h>
#include <stdint.h>

#include "json.h"

#define SWITCH_TEXT_MAX 400u
#define SWITCH_TIMEOUT_MS 600000u /* the default, of the kind, too */
#define SWITCH_LATE_MS 60000u /* a stage behind the point of no return has at least this */
#define SWITCH_STORAGE_MS 180000u /* what an operation may take to roll itself back */

enum switch_type { SWITCH_PLANNED, SWITCH_FAILBACK, SWITCH_UNPLANNED };

enum switch_stage { /* in their order */
	STAGE_INITIAL,
	STAGE_LAST_MILE,
	STAGE_PRE_RULE,
	STAGE_SCALE_DOWN,
	STAGE_WAIT,
	STAGE_FENCE,
	STAGE_HAND_OVER,
	STAGE_MOUNT,
	STAGE_SCALE_UP,
	STAGE_POST_RULE,
	STAGE_WEBHOOK,
	STAGE_ROLLBACK, /* a step only where there is one */
	STAGE_FINAL, /* no step */
};
#define STAGES STAGE_FINAL

enum switch_step_state {
	STEP_WAITING,
	STEP_RUNNING,
	STEP_DONE,
	STEP_FAILED,
	STEP_SKIPPED,
	STEP_ROLLED_BACK
};

enum switch_status {
	SWITCH_INITIAL,
	SWITCH_IN_PROGRESS,
	SWITCH_FAILED,
	SWITCH_SUCCESSFUL,
	SWITCH_ROLLED_BACK,
	SWITCH_ROLLBACK_FAILED
};

struct switch_step {
	enum switch_step_state state;
	uint64_t start_ms, end_ms; /* since 1970; 0: not yet */
	char message[SWITCH_TEXT_MAX];
};

struct switch_run {
	/* of the spec */
	enum switch_type type;
	bool source; /* the other cluster is scaled down, and its objects copied once more */
	bool start, pre_rule, post_rule, webhook, dry_run, cancel;
	uint64_t timeout_ms, created_ms;
	/* of the status */
	enum switch_status status;
	enum switch_stage stage;
	uint64_t started_ms, ended_ms;
	struct switch_step steps[STAGES];
	char reason[SWITCH_TEXT_MAX];
};

/* PARTLY: some of it cannot be done, and what comes behind is done for the rest; the whole fails in the end. */
enum switch_found { FOUND_NOT_YET, FOUND_DONE, FOUND_NOT_NEEDED, FOUND_PARTLY, FOUND_REFUSED };

/* What the stage's look found, and in words for a person. */
struct switch_seen {
	enum switch_found found;
	char words[SWITCH_TEXT_MAX];
};

/* For one that has just been read: it begins, or its stage does again. */
void switch_begin(struct switch_run *r, uint64_t now_ms);
/* After a look at the stage. What it changes must be in the object before the next stage is begun. */
void switch_step(struct switch_run *r, const struct switch_seen *seen, uint64_t now_ms);
/* An unplanned one, of that name, has fenced what this one is about, which is up to HandOver or in Rollback: it
 * ends as Failed, and nothing is rolled back. */
void switch_overtake(struct switch_run *r, const char *by, uint64_t now_ms);
bool switch_can_be_overtaken(const struct switch_run *r);
bool switch_ended(const struct switch_run *r);
/* Is this stage one of those that it has? */
bool switch_has(const struct switch_run *r, enum switch_stage stage);
const char *switch_stage_name(enum switch_stage stage);

/* switch_json.c: the object's spec and status; unknown words are -EINVAL. */
int switch_parse(const struct json *obj, struct switch_run *ret, struct err *e);
/* Into the status: stage, status, reason, times and steps. */
void switch_write(const struct switch_run *r, struct json *status);
/* A time with milliseconds; ret has room for 25 bytes. */
void switch_time(uint64_t ms, char *ret);
uint64_t switch_time_parse(const char *text); /* 0: it is none */

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A failover as an operation: named steps, each with its times, decided by a pure function of what was
 * observed and the time. No I/O, no clock: operations.c observes, acts, and keeps it on disk.
 *
 *   planned:    check -> demote (at the active site) -> promote (at the target) -> verify
 *   of a group: check -> others (all of the group are checked) -> demote -> promote -> verify
 *   unplanned:  check -> take-over (the survivor goes on without the dead site, which nobody asks) -> verify
 *   of a node:  the same for each volume whose other replica is on a node that is dead, also where this site is active:
 *               it then goes on alone, without waiting for that replica
 *
 * Each step looks first at what is: the newest record among those that answer says who is active. So an
 * operation that was interrupted anywhere goes on from what is, whoever did it.
 *
 * Failure modes: what the check refuses has changed nothing. Once the old active is demoted and the target
 * cannot be promoted (it refuses, or the time is over), the old active is promoted again: "rolling back".
 * When that fails, too, no replica is active, and the message says what to type. One that is cancelled before
 * the target is promoted goes back the same way; where the old active, told to demote, does not answer, it ends, so
 * that an unplanned one can begin.
 *
 * A group is the failover of all volumes of a domain, or of a node. Until all of a planned one have passed their check
 * none gives an order; when one is refused, all are, and nothing was changed. From there on each goes its own way. In an
 * unplanned one each goes its own way from the beginning: nothing about one volume may keep another one waiting.
 */
#ifndef AGENT_OPERATION_H
#define AGENT_OPERATION_H

#include <stdbool.h>
#include <stdint.h>

#include "json.h"
#include "limits.h"

#define OPERATION_ID_MAX 31u
#define OPERATION_TEXT_MAX 384u
#define OPERATION_STEPS_MAX 5u
#define OPERATION_GROUP_MAX 256u /* volumes */
#define OPERATION_ROLL_BACK_MS 60000u /* how long the old active is asked to be active again */
#define OPERATION_SILENT_MS 10000u /* how long a cancelled one waits for the old active's word */
#define OPERATION_TIMEOUT_MS 120000u /* the default */
#define OPERATION_TIMEOUT_MS_MAX 86400000u

enum operation_state {
	OPERATION_RUNNING,
	OPERATION_ROLLING_BACK,
	OPERATION_DONE,
	OPERATION_FAILED
};
enum operation_phase { /* what a step is about */
	OPERATION_CHECK,
	OPERATION_OTHERS,
	OPERATION_DEMOTING,
	OPERATION_PROMOTING,
	OPERATION_TAKING_OVER,
	OPERATION_VERIFY
};
enum operation_step_state {
	OPERATION_STEP_PENDING,
	OPERATION_STEP_RUNNING,
	OPERATION_STEP_DONE,
	OPERATION_STEP_FAILED
};

struct operation_step {
	enum operation_step_state state;
	uint64_t start_ms, end_ms; /* since 1970; 0: not yet */
	char message[OPERATION_TEXT_MAX];
};

struct operation {
	char id[OPERATION_ID_MAX + 1];
	char group[OPERATION_ID_MAX + 1]; /* ""; else those that have it are done together */
	unsigned group_size; /* how many these are */
	char volume[VOLUME_NAME_MAX + 1];
	char from[DOMAIN_LEN_MAX +
		  1]; /* the active one at the check; "": not looked yet, or none */
	char to[DOMAIN_LEN_MAX + 1];
	bool unplanned, failback;
	bool alone; /* of an unplanned one: `to` is active, and shall not wait for `from` any more */
	bool dry_run; /* ends after the check; never on disk */
	bool cancelled; /* somebody wants it undone */
	uint64_t timeout_ms, created_ms, deadline_ms, ended_ms;
	uint64_t silent_ms; /* since when `from` does not answer; 0: it does. Not on disk */
	enum operation_state state;
	unsigned at; /* the step */
	struct operation_step steps[OPERATION_STEPS_MAX];
	char message[OPERATION_TEXT_MAX]; /* its end, for a person */
};

/* What a site's daemon said of the volume, and what became of the last order to it. */
struct operation_side {
	bool answers;
	char why[OPERATION_TEXT_MAX]; /* when not */
	bool serving; /* active and mounted */
	bool draining;
	uint64_t record_version;
	char active[DOMAIN_LEN_MAX + 1]; /* of its record; "": none */
	bool from_in_sync, to_in_sync;
};

enum operation_verdict { OPERATION_UNDECIDED, OPERATION_GO, OPERATION_REFUSED };

struct operation_observed {
	enum operation_verdict others; /* may this group begin? */
	struct operation_side from, to; /* from is not looked at when it is unplanned */
	bool refused; /* the last order got a "no" that waiting will not change */
	char words[OPERATION_TEXT_MAX]; /* of the last order's answer; "" */
};

enum operation_action {
	OPERATION_LOOK, /* in a moment again */
	OPERATION_PARK, /* when `others` is decided */
	OPERATION_DEMOTE, /* order `from` to demote */
	OPERATION_PROMOTE, /* order `to` to promote */
	OPERATION_TAKE_OVER, /* order `to` to go on without `from` */
	OPERATION_PROMOTE_OLD, /* order `from` to promote */
	OPERATION_END,
};

/* Decides and notes the steps' states, times and words. After each change the operation has to be on disk
 * before the action is taken. */
enum operation_action operation_step(
	struct operation *op, const struct operation_observed *o, uint64_t now_ms);
/* To be called for one that was read from disk: its time begins anew, unless nothing was changed yet. Then what
 * was its end stays it: an agent that comes back after days takes nothing over that has gone on since. */
void operation_resume(struct operation *op, uint64_t now_ms);

/* What the operations of one group, as they are now, say to those that wait; the first that is refused, or
 * NULL, for a person. Once one of them has begun they all may: also after a crash. */
enum operation_verdict operation_group_verdict(
	const struct operation *const *members, unsigned n, const struct operation **ret_why);

/* 0; or -EALREADY with why it cannot be undone any more. */
int operation_can_cancel(const struct operation *op, struct err *e);

enum operation_phase operation_phase(const struct operation *op);
unsigned operation_nsteps(const struct operation *op);
const char *operation_step_name(const struct operation *op, unsigned i);
const char *operation_kind(
	const struct operation *op); /* "failover", "failback", "unplanned-failover" */
bool operation_ended(const struct operation *op);

/* operation_json.c: the same for REST and disk. The caller's. */
struct json *operation_json(const struct operation *op);
/* 0, or -EBADMSG. */
int operation_parse(const struct json *j, struct operation *ret_op, struct err *e);
/* What one site's status says. */
void operation_side_parse(
	const struct operation *op, const struct json *status, struct operation_side *ret_s);

#endif

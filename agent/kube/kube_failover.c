/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One Failover object, one turn after the other until it has ended. A turn looks at the stage that switch.h says, acts,
 * and writes what came of it into the status before the next stage is begun: whoever is killed anywhere leaves a status
 * from which the next leader goes on. No turn waits, but for the calls in it, the longest of which is a rule's. Between
 * turns the objects are listed: a person may have cancelled or deleted this one, an unplanned one may have overtaken it.
 * It runs in a job of its own (kube_failover_jobs.c).
 */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "kube_failover_impl.h"
#include "log.h"

#define TURN_NS (50 * NS_PER_MS)
#define LIST_MS 500u /* between two looks at the objects */

const struct kube_kind kind_failover =
	KUBE_KIND("tandemfs.dev", "v1alpha1", "Failover", "failovers", false);

uint64_t failover_now_ms(void)
{
	return clock_real_ns() / NS_PER_MS;
}

uint64_t failover_since_ms(uint64_t when_ms)
{
	uint64_t now = failover_now_ms();

	return now > when_ms ? now - when_ms : 0;
}

const char *failover_spec(const struct failover *f, const char *key)
{
	return json_get_string(json_get(f->obj, "spec"), key, "");
}

const char *failover_from(const struct failover *f)
{
	return failover_spec(f, "fromDomain");
}

const char *failover_namespace(const struct failover *f, unsigned i)
{
	return json_get_string(json_at(f->summary, i), "namespace", "");
}

bool failover_is_left(const struct failover *f, unsigned i)
{
	return !strcmp(json_get_string(json_at(f->summary, i), "status", ""), "Failed");
}

void failover_namespace_set(struct failover *f, unsigned i, const char *status, const char *reason)
{
	json_set_string(json_at(f->summary, i), "status", status);
	if (reason)
		json_set_string(json_at(f->summary, i), "reason", reason);
}

void seen_say(struct switch_seen *s, enum switch_found found, const char *fmt, ...)
{
	va_list ap;

	s->found = found;
	va_start(ap, fmt);
	vsnprintf(s->words, sizeof(s->words), fmt, ap);
	va_end(ap);
}

void seen_error(struct switch_seen *s, int error, const struct err *e)
{
	bool passes = kube_is_away(error) || error == -EACCES || error == -EBUSY;

	seen_say(s, passes ? FOUND_NOT_YET : FOUND_REFUSED, "%s", e->msg);
}

/* --- the stages --- */

static void look_initial(struct failover *f, struct switch_seen *s)
{
	const char *to = failover_spec(f, "toDomain"), *own = f->c.config->domain;
	struct err e = {0};
	int ret;

	if (*to && strcmp(to, own) != 0) {
		seen_say(s, FOUND_REFUSED,
			"toDomain is '%s': apply this on the cluster of that domain, this one is "
			"'%s'",
			to, own);
		return;
	}
	if (!strcmp(failover_from(f), own)) {
		seen_say(s, FOUND_REFUSED,
			"fromDomain '%s' is the domain of this cluster: apply this on the other "
			"one",
			own);
		return;
	}
	if (failover_node(f)[0] && json_get(json_get(f->obj, "spec"), "volumes")) {
		seen_say(s, FOUND_REFUSED, "spec.node stands without spec.volumes");
		return;
	}
	ret = f->run.type == SWITCH_UNPLANNED ? 0 : failover_check_webhook(f, &e);
	if (!ret)
		ret = failover_collect(f, &e);
	if (!ret && f->run.source)
		ret = failover_reach_source(f, &e);
	if (ret == -ECONNREFUSED || ret == -ETIMEDOUT || ret == -ECONNRESET) {
		if (failover_since_ms(f->run.started_ms) > FAILOVER_AWAY_MS)
			seen_say(s, FOUND_REFUSED,
				"%.250s; when that site is dead, use type Unplanned", e.msg);
		else
			seen_say(s, FOUND_NOT_YET, "%s", e.msg);
	} else if (ret) {
		seen_error(s, ret, &e);
	} else {
		failover_check(f, s);
	}
}

static void look_pre_rule(struct failover *f, struct switch_seen *s)
{
	failover_rule(f, true, s);
}

static void look_post_rule(struct failover *f, struct switch_seen *s)
{
	failover_rule(f, false, s);
}

/*
 * For tests: TANDEMFS_FAULT_FAILOVER=STAGE or STAGE:after, or several with commas. It dies when the stage is in the
 * status, before or after what is done in it; and only where it has begun the stage itself. So each stage has one
 * death, also where the next process has the same environment.
 */
static void maybe_die(const struct failover *f, bool after)
{
	const char *fault = getenv("TANDEMFS_FAULT_FAILOVER");
	char here[64];
	size_t len;

	if (!fault || !f->begun)
		return;
	len = (size_t)snprintf(
		here, sizeof(here), "%s%s", switch_stage_name(f->run.stage), after ? ":after" : "");
	for (; *fault; fault += strcspn(fault, ","), fault += *fault == ',')
		if (strcspn(fault, ",") == len && !memcmp(fault, here, len)) {
			raise(SIGKILL);
			_exit(128 + SIGKILL); /* a container's process 1 gets none of its own */
		}
}

static void look_stage(struct failover *f, struct switch_seen *s)
{
	static void (*const looks[STAGES])(struct failover * f, struct switch_seen * s) = {
		[STAGE_INITIAL] = look_initial,
		[STAGE_LAST_MILE] = failover_last_mile,
		[STAGE_PRE_RULE] = look_pre_rule,
		[STAGE_SCALE_DOWN] = failover_scale_down,
		[STAGE_WAIT] = failover_wait,
		[STAGE_FENCE] = failover_fence,
		[STAGE_HAND_OVER] = failover_hand_over,
		[STAGE_MOUNT] = failover_mount,
		[STAGE_SCALE_UP] = failover_scale_up,
		[STAGE_POST_RULE] = look_post_rule,
		[STAGE_WEBHOOK] = failover_webhook,
		[STAGE_ROLLBACK] = failover_roll_back,
	};

	maybe_die(f, false);
	looks[f->run.stage](f, s);
	maybe_die(f, true);
}

/* --- the status --- */

static void set_conditions(const struct failover *f, struct json *status)
{
	const struct switch_run *r = &f->run;
	bool ended = switch_ended(r), good = r->status == SWITCH_SUCCESSFUL;
	const char *reason = json_get_string(status, "reason", ""),
		   *stage = ended ? good ? "Successful" : "NotDone" : switch_stage_name(r->stage);

	condition_set(status, f->obj, "Progressing", !ended, stage, reason);
	condition_set(status, f->obj, "Completed", ended && good, stage, reason);
	condition_set(status, f->obj, "Failed", ended && !good, stage, reason);
}

static void finish_summary(struct failover *f)
{
	static const char *const words[] = {[SWITCH_FAILED] = "Failed",
		[SWITCH_SUCCESSFUL] = "Successful",
		[SWITCH_ROLLED_BACK] = "RollbackSuccessful",
		[SWITCH_ROLLBACK_FAILED] = "RollbackFailed"};

	for (unsigned i = 0; i < json_length(f->summary); i++)
		if (!strcmp(json_get_string(json_at(f->summary, i), "status", ""), "In-Progress"))
			failover_namespace_set(f, i, words[f->run.status], NULL);
}

static int write_status(struct failover *f, struct err *e)
{
	struct json *status = json_copy(json_get(f->obj, "status")), *patch, *now = NULL;
	int ret;

	if (!status)
		status = json_object();
	if (switch_ended(&f->run))
		finish_summary(f);
	switch_write(&f->run, status);
	set_conditions(f, status);
	if (f->summary) {
		json_set(status, "summary", json_copy(f->summary));
		json_set(status, "volumes", json_copy(f->volumes));
	}
	json_set_int(status, "observedGeneration",
		json_get_int(json_get(f->obj, "metadata"), "generation", 0));
	if (json_equal(status, json_get(f->obj, "status"))) {
		json_free(status);
		return 0;
	}
	/* Nobody else writes it, so that it is a patch: who edits the spec meanwhile is in nobody's way. */
	patch = json_object();
	json_set(patch, "status", status);
	ret = kube_patch(
		f->c.kube, &kind_failover, NULL, meta_of(f->obj, "name"), "status", patch, &now, e);
	json_free(patch);
	if (ret)
		return ret;
	json_free(f->obj);
	f->obj = now;
	return 0;
}

static const char *reason_of(const struct failover *f, enum switch_stage before)
{
	static const char *const reasons[STAGES] = {"FailoverStarted", "ResourcesCopied", "RuleRun",
		"SourceScaledDown", "PodsGone", "DomainFenced", "VolumesHandedOver",
		"VolumesMounted", "ApplicationsStarted", "RuleRun", "WebhookCalled", "RolledBack"};

	return f->run.steps[before].state == STEP_FAILED ? "FailoverStepFailed" : reasons[before];
}

static void tell(struct failover *f, enum switch_stage before)
{
	const struct switch_step *s = &f->run.steps[before];
	char text[SWITCH_TEXT_MAX + 64];

	snprintf(text, sizeof(text), "%s: %s", switch_stage_name(before), s->message);
	log_info("Failover '%s': %s", meta_of(f->obj, "name"), text);
	kube_event(f->c.kube, f->obj, s->state == STEP_FAILED ? "Warning" : "Normal",
		reason_of(f, before), text);
	if (!switch_ended(&f->run))
		return;
	log_info("Failover '%s': ended: %s", meta_of(f->obj, "name"), f->run.reason);
	kube_event(f->c.kube, f->obj, f->run.status == SWITCH_SUCCESSFUL ? "Normal" : "Warning",
		f->run.status == SWITCH_SUCCESSFUL ? "FailoverSuccessful" : "FailoverFailed",
		f->run.reason);
}

/* What another process began, or this one before it lost the lease. */
static void tell_goes_on(const struct failover *f)
{
	const char *stage = switch_stage_name(f->run.stage), *who = f->c.config->kube_identity;
	char text[SWITCH_TEXT_MAX];
	uint64_t hash = 0;

	snprintf(text, sizeof(text), "%s: goes on in '%.253s'", stage, who);
	log_info("Failover '%s': %s", meta_of(f->obj, "name"), text);
	kube_event_once(f->c.kube, f->obj, "Normal", "FailoverGoesOn", text, &hash);
}

/* --- one object --- */

static struct failover *failover_new(struct kube_control *c, const struct json *obj)
{
	const struct json *status = json_get(obj, "status");
	struct failover *f;
	struct switch_run run;
	struct err e = {0};

	if (switch_parse(obj, &run, &e)) {
		log_warn("Failover '%s': %s", meta_of(obj, "name"), e.msg);
		return NULL;
	}
	if (switch_ended(&run))
		return NULL;
	f = calloc(1, sizeof(*f));
	ensure(f);
	f->c = *c;
	f->c.nodes = NULL;
	f->c.nnodes = 0;
	f->obj = json_copy(obj);
	f->run = run;
	if (json_get(status, "summary")) {
		f->summary = json_copy(json_get(status, "summary"));
		f->volumes = json_copy(json_get(status, "volumes"));
		if (!f->volumes)
			f->volumes = json_array();
	}
	if (run.started_ms)
		tell_goes_on(f);
	return f;
}

static void failover_free(struct failover *f)
{
	for (unsigned i = 0; i < FAILOVER_NAMESPACES_MAX; i++)
		kube_free(f->there[i]);
	nodes_clear(&f->c);
	json_free(f->obj);
	json_free(f->summary);
	json_free(f->volumes);
	free(f);
}

/* An error is the API's: the status could not be written. */
static int put(struct failover *f, enum switch_stage before, struct err *e)
{
	int ret = write_status(f, e);

	if (!ret && f->run.stage != before) {
		f->begun = true;
		tell(f, before);
	}
	return ret;
}

static int turn(struct failover *f, struct err *e)
{
	enum switch_stage before = f->run.stage;
	struct switch_seen seen = {0};
	int ret;

	if (!f->run.started_ms) {
		switch_begin(&f->run, failover_now_ms());
		ret = write_status(f, e);
		if (ret)
			return ret;
		f->begun = true;
	}
	look_stage(f, &seen);
	if (!lease_hold(&f->c)) /* another one goes on with it */
		return 0;
	switch_step(&f->run, &seen, failover_now_ms());
	return put(f, before, e);
}

static const struct json *by_uid(const struct json *all, const struct json *like)
{
	for (unsigned i = 0; i < json_length(all); i++)
		if (!strcmp(meta_of(json_at(all, i), "uid"), meta_of(like, "uid")))
			return json_at(all, i);
	return NULL;
}

/* What people and other Failovers have done meanwhile. */
static int refresh(struct failover *f, bool *ret_gone, struct err *e)
{
	enum switch_stage before = f->run.stage;
	struct json *all = json_array();
	int ret = kube_list(f->c.kube, &kind_failover, NULL, NULL, all, NULL, e);
	const struct json *now = by_uid(all, f->obj), *by = NULL;

	if (!ret) {
		*ret_gone = !now || meta_of(now, "deletionTimestamp");
		f->run.cancel = json_get_bool(json_get(now, "spec"), "cancel", false);
	}
	f->waits = !ret && !*ret_gone && failover_overtaker(f, all, &by);
	if (by) {
		switch_overtake(&f->run, meta_of(by, "name"), failover_now_ms());
		ret = put(f, before, e);
	}
	json_free(all);
	return ret;
}

static uint64_t mono_ms(void)
{
	return clock_mono_ns() / NS_PER_MS;
}

int failover_carry_out(struct kube_control *c, const struct json *obj, struct err *e)
{
	struct failover *f = failover_new(c, obj);
	enum switch_stage known = STAGE_FINAL;
	uint64_t listed_ms = 0; /* of the clock that is never set back */
	bool gone = false;
	int ret = 0;

	if (!f)
		return 0;
	if (f->run.type == SWITCH_UNPLANNED) /* which nothing overtakes: it begins at once */
		listed_ms = mono_ms();
	while (!ret && !gone && !switch_ended(&f->run) && lease_hold(c)) {
		if (mono_ms() - listed_ms >= LIST_MS ||
			(f->run.stage != known && f->run.type != SWITCH_UNPLANNED)) {
			ret = refresh(f, &gone, e);
			listed_ms = mono_ms();
			known = f->run.stage;
			continue;
		}
		if (!f->waits)
			ret = turn(f, e);
		if (!switch_ended(&f->run))
			kube_pause(c->stop, TURN_NS);
	}
	failover_free(f);
	return ret;
}

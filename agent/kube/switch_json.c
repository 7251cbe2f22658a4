/* SPDX-License-Identifier: Apache-2.0 */
/* A Failover's spec and status, into and out of a switch_run. No I/O. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "kube.h"
#include "switch.h"

static const char *const type_names[] = {"Planned", "Failback", "Unplanned"};
static const char *const state_names[] = {
	"Waiting", "Running", "Done", "Failed", "Skipped", "RolledBack"};
static const char *const status_names[] = {
	"Initial", "In-Progress", "Failed", "Successful", "RollbackSuccessful", "RollbackFailed"};

/* -1: none of them. */
static int find(const char *name, const char *const *names, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (!strcmp(name, names[i]))
			return (int)i;
	return -1;
}

void switch_time(uint64_t ms, char *ret)
{
	char s[21];

	kube_time((int64_t)(ms / 1000), s);
	snprintf(ret, 25, "%.19s.%03uZ", s, (unsigned)(ms % 1000));
}

uint64_t switch_time_parse(const char *text)
{
	int64_t s = kube_time_parse(text);
	const char *dot = s > 0 ? strchr(text, '.') : NULL;
	unsigned ms = 0;

	for (unsigned i = 0, digit = 100; dot && i < 3 && dot[1 + i] >= '0' && dot[1 + i] <= '9';
		i++, digit /= 10)
		ms += (unsigned)(dot[1 + i] - '0') * digit;
	return s > 0 ? (uint64_t)s * 1000 + ms : 0;
}

static int stage_of(const char *name)
{
	for (int s = 0; s <= STAGE_FINAL; s++)
		if (!strcmp(name, switch_stage_name(s)))
			return s;
	return -1;
}

static void parse_steps(const struct json *steps, struct switch_run *r)
{
	for (unsigned i = 0; i < json_length(steps); i++) {
		const struct json *j = json_at(steps, i);
		int stage = stage_of(json_get_string(j, "name", ""));
		int state =
			find(json_get_string(j, "state", ""), state_names, ARRAY_SIZE(state_names));
		struct switch_step *s;

		if (stage < 0 || stage >= STAGES || state < 0)
			continue;
		s = &r->steps[stage];
		s->state = (enum switch_step_state)state;
		s->start_ms = switch_time_parse(json_get_string(j, "startTime", NULL));
		s->end_ms = switch_time_parse(json_get_string(j, "endTime", NULL));
		snprintf(s->message, sizeof(s->message), "%.399s",
			json_get_string(j, "message", ""));
	}
}

static bool named(const struct json *spec, const char *key)
{
	return json_get_string(spec, key, "")[0] != '\0';
}

int switch_parse(const struct json *obj, struct switch_run *ret, struct err *e)
{
	const struct json *spec = json_get(obj, "spec"), *status = json_get(obj, "status");
	const char *type = json_get_string(spec, "type", ""),
		   *stage = json_get_string(status, "stage", ""),
		   *how = json_get_string(status, "status", "");
	struct switch_run r = {0};
	int t = find(type, type_names, ARRAY_SIZE(type_names)), s = stage_of(stage),
	    h = find(how, status_names, ARRAY_SIZE(status_names));
	int64_t timeout_s = json_get_int(spec, "timeoutSeconds", SWITCH_TIMEOUT_MS / 1000);

	if (t < 0)
		return err_set(e, -EINVAL, "spec.type '%.40s' is not known", type);
	if (*stage && (s < 0 || h < 0))
		return err_set(
			e, -EINVAL, "status '%.40s' of stage '%.40s' is not known", how, stage);
	r.type = (enum switch_type)t;
	r.source = t != SWITCH_UNPLANNED && !json_get_bool(spec, "skipSourceOperations", false);
	r.start = json_get_bool(spec, "startApplications", true);
	r.pre_rule = named(spec, "preExecRule");
	r.post_rule = named(spec, "postExecRule");
	r.webhook = named(json_get(spec, "webhook"), "url");
	r.dry_run = json_get_bool(spec, "dryRun", false);
	r.cancel = json_get_bool(spec, "cancel", false);
	r.timeout_ms = (uint64_t)MIN(MAX(timeout_s, 1), 86400) * 1000;
	r.created_ms = switch_time_parse(
		json_get_string(json_get(obj, "metadata"), "creationTimestamp", NULL));
	if (*stage) {
		r.stage = (enum switch_stage)s;
		r.status = (enum switch_status)h;
		r.started_ms = switch_time_parse(json_get_string(status, "startTimestamp", NULL));
		r.ended_ms = switch_time_parse(json_get_string(status, "finishTimestamp", NULL));
		if (s == STAGE_FINAL)
			snprintf(r.reason, sizeof(r.reason), "%.399s",
				json_get_string(status, "reason", ""));
		parse_steps(json_get(status, "steps"), &r);
	}
	*ret = r;
	return 0;
}

static void set_time(struct json *j, const char *key, uint64_t ms)
{
	char text[25];

	if (!ms)
		return;
	switch_time(ms, text);
	json_set_string(j, key, text);
}

static struct json *step_json(const struct switch_run *r, enum switch_stage stage)
{
	const struct switch_step *s = &r->steps[stage];
	struct json *j = json_object();

	json_set_string(j, "name", switch_stage_name(stage));
	json_set_string(j, "state", state_names[s->state]);
	set_time(j, "startTime", s->start_ms);
	set_time(j, "endTime", s->end_ms);
	if (s->message[0])
		json_set_string(j, "message", s->message);
	return j;
}

void switch_write(const struct switch_run *r, struct json *status)
{
	struct json *steps = json_array();
	char text[40];

	json_set_string(status, "stage", switch_stage_name(r->stage));
	json_set_string(status, "status", status_names[r->status]);
	json_set_string(status, "reason", switch_ended(r) ? r->reason : r->steps[r->stage].message);
	set_time(status, "startTimestamp", r->started_ms);
	set_time(status, "finishTimestamp", r->ended_ms);
	if (r->ended_ms) {
		snprintf(text, sizeof(text), "%.3fs",
			(double)(r->ended_ms - MIN(r->started_ms, r->ended_ms)) / 1000);
		json_set_string(status, "elapsedTime", text);
	}
	for (unsigned s = 0; s < STAGES; s++)
		if (switch_has(r, s))
			json_append(steps, step_json(r, s));
	json_set(status, "steps", steps);
}

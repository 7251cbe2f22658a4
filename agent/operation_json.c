/* SPDX-License-Identifier: Apache-2.0 */
/* An operation as JSON, for REST and for the disk, and what a daemon's status says of it. No I/O. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "operation.h"

static const char *const state_names[] = {"running", "rolling-back", "done", "failed"};
static const char *const step_state_names[] = {"pending", "running", "done", "failed"};

struct json *operation_json(const struct operation *op)
{
	struct json *j = json_object(), *steps = json_array();

	json_set_string(j, "id", op->id);
	json_set_string(j, "kind", operation_kind(op));
	json_set_string(j, "volume", op->volume);
	if (op->group[0]) {
		json_set_string(j, "group", op->group);
		json_set_int(j, "group_size", op->group_size);
	}
	if (op->alone)
		json_set_bool(j, "alone", true);
	if (op->dry_run)
		json_set_bool(j, "dry_run", true);
	json_set_bool(j, "cancelled", op->cancelled);
	json_set_string(j, "from", op->from);
	json_set_string(j, "to", op->to);
	json_set_string(j, "state", state_names[op->state]);
	json_set_string(j, "message", op->message);
	json_set_int(j, "timeout_ms", (int64_t)op->timeout_ms);
	json_set_int(j, "created_ms", (int64_t)op->created_ms);
	json_set_int(j, "ended_ms", (int64_t)op->ended_ms);
	for (unsigned i = 0; i < operation_nsteps(op); i++) {
		struct json *s = json_object();

		json_set_string(s, "name", operation_step_name(op, i));
		json_set_string(s, "state", step_state_names[op->steps[i].state]);
		json_set_int(s, "start_ms", (int64_t)op->steps[i].start_ms);
		json_set_int(s, "end_ms", (int64_t)op->steps[i].end_ms);
		json_set_string(s, "message", op->steps[i].message);
		json_append(steps, s);
	}
	json_set(j, "steps", steps);
	return j;
}

static bool get_text(const struct json *j, const char *key, char *ret, size_t size)
{
	const char *s = json_get_string(j, key, NULL);

	if (!s || strlen(s) >= size)
		return false;
	snprintf(ret, size, "%s", s);
	return true;
}

/* The index of the name; -1: none of them. */
static int find(const char *name, const char *const *names, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (!strcmp(name, names[i]))
			return (int)i;
	return -1;
}

static uint64_t get_ms(const struct json *j, const char *key)
{
	return (uint64_t)MAX(0, json_get_int(j, key, 0));
}

/* It becomes a file's name. */
static bool is_id(const char *s)
{
	return *s && *s != '-' && strspn(s, "0123456789-") == strlen(s);
}

static bool is_name(const char *s)
{
	return strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-_") == strlen(s);
}

static bool parse_group(const struct json *j, struct operation *op)
{
	int64_t size = json_get_int(j, "group_size", 0);

	if (!json_get(j, "group"))
		return true;
	op->group_size = (unsigned)MAX(0, MIN(size, OPERATION_GROUP_MAX + 1));
	return size > 0 && size <= OPERATION_GROUP_MAX &&
	       get_text(j, "group", op->group, sizeof(op->group)) && is_id(op->group);
}

static bool parse_steps(const struct json *steps, struct operation *op)
{
	bool passed = true; /* all so far are done */

	if (json_length(steps) != operation_nsteps(op))
		return false;
	for (unsigned i = 0; i < operation_nsteps(op); i++) {
		const struct json *s = json_at(steps, i);
		int state = find(json_get_string(s, "state", ""), step_state_names,
			ARRAY_SIZE(step_state_names));

		if (state < 0 ||
			!get_text(s, "message", op->steps[i].message, OPERATION_TEXT_MAX) ||
			strcmp(json_get_string(s, "name", ""), operation_step_name(op, i)) != 0)
			return false;
		if (!passed && state == OPERATION_STEP_DONE)
			return false;
		op->steps[i].state = (enum operation_step_state)state;
		op->steps[i].start_ms = get_ms(s, "start_ms");
		op->steps[i].end_ms = get_ms(s, "end_ms");
		if (passed)
			op->at = i;
		passed = passed && state == OPERATION_STEP_DONE;
	}
	return true;
}

int operation_parse(const struct json *j, struct operation *ret_op, struct err *e)
{
	struct operation op = {0};
	const char *kind = json_get_string(j, "kind", "");
	int state = find(json_get_string(j, "state", ""), state_names, ARRAY_SIZE(state_names));

	op.unplanned = !strcmp(kind, "unplanned-failover");
	op.failback = !strcmp(kind, "failback");
	op.alone = op.unplanned && json_get_bool(j, "alone", false);
	if (state < 0 || strcmp(kind, operation_kind(&op)) != 0 ||
		!get_text(j, "id", op.id, sizeof(op.id)) || !is_id(op.id) ||
		!get_text(j, "volume", op.volume, sizeof(op.volume)) || !op.volume[0] ||
		!is_name(op.volume) || !get_text(j, "from", op.from, sizeof(op.from)) ||
		!is_name(op.from) || !get_text(j, "to", op.to, sizeof(op.to)) || !op.to[0] ||
		!is_name(op.to) || !parse_group(j, &op) ||
		!get_text(j, "message", op.message, sizeof(op.message)) ||
		!parse_steps(json_get(j, "steps"), &op))
		return err_set(e, -EBADMSG, "this is no operation");
	op.state = (enum operation_state)state;
	op.cancelled = json_get_bool(j, "cancelled", false);
	op.timeout_ms = MIN(get_ms(j, "timeout_ms"), OPERATION_TIMEOUT_MS_MAX);
	op.created_ms = get_ms(j, "created_ms");
	op.ended_ms = get_ms(j, "ended_ms");
	*ret_op = op;
	return 0;
}

static bool has(const struct json *list, const char *name)
{
	for (unsigned i = 0; i < json_length(list); i++)
		if (!strcmp(json_string_at(list, i, ""), name))
			return true;
	return false;
}

void operation_side_parse(
	const struct operation *op, const struct json *status, struct operation_side *ret_s)
{
	const char *role = json_get_string(status, "role", "");
	struct operation_side s = {.answers = true};

	s.serving = !strcmp(role, "active") && json_get_bool(status, "mounted", false);
	s.draining = !strcmp(role, "draining");
	s.record_version = get_ms(status, "record_version");
	snprintf(s.active, sizeof(s.active), "%.*s", (int)DOMAIN_LEN_MAX,
		json_get_string(status, "active_domain", ""));
	s.from_in_sync = has(json_get(status, "in_sync"), op->from);
	s.to_in_sync = has(json_get(status, "in_sync"), op->to);
	*ret_s = s;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Status and conditions of objects. What says the same as before is not written. */
#include <errno.h>
#include <string.h>

#include "clock.h"
#include "kube_control.h"
#include "log.h"

int64_t now_s(void)
{
	return (int64_t)(clock_real_ns() / NS_PER_S);
}

const char *meta_of(const struct json *obj, const char *key)
{
	return json_get_string(json_get(obj, "metadata"), key, NULL);
}

static struct json *condition_of(struct json *status, const char *type)
{
	struct json *conditions = json_get(status, "conditions"), *made;

	if (!conditions) {
		conditions = json_array();
		json_set(status, "conditions", conditions);
	}
	for (unsigned i = 0; i < json_length(conditions); i++)
		if (!strcmp(json_get_string(json_at(conditions, i), "type", ""), type))
			return json_at(conditions, i);
	made = json_object();
	json_set_string(made, "type", type);
	json_append(conditions, made);
	return made;
}

bool condition_is(const struct json *status, const char *type, const char *reason)
{
	const struct json *conditions = json_get(status, "conditions");

	for (unsigned i = 0; i < json_length(conditions); i++)
		if (!strcmp(json_get_string(json_at(conditions, i), "type", ""), type))
			return !strcmp(
				json_get_string(json_at(conditions, i), "reason", ""), reason);
	return false;
}

void condition_set(struct json *status, const struct json *obj, const char *type, bool truth,
	const char *reason, const char *message)
{
	struct json *c = condition_of(status, type);
	const char *word = truth ? "True" : "False";
	char now[21];

	if (strcmp(json_get_string(c, "status", ""), word)) {
		kube_time(now_s(), now);
		json_set_string(c, "lastTransitionTime", now);
	}
	json_set_string(c, "status", word);
	json_set_string(c, "reason", reason);
	json_set_string(c, "message", message);
	json_set_int(
		c, "observedGeneration", json_get_int(json_get(obj, "metadata"), "generation", 0));
}

int status_write(struct kube_control *c, const struct kube_kind *kind, struct json *obj,
	struct json *status, struct err *e)
{
	struct json *there = NULL;
	int ret;

	json_set_int(status, "observedGeneration",
		json_get_int(json_get(obj, "metadata"), "generation", 0));
	if (json_equal(status, json_get(obj, "status"))) {
		json_free(status);
		return 0;
	}
	json_set(obj, "status", status);
	ret = kube_update(c->kube, kind, "status", obj, &there, e);
	if (ret)
		return ret;
	json_set(obj, "metadata", json_copy(json_get(there, "metadata")));
	json_free(there);
	return 0;
}

void valid_note(struct kube_control *c, const struct kube_kind *kind, struct json *obj, int ret,
	const char *why)
{
	struct json *status = json_copy(json_get(obj, "status"));
	struct err e = {0};

	if (!status)
		status = json_object();
	condition_set(status, obj, "Valid", !ret, ret ? "Refused" : "Understood",
		ret ? why : "it can be followed");
	if (status_write(c, kind, obj, status, &e) && e.code != -EBUSY && e.code != -ENOENT)
		log_warn("%s '%s': %s", kind->kind, meta_of(obj, "name"), e.msg);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Volume's spec.resync. The status says Running, durably, before the replica is told to give up, and Done after it
 * has said that it did.
 *
 * Failure modes: a process that is killed in between, or an answer that does not come, leaves Running: the next look finds
 * the replica in another epoch, and that is the end of it, or in the same one with the same entries, and it is
 * told again; whoever leads meanwhile does the same, and the replica refuses a second word. What is written between
 * the last preview and the word, where somebody still uses the mount, is given up unseen; stop it first. Nothing is
 * deleted: the replica keeps its old state aside.
 */
#include "kube_resync.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "kube_nodes.h"
#include "kube_volume.h"
#include "log.h"
#include "volume_resync.h"

#define PREVIEW_MS 120000u
#define RESYNC_MS 600000u /* it writes a journal of zeros first */

struct asked {
	struct kube_control *c;
	struct json *obj;
	const struct json *entry;
	const char *node, *from;
};

static struct json *status_of(const struct json *obj)
{
	struct json *status = json_copy(json_get(obj, "status"));

	return status ? status : json_object();
}

/* The daemon's code, or that of the way there; its words in `text`. *ret_answer may be NULL, else is the caller's. */
static int tell(
	const struct asked *a, bool preview, struct json **ret_answer, char *text, size_t size)
{
	unsigned timeout_ms = preview ? PREVIEW_MS : RESYNC_MS, status;
	struct json *body = json_object(), *answer = NULL;
	char path[VOLUME_NAME_MAX + 64];
	struct err e = {0};
	int ret;

	snprintf(path, sizeof(path), "/v1/volumes/%.63s/resync", meta_of(a->obj, "name"));
	json_set_string(body, "domain", a->from);
	json_set_bool(body, preview ? "preview" : "yes", true);
	json_set_int(body, "timeout_ms", timeout_ms - 1000);
	worker_busy(a->c, timeout_ms);
	ret = node_call(a->c, a->node, path, body, timeout_ms, &status, &answer, &e);
	json_free(body);
	if (ret) {
		snprintf(text, size, "%s", e.msg);
		return ret;
	}
	ret = (int)json_get_int(answer, "code", status == 200 ? 0 : -EPROTO);
	snprintf(text, size, "%s",
		json_get_string(answer, "text", json_get_string(answer, "error", "?")));
	if (!ret && ret_answer)
		*ret_answer = answer;
	else
		json_free(answer);
	return ret;
}

/* May it be otherwise at the next look, by itself? */
static bool may_pass(int code)
{
	return kube_is_away(code) || code == -EBUSY || code == -EHOSTUNREACH ||
	       code == -EINPROGRESS || code == -ENOENT || code == -ESTALE ||
	       code == -EPERM; /* the other side is not active */
}

/* Takes status; `type` NULL: no Event. */
static int note(const struct asked *a, struct json *status, bool truth, const char *reason,
	const char *text, const char *type, struct err *e)
{
	bool news = !condition_is(json_get(a->obj, "status"), "Resync", reason);
	int ret;

	condition_set(status, a->obj, "Resync", truth, reason, text);
	ret = status_write(a->c, &kind_tandem_volume, a->obj, status, e);
	if (!ret && news && type) {
		log_info("Volume '%s': resync: %s", meta_of(a->obj, "name"), text);
		kube_event(a->c->kube, a->obj, type, reason, text);
	}
	return ret;
}

static int note_preview(const struct asked *a, const struct json *answer, const char *text,
	const char *reason, const char *why, struct err *e)
{
	struct json *status = status_of(a->obj);
	char now[21];

	kube_time(now_s(), now);
	json_set(status, "resync", volume_resync_status(a->entry, a->from, answer, text, now));
	return note(a, status, false, reason, why, "Normal", e);
}

static int preview(const struct asked *a, struct err *e)
{
	struct json *answer = NULL;
	char text[1500];
	int ret = tell(a, true, &answer, text, sizeof(text));

	if (ret)
		return note(a, status_of(a->obj), false, may_pass(ret) ? "Waiting" : "Refused",
			text, NULL, e);
	ret = note_preview(a, answer, text, "ToConfirm",
		"what would be given up is in status.resync: it is when spec.resync.confirm is the "
		"id there",
		e);
	json_free(answer);
	return ret;
}

static void set_state(
	const struct asked *a, struct json *status, const char *state, const char *text)
{
	struct json *r = json_get(status, "resync");
	char now[21];

	kube_time(now_s(), now);
	json_set_string(r, "state", state);
	json_set_string(r, "timestamp", now);
	if (text)
		json_set_string(r, "message", text);
	json_set_int(r, "observedGeneration",
		json_get_int(json_get(a->obj, "metadata"), "generation", 0));
}

static int give_up(const struct asked *a, struct err *e)
{
	struct json *status = status_of(a->obj);
	char text[1500];
	int ret;

	set_state(a, status, "Running", NULL);
	ret = note(a, status, false, "Running", "the replica here is told to give up its state",
		"Normal", e);
	if (ret)
		return ret;
	ret = tell(a, false, NULL, text, sizeof(text));
	status = status_of(a->obj);
	if (!ret) {
		set_state(a, status, "Done", text);
		return note(a, status, true, "Done", text, "Normal", e);
	}
	if (may_pass(ret))
		return note(a, status, false, "Waiting", text, "Warning", e);
	set_state(a, status, "Refused", text);
	snprintf(text + strlen(text), sizeof(text) - strlen(text),
		"; it is tried again when this object is changed");
	return note(a, status, false, "Refused", text, "Warning", e);
}

static int run(const struct asked *a, struct err *e)
{
	const char *confirm = json_get_string(json_path(a->obj, "spec", "resync"), "confirm", "");
	char text[1500], id[VOLUME_RESYNC_ID_SIZE];
	struct json *answer = NULL;
	int ret = tell(a, true, &answer, text, sizeof(text));

	if (ret)
		return note(a, status_of(a->obj), false, may_pass(ret) ? "Waiting" : "Refused",
			text, NULL, e);
	volume_resync_id(a->entry, answer, id);
	if (strcmp(id, confirm) != 0)
		ret = note_preview(a, answer, text, "NotConfirmed",
			"something was written here since the preview that was confirmed: stop "
			"what uses the volume here, look at status.resync, and confirm the id that "
			"is there now",
			e);
	json_free(answer);
	return strcmp(id, confirm) != 0 ? ret : give_up(a, e);
}

static int forget(const struct asked *a, struct err *e)
{
	struct json *status = status_of(a->obj);
	bool done = condition_is(status, "Resync", "Done");

	json_remove(status, "resync");
	if (!done)
		condition_set(
			status, a->obj, "Resync", false, "NotAsked", "spec.resync is not there");
	return status_write(a->c, &kind_tandem_volume, a->obj, status, e);
}

int resync_look(struct kube_control *c, struct json *obj, const struct json *entry,
	const char *node, struct err *e)
{
	struct asked a = {.c = c,
		.obj = obj,
		.entry = entry,
		.node = node,
		.from = json_get_string(json_path(obj, "spec", "resync"), "fromDomain", "")};
	struct json *status;
	char text[300];

	switch (volume_resync_decide(obj, entry)) {
	case VOLUME_RESYNC_FORGET:
		return forget(&a, e);
	case VOLUME_RESYNC_NO_FORK:
		snprintf(text, sizeof(text),
			"the replica here knows of no fork with '%.63s', or does not reach it",
			a.from);
		return note(&a, status_of(obj), false, "NoFork", text, NULL, e);
	case VOLUME_RESYNC_PREVIEW:
		return preview(&a, e);
	case VOLUME_RESYNC_UNCONFIRMED:
		return note(&a, status_of(obj), false, "NotConfirmed",
			"spec.resync.confirm is not the id in status.resync: look there at what "
			"would be given up, and confirm that",
			"Warning", e);
	case VOLUME_RESYNC_RUN:
		return run(&a, e);
	case VOLUME_RESYNC_DONE:
		status = status_of(obj);
		set_state(&a, status, "Done", "the replica here has begun again");
		return note(
			&a, status, true, "Done", "the replica here has begun again", "Normal", e);
	default:
		return 0;
	}
}

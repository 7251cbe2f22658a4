/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volume objects. Each look is from the objects and from what the nodes report; making and removing a volume may be
 * repeated, so that a process that was killed meanwhile is no matter.
 *
 * Failure modes: what a node's agent cannot do is in the object's message, and is tried again at each look: the other
 * site may come back, or the disk get room. What it says is wrong is tried again when the spec was changed.
 */
#include "kube_volume.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kube_nodes.h"
#include "kube_resync.h"
#include "log.h"
#include "volume_object.h"

#define KEY_MIRROR TANDEM_KEY "mirrors-volume" /* label of an object that the agent made */
#define KEY_GUARD TANDEM_KEY "protect" /* finalizer */
#define KEY_FORCE TANDEM_KEY "force-delete" /* annotation: the finalizer goes in any case */
#define MAKE_MS 120000u

const struct kube_kind kind_tandem_volume =
	KUBE_KIND("tandemfs.dev", "v1alpha1", "Volume", "volumes", false);

static const struct kube_kind kind_definition = KUBE_KIND("apiextensions.k8s.io", "v1",
	"CustomResourceDefinition", "customresourcedefinitions", false);

static bool has_guard(const struct json *obj)
{
	const struct json *all = json_get(json_get(obj, "metadata"), "finalizers");

	for (unsigned i = 0; i < json_length(all); i++)
		if (!strcmp(json_string_at(all, i, ""), KEY_GUARD))
			return true;
	return false;
}

static bool all_answer(const struct kube_control *c)
{
	for (unsigned i = 0; i < c->nnodes; i++)
		if (!c->nodes[i].status)
			return false;
	return c->nnodes > 0;
}

/* Names of volumes may have what names of objects may not. */
static bool is_object_name(const char *name)
{
	size_t n = strlen(name);

	return n && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == n && name[0] != '-' &&
	       name[n - 1] != '-';
}

static int mirror(struct kube_control *c, const char *name, const struct json *entry, struct err *e)
{
	const struct json *s = json_get(entry, "status");
	int64_t size = json_get_int(json_get(s, "space"), "size", 0);
	struct json *obj, *meta, *labels, *spec;
	int ret;

	if (size <= 0 || !is_object_name(name)) /* nothing is known of it yet */
		return 0;
	obj = json_object();
	meta = json_object();
	labels = json_object();
	spec = json_object();
	json_set_string(obj, "apiVersion", "tandemfs.dev/v1alpha1");
	json_set_string(obj, "kind", "Volume");
	json_set_string(labels, KEY_MIRROR, "true");
	json_set_string(meta, "name", name);
	json_set(meta, "labels", labels);
	json_set(obj, "metadata", meta);
	json_set_int(spec, "size", size);
	json_set_string(spec, "ack", json_get_string(s, "ack", "op"));
	json_set(obj, "spec", spec);
	ret = kube_create(c->kube, &kind_tandem_volume, obj, NULL, e);
	json_free(obj);
	if (ret == -EEXIST)
		return 0;
	if (!ret)
		log_info("Volume '%s': mirrors the volume", name);
	return ret;
}

static struct json *status_of(const struct json *obj)
{
	struct json *status = json_copy(json_get(obj, "status"));

	return status ? status : json_object();
}

/* Where the volume has another size or ack than the object that mirrors it. */
static int mirror_spec(
	struct kube_control *c, struct json *obj, const struct json *s, struct err *e)
{
	const struct json *spec = json_get(obj, "spec");
	const char *ack = json_get_string(s, "ack", "op");
	int64_t size = json_get_int(json_get(s, "space"), "size", 0);
	struct json *patch, *change, *there = NULL;
	int ret;

	if (!size || (volume_quantity(spec, "size") == size &&
			     !strcmp(json_get_string(spec, "ack", ""), ack)))
		return 0;
	patch = json_object();
	change = json_object();
	json_set_int(change, "size", size);
	json_set_string(change, "ack", ack);
	json_set(patch, "spec", change);
	ret = kube_patch(
		c->kube, &kind_tandem_volume, NULL, meta_of(obj, "name"), NULL, patch, &there, e);
	json_free(patch);
	if (ret)
		return ret;
	json_set(obj, "metadata", json_copy(json_get(there, "metadata")));
	json_set(obj, "spec", json_copy(json_get(there, "spec")));
	json_free(there);
	return 0;
}

static int tell(struct kube_control *c, struct json *obj, const struct json *entry,
	const char *node, bool ours, struct err *e)
{
	struct json *status = status_of(obj);
	const char *message, *phase;
	bool ready;
	int ret = ours ? mirror_spec(c, obj, json_get(entry, "status"), e) : 0;

	if (ret) {
		json_free(status);
		return ret;
	}
	volume_status(status, entry, node);
	phase = json_get_string(status, "phase", "");
	message = json_get_string(status, "message", "");
	ready = !strcmp(phase, "Ready");
	condition_set(status, obj, "Ready", ready || !strcmp(phase, "Degraded"),
		ready ? "AllInSync" : phase, *message ? message : "all is well");
	condition_set(status, obj, "InSync", ready, ready ? "AllInSync" : phase,
		ready ? "every replica holds everything that was acknowledged"
		      : (*message ? message : "not every replica is in sync"));
	return status_write(c, &kind_tandem_volume, obj, status, e);
}

static int guard(struct kube_control *c, struct json *obj, bool on, struct err *e)
{
	const struct json *old = json_get(json_get(obj, "metadata"), "finalizers");
	struct json *patch = json_object(), *meta = json_object(), *list = json_array();
	int ret;

	for (unsigned i = 0; i < json_length(old); i++)
		if (strcmp(json_string_at(old, i, ""), KEY_GUARD) != 0)
			json_append_string(list, json_string_at(old, i, ""));
	if (on)
		json_append_string(list, KEY_GUARD);
	json_set_string(meta, "resourceVersion", meta_of(obj, "resourceVersion"));
	json_set(meta, "finalizers", list);
	json_set(patch, "metadata", meta);
	ret = kube_patch(
		c->kube, &kind_tandem_volume, NULL, meta_of(obj, "name"), NULL, patch, NULL, e);
	json_free(patch);
	return ret;
}

/* Says why not, in the object; the next look tries again. */
static int say(struct kube_control *c, struct json *obj, const char *phase, const char *reason,
	const char *text, struct err *e)
{
	struct json *status = status_of(obj);
	bool news = strcmp(json_get_string(status, "message", ""), text) != 0;

	json_set_string(status, "phase", phase);
	json_set_string(status, "message", text);
	condition_set(status, obj, "Ready", false, reason, text);
	if (news)
		kube_event(c->kube, obj, "Warning", reason, text);
	return status_write(c, &kind_tandem_volume, obj, status, e);
}

/* The node that the spec names, or the one with the fewest volumes. */
static const struct kube_node *choose_node(const struct kube_control *c, const struct json *spec)
{
	const struct json *wanted = json_get(spec, "replicas");
	const struct kube_node *best = NULL;
	unsigned fewest = 0;

	for (unsigned i = 0; i < json_length(wanted); i++) {
		const char *node = json_get_string(json_at(wanted, i), "node", "");

		if (*node && !strcmp(json_get_string(json_at(wanted, i), "domain", ""),
				     c->config->domain))
			return node_find(c, node);
	}
	for (unsigned i = 0; i < c->nnodes; i++) {
		unsigned n = json_length(json_get(c->nodes[i].status, "volumes"));

		if (!c->nodes[i].ready || !c->nodes[i].status || (best && n >= fewest))
			continue;
		best = &c->nodes[i];
		fewest = n;
	}
	return best;
}

/* 0, or -errno with the words of the node's agent; -EIO it says nothing, -ECANCELED. */
static int ask(struct kube_control *c, const char *node, const char *path, const struct json *body,
	struct err *e)
{
	struct json *answer = NULL;
	unsigned status;
	int ret = node_call(c, node, path, body, MAKE_MS, &status, &answer, e);

	if (ret && ret != -ECANCELED)
		ret = e->code = -EIO;
	else if (!ret && status != 200)
		ret = err_set(e, (int)json_get_int(answer, "code", -EPROTO), "%.240s",
			json_get_string(answer, "error",
				json_get_string(answer, "text", "the node's agent refuses")));
	json_free(answer);
	return ret;
}

static int make(struct kube_control *c, struct json *obj, struct err *e)
{
	const struct json *spec = json_get(obj, "spec");
	const struct kube_node *node = choose_node(c, spec);
	const char *name = meta_of(obj, "name");
	struct json *body;
	struct err why = {0};
	int ret;

	/* What was refused is refused again until it is changed. */
	if (!strcmp(json_get_string(json_get(obj, "status"), "phase", ""), "Failed") &&
		json_get_int(json_get(obj, "status"), "observedGeneration", 0) ==
			json_get_int(json_get(obj, "metadata"), "generation", 0))
		return 0;
	if (!node)
		return say(c, obj, "Pending", "NoNode", "no node of this site can take it", e);
	body = volume_request(spec, name, c->config->domain);
	ret = ask(c, node->name, "/v1/volumes", body, &why);
	json_free(body);
	if (ret == -ECANCELED)
		return err_set(e, ret, "%s", why.msg);
	if (ret)
		return say(c, obj, ret == -EINVAL ? "Failed" : "Pending", "NotMade", why.msg, e);
	log_info("Volume '%s': made on node '%s'", name, node->name);
	kube_event(c->kube, obj, "Normal", "VolumeMade", "both replicas are made");
	return 0;
}

static int say_not_deleted(
	struct kube_control *c, struct json *obj, const struct err *why, struct err *e)
{
	char text[700];

	snprintf(text, sizeof(text),
		volume_peer_is_silent(why->code)
			? "%s. Where the other site is gone for ever: kubectl annotate "
			  "volumes.tandemfs.dev %.63s " KEY_DELETE_LOCAL
			  "=true, and the replica of this site is removed alone"
			: "%s%.0s",
		why->msg, meta_of(obj, "name"));
	return say(c, obj, "Deleting", "NotDeleted", text, e);
}

static int remove_volume(
	struct kube_control *c, struct json *obj, const char *node, bool local, struct err *e)
{
	struct json *body = json_object();
	char path[VOLUME_NAME_MAX + 64];
	struct err why = {0};
	int ret;

	if (local)
		json_set_bool(body, "local", true);
	snprintf(path, sizeof(path), "/v1/volumes/%.63s/delete", meta_of(obj, "name"));
	ret = ask(c, node, path, body, &why);
	json_free(body);
	if (ret == -ECANCELED)
		return err_set(e, ret, "%s", why.msg);
	if (ret && ret != -ENOENT)
		return say_not_deleted(c, obj, &why, e);
	if (local)
		log_info("Volume '%s': its replica is removed here, and nowhere else",
			meta_of(obj, "name"));
	return guard(c, obj, false, e);
}

/* A spec of somebody that asks for more than there is, at the side that is active. True: it was said why not. */
static bool grow(struct kube_control *c, struct json *obj, const struct json *entry,
	const char *node, struct err *e)
{
	const struct json *s = json_get(entry, "status");
	int64_t wanted = volume_quantity(json_get(obj, "spec"), "size");
	char path[VOLUME_NAME_MAX + 64];
	struct json *body;
	struct err why = {0};
	int ret;

	if (strcmp(json_get_string(s, "role", ""), "active") != 0 ||
		wanted <= json_get_int(json_get(s, "space"), "size", INT64_MAX))
		return false;
	snprintf(path, sizeof(path), "/v1/volumes/%.63s/resize", meta_of(obj, "name"));
	body = json_object();
	json_set_int(body, "size", wanted);
	ret = ask(c, node, path, body, &why);
	json_free(body);
	if (!ret)
		kube_event(c->kube, obj, "Normal", "VolumeGrown", "it has the size of its spec");
	return ret && ret != -ECANCELED && (say(c, obj, "Degraded", "NotGrown", why.msg, e), true);
}

/*
 * Does the kind go, and all its objects with it? The API marks the kind before it deletes the first of them, so that an
 * object that is seen on its way out for this reason is never seen before the mark.
 */
static int kind_goes(struct kube_control *c, bool *ret_goes, struct err *e)
{
	struct json *kind = NULL;
	int ret = kube_get(c->kube, &kind_definition, NULL, "volumes.tandemfs.dev", &kind, e);

	*ret_goes = ret == -ENOENT || json_path(kind, "metadata", "deletionTimestamp");
	json_free(kind);
	return ret == -ENOENT ? 0 : ret;
}

static const char *active_elsewhere(const struct kube_control *c, const struct json *entry)
{
	const char *active = json_get_string(json_get(entry, "status"), "active_domain", "");

	return strcmp(active, c->config->domain) ? active : "";
}

static int say_elsewhere(
	struct kube_control *c, struct json *obj, const struct json *entry, struct err *e)
{
	char text[600];

	snprintf(text, sizeof(text),
		"it is active at '%.63s', and in use there: nothing is removed. Delete it there, "
		"or "
		"let this object go without the data: kubectl annotate volumes.tandemfs.dev "
		"%.63s " KEY_FORCE "=true. Where that site is gone for ever, " KEY_DELETE_LOCAL
		"=true "
		"in its place removes the replica of this one",
		active_elsewhere(c, entry), meta_of(obj, "name"));
	return say(c, obj, "Deleting", "ActiveElsewhere", text, e);
}

static int look(struct kube_control *c, const char *name, struct json *obj, struct err *e)
{
	const struct json *entry = NULL, *meta = json_get(obj, "metadata");
	const struct kube_node *node = node_of_volume(c, name, &entry);
	struct volume_seen s = {
		.object = obj != NULL,
		.ours = json_get_string(json_get(meta, "labels"), KEY_MIRROR, NULL) != NULL,
		.deleting = json_get(meta, "deletionTimestamp") != NULL,
		.guarded = has_guard(obj),
		.known = json_get_string(json_get(obj, "status"), "uuid", "")[0],
		.removes = !strcmp(
			json_get_string(json_get(obj, "spec"), "reclaimPolicy", ""), "Delete"),
		.forced = !strcmp(
			json_get_string(json_get(meta, "annotations"), KEY_FORCE, ""), "true"),
		.local = !strcmp(
			json_get_string(json_get(meta, "annotations"), KEY_DELETE_LOCAL, ""),
			"true"),
		.volume = node != NULL,
		.elsewhere = active_elsewhere(c, entry)[0],
		.all = all_answer(c),
	};

	if (s.deleting && s.guarded && s.removes && kind_goes(c, &s.kind_goes, e))
		return e->code;
	switch (volume_decide(&s)) {
	case VOLUME_MIRROR:
		return mirror(c, name, entry, e);
	case VOLUME_TELL:
		if (!s.ours && grow(c, obj, entry, node->name, e))
			return e->code;
		return resync_look(c, obj, entry, node->name, e)
			       ? e->code
			       : tell(c, obj, entry, node->name, s.ours, e);
	case VOLUME_FORGET:
		log_info("Volume '%s': its volume is gone", name);
		return kube_delete(
			c->kube, &kind_tandem_volume, NULL, name, meta_of(obj, "uid"), e);
	case VOLUME_GUARD:
		return guard(c, obj, true, e);
	case VOLUME_RELEASE:
		return guard(c, obj, false, e);
	case VOLUME_MAKE:
		return make(c, obj, e);
	case VOLUME_REMOVE:
	case VOLUME_REMOVE_LOCAL:
		return remove_volume(c, obj, node->name, s.local, e);
	case VOLUME_ELSEWHERE:
		return say_elsewhere(c, obj, entry, e);
	case VOLUME_LOST:
		return say(c, obj, "Failed", "VolumeGone",
			"no node of this site has the volume any more; it is not made again under "
			"this object: delete it",
			e);
	default:
		return 0;
	}
}

static bool is_listed(const struct json *objects, const char *name)
{
	for (unsigned i = 0; i < json_length(objects); i++)
		if (!strcmp(meta_of(json_at(objects, i), "name"), name))
			return true;
	return false;
}

/* What concerns one object is no error of the whole. */
static void look_and_log(struct kube_control *c, const char *name, struct json *obj)
{
	struct err e = {0};

	if (look(c, name, obj, &e) && e.code != -EBUSY && e.code != -ECANCELED)
		log_warn("Volume '%s': %s", name, e.msg);
}

int volumes_look(struct kube_control *c, struct err *e)
{
	struct json *list = json_array();
	int ret = nodes_look(c, NODES_MS_CALM, e);

	if (!ret)
		ret = kube_list(c->kube, &kind_tandem_volume, NULL, NULL, list, NULL, e);
	for (unsigned i = 0; i < json_length(list) && !ret && lease_hold(c); i++)
		look_and_log(c, meta_of(json_at(list, i), "name"), json_at(list, i));
	for (unsigned i = 0; i < c->nnodes && !ret; i++) {
		const struct json *all = json_get(c->nodes[i].status, "volumes");

		for (unsigned k = 0; k < json_length(all) && lease_hold(c); k++) {
			const char *name = json_get_string(json_at(all, k), "volume", "");

			if (!is_listed(list, name))
				look_and_log(c, name, NULL);
		}
	}
	json_free(list);
	return ret;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Carries out node_mark.h. Since when a node's engine is not ready stands in an annotation of the node, so that another
 * process goes on counting. A patch says which version of the node it is for: somebody else's taints are never lost.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kube_domain.h"
#include "kube_nodes.h"
#include "log.h"
#include "node_mark.h"

#define KEY_TAINT TANDEM_KEY "not-ready"
#define KEY_READY TANDEM_KEY "ready"
#define KEY_SINCE TANDEM_KEY "not-ready-since"

static const struct kube_kind kind_node = KUBE_KIND("", "v1", "Node", "nodes", false);

/* Those that are not ours; *ret_ours: was there one of ours? */
static struct json *other_taints(const struct json *node, bool *ret_ours)
{
	const struct json *taints = json_get(json_get(node, "spec"), "taints");
	struct json *others = json_array();

	*ret_ours = false;
	for (unsigned i = 0; i < json_length(taints); i++) {
		const struct json *t = json_at(taints, i);

		if (!strcmp(json_get_string(t, "key", ""), KEY_TAINT))
			*ret_ours = true;
		else
			json_append(others, json_copy(t));
	}
	return others;
}

/* Takes taints. */
static struct json *patch_of(
	const struct json *node, const struct mark_action *a, struct json *taints)
{
	struct json *patch = json_object(), *meta = json_object(), *labels = json_object(),
		    *notes = json_object(), *spec = json_object();
	char now[21];

	json_set_string(meta, "resourceVersion", meta_of(node, "resourceVersion"));
	if (a->label)
		json_set_string(labels, KEY_READY, a->label);
	kube_time(now_s(), now);
	if (a->note || a->forget)
		json_set_string(notes, KEY_SINCE, a->note ? now : NULL);
	json_set(meta, "labels", labels);
	json_set(meta, "annotations", notes);
	json_set(patch, "metadata", meta);
	if (a->untaint)
		json_set(spec, "taints", taints);
	else
		json_free(taints);
	json_set(patch, "spec", spec);
	return patch;
}

static void mark(struct kube_control *c, const struct json *node)
{
	const char *name = meta_of(node, "name"), *since;
	const struct kube_node *engine = node_find(c, name);
	const struct json *meta = json_get(node, "metadata");
	struct mark_seen seen = {.ready = engine && engine->ready,
		.label = json_get_string(json_get(meta, "labels"), KEY_READY, NULL)};
	struct mark_action a;
	struct json *patch, *taints = other_taints(node, &seen.tainted);
	struct err e = {0};

	since = json_get_string(json_get(meta, "annotations"), KEY_SINCE, NULL);
	seen.unready_s = since ? MAX(kube_time_parse(since), 1) : 0;
	a = mark_decide(&seen, now_s());
	if (!a.untaint && !a.label && !a.note && !a.forget) {
		json_free(taints);
		return;
	}
	patch = patch_of(node, &a, taints);
	if (kube_patch(c->kube, &kind_node, NULL, name, NULL, patch, NULL, &e)) {
		if (e.code != -EBUSY) /* somebody else changed it: next time */
			log_warn("node '%s': %s", name, e.msg);
	} else if (a.label) {
		log_info("node '%s': " KEY_READY "=%s%s", name, a.label,
			a.untaint ? ", and its taint is off" : "");
		kube_event(c->kube, node, strcmp(a.label, "true") ? "Warning" : "Normal",
			strcmp(a.label, "true") ? "StorageGone" : "StorageReady",
			strcmp(a.label, "true")
				? "the engine of tandemfs has not been ready for a minute: its pod "
				  "in the namespace of tandemfs says why"
				: "the engine of tandemfs is ready");
	}
	json_free(patch);
}

int marks_look(struct kube_control *c, struct err *e)
{
	struct json *nodes = json_array();
	int ret = kube_list(c->kube, &kind_node, NULL, NULL, nodes, NULL, e);

	for (unsigned i = 0; i < json_length(nodes) && !ret && lease_hold(c); i++)
		mark(c, json_at(nodes, i));
	json_free(nodes);
	return ret;
}

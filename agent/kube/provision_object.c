/* SPDX-License-Identifier: Apache-2.0 */
/* The objects and patches of provisioning. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "provision.h"

static struct json *object_with(const char *key, struct json *value)
{
	struct json *j = json_object();

	json_set(j, key, value);
	return j;
}

static struct json *affinity_of(const char *hostname)
{
	struct json *values = json_array(), *expression = json_object(),
		    *expressions = json_array(), *terms = json_array();

	json_append_string(values, hostname);
	json_set_string(expression, "key", "kubernetes.io/hostname");
	json_set_string(expression, "operator", "In");
	json_set(expression, "values", values);
	json_append(expressions, expression);
	json_append(terms, object_with("matchExpressions", expressions));
	return object_with("required", object_with("nodeSelectorTerms", terms));
}

static struct json *metadata_of(const struct provision_step *s, const char *domain, bool protect)
{
	struct json *m = json_object(), *labels = json_object(), *annotations = json_object(),
		    *finalizers = json_array();

	json_set_string(m, "name", s->volume);
	json_set_string(labels, KEY_VOLUME, s->volume);
	json_set(m, "labels", labels);
	json_set_string(annotations, "pv.kubernetes.io/provisioned-by", PROVISIONER);
	json_set_string(annotations, KEY_NODE, s->node);
	json_set_string(annotations, KEY_ORIGIN, domain);
	json_set_string(
		annotations, TANDEM_KEY "volume", s->volume); /* what a Failover looks for */
	json_set(m, "annotations", annotations);
	if (protect)
		json_append_string(finalizers, FINALIZER_VOLUME);
	json_set(m, "finalizers", finalizers);
	return m;
}

static struct json *claim_ref(const struct json *claim)
{
	struct json *r = json_object();

	json_set_string(r, "apiVersion", "v1");
	json_set_string(r, "kind", "PersistentVolumeClaim");
	json_set_string(r, "namespace", meta_of(claim, "namespace"));
	json_set_string(r, "name", meta_of(claim, "name"));
	json_set_string(r, "uid", meta_of(claim, "uid"));
	return r;
}

struct json *provision_new_volume(const struct json *claim, const struct json *class,
	const struct provision_step *s, const char *domain, const char *hostname)
{
	const char *policy = json_get_string(class, "reclaimPolicy", "Delete");
	struct json *pv = json_object(), *spec = json_object(), *capacity = json_object(),
		    *path = json_object();
	char size[32];

	provision_quantity(s->size, size, sizeof(size));
	json_set_string(pv, "apiVersion", "v1");
	json_set_string(pv, "kind", "PersistentVolume");
	json_set(pv, "metadata", metadata_of(s, domain, !strcmp(policy, "Delete")));
	json_set_string(capacity, "storage", size);
	json_set(spec, "capacity", capacity);
	json_set(spec, "accessModes", json_copy(json_path(claim, "spec", "accessModes")));
	json_set_string(spec, "persistentVolumeReclaimPolicy", policy);
	json_set_string(spec, "storageClassName", meta_of(class, "name"));
	json_set_string(spec, "volumeMode", "Filesystem");
	json_set_string(path, "path", s->path);
	json_set_string(path, "type", "Directory"); /* no mount, no pod */
	json_set(spec, "hostPath", path);
	json_set(spec, "claimRef", claim_ref(claim));
	json_set(spec, "nodeAffinity", affinity_of(hostname));
	json_set(pv, "spec", spec);
	return pv;
}

struct json *provision_affinity(const char *node, const char *hostname)
{
	struct json *annotations = json_object(),
		    *patch =
			    object_with("spec", object_with("nodeAffinity", affinity_of(hostname)));

	json_set_string(annotations, KEY_NODE, node);
	json_set(patch, "metadata", object_with("annotations", annotations));
	return patch;
}

struct json *provision_finalizers(const struct json *obj, const char *add, const char *remove)
{
	const struct json *have = json_path(obj, "metadata", "finalizers");
	struct json *list = json_array(), *m = json_object();

	for (unsigned i = 0; i < json_length(have); i++)
		if (!remove || strcmp(json_string_at(have, i, ""), remove) != 0)
			json_append_string(list, json_string_at(have, i, ""));
	if (add && !provision_has_finalizer(obj, add))
		json_append_string(list, add);
	json_set(m, "finalizers", list);
	/* The list is written as a whole: never over one that somebody changed meanwhile. */
	json_set_string(m, "resourceVersion", meta_of(obj, "resourceVersion"));
	return object_with("metadata", m);
}

/* Claims are bound to it by their name: the uid of one that is gone keeps all others off. */
static struct json *free_ref(void)
{
	struct json *ref = json_object();

	json_set_string(ref, "uid", NULL);
	json_set_string(ref, "resourceVersion", NULL);
	return ref;
}

/*
 * A copy that becomes the one whose claim removes the data needs what one has that was made here: our finalizer, and the
 * word that it is a provisioner's outside of Kubernetes' own controller, which removes nothing then.
 */
struct json *provision_role(const struct json *pv, const struct provision_step *s)
{
	const char *policy = json_get_string(
			   json_get(pv, "spec"), "persistentVolumeReclaimPolicy", "Retain"),
		   *aside = annotation_of(pv, KEY_RECLAIM);
	bool active = s->what == PROVISION_ACTIVE, removes = !strcmp(policy, "Delete");
	struct json *patch = provision_finalizers(pv, active ? FINALIZER_VOLUME : NULL, NULL),
		    *spec = json_object(), *annotations = json_object();
	char epoch[24];

	if (active) {
		removes = removes || (aside && !strcmp(aside, "Delete"));
		json_set_string(spec, "persistentVolumeReclaimPolicy", removes ? "Delete" : policy);
		json_set_string(annotations, KEY_RECLAIM, NULL);
		json_set_string(annotations, "pv.kubernetes.io/provisioned-by", PROVISIONER);
		snprintf(epoch, sizeof(epoch), "%" PRIu64, s->epoch);
		json_set_string(annotations, KEY_EPOCH, s->epoch ? epoch : NULL);
	} else if (s->what != PROVISION_REBIND) {
		json_set_string(spec, "persistentVolumeReclaimPolicy", "Retain");
		if (removes)
			json_set_string(annotations, KEY_RECLAIM, policy);
	}
	if (s->what == PROVISION_KEEP || s->what == PROVISION_REBIND)
		json_set(spec, "claimRef", free_ref());
	json_set(json_get(patch, "metadata"), "annotations", annotations);
	json_set(patch, "spec", spec);
	return patch;
}

struct json *provision_order_body(const struct provision_step *s)
{
	struct json *j = json_object();

	json_set_string(j, "volume", s->volume);
	json_set_int(j, "size", (int64_t)s->order.size);
	json_set_string(j, "ack", s->order.ack);
	json_set_string(j, "owner", s->order.owner);
	json_set_string(j, "mode", s->order.mode);
	json_set_string(j, "directory", PROVISION_DIRECTORY);
	json_set_bool(j, "holder", true);
	return j;
}

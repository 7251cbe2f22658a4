/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What of an object goes over to the other cluster. Metadata is reduced to name, namespace, labels and
 * annotations; the status stays behind; and each kind loses what its own cluster gave it: addresses, ports,
 * tokens, nodes. Volumes keep their binding by name, never by uid.
 *
 * Annotations of controllers that describe this cluster (a revision, a node that was selected) stay behind
 * too, and kubectl's last-applied-configuration: beside server-side apply it would make a later `kubectl
 * apply` there compare with a past that cluster never had.
 */
#include "migrate.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *const own_annotations[] = {"kubectl.kubernetes.io/last-applied-configuration",
	"deployment.kubernetes.io/revision", "pv.kubernetes.io/bind-completed",
	"pv.kubernetes.io/bound-by-controller", "pv.kubernetes.io/provisioned-by",
	"volume.kubernetes.io/selected-node", "volume.beta.kubernetes.io/storage-provisioner",
	"volume.kubernetes.io/storage-provisioner", "control-plane.alpha.kubernetes.io/leader",
	"deprecated.daemonset.template.generation",
	"endpoints.kubernetes.io/last-change-trigger-time", "kubernetes.io/service-account.uid",
	KEY_HASH, KEY_SOURCE, TANDEM_KEY "selected-node", TANDEM_KEY "active-epoch",
	KEY_DELETE_LOCAL};

static const char *there(const struct migrate_options *o, const char *ns)
{
	const char *to = o->namespace_to ? o->namespace_to(o->ctx, ns) : NULL;

	return to ? to : ns;
}

/* A member "namespace" of something, by the mapping. */
static void map_namespace(const struct migrate_options *o, struct json *j)
{
	const char *ns = json_get_string(j, "namespace", NULL);
	char name[256];

	if (!ns)
		return;
	snprintf(name, sizeof(name), "%s", there(o, ns)); /* ns ends with the member that it is */
	json_set_string(j, "namespace", name);
}

static struct json *new_metadata(const struct migrate_options *o, const struct json *old)
{
	struct json *m = json_object(), *annotations = json_copy(json_get(old, "annotations"));
	const char *ns = json_get_string(old, "namespace", NULL);

	json_set_string(m, "name", json_get_string(old, "name", ""));
	if (ns)
		json_set_string(m, "namespace", there(o, ns));
	if (json_get(old, "labels"))
		json_set(m, "labels", json_copy(json_get(old, "labels")));
	if (!annotations)
		annotations = json_object();
	for (unsigned i = 0; i < ARRAY_SIZE(own_annotations); i++)
		json_remove(annotations, own_annotations[i]);
	if (ns && strcmp(there(o, ns), ns) != 0)
		json_set_string(annotations, KEY_SOURCE, ns);
	json_set(m, "annotations", annotations);
	return m;
}

/* --- by kind --- */

static void prepare_service(const struct migrate_options *o, struct json *obj)
{
	struct json *spec = json_get(obj, "spec"), *ports = json_get(spec, "ports");
	bool headless = !strcmp(json_get_string(spec, "clusterIP", ""), "None");

	if (!headless) {
		json_remove(spec, "clusterIP");
		json_remove(spec, "clusterIPs");
		json_remove(spec, "ipFamilies");
	}
	json_remove(spec, "loadBalancerIP");
	if (o->keep_node_ports)
		return;
	json_remove(spec, "healthCheckNodePort");
	for (unsigned i = 0; i < json_length(ports); i++)
		json_remove(json_at(ports, i), "nodePort");
}

static void prepare_endpoints(const struct migrate_options *o, struct json *obj)
{
	struct json *subsets = json_get(obj, "subsets");

	for (unsigned i = 0; i < json_length(subsets); i++)
		for (unsigned k = 0; k < 2; k++) {
			struct json *list = json_get(
				json_at(subsets, i), k ? "notReadyAddresses" : "addresses");

			for (unsigned n = 0; n < json_length(list); n++)
				json_remove(json_at(list, n), "nodeName");
		}
}

/* Made by a person for an account: the token in it is of this cluster, the wish for one is not. */
static void prepare_secret(const struct migrate_options *o, struct json *obj)
{
	if (strcmp(json_get_string(obj, "type", ""), "kubernetes.io/service-account-token"))
		return;
	json_remove(obj, "data");
	json_remove(obj, "stringData");
}

static void prepare_account(const struct migrate_options *o, struct json *obj)
{
	json_remove(obj, "secrets"); /* tokens; the wish to pull images stays */
}

/* Nodes have other names there; a volume that may be on any of them says nothing here. */
static void forget_nodes(struct json *spec)
{
	const struct json *terms = json_path(spec, "nodeAffinity", "required", "nodeSelectorTerms");

	for (unsigned i = 0; i < json_length(terms); i++) {
		const struct json *by = json_get(json_at(terms, i), "matchExpressions");

		for (unsigned n = 0; n < json_length(by); n++)
			if (!strcmp(json_get_string(json_at(by, n), "key", ""),
				    "kubernetes.io/hostname")) {
				json_remove(spec, "nodeAffinity");
				return;
			}
	}
}

/* Bound by name from the beginning; never deleted with the claim there: the data is the other side's too. */
static void prepare_volume(const struct migrate_options *o, struct json *obj)
{
	struct json *spec = json_get(obj, "spec"), *claim = json_get(spec, "claimRef");
	struct json *annotations = json_path(obj, "metadata", "annotations");
	const char *policy = json_get_string(spec, "persistentVolumeReclaimPolicy", "Retain");

	/* Which node has the replica there, that cluster's own agent says (provision.h). */
	if (json_get_string(json_path(obj, "metadata", "labels"), TANDEM_KEY "volume-id", NULL))
		json_remove(spec, "nodeAffinity");
	if (claim) {
		struct json *by_name = json_object();

		json_set_string(by_name, "apiVersion", "v1");
		json_set_string(by_name, "kind", "PersistentVolumeClaim");
		json_set_string(by_name, "namespace",
			there(o, json_get_string(claim, "namespace", "default")));
		json_set_string(by_name, "name", json_get_string(claim, "name", ""));
		json_set(spec, "claimRef", by_name);
	}
	if (!json_get(annotations, KEY_RECLAIM))
		json_set_string(annotations, KEY_RECLAIM, policy);
	json_set_string(spec, "persistentVolumeReclaimPolicy", "Retain");
	forget_nodes(spec);
}

static void prepare_claim(const struct migrate_options *o, struct json *obj)
{
	struct json *spec = json_get(obj, "spec");

	json_remove(spec, "dataSource"); /* it has its content already */
	json_remove(spec, "dataSourceRef");
}

static void prepare_binding(const struct migrate_options *o, struct json *obj)
{
	struct json *subjects = json_get(obj, "subjects"), *kept = json_array();
	bool cluster = kind_is(obj, "ClusterRoleBinding");

	for (unsigned i = 0; i < json_length(subjects); i++) {
		struct json *s = json_copy(json_at(subjects, i));
		const char *ns = json_get_string(s, "namespace", NULL);

		if (cluster &&
			(!ns || (o->namespace_migrates && !o->namespace_migrates(o->ctx, ns)))) {
			json_free(s);
			continue;
		}
		map_namespace(o, s);
		json_append(kept, s);
	}
	json_set(obj, "subjects", kept);
}

static void prepare_webhooks(const struct migrate_options *o, struct json *obj)
{
	struct json *hooks = json_get(obj, "webhooks");

	for (unsigned i = 0; i < json_length(hooks); i++)
		map_namespace(o, json_path(json_at(hooks, i), "clientConfig", "service"));
}

/* The selector is made for each job anew. */
static void prepare_job(const struct migrate_options *o, struct json *obj)
{
	static const char *const made[] = {"controller-uid", "batch.kubernetes.io/controller-uid"};
	struct json *spec = json_get(obj, "spec");
	struct json *labels[] = {json_path(obj, "metadata", "labels"),
		json_path(spec, "template", "metadata", "labels")};

	if (!json_get_bool(spec, "manualSelector", false))
		json_remove(spec, "selector");
	for (unsigned i = 0; i < ARRAY_SIZE(labels) * ARRAY_SIZE(made); i++)
		json_remove(labels[i / ARRAY_SIZE(made)], made[i % ARRAY_SIZE(made)]);
}

/* Its name is the caller's matter: by the mapping. */
static void prepare_namespace(const struct migrate_options *o, struct json *obj)
{
	static const char *const own[] = {"openshift.io/sa.scc.mcs",
		"openshift.io/sa.scc.supplemental-groups", "openshift.io/sa.scc.uid-range"};

	json_remove(obj, "spec");
	json_remove(json_path(obj, "metadata", "labels"), "kubernetes.io/metadata.name");
	for (unsigned i = 0; i < ARRAY_SIZE(own); i++)
		json_remove(json_path(obj, "metadata", "annotations"), own[i]);
}

/* The rules of an aggregated one are its controller's. */
static void prepare_cluster_role(const struct migrate_options *o, struct json *obj)
{
	if (json_get(obj, "aggregationRule"))
		json_remove(obj, "rules");
}

/* Which one pods without a class get is each cluster's choice. */
static void prepare_priority(const struct migrate_options *o, struct json *obj)
{
	json_remove(obj, "globalDefault");
}

/* Which one claims without a class get is each cluster's choice, and the topology is of its nodes. */
static void prepare_class(const struct migrate_options *o, struct json *obj)
{
	static const char *const own[] = {"storageclass.kubernetes.io/is-default-class",
		"storageclass.beta.kubernetes.io/is-default-class"};

	json_remove(obj, "allowedTopologies");
	for (unsigned i = 0; i < ARRAY_SIZE(own); i++)
		json_remove(json_path(obj, "metadata", "annotations"), own[i]);
}

static const struct {
	const char *kind;
	void (*prepare)(const struct migrate_options *o, struct json *obj);
} kinds[] = {
	{"ClusterRole", prepare_cluster_role},
	{"ClusterRoleBinding", prepare_binding},
	{"Endpoints", prepare_endpoints},
	{"Job", prepare_job},
	{"MutatingWebhookConfiguration", prepare_webhooks},
	{"Namespace", prepare_namespace},
	{"PersistentVolume", prepare_volume},
	{"PersistentVolumeClaim", prepare_claim},
	{"PriorityClass", prepare_priority},
	{"RoleBinding", prepare_binding},
	{"Secret", prepare_secret},
	{"Service", prepare_service},
	{"ServiceAccount", prepare_account},
	{"StorageClass", prepare_class},
	{"ValidatingWebhookConfiguration", prepare_webhooks},
};

struct json *migrate_prepare(const struct migrate_options *o, const struct json *obj)
{
	const char *note;

	return migrate_prepare_over(o, obj, NULL, &note);
}

struct json *migrate_prepare_over(const struct migrate_options *o, const struct json *obj,
	const struct json *there_, const char **ret_note)
{
	struct json *p = json_copy(obj);
	char hash[20];

	json_set(p, "metadata", new_metadata(o, json_get(obj, "metadata")));
	json_remove(p, "status");
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++)
		if (kind_is(p, kinds[i].kind))
			kinds[i].prepare(o, p);
	*ret_note = hold_back(p, there_, o->start_applications);
	snprintf(hash, sizeof(hash), "%016" PRIx64, json_hash(p));
	json_set_string(json_path(p, "metadata", "annotations"), KEY_HASH, hash);
	return p;
}

bool migrate_is_there(const struct json *prepared, const struct json *there)
{
	struct json_member m;
	unsigned n = json_length(prepared);

	if (json_is_object(prepared)) {
		for (bool ok = json_first(prepared, &m); ok; ok = json_next(&m))
			if (m.value && !migrate_is_there(m.value, json_get(there, m.key)))
				return false;
		return true;
	}
	if (!there)
		return !strcmp(json_text(prepared, false), "[]"); /* which is not kept */
	if (!n || n != json_length(there))
		return json_equal(prepared, there);
	for (unsigned i = 0; i < n; i++)
		if (!migrate_is_there(json_at(prepared, i), json_at(there, i)))
			return false;
	return true;
}

const char *migrate_class_name(const struct json *claim)
{
	const char *old = annotation_of(claim, "volume.beta.kubernetes.io/storage-class");

	return old ? old : json_get_string(json_get(claim, "spec"), "storageClassName", "");
}

const char *migrate_class_differs(const struct json *class, const struct json *there_)
{
	static const struct {
		const char *key, *by_default;
	} words[] = {
		{"provisioner", ""},
		{"reclaimPolicy", "Delete"},
		{"volumeBindingMode", "Immediate"},
	};
	static const char *const lists[] = {"parameters", "mountOptions"};

	for (unsigned i = 0; i < ARRAY_SIZE(words); i++)
		if (strcmp(json_get_string(class, words[i].key, words[i].by_default),
			    json_get_string(there_, words[i].key, words[i].by_default)))
			return words[i].key;
	for (unsigned i = 0; i < ARRAY_SIZE(lists); i++) {
		const struct json *a = json_get(class, lists[i]), *b = json_get(there_, lists[i]);
		struct json_member m;
		bool none = !json_length(a) && !json_length(b) && !json_first(a, &m) &&
			    !json_first(b, &m);

		if (!none && !json_equal(a, b))
			return lists[i];
	}
	return json_get_bool(class, "allowVolumeExpansion", false) !=
			       json_get_bool(there_, "allowVolumeExpansion", false)
		       ? "allowVolumeExpansion"
		       : NULL;
}

void migrate_merge_subjects(struct json *ours, const struct json *there_)
{
	struct json *subjects = json_get(ours, "subjects");
	const struct json *others = json_get(there_, "subjects");

	for (unsigned i = 0; i < json_length(others); i++) {
		bool known = false;

		for (unsigned n = 0; n < json_length(subjects) && !known; n++)
			known = json_equal(json_at(subjects, n), json_at(others, i));
		if (!known && subjects)
			json_append(subjects, json_copy(json_at(others, i)));
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What does not migrate, and why: what the other cluster makes for itself, what belongs to this one, and what
 * people do not want. Each rule gives a reason that is shown to people (`--dry-run`, the report).
 */
#include "migrate.h"

#include <string.h>
#include <strings.h>

struct json *json_descend(const struct json *j, const char *const *keys)
{
	while (j && *keys)
		j = json_get(j, *keys++);
	return (struct json *)j;
}

const char *annotation_of(const struct json *obj, const char *key)
{
	return json_get_string(json_path(obj, "metadata", "annotations"), key, NULL);
}

bool kind_is(const struct json *obj, const char *kind)
{
	return !strcmp(json_get_string(obj, "kind", ""), kind);
}

static const char *name_of(const struct json *obj)
{
	return json_get_string(json_get(obj, "metadata"), "name", "");
}

static const char *namespace_of(const struct json *obj)
{
	return json_get_string(json_get(obj, "metadata"), "namespace", "");
}

static bool one_of(const char *what, const char *const *list, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (!strcmp(what, list[i]))
			return true;
	return false;
}

bool job_ended(const struct json *obj)
{
	const struct json *conditions = json_path(obj, "status", "conditions");

	for (unsigned i = 0; i < json_length(conditions); i++) {
		const struct json *c = json_at(conditions, i);
		const char *type = json_get_string(c, "type", "");

		if ((!strcmp(type, "Complete") || !strcmp(type, "Failed")) &&
			!strcmp(json_get_string(c, "status", ""), "True"))
			return kind_is(obj, "Job");
	}
	return false;
}

/* --- by kind --- */

static const char *const transient[] = {"Pod", "Event", "Lease", "EndpointSlice",
	"ControllerRevision", "Binding", "PodMetrics", "NodeMetrics", "Node", "CSINode",
	"VolumeAttachment", "CSIStorageCapacity", "VolumeSnapshot", "VolumeSnapshotContent",
	"LocalSubjectAccessReview", "PodTemplate", "Namespace", "CertificateSigningRequest"};

static const char *skip_secret(const struct migrate_options *o, const struct json *obj)
{
	const char *type = json_get_string(obj, "type", ""), *name = name_of(obj);
	const char *account = annotation_of(obj, "kubernetes.io/service-account.name");
	size_t n = account ? strlen(account) : 0;

	if (!strcmp(type, "bootstrap.kubernetes.io/token"))
		return "a bootstrap token of this cluster";
	if (account && !strncmp(name, account, n) &&
		(!strncmp(name + n, "-token-", 7) || !strncmp(name + n, "-dockercfg-", 11)))
		return "a service account's token, which the other cluster makes itself";
	return NULL;
}

static const char *skip_config_map(const struct migrate_options *o, const struct json *obj)
{
	static const char *const own[] = {"kube-root-ca.crt", "openshift-service-ca.crt"};

	return one_of(name_of(obj), own, ARRAY_SIZE(own)) ? "each cluster has its own" : NULL;
}

static const char *skip_account(const struct migrate_options *o, const struct json *obj)
{
	static const char *const own[] = {"default", "builder", "deployer"};

	if (!one_of(name_of(obj), own, ARRAY_SIZE(own)) ||
		json_length(json_get(obj, "imagePullSecrets")))
		return NULL;
	return "each namespace has one, and nothing was added to this";
}

static const char *skip_service(const struct migrate_options *o, const struct json *obj)
{
	bool own = !strcmp(name_of(obj), "kubernetes") && !strcmp(namespace_of(obj), "default");

	return own ? "the cluster's own API" : NULL;
}

/* Those that a person made, for a service without a selector, are the ones that go over. */
static const char *skip_endpoints(const struct migrate_options *o, const struct json *obj)
{
	const struct json *subsets = json_get(obj, "subsets"),
			  *labels = json_path(obj, "metadata", "labels");

	if (skip_service(o, obj))
		return skip_service(o, obj);
	if (json_get(labels, "service.kubernetes.io/headless") ||
		annotation_of(obj, "endpoints.kubernetes.io/last-change-trigger-time"))
		return "made by the service's controller";
	if (annotation_of(obj, "control-plane.alpha.kubernetes.io/leader"))
		return "the lock of an election";
	for (unsigned i = 0; i < json_length(subsets); i++)
		for (unsigned k = 0; k < 2; k++) {
			const struct json *list = json_get(
				json_at(subsets, i), k ? "notReadyAddresses" : "addresses");

			for (unsigned n = 0; n < json_length(list); n++)
				if (json_get(json_at(list, n), "targetRef"))
					return "made by the service's controller";
		}
	return NULL;
}

static const char *skip_role(const struct migrate_options *o, const struct json *obj)
{
	return strncmp(name_of(obj), "system:", 7) ? NULL : "the cluster's own";
}

static const char *skip_cluster_role(const struct migrate_options *o, const struct json *obj)
{
	if (json_path(obj, "metadata", "labels", "kubernetes.io/bootstrapping"))
		return "each cluster has its own";
	return skip_role(o, obj);
}

static const char *skip_priority(const struct migrate_options *o, const struct json *obj)
{
	return strncmp(name_of(obj), "system-", 7) ? NULL : "each cluster has its own";
}

/* What lets an agent copy is each cluster's own: over there it would be the rights of ours. */
static const char *skip_role_binding(const struct migrate_options *o, const struct json *obj)
{
	const char *role = json_get_string(json_get(obj, "roleRef"), "name", "");

	if (!strncmp(role, "tandem-migrator", 15))
		return "it is about replication itself, and differs on the two sides";
	return skip_role(o, obj);
}

static bool has_cidr(const struct json *rules, const char *peers_key)
{
	for (unsigned i = 0; i < json_length(rules); i++) {
		const struct json *peers = json_get(json_at(rules, i), peers_key);

		for (unsigned n = 0; n < json_length(peers); n++)
			if (json_get(json_at(peers, n), "ipBlock"))
				return true;
	}
	return false;
}

static const char *skip_network_policy(const struct migrate_options *o, const struct json *obj)
{
	const struct json *spec = json_get(obj, "spec");

	if (o->network_policies_with_cidr || (!has_cidr(json_get(spec, "ingress"), "from") &&
						     !has_cidr(json_get(spec, "egress"), "to")))
		return NULL;
	return "it names addresses, which are others there (includeNetworkPolicyWithCIDR takes it "
	       "along)";
}

static const char *skip_job(const struct migrate_options *o, const struct json *obj)
{
	if (job_ended(obj))
		return "it has ended, and must not run again";
	return o->include_jobs ? NULL
			       : "jobs would run again (includeOptionalResourceTypes: Job takes "
				 "them along)";
}

static const char *skip_cluster_role_binding(
	const struct migrate_options *o, const struct json *obj)
{
	const struct json *subjects = json_get(obj, "subjects");

	if (skip_role_binding(o, obj))
		return skip_role_binding(o, obj);
	for (unsigned i = 0; i < json_length(subjects); i++) {
		const char *ns = json_get_string(json_at(subjects, i), "namespace", NULL);

		if (ns && (!o->namespace_migrates || o->namespace_migrates(o->ctx, ns)))
			return NULL;
	}
	return "none of its subjects is in a namespace that migrates";
}

static const struct {
	const char *kind;
	const char *(*skip)(const struct migrate_options *o, const struct json *obj);
} rules[] = {
	{"ClusterRole", skip_cluster_role},
	{"ClusterRoleBinding", skip_cluster_role_binding},
	{"ConfigMap", skip_config_map},
	{"Endpoints", skip_endpoints},
	{"Job", skip_job},
	{"NetworkPolicy", skip_network_policy},
	{"PriorityClass", skip_priority},
	{"Role", skip_role},
	{"RoleBinding", skip_role_binding},
	{"Secret", skip_secret},
	{"Service", skip_service},
	{"ServiceAccount", skip_account},
};

/* --- all kinds --- */

/* The owner makes it again there. */
static bool made_by_owner(const struct migrate_options *o, const struct json *obj)
{
	const struct json *owners = json_path(obj, "metadata", "ownerReferences");

	for (unsigned i = 0; i < json_length(owners) && o->owner_migrates; i++)
		if (o->owner_migrates(o->ctx, json_at(owners, i), namespace_of(obj)))
			return true;
	return false;
}

static bool is_ours(const struct json *obj)
{
	const char *version = json_get_string(obj, "apiVersion", "");

	return !strncmp(version, TANDEM_KEY, strlen(TANDEM_KEY)) && !kind_is(obj, "Rule") &&
	       !kind_is(obj, "SchedulePolicy");
}

static bool said_true(const char *text)
{
	return text && !strcasecmp(text, "true");
}

const char *migrate_skip(const struct migrate_options *o, const struct json *obj)
{
	const char *kind = json_get_string(obj, "kind", "");

	if (!*kind || !*name_of(obj))
		return "it has no kind or no name";
	if (json_path(obj, "metadata", "deletionTimestamp"))
		return "it is being deleted";
	if (said_true(annotation_of(obj, KEY_SKIP)) ||
		said_true(annotation_of(obj, "stork.libopenstorage.org/skip-resource")))
		return "its annotation skip-resource says so";
	if (one_of(kind, transient, ARRAY_SIZE(transient)))
		return "the other cluster makes its own";
	if (is_ours(obj))
		return "it is about replication itself, and differs on the two sides";
	if (!o->ignore_owner_references && made_by_owner(o, obj))
		return "its owner migrates and makes it there";
	for (unsigned i = 0; i < ARRAY_SIZE(rules); i++)
		if (!strcmp(kind, rules[i].kind))
			return rules[i].skip(o, obj);
	return NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Migration, from its object to its status. It is idempotent: one that was interrupted, by whatever, is run again
 * from its beginning, and finds most of it unchanged. While a cluster does not answer it is tried again, for ten
 * minutes from when it was made.
 */
#include "kube_migrate.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kube_rule.h"
#include "clock.h"
#include "kube_impl.h"
#include "kube_nodes.h"
#include "kube_site.h"
#include "log.h"

#define PATIENCE_S 600
#define LINES_MAX                                                                                  \
	1500u /* of the status: it must fit into an object; failures may be as many again */

const struct kube_kind kind_migration =
	KUBE_KIND("tandemfs.dev", "v1alpha1", "Migration", "migrations", true);

void run_report(struct migration_run *r, const struct kube_kind *kind, const char *ns,
	const char *name, const char *status, const char *reason)
{
	bool failed = !strcmp(status, "Failed");
	struct json *line;

	if (strcmp(status, "Skipped") && strcmp(status, "Purged")) {
		r->total++;
		r->done += !failed && strcmp(status, "Pending") != 0;
	}
	r->failed += failed;
	if (!ns && !kind->namespaced) {
		char key[400];

		snprintf(key, sizeof(key), "%s/%s", kind->kind, name);
		json_set_string(r->cluster, key, status);
	}
	if (json_length(r->resources) >= LINES_MAX * (1 + failed))
		return;
	line = json_object();
	json_set_string(line, "name", name);
	if (ns)
		json_set_string(line, "namespace", ns);
	json_set_string(line, "group", kind->group);
	json_set_string(line, "version", kind->version);
	json_set_string(line, "kind", kind->kind);
	json_set_string(line, "status", status);
	if (reason)
		json_set_string(line, "reason", reason);
	json_append(r->resources, line);
}

/* --- what the rules ask --- */

static bool owner_migrates(void *ctx, const struct json *reference, const char *ns)
{
	struct migration_run *r = ctx;
	const struct json *obj =
		index_find(&r->by_uid, "uid", json_get_string(reference, "uid", ""));
	const struct json *owners = json_path(obj, "metadata", "ownerReferences");
	bool yes;

	if (!obj || r->depth == 8) /* a ring of owners */
		return false;
	r->depth++;
	yes = !migrate_skip(&r->o, obj);
	for (unsigned k = 0; k < json_length(owners) && !yes; k++)
		yes = owner_migrates(ctx, json_at(owners, k), ns);
	r->depth--;
	return yes;
}

static const char *namespace_to(void *ctx, const char *ns)
{
	const struct migration_run *r = ctx;

	return json_get_string(json_get(r->spec, "namespaceMapping"), ns, NULL);
}

static bool namespace_migrates(void *ctx, const char *ns)
{
	return json_has_string(((const struct migration_run *)ctx)->namespaces, ns);
}

/* --- the run --- */

static int refuse_unbuilt(const struct json *spec, struct err *e)
{
	if (json_length(json_get(spec, "transformSpecs")))
		return err_set(e, -ENOTSUP, "spec.transformSpecs: these are not built yet");
	return 0;
}

/* "*" means people's namespaces: not those that each cluster has by itself, and not that of replication itself. */
static bool is_peoples(const char *system, const struct json *ns)
{
	const char *name = meta_of(ns, "name");

	return strncmp(name, "kube-", 5) != 0 && strcmp(name, system) != 0 &&
	       !json_path(ns, "metadata", "deletionTimestamp");
}

static bool is_selected(const struct json *labels, const struct json *ns)
{
	struct json_member m;
	bool any = json_first(labels, &m);

	for (bool ok = any; ok; ok = json_next(&m))
		if (!json_equal(json_path(ns, "metadata", "labels", m.key), m.value))
			return false;
	return any;
}

bool migration_covers(const struct json *spec, const char *system, const struct json *ns)
{
	const struct json *named = json_get(spec, "namespaces");
	const char *name = meta_of(ns, "name");

	if (json_has_string(json_get(spec, "excludeNamespaces"), name))
		return false;
	return json_has_string(named, name) ||
	       (json_has_string(named, "*") && is_peoples(system, ns)) ||
	       is_selected(json_get(spec, "namespaceSelectors"), ns);
}

static void take_namespace(struct migration_run *r, const char *ns)
{
	if (!json_has_string(json_get(r->spec, "excludeNamespaces"), ns) &&
		!json_has_string(r->namespaces, ns))
		json_append_string(r->namespaces, ns);
}

static int take_selected(struct migration_run *r, struct err *e)
{
	struct json *all = json_array();
	const struct json *labels = json_get(r->spec, "namespaceSelectors");
	bool any = json_has_string(json_get(r->spec, "namespaces"), "*");
	int ret = kube_list(r->c->kube, &kind_namespace, NULL, NULL, all, NULL, e);

	for (unsigned i = 0; i < json_length(all) && !ret; i++) {
		const struct json *ns = json_at(all, i);

		if ((any && is_peoples(r->c->config->kube_namespace, ns)) ||
			is_selected(labels, ns))
			take_namespace(r, meta_of(ns, "name"));
	}
	json_free(all);
	return ret;
}

/* Others than the object's own only where administrators write. */
static int take_namespaces(struct migration_run *r, const char *own, struct err *e)
{
	bool admin = !strcmp(own, r->c->config->kube_namespace);
	const struct json *named = json_get(r->spec, "namespaces");
	bool selects = json_has_string(named, "*"), excludes;
	struct json_member m;

	selects |= json_first(json_get(r->spec, "namespaceSelectors"), &m);
	excludes = json_length(json_get(r->spec, "excludeNamespaces")) > 0;
	r->namespaces = json_array();
	for (unsigned i = 0; i < json_length(named); i++) {
		const char *ns = json_string_at(named, i, "");

		if (!strcmp(ns, "*"))
			continue;
		if (!admin && strcmp(ns, own))
			return err_set(e, -EPERM,
				"namespace '%s' can only be copied by an object in namespace '%s'",
				ns, r->c->config->kube_namespace);
		take_namespace(r, ns);
	}
	if (selects && !admin)
		return err_set(e, -EPERM,
			"namespaceSelectors and \"*\" only have a meaning in namespace '%s'",
			r->c->config->kube_namespace);
	if (selects && take_selected(r, e))
		return e->code;
	if (excludes && !json_length(r->namespaces))
		return err_set(e, -EINVAL,
			"excludeNamespaces takes from what namespaces (\"*\": all) and "
			"namespaceSelectors say, and nothing is left of that");
	if (!selects && !json_length(r->namespaces))
		json_append_string(r->namespaces, own);
	return 0;
}

/* Two into one would overwrite and purge each other's. */
static int check_mapping(struct migration_run *r, struct err *e)
{
	struct json *taken = json_object();
	int ret = 0;

	for (unsigned i = 0; i < json_length(r->namespaces) && !ret; i++) {
		const char *ns = json_string_at(r->namespaces, i, ""), *to = namespace_to(r, ns);

		to = to ? to : ns;
		if (json_get(taken, to))
			ret = err_set(e, -EINVAL,
				"namespaceMapping: two namespaces would become '%s'", to);
		json_set_bool(taken, to, true);
	}
	json_free(taken);
	return ret;
}

static int take_kinds(struct migration_run *r, struct err *e)
{
	unsigned kept = 0;
	int ret = kube_discover(r->c->kube, &r->kinds, &r->nkinds, NULL, e);

	if (ret)
		return ret;
	for (unsigned i = 0; i < r->nkinds; i++)
		if (run_wants_kind(r, &r->kinds[i]))
			r->kinds[kept++] = r->kinds[i];
	r->nkinds = kept;
	return 0;
}

static int copy_namespace(struct migration_run *r, const struct json *here, struct err *e)
{
	int ret = run_namespace_made(r, here, e);

	if (!ret)
		ret = run_collect(r, e);
	if (!ret)
		ret = run_send_cluster(r, e);
	if (!ret)
		ret = run_send(r, e);
	if (!ret)
		ret = run_send_webhooks(r, e);
	if (!ret && json_get_bool(r->spec, "purgeDeletedResources", false))
		ret = run_purge(r, e);
	run_forget(r);
	return ret;
}

/* In the pods of each namespace, which run here. */
static int follow_rule(struct migration_run *r, const char *key, struct err *e)
{
	const char *rule = json_get_string(r->spec, key, "");
	int ret = 0;

	for (unsigned i = 0; *rule && i < json_length(r->namespaces) && !ret; i++) {
		const char *ns = json_string_at(r->namespaces, i, "");

		ret = rules_run(r->c, NULL, ns, ns, rule, true, e);
	}
	return ret ? err_wrap(e, "spec.%s", key) : 0;
}

static int run_namespace(struct migration_run *r, const char *ns, struct err *e)
{
	const char *to = namespace_to(r, ns);
	struct json *here = NULL;
	int ret = kube_get(r->c->kube, &kind_namespace, NULL, ns, &here, e);

	if (ret == -ENOENT && json_get_bool(r->spec, "skipDeletedNamespaces", true)) {
		run_report(r, &kind_namespace, NULL, ns, "Skipped", "there is no such namespace");
		return 0;
	}
	r->ns = ns;
	r->ns_to = to ? to : ns;
	r->ns_missing = false;
	if (!ret)
		ret = copy_namespace(r, here, e);
	json_free(here);
	return ret;
}

/* The pairs, and whether the other cluster answers: before all the reading here. */
static int connect(struct migration_run *r, const char *own, struct err *e)
{
	const char *pair = json_get_string(r->spec, "clusterPair", ""),
		   *admin = json_get_string(r->spec, "adminClusterPair", "");
	const char *system = r->c->config->kube_namespace;
	struct json_member m;
	int ret = pair_open(r->c, own, pair, &r->to, e);

	if (!ret && *admin && strcmp(own, system) != 0 &&
		json_first(json_get(r->spec, "namespaceMapping"), &m))
		ret = err_set(e, -EPERM,
			"namespaceMapping with adminClusterPair: only for objects in namespace "
			"'%s'",
			system);
	if (!ret && *admin)
		ret = pair_open(r->c, system, admin, &r->admin, e);
	else if (!ret)
		r->admin = r->to;
	if (!ret)
		ret = kube_call(r->to, "GET", "/version", NULL, NULL, NULL, e);
	if (ret)
		return ret;
	r->lanes = kube_lanes_new(r->c->kube, r->to, r->c->stop);
	r->admin_lanes = *admin ? kube_lanes_new(r->c->kube, r->admin, r->c->stop) : r->lanes;
	return 0;
}

static void disconnect(struct migration_run *r)
{
	if (r->admin_lanes != r->lanes)
		kube_lanes_free(r->admin_lanes);
	kube_lanes_free(r->lanes);
	if (r->admin != r->to)
		kube_free(r->admin);
	kube_free(r->to);
}

static int run(struct migration_run *r, const struct json *obj, struct err *e)
{
	const char *own = meta_of(obj, "namespace"),
		   *pair = json_get_string(r->spec, "clusterPair", "");
	const struct json *optional = json_get(r->spec, "includeOptionalResourceTypes");
	int ret = refuse_unbuilt(r->spec, e);

	if (!ret && site_look(r->c, 1, NODES_MS_CALM) == SITE_INACTIVE)
		ret = err_set(e, -EBUSY, "%s", site_words(SITE_INACTIVE));

	r->dry = json_get_bool(r->spec, "dryRun", false);
	r->force = json_get_bool(r->spec, "forceConflicts", false);
	snprintf(r->from, sizeof(r->from), "%.250s/%.253s", own, pair);
	r->o = (struct migrate_options){
		.start_applications = json_get_bool(r->spec, "startApplications", false),
		.network_policies_with_cidr =
			json_get_bool(r->spec, "includeNetworkPolicyWithCIDR", false),
		.include_jobs = json_has_string(optional, "Job"),
		.keep_node_ports = json_get_bool(r->spec, "preserveNodePorts", false),
		.ignore_owner_references =
			json_get_bool(r->spec, "ignoreOwnerReferencesCheck", false),
		.owner_migrates = owner_migrates,
		.namespace_to = namespace_to,
		.namespace_migrates = namespace_migrates,
		.ctx = r,
	};
	if (!ret)
		ret = take_namespaces(r, own, e);
	if (!ret)
		ret = check_mapping(r, e);
	if (!ret)
		ret = connect(r, own, e);
	if (!ret && json_get_bool(r->spec, "includeResources", true))
		ret = take_kinds(r, e);
	if (!ret && !r->dry)
		ret = follow_rule(r, "preExecRule", e);
	for (unsigned i = 0; i < json_length(r->namespaces) && !ret && r->nkinds; i++)
		ret = run_namespace(r, json_string_at(r->namespaces, i, ""), e);
	if (!ret && !r->dry)
		ret = follow_rule(r, "postExecRule", e);
	if (!ret && !r->dry)
		ret = run_static_copies(r, obj, e);
	return ret;
}

/* --- the status --- */

static const char *reason_of(const struct migration_run *r, int error)
{
	return r->activated	     ? "ApplicationActivated"
	       : kube_is_away(error) ? "Unreachable"
	       : error == -EPERM     ? "Forbidden"
	       : error == -EACCES    ? "Unauthorized"
	       : error == -ENOENT    ? "NotFound"
	       : error == -ENOTSUP   ? "NotBuilt"
				     : "Refused";
}

static void set_summary(const struct migration_run *r, const struct json *obj, struct json *status)
{
	struct json *s = json_object();
	int64_t made = kube_time_parse(meta_of(obj, "creationTimestamp")), took = now_s() - made;
	char text[64];

	snprintf(text, sizeof(text), "%u/%u", r->done, r->total);
	json_set_string(s, "resources", text);
	snprintf(text, sizeof(text), "%u/%u", r->volumes_done, r->nvolumes);
	json_set_string(s, "volumes", text);
	/* Their objects; what is in them is replicated, and no byte of it copied. */
	json_set_int(s, "totalNumberOfVolumes", r->nvolumes);
	json_set_int(s, "numOfMigratedVolumes", r->volumes_done);
	json_set_int(s, "totalNumberOfResources", r->total);
	json_set_int(s, "numOfMigratedResources", r->done);
	json_set_int(s, "totalBytesMigrated", 0);
	snprintf(text, sizeof(text), "%llds", (long long)MAX(took, 0));
	json_set_string(s, "elapsedTime", text);
	json_set(status, "summary", s);
}

static void set_end(struct migration_run *r, const struct json *obj, struct json *status, int error,
	const char *why)
{
	const char *word = error ? "Failed" : r->failed ? "PartialSuccess" : "Successful";
	char now[21], text[160];

	kube_time(now_s(), now);
	snprintf(text, sizeof(text), "%u of %u objects are there as they should be", r->done,
		r->total);
	json_set_string(status, "stage", "Final");
	json_set_string(status, "status", word);
	json_set_string(status, "finishTimestamp", now);
	json_set_string(status, "resourceMigrationFinishTimestamp", now);
	set_summary(r, obj, status);
	condition_set(status, obj, "Progressing", false, "Ended", error ? why : text);
	condition_set(status, obj, "Completed", !error && !r->failed,
		error	    ? reason_of(r, error)
		: r->failed ? "SomeFailed"
			    : "AllThere",
		error ? why : text);
	condition_set(status, obj, "Failed", error != 0, error ? reason_of(r, error) : "Ended",
		error ? why : text);
	if (json_get_bool(r->spec, "includeVolumes", true))
		condition_set(status, obj, "VolumesCopied", false, "Replicated",
			"what is in volumes is replicated and not copied by a migration: set "
			"includeVolumes to false");
	kube_event(r->c->kube, obj, error || r->failed ? "Warning" : "Normal",
		error	    ? "MigrationFailed"
		: r->failed ? "MigrationPartial"
			    : "MigrationSuccessful",
		error ? why : text);
}

static struct json *status_of(const struct json *obj)
{
	struct json *status = json_copy(json_get(obj, "status"));

	return status ? status : json_object();
}

static int begin(struct kube_control *c, struct json *obj, struct err *e)
{
	struct json *status = status_of(obj);

	json_set_string(status, "stage", "Applications");
	json_set_string(status, "status", "InProgress");
	if (!json_length(json_get(status, "conditions")))
		condition_set(status, obj, "Progressing", true, "Copying", "objects are copied");
	return status_write(c, &kind_migration, obj, status, e);
}

static void note_run(
	struct migration_run *r, struct json *obj, struct json *status, int error, const char *why)
{
	struct err e = {0};
	bool waits = kube_is_away(error) &&
		     now_s() - kube_time_parse(meta_of(obj, "creationTimestamp")) < PATIENCE_S;

	json_set(status, "resources", r->resources);
	json_set(status, "volumes", r->volumes);
	if (error == -ECANCELED) {
		json_free(status); /* the next process goes on with it */
		return;
	}
	if (!waits)
		set_end(r, obj, status, error, why);
	else if (!condition_is(status, "Progressing", reason_of(r, error)))
		condition_set(status, obj, "Progressing", false, reason_of(r, error), why);
	if (status_write(r->c, &kind_migration, obj, status, &e))
		log_warn("Migration '%s': %s", meta_of(obj, "name"), e.msg);
}

static void migration_look(struct kube_control *c, struct json *obj)
{
	struct migration_run r = {.c = c,
		.spec = json_get(obj, "spec"),
		.resources = json_array(),
		.volumes = json_array(),
		.cluster = json_object()};
	uint64_t began = clock_mono_ns();
	struct err e = {0};
	int ret;

	if (migration_ended(obj) || json_path(obj, "metadata", "deletionTimestamp") ||
		begin(c, obj, &e)) {
		if (e.code && e.code != -EBUSY)
			log_warn("Migration '%s': %s", meta_of(obj, "name"), e.msg);
		json_free(r.resources);
		json_free(r.volumes);
		json_free(r.cluster);
		return;
	}
	ret = run(&r, obj, &e);
	note_run(&r, obj, status_of(obj), ret, e.msg);
	log_info("Migration '%s/%s': %u of %u objects are there, %u failed, in %llu ms%s%s",
		meta_of(obj, "namespace"), meta_of(obj, "name"), r.done, r.total, r.failed,
		(unsigned long long)((clock_mono_ns() - began) / NS_PER_MS), ret ? ": " : "",
		ret ? e.msg : "");
	disconnect(&r);
	json_free(r.namespaces);
	json_free(r.cluster);
	free(r.kinds);
}

/* --- jobs --- */

struct migrate_job {
	struct kube_control c;
	struct json *todo; /* {namespace, name}, the oldest first */
};

static void job_free(struct migrate_job *j)
{
	control_clear(&j->c);
	json_free(j->todo);
	free(j);
}

static void job_work(void *ctx)
{
	struct migrate_job *j = ctx;

	for (unsigned i = 0; i < json_length(j->todo) && lease_hold(&j->c); i++) {
		const char *ns = json_get_string(json_at(j->todo, i), "namespace", ""),
			   *name = json_get_string(json_at(j->todo, i), "name", "");
		struct json *obj = NULL;
		struct err e = {0};

		/* The list that it is from may be older than the last run's end. */
		if (!kube_get(j->c.kube, &kind_migration, ns, name, &obj, &e))
			migration_look(&j->c, obj);
		else if (e.code != -ENOENT && e.code != -ECANCELED)
			log_warn("Migration '%s': %s", name, e.msg);
		json_free(obj);
	}
	job_free(j);
}

static bool is_older(const struct json *a, const struct json *b)
{
	int by = strcmp(meta_of(a, "creationTimestamp"), meta_of(b, "creationTimestamp"));

	return by ? by < 0 : strcmp(meta_of(a, "name"), meta_of(b, "name")) < 0;
}

/* Whom it goes to, as a job's key. */
static void key_of(const struct json *migration, char *ret, size_t size)
{
	snprintf(ret, size, "migrate %.253s/%.253s", meta_of(migration, "namespace"),
		json_get_string(json_get(migration, "spec"), "clusterPair", ""));
}

static bool goes_by(const struct json *migration, const char *key)
{
	char own[600];

	key_of(migration, own, sizeof(own));
	return !migration_ended(migration) && !strcmp(own, key);
}

/* The next one of this key by age and then by name, after `last` (NULL: the first). */
static const struct json *next_of(
	const struct json *migrations, const char *key, const struct json *last)
{
	const struct json *best = NULL;

	for (unsigned i = 0; i < json_length(migrations); i++) {
		const struct json *m = json_at(migrations, i);

		if (goes_by(m, key) && (!last || is_older(last, m)) && (!best || is_older(m, best)))
			best = m;
	}
	return best;
}

void migrations_look(struct kube_control *c, const struct json *migrations)
{
	for (unsigned i = 0; i < json_length(migrations); i++) {
		struct migrate_job *j;
		char key[600];

		if (migration_ended(json_at(migrations, i)))
			continue;
		key_of(json_at(migrations, i), key, sizeof(key));
		j = calloc(1, sizeof(*j));
		ensure(j);
		j->c = control_for_job(c);
		j->todo = json_array();
		for (const struct json *m = NULL; (m = next_of(migrations, key, m));) {
			struct json *one = json_object();

			json_set_string(one, "namespace", meta_of(m, "namespace"));
			json_set_string(one, "name", meta_of(m, "name"));
			json_append(j->todo, one);
		}
		/* What is in the same job already is looked at again, and has ended. */
		if (kube_job_start(c->jobs, key, job_work, j))
			job_free(j);
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The copy that a MigrationSchedule leaves of itself and of its SchedulePolicy at the destination, with each of its runs:
 * when this site is gone, the other one knows by it what was copied and what the namespaces were called
 * (kube_failover_names.c), and who resumes it there has the same copied the other way round. It is therefore in the words
 * of there: the namespaces by their names there, the mapping reversed. It arrives suspended, and is left suspended or
 * not as it is found; a site whose volumes are active elsewhere copies nothing in any case (kube_site.h).
 *
 * Failure modes: none of it fails the run. A right or a kind that is missing there, and an object of that name that is
 * the other cluster's own (as where that one copies to here), are told in the report as Skipped. A copy is not copied
 * back.
 *
 * A schedule that is deleted takes its copy along, by a finalizer that it gets before the first copy is sent: the copy
 * alone, when it is ours and nobody resumed it there, and neither the policy, which others may follow, nor what was
 * copied by it. A destination that does not answer, or does not let us, keeps it: an Event says so, and the schedule goes.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kube_migrate.h"
#include "log.h"
#include "provision.h"

#define FINALIZER_COPY TANDEM_KEY "static-copy"
#define END_PATIENCE_S 300 /* so long is a destination that does not answer waited for */

/* Takes spec, which has this key. */
static struct json *new_copy(
	const struct json *of, const char *ns, const char *key, struct json *spec)
{
	struct json *p = json_object(), *meta = json_object(), *annotations = json_object();
	char hash[20];

	json_set_string(annotations, KEY_STATIC, "true");
	json_set_string(meta, "name", meta_of(of, "name"));
	if (ns)
		json_set_string(meta, "namespace", ns);
	json_set(meta, "annotations", annotations);
	json_set_string(p, "apiVersion", "tandemfs.dev/v1alpha1");
	json_set(p, "metadata", meta);
	json_set(p, key, spec);
	snprintf(hash, sizeof(hash), "%016" PRIx64, json_hash(p));
	json_set_string(annotations, KEY_HASH, hash);
	return p;
}

static bool is_same(const struct json *p, const struct json *there)
{
	const char *hash = annotation_of(there, KEY_HASH);

	return hash && !strcmp(hash, annotation_of(p, KEY_HASH));
}

/* Takes p. A field of a copy that somebody else changed there is set again. */
static int send_copy(struct migration_run *r, struct kube *to, const struct kube_kind *kind,
	struct json *p, struct err *e)
{
	const char *ns = meta_of(p, "namespace"), *name = meta_of(p, "name");
	struct json *there = NULL;
	int ret = kube_get(to, kind, ns, name, &there, e);

	if (!ret && !annotation_of(there, KEY_STATIC)) {
		run_report(r, kind, ns, name, "Skipped",
			"it is there, and is the other cluster's own");
	} else if (!ret && is_same(p, there)) {
		run_report(r, kind, ns, name, "Unchanged", NULL);
	} else if (!ret || ret == -ENOENT) {
		json_set_string(p, "kind", kind->kind);
		json_set_string(json_path(p, "metadata", "annotations"), KEY_FROM, r->from);
		if (kind->namespaced)
			json_set_bool(json_get(p, "spec"), "suspend",
				json_get_bool(json_get(there, "spec"), "suspend", true));
		ret = ret ? kube_create(to, kind, p, NULL, e)
			  : kube_apply(to, kind, p, MIGRATE_MANAGER, KUBE_FORCE, NULL, e);
		if (!ret)
			run_report(r, kind, ns, name, "Successful", NULL);
	}
	if (ret && !run_ends(ret)) {
		run_report(r, kind, ns, name, "Skipped", e->msg);
		ret = 0;
	}
	json_free(there);
	json_free(p);
	return ret;
}

static const char *name_there(const struct migration_run *r, const char *ns)
{
	const char *to = json_get_string(json_get(r->spec, "namespaceMapping"), ns, NULL);

	return to ? to : ns;
}

struct json *static_copy(const struct migration_run *r, const struct json *schedule)
{
	struct json *spec = json_copy(json_get(schedule, "spec")),
		    *run = json_path(spec, "template", "spec"), *list = json_array(),
		    *mapping = json_object();
	bool named = json_get(run, "namespaces") || json_get(run, "namespaceSelectors");
	struct json_member m;

	for (unsigned i = 0; i < json_length(r->namespaces); i++) {
		const char *ns = json_string_at(r->namespaces, i, ""), *there = name_there(r, ns);

		json_append_string(list, there);
		if (strcmp(there, ns) != 0)
			json_set_string(mapping, there, ns);
	}
	json_remove(spec, "suspend");
	json_remove(run, "namespaces");
	json_remove(run, "namespaceSelectors");
	json_remove(run, "excludeNamespaces");
	json_remove(run, "namespaceMapping");
	/* The way back: what people own there is what they made before it was copied here. */
	json_set_bool(run, "forceConflicts", true);
	if (named)
		json_set(run, "namespaces", list);
	else
		json_free(list);
	if (json_first(mapping, &m))
		json_set(run, "namespaceMapping", mapping);
	else
		json_free(mapping);
	return new_copy(schedule, name_there(r, meta_of(schedule, "namespace")), "spec", spec);
}

/* So that its end is not missed. One that has changed meanwhile gets it with its next run. */
static int mark(struct kube_control *c, const struct json *schedule, struct err *e)
{
	struct json *patch;
	int ret;

	if (provision_has_finalizer(schedule, FINALIZER_COPY) ||
		meta_of(schedule, "deletionTimestamp"))
		return 0;
	patch = provision_finalizers(schedule, FINALIZER_COPY, NULL);
	ret = kube_patch(c->kube, &kind_schedule, meta_of(schedule, "namespace"),
		meta_of(schedule, "name"), NULL, patch, NULL, e);
	json_free(patch);
	return ret;
}

static int remove_copy(struct kube_control *c, const struct json *schedule, struct err *e)
{
	const struct json *run = json_path(schedule, "spec", "template", "spec");
	const char *ns = meta_of(schedule, "namespace"), *name = meta_of(schedule, "name"),
		   *pair = json_get_string(run, "clusterPair", ""),
		   *to = json_get_string(json_get(run, "namespaceMapping"), ns, ns);
	struct json *there = NULL;
	struct kube *k = NULL;
	char from[520];
	int ret = pair_open(c, ns, pair, &k, e);

	snprintf(from, sizeof(from), "%.250s/%.253s", ns, pair);
	if (!ret)
		ret = kube_get(k, &kind_schedule, to, name, &there, e);
	if (ret == -ENOENT && k) /* not: the pair is gone */
		ret = 0;
	if (there && annotation_of(there, KEY_STATIC) && annotation_of(there, KEY_FROM) &&
		!strcmp(annotation_of(there, KEY_FROM), from) &&
		json_get_bool(json_get(there, "spec"), "suspend", false))
		ret = kube_delete(k, &kind_schedule, to, name, meta_of(there, "uid"), e);
	if (there && ret == -ENOENT)
		ret = 0;
	json_free(there);
	kube_free(k);
	return ret;
}

struct end_job {
	struct kube_control c;
	struct json *schedule;
};

static void end_free(struct end_job *j)
{
	control_clear(&j->c);
	json_free(j->schedule);
	free(j);
}

static void end_work(void *ctx)
{
	struct end_job *j = ctx;
	const char *ns = meta_of(j->schedule, "namespace"), *name = meta_of(j->schedule, "name");
	int64_t since = now_s() - kube_time_parse(meta_of(j->schedule, "deletionTimestamp"));
	struct err e = {0};
	struct json *patch;
	char text[400];
	int ret = remove_copy(&j->c, j->schedule, &e);

	if (ret != -ECANCELED && !(kube_is_away(ret) && since < END_PATIENCE_S)) {
		snprintf(text, sizeof(text),
			"its copy at the other cluster stays there, suspended: %.300s", e.msg);
		if (ret)
			kube_event(j->c.kube, j->schedule, "Warning", "StaticCopyLeft", text);
		log_info("MigrationSchedule '%s/%s': %s", ns, name,
			ret ? text : "its copy at the other cluster is deleted with it");
		patch = provision_finalizers(j->schedule, NULL, FINALIZER_COPY);
		ret = kube_patch(j->c.kube, &kind_schedule, ns, name, NULL, patch, NULL, &e);
		json_free(patch);
		if (ret && ret != -ENOENT && ret != -EBUSY) /* changed: the next look */
			log_warn("MigrationSchedule '%s/%s': %s", ns, name, e.msg);
	}
	end_free(j);
}

void static_copy_end(struct kube_control *c, const struct json *schedule)
{
	struct end_job *j;
	char key[600];

	if (!provision_has_finalizer(schedule, FINALIZER_COPY))
		return;
	snprintf(key, sizeof(key), "end %.253s/%.253s", meta_of(schedule, "namespace"),
		meta_of(schedule, "name"));
	j = calloc(1, sizeof(*j));
	ensure(j);
	j->c = control_for_job(c);
	j->schedule = json_copy(schedule);
	if (kube_job_start(c->jobs, key, end_work, j))
		end_free(j);
}

int run_static_copies(struct migration_run *r, const struct json *migration, struct err *e)
{
	const char *name = json_get_string(
			   json_path(migration, "metadata", "labels"), KEY_SCHEDULE, NULL),
		   *ns = meta_of(migration, "namespace");
	struct json *schedule = NULL, *policy = NULL;
	int ret;

	if (!name)
		return 0;
	ret = kube_get(r->c->kube, &kind_schedule, ns, name, &schedule, e);
	if (ret || annotation_of(schedule, KEY_STATIC) || meta_of(schedule, "deletionTimestamp")) {
		json_free(schedule);
		return run_ends(ret) ? ret : 0;
	}
	ret = mark(r->c, schedule, e);
	if (ret) {
		log_warn("MigrationSchedule '%s': no copy of it this time: %s", name, e->msg);
		json_free(schedule);
		return run_ends(ret) ? ret : 0;
	}
	name = json_get_string(json_get(schedule, "spec"), "schedulePolicyName", "");
	ret = kube_get(r->c->kube, &kind_policy, NULL, name, &policy, e);
	if (!ret)
		ret = send_copy(r, r->admin, &kind_policy,
			new_copy(policy, NULL, "policy", json_copy(json_get(policy, "policy"))), e);
	if (!run_ends(ret))
		ret = send_copy(r, r->to, &kind_schedule, static_copy(r, schedule), e);
	json_free(schedule);
	json_free(policy);
	return ret;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From an object of one cluster to the same object for the other one: pure, object in, object out.
 *
 *	reason = migrate_skip(o, obj)        NULL: it goes over; else why it does not, for people
 *	out = migrate_prepare(o, obj)        what is applied there, under the field manager of the migration
 *	patch = hold_release(live)           starts what a migration holds back; NULL: nothing to do
 *	patch = hold_stop(live)              stops it, and remembers how it was
 *
 * Words and rules are Stork's (its annotations are read in both spellings that are in use), with what it
 * gets wrong done right: nothing that belongs to the cluster it comes from goes over; a workload that is at
 * zero because it was failed over keeps the count it had; only what a migration suspended is resumed;
 * daemon sets and jobs are held back as well.
 */
#ifndef AGENT_MIGRATE_H
#define AGENT_MIGRATE_H

#include <stdbool.h>

#include "json.h"

#define TANDEM_KEY "tandemfs.dev/"
#define KEY_REPLICAS TANDEM_KEY "migrationReplicas"
#define KEY_SUSPEND TANDEM_KEY "migrationSuspend"
#define KEY_MIGRATED TANDEM_KEY "migrated"
#define KEY_HASH TANDEM_KEY "resource-hash"
#define KEY_RECLAIM TANDEM_KEY "reclaimPolicy"
#define KEY_SOURCE TANDEM_KEY "source-namespace" /* of what was mapped to another one */
/* Annotation of what is deleted while the other site is gone for ever, "true": only the replica of this site is removed. */
#define KEY_DELETE_LOCAL TANDEM_KEY "delete-local"
#define KEY_STATIC TANDEM_KEY "static-copy" /* of a schedule that the other cluster runs */
#define KEY_SUSPENDED_AT TANDEM_KEY "suspended-by-agent" /* of a schedule: kube_resume.c */
#define KEY_SKIP TANDEM_KEY "skip-resource"
#define KEY_FAILS                                                                                  \
	TANDEM_KEY "migrationFailurePolicy" /* names of webhooks whose failurePolicy was Fail */
#define KEY_HELD TANDEM_KEY "held-back" /* a label that no node has */

struct migrate_options {
	bool start_applications;
	bool network_policies_with_cidr;
	bool include_jobs;
	bool keep_node_ports;
	bool ignore_owner_references; /* objects with owners go over like others */
	/* Is this owner, of an object in this namespace, itself migrated or made by one that is? May be NULL: no. */
	bool (*owner_migrates)(void *ctx, const struct json *reference, const char *ns);
	/* The namespace's name at the destination, or NULL where it keeps it. May be NULL. */
	const char *(*namespace_to)(void *ctx, const char *ns);
	/* Is this one of the namespaces that migrate? May be NULL: all are. */
	bool (*namespace_migrates)(void *ctx, const char *ns);
	void *ctx;
};

/* Constant text; NULL: it migrates. */
const char *migrate_skip(const struct migrate_options *o, const struct json *obj);
/* Has the object there all that the prepared one has, with the same values? What is there besides does not matter. */
bool migrate_is_there(const struct json *prepared, const struct json *there);
/* For one that is not skipped. To be freed. Has the hash of all else in the annotation KEY_HASH: what is
 * there with the same hash need not be sent again. */
struct json *migrate_prepare(const struct migrate_options *o, const struct json *obj);
/* The same over what is there already (may be NULL): what that remembers of a workload that was stopped here by hand is
 * kept. ret_note: NULL, or constant text for people that says so. */
struct json *migrate_prepare_over(const struct migrate_options *o, const struct json *obj,
	const struct json *there, const char **ret_note);
/* Subjects of a binding that is there already and ours does not have: added to ours, which is applied. */
void migrate_merge_subjects(struct json *ours, const struct json *there);

/* The StorageClass that a claim names, by its spec or the annotation of old; "" where it names none. */
const char *migrate_class_name(const struct json *claim);
/* The member in which a class there is another than ours; NULL: none that matters to claims. */
const char *migrate_class_differs(const struct json *class, const struct json *there);

/* migrate_hold.c */
/* Makes a prepared object arrive stopped, as its source was when it ran; start: running. There and the note: as above. */
const char *hold_back(struct json *prepared, const struct json *there, bool start);
/* Merge patches (RFC 7386) for an object as it is in the cluster, to be freed; NULL: there is nothing to do. */
struct json *hold_release(const struct json *live);
struct json *hold_stop(const struct json *live);
/* Is it of a kind that these stop and start? And is it one that runs, or would by itself (a CronJob's next time)? */
bool hold_is_workload(const struct json *obj);
bool hold_runs(const struct json *live);

/* --- for the files above --- */

/* Down a path of members: json_path(obj, "metadata", "labels"). NULL when one is missing. */
#define json_path(j, ...) json_descend((j), (const char *const[]){__VA_ARGS__, NULL})
struct json *json_descend(const struct json *j, const char *const *keys);
const char *annotation_of(const struct json *obj, const char *key);
bool kind_is(const struct json *obj, const char *kind);
/* A Job that completed or failed: nothing of it runs again. */
bool job_ended(const struct json *obj);

#endif

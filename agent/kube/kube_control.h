/* SPDX-License-Identifier: Apache-2.0 */
/* What the controllers of kube_run.h share: each runs on the thread of its worker. */
#ifndef AGENT_KUBE_CONTROL_H
#define AGENT_KUBE_CONTROL_H

#include <stdint.h>

#include "agent_config.h"
#include "kube.h"
#include "kube_health.h"
#include "kube_jobs.h"
#include "kube_lease.h"
#include "migrate.h"

#define KEY_SCHEDULE TANDEM_KEY "migration-schedule-name" /* label of a run */
#define KEY_SCHEDULE_TYPE TANDEM_KEY "migration-schedule-type"
#define KEY_FROM TANDEM_KEY "migrated-by" /* NAMESPACE/CLUSTERPAIR that brought an object */

extern const struct kube_kind kind_pair, kind_policy, kind_schedule, kind_migration, kind_secret,
	kind_namespace, kind_volume, kind_lease, kind_failover, kind_claim, kind_class, kind_rule;

/* What one worker of kube_run.h, or one job of a worker, has to itself. */
struct kube_control {
	const struct agent_config *config;
	struct kube *kube; /* this cluster */
	const atomic_bool *stop;
	const struct lease *lease; /* NULL: there is no other process */
	struct kube_health *health; /* of all workers */
	unsigned worker; /* this one in it */
	struct kube_jobs *jobs; /* of this worker; NULL in a job */
	const atomic_bool
		*due; /* of this worker: something changed since it began to look; NULL in a job */
	int64_t pairs_s; /* when all ClusterPairs were looked at */
	int64_t site_s; /* kube_site.h: when the nodes were asked, and what they said */
	unsigned site;
	int64_t twice_s; /* kube_twice.h: when it was looked for */
	int64_t resume_s; /* kube_resume.h: likewise */
	struct kube_node *nodes; /* kube_nodes.h */
	unsigned nnodes;
};

int64_t now_s(void);
const char *meta_of(const struct json *obj, const char *key); /* NULL: absent */

/* May this process act (any longer)? Cheap. */
bool lease_hold(struct kube_control *c);
/* One call that is made now may take so long: this worker is not stuck meanwhile. */
void worker_busy(struct kube_control *c, unsigned ms);
/* Ends early when *stop becomes true. */
void kube_pause(const atomic_bool *stop, uint64_t ns);

/* kube_worker.c: for a job of this worker, with a connection of its own; and what frees that. */
struct kube_control control_for_job(const struct kube_control *c);
void control_clear(struct kube_control *job);

/* kube_status.c: a condition of the status, about the object's generation. */
void condition_set(struct json *status, const struct json *obj, const char *type, bool truth,
	const char *reason, const char *message);
/* The condition "Valid" and the generation it is about: ret is 0, or what is wrong with the object is in `why`. */
void valid_note(struct kube_control *c, const struct kube_kind *kind, struct json *obj, int ret,
	const char *why);
/* Has it the reason? */
bool condition_is(const struct json *status, const char *type, const char *reason);
/* Writes `status` (taken) where it differs from what `obj` has, and makes obj what is there then. */
int status_write(struct kube_control *c, const struct kube_kind *kind, struct json *obj,
	struct json *status, struct err *e);

/* kube_pair.c: the cluster behind a ClusterPair; the caller's. */
int pair_open(
	struct kube_control *c, const char *ns, const char *name, struct kube **ret, struct err *e);
void pairs_look(struct kube_control *c, const struct json *pairs);

/* kube_rule.c: says of each Rule whether it can be followed. */
void rules_look(struct kube_control *c, const struct json *rules);

/* kube_schedule.c: says of each policy whether it can be followed; begins what is due, forgets what is old. */
void policies_look(struct kube_control *c, const struct json *policies);
void schedules_look(struct kube_control *c, const struct json *policies,
	const struct json *schedules, const struct json *migrations);
/* kube_migrate_static.c: of a schedule that is being deleted; its copy there goes, in a job. */
void static_copy_end(struct kube_control *c, const struct json *schedule);
bool migration_ended(const struct json *migration);

/* kube_provision.c: claims and volumes of ours; an error is about this cluster as a whole. */
int provisioning_look(struct kube_control *c, struct err *e);

/* kube_class.c */
struct class_there {
	bool missing; /* it was: it is made now, but for a dry run */
	const char *differs; /* the member in which it does; NULL */
};
bool class_is_ours(const struct json *class); /* NULL: no */
/* Makes this StorageClass of ours where it is missing; `from` is for KEY_FROM. */
int class_bring(struct kube *to, const struct json *class, const char *from, bool dry,
	struct class_there *ret_there, struct err *e);

/* kube_migrate.c. Pure: does an administrators' Migration with this spec, in namespace `system`, copy the Namespace `ns`? */
bool migration_covers(const struct json *spec, const char *system, const struct json *ns);
/* Runs those that have not ended, in jobs: one at a time for each pair, the oldest first. */
void migrations_look(struct kube_control *c, const struct json *migrations);

/* kube_failover_jobs.c: carries out all Failovers that have not ended, each in a job, and returns when all have. */
int failovers_look(struct kube_control *c, struct err *e);

#endif

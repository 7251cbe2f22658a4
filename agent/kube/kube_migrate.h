/* SPDX-License-Identifier: Apache-2.0 */
/* One run of a Migration, for the files kube_migrate*.c. */
#ifndef AGENT_KUBE_MIGRATE_H
#define AGENT_KUBE_MIGRATE_H

#include "kube_control.h"
#include "kube_lanes.h"

/* Objects by a member of their metadata; borrowed. kube_migrate_index.c */
struct run_index {
	const struct json **objs;
	unsigned n;
};
void index_add(struct run_index *x, const struct json *list); /* before index_sort() */
void index_sort(struct run_index *x, const char *key);
const struct json *index_find(const struct run_index *x, const char *key, const char *value);
void index_clear(struct run_index *x);

/* Of one kind, in the namespace that is being copied: all objects, with none filtered out. */
struct run_list {
	struct json *here, *there; /* NULL: not known */
	struct run_index by_name; /* of `there` */
};

struct migration_run {
	struct kube_control *c;
	const struct json *spec;
	struct kube *to;
	struct kube *
		admin; /* what is at cluster scope goes by it; `to`, where no other pair is named */
	struct kube_lanes *lanes, *admin_lanes; /* by `to`, and by `admin` */
	char from[520]; /* NAMESPACE/PAIR, what KEY_FROM has */
	struct migrate_options o;
	bool force; /* spec.forceConflicts */
	bool dry; /* nothing is changed there, but asked what would be */
	struct json *namespaces; /* of strings */
	struct kube_kind *kinds; /* those that are copied */
	unsigned nkinds;
	/* the namespace that is being copied */
	const char *ns, *ns_to;
	bool ns_missing; /* there; only in a dry run it stays so */
	struct run_list *lists; /* by kind */
	struct run_index by_uid; /* of all that is here */
	unsigned depth; /* of owners */
	/* what became of it */
	struct json *cluster; /* what was done at cluster scope: KIND/NAME is a member */
	struct json *resources, *volumes;
	unsigned total, done, failed, nvolumes, volumes_done;
	bool activated;
};

/* One line of the status; "Pending": in a dry run, what would be sent. */
void run_report(struct migration_run *r, const struct kube_kind *kind, const char *ns,
	const char *name, const char *status, const char *reason);
/* Is it excluded by the spec's selectors or kinds? */
bool run_wants(const struct migration_run *r, const struct json *obj);
bool run_excludes_kind(const struct migration_run *r, const struct kube_kind *kind);
bool run_wants_kind(const struct migration_run *r, const struct kube_kind *kind);
/* Added to the cluster by somebody, as opposed to its own kinds. */
bool run_is_custom(const struct kube_kind *kind);
/* Nothing more can be done now, as opposed to: not with this object. */
bool run_ends(int error);

/* All of these: 0, or an error that ends the run; what concerns one object is reported. */
int run_collect(struct migration_run *r, struct err *e); /* fills the lists */
void run_forget(struct migration_run *r); /* and empties them again */
/* kube_migrate_cluster.c: what the namespace needs at cluster scope, and the namespace itself. */
int run_namespace_made(struct migration_run *r, const struct json *here, struct err *e);
int run_send_cluster(struct migration_run *r, struct err *e);
/* The webhooks whose service is in the namespace: when its objects are there, which they might refuse. */
int run_send_webhooks(struct migration_run *r, struct err *e);
int run_send(struct migration_run *r, struct err *e);
int run_purge(struct migration_run *r, struct err *e);

/* kube_migrate_static.c: of the schedule that made this Migration, and of its policy. */
int run_static_copies(struct migration_run *r, const struct json *migration, struct err *e);
/* Pure: the copy of a schedule in the words of there, without `suspend`; for r->spec and r->namespaces. */
struct json *static_copy(const struct migration_run *r, const struct json *schedule);

/* --- sending, kube_migrate_apply.c --- */

/* What is to be sent, in a batch of any order. */
struct run_batch {
	struct run_item *items;
	unsigned n;
	bool cluster; /* goes by `admin` */
	const char *
		forbidden; /* the reason why one is skipped that may not be written; NULL: then it failed */
};
/* Adds it, or reports that it is unchanged. `there` (may be NULL): the object as it is there. Both are borrowed until
 * run_batch_send(). */
void run_batch_add(struct migration_run *r, struct run_batch *b, const struct kube_kind *kind,
	const struct json *obj, const struct json *there);
/* Sends and reports all of it, and empties it. */
int run_batch_send(struct migration_run *r, struct run_batch *b, struct err *e);

#endif

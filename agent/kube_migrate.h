/* SPDX-License-Identifier: Apache-2.0 */
/* One run of a Migration, for the files kube_migrate*.c. */
#ifndef AGENT_KUBE_MIGRATE_H
#define AGENT_KUBE_MIGRATE_H

#include "kube_control.h"

struct migration_run {
	struct kube_control *c;
	const struct json *spec;
	struct kube *to;
	char from[520]; /* NAMESPACE/PAIR, what KEY_FROM has */
	struct migrate_options o;
	struct json *namespaces; /* of strings */
	struct kube_kind *kinds; /* those that are copied */
	unsigned nkinds;
	/* the namespace that is being copied */
	const char *ns, *ns_to;
	struct json **here,
		**there; /* by kind: all objects, with none filtered out; there NULL: not known */
	unsigned depth; /* of owners */
	/* what became of it */
	struct json *resources;
	unsigned total, done, failed;
	bool activated;
};

/* One line of the status; `done`: the object is there as it should be. */
void run_report(struct migration_run *r, const struct kube_kind *kind, const char *ns,
	const char *name, const char *status, const char *reason);
/* Is it excluded by the spec's selectors or kinds? */
bool run_wants(const struct migration_run *r, const struct json *obj);
bool run_wants_kind(const struct migration_run *r, const struct kube_kind *kind);
/* The object of this name; NULL. */
const struct json *run_find(const struct json *list, const char *name);

/* All of these: 0, or an error that ends the run; what concerns one object is reported. */
int run_collect(struct migration_run *r, struct err *e); /* fills here and there */
int run_send(struct migration_run *r, struct err *e);
int run_purge(struct migration_run *r, struct err *e);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the domains are, from what the daemons say of their volumes: a domain is inactive where one volume has it so, and
 * as much in sync as the volume that is least. Pure.
 */
#ifndef AGENT_DOMAINS_H
#define AGENT_DOMAINS_H

#include <stddef.h>

#include "json.h"
#include "limits.h"

#define DOMAINS_MAX 16u
#define DOMAINS_CELL_MAX 512u

/* From best to worst. */
enum domain_sync {
	DOMAIN_IN_SYNC,
	DOMAIN_IN_PROGRESS,
	DOMAIN_NOT_IN_SYNC,
	DOMAIN_UNKNOWN,
};

struct domain {
	char name[DOMAIN_LEN_MAX + 1];
	bool inactive;
	enum domain_sync sync;
	unsigned volumes, in_sync; /* replicas there, and those of them that are in sync */
};

struct domains {
	char local[DOMAIN_LEN_MAX + 1];
	struct domain d[DOMAINS_MAX];
	unsigned count;
	unsigned volumes, waiting; /* those without an active side, or whose writes wait */
	char why[320]; /* of the first that waits */
};

/* A domain that is known without a volume. NULL: there are too many, or it is no name. */
struct domain *domains_add(struct domains *ds, const char *name);
/* What a volume's daemon answered to `status`. */
void domains_note(struct domains *ds, const struct json *status);
/* Somebody did not answer: his volumes may be anywhere. */
void domains_silent(struct domains *ds);
const struct domain *domains_find(const struct domains *ds, const char *name);

const char *domain_sync_name(enum domain_sync sync);
/* "site-a (InSync), site-b (NotInSync)" */
const char *domains_cell(
	const struct domains *ds, bool inactive, char buf[static DOMAINS_CELL_MAX]);
/* How many of each domain's replicas are in sync: "site-a 3/3, site-b 2/3" */
const char *domains_volumes(const struct domains *ds, char buf[static DOMAINS_CELL_MAX]);
/* What somebody has to decide, or "all domains count". */
const char *domains_quorum(const struct domains *ds, char buf[static DOMAINS_CELL_MAX]);
/* clusterDomainInfos, with the counts where `counts`. */
struct json *domains_json(const struct domains *ds, bool counts);

#endif

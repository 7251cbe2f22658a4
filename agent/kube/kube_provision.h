/* SPDX-License-Identifier: Apache-2.0 */
/* One look of the provisioner, for the files kube_provision*.c. On its worker's thread. */
#ifndef AGENT_KUBE_PROVISION_H
#define AGENT_KUBE_PROVISION_H

#include "provision.h"

/* What is remembered of an object between looks: nothing that matters when it is lost. */
struct note {
	char uid[64];
	bool seen; /* in this look */
	uint64_t told; /* hash of the last event */
	bool mount_ends; /* it was told */
	bool erased; /* on all sites, by this process */
	bool local; /* the last try was for this site alone */
	unsigned failures; /* of calls to nodes, in a row */
	uint64_t next_ns; /* monotonic: no call before */
	uint64_t waits_since_ns; /* made, and not mounted yet; 0: it does not wait */
	/* copies at other clusters */
	uint64_t sent, sent_ns; /* a hash of what is there, and when it was looked at */
	unsigned send_failures;
	uint64_t send_next_ns;
};

struct provision_look {
	struct kube_control *c;
	struct json *claims, *volumes, *classes, *pairs, *schedules;
	struct kube **open; /* by pair; NULL: not opened */
	struct err *away; /* by pair: its cluster was in this look; code 0: it was not */
	bool busy; /* something goes on that no watch tells of */
};

struct note *provision_note(const struct json *obj);
/* Once for each text about the object, also over restarts. */
void provision_tell(struct provision_look *l, const struct json *about, bool warning,
	const char *reason, const char *message);

/* The claim's StorageClass; NULL: there is none. Borrowed from the look. */
const struct json *provision_class(const struct provision_look *l, const struct json *claim);

/* kube_provision_pair.c */
/* The claim, its volume and its StorageClass, at each cluster that a ClusterPair leads to. */
void standby_send(struct provision_look *l, const struct json *pv, const struct json *claim);
/* Removes there what standby_send() brought, and what this one is a copy of where its data was erased from here. 0, or an error of
 * the first that could not be asked; -EEXIST: a site has one. */
int standby_remove(struct provision_look *l, const struct json *pv, struct err *e);
void standby_close(struct provision_look *l);

/* kube_provision_call.c: calls to nodes, several at once. */
enum { PROVISION_CALLS_MAX = 8 };
struct provision_call {
	struct kube_control *c;
	struct provision_step step; /* CREATE, UNDO, ERASE, GROW, ABANDON */
	const struct json *about; /* the claim or PersistentVolume; borrowed */
	struct err e; /* of the call, or of what the agent says; code 0: done */
	bool answered; /* the agent said it */
};
void provision_calls(struct provision_call *calls, unsigned n);
/* 0: the agents of the other sites say that none has a replica; -EEXIST: one has; else it is not known. */
int provision_elsewhere(struct kube_control *c, const char *volume, struct err *e);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volumes for claims: what is to be done next, from what is there. Pure; objects in, one step out.
 *
 *	provision_claim()    a claim that waits for a volume, or goes away while one is made for it
 *	provision_volume()   a PersistentVolume of ours: grows, is given back, gets its node
 *
 * Each is called again after its step was done, and finds the next one; nothing is remembered but in the objects:
 *
 *   the claim's finalizer FINALIZER_CLAIM and annotation KEY_NODE   a volume is being made, on that node
 *   the PersistentVolume                                            it is made
 *
 * so that a process that dies between any two leaves nothing that nobody knows of.
 */
#ifndef AGENT_PROVISION_H
#define AGENT_PROVISION_H

#include "kube_nodes.h"

#define PROVISIONER "tandemfs.dev/hostpath"
#define PROVISION_DIRECTORY "data" /* what pods mount, inside the mount */
#define KEY_VOLUME TANDEM_KEY "volume-id" /* label of a PersistentVolume: the volume's name */
#define KEY_NODE TANDEM_KEY "selected-node"
#define KEY_ORIGIN TANDEM_KEY "origin-domain"
#define KEY_PROVISION TANDEM_KEY "provision" /* "false": a person makes the volume */
#define KEY_EPOCH                                                                                  \
	TANDEM_KEY                                                                                 \
	"active-epoch" /* in which the volume was last seen active here, with its claim */
#define FINALIZER_CLAIM TANDEM_KEY "provisioning"
#define FINALIZER_VOLUME TANDEM_KEY "protect"

enum provision_do {
	PROVISION_NOTHING,
	PROVISION_TELL, /* an event, and wait for somebody else */
	PROVISION_WAIT, /* it goes on by itself, soon */
	PROVISION_ASK_NODE, /* is there a Node `node`? and the same again with the answer */
	PROVISION_ABANDON, /* removes the replicas at the other sites; then as UNDO or FORGET */
	/* a claim's */
	PROVISION_MARK, /* finalizer and node */
	PROVISION_CREATE,
	PROVISION_BIND, /* makes the PersistentVolume */
	PROVISION_UNMARK,
	PROVISION_UNDO, /* removes a volume that is being made; then the mark */
	/* a PersistentVolume's */
	PROVISION_PIN, /* to its node */
	PROVISION_GROW,
	PROVISION_CAPACITY, /* of the PersistentVolume := size */
	PROVISION_CLAIM_SIZE, /* of the claim's status := size */
	PROVISION_ACTIVE, /* it is active here, in `epoch`: its policy is what was put aside */
	PROVISION_STANDBY, /* it is not: its policy is put aside, Retain */
	PROVISION_KEEP, /* the same of one without a claim; the next claim of that name is bound to it */
	PROVISION_REBIND, /* the claim that names it is bound to it */
	PROVISION_ERASE, /* the data, on all sites or here alone */
	PROVISION_FORGET, /* the copies at other clusters, the finalizer, the object */
	PROVISION_LET_GO, /* the finalizer alone */
};

/* What the API says of the Node that the volume is, or was to be, on. */
enum provision_node { PROVISION_NODE_UNASKED, PROVISION_NODE_THERE, PROVISION_NODE_GONE };

struct provision_order { /* what is asked of the node's agent */
	uint64_t size; /* bytes */
	char ack[8], owner[24], mode[8];
};

struct provision_step {
	enum provision_do what;
	char volume[VOLUME_NAME_MAX + 1];
	char node[KUBE_NAME_MAX + 1];
	char path[4300]; /* of BIND: what pods mount */
	uint64_t size;
	uint64_t epoch; /* of ACTIVE; 0: not known */
	struct provision_order order;
	bool local; /* of UNDO, ERASE and FORGET: nothing is asked of the other site, nor removed there */
	bool warning; /* the event's type */
	const char *reason; /* of an event; NULL: none */
	char message[512];
};

/* `class` and `pv` NULL: there is none. pv: the one of the name provision_name() gives. */
void provision_claim(const struct json *claim, const struct json *class, const struct json *pv,
	const struct kube_node *nodes, unsigned nnodes, enum provision_node own,
	struct provision_step *ret_s);
/* `claim`: the one it is bound to, NULL when there is none. `names_it`: another whose spec.volumeName it is; NULL. */
void provision_volume(const struct json *pv, const struct json *claim, const struct json *names_it,
	const struct kube_node *nodes, unsigned nnodes, enum provision_node own,
	struct provision_step *ret_s);
/*
 * May the replica in `domain` go because the one in `own`, this site's, is gone with its node? `entry`: what the agent
 * there says of it. -EPERM: it is active there, or may be; -EAGAIN: its daemon does not say.
 */
int provision_may_abandon(
	const struct json *entry, const char *own, const char *domain, struct err *e);

/* Room for VOLUME_NAME_MAX and a zero; false: the claim has no uid that fits. */
bool provision_name(const struct json *claim, char *ret);
/* Is it one of ours, made here or a copy of one? */
bool provision_is_ours(const struct json *pv);
/* Does a replica of the volume serve at this site? */
bool provision_is_active(const char *volume, const struct kube_node *nodes, unsigned nnodes);
/* Does it serve here with a mount that nobody keeps when its daemon ends? All of ours have a holder, so that is the kernel. */
bool provision_mount_ends(const char *volume, const struct kube_node *nodes, unsigned nnodes);
bool provision_has_finalizer(const struct json *obj, const char *name);

/* provision_order.c: a Kubernetes quantity in bytes, rounded up; -EINVAL, -ERANGE. */
int provision_size(const char *quantity, uint64_t *ret_bytes);
void provision_quantity(uint64_t bytes, char *ret, size_t size);
/* What a claim and its class ask for, or -EINVAL with what would be right. */
int provision_order_of(const struct json *claim, const struct json *class,
	struct provision_order *ret_o, struct err *e);

/* provision_object.c: all to be freed by the caller. */
/* `hostname`: what the label kubernetes.io/hostname of the node says. */
struct json *provision_new_volume(const struct json *claim, const struct json *class,
	const struct provision_step *s, const char *domain, const char *hostname);
/* Merge patches. */
struct json *provision_affinity(const char *node, const char *hostname);
struct json *provision_finalizers(const struct json *obj, const char *add, const char *remove);
struct json *provision_order_body(const struct provision_step *s);
/* Of ACTIVE, STANDBY, KEEP and REBIND. */
struct json *provision_role(const struct json *pv, const struct provision_step *s);

/* Seconds before the next try after so many that failed. */
unsigned provision_backoff_s(unsigned failures);

#endif

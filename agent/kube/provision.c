/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The next step of a claim and of a PersistentVolume.
 *
 * A claim's way:
 *
 *   mark      finalizer and node into the claim: from here on a claim that is deleted waits for undo
 *   create    the node's agent makes both replicas; repeated until its status has the volume
 *   bind      the daemon has mounted it: the PersistentVolume, with the claim's uid
 *   unmark    the volume's life is the PersistentVolume's now
 *
 * Failure modes, and what holds them:
 *
 * - The node's agent does not answer: nobody knows what is there. An event, and nothing else, as long as the API has
 *   the Node. When that is gone, somebody says that it never returns, and what was on it with it: a volume that is
 *   given back is then removed at the other sites, unless it is, or may be, active there.
 * - A volume's data is removed only where the object says Delete, its claim is gone, no other claim names it, and the
 *   volume is active at this site, or its node is gone, or no node has it any more. While its daemon does not answer
 *   it may be active at the other site.
 * - A claim that goes at the site that is standby (somebody clears the namespace that was failed over) removes nothing,
 *   then or later: the data is in use at the other site, and is still that application's when the volume comes back. So the
 *   policy goes with the active role. Where the volume is seen to be standby the PersistentVolume is Retain, and the
 *   policy is put aside (KEY_RECLAIM, as in a copy that a migration made); where it is active, with its claim, it is
 *   what was put aside. A claim that went while nobody looked is told by the epoch (KEY_EPOCH): every start as
 *   active has a new one.
 * - The other site is gone for ever: a person says so (KEY_DELETE_LOCAL), and what is here is removed without it. What is,
 *   or may be, active there is still only removed where the PersistentVolume itself is deleted.
 * - All objects are gone (a cluster that was made anew): nothing is removed, a volume without an object is a person's.
 */
#include "provision.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BACKOFF_S_MAX 60u

unsigned provision_backoff_s(unsigned failures)
{
	return failures == 0 ? 0 : failures > 6 ? BACKOFF_S_MAX : 1u << (failures - 1);
}

bool provision_name(const struct json *claim, char *ret)
{
	const char *uid = meta_of(claim, "uid");

	if (!uid || !*uid || strspn(uid, "abcdef0123456789-") != strlen(uid) ||
		strlen(uid) + 4 > VOLUME_NAME_MAX)
		return false;
	snprintf(ret, VOLUME_NAME_MAX + 1, "pvc-%s", uid);
	return true;
}

bool provision_is_ours(const struct json *pv)
{
	const char *name = json_get_string(json_path(pv, "metadata", "labels"), KEY_VOLUME, NULL);

	return name && *name && strlen(name) <= VOLUME_NAME_MAX &&
	       json_get_string(json_path(pv, "spec", "hostPath"), "path", NULL);
}

bool provision_has_finalizer(const struct json *obj, const char *name)
{
	const struct json *list = json_path(obj, "metadata", "finalizers");

	for (unsigned i = 0; i < json_length(list); i++)
		if (!strcmp(json_string_at(list, i, ""), name))
			return true;
	return false;
}

/* --- what the nodes say --- */

enum state { ABSENT, LOST, UNKNOWN, STARTING, STANDBY, ACTIVE };

struct view { /* of a volume at this site */
	enum state state;
	const struct kube_node *node; /* that has it, or does not answer; NULL */
	const struct json *status; /* of its daemon; NULL: it does not answer */
	uint64_t size; /* bytes; 0: not known */
};

/* `domain`: this site, whose replica may be the active one long before it says that it is. */
static void look_at(const struct json *entry, const char *domain, struct view *v)
{
	const char *role, *active;

	v->state = STARTING;
	v->status = json_get(entry, "status");
	if (!v->status)
		return;
	role = json_get_string(v->status, "role", "");
	active = json_get_string(v->status, "active_domain", "");
	v->size = (uint64_t)json_get_int(json_get(v->status, "space"), "size", 0);
	if (!strcmp(role, "active"))
		v->state = json_get_bool(v->status, "mounted", false) ? ACTIVE : STARTING;
	else if (*active && strcmp(active, domain) != 0)
		v->state = STANDBY;
}

static bool look_on(const struct kube_node *n, const char *volume, struct view *v)
{
	const struct json *all = json_get(n->status, "volumes");

	v->node = n;
	for (unsigned i = 0; i < json_length(all); i++) {
		if (strcmp(json_get_string(json_at(all, i), "volume", ""), volume) != 0)
			continue;
		look_at(json_at(all, i), json_get_string(n->status, "domain", ""), v);
		return true;
	}
	v->state = n->status ? ABSENT : UNKNOWN;
	return false;
}

/* `gone` (may be NULL): a node whose engine's pod is not cleared away yet. */
static struct view look_everywhere(
	const char *volume, const struct kube_node *nodes, unsigned nnodes, const char *gone)
{
	struct view v = {0}, one;

	for (unsigned i = 0; i < nnodes; i++) {
		one = (struct view){0};
		if (gone && !strcmp(nodes[i].name, gone))
			continue;
		if (look_on(&nodes[i], volume, &one))
			return one;
		if (one.state == UNKNOWN)
			v = one;
	}
	return v;
}

bool provision_is_active(const char *volume, const struct kube_node *nodes, unsigned nnodes)
{
	return look_everywhere(volume, nodes, nnodes, NULL).state == ACTIVE;
}

bool provision_mount_ends(const char *volume, const struct kube_node *nodes, unsigned nnodes)
{
	struct view v = look_everywhere(volume, nodes, nnodes, NULL);

	/* A daemon of an earlier build does not say. */
	return v.state == ACTIVE && !json_get_bool(v.status, "held", true);
}

static const struct kube_node *find_node(
	const struct kube_node *nodes, unsigned nnodes, const char *name)
{
	for (unsigned i = 0; i < nnodes; i++)
		if (!strcmp(nodes[i].name, name))
			return &nodes[i];
	return NULL;
}

/* Of those that are ready the one with the fewest volumes; the first by name of several. */
static const struct kube_node *choose_node(const struct kube_node *nodes, unsigned nnodes)
{
	const struct kube_node *best = NULL;

	for (unsigned i = 0; i < nnodes; i++) {
		const struct kube_node *n = &nodes[i];

		if (n->ready && n->status &&
			(!best || json_length(json_get(n->status, "volumes")) <
					  json_length(json_get(best->status, "volumes"))))
			best = n;
	}
	return best;
}

/* --- steps --- */

static void set(struct provision_step *s, enum provision_do what, const char *reason, bool warning)
{
	s->what = what;
	s->reason = reason;
	s->warning = warning;
}

#define tell(s, reason_, ...)                                                                      \
	do {                                                                                       \
		set(s, PROVISION_TELL, reason_, true);                                             \
		snprintf((s)->message, sizeof((s)->message), __VA_ARGS__);                         \
	} while (0)

static const char *class_of(const struct json *claim)
{
	const char *old = annotation_of(claim, "volume.beta.kubernetes.io/storage-class");

	return old ? old : json_get_string(json_get(claim, "spec"), "storageClassName", "");
}

/* The controller's word that no volume that is there fits, and that this provisioner is meant. */
static bool is_asked_for(const struct json *claim, const struct json *class)
{
	const char *who = annotation_of(claim, "volume.kubernetes.io/storage-provisioner");
	const char *phase = json_get_string(json_get(claim, "status"), "phase", "Pending");

	if (!who)
		who = annotation_of(claim, "volume.beta.kubernetes.io/storage-provisioner");
	return class && !strcmp(json_get_string(class, "provisioner", ""), PROVISIONER) && who &&
	       !strcmp(who, PROVISIONER) && !strcmp(phase, "Pending") && *class_of(claim) &&
	       !json_get_string(json_get(claim, "spec"), "volumeName", "")[0] &&
	       strcmp(annotation_of(claim, KEY_PROVISION) ? annotation_of(claim, KEY_PROVISION)
							  : "",
		       "false") != 0;
}

static bool is_local(const struct json *obj)
{
	const char *word = annotation_of(obj, KEY_DELETE_LOCAL);

	return word && !strcmp(word, "true");
}

/* A claim that is deleted, and has our mark. */
static void undo(const struct json *claim, const struct json *pv, const struct kube_node *nodes,
	unsigned nnodes, enum provision_node own, struct provision_step *s)
{
	const char *name = annotation_of(claim, KEY_NODE);
	const struct kube_node *n = name ? find_node(nodes, nnodes, name) : NULL;

	if (pv || !name) {
		set(s, PROVISION_UNMARK, NULL, false);
		return;
	}
	snprintf(s->node, sizeof(s->node), "%s", name);
	s->local = is_local(claim);
	if (n && n->status)
		set(s, PROVISION_UNDO, NULL, false);
	else if (own == PROVISION_NODE_UNASKED)
		set(s, PROVISION_ASK_NODE, NULL, false);
	else if (own == PROVISION_NODE_GONE)
		set(s, s->local ? PROVISION_UNMARK : PROVISION_ABANDON, NULL, false);
	else
		tell(s, "ProvisioningCleanupFailed",
			"a volume was being made on node '%.150s', whose agent does not answer: it "
			"is removed when it is back. Where it is gone for ever: kubectl delete "
			"node %.150s",
			name, name);
}

static void chosen(const struct json *claim, const struct json *class,
	const struct kube_node *nodes, unsigned nnodes, struct provision_step *s)
{
	const char *name = annotation_of(claim, "volume.kubernetes.io/selected-node");
	const struct kube_node *n;

	if (!name &&
		!strcmp(json_get_string(class, "volumeBindingMode", ""), "WaitForFirstConsumer"))
		return; /* the scheduler has the word */
	if (!name && json_length(json_get(class, "allowedTopologies"))) {
		tell(s, "ProvisioningFailed",
			"the class has allowedTopologies: these go with volumeBindingMode "
			"WaitForFirstConsumer alone");
		return;
	}
	n = name ? find_node(nodes, nnodes, name) : choose_node(nodes, nnodes);
	if (!n) {
		tell(s, "ProvisioningFailed",
			name ? "node '%.200s' has no engine: look at the pods of DaemonSet "
			       "tandemfs-engine"
			     : "no node%.0s is ready: look at the pods of DaemonSet "
			       "tandemfs-engine",
			name ? name : "");
		return;
	}
	snprintf(s->node, sizeof(s->node), "%s", n->name);
	snprintf(s->message, sizeof(s->message),
		"volume '%s' is made on node '%.200s' and at the other site", s->volume, n->name);
	set(s, PROVISION_MARK, "Provisioning", false);
}

static void bind_to(const struct view *v, struct provision_step *s)
{
	const char *mount = json_get_string(v->status, "mount", "");

	s->size = v->size;
	if (!v->size || *mount != '/' || strlen(mount) > 4096) {
		set(s, PROVISION_WAIT, NULL, false);
		return;
	}
	snprintf(s->path, sizeof(s->path), "%s/" PROVISION_DIRECTORY, mount);
	set(s, PROVISION_BIND, NULL, false);
}

/* A claim with our mark: it goes on where it was. */
static void go_on(const struct json *claim, const struct kube_node *nodes, unsigned nnodes,
	struct provision_step *s)
{
	const char *name = annotation_of(claim, KEY_NODE);
	const struct kube_node *n = name ? find_node(nodes, nnodes, name) : NULL;
	struct view v = {0};

	if (!n || !n->status) {
		tell(s, "ProvisioningFailed",
			"the agent of node '%.200s' does not answer: it goes on when it "
			"does%s%.150s",
			name ? name : "", n && n->error.msg[0] ? ". " : "", n ? n->error.msg : "");
		return;
	}
	snprintf(s->node, sizeof(s->node), "%s", n->name);
	look_on(n, s->volume, &v);
	if (v.state == ACTIVE)
		bind_to(&v, s);
	else if (v.state == STANDBY)
		tell(s, "ProvisioningFailed",
			"volume '%s' is active at %.63s: it is bound when it is active here "
			"(tandemctl failback %s)",
			s->volume, json_get_string(v.status, "active_domain", ""), s->volume);
	else
		set(s, v.state == ABSENT ? PROVISION_CREATE : PROVISION_WAIT, NULL, false);
}

void provision_claim(const struct json *claim, const struct json *class, const struct json *pv,
	const struct kube_node *nodes, unsigned nnodes, enum provision_node own,
	struct provision_step *s)
{
	bool marked = provision_has_finalizer(claim, FINALIZER_CLAIM);
	struct err e = {0};

	memset(s, 0, sizeof(*s));
	if (!provision_name(claim, s->volume))
		return;
	if (meta_of(claim, "deletionTimestamp")) {
		if (marked)
			undo(claim, pv, nodes, nnodes, own, s);
	} else if (pv && marked) {
		snprintf(s->message, sizeof(s->message),
			"volume '%s' is made on both sites and mounted", s->volume);
		set(s, PROVISION_UNMARK, "ProvisioningSucceeded", false);
	} else if (!pv && is_asked_for(claim, class)) {
		if (provision_order_of(claim, class, &s->order, &e))
			tell(s, "ProvisioningFailed", "%s", e.msg);
		else if (marked)
			go_on(claim, nodes, nnodes, s);
		else
			chosen(claim, class, nodes, nnodes, s);
	}
}

/* --- PersistentVolumes --- */

static uint64_t size_of(const struct json *list)
{
	uint64_t size = 0;

	if (provision_size(json_get_string(list, "storage", ""), &size))
		return 0;
	return size;
}

static void keep(const struct json *pv, const struct view *v, struct provision_step *s)
{
	const struct json *ref = json_path(pv, "spec", "claimRef");

	if (meta_of(pv, "deletionTimestamp")) {
		if (provision_has_finalizer(pv, FINALIZER_VOLUME))
			set(s, PROVISION_LET_GO, NULL, false);
		return;
	}
	set(s, PROVISION_TELL, "VolumeRetained", false);
	if (v->state == ABSENT)
		snprintf(s->message, sizeof(s->message),
			"no node of this site has its volume: where it was removed from the other "
			"site, kubectl delete pv %s",
			meta_of(pv, "name"));
	else
		snprintf(s->message, sizeof(s->message),
			"its data is kept. To use it again: kubectl patch pv %s --type merge -p "
			"'{\"spec\":{\"claimRef\":{\"uid\":null,\"resourceVersion\":null}}}', "
			"and a claim '%.120s' with volumeName %s. To remove it: set "
			"persistentVolumeReclaimPolicy to Delete",
			meta_of(pv, "name"), json_get_string(ref, "name", ""), meta_of(pv, "name"));
}

/* Nobody says what the replica does. `was`: its node; NULL: not known. */
static void wait_for_word(
	const char *was, const struct view *v, enum provision_node own, struct provision_step *s)
{
	const char *node = v->node ? v->node->name : "";

	if (v->state == UNKNOWN && own == PROVISION_NODE_UNASKED && was && !strcmp(node, was))
		set(s, PROVISION_ASK_NODE, NULL, false);
	else if (v->state == UNKNOWN && *node)
		tell(s, "VolumeFailedDelete",
			"node '%.120s' does not say what its replica does: it is removed when it "
			"does. Where the node is gone for ever: kubectl delete node %.120s, and "
			"what is at the other site is removed without it",
			node, node);
	else if (v->state == UNKNOWN)
		tell(s, "VolumeFailedDelete",
			"no engine of this site answers: it is removed when one does");
	else
		tell(s, "VolumeFailedDelete",
			"its daemon on node '%.200s' does not say whether it is active: it is "
			"removed when it does ('tandemctl status %s' there tells more)",
			node, s->volume);
}

/* Was the volume active here when its claim was last seen? Each start as active is a new epoch. */
static bool was_active(const struct json *pv, const struct view *v)
{
	const char *seen = annotation_of(pv, KEY_EPOCH);
	int64_t epoch = json_get_int(v->status, "epoch", 0);

	return !seen || !epoch || strtoll(seen, NULL, 10) == epoch;
}

/* Nothing of it is removed, now or later, because this claim went. */
static void keep_for_good(const struct json *pv, const struct view *v, struct provision_step *s)
{
	const char *claim = json_get_string(json_path(pv, "spec", "claimRef"), "name", ""),
		   *active = json_get_string(v->status, "active_domain", "");

	set(s, PROVISION_KEEP, "VolumeRetained", false);
	if (v->state == STANDBY)
		snprintf(s->message, sizeof(s->message),
			"its claim went while it is active at %.63s, and in use there: its data is "
			"kept, and a claim '%.120s' is bound to it again. To remove the data: "
			"delete the claim at %.63s",
			active, claim, active);
	else
		snprintf(s->message, sizeof(s->message),
			"its claim went while it may have been active at the other site: its data "
			"is kept, and a claim '%.120s' is bound to it again. To remove the data: "
			"set persistentVolumeReclaimPolicy to Delete, and kubectl delete pv %s",
			claim, meta_of(pv, "name"));
}

/* A claim names it that it is not bound to. True: that settles it. */
static bool is_named(
	const struct json *pv, const struct json *claim, bool removes, struct provision_step *s)
{
	const struct json *ref = json_path(pv, "spec", "claimRef");
	const char *ns = meta_of(claim, "namespace"), *name = meta_of(claim, "name");

	if (!claim)
		return false;
	if (!strcmp(json_get_string(ref, "namespace", ""), ns) &&
		!strcmp(json_get_string(ref, "name", ""), name) &&
		!meta_of(claim, "deletionTimestamp") && !meta_of(pv, "deletionTimestamp")) {
		set(s, PROVISION_REBIND, "VolumeBoundAgain", false);
		snprintf(s->message, sizeof(s->message),
			"a new claim '%.63s/%.120s' names it, and is bound to it", ns, name);
		return true;
	}
	if (removes)
		tell(s, "VolumeFailedDelete",
			"claim '%.63s/%.120s' names it: its data is not removed while there is one "
			"that does",
			ns, name);
	return removes;
}

/* Its claim is gone, or it shall go itself. */
static void give_back(const struct json *pv, const struct json *names_it, const struct view *v,
	enum provision_node own, struct provision_step *s)
{
	const char *policy =
		json_get_string(json_get(pv, "spec"), "persistentVolumeReclaimPolicy", "Retain");
	bool removes = !strcmp(policy, "Delete"), goes = meta_of(pv, "deletionTimestamp");

	if (is_named(pv, names_it, removes, s))
		return;
	s->local = removes && is_local(pv);
	if (s->local && goes && v->state >= STARTING)
		set(s, PROVISION_ERASE, NULL, false);
	else if (v->state == STANDBY && (removes || !goes))
		keep_for_good(pv, v, s);
	else if (!removes)
		keep(pv, v, s);
	else if (v->state == ACTIVE && !goes && !was_active(pv, v))
		keep_for_good(pv, v, s);
	else if (v->state == ACTIVE)
		set(s, PROVISION_ERASE, NULL, false);
	else if (v->state == ABSENT || (v->state == LOST && s->local))
		set(s, PROVISION_FORGET, NULL, false);
	else if (v->state == LOST)
		set(s, PROVISION_ABANDON, NULL, false);
	else
		wait_for_word(annotation_of(pv, KEY_NODE), v, own, s);
}

/* The policy goes with the active role. True: there is something to write. */
static bool follow_role(const struct json *pv, const struct json *claim, const struct view *v,
	struct provision_step *s)
{
	const char *policy = json_get_string(
			   json_get(pv, "spec"), "persistentVolumeReclaimPolicy", "Retain"),
		   *aside = annotation_of(pv, KEY_RECLAIM), *seen = annotation_of(pv, KEY_EPOCH);
	bool removes = !strcmp(policy, "Delete"), takes = aside && !strcmp(aside, "Delete");
	char epoch[24];

	if (v->state == STANDBY && removes)
		set(s, PROVISION_STANDBY, NULL, false);
	if (v->state != ACTIVE || meta_of(claim, "deletionTimestamp") || (!removes && !takes))
		return s->what != PROVISION_NOTHING;
	s->epoch = (uint64_t)MAX(json_get_int(v->status, "epoch", 0), 0);
	snprintf(epoch, sizeof(epoch), "%" PRIu64, s->epoch);
	if (takes || (s->epoch && (!seen || strcmp(seen, epoch) != 0)))
		set(s, PROVISION_ACTIVE, NULL, false);
	return s->what != PROVISION_NOTHING;
}

int provision_may_abandon(
	const struct json *entry, const char *own, const char *domain, struct err *e)
{
	const struct json *status = json_get(entry, "status");
	const char *active = json_get_string(status, "active_domain", "");

	if (!status)
		return err_set(e, -EAGAIN,
			"its daemon at '%s' does not say whether it is active there", domain);
	if (strcmp(json_get_string(status, "role", ""), "active") != 0 && !strcmp(active, own))
		return 0;
	return err_set(e, -EPERM,
		"it is, or may be, active at '%s' and in use there: delete its claim there, and "
		"then "
		"'tandemctl delete volume %s --local' on its node",
		domain, json_get_string(entry, "volume", "NAME"));
}

static void grow(const struct json *pv, const struct json *claim, const struct view *v,
	struct provision_step *s)
{
	uint64_t capacity = size_of(json_path(pv, "spec", "capacity")), want, have;
	bool copy = annotation_of(pv, KEY_FROM) != NULL;

	want = size_of(json_path(claim, "spec", "resources", "requests"));
	have = size_of(json_path(claim, "status", "capacity"));
	if (v->state == ACTIVE && v->size && want > v->size) {
		s->size = (want + 4095) / 4096 * 4096;
		snprintf(s->message, sizeof(s->message), "volume '%s' grows on both sites",
			s->volume);
		set(s, PROVISION_GROW, "Resizing", false);
	} else if (v->size > capacity && (v->state == ACTIVE || !copy)) {
		s->size = v->size;
		set(s, PROVISION_CAPACITY, NULL, false);
	} else if (have && capacity > have && capacity >= want) {
		s->size = capacity;
		snprintf(s->message, sizeof(s->message),
			"the volume has its new size on both sites");
		set(s, PROVISION_CLAIM_SIZE, "VolumeResizeSuccessful", false);
	}
}

/* A copy that came from the other site. */
static void pin(const struct json *pv, const struct view *v, struct provision_step *s)
{
	const char *mount = json_get_string(v->status, "mount", ""),
		   *path = json_get_string(json_path(pv, "spec", "hostPath"), "path", "");
	size_t n = strlen(mount);

	set(s, PROVISION_PIN, NULL, false);
	if (!n || (!strncmp(path, mount, n) && !strcmp(path + n, "/" PROVISION_DIRECTORY)))
		return;
	s->reason = "StandbyPathDiffers";
	s->warning = true;
	snprintf(s->message, sizeof(s->message),
		"the volume is mounted at '%.180s' here, and pods will look for '%.180s': make "
		"[replicas] mounts the same on both sites",
		mount, path);
}

void provision_volume(const struct json *pv, const struct json *claim, const struct json *names_it,
	const struct kube_node *nodes, unsigned nnodes, enum provision_node own,
	struct provision_step *s)
{
	const char *phase = json_get_string(json_get(pv, "status"), "phase", "");
	const char *name = json_get_string(json_path(pv, "metadata", "labels"), KEY_VOLUME, "");
	const char *was = annotation_of(pv, KEY_NODE);
	bool lost = was && own == PROVISION_NODE_GONE;
	struct view v = look_everywhere(name, nodes, nnodes, lost ? was : NULL);
	struct kube_node silent = {0};

	memset(s, 0, sizeof(*s));
	snprintf(s->volume, sizeof(s->volume), "%s", name);
	if (v.state == ABSENT && was && (lost || !find_node(nodes, nnodes, was))) {
		snprintf(silent.name, sizeof(silent.name), "%s", was);
		v = (struct view){.state = lost ? LOST : UNKNOWN, .node = &silent};
	} else if (!nnodes) {
		v.state = UNKNOWN;
	}
	if (v.node)
		snprintf(s->node, sizeof(s->node), "%s", v.node->name);
	if (v.state >= STARTING && !json_path(pv, "spec", "nodeAffinity"))
		pin(pv, &v, s);
	else if (!strcmp(phase, "Released") || !strcmp(phase, "Failed") ||
		 (meta_of(pv, "deletionTimestamp") && !claim))
		give_back(pv, names_it, &v, own, s);
	else if (!strcmp(phase, "Bound") && claim && !follow_role(pv, claim, &v, s))
		grow(pv, claim, &v, s);
}

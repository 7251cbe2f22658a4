/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The provisioner: claims of a StorageClass of ours get volumes, and PersistentVolumes of ours follow their claims.
 * provision.h decides, from the objects and from what the nodes' agents say of their volumes; here it is done.
 *
 * A look goes on as long as something is under way that no watch tells of (a volume that is made, a daemon that
 * mounts), each turn with everything listed anew, so that claims which come meanwhile join. Calls to nodes are made
 * side by side, PROVISION_CALLS_MAX in a turn; one that failed is tried again after 1, 2, 4 and up to 60 s.
 *
 * The claim and its volume at the other cluster are made over a ClusterPair, by the site where the volume is active
 * (kube_provision_pair.c): only it has the claim, and a pair is the permission that somebody gave there. Which node
 * has the replica there only that cluster's own agent knows, which adds it. So a pair in one direction does for
 * claims of the side that has it; the other side's claims follow when they have one, or with a migration.
 *
 * Failure modes: each write is one patch or one create, and the next look finds out what became of it. Two processes
 * at work make the same volume under the same name, and the API takes one of two PersistentVolumes. What cannot be
 * done is an event on the object, once for each reason.
 */
#include "kube_provision.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "log.h"
#include "volume_object.h"

#define LOOK_NS (60 * NS_PER_S) /* of turns in one look */
#define TURN_NS (200 * NS_PER_MS) /* between two turns */
#define MOUNT_NS (30 * NS_PER_S) /* until a volume that does not mount is told of */
#define STEPS_MAX 4u /* of one object in a turn */

const struct kube_kind kind_claim =
	KUBE_KIND("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", true);
const struct kube_kind kind_class =
	KUBE_KIND("storage.k8s.io", "v1", "StorageClass", "storageclasses", false);
static const struct kube_kind kind_node = KUBE_KIND("", "v1", "Node", "nodes", false);

/* --- what is remembered; the worker's thread --- */

static struct {
	struct note *at;
	unsigned n, size;
} notes;

struct note *provision_note(const struct json *obj)
{
	const char *uid = meta_of(obj, "uid") ? meta_of(obj, "uid") : "";

	for (unsigned i = 0; i < notes.n; i++) {
		if (!strcmp(notes.at[i].uid, uid)) {
			notes.at[i].seen = true;
			return &notes.at[i];
		}
	}
	if (notes.n == notes.size) {
		notes.size = notes.size ? 2 * notes.size : 64;
		notes.at = realloc(notes.at, notes.size * sizeof(*notes.at));
		ensure(notes.at);
	}
	notes.at[notes.n] = (struct note){.seen = true};
	snprintf(notes.at[notes.n].uid, sizeof(notes.at[notes.n].uid), "%s", uid);
	return &notes.at[notes.n++];
}

static void forget_notes(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < notes.n; i++) {
		if (!notes.at[i].seen)
			continue;
		notes.at[n] = notes.at[i];
		notes.at[n++].seen = false;
	}
	notes.n = n;
}

void provision_tell(struct provision_look *l, const struct json *about, bool warning,
	const char *reason, const char *message)
{
	uint64_t before = provision_note(about)->told, told = before;

	kube_event_once(l->c->kube, about, warning ? "Warning" : "Normal", reason, message, &told);
	provision_note(about)->told = told;
	if (told != before)
		log_info("%s '%s': %s: %s", json_get_string(about, "kind", "object"),
			meta_of(about, "name"), reason, message);
}

static void tell(struct provision_look *l, const struct json *about, const struct provision_step *s)
{
	if (s->reason)
		provision_tell(l, about, s->warning, s->reason, s->message);
}

static const struct json *find(const struct json *list, const char *ns, const char *name)
{
	for (unsigned i = 0; i < json_length(list); i++) {
		const struct json *obj = json_at(list, i);

		if (!strcmp(meta_of(obj, "name"), name) &&
			(!ns || !strcmp(meta_of(obj, "namespace"), ns)))
			return obj;
	}
	return NULL;
}

/* --- writing --- */

static bool failed(const struct json *about, int ret, const struct err *e)
{
	if (ret && ret != -EBUSY && ret != -ECANCELED) /* changed meanwhile: the next look */
		log_warn("%s '%s': %s", json_get_string(about, "kind", "object"),
			meta_of(about, "name"), e->msg);
	return ret != 0;
}

/* Patches the object; what it is then replaces *obj, which is the caller's. Takes the patch. */
static bool patch(struct provision_look *l, const struct kube_kind *kind, struct json **obj,
	const char *sub, struct json *p)
{
	struct json *there = NULL;
	struct err e = {0};
	int ret = kube_patch(l->c->kube, kind, meta_of(*obj, "namespace"), meta_of(*obj, "name"),
		sub, p, &there, &e);

	json_free(p);
	if (ret == -ENOENT || failed(*obj, ret, &e)) { /* gone is fine */
		l->busy |= ret == -EBUSY;
		return false;
	}
	json_set_string(there, "apiVersion", json_get_string(*obj, "apiVersion", "v1"));
	json_set_string(there, "kind", json_get_string(*obj, "kind", ""));
	json_free(*obj);
	*obj = there;
	return true;
}

static void hostname_of(struct provision_look *l, const char *node, char *ret, size_t size)
{
	struct json *obj = NULL;
	struct err e;

	snprintf(ret, size, "%s", node);
	if (kube_get(l->c->kube, &kind_node, NULL, node, &obj, &e) == 0)
		snprintf(ret, size, "%s",
			json_get_string(json_path(obj, "metadata", "labels"),
				"kubernetes.io/hostname", node));
	json_free(obj);
}

/* Who may not look takes it for one that is there. False: the API does not say. */
static bool ask_node(struct provision_look *l, const char *node, enum provision_node *ret_own)
{
	struct json *obj = NULL;
	struct err e;
	int ret = kube_get(l->c->kube, &kind_node, NULL, node, &obj, &e);

	json_free(obj);
	*ret_own = ret == -ENOENT ? PROVISION_NODE_GONE : PROVISION_NODE_THERE;
	return !ret || ret == -ENOENT || ret == -EPERM;
}

static bool bind_claim(struct provision_look *l, const struct json *claim, const struct json *class,
	const struct provision_step *s, struct json **ret_pv)
{
	char hostname[KUBE_NAME_MAX + 1];
	struct err e = {0};
	struct json *pv;
	int ret;

	hostname_of(l, s->node, hostname, sizeof(hostname));
	pv = provision_new_volume(claim, class, s, l->c->config->domain, hostname);
	ret = kube_create(l->c->kube, &kind_volume, pv, ret_pv, &e);
	json_free(pv);
	if (ret == -EEXIST)
		ret = kube_get(l->c->kube, &kind_volume, NULL, s->volume, ret_pv, &e);
	if (!ret)
		log_info("PersistentVolume '%s': for claim '%s/%s', on node '%s'", s->volume,
			meta_of(claim, "namespace"), meta_of(claim, "name"), s->node);
	else if (!kube_is_away(ret))
		provision_tell(l, claim, true, "ProvisioningFailed", e.msg);
	return !failed(claim, ret, &e);
}

static bool mark(struct provision_look *l, struct json **claim, const struct provision_step *s)
{
	struct json *p = provision_finalizers(*claim, FINALIZER_CLAIM, NULL),
		    *annotations = json_object();

	json_set_string(annotations, KEY_NODE, s->node);
	json_set(json_get(p, "metadata"), "annotations", annotations);
	return patch(l, &kind_claim, claim, NULL, p);
}

static struct json *storage_of(uint64_t size)
{
	struct json *j = json_object(), *capacity = json_object();
	char text[32];

	provision_quantity(size, text, sizeof(text));
	json_set_string(capacity, "storage", text);
	json_set(j, "capacity", capacity);
	return j;
}

static void set_capacity(struct provision_look *l, struct json **pv, uint64_t size)
{
	struct json *p = json_object();

	json_set(p, "spec", storage_of(size));
	l->busy |= patch(l, &kind_volume, pv, NULL, p); /* the claim is next */
}

/* size 0: it grows. */
static bool set_claim_size(struct provision_look *l, struct json **claim, uint64_t size)
{
	struct json *p = json_object(), *conditions = json_array(),
		    *status = size ? storage_of(size) : json_object();
	const struct json *has = json_path(*claim, "status", "conditions");

	if (!size && json_length(has)) {
		json_free(p);
		json_free(conditions);
		json_free(status);
		return true;
	}
	if (!size) {
		struct json *c = json_object();
		char now[21];

		kube_time(now_s(), now);
		json_set_string(c, "type", "Resizing");
		json_set_string(c, "status", "True");
		json_set_string(c, "lastTransitionTime", now);
		json_append(conditions, c);
	}
	json_set(status, "conditions", conditions);
	json_set(p, "status", status);
	return patch(l, &kind_claim, claim, "status", p);
}

/* --- calls to nodes --- */

struct turn {
	struct provision_look *l;
	struct provision_call calls[PROVISION_CALLS_MAX];
	unsigned n;
};

/* After one that failed; a person's word that it is for this site alone need not wait. */
static bool is_early(const struct json *about, const struct provision_step *s)
{
	struct note *n = provision_note(about);

	if (n->local != s->local) {
		n->local = s->local;
		n->failures = 0;
		n->next_ns = 0;
	}
	return n->next_ns > clock_mono_ns();
}

static void add_call(struct turn *t, const struct json *about, const struct provision_step *s)
{
	if (is_early(about, s))
		return;
	t->l->busy = true;
	if (t->n < PROVISION_CALLS_MAX)
		t->calls[t->n++] =
			(struct provision_call){.c = t->l->c, .step = *s, .about = about};
}

static void forget_volume(
	struct provision_look *l, struct json **pv, const struct provision_step *s);

/* What follows at once. */
static void end_removal(struct turn *t, const struct provision_call *k)
{
	bool is_claim = !json_path(k->about, "spec", "claimRef");
	struct json *obj = json_copy(k->about);
	char text[400];

	if (k->step.what == PROVISION_ABANDON) {
		snprintf(text, sizeof(text),
			"node '%.150s' is gone, and its replica with it: the volume is removed at "
			"the other site without it",
			k->step.node);
		provision_tell(t->l, k->about, false, "NodeGone", text);
	}
	if (k->step.what == PROVISION_ABANDON && !is_claim)
		forget_volume(t->l, &obj, &k->step);
	else if (is_claim)
		patch(t->l, &kind_claim, &obj, NULL,
			provision_finalizers(obj, NULL, FINALIZER_CLAIM));
	json_free(obj);
}

/* What failed there, and the way out where it is the other site that says nothing. */
static void tell_failed(
	struct turn *t, const struct provision_call *k, const char *reason, bool removes)
{
	bool is_volume = json_path(k->about, "spec", "claimRef");
	char text[900];

	snprintf(text, sizeof(text), "%s", k->e.msg);
	if (removes && !k->step.local && volume_peer_is_silent(k->e.code) &&
		(k->answered || k->step.what == PROVISION_ABANDON))
		snprintf(text, sizeof(text),
			"%s. Where the other site is gone for ever: kubectl annotate %s%.63s "
			"%.253s " KEY_DELETE_LOCAL "=true, and what is here is removed without it",
			k->e.msg, is_volume ? "pv" : "pvc -n ",
			is_volume ? "" : meta_of(k->about, "namespace"), meta_of(k->about, "name"));
	provision_tell(t->l, k->about, true, reason, text);
}

static void end_call(struct turn *t, struct provision_call *k)
{
	const char *reason = k->step.what == PROVISION_CREATE ? "ProvisioningFailed"
			     : k->step.what == PROVISION_GROW ? "VolumeResizeFailed"
			     : json_path(k->about, "spec", "claimRef")
				     ? "VolumeFailedDelete"
				     : "ProvisioningCleanupFailed";
	bool abandons = k->step.what == PROVISION_ABANDON,
	     removes = k->step.what == PROVISION_UNDO || k->step.what == PROVISION_ERASE;
	struct note *n = provision_note(k->about);
	int code = k->e.code;

	if (removes && code == -ENOENT && strstr(k->e.msg, "no volume"))
		code = 0;
	if (!code) {
		n->failures = 0;
		n->next_ns = 0;
		n->erased = (k->step.what == PROVISION_ERASE && !k->step.local) || abandons;
		if (k->step.what == PROVISION_UNDO || abandons)
			end_removal(t, k);
		return;
	}
	if (code == -EBUSY || (code == -ETIMEDOUT && !abandons && !k->answered) ||
		code == -ECANCELED ||
		(code == -EEXIST && !n->failures)) { /* it is at it; or it was quicker than we */
		n->failures += code == -EEXIST;
		return;
	}
	n->failures++;
	n->next_ns = clock_mono_ns() + provision_backoff_s(n->failures) * NS_PER_S;
	tell_failed(t, k, reason, removes || abandons);
}

/* --- claims --- */

/* A volume that is made and does not mount: why not, once. */
static void note_waiting(
	struct provision_look *l, const struct json *claim, const struct provision_step *s)
{
	struct note *n = provision_note(claim);
	char text[400];

	if (!n->waits_since_ns)
		n->waits_since_ns = clock_mono_ns();
	if (clock_mono_ns() - n->waits_since_ns < MOUNT_NS) {
		l->busy = true;
		return;
	}
	snprintf(text, sizeof(text),
		"volume '%s' is made, and is not mounted on node '%.100s' yet: 'tandemctl status "
		"%s' there says why",
		s->volume, s->node, s->volume);
	provision_tell(l, claim, true, "ProvisioningFailed", text);
}

const struct json *provision_class(const struct provision_look *l, const struct json *claim)
{
	return find(l->classes, NULL, migrate_class_name(claim));
}

/* True: there is another step right now. *pv is the caller's, or NULL. */
static bool act_on_claim(struct turn *t, const struct json *listed, struct json **claim,
	const struct json *class, struct json **pv, const struct provision_step *s)
{
	struct provision_look *l = t->l;

	switch (s->what) {
	case PROVISION_TELL:
		tell(l, *claim, s);
		return false;
	case PROVISION_WAIT:
		note_waiting(l, *claim, s);
		return false;
	case PROVISION_MARK:
		if (!mark(l, claim, s))
			return false;
		tell(l, *claim, s);
		return true;
	case PROVISION_CREATE:
	case PROVISION_UNDO:
	case PROVISION_ABANDON:
		add_call(t, listed, s);
		return false;
	case PROVISION_BIND:
		return bind_claim(l, *claim, class, s, pv);
	case PROVISION_UNMARK:
		tell(l, *claim, s);
		patch(l, &kind_claim, claim, NULL,
			provision_finalizers(*claim, NULL, FINALIZER_CLAIM));
		return false;
	default:
		return false;
	}
}

static void look_at_claim(struct turn *t, const struct json *listed)
{
	struct provision_look *l = t->l;
	const struct json *class = provision_class(l, listed);
	enum provision_node own = PROVISION_NODE_UNASKED;
	char name[VOLUME_NAME_MAX + 1];
	struct json *claim, *pv = NULL;
	struct provision_step s;

	if (!provision_name(listed, name))
		return;
	pv = json_copy(find(l->volumes, NULL, name));
	provision_claim(listed, class, pv, l->c->nodes, l->c->nnodes, own, &s);
	if (s.what == PROVISION_ASK_NODE && ask_node(l, s.node, &own))
		provision_claim(listed, class, pv, l->c->nodes, l->c->nnodes, own, &s);
	if (s.what == PROVISION_NOTHING || s.what == PROVISION_ASK_NODE) {
		json_free(pv);
		return;
	}
	claim = json_copy(listed);
	for (unsigned i = 0; i < STEPS_MAX && s.what != PROVISION_NOTHING; i++) {
		if (!act_on_claim(t, listed, &claim, class, &pv, &s))
			break;
		provision_claim(claim, class, pv, l->c->nodes, l->c->nnodes, own, &s);
	}
	json_free(claim);
	json_free(pv);
}

/* --- PersistentVolumes --- */

/* For this site alone, what is at other clusters stays as it is: their replica is theirs. */
static void forget_volume(
	struct provision_look *l, struct json **pv, const struct provision_step *s)
{
	struct note *n = provision_note(*pv);
	const char *name = meta_of(*pv, "name");
	struct err e = {0};
	char text[700];
	int ret;

	if (is_early(*pv, s))
		return;
	if (!s->local && standby_remove(l, *pv, &e)) {
		n = provision_note(*pv);
		n->next_ns = clock_mono_ns() + provision_backoff_s(++n->failures) * NS_PER_S;
		snprintf(text, sizeof(text),
			"%s. Or let it go from this site alone: kubectl annotate pv "
			"%.253s " KEY_DELETE_LOCAL "=true",
			e.msg, name);
		provision_tell(l, *pv, true, "VolumeFailedDelete", text);
		return;
	}
	if (!meta_of(*pv, "deletionTimestamp")) {
		ret = kube_delete(l->c->kube, &kind_volume, NULL, name, meta_of(*pv, "uid"), &e);
		if (failed(*pv, ret == -ENOENT ? 0 : ret, &e))
			return;
	}
	log_info("PersistentVolume '%s': its data is removed %s, and it goes", name,
		s->local ? "at this site" : "on all sites");
	if (kube_get(l->c->kube, &kind_volume, NULL, name, pv, &e) == 0)
		patch(l, &kind_volume, pv, NULL, provision_finalizers(*pv, NULL, FINALIZER_VOLUME));
}

static void act_on_volume(struct turn *t, const struct json *listed, const struct json *claim,
	const struct provision_step *s)
{
	struct provision_look *l = t->l;
	struct json *pv = json_copy(listed), *c = json_copy(claim);
	char hostname[KUBE_NAME_MAX + 1];

	if (s->what != PROVISION_CLAIM_SIZE && s->what != PROVISION_GROW)
		tell(l, listed, s);
	switch (s->what) {
	case PROVISION_PIN:
		hostname_of(l, s->node, hostname, sizeof(hostname));
		patch(l, &kind_volume, &pv, NULL, provision_affinity(s->node, hostname));
		break;
	case PROVISION_GROW:
		tell(l, claim, s);
		if (set_claim_size(l, &c, 0))
			add_call(t, claim, s);
		break;
	case PROVISION_CAPACITY:
		set_capacity(l, &pv, s->size);
		break;
	case PROVISION_CLAIM_SIZE:
		if (set_claim_size(l, &c, s->size))
			tell(l, claim, s);
		break;
	case PROVISION_ERASE:
	case PROVISION_ABANDON:
		add_call(t, listed, s);
		break;
	case PROVISION_FORGET:
		forget_volume(l, &pv, s);
		break;
	case PROVISION_ACTIVE:
	case PROVISION_STANDBY:
	case PROVISION_KEEP:
	case PROVISION_REBIND:
		l->busy |= patch(l, &kind_volume, &pv, NULL, provision_role(pv, s));
		break;
	case PROVISION_LET_GO:
		patch(l, &kind_volume, &pv, NULL, provision_finalizers(pv, NULL, FINALIZER_VOLUME));
		break;
	default:
		break;
	}
	json_free(pv);
	json_free(c);
}

/* Once: a claim has other events, too. */
static void note_mount(
	struct provision_look *l, const struct json *claim, const struct provision_step *s)
{
	struct note *n = provision_note(claim);
	bool ends = provision_mount_ends(s->volume, l->c->nodes, l->c->nnodes);

	if (ends && !n->mount_ends)
		provision_tell(l, claim, true, "MountEndsWithDaemon",
			"the mount ends with its daemon: the kernel cannot hand it over (6.9 or "
			"later can). An upgrade or a crash of the engine ends what pods have open: "
			"'tandemctl preflight' on the node says more");
	provision_note(claim)->mount_ends = ends;
}

/* A claim whose volume it shall be, other than `bound`. */
static const struct json *find_naming(
	const struct provision_look *l, const struct json *pv, const struct json *bound)
{
	for (unsigned i = 0; i < json_length(l->claims); i++) {
		const struct json *claim = json_at(l->claims, i);

		if (claim != bound &&
			!strcmp(json_get_string(json_get(claim, "spec"), "volumeName", ""),
				meta_of(pv, "name")))
			return claim;
	}
	return NULL;
}

static void look_at_volume(struct turn *t, const struct json *pv)
{
	struct provision_look *l = t->l;
	const struct json *ref = json_path(pv, "spec", "claimRef"), *claim, *names_it;
	enum provision_node own = PROVISION_NODE_UNASKED;
	struct provision_step s;

	claim = find(
		l->claims, json_get_string(ref, "namespace", ""), json_get_string(ref, "name", ""));
	if (claim && json_get_string(ref, "uid", NULL) &&
		strcmp(meta_of(claim, "uid"), json_get_string(ref, "uid", "")) != 0)
		claim = NULL; /* a new one of the same name */
	names_it = find_naming(l, pv, claim);
	provision_volume(pv, claim, names_it, l->c->nodes, l->c->nnodes, own, &s);
	if (s.what == PROVISION_ASK_NODE && ask_node(l, s.node, &own))
		provision_volume(pv, claim, names_it, l->c->nodes, l->c->nnodes, own, &s);
	if (s.what == PROVISION_ASK_NODE)
		return;
	if (s.what != PROVISION_NOTHING)
		act_on_volume(t, pv, claim, &s);
	else if (claim && !strcmp(json_get_string(json_get(pv, "status"), "phase", ""), "Bound") &&
		 provision_is_active(s.volume, l->c->nodes, l->c->nnodes)) {
		note_mount(l, claim, &s);
		standby_send(l, pv, claim);
	}
}

/* --- a look --- */

static bool concerns_us(const struct provision_look *l)
{
	for (unsigned i = 0; i < json_length(l->classes); i++)
		if (class_is_ours(json_at(l->classes, i)))
			return true;
	for (unsigned i = 0; i < json_length(l->volumes); i++)
		if (provision_is_ours(json_at(l->volumes, i)))
			return true;
	return false;
}

static int read_lists(struct provision_look *l, struct err *e)
{
	const struct {
		const struct kube_kind *kind;
		struct json **list;
	} all[] = {
		{&kind_class, &l->classes},
		{&kind_volume, &l->volumes},
		{&kind_claim, &l->claims},
		{&kind_pair, &l->pairs},
		{&kind_schedule, &l->schedules},
	};
	int ret = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(all) && !ret; i++) {
		*all[i].list = json_array();
		ret = kube_list(l->c->kube, all[i].kind, NULL, NULL, *all[i].list, NULL, e);
	}
	l->open = calloc(json_length(l->pairs) + 1, sizeof(struct kube *));
	l->away = calloc(json_length(l->pairs) + 1, sizeof(*l->away));
	ensure(l->open && l->away);
	return ret;
}

static int one_turn(struct kube_control *c, bool *ret_busy, struct err *e)
{
	struct provision_look l = {.c = c};
	struct turn t = {.l = &l};
	int ret = read_lists(&l, e);

	if (!ret && concerns_us(&l))
		ret = nodes_look(c, NODES_MS_CALM, e);
	if (!ret && concerns_us(&l)) {
		for (unsigned i = 0; i < json_length(l.claims) && lease_hold(c); i++)
			look_at_claim(&t, json_at(l.claims, i));
		for (unsigned i = 0; i < json_length(l.volumes) && lease_hold(c); i++)
			if (provision_is_ours(json_at(l.volumes, i)))
				look_at_volume(&t, json_at(l.volumes, i));
		provision_calls(t.calls, lease_hold(c) ? t.n : 0);
		for (unsigned i = 0; i < t.n && lease_hold(c); i++)
			end_call(&t, &t.calls[i]);
	}
	*ret_busy = l.busy && !ret;
	standby_close(&l);
	free(l.open);
	free(l.away);
	json_free(l.claims);
	json_free(l.volumes);
	json_free(l.classes);
	json_free(l.pairs);
	json_free(l.schedules);
	return ret;
}

int provisioning_look(struct kube_control *c, struct err *e)
{
	uint64_t end = clock_mono_ns() + LOOK_NS;
	bool busy = false;
	int ret;

	do {
		if (busy)
			kube_pause(c->stop, TURN_NS);
		ret = one_turn(c, &busy, e);
	} while (busy && lease_hold(c) && clock_mono_ns() < end);
	if (!ret)
		forget_notes();
	return ret;
}

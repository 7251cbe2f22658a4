/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The claim and its volume at the other cluster, there before they are needed: the same names, the same path, bound by
 * name and never by uid, Retain. What is sent is what a migration would send, under the same manager, so that either
 * finds the other's work unchanged.
 *
 * The way there is a ClusterPair in the claim's namespace, or one in the administrators'. The namespace is the
 * claim's, or what a MigrationSchedule over that pair maps it to, and must be there: a pair's account may not make
 * one, and who makes it gives the rights in it.
 *
 * Its StorageClass goes before it (kube_class.c): nothing grows there without one.
 *
 * Failure modes: no pair, a cluster that is away, rights that are missing: an event on the claim, once, and again
 * after 1, 2, 4 and up to 60 s. One that is away is asked once in a look, whatever the number of claims. A claim of that name that others made there is left alone, and told;
 * so is a class that differs. A class that cannot be brought holds up no claim.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "kube_provision.h"
#include "log.h"

#define MANAGER "tandem-migrator"
#define AGAIN_NS (60 * NS_PER_S) /* until what was there is looked at again */

struct route { /* to one cluster */
	struct kube *to;
	const struct json *schedule; /* with a mapping; NULL */
	char from[520]; /* NAMESPACE/PAIR */
};

static const char *namespace_to(void *ctx, const char *ns)
{
	const struct route *r = ctx;

	return json_get_string(
		json_path(r->schedule, "spec", "template", "spec", "namespaceMapping"), ns, NULL);
}

/* The i-th pair is one for this namespace. */
static bool is_for(const struct provision_look *l, unsigned i, const char *ns, bool own)
{
	return !strcmp(meta_of(json_at(l->pairs, i), "namespace"),
		own ? ns : l->c->config->kube_namespace);
}

static bool has_own(const struct provision_look *l, const char *ns)
{
	for (unsigned i = 0; i < json_length(l->pairs); i++)
		if (is_for(l, i, ns, true))
			return true;
	return false;
}

static const struct json *schedule_of(
	const struct provision_look *l, const char *ns, const char *pair, const char *claim_ns)
{
	for (unsigned i = 0; i < json_length(l->schedules); i++) {
		const struct json *s = json_at(l->schedules, i),
				  *spec = json_path(s, "spec", "template", "spec");

		if (!strcmp(meta_of(s, "namespace"), ns) &&
			!strcmp(json_get_string(spec, "clusterPair", ""), pair) &&
			json_get_string(json_get(spec, "namespaceMapping"), claim_ns, NULL))
			return s;
	}
	return NULL;
}

static int open_route(
	struct provision_look *l, unsigned i, const char *claim_ns, struct route *r, struct err *e)
{
	const char *ns = meta_of(json_at(l->pairs, i), "namespace"),
		   *name = meta_of(json_at(l->pairs, i), "name");
	int ret = 0;

	if (!l->open[i])
		ret = pair_open(l->c, ns, name, &l->open[i], e);
	r->to = l->open[i];
	r->schedule = schedule_of(l, ns, name, claim_ns);
	snprintf(r->from, sizeof(r->from), "%s/%s", ns, name);
	return ret;
}

void standby_close(struct provision_look *l)
{
	for (unsigned i = 0; i < json_length(l->pairs); i++)
		kube_free(l->open[i]);
}

/* --- bringing --- */

static int get(struct kube *k, const struct kube_kind *kind, const char *ns, const char *name,
	struct json **ret_obj, struct err *e)
{
	int ret = kube_get(k, kind, ns, name, ret_obj, e);

	return ret == -ENOENT ? 0 : ret;
}

static bool is_brought(const struct json *obj)
{
	return annotation_of(obj, KEY_FROM) != NULL;
}

/* Takes nothing; `there` NULL: it is not there. */
static int bring(const struct route *r, const struct kube_kind *kind, struct json *prepared,
	const struct json *there, struct err *e)
{
	const char *ours = annotation_of(prepared, KEY_HASH), *theirs = NULL;

	if (there && !is_brought(there))
		return err_set(e, -EEXIST,
			"%s '%.100s' is there already and is not from here: it is left alone. "
			"Remove it or rename one of them",
			kind->kind, meta_of(prepared, "name"));
	theirs = there ? annotation_of(there, KEY_HASH) : NULL;
	if (theirs && !strcmp(ours, theirs))
		return 0;
	json_set_string(json_path(prepared, "metadata", "annotations"), KEY_FROM, r->from);
	return kube_apply(r->to, kind, prepared, MANAGER, there != NULL, NULL, e);
}

/* One whose claim was removed there serves the new one. */
static int free_claim(const struct route *r, const struct json *there, struct err *e)
{
	struct json *p, *spec, *ref;
	int ret;

	if (strcmp(json_get_string(json_get(there, "status"), "phase", ""), "Released") != 0)
		return 0;
	p = json_object();
	spec = json_object();
	ref = json_object();
	json_set_string(ref, "uid", NULL);
	json_set_string(ref, "resourceVersion", NULL);
	json_set(spec, "claimRef", ref);
	json_set(p, "spec", spec);
	ret = kube_patch(r->to, &kind_volume, NULL, meta_of(there, "name"), NULL, p, NULL, e);
	json_free(p);
	return ret;
}

/* After a failover: what is there was made there, and only the size that is asked for follows. */
static int bring_size(
	const struct route *r, const struct json *claim, const struct json *there, struct err *e)
{
	const struct json *want = json_path(claim, "spec", "resources", "requests");
	struct json *p, *spec, *resources;
	int ret;

	if (!there || json_equal(want, json_path(there, "spec", "resources", "requests")))
		return 0;
	p = json_object();
	spec = json_object();
	resources = json_object();
	json_set(resources, "requests", json_copy(want));
	json_set(spec, "resources", resources);
	json_set(p, "spec", spec);
	ret = kube_patch(r->to, &kind_claim, meta_of(there, "namespace"), meta_of(there, "name"),
		NULL, p, NULL, e);
	json_free(p);
	return ret;
}

/* A volume of this name that is no copy: ours are copies of that one. */
static bool is_original(const struct json *pv, const struct json *there)
{
	return there && !is_brought(there) && is_brought(pv) && provision_is_ours(there);
}

static int bring_both(const struct route *r, struct json *pv, struct json *claim, struct err *e)
{
	struct json *pv_there = NULL, *claim_there = NULL;
	const char *ns = meta_of(claim, "namespace");
	int ret = get(r->to, &kind_volume, NULL, meta_of(pv, "name"), &pv_there, e);

	if (!ret)
		ret = get(r->to, &kind_claim, ns, meta_of(claim, "name"), &claim_there, e);
	if (!ret && claim_there &&
		strcmp(json_get_string(json_get(claim_there, "spec"), "volumeName", ""),
			meta_of(pv, "name")) != 0)
		ret = err_set(e, -EEXIST,
			"claim '%.100s' is there already, with another volume: remove it or rename "
			"one of them",
			meta_of(claim, "name"));
	if (!ret && is_original(pv, pv_there)) {
		ret = bring_size(r, claim, claim_there, e);
	} else if (!ret) {
		ret = bring(r, &kind_volume, pv, pv_there, e);
		if (!ret && pv_there)
			ret = free_claim(r, pv_there, e);
		if (!ret)
			ret = bring(r, &kind_claim, claim, claim_there, e);
	}
	if (ret == -ENOENT)
		ret = err_set(e, ret,
			"there is no namespace '%.63s' there: make it, with a RoleBinding to the "
			"ClusterRole tandem-migrator for the pair's account",
			ns);
	json_free(pv_there);
	json_free(claim_there);
	return ret ? err_wrap(e, "the cluster of ClusterPair '%s'", r->from) : 0;
}

/* An error is about the cluster. */
static int bring_class(
	struct provision_look *l, const struct route *r, const struct json *claim, struct err *e)
{
	const struct json *class = provision_class(l, claim);
	struct class_there there;
	char text[700];
	int ret;

	if (!class_is_ours(class))
		return 0;
	ret = class_bring(r->to, class, r->from, false, &there, e);
	if (kube_is_away(ret))
		return ret;
	if (ret) {
		snprintf(text, sizeof(text),
			"StorageClass '%.100s' at the cluster of ClusterPair '%.100s': %.250s: the "
			"claim cannot be grown there without it (ClusterRole "
			"tandem-migrator-volumes lets the pair's account make it)",
			meta_of(class, "name"), r->from, e->msg);
		provision_tell(l, claim, true, "StandbyClassPending", text);
	} else if (there.differs) {
		snprintf(text, sizeof(text),
			"StorageClass '%.100s' is at the cluster of ClusterPair '%.100s' with "
			"another %s: it is left as it is",
			meta_of(class, "name"), r->from, there.differs);
		provision_tell(l, claim, true, "StandbyClassDiffers", text);
	}
	return 0;
}

/* A cluster that costs a time-out is asked once in a look, and not once for each claim. */
static int was_away(const struct provision_look *l, unsigned i, struct err *e)
{
	if (l->away[i].code)
		*e = l->away[i];
	return l->away[i].code;
}

static int note_away(struct provision_look *l, unsigned i, int error, const struct err *e)
{
	if (error == -ETIMEDOUT || error == -ECONNREFUSED || error == -ECONNRESET) {
		l->away[i] = *e;
		l->away[i].code = error;
	}
	return error;
}

static int send_over(struct provision_look *l, unsigned i, const struct json *pv,
	const struct json *claim, uint64_t *hash, bool ask, struct err *e)
{
	struct route r = {0};
	struct migrate_options o = {.namespace_to = namespace_to, .ctx = &r};
	struct json *p, *q;
	int ret = open_route(l, i, meta_of(claim, "namespace"), &r, e);

	if (!ret && ask)
		ret = was_away(l, i, e);
	if (ret)
		return ret;
	if (ask)
		ret = note_away(l, i, bring_class(l, &r, claim, e), e);
	if (ret)
		return ret;
	p = migrate_prepare(&o, pv);
	q = migrate_prepare(&o, claim);
	*hash = (*hash * 0x100000001b3ull) ^ json_hash(p) ^ (json_hash(q) << 1);
	if (ask)
		ret = note_away(l, i, bring_both(&r, p, q, e), e);
	json_free(p);
	json_free(q);
	return ret;
}

/* To all clusters that a pair leads to. `ask` false: only the hash of what they should have. */
static int send_all(struct provision_look *l, const struct json *pv, const struct json *claim,
	uint64_t *hash, bool ask, struct err *e)
{
	const char *ns = meta_of(claim, "namespace");
	bool own = has_own(l, ns);
	unsigned n = 0;
	int ret = 0;

	*hash = 0;
	for (unsigned i = 0; i < json_length(l->pairs) && !ret; i++) {
		if (!is_for(l, i, ns, own))
			continue;
		n++;
		ret = send_over(l, i, pv, claim, hash, ask, e);
	}
	if (!ret && !n)
		ret = err_set(e, -ENOENT,
			"no ClusterPair in namespace '%.63s' or '%.63s': the claim and its volume "
			"are made at the other cluster when there is one",
			ns, l->c->config->kube_namespace);
	return ret;
}

void standby_send(struct provision_look *l, const struct json *pv, const struct json *claim)
{
	struct note *n = provision_note(claim);
	uint64_t hash = 0, now = clock_mono_ns();
	struct err e = {0};
	int ret;

	if (n->send_next_ns > now)
		return;
	ret = send_all(l, pv, claim, &hash, false, &e);
	if (!ret && hash == n->sent && now - n->sent_ns < AGAIN_NS)
		return;
	if (!ret)
		ret = send_all(l, pv, claim, &hash, true, &e);
	if (!ret) {
		if (n->sent != hash)
			log_info("claim '%s/%s': it and its volume are at the other cluster",
				meta_of(claim, "namespace"), meta_of(claim, "name"));
		n->sent = hash;
		n->sent_ns = now;
		n->send_failures = 0;
		return;
	}
	/* Counted from here: the call may have lasted longer than that. */
	n->send_next_ns = clock_mono_ns() + provision_backoff_s(++n->send_failures) * NS_PER_S;
	if (ret != -ECANCELED)
		provision_tell(
			l, claim, ret != -ENOENT || json_length(l->pairs), "StandbyPending", e.msg);
}

/* --- removing --- */

/* Takes `there`, which may be NULL. */
static int remove_there(
	const struct route *r, const struct kube_kind *kind, struct json *there, struct err *e)
{
	int ret = there ? kube_delete(r->to, kind, meta_of(there, "namespace"),
				  meta_of(there, "name"), meta_of(there, "uid"), e)
			: 0;

	json_free(there);
	return ret == -ENOENT ? 0 : ret;
}

/* What is there under these names and has nothing to do with `pv` is left alone. So is what this one is a copy of, but for
 * where the data is known to be `erased`: in a cluster that has no replica nothing else tells that. */
static int remove_both(struct route *r, const struct json *pv, bool erased, struct err *e)
{
	const struct json *ref = json_path(pv, "spec", "claimRef");
	const char *ns = json_get_string(ref, "namespace", ""), *to = namespace_to(r, ns),
		   *name = meta_of(pv, "name");
	struct json *volume = NULL, *claim = NULL;
	bool original;
	int ret = get(r->to, &kind_volume, NULL, name, &volume, e);

	if (!ret)
		ret = get(r->to, &kind_claim, to ? to : ns, json_get_string(ref, "name", ""),
			&claim, e);
	original = erased && is_original(pv, volume);
	if (ret || !claim || (!is_brought(claim) && !original) ||
		strcmp(json_get_string(json_get(claim, "spec"), "volumeName", ""), name) != 0) {
		json_free(claim);
		claim = NULL;
	}
	if (ret || !volume || (!is_brought(volume) && !original)) {
		json_free(volume);
		volume = NULL;
	}
	if (ret)
		return ret;
	ret = remove_there(r, &kind_claim, claim, e);
	if (ret)
		json_free(volume);
	return ret ? ret : remove_there(r, &kind_volume, volume, e);
}

int standby_remove(struct provision_look *l, const struct json *pv, struct err *e)
{
	const struct json *ref = json_path(pv, "spec", "claimRef");
	const char *ns = json_get_string(ref, "namespace", "");
	bool own = has_own(l, ns), erased = provision_note(pv)->erased, asked = erased;
	int ret = 0;

	for (unsigned i = 0; i < json_length(l->pairs) && !ret; i++) {
		struct route r = {0};

		if (!is_for(l, i, ns, own))
			continue;
		/* A claim that goes there takes the data along where the volume is active. */
		if (!asked)
			ret = provision_elsewhere(l->c, meta_of(pv, "name"), e);
		asked = true;
		if (ret == -EEXIST)
			return ret;
		if (!ret)
			ret = open_route(l, i, ns, &r, e);
		if (!ret)
			ret = was_away(l, i, e);
		if (!ret)
			ret = note_away(l, i, remove_both(&r, pv, erased, e), e);
		if (ret)
			err_wrap(e,
				"the data is removed here; claim and volume at the cluster of "
				"ClusterPair '%.100s' are not yet (remove the pair where that is "
				"gone for ever)",
				r.from[0] ? r.from : meta_of(json_at(l->pairs, i), "name"));
	}
	return ret;
}

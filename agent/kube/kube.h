/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The API of one cluster: a function for each call. Blocking; one thread at a time.
 *
 * Every call returns 0 or a -errno with words for a person, which are the API's own where it had some:
 *	-EINVAL 400, 422   -EACCES 401, and certificates   -EPERM 403   -ENOENT 404   -EEXIST 409 AlreadyExists
 *	-EBUSY 409: somebody else changed it, or owns a field   -ESTALE 410   -EAGAIN 429, 5xx   -EPROTO others
 * and those of http_call() where there was no answer. kube_is_away() tells which of them may pass by waiting.
 * Objects that come back are the caller's.
 */
#ifndef AGENT_KUBE_H
#define AGENT_KUBE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "json.h"
#include "kube_config.h"

#define KUBE_NAME_MAX 253u

/* Where a kind of objects is found. */
struct kube_kind {
	char group[KUBE_NAME_MAX + 1]; /* "": core */
	char version[64], kind[64], plural[64];
	bool namespaced;
	bool listed, written; /* has the verbs list and get; create, patch and delete */
};

#define KUBE_KIND(g, v, k, p, ns)                                                                  \
	((struct kube_kind){.group = g,                                                            \
		.version = v,                                                                      \
		.kind = k,                                                                         \
		.plural = p,                                                                       \
		.namespaced = (ns),                                                                \
		.listed = true,                                                                    \
		.written = true})

struct kube;

/* `what` is for messages: "the cluster of site b". `stop` (may be NULL) ends calls with -ECANCELED. All copied but
 * stop. */
struct kube *kube_new(const char *what, const struct kube_access *a, const atomic_bool *stop);
void kube_free(struct kube *k); /* NULL is fine */
/* Another connection to the same API as the same user, for another thread. Called by the thread that has k. */
struct kube *kube_copy(const struct kube *k, const atomic_bool *stop);
bool kube_is_away(int error);

/* ns NULL: an object of no namespace; in lists, of all namespaces. */
int kube_get(struct kube *k, const struct kube_kind *kind, const char *ns, const char *name,
	struct json **ret_obj, struct err *e);
/* Appends the objects to `to`, with their apiVersion and kind; page by page. `selector` is of labels, or NULL.
 * ret_version (may be NULL): what a watch goes on from; to be freed. On failure some may have been appended. */
int kube_list(struct kube *k, const struct kube_kind *kind, const char *ns, const char *selector,
	struct json *to, char **ret_version, struct err *e);
/* The same as the server's table of it: "columnDefinitions" and "rows", of at most 500 objects. */
int kube_table(struct kube *k, const struct kube_kind *kind, const char *ns,
	struct json **ret_table, struct err *e);
/* ret_obj may be NULL in all of these. */
int kube_create(struct kube *k, const struct kube_kind *kind, const struct json *obj,
	struct json **ret_obj, struct err *e);
/* The field manager of what a migration sends, and of what stops and starts it. */
#define MIGRATE_MANAGER "tandem-migrator"
/* Server-side apply; without KUBE_FORCE, another's field is -EBUSY, and -EALREADY where all that conflict were written
 * by the patches of MIGRATE_MANAGER. */
#define KUBE_FORCE 1u
#define KUBE_DRY_RUN 2u /* everything but writing */
int kube_apply(struct kube *k, const struct kube_kind *kind, const struct json *obj,
	const char *manager, unsigned flags, struct json **ret_obj, struct err *e);
/* Pure: the latter, of the Status that a conflict is answered with. */
bool kube_conflict_is_ours(const struct json *status);
/* A merge patch, of a subresource ("status") or of the object (NULL). */
int kube_patch(struct kube *k, const struct kube_kind *kind, const char *ns, const char *name,
	const char *sub, const struct json *patch, struct json **ret_obj, struct err *e);
/* One of the object, whose fields are `manager`'s then. */
int kube_patch_as(struct kube *k, const struct kube_kind *kind, const char *ns, const char *name,
	const char *manager, const struct json *patch, struct err *e);
/* All of it anew, if its metadata.resourceVersion is still that one (else -EBUSY). */
int kube_update(struct kube *k, const struct kube_kind *kind, const char *sub,
	const struct json *obj, struct json **ret_obj, struct err *e);
/* Only the one with this uid (NULL: whichever has the name), in the background. */
int kube_delete(struct kube *k, const struct kube_kind *kind, const char *ns, const char *name,
	const char *uid, struct err *e);
/* Changes from `version` on, for at most timeout_s; each until `event` returns false, which is 0 then, as the end of
 * the time is. The object is borrowed. -ESTALE: list again. */
int kube_watch(struct kube *k, const struct kube_kind *kind, const char *ns, const char *version,
	unsigned timeout_s, bool (*event)(void *ctx, const char *type, const struct json *obj),
	void *ctx, struct err *e);
/*
 * All kinds, each at the version that the server prefers; to be freed. Kinds that are served in two groups come
 * once. A group that does not answer is left out, and counted in *ret_missing (may be NULL).
 */
int kube_discover(struct kube *k, struct kube_kind **ret_kinds, unsigned *ret_n,
	unsigned *ret_missing, struct err *e);
/* A new token of a service account, for at most ttl_s; to be freed. *ret_ends_s: when it ends, 0 when not known. */
int kube_token(struct kube *k, const char *ns, const char *account, int64_t ttl_s, char **ret_token,
	int64_t *ret_ends_s, struct err *e);
/* An Event about the object; "Normal" or "Warning", a CamelCase reason. Failure is a line in the log. */
void kube_event(struct kube *k, const struct json *about, const char *type, const char *reason,
	const char *message);
/* The same, but only one with these words for as long as the API keeps it: its name is made of them, but for digits in the message. *hash is what
 * was told last (0: nothing): the same is not even sent. 0 when it is there. */
int kube_event_once(struct kube *k, const struct json *about, const char *type, const char *reason,
	const char *message, uint64_t *hash);

/* A time as the API writes it; ret has room for 21 bytes. */
void kube_time(int64_t s, char *ret);
/* The other way round; 0: it is none. */
int64_t kube_time_parse(const char *text);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* One Failover that is under way, for the files kube_failover*.c. All of it belongs to its job's thread. */
#ifndef AGENT_KUBE_FAILOVER_IMPL_H
#define AGENT_KUBE_FAILOVER_IMPL_H

#include "kube_control.h"
#include "kube_nodes.h"
#include "switch.h"

#define FAILOVER_NAMESPACES_MAX 256u
#define FAILOVER_AWAY_MS                                                                           \
	15000u /* how long an unplanned one waits for an engine before it goes on without */

struct failover {
	struct kube_control c; /* of its job */
	struct json *obj;
	struct switch_run run;
	bool begun; /* its stage, by this process; else this one goes on with it */
	/* What the status keeps: */
	struct json *summary; /* [{namespace, sourceNamespace, wasStopped, status, reason}] */
	struct json *volumes; /* [{volume, namespaces, node, operation, status, reason}] */
	struct kube *there
		[FAILOVER_NAMESPACES_MAX]; /* by summary: the source's cluster; NULL: not yet */
	uint64_t nodes_ms; /* when the engines were looked at */
	uint64_t again_ms; /* when what is refused the way back was tried again; monotonic */
	bool waits; /* for what comes of the fence of an unplanned one about the same */
	bool lost; /* since then a volume had no engine, or a call to one had no answer */
};

/*
 * Carries out the one that was just read, to its end. 0: it has ended, or is gone, or the lease is; or an error of this
 * cluster's API, after which it is to be read and begun again.
 */
int failover_carry_out(struct kube_control *c, const struct json *obj, struct err *e);
/* kube_failover_jobs.c, pure: is there among all an unplanned one that began, since f did, to fence what f is about, too?
 * Then f takes no step. *ret_by: the first that has fenced it, which overtakes f; borrowed; NULL: none has yet. */
bool failover_overtaker(
	const struct failover *f, const struct json *all, const struct json **ret_by);

uint64_t failover_now_ms(void);
/* Since that time; 0 where it is still to come: whoever wrote it has a clock that is ahead of this one's. */
uint64_t failover_since_ms(uint64_t when_ms);
const char *failover_spec(const struct failover *f, const char *key); /* "" where it is left out */
const char *failover_from(const struct failover *f);
const char *failover_namespace(const struct failover *f, unsigned i); /* here */
/* Is it told and not moved? */
bool failover_is_left(const struct failover *f, unsigned i);
/* Marks its line in the summary; `reason` NULL: none. */
void failover_namespace_set(struct failover *f, unsigned i, const char *status, const char *reason);

/* What a look found. */
void seen_say(struct switch_seen *s, enum switch_found found, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* An error of a cluster's API: what may pass by waiting is not refused. */
void seen_error(struct switch_seen *s, int error, const struct err *e);

/* kube_failover_names.c: fills the summary by what the spec says. */
int failover_take_namespaces(struct failover *f, bool only_volumes, struct err *e);
/* Pure: of the namespaces that may not be read, those that a PersistentVolume of a volume that is active at the source
 * belongs to, by the Volume objects. */
void failover_add_hidden(struct failover *f, const struct json *hidden, const struct json *pvs,
	const struct json *objects);
/* What the namespace of a line is called at the source. */
const char *failover_source(const struct failover *f, unsigned i);
bool failover_is_excluded(const struct failover *f, unsigned i);
/* Is it another one at the source than all lines before it? */
int failover_check_sources(const struct failover *f, unsigned i, struct err *e);
/* -ENOENT with words where there is none: lists of it would be empty, and no error. */
int failover_check_namespace(struct failover *f, const char *ns, struct err *e);

/* kube_failover_volumes.c: which namespaces and volumes; each 0 or an error. */
int failover_collect(struct failover *f, struct err *e);
void failover_add_volume(
	struct failover *f, const char *name, const char *ns); /* ns NULL: of none */
/* Pure: those that the Volume objects say have a replica in either domain. */
void failover_add_objects(struct failover *f, const struct json *objects);
/* The engines, looked at again when that was a while ago; one that is silent costs NODES_MS_HURRY. */
int failover_nodes(struct failover *f, unsigned age_ms, struct err *e);

/* kube_failover_node.c: "" where the whole domain is left. */
const char *failover_node(const struct failover *f);
/* Is it a planned one that moves all that the node has, but for what is excluded? */
bool failover_empties_node(const struct failover *f);
/* Of what was collected only what is on that node, and what that takes along; `excluded` are namespaces, by their names
 * here. 0; -ENOENT with words where that is nothing, -EBUSY while an engine that does not answer may have some; or an
 * error. */
int failover_take_node(struct failover *f, const struct json *excluded, struct err *e);
/* Pure, as the five below: what the engines and the Volume objects say of the node. */
struct node_found {
	struct json *on; /* the names of the volumes on it */
	struct json *known; /* the nodes of that domain */
	bool all; /* every engine here answered, and it is known of each volume where it is */
};
struct node_found node_found_of(const struct failover *f, const struct json *objects);
void node_found_free(struct node_found *found);
/* 0; -ENOENT with words where nothing is on it, -EBUSY where that, or of a planned one anything, may not be all and it
 * is not late. */
int node_found_check(
	const struct failover *f, const struct node_found *found, bool late, struct err *e);
/* Leaves out of summary and volumes what is not of these volumes, or marks its line as Failed. */
void failover_keep_node(struct failover *f, const struct json *on);
/* The same of a planned one. */
void failover_keep_whole(struct failover *f, const struct json *on);
/* Adds the volumes on the node that no namespace has. -EINVAL with words where one that stays has one, or may have. */
int failover_add_rest(struct failover *f, const struct json *on, const struct json *excluded,
	const struct json *pvs, struct err *e);
/* Pure: the node of the replica in the domain, in a daemon's peers or a Volume's replicas; the host of its address
 * where it has no name; "": neither. */
const char *replica_node(const struct json *replicas, const char *domain, char *buf, size_t size);

/* kube_failover_storage.c: looks at stages. */
void failover_check(struct failover *f, struct switch_seen *s); /* a part of Initial */
void failover_fence(struct failover *f, struct switch_seen *s);
void failover_mount(struct failover *f, struct switch_seen *s);
/* Of one entry of the status' volumes. */
bool volume_is(const struct json *v, const char *status);
const char *volume_name(const struct json *v);
void volume_set(struct json *v, const char *status, const char *reason); /* NULL: none */
/* The volume's node, remembered; NULL with the reason in the volume. */
const char *failover_node_of(struct failover *f, struct json *v);
/* How many volumes there are of a status; ret_why (may be NULL) gets the first one's reason, where there is one. */
unsigned failover_count(const struct failover *f, const char *status, const char **ret_why);
const char *failover_volumes_word(unsigned n);
/* Is it a "no" that waiting will not change? A question is none, and nor is a daemon that is starting. */
bool failover_is_final(int code);

/* kube_failover_hand.c: likewise. */
void failover_hand_over(struct failover *f, struct switch_seen *s);
/* A part of Rollback: volumes that are not back in the end are refused, with words about the first. */
void failover_go_back(struct failover *f, struct switch_seen *s);
/* Are all volumes of the namespace (by its name here) active at the source, as the engines here say now? false: *ret_v,
 * borrowed, is one that is not, or is not known to be. */
bool failover_is_home(const struct failover *f, const char *ns, const struct json **ret_v);
/* Pure: of the status of a volume's daemon here; NULL or no object: it does not answer. */
enum back_word { BACK_UNKNOWN, BACK_HOME, BACK_AWAY };
enum back_word failover_back_judge(const struct json *status, const char *from);
/* Pure: the id of the newest operation of the volume that is under way to this domain; NULL: none. One the other way, or a
 * dry run, is not what was asked for: its end is no hand-over. Borrowed from the list. */
const char *failover_operation(const struct json *operations, const char *volume, const char *to);

/* kube_failover_apps.c: likewise. */
void failover_last_mile(struct failover *f, struct switch_seen *s);
void failover_scale_down(struct failover *f, struct switch_seen *s);
void failover_wait(struct failover *f, struct switch_seen *s);
void failover_scale_up(struct failover *f, struct switch_seen *s);
void failover_roll_back(struct failover *f, struct switch_seen *s);
void failover_rule(struct failover *f, bool pre, struct switch_seen *s);
/* Pure: the name of the ClusterPair to the cluster of that domain: one that says so, or else that says nothing, a ready one
 * before others; borrowed. NULL: none, or (e->code is set, with words) some of which none says where it leads. */
const char *failover_pair(const struct json *pairs, const char *from, struct err *e);
/* Does the source's cluster answer for each namespace? Notes where nothing runs there. */
int failover_reach_source(struct failover *f, struct err *e);
/* Pure: notes in the namespace's line whether it has workloads there and none of them runs: then a rollback starts none. */
void failover_note_stopped(struct failover *f, unsigned i, const struct json *apps);

/* kube_failover_webhook.c */
void failover_webhook(struct failover *f, struct switch_seen *s);
/* Can its caBundle be used? */
int failover_check_webhook(const struct failover *f, struct err *e);
/* Pure: scheme://host:port, and the path with the query; both to be freed. */
void webhook_split(const char *url, char **ret_server, char **ret_path);
/* Pure: the PEM text of a caBundle, to be freed. */
int webhook_ca(const char *bundle, char **ret_pem, struct err *e);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* What the operations' files share: operations.c is the loop's side, operations_work.c the threads'. */
#ifndef AGENT_OPERATIONS_IMPL_H
#define AGENT_OPERATIONS_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "agent_config.h"
#include "loop.h"
#include "operation.h"

struct operations;

struct entry {
	struct operations *all;
	struct operation op; /* all->lock */
	bool cancel; /* all->lock; asked for */
	bool working; /* the loop's: it has a thread */
	enum operation_verdict
		verdict; /* of its group; the loop's, and its thread's while there is one */
	char verdict_words[OPERATION_TEXT_MAX];
};

struct operations {
	const struct agent_config *config;
	struct loop *loop;
	struct tasks *tasks;
	struct supervisor *supervisor;
	pthread_mutex_t lock;
	struct entry **entries; /* the loop's; the oldest first */
	unsigned count, working;
	struct loop_timer retry; /* when there was no thread to be had */
};

/* operations_work.c; `ctx` is an entry. Returns when the operation has ended, when it waits for its group's
 * verdict, or when it shall stop. */
void operation_work(void *ctx, const atomic_bool *stop);
uint64_t operations_wall_ms(void);

/* operations_begin.c: what a request asks for. Fills all but the ids. */
int operations_decode(const struct operations *all, const struct json *args,
	struct operation *ret_op, struct err *e);
/* The volumes of a group: those of `domain`, where it is a planned failover; those that came from there for a
 * failback. The caller's array of *ret_n operations like `op`; -EBUSY and the like with a list of those that
 * cannot be asked. */
int operations_decode_group(const struct operations *all, const struct json *args,
	struct operation **ret_ops, unsigned *ret_n, struct err *e);
/* operations_node.c: the same for all that a dead domain has: what is active there, and what waits for a standby there. */
int operations_decode_dead_domain(const struct operations *all, const char *domain,
	const struct operation *like, struct operation **ret_ops, unsigned *ret_n, struct err *e);
/* The same for those of a node. */
int operations_decode_node(const struct operations *all, const struct json *args,
	struct operation **ret_ops, unsigned *ret_n, struct err *e);
/* What both have in common: kind, time and mode. */
int operations_decode_common(const struct json *args, struct operation *op, struct err *e);
/* Is it "", or a domain that is known here? 0 or -EINVAL. */
int operations_check_target(const struct operations *all, const char *to, struct err *e);
/* Does its daemon say what it does, or is it not known? `v`: an entry of supervisor_volumes(). */
bool operations_answers(const struct json *v);
/* The one that is under way for the volume, or NULL. */
const struct operation *operations_under_way(const struct operations *all, const char *volume);
/* Where the newest failover that came to its end came from; NULL. */
const char *operations_came_from(const struct operations *all, const char *volume);

#endif

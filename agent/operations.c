/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The operations of this agent: a list, on disk each a file ID.json that is written beside and renamed, so that
 * a crash at any moment leaves the step before, which is looked at again. Each gets a thread (operations_work.c)
 * when it is its turn; so many at a time, the oldest first.
 *
 * The operations of a group are all written before the first one begins. One that has passed its check gives
 * its thread back; what the group does is decided here, once, from all of them.
 *
 * Failure modes: more than can be done at a time wait; when no thread is to be had, this is tried again. A file
 * that is damaged is told of and left alone, and its group, if nothing of that has begun, is refused.
 *
 * Threads: a worker has a copy of its own; `lock` protects those that the loop reads.
 */
#include "operations.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "log.h"
#include "operation.h"
#include "operations_disk.h"
#include "operations_impl.h"

#define KEPT_MAX 100u /* and all that have not ended */
#define ENTRIES_MAX 1024u
#define WORKING_MAX 24u /* the tasks of the REST API want their threads, too */

static void start_waiting(struct operations *all);

static struct operation copy_of(struct entry *en)
{
	struct operation op;

	pthread_mutex_lock(&en->all->lock);
	op = en->op;
	pthread_mutex_unlock(&en->all->lock);
	return op;
}

/* ---- the list ---- */

/* Has it ended, and all of its group? Then nobody asks for it any more but people. */
static bool is_history(struct operations *all, const struct entry *en)
{
	for (unsigned i = 0; i < all->count; i++) {
		const struct entry *k = all->entries[i];

		if (k != en && (!en->op.group[0] || strcmp(k->op.group, en->op.group) != 0))
			continue;
		if (k->working || !operation_ended(&k->op))
			return false;
	}
	return true;
}

static void remove_at(struct operations *all, unsigned i)
{
	operations_forget(all->config, all->entries[i]->op.id);
	free(all->entries[i]);
	all->count--;
	memmove(&all->entries[i], &all->entries[i + 1], (all->count - i) * sizeof(all->entries[0]));
}

/* Before `more` come in. */
static void make_room(struct operations *all, unsigned more)
{
	pthread_mutex_lock(&all->lock);
	for (unsigned i = 0; i < all->count && all->count + more > KEPT_MAX;) {
		if (is_history(all, all->entries[i]))
			remove_at(all, i);
		else
			i++;
	}
	pthread_mutex_unlock(&all->lock);
}

static struct entry *add(struct operations *all, const struct operation *op)
{
	struct entry *en = calloc(1, sizeof(*en));

	ensure(en && all->count < ENTRIES_MAX);
	en->all = all;
	en->op = *op;
	all->entries[all->count++] = en;
	return en;
}

const struct operation *operations_under_way(const struct operations *all, const char *volume)
{
	for (unsigned i = 0; i < all->count; i++) {
		struct operation op = copy_of(all->entries[i]);

		if (!operation_ended(&op) && !strcmp(op.volume, volume))
			return &all->entries[i]->op;
	}
	return NULL;
}

const char *operations_busy(const struct operations *all, const char *volume)
{
	const struct operation *op = operations_under_way(all, volume);

	return op ? op->id : NULL; /* an id never changes */
}

const char *operations_came_from(const struct operations *all, const char *volume)
{
	for (unsigned i = all->count; i--;) {
		struct operation op = copy_of(all->entries[i]);

		if (op.state == OPERATION_DONE && !op.dry_run && op.from[0] &&
			!strcmp(op.volume, volume))
			return all->entries[i]->op.from;
	}
	return NULL;
}

/* ---- groups ---- */

static bool waits_for_group(const struct operation *op)
{
	return op->group[0] && !operation_ended(op) && operation_phase(op) == OPERATION_OTHERS;
}

/* The verdict on the group of an entry that waits for it. It is for all of them, once and for ever. */
static void decide_group(struct operations *all, struct entry *one)
{
	struct operation *ops = calloc(all->count, sizeof(*ops));
	const struct operation **members = calloc(all->count, sizeof(*members)), *why;
	enum operation_verdict verdict;
	unsigned n = 0;

	ensure(ops && members);
	for (unsigned i = 0; i < all->count; i++) {
		ops[n] = copy_of(all->entries[i]);
		members[n] = &ops[n];
		if (!strcmp(ops[n].group, one->op.group))
			n++;
	}
	verdict = operation_group_verdict(members, n, &why);
	for (unsigned i = 0; i < all->count && verdict != OPERATION_UNDECIDED; i++) {
		struct entry *en = all->entries[i];

		if (strcmp(en->op.group, one->op.group) != 0 || en->verdict)
			continue;
		en->verdict = verdict;
		if (why)
			snprintf(en->verdict_words, sizeof(en->verdict_words), "because of '%s'",
				why->volume);
		else
			snprintf(en->verdict_words, sizeof(en->verdict_words),
				"the agent died before all was written down");
	}
	free(ops);
	free(members);
}

/* ---- threads ---- */

static void done(void *ctx)
{
	struct entry *en = ctx;

	en->working = false;
	en->all->working--;
	start_waiting(en->all);
}

/* Has it something to do? */
static bool is_ready(struct operations *all, struct entry *en)
{
	struct operation op = copy_of(en);

	if (en->working || operation_ended(&op))
		return false;
	if (!waits_for_group(&op) || en->verdict || en->cancel)
		return true;
	decide_group(all, en);
	return en->verdict != OPERATION_UNDECIDED;
}

static void start_waiting(struct operations *all)
{
	for (unsigned i = 0; i < all->count && all->working < WORKING_MAX; i++) {
		struct entry *en = all->entries[i];

		if (!is_ready(all, en))
			continue;
		en->working = true;
		all->working++;
		if (task_start(all->tasks, operation_work, done, en) == 0)
			continue;
		en->working = false;
		all->working--;
		loop_timer_set(all->loop, &all->retry, clock_mono_ns() + NS_PER_S);
		return;
	}
}

static void retry_expired(struct loop_timer *t, uint64_t now_ns)
{
	start_waiting(container_of(t, struct operations, retry));
}

static void found(void *ctx, const struct operation *op)
{
	struct operations *all = ctx;
	struct operation again = *op;

	if (all->count == ENTRIES_MAX) {
		log_error("operation %s: there are too many; it is left alone", op->id);
		return;
	}
	operation_resume(&again, operations_wall_ms());
	add(all, &again);
	if (!operation_ended(&again))
		log_info("operation %s: %s: goes on at '%s'", again.id, again.volume,
			operation_step_name(&again, again.at));
}

struct operations *operations_new(
	const struct agent_config *c, struct loop *l, struct tasks *t, struct supervisor *s)
{
	struct operations *all = calloc(1, sizeof(*all));

	ensure(all);
	all->config = c;
	all->loop = l;
	all->tasks = t;
	all->supervisor = s;
	all->retry.expired = retry_expired;
	all->entries = calloc(ENTRIES_MAX, sizeof(all->entries[0]));
	ensure(all->entries);
	pthread_mutex_init(&all->lock, NULL);
	operations_load(c, found, all);
	make_room(all, 0);
	start_waiting(all);
	return all;
}

void operations_free(struct operations *all)
{
	if (!all)
		return;
	loop_timer_clear(all->loop, &all->retry);
	for (unsigned i = 0; i < all->count; i++)
		free(all->entries[i]);
	free(all->entries);
	pthread_mutex_destroy(&all->lock);
	free(all);
}

/* ---- what is asked ---- */

/* All of them on disk, or none. */
static int store_all(struct operations *all, const struct operation *ops, unsigned n, struct err *e)
{
	int ret;

	if (ops[0].dry_run)
		return 0;
	if (ops[0].group[0])
		return operations_store_group(all->config, ops, n, e);
	ret = operations_store(all->config, ops, e);
	if (ret)
		operations_forget(all->config, ops[0].id);
	return ret;
}

static void name_all(struct operation *ops, unsigned n, bool group)
{
	static unsigned serial;
	char id[OPERATION_ID_MAX + 1];
	uint64_t now = operations_wall_ms();

	snprintf(id, sizeof(id), "%013llu-%02u", (unsigned long long)now, serial++ % 100);
	for (unsigned i = 0; i < n; i++) {
		ops[i].created_ms = now;
		ops[i].deadline_ms = now + ops[i].timeout_ms;
		if (!group) {
			snprintf(ops[i].id, sizeof(ops[i].id), "%s", id);
			continue;
		}
		snprintf(ops[i].id, sizeof(ops[i].id), "%.20s-%03u", id, i);
		snprintf(ops[i].group, sizeof(ops[i].group), "%s", id);
		ops[i].group_size = n;
	}
}

int operations_begin(
	struct operations *all, const struct json *args, struct json **ret_j, struct err *e)
{
	bool node = json_get(args, "node") != NULL, group = node || json_get(args, "domain");
	struct operation *ops = NULL;
	unsigned n = 1;
	int ret;

	if (node) {
		ret = operations_decode_node(all, args, &ops, &n, e);
	} else if (group) {
		ret = operations_decode_group(all, args, &ops, &n, e);
	} else {
		ops = calloc(1, sizeof(*ops));
		ensure(ops);
		ret = operations_decode(all, args, ops, e);
	}
	if (!ret)
		make_room(all, n);
	if (!ret && all->count + n > ENTRIES_MAX)
		ret = err_set(e, -EBUSY, "too much is being done; repeat this in a moment");
	if (!ret) {
		name_all(ops, n, group);
		ret = store_all(all, ops, n, e);
	}
	if (ret) {
		free(ops);
		return ret;
	}
	for (unsigned i = 0; i < n; i++) {
		add(all, &ops[i]);
		log_info("operation %s: %s of '%s' to '%s'%s", ops[i].id, operation_kind(&ops[i]),
			ops[i].volume, ops[i].to, ops[i].dry_run ? ", a dry run" : "");
	}
	*ret_j = operations_get(all, group ? ops[0].group : ops[0].id);
	free(ops);
	start_waiting(all);
	return 0;
}

int operations_cancel(struct operations *all, const char *id, struct json **ret_j, struct err *e)
{
	unsigned concerned = 0, cancelled = 0;

	for (unsigned i = 0; i < all->count; i++) {
		struct entry *en = all->entries[i];
		struct operation op = copy_of(en);

		if (strcmp(op.id, id) != 0 && strcmp(op.group, id) != 0)
			continue;
		concerned++;
		if (operation_can_cancel(&op, e))
			continue;
		cancelled++;
		pthread_mutex_lock(&all->lock);
		en->cancel = true;
		pthread_mutex_unlock(&all->lock);
		log_info("operation %s: %s: is to be cancelled", op.id, op.volume);
	}
	if (!concerned)
		return err_set(e, -ENOENT, "no operation %s", id);
	if (!cancelled)
		return e->code;
	*ret_j = operations_get(all, id);
	start_waiting(all);
	return 0;
}

struct json *operations_list(struct operations *all)
{
	struct json *list = json_array();

	for (unsigned i = 0; i < all->count; i++) {
		struct operation op = copy_of(all->entries[i]);

		json_append(list, operation_json(&op));
	}
	return list;
}

struct json *operations_get(struct operations *all, const char *id)
{
	struct json *list = NULL, *j;

	for (unsigned i = 0; i < all->count; i++) {
		struct operation op = copy_of(all->entries[i]);

		if (!strcmp(op.id, id)) {
			json_free(list);
			return operation_json(&op);
		}
		if (strcmp(op.group, id) != 0)
			continue;
		list = list ? list : json_array();
		json_append(list, operation_json(&op));
	}
	if (!list)
		return NULL;
	j = json_object();
	json_set_string(j, "id", id);
	json_set(j, "operations", list);
	return j;
}

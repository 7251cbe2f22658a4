/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each agent is asked in a thread of its own, so that a node that is dead costs one time-out beside the answers of the
 * others. Which name answers at which address is remembered; what was remembered is asked for anew when somebody finds
 * it wrong.
 *
 * Failure modes: a node that does not answer is passed over, and its address is in the words where that matters. Two
 * agents that choose at the same time do not know of each other, and may both take the emptiest node.
 *
 * Threads: one lock for what is remembered, never held across a call.
 */
#include "peer_nodes.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "json.h"
#include "log.h"
#include "peer_call.h"

#define LOOK_MS 5000u
#define GRACE_NS NS_PER_S
#define POLL_US 5000u
#define REMEMBERED_MAX 64u

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct remembered {
	char address[CONF_ADDRESS_SIZE], name[NODE_NAME_MAX + 1];
} names[REMEMBERED_MAX]; /* who answered where */
static char being_made[REMEMBERED_MAX][CONF_ADDRESS_SIZE]; /* "": free */

/* ---- what is remembered ---- */

static void remember(const char *address, const char *name)
{
	static unsigned next; /* the oldest one */
	unsigned i = 0;

	pthread_mutex_lock(&lock);
	while (i < REMEMBERED_MAX && strcmp(names[i].address, address) != 0)
		i++;
	if (i == REMEMBERED_MAX)
		i = next++ % REMEMBERED_MAX;
	snprintf(names[i].address, sizeof(names[i].address), "%s", address);
	snprintf(names[i].name, sizeof(names[i].name), "%s", name);
	pthread_mutex_unlock(&lock);
}

static bool recall(const struct agent_config_peer *p, const char *name, char *ret_address)
{
	bool found = false;

	pthread_mutex_lock(&lock);
	for (unsigned k = 0; k < p->naddresses && !found; k++)
		for (unsigned i = 0; i < REMEMBERED_MAX && !found; i++)
			found = !strcmp(names[i].address, p->addresses[k]) &&
				!strcmp(names[i].name, name) &&
				snprintf(ret_address, CONF_ADDRESS_SIZE, "%s", p->addresses[k]);
	pthread_mutex_unlock(&lock);
	return found;
}

static unsigned count_made_locked(const char *address)
{
	unsigned n = 0;

	for (unsigned i = 0; i < REMEMBERED_MAX; i++)
		n += !strcmp(being_made[i], address);
	return n;
}

/* ---- asking ---- */

struct asking {
	const struct agent_config *c;
	const struct agent_config_peer *p;
	struct one {
		struct asking *all;
		struct peer_node node;
		atomic_bool done; /* `node` is whole */
		pthread_t thread;
		bool runs;
	} one[AGENT_CONFIG_NODES_MAX];
	atomic_bool stop;
};

static const char *short_words(int code, const struct err *e)
{
	return code == -ECANCELED || code == -ETIMEDOUT ? "no answer in time"
	       : code == -ECONNREFUSED			? "nobody listens"
							: e->msg;
}

static void take_answer(struct peer_node *n, unsigned status, const struct json *j)
{
	const char *name = json_get_string(j, "node", "");

	if (status != 200) {
		snprintf(n->why, sizeof(n->why), "%.100s",
			json_get_string(j, "error", "it refuses"));
		return;
	}
	n->answers = true;
	n->ready = json_get_bool(j, "ready", true);
	n->volumes = json_length(json_get(j, "volumes"));
	snprintf(n->why, sizeof(n->why), "%.100s", json_get_string(j, "not_ready", ""));
	if (!conf_is_node(name))
		return;
	snprintf(n->name, sizeof(n->name), "%s", name);
	remember(n->address, name);
}

static void *ask(void *arg)
{
	struct one *o = arg;
	struct json *j = NULL;
	struct err e = {0};
	unsigned status;
	int ret = agent_call(o->all->c, o->node.address, o->all->p->domain, o->node.address,
		"/v1/volumes", NULL, LOOK_MS, &o->all->stop, &status, &j, &e);

	if (ret)
		snprintf(o->node.why, sizeof(o->node.why), "%.120s", short_words(ret, &e));
	else
		take_answer(&o->node, status, j);
	json_free(j);
	atomic_store(&o->done, true);
	return NULL;
}

static void wait_for_answers(struct asking *a, const char *wanted, const atomic_bool *stop)
{
	uint64_t now = clock_mono_ns(), until = now + LOOK_MS * NS_PER_MS;
	bool open = true;

	for (; open && now < until && !atomic_load(stop); now = clock_mono_ns()) {
		open = false;
		for (unsigned i = 0; i < a->p->naddresses; i++) {
			const struct one *o = &a->one[i];

			if (!atomic_load(&o->done))
				open = true;
			else if (wanted && !strcmp(o->node.name, wanted))
				return;
			else if (!wanted && o->node.ready)
				until = MIN(until, now + GRACE_NS);
		}
		if (open)
			usleep(POLL_US);
	}
}

void peer_nodes_look(const struct agent_config *c, const struct agent_config_peer *p,
	const char *wanted, const atomic_bool *stop,
	struct peer_node ret_nodes[static AGENT_CONFIG_NODES_MAX])
{
	static const atomic_bool never;
	struct asking a = {.c = c, .p = p};

	for (unsigned i = 0; i < p->naddresses; i++) {
		struct one *o = &a.one[i];

		o->all = &a;
		o->node.address = p->addresses[i];
		o->runs = !pthread_create(&o->thread, NULL, ask, o);
		if (!o->runs)
			ask(o);
	}
	wait_for_answers(&a, wanted, stop ? stop : &never);
	atomic_store(&a.stop, true);
	for (unsigned i = 0; i < p->naddresses; i++) {
		if (a.one[i].runs)
			pthread_join(a.one[i].thread, NULL);
		ret_nodes[i] = a.one[i].node;
	}
}

/* ---- choosing ---- */

static void add(char *list, size_t size, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static void add(char *list, size_t size, const char *fmt, ...)
{
	size_t at = strlen(list);
	va_list ap;

	if (at)
		at += (size_t)snprintf(list + at, size - at, "%s", "; ");
	if (at >= size)
		return;
	va_start(ap, fmt);
	vsnprintf(list + at, size - at, fmt, ap);
	va_end(ap);
}

/* Every node in a few words: what it is called, or why it does not answer. */
static const char *list_of(const struct peer_node *nodes, unsigned n, char *list, size_t size)
{
	list[0] = '\0';
	for (unsigned i = 0; i < n; i++) {
		const struct peer_node *k = &nodes[i];

		if (!k->answers)
			add(list, size, "%.60s: %s", k->address, k->why);
		else if (!k->ready)
			add(list, size, "'%.60s' is not ready: %s",
				k->name[0] ? k->name : k->address, k->why);
		else
			add(list, size, "'%.60s' at %.60s", k->name, k->address);
	}
	return list;
}

static int find_name(const struct peer_node *nodes, unsigned n, const char *name)
{
	for (unsigned i = 0; i < n; i++)
		if (nodes[i].answers && !strcmp(nodes[i].name, name))
			return (int)i;
	return -1;
}

static unsigned count_answers(const struct peer_node *nodes, unsigned n)
{
	unsigned answers = 0;

	for (unsigned i = 0; i < n; i++)
		answers += nodes[i].answers;
	return answers;
}

int peer_nodes_choose(const struct peer_node *nodes, unsigned n, const char *domain,
	const char *wanted, const char *earlier, struct err *e)
{
	unsigned answers = count_answers(nodes, n), fewest = 0;
	char list[200];
	int best = -1;

	list_of(nodes, n, list, sizeof(list));
	if (!answers)
		return err_set(e, -ENOTCONN, "no agent of '%s' answers: %s", domain, list);
	if (wanted[0]) {
		best = find_name(nodes, n, wanted);
		return best >= 0 ? best
				 : err_set(e, answers == n ? -EINVAL : -ENOTCONN,
					   "'%s' has no node '%.60s' that answers: %s", domain,
					   wanted, list);
	}
	if (earlier[0])
		best = find_name(nodes, n, earlier);
	if (best >= 0)
		return best;
	for (unsigned i = 0; i < n; i++) {
		unsigned all = nodes[i].volumes + nodes[i].chosen;

		if (!nodes[i].ready || (best >= 0 && all >= fewest))
			continue;
		best = (int)i;
		fewest = all;
	}
	return best >= 0 ? best : err_set(e, -EAGAIN, "no node of '%s' is ready: %s", domain, list);
}

int peer_nodes_take(const struct agent_config *c, const struct agent_config_peer *p,
	const char *wanted, const char *earlier, const atomic_bool *stop,
	struct peer_node *ret_node, struct err *e)
{
	struct peer_node nodes[AGENT_CONFIG_NODES_MAX];
	int ret;

	peer_nodes_look(c, p, wanted[0] ? wanted : NULL, stop, nodes);
	if (stop && atomic_load(stop))
		return err_set(e, -ECANCELED, "the agent stops");
	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < p->naddresses; i++)
		nodes[i].chosen = count_made_locked(nodes[i].address);
	ret = peer_nodes_choose(nodes, p->naddresses, p->domain, wanted, earlier, e);
	for (unsigned i = 0; i < REMEMBERED_MAX && ret >= 0; i++) {
		if (being_made[i][0])
			continue;
		snprintf(being_made[i], sizeof(being_made[i]), "%s", nodes[ret].address);
		break;
	}
	pthread_mutex_unlock(&lock);
	if (ret < 0)
		return ret;
	*ret_node = nodes[ret];
	return 0;
}

void peer_nodes_release(const struct peer_node *node)
{
	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < REMEMBERED_MAX; i++) {
		if (strcmp(being_made[i], node->address) != 0)
			continue;
		being_made[i][0] = '\0';
		break;
	}
	pthread_mutex_unlock(&lock);
}

/* ---- finding ---- */

int peer_nodes_find(const struct agent_config *c, const struct agent_config_peer *p,
	const char *name, bool anew, const atomic_bool *stop, char *ret_address, struct err *e)
{
	struct peer_node nodes[AGENT_CONFIG_NODES_MAX];
	char list[200];
	int at;

	if (!anew && recall(p, name, ret_address))
		return 0;
	peer_nodes_look(c, p, name, stop, nodes);
	at = find_name(nodes, p->naddresses, name);
	if (at >= 0) {
		snprintf(ret_address, CONF_ADDRESS_SIZE, "%s", nodes[at].address);
		return 0;
	}
	return err_set(e,
		count_answers(nodes, p->naddresses) == p->naddresses ? -ESTALE : -ENOTCONN,
		"no agent of '%s' that answers is node '%.60s': %s", p->domain, name,
		list_of(nodes, p->naddresses, list, sizeof(list)));
}

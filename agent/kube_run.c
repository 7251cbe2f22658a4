/* SPDX-License-Identifier: Apache-2.0 */
/* The loop of tandem-agent --kubernetes. */
#include "kube_run.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "kube_control.h"
#include "log.h"

/* A signal ends it. */
static void pause_ns(const struct kube_control *c, uint64_t ns)
{
	uint64_t end = clock_mono_ns() + ns;

	while (!atomic_load(c->stop) && clock_mono_ns() < end) {
		uint64_t part = MIN(end - clock_mono_ns(), 200 * NS_PER_MS);
		struct timespec t = {.tv_nsec = (long)part};

		nanosleep(&t, NULL);
	}
}

struct lists {
	struct json *pairs, *policies, *schedules, *migrations;
	char *version; /* of the migrations */
};

static void lists_free(struct lists *l)
{
	json_free(l->pairs);
	json_free(l->policies);
	json_free(l->schedules);
	json_free(l->migrations);
	free(l->version);
}

static int lists_read(struct kube_control *c, struct lists *l, struct err *e)
{
	const struct {
		const struct kube_kind *kind;
		struct json **list;
	} all[] = {
		{&kind_pair, &l->pairs},
		{&kind_policy, &l->policies},
		{&kind_schedule, &l->schedules},
		{&kind_migration, &l->migrations},
	};
	int ret = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(all) && !ret; i++) {
		*all[i].list = json_array();
		ret = kube_list(c->kube, all[i].kind, NULL, NULL, *all[i].list,
			all[i].kind == &kind_migration ? &l->version : NULL, e);
	}
	return ret;
}

static bool wake(void *ctx, const char *type, const struct json *obj)
{
	return strcmp(type, "ADDED") != 0;
}

/* One look at everything. An error is about this cluster as a whole. */
static int look(struct kube_control *c, struct err *e)
{
	unsigned wait_s = (unsigned)(c->config->kube_interval_ns / NS_PER_S);
	struct lists l = {0};
	int ret = lists_read(c, &l, e);

	if (!ret) {
		pairs_look(c, l.pairs);
		schedules_look(c, l.policies, l.schedules, l.migrations);
		for (unsigned i = 0; i < json_length(l.migrations) && lease_hold(c); i++)
			migration_look(c, json_at(l.migrations, i));
		/* Until something new comes; what a schedule has just made, is new already. */
		if (lease_hold(c))
			ret = kube_watch(
				c->kube, &kind_migration, NULL, l.version, wait_s, wake, NULL, e);
		if (ret == -ESTALE)
			ret = 0; /* listed anew in a moment anyway */
	}
	lists_free(&l);
	return ret;
}

static void work(struct kube_control *c)
{
	struct err last = {0};

	while (!atomic_load(c->stop)) {
		struct err e = {0};

		if (!lease_hold(c)) {
			pause_ns(c, 2 * NS_PER_S);
			continue;
		}
		if (!look(c, &e)) {
			if (last.code)
				log_info("kubernetes: the API answers again");
			last = e;
			continue;
		}
		if (atomic_load(c->stop))
			break;
		if (e.code != last.code) {
			log_warn("kubernetes: %s; trying again", e.msg);
			last = e;
		}
		pause_ns(c, MIN(c->config->kube_interval_ns, 2 * NS_PER_S));
	}
}

int kube_run(const struct agent_config *config, bool leader_elect, const atomic_bool *stop,
	struct err *e)
{
	struct kube_control c = {.config = config, .stop = stop, .elect = leader_elect};
	struct kube_access a = {0};
	int ret = config->kubeconfig[0] ? kube_access_load(config->kubeconfig, &a, e)
					: kube_access_in_cluster(KUBE_POD_FILES, &a, e);

	if (ret)
		return ret;
	c.kube = kube_new("this cluster's API", &a, stop);
	log_info("kubernetes: '%s' at %s, namespace '%s'", config->kube_identity, a.server,
		config->kube_namespace);
	work(&c);
	log_info("kubernetes: stopping");
	kube_free(c.kube);
	c.kube = kube_new("this cluster's API", &a, NULL); /* the word to stop is not for this */
	lease_release(&c);
	kube_free(c.kube);
	kube_access_clear(&a);
	return 0;
}

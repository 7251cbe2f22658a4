/* SPDX-License-Identifier: Apache-2.0 */
/* The workers of tandem-agent --kubernetes, and what each looks at. */
#include "kube_run.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "kube_control.h"
#include "kube_domain.h"
#include "kube_return.h"
#include "kube_twice.h"
#include "kube_volume.h"
#include "kube_worker.h"
#include "log.h"
#include "server_probe.h"

struct lists {
	struct json *pairs, *policies, *rules, *schedules, *migrations;
};

static void lists_free(struct lists *l)
{
	json_free(l->pairs);
	json_free(l->policies);
	json_free(l->rules);
	json_free(l->schedules);
	json_free(l->migrations);
}

static int lists_read(struct kube_control *c, struct lists *l, struct err *e)
{
	const struct {
		const struct kube_kind *kind;
		struct json **list;
	} all[] = {
		{&kind_pair, &l->pairs},
		{&kind_policy, &l->policies},
		{&kind_rule, &l->rules},
		{&kind_schedule, &l->schedules},
		{&kind_migration, &l->migrations},
	};
	int ret = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(all) && !ret; i++) {
		*all[i].list = json_array();
		ret = kube_list(c->kube, all[i].kind, NULL, NULL, *all[i].list, NULL, e);
	}
	return ret;
}

static void count_migrations(struct kube_control *c, const struct json *migrations)
{
	static const char *const names[] = {
		"Pending", "InProgress", "Successful", "PartialSuccess", "Failed"};
	unsigned n[ARRAY_SIZE(names)] = {0};
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	ensure(f);
	for (unsigned i = 0; i < json_length(migrations); i++) {
		const struct json *status = json_get(json_at(migrations, i), "status");
		unsigned k = ARRAY_SIZE(names);

		while (--k && strcmp(names[k], json_get_string(status, "status", "")))
			;
		n[k]++;
	}
	fprintf(f, "# HELP tandem_kube_migrations The Migration objects that there are.\n"
		   "# TYPE tandem_kube_migrations gauge\n");
	for (unsigned k = 0; k < ARRAY_SIZE(names); k++)
		fprintf(f, "tandem_kube_migrations{status=\"%s\"} %u\n", names[k], n[k]);
	fclose(f);
	health_section(c->health, HEALTH_MIGRATIONS, text);
}

static int look_copying(struct kube_control *c, struct err *e)
{
	struct lists l = {0};
	int ret = lists_read(c, &l, e);

	if (!ret) {
		count_migrations(c, l.migrations);
		pairs_look(c, l.pairs);
		policies_look(c, l.policies);
		rules_look(c, l.rules);
		schedules_look(c, l.policies, l.schedules, l.migrations);
		migrations_look(c, l.migrations);
	}
	lists_free(&l);
	return ret;
}

static int look_switching(struct kube_control *c, struct err *e)
{
	int ret = failovers_look(c, e);

	if (ret || !lease_hold(c) || kube_jobs_count(c->jobs, "planned/") ||
		kube_jobs_count(c->jobs, "unplanned/"))
		return ret;
	ret = returned_look(c, e);
	if (!ret)
		twice_look(c);
	return ret;
}

static const struct worker_work works[] = {
	{"copying", look_copying,
		{&kind_migration, &kind_schedule, &kind_pair, &kind_policy, &kind_rule}},
	{"domains", domains_look, {&kind_domain_update}},
	{"switching", look_switching, {&kind_failover}},
	{"provisioning", provisioning_look, {&kind_claim, &kind_volume, &kind_class, &kind_pair}},
	{"volumes", volumes_look, {&kind_tandem_volume}},
};

int kube_run(const struct agent_config *config, bool leader_elect, const atomic_bool *stop,
	struct err *e)
{
	struct worker *workers[ARRAY_SIZE(works)];
	struct server_probe *probe = NULL;
	struct kube_health health;
	struct kube_access a = {0};
	struct lease *lease = NULL;
	int ret = config->kubeconfig[0] ? kube_access_load(config->kubeconfig, &a, e)
					: kube_access_in_cluster(KUBE_POD_FILES, &a, e);

	if (ret)
		return ret;
	health_init(&health, config->kube_interval_ns);
	if (config->kube_probes[0])
		ret = server_probe_new(config->kube_probes, health_answer, &health, &probe, e);
	if (ret) {
		health_clear(&health);
		kube_access_clear(&a);
		return ret;
	}
	log_info("kubernetes: '%s' at %s, namespace '%s'", config->kube_identity, a.server,
		config->kube_namespace);
	health_leads(&health, !leader_elect);
	if (leader_elect)
		lease = lease_new(config, &a, &health, stop);
	for (unsigned i = 0; i < ARRAY_SIZE(works); i++)
		workers[i] = worker_new(&works[i], config, &a, lease, &health, stop);
	while (!atomic_load(stop))
		kube_pause(stop, NS_PER_S);
	log_info("kubernetes: stopping");
	for (unsigned i = 0; i < ARRAY_SIZE(works); i++)
		worker_free(workers[i]);
	lease_free(lease);
	server_probe_free(probe);
	health_clear(&health);
	kube_access_clear(&a);
	return 0;
}

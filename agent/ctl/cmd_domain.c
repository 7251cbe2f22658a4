/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tandemctl activate and deactivate, of a domain or of what was migrated (cmd_migration.c). A domain's state is that of
 * its volumes' records, so on a node these go to every volume of the node, and in a cluster (cmd_domain_update.c) to its
 * agent, which tells all nodes of the site. A volume without a replica in the domain is not concerned.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "ctl.h"
#include "domains.h"

#define WAIT_MS 600000u
#define LOOK_US 200000u

/* What was activated catches up by itself; this only looks. */
static int wait_in_sync(struct ctl *c, const char *domain)
{
	unsigned ms = c->timeout_ms ? c->timeout_ms : WAIT_MS;
	uint64_t until = clock_mono_ns() + ms * NS_PER_MS;
	const char *is = "not known";

	c->timeout_ms = 0; /* of each look */
	for (;;) {
		struct ctl_volumes *vs;
		struct domains ds;
		const struct domain *d;
		int status = ctl_domains(c, &vs, &ds);

		if (status)
			return status;
		ctl_volumes_free(vs);
		d = domains_find(&ds, domain);
		is = d ? domain_sync_name(d->sync) : is;
		if (d && d->sync == DOMAIN_IN_SYNC && !d->inactive) {
			fprintf(c->out, "%s: %s\n", domain, is);
			return CTL_OK;
		}
		if (clock_mono_ns() >= until)
			return ctl_fail(c,
				"%s: %s after %u s; it goes on by itself: 'tandemctl get "
				"clusterdomainsstatus' shows how far it is",
				domain, is, ms / 1000);
		usleep(LOOK_US);
	}
}

/* Tells the volumes of this node. */
static int tell(struct ctl *c, const char *verb, const char *domain)
{
	struct ctl_volumes *vs;
	struct json *request;
	int status = ctl_volumes_find(c, NULL, &vs);

	if (status)
		return status;
	request = json_object();
	json_set_string(request, "verb", verb);
	json_set_string(request, "domain", domain);
	status = ctl_operate(c, vs, request, -ENOENT);
	ctl_volumes_free(vs);
	if (!status && c->wait && !strcmp(verb, "activate"))
		status = wait_in_sync(c, domain);
	return status;
}

static int activate_all(struct ctl *c)
{
	struct ctl_volumes *vs;
	struct domains ds;
	unsigned n = 0;
	int status = ctl_domains(c, &vs, &ds), ret = CTL_OK;

	if (status)
		return status;
	for (unsigned i = 0; i < vs->count; i++)
		if (ctl_code(&vs->v[i]))
			ret = ctl_fail(c, "volume '%s': %s", vs->v[i].name, ctl_text(&vs->v[i]));
	ctl_volumes_free(vs);
	for (unsigned i = 0; i < ds.count; i++) {
		if (!ds.d[i].inactive)
			continue;
		n++;
		status = c->dry_run ? cmd_domain_preview(c, "activate", ds.d[i].name)
				    : tell(c, "activate", ds.d[i].name);
		ret = ret ? ret : status;
	}
	if (!n && !ret)
		fprintf(c->out, "no domain is inactive\n");
	return ret;
}

static bool is_domain_word(const char *word)
{
	return !strcmp(word, "clusterdomain") || !strcmp(word, "clusterdomains") ||
	       !strcmp(word, "cd");
}

/* The line after `activate clusterdomain`; *ret_domain NULL: --all. */
static int domain_line(struct ctl *c, const char *verb, unsigned nargs, const char *const *args,
	const char **ret_domain)
{
	bool activate = !strcmp(verb, "activate");
	int status = ctl_refuse(
		c, verb, "clusterdomain", activate ? "--namespace" : "--namespace --all");

	if (status)
		return status;
	if (nargs < 2 && !c->all)
		return ctl_usage_error(c, verb, "'%s' needs more arguments", verb);
	if (nargs == 2 && c->all)
		return ctl_usage_error(c, verb, "which one: '%s', or --all?", args[1]);
	if (c->all && c->name)
		return ctl_usage_error(
			c, verb, "--name is of one object, and --all may need several");
	if (nargs == 2 && (!args[1][0] || strlen(args[1]) > DOMAIN_LEN_MAX))
		return ctl_usage_error(c, verb, "'%s' is no domain", args[1]);
	*ret_domain = nargs == 2 ? args[1] : NULL;
	return CTL_OK;
}

static int domain_command(struct ctl *c, const char *verb, unsigned nargs, const char *const *args)
{
	const char *domain = NULL;
	bool cluster = false;
	int status;

	if (!strcmp(args[0], "migration") || !strcmp(args[0], "migrations")) {
		if (nargs == 1)
			return cmd_migration(c, !strcmp(verb, "activate"));
		return ctl_usage_error(c, verb,
			"'%s migration' takes no name: it is about all applications of a "
			"--namespace",
			verb);
	}
	if (!is_domain_word(args[0]))
		return ctl_usage_error(c, verb,
			"'%s' what? A 'clusterdomain' or a namespace's 'migration', not '%s'", verb,
			args[0]);
	status = domain_line(c, verb, nargs, args, &domain);
	if (!status)
		status = ctl_where(c, verb, &cluster);
	if (status)
		return status;
	if (cluster)
		return cmd_domain_update(c, !strcmp(verb, "activate"), domain);
	if (c->name)
		return ctl_usage_error(c, verb,
			"--name is of an object in a cluster (--kubeconfig), and the daemons of "
			"this node are meant");
	if (domain && c->dry_run)
		return cmd_domain_preview(c, verb, domain);
	return domain ? tell(c, verb, domain) : activate_all(c);
}

int cmd_activate(struct ctl *c, unsigned nargs, const char *const *args)
{
	return domain_command(c, "activate", nargs, args);
}

int cmd_deactivate(struct ctl *c, unsigned nargs, const char *const *args)
{
	return domain_command(c, "deactivate", nargs, args);
}

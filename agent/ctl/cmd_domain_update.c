/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tandemctl activate and deactivate of a domain in a cluster: makes a ClusterDomainUpdate there, which the agent carries
 * out on all nodes of its site. The object is the word, and goes on without this command; with --wait that looks at it
 * until it has ended, and after an activation until the domain is in sync.
 *
 * The object answers the daemons' question with yes, so a deactivation is asked about here, before it is made.
 *
 * With --dry-run it asks them what they would do, and is deleted when their answers are here, but for one that was given
 * a name. An agent, or a kind of objects, of an older build would not know it for a dry run and carry it out: so it is only
 * made where both are known to.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "ctl.h"
#include "kube.h"
#include "migrate.h"

#define WAIT_MS 900000u /* the agent gives up after ten minutes; then it catches up */
#define DRY_WAIT_MS 60000u /* after a quarter of a minute; it may just be another that leads */
#define LOOK_US 200000u
#define AWAY_NS (60 * NS_PER_S) /* so long may the API be away */

/* An object that is looked at until a time. */
struct look {
	struct ctl *c;
	struct kube *k;
	uint64_t until_ns, answered_ns;
};

/* CTL_OK with the object, the caller's, or with NULL: the API is away for a moment. */
static int look_get(
	struct look *l, const struct kube_kind *kind, const char *name, struct json **ret_obj)
{
	struct err e = {0};
	int ret = kube_get(l->k, kind, NULL, name, ret_obj, &e);

	if (!ret) {
		l->answered_ns = clock_mono_ns();
		return CTL_OK;
	}
	*ret_obj = NULL;
	if (ret == -ENOENT)
		return ctl_fail(l->c, "%s '%s' is not there any more", kind->kind, name);
	if (kube_is_away(ret) && clock_mono_ns() - l->answered_ns < AWAY_NS)
		return CTL_OK;
	return ctl_fail(l->c, "%s '%s': %s", kind->kind, name, e.msg);
}

/* As those of a node are printed (cmd_domain_preview.c). */
static void print_answers(struct ctl *c, const struct json *status)
{
	const struct json *all = json_get(status, "volumes");
	int64_t more = json_get_int(status, "moreVolumes", 0);

	for (unsigned i = 0; i < json_length(all); i++) {
		const struct json *v = json_at(all, i);
		bool refuses = !json_get_bool(v, "wouldSucceed", true);

		fprintf(c->out, "%s: %s", json_get_string(v, "name", "?"),
			refuses ? "refused: " : "");
		ctl_print(c->out, "", json_get_string(v, "message", ""));
		fputc('\n', c->out);
	}
	if (more > 0)
		fprintf(c->out, "and %lld more\n", (long long)more);
}

/* CTL_OK when it was carried out. */
static int wait_done(struct look *l, const char *name)
{
	for (;;) {
		struct json *obj = NULL;
		int status = look_get(l, &ctl_kind_update, name, &obj);
		const struct json *s = json_get(obj, "status");
		const char *how = json_get_string(s, "status", ""),
			   *why = json_get_string(
				   s, "reason", "no agent of this cluster has taken it up");
		bool ended = !strcmp(how, "Failed") || !strcmp(how, "Successful");

		if (!status && ended && l->c->dry_run)
			print_answers(l->c, s);
		if (!status && !strcmp(how, "Failed")) {
			status = ctl_fail(l->c, "%s: Failed: %s", name, why);
		} else if (!status && !strcmp(how, "Successful")) {
			fprintf(l->c->out, "%s: Successful: %s\n", name, why);
			fflush(l->c->out);
			json_free(obj);
			return CTL_OK;
		} else if (!status && clock_mono_ns() >= l->until_ns) {
			status = ctl_fail(l->c,
				l->c->dry_run ? "%s: %s"
					      : "%s: %s; it goes on: 'tandemctl get "
						"clusterdomainupdates' tells of its end",
				name, why);
		}
		json_free(obj);
		if (status)
			return status;
		usleep(LOOK_US);
	}
}

static const struct json *info_of(const struct json *obj, const char *domain)
{
	const struct json *infos = json_path(obj, "status", "clusterDomainInfos");

	for (unsigned i = 0; i < json_length(infos); i++)
		if (!strcmp(json_get_string(json_at(infos, i), "name", ""), domain))
			return json_at(infos, i);
	return NULL;
}

static int wait_in_sync(struct look *l, const char *domain)
{
	for (;;) {
		struct json *obj = NULL;
		int status = look_get(l, &ctl_kind_domains, "tandemfs", &obj);
		const struct json *info = info_of(obj, domain);
		const char *sync = json_get_string(info, "syncStatus", "SyncStatusUnknown");
		bool done = info && !strcmp(sync, "InSync") &&
			    !strcmp(json_get_string(info, "state", ""), "Active");

		if (!status && done)
			fprintf(l->c->out, "%s: %s\n", domain, sync);
		else if (!status && clock_mono_ns() >= l->until_ns)
			status = ctl_fail(l->c,
				"%s: %s; it goes on by itself: 'tandemctl get "
				"clusterdomainsstatus' shows how far it is",
				domain, sync);
		json_free(obj);
		if (status || done)
			return status;
		usleep(LOOK_US);
	}
}

/* Would the cluster know it for a dry run? */
static int dry_run_is_known(struct look *l, const struct json *obj)
{
	struct json *domains = NULL, *probe = json_copy(obj), *there = NULL;
	struct err e = {0};
	bool agent = false, kind = false;
	int ret = kube_get(l->k, &ctl_kind_domains, NULL, "tandemfs", &domains, &e);

	if (!ret) {
		agent = json_get_bool(json_get(domains, "status"), "updateDryRun", false);
		json_remove(json_get(probe, "metadata"), "generateName");
		json_set_string(json_get(probe, "metadata"), "name", "tandemctl-dry-run");
		ret = agent ? kube_apply(l->k, &ctl_kind_update, probe, "tandemctl",
				      KUBE_FORCE | KUBE_DRY_RUN, &there, &e)
			    : 0;
		kind = json_get_bool(json_get(there, "spec"), "dryRun", false);
	}
	json_free(there);
	json_free(probe);
	json_free(domains);
	if (ret)
		return ctl_fail(l->c, "%s; nothing was asked", e.msg);
	if (agent && kind)
		return CTL_OK;
	return ctl_fail(l->c,
		"%s of this cluster is of an older build, and does not know a dry run: it would be "
		"carried out. Nothing was asked",
		agent ? "the kind ClusterDomainUpdate" : "the agent");
}

static int make(struct look *l, bool activate, const char *domain, char **ret_name)
{
	struct json *spec = json_object(), *obj, *made = NULL;
	struct err e = {0};
	char what[96];
	int ret;

	json_set_string(spec, "clusterdomain", domain);
	json_set_bool(spec, "active", activate);
	if (l->c->dry_run)
		json_set_bool(spec, "dryRun", true);
	if (l->c->accept_data_loss)
		json_set_bool(spec, "acceptDataLoss", true);
	snprintf(what, sizeof(what), "%s-%.64s", activate ? "activate" : "deactivate", domain);
	obj = ctl_kube_object("ClusterDomainUpdate", what, spec);
	if (l->c->name) {
		json_remove(json_get(obj, "metadata"), "generateName");
		json_set_string(json_get(obj, "metadata"), "name", l->c->name);
	}
	if (l->c->dry_run && dry_run_is_known(l, obj)) {
		json_free(obj);
		return CTL_FAILED;
	}
	ret = kube_create(l->k, &ctl_kind_update, obj, &made, &e);
	json_free(obj);
	if (ret)
		return ctl_fail(l->c, "%s", e.msg);
	*ret_name = strdup(json_get_string(json_get(made, "metadata"), "name", ""));
	ensure(*ret_name);
	json_free(made);
	fprintf(l->c->out, "ClusterDomainUpdate '%s': the cluster is %s %s '%s'\n", *ret_name,
		l->c->dry_run ? "only asked whether it would" : "told to",
		activate ? "activate" : "deactivate", domain);
	fflush(l->c->out);
	return CTL_OK;
}

static int confirmed(struct ctl *c, const char *domain)
{
	if (c->yes)
		return CTL_OK;
	if (!c->terminal) {
		ctl_fail(c,
			"going on without '%s' needs --yes: it must be dead or cut off, or "
			"stop serving",
			domain);
		return CTL_NEEDS_YES;
	}
	fprintf(c->err,
		"The site of this cluster goes on without '%s', and takes over what is active "
		"there.\nType 'yes' to go on: ",
		domain);
	fflush(c->err);
	if (ctl_typed_yes(c))
		return CTL_OK;
	ctl_fail(c, "not confirmed");
	return CTL_NEEDS_YES;
}

/* Names of those that are inactive, for the caller. */
static int inactive_ones(struct look *l, struct json *to)
{
	struct json *obj = NULL;
	const struct json *infos;
	struct err e = {0};

	if (kube_get(l->k, &ctl_kind_domains, NULL, "tandemfs", &obj, &e))
		return ctl_fail(l->c, "%s", e.msg);
	infos = json_path(obj, "status", "clusterDomainInfos");
	for (unsigned i = 0; i < json_length(infos); i++)
		if (!strcmp(json_get_string(json_at(infos, i), "state", ""), "Inactive"))
			json_append_string(to, json_get_string(json_at(infos, i), "name", ""));
	json_free(obj);
	if (!json_length(to))
		fprintf(l->c->out, "no domain is inactive\n");
	return CTL_OK;
}

static int update(struct look *l, bool activate, const char *domain)
{
	char *name = NULL;
	int status = make(l, activate, domain, &name);
	bool dry = l->c->dry_run;
	struct err e = {0};

	if (!status && (l->c->wait || dry))
		status = wait_done(l, name);
	if (!status && l->c->wait && activate && !dry)
		status = wait_in_sync(l, domain);
	if (dry && name && !l->c->name &&
		kube_delete(l->k, &ctl_kind_update, NULL, name, NULL, &e) && e.code != -ENOENT)
		fprintf(l->c->err, "tandemctl: %s: the object is left: %s\n", name, e.msg);
	free(name);
	return status;
}

int cmd_domain_update(struct ctl *c, bool activate, const char *domain)
{
	struct look l = {.c = c, .answered_ns = clock_mono_ns()};
	struct json *domains;
	unsigned wait_ms;
	int status;

	if (c->timeout_ms && !c->wait && !c->dry_run)
		return ctl_usage_error(
			c, activate ? "activate" : "deactivate", "--timeout is how long to --wait");
	status = activate || c->dry_run ? CTL_OK : confirmed(c, domain);
	if (!status)
		status = ctl_kube_open(c, &l.k, NULL);
	if (status)
		return status;
	wait_ms = c->timeout_ms ? c->timeout_ms : c->dry_run ? DRY_WAIT_MS : WAIT_MS;
	l.until_ns = l.answered_ns + wait_ms * NS_PER_MS;
	domains = json_array();
	if (domain)
		json_append_string(domains, domain);
	else
		status = inactive_ones(&l, domains);
	for (unsigned i = 0; i < json_length(domains); i++) {
		int one = update(&l, activate, json_string_at(domains, i, ""));

		status = status ? status : one;
	}
	json_free(domains);
	kube_free(l.k);
	return status;
}

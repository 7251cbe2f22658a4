/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Failover with spec.node, about one node of the other domain. Its volumes are those whose other replica is on that node,
 * by what the engines here say, or by the status of the Volume objects, which stays when an engine does not answer.
 *
 * Unplanned: the node is dead, and the domain is not. Nothing else is fenced. The applications of the domain run on, but
 * for those of that node. So a namespace that nobody named is left out where none of its volumes is on the node; and
 * where it has others, too, which are still in use there, it is not started: that is told, and a person who names it has
 * decided.
 *
 * Planned, Failback: the node is to be emptied. What is active in its domain moves, and the namespaces that use it, each
 * with all its volumes, because an application cannot run on both sides; so do those that share one of these volumes. One
 * whose volumes are here already is done: whether it is stopped by an earlier Failover or by a person nobody can tell,
 * so that a person names it.
 *
 * Failure modes: while an engine of this site does not answer, or does not say of a volume where its replicas are, "no
 * volume is on that node" is not believed at once, nor by a planned one that these are all. Once that is over the choice
 * is in the status, and nobody makes it again with volumes that have moved half way. A volume of a namespace that stays
 * would be taken from under its pods, and who uses one by a path over there is not known here: what no namespace of this
 * Failover has moves only where the applications there are stopped by hand, else all of it is refused.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apps.h"
#include "kube_failover_impl.h"
#include "kube_volume.h"

const char *failover_node(const struct failover *f)
{
	return failover_spec(f, "node");
}

const char *replica_node(const struct json *replicas, const char *domain, char *buf, size_t size)
{
	for (unsigned i = 0; i < json_length(replicas); i++) {
		const struct json *r = json_at(replicas, i);
		const char *node = json_get_string(r, "node", ""),
			   *address = json_get_string(r, "address", ""),
			   *colon = strrchr(address, ':');

		if (strcmp(json_get_string(r, "domain", ""), domain) != 0)
			continue;
		if (node[0])
			snprintf(buf, size, "%s", node);
		else
			snprintf(buf, size, "%.*s", (int)(colon ? colon - address : 0), address);
		return buf;
	}
	buf[0] = '\0';
	return buf;
}

/* ---- which volumes ---- */

static void note(const struct failover *f, struct node_found *found, const char *volume,
	const struct json *replicas)
{
	char node[KUBE_NAME_MAX + 1];

	if (!volume || !volume[0])
		return;
	replica_node(replicas, failover_from(f), node, sizeof(node));
	if (node[0] && !json_has_string(found->known, node))
		json_append_string(found->known, node);
	if (!strcmp(node, failover_node(f)) && !json_has_string(found->on, volume))
		json_append_string(found->on, volume);
}

/* Do the objects say where the volume is? */
static bool is_told(const struct json *objects, const char *volume)
{
	for (unsigned i = 0; i < json_length(objects); i++) {
		const char *name = meta_of(json_at(objects, i), "name");

		if (name && !strcmp(name, volume))
			return json_length(json_path(json_at(objects, i), "status", "replicas"));
	}
	return false;
}

static void note_engine(const struct failover *f, struct node_found *found,
	const struct kube_node *node, const struct json *objects)
{
	const struct json *all = json_get(node->status, "volumes");

	found->all &= all != NULL;
	for (unsigned i = 0; i < json_length(all); i++) {
		const char *volume = json_get_string(json_at(all, i), "volume", "");
		const struct json *peers = json_path(json_at(all, i), "status", "peers");

		note(f, found, volume, peers);
		found->all &= peers || is_told(objects, volume);
	}
}

struct node_found node_found_of(const struct failover *f, const struct json *objects)
{
	struct node_found found = {json_array(), json_array(), true};

	for (unsigned n = 0; n < f->c.nnodes; n++)
		note_engine(f, &found, &f->c.nodes[n], objects);
	for (unsigned i = 0; i < json_length(objects); i++)
		note(f, &found, meta_of(json_at(objects, i), "name"),
			json_path(json_at(objects, i), "status", "replicas"));
	return found;
}

void node_found_free(struct node_found *found)
{
	json_free(found->on);
	json_free(found->known);
}

int node_found_check(
	const struct failover *f, const struct node_found *found, bool late, struct err *e)
{
	char list[120] = "";
	size_t at = 0;

	if (json_length(found->on)) {
		if (found->all || late || f->run.type == SWITCH_UNPLANNED)
			return 0;
		return err_set(e, -EBUSY,
			"it is not known yet of every volume here where its other replica is");
	}
	for (unsigned i = 0; i < json_length(found->known) && at < sizeof(list); i++)
		at += (size_t)snprintf(list + at, sizeof(list) - at, "%s'%.60s'", i ? ", " : "",
			json_string_at(found->known, i, ""));
	return err_set(e, found->all || late ? -ENOENT : -EBUSY,
		"no volume here has its other replica on a node '%.60s' of '%s'%s%s",
		failover_node(f), failover_from(f), list[0] ? "; there are " : "", list);
}

/* ---- which namespaces ---- */

static bool is_here(const struct failover *f, const char *volume)
{
	const struct json *entry = NULL;

	return node_of_volume(&f->c, volume, &entry) &&
	       !strcmp(json_get_string(json_get(entry, "status"), "active_domain", ""),
		       f->c.config->domain);
}

static bool is_named(const struct failover *f)
{
	return json_length(json_get(json_get(f->obj, "spec"), "namespaces"));
}

static void leave_namespace(struct failover *f, unsigned at)
{
	char text[160];

	snprintf(text, sizeof(text), "none of its volumes is on node '%.100s'", failover_node(f));
	failover_namespace_set(f, at, "Failed", text);
}

/* True: the line stays. */
static bool keep_namespace(struct failover *f, unsigned at, const struct json *on)
{
	const char *ns = failover_namespace(f, at), *elsewhere = NULL;
	bool named = is_named(f), some = false;
	char text[300];

	for (unsigned i = 0; i < json_length(f->volumes); i++) {
		const struct json *v = json_at(f->volumes, i);
		const char *name = json_get_string(v, "volume", "");

		if (!json_has_string(json_get(v, "namespaces"), ns))
			continue;
		if (json_has_string(on, name))
			some = true;
		else if (!is_here(f, name))
			elsewhere = name;
	}
	if (some && (named || !elsewhere))
		return true;
	if (!some && !named)
		return false;
	if (!some) {
		leave_namespace(f, at);
		return true;
	}
	snprintf(text, sizeof(text),
		"it uses volume '%.63s', too, which is not on node '%.100s': name it in "
		"spec.namespaces to start it here",
		elsewhere, failover_node(f));
	failover_namespace_set(f, at, "Failed", text);
	return true;
}

void failover_keep_node(struct failover *f, const struct json *on)
{
	struct json *lines = json_array(), *volumes = json_array();

	for (unsigned i = 0; i < json_length(f->summary); i++)
		if (keep_namespace(f, i, on))
			json_append(lines, json_copy(json_at(f->summary, i)));
	json_free(f->summary);
	f->summary = lines;
	for (unsigned i = 0; i < json_length(f->volumes); i++)
		if (json_has_string(on, json_get_string(json_at(f->volumes, i), "volume", "")))
			json_append(volumes, json_copy(json_at(f->volumes, i)));
	json_free(f->volumes);
	f->volumes = volumes;
}

/* ---- what a planned one moves ---- */

bool failover_empties_node(const struct failover *f)
{
	return f->run.type != SWITCH_UNPLANNED && failover_node(f)[0] && !is_named(f) &&
	       !json_get(json_get(f->obj, "spec"), "migrationScheduleReference");
}

static const char *volume_at(const struct failover *f, unsigned i)
{
	return volume_name(json_at(f->volumes, i));
}

static bool uses(const struct failover *f, unsigned line, unsigned volume)
{
	return json_has_string(
		json_get(json_at(f->volumes, volume), "namespaces"), failover_namespace(f, line));
}

/* Is it active there? One of which that is not known is taken, and refused by failover_check(). */
static bool is_to_come(const struct failover *f, const char *volume)
{
	const struct json *entry = NULL;
	const char *active;

	node_of_volume(&f->c, volume, &entry);
	active = json_get_string(json_get(entry, "status"), "active_domain", "");
	return !active[0] || !strcmp(active, failover_from(f));
}

/* `moving` are volumes. One on the node that is here counts for a namespace that was named: it may have to be started. */
static bool must_move(
	const struct failover *f, unsigned line, const struct json *on, const struct json *moving)
{
	for (unsigned i = 0; i < json_length(f->volumes); i++)
		if (uses(f, line, i) &&
			(json_has_string(moving, volume_at(f, i)) ||
				(is_named(f) && json_has_string(on, volume_at(f, i)))))
			return true;
	return false;
}

/* All volumes of the line that are there come with it. True: some that did not before. */
static bool take_along(const struct failover *f, unsigned line, struct json *moving)
{
	bool more = false;

	for (unsigned i = 0; i < json_length(f->volumes); i++) {
		const char *volume = volume_at(f, i);

		if (!uses(f, line, i) || json_has_string(moving, volume) || !is_to_come(f, volume))
			continue;
		json_append_string(moving, volume);
		more = true;
	}
	return more;
}

/* Which lines move: those that use what moves, until no volume is added by that. */
static void choose_lines(const struct failover *f, const struct json *on, bool *keep)
{
	struct json *moving = json_array();
	bool more = true;

	for (unsigned i = 0; i < json_length(on); i++)
		if (is_to_come(f, json_string_at(on, i, "")))
			json_append_string(moving, json_string_at(on, i, ""));
	while (more) {
		more = false;
		for (unsigned i = 0; i < json_length(f->summary); i++) {
			if (keep[i] || !must_move(f, i, on, moving))
				continue;
			keep[i] = true;
			more |= take_along(f, i, moving);
		}
	}
	json_free(moving);
}

void failover_keep_whole(struct failover *f, const struct json *on)
{
	struct json *lines = json_array(), *volumes = json_array();
	bool keep[FAILOVER_NAMESPACES_MAX] = {false};

	choose_lines(f, on, keep);
	for (unsigned v = 0; v < json_length(f->volumes); v++) {
		bool wanted = false;

		for (unsigned i = 0; i < json_length(f->summary) && !wanted; i++)
			wanted = keep[i] && uses(f, i, v);
		if (wanted)
			json_append(volumes, json_copy(json_at(f->volumes, v)));
	}
	for (unsigned i = 0; i < json_length(f->summary); i++) {
		if (!keep[i] && !is_named(f))
			continue;
		if (!keep[i])
			leave_namespace(f, i);
		json_append(lines, json_copy(json_at(f->summary, i)));
	}
	json_free(f->summary);
	json_free(f->volumes);
	f->summary = lines;
	f->volumes = volumes;
}

/* The namespace whose claim here has it; NULL. */
static const char *claimed_by(const struct failover *f, const struct json *pvs, const char *volume)
{
	char name[VOLUME_NAME_MAX + 1];

	for (unsigned i = 0; i < json_length(pvs); i++) {
		const struct json *pv = json_at(pvs, i);
		const char *ns =
			json_get_string(json_path(pv, "spec", "claimRef"), "namespace", "");

		if (ns[0] &&
			strcmp(json_get_string(json_get(pv, "status"), "phase", ""), "Released") !=
				0 &&
			apps_volume_of_pv(pv, f->c.config->mounts, name) && !strcmp(name, volume))
			return ns;
	}
	return NULL;
}

static bool is_taken(const struct failover *f, const char *volume)
{
	for (unsigned i = 0; i < json_length(f->volumes); i++)
		if (!strcmp(volume_at(f, i), volume))
			return true;
	return false;
}

/* Has somebody said that nothing runs there? */
static bool is_stopped_there(const struct failover *f)
{
	const struct json *spec = json_get(f->obj, "spec");

	return json_get_bool(spec, "sourceIsStopped", false) ||
	       json_get_bool(spec, "skipSourceOperations", false);
}

int failover_add_rest(struct failover *f, const struct json *on, const struct json *excluded,
	const struct json *pvs, struct err *e)
{
	for (unsigned i = 0; i < json_length(on); i++) {
		const char *volume = json_string_at(on, i, ""), *ns;

		if (is_taken(f, volume) || !is_to_come(f, volume))
			continue;
		ns = claimed_by(f, pvs, volume);
		if (!ns && !is_stopped_there(f))
			return err_set(e, -EINVAL,
				"volume '%.63s' on node '%.100s' is of no namespace that is known "
				"here, and something there may use it: name in spec.namespaces "
				"what "
				"is to move, or stop what uses it and say so with "
				"spec.sourceIsStopped",
				volume, failover_node(f));
		if (!ns)
			failover_add_volume(f, volume, NULL);
		else if (!json_has_string(excluded, ns) &&
			 !json_has_string(
				 json_get(json_get(f->obj, "spec"), "excludeNamespaces"), ns))
			return err_set(e, -EINVAL,
				"volume '%.63s' on node '%.100s' is of namespace '%.63s', which "
				"has no workloads here or may not be read: name it in "
				"spec.excludeNamespaces to leave it there, or in spec.namespaces "
				"what is to move",
				volume, failover_node(f), ns);
	}
	return 0;
}

static int take_planned(
	struct failover *f, const struct json *on, const struct json *excluded, struct err *e)
{
	struct json *pvs = json_array();
	bool rest = failover_empties_node(f);
	int ret = 0;

	if (rest)
		ret = kube_list(f->c.kube, &kind_volume, NULL, NULL, pvs, NULL, e);
	if (!ret)
		failover_keep_whole(f, on);
	if (!ret && rest)
		ret = failover_add_rest(f, on, excluded, pvs, e);
	json_free(pvs);
	return ret;
}

int failover_take_node(struct failover *f, const struct json *excluded, struct err *e)
{
	struct json *objects = json_array();
	int ret = kube_list(f->c.kube, &kind_tandem_volume, NULL, NULL, objects, NULL, e);
	struct node_found found = node_found_of(f, objects);
	bool late = failover_since_ms(f->run.started_ms) > FAILOVER_AWAY_MS,
	     unplanned = f->run.type == SWITCH_UNPLANNED;

	if (!ret)
		ret = node_found_check(f, &found, late, e);
	if (!ret && unplanned)
		failover_keep_node(f, found.on);
	else if (!ret)
		ret = take_planned(f, found.on, excluded, e);
	for (unsigned i = 0; i < json_length(found.on) && !ret && unplanned; i++)
		failover_add_volume(f, json_string_at(found.on, i, ""), NULL);
	node_found_free(&found);
	json_free(objects);
	return ret;
}

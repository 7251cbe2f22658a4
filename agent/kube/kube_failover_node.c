/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Failover with spec.node: one node of the other domain is dead, and the domain is not. Its volumes are those whose
 * other replica is on that node, by what the engines here say, or by the status of the Volume objects, which stays when
 * an engine does not answer. Nothing else is fenced.
 *
 * The applications of the domain run on, but for those of that node. So a namespace that nobody named is left out where
 * none of its volumes is on the node; and where it has others, too, which are still in use there, it is not started:
 * that is told, and a person who names it has decided.
 *
 * Failure modes: while an engine of this site does not answer, or does not say of a volume where its replicas are, "no
 * volume is on that node" is not believed at once.
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

	if (json_length(found->on))
		return 0;
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

/* True: the line stays. */
static bool keep_namespace(struct failover *f, unsigned at, const struct json *on)
{
	const char *ns = failover_namespace(f, at), *elsewhere = NULL;
	bool named = json_length(json_get(json_get(f->obj, "spec"), "namespaces")), some = false;
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
	if (!some)
		snprintf(text, sizeof(text), "none of its volumes is on node '%.100s'",
			failover_node(f));
	else
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

int failover_take_node(struct failover *f, struct err *e)
{
	struct json *objects = json_array();
	int ret = kube_list(f->c.kube, &kind_tandem_volume, NULL, NULL, objects, NULL, e);
	struct node_found found = node_found_of(f, objects);
	bool late = failover_now_ms() - f->run.started_ms > FAILOVER_AWAY_MS;

	if (!ret)
		ret = node_found_check(f, &found, late, e);
	if (!ret)
		failover_keep_node(f, found.on);
	for (unsigned i = 0; i < json_length(found.on) && !ret; i++)
		failover_add_volume(f, json_string_at(found.on, i, ""), NULL);
	node_found_free(&found);
	json_free(objects);
	return ret;
}

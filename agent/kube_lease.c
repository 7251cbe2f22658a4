/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which of several processes works: the one whose name is in the Lease. Others take it over when it has not changed
 * for its duration by their own clocks, so that clocks of different nodes need not agree.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "kube_control.h"
#include "log.h"

#define NAME "tandem-agent"
#define DURATION_S 15
#define RENEW_S 5

const struct kube_kind kind_lease = KUBE_KIND("coordination.k8s.io", "v1", "Lease", "leases", true);

static void micro_time(char *ret, size_t size)
{
	uint64_t ns = clock_real_ns();
	char s[21];

	kube_time((int64_t)(ns / NS_PER_S), s);
	snprintf(ret, size, "%.19s.%06uZ", s, (unsigned)(ns % NS_PER_S / 1000));
}

static struct json *new_lease(const struct kube_control *c)
{
	struct json *l = json_object(), *m = json_object();

	json_set_string(l, "apiVersion", "coordination.k8s.io/v1");
	json_set_string(l, "kind", "Lease");
	json_set_string(m, "name", NAME);
	json_set_string(m, "namespace", c->config->kube_namespace);
	json_set(l, "metadata", m);
	json_set(l, "spec", json_object());
	return l;
}

static void sign(const struct kube_control *c, struct json *lease)
{
	struct json *spec = json_get(lease, "spec");
	bool ours = !strcmp(json_get_string(spec, "holderIdentity", ""), c->config->kube_identity);
	char now[40];

	if (!spec) {
		spec = json_object();
		json_set(lease, "spec", spec);
	}
	micro_time(now, sizeof(now));
	if (!ours) {
		json_set_string(spec, "acquireTime", now);
		json_set_int(
			spec, "leaseTransitions", json_get_int(spec, "leaseTransitions", 0) + 1);
	}
	json_set_string(spec, "holderIdentity", c->config->kube_identity);
	json_set_int(spec, "leaseDurationSeconds", DURATION_S);
	json_set_string(spec, "renewTime", now);
}

/* Is it another's who was heard of within the duration? */
static bool is_taken(struct kube_control *c, const struct json *lease)
{
	const struct json *spec = json_get(lease, "spec");
	const char *holder = json_get_string(spec, "holderIdentity", "");
	char seen[sizeof(c->seen)];

	if (!*holder || !strcmp(holder, c->config->kube_identity))
		return false;
	snprintf(
		seen, sizeof(seen), "%.300s %.60s", holder, json_get_string(spec, "renewTime", ""));
	if (strcmp(seen, c->seen)) {
		memcpy(c->seen, seen, sizeof(seen));
		c->seen_ns = clock_mono_ns();
	}
	return clock_mono_ns() - c->seen_ns < DURATION_S * NS_PER_S;
}

static bool take_lease(struct kube_control *c, struct err *e)
{
	struct json *lease = NULL;
	int ret = kube_get(c->kube, &kind_lease, c->config->kube_namespace, NAME, &lease, e);
	bool there = !ret;

	if (ret == -ENOENT) {
		lease = new_lease(c);
		ret = 0;
	}
	if (!ret && there && is_taken(c, lease))
		ret = err_set(e, -EBUSY, "held by '%.100s'",
			json_get_string(json_get(lease, "spec"), "holderIdentity", ""));
	if (!ret) {
		sign(c, lease);
		ret = there ? kube_update(c->kube, &kind_lease, NULL, lease, NULL, e)
			    : kube_create(c->kube, &kind_lease, lease, NULL, e);
	}
	json_free(lease);
	return !ret;
}

bool lease_hold(struct kube_control *c)
{
	uint64_t age = clock_mono_ns() - c->renewed_ns, before = clock_mono_ns();
	struct err e = {0};

	if (!c->elect || (c->leading && age < RENEW_S * NS_PER_S))
		return !atomic_load(c->stop);
	if (take_lease(c, &e)) {
		if (!c->leading)
			log_info("kubernetes: '%s' holds the lease", c->config->kube_identity);
		c->leading = true;
		c->renewed_ns = before;
	} else if (c->leading && (e.code == -EBUSY || age > (DURATION_S - RENEW_S) * NS_PER_S)) {
		log_warn("kubernetes: the lease is lost: %s", e.msg);
		c->leading = false;
	} else if (!c->leading) {
		log_debug("kubernetes: waiting for the lease: %s", e.msg);
	}
	return c->leading && !atomic_load(c->stop);
}

void lease_release(struct kube_control *c)
{
	struct json *lease = NULL;
	struct err e = {0};

	if (!c->leading ||
		kube_get(c->kube, &kind_lease, c->config->kube_namespace, NAME, &lease, &e))
		return;
	if (!strcmp(json_get_string(json_get(lease, "spec"), "holderIdentity", ""),
		    c->config->kube_identity)) {
		json_set_string(json_get(lease, "spec"), "holderIdentity", "");
		kube_update(c->kube, &kind_lease, NULL, lease, NULL, &e);
	}
	json_free(lease);
	c->leading = false;
}

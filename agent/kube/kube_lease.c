/* SPDX-License-Identifier: Apache-2.0 */
/* The Lease's thread. Its fields belong to it, but for until_ns, which everybody reads. */
#include "kube_lease.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "kube_control.h"
#include "log.h"

#define NAME "tandem-agent"
#define DURATION_S 15
#define RENEW_S 5

const struct kube_kind kind_lease = KUBE_KIND("coordination.k8s.io", "v1", "Lease", "leases", true);

struct lease {
	const struct agent_config *config;
	const struct kube_access *access;
	struct kube_health *health;
	const atomic_bool *stop;
	struct kube *kube;
	pthread_t thread;
	_Atomic uint64_t until_ns; /* monotonic: held until then; 0: not held */
	uint64_t renewed_ns; /* when ours was written */
	uint64_t seen_ns; /* when another's last changed */
	char seen[400]; /* the other's holder and time */
};

static void micro_time(char *ret, size_t size)
{
	uint64_t ns = clock_real_ns();
	char s[21];

	kube_time((int64_t)(ns / NS_PER_S), s);
	snprintf(ret, size, "%.19s.%06uZ", s, (unsigned)(ns % NS_PER_S / 1000));
}

static struct json *new_object(const struct lease *l)
{
	struct json *o = json_object(), *m = json_object();

	json_set_string(o, "apiVersion", "coordination.k8s.io/v1");
	json_set_string(o, "kind", "Lease");
	json_set_string(m, "name", NAME);
	json_set_string(m, "namespace", l->config->kube_namespace);
	json_set(o, "metadata", m);
	json_set(o, "spec", json_object());
	return o;
}

static void sign(const struct lease *l, struct json *object)
{
	struct json *spec = json_get(object, "spec");
	bool ours = !strcmp(json_get_string(spec, "holderIdentity", ""), l->config->kube_identity);
	char now[40];

	if (!spec) {
		spec = json_object();
		json_set(object, "spec", spec);
	}
	micro_time(now, sizeof(now));
	if (!ours) {
		json_set_string(spec, "acquireTime", now);
		json_set_int(
			spec, "leaseTransitions", json_get_int(spec, "leaseTransitions", 0) + 1);
	}
	json_set_string(spec, "holderIdentity", l->config->kube_identity);
	json_set_int(spec, "leaseDurationSeconds", DURATION_S);
	json_set_string(spec, "renewTime", now);
}

/* Is it another's who was heard of within the duration? */
static bool is_taken(struct lease *l, const struct json *object)
{
	const struct json *spec = json_get(object, "spec");
	const char *holder = json_get_string(spec, "holderIdentity", "");
	char seen[sizeof(l->seen)];

	if (!*holder || !strcmp(holder, l->config->kube_identity))
		return false;
	snprintf(
		seen, sizeof(seen), "%.300s %.60s", holder, json_get_string(spec, "renewTime", ""));
	if (strcmp(seen, l->seen)) {
		memcpy(l->seen, seen, sizeof(seen));
		l->seen_ns = clock_mono_ns();
	}
	return clock_mono_ns() - l->seen_ns < DURATION_S * NS_PER_S;
}

static bool take(struct lease *l, struct err *e)
{
	struct json *object = NULL;
	int ret = kube_get(l->kube, &kind_lease, l->config->kube_namespace, NAME, &object, e);
	bool there = !ret;

	if (ret == -ENOENT) {
		object = new_object(l);
		ret = 0;
	}
	if (!ret && there && is_taken(l, object))
		ret = err_set(e, -EBUSY, "held by '%.100s'",
			json_get_string(json_get(object, "spec"), "holderIdentity", ""));
	if (!ret) {
		sign(l, object);
		ret = there ? kube_update(l->kube, &kind_lease, NULL, object, NULL, e)
			    : kube_create(l->kube, &kind_lease, object, NULL, e);
	}
	json_free(object);
	return !ret;
}

static void renew(struct lease *l)
{
	uint64_t before = clock_mono_ns();
	bool held = atomic_load(&l->until_ns) > before;
	struct err e = {0};

	if (held && before - l->renewed_ns < RENEW_S * NS_PER_S)
		return;
	if (take(l, &e)) {
		health_called(l->health, 0);
		if (!held)
			log_info("kubernetes: '%s' holds the lease", l->config->kube_identity);
		l->renewed_ns = before;
		atomic_store(&l->until_ns, before + (DURATION_S - RENEW_S) * NS_PER_S);
		return;
	}
	health_called(l->health, e.code == -EBUSY ? 0 : e.code); /* another's is an answer */
	if (e.code == -EBUSY)
		atomic_store(&l->until_ns, 0);
	if (held && e.code == -EBUSY)
		log_warn("kubernetes: the lease is lost: %s", e.msg);
	else if (!held)
		log_debug("kubernetes: waiting for the lease: %s", e.msg);
}

static void *lease_main(void *arg)
{
	struct lease *l = arg;

	while (!atomic_load(l->stop)) {
		renew(l);
		health_leads(l->health, lease_held(l));
		kube_pause(l->stop, NS_PER_S);
	}
	return NULL;
}

struct lease *lease_new(const struct agent_config *c, const struct kube_access *a,
	struct kube_health *h, const atomic_bool *stop)
{
	struct lease *l = calloc(1, sizeof(*l));

	ensure(l);
	l->config = c;
	l->access = a;
	l->health = h;
	l->stop = stop;
	l->kube = kube_new("this cluster's API", a, stop);
	ensure(!pthread_create(&l->thread, NULL, lease_main, l));
	return l;
}

bool lease_held(const struct lease *l)
{
	return atomic_load(&l->until_ns) > clock_mono_ns() && !atomic_load(l->stop);
}

static void give_back(struct lease *l)
{
	/* The word to stop is not for this call. */
	struct kube *kube = kube_new("this cluster's API", l->access, NULL);
	struct json *object = NULL;
	struct err e = {0};

	if (!kube_get(kube, &kind_lease, l->config->kube_namespace, NAME, &object, &e) &&
		!strcmp(json_get_string(json_get(object, "spec"), "holderIdentity", ""),
			l->config->kube_identity)) {
		json_set_string(json_get(object, "spec"), "holderIdentity", "");
		kube_update(kube, &kind_lease, NULL, object, NULL, &e);
	}
	json_free(object);
	kube_free(kube);
}

void lease_free(struct lease *l)
{
	if (!l)
		return;
	pthread_join(l->thread, NULL);
	if (atomic_load(&l->until_ns) > clock_mono_ns())
		give_back(l);
	kube_free(l->kube);
	free(l);
}

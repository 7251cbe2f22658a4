/* SPDX-License-Identifier: Apache-2.0 */
#include "kube_health.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "kube.h"

void health_init(struct kube_health *h, uint64_t interval_ns)
{
	*h = (struct kube_health){.interval_ns = interval_ns};
	ensure(!pthread_mutex_init(&h->lock, NULL));
}

void health_clear(struct kube_health *h)
{
	for (unsigned i = 0; i < HEALTH_SECTIONS; i++)
		free(h->sections[i]);
	pthread_mutex_destroy(&h->lock);
}

unsigned health_worker(struct kube_health *h, const char *name)
{
	unsigned n;

	pthread_mutex_lock(&h->lock);
	n = h->nworkers++;
	ensure(n < HEALTH_WORKERS_MAX);
	h->names[n] = name;
	h->beat_ns[n] = clock_mono_ns();
	pthread_mutex_unlock(&h->lock);
	return n;
}

void health_beat(struct kube_health *h, unsigned worker)
{
	pthread_mutex_lock(&h->lock);
	h->beat_ns[worker] = clock_mono_ns();
	pthread_mutex_unlock(&h->lock);
}

void health_busy(struct kube_health *h, unsigned worker, unsigned ms)
{
	pthread_mutex_lock(&h->lock);
	h->beat_ns[worker] = clock_mono_ns() + ms * NS_PER_MS;
	pthread_mutex_unlock(&h->lock);
}

void health_called(struct kube_health *h, int error)
{
	pthread_mutex_lock(&h->lock);
	h->looks++;
	h->errors += error != 0;
	if (!error || !kube_is_away(error))
		h->answered_ns = clock_mono_ns();
	pthread_mutex_unlock(&h->lock);
}

void health_leads(struct kube_health *h, bool leads)
{
	pthread_mutex_lock(&h->lock);
	h->leads = leads;
	pthread_mutex_unlock(&h->lock);
}

void health_section(struct kube_health *h, enum health_section s, char *lines)
{
	char *old;

	pthread_mutex_lock(&h->lock);
	old = h->sections[s];
	h->sections[s] = lines;
	pthread_mutex_unlock(&h->lock);
	free(old);
}

static uint64_t age_s(uint64_t since_ns, uint64_t now_ns)
{
	return now_ns > since_ns ? (now_ns - since_ns) / NS_PER_S : 0;
}

int health_alive(struct kube_health *h, uint64_t now_ns, struct err *e)
{
	uint64_t limit_s = HEALTH_STILL_S + 5 * h->interval_ns / NS_PER_S;
	int ret = 0;

	pthread_mutex_lock(&h->lock);
	for (unsigned i = 0; i < h->nworkers && !ret; i++)
		if (age_s(h->beat_ns[i], now_ns) > limit_s)
			ret = err_set(e, -ETIMEDOUT,
				"worker '%s' has stood still for %" PRIu64 " s", h->names[i],
				age_s(h->beat_ns[i], now_ns));
	pthread_mutex_unlock(&h->lock);
	return ret;
}

int health_ready(struct kube_health *h, uint64_t now_ns, struct err *e)
{
	uint64_t limit_s = HEALTH_SILENT_S + h->interval_ns / NS_PER_S, answered_ns;

	pthread_mutex_lock(&h->lock);
	answered_ns = h->answered_ns;
	pthread_mutex_unlock(&h->lock);
	if (!answered_ns)
		return err_set(e, -EAGAIN, "this cluster's API has not answered yet");
	if (age_s(answered_ns, now_ns) > limit_s)
		return err_set(e, -ETIMEDOUT,
			"this cluster's API has not answered for %" PRIu64 " s",
			age_s(answered_ns, now_ns));
	return 0;
}

char *health_metrics(struct kube_health *h)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	ensure(f);
	pthread_mutex_lock(&h->lock);
	fprintf(f,
		"# HELP tandem_kube_leader 1 where this process holds the Lease.\n"
		"# TYPE tandem_kube_leader gauge\ntandem_kube_leader %d\n"
		"# HELP tandem_kube_looks_total Looks at the objects, and renewals of the Lease.\n"
		"# TYPE tandem_kube_looks_total counter\ntandem_kube_looks_total %" PRIu64 "\n"
		"# HELP tandem_kube_api_errors_total Those that this cluster's API failed.\n"
		"# TYPE tandem_kube_api_errors_total counter\n"
		"tandem_kube_api_errors_total %" PRIu64 "\n",
		h->leads, h->looks, h->errors);
	for (unsigned i = 0; i < HEALTH_SECTIONS; i++)
		if (h->sections[i] && h->leads)
			fputs(h->sections[i], f);
	pthread_mutex_unlock(&h->lock);
	fclose(f);
	ensure(text);
	return text;
}

unsigned health_answer(void *ctx, const char *path, char **ret_text)
{
	struct kube_health *h = ctx;
	uint64_t now_ns = clock_mono_ns();
	struct err e = {0};
	int ret;

	if (!strcmp(path, "/metrics")) {
		*ret_text = health_metrics(h);
		return 200;
	}
	if (!strcmp(path, "/healthz"))
		ret = health_alive(h, now_ns, &e);
	else if (!strcmp(path, "/readyz"))
		ret = health_ready(h, now_ns, &e);
	else
		return 404;
	ensure(asprintf(ret_text, "%s\n", ret ? e.msg : "ok") > 0);
	return ret ? 503 : 200;
}

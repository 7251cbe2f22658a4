/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How tandem-agent --kubernetes is, for kubelet's probes and Prometheus: `GET /healthz`, `/readyz` and `/metrics` over
 * plain HTTP. Any thread may note; nothing waits.
 *
 * healthz fails only where a worker has stood still for much longer than any of its calls takes: then a new process is
 * the way out. The API's absence is none of that: readyz tells it, of those that wait for the Lease, too.
 */
#ifndef AGENT_KUBE_HEALTH_H
#define AGENT_KUBE_HEALTH_H

#include <pthread.h>
#include <stdint.h>

#include "agent_config.h"

#define HEALTH_WORKERS_MAX 16u
#define HEALTH_STILL_S 300u /* and five intervals: then a worker is called stuck */
#define HEALTH_SILENT_S 15u /* and an interval without the API: not ready */

enum health_section { HEALTH_MIGRATIONS, HEALTH_DOMAINS, HEALTH_SECTIONS };

struct kube_health {
	uint64_t interval_ns;
	pthread_mutex_t lock; /* of all below; a leaf */
	unsigned nworkers;
	const char *names[HEALTH_WORKERS_MAX];
	uint64_t beat_ns[HEALTH_WORKERS_MAX]; /* monotonic, as all here; may be to come */
	uint64_t answered_ns; /* the API did; 0: never */
	uint64_t looks, errors; /* of looks and renewals */
	bool leads;
	char *sections[HEALTH_SECTIONS]; /* lines for Prometheus; NULL: nothing known */
};

void health_init(struct kube_health *h, uint64_t interval_ns);
void health_clear(struct kube_health *h);
/* One more worker, which beats from now on. `name` is static. For health_beat(). */
unsigned health_worker(struct kube_health *h, const char *name);
void health_beat(struct kube_health *h, unsigned worker);
/* It makes a call of somebody's choice that may take so long; until then it is not called stuck. */
void health_busy(struct kube_health *h, unsigned worker, unsigned ms);
/* What a call to this cluster's API came to: 0, or as of kube.h. */
void health_called(struct kube_health *h, int error);
void health_leads(struct kube_health *h, bool leads);
/* Takes `lines`, whole ones of Prometheus' text format. */
void health_section(struct kube_health *h, enum health_section s, char *lines);

/* 0, or -errno with words. */
int health_alive(struct kube_health *h, uint64_t now_ns, struct err *e);
int health_ready(struct kube_health *h, uint64_t now_ns, struct err *e);
/* The caller's to free. */
char *health_metrics(struct kube_health *h);
/* A server_probe_answer (server_probe.h); ctx is the struct kube_health. */
unsigned health_answer(void *ctx, const char *path, char **ret_text);

#endif

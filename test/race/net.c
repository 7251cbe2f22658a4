/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The transport's only second thread is the one that looks a host's name up: two ends on two threads
 * that dial each other by name, closed and opened again also in the middle of a look-up.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "log.h"
#include "net.h"

#define ROUNDS 60u

struct end {
	struct net_config cfg;
	unsigned ups;
};

static void on_up(void *ctx, unsigned peer, uint64_t conn)
{
	((struct end *)ctx)->ups++;
}

static void *on_alloc(void *ctx, unsigned peer, const struct msg_frame *f)
{
	return NULL;
}

static void on_free(void *ctx, void *payload)
{
}

static void on_message(void *ctx, unsigned peer, uint64_t conn, const struct msg *m, void *payload)
{
}

static void on_down(void *ctx, unsigned peer, uint64_t conn, const char *reason)
{
}

static void on_drained(void *ctx, unsigned peer, uint64_t conn)
{
}

static void *run(void *arg)
{
	struct end *end = arg;
	struct net_callbacks cb = {.ctx = end,
		.up = on_up,
		.payload_alloc = on_alloc,
		.payload_free = on_free,
		.message = on_message,
		.down = on_down,
		.drained = on_drained};
	struct loop *l;

	ensure(loop_new(&l) == 0);
	for (unsigned round = 0; round < ROUNDS; round++) {
		/* Some rounds end before the name is known, some after the connection stands. */
		uint64_t until = clock_mono_ns() + round % 6 * 20 * NS_PER_MS;
		struct net *n;
		struct err e;

		if (net_open(l, &end->cfg, &cb, &n, &e) < 0) {
			fprintf(stderr, "%s\n", e.msg);
			exit(1);
		}
		do
			loop_run_once(l, NS_PER_MS);
		while (clock_mono_ns() < until);
		net_close(n);
	}
	loop_free(l);
	return NULL;
}

int main(void)
{
	struct uuid cluster = uuid_new(), volume = uuid_new(),
		    replicas[2] = {uuid_new(), uuid_new()};
	unsigned port = 20000 + (unsigned)(random_u64() % 10000);
	static struct end ends[2];
	pthread_t threads[2];

	log_set_level(LOG_LEVEL_ERROR);
	for (unsigned i = 0; i < 2; i++) {
		struct net_config *cfg = &ends[i].cfg;

		cfg->cluster = cluster;
		cfg->volume = volume;
		cfg->self = replicas[i];
		cfg->npeers = 2;
		cfg->backoff_min_ns = NS_PER_MS;
		snprintf(cfg->domain, sizeof(cfg->domain), "site-%u", i);
		snprintf(cfg->listen, sizeof(cfg->listen), "127.0.0.1:%u", port + i);
		for (unsigned k = 0; k < 2; k++) {
			cfg->peers[k].replica = replicas[k];
			snprintf(cfg->peers[k].domain, sizeof(cfg->peers[k].domain), "site-%u", k);
			snprintf(cfg->peers[k].address, sizeof(cfg->peers[k].address),
				"localhost:%u", port + k);
		}
	}
	for (unsigned i = 0; i < 2; i++)
		ensure(pthread_create(&threads[i], NULL, run, &ends[i]) == 0);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	printf("%u and %u connections\n", ends[0].ups, ends[1].ups);
	return ends[0].ups && ends[1].ups ? 0 : 1;
}

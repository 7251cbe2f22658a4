/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A configuration that changes while it is in use. The loop's thread reads it where it is; threads take copies.
 * One lock for all: copies are rare and short.
 *
 * Failure modes: none of its own; what a new configuration must not change is refused before it is taken.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "agent_config.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void agent_config_snapshot(const struct agent_config *c, struct agent_config *ret_c)
{
	pthread_mutex_lock(&lock);
	*ret_c = *c;
	pthread_mutex_unlock(&lock);
}

void agent_config_replace(struct agent_config *c, const struct agent_config *by)
{
	pthread_mutex_lock(&lock);
	*c = *by;
	pthread_mutex_unlock(&lock);
}

int agent_config_check_fixed(
	const struct agent_config *c, const struct agent_config *by, struct err *e)
{
	const struct {
		const char *key, *old, *new;
	} fixed[] = {
		{"domain", c->domain, by->domain},
		{"run_directory", c->run_dir, by->run_dir},
		{"state_directory", c->state_dir, by->state_dir},
		{"socket", c->socket, by->socket},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(fixed); i++)
		if (strcmp(fixed[i].old, fixed[i].new) != 0)
			return err_set(e, -EBUSY,
				"%.80s: '%s' cannot change while the agent runs (it is '%.60s'): "
				"restart it",
				by->path, fixed[i].key, fixed[i].old);
	return 0;
}

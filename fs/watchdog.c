/* SPDX-License-Identifier: Apache-2.0 */
#include "watchdog.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "log.h"
#include "volume_impl.h"

static uint64_t seconds(uint64_t ns)
{
	return ns / NS_PER_S;
}

bool watchdog_is_late(uint64_t staged_ns, uint64_t now_ns)
{
	return staged_ns && now_ns > staged_ns && now_ns - staged_ns >= WATCHDOG_NS;
}

/* --- the commit thread, from outside --- */

enum watchdog_word watchdog_count(struct watchdog_count *c, uint64_t turns)
{
	bool was_stuck = c->still >= WATCHDOG_NS / NS_PER_S;

	if (turns != c->turns) {
		*c = (struct watchdog_count){.turns = turns};
		return was_stuck ? WATCHDOG_GOES_ON : WATCHDOG_QUIET;
	}
	if (was_stuck)
		return WATCHDOG_QUIET;
	c->still++;
	return c->still >= WATCHDOG_NS / NS_PER_S ? WATCHDOG_STUCK : WATCHDOG_QUIET;
}

static void *watch(void *arg)
{
	struct watchdog *w = arg;
	struct timespec pause = {.tv_sec = 1};
	struct watchdog_count count = {0};

	while (!atomic_load(&w->stop)) {
		switch (watchdog_count(&count, atomic_load(&w->turns))) {
		case WATCHDOG_STUCK:
			log_error("the commit thread has not come back for %llu s: a system call "
				  "does "
				  "not return (a disk that hangs?), and nothing is answered "
				  "meanwhile",
				(unsigned long long)seconds(WATCHDOG_NS));
			break;
		case WATCHDOG_GOES_ON:
			log_warn("the commit thread goes on");
			break;
		case WATCHDOG_QUIET:
			break;
		}
		nanosleep(&pause, NULL);
	}
	return NULL;
}

void watchdog_start(struct watchdog *w)
{
	int r = pthread_create(&w->thread, NULL, watch, w);

	w->running = !r;
	if (r)
		log_warn("no watchdog: %s", strerror(r));
}

void watchdog_stop(struct watchdog *w)
{
	if (!w->running)
		return;
	atomic_store(&w->stop, true);
	pthread_join(w->thread, NULL);
	w->running = false;
}

/* --- the commits, from inside --- */

/* Whom the entry `seq` waits for, one behind the other. */
static void name_culprits(struct volume *v, uint64_t seq, char *buf, size_t size)
{
	const struct record *r = core_record(v->core);
	size_t len = 0;

	buf[0] = '\0';
	if (core_durable(v->core) < seq)
		len += (size_t)snprintf(buf, size, "this site's disk");
	for (unsigned i = 0; i < r->nreplicas && len < size; i++) {
		struct core_peer_view p;

		if (i == core_self(v->core) || !r->replicas[i].in_sync)
			continue;
		core_peer_view(v->core, i, &p);
		if (p.acked < seq)
			len += (size_t)snprintf(buf + len, size - len, "%s%s%s", len ? ", " : "",
				r->replicas[i].domain,
				p.connected ? " (connected, does not acknowledge)"
					    : " (not connected)");
	}
}

void watchdog_look(struct volume *v, uint64_t now_ns)
{
	struct watchdog *w = &v->watchdog;
	const struct op *oldest = v->staged;
	char who[160];

	if (!oldest || !watchdog_is_late(oldest->staged_ns, now_ns)) {
		if (w->text[0])
			log_info("commits go on, after %llu s",
				(unsigned long long)seconds(now_ns - w->since_ns));
		w->text[0] = '\0';
		return;
	}
	name_culprits(v, oldest->seq, who, sizeof(who));
	if (!w->text[0]) {
		w->since_ns = oldest->staged_ns;
		log_warn("no commit for %llu s: entry %llu waits for %s",
			(unsigned long long)seconds(now_ns - w->since_ns),
			(unsigned long long)oldest->seq, who[0] ? who : "nobody, it seems");
	}
	snprintf(w->text, sizeof(w->text), "no commit for %llu s: it waits for %s",
		(unsigned long long)seconds(now_ns - w->since_ns),
		who[0] ? who : "nobody, it seems");
}

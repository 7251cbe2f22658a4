/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `status` says of pulling, on either side: how much is done of how much, at which rate, and how long the
 * rest takes (pull_progress.c). No failure modes. Commit thread.
 */
#include <stdio.h>

#include "pull_impl.h"
#include "pull_progress.h"

/* What the source lacks: how many blocks, at least, and in words; or 0 and "". */
static int64_t stopped_by_damage(const struct volume *v, unsigned peer, char *buf, size_t size)
{
	const struct target *t = &v->pull->target;
	const struct source *s = &v->pull->source[peer];
	uint64_t n;

	buf[0] = '\0';
	if (target_is(v, peer)) {
		if (!t->up || atomic_load(&t->gone_rounds) < GONE_ROUNDS)
			return 0;
		n = atomic_load(&t->gone);
		snprintf(buf, size,
			"catching up by pulling: %llu blocks are gone at the source again and "
			"again: damaged there; its log and its status say what to do",
			(unsigned long long)n);
		return (int64_t)n;
	}
	n = MAX(s->damaged, s->damaged_before);
	if (!s->up || !n)
		return 0;
	snprintf(buf, size,
		"catching up by pulling: stopped by damage on this disk, at least %llu blocks at "
		"or "
		"behind epoch %u block %llu: delete or overwrite the files that 'tandemfs check "
		"--data' and the log name, or get the data back",
		(unsigned long long)n, s->damaged_at.epoch,
		(unsigned long long)s->damaged_at.block);
	return (int64_t)n;
}

static void status_text(
	bool target, bool up, uint64_t done, uint64_t total, uint64_t rate, char *buf, size_t size)
{
	char progress[128];

	pull_progress_text(done, total, rate, progress, sizeof(progress));
	if (!up)
		snprintf(progress, sizeof(progress), "not connected");
	else if (!total)
		snprintf(progress, sizeof(progress), "%s",
			target ? "waits for a checkpoint of the active side" : "begins");
	snprintf(buf, size, "catching up by pulling: %s", progress);
}

struct json *pull_status(const struct volume *v, unsigned peer, char *buf, size_t size)
{
	const struct target *t = &v->pull->target;
	const struct source *s = &v->pull->source[peer];
	bool target = target_is(v, peer), up = target ? t->up : s->up;
	uint64_t done, total, rate, moved, now = clock_mono_ns();
	struct json *j;
	int64_t eta;

	if (target) {
		done = atomic_load(&t->done);
		total = atomic_load(&t->total);
		rate = pull_rate_now(atomic_load(&t->rate), atomic_load(&t->rate_at_ns),
			atomic_load(&t->rate_took_ns), now);
		moved = atomic_load(&t->received);
	} else if (s->up || s->sent_before) {
		done = s->news.done;
		total = s->news.total;
		rate = pull_rate_now(s->news.rate, s->news_ns, s->news_took_ns, now);
		moved = s->sent_before + s->sent;
	} else {
		return NULL;
	}
	rate = up ? rate : 0;
	eta = pull_eta_s(done, total, rate);
	j = json_object();
	json_set_double(j, "percent", pull_percent(done, total));
	json_set_int(j, "rate_bps", (int64_t)rate);
	if (eta >= 0)
		json_set_int(j, "eta_s", eta);
	if (!target && s->up)
		json_set_int(j, "limit_bps", (int64_t)v->pull->yield.rate);
	json_set_int(j, "bytes_done", (int64_t)done);
	json_set_int(j, "bytes_total", (int64_t)total);
	json_set_int(j, target ? "bytes_received" : "bytes_sent", (int64_t)moved);
	json_set_int(j, "round", target ? (int64_t)atomic_load(&t->round) : s->round);
	json_set_bool(j, "connected", up);
	json_set_int(j, "damaged", stopped_by_damage(v, peer, buf, size));
	if (!buf[0])
		status_text(target, up, done, total, rate, buf, size);
	return j;
}

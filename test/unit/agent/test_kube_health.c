/* SPDX-License-Identifier: Apache-2.0 */
/* What the probes of tandem-agent --kubernetes are told. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "kube_health.h"

static struct kube_health h;
static struct err e;

static void setup(void)
{
	health_init(&h, 5 * NS_PER_S);
}

static void teardown(void)
{
	health_clear(&h);
}

TestSuite(kube_health, .init = setup, .fini = teardown);

Test(kube_health, a_worker_that_stands_still_for_long_is_not_alive)
{
	unsigned one = health_worker(&h, "one"), two = health_worker(&h, "two");
	uint64_t now = clock_mono_ns(), limit = (HEALTH_STILL_S + 25 + 2) * NS_PER_S;

	cr_assert_eq(health_alive(&h, now + limit / 2, &e), 0);
	cr_assert_eq(health_alive(&h, now + limit, &e), -ETIMEDOUT);
	cr_assert(strstr(e.msg, "worker 'one' has stood still"), "%s", e.msg);
	h.beat_ns[one] = now + limit;
	cr_assert_eq(health_alive(&h, now + limit, &e), -ETIMEDOUT);
	cr_assert(strstr(e.msg, "worker 'two'"), "%s", e.msg);
	h.beat_ns[two] = now + limit;
	cr_assert_eq(health_alive(&h, now + limit, &e), 0);
}

Test(kube_health, a_worker_that_announced_a_long_call_is_alive_meanwhile)
{
	unsigned one = health_worker(&h, "one");
	uint64_t limit = (HEALTH_STILL_S + 25 + 2) * NS_PER_S;

	health_busy(&h, one, 600000);
	cr_assert_eq(health_alive(&h, clock_mono_ns() + 600 * NS_PER_S, &e), 0);
	cr_assert_eq(health_alive(&h, clock_mono_ns() + 600 * NS_PER_S + limit, &e), -ETIMEDOUT);
	health_beat(&h, one);
	cr_assert_eq(health_alive(&h, clock_mono_ns() + limit, &e), -ETIMEDOUT);
}

Test(kube_health, the_absence_of_the_api_makes_it_unready_and_not_dead)
{
	uint64_t now = clock_mono_ns(), later = now + (HEALTH_SILENT_S + 5 + 2) * NS_PER_S;

	health_worker(&h, "one");
	cr_assert_eq(health_ready(&h, now, &e), -EAGAIN);
	health_called(&h, -ECONNREFUSED);
	cr_assert_eq(health_ready(&h, now, &e), -EAGAIN);
	health_called(&h, -EPERM); /* an answer, too */
	cr_assert_eq(health_ready(&h, clock_mono_ns(), &e), 0);
	cr_assert_eq(health_ready(&h, later, &e), -ETIMEDOUT);
	cr_assert(strstr(e.msg, "has not answered for"), "%s", e.msg);
	cr_assert_eq(health_alive(&h, later, &e), 0);
}

Test(kube_health, paths)
{
	char *text = NULL;

	cr_assert_eq(health_answer(&h, "/healthz", &text), 200);
	cr_assert_str_eq(text, "ok\n");
	free(text);
	cr_assert_eq(health_answer(&h, "/readyz", &text), 503);
	cr_assert_str_eq(text, "this cluster's API has not answered yet\n");
	free(text);
	cr_assert_eq(health_answer(&h, "/v1/status", &text), 404);
}

Test(kube_health, only_the_leader_tells_of_objects)
{
	char *text;

	health_called(&h, 0);
	health_called(&h, -EAGAIN);
	health_section(&h, HEALTH_DOMAINS, strdup("x 1\n"));
	text = health_metrics(&h);
	cr_assert(strstr(text, "\ntandem_kube_leader 0\n") && !strstr(text, "x 1"), "%s", text);
	cr_assert(strstr(text, "\ntandem_kube_looks_total 2\n"), "%s", text);
	cr_assert(strstr(text, "\ntandem_kube_api_errors_total 1\n"), "%s", text);
	free(text);
	health_leads(&h, true);
	health_section(&h, HEALTH_DOMAINS, strdup("x 2\n"));
	text = health_metrics(&h);
	cr_assert(strstr(text, "\ntandem_kube_leader 1\n") && strstr(text, "\nx 2\n"), "%s", text);
	free(text);
}

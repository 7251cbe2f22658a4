/* SPDX-License-Identifier: Apache-2.0 */
/* When a migration is due: Stork's policies and cron expressions, months that end early, clocks that jump. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "kube_resume.h"
#include "schedule.h"

static int64_t at(const char *text)
{
	struct tm t = {0};

	cr_assert_eq(sscanf(text, "%d-%d-%d %d:%d", &t.tm_year, &t.tm_mon, &t.tm_mday, &t.tm_hour,
			     &t.tm_min),
		5);
	t.tm_year -= 1900;
	t.tm_mon--;
	return (int64_t)timegm(&t);
}

static int parse(const char *text, struct schedule *s, struct err *e)
{
	struct json *j = NULL;
	int r;

	cr_assert_eq(json_parse(text, strlen(text), &j, e), 0, "%s", e->msg);
	r = schedule_parse(j, s, e);
	json_free(j);
	return r;
}

static struct schedule policy(const char *text)
{
	struct schedule s;
	struct err e = {0};

	cr_assert_eq(parse(text, &s, &e), 0, "%s: %s", text, e.msg);
	return s;
}

static void refused(const char *text, const char *why)
{
	struct schedule s;
	struct err e = {0};

	cr_assert_eq(parse(text, &s, &e), -EINVAL, "%s", text);
	cr_assert(strstr(e.msg, why), "%s: %s", text, e.msg);
}

static void next_is(struct schedule s, enum schedule_type type, const char *now, const char *want)
{
	int64_t last = at(now), got;

	got = schedule_next(&s, type, last, last);
	cr_assert_eq(got, at(want), "after %s: %lld, not %s", now, (long long)got, want);
	cr_assert(schedule_due(&s, type, last, got));
	cr_assert(!schedule_due(&s, type, last, got - 60));
	cr_assert(!schedule_due(&s, type, got, got));
	cr_assert(
		schedule_due(&s, type, last, got + SCHEDULE_WINDOW_S) || type == SCHEDULE_INTERVAL);
}

Test(schedule, an_interval_counts_from_the_last_run)
{
	struct schedule s = policy("{\"interval\":{\"intervalMinutes\":15}}");

	cr_assert_eq(s.rules[SCHEDULE_INTERVAL].retain, 10);
	cr_assert(schedule_due(&s, SCHEDULE_INTERVAL, 0, 1000));
	cr_assert(!schedule_due(&s, SCHEDULE_INTERVAL, 1000, 1000 + 899));
	cr_assert(schedule_due(&s, SCHEDULE_INTERVAL, 1000, 1000 + 900));
	cr_assert(schedule_due(&s, SCHEDULE_INTERVAL, 5000, 1000), "the clock went back");
	cr_assert_eq(schedule_next(&s, SCHEDULE_INTERVAL, 1000, 1100), 1900);
	cr_assert(!schedule_due(&s, SCHEDULE_DAILY, 0, 1000), "it is not given");
}

Test(schedule, daily_weekly_and_monthly_times_come_once_and_are_not_made_up_for_hours_later)
{
	struct schedule s =
		policy("{\"daily\":{\"time\":\"12:04PM\"},\"weekly\":{\"day\":\"Sunday\",\"time\":"
		       "\"12:30AM\"},\"monthly\":{\"date\":14,\"time\":\"11:59pm\"}}");

	next_is(s, SCHEDULE_DAILY, "2026-11-29 12:03", "2026-11-29 12:04");
	next_is(s, SCHEDULE_DAILY, "2026-12-31 12:04", "2027-01-01 12:04");
	next_is(s, SCHEDULE_WEEKLY, "2026-11-29 00:30", "2026-12-06 00:30");
	next_is(s, SCHEDULE_MONTHLY, "2026-11-15 00:00", "2026-12-14 23:59");
	cr_assert(schedule_due(&s, SCHEDULE_DAILY, 0, at("2026-11-29 13:04")));
	cr_assert(!schedule_due(&s, SCHEDULE_DAILY, 0, at("2026-11-29 13:05")));
}

Test(schedule, a_month_without_the_date_has_its_last_day_instead)
{
	struct schedule s = policy("{\"monthly\":{\"date\":31,\"time\":\"00:00\"}}");

	next_is(s, SCHEDULE_MONTHLY, "2027-01-31 00:00", "2027-02-28 00:00");
	next_is(s, SCHEDULE_MONTHLY, "2028-02-01 00:00", "2028-02-29 00:00");
	next_is(s, SCHEDULE_MONTHLY, "2027-02-28 00:00", "2027-03-31 00:00");
	next_is(s, SCHEDULE_MONTHLY, "2027-03-31 00:00", "2027-04-30 00:00");
	s = policy("{\"monthly\":{\"date\":28,\"time\":\"00:00\"}}");
	next_is(s, SCHEDULE_MONTHLY, "2028-02-28 00:00", "2028-03-28 00:00");
}

Test(schedule, cron_has_lists_ranges_steps_and_names)
{
	struct schedule s = policy("{\"cron\":{\"schedule\":\"0,30 8-18/5 * * mon-fri\"}}");

	next_is(s, SCHEDULE_CRON, "2026-11-27 08:00", "2026-11-27 08:30"); /* a Friday */
	next_is(s, SCHEDULE_CRON, "2026-11-27 13:30", "2026-11-27 18:00");
	next_is(s, SCHEDULE_CRON, "2026-11-27 18:30", "2026-11-30 08:00");
	s = policy("{\"cron\":{\"schedule\":\"*/20 * * * *\"}}");
	next_is(s, SCHEDULE_CRON, "2026-11-27 08:40", "2026-11-27 09:00");
	s = policy("{\"cron\":{\"schedule\":\"5/15 3 * feb 7\"}}");
	next_is(s, SCHEDULE_CRON, "2026-11-27 08:40", "2027-02-07 03:05");
	/* Both days restricted: either. */
	s = policy("{\"cron\":{\"schedule\":\"0 0 13 * fri\"}}");
	next_is(s, SCHEDULE_CRON, "2026-11-10 00:00", "2026-11-13 00:00");
	next_is(s, SCHEDULE_CRON, "2026-11-13 00:00", "2026-11-20 00:00");
	next_is(s, SCHEDULE_CRON, "2026-12-11 00:00", "2026-12-13 00:00");
	s = policy("{\"cron\":{\"schedule\":\"0 0 29 2 *\"}}");
	next_is(s, SCHEDULE_CRON, "2096-03-01 00:00", "2104-02-29 00:00");
}

Test(schedule, what_never_comes_is_never_due)
{
	struct schedule s = policy("{\"cron\":{\"schedule\":\"0 0 31 2 *\"}}");

	cr_assert_eq(schedule_next(&s, SCHEDULE_CRON, 0, at("2026-11-29 00:00")), 0);
	cr_assert(!schedule_due(&s, SCHEDULE_CRON, 0, at("2026-11-29 00:00")));
}

Test(schedule, mistakes_are_refused_with_the_member_and_an_example)
{
	refused("{}", "must be given");
	refused("{\"interval\":{}}", "intervalMinutes");
	refused("{\"interval\":{\"intervalMinutes\":0}}", "from 1");
	refused("{\"interval\":{\"intervalMinutes\":5,\"retain\":0}}", "interval.retain");
	refused("{\"daily\":{\"time\":\"25:00\"}}", "12:04PM");
	refused("{\"daily\":{\"time\":\"13:00PM\"}}", "12:04PM");
	refused("{\"daily\":{\"time\":\"0:00AM\"}}", "12:04PM");
	refused("{\"daily\":{\"time\":\"12:04PMx\"}}", "12:04PM");
	refused("{\"daily\":{\"time\":\"1204\"}}", "12:04PM");
	refused("{\"weekly\":{\"time\":\"12:04PM\",\"day\":\"Caturday\"}}", "weekly.day");
	refused("{\"monthly\":{\"time\":\"12:04PM\",\"date\":32}}", "monthly.date");
	refused("{\"cron\":{\"schedule\":\"* * * *\"}}", "five fields");
	refused("{\"cron\":{\"schedule\":\"* * * * * *\"}}", "five fields");
	refused("{\"cron\":{\"schedule\":\"60 * * * *\"}}", "five fields");
	refused("{\"cron\":{\"schedule\":\"5-1 * * * *\"}}", "five fields");
	refused("{\"cron\":{\"schedule\":\"*/0 * * * *\"}}", "five fields");
	refused("{\"cron\":{\"schedule\":\"1, * * * *\"}}", "five fields");
	refused("{\"cron\":{\"schedule\":\"* * 0 * *\"}}", "five fields");
	refused("{\"cron\":{\"schedule\":\"* * * * funday\"}}", "five fields");
}

#define SCHEDULE(generation, suspend, mark)                                                        \
	"{\"metadata\":{\"generation\":" generation ",\"annotations\":{\"" KEY_SUSPENDED_AT        \
	"\":\"" mark "\"}},\"spec\":{\"suspend\":" suspend "}}"

Test(schedule, only_the_agents_own_word_is_taken_back)
{
	static const struct {
		const char *schedule;
		bool own, resumed, answered;
	} cases[] = {
		{SCHEDULE("3", "true", "3 run-1"), true, false, true},
		{SCHEDULE("4", "true", "3 run-1"), false, false,
			true}, /* its spec was changed since */
		{SCHEDULE("3", "false", "3 run-1"), false, false, true},
		{SCHEDULE("4", "false", "- run-1"), false, true, true},
		{SCHEDULE("5", "true", "- run-1"), false, true, true}, /* by a person */
		{SCHEDULE("3", "true", "3 run-10"), true, false, false},
		{SCHEDULE("3", "true", "3"), false, false, false},
		{"{\"metadata\":{\"generation\":3},\"spec\":{\"suspend\":true}}", false, false,
			false},
		{"{}", false, false, false},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		const char *text = cases[i].schedule;
		struct json *j = NULL;
		struct err e = {0};

		cr_assert_eq(json_parse(text, strlen(text), &j, &e), 0);
		cr_assert_eq(schedule_is_by_agent(j), cases[i].own, "%s", text);
		cr_assert_eq(schedule_is_resumed(j), cases[i].resumed, "%s", text);
		cr_assert_eq(schedule_is_answered(j, "run-1"), cases[i].answered, "%s", text);
		json_free(j);
	}
}

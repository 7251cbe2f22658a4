/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Due times. All but the interval are sets of minutes, hours, dates, months and weekdays; the time before or
 * after now is found by walking days, then looking into one. A walk ends after some years: 31 February never
 * comes with cron (Stork's monthly date takes the last day of such a month).
 *
 * Failure modes: a clock that went back leaves a last run in the future: an interval is due then, at once, and
 * never waits for that time to come. A clock that jumped ahead makes at most one run of each type due.
 */
#include "schedule.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define DAY_S 86400
#define WALK_DAYS (366 * 9) /* over a century without a leap year as well */
#define INTERVAL_MAX (366 * 24 * 60)
#define RETAIN_MAX 1000

static const char *const type_names[] = {"Interval", "Daily", "Weekly", "Monthly", "Cron"};
static const char *const type_keys[] = {"interval", "daily", "weekly", "monthly", "cron"};
static const uint32_t retain_default[] = {10, 30, 7, 12, 10};
static const char *const day_names[] = {
	"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
static const char *const month_names[] = {
	"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"};

const char *schedule_type_name(enum schedule_type type)
{
	ensure(type < SCHEDULE_TYPES);
	return type_names[type];
}

/* --- reading --- */

/* One or two digits at *p, up to max. -1: none. */
static int digits(const char **p, int max)
{
	int n = 0;
	unsigned k = 0;

	for (; (*p)[k] >= '0' && (*p)[k] <= '9' && k < 2; k++)
		n = 10 * n + ((*p)[k] - '0');
	*p += k;
	return k && n <= max ? n : -1;
}

/* 12:04PM, as Go's time.Kitchen, or 23:59. */
static int parse_time(const char *text, struct schedule_rule *r)
{
	int hour = digits(&text, 23), minute;

	if (hour < 0 || *text++ != ':')
		return -EINVAL;
	minute = digits(&text, 59);
	if (minute < 0)
		return -EINVAL;
	if (!strcasecmp(text, "AM") || !strcasecmp(text, "PM")) {
		if (hour < 1 || hour > 12)
			return -EINVAL;
		hour = hour % 12 + (strcasecmp(text, "PM") ? 0 : 12);
	} else if (*text) {
		return -EINVAL;
	}
	r->at_minute = 1ull << minute;
	r->at_hour = 1u << hour;
	return 0;
}

static int parse_day(const char *text)
{
	size_t n = strlen(text);

	for (int i = 0; i < 7; i++)
		if (!strcasecmp(text, day_names[i]) ||
			(n == 3 && !strncasecmp(text, day_names[i], 3)))
			return i;
	return -1;
}

/* A number or a name of cron's; ends at one of - , / or the end. */
static int cron_value(const char **p, int min, int max)
{
	char word[16];
	size_t n = strcspn(*p, "-,/");
	int value = -1;

	if (!n || n >= sizeof(word))
		return -1;
	memcpy(word, *p, n);
	word[n] = '\0';
	if (word[0] >= '0' && word[0] <= '9') {
		const char *at = word;

		value = digits(&at, max);
		if (*at)
			value = -1;
	} else if (max == 7) {
		value = parse_day(word);
	} else if (max == 12) {
		for (int i = 0; i < 12; i++)
			if (!strcasecmp(word, month_names[i]))
				value = i + 1;
	}
	*p += n;
	return value < min ? -1 : value;
}

/* Lists of values, ranges and steps: 1,5 and 8-18/2 and every fifth as a star with a step. 0: malformed. */
static uint64_t cron_field(const char *p, int min, int max)
{
	uint64_t set = 0;

	for (;;) {
		int from = min, to = max, step = 1;

		if (*p == '*') {
			p++;
		} else {
			from = to = cron_value(&p, min, max);
			if (from >= 0 && *p == '-') {
				p++;
				to = cron_value(&p, min, max);
			} else if (*p == '/') {
				to = max;
			}
		}
		if (from < 0 || to < from)
			return 0;
		if (*p == '/') {
			p++;
			step = digits(&p, max);
			if (step < 1)
				return 0;
		}
		for (int i = from; i <= to; i += step)
			set |= 1ull << i;
		if (!*p)
			return set;
		if (*p++ != ',')
			return 0;
	}
}

static int parse_cron(const char *text, struct schedule_rule *r)
{
	static const struct {
		int min, max;
	} ranges[] = {{0, 59}, {0, 23}, {1, 31}, {1, 12}, {0, 7}};
	char fields[5][64];
	uint64_t sets[5];
	unsigned n = 0;

	while (*(text += strspn(text, " \t"))) {
		size_t len = strcspn(text, " \t");

		if (n == 5 || len >= sizeof(fields[0]))
			return -EINVAL;
		memcpy(fields[n], text, len);
		fields[n][len] = '\0';
		sets[n] = cron_field(fields[n], ranges[n].min, ranges[n].max);
		if (!sets[n++])
			return -EINVAL;
		text += len;
	}
	if (n != 5)
		return -EINVAL;
	r->at_minute = sets[0];
	r->at_hour = (uint32_t)sets[1];
	r->at_date = (uint32_t)sets[2];
	r->at_month = (uint16_t)sets[3];
	r->at_day = (uint8_t)((sets[4] | sets[4] >> 7) & 0x7f); /* 7 is Sunday too */
	r->either_day = fields[2][0] != '*' && fields[4][0] != '*';
	return 0;
}

static int parse_rule(
	enum schedule_type type, const struct json *j, struct schedule_rule *r, struct err *e)
{
	const char *key = type_keys[type], *text;
	int64_t n = json_get_int(j, "retain", retain_default[type]);

	if (n < 1 || n > RETAIN_MAX)
		return err_set(
			e, -EINVAL, "policy.%s.retain: a number from 1 to %d", key, RETAIN_MAX);
	*r = (struct schedule_rule){.given = true, .retain = (uint32_t)n};
	if (type == SCHEDULE_INTERVAL) {
		n = json_get_int(j, "intervalMinutes", 0);
		if (n < 1 || n > INTERVAL_MAX)
			return err_set(e, -EINVAL,
				"policy.interval.intervalMinutes: a number from 1 to %d",
				INTERVAL_MAX);
		r->minutes = (uint32_t)n;
		return 0;
	}
	r->at_date = ~1u;
	r->at_month = 0x1ffe;
	r->at_day = 0x7f;
	text = json_get_string(j, type == SCHEDULE_CRON ? "schedule" : "time", "");
	if (type == SCHEDULE_CRON)
		return parse_cron(text, r)
			       ? err_set(e, -EINVAL,
					 "policy.cron.schedule: '%.64s' is not five fields like "
					 "'0,30 8-18 * * mon-fri'",
					 text)
			       : 0;
	if (parse_time(text, r))
		return err_set(e, -EINVAL, "policy.%s.time: '%.32s' is not a time like 12:04PM",
			key, text);
	if (type == SCHEDULE_WEEKLY) {
		text = json_get_string(j, "day", "");
		if (parse_day(text) < 0)
			return err_set(e, -EINVAL,
				"policy.weekly.day: '%.32s' is not a day like Sunday", text);
		r->at_day = (uint8_t)(1u << parse_day(text));
	}
	if (type == SCHEDULE_MONTHLY) {
		n = json_get_int(j, "date", 0);
		if (n < 1 || n > 31)
			return err_set(e, -EINVAL, "policy.monthly.date: a number from 1 to 31");
		r->at_date = 1u << n;
	}
	return 0;
}

int schedule_parse(const struct json *policy, struct schedule *ret, struct err *e)
{
	struct schedule s = {0};
	bool any = false;

	for (unsigned i = 0; i < SCHEDULE_TYPES; i++) {
		const struct json *j = json_get(policy, type_keys[i]);
		int r = j ? parse_rule(i, j, &s.rules[i], e) : 0;

		if (r)
			return r;
		any |= j != NULL;
	}
	if (!any)
		return err_set(e, -EINVAL,
			"policy: one of interval, daily, weekly, monthly and cron must be given");
	*ret = s;
	return 0;
}

/* --- looking --- */

static int month_days(const struct tm *t)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	int year = t->tm_year + 1900;
	bool leap = (year % 4 == 0 && year % 100) || year % 400 == 0;

	return t->tm_mon == 1 && leap ? 29 : days[t->tm_mon];
}

static bool day_matches(const struct schedule_rule *r, enum schedule_type type, int64_t day)
{
	time_t at = (time_t)(day * DAY_S);
	bool date, weekday;
	struct tm t;

	if (!gmtime_r(&at, &t) || !(r->at_month >> (t.tm_mon + 1) & 1))
		return false;
	date = r->at_date >> t.tm_mday & 1;
	if (type == SCHEDULE_MONTHLY && t.tm_mday == month_days(&t))
		date |= r->at_date >> t.tm_mday != 0;
	weekday = r->at_day >> t.tm_wday & 1;
	return r->either_day ? date || weekday : date && weekday;
}

/* The first (step 1) or last (step -1) minute of a day from this one on. -1: none. */
static int minute_of_day(const struct schedule_rule *r, int from, int step)
{
	for (int m = from; m >= 0 && m < 24 * 60; m += step)
		if (r->at_hour >> (m / 60) & 1 && r->at_minute >> (m % 60) & 1)
			return m;
	return -1;
}

/* The nearest time at or before now (step -1), or after it (step 1). 0: none. */
static int64_t trigger(
	const struct schedule_rule *r, enum schedule_type type, int64_t now_s, int step)
{
	int64_t day = now_s / DAY_S;
	int from = (int)(now_s % DAY_S / 60) + (step > 0);

	for (int walked = 0; walked < WALK_DAYS; walked++, day += step) {
		int m = day_matches(r, type, day) ? minute_of_day(r, from, step) : -1;

		if (m >= 0)
			return day * DAY_S + m * 60;
		from = step > 0 ? 0 : 24 * 60 - 1;
	}
	return 0;
}

bool schedule_due(const struct schedule *s, enum schedule_type type, int64_t last_s, int64_t now_s)
{
	const struct schedule_rule *r = &s->rules[type];
	int64_t at;

	if (!r->given)
		return false;
	if (type == SCHEDULE_INTERVAL)
		return !last_s || last_s > now_s || now_s - last_s >= 60 * (int64_t)r->minutes;
	at = trigger(r, type, now_s, -1);
	return at && now_s - at <= SCHEDULE_WINDOW_S && (last_s < at || last_s > now_s);
}

int64_t schedule_next(
	const struct schedule *s, enum schedule_type type, int64_t last_s, int64_t now_s)
{
	const struct schedule_rule *r = &s->rules[type];

	if (!r->given)
		return 0;
	if (schedule_due(s, type, last_s, now_s))
		return now_s;
	if (type == SCHEDULE_INTERVAL)
		return last_s + 60 * (int64_t)r->minutes;
	return trigger(r, type, now_s, 1);
}

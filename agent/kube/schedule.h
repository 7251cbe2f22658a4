/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When something that repeats is due: the `policy` of a SchedulePolicy, in Stork's words and with a cron
 * expression beside them. Pure; times are seconds since 1970 in UTC, and a policy's times of day are UTC too.
 *
 *	policy:
 *	  interval: {intervalMinutes: 1, retain: 10}
 *	  daily:    {time: "12:04PM", retain: 30}
 *	  weekly:   {day: "Sunday", time: "12:04PM", retain: 7}
 *	  monthly:  {date: 14, time: "12:04PM", retain: 12}
 *	  cron:     {schedule: "0,30 8-18 * * mon-fri", retain: 10}
 *
 * More than one may be given; each is due by itself.
 */
#ifndef AGENT_SCHEDULE_H
#define AGENT_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

#include "json.h"

enum schedule_type {
	SCHEDULE_INTERVAL,
	SCHEDULE_DAILY,
	SCHEDULE_WEEKLY,
	SCHEDULE_MONTHLY,
	SCHEDULE_CRON,
	SCHEDULE_TYPES,
};

/* A time that was missed by more than this is not made up for: who says "at night" does not mean noon. */
#define SCHEDULE_WINDOW_S 3600

struct schedule_rule {
	bool given;
	uint32_t retain; /* runs that are kept in the list; at least 1 */
	uint32_t minutes; /* interval */
	/* all others; a set of bits each */
	uint64_t at_minute; /* 0 to 59 */
	uint32_t at_hour; /* 0 to 23 */
	uint32_t at_date; /* 1 to 31; a month without it has its last day instead */
	uint16_t at_month; /* 1 to 12 */
	uint8_t at_day; /* 0 to 6, from Sunday on */
	bool either_day; /* date or weekday, as cron has it when both are restricted */
};

struct schedule {
	struct schedule_rule rules[SCHEDULE_TYPES];
};

/* "Interval", "Daily" and so on, as status.items and the names of runs have it. */
const char *schedule_type_name(enum schedule_type type);
/* From the object `policy`. 0; or -EINVAL with the member and what may stand there. */
int schedule_parse(const struct json *policy, struct schedule *ret, struct err *e);
/* Must a run begin now, where the last one began at last_s (0: there was none)? */
bool schedule_due(const struct schedule *s, enum schedule_type type, int64_t last_s, int64_t now_s);
/* When the next one is due, after now; 0: never (within some years). */
int64_t schedule_next(
	const struct schedule *s, enum schedule_type type, int64_t last_s, int64_t now_s);

#endif

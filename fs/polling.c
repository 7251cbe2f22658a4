/* SPDX-License-Identifier: Apache-2.0 */
#include "polling.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "check.h"

uint64_t polling_window(const struct polling *p, bool under_way)
{
	return p->window_ns[under_way];
}

void polling_waited(struct polling *p, bool under_way, uint64_t ns)
{
	uint64_t *w = &p->window_ns[under_way];

	if (ns <= p->limit_ns)
		*w = MIN(MAX(2 * *w, POLLING_MIN_NS), p->limit_ns);
	else
		*w = *w / 2 < POLLING_MIN_NS ? 0 : *w / 2;
}

/* The first line of a file, without its end; "" where there is none. */
static void first_line(const char *path, char *ret, size_t size)
{
	FILE *f = fopen(path, "re");

	ret[0] = '\0';
	if (!f)
		return;
	if (!fgets(ret, (int)size, f))
		ret[0] = '\0';
	ret[strcspn(ret, "\n")] = '\0';
	fclose(f);
}

/* A quota of this group or of one above it. */
static bool has_quota(const char *cgroups, char *group)
{
	char path[PATH_MAX + 64], line[128];

	for (;;) {
		char *slash = strrchr(group, '/');

		snprintf(path, sizeof(path), "%s%s/cpu.max", cgroups, group);
		first_line(path, line, sizeof(line));
		if (line[0] && strncmp(line, "max", 3) != 0)
			return true;
		if (!slash)
			return false;
		*slash = '\0';
	}
}

uint64_t polling_limit(unsigned processors, const char *cgroups, const char *own)
{
	char line[PATH_MAX];

	if (processors < 2)
		return 0;
	first_line(own, line, sizeof(line)); /* 0::/group/of/this/process */
	if (!strncmp(line, "0::", 3) && has_quota(cgroups, line + 3))
		return 0;
	return POLLING_DEFAULT_NS;
}

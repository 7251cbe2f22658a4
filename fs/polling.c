/* SPDX-License-Identifier: Apache-2.0 */
#include "polling.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

#define PROCESSORS_MAX (1 << 20)

uint64_t polling_window(const struct polling *p, bool under_way)
{
	return p->window_ns[under_way];
}

void polling_waited(struct polling *p, bool under_way, uint64_t ns, bool polled)
{
	uint64_t *w = &p->window_ns[under_way];

	p->waits++;
	p->polled += polled;
	if (ns <= p->limit_ns)
		*w = MIN(MAX(2 * *w, POLLING_MIN_NS), p->limit_ns);
	else
		*w = *w / 2 < POLLING_MIN_NS ? 0 : *w / 2;
}

/* A kernel for more processors than the mask has bits refuses it, however many there are. */
unsigned polling_processors(int (*get)(pid_t pid, size_t size, cpu_set_t *set))
{
	for (int bits = CPU_SETSIZE; bits <= PROCESSORS_MAX; bits *= 2) {
		cpu_set_t *set = CPU_ALLOC((size_t)bits);
		size_t size = CPU_ALLOC_SIZE((size_t)bits);
		int ret, n;

		ensure(set);
		ret = get(0, size, set) ? -errno : 0;
		n = ret ? 1 : CPU_COUNT_S(size, set);
		CPU_FREE(set);
		if (ret != -EINVAL)
			return (unsigned)n;
	}
	return 1;
}

/* The number that a file begins with; 0 where there is none. */
static long long first_number(const char *path)
{
	char line[64] = "";
	FILE *f = fopen(path, "re");

	if (!f)
		return 0;
	if (!fgets(line, sizeof(line), f))
		line[0] = '\0';
	fclose(f);
	return strtoll(line, NULL, 10);
}

/* A quota of this group or of one above it: "max" and -1 are none. A container may see its own group as the topmost. */
static bool has_quota(const char *hierarchy, char *group, const char *file)
{
	char path[2 * PATH_MAX];

	for (;;) {
		char *slash = strrchr(group, '/');

		snprintf(path, sizeof(path), "%s%s/%s", hierarchy, group, file);
		if (first_number(path) > 0)
			return true;
		if (!slash)
			return false;
		*slash = '\0';
	}
}

/* A line of /proc/PID/cgroup, number:controllers:group; without controllers it is cgroup2's. */
static bool line_has_quota(const char *cgroups, char *line)
{
	char *controllers = strchr(line, ':'),
	     *group = controllers ? strchr(controllers + 1, ':') : NULL;
	char hierarchy[PATH_MAX], *next, *name;

	if (!group)
		return false;
	*controllers++ = '\0';
	*group++ = '\0';
	group[strcspn(group, "\n")] = '\0';
	if (!*controllers)
		return has_quota(cgroups, group, "cpu.max");
	snprintf(hierarchy, sizeof(hierarchy), "%s/%s", cgroups, controllers);
	for (name = strtok_r(controllers, ",", &next); name; name = strtok_r(NULL, ",", &next))
		if (!strcmp(name, "cpu"))
			return has_quota(hierarchy, group, "cpu.cfs_quota_us");
	return false;
}

uint64_t polling_limit(unsigned processors, const char *cgroups, const char *own)
{
	char line[PATH_MAX];
	bool quota = false;
	FILE *f;

	if (processors < 2)
		return 0;
	f = fopen(own, "re");
	while (f && !quota && fgets(line, sizeof(line), f))
		quota = line_has_quota(cgroups, line);
	if (f)
		fclose(f);
	return quota ? 0 : POLLING_DEFAULT_NS;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /proc/PID/mountinfo, of which each line is a mount, see proc(5). Read as text: what is not understood is passed over.
 */
#include "mountinfo.h"

#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "cleanup.h"

/* One option in a list with commas. */
static bool has_option(const char *list, size_t len, const char *option)
{
	size_t n = strlen(option);

	while (len) {
		const char *comma = memchr(list, ',', len);
		size_t part = comma ? (size_t)(comma - list) : len;

		if (part == n && !memcmp(list, option, n))
			return true;
		part += comma ? 1 : 0;
		list += part;
		len -= part;
	}
	return false;
}

/* The n-th word (from 0) of a line; its length, 0 when there is none. */
static size_t word(const char *line, unsigned n, const char **ret_word)
{
	while (n--) {
		line += strcspn(line, " \n");
		line += strspn(line, " ");
	}
	*ret_word = line;
	return strcspn(line, " \n");
}

/* "36 35 98:0 /root /mount options [optional fields] - type source super-options" */
static bool line_discards(const char *line, dev_t dev)
{
	unsigned major_number, minor_number;
	const char *options, *super, *rest = strstr(line, " - ");
	size_t len;

	if (!rest || sscanf(line, "%*u %*u %u:%u", &major_number, &minor_number) != 2 ||
		makedev(major_number, minor_number) != dev)
		return false;
	len = word(line, 5, &options);
	if (has_option(options, len, "discard"))
		return true;
	len = word(rest + 1, 3, &super);
	return has_option(super, len, "discard");
}

bool mountinfo_discards(FILE *mountinfo, dev_t dev)
{
	cleanup_free char *line = NULL;
	bool found = false;
	size_t size = 0;

	while (getline(&line, &size, mountinfo) >= 0)
		found = found || line_discards(line, dev);
	return found;
}

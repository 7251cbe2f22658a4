/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /proc/PID/mountinfo, of which each line is a mount, see proc(5). Read as text: what is not understood is passed over.
 */
#include "mountinfo.h"

#include <errno.h>
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

/* Undoes the octal escapes of mountinfo, in place. */
static void unescape(char *s)
{
	char *to = s;

	for (; *s; s++) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' &&
			s[3] >= '0' && s[3] <= '7') {
			*to++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 3;
		} else {
			*to++ = *s;
		}
	}
	*to = '\0';
}

/* "36 35 98:0 /root /mnt rw,noatime master:1 - ext3 /dev/root rw": true when it is at the path. */
static bool parse_line(char *line, const char *path, struct mountinfo_mount *m)
{
	char *field[5], *at, *type, *source;

	line[strcspn(line, "\n")] = '\0';
	for (unsigned i = 0; i < ARRAY_SIZE(field); i++) {
		field[i] = strsep(&line, " ");
		if (!field[i])
			return false;
	}
	unescape(field[4]);
	if (strcmp(field[4], path) != 0)
		return false;
	while ((at = strsep(&line, " ")) && strcmp(at, "-") != 0)
		;
	type = strsep(&line, " ");
	source = strsep(&line, " ");
	if (!type || !source || sscanf(field[2], "%u:%u", &m->dev_major, &m->dev_minor) != 2)
		return false;
	unescape(source);
	m->found = true;
	snprintf(m->fstype, sizeof(m->fstype), "%s", type);
	snprintf(m->source, sizeof(m->source), "%s", source);
	return true;
}

void mountinfo_find(FILE *mountinfo, const char *path, struct mountinfo_mount *ret_m)
{
	struct mountinfo_mount m = {0};
	cleanup_free char *line = NULL;
	size_t size = 0;

	while (getline(&line, &size, mountinfo) > 0)
		parse_line(line, path, &m); /* the last one is the topmost */
	*ret_m = m;
}

int mountinfo_resolve(const char *path, char *ret, size_t size, struct err *e)
{
	cleanup_free char *copy = strdup(path), *parent = NULL;
	char *slash;

	if (!copy)
		return err_set(e, -ENOMEM, "out of memory");
	slash = strrchr(copy, '/');
	if (path[0] != '/' || !slash[1])
		return err_set(e, -EINVAL, "'%s' is no absolute path of a directory", path);
	*slash = '\0';
	parent = realpath(slash == copy ? "/" : copy, NULL);
	if (!parent)
		return err_set(e, -errno, "'%s': %m", slash == copy ? "/" : copy);
	if ((size_t)snprintf(
		    ret, size, "%s/%s", strcmp(parent, "/") == 0 ? "" : parent, slash + 1) >= size)
		return err_set(e, -ENAMETOOLONG, "'%s' is too long", path);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Readiness of a node (ready.h).
 *
 * Failure modes: a table that cannot be read, no mount at the path, one that is not shared, or one that nobody on the
 * host shares: not ready, and the message says which. A table is read anew each time: it is asked for seldom.
 */
#include "ready.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "cleanup.h"
#include "control.h"

#define MOUNTINFO_MAX (4u << 20)

/* The optional fields of a line lie between the sixth word and " - ". */
static unsigned line_group(const char *line, size_t len)
{
	static const char key[] = " shared:";
	const char *end = memmem(line, len, " - ", 3), *at;

	if (!end)
		return 0;
	at = memmem(line, (size_t)(end - line), key, sizeof(key) - 1);
	return at ? (unsigned)strtoul(at + sizeof(key) - 1, NULL, 10) : 0;
}

/* The fifth word is the mount point. */
static bool is_at(const char *line, size_t len, const char *path)
{
	const char *end = line + len;
	size_t n = strlen(path);

	for (unsigned i = 0; i < 4 && line; i++) {
		line = memchr(line, ' ', (size_t)(end - line));
		if (line)
			line++;
	}
	return line && (size_t)(end - line) > n && !memcmp(line, path, n) && line[n] == ' ';
}

unsigned ready_group(const char *mountinfo, const char *path, unsigned group)
{
	unsigned found = 0; /* the last one lies on top */

	for (const char *line = mountinfo; *line;) {
		size_t len = strcspn(line, "\n");
		unsigned g = line_group(line, len);

		if (path && is_at(line, len, path))
			found = g;
		else if (!path && g && g == group)
			return g;
		line += len + (line[len] == '\n');
	}
	return found;
}

static int read_table(const char *path, char **ret_text, struct err *e)
{
	FILE *f = fopen(path, "re");
	char *text;
	size_t n;

	if (!f)
		return err_set(e, -errno, "'%.150s': %s", path, strerror(errno));
	text = malloc(MOUNTINFO_MAX + 1);
	ensure(text);
	n = fread(text, 1, MOUNTINFO_MAX, f);
	fclose(f);
	text[n] = '\0';
	*ret_text = text;
	return 0;
}

int ready_check(const char *mounts, const char *host_mountinfo, struct err *e)
{
	unsigned group;
	char *text;
	int ret = read_table("/proc/self/mountinfo", &text, e);

	if (ret)
		return ret;
	group = ready_group(text, mounts, 0);
	free(text);
	if (!group)
		return err_set(e, -EAGAIN,
			"'%.150s' is no shared mount: mountPropagation must be Bidirectional",
			mounts);
	ret = read_table(host_mountinfo, &text, e);
	if (ret)
		return ret;
	if (!ready_group(text, NULL, group))
		ret = err_set(e, -EAGAIN, "what is mounted below '%.150s' does not reach the host",
			mounts);
	free(text);
	return ret;
}

int ready_holders(const char *run_dir, struct err *e)
{
	cleanup_close int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int code;

	snprintf(a.sun_path, sizeof(a.sun_path), "%.90s/" CONTROL_HOLDERS, run_dir);
	if (fd >= 0 && !connect(fd, (const struct sockaddr *)&a, sizeof(a)))
		return 0;
	code = errno;
	if (code == EAGAIN) /* it has more to do than it takes at once, so it is there */
		return 0;
	return err_set(e, -code,
		"nobody keeps holders: tandem-holder --node does not listen at '%s': %s",
		a.sun_path, strerror(code));
}

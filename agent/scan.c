/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looking for volumes. A file that cannot be used is a volume with a problem and not an error: the others
 * are supervised nevertheless.
 *
 * Failure modes: a file that vanishes between two system calls is as one that was not there; two files
 * that name one volume: the first counts, the other has a problem that names the first.
 */
#include "scan.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "clock.h"
#include "conf.h"

#define SUFFIX ".conf"

static bool has_suffix(const char *file)
{
	size_t len = strlen(file);

	return file[0] != '.' && len > strlen(SUFFIX) &&
	       !strcmp(file + len - strlen(SUFFIX), SUFFIX);
}

/* What the file is called, for one that does not say. */
static void name_of_file(const char *path, char *ret, size_t size)
{
	const char *slash = strrchr(path, '/'), *file = slash ? slash + 1 : path;
	size_t len = MIN(strlen(file), size - 1);

	if (has_suffix(file))
		len = MIN(strlen(file) - strlen(SUFFIX), size - 1);
	memcpy(ret, file, len);
	ret[len] = '\0';
}

static int read_file(const char *path, const char *domain, struct scan_volume *v, struct err *e)
{
	const struct conf_section *s;
	const char *text;
	struct conf *c;
	int ret = conf_load(path, NULL, 0, &c, e);

	if (ret)
		return ret;
	s = conf_section(c, "volume");
	text = conf_get(c, s, "name");
	if (!text)
		ret = err_set(e, -EINVAL, "%s: has no section [volume] with a name", path);
	else
		ret = conf_take_name(c, s, "name", text, v->name, sizeof(v->name), e);
	s = conf_section(c, "site");
	text = conf_get(c, s, "domain");
	if (!ret && text && strcmp(text, domain) != 0)
		ret = conf_error(c, s, "domain", e,
			"'%.63s' is not this node's domain, which is '%s'", text, domain);
	conf_free(c);
	return ret;
}

bool scan_file(const char *path, const char *domain, struct scan_volume *ret_v)
{
	struct err e = {0};
	struct stat st;

	if (stat(path, &st) < 0 || !S_ISREG(st.st_mode))
		return false;
	memset(ret_v, 0, sizeof(*ret_v));
	snprintf(ret_v->path, sizeof(ret_v->path), "%s", path);
	ret_v->stamp.inode = st.st_ino;
	ret_v->stamp.size = (uint64_t)st.st_size;
	ret_v->stamp.mtime_ns =
		(uint64_t)st.st_mtim.tv_sec * NS_PER_S + (uint64_t)st.st_mtim.tv_nsec;
	name_of_file(path, ret_v->name, sizeof(ret_v->name));
	if (read_file(path, domain, ret_v, &e))
		snprintf(ret_v->problem, sizeof(ret_v->problem), "%s", e.msg);
	return true;
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct scan_volume *)a)->path, ((const struct scan_volume *)b)->path);
}

static void find_doubles(struct scan *s)
{
	for (unsigned i = 0; i < s->count; i++) {
		for (unsigned k = 0; k < i && !s->v[i].problem[0]; k++) {
			struct err e;

			if (strcmp(s->v[i].name, s->v[k].name) != 0)
				continue;
			err_set(&e, -EEXIST, "volume '%s' is configured already, in '%.100s'",
				s->v[i].name, s->v[k].path);
			snprintf(s->v[i].problem, sizeof(s->v[i].problem), "%s", e.msg);
		}
	}
}

int scan_volumes(const struct agent_config *c, struct scan **ret_scan, struct err *e)
{
	DIR *d = opendir(c->volumes);
	struct dirent *entry;
	struct stat own, st;
	struct scan *s;
	bool have_own;

	if (!d)
		return err_set(e, -errno, "cannot read '%.150s': %s", c->volumes, strerror(errno));
	s = calloc(1, sizeof(*s));
	ensure(s);
	have_own = stat(c->path, &own) == 0;
	while ((entry = readdir(d)) && s->count < SCAN_VOLUMES_MAX) {
		char path[sizeof(s->v[0].path)];

		if (!has_suffix(entry->d_name))
			continue;
		snprintf(path, sizeof(path), "%.4090s/%.255s", c->volumes, entry->d_name);
		if (have_own && stat(path, &st) == 0 && st.st_dev == own.st_dev &&
			st.st_ino == own.st_ino)
			continue;
		if (scan_file(path, c->domain, &s->v[s->count]))
			s->count++;
	}
	closedir(d);
	qsort(s->v, s->count, sizeof(s->v[0]), by_path);
	find_doubles(s);
	*ret_scan = s;
	return 0;
}

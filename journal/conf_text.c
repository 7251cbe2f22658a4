/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values that are text with a form: names, paths, addresses. Each is checked where it is read, so that a
 * mistake is told with its line when a program starts and not when it is needed.
 */
#include "conf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "limits.h"

/* Letters, digits, '-' and '_', the first a letter or digit: it becomes part of file names. */
static bool is_name(const char *s)
{
	if (*s == '-' || *s == '_')
		return false;
	return *s && s[strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-_")] == '\0';
}

int conf_take_name(const struct conf *c, const struct conf_section *s, const char *key,
	const char *text, char *ret, size_t size, struct err *e)
{
	if (!is_name(text))
		return conf_error(c, s, key, e,
			"'%.64s' is no name (a-z, 0-9, '-' and '_', a letter or digit first)",
			text);
	if (strlen(text) >= size)
		return conf_error(c, s, key, e, "the name is longer than %zu bytes", size - 1);
	snprintf(ret, size, "%s", text);
	return 0;
}

static bool has_dots(const char *path)
{
	for (const char *p = path; *p;) {
		size_t len = strcspn(p, "/");

		if ((len == 1 || len == 2) && !strncmp(p, "..", len))
			return true;
		p += len + (p[len] == '/');
	}
	return false;
}

/* An absolute path without "." and ".." parts; slashes at the end and doubled ones are dropped, so
 * that it can be compared with what the kernel says. */
int conf_get_path(const struct conf *c, const struct conf_section *s, const char *key, char *ret,
	size_t size, struct err *e)
{
	const char *text = conf_get(c, s, key);
	size_t n = 0;

	if (!text)
		return 0;
	if (text[0] != '/')
		return conf_error(c, s, key, e,
			"'%.100s' is no absolute path (it must begin with '/')", text);
	if (strlen(text) >= size)
		return conf_error(c, s, key, e, "the path is longer than %zu bytes", size - 1);
	if (has_dots(text))
		return conf_error(c, s, key, e, "'%.100s' has a '.' or '..' part", text);
	if (!text[strspn(text, "/")])
		return conf_error(c, s, key, e, "must not be the root directory");
	for (const char *p = text; *p;) {
		size_t len = strcspn(p, "/");

		if (len) {
			ret[n++] = '/';
			memcpy(ret + n, p, len);
			n += len;
		}
		p += len + (p[len] == '/');
	}
	ret[n] = '\0';
	return 0;
}

/* What is wrong with a "host:port", or NULL. IPv6 addresses stand in brackets. */
static const char *address_problem(const char *text, bool need_host)
{
	const char *colon = strrchr(text, ':'), *host_end = colon;
	char *end;
	long port;

	if (!colon || !colon[1])
		return "has no port (write host:port)";
	if (strspn(colon + 1, "0123456789") != strlen(colon + 1))
		return "has a port that is no number";
	errno = 0;
	port = strtol(colon + 1, &end, 10);
	if (errno || port < 1 || port > 65535)
		return "has a port that is not between 1 and 65535";
	if (text[0] == '[') {
		if (colon == text + 1 || colon[-1] != ']')
			return "has a '[' without ']' before the port";
		if (colon - text < 4 || strspn(text + 1, "0123456789abcdefABCDEF:.%") == 0)
			return "has no IPv6 address between '[' and ']'";
		return NULL;
	}
	if (memchr(text, ':', (size_t)(host_end - text)))
		return "has an IPv6 address without brackets (write [address]:port)";
	if (need_host && host_end == text)
		return "has no host before the port";
	if (strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") !=
		(size_t)(host_end - text))
		return "has a character that no host name has";
	return NULL;
}

int conf_get_address(const struct conf *c, const struct conf_section *s, const char *key, char *ret,
	size_t size, struct err *e)
{
	const char *text = conf_get(c, s, key), *problem;

	if (!text)
		return 0;
	if (strlen(text) >= size)
		return conf_error(c, s, key, e, "the address is longer than %zu bytes", size - 1);
	problem = address_problem(text, true);
	if (problem)
		return conf_error(c, s, key, e, "'%.100s' %s", text, problem);
	snprintf(ret, size, "%s", text);
	return 0;
}

/* One of a list: `text` without its blanks, `n` addresses are before it. */
static int take_address(const struct conf *c, const struct conf_section *s, const char *key,
	const char *text, char (*ret)[CONF_ADDRESS_SIZE], unsigned n, struct err *e)
{
	const char *problem;

	if (!text[0])
		return conf_error(c, s, key, e, "an address is missing before or behind a comma");
	problem = address_problem(text, true);
	if (problem)
		return conf_error(c, s, key, e, "'%.100s' %s", text, problem);
	for (unsigned i = 0; i < n; i++)
		if (!strcmp(ret[i], text))
			return conf_error(c, s, key, e, "'%.100s' is there twice", text);
	snprintf(ret[n], CONF_ADDRESS_SIZE, "%s", text);
	return 0;
}

int conf_get_addresses(const struct conf *c, const struct conf_section *s, const char *key,
	char (*ret)[CONF_ADDRESS_SIZE], unsigned max, unsigned *ret_n, struct err *e)
{
	const char *at = conf_get(c, s, key);
	unsigned n = 0;
	int r = 0;

	if (!at)
		return 0;
	for (bool more = true; more && !r; n++) {
		char text[CONF_ADDRESS_SIZE];
		size_t len, end;

		at += strspn(at, " \t");
		end = len = strcspn(at, ",");
		more = at[end] == ',';
		while (len && strchr(" \t", at[len - 1]))
			len--;
		if (n == max)
			return conf_error(c, s, key, e, "more than %u addresses", max);
		if (len >= sizeof(text))
			return conf_error(c, s, key, e, "an address is longer than %zu bytes",
				sizeof(text) - 1);
		snprintf(text, sizeof(text), "%.*s", (int)len, at);
		r = take_address(c, s, key, text, ret, n, e);
		at += end + more;
	}
	if (!r)
		*ret_n = n;
	return r;
}

bool conf_is_node(const char *text)
{
	static const char letters[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
	size_t len = strlen(text);

	return len && len <= NODE_NAME_MAX && strspn(text, letters) == len &&
	       !strchr(".-_", text[0]);
}

int conf_get_node(const struct conf *c, const struct conf_section *s, const char *key, char *ret,
	size_t size, struct err *e)
{
	const char *text = conf_get(c, s, key);

	if (!text)
		return 0;
	if (!conf_is_node(text) || strlen(text) >= size)
		return conf_error(c, s, key, e,
			"'%.100s' is no node's name: it is of letters, digits, '.', '-' and '_', "
			"at most %u, a letter or digit first",
			text, NODE_NAME_MAX);
	snprintf(ret, size, "%s", text);
	return 0;
}

int conf_get_readable(const struct conf *c, const struct conf_section *s, const char *key,
	char *ret, size_t size, struct err *e)
{
	int r = conf_get_path(c, s, key, ret, size, e);

	if (r || !conf_get(c, s, key))
		return r;
	if (access(ret, R_OK) < 0)
		return conf_error(c, s, key, e, "cannot read '%.100s': %s", ret, strerror(errno));
	return 0;
}

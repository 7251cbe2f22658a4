/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON as YAML, as kubectl prints it: block style, two blanks a level, strings quoted where they could be
 * taken for something else. It is only written here, never read.
 */
#include "ctl.h"

#include <string.h>
#include <strings.h>

static bool is_container(const struct json *j)
{
	struct json_member m;

	return json_length(j) || json_first(j, &m);
}

/* Letters, digits and a few signs, and not a word or number of YAML's own. */
static bool is_plain(const char *s)
{
	static const char *const words[] = {
		"true", "false", "yes", "no", "on", "off", "null", "y", "n", "~"};

	if (!strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ/_"))
		return false;
	for (unsigned i = 0; i < ARRAY_SIZE(words); i++)
		if (!strcasecmp(s, words[i]))
			return false;
	return s[strspn(s,
		       "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/_.-()")] ==
	       '\0';
}

static void print_scalar(
	FILE *f, const struct json *parent, const char *key, unsigned at, const struct json *j)
{
	const char *s = key ? json_get_string(parent, key, NULL) : json_string_at(parent, at, NULL);

	/* A JSON string is a double-quoted one of YAML. */
	fprintf(f, " %s\n", !j ? "null" : s && is_plain(s) ? s : json_text(j, false));
}

static void print_value(FILE *f, const struct json *j, unsigned indent, bool first_inline)
{
	struct json_member m;

	for (unsigned i = 0; i < json_length(j); i++) {
		struct json *x = json_at(j, i);

		fprintf(f, "%*s-", first_inline && !i ? 0 : (int)indent, "");
		if (is_container(x)) {
			fputc(' ', f);
			print_value(f, x, indent + 2, true);
		} else {
			print_scalar(f, j, NULL, i, x);
		}
	}
	for (bool ok = json_first(j, &m); ok; ok = json_next(&m)) {
		fprintf(f, "%*s%s:", first_inline ? 0 : (int)indent, "", m.key);
		first_inline = false;
		if (is_container(m.value)) {
			fputc('\n', f);
			print_value(f, m.value, json_length(m.value) ? indent : indent + 2, false);
		} else {
			print_scalar(f, j, m.key, 0, m.value);
		}
	}
}

void ctl_print_yaml(FILE *f, const struct json *j)
{
	if (is_container(j))
		print_value(f, j, 0, false);
	else
		fprintf(f, "%s\n", json_text(j, false));
}

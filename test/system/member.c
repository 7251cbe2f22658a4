/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Members of a JSON text, as `jq -r` prints them, in a tenth of its time: tests ask for a status many
 * times a second, and what they wait for runs beside them.
 *
 *   member EXPRESSION <status.json      .role    .in_sync | length    .inactive[]
 *                                       "\(.role) \(.peers[0].state)"
 *
 * An array's first element is what is looked at, as `tandemctl status -o json` prints one. Status 0; 3, and
 * nothing printed, for what only jq knows how to do: other expressions, fractions, objects, escapes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"

#define TEXT_MAX (1u << 20)
#define NAME_MAX_LEN 64u
#define ASK_JQ 3

struct value {
	const struct json *j; /* NULL: null */
	bool each; /* the elements of j, and not j */
	bool length; /* how many j has */
};

static bool is_array(const struct json *j)
{
	return j && json_text(j, false)[0] == '[';
}

static bool is_name(char c)
{
	return c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
	       (c >= 'A' && c <= 'Z');
}

/* One step of a path. 0, or ASK_JQ. */
static int step_parse(const char **at, struct value *v)
{
	char name[NAME_MAX_LEN], *end;
	size_t len = 0;

	if (v->each || (v->j && !json_is_object(v->j) && **at == '.'))
		return ASK_JQ;
	if (**at == '.') {
		for ((*at)++; is_name(**at) && len < sizeof(name) - 1; (*at)++)
			name[len++] = **at;
		name[len] = '\0';
		v->j = json_get(v->j, name);
		return len > 0 && len < sizeof(name) - 1 ? 0 : ASK_JQ;
	}
	if (!is_array(v->j))
		return ASK_JQ;
	if ((*at)[1] == ']') {
		v->each = true;
		*at += 2;
		return 0;
	}
	if ((*at)[1] < '0' || (*at)[1] > '9')
		return ASK_JQ;
	v->j = json_at(v->j, (unsigned)strtoul(*at + 1, &end, 10));
	*at = end + 1;
	return *end == ']' ? 0 : ASK_JQ;
}

/* A path, and "| length" behind it. */
static int path_parse(const char **at, const struct json *root, struct value *ret)
{
	struct value v = {.j = root};
	int err = **at == '.' ? 0 : ASK_JQ;

	while (!err && (**at == '.' || **at == '['))
		err = step_parse(at, &v);
	*at += strspn(*at, " ");
	if (!err && **at == '|') {
		(*at)++;
		*at += strspn(*at, " ");
		if (strncmp(*at, "length", 6) != 0 || is_name((*at)[6]) || v.each ||
			(v.j && !is_array(v.j)))
			return ASK_JQ;
		*at += 6;
		v.length = true;
	}
	*ret = v;
	return err;
}

static int json_print(FILE *out, const struct json *j)
{
	const char *text = j ? json_text(j, false) : "null";
	size_t len = strlen(text);
	bool string = text[0] == '"';

	if (strchr(text, '\\') || text[0] == '{')
		return ASK_JQ;
	if (!string && text[0] != '[' && j && strpbrk(text, ".eE") && strcmp(text, "true") &&
		strcmp(text, "false"))
		return ASK_JQ;
	for (unsigned i = 0; text[0] == '[' && i < json_length(j); i++)
		if (!json_string_at(j, i, NULL))
			return ASK_JQ;
	fwrite(text + string, 1, len - 2 * (size_t)string, out);
	return 0;
}

/* What a value comes to, with this behind each part of it. */
static int value_print(FILE *out, const struct value *v, const char *behind)
{
	int err = 0;

	if (v->length) {
		fprintf(out, "%u%s", v->j ? json_length(v->j) : 0, behind);
		return 0;
	}
	if (!v->each) {
		if (*behind && is_array(v->j)) /* over several lines */
			return ASK_JQ;
		err = json_print(out, v->j);
		fputs(behind, out);
		return err;
	}
	for (unsigned i = 0; !err && i < json_length(v->j); i++) {
		err = json_print(out, json_at(v->j, i));
		fputs(behind, out);
	}
	return err;
}

/* The text between quotation marks, with \(PATH) in it. */
static int text_print(FILE *out, const char **at, const struct json *root)
{
	struct value v;

	for (; **at && **at != '"'; (*at)++) {
		if (**at != '\\') {
			fputc(**at, out);
			continue;
		}
		if ((*at)[1] != '(')
			return ASK_JQ;
		*at += 2;
		if (path_parse(at, root, &v) || v.each || **at != ')' || value_print(out, &v, ""))
			return ASK_JQ;
	}
	fputc('\n', out);
	return *(*at)++ == '"' ? 0 : ASK_JQ;
}

static int expression_print(FILE *out, const char *at, const struct json *root)
{
	struct value v;

	if (*at == '"') {
		at++;
		if (text_print(out, &at, root))
			return ASK_JQ;
	} else if (path_parse(&at, root, &v) || value_print(out, &v, "\n")) {
		return ASK_JQ;
	}
	return *at == '\0' ? 0 : ASK_JQ;
}

int main(int argc, char **argv)
{
	static char text[TEXT_MAX];
	struct json *j;
	struct err e = {0};
	char *printed = NULL;
	size_t size = 0;
	FILE *out;
	int ret;

	if (argc != 2) {
		fprintf(stderr, "usage: member EXPRESSION\n");
		return 2;
	}
	size = fread(text, 1, sizeof(text), stdin);
	if (size == sizeof(text) || json_parse(text, size, &j, &e))
		return ASK_JQ;
	out = open_memstream(&printed, &size);
	if (!out)
		return ASK_JQ;
	ret = expression_print(out, argv[1], is_array(j) ? json_at(j, 0) : j);
	fclose(out);
	if (!ret)
		fwrite(printed, 1, size, stdout);
	free(printed);
	json_free(j);
	return ret;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A strict subset of YAML. The text is cut into lines with their indentation; a block is read by recursion over
 * lines, what stands behind a colon by recursion over characters. An item of a list ("- name: x") is read as a
 * line that is indented by as much as the dash takes.
 */
#include "yaml.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 24u
#define LINES_MAX 100000u

struct line {
	unsigned number, indent;
	char *text;
};

struct yaml {
	char *text;
	struct line *lines;
	unsigned nlines, at, depth;
	struct err *e;
};

static int wrong(struct yaml *y, const char *why)
{
	const struct line *l = y->nlines ? &y->lines[MIN(y->at, y->nlines - 1)] : NULL;

	return err_set(y->e, -EBADMSG, "line %u: %s", l ? l->number : 1, why);
}

/* --- what stands on one line --- */

static const char *skip_blanks(const char *p)
{
	while (*p == ' ')
		p++;
	return p;
}

static bool at_comment(const char *p)
{
	return *p == '#' && p[-1] == ' ';
}

/* "..." with the escapes that kubectl writes, or '...'. */
static int quoted(struct yaml *y, const char **p, char **ret)
{
	char quote = **p, *made = malloc(strlen(*p) + 1), *to = made;
	const char *from = *p + 1;

	ensure(made);
	for (; *from; from++) {
		if (*from == quote && quote == '\'' && from[1] == '\'') {
			from++;
		} else if (*from == quote) {
			*to = '\0';
			*p = from + 1;
			*ret = made;
			return 0;
		} else if (*from == '\\' && quote == '"') {
			static const char names[] = "nt\"\\/", values[] = "\n\t\"\\/";
			const char *known = *++from ? strchr(names, *from) : NULL;

			if (!known)
				break;
			*to++ = values[known - names];
			continue;
		}
		*to++ = *from;
	}
	free(made);
	return wrong(y, "a quoted text that does not end here, or an escape that is not known");
}

static struct json *string(const char *text)
{
	struct json *box = json_object(), *copy;

	json_set_string(box, "v", text);
	copy = json_copy(json_get(box, "v"));
	json_free(box);
	return copy;
}

static struct json *plain(const char *text)
{
	struct json *box, *copy;

	if (!*text || !strcmp(text, "null") || !strcmp(text, "~"))
		return NULL;
	if (strcmp(text, "true") && strcmp(text, "false"))
		return string(text);
	box = json_object();
	json_set_bool(box, "v", *text == 't');
	copy = json_copy(json_get(box, "v"));
	json_free(box);
	return copy;
}

static int value(struct yaml *y, const char **p, bool in_flow, struct json **ret);

/* A member's name, and the colon behind it. */
static int flow_key(struct yaml *y, const char **p, char **ret)
{
	const char *from = *p;
	size_t n;

	if (*from == '"' || *from == '\'') {
		if (quoted(y, p, ret))
			return -EBADMSG;
		*p = skip_blanks(*p);
	} else {
		n = strcspn(from, ":,{}[]");
		*p = from + n;
		while (n && from[n - 1] == ' ')
			n--;
		*ret = strndup(from, n);
		ensure(*ret);
	}
	if (**p == ':' && **ret) {
		++*p;
		return 0;
	}
	free(*ret);
	return wrong(y, "a member without a name or without a colon");
}

static int flow_item(struct yaml *y, const char **p, struct json *list)
{
	struct json *v = NULL;
	int r = value(y, p, true, &v);

	if (!r)
		json_append(list, v);
	return r;
}

static int flow_member(struct yaml *y, const char **p, struct json *map)
{
	struct json *v = NULL;
	char *key = NULL;
	int r = flow_key(y, p, &key);

	if (r)
		return r;
	*p = skip_blanks(*p);
	r = value(y, p, true, &v);
	if (!r)
		json_set(map, key, v);
	free(key);
	return r;
}

static int flow(struct yaml *y, const char **p, struct json **ret)
{
	bool list = **p == '[';
	char end = list ? ']' : '}';
	struct json *made = list ? json_array() : json_object();
	int r = 0;

	*p = skip_blanks(*p + 1);
	while (!r && **p != end) {
		r = list ? flow_item(y, p, made) : flow_member(y, p, made);
		*p = skip_blanks(*p);
		if (!r && **p != end && **p != ',')
			r = wrong(y, "brackets that do not end on their line");
		if (!r && **p == ',')
			*p = skip_blanks(*p + 1);
	}
	if (r) {
		json_free(made);
		return r;
	}
	++*p;
	*ret = made;
	return 0;
}

static int value(struct yaml *y, const char **p, bool in_flow, struct json **ret)
{
	const char *from = *p;
	char *text;
	size_t n;
	int r = 0;

	if (*from == '{' || *from == '[') {
		if (y->depth == DEPTH_MAX)
			return wrong(y, "too deep");
		y->depth++;
		r = flow(y, p, ret);
		y->depth--;
		return r;
	}
	if (*from == '"' || *from == '\'') {
		if (quoted(y, p, &text))
			return -EBADMSG;
		*ret = string(text);
		free(text);
		return 0;
	}
	if (*from && strchr("&*!|>%@`", *from))
		return wrong(y, "anchors, tags and texts of several lines are not read here");
	for (n = 0;
		from[n] && !(in_flow && strchr(",]}", from[n])) && !(n && at_comment(from + n));)
		n++;
	*p = from + n;
	while (n && from[n - 1] == ' ')
		n--;
	text = strndup(from, n);
	ensure(text);
	*ret = plain(text);
	free(text);
	return 0;
}

/* All of the rest of a line. */
static int whole_value(struct yaml *y, const char *p, struct json **ret)
{
	int r = value(y, &p, false, ret);

	if (r)
		return r;
	p = skip_blanks(p);
	if (!*p || at_comment(p))
		return 0;
	json_free(*ret);
	*ret = NULL;
	return wrong(y, "something behind the value");
}

/* --- blocks --- */

static bool is_item(const char *text)
{
	return text[0] == '-' && (text[1] == ' ' || !text[1]);
}

/* The colon behind a member's name; NULL: the line is no member. */
static char *colon(char *text)
{
	char *p = text;

	if (*p == '{' || *p == '[')
		return NULL;
	if (*p == '"' || *p == '\'') {
		p = strchr(p + 1, *p);
		return p && p[1] == ':' && (p[2] == ' ' || !p[2]) ? p + 1 : NULL;
	}
	for (; *p; p++)
		if (*p == ':' && (p[1] == ' ' || !p[1]))
			return p;
	return NULL;
}

static int block(struct yaml *y, struct json **ret);

static int list_block(struct yaml *y, unsigned indent, struct json *made)
{
	while (y->at < y->nlines && y->lines[y->at].indent == indent &&
		is_item(y->lines[y->at].text)) {
		struct line *l = &y->lines[y->at];
		const char *rest = skip_blanks(l->text + 1);
		struct json *v = NULL;
		int r = 0;

		if (!*rest || *rest == '#') {
			y->at++;
			if (y->at < y->nlines && y->lines[y->at].indent > indent)
				r = block(y, &v);
		} else if (is_item(rest) || colon((char *)rest)) {
			l->indent += (unsigned)(rest - l->text);
			l->text = (char *)rest;
			r = block(y, &v);
		} else {
			r = whole_value(y, rest, &v);
			y->at++;
		}
		if (r)
			return r;
		json_append(made, v);
	}
	return 0;
}

static int map_block(struct yaml *y, unsigned indent, struct json *made)
{
	while (y->at < y->nlines && y->lines[y->at].indent == indent &&
		!is_item(y->lines[y->at].text)) {
		struct line *l = &y->lines[y->at];
		char *end = colon(l->text), *key = l->text;
		const char *rest;
		struct json *v = NULL;
		int r = 0;

		if (!end)
			return wrong(y, "neither 'name: value' nor '- item'");
		*end = '\0';
		rest = skip_blanks(end + 1);
		if (*key == '"' || *key == '\'') {
			key[strlen(key) - 1] = '\0';
			key++;
		}
		if (!*key || strchr("&*!?|>%@`", *key) || json_get(made, key))
			return wrong(y, "a name that is empty, given twice or not plain");
		if (*rest && !at_comment(rest)) {
			r = whole_value(y, rest, &v);
			y->at++;
		} else if (++y->at < y->nlines && (y->lines[y->at].indent > indent ||
							  (y->lines[y->at].indent == indent &&
								  is_item(y->lines[y->at].text)))) {
			r = block(y, &v);
		}
		if (r)
			return r;
		json_set(made, key, v);
	}
	return 0;
}

static int block(struct yaml *y, struct json **ret)
{
	unsigned indent = y->lines[y->at].indent;
	bool list = is_item(y->lines[y->at].text);
	struct json *made;
	int r;

	if (y->depth == DEPTH_MAX)
		return wrong(y, "too deep");
	made = list ? json_array() : json_object();
	y->depth++;
	r = list ? list_block(y, indent, made) : map_block(y, indent, made);
	y->depth--;
	if (!r && y->at < y->nlines && y->lines[y->at].indent > indent)
		r = wrong(y, "indented more than what it belongs to");
	if (r)
		json_free(made);
	else
		*ret = made;
	return r;
}

/* --- the whole --- */

static int cut(struct yaml *y)
{
	unsigned number = 0;

	for (char *next = y->text, *p; (p = next);) {
		size_t n, blanks = strspn(p, " ");
		struct line *l;

		next = strchr(p, '\n');
		if (next)
			*next++ = '\0';
		number++;
		n = strlen(p);
		while (n > blanks && (p[n - 1] == ' ' || p[n - 1] == '\r'))
			p[--n] = '\0';
		if (!p[blanks] || p[blanks] == '#')
			continue;
		if (y->nlines == LINES_MAX)
			return err_set(y->e, -EBADMSG, "more than %u lines", LINES_MAX);
		if (!strcmp(p, "---") && !y->nlines)
			continue;
		if (y->nlines % 64 == 0) {
			y->lines = realloc(y->lines, (y->nlines + 64) * sizeof(*y->lines));
			ensure(y->lines);
		}
		l = &y->lines[y->nlines++];
		*l = (struct line){number, (unsigned)blanks, p + blanks};
		if (strchr(p, '\t'))
			return err_set(y->e, -EBADMSG, "line %u: a tab", number);
		if (!strncmp(p, "---", 3) || !strncmp(p, "...", 3))
			return err_set(y->e, -EBADMSG, "line %u: more than one document", number);
	}
	return 0;
}

int yaml_parse(const char *text, size_t len, struct json **ret_j, struct err *e)
{
	struct yaml y = {.text = strndup(text, len), .e = e};
	struct json *j = NULL;
	int r;

	ensure(y.text);
	if (strlen(y.text) != len)
		r = err_set(e, -EBADMSG, "a zero byte");
	else
		r = cut(&y);
	if (!r && !y.nlines)
		r = err_set(e, -EBADMSG, "nothing in it");
	if (!r && y.nlines == 1 && (*y.lines[0].text == '{' || *y.lines[0].text == '[')) {
		r = whole_value(&y, y.lines[0].text, &j);
		y.at = 1;
	} else if (!r) {
		r = block(&y, &j);
	}
	if (!r && y.at < y.nlines) {
		r = wrong(&y, "indented less than what it belongs to");
		json_free(j);
	}
	free(y.lines);
	explicit_bzero(y.text, strlen(y.text));
	free(y.text);
	if (!r)
		*ret_j = j;
	return r;
}

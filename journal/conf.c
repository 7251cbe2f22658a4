/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration parser. The text is copied once and cut up in place: every string that a caller
 * gets points into that copy. Values keep their line, so that a wrong one can be named precisely
 * when it is asked for. Only errors here: nothing is guessed, nothing is skipped.
 */
#include "conf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"

#define FILE_SIZE_MAX (1u << 20) /* bytes */
#define SECTIONS_MAX 1024u

struct value {
	const char *key;
	const char *text;
	unsigned line;
	struct value *next;
};

struct section {
	struct conf_section pub; /* its next is always &next section->pub */
	struct value *values;
};

struct conf {
	char *name; /* of the file, for messages */
	char *text;
	struct section *first, *last;
	unsigned nsections;
};

void conf_free(struct conf *c)
{
	if (!c)
		return;
	for (struct conf_section *p = c->first ? &c->first->pub : NULL, *next; p; p = next) {
		struct section *s = container_of(p, struct section, pub);

		next = p->next;
		for (struct value *v = s->values, *after; v; v = after) {
			after = v->next;
			free(v);
		}
		free(s);
	}
	free(c->text);
	free(c->name);
	free(c);
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* Cuts white space at both ends, and a comment; returns the new start. */
static char *trim(char *s)
{
	char *end;

	for (char *p = s; *p; p++) {
		if (*p == '#' && (p == s || is_space(p[-1]))) {
			*p = '\0';
			break;
		}
	}
	while (is_space(*s))
		s++;
	end = s + strlen(s);
	while (end > s && is_space(end[-1]))
		*--end = '\0';
	return s;
}

static bool is_word(const char *s)
{
	if (!*s)
		return false;
	for (; *s; s++)
		if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.",
			    *s))
			return false;
	return true;
}

static bool known_section(const struct conf_key *keys, unsigned nkeys, const char *kind)
{
	for (unsigned i = 0; i < nkeys; i++)
		if (strcmp(keys[i].section, kind) == 0)
			return true;
	return false;
}

static bool known_key(
	const struct conf_key *keys, unsigned nkeys, const char *kind, const char *key)
{
	for (unsigned i = 0; i < nkeys; i++)
		if (strcmp(keys[i].section, kind) == 0 && strcmp(keys[i].key, key) == 0)
			return true;
	return false;
}

static struct value *find_value(const struct conf_section *s, const char *key)
{
	if (!s)
		return NULL;
	for (struct value *v = container_of(s, struct section, pub)->values; v; v = v->next)
		if (strcmp(v->key, key) == 0)
			return v;
	return NULL;
}

/* A line that starts with '['. */
static int parse_section(struct conf *c, char *s, unsigned line, const struct conf_key *keys,
	unsigned nkeys, struct err *e)
{
	size_t len = strlen(s);
	char *kind, *name, *gap;
	struct section *section;

	if (s[len - 1] != ']')
		return err_set(
			e, -EINVAL, "%s:%u: a section's line must end with ']'", c->name, line);
	s[len - 1] = '\0';
	kind = trim(s + 1);
	gap = kind + strcspn(kind, " \t");
	name = gap;
	if (*gap) {
		*gap = '\0';
		name = trim(gap + 1);
	}
	if (!is_word(kind) || (*name && !is_word(name)))
		return err_set(e, -EINVAL,
			"%s:%u: a section is written [kind] or [kind name], of letters, digits, "
			"'-', '_' and '.'",
			c->name, line);
	if (nkeys && !known_section(keys, nkeys, kind))
		return err_set(e, -EINVAL, "%s:%u: unknown section '%s'", c->name, line, kind);
	for (const struct conf_section *o = c->first ? &c->first->pub : NULL; o; o = o->next)
		if (strcmp(o->kind, kind) == 0 && strcmp(o->name, name) == 0)
			return err_set(e, -EINVAL,
				"%s:%u: section [%s%s%s] is there already, in line %u", c->name,
				line, kind, *name ? " " : "", name, o->line);
	if (c->nsections == SECTIONS_MAX)
		return err_set(e, -EINVAL, "%s:%u: too many sections", c->name, line);
	section = calloc(1, sizeof(*section));
	if (!section)
		return err_set(e, -ENOMEM, "%s: out of memory", c->name);
	section->pub = (struct conf_section){.kind = kind, .name = name, .line = line};
	if (c->last)
		c->last->pub.next = &section->pub;
	else
		c->first = section;
	c->last = section;
	c->nsections++;
	return 0;
}

static int parse_value(struct conf *c, char *s, unsigned line, const struct conf_key *keys,
	unsigned nkeys, struct err *e)
{
	char *eq = strchr(s, '='), *key, *text;
	const struct value *other;
	struct value *v;

	if (!eq)
		return err_set(
			e, -EINVAL, "%s:%u: neither 'key = value' nor '[section]'", c->name, line);
	*eq = '\0';
	key = trim(s);
	text = trim(eq + 1);
	if (!is_word(key))
		return err_set(e, -EINVAL, "%s:%u: what is before '=' is no key", c->name, line);
	if (!c->last)
		return err_set(e, -EINVAL, "%s:%u: key '%s' is before the first section", c->name,
			line, key);
	if (nkeys && !known_key(keys, nkeys, c->last->pub.kind, key))
		return err_set(e, -EINVAL, "%s:%u: unknown key '%s' in section [%s]", c->name, line,
			key, c->last->pub.kind);
	if (!*text)
		return err_set(e, -EINVAL, "%s:%u: %s: the value is missing", c->name, line, key);
	other = find_value(&c->last->pub, key);
	if (other)
		return err_set(e, -EINVAL, "%s:%u: %s: is there already, in line %u", c->name, line,
			key, other->line);
	v = malloc(sizeof(*v));
	if (!v)
		return err_set(e, -ENOMEM, "%s: out of memory", c->name);
	*v = (struct value){.key = key, .text = text, .line = line, .next = c->last->values};
	c->last->values = v;
	return 0;
}

static int check_required(const struct conf *c, unsigned line_end, const struct conf_key *keys,
	unsigned nkeys, struct err *e)
{
	for (unsigned i = 0; i < nkeys; i++) {
		const struct conf_section *s = conf_section(c, keys[i].section);

		if (!keys[i].required)
			continue;
		if (!s)
			return err_set(e, -EINVAL, "%s:%u: section [%s] is missing", c->name,
				line_end, keys[i].section);
		for (; s; s = conf_next_section(c, s))
			if (!find_value(s, keys[i].key))
				return err_set(e, -EINVAL,
					"%s:%u: key '%s' is missing in section [%s%s%s]", c->name,
					s->line, keys[i].key, s->kind, *s->name ? " " : "",
					s->name);
	}
	return 0;
}

int conf_parse(const char *name, const char *text, const struct conf_key *keys, unsigned nkeys,
	struct conf **ret_conf, struct err *e)
{
	struct conf *c = calloc(1, sizeof(*c));
	unsigned line = 0;
	int ret = -ENOMEM;

	if (c) {
		c->name = strdup(name);
		c->text = strdup(text);
	}
	if (!c || !c->name || !c->text) {
		err_set(e, ret, "%s: out of memory", name);
		goto fail;
	}
	for (char *at = c->text, *next; at; at = next) {
		char *s;

		next = strchr(at, '\n');
		if (next)
			*next++ = '\0';
		line++;
		s = trim(at);
		if (!*s)
			continue;
		ret = *s == '[' ? parse_section(c, s, line, keys, nkeys, e)
				: parse_value(c, s, line, keys, nkeys, e);
		if (ret)
			goto fail;
	}
	ret = check_required(c, line, keys, nkeys, e);
	if (ret)
		goto fail;
	*ret_conf = c;
	return 0;
fail:
	conf_free(c);
	return ret;
}

int conf_load(const char *path, const struct conf_key *keys, unsigned nkeys, struct conf **ret_conf,
	struct err *e)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	cleanup_free char *text = NULL;
	size_t len = 0;
	ssize_t got;

	if (fd < 0)
		return err_set(e, -errno, "cannot open '%s': %m", path);
	text = malloc(FILE_SIZE_MAX + 2);
	if (!text)
		return err_set(e, -ENOMEM, "%s: out of memory", path);
	while ((got = read(fd, text + len, FILE_SIZE_MAX + 1 - len)) != 0) {
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return err_set(e, -errno, "cannot read '%s': %m", path);
		len += (size_t)got;
	}
	if (len > FILE_SIZE_MAX)
		return err_set(e, -EFBIG, "%s: larger than %u bytes, no configuration file", path,
			FILE_SIZE_MAX);
	if (memchr(text, '\0', len))
		return err_set(e, -EINVAL, "%s: has zero bytes, no configuration file", path);
	text[len] = '\0';
	return conf_parse(path, text, keys, nkeys, ret_conf, e);
}

const struct conf_section *conf_section(const struct conf *c, const char *kind)
{
	for (const struct conf_section *s = c->first ? &c->first->pub : NULL; s; s = s->next)
		if (strcmp(s->kind, kind) == 0)
			return s;
	return NULL;
}

const struct conf_section *conf_next_section(const struct conf *c, const struct conf_section *s)
{
	for (const struct conf_section *n = s->next; n; n = n->next)
		if (strcmp(n->kind, s->kind) == 0)
			return n;
	return NULL;
}

const char *conf_get(const struct conf *c, const struct conf_section *s, const char *key)
{
	const struct value *v = find_value(s, key);

	return v ? v->text : NULL;
}

int conf_error(const struct conf *c, const struct conf_section *s, const char *key, struct err *e,
	const char *fmt, ...)
{
	const struct value *v = key ? find_value(s, key) : NULL;
	char msg[200];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	return err_set(e, -EINVAL, "%s:%u: %s%s%s", c->name,
		v   ? v->line
		: s ? s->line
		    : 1,
		key ? key : "", key ? ": " : "", msg);
}

/* Digits, at least one, to the first other character. False on overflow or without digits. */
static bool take_number(const char **at, uint64_t *ret)
{
	const char *p = *at;
	uint64_t v = 0;

	for (; *p >= '0' && *p <= '9'; p++)
		if (__builtin_mul_overflow(v, 10, &v) ||
			__builtin_add_overflow(v, (unsigned)(*p - '0'), &v))
			return false;
	if (p == *at)
		return false;
	*at = p;
	*ret = v;
	return true;
}

int conf_parse_size(const char *text, uint64_t *ret)
{
	static const char units[] = "KMGT";
	const char *unit;
	uint64_t v;

	if (!take_number(&text, &v))
		return -EINVAL;
	if (*text) {
		unit = strchr(units, *text);
		if (!unit || __builtin_mul_overflow(v, 1ull << (10 * (unit - units + 1)), &v))
			return -EINVAL;
		text++;
		if (*text == 'i')
			text++;
	}
	if (*text)
		return -EINVAL;
	*ret = v;
	return 0;
}

/* The largest unit that gives a whole number, for messages. */
static const char *size_text(uint64_t v, char buf[32])
{
	static const char *const units[] = {"", "K", "M", "G", "T"};
	unsigned unit = 0;

	while (unit < 4 && v && v % 1024 == 0) {
		v /= 1024;
		unit++;
	}
	snprintf(buf, 32, "%llu%s", (unsigned long long)v, units[unit]);
	return buf;
}

int conf_get_size(const struct conf *c, const struct conf_section *s, const char *key, uint64_t min,
	uint64_t max, uint64_t *ret, struct err *e)
{
	const char *text = conf_get(c, s, key);
	char low[32], high[32];
	uint64_t v;

	if (!text)
		return 0;
	if (conf_parse_size(text, &v))
		return conf_error(
			c, s, key, e, "'%s' is no size (write for example 512M or 64G)", text);
	if (v < min || v > max)
		return conf_error(c, s, key, e, "%s is not between %s and %s", text,
			size_text(min, low), size_text(max, high));
	*ret = v;
	return 0;
}

int conf_get_uint(const struct conf *c, const struct conf_section *s, const char *key, uint64_t min,
	uint64_t max, uint64_t *ret, struct err *e)
{
	const char *text = conf_get(c, s, key), *end = text;
	uint64_t v;

	if (!text)
		return 0;
	if (!take_number(&end, &v) || *end)
		return conf_error(c, s, key, e, "'%s' is no number", text);
	if (v < min || v > max)
		return conf_error(c, s, key, e, "%s is not between %llu and %llu", text,
			(unsigned long long)min, (unsigned long long)max);
	*ret = v;
	return 0;
}

int conf_get_duration(const struct conf *c, const struct conf_section *s, const char *key,
	uint64_t min_ns, uint64_t max_ns, uint64_t *ret_ns, struct err *e)
{
	static const struct {
		const char *text;
		uint64_t ns;
	} units[] = {
		{"ms", NS_PER_MS},
		{"s", NS_PER_S},
		{"m", 60 * NS_PER_S},
		{"h", 3600 * NS_PER_S},
	};
	const char *text = conf_get(c, s, key), *end = text;
	uint64_t v, unit = 0;

	if (!text)
		return 0;
	if (take_number(&end, &v))
		for (unsigned i = 0; i < ARRAY_SIZE(units); i++)
			if (strcmp(end, units[i].text) == 0)
				unit = units[i].ns;
	if (!unit || __builtin_mul_overflow(v, unit, &v))
		return conf_error(c, s, key, e,
			"'%s' is no duration (write for example 500ms, 10s, 5m or 1h)", text);
	if (v < min_ns || v > max_ns)
		return conf_error(c, s, key, e, "%s is not between %llums and %llums", text,
			(unsigned long long)(min_ns / NS_PER_MS),
			(unsigned long long)(max_ns / NS_PER_MS));
	*ret_ns = v;
	return 0;
}

int conf_get_bool(const struct conf *c, const struct conf_section *s, const char *key, bool *ret,
	struct err *e)
{
	static const char *const words[] = {"no", "yes", "false", "true", "off", "on"};
	const char *text = conf_get(c, s, key);

	if (!text)
		return 0;
	for (unsigned i = 0; i < ARRAY_SIZE(words); i++) {
		if (strcmp(text, words[i]) == 0) {
			*ret = i % 2;
			return 0;
		}
	}
	return conf_error(c, s, key, e, "'%s' is neither yes nor no", text);
}

int conf_get_choice(const struct conf *c, const struct conf_section *s, const char *key,
	const char *const *choices, unsigned *ret_index, struct err *e)
{
	const char *text = conf_get(c, s, key);
	char list[128] = "";
	size_t n = 0;

	if (!text)
		return 0;
	for (unsigned i = 0; choices[i]; i++) {
		if (strcmp(text, choices[i]) == 0) {
			*ret_index = i;
			return 0;
		}
		if (n < sizeof(list))
			n += (size_t)snprintf(
				list + n, sizeof(list) - n, "%s%s", i ? ", " : "", choices[i]);
	}
	return conf_error(c, s, key, e, "'%s' is none of: %s", text, list);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one configuration parser: `key = value` lines in `[section]` or `[section name]`; `#` starts
 * a comment at the beginning of a line or after white space. Every program describes its keys in a
 * const table; an unknown section or key, a missing required key, a repeated key or a value out of
 * range is an error that names file, line and reason. Sections that may repeat (`[peer site-b]`)
 * appear as separate struct conf_section, in the file's order.
 *
 * The parsed file owns all its strings until conf_free(). Not thread-safe; used at start only.
 */
#ifndef JOURNAL_CONF_H
#define JOURNAL_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "check.h"

struct conf_key {
	const char *section;
	const char *key;
	bool required; /* in each occurrence of its section */
};

struct conf_section {
	const char *kind; /* "peer" of "[peer site-b]" */
	const char *name; /* "site-b", or "" */
	unsigned line;
	struct conf_section *next;
};

struct conf;

/*
 * Parses the file against a table of nkeys keys. Sections whose kind is in no row are errors.
 * `required` sections: a section with a required key must occur at least once. With nkeys 0 the file is
 * another program's: any section and key is taken as it is. 0, or -errno with
 * e->msg "file:line: reason". On success the caller frees *ret_conf with conf_free().
 */
int conf_load(const char *path, const struct conf_key *keys, unsigned nkeys, struct conf **ret_conf,
	struct err *e);
/* The same from memory; `name` stands for the file in messages. */
int conf_parse(const char *name, const char *text, const struct conf_key *keys, unsigned nkeys,
	struct conf **ret_conf, struct err *e);
void conf_free(struct conf *c);

/* The first section of the kind, or NULL; walk on with ->next until the kind differs: use
 * conf_next_section() for that. */
const struct conf_section *conf_section(const struct conf *c, const char *kind);
const struct conf_section *conf_next_section(const struct conf *c, const struct conf_section *s);

/* The value, or NULL when the key is absent from that section. */
const char *conf_get(const struct conf *c, const struct conf_section *s, const char *key);
/* Typed forms: leave *ret untouched and return 0 when the key is absent; -EINVAL with
 * "file:line: key: reason" when the value is wrong. Sizes take K, M, G, T (and Ki, Mi, Gi, Ti), all
 * powers of 1024; durations take ms, s, m, h and are returned in nanoseconds. Bools: yes, no, true,
 * false, on, off. A choice returns the index into the NULL-terminated array. min and max are
 * inclusive. */
int conf_get_size(const struct conf *c, const struct conf_section *s, const char *key, uint64_t min,
	uint64_t max, uint64_t *ret, struct err *e);
int conf_get_uint(const struct conf *c, const struct conf_section *s, const char *key, uint64_t min,
	uint64_t max, uint64_t *ret, struct err *e);
int conf_get_duration(const struct conf *c, const struct conf_section *s, const char *key,
	uint64_t min_ns, uint64_t max_ns, uint64_t *ret_ns, struct err *e);
int conf_get_bool(const struct conf *c, const struct conf_section *s, const char *key, bool *ret,
	struct err *e);
int conf_get_choice(const struct conf *c, const struct conf_section *s, const char *key,
	const char *const *choices, unsigned *ret_index, struct err *e);
/*
 * Text with a form, into ret[size]; an absent key leaves it untouched, and errors are as above.
 *   path      absolute, not the root directory, no "." and ".." parts; doubled slashes and those at the end
 *             are dropped, so that it can be compared with what the kernel says
 *   readable  a path to what can be read now
 *   address   HOST:PORT; an IPv6 address stands in brackets
 *   node      the name of a node, as hosts and Kubernetes have it: letters, digits, '.', '-' and '_', a letter
 *             or digit first; at most NODE_NAME_MAX bytes
 */
int conf_get_path(const struct conf *c, const struct conf_section *s, const char *key, char *ret,
	size_t size, struct err *e);
int conf_get_readable(const struct conf *c, const struct conf_section *s, const char *key,
	char *ret, size_t size, struct err *e);
int conf_get_address(const struct conf *c, const struct conf_section *s, const char *key, char *ret,
	size_t size, struct err *e);
int conf_get_node(const struct conf *c, const struct conf_section *s, const char *key, char *ret,
	size_t size, struct err *e);
/* Is it the name of a node? */
bool conf_is_node(const char *text);
/*
 * A list of addresses with commas between them, at most max, none twice; absent, *ret_n is left untouched. Each
 * of `ret` has CONF_ADDRESS_SIZE bytes.
 */
#define CONF_ADDRESS_SIZE 256
int conf_get_addresses(const struct conf *c, const struct conf_section *s, const char *key,
	char (*ret)[CONF_ADDRESS_SIZE], unsigned max, unsigned *ret_n, struct err *e);
/* The name of a volume or a domain, which becomes part of file names: a-z, 0-9, '-' and '_', a letter or
 * digit first. `text` is the value of the key, or the section's name (key NULL). */
int conf_take_name(const struct conf *c, const struct conf_section *s, const char *key,
	const char *text, char *ret, size_t size, struct err *e);
/* "file:line" of a key (or of its section when absent), for the caller's own messages. */
int conf_error(const struct conf *c, const struct conf_section *s, const char *key, struct err *e,
	const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* The size syntax by itself, for command lines. 0 or -EINVAL. */
int conf_parse_size(const char *text, uint64_t *ret);

#endif

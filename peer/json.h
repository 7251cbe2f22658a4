/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON values for the control protocol and `-o json`; the only owner of json-c. Objects keep the
 * order of insertion. Setters take ownership of child values. Getters never fail: an absent or
 * differently typed member reads as the default. Not thread-safe.
 */
#ifndef PEER_JSON_H
#define PEER_JSON_H

#include <stdbool.h>
#include <stdint.h>

#include "check.h"

struct json;

struct json *json_object(void);
struct json *json_array(void);
void json_free(struct json *j);

void json_set(struct json *obj, const char *key, struct json *value); /* takes value */
void json_set_string(struct json *obj, const char *key, const char *value); /* NULL: JSON null */
void json_set_int(struct json *obj, const char *key, int64_t value);
void json_set_double(struct json *obj, const char *key, double value);
void json_set_bool(struct json *obj, const char *key, bool value);
void json_append(struct json *arr, struct json *value); /* takes value */
void json_append_string(struct json *arr, const char *value);

/* Borrowed from the parent; NULL when absent. Getters accept NULL objects. */
struct json *json_get(const struct json *obj, const char *key);
const char *json_get_string(const struct json *obj, const char *key, const char *dflt);
int64_t json_get_int(const struct json *obj, const char *key, int64_t dflt);
double json_get_double(const struct json *obj, const char *key, double dflt);
bool json_get_bool(const struct json *obj, const char *key, bool dflt);
bool json_is_object(const struct json *j);
unsigned json_length(const struct json *arr);
struct json *json_at(const struct json *arr, unsigned i);
const char *json_string_at(const struct json *arr, unsigned i, const char *dflt);
bool json_has_string(const struct json *arr, const char *text); /* as one of its elements */

/* Removes a member; one that is not there is no matter. */
void json_remove(struct json *obj, const char *key);
/* A copy of all of it, to be freed. NULL gives NULL. */
struct json *json_copy(const struct json *j);
/* The same text, numbers and structure; the order of members does not count. */
bool json_equal(const struct json *a, const struct json *b);
/* The same for values that are equal; FNV-1a over their text. */
uint64_t json_hash(const struct json *j);

/* The members of an object in their order, borrowed:
 *	for (bool ok = json_first(obj, &m); ok; ok = json_next(&m)). No member may be removed meanwhile. */
struct json_member {
	const char *key;
	struct json *value;
	void *entry;
};
bool json_first(const struct json *obj, struct json_member *ret);
bool json_next(struct json_member *m);

/* Borrowed until the value changes or is freed. It is made in the value: one thread at a time, also for what is const. */
const char *json_text(const struct json *j, bool pretty);
/* A whole text; depth at most 64. 0, or -EBADMSG with the reason. */
int json_parse(const char *text, size_t len, struct json **ret_j, struct err *e);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON values; the only owner of json-c. A struct json is one of its objects under another name. JSON's
 * null is a NULL pointer there, and so reads like an absent member here, which is what the callers
 * want. Running out of memory ends the process: recovery is the way back, and the agent's and the
 * CLI's values are small.
 *
 * Parsing is strict (no comments, valid UTF-8, nothing behind the value), because what comes in here
 * comes from a socket.
 */
#include "json.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#define json_object json_c_object /* their type has the name of our function */
#include <json-c/json.h>
#undef json_object

#define DEPTH_MAX 64 /* lists of custom objects with pod templates in them come near half of it */

static struct json_c_object *object_of(const struct json *j)
{
	return (struct json_c_object *)j;
}

static struct json *json_of(struct json_c_object *o)
{
	return (struct json *)o;
}

/* A new value; NULL only when memory ran out. */
static struct json_c_object *made(struct json_c_object *o)
{
	ensure(o);
	return o;
}

struct json *json_object(void)
{
	return json_of(made(json_object_new_object()));
}

struct json *json_array(void)
{
	return json_of(made(json_object_new_array()));
}

void json_free(struct json *j)
{
	if (j)
		json_object_put(object_of(j));
}

void json_set(struct json *obj, const char *key, struct json *value)
{
	ensure(json_object_object_add(object_of(obj), key, object_of(value)) == 0);
}

void json_set_string(struct json *obj, const char *key, const char *value)
{
	json_set(obj, key, value ? json_of(made(json_object_new_string(value))) : NULL);
}

void json_set_int(struct json *obj, const char *key, int64_t value)
{
	json_set(obj, key, json_of(made(json_object_new_int64(value))));
}

void json_set_double(struct json *obj, const char *key, double value)
{
	struct json_c_object *o = NULL;

	if (isfinite(value)) { /* JSON has no word for the others */
		o = made(json_object_new_double(value));
		json_object_set_serializer(
			o, json_object_double_to_json_string, (void *)"%.9g", NULL);
	}
	json_set(obj, key, json_of(o));
}

void json_set_bool(struct json *obj, const char *key, bool value)
{
	json_set(obj, key, json_of(made(json_object_new_boolean(value))));
}

void json_append(struct json *arr, struct json *value)
{
	ensure(json_object_array_add(object_of(arr), object_of(value)) == 0);
}

void json_append_string(struct json *arr, const char *value)
{
	json_append(arr, json_of(made(json_object_new_string(value))));
}

struct json *json_get(const struct json *obj, const char *key)
{
	struct json_c_object *value;

	if (!json_object_is_type(object_of(obj), json_type_object) ||
		!json_object_object_get_ex(object_of(obj), key, &value))
		return NULL;
	return json_of(value);
}

static const char *string_of(struct json_c_object *o, const char *dflt)
{
	return json_object_is_type(o, json_type_string) ? json_object_get_string(o) : dflt;
}

const char *json_get_string(const struct json *obj, const char *key, const char *dflt)
{
	return string_of(object_of(json_get(obj, key)), dflt);
}

int64_t json_get_int(const struct json *obj, const char *key, int64_t dflt)
{
	struct json_c_object *o = object_of(json_get(obj, key));

	return json_object_is_type(o, json_type_int) ? json_object_get_int64(o) : dflt;
}

double json_get_double(const struct json *obj, const char *key, double dflt)
{
	struct json_c_object *o = object_of(json_get(obj, key));

	if (!json_object_is_type(o, json_type_double) && !json_object_is_type(o, json_type_int))
		return dflt;
	return json_object_get_double(o);
}

bool json_get_bool(const struct json *obj, const char *key, bool dflt)
{
	struct json_c_object *o = object_of(json_get(obj, key));

	return json_object_is_type(o, json_type_boolean) ? json_object_get_boolean(o) : dflt;
}

bool json_is_object(const struct json *j)
{
	return json_object_is_type(object_of(j), json_type_object);
}

unsigned json_length(const struct json *arr)
{
	if (!json_object_is_type(object_of(arr), json_type_array))
		return 0;
	return (unsigned)json_object_array_length(object_of(arr));
}

struct json *json_at(const struct json *arr, unsigned i)
{
	return i < json_length(arr) ? json_of(json_object_array_get_idx(object_of(arr), i)) : NULL;
}

const char *json_string_at(const struct json *arr, unsigned i, const char *dflt)
{
	return string_of(object_of(json_at(arr, i)), dflt);
}

bool json_has_string(const struct json *arr, const char *text)
{
	for (unsigned i = 0; i < json_length(arr); i++)
		if (!strcmp(json_string_at(arr, i, ""), text))
			return true;
	return false;
}

void json_remove(struct json *obj, const char *key)
{
	if (json_object_is_type(object_of(obj), json_type_object))
		json_object_object_del(object_of(obj), key);
}

struct json *json_copy(const struct json *j)
{
	struct json_c_object *copy = NULL;

	if (j)
		ensure(json_object_deep_copy(object_of(j), &copy, NULL) == 0);
	return json_of(copy);
}

bool json_equal(const struct json *a, const struct json *b)
{
	return json_object_equal(object_of(a), object_of(b)) == 1;
}

static uint64_t fnv1a(uint64_t h, const void *bytes, size_t n)
{
	const uint8_t *p = bytes;

	while (n--)
		h = (h ^ *p++) * 0x100000001b3u;
	return h;
}

uint64_t json_hash(const struct json *j)
{
	struct json_c_object *o = object_of(j);
	int type = json_object_get_type(o);
	uint64_t h = fnv1a(0xcbf29ce484222325u, &type, sizeof(type)), part;
	struct json_member m;
	const char *text;

	switch (type) {
	case json_type_object: {
		uint64_t sum = 0; /* of the members, so that their order does not count */

		for (bool ok = json_first(j, &m); ok; ok = json_next(&m)) {
			part = json_hash(m.value);
			sum += fnv1a(fnv1a(h, m.key, strlen(m.key)), &part, sizeof(part));
		}
		return fnv1a(h, &sum, sizeof(sum));
	}
	case json_type_array:
		for (unsigned i = 0; i < json_length(j); i++) {
			part = json_hash(json_at(j, i));
			h = fnv1a(h, &part, sizeof(part));
		}
		return h;
	case json_type_string:
		return fnv1a(h, json_object_get_string(o), (size_t)json_object_get_string_len(o));
	default:
		text = json_text(j, false);
		return fnv1a(h, text, strlen(text));
	}
}

static bool member_of(struct lh_entry *e, struct json_member *ret)
{
	if (!e)
		return false;
	ret->entry = e;
	ret->key = lh_entry_k(e);
	ret->value = lh_entry_v(e);
	return true;
}

bool json_first(const struct json *obj, struct json_member *ret)
{
	if (!json_object_is_type(object_of(obj), json_type_object))
		return false;
	return member_of(json_object_get_object(object_of(obj))->head, ret);
}

bool json_next(struct json_member *m)
{
	return member_of(lh_entry_next((struct lh_entry *)m->entry), m);
}

const char *json_text(const struct json *j, bool pretty)
{
	const char *text = json_object_to_json_string_ext(
		object_of(j), JSON_C_TO_STRING_NOSLASHESCAPE |
				      (pretty ? JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED
					      : JSON_C_TO_STRING_PLAIN));

	ensure(text);
	return text;
}

int json_parse(const char *text, size_t len, struct json **ret_j, struct err *e)
{
	struct json_tokener *tok = json_tokener_new_ex(DEPTH_MAX);
	struct json_c_object *o;
	enum json_tokener_error error;

	ensure(tok);
	while (len && memchr(" \t\r\n", text[len - 1], 4))
		len--;
	if (!len || len > INT32_MAX) {
		json_tokener_free(tok);
		return err_set(e, -EBADMSG, "no JSON: %s", len ? "too long" : "empty");
	}
	json_tokener_set_flags(tok, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	o = json_tokener_parse_ex(tok, text, (int)len);
	error = json_tokener_get_error(tok);
	if (error == json_tokener_continue) { /* a number ends only with what follows it */
		o = json_tokener_parse_ex(tok, "", 1);
		error = json_tokener_get_error(tok);
	} else if (error == json_tokener_success && json_tokener_get_parse_end(tok) != len) {
		error = json_tokener_error_parse_unexpected;
	}
	if (error != json_tokener_success || !o) {
		err_set(e, -EBADMSG, "no JSON: %s",
			error == json_tokener_success	 ? "null"
			: error == json_tokener_continue ? "it ends too early"
							 : json_tokener_error_desc(error));
		json_object_put(o);
		json_tokener_free(tok);
		return -EBADMSG;
	}
	json_tokener_free(tok);
	*ret_j = json_of(o);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* JSON values: what goes in comes out, and what is no JSON does not come in. */
#include <criterion/criterion.h>
#include <errno.h>
#include <math.h>
#include <string.h>

#include "json.h"

static struct json *parse(const char *text)
{
	struct json *j;
	struct err e;

	return json_parse(text, strlen(text), &j, &e) == 0 ? j : NULL;
}

Test(json, an_object_keeps_the_order_of_its_members)
{
	struct json *j = json_object(), *a = json_array(), *o = json_object();

	json_set_string(j, "text", "a\"b\\c\n/");
	json_set_int(j, "n", INT64_MIN);
	json_set_double(j, "f", 0.1);
	json_set_bool(j, "b", true);
	json_set_string(j, "null", NULL);
	json_set_double(j, "nan", NAN);
	json_append_string(a, "x");
	json_set_int(o, "k", 1);
	json_append(a, o);
	json_set(j, "a", a);
	cr_assert_str_eq(json_text(j, false),
		"{\"text\":\"a\\\"b\\\\c\\n/\",\"n\":-9223372036854775808,\"f\":0.1,\"b\":true,"
		"\"null\":null,\"nan\":null,\"a\":[\"x\",{\"k\":1}]}");
	json_free(j);
}

Test(json, getters_read_what_is_there_and_default_for_the_rest)
{
	struct json *j =
		parse("{\"s\":\"v\",\"i\":7,\"d\":2.5,\"b\":true,\"z\":null,\"a\":[1,\"two\"],"
		      "\"o\":{\"s\":\"in\"}}");

	cr_assert(j);
	cr_assert_str_eq(json_get_string(j, "s", "?"), "v");
	cr_assert_str_eq(json_get_string(j, "i", "?"), "?");
	cr_assert_str_eq(json_get_string(j, "z", "?"), "?");
	cr_assert_str_eq(json_get_string(j, "nope", "?"), "?");
	cr_assert_eq(json_get_int(j, "i", -1), 7);
	cr_assert_eq(json_get_int(j, "s", -1), -1);
	cr_assert_eq(json_get_int(j, "d", -1), -1);
	cr_assert_float_eq(json_get_double(j, "d", -1), 2.5, 1e-9);
	cr_assert_float_eq(json_get_double(j, "i", -1), 7, 1e-9);
	cr_assert(json_get_bool(j, "b", false));
	cr_assert(json_get_bool(j, "i", true));
	cr_assert_str_eq(json_get_string(json_get(j, "o"), "s", "?"), "in");
	cr_assert_eq(json_length(json_get(j, "a")), 2);
	cr_assert_str_eq(json_string_at(json_get(j, "a"), 1, "?"), "two");
	cr_assert_str_eq(json_string_at(json_get(j, "a"), 0, "?"), "?");
	cr_assert_str_eq(json_string_at(json_get(j, "a"), 2, "?"), "?");
	cr_assert(json_has_string(json_get(j, "a"), "two"));
	cr_assert_not(json_has_string(json_get(j, "a"), "three"));
	cr_assert_not(json_has_string(NULL, "two"));
	cr_assert_eq(json_length(j), 0);
	cr_assert_null(json_get(NULL, "s"));
	cr_assert_eq(json_length(NULL), 0);
	cr_assert_str_eq(json_get_string(NULL, "s", "?"), "?");
	cr_assert_null(json_at(NULL, 0));
	cr_assert_null(json_get(json_get(j, "a"), "s"));
	json_free(j);
}

Test(json, what_is_no_json_is_refused)
{
	static const char *const bad[] = {"", "   ", "{", "}", "{\"a\":}", "{\"a\":1,}",
		"{\"a\":'x'}", "{\"a\":1} x", "{\"a\":1}{}", "nul", "null", "[1,2", "\"open",
		"{\"a\":\"\xff\"}", "{\"a\":1}/*c*/", "01", "nan"};
	struct err e;
	struct json *j;

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		e.msg[0] = '\0';
		cr_assert_eq(json_parse(bad[i], strlen(bad[i]), &j, &e), -EBADMSG, "'%s'", bad[i]);
		cr_assert(e.msg[0]);
	}
	cr_assert_eq(json_parse("{\"a\":1}\0x", 9, &j, &e), -EBADMSG, "a zero byte inside");
}

Test(json, scalars_and_surrounding_space_are_accepted)
{
	static const char *const good[] = {
		"1", "-2.5e3", "true", "\"x\"", " {} ", "[]\r\n", "\t[1]"};

	for (unsigned i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		struct json *j = parse(good[i]);

		cr_assert(j, "'%s'", good[i]);
		json_free(j);
	}
}

Test(json, only_the_given_length_is_read)
{
	struct json *j;
	struct err e;

	cr_assert_eq(json_parse("{\"a\":1}garbage", 7, &j, &e), 0);
	json_free(j);
}

Test(json, depth_is_limited)
{
	char text[400];

	memset(text, '[', 200);
	memset(text + 200, ']', 200);
	struct json *j;
	struct err e;

	cr_assert_eq(json_parse(text + 140, 120, &j, &e), 0);
	json_free(j);
	cr_assert_eq(json_parse(text + 130, 140, &j, &e), -EBADMSG);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzzes conf_parse() and the typed getters: they say 0 or an error with a message, never more. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct conf_key keys[] = {
	{"a", "k", false},
	{"a", "size", false},
	{"a", "time", false},
	{"b", "need", true},
	{"b", "k", false},
};

static void get_texts(const struct conf *c, const struct conf_section *s, const char *key)
{
	char text[64] = "?";
	struct err e;
	int ret = conf_get_path(c, s, key, text, sizeof(text), &e);

	ensure(ret <= 0 && (text[0] == '/' ? ret == 0 && text[1] : text[0] == '?'));
	ret = conf_get_address(c, s, key, text, sizeof(text), &e);
	ensure(ret <= 0);
	ret = conf_take_name(c, s, NULL, s->name, text, sizeof(text), &e);
	ensure(ret == 0 ? strcmp(text, s->name) == 0 : ret == -EINVAL && e.msg[0]);
}

static void get_all(const struct conf *c, const char *kind)
{
	static const char *const choices[] = {"one", "two", NULL};

	for (const struct conf_section *s = conf_section(c, kind); s; s = conf_next_section(c, s)) {
		for (unsigned i = 0; i < ARRAY_SIZE(keys); i++) {
			const char *key = keys[i].key;
			uint64_t v = 7;
			unsigned choice = 0;
			bool b;
			struct err e;
			int ret;

			ensure(strcmp(s->kind, kind) == 0 && s->line > 0);
			if (strcmp(keys[i].section, kind) == 0 && keys[i].required)
				ensure(conf_get(c, s, key));
			ret = conf_get_size(c, s, key, 5, 1 << 20, &v, &e);
			ensure(ret == 0 ? v >= 5 && v <= 1 << 20
					: ret == -EINVAL && v == 7 && e.msg[0]);
			v = 7;
			ret = conf_get_duration(c, s, key, 5, 1ull << 40, &v, &e);
			ensure(ret == 0 ? v >= 5 && v <= 1ull << 40 : ret == -EINVAL && v == 7);
			v = 7;
			ret = conf_get_uint(c, s, key, 5, 100, &v, &e);
			ensure(ret == 0 ? v >= 5 && v <= 100 : ret == -EINVAL && v == 7);
			ensure(conf_get_bool(c, s, key, &b, &e) <= 0);
			ret = conf_get_choice(c, s, key, choices, &choice, &e);
			ensure(choice <= 1 && ret <= 0);
			get_texts(c, s, key);
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct conf *c = NULL;
	struct err e = {0};
	char *text = malloc(size + 1);

	ensure(text);
	memcpy(text, data, size);
	text[size] = '\0';
	if (conf_parse("f", text, keys, ARRAY_SIZE(keys), &c, &e) == 0) {
		get_all(c, "a");
		get_all(c, "b");
		conf_free(c);
	} else {
		ensure(!c && e.code < 0 && e.msg[0] == 'f');
	}
	free(text);
	return 0;
}

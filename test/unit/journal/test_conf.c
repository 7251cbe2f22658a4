/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration parser: what it takes, and that every error names its line. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "conf.h"

static const struct conf_key keys[] = {
	{"volume", "name", true},
	{"volume", "size", false},
	{"volume", "ack", false},
	{"volume", "wait", false},
	{"volume", "port", false},
	{"volume", "tls", false},
	{"peer", "address", true},
};

static struct conf *parse(const char *text)
{
	struct conf *c = NULL;
	struct err e = {0};

	cr_assert(
		zero(int, conf_parse("f.conf", text, keys, ARRAY_SIZE(keys), &c, &e)), "%s", e.msg);
	return c;
}

static void refuse(const char *text, const char *message)
{
	struct conf *c = NULL;
	struct err e = {0};

	cr_assert(eq(int, conf_parse("f.conf", text, keys, ARRAY_SIZE(keys), &c, &e), -EINVAL),
		"%s", text);
	cr_assert(zero(ptr, c));
	cr_assert(eq(str, e.msg, (char *)message));
}

#define PEER "[peer a]\naddress=x\n"

Test(conf, sections_values_and_comments_are_read)
{
	struct conf *c =
		parse("# first\n\n[volume]  # the volume\n\tname =  my db # not this\r\n"
		      "size=64G\n[peer site-a]\naddress = a#b\n[peer site-b]\naddress=[::1]:7");
	const struct conf_section *v = conf_section(c, "volume"), *p = conf_section(c, "peer");

	cr_assert(eq(str, (char *)conf_get(c, v, "name"), "my db"));
	cr_assert(eq(str, (char *)v->name, ""));
	cr_assert(eq(uint, v->line, 3));
	cr_assert(zero(ptr, (void *)conf_get(c, v, "ack")));
	cr_assert(eq(str, (char *)p->name, "site-a"));
	cr_assert(eq(str, (char *)conf_get(c, p, "address"), "a#b"));
	p = conf_next_section(c, p);
	cr_assert(eq(str, (char *)p->name, "site-b"));
	cr_assert(eq(str, (char *)conf_get(c, p, "address"), "[::1]:7"));
	cr_assert(zero(ptr, (void *)conf_next_section(c, p)));
	cr_assert(zero(ptr, (void *)conf_section(c, "nothing")));
	conf_free(c);
}

Test(conf, errors_name_file_line_and_reason)
{
	refuse("name = x\n", "f.conf:1: key 'name' is before the first section");
	refuse("[volume]\nnam = x\n", "f.conf:2: unknown key 'nam' in section [volume]");
	refuse("\n[volum]\n", "f.conf:2: unknown section 'volum'");
	refuse("[volume\n", "f.conf:1: a section's line must end with ']'");
	refuse("[volume]\nname\n", "f.conf:2: neither 'key = value' nor '[section]'");
	refuse("[volume]\n= x\n", "f.conf:2: what is before '=' is no key");
	refuse("[volume]\nname = # x\n", "f.conf:2: name: the value is missing");
	refuse("[volume]\nname = a\n\nname = b\n", "f.conf:4: name: is there already, in line 2");
	refuse(PEER PEER, "f.conf:3: section [peer a] is there already, in line 1");
	refuse(PEER "[volume]\nsize = 1G\n", "f.conf:3: key 'name' is missing in section [volume]");
	refuse("[volume]\nname = a\n[peer b]\n",
		"f.conf:3: key 'address' is missing in section [peer b]");
	refuse(PEER, "f.conf:3: section [volume] is missing");
	refuse("[]\n", "f.conf:1: a section is written [kind] or [kind name], of letters, digits, "
		       "'-', '_' "
		       "and '.'");
}

static int get_size(const char *value, uint64_t *ret, struct err *e)
{
	char text[128];
	struct conf *c;
	int res;

	snprintf(text, sizeof(text), PEER "[volume]\nname=x\nsize = %s\n", value);
	c = parse(text);
	res = conf_get_size(c, conf_section(c, "volume"), "size", 1024, 1ull << 40, ret, e);
	conf_free(c);
	return res;
}

Test(conf, sizes_take_units_of_1024_within_their_bounds)
{
	struct err e;
	uint64_t v = 7;

	cr_assert(zero(int, get_size("2048", &v, &e)));
	cr_assert(eq(u64, v, 2048));
	cr_assert(zero(int, get_size("3K", &v, &e)));
	cr_assert(eq(u64, v, 3072));
	cr_assert(zero(int, get_size("512Mi", &v, &e)));
	cr_assert(eq(u64, v, 512ull << 20));
	cr_assert(zero(int, get_size("1T", &v, &e)));
	cr_assert(eq(u64, v, 1ull << 40));
	cr_assert(eq(int, get_size("1023", &v, &e), -EINVAL));
	cr_assert(eq(str, e.msg, "f.conf:5: size: 1023 is not between 1K and 1T"));
	cr_assert(eq(int, get_size("2T", &v, &e), -EINVAL));
	cr_assert(eq(u64, v, 1ull << 40));
	for (const char *const *bad = (const char *const[]){"x", "1X", "1KK", "-1", "1.5G", "1 G",
		     "K", "99999999999999999999", "99999999999T", "1iK", NULL};
		*bad; bad++) {
		cr_assert(eq(int, get_size(*bad, &v, &e), -EINVAL), "%s", *bad);
		cr_assert(not(zero(ptr, strstr(e.msg, "f.conf:5: size: "))), "%s", e.msg);
	}
}

Test(conf, durations_numbers_bools_and_choices_are_checked)
{
	static const char *const acks[] = {"op", "fsync", "async", NULL};
	struct conf *c =
		parse(PEER "[volume]\nname=x\nack = fsync\nwait = 1500ms\nport = 7000\ntls=on\n");
	const struct conf_section *v = conf_section(c, "volume");
	uint64_t n = 1;
	unsigned choice = 9;
	bool b = false;
	struct err e;

	cr_assert(zero(int, conf_get_duration(c, v, "wait", 0, NS_PER_S * 10, &n, &e)));
	cr_assert(eq(u64, n, 1500 * NS_PER_MS));
	cr_assert(eq(int, conf_get_duration(c, v, "wait", 0, NS_PER_S, &n, &e), -EINVAL));
	cr_assert(eq(str, e.msg, "f.conf:6: wait: 1500ms is not between 0ms and 1000ms"));
	cr_assert(zero(int, conf_get_uint(c, v, "port", 1, 65535, &n, &e)));
	cr_assert(eq(u64, n, 7000));
	cr_assert(eq(int, conf_get_uint(c, v, "port", 1, 6999, &n, &e), -EINVAL));
	cr_assert(zero(int, conf_get_bool(c, v, "tls", &b, &e)));
	cr_assert(b);
	cr_assert(eq(int, conf_get_bool(c, v, "port", &b, &e), -EINVAL));
	cr_assert(eq(str, e.msg, "f.conf:7: port: '7000' is neither yes nor no"));
	cr_assert(zero(int, conf_get_choice(c, v, "ack", acks, &choice, &e)));
	cr_assert(eq(uint, choice, 1));
	cr_assert(eq(int, conf_get_choice(c, v, "name", acks, &choice, &e), -EINVAL));
	cr_assert(eq(str, e.msg, "f.conf:4: name: 'x' is none of: op, fsync, async"));
	/* Absent: nothing happens. */
	n = 5;
	cr_assert(zero(int, conf_get_size(c, v, "size", 1, 2, &n, &e)));
	cr_assert(zero(int, conf_get_size(c, NULL, "size", 1, 2, &n, &e)));
	cr_assert(eq(u64, n, 5));
	conf_error(c, v, "size", &e, "is needed with %s", "tls");
	cr_assert(eq(str, e.msg, "f.conf:3: size: is needed with tls"));
	conf_free(c);
}

Test(conf, a_path_that_is_refused_leaves_what_was_there)
{
	static const struct {
		const char *text, *path, *message;
	} cases[] = {
		{"/a//b/c//", "/a/b/c", NULL},
		{"/..a/.b/c.", "/..a/.b/c.", NULL},
		{"/a/ /.", NULL, "f.conf:4: name: '/a/ /.' has a '.' or '..' part"},
		{"/a/../b", NULL, "f.conf:4: name: '/a/../b' has a '.' or '..' part"},
		{"///", NULL, "f.conf:4: name: must not be the root directory"},
		{"a", NULL, "f.conf:4: name: 'a' is no absolute path (it must begin with '/')"},
		{"/0123456789abcdef", NULL, "f.conf:4: name: the path is longer than 15 bytes"},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		char config[128], path[16] = "as it was";
		struct err e = {0};
		struct conf *c;
		int ret;

		snprintf(config, sizeof(config), PEER "[volume]\nname = %s\n", cases[i].text);
		c = parse(config);
		ret = conf_get_path(c, conf_section(c, "volume"), "name", path, sizeof(path), &e);
		cr_assert(eq(int, ret, cases[i].path ? 0 : -EINVAL));
		cr_assert(eq(str, path, (char *)(cases[i].path ? cases[i].path : "as it was")));
		if (cases[i].message)
			cr_assert(eq(str, e.msg, (char *)cases[i].message));
		conf_free(c);
	}
}

Test(conf, a_file_that_is_missing_or_not_text_is_refused)
{
	static const char good[] = PEER "[volume]\nname=x\n";
	char path[] = "/tmp/tandemfs-conf-XXXXXX";
	int fd = mkstemp(path);
	struct conf *c = NULL;
	struct err e;

	cr_assert(
		eq(int, conf_load("/nonexistent/x.conf", keys, ARRAY_SIZE(keys), &c, &e), -ENOENT));
	cr_assert(eq(str, e.msg, "cannot open '/nonexistent/x.conf': No such file or directory"));
	cr_assert(eq(int, (int)write(fd, good, sizeof(good) - 1), (int)sizeof(good) - 1));
	cr_expect(zero(int, conf_load(path, keys, ARRAY_SIZE(keys), &c, &e)), "%s", e.msg);
	conf_free(c);
	cr_assert(eq(int, (int)write(fd, "\0", 1), 1));
	cr_expect(eq(int, conf_load(path, keys, ARRAY_SIZE(keys), &c, &e), -EINVAL));
	close(fd);
	unlink(path);
}

Test(conf, without_a_table_any_section_and_key_is_taken_and_the_syntax_still_checked)
{
	struct conf *c = NULL;
	struct err e = {0};
	char name[8] = "";

	cr_assert(zero(int, conf_parse(
				    "f", "[what]\never = it\n[x y]\nname = db\n", NULL, 0, &c, &e)),
		"%s", e.msg);
	cr_assert(zero(
		int, conf_take_name(c, conf_section(c, "x"), "name",
			     conf_get(c, conf_section(c, "x"), "name"), name, sizeof(name), &e)));
	cr_assert(eq(str, name, "db"));
	conf_free(c);
	cr_assert(eq(int, conf_parse("f", "[what]\never\n", NULL, 0, &c, &e), -EINVAL));
	cr_assert(eq(int, conf_parse("f", "key = 1\n", NULL, 0, &c, &e), -EINVAL));
}

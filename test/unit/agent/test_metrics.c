/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The metrics are read by a parser that takes nothing but the text format: a family's HELP and TYPE once
 * and first, its samples together, no sample twice, names and labels of the allowed letters, every value a
 * number, the last line ended.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "metrics.h"

#define LINES_MAX 2048

static char *text;
static char *lines[LINES_MAX];
static unsigned nlines;
static struct expiry expiry; /* nothing is known of it, unless a test says so */

#define NAME "abcdefghijklmnopqrstuvwxyz_"
#define NAME_MORE NAME "0123456789"

/* The length of a name, 0 when there is none. */
static size_t name_length(const char *s)
{
	return strspn(s, NAME) ? strspn(s, NAME_MORE) : 0;
}

/* Walks over {a="b",c="d"}; NULL when it is not that. */
static const char *skip_labels(const char *s)
{
	do {
		size_t n = name_length(++s);

		if (!n || s[n] != '=' || s[n + 1] != '"')
			return NULL;
		for (s += n + 2; *s && *s != '"'; s++) {
			if (*s == '\\' && !strchr("\\\"n", *++s))
				return NULL;
		}
		if (*s++ != '"')
			return NULL;
	} while (*s == ',');
	return *s == '}' ? s + 1 : NULL;
}

static void check_sample(const char *line, const char *family, const char *type)
{
	size_t n = name_length(line);
	const char *at = line + n;
	char *end;

	cr_assert(n == strlen(family) && !strncmp(line, family, n), "'%s' in family '%s'", line,
		family);
	cr_assert((strcmp(type, "counter") == 0) == (n > 6 && !strncmp(line + n - 6, "_total", 6)),
		"'%s' is a %s", line, type);
	if (*at == '{')
		at = skip_labels(at);
	cr_assert(at && *at == ' ', "labels of '%s'", line);
	strtod(at + 1, &end);
	cr_assert(end > at + 1 && !*end, "value of '%s'", line);
	for (unsigned i = 0; i < nlines; i++)
		cr_assert(lines[i] == line || strncmp(lines[i], line, (size_t)(at - line) + 1) != 0,
			"'%s' twice", line);
}

static void parse(void)
{
	char family[64] = "", type[16] = "", seen[256][64];
	unsigned nseen = 0;

	cr_assert(text[0] && text[strlen(text) - 1] == '\n');
	for (char *p = text, *end; *p; p = end + 1) {
		end = strchr(p, '\n');
		*end = '\0';
		cr_assert(nlines < LINES_MAX);
		lines[nlines++] = p;
	}
	for (unsigned i = 0; i < nlines; i++) {
		char name[64];

		if (lines[i][0] != '#') {
			check_sample(lines[i], family, type);
			continue;
		}
		cr_assert_eq(sscanf(lines[i], "# HELP %63s %*s", family), 1, "%s", lines[i]);
		cr_assert(name_length(family) == strlen(family), "%s", family);
		for (unsigned k = 0; k < nseen; k++)
			cr_assert(strcmp(seen[k], family) != 0, "family %s twice", family);
		strncpy(seen[nseen++], family, sizeof(seen[0]));
		cr_assert(++i < nlines);
		cr_assert_eq(sscanf(lines[i], "# TYPE %63s %15s", name, type), 2, "%s", lines[i]);
		cr_assert_str_eq(name, family);
		cr_assert(!strcmp(type, "gauge") || !strcmp(type, "counter"), "%s", type);
	}
}

static void make(const char *volumes, const char *domain)
{
	struct json *j;
	struct err err;

	cr_assert_eq(json_parse(volumes, strlen(volumes), &j, &err), 0, "%s", err.msg);
	text = metrics_text(j, &expiry, domain, "1");
	json_free(j);
	parse();
}

static void fini(void)
{
	free(text);
}

static bool has(const char *line)
{
	for (unsigned i = 0; i < nlines; i++)
		if (!strcmp(lines[i], line))
			return true;
	return false;
}

TestSuite(metrics, .fini = fini);

#define TWO                                                                                        \
	"[{\"volume\":\"db\",\"supervision\":{\"state\":\"running\",\"starts\":3,\"failures\":0,"  \
	"\"upgrade_pending\":true},\"status\":{\"role\":\"active\",\"mounted\":true,\"epoch\":7,"  \
	"\"in_sync\":[\"site-a\",\"site-b\"],\"waiting_ops\":2,\"seq\":{\"committed\":"            \
	"1234567890123},"                                                                          \
	"\"space\":{\"size\":1073741824,\"full\":false},\"journal\":{\"size\":64,\"free\":32},"    \
	"\"counters\":{\"ops\":12},\"peers\":[{\"domain\":\"site-b\",\"state\":\"in-sync\","       \
	"\"connected\":true,\"rtt_us\":250.5,\"last_heard_s\":null}],"                             \
	"\"latency\":{\"stages\":{\"total\":{\"p50_us\":100,\"p99_us\":2500}}}}},"                 \
	"{\"volume\":\"web\",\"supervision\":{\"state\":\"refused\",\"starts\":1,\"failures\":1,"  \
	"\"upgrade_pending\":false},\"status\":null}]"

Test(metrics, two_volumes_are_told_and_the_format_is_kept)
{
	make(TWO, "site-a");
	cr_assert(has("tandem_up{volume=\"db\",domain=\"site-a\"} 1"));
	cr_assert(has("tandem_up{volume=\"web\",domain=\"site-a\"} 0"));
	cr_assert(has("tandem_active{volume=\"db\",domain=\"site-a\"} 1"));
	cr_assert(has("tandem_daemon_state{volume=\"web\",domain=\"site-a\",state=\"refused\"} 1"));
	cr_assert(has("tandem_daemon_starts_total{volume=\"db\",domain=\"site-a\"} 3"));
	cr_assert(has("tandem_daemon_upgrade_pending{volume=\"db\",domain=\"site-a\"} 1"));
	cr_assert(has("tandem_in_sync_replicas{volume=\"db\",domain=\"site-a\"} 2"));
	cr_assert(has("tandem_committed_seq{volume=\"db\",domain=\"site-a\"} 1234567890123"));
	cr_assert(has("tandem_size_bytes{volume=\"db\",domain=\"site-a\"} 1073741824"));
	cr_assert(has("tandem_full{volume=\"db\",domain=\"site-a\"} 0"));
	cr_assert(has("tandem_operations_total{volume=\"db\",domain=\"site-a\"} 12"));
	cr_assert(has("tandem_peer_connected{volume=\"db\",domain=\"site-a\",peer=\"site-b\"} 1"));
	cr_assert(has("tandem_peer_rtt_seconds{volume=\"db\",domain=\"site-a\",peer=\"site-b\"} "
		      "0.0002505"));
	cr_assert(has("tandem_peer_in_sync{volume=\"db\",domain=\"site-a\",peer=\"site-b\"} 1"));
	cr_assert(has("tandem_split_brain{volume=\"db\",domain=\"site-a\",peer=\"site-b\"} 0"));
	cr_assert(has("tandem_latency_p99_seconds{volume=\"db\",domain=\"site-a\",stage=\"total\"} "
		      "0.0025"));
}

Test(metrics, what_a_daemon_does_not_say_has_no_sample)
{
	make(TWO, "site-a");
	for (unsigned i = 0; i < nlines; i++) {
		cr_assert(!strstr(lines[i], "tandem_peer_last_heard_seconds{"));
		cr_assert(!strstr(lines[i], "tandem_epoch{volume=\"web\""));
	}
}

Test(metrics, certificates_have_a_day_when_they_end)
{
	expiry.own.not_after_s = 1900000000;
	expiry.authority.not_after_s = 2000000001;
	make("[]", "site-a");
	cr_assert(has("tandem_cert_expiry_timestamp_seconds{domain=\"site-a\",which=\"own\"} "
		      "1900000000"));
	cr_assert(has("tandem_cert_expiry_timestamp_seconds{domain=\"site-a\",which=\"ca\"} "
		      "2000000001"));
}

Test(metrics, a_certificate_that_cannot_be_read_has_no_sample)
{
	make("[]", "site-a");
	for (unsigned i = 0; i < nlines; i++)
		cr_assert_null(strstr(lines[i], "tandem_cert_expiry_timestamp_seconds{"));
}

Test(metrics, nothing_is_a_good_text_too)
{
	make("[]", "site-a");
	cr_assert(has("tandem_build_info{version=\"1\",domain=\"site-a\"} 1"));
}

Test(metrics, a_label_cannot_end_itself)
{
	make("[{\"volume\":\"a\\\"} 1\\nb\\\\\",\"supervision\":{\"state\":\"running\"},"
	     "\"status\":null}]",
		"d");
	cr_assert(has("tandem_up{volume=\"a\\\"} 1\\nb\\\\\",domain=\"d\"} 0"));
}

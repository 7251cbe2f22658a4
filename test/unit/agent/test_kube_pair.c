/* SPDX-License-Identifier: Apache-2.0 */
/* What a token says of itself, and what a site may do by its volumes' words. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kube_pair_token.h"
#include "kube_site.h"

static bool read_claims(const char *claims, struct pair_token *ret)
{
	char *payload = kube_base64_of(claims), token[600];
	bool is;

	for (char *p = payload; *p; p++) {
		*p = *p == '+' ? '-' : *p == '/' ? '_' : *p;
		if (*p == '=')
			*p = '\0';
		if (!*p)
			break;
	}
	snprintf(token, sizeof(token), "head.%s.signature", payload);
	is = pair_token_read(token, ret);
	free(payload);
	return is;
}

Test(pair_token, it_tells_whose_it_is_and_when_half_of_its_life_is_over)
{
	struct pair_token t;

	cr_assert(read_claims("{\"sub\":\"system:serviceaccount:blue:mover\",\"iat\":1000,"
			      "\"exp\":2000,\"n\":\"?~?~>>\"}",
		&t));
	cr_assert_str_eq(t.ns, "blue");
	cr_assert_str_eq(t.account, "mover");
	cr_assert_eq(t.ends_s, 2000);
	cr_assert(!pair_token_is_old(&t, 1499));
	cr_assert(pair_token_is_old(&t, 1500));
}

Test(pair_token, what_is_none_or_has_no_end_is_never_old)
{
	static const char *const none[] = {"", "abc", "a.b", "a..c", "a.$$$$.c", "a.QUJD.c"};
	struct pair_token t;

	for (unsigned i = 0; i < ARRAY_SIZE(none); i++) {
		cr_assert(!pair_token_read(none[i], &t), "'%s'", none[i]);
		cr_assert(!pair_token_is_old(&t, 1000));
	}
	cr_assert(!pair_token_read(NULL, &t));
	cr_assert(read_claims("{\"sub\":\"alice\",\"iat\":5}", &t));
	cr_assert_str_eq(t.account, "");
	cr_assert(!pair_token_is_old(&t, 1000));
	cr_assert(read_claims("{\"iat\":9,\"exp\":5}", &t));
	cr_assert_eq(t.ends_s, 0);
}

static enum site_state with(enum site_state before, const char *status)
{
	struct json *j = NULL;
	struct err e = {0};
	enum site_state s;

	cr_assert_eq(json_parse(status, strlen(status), &j, &e), 0, "%s", e.msg);
	s = site_with(before, j, "site-a");
	json_free(j);
	return s;
}

Test(site,
	one_volume_that_calls_the_domain_inactive_is_enough_and_one_that_is_active_beats_standbys)
{
	const char *active = "{\"active_domain\":\"site-a\",\"inactive\":[]}",
		   *standby = "{\"active_domain\":\"site-b\",\"inactive\":[]}",
		   *left = "{\"active_domain\":\"site-b\",\"inactive\":[\"site-a\"]}",
		   *other = "{\"active_domain\":\"site-a\",\"inactive\":[\"site-b\"]}";

	cr_assert_eq(site_with(SITE_UNKNOWN, NULL, "site-a"), SITE_UNKNOWN);
	cr_assert_eq(with(SITE_UNKNOWN, "{}"), SITE_UNKNOWN);
	cr_assert_eq(with(SITE_UNKNOWN, standby), SITE_STANDBY);
	cr_assert_eq(with(SITE_STANDBY, active), SITE_ACTIVE);
	cr_assert_eq(with(SITE_ACTIVE, standby), SITE_ACTIVE);
	cr_assert_eq(with(SITE_ACTIVE, left), SITE_INACTIVE);
	cr_assert_eq(with(SITE_INACTIVE, active), SITE_INACTIVE);
	cr_assert_eq(with(SITE_UNKNOWN, other), SITE_ACTIVE);
	cr_assert_str_eq(site_words(SITE_ACTIVE), "");
	cr_assert_str_eq(site_words(SITE_UNKNOWN), "");
	cr_assert(strstr(site_words(SITE_INACTIVE), "inactive"));
}

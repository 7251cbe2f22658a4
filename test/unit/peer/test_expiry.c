/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates' last days: who is told of what, and when. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "certificate.h"
#include "expiry.h"
#include "scratch.h"

#define DAY 86400LL

static char own[256], authority[256], text[EXPIRY_TEXT_MAX];
static struct expiry x;

static void setup(void)
{
	char *ca, *ca_key, *request, *key, *cert;
	struct err e;

	cr_assert_eq(certificate_make_authority(&ca, &ca_key, &e), 0);
	cr_assert_eq(certificate_make_request(&request, &key, &e), 0);
	cr_assert_eq(certificate_issue(ca, ca_key, request, "site-a", &cert, &e), 0);
	snprintf(own, sizeof(own), "%s", scratch_path("site-a.pem"));
	snprintf(authority, sizeof(authority), "%s", scratch_path("ca.pem"));
	scratch_write(own, cert);
	scratch_write(authority, ca);
	certificate_text_free(ca);
	certificate_text_free(ca_key);
	certificate_text_free(request);
	certificate_text_free(key);
	certificate_text_free(cert);
}

TestSuite(expiry, .init = setup, .fini = scratch_remove);

static bool words(int64_t now_s)
{
	expiry_look(&x, own, authority);
	return expiry_words(&x, own, authority, now_s, text, sizeof(text));
}

Test(expiry, a_certificate_is_told_of_from_thirty_days_before_it_ends)
{
	int64_t now = time(NULL), end = now + CERTIFICATE_DAYS * DAY;

	cr_assert_not(words(now));
	cr_assert(x.own.not_after_s >= end - 60 && x.own.not_after_s <= end + 60);
	cr_assert_not(words(end - 30 * DAY - 60));
	cr_assert(words(end - 30 * DAY + 60));
	cr_assert(strstr(text, own), "%s", text);
	cr_assert(strstr(text, "ends on 20"), "%s", text);
	cr_assert(expiry_own_first(&x));
	cr_assert(words(end + 60));
	cr_assert(strstr(text, "ended on 20"), "%s", text);
}

Test(expiry, the_words_are_the_same_from_day_to_day)
{
	int64_t end = time(NULL) + CERTIFICATE_DAYS * DAY;
	char before[EXPIRY_TEXT_MAX];

	cr_assert(words(end - 20 * DAY));
	memcpy(before, text, sizeof(before));
	cr_assert(words(end - 2 * DAY));
	cr_assert_str_eq(text, before);
}

Test(expiry, an_authority_that_ends_first_needs_another_one)
{
	snprintf(own, sizeof(own), "%s", authority);
	expiry_look(&x, own, authority);
	x.own.not_after_s += DAY;
	cr_assert(expiry_words(&x, own, authority,
		time(NULL) + (CERTIFICATE_AUTHORITY_DAYS - 1) * DAY, text, sizeof(text)));
	cr_assert(strstr(text, "the authority"), "%s", text);
	cr_assert(strstr(text, "ca.key"), "%s", text);
	cr_assert_not(expiry_own_first(&x));
}

Test(expiry, a_renewed_file_is_read_again_and_a_lost_one_is_no_warning)
{
	int64_t soon = time(NULL) + (CERTIFICATE_DAYS - 1) * DAY;

	cr_assert(words(soon));
	scratch_write(own, "nothing");
	cr_assert_not(words(soon));
	cr_assert_eq(x.own.not_after_s, 0);
	cr_assert_neq(x.authority.not_after_s, 0);
	setup();
	cr_assert(words(soon));
	remove(own);
	cr_assert_not(words(soon));
	expiry_look(&x, "", NULL);
	cr_assert_not(expiry_words(&x, "", "", soon * 2, text, sizeof(text)));
}

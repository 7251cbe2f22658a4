/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates as pairing makes them: what is asked for comes out, and nothing else is signed. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <time.h>

#include "certificate.h"

static char *ca, *ca_key;

static void setup(void)
{
	struct err e;

	cr_assert_eq(certificate_make_authority(&ca, &ca_key, &e), 0, "%s", e.msg);
}

static void teardown(void)
{
	certificate_text_free(ca);
	certificate_text_free(ca_key);
}

TestSuite(certificate, .init = setup, .fini = teardown);

Test(certificate, a_request_gets_a_certificate_for_its_key_and_the_domain_that_was_said)
{
	char *request, *key, *cert;
	struct certificate_info info;
	struct err e;
	int64_t now = time(NULL);

	cr_assert_eq(certificate_make_request(&request, &key, &e), 0);
	cr_assert_eq(certificate_issue(ca, ca_key, request, "site-b", &cert, &e), 0, "%s", e.msg);
	cr_assert_eq(certificate_check(cert, key, ca, "site-b", &e), 0, "%s", e.msg);
	cr_assert_eq(certificate_check(cert, key, ca, "site-a", &e), -EACCES);
	cr_assert_eq(certificate_check(cert, ca_key, ca, "site-b", &e), -EACCES);
	cr_assert_eq(certificate_check(cert, key, cert, "site-b", &e), -EACCES);
	cr_assert_eq(certificate_read(cert, &info, &e), 0);
	cr_assert_str_eq(info.domain, "site-b");
	cr_assert_geq(now - info.not_before_s, CERTIFICATE_BACKDATE_S - 5);
	cr_assert_geq(info.not_after_s - now, CERTIFICATE_DAYS * 86400LL - 60);
	certificate_text_free(request);
	certificate_text_free(key);
	certificate_text_free(cert);
}

Test(certificate, another_authority_is_told_from_ours)
{
	char *other, *other_key, *request, *key, *cert;
	struct err e;

	cr_assert_eq(certificate_make_authority(&other, &other_key, &e), 0);
	cr_assert_eq(certificate_make_request(&request, &key, &e), 0);
	cr_assert_eq(certificate_issue(ca, other_key, request, "site-b", &cert, &e), -EINVAL);
	cr_assert_eq(certificate_issue(other, other_key, request, "site-b", &cert, &e), 0);
	cr_assert_eq(certificate_check(cert, key, ca, "site-b", &e), -EACCES);
	certificate_text_free(other);
	certificate_text_free(other_key);
	certificate_text_free(request);
	certificate_text_free(key);
	certificate_text_free(cert);
}

Test(certificate, a_request_that_is_damaged_or_none_is_refused)
{
	char *request, *key, *cert = NULL, *at;
	struct err e;

	cr_assert_eq(certificate_make_request(&request, &key, &e), 0);
	at = request + strlen(request) - 45; /* in the signature */
	*at = *at == 'A' ? 'B' : 'A';
	cr_assert_eq(certificate_issue(ca, ca_key, request, "site-b", &cert, &e), -EBADMSG);
	cr_assert_eq(certificate_issue(ca, ca_key, "", "site-b", &cert, &e), -EBADMSG);
	cr_assert_eq(certificate_issue(ca, ca_key, ca, "site-b", &cert, &e), -EBADMSG);
	cr_assert_null(cert);
	certificate_text_free(request);
	certificate_text_free(key);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The client's certificate: asked for, verified while the handshake goes on, and its names read. */
#include "server_tls.h"

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include "log.h"

/* Called by GnuTLS when the client's certificate is there, and also when it sent none. */
static int verify(gnutls_session_t session)
{
	gnutls_typed_vdata_st purpose = {.type = GNUTLS_DT_KEY_PURPOSE_OID,
		.data = (unsigned char *)GNUTLS_KP_TLS_WWW_CLIENT};
	unsigned status = ~0u;
	gnutls_datum_t text = {0};

	if (gnutls_certificate_verify_peers(session, &purpose, 1, &status) < 0) {
		log_warn("rest: a client without a certificate refused");
		return GNUTLS_E_CERTIFICATE_ERROR;
	}
	if (!status)
		return 0;
	gnutls_certificate_verification_status_print(status, GNUTLS_CRT_X509, &text, 0);
	log_warn("rest: a client refused: %s", text.data ? (const char *)text.data : "?");
	gnutls_free(text.data);
	return GNUTLS_E_CERTIFICATE_ERROR;
}

void server_tls_require(void *session)
{
	gnutls_certificate_server_set_request(session, GNUTLS_CERT_REQUIRE);
	gnutls_session_set_verify_function(session, verify);
}

bool server_tls_names(void *session, const char *domain)
{
	const gnutls_datum_t *chain;
	gnutls_x509_crt_t crt;
	unsigned n = 0;
	bool named;

	chain = gnutls_certificate_get_peers(session, &n);
	if (!chain || !n || gnutls_x509_crt_init(&crt) < 0)
		return false;
	named = gnutls_x509_crt_import(crt, &chain[0], GNUTLS_X509_FMT_DER) == 0 &&
		gnutls_x509_crt_check_hostname2(
			crt, domain, GNUTLS_VERIFY_DO_NOT_ALLOW_WILDCARDS) != 0;
	gnutls_x509_crt_deinit(crt);
	return named;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes what a stranger may send to a tandemctl that pairs, and the token that a person pastes. What is
 * accepted must be fit for file names and agent.conf, and read the same after it was written again. The first
 * byte says which decoder.
 */
#include <stdlib.h>
#include <string.h>

#include "pair_token.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void token(const char *text, size_t size)
{
	char *copy = malloc(size + 1), again[PAIR_TOKEN_TEXT_MAX];
	struct pair_token t, u;
	struct err e;

	memcpy(copy, text, size);
	copy[size] = '\0';
	if (pair_token_decode(copy, &t, &e) == 0) {
		ensure(pair_valid_host(t.host) && pair_valid_domain(t.domain));
		pair_token_encode(&t, again);
		ensure(pair_token_decode(again, &u, &e) == 0 && memcmp(&t, &u, sizeof(t)) == 0);
	}
	free(copy);
}

static void hello(const char *text, size_t size)
{
	static struct pair_hello h, again;
	struct json *j;
	struct err e;

	if (pair_hello_decode(text, size, &h, &e))
		return;
	ensure(pair_valid_domain(h.domain) && pair_valid_address(h.address));
	j = pair_hello_encode(&h);
	ensure(pair_hello_decode(json_text(j, false), strlen(json_text(j, false)), &again, &e) ==
		0);
	ensure(memcmp(&h, &again, sizeof(h)) == 0);
	json_free(j);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct pair_welcome w;
	struct pair_report r;
	struct err e;
	char *text;

	if (!size)
		return 0;
	text = malloc(size); /* no zero behind it */
	memcpy(text, data + 1, size - 1);
	switch (data[0] % 4) {
	case 0:
		token(text, size - 1);
		break;
	case 1:
		hello(text, size - 1);
		break;
	case 2:
		if (pair_welcome_decode(text, size - 1, &w, &e) == 0)
			ensure(w.refusal[0] || pair_valid_address(w.address));
		break;
	default:
		if (pair_report_decode(text, size - 1, &r, &e) == 0)
			ensure(strlen(r.text) < sizeof(r.text));
	}
	free(text);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes the decoder of REST requests: a method, a path and a body with zeros between them. What is refused
 * has a status and words; what is accepted names a volume that may be part of a path, and a verb. What a
 * new volume shall be comes out again as it went in.
 */
#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "replica_make.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_spec(const struct api_request *r)
{
	struct replica_spec s, again;
	struct err e = {0};
	struct json *j;

	if (!r->args || replica_spec_parse(r->volume, r->args, &s, &e)) {
		ensure(!r->args || e.msg[0]);
		return;
	}
	ensure(s.size && s.npeers < REPLICAS_MAX);
	for (unsigned i = 0; i < s.npeers; i++)
		ensure(!strpbrk(s.peers[i].domain, "\n\r[]/ #") &&
			!strpbrk(s.peers[i].address, "\n\r #/") &&
			!strpbrk(s.peers[i].node, "\n\r #/ "));
	j = replica_spec_json(&s);
	ensure(replica_spec_parse(r->volume, j, &again, &e) == 0);
	ensure(again.size == s.size && again.npeers == s.npeers && again.holder == s.holder &&
		!strcmp(again.mode, s.mode) && !strcmp(again.owner, s.owner));
	json_free(j);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 3), *path, *body, *copy;
	struct api_request r = {.what = API_HEALTH};
	struct err e = {0};
	size_t len;
	unsigned status;

	ensure(text);
	memcpy(text, data, size);
	memset(text + size, 0, 3);
	path = text + strlen(text) + 1;
	path = path < text + size + 1 ? path : text + size;
	body = path + strlen(path) + 1;
	body = body < text + size + 1 ? body : text + size;
	len = (size_t)(text + size - body);
	copy = malloc(len ? len : 1); /* nothing behind it */
	memcpy(copy, body, len);
	status = api_decode(text, path, copy, len, &r, &e);
	if (status) {
		ensure(status >= 400 && status < 500 && e.msg[0] && !r.args);
	} else {
		ensure(!strchr(r.volume, '/') && !strchr(r.volume, '.'));
		ensure((r.what == API_VERB || r.what == API_BEGIN || r.what == API_UPGRADE ||
			       api_is_task(r.what)) == (r.args != NULL));
		ensure(r.what != API_VERB || json_get_string(r.args, "verb", "")[0]);
		ensure(!r.args || !strchr(json_text(r.args, false), '\n'));
		check_spec(&r);
	}
	json_free(r.args);
	free(copy);
	free(text);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzzes kube_access_parse() and yaml_parse(): a value, or an error with a message; and pair_token_read(). */
#include <stdlib.h>
#include <string.h>

#include "kube_config.h"
#include "kube_pair_token.h"
#include "yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* As the payload of a token: what is not base64url is none. */
static void fuzz_token(const uint8_t *data, size_t size)
{
	char *token = malloc(size + 4);
	struct pair_token t;

	ensure(token);
	memcpy(token, "h.", 2);
	memcpy(token + 2, data, size);
	memcpy(token + 2 + size, ".", 2);
	if (pair_token_read(token, &t)) {
		ensure(t.ends_s >= t.begins_s && strlen(t.ns) < sizeof(t.ns));
		pair_token_is_old(&t, t.begins_s);
	}
	free(token);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kube_access a = {0};
	struct json *j = NULL;
	struct err e = {0};
	int ret = yaml_parse((const char *)data, size, &j, &e);

	ensure(ret == 0 ? j != NULL : ret < 0 && e.msg[0] && !j);
	json_free(j);
	e = (struct err){0};
	ret = kube_access_parse((const char *)data, size, false, &a, &e);
	ensure(ret == 0 ? a.server && !strncmp(a.server, "https://", 8)
			: ret < 0 && e.msg[0] && !a.server);
	kube_access_clear(&a);
	fuzz_token(data, size);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzzes kube_access_parse() and yaml_parse(): a value, or an error with a message. */
#include <string.h>

#include "kube_config.h"
#include "yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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
	return 0;
}

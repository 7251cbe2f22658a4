/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes the parser of the control protocol's lines, JSON included. What is accepted must read the
 * same after it was written again.
 */
#include <stdlib.h>
#include <string.h>

#include "control_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct json *args, *again;
	const char *verb, *verb_again;
	char *line, *text;
	struct err e;
	int ret;

	line = malloc(size ? size : 1); /* no zero behind it */
	memcpy(line, data, size);
	ret = control_parse(line, size, &args, &verb, &e);
	free(line);
	if (ret < 0) {
		ensure(memchr(e.msg, '\0', sizeof(e.msg)) && e.msg[0] && e.code == ret);
		return 0;
	}
	ensure(verb[0] && strlen(verb) < 64);
	ensure(strcmp(json_get_string(args, "verb", ""), verb) == 0);
	json_get_bool(args, "yes", false);
	json_get_string(args, "domain", "");
	text = strdup(json_text(args, false));
	ensure(!memchr(text, '\n', strlen(text))); /* it must fit on a line again */
	ensure(control_parse(text, strlen(text), &again, &verb_again, &e) == 0);
	ensure(strcmp(verb, verb_again) == 0);
	ensure(strcmp(json_text(again, false), text) == 0);
	free(text);
	json_free(args);
	json_free(again);
	return 0;
}

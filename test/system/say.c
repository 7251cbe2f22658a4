/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Says one verb without arguments to a daemon's control socket, for what tandemctl has no command:
 *
 *   say SOCKET VERB        for example checkpoint; prints the answer's text
 *
 * Status 0 when it was done, 1 when it was refused, 2 when nobody answers.
 */
#include <stdio.h>

#include "control.h"
#include "json.h"

#define TIMEOUT_MS 10000u

int main(int argc, char **argv)
{
	struct json *request = json_object(), *answer;
	struct err e = {0};
	int ret;

	if (argc != 3) {
		fprintf(stderr, "usage: say SOCKET VERB\n");
		return 2;
	}
	json_set_string(request, "verb", argv[2]);
	ret = control_call(argv[1], request, TIMEOUT_MS, &answer, &e);
	json_free(request);
	if (ret) {
		fprintf(stderr, "say: %s\n", e.msg);
		return 2;
	}
	puts(json_get_string(answer, "text", ""));
	ret = json_get_int(answer, "code", -1) != 0;
	json_free(answer);
	return ret;
}

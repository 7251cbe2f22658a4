/* SPDX-License-Identifier: Apache-2.0 */
/* What the two ends of the control protocol share, and the fuzzer wants. */
#ifndef PEER_CONTROL_PRIVATE_H
#define PEER_CONTROL_PRIVATE_H

#include <sys/un.h>

#include "control.h"

/* One line (without the newline) into a request: an object with a verb. 0, or -EBADMSG or -EINVAL
 * with words for the other end. *ret_verb points into *ret_args. */
int control_parse(
	const char *line, size_t len, struct json **ret_args, const char **ret_verb, struct err *e);
/* 0 or -ENAMETOOLONG. */
int control_address(const char *path, struct sockaddr_un *ret_sa, struct err *e);

#endif

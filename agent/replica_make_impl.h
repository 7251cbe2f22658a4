/* SPDX-License-Identifier: Apache-2.0 */
/* What the making of replicas needs of files, ports and programs; blocking. Messages say which path. */
#ifndef AGENT_REPLICA_MAKE_IMPL_H
#define AGENT_REPLICA_MAKE_IMPL_H

#include <sys/types.h>

#include "agent_config.h"

/* The whole file with a zero behind it, the caller's; -EFBIG beyond max bytes. */
int replica_load(const char *path, size_t max, char **ret_text, struct err *e);
/* The directory, and what 'tandemfs format' left beside it when it was killed (PATH.new-XXXXXX). What is not
 * there is removed. Crosses no mount. */
int replica_remove_tree(const char *path, struct err *e);
/* Runs a program to its end, at most ten minutes; its last words in the message when it fails. */
int replica_run(const char *const *argv, struct err *e);
/* HOST:PORT for a volume's connections into ret_address (256 bytes): the one of the draft, where there is
 * one, or the first that no configuration names and nobody listens on. */
int replica_address(
	const struct agent_config *c, const char *draft, char *ret_address, struct err *e);

#endif

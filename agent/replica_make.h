/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making and removing this node's replica of a volume: its configuration file, its data, its mount point.
 * Blocking; any thread but the loop's, one at a time for each volume. Each step may be repeated, after a
 * crash at any instruction too.
 */
#ifndef AGENT_REPLICA_MAKE_H
#define AGENT_REPLICA_MAKE_H

#include <stdatomic.h>

#include "agent_config.h"
#include "json.h"

#define REPLICA_DESCRIPTOR_MAX (16u << 10) /* bytes of a descriptor's text */

struct replica_peer { /* another replica */
	char domain[DOMAIN_LEN_MAX + 1];
	char address[CONF_ADDRESS_SIZE]; /* of its daemon; "": not known yet */
	char node[NODE_NAME_MAX + 1]; /* where it is, or shall be; "": whichever */
	char agent
		[CONF_ADDRESS_SIZE]; /* of that node, while it is being made; "": see peer_volume.h. Not in JSON */
};

#define REPLICA_HOLDER_KERNEL (-1)

struct replica_spec {
	char volume[VOLUME_NAME_MAX + 1];
	char ack[8]; /* "op" or "fsync" */
	int holder; /* 1, 0; REPLICA_HOLDER_KERNEL: as the kernel of each node can */
	uint64_t size; /* bytes; of the first replica */
	char mode[8],
		owner[24]; /* of the root directory, as 'tandemfs format' takes them; "": its defaults */
	char directory[VOLUME_NAME_MAX + 1]; /* in it from the beginning; "": none */
	unsigned npeers;
	struct replica_peer peers[REPLICAS_MAX];
};

/* From JSON as replica_spec_json() makes it and people write it: what is missing gets its default, what is
 * unknown or wrong is refused. 0 or -EINVAL. */
int replica_spec_parse(
	const char *volume, const struct json *j, struct replica_spec *ret_spec, struct err *e);
struct json *replica_spec_json(const struct replica_spec *s);

/* What becomes of `holder` on a node whose kernel has this release; NULL: on this one. */
bool replica_holder(const struct replica_spec *s, const char *release);

/* -ENOENT, or 0: the volume is configured on this node; the draft of one does not count. */
int replica_exists(const struct agent_config *c, const char *volume);
/* Writes the draft of the configuration; ret_address (256 bytes) is where the daemon will listen, the same
 * for each repetition. -EEXIST the volume is there already. */
int replica_draft(const struct agent_config *c, const struct replica_spec *spec, char *ret_address,
	struct err *e);
/* The address that an earlier replica_draft() has given. */
int replica_drafted_address(
	const struct agent_config *c, const char *volume, char *ret_address, struct err *e);
/* The draft's first replica was formatted here by an earlier call. */
bool replica_formatted(const struct agent_config *c, const char *volume);
/* The first replica, of a draft. The descriptor's text is the caller's. */
int replica_format(const struct agent_config *c, const struct replica_spec *spec,
	char **ret_descriptor, struct err *e);
/* Another one, of a draft; 0 also when it is published and of the same volume. */
int replica_join(
	const struct agent_config *c, const char *volume, const char *descriptor, struct err *e);
/* Whether the replica that is published here has its mount kept by a holder. */
bool replica_has_holder(const struct agent_config *c, const char *volume);
/* The draft becomes the configuration, which the supervision finds. 0 also when it is already. */
int replica_publish(const struct agent_config *c, const char *volume, struct err *e);
/*
 * Stops the daemon, unmounts, and removes everything of the replica, a draft's too. -ENOENT there is
 * nothing. -ETIMEDOUT the daemon does not end within half a minute: then nothing of the data is removed.
 */
int replica_remove(
	const struct agent_config *c, const char *volume, const atomic_bool *stop, struct err *e);

/* replica_ask.c */
/* Its daemon says that it is the active one. At most 2 s. */
bool replica_is_active(const struct agent_config *c, const char *volume);
/*
 * May it be removed for another site, whose own replica is the active one or not? 0, also where there is none; -EPERM it
 * is active here; -EAGAIN its daemon does not say within 10 s, and the asker's is not active. Blocking.
 */
int replica_may_go(const struct agent_config *c, const char *volume, bool asker_active,
	const atomic_bool *stop, struct err *e);
/* The same from what the daemon says (NULL: nothing). Pure; `domain`: this site. */
int replica_judge(const struct json *status, const char *volume, const char *domain,
	bool asker_active, struct err *e);

#endif

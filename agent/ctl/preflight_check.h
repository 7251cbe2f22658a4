/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a node must have before a volume is served there: each check says what it found, and what to do
 * about it. Nothing is changed but for a file of 256 KiB in the replica's directory (or the one above it),
 * which is removed at once.
 */
#ifndef AGENT_PREFLIGHT_CHECK_H
#define AGENT_PREFLIGHT_CHECK_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "check.h"

#define PREFLIGHT_CHECKS_MAX 128u

enum preflight_result { PREFLIGHT_OK, PREFLIGHT_WARN, PREFLIGHT_FAIL };

struct preflight_check {
	char about[80]; /* "node", or the configuration file */
	const char *what; /* "kernel", "fuse", ... */
	enum preflight_result result;
	char found[160];
	char todo[200]; /* "" when there is nothing to do */
};

struct preflight_report {
	unsigned count;
	struct preflight_check c[PREFLIGHT_CHECKS_MAX];
};

const char *preflight_result_name(enum preflight_result r);
/* Kernel, FUSE, io_uring, clock. */
void preflight_node(struct preflight_report *r);
/* What a volume's configuration names: directory (flush latency, space, discard), mount point (there, propagation),
 * port, peers (round trip), how long its certificate is valid. With an agent's configuration, where there need not be a volume yet: the same of the
 * volumes' directory, of its own port and the first one for volumes, and of the peers' agents, whose clocks are compared with this one. A file that cannot be
 * read is a failed check. */
void preflight_volume(struct preflight_report *r, const char *path);

/* For tests. The kernel's release as uname(2) tells it. */
void preflight_kernel(struct preflight_report *r, const char *release);
/* The optional fields of the mount that `path` lies on say whether mounts below it are seen in pods:
 * 1 shared, 0 not, -ENOENT. */
int preflight_shared(FILE *mountinfo, const char *path);

/* The other site's clock said theirs_ms between begin_ms and end_ms of this one (since 1970). */
void preflight_clocks(struct preflight_report *r, const char *about, const char *domain,
	int64_t begin_ms, int64_t end_ms, int64_t theirs_ms);
/* A certificate ends at not_after_s, and it is now_s; `what` is "certificate" or "authority". */
void preflight_validity(struct preflight_report *r, const char *about, const char *what,
	const char *path, int64_t not_after_s, int64_t now_s);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the preflight share. */
#ifndef AGENT_PREFLIGHT_IMPL_H
#define AGENT_PREFLIGHT_IMPL_H

#include "agent_config.h"
#include "preflight_check.h"

void preflight_say(struct preflight_report *r, const char *about, const char *what,
	enum preflight_result result, const char *todo, const char *fmt, ...)
	__attribute__((format(printf, 6, 7)));

/* The directory itself, or the nearest one above it that is there. */
void preflight_existing(char *path);
/* Of the filesystem where the directory is, or would be: a flush, space, "discard". */
void preflight_disk(struct preflight_report *r, const char *about, const char *directory);
/* Whether what is mounted at or below `mount` is seen in other namespaces. */
void preflight_propagation(struct preflight_report *r, const char *about, const char *mount);
void preflight_port(struct preflight_report *r, const char *about, const char *listen_at);
/* The round trip to HOST:PORT; false: nobody answers there. */
bool preflight_peer(
	struct preflight_report *r, const char *about, const char *domain, const char *address);
/* preflight_peer.c. */
/* How long the site's certificate and its authority are valid; "": the configuration has none. */
void preflight_certificates(struct preflight_report *r, const char *about, const char *certificate,
	const char *authority);
/* Asks the agent of another domain for its clock. */
void preflight_peer_clock(struct preflight_report *r, const char *about,
	const struct agent_config *c, const char *domain, const char *address);
/* preflight_agent.c: what an agent's configuration names. */
void preflight_agent(struct preflight_report *r, const char *path);

#endif

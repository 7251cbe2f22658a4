/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a pairing leaves on a site, below the configuration directory D (/etc/tandemfs):
 *
 *   D/pki/ca.pem         the authority of all sites
 *   D/pki/ca.key         its private key, on the site where it was made alone
 *   D/pki/DOMAIN.pem     this site's private key and its certificate, in one file: one rename renews both
 *   D/agent.conf         the agent's configuration, extended where it lacked something
 *
 * Each file is written beside its place, synced and renamed: after an interruption there is the old one or the
 * new one, and the pairing is typed again. Private keys have mode 0600.
 */
#ifndef AGENT_PAIR_FILES_H
#define AGENT_PAIR_FILES_H

#include <stdbool.h>
#include <sys/types.h>

#include "limits.h"
#include "pair_link.h"

struct pair_site { /* this one */
	char dir[1024]; /* the configuration's */
	char ca[1100], ca_key[1100], identity[1200], config[1100]; /* paths */
	char domain[DOMAIN_LEN_MAX + 1];
	char host[PAIR_HOST_MAX + 1];
	unsigned port; /* of the agent */
	char address[PAIR_ADDRESS_MAX + 1]; /* host and port */
};

/* Fills the paths; domain is in place. */
void pair_site_paths(struct pair_site *s, const char *dir);
struct pair_identity pair_site_identity(const struct pair_site *s);
/* The directories. 0, or -errno with words. */
int pair_make_directories(const struct pair_site *s, struct err *e);
int pair_write_file(const char *path, const char *text, mode_t mode, struct err *e);
/* The whole file, to be freed with certificate_text_free(); NULL with words, e->code -ENOENT: there is none. */
char *pair_read_file(const char *path, struct err *e);

/* The authority's certificate and key, made when there is none. -EEXIST: there is another's, with words. */
int pair_authority(
	const struct pair_site *s, char **ret_certificate, char **ret_key, struct err *e);
/* The fingerprint of the authority's file in hex; "" when there is none. */
int pair_authority_fingerprint(
	const struct pair_site *s, char ret[2 * CERTIFICATE_FINGERPRINT_LEN + 1], struct err *e);
int pair_write_identity(
	const struct pair_site *s, const char *certificate, const char *key, struct err *e);

/* What agent.conf says of domain and listen, where it exists, into the fields of s that are empty yet (port 0);
 * -EINVAL where it contradicts s->domain. */
int pair_config_defaults(struct pair_site *s, struct err *e);
/*
 * Puts into agent.conf what it lacks. 0; -EEXIST when it says something else already, and then nothing is
 * changed and *ret_lines (to be freed) are the lines that it should have; -errno. All with words.
 */
int pair_config_extend(const struct pair_site *s, const char *peer, const char *peer_address,
	bool *ret_changed, char **ret_lines, struct err *e);

#endif

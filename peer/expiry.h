/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long a site's certificate and its authority are valid, so that somebody is told before they end: from the day
 * after, no new connection between the sites is made. The two files are read when they have changed and not
 * otherwise, by whoever calls; small files of the configuration. One thread for each struct expiry.
 */
#ifndef PEER_EXPIRY_H
#define PEER_EXPIRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define EXPIRY_WARN_DAYS 30
#define EXPIRY_TEXT_MAX 512u
/* What a person types when the site's own certificate ends; also where a second command is needed, in words. */
#define EXPIRY_NEXT                                                                                \
	"tandemctl pair (then its token on the other site: renews the certificates; where "        \
	"'tandemctl generate spec' made them, that again)"

struct expiry_file {
	uint64_t dev, ino, size;
	struct timespec mtime; /* as it was when it was read */
	bool tried;
	int64_t not_after_s; /* since 1970; 0: there is no certificate in it that can be read */
};

struct expiry { /* zeroed: nothing looked at yet */
	struct expiry_file own, authority;
	int64_t said_s; /* the last line in the log, since 1970 */
};

/* Reads what has changed. "" or NULL: there is no such file in the configuration. */
void expiry_look(struct expiry *x, const char *certificate, const char *authority);
/*
 * True when one of them ends within EXPIRY_WARN_DAYS of now_s (since 1970) or has ended, with words, the one that
 * ends first; they stay the same from day to day.
 */
bool expiry_words(const struct expiry *x, const char *certificate, const char *authority,
	int64_t now_s, char *buf, size_t size);
/* Is the site's own certificate what ends (and EXPIRY_NEXT what helps)? */
bool expiry_own_first(const struct expiry *x);
/* The words into the log, once a day. */
void expiry_log(struct expiry *x, const char *certificate, const char *authority, int64_t now_s);

#endif

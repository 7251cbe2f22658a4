/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What two sites have to agree on besides the way between them: certificates that are valid, and the time. Nothing in
 * the protocol compares clocks, but certificates are valid from one moment to another, and people read two sites' logs
 * side by side.
 *
 * A clock is asked for with one call to the other site's agent; the answer was made between the moment when the call
 * began and the one when it ended, and nothing better is claimed of it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "expiry.h"
#include "peer_call.h"
#include "preflight_impl.h"

#define CALL_MS 3000u
#define APART_MS 1000 /* what people notice */
#define DAY_S 86400

void preflight_clocks(struct preflight_report *r, const char *about, const char *domain,
	int64_t begin_ms, int64_t end_ms, int64_t theirs_ms)
{
	int64_t least_ms = theirs_ms < begin_ms ? begin_ms - theirs_ms : theirs_ms - end_ms;
	int64_t off_ms = theirs_ms - (begin_ms + (end_ms - begin_ms) / 2);
	double s = (double)(off_ms < 0 ? -off_ms : off_ms) / 1e3,
	       within = (double)(end_ms - begin_ms) / 2e3;

	if (least_ms > APART_MS)
		preflight_say(r, about, "clock", PREFLIGHT_WARN,
			"run chrony or systemd-timesyncd on both sites: nothing breaks without, "
			"but logs and the days of certificates cannot be compared",
			"that of %.60s is %.1f s %s this one, within %.1f s", domain, s,
			off_ms < 0 ? "behind" : "ahead of", within);
	else
		preflight_say(r, about, "clock", PREFLIGHT_OK, "",
			"that of %.60s is as this one, within %.1f s", domain, s + within);
}

void preflight_peer_clock(struct preflight_report *r, const char *about,
	const struct agent_config *c, const char *domain, const char *address)
{
	int64_t begin_ms = (int64_t)(clock_real_ns() / NS_PER_MS), end_ms, theirs_ms;
	struct json *j = NULL;
	unsigned status = 0;
	char what[128];
	struct err e;
	int ret;

	snprintf(what, sizeof(what), "the agent of %.60s", domain);
	ret = agent_call(
		c, what, domain, address, "/v1/health", NULL, CALL_MS, NULL, &status, &j, &e);
	end_ms = (int64_t)(clock_real_ns() / NS_PER_MS);
	theirs_ms = ret ? 0 : json_get_int(j, "clock_ms", 0);
	if (ret)
		preflight_say(r, about, "clock", PREFLIGHT_WARN,
			"look at the agent there, and at both sites' certificates",
			"that of %.60s is not known: %.90s", domain, e.msg);
	else if (!theirs_ms)
		preflight_say(r, about, "clock", PREFLIGHT_WARN, "",
			"that of %.60s is not known: HTTP status %u, or an older agent", domain,
			status);
	else
		preflight_clocks(r, about, domain, begin_ms, end_ms, theirs_ms);
	json_free(j);
}

void preflight_validity(struct preflight_report *r, const char *about, const char *what,
	const char *path, int64_t not_after_s, int64_t now_s)
{
	int64_t days = (not_after_s - now_s) / DAY_S;
	const char *todo = !strcmp(what, "authority")
				   ? "move ca.pem and ca.key away on each site, then pair the "
				     "sites again: 'tandemctl pair'"
				   : EXPIRY_NEXT;

	if (!not_after_s)
		preflight_say(r, about, what, PREFLIGHT_WARN, "look at the file",
			"'%.100s' has no certificate that can be read", path);
	else if (not_after_s <= now_s)
		preflight_say(r, about, what, PREFLIGHT_FAIL, todo, "'%.100s' has expired", path);
	else
		preflight_say(r, about, what,
			days < EXPIRY_WARN_DAYS ? PREFLIGHT_WARN : PREFLIGHT_OK,
			days < EXPIRY_WARN_DAYS ? todo : "", "'%.100s' is valid for %lld days",
			path, (long long)days);
}

void preflight_certificates(struct preflight_report *r, const char *about, const char *certificate,
	const char *authority)
{
	int64_t now_s = (int64_t)(clock_real_ns() / NS_PER_S);
	struct expiry x = {0};

	if (!certificate[0] || !authority[0])
		return;
	expiry_look(&x, certificate, authority);
	preflight_validity(r, about, "certificate", certificate, x.own.not_after_s, now_s);
	preflight_validity(r, about, "authority", authority, x.authority.not_after_s, now_s);
}

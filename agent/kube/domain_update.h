/* SPDX-License-Identifier: Apache-2.0 */
/* What the answers of a site's volumes to `activate` or `deactivate` mean for a ClusterDomainUpdate. Pure. */
#ifndef AGENT_DOMAIN_UPDATE_H
#define AGENT_DOMAIN_UPDATE_H

#include <stdbool.h>
#include <stdint.h>

#include "check.h"

#define UPDATE_PATIENCE_S 600 /* for those who do not answer, or cannot yet */
#define UPDATE_BUSY_S 15 /* for "the active side answers": it may just not have been missed yet */

struct update_tally {
	unsigned volumes, done, unconcerned, waiting, failed;
	unsigned silent; /* nodes whose volumes are not known */
	char why_waiting[320], why_failed[320]; /* of the first one */
};

enum update_verdict { UPDATE_AGAIN, UPDATE_DONE, UPDATE_FAILED };

/* A volume's answer: the daemon's code and text, or the error of the call. age_s: of the update, since it began. */
void update_note(
	struct update_tally *t, const char *volume, int code, const char *text, int64_t age_s);
void update_silent(struct update_tally *t, const char *text);
/* With words for a person in `reason`. */
enum update_verdict update_judge(const struct update_tally *t, const char *domain, bool activate,
	int64_t age_s, char *reason, size_t size);

#endif

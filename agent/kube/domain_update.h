/* SPDX-License-Identifier: Apache-2.0 */
/* What the answers of a site's volumes to `activate` or `deactivate` mean for a ClusterDomainUpdate. Pure. */
#ifndef AGENT_DOMAIN_UPDATE_H
#define AGENT_DOMAIN_UPDATE_H

#include <stdbool.h>
#include <stdint.h>

#include "check.h"
#include "json.h"

#define UPDATE_PATIENCE_S 600 /* for those who do not answer, or cannot yet */
#define UPDATE_BUSY_S 15 /* for "the active side answers": it may just not have been missed yet */
#define UPDATE_DRY_S 15 /* for those who do not answer a dry run */
#define UPDATE_ANSWERS_MAX 100u /* in the status of a dry run */

struct update_tally {
	bool dry; /* they were asked, and not told */
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

/* One volume's, as update_note() has it. */
struct update_answer {
	const char *node, *volume;
	int code;
	char text[320];
};

/* For the status of a dry run: those that would not do it first, those that are not concerned last, at most
 * UPDATE_ANSWERS_MAX. *ret_more: how many are left out. */
struct json *update_answers(const struct update_answer *a, unsigned n, unsigned *ret_more);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* The supervision's account of the volumes as Prometheus' text format 0.0.4. Pure. */
#ifndef AGENT_METRICS_H
#define AGENT_METRICS_H

#include <stdio.h>

#include "expiry.h"
#include "json.h"

/* `volumes` is what supervisor_volumes() makes, `x` this site's certificates. What a daemon does not say (an older one, or one that does
 * not answer) has no sample. The caller's to free. */
char *metrics_text(const struct json *volumes, const struct expiry *x, const char *domain,
	const char *version);
/* The certificates alone; one that cannot be read has no sample. */
void metrics_expiry(FILE *f, const struct expiry *x, const char *domain);

#endif

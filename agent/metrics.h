/* SPDX-License-Identifier: Apache-2.0 */
/* The supervision's account of the volumes as Prometheus' text format 0.0.4. Pure. */
#ifndef AGENT_METRICS_H
#define AGENT_METRICS_H

#include "json.h"

/* `volumes` is what supervisor_volumes() makes. What a daemon does not say (an older one, or one that does
 * not answer) has no sample. The caller's to free. */
char *metrics_text(const struct json *volumes, const char *domain, const char *version);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the preflight share. */
#ifndef AGENT_PREFLIGHT_IMPL_H
#define AGENT_PREFLIGHT_IMPL_H

#include "preflight_check.h"

void preflight_say(struct preflight_report *r, const char *about, const char *what,
	enum preflight_result result, const char *todo, const char *fmt, ...)
	__attribute__((format(printf, 6, 7)));

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Noting; see the header. A clock that is not monotonic would only show in the figures. */
#include "since.h"

#include <stdio.h>
#include <string.h>

uint64_t since_note(struct since *s, const char *words, uint64_t now_ns)
{
	if (s->ns && !strncmp(s->words, words, SINCE_WORDS))
		return s->ns;
	snprintf(s->words, sizeof(s->words), "%.*s", SINCE_WORDS, words);
	s->ns = now_ns;
	return now_ns;
}

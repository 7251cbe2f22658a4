/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Since when something is as it is, for the status: a trouble, a peer's state. What is noted is words; words that
 * begin alike (a sentence whose figures change) are the same. Pure; the caller's thread.
 */
#ifndef FS_SINCE_H
#define FS_SINCE_H

#include <stdint.h>

#define SINCE_WORDS 12 /* bytes that count */

struct since { /* zeroed: nothing noted yet */
	char words[SINCE_WORDS + 1];
	uint64_t ns; /* when they were noted first; 0: never */
};

/* Returns since when `words` are what there is: now, if they were not until now. */
uint64_t since_note(struct since *s, const char *words, uint64_t now_ns);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* A look at where a replica lies, before it is used: what would make it slow is said in the log. */
#ifndef FS_PREFLIGHT_H
#define FS_PREFLIGHT_H

/* Warns of what is found about a replica's directory. Once at the start. */
void preflight(const char *directory);

#endif

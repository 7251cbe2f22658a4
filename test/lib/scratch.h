/* SPDX-License-Identifier: Apache-2.0 */
/* A temporary directory below $TMPDIR or /tmp for one test process. */
#ifndef TEST_SCRATCH_H
#define TEST_SCRATCH_H

/* Makes it at the first call; the same path afterwards. */
const char *scratch_dir(void);
/* A path in it; one of eight buffers, used in turn. */
const char *scratch_path(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Writes a file in it, mode 0644. */
void scratch_write(const char *path, const char *text);
/* Removes it and everything in it. */
void scratch_remove(void);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel keeps of a file in memory is not to be trusted after a write-back that failed. */
#ifndef JOURNAL_PAGECACHE_H
#define JOURNAL_PAGECACHE_H

/*
 * Writes back what is dirty of the file and makes the kernel forget the rest, so that the next access finds
 * what is on the disk. 0, or -errno of a write-back that failed, now or earlier and nobody was told yet; the
 * pages are forgotten all the same, and with them what they held. Any thread; nobody may write meanwhile.
 */
int pagecache_drop(int fd);

#endif

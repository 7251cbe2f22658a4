/* SPDX-License-Identifier: Apache-2.0 */
/* Scope-exit cleanup for memory, descriptors and mutexes. */
#ifndef JOURNAL_CLEANUP_H
#define JOURNAL_CLEANUP_H

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_free_(void *p)
{
	free(*(void **)p);
}

static inline void cleanup_close_(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void cleanup_unlock_(pthread_mutex_t **m)
{
	if (*m)
		pthread_mutex_unlock(*m);
}

static inline pthread_mutex_t *scope_lock_(pthread_mutex_t *m)
{
	pthread_mutex_lock(m);
	return m;
}

#define cleanup_free __attribute__((cleanup(cleanup_free_), unused))
#define cleanup_close __attribute__((cleanup(cleanup_close_), unused))
#define SCOPE_CAT_(a, b) a##b
#define SCOPE_CAT(a, b) SCOPE_CAT_(a, b)
/* Holds the mutex until the end of the enclosing scope. */
#define LOCK_SCOPE(m)                                                                              \
	pthread_mutex_t *SCOPE_CAT(scope_lock_, __LINE__)                                          \
		__attribute__((cleanup(cleanup_unlock_), unused)) = scope_lock_(m)

#endif

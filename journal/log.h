/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log lines to standard error: "2026-01-31T12:00:00.123Z warn  db: message". Any thread; one
 * write(2) a line, so lines of several threads never mix. Messages are lowercase, without a full
 * stop, and say what the person can do.
 */
#ifndef JOURNAL_LOG_H
#define JOURNAL_LOG_H

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };

/* Lines below this level are dropped; default LOG_LEVEL_INFO. Call before threads start. */
void log_set_level(enum log_level level);
/* A word put before each message, usually the volume's name; copied, cut at 63 bytes. */
void log_set_prefix(const char *prefix);
void log_write(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_debug(...) log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)
#define log_info(...) log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_warn(...) log_write(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)

#endif

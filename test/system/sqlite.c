/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SQLite with synchronous=FULL: transactions of several rows, and a line in the log after each
 * acknowledged commit.
 *
 *   sqlite run DB LOG MODE SECONDS   MODE wal or delete; 0, or 3 when the mount went away
 *   sqlite verify DB LOG             integrity_check, every logged transaction whole, none half
 */
#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oplog.h"

#define ROWS 5

static int complain(sqlite3 *db, const char *what)
{
	fprintf(stderr, "sqlite: %s: %s (%d)\n", what, sqlite3_errmsg(db),
		sqlite3_extended_errcode(db));
	return 1;
}

static int exec(sqlite3 *db, const char *sql)
{
	return sqlite3_exec(db, sql, NULL, NULL, NULL);
}

static long long number(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *s = NULL;
	long long n = -1;

	if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW)
		n = sqlite3_column_int64(s, 0);
	sqlite3_finalize(s);
	return n;
}

static bool transaction(sqlite3 *db, long long id)
{
	char sql[512];

	if (exec(db, "begin immediate"))
		return false;
	for (int i = 0; i < ROWS; i++) {
		snprintf(sql, sizeof(sql),
			"insert into t values (%lld, %d, hex(randomblob(%d))); "
			"update counter set n = n + 1, last = %lld",
			id, i, (int)(20 + id % 700), id);
		if (exec(db, sql))
			return false;
	}
	return !exec(db, "commit");
}

static int run(const char *path, const char *log_path, const char *mode, double seconds)
{
	uint64_t end = oplog_now_ns() + (uint64_t)(seconds * 1e9);
	FILE *log = fopen(log_path, "ae");
	long long id, first;
	char sql[128];
	sqlite3 *db;

	if (!log || sqlite3_open(path, &db))
		return 2;
	sqlite3_busy_timeout(db, 5000);
	snprintf(sql, sizeof(sql), "pragma journal_mode=%s; pragma synchronous=full", mode);
	if (exec(db, sql) ||
		exec(db,
			"create table if not exists t (id integer, row integer, text text, primary "
			"key "
			"(id, row)); create table if not exists counter (n integer, last integer)"))
		return complain(db, "set-up");
	if (number(db, "select count(*) from counter") == 0 &&
		exec(db, "insert into counter values (0, 0)"))
		return complain(db, "set-up");
	first = id = number(db, "select last from counter");
	while (oplog_now_ns() < end) {
		if (!transaction(db, id + 1)) {
			int code = sqlite3_errcode(db);

			complain(db, "stopped");
			sqlite3_close_v2(db);
			printf("sqlite run: %lld transactions\n", id - first);
			return code == SQLITE_IOERR || code == SQLITE_CANTOPEN ? 3 : 1;
		}
		fprintf(log, "%lld\n", ++id);
		fflush(log);
	}
	printf("sqlite run: %lld transactions\n", id - first);
	return sqlite3_close(db) ? 1 : 0;
}

static int verify(const char *path, const char *log_path)
{
	FILE *log = fopen(log_path, "re");
	long long id, acked = 0, last, rows;
	char text[64] = "";
	sqlite3_stmt *s;
	sqlite3 *db;

	if (!log || sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL))
		return 2;
	while (fscanf(log, "%lld\n", &id) == 1)
		acked = id;
	if (sqlite3_prepare_v2(db, "pragma integrity_check", -1, &s, NULL) ||
		sqlite3_step(s) != SQLITE_ROW)
		return complain(db, "integrity_check");
	snprintf(text, sizeof(text), "%s", (const char *)sqlite3_column_text(s, 0));
	sqlite3_finalize(s);
	last = number(db, "select last from counter");
	rows = number(db, "select count(*) from t");
	printf("sqlite verify: acknowledged %lld, found %lld, integrity %s\n", acked, last, text);
	if (strcmp(text, "ok") || last < acked || last > acked + 1 || rows != last * ROWS ||
		number(db, "select n from counter") != rows ||
		number(db, "select count(distinct id) from t") != last) {
		fprintf(stderr, "sqlite: lost, half or damaged (%lld rows)\n", rows);
		return 1;
	}
	return sqlite3_close(db) ? 1 : 0;
}

int main(int argc, char **argv)
{
	if (argc == 6 && !strcmp(argv[1], "run"))
		return run(argv[2], argv[3], argv[4], strtod(argv[5], NULL));
	if (argc == 4 && !strcmp(argv[1], "verify"))
		return verify(argv[2], argv[3]);
	fprintf(stderr, "usage: sqlite run DB LOG wal|delete SECONDS | verify DB LOG\n");
	return 2;
}

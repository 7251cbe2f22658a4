/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tandemctl status: a table of the volumes, then what each daemon says about itself and its peers,
 * and the command to type next. `-o wide` has more columns and the identities, `-o json` is an array
 * of the daemons' own answers.
 *
 * Members that an older or newer daemon does not send are left out, never an error.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ctl.h"

#define COLUMNS_MAX 12
#define CELL_MAX 96

/* ---- values in words ---- */

static const char *bytes_text(double n, char *buf, size_t size)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
	unsigned unit = 0;

	while (n >= 1024 && unit < ARRAY_SIZE(units) - 1) {
		n /= 1024;
		unit++;
	}
	snprintf(buf, size, unit && n < 100 ? "%.1f %s" : "%.0f %s", n, units[unit]);
	return buf;
}

static const char *duration_text(double s, char *buf, size_t size)
{
	unsigned long long whole = s > 0 ? (unsigned long long)s : 0;

	if (s < 10)
		snprintf(buf, size, "%.1f s", s > 0 ? s : 0);
	else if (whole < 120)
		snprintf(buf, size, "%llu s", whole);
	else if (whole < 2 * 3600)
		snprintf(buf, size, "%llu min", whole / 60);
	else if (whole < 48 * 3600)
		snprintf(buf, size, "%llu h %llu min", whole / 3600, whole / 60 % 60);
	else
		snprintf(buf, size, "%llu d %llu h", whole / 86400, whole / 3600 % 24);
	return buf;
}

static const char *us_text(double us, char *buf, size_t size)
{
	if (us < 1000)
		snprintf(buf, size, "%.0f us", us);
	else if (us < 1e6)
		snprintf(buf, size, "%.2f ms", us / 1e3);
	else
		snprintf(buf, size, "%.2f s", us / 1e6);
	return buf;
}

/* The strings of an array with commas; "-" when there are none. */
static const char *list_text(const struct json *arr, char *buf, size_t size)
{
	size_t at = 0;

	snprintf(buf, size, "-");
	for (unsigned i = 0; i < json_length(arr) && at < size; i++)
		at += (size_t)snprintf(
			buf + at, size - at, "%s%s", i ? "," : "", json_string_at(arr, i, "?"));
	return buf;
}

static const char *member_bytes(const struct json *j, const char *key, char *buf, size_t size)
{
	return bytes_text((double)json_get_int(j, key, 0), buf, size);
}

/* ---- the table ---- */

struct table {
	unsigned rows, columns;
	char cell[CTL_VOLUMES_MAX + 1][COLUMNS_MAX][CELL_MAX];
};

static void table_add(struct table *t, unsigned row, unsigned *column, const char *text)
{
	if (*column == COLUMNS_MAX)
		return;
	snprintf(t->cell[row][*column], CELL_MAX, "%s", text && text[0] ? text : "-");
	++*column;
	t->columns = MAX(t->columns, *column);
}

static void table_print(const struct table *t, FILE *f)
{
	for (unsigned r = 0; r < t->rows; r++) {
		for (unsigned k = 0; k < t->columns; k++) {
			int width = 0;

			for (unsigned i = 0; i < t->rows; i++)
				width = MAX(width, (int)strlen(t->cell[i][k]));
			if (k + 1 < t->columns)
				fprintf(f, "%-*s  ", width, t->cell[r][k]);
			else
				fprintf(f, "%s\n", t->cell[r][k]);
		}
	}
}

/* "site-b in-sync, site-c down" */
static void peers_cell(const struct json *peers, char *buf, size_t size)
{
	size_t at = 0;

	buf[0] = '\0';
	for (unsigned i = 0; i < json_length(peers) && at < size; i++) {
		const struct json *p = json_at(peers, i);

		at += (size_t)snprintf(buf + at, size - at, "%s%s %s", i ? ", " : "",
			json_get_string(p, "domain", "?"), json_get_string(p, "state", "?"));
	}
}

static void wide_cells(struct table *t, unsigned row, unsigned *column, const struct json *j)
{
	const struct json *space = json_get(j, "space"), *peers = json_get(j, "peers");
	double lag_s = 0;
	int64_t lag = 0;
	char buf[CELL_MAX];

	table_add(t, row, column, member_bytes(space, "size", buf, sizeof(buf)));
	table_add(t, row, column, member_bytes(space, "free", buf, sizeof(buf)));
	table_add(t, row, column, member_bytes(json_get(j, "journal"), "free", buf, sizeof(buf)));
	for (unsigned i = 0; i < json_length(peers); i++) {
		lag = MAX(lag, json_get_int(json_at(peers, i), "lag_entries", 0));
		lag_s = MAX(lag_s, json_get_double(json_at(peers, i), "lag_s", 0));
	}
	snprintf(buf, sizeof(buf), "%lld/%.1fs", (long long)lag, lag_s);
	table_add(t, row, column, buf);
	table_add(
		t, row, column, duration_text(json_get_double(j, "uptime_s", 0), buf, sizeof(buf)));
}

static void table_row(struct table *t, unsigned row, const struct ctl_volume *v, bool wide)
{
	const struct json *j = v->answer;
	unsigned column = 0;
	char buf[CELL_MAX];

	table_add(t, row, &column, v->name);
	if (ctl_code(v) != 0) {
		table_add(t, row, &column, "?");
		table_add(t, row, &column, "no answer");
		while (column < t->columns)
			table_add(t, row, &column, "-");
		return;
	}
	table_add(t, row, &column, json_get_string(j, "domain", ""));
	table_add(t, row, &column, json_get_string(j, "role", ""));
	table_add(t, row, &column,
		json_get_bool(j, "mounted", false) ? json_get_string(j, "mount", "") : "");
	snprintf(buf, sizeof(buf), "%lld", (long long)json_get_int(j, "epoch", 0));
	table_add(t, row, &column, buf);
	table_add(t, row, &column, json_get_string(j, "active_domain", ""));
	table_add(t, row, &column, list_text(json_get(j, "in_sync"), buf, sizeof(buf)));
	if (wide)
		wide_cells(t, row, &column, j);
	peers_cell(json_get(j, "peers"), buf, sizeof(buf));
	table_add(t, row, &column, buf);
}

static void print_table(const struct ctl_volumes *vs, FILE *f, bool wide)
{
	static const char *const names[] = {
		"VOLUME", "DOMAIN", "ROLE", "MOUNTED-AT", "EPOCH", "ACTIVE", "IN-SYNC"};
	static const char *const wide_names[] = {"SIZE", "FREE", "JOURNAL-FREE", "LAG", "UP"};
	struct table *t = calloc(1, sizeof(*t));
	unsigned column = 0;

	ensure(t);
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
		table_add(t, 0, &column, names[i]);
	for (unsigned i = 0; wide && i < ARRAY_SIZE(wide_names); i++)
		table_add(t, 0, &column, wide_names[i]);
	table_add(t, 0, &column, "PEERS");
	for (unsigned i = 0; i < vs->count; i++)
		table_row(t, i + 1, &vs->v[i], wide);
	t->rows = vs->count + 1;
	table_print(t, f);
	free(t);
}

/* ---- one volume ---- */

static void print_history(FILE *f, const struct json *j)
{
	const struct json *seq = json_get(j, "seq"), *journal = json_get(j, "journal");
	char size[32], left[32];

	if (seq)
		fprintf(f,
			"  history    staged %lld, durable %lld, committed %lld, applied %lld, "
			"flushed %lld\n",
			(long long)json_get_int(seq, "staged", 0),
			(long long)json_get_int(seq, "durable", 0),
			(long long)json_get_int(seq, "committed", 0),
			(long long)json_get_int(seq, "applied", 0),
			(long long)json_get_int(seq, "flushed", 0));
	if (journal)
		fprintf(f, "  journal    %s of %s free, from seq %lld, written by %s\n",
			member_bytes(journal, "free", left, sizeof(left)),
			member_bytes(journal, "size", size, sizeof(size)),
			(long long)json_get_int(journal, "first_seq", 0),
			json_get_string(journal, "mode", "?"));
}

/* Older daemons say nothing of it. */
static void print_segments(FILE *f, const struct json *space)
{
	char a[32], b[32], c[32];

	if (!json_get(space, "allocated"))
		return;
	fprintf(f, "             data segments: %s live, %s dead, %s allocated\n",
		member_bytes(space, "live", a, sizeof(a)),
		member_bytes(space, "dead", b, sizeof(b)),
		member_bytes(space, "allocated", c, sizeof(c)));
}

static void print_space(FILE *f, const struct json *j)
{
	const struct json *s = json_get(j, "space");
	char a[32], b[32], c[32];

	if (!s)
		return;
	fprintf(f, "  space      %s used of %s, %s free, %lld inodes\n",
		member_bytes(s, "used", a, sizeof(a)), member_bytes(s, "size", b, sizeof(b)),
		member_bytes(s, "free", c, sizeof(c)), (long long)json_get_int(s, "inodes", 0));
	print_segments(f, s);
	fprintf(f, "             the disk below: %s free of %s; metadata %s\n",
		member_bytes(s, "disk_free", a, sizeof(a)),
		member_bytes(s, "disk_total", b, sizeof(b)),
		member_bytes(s, "meta_bytes", c, sizeof(c)));
}

static void print_kept(FILE *f, const struct json *j)
{
	const struct json *kept = json_get(j, "kept");

	for (unsigned i = 0; i < json_length(kept); i++)
		fprintf(f, "%s%s\n",
			i ? "             "
			  : "  kept       given up by resync, until you remove it: ",
			json_string_at(kept, i, "?"));
}

static void print_latency(FILE *f, const struct json *j)
{
	static const char *const stages[] = {
		"queue", "local", "network", "remote", "reply", "total"};
	const struct json *latency = json_get(j, "latency"), *all = json_get(latency, "stages");
	char a[32], b[32];

	if (!all || !json_get_int(latency, "ops", 0))
		return;
	fprintf(f, "  latency    %lld operations in %.0f s       p50        p99\n",
		(long long)json_get_int(latency, "ops", 0),
		json_get_double(latency, "window_s", 0));
	for (unsigned i = 0; i < ARRAY_SIZE(stages); i++) {
		const struct json *s = json_get(all, stages[i]);

		if (s)
			fprintf(f, "             %-20s %10s %10s\n", stages[i],
				us_text(json_get_double(s, "p50_us", 0), a, sizeof(a)),
				us_text(json_get_double(s, "p99_us", 0), b, sizeof(b)));
	}
}

/* A text of perhaps several lines behind a label. */
static void print_text(FILE *f, const char *label, const char *text)
{
	char prefix[32];

	if (!text[0])
		return;
	snprintf(prefix, sizeof(prefix), "  %-10s ", label);
	ctl_print(f, prefix, text);
	fputc('\n', f);
}

/* "for 3 min, since 2026-11-29 10:01:22": a trouble has a beginning. */
static void print_since(FILE *f, const char *prefix, double s)
{
	time_t begin = time(NULL) - (time_t)s;
	char buf[32], at[32] = "";
	struct tm tm;

	if (s < 0)
		return;
	if (localtime_r(&begin, &tm))
		strftime(at, sizeof(at), "%Y-%m-%d %H:%M:%S", &tm);
	fprintf(f, "%sfor %s, since %s\n", prefix, duration_text(s, buf, sizeof(buf)), at);
}

static void print_peer(FILE *f, const struct json *p, bool wide)
{
	const struct json *space = json_get(p, "space");
	double heard = json_get_double(p, "last_heard_s", -1),
	       rtt = json_get_double(p, "rtt_us", -1);
	const char *security = json_get_string(p, "security", ""),
		   *node = json_get_string(p, "node", "");
	char a[32], b[32];

	fprintf(f, "  peer       %s: %s, %s", json_get_string(p, "domain", "?"),
		json_get_string(p, "state", "?"),
		json_get_bool(p, "connected", false) ? "connected" : "not connected");
	if (security[0])
		fprintf(f, " (%s)", security);
	fprintf(f, ", %s", json_get_string(p, "address", "address unknown"));
	fprintf(f, node[0] ? ", node %s\n" : "\n", node);
	if (wide)
		fprintf(f, "             replica %s\n", json_get_string(p, "replica", "?"));
	if (heard >= 0)
		fprintf(f, "             last heard %s ago", duration_text(heard, a, sizeof(a)));
	else
		fprintf(f, "             not heard since this daemon started");
	if (rtt >= 0)
		fprintf(f, ", round trip %s", us_text(rtt, a, sizeof(a)));
	fprintf(f,
		"\n             behind by %lld entries, %s, %s; received %lld, applied %lld, "
		"flushed %lld\n",
		(long long)json_get_int(p, "lag_entries", 0),
		member_bytes(p, "lag_bytes", a, sizeof(a)),
		duration_text(json_get_double(p, "lag_s", 0), b, sizeof(b)),
		(long long)json_get_int(p, "received", 0), (long long)json_get_int(p, "applied", 0),
		(long long)json_get_int(p, "flushed", 0));
	if (json_get_int(space, "disk_total", 0)) {
		char c[32];

		fprintf(f, "             grants %s of data; its disk: %s free of %s\n",
			member_bytes(space, "data_free", a, sizeof(a)),
			member_bytes(space, "disk_free", b, sizeof(b)),
			member_bytes(space, "disk_total", c, sizeof(c)));
	}
	print_segments(f, space);
	if (json_get_bool(space, "full", false))
		fprintf(f, "             its disk is full\n");
	if (json_get_string(p, "text", "")[0])
		print_text(f, "", json_get_string(p, "text", ""));
	if (strcmp(json_get_string(p, "state", ""), "in-sync") != 0 &&
		strcmp(json_get_string(p, "state", ""), "followed") != 0)
		print_since(f, "             so ", json_get_double(p, "state_since_s", -1));
}

static void print_head(FILE *f, const struct ctl_volume *v, bool wide)
{
	const struct json *j = v->answer;
	const char *active = json_get_string(j, "active_domain", NULL);
	const char *mount = json_get_string(j, "mount", NULL);
	bool mounted = json_get_bool(j, "mounted", false);
	char buf[256];

	fprintf(f, "volume %s\n", json_get_string(j, "volume", v->name));
	if (wide)
		fprintf(f, "  identity   volume %s, replica %s\n", json_get_string(j, "uuid", "?"),
			json_get_string(j, "replica", "?"));
	fprintf(f, "  role       %s in %s, %s%s", json_get_string(j, "role", "?"),
		json_get_string(j, "domain", "?"), mounted ? "mounted at " : "not mounted",
		mounted && mount ? mount : "");
	fprintf(f, ", up for %s\n",
		duration_text(json_get_double(j, "uptime_s", 0), buf, sizeof(buf)));
	fprintf(f, "  record     version %lld, epoch %lld",
		(long long)json_get_int(j, "record_version", 0),
		(long long)json_get_int(j, "epoch", 0));
	if (wide && json_get_string(j, "epoch_id", "")[0])
		fprintf(f, " (%s)", json_get_string(j, "epoch_id", ""));
	fprintf(f, ", active: %s, in sync: %s", active ? active : "none",
		list_text(json_get(j, "in_sync"), buf, sizeof(buf)));
	fprintf(f, ", inactive: %s\n", list_text(json_get(j, "inactive"), buf, sizeof(buf)));
	if (!strcmp(json_get_string(j, "ack", "op"), "fsync"))
		fprintf(f, "  ack        fsync: what is synced is on every site in the set; the "
			   "rest follows "
			   "at once\n");
}

static void print_volume(FILE *f, const struct ctl_volume *v, bool wide)
{
	const struct json *j = v->answer, *counters = json_get(j, "counters"), *peers;
	char buf[32];

	fputc('\n', f);
	if (ctl_code(v) != 0) {
		fprintf(f, "volume %s\n", v->name);
		print_text(f, "trouble", ctl_text(v));
		return;
	}
	if (!strcmp(json_get_string(j, "role", ""), "recovering")) { /* it knows no more yet */
		const char *trouble = json_get_string(j, "trouble", "");

		fprintf(f, "volume %s\n  role       %s in %s for %s, not mounted\n",
			json_get_string(j, "volume", v->name),
			trouble[0] ? "cannot recover" : "recovering its journal",
			json_get_string(j, "domain", "?"),
			duration_text(json_get_double(j, "uptime_s", 0), buf, sizeof(buf)));
		if (trouble[0])
			print_text(f, "trouble", trouble);
		return;
	}
	print_head(f, v, wide);
	print_text(f, "trouble", json_get_string(j, "trouble", ""));
	if (json_get_string(j, "trouble", "")[0])
		print_since(f, "             ", json_get_double(j, "trouble_since_s", -1));
	print_history(f, j);
	print_space(f, j);
	print_kept(f, j);
	if (counters)
		fprintf(f,
			"  operations %lld in %lld batches, %s, %lld errors; waiting now: %lld\n",
			(long long)json_get_int(counters, "ops", 0),
			(long long)json_get_int(counters, "batches", 0),
			member_bytes(counters, "bytes", buf, sizeof(buf)),
			(long long)json_get_int(counters, "errors", 0),
			(long long)json_get_int(j, "waiting_ops", 0));
	if (json_get_int(counters, "damaged", 0))
		fprintf(f, "  damaged blocks met %lld, repaired from the peer %lld (see the log)\n",
			(long long)json_get_int(counters, "damaged", 0),
			(long long)json_get_int(counters, "repaired", 0));
	print_latency(f, j);
	peers = json_get(j, "peers");
	for (unsigned i = 0; i < json_length(peers); i++)
		print_peer(f, json_at(peers, i), wide);
	print_text(f, "next", json_get_string(j, "next", ""));
}

/* The site's certificates are the agent's, too, whether there is a volume or not. */
static void print_agent(const struct ctl *c)
{
	if (!c->agent_trouble[0])
		return;
	fputs("\nagent of this node\n", c->out);
	print_text(c->out, "trouble", c->agent_trouble);
	print_text(c->out, "next", c->agent_next);
}

/* The daemons' answers as they are; a volume without one has its name, code and text. */
static void print_values(const struct ctl *c, struct ctl_volumes *vs)
{
	struct json *arr = json_array();

	for (unsigned i = 0; i < vs->count; i++) {
		struct ctl_volume *v = &vs->v[i];

		if (!v->answer) {
			v->answer = json_object();
			json_set_int(v->answer, "code", v->e.code);
			json_set_string(v->answer, "text", v->e.msg);
			json_set_string(v->answer, "volume", v->name);
		}
		json_append(arr, v->answer);
		v->answer = NULL; /* it is the array's */
	}
	ctl_print_value(c, c->out, arr);
	json_free(arr);
}

int cmd_status(struct ctl *c, unsigned nargs, const char *const *args)
{
	struct ctl_volumes *vs;
	int status = ctl_volumes_status(c, nargs ? args[0] : NULL, &vs);

	if (status) { /* perhaps there is no volume yet, and an agent */
		if (!ctl_output_is_value(c))
			print_agent(c);
		return status;
	}
	for (unsigned i = 0; i < vs->count; i++)
		if (ctl_code(&vs->v[i]) != 0)
			status = CTL_FAILED;
	if (ctl_output_is_value(c)) {
		print_values(c, vs);
	} else {
		print_table(vs, c->out, c->output == CTL_OUTPUT_WIDE);
		for (unsigned i = 0; i < vs->count; i++)
			print_volume(c->out, &vs->v[i], c->output == CTL_OUTPUT_WIDE);
		print_agent(c);
	}
	ctl_volumes_free(vs);
	return status;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The metrics are a table: a name, its type, what it means, and where its value stands in the account. A
 * family's samples stand together, as the format demands, so each row walks over all volumes.
 *
 * Names as Prometheus wants them: base units (bytes, seconds), _total for what only grows. What a restart of
 * a daemon sets to 0 is a counter all the same: that is what rate() expects.
 */
#include "metrics.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum scope { OF_SUPERVISION, OF_STATUS, OF_PEER };

struct metric {
	const char *name, *type, *help;
	enum scope scope;
	const char *path; /* members, with dots between them */
	double scale;
};

static const struct metric metrics[] = {
	{"tandem_daemon_starts_total", "counter", "Starts of the volume's daemon by this agent.",
		OF_SUPERVISION, "starts", 1},
	{"tandem_daemon_failures", "gauge", "Ends of the daemon in a row, each within a minute.",
		OF_SUPERVISION, "failures", 1},
	{"tandem_daemon_upgrade_pending", "gauge", "1 when the daemon runs an older program.",
		OF_SUPERVISION, "upgrade_pending", 1},
	{"tandem_uptime_seconds", "gauge", "Since the daemon started.", OF_STATUS, "uptime_s", 1},
	{"tandem_mounted", "gauge", "1 where the volume is mounted.", OF_STATUS, "mounted", 1},
	{"tandem_epoch", "gauge", "Fencing number of the record.", OF_STATUS, "epoch", 1},
	{"tandem_waiting_operations", "gauge", "Operations that wait to be committed.", OF_STATUS,
		"waiting_ops", 1},
	{"tandem_commit_wait_seconds", "gauge",
		"How long the oldest operation has waited to be committed.", OF_STATUS,
		"oldest_wait_s", 1},
	{"tandem_staged_seq", "gauge", "Last entry that has its place.", OF_STATUS, "seq.staged",
		1},
	{"tandem_durable_seq", "gauge", "Last entry durable here.", OF_STATUS, "seq.durable", 1},
	{"tandem_committed_seq", "gauge", "Last entry durable on every replica of the set.",
		OF_STATUS, "seq.committed", 1},
	{"tandem_applied_seq", "gauge", "Last entry applied here.", OF_STATUS, "seq.applied", 1},
	{"tandem_flushed_seq", "gauge", "Last entry in the metadata's files.", OF_STATUS,
		"seq.flushed", 1},
	{"tandem_size_bytes", "gauge", "The volume's size.", OF_STATUS, "space.size", 1},
	{"tandem_free_bytes", "gauge", "What can still be written.", OF_STATUS, "space.free", 1},
	{"tandem_live_bytes", "gauge", "Live data.", OF_STATUS, "space.live", 1},
	{"tandem_dead_bytes", "gauge", "Dead data whose space is not given back yet.", OF_STATUS,
		"space.dead", 1},
	{"tandem_allocated_bytes", "gauge", "What the data's files have on the disk.", OF_STATUS,
		"space.allocated", 1},
	{"tandem_metadata_bytes", "gauge", "What the metadata's files have on the disk.", OF_STATUS,
		"space.meta_bytes", 1},
	{"tandem_disk_free_bytes", "gauge", "Free on the replica's disk.", OF_STATUS,
		"space.disk_free", 1},
	{"tandem_disk_size_bytes", "gauge", "Size of the replica's disk.", OF_STATUS,
		"space.disk_total", 1},
	{"tandem_full", "gauge", "1 while there is no space.", OF_STATUS, "space.full", 1},
	{"tandem_inodes", "gauge", "Files and directories.", OF_STATUS, "space.inodes", 1},
	{"tandem_journal_size_bytes", "gauge", "The journal's size.", OF_STATUS, "journal.size", 1},
	{"tandem_journal_free_bytes", "gauge", "Free in the journal.", OF_STATUS, "journal.free",
		1},
	{"tandem_operations_total", "counter", "Operations that changed something.", OF_STATUS,
		"counters.ops", 1},
	{"tandem_batches_total", "counter", "Journal writes.", OF_STATUS, "counters.batches", 1},
	{"tandem_journal_written_bytes_total", "counter", "Bytes of journal writes.", OF_STATUS,
		"counters.bytes", 1},
	{"tandem_waits_total", "counter", "Times the volume's daemon waited for something to do.",
		OF_STATUS, "counters.waits", 1},
	{"tandem_polled_waits_total", "counter", "Of these, those that ended before it slept.",
		OF_STATUS, "counters.waits_polled", 1},
	{"tandem_errors_total", "counter", "Operations that were answered with an error.",
		OF_STATUS, "counters.errors", 1},
	{"tandem_checkpoints_total", "counter", "Checkpoints.", OF_STATUS, "counters.checkpoints",
		1},
	{"tandem_damaged_blocks_total", "counter", "Blocks whose checksum was wrong.", OF_STATUS,
		"counters.damaged", 1},
	{"tandem_repaired_blocks_total", "counter", "Blocks repaired from a peer.", OF_STATUS,
		"counters.repaired", 1},
	{"tandem_peer_connected", "gauge", "1 while the peer is connected.", OF_PEER, "connected",
		1},
	{"tandem_peer_last_heard_seconds", "gauge", "Since the peer was heard.", OF_PEER,
		"last_heard_s", 1},
	{"tandem_peer_rtt_seconds", "gauge", "Round trip to the peer.", OF_PEER, "rtt_us", 1e-6},
	{"tandem_peer_lag_entries", "gauge", "Entries that the peer has not acknowledged.", OF_PEER,
		"lag_entries", 1},
	{"tandem_peer_lag_bytes", "gauge", "Bytes of them, as far as known.", OF_PEER, "lag_bytes",
		1},
	{"tandem_peer_lag_seconds", "gauge", "Age of the oldest of them.", OF_PEER, "lag_s", 1},
	{"tandem_peer_disk_free_bytes", "gauge", "Free on the peer's disk.", OF_PEER,
		"space.disk_free", 1},
};

/* A label's value: what would end it is escaped. */
static void print_label(FILE *f, const char *name, const char *value)
{
	fprintf(f, "%s=\"", name);
	for (; *value; value++) {
		if (*value == '\n')
			fputs("\\n", f);
		else if (*value == '"' || *value == '\\')
			fprintf(f, "\\%c", *value);
		else
			fputc(*value, f);
	}
	fputc('"', f);
}

static void print_head(FILE *f, const char *name, const char *type, const char *help)
{
	fprintf(f, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* name{volume="...",domain="..." and, where they are not NULL, peer and another label */
static void print_name(FILE *f, const char *name, const struct json *v, const char *domain,
	const char *peer, const char *label, const char *value)
{
	fprintf(f, "%s{", name);
	print_label(f, "volume", json_get_string(v, "volume", ""));
	fputc(',', f);
	print_label(f, "domain", domain);
	if (peer) {
		fputc(',', f);
		print_label(f, "peer", peer);
	}
	if (label) {
		fputc(',', f);
		print_label(f, label, value);
	}
}

/* The value at a path: a number, or 0 and 1. NAN when it is not there. */
static double value_at(const struct json *j, const char *path)
{
	char part[32];
	double n;

	for (const char *dot; (dot = strchr(path, '.')); path = dot + 1) {
		snprintf(part, sizeof(part), "%.*s", (int)(dot - path), path);
		j = json_get(j, part);
	}
	n = json_get_double(j, path, NAN);
	if (!isnan(n))
		return n;
	if (json_get_bool(j, path, false))
		return 1;
	return json_get_bool(j, path, true) ? NAN : 0;
}

static void print_value(FILE *f, double n)
{
	if (n == floor(n) && fabs(n) < 1e15)
		fprintf(f, "} %.0f\n", n);
	else
		fprintf(f, "} %.9g\n", n);
}

static void print_metric(FILE *f, const struct metric *m, const struct json *v, const char *domain)
{
	const struct json *status = json_get(v, "status"), *peers = json_get(status, "peers");
	double n;

	if (m->scope != OF_PEER) {
		n = value_at(m->scope == OF_STATUS ? status : json_get(v, "supervision"), m->path);
		if (isnan(n))
			return;
		print_name(f, m->name, v, domain, NULL, NULL, NULL);
		print_value(f, n * m->scale);
		return;
	}
	for (unsigned i = 0; i < json_length(peers); i++) {
		const struct json *p = json_at(peers, i);

		n = value_at(p, m->path);
		if (isnan(n))
			continue;
		print_name(f, m->name, v, domain, json_get_string(p, "domain", ""), NULL, NULL);
		print_value(f, n * m->scale);
	}
}

/* One of a family: 1 for the word that is said, 0 for the others, so that none goes unnoticed. */
static void print_states(FILE *f, const struct json *volumes, const char *domain)
{
	static const char *const states[] = {
		"looking", "starting", "running", "silent", "waiting", "refused", "gone"};

	print_head(f, "tandem_daemon_state", "gauge", "1 for the state the supervision is in.");
	for (unsigned i = 0; i < json_length(volumes); i++) {
		const struct json *v = json_at(volumes, i);
		const char *is = json_get_string(json_get(v, "supervision"), "state", "");

		for (unsigned k = 0; k < ARRAY_SIZE(states); k++) {
			print_name(f, "tandem_daemon_state", v, domain, NULL, "state", states[k]);
			print_value(f, !strcmp(is, states[k]));
		}
	}
	print_head(f, "tandem_up", "gauge", "1 when the daemon answers.");
	for (unsigned i = 0; i < json_length(volumes); i++) {
		const struct json *v = json_at(volumes, i);

		print_name(f, "tandem_up", v, domain, NULL, NULL, NULL);
		print_value(f, json_get(v, "status") != NULL);
	}
}

static void print_roles(FILE *f, const struct json *volumes, const char *domain)
{
	print_head(f, "tandem_active", "gauge", "1 where this replica is the active one.");
	for (unsigned i = 0; i < json_length(volumes); i++) {
		const struct json *v = json_at(volumes, i), *s = json_get(v, "status");

		if (!s)
			continue;
		print_name(f, "tandem_active", v, domain, NULL, NULL, NULL);
		print_value(f, !strcmp(json_get_string(s, "role", ""), "active"));
	}
	print_head(f, "tandem_in_sync_replicas", "gauge", "Replicas in the record's in-sync set.");
	for (unsigned i = 0; i < json_length(volumes); i++) {
		const struct json *v = json_at(volumes, i),
				  *set = json_get(json_get(v, "status"), "in_sync");

		if (!set)
			continue;
		print_name(f, "tandem_in_sync_replicas", v, domain, NULL, NULL, NULL);
		print_value(f, json_length(set));
	}
}

static void print_peer_states(FILE *f, const struct json *volumes, const char *domain)
{
	static const struct {
		const char *name, *state, *help;
	} of[] = {
		{"tandem_peer_in_sync", "in-sync", "1 while the peer is in sync."},
		{"tandem_split_brain", "fork",
			"1 when both sides have gone on: a person must decide."},
	};

	for (unsigned k = 0; k < ARRAY_SIZE(of); k++) {
		print_head(f, of[k].name, "gauge", of[k].help);
		for (unsigned i = 0; i < json_length(volumes); i++) {
			const struct json *v = json_at(volumes, i);
			const struct json *peers = json_get(json_get(v, "status"), "peers");

			for (unsigned p = 0; p < json_length(peers); p++) {
				const struct json *peer = json_at(peers, p);

				print_name(f, of[k].name, v, domain,
					json_get_string(peer, "domain", ""), NULL, NULL);
				print_value(f,
					!strcmp(json_get_string(peer, "state", ""), of[k].state));
			}
		}
	}
}

/* Quantiles over the daemon's window. A stage that an older daemon does not know has none. */
static void print_latency(FILE *f, const struct json *volumes, const char *domain)
{
	static const char *const stages[] = {
		"queue", "local", "network", "remote", "reply", "total"};
	static const char *const members[] = {"p50_us", "p99_us"};
	static const char *const names[] = {
		"tandem_latency_median_seconds", "tandem_latency_p99_seconds"};

	for (unsigned k = 0; k < ARRAY_SIZE(members); k++) {
		print_head(f, names[k], "gauge", "Of the latest operations, by stage.");
		for (unsigned i = 0; i < json_length(volumes); i++) {
			const struct json *v = json_at(volumes, i);
			const struct json *of =
				json_get(json_get(json_get(v, "status"), "latency"), "stages");

			for (unsigned s = 0; s < ARRAY_SIZE(stages); s++) {
				double us =
					json_get_double(json_get(of, stages[s]), members[k], NAN);

				if (isnan(us))
					continue;
				print_name(f, names[k], v, domain, NULL, "stage", stages[s]);
				print_value(f, us / 1e6);
			}
		}
	}
}

void metrics_expiry(FILE *f, const struct expiry *x, const char *domain)
{
	const struct {
		const char *which;
		int64_t not_after_s;
	} of[] = {{"own", x->own.not_after_s}, {"ca", x->authority.not_after_s}};

	print_head(f, "tandem_cert_expiry_timestamp_seconds", "gauge",
		"When the site's own certificate and its authority end, since 1970.");
	for (unsigned i = 0; i < ARRAY_SIZE(of); i++) {
		if (!of[i].not_after_s)
			continue;
		fputs("tandem_cert_expiry_timestamp_seconds{", f);
		print_label(f, "domain", domain);
		fputc(',', f);
		print_label(f, "which", of[i].which);
		print_value(f, (double)of[i].not_after_s);
	}
}

char *metrics_text(
	const struct json *volumes, const struct expiry *x, const char *domain, const char *version)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	ensure(f);
	print_head(f, "tandem_build_info", "gauge", "The agent's version.");
	fputs("tandem_build_info{", f);
	print_label(f, "version", version);
	fputc(',', f);
	print_label(f, "domain", domain);
	print_value(f, 1);
	metrics_expiry(f, x, domain);
	print_states(f, volumes, domain);
	print_roles(f, volumes, domain);
	for (unsigned m = 0; m < ARRAY_SIZE(metrics); m++) {
		print_head(f, metrics[m].name, metrics[m].type, metrics[m].help);
		for (unsigned i = 0; i < json_length(volumes); i++)
			print_metric(f, &metrics[m], json_at(volumes, i), domain);
	}
	print_peer_states(f, volumes, domain);
	print_latency(f, volumes, domain);
	ensure(fclose(f) == 0);
	return text;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* tandemctl get of a cluster's objects: the server's own table, so that the columns are those of kubectl get. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ctl.h"
#include "kube.h"

#define CELL_MAX 256

static const struct {
	const char *singular, *alias;
	struct kube_kind kind;
} kinds[] = {
	{"failover", "fo", KUBE_KIND("tandemfs.dev", "v1alpha1", "Failover", "failovers", false)},
	{"clusterdomainsstatus", "cds",
		KUBE_KIND("tandemfs.dev", "v1alpha1", "ClusterDomainsStatus",
			"clusterdomainsstatuses", false)},
	{"migration", "mig",
		KUBE_KIND("tandemfs.dev", "v1alpha1", "Migration", "migrations", true)},
	{"migrationschedule", "ms",
		KUBE_KIND("tandemfs.dev", "v1alpha1", "MigrationSchedule", "migrationschedules",
			true)},
	{"clusterpair", "cp",
		KUBE_KIND("tandemfs.dev", "v1alpha1", "ClusterPair", "clusterpairs", true)},
	{"schedulepolicy", "sp",
		KUBE_KIND("tandemfs.dev", "v1alpha1", "SchedulePolicy", "schedulepolicies", false)},
	{"clusterdomainupdate", "cdu",
		KUBE_KIND("tandemfs.dev", "v1alpha1", "ClusterDomainUpdate", "clusterdomainupdates",
			false)},
	{"rule", "rule", KUBE_KIND("tandemfs.dev", "v1alpha1", "Rule", "rules", true)},
	{"volume", "tvol", KUBE_KIND("tandemfs.dev", "v1alpha1", "Volume", "volumes", false)},
};

static const struct kube_kind *kind_find(const char *what)
{
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++)
		if (!strcmp(what, kinds[i].singular) || !strcmp(what, kinds[i].alias) ||
			!strcmp(what, kinds[i].kind.plural))
			return &kinds[i].kind;
	return NULL;
}

/* A cell's text; of a header in capitals. */
static void cell(const struct json *row, unsigned i, char *ret)
{
	const char *text = json_string_at(row, i, NULL);

	if (!text)
		text = json_at(row, i) ? json_text(json_at(row, i), false) : "";
	snprintf(ret, CELL_MAX, "%s", text);
}

static void header(const struct json *column, char *ret)
{
	snprintf(ret, CELL_MAX, "%s", json_get_string(column, "name", ""));
	for (char *p = ret; *p; p++)
		*p = (char)toupper((unsigned char)*p);
}

/* A column of what there is; the first one may be the namespaces. */
struct column {
	bool shown, last;
	int width;
};

static void print_row(FILE *f, const struct column *columns, unsigned n, const struct json *ns,
	int ns_width, const struct json *row, const struct json *definitions)
{
	char text[CELL_MAX];

	if (ns_width)
		fprintf(f, "%-*s   ", ns_width,
			ns ? json_get_string(ns, "namespace", "") : "NAMESPACE");
	for (unsigned i = 0; i < n; i++) {
		if (!columns[i].shown)
			continue;
		if (row)
			cell(row, i, text);
		else
			header(json_at(definitions, i), text);
		if (columns[i].last)
			fprintf(f, "%s\n", text);
		else
			fprintf(f, "%-*s   ", columns[i].width, text);
	}
}

static void print_table(const struct ctl *c, FILE *f, const struct json *table, bool namespaces)
{
	const struct json *definitions = json_get(table, "columnDefinitions"),
			  *rows = json_get(table, "rows");
	unsigned n = json_length(definitions), last = 0;
	struct column *columns = calloc(n + 1, sizeof(*columns));
	int ns_width = namespaces ? (int)strlen("NAMESPACE") : 0;
	char text[CELL_MAX];

	ensure(columns);
	for (unsigned i = 0; i < n; i++) {
		columns[i].shown = c->output == CTL_OUTPUT_WIDE ||
				   !json_get_int(json_at(definitions, i), "priority", 0);
		header(json_at(definitions, i), text);
		columns[i].width = (int)strlen(text);
		last = columns[i].shown ? i : last;
		for (unsigned r = 0; r < json_length(rows); r++) {
			cell(json_get(json_at(rows, r), "cells"), i, text);
			columns[i].width = MAX(columns[i].width, (int)strlen(text));
		}
	}
	columns[last].last = true;
	for (unsigned r = 0; namespaces && r < json_length(rows); r++)
		ns_width = MAX(ns_width,
			(int)strlen(json_get_string(
				json_get(json_get(json_at(rows, r), "object"), "metadata"),
				"namespace", "")));
	print_row(f, columns, n, NULL, ns_width, NULL, definitions);
	for (unsigned r = 0; r < json_length(rows); r++)
		print_row(f, columns, n, json_get(json_get(json_at(rows, r), "object"), "metadata"),
			ns_width, json_get(json_at(rows, r), "cells"), NULL);
	free(columns);
}

static int get_once(struct ctl *c, struct kube *k, const struct kube_kind *kind, const char *ns,
	FILE *f, struct err *e)
{
	struct json *j = NULL;
	int ret;

	if (ctl_output_is_value(c)) {
		j = json_array();
		ret = kube_list(k, kind, ns, NULL, j, NULL, e);
		if (!ret) /* the one that there is, as of this node's volumes */
			ctl_print_value(c, f,
				!strcmp(kind->kind, "ClusterDomainsStatus") && json_length(j) == 1
					? json_at(j, 0)
					: j);
	} else {
		ret = kube_table(k, kind, ns, &j, e);
		if (!ret && !json_length(json_get(j, "rows")))
			fprintf(f, "No %s found%s%s%s.\n", kind->plural,
				ns ? " in namespace '" : "", ns ? ns : "", ns ? "'" : "");
		else if (!ret)
			print_table(c, f, j, kind->namespaced && !ns);
		if (!ret && *json_get_string(json_get(j, "metadata"), "continue", ""))
			fprintf(f, "... there are more; '-o json' has them all.\n");
	}
	json_free(j);
	return ret;
}

/* Prints again whenever it changes; ends with a failure or from outside. */
static int get_all(
	struct ctl *c, struct kube *k, const struct kube_kind *kind, const char *ns, struct err *e)
{
	char *before = NULL, *now = NULL;
	int ret = 0;

	do {
		size_t len;
		FILE *f = open_memstream(&now, &len);

		ensure(f);
		ret = get_once(c, k, kind, ns, f, e);
		fclose(f);
		if (!ret && (!before || strcmp(before, now) != 0)) {
			fputs(now, c->out);
			if (fflush(c->out))
				ret = err_set(e, -1, "cannot write");
		}
		free(before);
		before = now;
		now = NULL;
		if (!ret && c->watch)
			nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
	} while (!ret && c->watch);
	free(before);
	return ret;
}

int cmd_get_objects(struct ctl *c, const char *what, bool *ret_is)
{
	const struct kube_kind *kind = kind_find(what);
	struct kube *k = NULL;
	struct err e = {0};
	char *ns = NULL;
	int ret;

	*ret_is = kind != NULL;
	if (!kind)
		return CTL_OK;
	if (c->ns && c->all_namespaces)
		return ctl_usage_error(c, "get", "--namespace and --all-namespaces: which ones?");
	ret = ctl_refuse(c, "get", what,
		kind->namespaced ? "--run-dir --timeout"
				 : "--run-dir --timeout --namespace --all-namespaces");
	if (ret)
		return ret;
	ret = ctl_kube_open(c, &k, &ns);
	if (ret)
		return ret;
	ret = get_all(c, k, kind, kind->namespaced && !c->all_namespaces ? ns : NULL, &e);
	kube_free(k);
	free(ns);
	return ret ? ctl_fail(c, "%s", e.msg) : CTL_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `kubectl get` for objects of one kind, in a tenth of its time: tests ask many times a second, and what they wait for
 * runs beside them.
 *
 *   kget KUBECONFIG [-n NAMESPACE] [-A] get KIND[/NAME] [NAME] -o json     get pods -o 'jsonpath={.items[*].status.podIP}'
 *
 * Status 0; 1 for an object that is not there, as kubectl says it; 3, and nothing printed, for what only kubectl knows how
 * to do (other kinds, flags, paths and formats), and whatever else the API answers.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kube.h"

#define ASK_KUBECTL 3

struct named {
	const char *names; /* " pods pod po " */
	struct kube_kind kind;
};

static const struct named all_kinds[] = {
	{" pods pod po ", {"", "v1", "Pod", "pods", true, true, true}},
	{" services service svc ", {"", "v1", "Service", "services", true, true, true}},
	{" secrets secret ", {"", "v1", "Secret", "secrets", true, true, true}},
	{" configmaps configmap cm ", {"", "v1", "ConfigMap", "configmaps", true, true, true}},
	{" events event ", {"", "v1", "Event", "events", true, true, true}},
	{" serviceaccounts serviceaccount sa ",
		{"", "v1", "ServiceAccount", "serviceaccounts", true, true, true}},
	{" persistentvolumeclaims persistentvolumeclaim pvc ",
		{"", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", true, true, true}},
	{" persistentvolumes persistentvolume pv ",
		{"", "v1", "PersistentVolume", "persistentvolumes", false, true, true}},
	{" nodes node no ", {"", "v1", "Node", "nodes", false, true, true}},
	{" namespaces namespace ns ", {"", "v1", "Namespace", "namespaces", false, true, true}},
	{" deployments deployment deploy ",
		{"apps", "v1", "Deployment", "deployments", true, true, true}},
	{" statefulsets statefulset sts ",
		{"apps", "v1", "StatefulSet", "statefulsets", true, true, true}},
	{" daemonsets daemonset ds ", {"apps", "v1", "DaemonSet", "daemonsets", true, true, true}},
	{" jobs job ", {"batch", "v1", "Job", "jobs", true, true, true}},
	{" cronjobs cronjob cj ", {"batch", "v1beta1", "CronJob", "cronjobs", true, true, true}},
	{" leases lease ", {"coordination.k8s.io", "v1", "Lease", "leases", true, true, true}},
	{" storageclasses storageclass sc ",
		{"storage.k8s.io", "v1", "StorageClass", "storageclasses", false, true, true}},
	{" volumes.tandemfs.dev tvol ",
		{"tandemfs.dev", "v1alpha1", "Volume", "volumes", false, true, true}},
	{" migrations migration mig ",
		{"tandemfs.dev", "v1alpha1", "Migration", "migrations", true, true, true}},
	{" migrationschedules migrationschedule ms ",
		{"tandemfs.dev", "v1alpha1", "MigrationSchedule", "migrationschedules", true, true,
			true}},
	{" schedulepolicies schedulepolicy sp ", {"tandemfs.dev", "v1alpha1", "SchedulePolicy",
							 "schedulepolicies", false, true, true}},
	{" clusterpairs clusterpair cp ",
		{"tandemfs.dev", "v1alpha1", "ClusterPair", "clusterpairs", true, true, true}},
	{" clusterdomainsstatuses clusterdomainsstatus cds ",
		{"tandemfs.dev", "v1alpha1", "ClusterDomainsStatus", "clusterdomainsstatuses",
			false, true, true}},
	{" clusterdomainupdates clusterdomainupdate cdu ",
		{"tandemfs.dev", "v1alpha1", "ClusterDomainUpdate", "clusterdomainupdates", false,
			true, true}},
	{" failovers failover fo ",
		{"tandemfs.dev", "v1alpha1", "Failover", "failovers", false, true, true}},
};

struct asked {
	const struct kube_kind *kind;
	const char *ns, *name, *format;
	bool all;
};

static const struct kube_kind *kind_find(const char *name, size_t len)
{
	char word[64];

	if (snprintf(word, sizeof(word), " %.*s ", (int)len, name) >= (int)sizeof(word))
		return NULL;
	for (unsigned i = 0; i < ARRAY_SIZE(all_kinds); i++)
		if (strstr(all_kinds[i].names, word))
			return &all_kinds[i].kind;
	return NULL;
}

static int asked_parse(int argc, char **argv, struct asked *ret)
{
	unsigned words = 0;

	for (int i = 0; i < argc; i++) {
		const char *a = argv[i], *slash = strchr(a, '/');

		if ((!strcmp(a, "-n") || !strcmp(a, "-o")) && i + 1 < argc) {
			*(a[1] == 'n' ? &ret->ns : &ret->format) = argv[++i];
			continue;
		}
		if (!strcmp(a, "-A")) {
			ret->all = true;
			continue;
		}
		if (a[0] == '-' || words > 2 || (words == 0 && strcmp(a, "get")) ||
			(words == 2 && ret->name))
			return ASK_KUBECTL;
		if (words == 1) {
			ret->kind = kind_find(a, slash ? (size_t)(slash - a) : strlen(a));
			ret->name = slash ? slash + 1 : NULL;
		} else if (words == 2) {
			ret->name = a;
		}
		words++;
	}
	if (!ret->kind || !ret->format || (ret->all && ret->name) || (ret->name && !ret->name[0]))
		return ASK_KUBECTL;
	if (!ret->ns)
		ret->ns = "default";
	if (ret->all || !ret->kind->namespaced)
		ret->ns = NULL;
	return 0;
}

/* --- a path: {.a.b[0].c[*].d}, a name's own points behind a backslash --- */

static int name_parse(const char **at, char *ret, size_t size)
{
	size_t n = 0;

	for (; **at && !strchr(".[}", **at); (*at)++) {
		if (**at == '\\' && (*at)[1])
			(*at)++;
		else if (strchr("?@()*'\" \\", **at))
			return ASK_KUBECTL;
		if (n + 1 >= size)
			return ASK_KUBECTL;
		ret[n++] = **at;
	}
	ret[n] = '\0';
	return n ? 0 : ASK_KUBECTL;
}

static void value_print(FILE *out, const struct json *j, unsigned *printed)
{
	const char *text = json_text(j, false);

	if (!strcmp(text, "null"))
		return;
	if ((*printed)++)
		fputc(' ', out);
	if (text[0] == '"') {
		struct json *one = json_array();

		json_append(one, json_copy(j));
		fputs(json_string_at(one, 0, ""), out);
		json_free(one);
		return;
	}
	fputs(text, out);
}

/* From behind the brace or an element on; *end is where the closing brace is. */
static int path_print(
	FILE *out, const char *at, const struct json *j, unsigned *printed, const char **end)
{
	char name[128], *number;
	int err = 0;

	for (; *at && *at != '}';) {
		if (*at == '.') {
			at++;
			err = name_parse(&at, name, sizeof(name));
			if (err)
				return err;
			j = j && json_is_object(j) ? json_get(j, name) : NULL;
		} else if (!strncmp(at, "[*]", 3)) {
			at += 3;
			for (unsigned i = 0, n = j ? json_length(j) : 0; i < n && !err; i++)
				err = path_print(out, at, json_at(j, i), printed, end);
			*end = strchr(at, '}');
			return *end ? err : ASK_KUBECTL;
		} else if (*at == '[' && at[1] >= '0' && at[1] <= '9') {
			unsigned long i = strtoul(at + 1, &number, 10);

			if (*number != ']')
				return ASK_KUBECTL;
			at = number + 1;
			j = j ? json_at(j, (unsigned)i) : NULL;
		} else {
			return ASK_KUBECTL;
		}
	}
	*end = at;
	if (*at != '}')
		return ASK_KUBECTL;
	if (j)
		value_print(out, j, printed);
	return 0;
}

static int paths_print(FILE *out, const char *format, const struct json *j)
{
	for (const char *at = format; *at;) {
		unsigned printed = 0;
		int err;

		if (*at != '{') {
			fputc(*at++, out);
			continue;
		}
		if (at[1] != '.')
			return ASK_KUBECTL;
		err = path_print(out, at + 1, j, &printed, &at);
		if (err)
			return err;
		at++;
	}
	return 0;
}

static int print(const struct asked *a, const struct json *j)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out;
	int err;

	if (!strcmp(a->format, "json"))
		return puts(json_text(j, true)) < 0 ? 1 : 0;
	if (strncmp(a->format, "jsonpath=", 9) != 0)
		return ASK_KUBECTL;
	out = open_memstream(&text, &len);
	ensure(out);
	err = paths_print(out, a->format + 9, j);
	fclose(out);
	if (!err)
		fwrite(text, 1, len, stdout);
	free(text);
	return err;
}

static int get(struct kube *k, const struct asked *a)
{
	struct json *j = NULL;
	struct err e = {0};
	int err;

	if (a->name) {
		err = kube_get(k, a->kind, a->ns, a->name, &j, &e);
		if (err == -ENOENT && !strncmp(a->format, "json", 4)) {
			fprintf(stderr, "Error from server (NotFound): %s\n", e.msg);
			return 1;
		}
	} else {
		struct json *items = json_array();

		j = json_object();
		json_set_string(j, "kind", "List");
		json_set_string(j, "apiVersion", "v1");
		json_set(j, "items", items);
		json_set(j, "metadata", json_object());
		err = kube_list(k, a->kind, a->ns, NULL, items, NULL, &e);
	}
	err = err ? ASK_KUBECTL : print(a, j);
	json_free(j);
	return err;
}

int main(int argc, char **argv)
{
	struct kube_access access = {0};
	struct asked a = {0};
	struct kube *k;
	struct err e = {0};
	int err;

	if (argc < 3)
		return ASK_KUBECTL;
	err = asked_parse(argc - 2, argv + 2, &a);
	if (err)
		return err;
	if (kube_access_load(argv[1], &access, &e))
		return ASK_KUBECTL;
	k = kube_new("the cluster", &access, NULL);
	err = get(k, &a);
	kube_free(k);
	kube_access_clear(&access);
	return err;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* tandemctl as a client of Kubernetes, also as `kubectl tandem`. */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent_config.h"
#include "ctl.h"
#include "kube.h"

const struct kube_kind ctl_kind_domains = KUBE_KIND(
	"tandemfs.dev", "v1alpha1", "ClusterDomainsStatus", "clusterdomainsstatuses", false);

const char *ctl_kubeconfig(const struct ctl *c, char *buf, size_t size)
{
	const char *path = getenv("KUBECONFIG"), *home = getenv("HOME");

	if (c->kubeconfig)
		return c->kubeconfig;
	if (path && *path)
		return path;
	snprintf(buf, size, "%s/.kube/config", home ? home : "");
	return buf;
}

int ctl_kube_open(struct ctl *c, struct kube **ret_k, char **ret_ns)
{
	struct kube_access a = {0};
	struct err e = {0};
	char buf[4200];

	if (kube_access_load(ctl_kubeconfig(c, buf, sizeof(buf)), &a, &e))
		return ctl_fail(c, "%s", e.msg);
	*ret_k = kube_new("the cluster's API", &a, NULL);
	if (ret_ns) {
		*ret_ns = strdup(c->ns && *c->ns ? c->ns : a.ns && *a.ns ? a.ns : "default");
		ensure(*ret_ns);
	}
	kube_access_clear(&a);
	return CTL_OK;
}

const struct kube_kind ctl_kind_update =
	KUBE_KIND("tandemfs.dev", "v1alpha1", "ClusterDomainUpdate", "clusterdomainupdates", false);

/* A daemon or the agent has, or had, its socket in the run directory. */
static bool is_node(const struct ctl *c)
{
	DIR *d = opendir(c->run_dir);
	const struct dirent *entry;
	bool found = false;

	while (d && !found && (entry = readdir(d))) {
		const char *dot = strrchr(entry->d_name, '.');
		struct stat st;

		found = ((dot && !strcmp(dot, ".sock")) ||
				!strcmp(entry->d_name, AGENT_SOCKET_NAME)) &&
			!fstatat(dirfd(d), entry->d_name, &st, 0) && S_ISSOCK(st.st_mode);
	}
	if (d)
		closedir(d);
	return found;
}

int ctl_where(struct ctl *c, const char *command, bool *ret_cluster)
{
	const char *path = getenv("KUBECONFIG");
	char buf[4200];

	if (c->run_dir_given && c->kubeconfig)
		return ctl_usage_error(c, command,
			"--run-dir is for the daemons of this node, --kubeconfig for a cluster: "
			"which one?");
	if (c->run_dir_given)
		*ret_cluster = false;
	else if (c->kubeconfig || (path && *path) || c->plugin)
		*ret_cluster = true;
	else
		*ret_cluster = !is_node(c) && !access(ctl_kubeconfig(c, buf, sizeof(buf)), R_OK);
	return CTL_OK;
}

struct json *ctl_kube_object(const char *kind, const char *what, struct json *spec)
{
	struct json *obj = json_object(), *meta = json_object();
	time_t now = time(NULL);
	char name[128], at[32];
	struct tm tm = {0};

	gmtime_r(&now, &tm);
	strftime(at, sizeof(at), "%Y-%m-%d-%H%M%S", &tm);
	snprintf(name, sizeof(name), "%.90s-%s-", what, at);
	json_set_string(obj, "apiVersion", "tandemfs.dev/v1alpha1");
	json_set_string(obj, "kind", kind);
	json_set_string(meta, "generateName", name); /* there may be two in one second */
	json_set(obj, "metadata", meta);
	json_set(obj, "spec", spec);
	return obj;
}

struct json *ctl_list_of(const char *text)
{
	struct json *list = json_array();
	char *copy = strdup(text), *save = NULL;

	ensure(copy);
	for (char *word = strtok_r(copy, ",", &save); word; word = strtok_r(NULL, ",", &save))
		json_append_string(list, word);
	free(copy);
	return list;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Which volumes a namespace uses. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "apps.h"
#include "kube_control.h"
#include "limits.h"

#define KEY_VOLUME TANDEM_KEY "volume"

bool apps_volume_of_path(const char *path, const char *mounts, char *ret)
{
	size_t n = strlen(mounts), len;

	while (n > 1 && mounts[n - 1] == '/')
		n--;
	if (!n || strncmp(path, mounts, n) || path[n] != '/')
		return false;
	path += n;
	while (*path == '/')
		path++;
	len = strcspn(path, "/");
	if (!len || len > VOLUME_NAME_MAX || path[0] == '.')
		return false;
	memcpy(ret, path, len);
	ret[len] = '\0';
	return true;
}

void apps_volumes_of_pod(const struct json *pod_spec, const char *mounts, struct json *to)
{
	const struct json *volumes = json_get(pod_spec, "volumes");
	char name[VOLUME_NAME_MAX + 1];

	for (unsigned i = 0; i < json_length(volumes); i++) {
		const char *path =
			json_get_string(json_get(json_at(volumes, i), "hostPath"), "path", "");

		if (apps_volume_of_path(path, mounts, name) && !json_has_string(to, name))
			json_append_string(to, name);
	}
}

static void add(struct json *to, const char *name)
{
	if (!json_has_string(to, name))
		json_append_string(to, name);
}

static const char *word_of(const struct json *obj)
{
	const char *label = json_get_string(json_path(obj, "metadata", "labels"), KEY_VOLUME, NULL);

	return label ? label : annotation_of(obj, KEY_VOLUME);
}

bool apps_volume_of_pv(const struct json *pv, const char *mounts, char *ret)
{
	const char *word = word_of(pv);

	if (!word)
		return apps_volume_of_path(
			json_get_string(json_path(pv, "spec", "hostPath"), "path", ""), mounts,
			ret);
	return (size_t)snprintf(ret, VOLUME_NAME_MAX + 1, "%s", word) <= VOLUME_NAME_MAX;
}

static int take_claim(struct kube *k, const struct json *claim, const char *mounts, struct json *to,
	struct err *e)
{
	const char *pv_name = json_get_string(json_get(claim, "spec"), "volumeName", ""),
		   *word = word_of(claim);
	char name[VOLUME_NAME_MAX + 1];
	struct json *pv = NULL;
	int ret = 0;

	if (!word && *pv_name)
		ret = kube_get(k, &kind_volume, NULL, pv_name, &pv, e);
	if (word)
		add(to, word);
	else if (!ret && apps_volume_of_pv(pv, mounts, name))
		add(to, name);
	json_free(pv);
	return ret == -ENOENT ? 0 : ret;
}

static const struct json *pod_of(const struct json *workload)
{
	const struct json *spec = json_get(workload, "spec");

	return kind_is(workload, "CronJob")
		       ? json_path(spec, "jobTemplate", "spec", "template", "spec")
		       : json_path(spec, "template", "spec");
}

int apps_volumes(struct kube *k, const char *ns, const char *mounts, struct json *to,
	void (*each)(void *ctx, const struct json *obj), void *ctx, struct err *e)
{
	struct json *claims = json_array(), *apps = json_array();
	int ret = kube_list(k, &kind_claim, ns, NULL, claims, NULL, e);

	if (!ret)
		ret = apps_list(k, ns, apps, e);
	for (unsigned i = 0; i < json_length(claims) && !ret; i++) {
		if (each)
			each(ctx, json_at(claims, i));
		ret = take_claim(k, json_at(claims, i), mounts, to, e);
	}
	for (unsigned i = 0; i < json_length(apps) && !ret; i++) {
		if (each)
			each(ctx, json_at(apps, i));
		apps_volumes_of_pod(pod_of(json_at(apps, i)), mounts, to);
	}
	json_free(claims);
	json_free(apps);
	return ret ? err_wrap(e, "namespace '%s'", ns) : 0;
}

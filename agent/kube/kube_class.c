/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A StorageClass of ours at the other cluster, for the copies of claims that name it: without it there the API server
 * lets no copy grow, and no claim after a failover. It is made where it is missing and left alone where it is: one that
 * differs is somebody's word, and is told.
 */
#include <errno.h>
#include <string.h>

#include "kube_control.h"
#include "provision.h"

bool class_is_ours(const struct json *class)
{
	return !strcmp(json_get_string(class, "provisioner", ""), PROVISIONER);
}

int class_bring(struct kube *to, const struct json *class, const char *from, bool dry,
	struct class_there *ret_there, struct err *e)
{
	static const struct migrate_options plain;
	struct json *there = NULL, *p;
	int ret = kube_get(to, &kind_class, NULL, meta_of(class, "name"), &there, e);

	*ret_there = (struct class_there){.missing = ret == -ENOENT};
	if (!ret)
		ret_there->differs = migrate_class_differs(class, there);
	json_free(there);
	if (ret != -ENOENT || dry)
		return ret == -ENOENT ? 0 : ret;
	p = migrate_prepare(&plain, class);
	json_set_string(p, "apiVersion", "storage.k8s.io/v1");
	json_set_string(p, "kind", kind_class.kind);
	json_set_string(json_path(p, "metadata", "annotations"), KEY_FROM, from);
	ret = kube_create(to, &kind_class, p, NULL, e);
	json_free(p);
	return ret == -EEXIST ? 0 : ret; /* another was quicker; the next look compares */
}

/* SPDX-License-Identifier: Apache-2.0 */
/* tandemctl resize: a new size for one volume of this node, which must be the active one. */
#include "conf.h"
#include "ctl.h"

int cmd_resize(struct ctl *c, unsigned nargs, const char *const *args)
{
	struct ctl_volumes *vs;
	struct json *request;
	uint64_t size;
	int status;

	if (!c->size)
		return ctl_usage_error(c, "resize", "--size SIZE is missing: the whole new size");
	if (conf_parse_size(c->size, &size) || !size || size > INT64_MAX)
		return ctl_usage_error(
			c, "resize", "--size '%s': a number with K, M, G or T", c->size);
	status = ctl_volumes_find(c, args[0], &vs);
	if (status)
		return status;
	request = json_object();
	json_set_string(request, "verb", "resize");
	json_set_int(request, "size", (int64_t)size);
	status = ctl_operate(c, vs, request, 0);
	ctl_volumes_free(vs);
	return status;
}

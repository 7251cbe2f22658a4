/* SPDX-License-Identifier: Apache-2.0 */
/* tandemctl promote and demote: an operator's word to one volume of this node. */
#include "ctl.h"

static int volume_command(struct ctl *c, const char *verb, const char *volume)
{
	struct ctl_volumes *vs;
	struct json *request;
	int status = ctl_volumes_find(c, volume, &vs);

	if (status)
		return status;
	request = json_object();
	json_set_string(request, "verb", verb);
	status = ctl_operate(c, vs, request, 0);
	ctl_volumes_free(vs);
	return status;
}

int cmd_promote(struct ctl *c, unsigned nargs, const char *const *args)
{
	return volume_command(c, "promote", args[0]);
}

int cmd_demote(struct ctl *c, unsigned nargs, const char *const *args)
{
	return volume_command(c, "demote", args[0]);
}

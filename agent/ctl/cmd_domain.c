/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tandemctl activate and deactivate, of a domain or of what was migrated (cmd_migration.c). A domain's state is that of its volumes' records, so these go to
 * every volume of the node. A volume without a replica in the domain is not concerned.
 */
#include <errno.h>
#include <string.h>

#include "ctl.h"

static int domain_command(struct ctl *c, const char *verb, unsigned nargs, const char *const *args)
{
	struct ctl_volumes *vs;
	struct json *request;
	int status;

	if (!strcmp(args[0], "migration") || !strcmp(args[0], "migrations")) {
		if (nargs == 1)
			return cmd_migration(c, !strcmp(verb, "activate"));
		return ctl_usage_error(c, verb,
			"'%s migration' takes no name: it is about all applications of a "
			"--namespace",
			verb);
	}
	if (strcmp(args[0], "clusterdomain") != 0)
		return ctl_usage_error(c, verb,
			"'%s' what? A 'clusterdomain' or a namespace's 'migration', not '%s'", verb,
			args[0]);
	if (nargs < 2)
		return ctl_usage_error(c, verb, "'%s' needs more arguments", verb);
	if (!args[1][0] || strlen(args[1]) > DOMAIN_LEN_MAX)
		return ctl_usage_error(c, verb, "'%s' is no domain", args[1]);
	status = ctl_volumes_find(c, NULL, &vs);
	if (status)
		return status;
	request = json_object();
	json_set_string(request, "verb", verb);
	json_set_string(request, "domain", args[1]);
	status = ctl_operate(c, vs, request, -ENOENT);
	ctl_volumes_free(vs);
	return status;
}

int cmd_activate(struct ctl *c, unsigned nargs, const char *const *args)
{
	return domain_command(c, "activate", nargs, args);
}

int cmd_deactivate(struct ctl *c, unsigned nargs, const char *const *args)
{
	return domain_command(c, "deactivate", nargs, args);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tandemctl cancel operation: asks the agent to undo an operation, or a group, and waits until that has ended.
 *
 * Failure modes: an operation that was too far is done; then this has failed, and says so.
 */
#include <string.h>

#include "ctl.h"
#include "operation.h"

int cmd_cancel(struct ctl *c, unsigned nargs, const char *const *args)
{
	struct json *body, *j;
	char path[96];
	int status;

	if (strcmp(args[0], "operation") != 0)
		return ctl_usage_error(
			c, "cancel", "'cancel' what? An 'operation', not '%s'", args[0]);
	if (strlen(args[1]) > OPERATION_ID_MAX || strspn(args[1], "0123456789-") != strlen(args[1]))
		return ctl_usage_error(c, "cancel",
			"'%s' is no operation: 'tandemctl get operations' lists them", args[1]);
	snprintf(path, sizeof(path), "/v1/operations/%s/cancel", args[1]);
	body = json_object();
	status = ctl_agent_ask(c, args[1], path, body, &j);
	json_free(body);
	if (status)
		return status;
	status = ctl_operation_wait(c, args[1], &j);
	for (unsigned i = 0; i < ctl_operation_count(j) && !status; i++) {
		const struct json *op = ctl_operation_one(j, i);
		const char *volume = json_get_string(op, "volume", "?"),
			   *message = json_get_string(op, "message", "");

		if (!strcmp(json_get_string(op, "state", ""), "done"))
			status = ctl_fail(c, "%s: it was too late: %s", volume, message);
		else
			fprintf(c->out, "%s: %s\n", volume, message);
	}
	json_free(j);
	return status;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* tandemctl preflight: the checks of preflight_check.h as lines, JSON or YAML; status 1 when one failed. */
#include <stdlib.h>
#include <string.h>

#include "ctl.h"
#include "preflight_check.h"

static void print_values(const struct ctl *c, const struct preflight_report *r)
{
	struct json *arr = json_array();

	for (unsigned i = 0; i < r->count; i++) {
		struct json *j = json_object();

		json_set_string(j, "about", r->c[i].about);
		json_set_string(j, "check", r->c[i].what);
		json_set_string(j, "result", preflight_result_name(r->c[i].result));
		json_set_string(j, "found", r->c[i].found);
		json_set_string(j, "todo", r->c[i].todo);
		json_append(arr, j);
	}
	ctl_print_value(c, c->out, arr);
	json_free(arr);
}

int cmd_preflight(struct ctl *c, unsigned nargs, const char *const *args)
{
	struct preflight_report *r = calloc(1, sizeof(*r));
	unsigned failed = 0;

	ensure(r);
	if (ctl_refuse(c, "preflight", "", "--timeout")) {
		free(r);
		return CTL_USAGE;
	}
	preflight_node(r);
	for (unsigned i = 0; i < nargs; i++)
		preflight_volume(r, args[i]);
	if (ctl_output_is_value(c))
		print_values(c, r);
	for (unsigned i = 0; i < r->count; i++) {
		const struct preflight_check *k = &r->c[i];

		failed += k->result == PREFLIGHT_FAIL;
		if (ctl_output_is_value(c))
			continue;
		if (!i || strcmp(k->about, r->c[i - 1].about) != 0)
			fprintf(c->out, "%s:\n", k->about);
		fprintf(c->out, "  %-4s  %-11s  %s\n", preflight_result_name(k->result), k->what,
			k->found);
		if (k->todo[0])
			fprintf(c->out, "  %-4s  %-11s  -> %s\n", "", "", k->todo);
	}
	free(r);
	return failed ? ctl_fail(c, "%u check%s failed", failed, failed == 1 ? "" : "s") : CTL_OK;
}

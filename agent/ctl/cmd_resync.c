/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tandemctl resync: the end of a fork, typed at the side that gives up its state. With --preview the
 * daemon's list of what that would be is printed; without it the daemon asks first, like promote.
 *
 * Failure mode: the daemon writes a journal's worth of zeros before it answers, so the time-out is long; one
 * that is over says nothing about what the daemon does meanwhile.
 */
#include <string.h>

#include "ctl.h"

#define RESYNC_TIMEOUT_MS 600000u

static void print_files(struct ctl *c, const struct json *answer)
{
	const struct json *files = json_get(answer, "files");
	unsigned n = json_length(files);
	int64_t total = json_get_int(answer, "files_total", n);

	for (unsigned i = 0; i < n; i++) {
		const struct json *f = json_at(files, i);

		fprintf(c->out, "  %-10s %12lld  %s\n", json_get_string(f, "what", "?"),
			(long long)json_get_int(f, "bytes", 0), json_get_string(f, "path", "?"));
	}
	if (total > n)
		fprintf(c->out, "  ... and %lld more\n", (long long)total - n);
}

static int preview(struct ctl *c, struct ctl_volumes *vs, struct json *request)
{
	struct ctl_volume *v = &vs->v[0];

	json_set_bool(request, "preview", true);
	ctl_call(c, vs, request, RESYNC_TIMEOUT_MS);
	if (ctl_code(v))
		return ctl_fail(c, "%s: %s", v->name, ctl_text(v));
	if (ctl_output_is_value(c)) {
		ctl_print_value(c, c->out, v->answer);
		return CTL_OK;
	}
	fprintf(c->out, "%s: ", v->name);
	ctl_print(c->out, "", ctl_text(v));
	fputc('\n', c->out);
	print_files(c, v->answer);
	return CTL_OK;
}

int cmd_resync(struct ctl *c, unsigned nargs, const char *const *args)
{
	struct ctl_volumes *vs;
	struct json *request;
	int status;

	if (!c->from)
		return ctl_usage_error(c, "resync",
			"--from DOMAIN is missing: the side whose state is to be kept");
	if (!c->from[0] || strlen(c->from) > DOMAIN_LEN_MAX)
		return ctl_usage_error(c, "resync", "'%s' is no domain", c->from);
	if (ctl_output_is_value(c) && !c->preview)
		return ctl_usage_error(c, "resync", "--output belongs to --preview");
	status = ctl_volumes_find(c, args[0], &vs);
	if (status)
		return status;
	request = json_object();
	json_set_string(request, "verb", "resync");
	json_set_string(request, "domain", c->from);
	if (c->preview) {
		status = preview(c, vs, request);
		json_free(request);
	} else {
		c->timeout_ms = c->timeout_ms ? c->timeout_ms : RESYNC_TIMEOUT_MS;
		status = ctl_operate(c, vs, request, 0);
	}
	ctl_volumes_free(vs);
	return status;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tandemctl activate and deactivate clusterdomain --dry-run: each daemon of this node says what it would do, by the checks that the
 * word itself goes through; nothing is changed, and nothing is asked of the domain. Where a daemon would ask, its
 * question comes first, and then what a yes would do.
 *
 * Failure modes: a daemon of an older build does not know the question, and says so.
 */
#include <errno.h>
#include <string.h>

#include "control.h"
#include "ctl.h"

#define PREVIEW_TIMEOUT_MS 60000u
#define ASKS 1 /* the code of a question */

struct counts {
	unsigned go, ask, no, skipped;
};

/* What the first answer of those is that would ask, and they alone are asked again, with a yes. */
static void ask_again(struct ctl *c, struct ctl_volumes *vs, struct json *request, struct counts *n)
{
	for (unsigned i = 0; i < vs->count; i++) {
		struct ctl_volume *v = &vs->v[i];

		v->selected = ctl_code(v) == ASKS;
		if (!v->selected)
			continue;
		n->ask++;
		fprintf(c->out, "%s: would ask: ", v->name);
		ctl_print(c->out, "", ctl_text(v));
		fputc('\n', c->out);
	}
	if (!n->ask)
		return;
	json_set_bool(request, "yes", true);
	ctl_call(c, vs, request, PREVIEW_TIMEOUT_MS);
}

static void print_one(struct ctl *c, const struct ctl_volume *v, struct counts *n)
{
	int code = ctl_code(v);
	const char *what = v->selected ? "then " : "";

	if (code == 0) {
		n->go += !v->selected;
	} else if (v->answer && code == -ENOENT) {
		n->skipped++;
	} else {
		n->no++;
		n->ask -= v->selected;
		what = "refused: ";
	}
	fprintf(c->out, "%s: %s", v->name, what);
	ctl_print(c->out, "", ctl_text(v));
	fputc('\n', c->out);
}

int cmd_domain_preview(struct ctl *c, const char *verb, const char *domain)
{
	struct ctl_volumes *vs;
	struct counts n = {0};
	struct json *request;
	int status = ctl_volumes_find(c, NULL, &vs);

	if (status)
		return status;
	request = json_object();
	json_set_string(request, "verb",
		strcmp(verb, "activate") ? CONTROL_PREVIEW : CONTROL_PREVIEW_ACTIVATE);
	json_set_string(request, "domain", domain);
	if (c->yes)
		json_set_bool(request, "yes", true);
	if (c->accept_data_loss)
		json_set_bool(request, "accept_data_loss", true);
	ctl_call(c, vs, request, PREVIEW_TIMEOUT_MS);
	ask_again(c, vs, request, &n);
	json_free(request);
	for (unsigned i = 0; i < vs->count; i++)
		print_one(c, &vs->v[i], &n);
	fprintf(c->out,
		"%u volume%s: %u can go, %u would ask, %u refused, %u not concerned; nothing was "
		"changed\n",
		vs->count, vs->count == 1 ? "" : "s", n.go, n.ask, n.no, n.skipped);
	ctl_volumes_free(vs);
	if (n.no || (!n.go && !n.ask))
		return CTL_FAILED;
	return n.ask ? CTL_NEEDS_YES : CTL_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "node_mark.h"

#include <stddef.h>
#include <string.h>

struct mark_action mark_decide(const struct mark_seen *s, int64_t now_s)
{
	struct mark_action a = {0};
	bool is_true = s->label && !strcmp(s->label, "true");

	if (s->ready) {
		a.untaint = s->tainted;
		a.label = is_true ? NULL : "true";
		a.forget = s->unready_s != 0;
	} else if (is_true && !s->unready_s) {
		a.note = true;
	} else if (is_true && now_s - s->unready_s >= MARK_PATIENCE_S) {
		a.label = "false";
	}
	return a;
}

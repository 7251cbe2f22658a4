/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a node is marked with. The taint tandemfs.dev/not-ready keeps pods off a node that is new, until its engine is
 * ready for the first time; it is not put back, since it would keep those off that use no volume of ours. The label
 * tandemfs.dev/ready is what volumes select nodes by: "false" when the engine has not been ready for a minute, so that
 * an upgrade does not change it. Pure.
 */
#ifndef AGENT_NODE_MARK_H
#define AGENT_NODE_MARK_H

#include <stdbool.h>
#include <stdint.h>

#define MARK_PATIENCE_S 60

struct mark_seen {
	bool ready; /* the engine's pod is */
	bool tainted;
	const char *label; /* NULL: none */
	int64_t unready_s; /* when it was first seen unready, 0: it is not noted */
};

struct mark_action {
	bool untaint;
	const char *label; /* NULL: as it is */
	bool note, forget; /* since when it is unready */
};

struct mark_action mark_decide(const struct mark_seen *s, int64_t now_s);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of tandemctl pair share: cmd_pair.c offers, cmd_pair_join.c accepts, cmd_pair_show.c shows. */
#ifndef AGENT_PAIR_H
#define AGENT_PAIR_H

#include "ctl.h"
#include "pair_files.h"

#define PAIR_PORT 7401u /* of the agent; the pairing listens on the next one */
#define PAIR_STEP_S 60u /* for what follows a right token */
#define PAIR_CLOCK_S 3600 /* clocks may differ by so much */

/* This site, from the options and agent.conf; an exit status after words. */
int pair_site_of(struct ctl *c, struct pair_site *ret_s);
/* The end on either side: agent.conf, and what to do next. `report` is what the other side's check gave. */
int pair_finish(struct ctl *c, const struct pair_site *s, const char *peer,
	const char *peer_address, const struct pair_report *own, const struct pair_report *report);

int pair_join(struct ctl *c, const char *token);
int pair_show(struct ctl *c);

#endif

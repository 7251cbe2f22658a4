/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes an operation's file, as an agent reads it when it starts, and what a daemon of the other site says of
 * itself. What is accepted is fit for file names, reads the same after it was written again, and is decided upon
 * to an end. The first byte says which.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "operation.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same_again(const struct operation *op)
{
	static struct operation again;
	struct json *j = operation_json(op);
	struct err e;

	ensure(operation_parse(j, &again, &e) == 0);
	ensure(memcmp(op, &again, sizeof(again)) == 0);
	json_free(j);
}

/* Whatever is seen, once nobody answers any more it ends. */
static void to_its_end(struct operation *op, unsigned seen)
{
	struct operation_observed o = {0};
	uint64_t now_ms = op->created_ms + 1;

	operation_resume(op, now_ms);
	for (unsigned i = 0; i < 16 && !operation_ended(op); i++) {
		o.others = (enum operation_verdict)(seen % 3);
		o.to.answers = seen & 1;
		o.from.answers = seen & 2;
		o.from.serving = seen & 4;
		o.from.to_in_sync = o.to.to_in_sync = seen & 8;
		o.refused = seen & 16;
		snprintf(o.to.active, sizeof(o.to.active), "%s", seen & 32 ? op->to : op->from);
		snprintf(o.from.active, sizeof(o.from.active), "%s", seen & 64 ? "" : op->from);
		op->cancelled |= (seen & 128) != 0;
		operation_step(op, &o, now_ms++);
		seen = (seen >> 1) | (seen << 7 & 128);
		ensure(op->at < operation_nsteps(op));
	}
	o = (struct operation_observed){.others = OPERATION_REFUSED};
	for (unsigned i = 0; i < 16 && !operation_ended(op); i++)
		operation_step(op, &o, now_ms += 2 * (uint64_t)OPERATION_TIMEOUT_MS_MAX);
	ensure(operation_ended(op));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct operation op;
	struct operation_side side;
	struct json *j;
	struct err e;

	if (!size || json_parse((const char *)data + 1, size - 1, &j, &e))
		return 0;
	if (operation_parse(j, &op, &e) == 0) {
		const struct operation *const one[] = {&op}, *why;

		ensure(op.id[0] && !strchr(op.id, '/') && op.id[0] != '.');
		ensure(op.volume[0] && !strchr(op.volume, '/'));
		same_again(&op);
		operation_group_verdict(one, 1, &why);
		operation_side_parse(&op, j, &side);
		to_its_end(&op, data[0]);
	} else {
		memset(&op, 0, sizeof(op));
		operation_side_parse(&op, j, &side);
		ensure(strlen(side.active) < sizeof(side.active));
	}
	json_free(j);
	return 0;
}

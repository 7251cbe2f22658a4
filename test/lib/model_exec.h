/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A record of the log as system calls below a directory, and a generator of random records that make
 * sense for a model.
 */
#ifndef TEST_MODEL_EXEC_H
#define TEST_MODEL_EXEC_H

#include "model.h"

struct model_rng {
	uint64_t state;
};

uint64_t model_random(struct model_rng *g);

/* A random operation; keeps the model's nodes and bytes below their limits. */
void model_generate(
	const struct model *m, struct model_rng *g, uint64_t bytes_max, struct oprec *ret_r);
/* Executes r below dirfd with the model as it is before r. Returns what model_apply() returns, or
 * -errno. buf: page-aligned, MODEL_FILE_MAX bytes. */
int64_t model_execute(const struct model *m, const struct oprec *r, int dirfd, uint8_t *buf);
/* Reads something at random and compares it with the model: 0, -EUCLEAN after a line to stderr, or
 * -errno of a failed call. */
int model_read_something(const struct model *m, struct model_rng *g, int dirfd, uint8_t *buf);
/* The mount is gone: daemon killed, or fenced. */
bool model_is_interruption(int64_t result);
const char *model_op_name(unsigned op);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is asked: another replica has damaged blocks and wants to know whether they are here as they should
 * be. A job thread reads them; what has the checksum that was asked for is sent, in any role: the
 * address and the checksum make it right (I7), whatever this replica knows of the file.
 *
 * Failure modes: no memory, too many questions at once, blocks that are damaged, punched or not applied
 * here: the answer says that they are not here. The connection is gone: the answer is dropped.
 */
#include "repair_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "crc32c.h"
#include "log.h"

struct answer {
	struct job job;
	struct volume *v;
	unsigned peer;
	uint64_t conn;
	struct msg_repair_ask ask;
	struct payload *payload;
	uint64_t good;
	uint32_t crc;
};

static void read_blocks(struct answer *a)
{
	for (uint32_t i = 0; i < a->ask.blocks; i++) {
		struct addr at = {.block = a->ask.block + i, .epoch = a->ask.epoch.num};
		uint8_t *block = a->payload->data + (size_t)i * BLOCK_SIZE;
		uint32_t bad;

		if (!segments_read(a->v->segments, at, 1, block, &a->ask.crcs[i], &bad))
			a->good |= 1ull << i;
		else
			memset(block, 0, BLOCK_SIZE);
	}
}

static void answer_run(struct job *j)
{
	struct answer *a = container_of(j, struct answer, job);
	size_t len = (size_t)a->ask.blocks * BLOCK_SIZE;
	struct epoch epoch;

	if (segments_epoch(a->v->segments, a->ask.epoch.num, &epoch) ||
		!epoch_equal(epoch, a->ask.epoch))
		return;
	a->payload = payload_new(a->v->rx_pool, len);
	if (!a->payload)
		return;
	read_blocks(a);
	a->crc = crc32c(0, a->payload->data, len);
}

static void release(void *arg)
{
	payload_unref(arg);
}

static void send_answer(struct volume *v, unsigned peer, uint64_t conn,
	const struct msg_repair_ask *ask, uint64_t good, uint32_t crc, struct payload *p)
{
	struct msg m = {.type = MSG_REPAIR, .epoch = core_epoch(v->core)};

	m.repair = (struct msg_repair){.nonce = ask->nonce, .blocks = ask->blocks, .good = good};
	if (good) {
		m.repair.crc = crc;
		m.repair.bytes = p->data;
	}
	if (net_send(v->net, peer, conn, &m, good ? release : NULL, p) || !good)
		payload_unref(p);
}

static void answer_done(struct job *j)
{
	struct answer *a = container_of(j, struct answer, job);
	unsigned n = (unsigned)__builtin_popcountll(a->good);
	struct repairs *q = a->v->repairs;

	q->answering[a->peer]--;
	if (n && (++q->answered <= 100 || q->answered % 1000 == 0))
		log_info("repairing %s: %u of %u blocks at epoch %u block %llu are good here",
			core_record(a->v->core)->replicas[a->peer].domain, n, a->ask.blocks,
			a->ask.epoch.num, (unsigned long long)a->ask.block);
	send_answer(a->v, a->peer, a->conn, &a->ask, a->good, a->crc, a->payload);
	free(a);
}

void repair_asked(struct volume *v, unsigned peer, uint64_t conn, const struct msg_repair_ask *m)
{
	struct answer *a;

	if (v->repairs->answering[peer] >= REPAIR_ANSWERS_MAX) {
		send_answer(v, peer, conn, m, 0, 0, NULL);
		return;
	}
	a = calloc(1, sizeof(*a));
	ensure(a);
	v->repairs->answering[peer]++;
	a->v = v;
	a->peer = peer;
	a->conn = conn;
	a->ask = *m;
	a->job.run = answer_run;
	a->job.done = answer_done;
	job_submit(v, &a->job);
}

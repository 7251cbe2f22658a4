/* SPDX-License-Identifier: Apache-2.0 */
/* What an answered operation says about where the time goes, for `status`. No failure modes. */
#include "volume_impl.h"

void latency_account(struct volume *v, const struct slot *s, const struct op *op, uint64_t now)
{
	latency_count(&v->latency, now);
	latency_add(&v->latency, LATENCY_QUEUE, op->staged_ns - op->queued_ns);
	latency_add(&v->latency, LATENCY_TOTAL, now - op->queued_ns);
	if (op->type != OP_REAP) { /* nobody waits for that */
		v->answered_ops++;
		v->answered_ns += now - op->queued_ns;
	}
	if (!s)
		return;
	if (s->local_ns)
		latency_add(&v->latency, LATENCY_LOCAL, s->local_ns - s->closed_ns);
	if (s->acked_ns) {
		uint64_t whole = s->acked_ns - s->closed_ns, rtt = MIN(v->rtt_ns, whole);

		latency_add(&v->latency, LATENCY_NETWORK, rtt);
		latency_add(&v->latency, LATENCY_REMOTE, whole - rtt);
	}
}

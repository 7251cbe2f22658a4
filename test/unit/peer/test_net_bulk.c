/* SPDX-License-Identifier: Apache-2.0 */
/* Bulk connections of the transport: beside the commit connection, on demand, and each to its own. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "log.h"
#include "net_side.h"

static struct loop *l;
static unsigned descriptors;
static struct side s[2];
#define A (&s[0])
#define B (&s[1])

static struct { /* what the bulk channels were told */
	unsigned ups, downs, messages;
	uint64_t conn;
	enum msg_type last;
} bulk[2];

static unsigned index_of(void *ctx)
{
	return ctx == B;
}

/* The sides of net_side.c know commit channels only; these stand in front of them. */
static void up(void *ctx, unsigned peer, uint64_t conn)
{
	if (net_is_bulk(peer)) {
		bulk[index_of(ctx)].ups++;
		bulk[index_of(ctx)].conn = conn;
	} else {
		((struct side *)ctx)->ups++;
		((struct side *)ctx)->conn = conn;
	}
}

static void down(void *ctx, unsigned peer, uint64_t conn, const char *reason)
{
	if (net_is_bulk(peer)) {
		bulk[index_of(ctx)].downs++;
		bulk[index_of(ctx)].conn = 0;
	} else {
		((struct side *)ctx)->downs++;
		((struct side *)ctx)->conn = 0;
	}
}

static void message(void *ctx, unsigned peer, uint64_t conn, const struct msg *m, void *payload)
{
	cr_assert(!payload);
	if (net_is_bulk(peer)) {
		bulk[index_of(ctx)].messages++;
		bulk[index_of(ctx)].last = m->type;
	} else {
		((struct side *)ctx)->messages++;
	}
}

static void *alloc(void *ctx, unsigned peer, const struct msg_frame *f)
{
	return NULL;
}

static void drained(void *ctx, unsigned peer, uint64_t conn)
{
}

static void open_one(struct side *side)
{
	struct net_callbacks cb = {.ctx = side,
		.up = up,
		.down = down,
		.message = message,
		.payload_alloc = alloc,
		.drained = drained};
	struct err e = {0};

	cr_assert_eq(net_open(l, &side->cfg, &cb, &side->net, &e), 0, "%s", e.msg);
}

static void setup(void)
{
	log_set_level(LOG_LEVEL_ERROR + 1);
	descriptors = open_descriptors();
	cr_assert_eq(loop_new(&l), 0);
	sides_init(s, l);
	memset(bulk, 0, sizeof(bulk));
	A->cfg.bulk = B->cfg.bulk = true;
}

static void fini(void)
{
	sides_fini(s, l, descriptors);
}

TestSuite(net_bulk, .init = setup, .fini = fini, .timeout = 60);

static void open_both(void)
{
	open_one(A);
	open_one(B);
	cr_assert(run_until(l, A->conn && B->conn));
	run_for_ms(l, 30);
}

static int send_bulk(unsigned from, enum msg_type type)
{
	struct msg m = {.type = type};

	if (type == MSG_PULL_BEGIN)
		m.pull_begin.round = 1;
	return net_send(s[from].net, NET_BULK + !from, bulk[from].conn, &m, NULL, NULL);
}

Test(net_bulk, it_is_dialled_only_when_wanted_and_by_whoever_wants_it)
{
	open_both();
	run_for_ms(l, 200);
	cr_assert_eq(bulk[0].ups + bulk[1].ups, 0);
	for (unsigned i = 0; i < 2; i++) { /* also by the larger UUID */
		net_bulk(s[i].net, !i, true);
		cr_assert(run_until(l, bulk[0].conn && bulk[1].conn));
		net_bulk(s[i].net, !i, false);
		net_drop(s[i].net, NET_BULK + !i, "enough");
		bulk[i].conn = 0;
		cr_assert(run_until(l, !bulk[!i].conn));
		run_for_ms(l, 300);
		cr_assert(!bulk[0].conn && !bulk[1].conn, "it came back unasked");
	}
	cr_assert(A->conn && B->conn);
	cr_assert_eq(A->downs + B->downs, 0);
}

Test(net_bulk, it_comes_back_while_it_is_wanted)
{
	open_both();
	net_bulk(A->net, 1, true);
	cr_assert(run_until(l, bulk[0].conn && bulk[1].conn));
	net_drop(B->net, NET_BULK + 0, "try");
	bulk[1].conn = 0;
	cr_assert(run_until(l, bulk[0].downs && bulk[0].conn && bulk[1].conn));
	cr_assert_eq(A->downs + B->downs, 0);
}

Test(net_bulk, frames_arrive_at_their_own_channel)
{
	open_both();
	net_bulk(A->net, 1, true);
	cr_assert(run_until(l, bulk[0].conn && bulk[1].conn));
	cr_assert_eq(send_bulk(0, MSG_PULL_BEGIN), 0);
	cr_assert_eq(side_send_heartbeat(A, 5), 0);
	cr_assert(run_until(l, bulk[1].messages && B->messages));
	cr_assert_eq(bulk[1].last, MSG_PULL_BEGIN);
	cr_assert_eq(bulk[1].messages + B->messages, 2);
}

Test(net_bulk, a_commit_frame_on_it_ends_it_and_nothing_else)
{
	open_both();
	net_bulk(A->net, 1, true);
	cr_assert(run_until(l, bulk[0].conn && bulk[1].conn));
	cr_assert_eq(send_bulk(0, MSG_HEARTBEAT), 0);
	cr_assert(run_until(l, bulk[1].downs));
	cr_assert_eq(bulk[1].messages, 0);
	cr_assert_eq(A->downs + B->downs, 0);
}

Test(net_bulk, a_pull_frame_on_the_commit_connection_ends_that)
{
	struct msg m = {.type = MSG_PULL_BEGIN, .pull_begin.round = 1};

	open_both();
	cr_assert_eq(net_send(A->net, 1, A->conn, &m, NULL, NULL), 0);
	cr_assert(run_until(l, B->downs));
	cr_assert_eq(B->messages, 0);
}

Test(net_bulk, a_side_that_takes_none_says_so)
{
	B->cfg.bulk = false;
	open_both();
	net_bulk(A->net, 1, true);
	cr_assert(run_until(l, strstr(net_trouble(A->net, NET_BULK + 1), "takes no bulk")), "%s",
		net_trouble(A->net, NET_BULK + 1));
	cr_assert(A->conn && B->conn);
}

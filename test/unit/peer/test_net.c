/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The transport over plain TCP on the loopback: connecting, staying connected once, coming back, and
 * not losing or mixing a byte meanwhile.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "net_side.h"

static struct loop *l;
static unsigned descriptors;
static struct side s[2];
#define A (&s[0])
#define B (&s[1])

static void setup(void)
{
	log_set_level(LOG_LEVEL_ERROR + 1);
	descriptors = open_descriptors();
	cr_assert_eq(loop_new(&l), 0);
	sides_init(s, l);
}

static void fini(void)
{
	sides_fini(s, l, descriptors);
}

TestSuite(net, .init = setup, .fini = fini, .timeout = 60);

static void connect_both(void)
{
	side_open(A);
	side_open(B);
	cr_assert(run_until(l, A->conn && B->conn), "%s / %s", net_trouble(A->net, 1),
		net_trouble(B->net, 0));
	run_for_ms(l, 30);
	cr_assert(run_until(l, A->conn && B->conn));
}

#define assert_has(text, part) cr_assert(strstr((text), (part)), "\"%s\" in \"%s\"", part, text)

Test(net, both_dial_and_exactly_one_connection_stays)
{
	for (unsigned round = 0; round < 20; round++) {
		connect_both();
		run_for_ms(l, 20);
		cr_assert(A->conn && B->conn);
		cr_assert_eq(A->ups, A->downs + 1);
		cr_assert_eq(B->ups, B->downs + 1);
		cr_assert_str_eq(net_trouble(A->net, 1), "");
		cr_assert_str_eq(net_security(A->net, 1), "plain");
		cr_assert_eq(side_send_heartbeat(A, 5), 0);
		cr_assert_eq(side_send_heartbeat(B, 6), 0);
		cr_assert(run_until(l, A->last_seq == 6 && B->last_seq == 5));
		side_close(A);
		side_close(B);
		A->ups = A->downs = B->ups = B->downs = 0;
	}
}

Test(net, one_side_that_can_dial_is_enough)
{
	for (unsigned i = 0; i < 2; i++) {
		unsigned other = !i;

		snprintf(s[i].cfg.peers[other].address, 32, "127.0.0.1:%d", free_port());
		side_open(A);
		side_open(B);
		cr_assert(run_until(l, A->conn && B->conn));
		side_close(A);
		side_close(B);
		snprintf(s[i].cfg.peers[other].address, 32, "127.0.0.1:%d", s[other].port);
	}
}

Test(net, a_dropped_connection_comes_back_with_a_new_number)
{
	uint64_t a, b;

	connect_both();
	a = A->conn;
	b = B->conn;
	side_send_heartbeat(A, 77);
	net_drop(A->net, 1, "because");
	A->conn = 0;
	cr_assert_str_eq(net_trouble(A->net, 1), "because");
	cr_assert(run_until(l, A->conn && B->conn && B->conn != b));
	cr_assert_eq(A->downs, 0, "the side that drops is not told");
	cr_assert_eq(B->downs, 1);
	cr_assert_eq(B->last_seq, 77, "what was queued was sent");
	cr_assert(A->conn > a && B->conn > b);
	cr_assert_eq(
		net_send(A->net, 1, a, &(struct msg){.type = MSG_STOPPED}, NULL, NULL), -ENOTCONN);
}

Test(net, a_peer_that_starts_again_is_found_again)
{
	connect_both();
	for (unsigned i = 0; i < 5; i++) {
		side_close(&s[i % 2]);
		cr_assert(run_until(l, !s[!(i % 2)].conn));
		side_open(&s[i % 2]);
		cr_assert(run_until(l, A->conn && B->conn));
		run_for_ms(l, 20);
		cr_assert(A->conn && B->conn);
	}
}

Test(net, in_the_silence_after_the_start_nobody_is_dialled_or_answered)
{
	uint64_t start = clock_mono_ns();
	struct err e;

	A->cfg.silence_ns = 400 * NS_PER_MS;
	side_open(A);
	side_open(B);
	cr_assert(run_until(l, strstr(net_trouble(B->net, 0), "connection refused")));
	cr_assert_lt(clock_mono_ns() - start, A->cfg.silence_ns);
	cr_assert(!A->conn && !B->conn);
	cr_assert(run_until(l, A->conn && B->conn), "%s", net_trouble(A->net, 1));
	cr_assert_geq(clock_mono_ns() - start, A->cfg.silence_ns);
	side_close(B);
	memcpy(B->cfg.listen, A->cfg.listen, sizeof(B->cfg.listen));
	B->cfg.silence_ns = A->cfg.silence_ns;
	cr_assert_eq(side_try_open(B, &e), -EADDRINUSE, "the address is looked at before");
}

Test(net, nobody_there_is_said_in_words)
{
	char want[64];

	side_open(A);
	snprintf(want, sizeof(want), "connection refused by 127.0.0.1:%d: is tandemfs", B->port);
	cr_assert(run_until(l, strstr(net_trouble(A->net, 1), want)), "%s", net_trouble(A->net, 1));
	cr_assert_eq(
		net_send(A->net, 1, 0, &(struct msg){.type = MSG_STOPPED}, NULL, NULL), -ENOTCONN);
	cr_assert_eq(net_queued(A->net, 1), 0);
	cr_assert_str_eq(net_security(A->net, 1), "");
}

Test(net, a_host_that_does_not_exist_is_said_in_words_and_delays_nobody)
{
	snprintf(A->cfg.peers[1].address, 64, "no-such-host.invalid:7002");
	side_open(A);
	side_open(B);
	cr_assert(run_until(l, A->conn && B->conn), "B dials A meanwhile");
	net_drop(A->net, 1, "look again");
	side_close(B);
	A->conn = 0;
	cr_assert(run_until(l, strstr(net_trouble(A->net, 1), "cannot find the host")), "%s",
		net_trouble(A->net, 1));
}

Test(net, a_host_name_is_looked_up)
{
	snprintf(A->cfg.peers[1].address, 64, "localhost:%d", B->port);
	snprintf(B->cfg.peers[0].address, 64, "127.0.0.1:%d", free_port());
	side_open(A);
	side_open(B);
	cr_assert(run_until(l, A->conn && B->conn), "%s", net_trouble(A->net, 1));
}

Test(net, a_taken_port_names_key_and_address)
{
	struct err e = {0};

	side_open(A);
	memcpy(B->cfg.listen, A->cfg.listen, sizeof(B->cfg.listen));
	cr_assert_eq(side_try_open(B, &e), -EADDRINUSE);
	assert_has(e.msg, "listen");
	assert_has(e.msg, A->cfg.listen);
}

Test(net, malformed_addresses_are_refused_at_the_start)
{
	static const char *const bad[] = {"", "host", "host:", "host:x", "host:70000", "::1:7",
		"[::1:7", "[]:7", "host:-1", ":7000", "host:0"};
	struct err e;

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(A->cfg.peers[1].address, 64, "%s", bad[i]);
		cr_assert_eq(side_try_open(A, &e), -EINVAL, "'%s'", bad[i]);
		assert_has(e.msg, "site-b");
	}
	snprintf(A->cfg.peers[1].address, 64, "[::1]:7002");
	cr_assert_eq(side_try_open(A, &e), 0);
	side_close(A);
	snprintf(A->cfg.listen, 64, "nonsense");
	cr_assert_eq(side_try_open(A, &e), -EINVAL);
	assert_has(e.msg, "listen");
}

Test(net, frames_of_all_sizes_arrive_whole_and_in_order)
{
	uint64_t sent = 0;

	connect_both();
	for (uint64_t i = 1; i <= 300; i++) {
		uint32_t blocks =
			i % 50 == 0 ? MSG_PAYLOAD_MAX / BLOCK_SIZE : (uint32_t)(i * 7 % 40 + 1);

		cr_assert_eq(side_send_data(A, i, blocks), 0);
		sent += (uint64_t)blocks * BLOCK_SIZE;
		if (i % 10 == 0)
			loop_run_once(l, 0);
	}
	cr_assert(run_until(l, B->last_seq == 300), "%lu", (unsigned long)B->last_seq);
	cr_assert_eq(B->bytes, sent);
	cr_assert_eq(A->releases, 300);
	cr_assert_eq(net_queued(A->net, 1), 0);
	cr_assert_eq(B->downs, 0);
}

static unsigned hello_ancestors;

static void note_hello(struct side *side, const struct msg *m)
{
	if (m->type == MSG_HELLO)
		hello_ancestors = m->hello.record->nancestors;
}

Test(net, the_longest_hello_arrives)
{
	struct record *r = calloc(1, sizeof(*r));
	struct msg m = {.type = MSG_HELLO};

	cr_assert(r);
	r->cluster = A->cfg.cluster;
	r->volume = A->cfg.volume;
	r->format_level = RECORD_FORMAT_LEVEL;
	r->epoch = (struct epoch){1, 1};
	r->version = (struct record_version){.number = RECORD_ANCESTORS_MAX + 1, .id = 1};
	r->nreplicas = 1;
	r->replicas[0].uuid = A->cfg.self;
	snprintf(r->replicas[0].domain, sizeof(r->replicas[0].domain), "site-a");
	r->replicas[0].in_sync = true;
	r->nancestors = RECORD_ANCESTORS_MAX;
	for (unsigned i = 0; i < r->nancestors; i++)
		r->ancestors[i] = (struct record_version){.number = i + 1, .id = i + 5};
	m.hello.record = r;
	connect_both();
	B->on_message = note_hello;
	cr_assert_eq(net_send(A->net, 1, A->conn, &m, NULL, NULL), 0);
	side_send_heartbeat(A, 9);
	cr_assert(run_until(l, B->last_seq == 9));
	cr_assert_eq(hello_ancestors, RECORD_ANCESTORS_MAX);
	free(r);
}

Test(net, a_standing_connection_that_is_old_gives_way_to_a_new_one)
{
	uint64_t first;
	int fd;

	A->cfg.connect_timeout_ns = A->cfg.handshake_timeout_ns = 50 * NS_PER_MS;
	connect_both();
	first = A->conn;
	run_for_ms(l, 150);
	/* B's power was cut and it is back; A has not noticed. */
	fd = raw_connect(A->port);
	raw_preface(fd, B);
	cr_assert_eq(raw_receive(l, fd, NULL), MSG_PREFACE);
	cr_assert(run_until(l, A->conn != first));
	assert_has(A->down_reason, "replaced");
	close(fd);
	cr_assert(run_until(l, A->conn && B->conn));
}

Test(net, of_two_young_connections_the_one_dialled_by_the_smaller_uuid_stays)
{
	uint64_t first;
	int fd;

	/* Only A dials. */
	snprintf(B->cfg.peers[0].address, 64, "127.0.0.1:%d", free_port());
	connect_both();
	first = A->conn;
	fd = raw_connect(A->port); /* "B", the larger one, dials as well */
	raw_preface(fd, B);
	cr_assert_eq(raw_receive(l, fd, NULL), 0, "closed");
	cr_assert_eq(A->conn, first);
	close(fd);

	fd = raw_connect(B->port); /* "A" dials again: its first connection must be gone */
	raw_preface(fd, A);
	cr_assert_eq(raw_receive(l, fd, NULL), MSG_PREFACE);
	cr_assert(run_until(l, B->downs == 1));
	close(fd);
}

Test(net, what_the_receiver_cannot_take_waits_at_the_sender_and_goes_on_after_resume)
{
	connect_both();
	B->starve = true;
	for (uint64_t i = 1; i <= 40; i++)
		cr_assert_eq(side_send_data(A, i, 256), 0);
	run_for_ms(l, 100);
	cr_assert_eq(B->messages, 0);
	cr_assert(net_queued(A->net, 1) > 4u << 20, "%zu", net_queued(A->net, 1));
	cr_assert_eq(A->drains, 0);
	side_send_heartbeat(B, 3);
	cr_assert(run_until(l, A->last_seq == 3), "the other direction goes on");
	B->starve = false;
	net_resume(B->net);
	cr_assert(run_until(l, B->last_seq == 40));
	cr_assert_eq(A->releases, 40);
	cr_assert(run_until(l, A->drains >= 1));
	cr_assert_eq(net_queued(A->net, 1), 0);
}

Test(net, a_paused_connection_that_breaks_is_noticed)
{
	connect_both();
	B->starve = true;
	side_send_data(A, 1, 1);
	run_for_ms(l, 30);
	side_close(A);
	cr_assert(run_until(l, B->downs == 1));
}

Test(net, everything_queued_is_released_when_the_connection_breaks)
{
	connect_both();
	B->starve = true;
	for (uint64_t i = 1; i <= 40; i++)
		cr_assert_eq(side_send_data(A, i, 256), 0);
	run_for_ms(l, 20);
	side_close(B);
	cr_assert(run_until(l, A->downs == 1));
	cr_assert_eq(A->releases, 40);
}

Test(net, everything_queued_is_released_by_drop_and_by_close)
{
	connect_both();
	B->starve = true;
	for (uint64_t i = 1; i <= 20; i++)
		cr_assert_eq(side_send_data(A, i, 256), 0);
	net_drop(A->net, 1, "enough");
	A->conn = 0;
	cr_assert_eq(A->releases, 20);
	cr_assert(run_until(l, A->conn && B->conn && B->ups >= 2));
	for (uint64_t i = 1; i <= 20; i++)
		cr_assert_eq(side_send_data(A, i, 256), 0);
	side_close(A);
	cr_assert_eq(A->releases, 40);
}

Test(net, corked_messages_leave_together)
{
	connect_both();
	net_cork(A->net, 1);
	for (uint64_t i = 1; i <= 10; i++)
		side_send_heartbeat(A, i);
	run_for_ms(l, 20);
	cr_assert_eq(B->messages, 0);
	cr_assert(net_queued(A->net, 1) >= 10 * MSG_HEADER_SIZE);
	net_uncork(A->net, 1);
	cr_assert_eq(net_queued(A->net, 1), 0);
	cr_assert(run_until(l, B->last_seq == 10));
}

static void drop_at_once(struct side *side, const struct msg *m)
{
	if (m->type == MSG_DATA) {
		net_drop(side->net, side->peer, "dropped inside the callback");
		side->conn = 0;
	}
}

Test(net, a_callback_may_drop_its_own_connection)
{
	connect_both();
	B->on_message = drop_at_once;
	side_send_data(A, 1, 1);
	side_send_data(A, 2, 1);
	cr_assert(run_until(l, A->downs == 1 && A->conn && B->conn));
	cr_assert_eq(B->messages, 1, "nothing behind it was delivered");
}

static void answer(struct side *side, const struct msg *m)
{
	if (m->type == MSG_HEARTBEAT && m->heartbeat.commit < 2000)
		side_send_heartbeat(side, m->heartbeat.commit + 1);
}

Test(net, a_callback_may_send)
{
	connect_both();
	A->on_message = B->on_message = answer;
	side_send_heartbeat(A, 1);
	cr_assert(run_until(l, A->last_seq == 2000 || B->last_seq == 2000));
}

static unsigned chain_left;

static void send_next(void *arg)
{
	struct side *side = arg;
	struct msg m = {.type = MSG_HEARTBEAT, .heartbeat.commit = chain_left};

	if (chain_left && chain_left--)
		net_send(side->net, side->peer, side->conn, &m, send_next, side);
}

Test(net, a_release_callback_may_send_and_does_not_nest)
{
	connect_both();
	chain_left = 100000;
	send_next(A);
	cr_assert(run_until(l, B->messages == 100000), "%u", B->messages);
}

static void drop_in_release(void *arg)
{
	struct side *side = arg;

	net_drop(side->net, side->peer, "dropped inside release");
	side->conn = 0;
}

Test(net, a_release_callback_may_drop_the_connection)
{
	struct msg m = {.type = MSG_HEARTBEAT, .heartbeat.commit = 1};

	connect_both();
	net_cork(A->net, 1);
	net_send(A->net, 1, A->conn, &m, drop_in_release, A);
	side_send_heartbeat(A, 2);
	net_uncork(A->net, 1);
	cr_assert(run_until(l, B->downs == 1 && A->conn && B->conn));
}

Test(net, a_refusal_after_the_handshake_is_delivered_and_kept_as_the_reason)
{
	struct msg m = {
		.type = MSG_REFUSED, .refused = {.code = -ESTALE, .text = "you are a fork"}};

	connect_both();
	net_send(A->net, 1, A->conn, &m, NULL, NULL);
	net_drop(A->net, 1, "told it");
	A->conn = 0;
	cr_assert(run_until(l, B->downs == 1));
	cr_assert_str_eq(B->refused, "you are a fork");
	cr_assert_str_eq(B->down_reason, "the other side says: you are a fork");
}

Test(net, random_traffic_with_drops_loses_nothing_within_a_connection)
{
	srandom(7);
	connect_both();
	for (unsigned round = 0; round < 30; round++) {
		uint64_t next = 1;

		cr_assert(run_until(l, A->conn && B->conn));
		run_for_ms(l, 2);
		if (!A->conn || !B->conn)
			continue;
		A->last_seq = B->last_seq = 0; /* DATA of a connection counts from 1 */
		for (unsigned i = 0; i < 40 && A->conn; i++) {
			B->starve = random() % 4 == 0;
			side_send_data(A, next++, (uint32_t)(random() % 64 + 1));
			if (random() % 3 == 0)
				loop_run_once(l, 0);
			if (random() % 5 == 0)
				net_resume(B->net);
		}
		B->starve = false;
		net_resume(B->net);
		if (round % 3 == 0)
			cr_assert(run_until(l, !A->conn || B->last_seq == next - 1));
		net_drop(s[round % 2].net, !(round % 2), "round over");
		s[round % 2].conn = 0;
	}
}

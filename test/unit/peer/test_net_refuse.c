/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The transport against peers that are wrong: broken and forged frames, strangers, other volumes and
 * protocols, and those that say nothing.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bytes.h"
#include "crc32c.h"
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

TestSuite(net_refuse, .init = setup, .fini = fini, .timeout = 60);

#define assert_has(text, part) cr_assert(strstr((text), (part)), "\"%s\" in \"%s\"", part, text)

Test(net_refuse, frames_in_single_bytes_are_put_together)
{
	struct msg m = {.type = MSG_HEARTBEAT, .heartbeat.commit = 4};
	uint8_t buf[8192];
	size_t len;
	int fd;

	side_open(A);
	fd = raw_connect(A->port);
	raw_preface(fd, B);
	cr_assert_eq(raw_receive(l, fd, NULL), MSG_PREFACE);
	cr_assert(A->conn);
	len = msg_encode(&m, buf, sizeof(buf));
	for (size_t i = 0; i < len; i++) {
		cr_assert_eq(A->messages, 0);
		cr_assert_eq(send(fd, buf + i, 1, MSG_NOSIGNAL), 1);
		run_for_ms(l, 1);
	}
	cr_assert(run_until(l, A->last_seq == 4));
	close(fd);
}

Test(net_refuse, a_connection_that_breaks_in_a_payload_gives_its_memory_back)
{
	struct msg m = {.type = MSG_DATA, .data = {.block = 1, .blocks = 8}};
	uint8_t buf[8192];
	int fd;

	side_open(A);
	fd = raw_connect(A->port);
	raw_preface(fd, B);
	cr_assert_eq(raw_receive(l, fd, NULL), MSG_PREFACE);
	raw_send(fd, &m);
	memset(buf, 1, sizeof(buf));
	cr_assert_eq(send(fd, buf, sizeof(buf), MSG_NOSIGNAL), sizeof(buf));
	cr_assert(run_until(l, A->allocs == 1));
	close(fd);
	cr_assert(run_until(l, A->downs == 1));
	assert_has(A->down_reason, "in the middle of a frame");
	cr_assert_eq(side_leaked(A), 0);
}

Test(net_refuse, a_payload_with_a_wrong_checksum_closes_the_connection_and_says_so)
{
	struct msg m = {.type = MSG_DATA, .data = {.block = 1, .blocks = 1, .crc = 1}};
	char buf[4096] = {0}, text[SIDE_TEXT_MAX] = "";
	int fd;

	side_open(A);
	fd = raw_connect(A->port);
	raw_preface(fd, B);
	cr_assert_eq(raw_receive(l, fd, NULL), MSG_PREFACE);
	raw_send(fd, &m);
	cr_assert_eq(send(fd, buf, sizeof(buf), MSG_NOSIGNAL), sizeof(buf));
	cr_assert_eq(raw_receive(l, fd, text), MSG_REFUSED);
	assert_has(text, "malformed data frame");
	cr_assert_eq(A->downs, 1);
	cr_assert_eq(side_leaked(A), 0);
	close(fd);
}

Test(net_refuse, garbage_closes_the_connection_and_says_so)
{
	char text[SIDE_TEXT_MAX] = "";
	int fd;

	side_open(A);
	for (unsigned round = 0; round < 50; round++) {
		uint8_t junk[200];

		random_bytes(junk, sizeof(junk));
		junk[0] = 'G';
		fd = raw_connect(A->port);
		cr_assert_eq(send(fd, junk, sizeof(junk), MSG_NOSIGNAL), sizeof(junk));
		cr_assert_eq(raw_receive(l, fd, text), MSG_REFUSED);
		assert_has(text, "malformed frame header");
		close(fd);
	}
	cr_assert_eq(A->ups, 0);
}

Test(net_refuse, a_frame_before_the_preface_is_refused)
{
	char text[SIDE_TEXT_MAX] = "";
	int fd;

	side_open(A);
	fd = raw_connect(A->port);
	raw_send(fd, &(struct msg){.type = MSG_HEARTBEAT});
	cr_assert_eq(raw_receive(l, fd, text), MSG_REFUSED);
	assert_has(text, "unexpected frame");
	close(fd);
}

Test(net_refuse, a_second_preface_is_refused)
{
	char text[SIDE_TEXT_MAX] = "";
	int fd;

	side_open(A);
	fd = raw_connect(A->port);
	raw_preface(fd, B);
	raw_preface(fd, B);
	cr_assert_eq(raw_receive(l, fd, text), MSG_PREFACE);
	cr_assert_eq(raw_receive(l, fd, text), MSG_REFUSED);
	assert_has(text, "unexpected frame");
	cr_assert_eq(A->downs, 1);
	close(fd);
}

Test(net_refuse, an_oversized_length_is_refused_before_anything_is_allocated)
{
	char text[SIDE_TEXT_MAX] = "";
	uint8_t buf[MSG_HEADER_SIZE];
	struct msg m = {.type = MSG_DATA, .data = {.block = 1, .blocks = 1}};
	uint8_t head[8192];
	struct bytes b = bytes_of(buf, sizeof(buf));
	int fd;

	msg_encode(&m, head, sizeof(head));
	memcpy(buf, head, sizeof(buf));
	b.at = 8;
	bytes_put32(&b, 0x40000020);
	b.at = MSG_HEADER_SIZE - 4;
	bytes_put32(&b, crc32c(0, buf, MSG_HEADER_SIZE - 4));
	side_open(A);
	fd = raw_connect(A->port);
	raw_preface(fd, B);
	cr_assert_eq(raw_receive(l, fd, NULL), MSG_PREFACE);
	cr_assert_eq(send(fd, buf, sizeof(buf), MSG_NOSIGNAL), sizeof(buf));
	cr_assert_eq(raw_receive(l, fd, text), MSG_REFUSED);
	assert_has(text, "malformed frame header");
	cr_assert_eq(A->allocs, 0);
	close(fd);
}

Test(net_refuse, another_protocol_version_is_refused_in_words)
{
	char text[SIDE_TEXT_MAX] = "";
	uint8_t buf[8192];
	struct msg m = {.type = MSG_STOPPED};
	struct bytes b = bytes_of(buf, sizeof(buf));
	int fd;

	side_open(A);
	fd = raw_connect(A->port);
	msg_encode(&m, buf, sizeof(buf));
	b.at = 4;
	bytes_put16(&b, 99);
	b.at = MSG_HEADER_SIZE - 4;
	bytes_put32(&b, crc32c(0, buf, MSG_HEADER_SIZE - 4));
	cr_assert_eq(send(fd, buf, MSG_HEADER_SIZE, MSG_NOSIGNAL), MSG_HEADER_SIZE);
	cr_assert_eq(raw_receive(l, fd, text), MSG_REFUSED);
	assert_has(text, "another protocol");
	close(fd);

	fd = raw_connect(A->port);
	m = (struct msg){.type = MSG_PREFACE,
		.preface = {
			.protocol_min = 7, .protocol_max = 8, .purpose = 1, .domain = "site-b"}};
	raw_send(fd, &m);
	cr_assert_eq(raw_receive(l, fd, text), MSG_REFUSED);
	assert_has(text, "'site-b' 7 to 8");
	close(fd);
}

/* Both sides dial; neither may come up, and both say why. */
static void assert_refused(const char *part)
{
	side_open(A);
	side_open(B);
	cr_assert(run_until(l, strstr(net_trouble(A->net, 1), part) &&
				       strstr(net_trouble(B->net, 0), part)),
		"'%s' / '%s'", net_trouble(A->net, 1), net_trouble(B->net, 0));
	cr_assert_eq(A->conn, 0);
	cr_assert_eq(B->conn, 0);
}

Test(net_refuse, another_volume_is_refused_and_both_sides_say_so)
{
	B->cfg.volume = uuid_new();
	assert_refused("volume is another");
}

Test(net_refuse, another_cluster_is_refused_and_both_sides_say_so)
{
	B->cfg.cluster = uuid_new();
	assert_refused("cluster is another");
}

Test(net_refuse, a_replica_that_is_not_configured_is_refused)
{
	B->cfg.self = uuid_new();
	B->cfg.peers[1].replica = B->cfg.self;
	side_open(A);
	side_open(B);
	cr_assert(run_until(l,
		strstr(net_trouble(B->net, 0), "is not in the configuration of 'site-a'") &&
			strstr(net_trouble(A->net, 1), "is not in the configuration of 'site-a'")));
	assert_has(net_trouble(B->net, 0), "the other side says");
	cr_assert_eq(A->ups, 0);
}

Test(net_refuse, a_replica_with_another_domain_is_refused)
{
	snprintf(B->cfg.domain, sizeof(B->cfg.domain), "site-x");
	side_open(A);
	side_open(B);
	cr_assert(run_until(l, strstr(net_trouble(B->net, 0), "calls its domain 'site-x'")), "%s",
		net_trouble(B->net, 0));
	cr_assert_eq(A->conn, 0);
}

Test(net_refuse, an_address_that_leads_back_home_is_said_in_words)
{
	snprintf(A->cfg.peers[1].address, 64, "127.0.0.1:%d", A->port);
	side_open(A);
	cr_assert(run_until(l, strstr(net_trouble(A->net, 1), "leads back to 'site-a' itself")));
	cr_assert_eq(A->ups, 0);
}

Test(net_refuse, a_listener_that_says_nothing_runs_into_the_time_out)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sa);

	bind(fd, (struct sockaddr *)&sa, sizeof(sa));
	listen(fd, 16);
	getsockname(fd, (struct sockaddr *)&sa, &len);
	snprintf(A->cfg.peers[1].address, 64, "127.0.0.1:%d", ntohs(sa.sin_port));
	A->cfg.handshake_timeout_ns = 50 * NS_PER_MS;
	side_open(A);
	cr_assert(run_until(l, strstr(net_trouble(A->net, 1), "did not finish the handshake")),
		"%s", net_trouble(A->net, 1));
	close(fd);
}

Test(net_refuse, a_caller_that_says_nothing_is_shown_the_door)
{
	char text[SIDE_TEXT_MAX] = "";
	int fd;

	A->cfg.handshake_timeout_ns = 50 * NS_PER_MS;
	side_open(A);
	fd = raw_connect(A->port);
	cr_assert_eq(raw_receive(l, fd, text), MSG_REFUSED);
	assert_has(text, "did not finish the handshake");
	cr_assert_eq(raw_receive(l, fd, text), 0);
	close(fd);
}

Test(net_refuse, strangers_hold_at_most_sixteen_connections_and_not_for_long)
{
	int fd[30], open_count = 0;
	char byte;

	A->cfg.handshake_timeout_ns = 300 * NS_PER_MS;
	side_open(A);
	for (unsigned i = 0; i < 30; i++) {
		fd[i] = raw_connect(A->port);
		loop_run_once(l, NS_PER_MS);
	}
	run_for_ms(l, 30);
	for (unsigned i = 0; i < 30; i++)
		open_count += recv(fd[i], &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN;
	cr_assert_eq(open_count, 16, "%d", open_count);
	for (unsigned i = 0; i < 30; i++)
		close(fd[i]);
	run_for_ms(l, 30);
	side_open(B);
	cr_assert(run_until(l, A->conn && B->conn));
}

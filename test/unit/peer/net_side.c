/* SPDX-License-Identifier: Apache-2.0 */
/* Two ends of a transport for tests; see the header. */
#include "net_side.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "crc32c.h"

static struct sockaddr_in loopback(int port)
{
	return (struct sockaddr_in){.sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

int free_port(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
	struct sockaddr_in sa = loopback(0);
	socklen_t len = sizeof(sa);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	cr_assert_eq(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	cr_assert_eq(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	close(fd);
	return ntohs(sa.sin_port);
}

unsigned open_descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned count = 0;

	cr_assert(d);
	while (readdir(d))
		count++;
	closedir(d);
	return count;
}

void must_hold(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "does not hold at the end of the test: %s\n", what);
	abort();
}

void sides_fini(struct side sides[2], struct loop *l, unsigned descriptors)
{
	uint64_t end = clock_mono_ns() + 10 * NS_PER_S;

	for (unsigned i = 0; i < 2; i++) {
		side_close(&sides[i]);
		must_hold(side_leaked(&sides[i]) == 0, "payload memory was given back");
	}
	loop_free(l);
	/* A look-up's thread may be waiting for a name server still. */
	while (open_descriptors() != descriptors && clock_mono_ns() < end)
		usleep(10000);
	must_hold(open_descriptors() == descriptors, "all descriptors are closed");
}

void run_for_ms(struct loop *l, unsigned ms)
{
	uint64_t end = clock_mono_ns() + ms * NS_PER_MS;

	while (clock_mono_ns() < end)
		loop_run_once(l, NS_PER_MS);
}

static void on_up(void *ctx, unsigned peer, uint64_t conn)
{
	struct side *s = ctx;

	cr_assert_eq(peer, s->peer);
	cr_assert_eq(s->conn, 0, "up while a connection stands");
	s->conn = conn;
	s->ups++;
}

static void on_down(void *ctx, unsigned peer, uint64_t conn, const char *reason)
{
	struct side *s = ctx;

	cr_assert_eq(conn, s->conn, "down of another connection");
	s->conn = 0;
	s->downs++;
	snprintf(s->down_reason, sizeof(s->down_reason), "%s", reason);
}

static void *on_alloc(void *ctx, unsigned peer, const struct msg_frame *f)
{
	struct side *s = ctx;
	size_t len = (f->payload_len + BLOCK_SIZE - 1) / BLOCK_SIZE * BLOCK_SIZE;

	if (s->starve)
		return NULL;
	s->allocs++;
	return aligned_alloc(BLOCK_SIZE, len);
}

static void on_free(void *ctx, void *payload)
{
	struct side *s = ctx;

	s->frees++;
	free(payload);
}

static void on_msg(void *ctx, unsigned peer, uint64_t conn, const struct msg *m, void *payload)
{
	struct side *s = ctx;
	size_t len;

	cr_assert_eq(conn, s->conn, "a message of another connection");
	s->messages++;
	s->last_type = m->type;
	if (m->type == MSG_HEARTBEAT)
		s->last_seq = m->heartbeat.commit;
	if (m->type == MSG_DATA) {
		cr_assert_eq(m->data.bytes, payload);
		cr_assert_eq(m->data.block, s->last_seq + 1, "in order");
		s->last_seq = m->data.block;
	}
	if (m->type == MSG_REFUSED)
		snprintf(s->refused, sizeof(s->refused), "%s", m->refused.text);
	msg_payload(m, &len);
	s->bytes += len;
	if (payload) {
		s->frees++;
		free(payload);
	}
	if (s->on_message)
		s->on_message(s, m);
}

static void on_drained(void *ctx, unsigned peer, uint64_t conn)
{
	struct side *s = ctx;

	s->drains++;
}

void sides_init(struct side sides[2], struct loop *l)
{
	static const char *const domains[] = {"site-a", "site-b"};
	struct uuid cluster = uuid_new(), volume = uuid_new();
	struct uuid replicas[2];

	memset(sides, 0, 2 * sizeof(*sides));
	for (unsigned i = 0; i < 2; i++) {
		replicas[i] = uuid_new();
		replicas[i].b[0] = (uint8_t)(i + 1); /* sides[0] is the smaller one */
		sides[i].port = free_port();
	}
	for (unsigned i = 0; i < 2; i++) {
		struct net_config *cfg = &sides[i].cfg;

		sides[i].loop = l;
		sides[i].peer = !i;
		cfg->cluster = cluster;
		cfg->volume = volume;
		cfg->self = replicas[i];
		snprintf(cfg->domain, sizeof(cfg->domain), "%s", domains[i]);
		snprintf(cfg->listen, sizeof(cfg->listen), "127.0.0.1:%d", sides[i].port);
		cfg->npeers = 2;
		for (unsigned k = 0; k < 2; k++) {
			cfg->peers[k].replica = replicas[k];
			snprintf(cfg->peers[k].domain, sizeof(cfg->peers[k].domain), "%s",
				domains[k]);
			if (k != i)
				snprintf(cfg->peers[k].address, sizeof(cfg->peers[k].address),
					"127.0.0.1:%d", sides[k].port);
		}
		cfg->connect_timeout_ns = 2 * NS_PER_S;
		cfg->handshake_timeout_ns = 2 * NS_PER_S;
		cfg->backoff_min_ns = 5 * NS_PER_MS;
		cfg->backoff_max_ns = 40 * NS_PER_MS;
	}
}

int side_try_open(struct side *s, struct err *e)
{
	struct net_callbacks cb = {.ctx = s,
		.up = on_up,
		.payload_alloc = on_alloc,
		.payload_free = on_free,
		.message = on_msg,
		.down = on_down,
		.drained = on_drained};

	return net_open(s->loop, &s->cfg, &cb, &s->net, e);
}

void side_open(struct side *s)
{
	struct err e = {0};

	cr_assert_eq(side_try_open(s, &e), 0, "%s", e.msg);
}

void side_close(struct side *s)
{
	net_close(s->net);
	s->net = NULL;
	s->conn = 0;
}

unsigned side_leaked(const struct side *s)
{
	return s->allocs - s->frees;
}

int side_send_heartbeat(struct side *s, uint64_t commit)
{
	struct msg m = {.type = MSG_HEARTBEAT, .heartbeat.commit = commit};

	return net_send(s->net, s->peer, s->conn, &m, NULL, NULL);
}

struct sent {
	struct side *side;
	void *bytes;
};

static void data_released(void *arg)
{
	struct sent *sent = arg;

	sent->side->releases++;
	/* Whoever still sends from it sends wrong bytes. */
	memset(sent->bytes, 0xee, BLOCK_SIZE);
	free(sent->bytes);
	free(sent);
}

int side_send_data(struct side *s, uint64_t block, uint32_t blocks)
{
	size_t len = (size_t)blocks * BLOCK_SIZE;
	struct sent *sent = malloc(sizeof(*sent));
	uint64_t *words = aligned_alloc(BLOCK_SIZE, len);
	struct msg m = {.type = MSG_DATA};
	int ret;

	cr_assert(sent && words);
	for (size_t i = 0; i < len / 8; i++)
		words[i] = block * 1000003 + i;
	*sent = (struct sent){s, words};
	m.data.block = block;
	m.data.blocks = blocks;
	m.data.epoch_num = 1;
	m.data.crc = crc32c(0, words, len);
	m.data.bytes = words;
	ret = net_send(s->net, s->peer, s->conn, &m, data_released, sent);
	if (ret < 0) {
		free(words);
		free(sent);
	}
	return ret;
}

int raw_connect(int port)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in sa = loopback(port);

	cr_assert_eq(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	return fd;
}

void raw_send(int fd, const struct msg *m)
{
	uint8_t buf[8192];
	size_t len = msg_encode(m, buf, sizeof(buf));

	cr_assert_eq(send(fd, buf, len, MSG_NOSIGNAL), (ssize_t)len);
}

void raw_preface(int fd, const struct side *from)
{
	struct msg m = {.type = MSG_PREFACE};

	m.preface = (struct msg_preface){.protocol_min = MSG_PROTOCOL_MIN,
		.protocol_max = MSG_PROTOCOL,
		.purpose = MSG_PURPOSE_COMMIT,
		.cluster = from->cfg.cluster,
		.volume = from->cfg.volume,
		.replica = from->cfg.self};
	snprintf(m.preface.domain, sizeof(m.preface.domain), "%s", from->cfg.domain);
	raw_send(fd, &m);
}

/* Exactly n bytes; false at the end. */
static bool raw_read(struct loop *l, int fd, uint8_t *p, size_t n)
{
	uint64_t end = clock_mono_ns() + 5 * NS_PER_S;

	while (n && clock_mono_ns() < end) {
		ssize_t got = recv(fd, p, n, MSG_DONTWAIT);

		if (got == 0 || (got < 0 && errno != EAGAIN))
			return false;
		if (got > 0) {
			p += got;
			n -= (size_t)got;
		} else {
			loop_run_once(l, 5 * NS_PER_MS);
		}
	}
	return !n;
}

int raw_receive(struct loop *l, int fd, char *text)
{
	uint8_t buf[MSG_HEADER_SIZE + 4096];
	struct msg_frame f;
	struct msg m;

	if (!raw_read(l, fd, buf, MSG_HEADER_SIZE))
		return 0;
	cr_assert_eq(msg_decode_frame(buf, &f), 0);
	cr_assert(f.meta_len <= 4096 && !f.payload_len);
	cr_assert(raw_read(l, fd, buf + MSG_HEADER_SIZE, f.meta_len));
	cr_assert_eq(msg_decode(&f, buf + MSG_HEADER_SIZE, NULL, NULL, &m), 0);
	if (text && m.type == MSG_REFUSED)
		snprintf(text, SIDE_TEXT_MAX, "%s", m.refused.text);
	return (int)m.type;
}

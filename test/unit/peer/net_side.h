/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two ends of a transport in one loop, for the tests of net.c: what each end was told is
 * counted, payloads are checked for leaks, and run_until() turns the loop until something holds.
 */
#ifndef TEST_NET_SIDE_H
#define TEST_NET_SIDE_H

#include "clock.h"
#include "net.h"

#define SIDE_TEXT_MAX 1024

struct side {
	struct loop *loop;
	struct net *net;
	struct net_config cfg;
	unsigned peer; /* index of the other one */
	int port;
	unsigned ups, downs, drains, messages, allocs, frees;
	uint64_t conn; /* 0: down */
	char down_reason[SIDE_TEXT_MAX];
	char refused[SIDE_TEXT_MAX]; /* text of the last REFUSED */
	enum msg_type last_type;
	uint64_t last_seq; /* HEARTBEAT: commit, DATA: block */
	uint64_t bytes; /* of payloads */
	unsigned releases;
	bool starve; /* payload_alloc gives nothing */
	void (*on_message)(struct side *s, const struct msg *m); /* NULL: none */
};

/* A port on the loopback that was free a moment ago. */
int free_port(void);
/* sides[0] has the smaller UUID. Nothing is open yet; cfg may be changed before side_open(). */
void sides_init(struct side sides[2], struct loop *l);
void side_open(struct side *s);
int side_try_open(struct side *s, struct err *e);
void side_close(struct side *s);
/* payload memory that was given out and neither freed nor delivered */
unsigned side_leaked(const struct side *s);

int side_send_heartbeat(struct side *s, uint64_t commit);
/* A DATA frame whose payload is made from `block`; counted in s->releases when it is let go. */
int side_send_data(struct side *s, uint64_t block, uint32_t blocks);

unsigned open_descriptors(void); /* of this process */
/* For .fini, where a failed assertion is printed and forgotten: ends the test program instead. */
void must_hold(bool ok, const char *what);
/* Closes both ends; nothing may have leaked. `descriptors`: how many were open before. */
void sides_fini(struct side sides[2], struct loop *l, unsigned descriptors);
void run_for_ms(struct loop *l, unsigned ms);
#define run_until(l, cond)                                                                         \
	({                                                                                         \
		uint64_t end_ = clock_mono_ns() + 5 * NS_PER_S;                                    \
		while (!(cond) && clock_mono_ns() < end_)                                          \
			loop_run_once((l), 20 * NS_PER_MS);                                        \
		(cond);                                                                            \
	})

/* A peer made by hand: a plain blocking socket. */
int raw_connect(int port);
/* Sends a preface as sides[from] would. */
void raw_preface(int fd, const struct side *from);
void raw_send(int fd, const struct msg *m);
/* Reads one frame while turning the loop; its type, or 0 at the end of the connection. The text of a
 * REFUSED goes to `text` (SIDE_TEXT_MAX bytes, may be NULL). */
int raw_receive(struct loop *l, int fd, char *text);

#endif

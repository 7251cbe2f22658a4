/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What outlives a killed daemon: its header is believed only if it is right in everything, and the lookup counts are
 * never too low, whenever the process that changes them dies.
 */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ll_impl.h"

#define STEADY 3000u /* inodes that the victim tells of once, each twice */
#define OTHERS 1000000ull

static const struct uuid volume = {{1, 2, 3}}, other_volume = {{1, 2, 4}};

static int check(struct kept *k, uint64_t mount_id, const struct uuid *of)
{
	struct err e = {0};
	int r = kept_check(k->h, mount_id, of, &e);

	cr_expect(eq(int, r != 0, e.msg[0] != '\0'));
	return r;
}

Test(kept, a_header_is_believed_only_if_it_is_whole_and_of_this_mount_and_volume)
{
	struct kept k;

	cr_assert(eq(int, kept_new(0, &k), 0));
	cr_expect(eq(int, check(&k, 7, &volume), -EBADMSG)); /* never sealed */
	kept_seal(&k, 7, 0x123, &volume);
	cr_expect(eq(int, check(&k, 7, &volume), 0));
	cr_expect(eq(int, check(&k, 8, &volume), -EBADMSG));
	cr_expect(eq(int, check(&k, 7, &other_volume), -EBADMSG));
	for (size_t i = 0; i < offsetof(struct kept_header, committed); i++) {
		uint8_t *byte = (uint8_t *)k.h + i;

		*byte ^= 0x40;
		cr_expect(lt(int, check(&k, k.h->mount_id, &k.h->volume), 0), "byte %zu", i);
		*byte ^= 0x40;
	}
	k.h->caps[3] = 300;
	cr_expect(eq(int, check(&k, 7, &volume), -EBADMSG));
	k.h->caps[3] = KEPT_CAP_MAX * 2;
	cr_expect(eq(int, check(&k, 7, &volume), -EBADMSG));
	k.h->caps[3] = 512;
	cr_expect(eq(int, check(&k, 7, &volume), 0));
	k.h->version++;
	cr_expect(eq(int, check(&k, 7, &volume), -EPROTONOSUPPORT));
	k.h->version--;
	k.h->takeovers = KEPT_TAKEOVERS_MAX;
	cr_expect(eq(int, check(&k, 7, &volume), -ELOOP));
	kept_close(&k);
}

Test(kept, another_descriptor_is_refused)
{
	struct err e = {0};
	struct kept k;

	cr_expect(eq(int, kept_map(memfd_create("x", MFD_CLOEXEC), &k, &e), -EBADMSG));
}

Test(kept, of_a_newer_version_it_is_known_as_such_whatever_its_form)
{
	struct err e = {0};
	struct kept k, seen;

	cr_assert(eq(int, kept_new(0, &k), 0));
	kept_seal(&k, 7, 0, &volume);
	cr_assert(eq(int, kept_map(dup(k.fd), &seen, &e), 0));
	kept_close(&seen);
	k.h->version++;
	cr_assert(eq(int, ftruncate(k.fd, 8192), 0));
	cr_expect(eq(int, kept_map(dup(k.fd), &seen, &e), -EPROTONOSUPPORT));
	k.h->magic++;
	cr_expect(eq(int, kept_map(dup(k.fd), &seen, &e), -EBADMSG));
	kept_close(&k);
}

Test(kept, a_window_that_is_full_is_refused_and_a_copy_keeps_the_newest)
{
	struct kept k, copy;

	cr_assert(eq(int, kept_new(0, &k), 0));
	cr_assert(eq(int, kept_new(0, &copy), 0));
	kept_seal(&k, 7, 0, &volume);
	for (uint64_t i = 1; i <= KEPT_WINDOW_MAX; i++)
		kept_window_add(&k, &(struct kept_done){.unique = i, .seq = 2 * i});
	cr_expect(eq(int, check(&k, 7, &volume), 0));
	kept_window_copy(&copy, &k);
	cr_expect(eq(u32, copy.h->window, KEPT_WINDOW_MAX / 2));
	cr_expect(eq(u64, kept_window(&copy)[0].unique, KEPT_WINDOW_MAX / 2 + 1));
	cr_expect(eq(u64, kept_window(&copy)[copy.h->window - 1].seq, 2 * KEPT_WINDOW_MAX));
	for (unsigned i = 0; i < 3; i++)
		kept_window_add(&k, &(struct kept_done){.unique = 1});
	cr_expect(eq(int, check(&k, 7, &volume), -EBADMSG));
	kept_close(&k);
	kept_close(&copy);
}

static struct ll *ll_with_counts(void)
{
	struct ll *l = NULL;

	cr_assert(posix_memalign((void **)&l, 64, sizeof(*l)) == 0);
	memset(l, 0, sizeof(*l));
	cr_assert(eq(int, ll_known_init(l), 0));
	return l;
}

static void ll_free(struct ll *l)
{
	ll_known_free(l);
	free(l);
}

static uint64_t count_of(struct ll *l, uint64_t ino)
{
	for (unsigned s = 0; s < KEPT_SHARDS; s++)
		for (size_t i = 0; i < l->known[s].cap; i++)
			if (l->known[s].entries[i].ino == ino)
				return l->known[s].entries[i].count;
	return 0;
}

Test(kept, an_inode_that_was_being_moved_or_put_in_counts_as_much_as_is_safe)
{
	struct ll *l = ll_with_counts(), *next = ll_with_counts();
	struct kept_known *t;

	ll_known_add(l, 5, 3);
	for (unsigned s = 0; s < KEPT_SHARDS; s++) {
		if (!l->known[s].cap)
			continue;
		t = l->known[s].entries;
		for (unsigned i = 0, n = 0; i < l->known[s].cap && n < 2; i++)
			if (!t[i].ino)
				t[i] = n++ ? (struct kept_known){.ino = 6}
					   : (struct kept_known){.ino = 5, .count = 9, .orphan = 1};
	}
	ll_known_load(next, &l->kept);
	cr_expect(eq(u64, count_of(next, 5), 9));
	cr_expect(eq(int, ll_knows(next, 6), 0));
	cr_expect(eq(sz, ll_known_count(next), 1));
	ll_free(l);
	ll_free(next);
}

static _Noreturn void victim(struct ll *l, int ready, uint64_t seed)
{
	for (uint64_t i = 1; i <= STEADY; i++)
		ll_known_add(l, i, 2);
	ensure(write(ready, "x", 1) == 1);
	for (;;) { /* tables grow, shrink and close up */
		uint64_t n =
			1 + (seed = seed * 6364136223846793005ull + 1442695040888963407ull) % 32768;

		for (uint64_t i = 1; i <= n; i++)
			ll_known_add(l, OTHERS + i, 1);
		for (uint64_t i = 1; i <= n; i++)
			ll_known_sub(l, OTHERS + i, 1);
	}
}

static void expect_steady(const struct ll *l)
{
	static uint64_t counts[STEADY + 1];

	memset(counts, 0, sizeof(counts));
	for (unsigned s = 0; s < KEPT_SHARDS; s++)
		for (size_t i = 0; i < l->known[s].cap; i++)
			if (l->known[s].entries[i].ino <= STEADY)
				counts[l->known[s].entries[i].ino] = l->known[s].entries[i].count;
	for (uint64_t i = 1; i <= STEADY; i++)
		cr_expect(counts[i] == 2, "inode %llu is known %llu times", (unsigned long long)i,
			(unsigned long long)counts[i]);
}

Test(kept, counts_are_never_too_low_after_a_kill_at_any_instruction, .timeout = 60)
{
	for (unsigned round = 0; round < 100; round++) {
		struct ll *l = ll_with_counts(), *next = ll_with_counts();
		int fds[2], status;
		char byte;
		pid_t pid;

		cr_assert(pipe(fds) == 0);
		pid = fork();
		if (!pid)
			victim(l, fds[1], round);
		cr_assert(read(fds[0], &byte, 1) == 1);
		usleep(round * 137 % 5000);
		kill(pid, SIGKILL);
		cr_assert(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
		close(fds[0]);
		close(fds[1]);
		kept_seal(&l->kept, 1, 0, &volume);
		cr_assert(eq(int, check(&l->kept, 1, &volume), 0));
		ll_known_load(next, &l->kept);
		expect_steady(next);
		ll_free(l);
		ll_free(next);
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The record: which of two is newer, its encoding, its file; the facts beside it. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "record.h"

static struct record *a, *b;
static uint8_t *buf;
static char dir[64], path[96];

static void fill(struct record *r)
{
	memset(r, 0, sizeof(*r));
	for (unsigned i = 0; i < 16; i++) {
		r->cluster.b[i] = (uint8_t)(0x10 + i);
		r->volume.b[i] = (uint8_t)(0x20 + i);
	}
	r->format_level = 1;
	r->version = (struct record_version){.number = 1, .id = 0x1122334455667788};
	r->epoch = (struct epoch){.num = 3, .id = 0x99aabbccddeeff00};
	r->nreplicas = 2;
	for (unsigned i = 0; i < 2; i++) {
		r->replicas[i].uuid.b[0] = (uint8_t)(0x30 + i);
		snprintf(r->replicas[i].domain, sizeof(r->replicas[i].domain), "site-%c", 'a' + i);
		r->replicas[i].in_sync = true;
	}
	r->active = r->replicas[0].uuid;
}

static void setup(void)
{
	a = malloc(sizeof(*a));
	b = malloc(sizeof(*b));
	buf = malloc(RECORD_ENCODED_MAX);
	cr_assert(a && b && buf);
	fill(a);
	fill(b);
	snprintf(dir, sizeof(dir), "/tmp/test-record-XXXXXX");
	cr_assert(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/record", dir);
}

static void teardown(void)
{
	char other[128];

	unlink(path);
	snprintf(other, sizeof(other), "%s.new", path);
	unlink(other);
	rmdir(dir);
	free(a);
	free(b);
	free(buf);
}

TestSuite(record, .init = setup, .fini = teardown);

Test(record, the_one_that_has_the_others_version_among_its_ancestors_is_newer)
{
	cr_assert_eq(record_compare(a, b), RECORD_SAME);
	record_next(a, 2, false);
	cr_assert_eq(a->version.number, 2);
	cr_assert_eq(record_compare(a, b), RECORD_NEWER);
	cr_assert_eq(record_compare(b, a), RECORD_OLDER);
	record_next(a, 3, false);
	cr_assert_eq(record_compare(a, b), RECORD_NEWER);
	record_next(b, 2, false); /* b follows to the step in between */
	cr_assert_eq(record_compare(a, b), RECORD_NEWER);
	record_next(b, 4, false); /* and takes another turn */
	cr_assert_eq(record_compare(a, b), RECORD_FORK);
	cr_assert_eq(record_compare(b, a), RECORD_FORK);
}

Test(record, equal_numbers_with_other_ids_are_a_fork)
{
	record_next(a, 2, false);
	record_next(b, 3, false);
	cr_assert_eq(a->version.number, b->version.number);
	cr_assert_eq(record_compare(a, b), RECORD_FORK);
}

Test(record, nobody_follows_over_a_forced_step)
{
	record_next(a, 2, true);
	cr_assert_eq(record_compare(a, b), RECORD_FORK);
	record_next(a, 3, false);
	cr_assert_eq(record_compare(a, b), RECORD_FORK);
	record_next(b, 2, true); /* who is beyond the forced step itself may follow */
	cr_assert_eq(record_compare(a, b), RECORD_NEWER);
	cr_assert_eq(record_compare(b, a), RECORD_OLDER);
}

/* Nothing was ever written under it: a disk is replaced, and formatted with it. */
Test(record, the_first_one_is_older_than_all_that_began_with_it)
{
	b->epoch = (struct epoch){0};
	record_next(a, 2, true);
	cr_assert_eq(record_compare(a, b), RECORD_NEWER);
	cr_assert_eq(record_compare(b, a), RECORD_OLDER);
	for (uint64_t i = 0; i < RECORD_ANCESTORS_MAX; i++)
		record_next(a, i + 3, false);
	cr_assert_gt(a->ancestors[0].number, 1u);
	cr_assert_eq(record_compare(a, b), RECORD_NEWER);
	cr_assert_eq(record_compare(b, a), RECORD_OLDER);
}

Test(record, another_first_one_or_one_with_an_epoch_or_changed_is_a_fork)
{
	b->epoch = (struct epoch){0};
	record_next(a, 2, true);
	b->version.id++;
	cr_assert_eq(record_compare(a, b), RECORD_FORK);
	fill(a);
	a->epoch = b->epoch;
	cr_assert_eq(record_compare(a, b), RECORD_FORK, "two volumes were formatted");
	fill(a);
	fill(b);
	record_next(a, 2, true);
	cr_assert_eq(record_compare(a, b), RECORD_FORK, "an epoch");
	b->epoch = (struct epoch){0};
	record_next(b, 3, false);
	cr_assert_eq(record_compare(a, b), RECORD_FORK, "a change");
	cr_assert_eq(record_compare(b, a), RECORD_FORK, "a change");
}

Test(record, a_version_that_was_passed_counts_as_an_ancestor)
{
	struct record_version proposed = {.number = 2, .id = 77};

	record_next(b, 77, false); /* b accepted a proposal of a's */
	record_pass(a, &proposed); /* which a did not adopt, but remembers */
	record_next(a, 88, false);
	cr_assert_eq(a->version.number, 3);
	cr_assert_eq(record_compare(a, b), RECORD_NEWER);
}

Test(record, a_full_ancestry_forgets_the_oldest_and_then_it_is_a_fork)
{
	for (uint64_t i = 0; i < RECORD_ANCESTORS_MAX; i++)
		record_next(a, i + 2, false);
	cr_assert_eq(a->nancestors, RECORD_ANCESTORS_MAX);
	cr_assert_eq(record_compare(a, b), RECORD_NEWER);
	record_next(a, 99999, false);
	cr_assert_eq(a->nancestors, RECORD_ANCESTORS_MAX);
	cr_assert_eq(record_compare(a, b), RECORD_FORK);
	cr_assert(record_valid(a));
	cr_assert_gt(record_encode(a, buf, RECORD_ENCODED_MAX), 0u);
}

Test(record, domains_are_made_inactive_and_active_once)
{
	record_set_inactive(a, "site-b", true);
	record_set_inactive(a, "site-b", true);
	cr_assert_eq(a->ninactive, 1u);
	cr_assert(record_domain_inactive(a, "site-b"));
	cr_assert_not(record_domain_inactive(a, "site-a"));
	cr_assert_not(record_valid(a), "an inactive domain has no replica in the set");
	a->replicas[1].in_sync = false;
	cr_assert(record_valid(a));
	record_set_inactive(a, "site-b", false);
	record_set_inactive(a, "site-b", false);
	cr_assert_eq(a->ninactive, 0u);
	cr_assert(record_domain_known(a, "site-b"));
	cr_assert_not(record_domain_known(a, "site-c"));
	cr_assert_eq(record_in_sync_count(a), 1u);
	cr_assert_eq(record_find(a, &a->replicas[1].uuid), 1);
	cr_assert_eq(record_find(a, &a->cluster), -1);
}

Test(record, what_is_encoded_comes_back)
{
	size_t n;

	record_next(a, 5, false);
	record_next(a, 6, true);
	a->replicas[1].in_sync = false;
	record_set_inactive(a, "site-b", true);
	n = record_encode(a, buf, RECORD_ENCODED_MAX);
	cr_assert_gt(n, 0u);
	memset(b, 0xaa, sizeof(*b));
	cr_assert_eq(record_decode(buf, n, b), 0);
	cr_assert_eq(record_compare(a, b), RECORD_SAME);
	cr_assert_eq(b->nancestors, 2u);
	cr_assert(b->version.forced);
	cr_assert_not(b->ancestors[1].forced);
	cr_assert(record_domain_inactive(b, "site-b"));
	cr_assert_not(b->replicas[1].in_sync);
	cr_assert(epoch_equal(a->epoch, b->epoch));
	cr_assert_str_eq(b->replicas[0].domain, "site-a");
	cr_assert_eq(record_encode(a, buf, n - 1), 0u, "too small a buffer");
}

Test(record, golden_bytes_pin_the_format)
{
	static const uint8_t head[] = {0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19,
		0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f, 0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27,
		0x28, 0x29, 0x2a, 0x2b, 0x2c, 0x2d, 0x2e, 0x2f, /* cluster, volume */
		1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11,
		0, /* format level, version */
		0x00, 0xff, 0xee, 0xdd, 0xcc, 0xbb, 0xaa, 0x99, 3, 0, 0, 0, /* epoch */
		0x30, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, /* active */
		2, 0, 0, 0, 0x30, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 's', 'i', 't', 'e',
		'-', 'a', 0};
	size_t n = record_encode(a, buf, RECORD_ENCODED_MAX);

	cr_assert_eq(n, 32u + 4 + 17 + 12 + 16 + 4 + 2 * (16 + 64 + 1) + 4 + 4);
	cr_assert_eq(memcmp(buf, head, sizeof(head)), 0);
}

Test(record, every_shortened_or_lengthened_encoding_is_refused)
{
	size_t n;

	record_next(a, 5, false);
	n = record_encode(a, buf, RECORD_ENCODED_MAX);
	for (size_t len = 0; len < n; len++)
		cr_assert_eq(record_decode(buf, len, b), -EBADMSG, "%zu bytes", len);
	buf[n] = 0;
	cr_assert_eq(record_decode(buf, n + 1, b), -EBADMSG);
	cr_assert_eq(record_decode(buf, n, b), 0);
}

static bool decodes(void (*change)(struct record *r))
{
	size_t n;

	fill(a);
	change(a);
	n = record_encode(a, buf, RECORD_ENCODED_MAX);
	return n && !record_decode(buf, n, b);
}

static void none_active(struct record *r)
{
	memset(&r->active, 0, sizeof(r->active));
}
static void stranger_active(struct record *r)
{
	r->active.b[7] = 1;
}
static void twins(struct record *r)
{
	r->replicas[1].uuid = r->replicas[0].uuid;
}
static void no_domain(struct record *r)
{
	r->replicas[1].domain[0] = 0;
}
static void endless_domain(struct record *r)
{
	memset(r->replicas[1].domain, 'x', sizeof(r->replicas[1].domain));
}
static void dirty_domain(struct record *r)
{
	r->replicas[1].domain[60] = 'x';
}
static void control_character(struct record *r)
{
	r->replicas[1].domain[0] = '\n';
}
static void nobody_in_sync(struct record *r)
{
	none_active(r);
	r->replicas[0].in_sync = r->replicas[1].in_sync = false;
}
static void outdated_active(struct record *r)
{
	r->replicas[0].in_sync = false;
}
static void unknown_inactive(struct record *r)
{
	record_set_inactive(r, "site-z", true);
}
static void no_volume(struct record *r)
{
	memset(&r->volume, 0, sizeof(r->volume));
}
static void backward_ancestry(struct record *r)
{
	record_next(r, 2, false);
	record_next(r, 3, false);
	record_next(r, 4, false);
	r->ancestors[2].number = 1;
}
static void twice_in_the_ancestry(struct record *r)
{
	record_next(r, 2, false);
	record_next(r, 3, false);
	r->ancestors[1] = r->ancestors[0];
}
static void as_old_as_its_ancestor(struct record *r)
{
	record_next(r, 2, false);
	r->ancestors[0].number = 2;
}

Test(record, impossible_content_is_refused)
{
	cr_assert(decodes(none_active));
	cr_assert_not(decodes(stranger_active));
	cr_assert_not(decodes(twins));
	cr_assert_not(decodes(no_domain));
	cr_assert_not(decodes(endless_domain));
	cr_assert_not(decodes(dirty_domain));
	cr_assert_not(decodes(control_character));
	cr_assert_not(decodes(nobody_in_sync));
	cr_assert_not(decodes(outdated_active));
	cr_assert_not(decodes(unknown_inactive));
	cr_assert_not(decodes(no_volume));
	cr_assert_not(decodes(backward_ancestry));
	cr_assert_not(decodes(twice_in_the_ancestry));
	cr_assert_not(decodes(as_old_as_its_ancestor));
}

Test(record, no_single_flipped_byte_crashes_the_decoder)
{
	size_t n;

	record_next(a, 5, false);
	n = record_encode(a, buf, RECORD_ENCODED_MAX);
	for (size_t i = 0; i < n; i++)
		for (unsigned bit = 0; bit < 8; bit++) {
			buf[i] ^= (uint8_t)(1u << bit);
			if (!record_decode(buf, n, b))
				cr_assert(record_valid(b));
			buf[i] ^= (uint8_t)(1u << bit);
		}
}

Test(record, a_stored_record_is_loaded_and_replaces_the_old_one_whole)
{
	struct err e = {0};

	cr_assert_eq(record_load(path, b, &e), -ENOENT);
	cr_assert_eq(record_store(path, a, &e), 0, "%s", e.msg);
	record_next(a, 2, false);
	cr_assert_eq(record_store(path, a, &e), 0, "%s", e.msg);
	memset(b, 0, sizeof(*b));
	cr_assert_eq(record_load(path, b, &e), 0, "%s", e.msg);
	cr_assert_eq(record_compare(a, b), RECORD_SAME);
	cr_assert_eq(b->nancestors, 1u);
}

static void patch(const char *p, long at, int value)
{
	FILE *f = fopen(p, "r+");

	cr_assert(f && !fseek(f, at, SEEK_SET) && fputc(value, f) == value);
	fclose(f);
}

Test(record, a_damaged_file_is_an_error_with_its_name_at_any_byte)
{
	struct err e = {0};
	struct stat st;

	cr_assert_eq(record_store(path, a, &e), 0);
	cr_assert_eq(stat(path, &st), 0);
	for (long i = 0; i < st.st_size; i += 7) {
		cr_assert_eq(record_store(path, a, &e), 0);
		patch(path, i, 0xee);
		cr_assert_eq(record_load(path, b, &e), -EBADMSG, "byte %ld", i);
		cr_assert(strstr(e.msg, path));
	}
	cr_assert_eq(record_store(path, a, &e), 0);
	cr_assert_eq(truncate(path, st.st_size - 1), 0);
	cr_assert_eq(record_load(path, b, &e), -EBADMSG);
	cr_assert_eq(truncate(path, 0), 0);
	cr_assert_eq(record_load(path, b, &e), -EBADMSG);
}

Test(record, a_format_level_of_the_future_is_not_guessed_at)
{
	struct err e = {0};

	a->format_level = RECORD_FORMAT_LEVEL + 1;
	cr_assert_eq(record_store(path, a, &e), 0);
	cr_assert_eq(record_load(path, b, &e), -EPROTONOSUPPORT);
	cr_assert(strstr(e.msg, "newer build"));
}

Test(record, facts_are_zero_without_a_file_and_come_back_from_one)
{
	struct replica_facts f = {.demoted = true,
		.bad_starts = 2,
		.committed = 77,
		.met = true,
		.base = {.number = 4, .id = 5},
		.promised_epoch = 9,
		.nproposed = 2,
		.proposed = {{.number = 5, .id = 6}, {.number = 6, .id = 7}}};
	struct replica_facts g;
	struct err e = {0};

	memset(&g, 0xff, sizeof(g));
	cr_assert_eq(facts_load(path, &g, &e), 0);
	cr_assert(!g.demoted && !g.bad_starts && !g.committed && !g.nproposed);
	cr_assert_eq(facts_store(path, &f, &e), 0, "%s", e.msg);
	cr_assert_eq(facts_load(path, &g, &e), 0, "%s", e.msg);
	cr_assert(g.demoted);
	cr_assert_eq(g.bad_starts, 2u);
	cr_assert_eq(g.committed, 77u);
	cr_assert(g.met);
	cr_assert_eq(g.promised_epoch, 9u);
	cr_assert_eq(g.base.id, 5u);
	cr_assert_eq(g.nproposed, 2u);
	cr_assert_eq(g.proposed[1].number, 6u);
	cr_assert_not(g.damaged);
	f.damaged = true;
	cr_assert_eq(facts_store(path, &f, &e), 0, "%s", e.msg);
	cr_assert_eq(facts_load(path, &g, &e), 0, "%s", e.msg);
	cr_assert(g.damaged);
	cr_assert_eq(g.bad_starts, 2u);
	patch(path, 20, 0xee);
	cr_assert_eq(facts_load(path, &g, &e), -EBADMSG);
	cr_assert_eq(record_load(path, b, &e), -EBADMSG, "facts are no record");
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The sizes of claims and volumes, and the pauses between tries. */
#include <criterion/criterion.h>
#include <errno.h>

#include "provision.h"

Test(provision_size, what_kubernetes_writes_is_read_and_rounded_up)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} all[] = {
		{"1", 1},
		{"128Mi", 128ull << 20},
		{"1.5Gi", 3ull << 29},
		{"1G", 1000000000},
		{"1e3", 1000},
		{"12E2", 1200},
		{"100m", 1},
		{"1001m", 2},
		{"+2k", 2000},
		{"0.5", 1},
		{".5Ki", 512},
		{"1Ei", 1ull << 60},
	};
	static const char *const wrong[] = {
		"", "Mi", "-1", "1Mib", "1 Mi", "1e", "1e+", "0x10", "1.2.3", "."};
	uint64_t bytes;

	for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
		cr_assert_eq(provision_size(all[i].text, &bytes), 0, "%s", all[i].text);
		cr_assert_eq(
			bytes, all[i].bytes, "%s: %llu", all[i].text, (unsigned long long)bytes);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++)
		cr_assert_eq(provision_size(wrong[i], &bytes), -EINVAL, "%s", wrong[i]);
	cr_assert_eq(provision_size("9Ei", &bytes), -ERANGE);
	cr_assert_eq(provision_size("1e30", &bytes), -ERANGE);
}

Test(provision_size, is_written_in_the_largest_unit_that_fits)
{
	char text[32];

	provision_quantity(100ull << 20, text, sizeof(text));
	cr_assert_str_eq(text, "100Mi");
	provision_quantity(1000000513, text, sizeof(text));
	cr_assert_str_eq(text, "1000000513");
	provision_quantity(3ull << 50, text, sizeof(text));
	cr_assert_str_eq(text, "3Pi");
	provision_quantity(0, text, sizeof(text));
	cr_assert_str_eq(text, "0");
}

Test(provision_size, pauses_between_tries_grow_to_a_minute)
{
	cr_assert_eq(provision_backoff_s(0), 0);
	cr_assert_eq(provision_backoff_s(1), 1);
	cr_assert_eq(provision_backoff_s(3), 4);
	cr_assert_eq(provision_backoff_s(7), 60);
	cr_assert_eq(provision_backoff_s(4000000000), 60);
}

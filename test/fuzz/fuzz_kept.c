/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes what a daemon believes of the memory that the one before it left: any header with its checksum made right,
 * any bytes in the first table and the window. What is accepted can be loaded, and everything stays inside.
 */
#include <stdlib.h>
#include <string.h>

#include "ll_impl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void load(const struct kept *from)
{
	struct ll *l = NULL;

	ensure(posix_memalign((void **)&l, 64, sizeof(*l)) == 0);
	memset(l, 0, sizeof(*l));
	ensure(!ll_known_init(l));
	ll_known_load(l, from);
	kept_window_copy(&l->kept, from);
	ensure(ll_known_count(l) <= KEPT_CAP_MIN);
	ensure(atomic_load(&l->kept.h->window) <= KEPT_WINDOW_MAX / 2);
	ll_known_free(l);
	free(l);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct uuid volume = {{1}};
	struct err e = {0};
	struct kept k;
	size_t n = MIN(size, sizeof(*k.h)), rest;
	bool raw = size && data[0] & 1;

	ensure(!kept_new(0, &k));
	memcpy(k.h, data, n);
	if (!raw)
		kept_seal(&k, 7, 1, &volume);
	rest = MIN(size - n, KEPT_CAP_MIN * sizeof(struct kept_known));
	memcpy(kept_table(&k, 0, KEPT_CAP_MIN), data + n, rest);
	memcpy(kept_window(&k), data + n, rest);
	for (unsigned s = 0; s < KEPT_SHARDS && !raw; s++) /* mostly one that counts */
		atomic_store(&k.h->caps[s], s ? 0 : KEPT_CAP_MIN);
	if (kept_check(k.h, 7, &volume, &e))
		ensure(e.msg[0]);
	else if (!atomic_load(&k.h->caps[0]) || atomic_load(&k.h->caps[0]) == KEPT_CAP_MIN)
		load(&k);
	kept_close(&k);
	return 0;
}

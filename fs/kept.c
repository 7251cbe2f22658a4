/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory that outlives the daemon: kept.h says what is in it and what must hold at each instruction.
 */
#include "kept.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crc32c.h"

#define WINDOW_AT (1ull << 20)
#define TABLES_AT (64ull << 20)
#define AREA_SIZE (2ull * KEPT_CAP_MAX * sizeof(struct kept_known))
#define STAGED_AT (TABLES_AT + KEPT_SHARDS * AREA_SIZE)
#define SUMMED_AT offsetof(struct kept_header, mount_id)
#define SUMMED_SIZE (offsetof(struct kept_header, committed) - SUMMED_AT)

_Static_assert(sizeof(struct kept_known) == 16, "two words");
_Static_assert(sizeof(struct kept_done) == 40, "no holes");
_Static_assert(sizeof(struct kept_payload) == 24, "no holes");
_Static_assert(WINDOW_AT + (uint64_t)KEPT_WINDOW_MAX * sizeof(struct kept_done) <= TABLES_AT,
	"the window fits");
_Static_assert(sizeof(struct kept_header) <= WINDOW_AT, "the header fits");

static uint32_t sum(const struct kept_header *h)
{
	return crc32c(0, (const uint8_t *)h + SUMMED_AT, SUMMED_SIZE);
}

static uint64_t size_of(uint64_t pool_area)
{
	return STAGED_AT + (pool_area ? KEPT_POOL_AT + PAYLOAD_CLASSES * pool_area : 0);
}

static int map(int fd, uint64_t size, struct kept *ret_k)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);

	if (p == MAP_FAILED)
		return -errno;
	*ret_k = (struct kept){.fd = fd, .h = p, .size = size};
	return 0;
}

int kept_new(uint64_t pool_area, struct kept *ret_k)
{
	int fd = memfd_create("tandemfs-kept", MFD_CLOEXEC), r;
	uint64_t size = size_of(pool_area);

	ensure(pool_area <= KEPT_POOL_AREA_MAX && pool_area % BLOCK_SIZE == 0);
	if (fd < 0)
		return -errno;
	r = ftruncate(fd, (off_t)size) < 0 ? -errno : map(fd, size, ret_k);
	if (r)
		close(fd);
	else
		ret_k->h->pool_area = pool_area;
	return r;
}

void kept_reset(struct kept *k)
{
	struct kept_header *h = k->h;

	for (unsigned s = 0; s < KEPT_SHARDS; s++) {
		kept_table_clear(k, s, atomic_load(&h->caps[s]));
		atomic_store(&h->caps[s], 0);
	}
	atomic_store(&h->committed, 0);
	atomic_store(&h->answered, 0);
	atomic_store(&h->takeovers, 0);
	atomic_store(&h->window, 0);
}

uint8_t *kept_arena(const struct kept *k)
{
	return (uint8_t *)k->h + STAGED_AT;
}

static bool is_newer(int fd)
{
	struct kept_header h;

	return pread(fd, &h, SUMMED_AT, 0) == (ssize_t)SUMMED_AT && h.magic == KEPT_MAGIC &&
	       h.version > KEPT_VERSION;
}

int kept_map(int fd, struct kept *ret_k, struct err *e)
{
	struct stat st;
	struct kept k;
	int r = fstat(fd, &st) < 0 ? -errno : 0;

	if (!r && is_newer(fd)) {
		close(fd);
		return err_set(e, -EPROTONOSUPPORT, "what the holder kept is of a newer version");
	}

	if (!r && (uint64_t)st.st_size < STAGED_AT)
		r = -EBADMSG;
	if (!r)
		r = map(fd, (uint64_t)st.st_size, &k);
	if (!r && (k.h->pool_area > KEPT_POOL_AREA_MAX || k.h->pool_area % BLOCK_SIZE ||
			  k.size != size_of(k.h->pool_area))) {
		munmap(k.h, k.size);
		r = -EBADMSG;
	}
	if (!r) {
		*ret_k = k;
		return 0;
	}
	close(fd);
	return err_set(e, r, "what the holder kept is something else: %s", strerror(-r));
}

void kept_close(struct kept *k)
{
	if (!k->h)
		return;
	munmap(k->h, k->size);
	close(k->fd);
	*k = (struct kept){.fd = -1};
}

void kept_seal(struct kept *k, uint64_t mount_id, uint64_t agreed, const struct uuid *volume)
{
	struct kept_header *h = k->h;

	h->magic = KEPT_MAGIC;
	h->version = KEPT_VERSION;
	h->mount_id = mount_id;
	h->agreed = agreed;
	h->volume = *volume;
	h->crc = sum(h);
}

int kept_check(
	const struct kept_header *h, uint64_t mount_id, const struct uuid *volume, struct err *e)
{
	bool good;

	if (h->magic != KEPT_MAGIC)
		return err_set(e, -EBADMSG, "what the holder kept is something else");
	if (h->version != KEPT_VERSION)
		return err_set(e, -EPROTONOSUPPORT, "what the holder kept has version %u, not %u",
			h->version, KEPT_VERSION);
	good = h->crc == sum(h) && atomic_load(&h->window) <= KEPT_WINDOW_MAX;
	for (unsigned s = 0; s < KEPT_SHARDS && good; s++) {
		uint32_t cap = atomic_load(&h->caps[s]);

		good = !cap || (cap >= KEPT_CAP_MIN && cap <= KEPT_CAP_MAX && !(cap & (cap - 1)));
	}
	if (!good)
		return err_set(e, -EBADMSG, "what the holder kept is damaged");
	if (h->mount_id != mount_id)
		return err_set(e, -EBADMSG, "what the holder kept is of another mount");
	if (volume && !uuid_equal(&h->volume, volume))
		return err_set(e, -EBADMSG, "what the holder kept is of another volume");
	if (atomic_load(&h->takeovers) >= KEPT_TAKEOVERS_MAX)
		return err_set(e, -ELOOP,
			"it was taken over %u times in a row and no new request was answered",
			KEPT_TAKEOVERS_MAX);
	return 0;
}

struct kept_known *kept_table(const struct kept *k, unsigned shard, uint32_t cap)
{
	uint8_t *area = (uint8_t *)k->h + TABLES_AT + shard * AREA_SIZE;

	return (struct kept_known *)area + cap;
}

void kept_table_clear(const struct kept *k, unsigned shard, uint32_t cap)
{
	struct kept_known *t = kept_table(k, shard, cap);

	if (cap && madvise(t, cap * sizeof(*t), MADV_REMOVE) < 0)
		memset(t, 0, cap * sizeof(*t));
}

struct kept_done *kept_window(const struct kept *k)
{
	return (struct kept_done *)((uint8_t *)k->h + WINDOW_AT);
}

void kept_window_add(struct kept *k, const struct kept_done *d)
{
	uint32_t n = atomic_load(&k->h->window);

	if (n < KEPT_WINDOW_MAX)
		kept_window(k)[n] = *d;
	kept_order();
	atomic_store(&k->h->window,
		MIN(n, KEPT_WINDOW_MAX) + 1); /* kept_check() refuses more than fit */
}

void kept_window_copy(struct kept *k, const struct kept *from)
{
	uint32_t n = atomic_load(&from->h->window), count = MIN(n, KEPT_WINDOW_MAX / 2);

	memcpy(kept_window(k), kept_window(from) + (n - count), count * sizeof(struct kept_done));
	kept_order();
	atomic_store(&k->h->window, count);
}

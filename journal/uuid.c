/* SPDX-License-Identifier: Apache-2.0 */
/* Random bytes from getrandom(2), and UUIDs made of them. No state; any thread. */
#include "uuid.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <sys/types.h>

#include "check.h"

void random_bytes(void *p, unsigned n)
{
	uint8_t *at = p;

	while (n) {
		ssize_t got = getrandom(at, n, 0);

		if (got < 0 && errno == EINTR)
			continue;
		ensure(got > 0);
		at += got;
		n -= (unsigned)got;
	}
}

uint64_t random_u64(void)
{
	uint64_t v;

	random_bytes(&v, sizeof(v));
	return v;
}

struct uuid uuid_new(void)
{
	struct uuid u;

	random_bytes(u.b, sizeof(u.b));
	u.b[6] = (uint8_t)((u.b[6] & 0x0f) | 0x40); /* version 4 */
	u.b[8] = (uint8_t)((u.b[8] & 0x3f) | 0x80); /* RFC 4122 variant */
	return u;
}

bool uuid_equal(const struct uuid *a, const struct uuid *b)
{
	return memcmp(a->b, b->b, sizeof(a->b)) == 0;
}

int uuid_compare(const struct uuid *a, const struct uuid *b)
{
	return memcmp(a->b, b->b, sizeof(a->b));
}

bool uuid_is_zero(const struct uuid *u)
{
	static const struct uuid zero;

	return uuid_equal(u, &zero);
}

/* Is there a hyphen before byte i of the text form? */
static bool hyphen_before(unsigned i)
{
	return i == 4 || i == 6 || i == 8 || i == 10;
}

char *uuid_text(const struct uuid *u, char *buf)
{
	static const char hex[] = "0123456789abcdef";
	char *out = buf;

	for (unsigned i = 0; i < sizeof(u->b); i++) {
		if (hyphen_before(i))
			*out++ = '-';
		*out++ = hex[u->b[i] >> 4];
		*out++ = hex[u->b[i] & 15];
	}
	*out = '\0';
	return buf;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int uuid_parse(const char *text, struct uuid *ret_u)
{
	struct uuid u;

	for (unsigned i = 0; i < sizeof(u.b); i++) {
		int high, low;

		if (hyphen_before(i) && *text++ != '-')
			return -EINVAL;
		high = hex_digit(text[0]);
		if (high < 0)
			return -EINVAL;
		low = hex_digit(text[1]);
		if (low < 0)
			return -EINVAL;
		u.b[i] = (uint8_t)(high << 4 | low);
		text += 2;
	}
	if (*text)
		return -EINVAL;
	*ret_u = u;
	return 0;
}

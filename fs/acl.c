/* SPDX-License-Identifier: Apache-2.0 */
/* POSIX access control lists; the same rules as the kernel's fs/posix_acl.c. Pure. */
#include "acl.h"

#include "le.h"

#define VERSION 2u
#define HEAD 4u
#define ENTRY 8u

enum { USER_OBJ = 1, USER = 2, GROUP_OBJ = 4, GROUP = 8, MASK = 16, OTHER = 32 };

static unsigned tag_at(const uint8_t *acl, size_t at)
{
	return le16_get(acl + at);
}

static unsigned perm_at(const uint8_t *acl, size_t at)
{
	return le16_get(acl + at + 2);
}

static void perm_put(uint8_t *acl, size_t at, unsigned perm)
{
	le16_put(acl + at + 2, (uint16_t)perm);
}

/* Where the entry with that tag is, or 0. */
static size_t find(const uint8_t *acl, size_t len, unsigned tag)
{
	for (size_t at = HEAD; at + ENTRY <= len; at += ENTRY)
		if (tag_at(acl, at) == tag)
			return at;
	return 0;
}

bool acl_valid(const uint8_t *acl, size_t len)
{
	unsigned n[OTHER + 1] = {0};

	if (len < HEAD || len > ACL_SIZE_MAX || (len - HEAD) % ENTRY || le32_get(acl) != VERSION)
		return false;
	for (size_t at = HEAD; at < len; at += ENTRY) {
		switch (tag_at(acl, at)) {
		case USER_OBJ:
		case USER:
		case GROUP_OBJ:
		case GROUP:
		case MASK:
		case OTHER:
			n[tag_at(acl, at)]++;
			break;
		default:
			return false;
		}
		if (perm_at(acl, at) > 7)
			return false;
	}
	if (n[USER_OBJ] != 1 || n[GROUP_OBJ] != 1 || n[OTHER] != 1 || n[MASK] > 1)
		return false;
	return n[MASK] || !(n[USER] + n[GROUP]);
}

bool acl_mode(const uint8_t *acl, size_t len, uint32_t *ret_perms)
{
	size_t mask = find(acl, len, MASK);
	unsigned group = perm_at(acl, mask ? mask : find(acl, len, GROUP_OBJ));

	*ret_perms = perm_at(acl, find(acl, len, USER_OBJ)) << 6 | group << 3 |
		     perm_at(acl, find(acl, len, OTHER));
	return !mask && !find(acl, len, USER) && !find(acl, len, GROUP);
}

void acl_chmod(uint8_t *acl, size_t len, uint32_t perms)
{
	size_t mask = find(acl, len, MASK);

	perm_put(acl, find(acl, len, USER_OBJ), perms >> 6 & 7);
	perm_put(acl, mask ? mask : find(acl, len, GROUP_OBJ), perms >> 3 & 7);
	perm_put(acl, find(acl, len, OTHER), perms & 7);
}

bool acl_create(uint8_t *acl, size_t len, uint32_t *perms)
{
	size_t mask = find(acl, len, MASK);
	size_t user = find(acl, len, USER_OBJ), other = find(acl, len, OTHER);
	size_t group = mask ? mask : find(acl, len, GROUP_OBJ);

	/* Neither the list nor the mode grants more than the other. */
	perm_put(acl, user, perm_at(acl, user) & (*perms >> 6 & 7));
	perm_put(acl, group, perm_at(acl, group) & (*perms >> 3 & 7));
	perm_put(acl, other, perm_at(acl, other) & (*perms & 7));
	*perms = (*perms & ~0777u) | perm_at(acl, user) << 6 | perm_at(acl, group) << 3 |
		 perm_at(acl, other);
	return !mask && !find(acl, len, USER) && !find(acl, len, GROUP);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POSIX access control lists as far as a filesystem must know them: the kernel checks permissions
 * (default_permissions) and hands us values in its xattr format; we keep the mode bits and the list in
 * step. The format: version 2 (le32), then entries: tag (le16), permissions (le16), id (le32). Pure.
 */
#ifndef FS_ACL_H
#define FS_ACL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ACL_ACCESS "system.posix_acl_access"
#define ACL_DEFAULT "system.posix_acl_default"
#define ACL_SIZE_MAX (64u << 10) /* bytes */

/* true when the value is a list with one entry each for owner, group and others, a mask if there are
 * named ones, and no other tags or permissions. */
bool acl_valid(const uint8_t *acl, size_t len);
/* The permission bits that the list stands for; true when the list says no more than they do. */
bool acl_mode(const uint8_t *acl, size_t len, uint32_t *ret_perms);
/* chmod: puts the permissions into the list. */
void acl_chmod(uint8_t *acl, size_t len, uint32_t perms);
/* A new inode inherits a default list: `acl` (a copy of it) becomes its access list, *perms the
 * creation mode on the way in and the resulting one on the way out. true when the mode alone says it
 * all, and the list need not be kept. */
bool acl_create(uint8_t *acl, size_t len, uint32_t *perms);

#endif

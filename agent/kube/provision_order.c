/* SPDX-License-Identifier: Apache-2.0 */
/* What a claim and its class ask for. Everything that is not understood is refused: a parameter that is ignored would
 * be missed when it is too late. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "provision.h"

#define BLOCK 4096u
#define SIZE_MIN (64ull << 20) /* bytes; as 'tandemfs format' has them */
#define SIZE_MAX_BYTES (1ull << 50)

/* The exponent of ten in thousandths, or of two, that a suffix stands for. */
static bool suffix_of(const char *s, int *ret_ten, int *ret_two)
{
	static const struct {
		char text[4];
		int ten, two;
	} all[] = {
		{"", 0, 0},
		{"n", -9, 0},
		{"u", -6, 0},
		{"m", -3, 0},
		{"k", 3, 0},
		{"M", 6, 0},
		{"G", 9, 0},
		{"T", 12, 0},
		{"P", 15, 0},
		{"E", 18, 0},
		{"Ki", 0, 10},
		{"Mi", 0, 20},
		{"Gi", 0, 30},
		{"Ti", 0, 40},
		{"Pi", 0, 50},
		{"Ei", 0, 60},
	};
	char *end;
	long n;

	for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
		if (strcmp(all[i].text, s) != 0)
			continue;
		*ret_ten = all[i].ten;
		*ret_two = all[i].two;
		return true;
	}
	if ((*s != 'e' && *s != 'E') || !strchr("+-0123456789", s[1]) || !s[1])
		return false;
	n = strtol(s + 1, &end, 10);
	*ret_ten = (int)n;
	*ret_two = 0;
	return !*end && n >= -30 && n <= 30;
}

int provision_size(const char *quantity, uint64_t *ret_bytes)
{
	long double v = 0, part = 1;
	const char *at = quantity;
	int ten, two;
	bool digits = false;

	if (*at == '+')
		at++;
	for (; *at >= '0' && *at <= '9'; at++, digits = true)
		v = v * 10 + (*at - '0');
	if (*at == '.')
		for (at++; *at >= '0' && *at <= '9'; at++, digits = true)
			v += (part /= 10) * (*at - '0');
	if (!digits || at - quantity > 40 || !suffix_of(at, &ten, &two))
		return -EINVAL;
	for (; ten > 0; ten--)
		v *= 10;
	for (; ten < 0; ten++)
		v /= 10;
	v *= (long double)(1ull << two);
	if (v > (long double)(1ull << 62))
		return -ERANGE;
	*ret_bytes = (uint64_t)v;
	if ((long double)*ret_bytes < v)
		(*ret_bytes)++;
	return 0;
}

void provision_quantity(uint64_t bytes, char *ret, size_t size)
{
	static const char *const units[] = {"", "Ki", "Mi", "Gi", "Ti", "Pi"};
	unsigned u = 0;

	while (bytes && bytes % 1024 == 0 && u + 1 < ARRAY_SIZE(units)) {
		bytes /= 1024;
		u++;
	}
	snprintf(ret, size, "%" PRIu64 "%s", bytes, units[u]);
}

static int take_size(const struct json *claim, struct provision_order *o, struct err *e)
{
	const char *text =
		json_get_string(json_path(claim, "spec", "resources", "requests"), "storage", NULL);
	int r = text ? provision_size(text, &o->size) : -EINVAL;

	if (r == -EINVAL)
		return err_set(e, r, "spec.resources.requests.storage is no size");
	if (r || o->size > SIZE_MAX_BYTES)
		return err_set(
			e, -EINVAL, "%.40s are asked for, a volume has at most 1024Ti", text);
	o->size = MAX(o->size, SIZE_MIN);
	o->size = (o->size + BLOCK - 1) / BLOCK * BLOCK;
	return 0;
}

static bool is_id(const char *text)
{
	return *text && strlen(text) <= 10 && strspn(text, "0123456789") == strlen(text) &&
	       strtoull(text, NULL, 10) < UINT32_MAX;
}

static int take_parameters(const struct json *class, struct provision_order *o, struct err *e)
{
	const char *uid = "0", *gid = "0";
	struct json_member m;

	for (bool ok = json_first(json_get(class, "parameters"), &m); ok; ok = json_next(&m)) {
		const char *value = json_get_string(json_get(class, "parameters"), m.key, "");
		size_t len = strlen(value);

		if (!strcmp(m.key, "ack")) {
			if (strcmp(value, "op") != 0 && strcmp(value, "fsync") != 0)
				return err_set(
					e, -EINVAL, "ack is op or fsync, not '%.40s'", value);
			snprintf(o->ack, sizeof(o->ack), "%s", value);
		} else if (!strcmp(m.key, "uid") || !strcmp(m.key, "gid")) {
			if (!is_id(value))
				return err_set(e, -EINVAL,
					"%s is a number from 0 to 4294967294, not '%.40s'", m.key,
					value);
			*(m.key[0] == 'u' ? &uid : &gid) = value;
		} else if (!strcmp(m.key, "mode")) {
			if (!len || len > 5 || strspn(value, "01234567") != len ||
				strtoul(value, NULL, 8) > 07777)
				return err_set(e, -EINVAL,
					"mode is octal, like \"0750\" in quotes, not '%.40s'",
					value);
			snprintf(o->mode, sizeof(o->mode), "%s", value);
		} else {
			return err_set(e, -EINVAL,
				"'%.63s' is unknown: there are ack, uid, gid and mode", m.key);
		}
	}
	snprintf(o->owner, sizeof(o->owner), "%s:%s", uid, gid);
	return 0;
}

/* What no volume of this kind can be. */
static int refuse_claim(const struct json *claim, const struct json *class, struct err *e)
{
	const struct json *spec = json_get(claim, "spec"), *modes = json_get(spec, "accessModes");

	if (json_get(spec, "selector"))
		return err_set(e, -EINVAL,
			"spec.selector picks among volumes that are there, and a new one has no "
			"labels: leave it out, or name a volume in spec.volumeName");
	if (json_get(spec, "dataSource") || json_get(spec, "dataSourceRef"))
		return err_set(e, -EINVAL,
			"spec.dataSource: volumes are made empty; copy what it should hold");
	if (!strcmp(json_get_string(spec, "volumeMode", "Filesystem"), "Block"))
		return err_set(
			e, -EINVAL, "spec.volumeMode is Filesystem here, there are no devices");
	for (unsigned i = 0; i < json_length(modes); i++) {
		const char *mode = json_string_at(modes, i, "");

		if (strcmp(mode, "ReadWriteOnce") != 0 && strcmp(mode, "ReadWriteOncePod") != 0)
			return err_set(e, -EINVAL,
				"accessMode %.40s is not possible: a volume is mounted on one node "
				"at a time. ReadWriteOnce is, and several pods of that node may "
				"share it",
				mode);
	}
	if (json_length(json_get(class, "mountOptions")))
		return err_set(
			e, -EINVAL, "the class has mountOptions, which a hostPath cannot have");
	return 0;
}

int provision_order_of(const struct json *claim, const struct json *class,
	struct provision_order *ret_o, struct err *e)
{
	struct provision_order o = {.ack = "op", .mode = "0755"};
	int ret = take_parameters(class, &o, e);

	if (ret)
		return err_wrap(e, "StorageClass '%.100s': parameters",
			meta_of(class, "name") ? meta_of(class, "name") : "");
	ret = refuse_claim(claim, class, e);
	if (!ret)
		ret = take_size(claim, &o, e);
	if (!ret)
		*ret_o = o;
	return ret;
}

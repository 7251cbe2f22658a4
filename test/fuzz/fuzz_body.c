/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Entry bodies of any bytes: they are refused, or they decode to what encodes to the same bytes, and
 * applying them to a small filesystem ends in 0 or -EBADMSG and, after 0, in a describable entry.
 * Input: the type, then the body.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tree_impl.h"

static void must(bool cond)
{
	if (!cond)
		abort();
}

static void round_trip(uint16_t type, const uint8_t *body, size_t len)
{
	static uint8_t again[ENTRY_SIZE_MAX];
	size_t n;

	switch (type) {
	case OP_CREATE: {
		struct body_create b;

		if (body_decode_create(body, len, &b))
			return;
		n = body_encode_create(&b, again);
		break;
	}
	case OP_UNLINK:
	case OP_RMDIR: {
		struct body_unlink b;

		if (body_decode_unlink(body, len, &b))
			return;
		n = body_encode_unlink(&b, again);
		break;
	}
	case OP_RENAME: {
		struct body_rename b;

		if (body_decode_rename(body, len, &b))
			return;
		n = body_encode_rename(&b, again);
		break;
	}
	case OP_LINK: {
		struct body_link b;

		if (body_decode_link(body, len, &b))
			return;
		n = body_encode_link(&b, again);
		break;
	}
	case OP_REAP: {
		struct body_reap b;

		if (body_decode_reap(body, len, &b))
			return;
		n = body_encode_reap(&b, again);
		break;
	}
	case OP_RESIZE: {
		struct body_resize b;

		if (body_decode_resize(body, len, &b))
			return;
		n = body_encode_resize(&b, again);
		break;
	}
	default:
		return;
	}
	must(n == len && !memcmp(again, body, len));
}

static struct tree *tree_new(struct store **ret_s)
{
	struct store_options o = {.in_memory = true,
		.create = true,
		.block_cache_bytes = 1 << 20,
		.write_buffer_bytes = 1 << 20};
	struct uuid volume = {.b = "fuzz"};
	struct tree *t = NULL;

	must(!store_open("/fuzz", &o, ret_s, NULL));
	must(!tree_format(*ret_s, &volume, 1000, 1, 0755, 0, 0, NULL));
	must(!tree_open(*ret_s, &volume, &t, NULL));
	return t;
}

/* A file 2 'a' and a directory 3 'b', so that some bodies fit. */
static void populate(struct tree *t)
{
	for (uint64_t n = 0; n < 2; n++) {
		struct body_create b = {.parent = ROOT_INO,
			.cookie = FIRST_COOKIE + n,
			.ino = 2 + n,
			.mode = n ? S_IFDIR | 0755 : S_IFREG | 0644,
			.nlen = 1,
			.name = n ? "b" : "a"};
		uint8_t body[256];
		struct entry e = {.h = {.type = OP_CREATE, .seq = n + 1}, .body = body};

		e.h.body_len = (uint32_t)body_encode_create(&b, body);
		must(!apply_entry(t, &e, NULL));
	}
	must(!tree_flush_txn(t));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct store *s;
	static struct tree *t;
	struct entry_payload p;
	struct entry e = {0};
	char text[512];
	int r;

	if (size < 1 || size > ENTRY_SIZE_MAX)
		return 0;
	e.h.type = data[0] % (OP_TYPE_MAX + 1);
	e.body = data + 1;
	e.h.body_len = (uint32_t)(size - 1);
	round_trip(e.h.type, e.body, e.h.body_len);
	apply_describe(&e, text, sizeof(text));
	apply_payload(&e, &p);
	if (!t) {
		t = tree_new(&s);
		populate(t);
	}
	e.h.seq = t->sb.applied.seq + 1;
	r = apply_entry(t, &e, NULL);
	must(!r || r == -EBADMSG);
	if (r) { /* what it wrote halfway must not stay: begin with what was written before */
		struct uuid volume = t->sb.volume;

		tree_close(t);
		must(!tree_open(s, &volume, &t, NULL));
		return 0;
	}
	must(!tree_flush_txn(t));
	if (t->sb.applied.seq > 200) {
		tree_close(t);
		store_close(s);
		t = NULL;
	}
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Finding one of thousands of objects, by name or by uid. An object without the member is not in the index. */
#include <stdlib.h>
#include <string.h>

#include "kube_migrate.h"

static const char *text_of(const struct json *obj, const char *key)
{
	const char *text = meta_of(obj, key);

	return text ? text : "";
}

static int compare(const void *a, const void *b, void *key)
{
	return strcmp(text_of(*(const struct json *const *)a, key),
		text_of(*(const struct json *const *)b, key));
}

void index_add(struct run_index *x, const struct json *list)
{
	unsigned more = json_length(list);

	if (!more)
		return;
	x->objs = realloc(x->objs, (x->n + more) * sizeof(*x->objs));
	ensure(x->objs);
	for (unsigned i = 0; i < more; i++)
		x->objs[x->n++] = json_at(list, i);
}

void index_sort(struct run_index *x, const char *key)
{
	if (x->n)
		qsort_r(x->objs, x->n, sizeof(*x->objs), compare, (void *)key);
}

const struct json *index_find(const struct run_index *x, const char *key, const char *value)
{
	unsigned low = 0, high = x->n;

	while (low < high) {
		unsigned middle = low + (high - low) / 2;
		int by = strcmp(text_of(x->objs[middle], key), value);

		if (!by)
			return *value ? x->objs[middle] : NULL;
		if (by < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

void index_clear(struct run_index *x)
{
	free(x->objs);
	*x = (struct run_index){0};
}

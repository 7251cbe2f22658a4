/* SPDX-License-Identifier: Apache-2.0 */
#include "volume_resync.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "migrate.h"

#define FILES_MAX 50u /* more would make the object large; `tandemctl resync --preview` has all */

static bool is_fork(const struct json *s, const char *domain)
{
	const struct json *peers = json_get(s, "peers");

	for (unsigned i = 0; i < json_length(peers); i++)
		if (!strcmp(json_get_string(json_at(peers, i), "domain", ""), domain) &&
			!strcmp(json_get_string(json_at(peers, i), "state", ""), "fork"))
			return true;
	return false;
}

static const char *epoch_of(const struct json *s)
{
	return json_get_string(s, "epoch_id", "?");
}

/* The replica is still in the epoch that would be given up. */
static bool is_of_epoch(const char *id, const struct json *s)
{
	size_t n = strlen(epoch_of(s));

	return !strncmp(id, epoch_of(s), n) && id[n] == '-';
}

enum volume_resync_step volume_resync_decide(const struct json *obj, const struct json *entry)
{
	const struct json *spec = json_path(obj, "spec", "resync"),
			  *status = json_path(obj, "status", "resync"),
			  *s = json_get(entry, "status");
	const char *from = json_get_string(spec, "fromDomain", ""),
		   *confirm = json_get_string(spec, "confirm", ""),
		   *id = json_get_string(status, "id", ""),
		   *state = json_get_string(status, "state", "");
	bool same = !strcmp(json_get_string(status, "fromDomain", ""), from),
	     confirmed = same && *id && !strcmp(confirm, id), done = !strcmp(state, "Done");

	if (!spec)
		return status ? VOLUME_RESYNC_FORGET : VOLUME_RESYNC_NONE;
	if (confirmed && done)
		return VOLUME_RESYNC_NONE;
	if (!json_is_object(s) || !strcmp(json_get_string(s, "role", ""), "recovering"))
		return VOLUME_RESYNC_NONE;
	if (confirmed && !strcmp(state, "Running") && !is_of_epoch(id, s))
		return VOLUME_RESYNC_DONE;
	/* What was refused is refused again until the object is changed. */
	if (confirmed && !strcmp(state, "Refused") &&
		json_get_int(status, "observedGeneration", 0) ==
			json_get_int(json_get(obj, "metadata"), "generation", 0))
		return VOLUME_RESYNC_NONE;
	if (!is_fork(s, from))
		return VOLUME_RESYNC_NO_FORK;
	if (!same || !*id || done || !is_of_epoch(id, s))
		return VOLUME_RESYNC_PREVIEW;
	if (!*confirm)
		return VOLUME_RESYNC_NONE;
	return confirmed ? VOLUME_RESYNC_RUN : VOLUME_RESYNC_UNCONFIRMED;
}

void volume_resync_id(const struct json *entry, const struct json *answer, char *id)
{
	snprintf(id, VOLUME_RESYNC_ID_SIZE, "%.16s-%" PRId64 "-%" PRId64,
		epoch_of(json_get(entry, "status")), json_get_int(answer, "since", 0),
		json_get_int(answer, "end", 0));
}

struct json *volume_resync_status(const struct json *entry, const char *domain,
	const struct json *answer, const char *text, const char *now)
{
	const struct json *all = json_get(answer, "files");
	struct json *j = json_object(), *files = json_array();
	char id[VOLUME_RESYNC_ID_SIZE];

	volume_resync_id(entry, answer, id);
	json_set_string(j, "fromDomain", domain);
	json_set_string(j, "id", id);
	json_set_string(j, "state", "Previewed");
	json_set_string(j, "timestamp", now);
	json_set_string(j, "message", text);
	json_set_int(j, "entries", json_get_int(answer, "entries", 0));
	json_set_int(j, "bytes", json_get_int(answer, "bytes", 0));
	json_set_bool(j, "complete", json_get_bool(answer, "complete", false));
	json_set_int(j, "filesTotal", json_get_int(answer, "files_total", json_length(all)));
	for (unsigned i = 0; i < MIN(json_length(all), FILES_MAX); i++) {
		const struct json *f = json_at(all, i);
		struct json *file = json_object();

		json_set_string(file, "path", json_get_string(f, "path", "?"));
		json_set_string(file, "what", json_get_string(f, "what", "?"));
		json_set_int(file, "bytes", json_get_int(f, "bytes", 0));
		json_append(files, file);
	}
	json_set(j, "files", files);
	return j;
}

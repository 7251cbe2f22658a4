/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A replica that is damaged: what a person is told, and what the daemon does where RocksDB's files were found
 * damaged while it ran.
 *
 * RocksDB checks each block that it reads, so damage is never an answer, but an error, and the process starts again
 * (volume_die). As most blocks are not needed for a start, the next one would serve until somebody touches that block
 * again; so the damage is noted in the facts, and each start reads all of RocksDB's files until it finds them well.
 * Where they are not, and another replica of the in-sync set has everything, this one neither serves nor acknowledges
 * (an acknowledgement says that a promotion here would be whole): the process stays, and answers on the control
 * socket what is wrong and what to do. Where this replica alone has everything, it goes on: what can be read is
 * better than nothing, and status says what is wrong. RocksDB compacts nothing meanwhile: it would meet the damaged block
 * sooner or later, at each start again. So the metadata only grows, which the text says; the journal is not kept
 * from going round by that.
 *
 * Failure modes: a disk that cannot be read now is no damage, and met again as an I/O error. The fact cannot be
 * written: the next damaged block notes it again. While the process stays, the replica is moved away and made anew:
 * the process ends, so that its supervisor starts it on the new one.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "log.h"
#include "notify.h"
#include "volume_impl.h"

#define LOOK_S 1 /* whether the replica was moved away */
#define DOMAINS_SIZE (REPLICAS_MAX * (DOMAIN_LEN_MAX + 8))

/* --- what to do --- */

static const struct record *record_of(const struct volume *v)
{
	return v->core ? core_record(v->core) : &v->record;
}

/* The other replicas' domains: those of the set, or those outside of it. Returns how many. */
static unsigned others(const struct volume *v, bool in_sync, char buf[DOMAINS_SIZE])
{
	const struct record *r = record_of(v);
	unsigned n = 0;
	size_t at = 0;

	buf[0] = '\0';
	for (unsigned i = 0; i < r->nreplicas; i++) {
		if (uuid_equal(&r->replicas[i].uuid, &v->self) || r->replicas[i].in_sync != in_sync)
			continue;
		at += (size_t)snprintf(buf + at, DOMAINS_SIZE - at, "%s%s", n++ ? ", " : "",
			r->replicas[i].domain);
	}
	return n;
}

static bool record_is_known(const struct volume *v)
{
	return uuid_equal(&record_of(v)->volume, &v->desc.volume) &&
	       record_find(record_of(v), &v->self) >= 0;
}

/* Nobody else of the in-sync set has what this replica has. */
static bool alone(const struct volume *v)
{
	char buf[DOMAINS_SIZE];

	return record_of(v)->replicas[record_find(record_of(v), &v->self)].in_sync &&
	       !others(v, true, buf);
}

static char *anew(const struct volume *v)
{
	const char *dir = v->cfg->directory, *domain = v->cfg->domain;
	char *text;
	int r = asprintf(&text,
		"on the other side 'tandemctl deactivate clusterdomain %s'; here 'mv %s "
		"%s.damaged', 'tandemfs format --join %s.damaged/volume --config %s' and 'tandemfs "
		"run --config %s'; on the other side 'tandemctl activate clusterdomain %s'",
		domain, dir, dir, dir, v->cfg->path, v->cfg->path, domain);

	ensure(r >= 0);
	return text;
}

static void advise_alone(const struct volume *v, char *buf, size_t size)
{
	const char *dir = v->cfg->directory, *name = v->cfg->name;
	char without[DOMAINS_SIZE];

	others(v, false, without);
	snprintf(buf, size,
		"By its record this replica alone has everything that was acknowledged: %s is "
		"outdated or inactive, and lacks what was written without it. What can be read "
		"is served, and as nothing is compacted, the metadata takes more and more room. "
		"Keep '%s', and do "
		"not take over on the other side: get the damaged file back, from the disk or from "
		"a copy of it. Only to give up what %s lacks: there 'tandemctl promote %s "
		"--accept-data-loss'; here 'mv %s %s.damaged', 'tandemfs format --join "
		"%s.damaged/volume --config %s' and 'tandemfs run --config %s'; there 'tandemctl "
		"activate clusterdomain %s'",
		without, dir, without, name, dir, dir, dir, v->cfg->path, v->cfg->path,
		v->cfg->domain);
}

static void advise_replica(const struct volume *v, char *buf, size_t size)
{
	cleanup_free char *how = anew(v);
	char whole[DOMAINS_SIZE];

	if (!record_is_known(v)) {
		snprintf(buf, size,
			"As the record here cannot be read, ask the other side who has what, with "
			"'tandemctl status': if its domain is in the in-sync set, and not "
			"inactive, "
			"bring this replica back from its peer: %s. If it is outdated or inactive, "
			"this replica alone may have what was written without it: keep '%s', and "
			"get the damaged file back",
			how, v->cfg->directory);
		return;
	}
	if (alone(v)) {
		advise_alone(v, buf, size);
		return;
	}
	others(v, true, whole);
	snprintf(buf, size,
		"By its record %s has everything that was acknowledged. If the disk is well, bring "
		"this replica back from its peer: %s",
		whole, how);
}

void volume_advise(const struct volume *v, int code, char *buf, size_t size)
{
	static const char unchanged[] = "nothing was changed. ";

	buf[0] = '\0';
	if (v->lock_fd < 0 || v->recovered || code == -EBUSY)
		return;
	if (code == -ENOSPC) {
		snprintf(buf, size,
			"The disk below '%s' is full, also what this replica keeps there for that "
			"case: free %u KiB there. Nothing is lost, and this does not count against "
			"the replica: the next start goes on where this one ended",
			v->cfg->directory, SPACE_START_BYTES / 1024);
	} else if (uuid_is_zero(&v->desc.volume)) {
		snprintf(buf, size,
			"%sThe file 'volume' is the same on all sites: copy it here from the "
			"replica "
			"directory of another one, or from the descriptor that 'tandemfs format' "
			"wrote",
			unchanged);
	} else if (!uuid_is_zero(&v->self) &&
		   (code == -EBADMSG || code == -EIO || code == -ENOENT)) {
		snprintf(buf, size, "%s", unchanged);
		advise_replica(v, buf + strlen(buf), size - strlen(buf));
	}
}

/* --- damage that was found while the daemon ran --- */

static void facts_write(struct volume *v)
{
	char path[4200];
	struct err e = {0};

	volume_path(v, "facts", path, sizeof(path));
	if (facts_store(path, &v->facts, &e))
		log_error("%s", e.msg);
}

void damaged_note(struct volume *v)
{
	if (v->facts.damaged)
		return;
	v->facts.damaged = true;
	facts_write(v);
}

void damaged_tell(struct volume *v, const struct err *why)
{
	size_t at = (size_t)snprintf(v->damaged_text, sizeof(v->damaged_text),
		"the metadata of this replica is damaged (%.400s). ", why->msg);

	advise_replica(v, v->damaged_text + at, sizeof(v->damaged_text) - at);
}

int damaged_look(struct volume *v, int opened, struct err *e)
{
	struct err found = {0};
	int r;

	if (!v->facts.damaged || (opened && v->tree)) /* or it is the journal, or the data */
		return opened;
	if (opened) {
		v->damaged = !alone(v);
		return err_wrap(e, "the metadata of this replica is damaged");
	}
	log_warn("a damaged block of the metadata was met before: all of it is read");
	r = store_verify(v->store, NULL, &found);
	if (!r) {
		log_info("the metadata is well: every block has its checksum");
		v->facts.damaged = false;
		facts_write(v);
		space_compact(v, true);
		return 0;
	}
	if (r != -EBADMSG) { /* nobody shall miss it when the next one ends the process */
		log_error("%s", found.msg);
		space_compact(v, true);
		return 0;
	}
	if (alone(v)) {
		space_compact(v, false);
		damaged_tell(v, &found);
		log_error("%s", v->damaged_text);
		return 0;
	}
	v->damaged = true;
	return err_set(e, r, "the metadata of this replica is damaged (%.200s)", found.msg);
}

/* The directory that is locked is not what has its name any more. */
static bool moved_away(const struct volume *v)
{
	struct stat locked, named;
	char path[4200];

	volume_path(v, "lock", path, sizeof(path));
	return fstat(v->lock_fd, &locked) || stat(path, &named) || locked.st_ino != named.st_ino ||
	       locked.st_dev != named.st_dev;
}

int damaged_stay(struct volume *v, const struct err *why, const char *advice)
{
	struct timespec pause = {.tv_sec = LOOK_S};
	int sig = 0;
	sigset_t set;

	if (!v->damaged || !v->recovering)
		return 1;
	if (v->tree)
		tree_close(v->tree);
	store_close(v->store); /* RocksDB shall not go on with its own work in there */
	snprintf(v->damaged_text, sizeof(v->damaged_text), "%.250s: %s", why->msg, advice);
	recovering_refuse(v, v->damaged_text);
	notify_ready("damaged");
	sigemptyset(&set); /* these two are blocked since the start */
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	while (sig != SIGTERM && sig != SIGINT && !moved_away(v))
		sig = sigtimedwait(&set, NULL, &pause);
	if (sig == SIGTERM || sig == SIGINT) {
		recovering_stop(v);
		return 0;
	}
	log_info("'%s' is another directory now: this process ends", v->cfg->directory);
	/* Without a word to the control socket: its name may be another daemon's already. */
	_exit(1);
}

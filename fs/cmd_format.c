/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tandemfs format: makes a replica. The first one draws the ids and writes the descriptor; the
 * others are made from it. All of them are the same empty state at seq 0, and in sync without a
 * transfer.
 *
 * A replica is built beside its final name and renamed when everything in it is durable, so that a
 * crash leaves nothing that looks like a replica. The descriptor is written last; each replica also
 * keeps a copy of it, in the file `volume`.
 */
#include "cmd.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "conf.h"
#include "log.h"
#include "pull.h"
#include "replica.h"
#include "ring.h"

#define VOLUME_SIZE_MIN (64ull << 20)
#define VOLUME_SIZE_MAX (1ull << 50)

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *f)
{
	return remove(path);
}

static int make_replica(const struct config *cfg, const struct descriptor *d,
	const struct uuid *self, struct err *e)
{
	char tmp[4200], parent[4200];
	int r;

	if (access(cfg->directory, F_OK) == 0)
		return err_set(e, -EEXIST,
			"'%s' exists already; a replica is never overwritten: remove or rename it "
			"first",
			cfg->directory);
	snprintf(tmp, sizeof(tmp), "%s.new-XXXXXX", cfg->directory);
	if (!mkdtemp(tmp))
		return err_set(e, -errno, "'%s': %s (does its parent directory exist?)", tmp,
			strerror(errno));
	r = replica_build(tmp, d, self, e);
	if (!r && rename(tmp, cfg->directory))
		r = err_set(e, -errno, "'%s': %s", cfg->directory, strerror(errno));
	if (r) {
		nftw(tmp, remove_one, 16, FTW_DEPTH | FTW_PHYS);
		return r;
	}
	snprintf(parent, sizeof(parent), "%s/..", cfg->directory);
	r = pull_sync_dir(parent);
	return r ? err_set(e, r, "'%s': %s", parent, strerror(-r)) : 0;
}

static uint64_t default_ring_size(uint64_t size)
{
	uint64_t ring = size / 16;

	return ring < RING_SIZE_MIN ? RING_SIZE_MIN : ring > RING_SIZE_MAX ? RING_SIZE_MAX : ring;
}

static int draw_descriptor(
	const struct config *cfg, const struct options *o, struct descriptor *d, struct err *e)
{
	if (!o->size || !o->descriptor)
		return err_set(
			e, -EINVAL, "the first replica needs --size SIZE and --descriptor FILE");
	if (conf_parse_size(o->size, &d->size) || d->size < VOLUME_SIZE_MIN ||
		d->size > VOLUME_SIZE_MAX)
		return err_set(
			e, -EINVAL, "--size '%s': a size from 64M to 1024T is needed", o->size);
	d->mode = DESCRIPTOR_MODE;
	if (o->mode && descriptor_parse_mode(o->mode, &d->mode))
		return err_set(e, -EINVAL, "--mode takes an octal mode, not '%s'", o->mode);
	if (o->owner && descriptor_parse_owner(o->owner, &d->uid, &d->gid))
		return err_set(e, -EINVAL, "--owner takes UID:GID, not '%s'", o->owner);
	if (o->directory && descriptor_parse_directory(o->directory, d->directory))
		return err_set(e, -EINVAL,
			"--directory takes a name of a-z, 0-9, '-' and '_', not '%.64s'",
			o->directory);
	if (access(o->descriptor, F_OK) == 0)
		return err_set(e, -EEXIST, "descriptor '%s' exists already", o->descriptor);
	d->size -= d->size % BLOCK_SIZE;
	d->ring_size = cfg->ring_size ? cfg->ring_size : default_ring_size(d->size);
	snprintf(d->name, sizeof(d->name), "%s", cfg->name);
	d->cluster = uuid_new();
	d->volume = uuid_new();
	d->time_ns = clock_real_ns();
	d->record_id = random_u64();
	d->nreplicas = 1 + cfg->npeers;
	if (d->nreplicas > REPLICAS_MAX)
		return err_set(e, -EINVAL, "at most %u replicas", REPLICAS_MAX);
	for (unsigned i = 0; i < d->nreplicas; i++) {
		d->replicas[i].uuid = uuid_new();
		d->replicas[i].in_sync = true;
		snprintf(d->replicas[i].domain, sizeof(d->replicas[i].domain), "%s",
			i ? cfg->peers[i - 1].domain : cfg->domain);
	}
	return 0;
}

static int find_self(
	const struct config *cfg, const struct descriptor *d, struct uuid *ret_self, struct err *e)
{
	if (strcmp(d->name, cfg->name))
		return err_set(e, -EINVAL, "the descriptor is of volume '%s', %s of '%s'", d->name,
			cfg->path, cfg->name);
	for (unsigned i = 0; i < d->nreplicas; i++)
		if (!strcmp(d->replicas[i].domain, cfg->domain)) {
			*ret_self = d->replicas[i].uuid;
			return 0;
		}
	return err_set(e, -EINVAL, "the descriptor has no replica in domain '%s'", cfg->domain);
}

/* What all replicas must have in common comes from the descriptor alone. */
static int load_descriptor(const struct options *o, struct descriptor *d, struct err *e)
{
	if (o->size || o->descriptor || o->mode || o->owner || o->directory)
		return err_set(e, -EINVAL,
			"--join takes size, mode, owner and directory from the descriptor '%s': "
			"leave out --size, --descriptor, --mode, --owner and --directory",
			o->join);
	return descriptor_load(o->join, d, e);
}

/* The replica is whole and has a descriptor of its own, so nothing is taken back. */
static int write_descriptor(const struct config *cfg, const struct options *o,
	const struct descriptor *d, struct err *e)
{
	struct err why = {0};
	int r = descriptor_store(o->descriptor, d, &why);

	if (!r)
		return 0;
	return err_set(e, r,
		"%s; the replica is made: use '%s/volume', which is the same descriptor", why.msg,
		cfg->directory);
}

int cmd_format(const struct options *o)
{
	struct descriptor d = {0};
	static struct config cfg;
	struct err e = {0};
	struct uuid self;
	int r;

	r = config_load(o->config, &cfg, &e);
	if (r) {
		fprintf(stderr, "tandemfs: %s\n", e.msg);
		return cmd_config_status(r);
	}
	r = o->join ? load_descriptor(o, &d, &e) : draw_descriptor(&cfg, o, &d, &e);
	if (!r)
		r = find_self(&cfg, &d, &self, &e);
	if (!r)
		r = make_replica(&cfg, &d, &self, &e);
	if (!r && !o->join)
		r = write_descriptor(&cfg, o, &d, &e);
	if (r) {
		fprintf(stderr, "tandemfs: %s\n", e.msg[0] ? e.msg : strerror(-r));
		return r == -EINVAL ? 2 : 1;
	}
	printf("replica of volume '%s' for domain '%s' made in '%s' (%llu MiB, journal %llu MiB)\n",
		d.name, cfg.domain, cfg.directory, (unsigned long long)(d.size >> 20),
		(unsigned long long)(d.ring_size >> 20));
	if (!o->join)
		printf("next: copy '%s' to the other site, run there 'tandemfs format --join %s "
		       "--config "
		       "FILE', then 'tandemfs run --config FILE' on both\n",
			o->descriptor, o->descriptor);
	return 0;
}

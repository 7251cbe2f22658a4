/* SPDX-License-Identifier: Apache-2.0 */
/*
 * This node's replica of a volume. In the volumes' directory:
 *
 *   NAME.conf.new   a draft: the replica is being made and has never run. Nobody supervises it, and whatever
 *                   lies at its places may be thrown away
 *   NAME.desc.new   the descriptor of a draft that was formatted here
 *   NAME.conf       the replica may run
 *   NAME.conf.gone  it is being removed; its data may be half there
 *
 * Each file is renamed into its place, so that a crash leaves one of these states and the next call goes on
 * from there. A draft's address stays, because the other side may have been told; a published replica is
 * never touched but by replica_remove().
 *
 * Failure modes: a directory that is there already and belongs to no draft is refused, never removed; a
 * daemon that does not end keeps everything, and so does a mount that cannot be taken away; what 'tandemfs
 * format' says is passed on.
 */
#include "replica_make.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "conf.h"
#include "control.h"
#include "durable.h"
#include "log.h"
#include "mountinfo.h"
#include "replica_make_impl.h"

#define DRAFT ".conf.new"
#define DESCRIPTOR ".desc.new"
#define LIVE ".conf"
#define GONE ".conf.gone"
#define FSTYPE "fuse.tandemfs" /* of what a daemon mounts, from "tandemfs:VOLUME" */
#define MOUNTS_MAX 16u /* above each other */
#define END_NS (30 * NS_PER_S)
#define DEMOTE_MS 15000u
#define MEMTABLE_MIB 64u /* the daemon's default */
#define MEMTABLE_MIB_MIN 8u

struct places { /* of one volume on this node */
	char draft[4400], descriptor[4400], live[4400], gone[4400];
	char data[4200], mount[4200]; /* as this agent would choose them */
};

static void places_of(const struct agent_config *c, const char *volume, struct places *p)
{
	memset(p, 0, sizeof(*p));
	snprintf(p->draft, sizeof(p->draft), "%s/%s" DRAFT, c->volumes, volume);
	snprintf(p->descriptor, sizeof(p->descriptor), "%s/%s" DESCRIPTOR, c->volumes, volume);
	snprintf(p->live, sizeof(p->live), "%s/%s" LIVE, c->volumes, volume);
	snprintf(p->gone, sizeof(p->gone), "%s/%s" GONE, c->volumes, volume);
	snprintf(p->data, sizeof(p->data), "%s/%s", c->replicas, volume);
	snprintf(p->mount, sizeof(p->mount), "%s/%s", c->mounts, volume);
}

int replica_exists(const struct agent_config *c, const char *volume)
{
	struct places p;

	places_of(c, volume, &p);
	return access(p.live, F_OK) == 0 ? 0 : -ENOENT;
}

bool replica_has_holder(const struct agent_config *c, const char *volume)
{
	struct places p;
	struct conf *conf;
	struct err e;
	bool holder = false;

	places_of(c, volume, &p);
	if (conf_load(p.live, NULL, 0, &conf, &e))
		return false;
	if (conf_get_bool(conf, conf_section(conf, "volume"), "holder", &holder, &e))
		holder = false;
	conf_free(conf);
	return holder;
}

/* ---- a draft ---- */

static void write_peers(FILE *f, const struct replica_spec *s)
{
	for (unsigned i = 0; i < s->npeers; i++) {
		const struct replica_peer *p = &s->peers[i];

		fprintf(f, "[peer %s]\naddress = %s\n", p->domain,
			p->address[0] ? p->address : "0.0.0.0:1");
		fprintf(f, p->node[0] ? "node = %s\n\n" : "\n", p->node);
	}
}

/* 2.5 times `memtable` is kept free on the disk as ballast: a small volume shall not cost several times what it holds. */
static void write_limits(FILE *f, uint64_t size)
{
	uint64_t mib = (size >> 20) / 16;

	if (size && mib < MEMTABLE_MIB)
		fprintf(f, "\n[limits]\nmemtable = %lluM\n",
			(unsigned long long)MAX(mib, MEMTABLE_MIB_MIN));
}

/* The configuration's text, the caller's. */
static char *draft_text(const struct agent_config *c, const struct places *p,
	const struct replica_spec *s, const char *address)
{
	size_t len;
	char *text;
	FILE *f = open_memstream(&text, &len);

	ensure(f);
	fprintf(f, "# Made by tandem-agent; see tandemfs.conf(5). Changes take effect at the "
		   "daemon's next start.\n");
	fprintf(f, "[volume]\nname = %s\ndirectory = %s\nmount = %s\nack = %s\nholder = %s\n\n",
		s->volume, p->data, p->mount, s->ack, replica_holder(s, NULL) ? "yes" : "no");
	fprintf(f, "[site]\ndomain = %s\nlisten = %s\n\n", c->domain, address);
	write_peers(f, s);
	fprintf(f, "[transport]\nmode = tls\nca = %s\ncertificate = %s\nkey = %s\n", c->ca,
		c->certificate, c->key);
	write_limits(f, s->size);
	ensure(fclose(f) == 0);
	return text;
}

/* Choosing an address and writing it down: drafts that are made at once must not choose the same. */
static pthread_mutex_t choosing = PTHREAD_MUTEX_INITIALIZER;

int replica_draft(const struct agent_config *c, const struct replica_spec *spec, char *ret_address,
	struct err *e)
{
	cleanup_free char *text = NULL;
	struct places p;
	int ret;

	if (!c->certificate[0] || !c->replica_host[0])
		return err_set(e, -ENOENT,
			"%.150s has no [api] listen with certificates, which the volumes would use "
			"too",
			c->path);
	places_of(c, spec->volume, &p);
	if (access(p.live, F_OK) == 0)
		return err_set(
			e, -EEXIST, "volume '%s' is on '%s' already", spec->volume, c->domain);
	if (access(p.gone, F_OK) == 0)
		return err_set(e, -EEXIST,
			"volume '%s' was not removed to the end on '%s': first repeat 'tandemctl "
			"delete volume %s'",
			spec->volume, c->domain, spec->volume);
	if (access(p.draft, F_OK) != 0 && access(p.data, F_OK) == 0)
		return err_set(e, -EEXIST,
			"'%.150s' on '%s' belongs to no volume that is being made; remove or "
			"rename it",
			p.data, c->domain);
	pthread_mutex_lock(&choosing);
	ret = replica_address(c, p.draft, ret_address, e);
	if (!ret) {
		text = draft_text(c, &p, spec, ret_address);
		ret = durable_replace(p.draft, text, 0600, e);
	}
	pthread_mutex_unlock(&choosing);
	return ret;
}

int replica_drafted_address(
	const struct agent_config *c, const char *volume, char *ret_address, struct err *e)
{
	struct places p;

	places_of(c, volume, &p);
	return replica_address(c, p.draft, ret_address, e);
}

/* What an earlier try left; never of what has run. */
static int throw_away(const struct places *p, struct err *e)
{
	if (access(p->live, F_OK) == 0 || access(p->draft, F_OK) != 0)
		return err_set(e, -ENOENT, "there is no draft '%.180s'", p->draft);
	unlink(p->descriptor);
	return replica_remove_tree(p->data, e);
}

static int make_places(const struct agent_config *c, const struct places *p, struct err *e)
{
	int ret = durable_make_dir(c->replicas, 0700, e);

	return ret ? ret : durable_make_dir(p->mount, 0755, e);
}

bool replica_formatted(const struct agent_config *c, const char *volume)
{
	struct places p;

	places_of(c, volume, &p);
	return access(p.draft, F_OK) == 0 && access(p.descriptor, F_OK) == 0 &&
	       access(p.data, F_OK) == 0;
}

/* An earlier try made it, perhaps with other arguments, and a peer may have joined it already. */
static int formatted_as_wanted(
	const struct replica_spec *spec, const char *descriptor, struct err *e)
{
	const struct conf_section *s;
	uint64_t size = 0;
	struct conf *c;
	int ret = conf_parse("descriptor", descriptor, NULL, 0, &c, e);

	if (ret)
		return ret;
	s = conf_section(c, "volume");
	if (!s || conf_get_size(c, s, "size", 1, INT64_MAX, &size, e) ||
		size != spec->size - spec->size % BLOCK_SIZE)
		ret = err_set(e, -EEXIST,
			"an earlier try made volume '%s' with %llu bytes: repeat that, or first "
			"'tandemctl delete volume %s'",
			spec->volume, (unsigned long long)size, spec->volume);
	conf_free(c);
	return ret;
}

int replica_format(const struct agent_config *c, const struct replica_spec *spec,
	char **ret_descriptor, struct err *e)
{
	struct places p;
	char size[32];
	const char *argv[16] = {c->program, "format", "--config", p.draft, "--size", size,
		"--descriptor", p.descriptor};
	unsigned n = 8;
	int ret;

	places_of(c, spec->volume, &p);
	if (access(p.descriptor, F_OK) == 0 && access(p.data, F_OK) == 0) {
		ret = replica_load(p.descriptor, REPLICA_DESCRIPTOR_MAX, ret_descriptor, e);
		return ret ? ret : formatted_as_wanted(spec, *ret_descriptor, e);
	}
	ret = throw_away(&p, e);
	if (!ret)
		ret = make_places(c, &p, e);
	if (ret)
		return ret;
	snprintf(size, sizeof(size), "%llu", (unsigned long long)spec->size);
	if (spec->mode[0]) {
		argv[n++] = "--mode";
		argv[n++] = spec->mode;
	}
	if (spec->owner[0]) {
		argv[n++] = "--owner";
		argv[n++] = spec->owner;
	}
	if (spec->directory[0]) {
		argv[n++] = "--directory";
		argv[n++] = spec->directory;
	}
	ret = replica_run(argv, e);
	return ret ? ret : replica_load(p.descriptor, REPLICA_DESCRIPTOR_MAX, ret_descriptor, e);
}

/* The volume's UUID in a descriptor's text; "" when there is none. */
static void volume_uuid(const char *descriptor, char *ret, size_t size)
{
	struct conf *c;
	struct err e;
	const char *uuid;

	ret[0] = '\0';
	if (conf_parse("descriptor", descriptor, NULL, 0, &c, &e))
		return;
	uuid = conf_section(c, "volume") ? conf_get(c, conf_section(c, "volume"), "uuid") : NULL;
	snprintf(ret, size, "%s", uuid ? uuid : "");
	conf_free(c);
}

/* Is what runs here of the same volume? Then the one who asks has lost an answer. */
static int joined_already(const struct agent_config *c, const struct places *p, const char *volume,
	const char *descriptor, struct err *e)
{
	cleanup_free char *own = NULL;
	char path[4300], theirs[64], ours[64];

	snprintf(path, sizeof(path), "%s/volume", p->data);
	volume_uuid(descriptor, theirs, sizeof(theirs));
	if (theirs[0] && replica_load(path, REPLICA_DESCRIPTOR_MAX, &own, e) == 0) {
		volume_uuid(own, ours, sizeof(ours));
		if (!strcmp(ours, theirs))
			return 0;
	}
	return err_set(e, -EEXIST, "volume '%s' is on '%s' already", volume, c->domain);
}

int replica_join(
	const struct agent_config *c, const char *volume, const char *descriptor, struct err *e)
{
	struct places p;
	const char *argv[] = {
		c->program, "format", "--config", p.draft, "--join", p.descriptor, NULL};
	int ret;

	places_of(c, volume, &p);
	if (access(p.live, F_OK) == 0)
		return joined_already(c, &p, volume, descriptor, e);
	ret = throw_away(&p, e);
	if (!ret)
		ret = make_places(c, &p, e);
	if (!ret)
		ret = durable_replace(p.descriptor, descriptor, 0600, e);
	return ret ? ret : replica_run(argv, e);
}

int replica_publish(const struct agent_config *c, const char *volume, struct err *e)
{
	struct places p;
	int ret;

	places_of(c, volume, &p);
	if (access(p.draft, F_OK) == 0) {
		ret = durable_rename(p.draft, p.live, e);
		if (ret)
			return ret;
	} else if (access(p.live, F_OK) != 0) {
		return err_set(e, -ENOENT, "there is no draft '%.180s'", p.draft);
	}
	unlink(p.descriptor);
	log_info("%s: its replica is made", volume);
	return 0;
}

/* ---- removing ---- */

/* The process that listens on the socket; 0 when nobody does. */
static int daemon_pid(const char *path)
{
	cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct ucred peer = {0};
	socklen_t len = sizeof(peer);

	if (fd < 0 || strlen(path) >= sizeof(sa.sun_path))
		return 0;
	memcpy(sa.sun_path, path, strlen(path) + 1);
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ||
		getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return 0;
	return peer.pid;
}

/* A held mount outlives its daemon, so it is given up first; a record is not changed by it. */
static void demote(const char *socket)
{
	struct json *request = json_object(), *answer;
	struct err e;

	json_set_string(request, "verb", "demote");
	json_set_bool(request, "force", true);
	json_set_bool(request, "yes", true);
	if (control_call(socket, request, DEMOTE_MS, &answer, &e) == 0)
		json_free(answer);
	json_free(request);
}

/* Sends SIGTERM and waits for the end. */
static int end_daemon(
	const struct agent_config *c, const char *volume, const atomic_bool *stop, struct err *e)
{
	uint64_t until = clock_mono_ns() + END_NS;
	cleanup_close int fd = -1;
	char socket[4200];
	int pid;

	snprintf(socket, sizeof(socket), "%s/%s.sock", c->run_dir, volume);
	if (!daemon_pid(socket))
		return 0;
	demote(socket);
	pid = daemon_pid(socket); /* it may have ended by itself, or started again */
	fd = pid > 0 ? pidfd_open(pid, 0) : -1;
	if (fd < 0)
		return 0;
	if (pidfd_send_signal(fd, SIGTERM, NULL, 0) < 0)
		return errno == ESRCH ? 0
				      : err_set(e, -errno, "process %d: %s", pid, strerror(errno));
	while (clock_mono_ns() < until && !atomic_load(stop)) {
		struct pollfd p = {.fd = fd, .events = POLLIN};

		if (poll(&p, 1, 250) > 0)
			return 0;
	}
	return err_set(e, -ETIMEDOUT,
		"the daemon of '%s' on '%s', process %d, does not end: nothing of its data was "
		"removed, repeat this",
		volume, c->domain, pid);
}

/* What the configuration says of where the data and the mount are. */
static int read_places(
	const char *path, char *ret_data, char *ret_mount, size_t size, struct err *e)
{
	const struct conf_section *s;
	struct conf *c;
	int ret = conf_load(path, NULL, 0, &c, e);

	if (ret)
		return ret;
	s = conf_section(c, "volume");
	if (!s)
		ret = err_set(e, -EINVAL, "%.150s has no section [volume]", path);
	if (!ret)
		ret = conf_get_path(c, s, "directory", ret_data, size, e);
	if (!ret)
		ret = conf_get_path(c, s, "mount", ret_mount, size, e);
	conf_free(c);
	return ret;
}

/*
 * A mount outlives its daemon where a holder has it. Where no daemon could be told to give it up, it would stay, with
 * nobody left to serve it, and whoever looks at it would hang. The holder ends when it has lost it.
 */
static int take_mount_away(const char *volume, const char *mount, struct err *e)
{
	char path[4200], source[VOLUME_NAME_MAX + 16];
	int ret = mountinfo_resolve(mount, path, sizeof(path), e);

	snprintf(source, sizeof(source), "tandemfs:%s", volume);
	for (unsigned i = 0; !ret; i++) {
		FILE *f = fopen("/proc/self/mountinfo", "re");
		struct mountinfo_mount m = {0};

		if (!f)
			return err_set(e, -errno, "cannot read the mount table: %m");
		mountinfo_find(f, path, &m);
		fclose(f);
		if (!m.found || strcmp(m.fstype, FSTYPE) != 0 || strcmp(m.source, source) != 0)
			break;
		if (i == MOUNTS_MAX)
			return err_set(e, -EBUSY, "'%.180s' is mounted again and again", path);
		log_info("%s: taking away the mount on '%s', which no daemon serves", volume, path);
		if (umount2(path, MNT_FORCE | MNT_DETACH | UMOUNT_NOFOLLOW) < 0 && errno != EINVAL)
			return err_set(e, -errno, "cannot unmount '%.180s': %m", path);
	}
	return ret == -ENOENT ? 0 : ret;
}

/* Nothing but a replica is removed; under its new name it is none any more, half gone or not. */
static int remove_data(const char *data, struct err *e)
{
	char mark[4300], removing[4300];
	int ret;

	snprintf(mark, sizeof(mark), "%s/volume", data);
	snprintf(removing, sizeof(removing), "%s.removing", data);
	ret = replica_remove_tree(removing, e);
	if (ret || access(data, F_OK) != 0)
		return ret;
	if (access(mark, F_OK) != 0)
		return err_set(e, -EINVAL,
			"'%.150s' is not a replica's directory: nothing is removed", data);
	ret = durable_rename(data, removing, e);
	return ret ? ret : replica_remove_tree(removing, e);
}

int replica_remove(
	const struct agent_config *c, const char *volume, const atomic_bool *stop, struct err *e)
{
	char data[4200] = "", mount[4200] = "";
	const char *file;
	struct places p;
	int ret = 0;

	places_of(c, volume, &p);
	if (access(p.live, F_OK) == 0)
		ret = durable_rename(p.live, p.gone, e); /* it is not started again from here on */
	if (ret)
		return ret;
	file = access(p.gone, F_OK) == 0 ? p.gone : access(p.draft, F_OK) == 0 ? p.draft : NULL;
	if (!file)
		return err_set(e, -ENOENT, "no volume '%s' on '%s'", volume, c->domain);
	ret = read_places(file, data, mount, sizeof(data), e);
	if (!ret)
		ret = end_daemon(c, volume, stop, e);
	if (!ret && take_mount_away(volume, mount, e)) {
		ret = err_wrap(e, "nothing of the data of '%s' was removed, repeat this", volume);
		log_error("%s", e->msg);
	}
	if (!ret)
		ret = remove_data(data, e);
	if (ret)
		return ret;
	rmdir(mount); /* one that is not empty, or was there before, stays */
	unlink(p.descriptor);
	if (unlink(file) < 0)
		return err_set(e, -errno, "'%.180s': %s", file, strerror(errno));
	log_info("%s: its replica is removed", volume);
	return 0;
}

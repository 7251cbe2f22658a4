/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A volume's configuration file and its descriptor, checked as a whole: every error names file, line
 * and reason.
 *
 *   [volume]
 *   name = db                       # required
 *   directory = /var/lib/tandemfs/db  # this replica's data; required
 *   mount = /srv/db                 # where it is mounted while active; required
 *   ack = op                        # op or fsync (async is refused until it is built)
 *   suid = no
 *   dev = no
 *   threads = 4
 *   holder = no                     # a process of its own makes and keeps the mount
 *
 *   [site]
 *   domain = site-a                 # required
 *   listen = 10.0.0.1:7400          # required
 *
 *   [peer site-b]                   # one for each other domain; required
 *   address = 10.1.0.1:7400
 *   node = node-2                   # which of that site's nodes it is; for people and agents
 *
 *   [transport]                     # required
 *   mode = tls                      # tls or plain
 *   ca = /etc/tandemfs/ca.pem       # with tls these three are required
 *   certificate = /etc/tandemfs/site-a.pem
 *   key = /etc/tandemfs/site-a.key
 *   heartbeat = 500ms
 *   timeout = 5s
 *
 *   [journal]
 *   io = auto                       # auto, io_uring, pwritev2
 *   size = 256M                     # at format; default 1/16 of the volume
 *   flights = 1                     # batches in the local flush at once, 1 to 8
 *   poll = 1ms                      # how long to look again before sleeping, up to 10ms; default: see polling_limit()
 *
 *   [limits]
 *   payload_memory = 256M           # payloads of waiting writes; beyond it they are parked
 *   cache = 128M                    # RocksDB's block cache
 *   memtable = 64M                  # a checkpoint is due at this size
 *   checkpoint_entries = 200000     # ... and after so many entries
 *   catch_up_rate = 100M            # bytes a second that are pulled at most; default: no limit
 */
#ifndef FS_CONFIG_H
#define FS_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "check.h"
#include "check.h"
#include "record.h"
#include "uring.h"

/* When an operation returns: all of them, or the syncing ones, when they are committed. */
enum config_ack { CONFIG_ACK_OP, CONFIG_ACK_FSYNC };

struct config_peer {
	char domain[DOMAIN_LEN_MAX + 1];
	char address[256];
	char node[NODE_NAME_MAX + 1]; /* "": not said */
};

struct config {
	char path[4096];
	char name[VOLUME_NAME_MAX + 1];
	char directory[4096];
	char mount[4096];
	enum config_ack ack;
	bool suid, dev;
	bool holder;
	unsigned threads;
	char domain[DOMAIN_LEN_MAX + 1];
	char listen[256];
	unsigned npeers;
	struct config_peer peers[REPLICAS_MAX];
	bool tls;
	char ca[4096], certificate[4096], key[4096];
	uint64_t heartbeat_ns, timeout_ns;
	enum uring_mode io;
	uint64_t ring_size; /* 0: default */
	unsigned flights;
	uint64_t poll_ns; /* UINT64_MAX: not configured */
	uint64_t payload_memory, cache, memtable, checkpoint_entries;
	uint64_t catch_up_rate; /* bytes a second; 0: no limit */
	char run_dir[4096]; /* from the command line; default CONTROL_RUN_DIR */
};

/* A replica and its own mount point must not contain each other. Both paths are absolute; they need not
 * exist. Links are followed. */
enum places { PLACES_APART, PLACES_DIRECTORY_IN_MOUNT, PLACES_MOUNT_IN_DIRECTORY };
enum places config_places(const char *directory, const char *mount);

int config_load(const char *path, struct config *ret_c, struct err *e);

/* The descriptor that format writes and format --join reads: what all replicas must agree on. A
 * text file in the same syntax: [volume] name, cluster, uuid, size, ring, time, mode, owner;
 * one [replica DOMAIN] with uuid for each; [record] version_id. mode and owner may be missing: the
 * descriptors of volumes that have the root directory's defaults were once written without them. */
struct descriptor {
	char name[VOLUME_NAME_MAX + 1];
	struct uuid cluster, volume;
	uint64_t size; /* bytes */
	uint64_t ring_size; /* bytes */
	uint64_t time_ns;
	uint32_t mode, uid, gid; /* of the root directory; mode without the type */
	char directory[VOLUME_NAME_MAX + 1]; /* in the root, from the beginning; "": none */
	uint64_t record_id;
	unsigned nreplicas;
	struct record_replica replicas[REPLICAS_MAX]; /* the first one is active */
};

#define DESCRIPTOR_MODE 0755u /* of the root directory, when nothing else is said */

/* -EINVAL, and nothing changed, unless it is an octal mode, or UID:GID in numbers. */
int descriptor_parse_mode(const char *text, uint32_t *ret_mode);
int descriptor_parse_owner(const char *text, uint32_t *ret_uid, uint32_t *ret_gid);
/* Room for VOLUME_NAME_MAX and a zero. */
int descriptor_parse_directory(const char *text, char *ret);

int descriptor_load(const char *path, struct descriptor *ret_d, struct err *e);
/* New file only (-EEXIST), synced. */
int descriptor_store(const char *path, const struct descriptor *d, struct err *e);
/* Record 1: all in sync at seq 0, the first one active, epoch {0, 0}. */
void descriptor_record(const struct descriptor *d, struct record *ret_r);

#endif

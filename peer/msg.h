/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames between replicas. A frame is a header and a body:
 *
 *   off size  frame header (little-endian), MSG_HEADER_SIZE = 48 bytes
 *     0    4  magic "TFMS"
 *     4    2  protocol version
 *     6    2  type
 *     8    4  body length
 *    12    4  meta length: how much of the body is the message's own fields; the rest is payload
 *             (a batch, verbatim; a large write's bytes)
 *    16    8  epoch id	    the sender's record's epoch
 *    24    4  epoch number
 *    28   12  reserved
 *    40    4  meta checksum (CRC-32C)
 *    44    4  header checksum (CRC-32C of the 44 bytes before it)
 *
 * A payload carries its own checksums (a batch has them; DATA names its CRC). A header is believed
 * only after its checksum; lengths are limited by type before anything is allocated. Decoding
 * validates everything once, here, at the edge; behind it the same facts are asserted.
 */
#ifndef PEER_MSG_H
#define PEER_MSG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "entry.h"
#include "record.h"
#include "ring.h"

#define MSG_PROTOCOL 1u
#define MSG_PROTOCOL_MIN 1u
#define MSG_HEADER_SIZE 48u
#define MSG_META_MAX (192u << 10) /* bytes */
#define MSG_PAYLOAD_MAX (WRITE_SIZE_MAX + 2 * BLOCK_SIZE)
#define MSG_SPANS_MAX 64u
#define MSG_TEXT_MAX 1024u
#define MSG_FILE_NAME_MAX 63u
#define MSG_PULL_FILES_MAX 65536u
#define MSG_PULL_BLOCKS_MAX 256u /* of one run that is asked for */
#define MSG_PULL_PART_MAX (1u << 20) /* bytes of a file in one part */
#define MSG_REPAIR_BLOCKS_MAX 64u /* of one run that is asked for; a bit each */

enum msg_type {
	MSG_PREFACE = 1, /* first frame of a connection: who dials, and what for */
	MSG_HELLO, /* the handshake: the whole position of a replica */
	MSG_RECORD, /* adopt this record durably, then answer */
	MSG_RECORD_ACK,
	MSG_FETCH, /* send me the history after a position (the active adopts a tail) */
	MSG_APPEND, /* payload: one batch */
	MSG_ACK, /* everything up to a seq is durable here */
	MSG_HEARTBEAT, /* carries the commit index */
	MSG_DATA, /* payload: the bytes of a large write, ahead of the batch that names it */
	MSG_REFUSED, /* why the connection is of no use; it is closed behind this */
	MSG_STOPPED, /* a courtesy: the sender's process ends in order */
	MSG_FORWARD, /* an operator's word typed at the other side */
	MSG_FORWARD_REPLY,
	/* On bulk connections, together with DATA and REFUSED: catching up by pulling. The target asks,
	 * the source answers in the order of the questions. */
	MSG_PULL_BEGIN, /* make a checkpoint and offer it */
	MSG_PULL_OFFER, /* the checkpoint's position; its files follow, one PULL_FILE each */
	MSG_PULL_FILE,
	MSG_PULL_ASK_FILE, /* a part of a file */
	MSG_PULL_PART, /* payload: that part, padded with zeros to whole blocks */
	MSG_PULL_ASK_DATA, /* a run of a data segment; the answer is a DATA */
	MSG_PULL_DONE, /* everything of the checkpoint is there */
	MSG_PULL_REACHED, /* does the ring still lead on from the checkpoint? */
	MSG_PULL_NEWS, /* how far the target is, for status */
	/* On commit connections: few and small, for a reader waits. */
	MSG_REPAIR_ASK, /* blocks that are damaged here: has the other side them as they should be? */
	MSG_REPAIR, /* payload: the blocks, where any is as it should be */
	/* On commit connections, only to who announced format level 2. */
	MSG_SPACE, /* what is granted here (and, from the active, what it would like to be granted) */
	MSG_TYPE_MAX,
};

enum msg_purpose { MSG_PURPOSE_COMMIT = 1, MSG_PURPOSE_BULK = 2 };

/* What a replica has granted to the active (design 4.2): it may be used, nobody else gets it. */
struct msg_grant {
	uint64_t data_blocks; /* highest number of live data blocks promised in total */
	uint64_t ring_bytes; /* free in the ring */
	uint64_t meta_bytes;
	uint64_t disk_free, disk_total; /* bytes, informative */
};

enum msg_meta_full {
	META_ROOM, /* as much as anybody wants */
	META_FULL, /* only what makes room may still change metadata */
	META_FULL_FOR_NOW, /* the same, and more can be written down when what is applied is flushed */
};

/*
 * Room that a replica grants (design 4.2). Addresses are blocks of the data segments of the frame's epoch. A
 * grant is never taken back in its epoch: it is allocated on the disk. Figures in bytes.
 */
struct msg_space {
	uint64_t data_used; /* from the active: assigned up to here (exclusive), */
	uint64_t data_seq; /* by the entries up to this one; else 0 and 0 */
	uint64_t data_want; /* from the active: wished for up to here; else 0 */
	uint64_t data_upto; /* granted up to here */
	uint64_t meta_seq,
		meta_bytes; /* behind this applied seq so much metadata can be written down */
	uint8_t data_full; /* no more comes: the disk is full */
	uint8_t meta_full; /* enum msg_meta_full */
	uint64_t room; /* that the volume could still come to have, dead blocks included */
	uint64_t promise; /* that data can surely get now */
	uint64_t live, dead, allocated; /* of the data segments; informative */
};

struct msg_preface {
	uint32_t protocol_min, protocol_max;
	enum msg_purpose purpose;
	struct uuid cluster, volume, replica;
	char domain[DOMAIN_LEN_MAX + 1];
};

struct msg_hello {
	uint32_t entry_format_max; /* highest format level this build understands */
	uint8_t serving; /* this replica has the volume mounted now */
	struct pos end; /* of the history, perhaps not durable yet: ACK says what is */
	struct pos flushed; /* in RocksDB's files */
	uint64_t commit;
	uint64_t first_seq; /* lowest seq in the ring */
	struct pos before; /* position before first_seq */
	struct msg_grant grant;
	unsigned nspans; /* newest first */
	struct log_span spans[MSG_SPANS_MAX];
	const struct record *record; /* decoding: points at the caller's buffer, see msg_decode() */
};

struct msg_record {
	uint64_t nonce; /* returned in the answer */
	const struct record *record;
};

struct msg_record_ack {
	uint64_t nonce;
	uint8_t accepted;
	struct record_version version; /* that the answering replica holds now */
};

struct msg_fetch {
	struct pos after;
};

struct msg_append {
	struct batch_header h;
	const void *batch; /* payload: batch_size(&h) bytes */
};

struct msg_ack {
	uint64_t durable; /* seq */
	uint64_t applied, flushed; /* seqs, informative */
	struct msg_grant grant;
};

struct msg_heartbeat {
	uint64_t commit;
	uint64_t end; /* the sender's last seq */
	uint64_t sent_ns; /* sender's monotonic clock; echoed for the round trip */
	uint64_t echo_ns; /* the last sent_ns received from the peer, plus the time it was held */
};

struct msg_data {
	uint32_t epoch_num; /* the address: data segments of this epoch, */
	uint64_t epoch_id;
	uint64_t block; /* first block */
	uint32_t blocks;
	uint32_t crc; /* CRC-32C of the payload */
	/* Parts of it were punched since, because nobody maps them any more: the bytes are what is left,
	 * zeros elsewhere, and do not match the checksum in the entry. */
	uint8_t gone;
	const void *bytes; /* payload: blocks * BLOCK_SIZE */
};

struct msg_refused {
	int32_t code; /* -errno */
	char text[MSG_TEXT_MAX];
};

enum operator_verb {
	OPERATOR_PROMOTE = 1,
	OPERATOR_DEMOTE,
	OPERATOR_DEACTIVATE,
	OPERATOR_ACTIVATE,
	OPERATOR_RESYNC, /* domain: typed, the side to be kept; forwarded, the one that gives up */
	OPERATOR_RAISE, /* the record's format level, to what all replicas know; never forwarded */
};
#define OPERATOR_YES 1u /* the person has been asked */
#define OPERATOR_FORCE 2u /* demote although the peer is silent */
#define OPERATOR_ACCEPT_DATA_LOSS 4u /* promote although not in sync */
#define OPERATOR_FORWARDED 8u /* came from the other side; never forwarded again */
#define OPERATOR_PREVIEW                                                                           \
	16u /* resync, deactivate: say what would be given up, or done, and change nothing */

struct msg_forward {
	uint64_t nonce;
	enum operator_verb verb;
	uint32_t flags;
	char domain[DOMAIN_LEN_MAX + 1];
};

struct msg_forward_reply {
	uint64_t nonce;
	int32_t code;
	char text[MSG_TEXT_MAX];
};

struct msg_pull_begin {
	uint32_t round; /* 1 at first; more: the ring had gone on meanwhile */
};

struct msg_pull_offer {
	uint64_t id; /* of this checkpoint, in what follows */
	struct pos at; /* what it holds */
	uint64_t used_blocks; /* mapped data blocks, about */
	uint32_t nfiles;
};

struct msg_pull_file {
	uint64_t id;
	uint32_t index;
	uint64_t size; /* bytes */
	uint32_t crc; /* of the whole file */
	char name[MSG_FILE_NAME_MAX + 1]; /* letters, digits, '.', '_', '-'; no '.' first */
};

struct msg_pull_ask_file {
	uint64_t id;
	uint32_t index;
	uint64_t offset;
	uint32_t len; /* bytes, up to MSG_PULL_PART_MAX */
};

struct msg_pull_part {
	uint64_t id;
	uint32_t index;
	uint64_t offset;
	uint32_t len;
	uint32_t crc; /* of the payload, padding included */
	const void *bytes; /* payload: len bytes rounded up to whole blocks */
};

struct msg_pull_ask_data {
	struct epoch epoch; /* the address, as in DATA */
	uint64_t block;
	uint32_t blocks; /* 1 to MSG_PULL_BLOCKS_MAX */
	uint32_t crcs[MSG_PULL_BLOCKS_MAX]; /* what each block's bytes must be */
};

struct msg_pull_done {
	uint64_t id;
};

struct msg_pull_reached {
	uint64_t id;
	uint8_t reached; /* else: another round */
};

struct msg_pull_news {
	uint64_t done, total; /* bytes that are there, and that shall be */
	uint64_t rate; /* bytes a second */
};

struct msg_repair_ask {
	uint64_t nonce; /* returned in the answer */
	struct epoch epoch; /* the address, as in DATA */
	uint64_t block;
	uint32_t blocks; /* 1 to MSG_REPAIR_BLOCKS_MAX */
	uint32_t crcs[MSG_REPAIR_BLOCKS_MAX]; /* what each block's bytes must be */
};

struct msg_repair {
	uint64_t nonce;
	uint64_t good; /* bit i: block i has the checksum that was asked for; 0: no payload */
	uint32_t blocks; /* as asked for */
	uint32_t crc; /* CRC-32C of the payload; 0 without one */
	const void *bytes; /* payload: blocks * BLOCK_SIZE, zeros where the bit is not set */
};

struct msg {
	enum msg_type type;
	struct epoch epoch;
	union {
		struct msg_preface preface;
		struct msg_hello hello;
		struct msg_record record;
		struct msg_record_ack record_ack;
		struct msg_fetch fetch;
		struct msg_append append;
		struct msg_ack ack;
		struct msg_heartbeat heartbeat;
		struct msg_data data;
		struct msg_refused refused;
		struct msg_forward forward;
		struct msg_forward_reply forward_reply;
		struct msg_pull_begin pull_begin;
		struct msg_pull_offer pull_offer;
		struct msg_pull_file pull_file;
		struct msg_pull_ask_file pull_ask_file;
		struct msg_pull_part pull_part;
		struct msg_pull_ask_data pull_ask_data;
		struct msg_pull_done pull_done;
		struct msg_pull_reached pull_reached;
		struct msg_pull_news pull_news;
		struct msg_repair_ask repair_ask;
		struct msg_repair repair;
		struct msg_space space;
	};
};

struct msg_frame { /* a decoded frame header */
	enum msg_type type;
	uint32_t meta_len, payload_len;
	uint32_t meta_crc;
	struct epoch epoch;
};

/* Header of MSG_HEADER_SIZE bytes. 0; -EBADMSG; -EPROTONOSUPPORT (another protocol version). */
int msg_decode_frame(const void *buf, struct msg_frame *ret_f);
/*
 * Decodes the fields (`meta`, f->meta_len bytes) of a frame. `payload` (f->payload_len bytes; may
 * be NULL when there is none) is only pointed to; an APPEND's batch is checked with batch_verify()
 * and a DATA's bytes against their checksum. `record` is where a HELLO's or RECORD's record is
 * decoded to. 0 or -EBADMSG.
 */
int msg_decode(const struct msg_frame *f, const void *meta, const void *payload,
	struct record *record, struct msg *ret_m);
/* Writes frame header and fields into buf (at least MSG_HEADER_SIZE + MSG_META_MAX for messages
 * with a record, 4 KiB otherwise); the payload is not copied: the caller sends
 * msg_payload() behind it. Returns the bytes written. */
size_t msg_encode(const struct msg *m, void *buf, size_t size);
/* The payload that belongs behind the encoded message: NULL and 0 when there is none. */
const void *msg_payload(const struct msg *m, size_t *ret_len);
const char *msg_type_name(enum msg_type t);
/* May a file of a checkpoint be called so? Plain names only: it becomes part of a path. */
bool msg_file_name_valid(const char *name, size_t len);

#endif

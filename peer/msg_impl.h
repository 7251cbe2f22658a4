/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the frames' codec: the fields of pulling, repairing and granting, msg_pull.c, msg_repair.c and
 * msg_space.c to msg.c. */
#ifndef PEER_MSG_IMPL_H
#define PEER_MSG_IMPL_H

#include <string.h>

#include "bytes.h"
#include "check.h"
#include "msg.h"

void encode_pull_begin(const struct msg *m, struct bytes *b);
void decode_pull_begin(struct bytes *b, struct record *record, struct msg *m);
void encode_pull_offer(const struct msg *m, struct bytes *b);
void decode_pull_offer(struct bytes *b, struct record *record, struct msg *m);
void encode_pull_file(const struct msg *m, struct bytes *b);
void decode_pull_file(struct bytes *b, struct record *record, struct msg *m);
void encode_pull_ask_file(const struct msg *m, struct bytes *b);
void decode_pull_ask_file(struct bytes *b, struct record *record, struct msg *m);
void encode_pull_part(const struct msg *m, struct bytes *b);
void decode_pull_part(struct bytes *b, struct record *record, struct msg *m);
void encode_pull_ask_data(const struct msg *m, struct bytes *b);
void decode_pull_ask_data(struct bytes *b, struct record *record, struct msg *m);
void encode_pull_done(const struct msg *m, struct bytes *b);
void decode_pull_done(struct bytes *b, struct record *record, struct msg *m);
void encode_pull_reached(const struct msg *m, struct bytes *b);
void decode_pull_reached(struct bytes *b, struct record *record, struct msg *m);
void encode_pull_news(const struct msg *m, struct bytes *b);
void decode_pull_news(struct bytes *b, struct record *record, struct msg *m);
void encode_repair_ask(const struct msg *m, struct bytes *b);
void decode_repair_ask(struct bytes *b, struct record *record, struct msg *m);
void encode_repair(const struct msg *m, struct bytes *b);
void decode_repair(struct bytes *b, struct record *record, struct msg *m);
void encode_space(const struct msg *m, struct bytes *b);
void decode_space(struct bytes *b, struct record *record, struct msg *m);
/* The payload against the fields. */
bool repair_payload_valid(size_t len, const void *payload, struct msg *m);

#endif

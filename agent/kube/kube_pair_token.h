/* SPDX-License-Identifier: Apache-2.0 */
/* The token in a ClusterPair's kubeconfig: when it ends, and a new one in time. */
#ifndef AGENT_KUBE_PAIR_TOKEN_H
#define AGENT_KUBE_PAIR_TOKEN_H

#include "kube_control.h"

struct pair_token {
	int64_t begins_s, ends_s; /* ends_s 0: it does not end, or does not say so */
	char ns[64], account[KUBE_NAME_MAX + 1]; /* whose it is; "": no service account's */
};

/* What a token (a JWT) says of itself; nobody checks it here. False: it is none. Pure. */
bool pair_token_read(const char *token, struct pair_token *ret);
/* Half of its life is over. */
bool pair_token_is_old(const struct pair_token *t, int64_t now);

/*
 * A new one for as long as the old one was, asked for with the old one, in its place in the pair's Secret. *ret_token
 * (to be freed) is it. -EPERM: the account may not; -EBUSY: the Secret was changed meanwhile.
 */
int pair_token_renew(struct kube_control *c, const struct json *pair, struct kube *to,
	const char *token, char **ret_token, struct err *e);

#endif

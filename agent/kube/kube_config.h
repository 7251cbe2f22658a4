/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How an API server of Kubernetes is reached, and as whom: from a kubeconfig (YAML as kubectl writes it, or JSON)
 * or from the files that every pod finds.
 */
#ifndef AGENT_KUBE_CONFIG_H
#define AGENT_KUBE_CONFIG_H

#include <stdbool.h>

#include "json.h"

#define KUBE_POD_FILES "/var/run/secrets/kubernetes.io/serviceaccount"

struct kube_access { /* each the access's own, or NULL */
	char *server; /* https://HOST:PORT, perhaps with a path */
	char *ca, *certificate, *key; /* PEM texts */
	char *token;
	char *token_path; /* it changes: to be read again */
	char *ns; /* the namespace that is meant where none is named */
};

/*
 * From a kubeconfig's text, by its current-context. It may come from somebody else: `files` says whether paths in it
 * are followed. Programs to run, passwords, proxies and servers that nobody checks are refused. 0; -EBADMSG or
 * -EINVAL with the reason, or an error of a file.
 */
int kube_access_parse(
	const char *text, size_t len, bool files, struct kube_access *ret, struct err *e);
/* The same, of a value that was read already. */
int kube_access_from(const struct json *config, bool files, struct kube_access *ret, struct err *e);
int kube_access_load(const char *path, struct kube_access *ret, struct err *e);
/* From `dir` (KUBE_POD_FILES) and the environment. */
int kube_access_in_cluster(const char *dir, struct kube_access *ret, struct err *e);
void kube_access_clear(struct kube_access *a); /* secrets are wiped */

/* A file's text without the line's end, at most 1 MiB; NULL with the reason. */
char *kube_read_file(const char *path, struct err *e);
/* Base64 (with its padding) to text that ends with a zero; NULL: it is none, or has a zero in it. */
char *kube_base64(const char *text);
char *kube_base64_of(const char *text); /* the other way round */

#endif

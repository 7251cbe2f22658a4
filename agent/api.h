/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The REST API of one node, version 1. Everything is JSON but the metrics.
 *
 *   GET  /v1/health               {"domain", "node", "version"}: the agent lives
 *   GET  /healthz                 the same
 *   GET  /readyz                  the same: pods may come (ready.h); else 503 and why not
 *   GET  /v1/status               {the same, "ready", "not_ready": why, "volumes": [...]}, each as below
 *   GET  /v1/volumes              {the same, "volumes": [{"volume", "supervision"}, ...]}: what the agent
 *                                 knows without asking a daemon, at once
 *   GET  /v1/volumes/NAME         {"volume", "supervision": {...}, "status": the daemon's answer or null}
 *   POST /v1/volumes/NAME/VERB    the body is the verb's arguments, an object or nothing; the answer is the
 *                                 daemon's: {"code", "text", ...}
 *   POST /v1/volumes              creates one on all sites: {"volume", "size", "ack", "holder", "mode",
 *                                 "owner", "directory", "domain", "peer_node", "peers"}; size is bytes or
 *                                 "10G"; directory: the name of one in the root, with its owner and mode;
 *                                 domain: the one other site, default all; peer_node: which node of it;
 *                                 peers: {DOMAIN: {"node"}}, in the place of both; without holder each node
 *                                 does what its kernel can, and the answer's "holder" is what became of it here
 *   POST /v1/volumes/NAME/delete  {"local": true: this node's replica alone}
 *   POST /v1/replicas/NAME/STEP   what the agent of another site asks for: draft {what 'create' has,
 *                                 "peers": {DOMAIN: {"address", "node"}}} answers {"address", "node"}, join {the same,
 *                                 "descriptor"}, remove
 *   POST /v1/operations           begins a failover (operations.h) and answers it, with its "id":
 *                                 {"kind", "volume", "to", "timeout_ms", "dry_run"}; with "domain" instead
 *                                 of "volume" all of a domain, with "node" all of a node (operations.h),
 *                                 a group: {"id", "operations": [...]}
 *   GET  /v1/operations           {"domain", "node", "version", "operations": [...]}, the oldest first
 *   GET  /v1/operations/ID        {"id", "state", "message", "steps": [{"name", "state", "start_ms",
 *                                 "end_ms", "message"}, ...], ...}; times since 1970. A group by its id
 *   POST /v1/operations/ID/cancel undo it, or its group; answers it as it is. 409 when it is too late
 *   POST /v1/upgrade              replaces the daemons that run another build, one after the other (upgrades.h):
 *                                 {"volume", "yes", "timeout_ms", "dry_run"}, and answers how far it is
 *   GET  /v1/upgrade              the same of the last one
 *   POST /v1/reload               read the configuration again, as SIGHUP does; 409 and why not: the old
 *                                 one stays then
 *   GET  /metrics                 Prometheus' text format
 *
 * Verbs: those of control.h; "timeout_ms" among the arguments is how long to wait for the daemon, default
 * a minute. HTTP's status follows the daemon's code: 200 done; 409 a question (repeat with
 * "yes": true) or a refusal; 400 wrong arguments; 404; 503 the daemon does not run or is busy; 504 it does
 * not answer. What the agent itself refuses is {"error", "code"}. Over TLS, who shows this site's own
 * certificate may do everything; peers may read, ask for the steps of replicas, and for an "operation" (its id)
 * demote and promote without further arguments; no more.
 */
#ifndef AGENT_API_H
#define AGENT_API_H

#include "agent_config.h"
#include "json.h"
#include "loop.h"
#include "operation.h"
#include "supervise.h"

#define API_VERSION "0.1.0"

enum api_what {
	API_HEALTH,
	API_READY,
	API_VOLUMES,
	API_STATUS,
	API_VOLUME,
	API_VERB,
	API_METRICS,
	API_OPERATIONS,
	API_OPERATION,
	API_BEGIN,
	API_CANCEL,
	API_RELOAD,
	API_UPGRADE,
	API_UPGRADE_SHOW,
	API_CREATE,
	API_DELETE,
	API_DRAFT,
	API_JOIN,
	API_REMOVE,
};

struct api_request {
	enum api_what what;
	char volume[VOLUME_NAME_MAX + 1];
	char operation[OPERATION_ID_MAX + 1]; /* of API_OPERATION and API_CANCEL */
	/* Of a verb: the daemon's whole request, "verb" included; of what is POSTed else: the body, an object.
	 * The caller's. */
	struct json *args;
};

/* Foreign bytes into a request. 0; or HTTP's status of the refusal with a message. */
unsigned api_decode(const char *method, const char *path, const char *body, size_t len,
	struct api_request *ret_r, struct err *e);
/* HTTP's status for a daemon's code. */
unsigned api_http_status(int code);

/* True for what blocks, and is done by a task. */
bool api_is_task(enum api_what what);
/* May another site's agent ask for it? A verb: only what an operation there needs. */
bool api_is_for_peers(const struct api_request *r);

struct api;

/* Serves what server.h serves; borrows all. `reload` reads the configuration again: 0, or -errno with why. */
int api_new(struct loop *l, const struct agent_config *c, struct supervisor *s,
	int (*reload)(void *ctx, struct err *e), void *ctx, struct api **ret_api, struct err *e);
/* The configuration has changed. */
void api_reconfigured(struct api *a);
void api_free(struct api *a);

#endif

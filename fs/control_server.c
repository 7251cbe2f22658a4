/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon's end of the control socket, on the commit thread: status is answered at once, role
 * changes go to the core as an operator's word and are answered when the core does.
 *
 * Failure modes: an unknown verb or a wrong argument is -EINVAL with what would be right; more open
 * requests than the table holds is -EBUSY. The answer to a promotion waits until the mount stands.
 */
#include "pull.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "log.h"
#include "resync.h"

#define RETURN_NS (10 * NS_PER_S) /* for a peer that starts again in place */

/* --- an operator's word --- */

static void operator_deliver(
	struct volume *v, struct control_request *r, enum operator_verb verb, bool again)
{
	struct core_event ev = {.type = EV_OPERATOR};
	unsigned slot = 0;

	while (slot < ARRAY_SIZE(v->requests) && v->requests[slot])
		slot++;
	if (slot == ARRAY_SIZE(v->requests) || v->stopping) {
		control_answer(r, -EBUSY, "too many requests are waiting; try again", NULL);
		return;
	}
	v->requests[slot] = r;
	v->request_again[slot] = again;
	v->request_ids[slot] = ++v->next_request;
	ev.op.id = v->next_request;
	ev.op.verb = verb;
	snprintf(ev.op.domain, sizeof(ev.op.domain), "%s", json_get_string(r->args, "domain", ""));
	if (json_get_bool(r->args, "yes", false))
		ev.op.flags |= OPERATOR_YES;
	if (json_get_bool(r->args, "force", false))
		ev.op.flags |= OPERATOR_FORCE;
	if (json_get_bool(r->args, "accept_data_loss", false))
		ev.op.flags |= OPERATOR_ACCEPT_DATA_LOSS;
	if (json_get_bool(r->args, "preview", false) || !strcmp(r->verb, CONTROL_PREVIEW) ||
		!strcmp(r->verb, CONTROL_PREVIEW_ACTIVATE))
		ev.op.flags |= OPERATOR_PREVIEW;
	log_info("operator: %s %s", r->verb, ev.op.domain);
	volume_step(v, &ev);
}

/* Taking over is refused while the active answers. A connection that stands is no answer: the host
 * behind it may have died this moment, and what is read only now may have been sent before. So the word waits until
 * there is a beat that was sent after it, or the connection is gone, or its time-out closed it. */
static bool active_unproven(struct volume *v, uint64_t since_ns)
{
	const struct record *r = core_record(v->core);
	int active = uuid_is_zero(&r->active) ? -1 : record_find(r, &r->active);
	struct core_peer_view p;

	if (active < 0 || active == (int)core_self(v->core))
		return false;
	core_peer_view(v->core, (unsigned)active, &p);
	return p.connected && p.last_alive_ns <= since_ns;
}

/* Whoever handed over a moment ago starts again in place, and was in the set: the word waits for it, for a
 * few seconds, instead of leaving it out. */
static bool peer_returns(struct volume *v)
{
	const struct record *r = core_record(v->core);
	uint64_t now = clock_mono_ns();

	if (!uuid_is_zero(&r->active))
		return false;
	for (unsigned i = 0; i < r->nreplicas; i++) {
		struct core_peer_view p;

		if (i == core_self(v->core) || !r->replicas[i].in_sync)
			continue;
		core_peer_view(v->core, i, &p);
		if (p.last_heard_ns && now - p.last_heard_ns < RETURN_NS &&
			(!p.connected || p.state == CORE_PEER_HELLO))
			return true;
	}
	return false;
}

static bool must_wait(struct volume *v, const struct probe *p)
{
	return active_unproven(v, p->since_ns) || (p->verb == OPERATOR_PROMOTE && peer_returns(v));
}

void control_probe_work(struct volume *v)
{
	for (unsigned i = 0; i < ARRAY_SIZE(v->probes); i++) {
		struct control_request *r = v->probes[i].request;

		if (!r || must_wait(v, &v->probes[i]))
			continue;
		v->probes[i].request = NULL;
		operator_deliver(v, r, v->probes[i].verb, v->probes[i].again);
	}
}

/* True when the word would make this replica active and it could not be mounted then: refused before
 * the record changes, as nobody would serve. */
static bool cannot_mount(struct volume *v, struct control_request *r, enum operator_verb verb)
{
	const struct record *rec = core_record(v->core);
	int active = uuid_is_zero(&rec->active) ? -1 : record_find(rec, &rec->active);
	const char *domain = json_get_string(r->args, "domain", "");
	struct err e = {0};
	char text[400];

	if (v->serving || v->serve_pending)
		return false;
	if (verb == OPERATOR_DEACTIVATE && (active < 0 || active == (int)core_self(v->core) ||
						   strcmp(rec->replicas[active].domain, domain)))
		return false;
	if (verb != OPERATOR_PROMOTE && verb != OPERATOR_DEACTIVATE)
		return false;
	if (!volume_check_mountpoint(v, &e) || e.code == -ENOTCONN)
		return false;
	snprintf(text, sizeof(text),
		"%s. Clear it, then type the command again; nothing was changed", e.msg);
	control_answer(r, e.code, text, NULL);
	return true;
}

static bool probe_add(struct volume *v, const struct probe *p)
{
	for (unsigned i = 0; i < ARRAY_SIZE(v->probes); i++) {
		if (v->probes[i].request)
			continue;
		v->probes[i] = *p;
		return true;
	}
	return false;
}

static void operator_say(struct volume *v, struct control_request *r, enum operator_verb verb)
{
	const char *domain = json_get_string(r->args, "domain", "");
	struct probe probe = {.request = r, .verb = verb, .since_ns = clock_mono_ns()};

	if (verb != OPERATOR_PROMOTE && verb != OPERATOR_DEMOTE &&
		!record_domain_known(core_record(v->core), domain)) {
		char text[256];

		snprintf(text, sizeof(text), "volume '%s' has no replica in domain '%.63s'",
			v->cfg->name, domain);
		control_answer(r, -ENOENT, text, NULL);
		return;
	}
	if (cannot_mount(v, r, verb))
		return;
	if ((verb == OPERATOR_PROMOTE || verb == OPERATOR_DEACTIVATE) && must_wait(v, &probe) &&
		probe_add(v, &probe))
		return;
	operator_deliver(v, r, verb, false);
}

struct control_request *control_take(struct volume *v, uint64_t id)
{
	for (unsigned i = 0; i < ARRAY_SIZE(v->requests); i++) {
		struct control_request *r = v->requests[i];

		if (!r || v->request_ids[i] != id)
			continue;
		v->requests[i] = NULL;
		return r;
	}
	return NULL;
}

static bool was_again(const struct volume *v, uint64_t id)
{
	for (unsigned i = 0; i < ARRAY_SIZE(v->requests); i++)
		if (v->requests[i] && v->request_ids[i] == id)
			return v->request_again[i];
	return false;
}

_Static_assert(CORE_ANSWER_SOON == CONTROL_SOON, "the core's answers are control's");

void control_answer_core(struct volume *v, uint64_t id, int code, const char *text)
{
	struct control_request *r;
	bool again;

	if (v->serve_pending && code == 0 && core_role(v->core) != CORE_FENCED &&
		v->nheld < ARRAY_SIZE(v->held)) {
		struct held_answer *h = &v->held[v->nheld++];

		h->id = id;
		h->code = code;
		snprintf(h->text, sizeof(h->text), "%s", text ? text : "");
		return;
	}
	again = was_again(v, id);
	r = control_take(v, id);
	if (!r)
		return;
	log_info("answer: %s", text ? text : "");
	if (!code && !strcmp(r->verb, "resize")) { /* the format level allows it now */
		control_resize_go(v, r);
		return;
	}
	/* Whoever has just handed over went away to start again while it was asked. */
	if (code == -ECONNRESET && !strcmp(r->verb, "promote") && !again &&
		uuid_is_zero(&core_record(v->core)->active) &&
		probe_add(v, &(struct probe){.request = r,
				     .verb = OPERATOR_PROMOTE,
				     .since_ns = clock_mono_ns(),
				     .again = true}))
		return;
	control_answer(r, code, text, NULL);
}

void control_handle(void *ctx, struct control_request *r)
{
	static const struct {
		const char *verb;
		enum operator_verb op;
	} verbs[] = {{"promote", OPERATOR_PROMOTE}, {"demote", OPERATOR_DEMOTE},
		{"deactivate", OPERATOR_DEACTIVATE}, {CONTROL_PREVIEW, OPERATOR_DEACTIVATE},
		{"activate", OPERATOR_ACTIVATE}, {CONTROL_PREVIEW_ACTIVATE, OPERATOR_ACTIVATE},
		{"resync", OPERATOR_RESYNC}};
	struct volume *v = ctx;
	char text[256];

	for (unsigned i = 0; i < ARRAY_SIZE(verbs); i++)
		if (!strcmp(r->verb, verbs[i].verb)) {
			operator_say(v, r, verbs[i].op);
			return;
		}
	if (!strcmp(r->verb, "resize")) {
		if (control_resize_wanted(v, r))
			operator_deliver(v, r, OPERATOR_RAISE, false);
	} else if (!strcmp(r->verb, "status")) {
		control_answer(r, 0, "", control_status(v));
	} else if (!strcmp(r->verb, "ping")) {
		control_answer(r, 0, "", NULL);
	} else if (!strcmp(r->verb, "checkpoint")) {
		v->checkpoint.wanted = v->serving;
		control_answer(r, v->serving ? 0 : -EINVAL,
			v->serving ? "a checkpoint begins" : "a standby makes its own checkpoints",
			NULL);
	} else {
		snprintf(text, sizeof(text),
			"unknown verb '%.60s'; is tandemctl newer than the daemon?", r->verb);
		control_answer(r, -EINVAL, text, NULL);
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rules. Pods and actions come one after the other, as they are written. What runs in the background is begun, and is
 * ended when the rule is through, also where the rule fails. A rule is begun anew by a leader that follows a killed
 * one: its commands must bear that.
 */
#include "kube_rule.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kube_exec.h"
#include "log.h"

#define BACKGROUND_MAX 64u

const struct kube_kind kind_rule = KUBE_KIND("tandemfs.dev", "v1alpha1", "Rule", "rules", true);
static const struct kube_kind kind_pod = KUBE_KIND("", "v1", "Pod", "pods", true);

struct background {
	char pod[KUBE_NAME_MAX + 1], container[64];
	long pid;
};

struct rule_run {
	struct kube_control *c;
	struct kube *k;
	const char *ns;
	unsigned n;
	struct background left[BACKGROUND_MAX];
};

static const char *name_of(const struct json *pod)
{
	return json_get_string(json_get(pod, "metadata"), "name", "");
}

/* Those with the labels that run, and are not on their way out. */
static int pods_of(struct rule_run *r, const struct json *labels, struct json *to, struct err *e)
{
	struct json *all = json_array();
	struct json_member m;
	int ret = kube_list(r->k, &kind_pod, r->ns, NULL, all, NULL, e);

	for (unsigned i = 0; i < json_length(all) && !ret; i++) {
		const struct json *pod = json_at(all, i);
		bool match =
			!strcmp(json_get_string(json_get(pod, "status"), "phase", ""), "Running") &&
			!json_path(pod, "metadata", "deletionTimestamp");

		for (bool ok = json_first(labels, &m); ok; ok = json_next(&m))
			match &= json_equal(json_path(pod, "metadata", "labels", m.key), m.value);
		if (match)
			json_append(to, json_copy(pod));
	}
	json_free(all);
	return ret;
}

static int run_in(struct rule_run *r, const struct json *action, const char *pod,
	const char *container, struct err *e)
{
	const char *command = json_get_string(action, "value", "");
	unsigned ms =
		(unsigned)MIN(MAX(json_get_int(action, "timeoutSeconds", 60), 1), 3600) * 1000;
	struct background *b = &r->left[r->n];
	int ret;

	worker_busy(r->c, ms);
	if (!json_get_bool(action, "background", false)) {
		ret = kube_exec(r->k, r->ns, pod, container, command, ms, e);
	} else if (r->n == BACKGROUND_MAX) {
		ret = err_set(
			e, -ENOSPC, "more than %u commands in the background", BACKGROUND_MAX);
	} else {
		ret = kube_exec_begin(r->k, r->ns, pod, container, command, ms, &b->pid, e);
		if (!ret) {
			snprintf(b->pod, sizeof(b->pod), "%s", pod);
			snprintf(b->container, sizeof(b->container), "%s", container);
			r->n++;
		}
	}
	if (!ret || ret == -ECANCELED)
		return ret;
	err_wrap(e, "pod '%s/%s': '%.40s'", r->ns, pod, command);
	if (!strcmp(json_get_string(action, "onError", "Fail"), "Continue")) {
		log_warn("rule: %s; going on", e->msg);
		return 0;
	}
	/* The time of a command is over: that is no cluster that is away, and waiting does not mend it. */
	e->code = ret == -ETIMEDOUT ? -ETIME : ret > 0 ? -EPROTO : ret;
	return e->code;
}

static int run_rule(
	struct rule_run *r, const struct json *rule, const struct json *pods, struct err *e)
{
	const char *container = json_get_string(rule, "container", "");
	const struct json *actions = json_get(rule, "actions");
	int ret = 0;

	for (unsigned i = 0; i < json_length(actions) && !ret; i++) {
		const struct json *action = json_at(actions, i);
		bool single = json_get_bool(action, "runInSinglePod", false);

		for (unsigned p = 0; p < json_length(pods) && !ret && (!p || !single); p++)
			ret = run_in(r, action, name_of(json_at(pods, p)), container, e);
	}
	return ret;
}

static void end_background(struct rule_run *r)
{
	while (r->n) {
		const struct background *b = &r->left[--r->n];
		struct err e = {0};

		if (kube_exec_end(r->k, r->ns, b->pod, b->container, b->pid, &e))
			log_warn("rule: pod '%s/%s': what runs in the background was not ended: %s",
				r->ns, b->pod, e.msg);
	}
}

/* The pods of each rule, all before anything is run: a list of lists. */
static int find_pods(
	struct rule_run *r, const struct json *rules, bool pre, struct json *to, struct err *e)
{
	int ret = 0;

	for (unsigned i = 0; i < json_length(rules) && !ret; i++) {
		struct json *pods = json_array();

		ret = pods_of(r, json_get(json_at(rules, i), "podSelector"), pods, e);
		if (!ret && !pre && !json_length(pods))
			ret = err_set(e, -EAGAIN,
				"namespace '%s': no pod runs yet that the rule is for", r->ns);
		json_append(to, pods);
	}
	return ret;
}

int rules_run(struct kube_control *c, struct kube *where, const char *ns, const char *pods_ns,
	const char *rule, bool pre, struct err *e)
{
	struct rule_run r = {.c = c, .k = where ? where : c->kube, .ns = pods_ns};
	struct json *obj = NULL, *pods = json_array();
	const struct json *rules;
	int ret = kube_get(c->kube, &kind_rule, ns, rule, &obj, e);

	rules = json_get(obj, "rules");
	if (!ret)
		ret = find_pods(&r, rules, pre, pods, e);
	for (unsigned i = 0; i < json_length(rules) && !ret; i++)
		ret = run_rule(&r, json_at(rules, i), json_at(pods, i), e);
	end_background(&r);
	json_free(pods);
	json_free(obj);
	return ret ? err_wrap(e, "Rule '%s'", rule) : 0;
}

/* --- what is said of it --- */

static int check_actions(
	const struct json *actions, unsigned i, unsigned *background, struct err *e)
{
	if (!json_length(actions))
		return err_set(e, -EINVAL, "rules[%u].actions: there is nothing to do", i);
	for (unsigned n = 0; n < json_length(actions); n++) {
		const struct json *a = json_at(actions, n);
		const char *type = json_get_string(a, "type", ""),
			   *value = json_get_string(a, "value", "");

		if (strcmp(type, "command") != 0)
			return err_set(e, -EINVAL,
				"rules[%u].actions[%u].type: '%.40s' is unknown: there is command",
				i, n, type);
		if (!value[strspn(value, " \t\n")])
			return err_set(e, -EINVAL,
				"rules[%u].actions[%u].value: there is no command", i, n);
		*background += json_get_bool(a, "background", false);
	}
	return 0;
}

int rule_check(const struct json *rule, struct err *e)
{
	const struct json *rules = json_get(rule, "rules");
	unsigned background = 0;
	struct json_member m;
	int ret = json_length(rules) ? 0 : err_set(e, -EINVAL, "rules: there are none");

	for (unsigned i = 0; i < json_length(rules) && !ret; i++) {
		const struct json *r = json_at(rules, i);

		if (!json_first(json_get(r, "podSelector"), &m))
			ret = err_set(e, -EINVAL, "rules[%u].podSelector: there are no labels", i);
		else
			ret = check_actions(json_get(r, "actions"), i, &background, e);
	}
	if (!ret && background > BACKGROUND_MAX)
		ret = err_set(e, -EINVAL,
			"rules: %u commands in the background, and at most %u run", background,
			BACKGROUND_MAX);
	return ret;
}

void rules_look(struct kube_control *c, const struct json *rules)
{
	for (unsigned i = 0; i < json_length(rules) && lease_hold(c); i++) {
		struct err e = {0};
		int ret = rule_check(json_at(rules, i), &e);

		valid_note(c, &kind_rule, json_at(rules, i), ret, e.msg);
	}
}

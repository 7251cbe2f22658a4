/* SPDX-License-Identifier: Apache-2.0 */
/* The way of a claim to another cluster that is away. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "kube_provision.h"

static struct agent_config config;
static struct kube_control control;
static struct provision_look look;
static struct kube *there;
static struct err away;

static struct json *parse(const char *text)
{
	struct json *j = NULL;
	struct err e = {0};

	cr_assert(eq(int, json_parse(text, strlen(text), &j, &e), 0), "%s", e.msg);
	return j;
}

static struct kube *nobody(const char *what)
{
	struct kube_access access = {.server = "http://127.0.0.1:1"};

	return kube_new(what, &access, NULL);
}

static void begin(void)
{
	snprintf(config.kube_namespace, sizeof(config.kube_namespace), "tandemfs");
	control.config = &config;
	control.kube = nobody("this cluster");
	there = nobody("the other cluster");
	look = (struct provision_look){.c = &control, .open = &there, .away = &away};
	look.pairs = parse("[{\"metadata\":{\"namespace\":\"n\",\"name\":\"p\"}}]");
}

static void end(void)
{
	json_free(look.pairs);
	kube_free(there);
	kube_free(control.kube);
}
TestSuite(provision_pair, .init = begin, .fini = end);

static struct note *sent(const char *uid)
{
	struct json *pv = parse("{\"kind\":\"PersistentVolume\",\"metadata\":{\"name\":\"v\"},"
				"\"spec\":{\"claimRef\":{}}}"),
		    *claim =
			    parse("{\"kind\":\"PersistentVolumeClaim\",\"metadata\":{\"namespace\":"
				  "\"n\",\"name\":\"c\"},\"spec\":{\"volumeName\":\"v\"}}");
	struct note *n;

	json_set_string(json_get(claim, "metadata"), "uid", uid);
	standby_send(&look, pv, claim);
	n = provision_note(claim);
	json_free(pv);
	json_free(claim);
	return n;
}

Test(provision_pair, a_cluster_that_is_away_is_asked_for_one_claim_and_not_for_all)
{
	const struct note *n = sent("1");

	cr_assert(eq(int, away.code, -ECONNREFUSED), "%s", away.msg);
	cr_assert(eq(uint, n->send_failures, 1));
	away.code = -ETIMEDOUT; /* who asks again sees that it refuses */
	n = sent("2");
	cr_assert(eq(int, away.code, -ETIMEDOUT), "it was asked once more");
	cr_assert(eq(uint, n->send_failures, 1), "it is a failure of this claim, too");
	cr_assert(gt(u64, n->send_next_ns, clock_mono_ns()));
}

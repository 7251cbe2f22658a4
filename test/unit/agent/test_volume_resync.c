/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a fork by a Volume object: nothing is given up but what the object names, and that once. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "volume_resync.h"

#define SEEN "\"fromDomain\":\"b\",\"id\":\"00ff-10-20\","
#define FORK                                                                                       \
	"\"role\":\"active\",\"epoch_id\":\"00ff\",\"peers\":[{\"domain\":\"b\",\"state\":"        \
	"\"fork\"}]"
#define LATER                                                                                      \
	"\"role\":\"standby\",\"epoch_id\":\"abcd\",\"peers\":[{\"domain\":\"b\",\"state\":\"in-"  \
	"sync\"}]"
/* Another fork. */
#define AGAIN                                                                                      \
	"\"role\":\"active\",\"epoch_id\":\"1234\",\"peers\":[{\"domain\":\"b\",\"state\":"        \
	"\"fork\"}]"

static struct json *of(const char *text)
{
	struct json *j = NULL;
	struct err e = {0};

	cr_assert_eq(json_parse(text, strlen(text), &j, &e), 0, "%s: %s", text, e.msg);
	return j;
}

/* spec.resync, status.resync (NULL: none), and the node's words. */
static enum volume_resync_step step(const char *spec, const char *status, const char *node)
{
	char text[1200];
	struct json *obj, *entry;
	enum volume_resync_step s;

	snprintf(text, sizeof(text),
		"{\"metadata\":{\"generation\":4},\"spec\":{\"size\":1%s%s},\"status\":{\"phase\":"
		"\"x\"%s%s}}",
		spec ? ",\"resync\":" : "", spec ? spec : "", status ? ",\"resync\":" : "",
		status ? status : "");
	obj = of(text);
	snprintf(text, sizeof(text), "{\"volume\":\"db\",\"status\":{%s}}", node);
	entry = of(text);
	s = volume_resync_decide(obj, entry);
	json_free(obj);
	json_free(entry);
	return s;
}

#define ASKED "{\"fromDomain\":\"b\"}"
#define CONFIRMED "{\"fromDomain\":\"b\",\"confirm\":\"00ff-10-20\"}"
#define STATE(s) "{" SEEN "\"state\":\"" s "\",\"observedGeneration\":4}"

Test(volume_resync, what_would_be_given_up_is_shown_before_anything_is)
{
	cr_assert_eq(step(NULL, NULL, FORK), VOLUME_RESYNC_NONE);
	cr_assert_eq(step(ASKED, NULL, FORK), VOLUME_RESYNC_PREVIEW);
	cr_assert_eq(step(CONFIRMED, NULL, FORK), VOLUME_RESYNC_PREVIEW);
	cr_assert_eq(step(ASKED, STATE("Previewed"), FORK), VOLUME_RESYNC_NONE);
	cr_assert_eq(step(CONFIRMED, STATE("Previewed"), FORK), VOLUME_RESYNC_RUN);
	cr_assert_eq(step(NULL, STATE("Previewed"), FORK), VOLUME_RESYNC_FORGET);
	cr_assert_eq(step(ASKED, NULL, LATER), VOLUME_RESYNC_NO_FORK);
}

Test(volume_resync, only_the_id_that_is_there_confirms)
{
	cr_assert_eq(
		step("{\"fromDomain\":\"b\",\"confirm\":\"00ff-10-19\"}", STATE("Previewed"), FORK),
		VOLUME_RESYNC_UNCONFIRMED);
	cr_assert_eq(step("{\"fromDomain\":\"b\",\"confirm\":\"yes\"}", STATE("Previewed"), FORK),
		VOLUME_RESYNC_UNCONFIRMED);
	/* What was seen was about another side. */
	cr_assert_eq(
		step("{\"fromDomain\":\"c\",\"confirm\":\"00ff-10-20\"}", STATE("Previewed"),
			"\"epoch_id\":\"00ff\",\"peers\":[{\"domain\":\"c\",\"state\":\"fork\"}]"),
		VOLUME_RESYNC_PREVIEW);
}

Test(volume_resync, an_old_manifest_gives_nothing_up_again)
{
	cr_assert_eq(step(CONFIRMED, STATE("Done"), LATER), VOLUME_RESYNC_NONE);
	cr_assert_eq(step(CONFIRMED, STATE("Done"), AGAIN), VOLUME_RESYNC_NONE);
	cr_assert_eq(step(CONFIRMED, NULL, AGAIN), VOLUME_RESYNC_PREVIEW);
	cr_assert_eq(step(CONFIRMED, STATE("Previewed"), AGAIN), VOLUME_RESYNC_PREVIEW);
	cr_assert_eq(step(CONFIRMED,
			     "{\"fromDomain\":\"b\",\"id\":\"1234-30-40\",\"state\":\"Previewed\"}",
			     AGAIN),
		VOLUME_RESYNC_UNCONFIRMED);
	/* Asked for anew, there is something to look at. */
	cr_assert_eq(step(ASKED, STATE("Done"), AGAIN), VOLUME_RESYNC_PREVIEW);
}

Test(volume_resync, an_interruption_is_looked_into_before_anything_is_said_again)
{
	cr_assert_eq(step(CONFIRMED, STATE("Running"), FORK), VOLUME_RESYNC_RUN);
	cr_assert_eq(step(CONFIRMED, STATE("Running"), LATER), VOLUME_RESYNC_DONE);
	cr_assert_eq(
		step(CONFIRMED, STATE("Running"), "\"role\":\"recovering\""), VOLUME_RESYNC_NONE);
	/* The other side is not reached: that is no end. */
	cr_assert_eq(step(CONFIRMED, STATE("Running"),
			     "\"epoch_id\":\"00ff\",\"peers\":[{\"domain\":\"b\",\"state\":"
			     "\"disconnected\"}]"),
		VOLUME_RESYNC_NO_FORK);
}

Test(volume_resync, a_refusal_stands_until_the_object_is_changed)
{
	cr_assert_eq(step(CONFIRMED, STATE("Refused"), FORK), VOLUME_RESYNC_NONE);
	cr_assert_eq(
		step(CONFIRMED, "{" SEEN "\"state\":\"Refused\",\"observedGeneration\":3}", FORK),
		VOLUME_RESYNC_RUN);
}

Test(volume_resync, the_status_names_what_would_be_given_up)
{
	struct json *entry = of("{\"status\":{" FORK "}}"),
		    *answer = of("{\"code\":0,\"since\":10,\"end\":20,\"entries\":10,\"bytes\":5,"
				 "\"complete\":true,\"files_total\":70,\"files\":[{\"path\":\"/x\","
				 "\"what\":\"new\",\"bytes\":5}]}"),
		    *want = of(
			    "{\"fromDomain\":\"b\",\"id\":\"00ff-10-20\",\"state\":\"Previewed\","
			    "\"timestamp\":\"t\",\"message\":\"m\",\"entries\":10,\"bytes\":5,"
			    "\"complete\":true,\"filesTotal\":70,\"files\":[{\"path\":\"/x\","
			    "\"what\":\"new\",\"bytes\":5}]}"),
		    *got = volume_resync_status(entry, "b", answer, "m", "t");

	cr_assert(json_equal(got, want), "%s", json_text(got, true));
	json_free(entry);
	json_free(answer);
	json_free(want);
	json_free(got);
}

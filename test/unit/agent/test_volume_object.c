/* SPDX-License-Identifier: Apache-2.0 */
/* What becomes of a Volume object and its volume, and what the object says. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "volume_object.h"

static struct json *of(const char *text)
{
	struct json *j = NULL;
	struct err e = {0};

	cr_assert_eq(json_parse(text, strlen(text), &j, &e), 0, "%s", e.msg);
	return j;
}

static enum volume_action what(struct volume_seen s)
{
	return volume_decide(&s);
}

Test(volume_object, a_volume_has_a_mirror_and_no_longer_than_it_lives)
{
	cr_assert_eq(what((struct volume_seen){.all = true}), VOLUME_NONE);
	cr_assert_eq(what((struct volume_seen){.volume = true}), VOLUME_MIRROR);
	cr_assert_eq(what((struct volume_seen){.object = true, .ours = true, .volume = true}),
		VOLUME_TELL);
	cr_assert_eq(what((struct volume_seen){.object = true, .ours = true, .all = true}),
		VOLUME_FORGET);
	/* A node is away: its volumes are not gone. */
	cr_assert_eq(what((struct volume_seen){.object = true, .ours = true}), VOLUME_NONE);
}

Test(volume_object, what_somebody_wrote_is_made_once)
{
	struct volume_seen s = {.object = true, .all = true};

	cr_assert_eq(what(s), VOLUME_GUARD);
	s.guarded = true;
	cr_assert_eq(what(s), VOLUME_MAKE);
	s.all = false;
	cr_assert_eq(what(s), VOLUME_NONE);
	s.volume = true;
	cr_assert_eq(what(s), VOLUME_TELL);
	s.volume = false;
	s.all = s.known = true;
	cr_assert_eq(what(s), VOLUME_LOST);
}

Test(volume_object, deleting_removes_by_policy_and_has_a_way_out)
{
	struct volume_seen s = {
		.object = true, .deleting = true, .guarded = true, .volume = true, .removes = true};

	cr_assert_eq(what(s), VOLUME_REMOVE);
	s.volume = false;
	cr_assert_eq(what(s), VOLUME_NONE); /* a node is away that may have it */
	s.forced = true;
	cr_assert_eq(what(s), VOLUME_RELEASE);
	s.forced = false;
	s.all = true;
	cr_assert_eq(what(s), VOLUME_RELEASE);
	s.removes = false;
	s.volume = true;
	cr_assert_eq(what(s), VOLUME_RELEASE);
	s.guarded = false;
	cr_assert_eq(what(s), VOLUME_NONE);
}

Test(volume_object, what_is_active_at_another_site_is_not_removed_from_here)
{
	struct volume_seen s = {.object = true,
		.deleting = true,
		.guarded = true,
		.volume = true,
		.removes = true,
		.elsewhere = true};

	cr_assert_eq(what(s), VOLUME_ELSEWHERE);
	s.forced = true;
	cr_assert_eq(what(s), VOLUME_RELEASE);
	s.forced = s.removes = false;
	cr_assert_eq(what(s), VOLUME_RELEASE);
}

Test(volume_object, data_is_not_removed_because_the_kind_goes)
{
	struct volume_seen s = {.object = true,
		.deleting = true,
		.guarded = true,
		.volume = true,
		.removes = true,
		.kind_goes = true};

	cr_assert_eq(what(s), VOLUME_RELEASE);
	s.volume = false;
	cr_assert_eq(what(s), VOLUME_RELEASE);
}

Test(volume_object, for_a_site_that_is_gone_for_ever_the_replica_here_goes_alone)
{
	struct volume_seen s = {.object = true,
		.deleting = true,
		.guarded = true,
		.volume = true,
		.removes = true,
		.local = true};

	cr_assert_eq(what(s), VOLUME_REMOVE_LOCAL);
	s.elsewhere = true;
	cr_assert_eq(what(s), VOLUME_REMOVE_LOCAL);
	/* Whatever keeps the data is stronger. */
	s.forced = true;
	cr_assert_eq(what(s), VOLUME_RELEASE);
	s.forced = false;
	s.kind_goes = true;
	cr_assert_eq(what(s), VOLUME_RELEASE);
	s.kind_goes = s.removes = false;
	cr_assert_eq(what(s), VOLUME_RELEASE);
	s.removes = true;
	s.deleting = false;
	cr_assert_eq(what(s), VOLUME_TELL, "it is a word about a deletion");
}

Test(volume_object, the_way_out_is_told_where_the_other_site_is_silent)
{
	cr_assert(volume_peer_is_silent(-ECONNREFUSED));
	cr_assert(volume_peer_is_silent(-ETIMEDOUT));
	cr_assert(volume_peer_is_silent(-ENOTCONN));
	cr_assert_not(volume_peer_is_silent(-EPERM)); /* it is active there */
	cr_assert_not(volume_peer_is_silent(-EBUSY));
	cr_assert_not(volume_peer_is_silent(-EIO)); /* this site's own agent */
}

Test(volume_object, quantities)
{
	static const struct {
		const char *text;
		int64_t bytes;
	} all[] = {
		{"{\"size\":\"10Gi\"}", 10ll << 30},
		{"{\"size\":\"1M\"}", 1 << 20},
		{"{\"size\":\"1G\"}", 954ll << 20},
		{"{\"size\":1048577}", 2 << 20},
		{"{\"size\":\"64k\"}", 1 << 20},
		{"{\"size\":\"0\"}", 0},
		{"{\"size\":\"x\"}", 0},
		{"{\"size\":\"1Z\"}", 0},
		{"{\"size\":\"1GB\"}", 0},
		{"{\"size\":\"-1Gi\"}", 0},
		{"{\"size\":\"9223372036854775807Pi\"}", 0},
		{"{\"size\":9223372036854775807}", 0},
		{"{}", 0},
	};

	for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		struct json *j = of(all[i].text);

		cr_assert_eq(volume_quantity(j, "size"), all[i].bytes, "%s", all[i].text);
		json_free(j);
	}
}

Test(volume_object, the_request_to_the_agent)
{
	struct json *spec = of("{\"size\":\"1Gi\",\"ack\":\"fsync\",\"uid\":999,\"gid\":7,\"mode\":"
			       "\"0750\",\"replicas\":[{\"domain\":\"a\"},{\"domain\":\"b\"}]}");
	struct json *body = volume_request(spec, "db", "a");

	cr_assert_str_eq(json_get_string(body, "volume", ""), "db");
	cr_assert_str_eq(json_get_string(body, "owner", ""), "999:7");
	cr_assert_str_eq(json_get_string(body, "mode", ""), "0750");
	cr_assert_str_eq(json_get_string(body, "ack", ""), "fsync");
	cr_assert_str_eq(json_get_string(body, "domain", ""), "b");
	cr_assert_str_eq(json_get_string(body, "directory", ""), "data");
	cr_assert_eq(json_get_int(body, "size", 0), 1 << 30);
	cr_assert_null(json_get(body, "peers"));
	json_free(body);
	json_free(spec);
}

Test(volume_object, the_node_of_the_other_domain_is_asked_for_where_it_is_named)
{
	struct json *spec = of("{\"size\":\"1Gi\",\"replicas\":[{\"domain\":\"a\",\"node\":\"a1\"},"
			       "{\"domain\":\"b\",\"node\":\"b2\"}]}");
	struct json *body = volume_request(spec, "db", "a");
	const struct json *peers = json_get(body, "peers");

	cr_assert_null(json_get(body, "domain"));
	cr_assert_str_eq(json_get_string(json_get(peers, "b"), "node", ""), "b2");
	cr_assert_null(json_get(peers, "a"), "the own one is where it is asked");
	json_free(body);
	json_free(spec);
}

Test(volume_object, the_status_says_what_is_wrong_and_the_next_command)
{
	struct json *status = json_object();
	struct json *entry =
		of("{\"volume\":\"db\",\"status\":{\"uuid\":\"u\",\"domain\":\"a\",\"role\":"
		   "\"active\",\"active_domain\":\"a\",\"in_sync\":[\"a\"],\"epoch\":3,\"mount\":"
		   "\"/m/db\",\"mounted\":true,\"trouble\":\"b is away\",\"next\":\"do "
		   "this\",\"space\":{\"size\":"
		   "1073741824,\"used\":5},\"peers\":[{\"domain\":\"b\",\"node\":\"b2\",\"state\":"
		   "\"down\"}]}}");
	struct json *again, *down = of("{\"volume\":\"db\",\"status\":null,\"supervision\":{"
				       "\"reason\":\"no such disk\"}}");

	volume_status(status, entry, "n1");
	cr_assert_str_eq(json_get_string(status, "phase", ""), "Degraded");
	cr_assert_str_eq(json_get_string(status, "inSync", ""), "a");
	cr_assert_str_eq(json_get_string(status, "message", ""), "b is away; do this");
	cr_assert_eq(json_get_int(status, "usedBytes", 0), 10 << 20);
	cr_assert_eq(json_length(json_get(status, "replicas")), 2);
	cr_assert_str_eq(
		json_get_string(json_at(json_get(status, "replicas"), 1), "node", ""), "b2");
	again = json_copy(status);
	json_set_int(json_get(json_get(entry, "status"), "space"), "used", 4096);
	volume_status(status, entry, "n1");
	cr_assert(json_equal(status, again), "a write changes the object");
	json_set_bool(json_get(entry, "status"), "mounted", false);
	volume_status(status, entry, "n1");
	cr_assert_str_eq(json_get_string(status, "phase", ""), "Pending");
	volume_status(status, down, "n1");
	cr_assert_str_eq(json_get_string(status, "phase", ""), "Pending");
	cr_assert(strstr(json_get_string(status, "message", ""), "no such disk"), "%s",
		json_text(status, false));
	json_free(again);
	json_free(down);
	json_free(entry);
	json_free(status);
}

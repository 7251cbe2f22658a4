/* SPDX-License-Identifier: Apache-2.0 */
/* REST requests: what is decoded, and that every refusal has its status. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <string.h>

#include "api.h"

static struct api_request r;
static struct err e;

static unsigned decode(const char *method, const char *path, const char *body)
{
	r = (struct api_request){.what = API_HEALTH};
	e = (struct err){0};
	return api_decode(method, path, body, strlen(body), &r, &e);
}

Test(api, what_is_read_is_read_by_get)
{
	cr_assert(zero(uint, decode("GET", "/v1/status", "")));
	cr_assert(eq(int, (int)r.what, API_STATUS));
	cr_assert(zero(uint, decode("GET", "/v1/volumes", "")));
	cr_assert(eq(int, (int)r.what, API_VOLUMES));
	cr_assert(zero(uint, decode("HEAD", "/metrics", "")));
	cr_assert(eq(int, (int)r.what, API_METRICS));
	cr_assert(zero(uint, decode("GET", "/v1/health", "")));
	cr_assert(eq(int, (int)r.what, API_HEALTH));
	cr_assert(zero(uint, decode("GET", "/healthz", "")));
	cr_assert(eq(int, (int)r.what, API_HEALTH));
	cr_assert(zero(uint, decode("GET", "/readyz", "")));
	cr_assert(eq(int, (int)r.what, API_READY));
	cr_assert(zero(uint, decode("GET", "/v1/upgrade", "")));
	cr_assert(eq(int, (int)r.what, API_UPGRADE_SHOW));
	cr_assert(zero(uint, decode("GET", "/v1/volumes/my-db_1", "")));
	cr_assert(eq(int, (int)r.what, API_VOLUME));
	cr_assert(eq(str, r.volume, "my-db_1"));
}

Test(api, a_verb_becomes_the_daemons_request)
{
	cr_assert(zero(uint, decode("POST", "/v1/volumes/db/promote", "")));
	cr_assert(eq(int, (int)r.what, API_VERB));
	cr_assert(eq(str, (char *)json_text(r.args, false), "{\"verb\":\"promote\"}"));
	json_free(r.args);
	cr_assert(zero(uint, decode("POST", "/v1/volumes/db/deactivate",
				     "{\"domain\":\"site-a\",\"verb\":\"demote\"}")));
	cr_assert(eq(str, r.volume, "db"));
	cr_assert(eq(str, (char *)json_get_string(r.args, "verb", ""), "deactivate"));
	cr_assert(eq(str, (char *)json_get_string(r.args, "domain", ""), "site-a"));
	json_free(r.args);
}

Test(api, what_is_not_understood_is_refused_with_its_status)
{
	static const struct {
		unsigned status;
		const char *method, *path, *body;
	} bad[] = {
		{404, "GET", "/", ""},
		{404, "GET", "", ""},
		{404, "GET", "/v1/statuses", ""},
		{404, "GET", "/v1/volumes/", ""},
		{404, "GET", "/v1/volumes/..", ""},
		{404, "GET", "/v1/volumes/../status", ""},
		{404, "GET", "/v1/volumes/Db", ""},
		{404, "POST", "/v1/volumes//promote", ""},
		{404, "POST", "/v1/volumes/db/", ""},
		{404, "POST", "/v1/volumes/db/dance", ""},
		{404, "POST", "/v1/volumes/db/promote/now", ""},
		{404, "POST", "/v1/volumes/db/status", ""},
		{405, "DELETE", "/v1/volumes/db", ""},
		{405, "get", "/v1/status", ""},
		{405, "POST", "/v1/status", ""},
		{405, "POST", "/v1/volumes/db", ""},
		{405, "GET", "/v1/volumes/db/promote", ""},
		{400, "POST", "/v1/volumes/db/promote", "yes"},
		{400, "POST", "/v1/volumes/db/promote", "{\"yes\":true"},
		{400, "POST", "/v1/volumes/db/promote", "[1]"},
		{400, "POST", "/v1/volumes/db/promote", "7"},
		{400, "POST", "/v1/volumes/db/promote", "{} {}"},
	};
	char path[256];

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		cr_assert(eq(uint, decode(bad[i].method, bad[i].path, bad[i].body), bad[i].status),
			"%s %s", bad[i].method, bad[i].path);
		cr_assert(e.msg[0] && !r.args);
	}
	memset(path, 'a', sizeof(path));
	memcpy(path, "/v1/volumes/", 12);
	path[12 + VOLUME_NAME_MAX] = '\0';
	cr_assert(zero(uint, decode("GET", path, "")));
	path[12 + VOLUME_NAME_MAX] = 'a';
	path[12 + VOLUME_NAME_MAX + 1] = '\0';
	cr_assert(eq(uint, decode("GET", path, ""), 404));
}

Test(api, a_daemons_code_has_a_status)
{
	cr_assert(eq(uint, api_http_status(0), 200));
	cr_assert(eq(uint, api_http_status(1), 409)); /* a question */
	cr_assert(eq(uint, api_http_status(-EINVAL), 400));
	cr_assert(eq(uint, api_http_status(-ENOENT), 404));
	cr_assert(eq(uint, api_http_status(-EAGAIN), 503));
	cr_assert(eq(uint, api_http_status(-EPERM), 409));
}

Test(api, a_peer_may_ask_for_what_an_operation_needs_and_for_nothing_that_loses)
{
	static const struct {
		bool allowed;
		const char *path, *body;
	} asked[] = {
		{true, "/v1/volumes/db/demote", "{\"operation\":\"1\",\"timeout_ms\":1}"},
		{true, "/v1/volumes/db/promote", "{\"operation\":\"1\"}"},
		{false, "/v1/volumes/db/demote", "{}"},
		{false, "/v1/volumes/db/demote", "{\"operation\":\"1\",\"force\":true}"},
		{false, "/v1/volumes/db/promote", "{\"operation\":\"1\",\"yes\":true}"},
		{false, "/v1/volumes/db/deactivate", "{\"operation\":\"1\"}"},
		{false, "/v1/volumes/db/preview-activate", "{\"domain\":\"site-a\"}"},
		{false, "/v1/operations", "{\"kind\":\"failover\"}"},
		{false, "/v1/upgrade", "{}"},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(asked); i++) {
		cr_assert(zero(uint, decode("POST", asked[i].path, asked[i].body)));
		cr_assert(eq(int, api_is_for_peers(&r), asked[i].allowed), "%s", asked[i].body);
		json_free(r.args);
	}
	cr_assert(zero(uint, decode("GET", "/v1/operations/17-01", "")));
	cr_assert(eq(int, (int)r.what, API_OPERATION));
	cr_assert(eq(str, r.operation, "17-01"));
	cr_assert(eq(uint, decode("GET", "/v1/operations/../x", ""), 404));
}

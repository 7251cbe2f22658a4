/* SPDX-License-Identifier: Apache-2.0 */
/* What a new volume shall be, from JSON; a replica's drafts on disk; which requests do it. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api.h"
#include "durable.h"
#include "replica_make.h"
#include "replica_make_impl.h"

static struct replica_spec spec;
static struct err e;

static int parse(const char *volume, const char *text)
{
	struct json *j;
	int ret;

	cr_assert(zero(int, json_parse(text, strlen(text), &j, &e)));
	spec = (struct replica_spec){0};
	ret = replica_spec_parse(volume, j, &spec, &e);
	json_free(j);
	return ret;
}

Test(replica_spec, what_is_missing_has_its_default)
{
	cr_assert(zero(int, parse("db", "{\"size\":\"1G\"}")));
	cr_assert(eq(str, spec.volume, "db"));
	cr_assert(eq(str, spec.ack, "op"));
	cr_assert(eq(u64, spec.size, 1u << 30));
	cr_assert(zero(uint, spec.npeers));
	cr_assert(eq(int, spec.holder, REPLICA_HOLDER_KERNEL));
}

Test(replica_spec, everything_that_is_said_is_taken)
{
	cr_assert(zero(int,
		parse("db",
			"{\"size\":134217728,\"ack\":\"fsync\",\"holder\":true,\"mode\":\"0750\","
			"\"owner\":\"1:2\",\"directory\":\"data\",\"peers\":{\"site-b\":{"
			"\"address\":\"[fd00::1]:7410\",\"node\":\"b1\"}}"
			"}")));
	cr_assert(eq(str, spec.ack, "fsync"));
	cr_assert(eq(str, spec.mode, "0750"));
	cr_assert(eq(str, spec.owner, "1:2"));
	cr_assert(eq(str, spec.directory, "data"));
	cr_assert(eq(uint, spec.npeers, 1));
	cr_assert(eq(str, spec.peers[0].domain, "site-b"));
	cr_assert(eq(str, spec.peers[0].address, "[fd00::1]:7410"));
	cr_assert(eq(str, spec.peers[0].node, "b1"));
	cr_assert(eq(int, spec.holder, 1));
}

Test(replica_spec, a_mount_is_kept_where_the_kernel_can_unless_somebody_says_otherwise)
{
	struct json *j;

	cr_assert(zero(int, parse("db", "{\"size\":\"1G\"}")));
	cr_assert(replica_holder(&spec, "6.9.0-1-amd64"));
	cr_assert(replica_holder(&spec, "10.0"));
	cr_assert(not(replica_holder(&spec, "6.8.12")));
	cr_assert(not(replica_holder(&spec, "unknown")));
	j = replica_spec_json(&spec); /* the other site's kernel is another one */
	cr_assert(zero(ptr, (void *)json_get(j, "holder")));
	json_free(j);
	cr_assert(zero(int, parse("db", "{\"size\":\"1G\",\"holder\":true}")));
	cr_assert(replica_holder(&spec, "5.10"));
	cr_assert(zero(int, parse("db", "{\"size\":\"1G\",\"holder\":false}")));
	cr_assert(not(replica_holder(&spec, "6.9")));
	j = replica_spec_json(&spec);
	cr_assert(not(json_get_bool(j, "holder", true)));
	json_free(j);
}

Test(replica_spec, what_could_mean_something_in_a_file_is_refused)
{
	static const char *const bad[] = {
		"{}",
		"{\"size\":\"much\"}",
		"{\"size\":-1}",
		"{\"size\":1}",
		"{\"size\":\"1G\",\"ack\":\"async\"}",
		"{\"size\":\"1G\",\"mode\":\"0750\\nack = op\"}",
		"{\"size\":\"1G\",\"owner\":\"root\"}",
		"{\"size\":\"1G\",\"directory\":\"../etc\"}",
		"{\"size\":\"1G\",\"colour\":\"blue\"}",
		"{\"size\":\"1G\",\"peers\":[]}",
		"{\"size\":\"1G\",\"peers\":{\"site-b\":{\"node\":\"b1\\nx = y\"}}}",
		"{\"size\":\"1G\",\"peers\":{\"site-b]\\n\":{\"address\":\"h:1\"}}}",
		"{\"size\":\"1G\",\"peers\":{\"site-b\":{\"address\":\"h:1\\nx = y\"}}}",
		"{\"size\":\"1G\",\"peers\":{\"site-b\":{\"address\":\"h:0\"}}}",
		"{\"size\":\"1G\",\"peers\":{\"site-b\":{\"address\":\"nowhere\"}}}",
	};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		cr_assert(eq(int, parse("db", bad[i]), -EINVAL), "%s", bad[i]);
	cr_assert(eq(int, parse("../db", "{\"size\":\"1G\"}"), -EINVAL));
	cr_assert(eq(int, parse("", "{\"size\":\"1G\"}"), -EINVAL));
}

static struct agent_config config;
static char dir[] = "/tmp/replica-XXXXXX";

static void set_up(void)
{
	cr_assert(mkdtemp(dir) != NULL);
	snprintf(config.domain, sizeof(config.domain), "site-a");
	snprintf(config.volumes, sizeof(config.volumes), "%s", dir);
	snprintf(config.run_dir, sizeof(config.run_dir), "%s", dir);
	snprintf(config.replicas, sizeof(config.replicas), "%s/data", dir);
	snprintf(config.mounts, sizeof(config.mounts), "%s/mnt", dir);
	snprintf(config.replica_host, sizeof(config.replica_host), "127.0.0.1");
	snprintf(config.ca, sizeof(config.ca), "/ca.pem");
	snprintf(config.certificate, sizeof(config.certificate), "/x.pem");
	snprintf(config.key, sizeof(config.key), "/x.key");
	config.first_port = 39410;
	cr_assert(zero(int,
		parse("db", "{\"size\":\"1G\",\"peers\":{\"site-b\":{\"address\":\"h:1\"}}}")));
}

static void tear_down(void)
{
	replica_remove_tree(dir, &e);
}

TestSuite(replica, .init = set_up, .fini = tear_down);

Test(replica, a_draft_keeps_its_address_and_others_take_another)
{
	const atomic_bool no = false;
	char first[256], again[256], other[256];

	cr_assert(zero(int, replica_draft(&config, &spec, first, &e)), "%s", e.msg);
	cr_assert(zero(int, replica_draft(&config, &spec, again, &e)));
	cr_assert(eq(str, first, again));
	cr_assert(eq(int, replica_exists(&config, "db"), -ENOENT));
	snprintf(spec.volume, sizeof(spec.volume), "web");
	cr_assert(zero(int, replica_draft(&config, &spec, other, &e)));
	cr_assert(ne(str, first, other));
	cr_assert(zero(int, replica_publish(&config, "db", &e)));
	cr_assert(zero(int, replica_publish(&config, "db", &e)));
	cr_assert(zero(int, replica_exists(&config, "db")));
	snprintf(spec.volume, sizeof(spec.volume), "db");
	cr_assert(eq(int, replica_draft(&config, &spec, again, &e), -EEXIST));
	cr_assert(zero(int, replica_remove(&config, "db", &no, &e)), "%s", e.msg);
	cr_assert(zero(int, replica_remove(&config, "web", &no, &e)), "%s", e.msg);
	cr_assert(eq(int, replica_remove(&config, "db", &no, &e), -ENOENT));
}

static int judge(const char *status, bool asker_active)
{
	struct json *j = NULL;
	int ret;

	if (status)
		cr_assert(zero(int, json_parse(status, strlen(status), &j, &e)), "%s", e.msg);
	ret = replica_judge(j, "db", "site-a", asker_active, &e);
	json_free(j);
	return ret;
}

Test(replica, one_that_is_or_may_be_active_is_not_removed_for_another_site)
{
	const atomic_bool stop = true;

	cr_assert(eq(
		int, judge("{\"role\":\"active\",\"active_domain\":\"site-a\"}", false), -EPERM));
	cr_assert(e.msg[0] && strstr(e.msg, "active at 'site-a'"), "%s", e.msg);
	cr_assert(
		eq(int, judge("{\"role\":\"active\",\"active_domain\":\"site-a\"}", true), -EPERM));
	cr_assert(eq(
		int, judge("{\"role\":\"standby\",\"active_domain\":\"site-a\"}", true), -EPERM));
	cr_assert(eq(int, judge("{\"role\":\"standby\",\"active_domain\":\"site-b\"}", false), 0));
	cr_assert(eq(int, judge("{\"role\":\"standby\",\"active_domain\":null}", false), 0));
	cr_assert(eq(int, judge("{\"role\":\"recovering\"}", false), -EAGAIN));
	cr_assert(eq(int, judge("{\"role\":\"recovering\"}", true), 0));
	cr_assert(eq(int, judge(NULL, false), -EAGAIN));
	cr_assert(eq(int, judge(NULL, true), 0));
	/* A draft serves nobody; one that is published and whose daemon does not answer may. */
	cr_assert(zero(int, replica_draft(&config, &spec, (char[256]){0}, &e)), "%s", e.msg);
	cr_assert(zero(int, replica_may_go(&config, "db", false, &stop, &e)));
	cr_assert(zero(int, replica_publish(&config, "db", &e)));
	cr_assert(eq(int, replica_may_go(&config, "db", false, &stop, &e), -EAGAIN));
	cr_assert(zero(int, replica_may_go(&config, "db", true, &stop, &e)));
	cr_assert(not(replica_is_active(&config, "db")));
}

/* Whether the draft of "db" with this size has the line. */
static bool drafted(const char *size, const char *line)
{
	char address[256], text[4096] = "", path[300], json[100];
	FILE *f;

	snprintf(json, sizeof(json), "{\"size\":\"%s\",\"peers\":{\"site-b\":{}}}", size);
	cr_assert(zero(int, parse("db", json)));
	cr_assert(zero(int, replica_draft(&config, &spec, address, &e)), "%s", e.msg);
	snprintf(path, sizeof(path), "%s/db.conf.new", dir);
	f = fopen(path, "re");
	cr_assert(f && fread(text, 1, sizeof(text) - 1, f) > 0);
	fclose(f);
	return strstr(text, line) != NULL;
}

Test(replica, a_small_volume_keeps_a_small_ballast)
{
	cr_assert(drafted("64Mi", "\n[limits]\nmemtable = 8M\n"));
	cr_assert(drafted("512M", "\nmemtable = 32M\n"));
	cr_assert(not(drafted("1G", "memtable")));
}

struct drafting {
	pthread_t thread;
	struct replica_spec spec;
	char address[256];
	int ret;
};

static void *draft_main(void *arg)
{
	struct drafting *d = arg;
	struct err mine = {0};

	d->ret = replica_draft(&config, &d->spec, d->address, &mine);
	return NULL;
}

Test(replica, drafts_that_are_made_at_once_take_different_addresses)
{
	static struct drafting all[16];

	for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
		all[i].spec = spec;
		snprintf(all[i].spec.volume, sizeof(all[i].spec.volume), "v%u", i);
		cr_assert(zero(int, pthread_create(&all[i].thread, NULL, draft_main, &all[i])));
	}
	for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
		pthread_join(all[i].thread, NULL);
		cr_assert(zero(int, all[i].ret));
		for (unsigned k = 0; k < i; k++)
			cr_assert(ne(str, all[i].address, all[k].address));
	}
}

Test(replica, what_is_no_replica_is_never_removed)
{
	const atomic_bool no = false;
	char address[256], path[4400];

	snprintf(path, sizeof(path), "%s/db", config.replicas);
	cr_assert(zero(int, replica_draft(&config, &spec, address, &e)));
	cr_assert(zero(int, replica_publish(&config, "db", &e)));
	cr_assert(zero(int, durable_make_dir(path, 0700, &e)));
	cr_assert(eq(int, replica_remove(&config, "db", &no, &e), -EINVAL));
	cr_assert(zero(int, access(path, F_OK)));
	/* repeated with the mark there, as a crash before the renaming leaves it */
	snprintf(path, sizeof(path), "%s/db/volume", config.replicas);
	cr_assert(zero(int, durable_replace(path, "[volume]\n", 0600, &e)));
	cr_assert(zero(int, replica_remove(&config, "db", &no, &e)), "%s", e.msg);
	cr_assert(ne(int, access(path, F_OK), 0));
}

Test(replica, what_an_earlier_try_made_must_be_what_is_wanted)
{
	char address[256], path[4400], *descriptor = NULL;

	cr_assert(zero(int, replica_draft(&config, &spec, address, &e)));
	snprintf(path, sizeof(path), "%s/db", config.replicas);
	cr_assert(zero(int, durable_make_dir(path, 0700, &e)));
	snprintf(path, sizeof(path), "%s/db.desc.new", config.volumes);
	cr_assert(zero(int, durable_replace(path, "[volume]\nsize = 1073741824\n", 0600, &e)));
	cr_assert(replica_formatted(&config, "db"));
	cr_assert(zero(int, replica_format(&config, &spec, &descriptor, &e)), "%s", e.msg);
	free(descriptor);
	spec.size *= 2;
	descriptor = NULL;
	cr_assert(eq(int, replica_format(&config, &spec, &descriptor, &e), -EEXIST));
	free(descriptor);
}

Test(replica, a_directory_of_nobody_stops_a_draft)
{
	char address[256], path[4400];

	snprintf(path, sizeof(path), "%s/db", config.replicas);
	cr_assert(zero(int, durable_make_dir(path, 0700, &e)));
	cr_assert(eq(int, replica_draft(&config, &spec, address, &e), -EEXIST));
	cr_assert(zero(int, access(path, F_OK)));
}

static unsigned decode(const char *path, const char *body, struct api_request *ret)
{
	*ret = (struct api_request){.what = API_HEALTH};
	return api_decode("POST", path, body, strlen(body), ret, &e);
}

Test(replica_api, who_may_ask_for_what)
{
	struct api_request r;

	cr_assert(zero(uint, decode("/v1/volumes", "{\"volume\":\"db\",\"size\":\"1G\"}", &r)));
	cr_assert(eq(int, (int)r.what, API_CREATE));
	cr_assert(eq(str, r.volume, "db"));
	cr_assert(not(api_is_for_peers(&r)));
	cr_assert(api_is_task(r.what));
	json_free(r.args);
	cr_assert(eq(uint, decode("/v1/volumes", "{\"volume\":\"../db\"}", &r), 400));
	cr_assert(eq(uint, decode("/v1/volumes", "{}", &r), 400));
	cr_assert(zero(uint, decode("/v1/volumes/db/delete", "", &r)));
	cr_assert(eq(int, (int)r.what, API_DELETE));
	cr_assert(not(api_is_for_peers(&r)));
	json_free(r.args);
	cr_assert(zero(uint, decode("/v1/replicas/db/join", "{\"descriptor\":\"x\"}", &r)));
	cr_assert(eq(int, (int)r.what, API_JOIN));
	cr_assert(api_is_for_peers(&r));
	json_free(r.args);
	cr_assert(eq(uint, decode("/v1/replicas/db/dance", "", &r), 404));
	cr_assert(eq(uint, decode("/v1/replicas/db", "", &r), 404));
	cr_assert(eq(uint, decode("/v1/replicas//join", "", &r), 404));
}

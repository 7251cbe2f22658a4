/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration and the descriptor: what is taken, and that every refusal names its line. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "config.h"
#include "control.h"
#include "scratch.h"

TestSuite(config, .fini = scratch_remove);
TestSuite(descriptor, .fini = scratch_remove);

#define VOLUME "[volume]\nname = db\ndirectory = /var/lib/tandemfs/db\nmount = /srv/db\n"
#define SITE "[site]\ndomain = site-a\nlisten = 10.0.0.1:7400\n"
#define PEER "[peer site-b]\naddress = 10.1.0.1:7400\n"
#define PLAIN "[transport]\nmode = plain\n"

static struct config c; /* large */

static int load(const char *text, struct err *e)
{
	const char *path = scratch_path("v.conf");

	scratch_write(path, text);
	*e = (struct err){0};
	return config_load(path, &c, e);
}

/* `text` is refused, and the message is the file's name followed by `tail`. */
static void refuse(const char *text, const char *tail)
{
	struct err e;
	char message[1024];

	snprintf(message, sizeof(message), "%s:%s", scratch_path("v.conf"), tail);
	cr_assert(eq(int, load(text, &e), -EINVAL), "%s", text);
	cr_assert(zero(int, strncmp(e.msg, message, strlen(message))), "got  %s\nwant %s", e.msg,
		message);
}

Test(config, a_short_file_gets_the_defaults)
{
	struct err e;

	cr_assert(zero(int, load(VOLUME SITE PEER PLAIN, &e)), "%s", e.msg);
	cr_assert(eq(str, c.name, "db"));
	cr_assert(eq(str, c.directory, "/var/lib/tandemfs/db"));
	cr_assert(eq(str, c.mount, "/srv/db"));
	cr_assert(not(c.suid));
	cr_assert(not(c.dev));
	cr_assert(eq(uint, c.threads, 4));
	cr_assert(eq(str, c.domain, "site-a"));
	cr_assert(eq(uint, c.npeers, 1));
	cr_assert(eq(str, c.peers[0].domain, "site-b"));
	cr_assert(eq(str, c.peers[0].address, "10.1.0.1:7400"));
	cr_assert(not(c.tls));
	cr_assert(eq(u64, c.heartbeat_ns, 500 * NS_PER_MS));
	cr_assert(eq(u64, c.timeout_ns, 5 * NS_PER_S));
	cr_assert(eq(int, (int)c.io, URING_AUTO));
	cr_assert(eq(u64, c.ring_size, 0));
	cr_assert(eq(uint, c.flights, 1));
	cr_assert(eq(u64, c.poll_ns, UINT64_MAX));
	cr_assert(eq(u64, c.payload_memory, 256ull << 20));
	cr_assert(eq(u64, c.checkpoint_entries, 200000));
	cr_assert(eq(u64, c.catch_up_rate, 0));
	cr_assert(eq(str, c.run_dir, CONTROL_RUN_DIR));
}

Test(config, every_key_is_taken)
{
	struct err e;

	cr_assert(
		zero(int, load("[volume]\nname = a_1-b\ndirectory = /d//x/\nmount = /m\nack = op\n"
			       "suid = yes\ndev = on\nthreads = 9\n"
			       "[site]\ndomain = east\nlisten = [::1]:1\n"
			       "[peer west]\naddress = host-1.example:65535\n"
			       "[peer north]\naddress = [fe80::1]:7400\nnode = n-2\n"
			       "[transport]\nmode = plain\nheartbeat = 100ms\ntimeout = 2s\n"
			       "[journal]\nio = pwritev2\nsize = 64M\nflights = 8\npoll = 0ms\n"
			       "[limits]\npayload_memory = 16M\ncache = 8M\nmemtable = 32M\n"
			       "checkpoint_entries = 1000\ncatch_up_rate = 50M\n",
				  &e)),
		"%s", e.msg);
	cr_assert(eq(str, c.directory, "/d/x"));
	cr_assert(c.suid && c.dev);
	cr_assert(eq(uint, c.threads, 9));
	cr_assert(eq(uint, c.npeers, 2));
	cr_assert(eq(str, c.peers[1].domain, "north"));
	cr_assert(eq(str, c.peers[0].node, ""));
	cr_assert(eq(str, c.peers[1].node, "n-2"));
	cr_assert(eq(int, (int)c.io, URING_THREADS));
	cr_assert(eq(u64, c.ring_size, 64ull << 20));
	cr_assert(eq(uint, c.flights, 8));
	cr_assert(eq(u64, c.poll_ns, 0));
	cr_assert(eq(u64, c.cache, 8ull << 20));
	cr_assert(eq(u64, c.memtable, 32ull << 20));
	cr_assert(eq(u64, c.catch_up_rate, 50ull << 20));
}

Test(config, the_example_in_the_tree_differs_only_by_its_certificates)
{
	struct err e = {0};

	/* Run from the top of the tree, as make does. */
	if (access("fs/tandemfs.conf.example", R_OK) < 0)
		cr_skip_test("not run from the top of the tree");
	cr_assert(eq(int, config_load("fs/tandemfs.conf.example", &c, &e), -EINVAL));
	cr_assert(ne(ptr, strstr(e.msg, "ca: cannot read '/etc/tandemfs/ca.pem'"), NULL), "%s",
		e.msg);
}

Test(config, ack_async_is_refused_until_it_is_built)
{
	struct err e = {0};

	cr_assert(zero(int, load(VOLUME "ack = fsync\n" SITE PEER PLAIN, &e)), "%s", e.msg);
	cr_assert_eq(c.ack, CONFIG_ACK_FSYNC);
	refuse(VOLUME "ack = async\n" SITE PEER PLAIN, "5: ack: 'async' is not built yet");
	refuse(VOLUME "ack = never\n" SITE PEER PLAIN, "5: ack: 'never' is none of");
}

Test(config, wrong_values_are_named_with_their_line)
{
	refuse("[volume]\nname = Db\ndirectory = /d\nmount = /m\n" SITE PEER PLAIN,
		"2: name: 'Db' is no name");
	refuse("[volume]\nname = -db\ndirectory = /d\nmount = /m\n" SITE PEER PLAIN, "2: name:");
	refuse("[volume]\nname = a/b\ndirectory = /d\nmount = /m\n" SITE PEER PLAIN, "2: name:");
	refuse("[volume]\nname = db\ndirectory = d\nmount = /m\n" SITE PEER PLAIN,
		"3: directory: 'd' is no absolute path");
	refuse("[volume]\nname = db\ndirectory = /d/../e\nmount = /m\n" SITE PEER PLAIN,
		"3: directory: '/d/../e' has a '.' or '..' part");
	refuse("[volume]\nname = db\ndirectory = /d\nmount = /\n" SITE PEER PLAIN,
		"4: mount: must not be the root directory");
	refuse("[volume]\nname = db\ndirectory = /m/d\nmount = /m\n" SITE PEER PLAIN,
		"3: directory: the replica must not lie at or below its own mount point '/m'");
	refuse("[volume]\nname = db\ndirectory = /m\nmount = /m\n" SITE PEER PLAIN,
		"3: directory: the replica must not lie at or below");
	refuse("[volume]\nname = db\ndirectory = /d\nmount = /d/m\n" SITE PEER PLAIN,
		"4: mount: the mount point must not lie in the replica's directory '/d'");
	refuse(VOLUME "threads = 0\n" SITE PEER PLAIN, "5: threads: 0 is not between 1 and 64");
	refuse(VOLUME SITE PEER PLAIN "[journal]\nsize = 1M\n", "13: size: 1M is not between");
	refuse(VOLUME SITE PEER PLAIN "[journal]\nsize = 33554433\n",
		"13: size: is no multiple of 4096");
	refuse(VOLUME SITE PEER PLAIN "[journal]\nflights = 9\n", "13: flights:");
	refuse(VOLUME SITE PEER PLAIN "[journal]\npoll = 11ms\n", "13: poll:");
	refuse(VOLUME SITE PEER PLAIN "heartbeat = 4s\n", "12: heartbeat: the timeout must be");
	refuse(VOLUME "color = red\n" SITE PEER PLAIN, "5: unknown key 'color'");
	refuse(VOLUME SITE PLAIN, "10: section [peer] is missing");
	refuse(VOLUME SITE PEER PLAIN "[journal]\nio = auto\n[journal x]\nio = auto\n",
		"14: section [journal] is there already, in line 12");
}

Test(config, addresses_need_a_host_and_a_port)
{
	static const char *const bad[] = {"10.0.0.1", "10.0.0.1:", "10.0.0.1:x", "10.0.0.1:0",
		"10.0.0.1:65536", ":7400", "::1:7400", "[::1:7400", "[]:7400", "a b:1", "a/b:1"};
	char text[1024];

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		snprintf(text, sizeof(text), "%s[site]\ndomain = a\nlisten = %s\n%s%s", VOLUME,
			bad[i], PEER, PLAIN);
		refuse(text, "7: listen: '");
	}
}

Test(config, a_peer_is_another_domain_at_another_address)
{
	refuse(VOLUME SITE "[peer site-a]\naddress = 10.1.0.1:7400\n" PLAIN,
		"8: peer 'site-a' has this site's own domain");
	refuse(VOLUME SITE "[peer site-b]\naddress = 10.0.0.1:7400\n" PLAIN,
		"9: address: is this site's own listen address");
	refuse(VOLUME SITE "[peer site-b]\naddress = 10.1.0.1:7400\nnode = a/b\n" PLAIN,
		"10: node: 'a/b' is no node's name");
	refuse(VOLUME SITE "[peer]\naddress = 10.0.0.2:7400\n" PLAIN,
		"8: the other side's domain is missing");
}

Test(config, tls_needs_three_files_that_can_be_read)
{
	char text[4096];
	struct err e;

	refuse(VOLUME SITE PEER "[transport]\nmode = tls\n",
		"10: key 'ca' is missing in section [transport]");
	refuse(VOLUME SITE PEER "[transport]\nmode = tls\nca = /nonexistent/ca.pem\n",
		"12: ca: cannot read '/nonexistent/ca.pem': No such file or directory");
	refuse(VOLUME SITE PEER PLAIN "ca = /etc/ca.pem\n",
		"12: ca: has no meaning with mode = plain");
	scratch_write(scratch_path("pem"), "x");
	snprintf(text, sizeof(text),
		"%s[transport]\nmode = tls\nca = %s\ncertificate = %s\nkey = %s\n",
		VOLUME SITE PEER, scratch_path("pem"), scratch_path("pem"), scratch_path("pem"));
	cr_assert(zero(int, load(text, &e)), "%s", e.msg);
	cr_assert(c.tls);
	cr_assert(eq(str, c.key, (char *)scratch_path("pem")));
}

/* --- the descriptor --- */

static struct descriptor sample(void)
{
	struct descriptor d = {
		.name = "db",
		.cluster = uuid_new(),
		.volume = uuid_new(),
		.size = 64ull << 30,
		.ring_size = 256ull << 20,
		.time_ns = 1700000000123456789ull,
		.mode = 01770,
		.uid = 4294967294,
		.gid = 27,
		.directory = "data",
		.record_id = 0x00ff00ff12345678ull,
		.nreplicas = 2,
		.replicas = {{.domain = "site-a", .in_sync = true},
			{.domain = "site-b", .in_sync = true}},
	};

	d.replicas[0].uuid = uuid_new();
	d.replicas[1].uuid = uuid_new();
	return d;
}

Test(descriptor, what_is_stored_is_loaded)
{
	struct descriptor d = sample(), got;
	const char *path = scratch_path("db.volume");
	struct err e = {0};

	cr_assert(zero(int, descriptor_store(path, &d, &e)), "%s", e.msg);
	cr_assert(zero(int, descriptor_load(path, &got, &e)), "%s", e.msg);
	cr_assert(eq(str, got.name, "db"));
	cr_assert(uuid_equal(&got.cluster, &d.cluster));
	cr_assert(uuid_equal(&got.volume, &d.volume));
	cr_assert(eq(u64, got.size, d.size));
	cr_assert(eq(u64, got.ring_size, d.ring_size));
	cr_assert(eq(u64, got.time_ns, d.time_ns));
	cr_assert(eq(u32, got.mode, 01770));
	cr_assert(eq(u32, got.uid, 4294967294));
	cr_assert(eq(u32, got.gid, 27));
	cr_assert(eq(str, got.directory, "data"));
	cr_assert(eq(u64, got.record_id, d.record_id));
	cr_assert(eq(uint, got.nreplicas, 2));
	for (unsigned i = 0; i < 2; i++) {
		cr_assert(uuid_equal(&got.replicas[i].uuid, &d.replicas[i].uuid));
		cr_assert(eq(str, got.replicas[i].domain, d.replicas[i].domain));
	}
}

Test(descriptor, an_existing_file_is_not_overwritten)
{
	struct descriptor d = sample();
	const char *path = scratch_path("db.volume");
	struct stat st;
	struct err e = {0};

	scratch_write(path, "precious");
	cr_assert(eq(int, descriptor_store(path, &d, &e), -EEXIST));
	cr_assert(zero(int, stat(path, &st)));
	cr_assert(eq(long, (long)st.st_size, 8));
}

Test(descriptor, an_old_one_without_mode_and_owner_means_the_defaults)
{
	struct descriptor d = sample(), got;
	const char *path = scratch_path("db.volume");
	char text[4096], *line, *end;
	struct err e = {0};
	FILE *f;
	size_t n;

	cr_assert(zero(int, descriptor_store(path, &d, &e)), "%s", e.msg);
	f = fopen(path, "r");
	n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = '\0';
	line = strstr(text, "mode = ");
	end = strstr(text, "\n[replica site-a]");
	cr_assert(ne(ptr, line, NULL));
	cr_assert(ne(ptr, end, NULL));
	memmove(line, end, strlen(end) + 1);
	*strstr(text, "# checksum ") = '\0'; /* that came later as well */
	scratch_write(scratch_path("old"), text);
	cr_assert(zero(int, descriptor_load(scratch_path("old"), &got, &e)), "%s", e.msg);
	cr_assert(eq(u32, got.mode, 0755));
	cr_assert(eq(u32, got.uid, 0));
	cr_assert(eq(u32, got.gid, 0));
}

Test(descriptor, an_owner_is_two_numbers_and_a_mode_is_octal)
{
	static const char *const bad_owners[] = {
		"", "1", "root", "1:", ":1", "1:2x", "1:2:3", "-1:0", "1:4294967295", " 1:2"};
	static const char *const bad_modes[] = {"", "99", "77777", "0x1", "-1", "755 "};
	uint32_t mode = 5, uid = 5, gid = 5;

	for (unsigned i = 0; i < ARRAY_SIZE(bad_owners); i++)
		cr_assert(eq(int, descriptor_parse_owner(bad_owners[i], &uid, &gid), -EINVAL), "%s",
			bad_owners[i]);
	for (unsigned i = 0; i < ARRAY_SIZE(bad_modes); i++)
		cr_assert(eq(int, descriptor_parse_mode(bad_modes[i], &mode), -EINVAL), "%s",
			bad_modes[i]);
	cr_assert(uid == 5 && gid == 5 && mode == 5, "untouched on failure");
	cr_assert(zero(int, descriptor_parse_owner("999:0", &uid, &gid)));
	cr_assert(zero(int, descriptor_parse_mode("01777", &mode)));
	cr_assert(uid == 999 && gid == 0 && mode == 01777);
}

Test(descriptor, a_damaged_one_is_refused)
{
	static const char *const changes[][2] = {{"size = 68719476736", "size = 5"},
		{"version_id = 00ff", "version_id = ff"}, {"[replica site-b]", "[replica SITE]"},
		{"cluster = ", "cluster = x"}, {"mode = 1770", "mode = 1790"},
		{"owner = 4294967294:27", "owner = root"}, {"ring = 268435456", "ring = 1"},
		{"name = db", "name ="}};
	struct descriptor d = sample();
	const char *path = scratch_path("db.volume");
	char text[4096], changed[4200];
	struct err e = {0};
	FILE *f;
	size_t n;

	cr_assert(zero(int, descriptor_store(path, &d, &e)), "%s", e.msg);
	f = fopen(path, "r");
	n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = '\0';
	for (unsigned i = 0; i < ARRAY_SIZE(changes); i++) {
		struct descriptor got = {.nreplicas = 77};
		char *at = strstr(text, changes[i][0]);

		cr_assert(ne(ptr, at, NULL), "%s", changes[i][0]);
		snprintf(changed, sizeof(changed), "%.*s%s%s", (int)(at - text), text,
			changes[i][1], at + strlen(changes[i][0]));
		scratch_write(scratch_path("bad"), changed);
		cr_assert(eq(int, descriptor_load(scratch_path("bad"), &got, &e), -EINVAL), "%s",
			changes[i][1]);
		cr_assert(eq(uint, got.nreplicas, 77), "untouched on failure");
	}
}

Test(descriptor, each_byte_of_it_is_checked)
{
	struct descriptor d = sample(), got;
	const char *path = scratch_path("db.volume");
	char text[4096];
	struct err e = {0};
	FILE *f;
	size_t n;

	cr_assert(zero(int, descriptor_store(path, &d, &e)), "%s", e.msg);
	f = fopen(path, "r");
	n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = '\0';
	for (size_t at = 0; at < n; at++) {
		for (unsigned bit = 0; bit < 8; bit++) {
			text[at] ^= (char)(1 << bit);
			if (text[at]) { /* the file as a string */
				scratch_write(scratch_path("bad"), text);
				cr_assert(
					ne(int, descriptor_load(scratch_path("bad"), &got, &e), 0),
					"bit %u of byte %zu", bit, at);
			}
			text[at] ^= (char)(1 << bit);
		}
	}
	text[n - 1] = '\0';
	scratch_write(scratch_path("bad"), text);
	cr_assert(eq(int, descriptor_load(scratch_path("bad"), &got, &e), -EBADMSG));
}

Test(descriptor, its_record_has_all_in_sync_and_the_first_active)
{
	struct descriptor d = sample();
	struct record *r = calloc(1, sizeof(*r));

	descriptor_record(&d, r);
	cr_assert(eq(u64, r->version.number, 1));
	cr_assert(eq(u64, r->version.id, d.record_id));
	cr_assert(eq(u32, r->epoch.num, 0));
	cr_assert(eq(u32, r->format_level, RECORD_FORMAT_BIRTH));
	cr_assert(uuid_equal(&r->active, &d.replicas[0].uuid));
	cr_assert(r->replicas[0].in_sync && r->replicas[1].in_sync);
	cr_assert(eq(uint, r->ninactive, 0));
	free(r);
}

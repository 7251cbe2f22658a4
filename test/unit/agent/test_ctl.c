/* SPDX-License-Identifier: Apache-2.0 */
/* tandemctl against daemons made by hand: real sockets, the test's answers, output read back. */
#include "ctl_daemons.h"

TestSuite(ctl, .init = setup, .fini = fini, .timeout = 30);

/* ---- the command line ---- */

Test(ctl, a_wrong_command_line_is_status_2_with_the_usage)
{
	static const char *const lines[][6] = {
		{NULL},
		{"dance"},
		{"promote"},
		{"promote", "db", "web"},
		{"promote", "db", "--force"},
		{"demote", "db", "--accept-data-loss"},
		{"status", "--yes"},
		{"status", "-x"},
		{"status", "-yo"},
		{"status", "--accept"},
		{"status", "-o"},
		{"status", "-o", "xml"},
		{"status", "-w"},
		{"generate", "clusterpair"},
		{"generate", "clusterpair", "x"},
		{"generate", "pods", "x", "-n", "blue"},
		{"status", "-n", "blue"},
		{"get"},
		{"get", "pods"},
		{"get", "cds", "db"},
		{"status", "--timeout", "0"},
		{"status", "--timeout", "soon"},
		{"status", "--timeout=1e9"},
		{"status", "--timeout=nan"},
		{"status", "--run-dir"},
		{"status", "--run-dir="},
		{"deactivate", "clusterdomain"},
		{"deactivate", "migration"},
		{"activate", "migration", "-n", ""},
		{"perform", "dance"},
		{"perform", "failover", "-A"},
		{"perform", "failback", "--unplanned", "--yes"},
		{"activate", "migration", "web", "-n", "blue"},
		{"suspend", "migrationschedule"},
		{"suspend", "migrationschedule", "x", "-c", "y"},
		{"resume", "clusterpair", "x"},
		{"status", "-m", "x"},
		{"deactivate", "domain", "site-a"},
		{"deactivate", "clusterdomain", ""},
		{"deactivate", "clusterdomain", "site-a", "--yes=1"},
		{"resync", "db"},
		{"resync", "db", "--from"},
		{"resync", "db", "--from="},
		{"resync", "--from", "site-b"},
		{"resync", "db", "--from=site-b", "-ojson"},
		{"resync", "db", "--from=site-b", "--force"},
		{"promote", "db", "--from=site-b"},
		{"promote", "db", "--preview"},
		{"version", "now"},
		{"help", "dance"},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(lines); i++) {
		const char *const *w = lines[i];

		cr_assert_eq(run(w[0], w[1], w[2], w[3], w[4], NULL), CTL_USAGE, "line %u", i);
		assert_has(err_text, "usage: tandemctl");
		cr_assert_str_eq(out_text, "");
	}
}

Test(ctl, help_and_version_need_no_daemon)
{
	cr_assert_eq(run("help", NULL), CTL_OK);
	assert_has(out_text,
		"deactivate clusterdomain DOMAIN [--yes] [--accept-data-loss] [--dry-run]");
	cr_assert_eq(run("--help", NULL), CTL_OK);
	cr_assert_eq(run("-h", NULL), CTL_OK);
	cr_assert_eq(run("help", "promote", NULL), CTL_OK);
	assert_has(out_text, "usage: tandemctl promote VOLUME");
	cr_assert_eq(run("promote", "--help", NULL), CTL_OK);
	assert_has(out_text, "usage: tandemctl promote VOLUME");
	cr_assert_eq(run("version", NULL), CTL_OK);
	cr_assert_str_eq(out_text, "tandemctl " TANDEMCTL_VERSION "\n");
	cr_assert_eq(run("--version", NULL), CTL_OK);
	cr_assert_str_eq(out_text, "tandemctl " TANDEMCTL_VERSION "\n");
	cr_assert_eq(run("promote", "db", "--version", NULL), CTL_USAGE);
}

Test(ctl, without_a_daemon_it_says_where_it_looked)
{
	cr_assert_eq(run("status", NULL), CTL_FAILED);
	assert_has(err_text, "no volume is running here");
	assert_has(err_text, dir);
	cr_assert_eq(run("promote", "db", NULL), CTL_FAILED);
	assert_has(err_text, "volume 'db' is not running here");
	cr_assert_eq(run("status", "--run-dir", "/no/such/place", NULL), CTL_FAILED);
	assert_has(err_text, "/no/such/place");
}

Test(ctl, an_unknown_volume_is_answered_with_those_that_run)
{
	daemon_add("db", "{\"code\":0}", NULL);
	daemon_add("web", "{\"code\":0}", NULL);
	cr_assert_eq(run("promote", "dw", NULL), CTL_FAILED);
	assert_has(err_text, "volume 'dw' is not running here (running: db, web)");
	cr_assert_eq(daemons[0].requests + daemons[1].requests, 0);
}

/* ---- an operator's word ---- */

Test(ctl, deactivate_goes_to_every_volume_and_says_what_was_done)
{
	daemon_add("db", "{\"code\":0,\"text\":\"going on without site-b\"}", NULL);
	daemon_add("web", "{\"code\":0,\"text\":\"took over\"}", NULL);
	cr_assert_eq(run("deactivate", "clusterdomain", "site-b", NULL), CTL_OK);
	cr_assert_str_eq(daemons[0].last, "{\"verb\":\"deactivate\",\"domain\":\"site-b\"}");
	cr_assert_eq(daemons[1].requests, 1);
	assert_has(out_text, "db: going on without site-b (");
	assert_has(out_text, "web: took over (");
	assert_has(out_text, " ms)\n");
	assert_has(out_text, "2 volumes: 2 done, 0 failed, in ");
	cr_assert_str_eq(err_text, "");
}

Test(ctl, a_question_without_a_terminal_is_status_3_and_changes_nothing)
{
	daemon_add("db", "{\"code\":1,\"text\":\"site-a was last heard 3 s ago\"}",
		"{\"code\":0,\"text\":\"took over\"}");
	cr_assert_eq(run("deactivate", "clusterdomain", "site-a", NULL), CTL_NEEDS_YES);
	assert_has(err_text, "db: site-a was last heard 3 s ago");
	assert_has(err_text, "repeat with --yes");
	assert_has(out_text, "db: not changed");
	cr_assert_eq(daemons[0].requests, 1);
	cr_assert_eq(run("deactivate", "clusterdomain", "site-a", "--yes", NULL), CTL_OK);
	assert_has(out_text, "db: took over");
	assert_has(daemons[0].last, "\"yes\":true");
	cr_assert_eq(daemons[0].requests, 2);
}

Test(ctl, a_dry_run_says_what_would_be_asked_and_what_a_yes_would_do)
{
	daemon_add("db", "{\"code\":1,\"text\":\"site-a was last heard 3 s ago\"}",
		"{\"code\":0,\"text\":\"it would be promoted\"}");
	daemon_add("web", "{\"code\":0,\"text\":\"active here already\"}", NULL);
	daemon_add("zoo", "{\"code\":-2,\"text\":\"no replica there\"}", NULL);
	cr_assert_eq(
		run("deactivate", "clusterdomain", "site-a", "--dry-run", NULL), CTL_NEEDS_YES);
	assert_has(out_text,
		"db: would ask: site-a was last heard 3 s ago\n"
		"db: then it would be promoted\n"
		"web: active here already\n"
		"zoo: no replica there\n"
		"3 volumes: 1 can go, 1 would ask, 0 refused, 1 not concerned; nothing was "
		"changed\n");
	assert_has(daemons[0].last, "\"verb\":\"preview-deactivate\"");
	cr_assert_eq(daemons[0].requests, 2);
	cr_assert_eq(daemons[1].requests, 1);
	daemons[2].plain = "{\"code\":-1,\"text\":\"not in sync\"}";
	cr_assert_eq(run("deactivate", "clusterdomain", "site-a", "--dry-run", "--yes", NULL),
		CTL_FAILED);
	assert_has(out_text, "zoo: refused: not in sync\n3 volumes: 2 can go, 0 would ask, 1 ");
	cr_assert_eq(daemons[0].requests, 3);
}

Test(ctl, a_dry_run_of_activate_changes_nothing_and_says_what_it_would_do)
{
	daemon_add("db", "{\"code\":0,\"text\":\"by the journal\"}", NULL);
	daemon_add("web", "{\"code\":-22,\"text\":\"fork: decide\"}", NULL);
	daemon_add("zoo", "{\"code\":-2,\"text\":\"no replica there\"}", NULL);
	cr_assert_eq(run("activate", "clusterdomain", "site-a", "--dry-run", NULL), CTL_FAILED);
	assert_has(out_text,
		"db: by the journal\n"
		"web: refused: fork: decide\n"
		"zoo: no replica there\n"
		"3 volumes: 1 can go, 0 would ask, 1 refused, 1 not concerned; nothing "
		"was changed\n");
	for (unsigned i = 0; i < 3; i++) {
		assert_has(daemons[i].last, "\"verb\":\"preview-activate\"");
		cr_assert_eq(daemons[i].requests, 1);
	}
}

Test(ctl, a_typed_yes_is_asked_once_for_all_volumes)
{
	daemon_add(
		"db", "{\"code\":1,\"text\":\"sure of db?\"}", "{\"code\":0,\"text\":\"db done\"}");
	daemon_add("log", "{\"code\":0,\"text\":\"log done\"}", NULL);
	daemon_add("web", "{\"code\":1,\"text\":\"sure of web?\"}",
		"{\"code\":0,\"text\":\"web done\"}");
	typed = "yes\n";
	cr_assert_eq(run("deactivate", "clusterdomain", "site-a", NULL), CTL_OK);
	assert_has(err_text, "db: sure of db?\nweb: sure of web?\nType 'yes' to go on: ");
	assert_not(strstr(err_text, "Type") + 4, "Type");
	assert_has(out_text, "db: db done");
	assert_has(out_text, "web: web done");
	assert_has(out_text, "3 volumes: 3 done, 0 failed");
	cr_assert_eq(daemons[1].requests, 1, "it had no question and is not asked twice");
	cr_assert_eq(daemons[0].requests, 2);
}

Test(ctl, anything_else_than_yes_is_no)
{
	static const char *const words[] = {"y\n", "no\n", "\n", "yes please\n", "YES\n", " yes\n"};

	daemon_add("db", "{\"code\":1,\"text\":\"sure?\"}", "{\"code\":0}");
	for (unsigned i = 0; i < ARRAY_SIZE(words); i++) {
		typed = words[i];
		cr_assert_eq(run("promote", "db", NULL), CTL_NEEDS_YES, "'%s'", words[i]);
		assert_has(err_text, "not confirmed");
		assert_not(daemons[0].last, "yes");
	}
}

Test(ctl, what_was_asked_for_by_name_reaches_the_daemon)
{
	daemon_add("db", "{\"code\":0}", NULL);
	cr_assert_eq(run("promote", "db", "--accept-data-loss", NULL), CTL_OK);
	cr_assert_str_eq(daemons[0].last, "{\"verb\":\"promote\",\"accept_data_loss\":true}");
	cr_assert_eq(run("demote", "--force", "db", NULL), CTL_OK);
	cr_assert_str_eq(daemons[0].last, "{\"verb\":\"demote\",\"force\":true}");
	cr_assert_eq(run("activate", "clusterdomain", "site-b", NULL), CTL_OK);
	cr_assert_str_eq(daemons[0].last, "{\"verb\":\"activate\",\"domain\":\"site-b\"}");
	assert_has(out_text, "db: done (");
}

Test(ctl, a_volume_without_a_replica_in_the_domain_is_not_concerned)
{
	daemon_add("db", "{\"code\":-2,\"text\":\"no replica in domain 'site-c'\"}", NULL);
	daemon_add("web", "{\"code\":0,\"text\":\"took over\"}", NULL);
	cr_assert_eq(run("deactivate", "clusterdomain", "site-c", "--yes", NULL), CTL_OK);
	assert_has(out_text, "2 volumes: 1 done, 1 not concerned, 0 failed");
	daemons[1].plain = daemons[0].plain;
	cr_assert_eq(run("deactivate", "clusterdomain", "site-c", "--yes", NULL), CTL_FAILED,
		"a domain that no volume knows is a mistake");
}

Test(ctl, one_volume_that_fails_does_not_stop_the_others)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	daemon_add("db", "{\"code\":-16,\"text\":\"in the middle of something\"}", NULL);
	daemon_add("web", "{\"code\":0,\"text\":\"took over\"}", NULL);
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/dead.sock", dir);
	cr_assert_eq(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	close(fd);
	cr_assert_eq(run("deactivate", "clusterdomain", "site-a", "--yes", NULL), CTL_FAILED);
	assert_has(out_text, "db: in the middle of something");
	assert_has(out_text, "dead: nobody answers at");
	assert_has(out_text, "web: took over");
	assert_has(out_text, "3 volumes: 1 done, 2 failed");
	cr_assert_eq(run("promote", "db", NULL), CTL_FAILED);
	unlink(sa.sun_path);
}

Test(ctl, the_time_out_is_the_one_asked_for)
{
	uint64_t begin = clock_mono_ns();

	daemon_add("db", "{\"code\":0}", NULL);
	daemons[0].silent = true;
	cr_assert_eq(run("promote", "db", "--timeout", "0.2", NULL), CTL_FAILED);
	assert_has(out_text, "within 0.2 s");
	cr_assert_lt(clock_mono_ns() - begin, 5 * NS_PER_S);
}

Test(ctl, the_commands_text_of_several_lines_is_indented)
{
	daemon_add("db", "{\"code\":0,\"text\":\"one\\ntwo\\n\"}", NULL);
	cr_assert_eq(run("promote", "db", NULL), CTL_OK);
	assert_has(out_text, "db: one\n    two (");
}

Test(ctl, a_daemon_that_can_in_a_moment_is_asked_again)
{
	daemon_add("db", "{\"code\":0,\"text\":\"took over\"}", NULL);
	daemons[0].soon = 3;
	cr_assert_eq(run("promote", "db", NULL), CTL_OK);
	assert_has(out_text, "took over");
	cr_assert_eq(daemons[0].requests, 4);
	/* Who does not want to wait hears it. */
	daemons[0].soon = 1000;
	cr_assert_eq(run("promote", "db", "--timeout", "0.3", NULL), CTL_FAILED);
	assert_has(out_text, "recovering: try again in a moment");
}

/* ---- resize ---- */

Test(ctl, resize_sends_the_size_in_bytes)
{
	daemon_add("db", "{\"code\":0,\"text\":\"the size is 3.0 GiB now\"}", NULL);
	cr_assert_eq(run("resize", "db", "--size", "3G", NULL), CTL_OK);
	cr_assert_str_eq(daemons[0].last, "{\"verb\":\"resize\",\"size\":3221225472}");
	assert_has(out_text, "db: the size is 3.0 GiB now");
	daemons[0].plain = "{\"code\":-28,\"text\":\"site-b lacks 1.0 GiB\"}";
	cr_assert_eq(run("resize", "db", "--size=4G", NULL), CTL_FAILED);
	assert_has(out_text, "site-b lacks 1.0 GiB");
}

Test(ctl, resize_without_a_size_or_with_nonsense_is_wrong_usage)
{
	daemon_add("db", "{\"code\":0}", NULL);
	cr_assert_eq(run("resize", "db", NULL), CTL_USAGE);
	cr_assert_eq(run("resize", "db", "--size", "much", NULL), CTL_USAGE);
	cr_assert_eq(run("resize", "db", "--size", "0", NULL), CTL_USAGE);
	cr_assert_eq(run("resize", "--size", "1G", NULL), CTL_USAGE);
	cr_assert_eq(run("status", "--size", "1G", NULL), CTL_USAGE);
}

/* ---- resync ---- */

Test(ctl, a_preview_is_printed_as_the_daemon_lists_it)
{
	daemon_add("db",
		"{\"code\":0,\"text\":\"would give up 3 entries\",\"files_total\":7,\"files\":["
		"{\"path\":\"/new\",\"what\":\"new\",\"bytes\":6},"
		"{\"path\":\"/gone\",\"what\":\"removed\",\"bytes\":0}]}",
		NULL);
	cr_assert_eq(run("resync", "db", "--from", "site-b", "--preview", NULL), CTL_OK);
	assert_has(daemons[0].last, "\"verb\":\"resync\",\"domain\":\"site-b\"");
	assert_has(daemons[0].last, "\"preview\":true");
	cr_assert_str_eq(out_text, "db: would give up 3 entries\n"
				   "  new                   6  /new\n"
				   "  removed               0  /gone\n"
				   "  ... and 5 more\n");
	cr_assert_eq(run("resync", "db", "--from=site-b", "--preview", "-o", "json", NULL), CTL_OK);
	assert_has(out_text, "\"files_total\"");
}

Test(ctl, a_preview_that_is_refused_says_why)
{
	daemon_add("db", "{\"code\":-22,\"text\":\"there is no fork\"}", NULL);
	cr_assert_eq(run("resync", "db", "--from", "site-b", "--preview", NULL), CTL_FAILED);
	assert_has(err_text, "db: there is no fork");
}

Test(ctl, a_resync_asks_first)
{
	daemon_add("db", "{\"code\":1,\"text\":\"gives up its state\"}",
		"{\"code\":0,\"text\":\"begins again\"}");
	cr_assert_eq(run("resync", "db", "--from", "site-b", NULL), CTL_NEEDS_YES);
	assert_has(err_text, "gives up its state");
	cr_assert_eq(daemons[0].requests, 1);
	cr_assert_eq(run("resync", "db", "--from", "site-b", "--yes", NULL), CTL_OK);
	assert_has(daemons[0].last, "\"yes\":true");
	assert_not(daemons[0].last, "preview");
	typed = "yes\n";
	cr_assert_eq(run("resync", "db", "--from", "site-b", NULL), CTL_OK);
	assert_has(out_text, "begins again");
}

/* ---- status ---- */

static const char status_full[] =
	"{\"code\":0,\"text\":\"\",\"volume\":\"db\",\"uuid\":\"11111111-2222-4333-8444-"
	"555555555555\","
	"\"replica\":\"66666666-7777-4888-9999-000000000000\",\"domain\":\"site-a\",\"role\":"
	"\"active\","
	"\"mount\":\"/mnt/"
	"db\",\"mounted\":true,\"epoch\":5,\"epoch_id\":\"00ff\",\"record_version\":7,"
	"\"in_sync\":[\"site-a\",\"site-b\"],\"inactive\":[\"site-c\"],\"active_domain\":\"site-"
	"a\","
	"\"trouble\":\"the disk is slow\",\"trouble_since_s\":200.7,\"next\":\"tandemctl activate "
	"clusterdomain site-c\","
	"\"seq\":{\"staged\":105,\"durable\":104,\"committed\":103,\"applied\":102,\"flushed\":90},"
	"\"journal\":{\"mode\":\"io_uring\",\"size\":67108864,\"free\":63963136,\"first_seq\":51},"
	"\"space\":{\"size\":10737418240,\"used\":1288490188,\"free\":9448928052,\"inodes\":1234,"
	"\"disk_free\":42949672960,\"disk_total\":107374182400,\"meta_bytes\":12897484,"
	"\"live\":1288490188,\"dead\":4194304,\"allocated\":1610612736},"
	"\"kept\":[\"/data/fork-1\",\"/data/fork-2\"],"
	"\"waiting_ops\":3,\"uptime_s\":7300.5,"
	"\"peers\":[{\"domain\":\"site-b\",\"replica\":\"aaaaaaaa-7777-4888-9999-000000000000\","
	"\"address\":\"10.1.0.1:7400\",\"node\":\"b1\",\"state\":\"in-sync\",\"connected\":true,"
	"\"security\":\"TLSv1.3 TLS_AES_128_GCM_SHA256\",\"last_heard_s\":0.25,\"rtt_us\":1234.5,"
	"\"lag_entries\":2,\"lag_bytes\":8192,\"lag_s\":0.1,\"received\":103,\"applied\":101,"
	"\"flushed\":80,\"space\":{\"data_free\":1073741824,\"disk_free\":2147483648,"
	"\"disk_total\":4294967296,\"live\":1073741824,\"dead\":1048576,"
	"\"allocated\":1342177280,\"full\":true},\"text\":\"all well\"}],"
	"\"latency\":{\"window_s\":10,\"ops\":500,\"stages\":{\"queue\":{\"p50_us\":12,\"p99_us\":"
	"50},"
	"\"total\":{\"p50_us\":1500,\"p99_us\":2500000}}},"
	"\"counters\":{\"ops\":1000,\"batches\":300,\"bytes\":4096000,\"errors\":1}}";

Test(ctl, status_shows_what_the_daemon_says)
{
	static const char *const parts[] = {
		"VOLUME  DOMAIN  ROLE    MOUNTED-AT  EPOCH  ACTIVE  IN-SYNC        PEERS\n",
		"db      site-a  active  /mnt/db     5      site-a  site-a,site-b  site-b "
		"in-sync\n",
		"volume db\n", "role       active in site-a, mounted at /mnt/db, up for 2 h 1 min",
		"record     version 7, epoch 5, active: site-a, in sync: site-a,site-b, inactive: "
		"site-c",
		"trouble    the disk is slow\n             for 3 min, since 20",
		"staged 105, durable 104, committed 103, applied 102, flushed 90",
		"journal    61.0 MiB of 64.0 MiB free, from seq 51, written by io_uring",
		"space      1.2 GiB used of 10.0 GiB, 8.8 GiB free, 1234 inodes",
		"data segments: 1.2 GiB live, 4.0 MiB dead, 1.5 GiB allocated",
		"the disk below: 40.0 GiB free of 100 GiB; metadata 12.3 MiB",
		"kept       given up by resync, until you remove it: /data/fork-1\n"
		"             /data/fork-2\n",
		"operations 1000 in 300 batches, 3.9 MiB, 1 errors; waiting now: 3",
		"latency    500 operations in 10 s", "queue", "12 us      50 us",
		"1.50 ms     2.50 s",
		"peer       site-b: in-sync, connected (TLSv1.3 TLS_AES_128_GCM_SHA256), "
		"10.1.0.1:7400, node b1\n",
		"last heard 0.2 s ago, round trip 1.23 ms",
		"behind by 2 entries, 8.0 KiB, 0.1 s; received 103, applied 101, flushed 80",
		"grants 1.0 GiB of data; its disk: 2.0 GiB free of 4.0 GiB",
		"data segments: 1.0 GiB live, 1.0 MiB dead, 1.2 GiB allocated", "its disk is full",
		"all well", "next       tandemctl activate clusterdomain site-c"};

	daemon_add("db", status_full, NULL);
	cr_assert_eq(run("status", NULL), CTL_OK);
	for (unsigned i = 0; i < ARRAY_SIZE(parts); i++)
		assert_has(out_text, parts[i]);
	assert_not(out_text, "11111111");
	cr_assert_eq(run("status", "-owide", NULL), CTL_OK);
	assert_has(out_text, "JOURNAL-FREE");
	assert_has(out_text, "2/0.1s");
	assert_has(out_text, "volume 11111111-2222-4333-8444-555555555555, replica 66666666-");
	assert_has(out_text, "epoch 5 (00ff)");
	cr_assert_eq(run("status", "db", NULL), CTL_OK);
	assert_has(out_text, "volume db\n");
}

Test(ctl, status_tolerates_a_daemon_that_says_little_or_nonsense)
{
	static const char *const answers[] = {"{\"code\":0}",
		"{\"code\":0,\"mount\":null,\"active_domain\":null,\"peers\":[{}]}",
		"{\"code\":0,\"peers\":7,\"in_sync\":\"x\",\"seq\":[],\"latency\":{\"ops\":1,"
		"\"stages\":{\"queue\":3}},\"space\":null,\"journal\":\"no\",\"role\":5}"};

	daemon_add("db", answers[0], NULL);
	for (unsigned i = 0; i < ARRAY_SIZE(answers); i++) {
		daemons[0].plain = answers[i];
		cr_assert_eq(run("status", NULL), CTL_OK);
		assert_has(out_text, "volume db");
		cr_assert_eq(run("status", "-o", "wide", NULL), CTL_OK);
	}
}

Test(ctl, status_json_is_an_array_of_the_answers)
{
	struct json *j;
	struct err e;

	daemon_add("db", status_full, NULL);
	daemon_add("web", "{\"code\":0,\"volume\":\"web\"}", NULL);
	cr_assert_eq(run("status", "--output=json", NULL), CTL_OK);
	cr_assert_eq(json_parse(out_text, strlen(out_text), &j, &e), 0, "%s", e.msg);
	cr_assert_eq(json_length(j), 2);
	cr_assert_str_eq(json_get_string(json_at(j, 0), "role", ""), "active");
	cr_assert_eq(json_get_int(json_get(json_at(j, 0), "seq"), "committed", 0), 103);
	cr_assert_str_eq(json_get_string(json_at(j, 1), "volume", ""), "web");
	json_free(j);
}

Test(ctl, status_with_a_dead_daemon_shows_the_others_and_fails)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	struct json *j;
	struct err e;

	daemon_add("db", status_full, NULL);
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/dead.sock", dir);
	cr_assert_eq(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	close(fd);
	cr_assert_eq(run("status", NULL), CTL_FAILED);
	assert_has(out_text, "dead    ?       no answer");
	assert_has(out_text, "trouble    nobody answers at");
	assert_has(out_text, "role       active in site-a");
	cr_assert_eq(run("status", "-o", "json", NULL), CTL_FAILED);
	cr_assert_eq(json_parse(out_text, strlen(out_text), &j, &e), 0);
	cr_assert_eq(json_get_int(json_at(j, 1), "code", 0), -ECONNREFUSED);
	cr_assert_str_eq(json_get_string(json_at(j, 1), "volume", ""), "dead");
	json_free(j);
	unlink(sa.sun_path);
}

Test(ctl, files_that_are_no_sockets_of_volumes_are_passed_over)
{
	char path[128];
	FILE *f;

	daemon_add("db", "{\"code\":0}", NULL);
	snprintf(path, sizeof(path), "%s/notes.sock", dir);
	f = fopen(path, "w");
	fclose(f);
	cr_assert_eq(run("status", NULL), CTL_OK);
	assert_not(out_text, "notes");
	unlink(path);
}

Test(ctl, volumes_are_called_at_the_same_time)
{
	static const char *const names[] = {"a", "b", "c", "d", "e", "f"};

	/* Silent ones each run into their time-out; one after the other would be six of them. */
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		daemon_add(names[i], "{\"code\":0}", NULL);
		daemons[i].silent = true;
	}
	uint64_t begin = clock_mono_ns();

	cr_assert_eq(run("status", "--timeout", "0.5", NULL), CTL_FAILED);
	cr_assert_lt(clock_mono_ns() - begin, 2 * NS_PER_S);
}

/* ---- get ---- */

Test(ctl, yaml_quotes_what_could_be_something_else)
{
	daemon_add("db",
		"{\"code\":0,\"a\":\"yes\",\"b\":\"1.5\",\"c\":\"two words\",\"d\":[[1,\"x\"],{}],"
		"\"e\":null,\"f\":true,\"g\":\"x: y\",\"h\":\"\",\"i\":[{\"j\":{\"k\":-1}}]}",
		NULL);
	cr_assert_eq(run("status", "-o", "yaml", NULL), CTL_OK);
	assert_has(out_text,
		"- code: 0\n  a: \"yes\"\n  b: \"1.5\"\n  c: \"two words\"\n  d:\n  - - 1\n"
		"    - x\n  - {}\n  e: null\n  f: true\n  g: \"x: y\"\n  h: \"\"\n"
		"  i:\n  - j:\n      k: -1\n");
}

Test(ctl, preflight_is_a_list_for_programs_too)
{
	run("preflight", "-o", "yaml", NULL); /* what it finds is this machine's */
	assert_has(out_text, "\n  check: kernel\n");
	assert_has(out_text, "- about: ");
	run("preflight", "--output=json", NULL);
	assert_has(out_text, "\"check\":");
	run("preflight", NULL);
	assert_has(out_text, "kernel");
	assert_not(out_text, "check:");
}

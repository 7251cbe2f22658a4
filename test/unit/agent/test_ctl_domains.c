/* SPDX-License-Identifier: Apache-2.0 */
/* tandemctl's table of domains, and activating them, by what the daemons of a node say. */
#include "ctl_daemons.h"

TestSuite(ctl_domains, .init = setup, .fini = fini, .timeout = 30);

#define STATUS(in_sync, inactive, state, connected)                                                \
	"{\"code\":0,\"role\":\"active\",\"domain\":\"site-a\",\"in_sync\":[" in_sync              \
	"],\"inactive\":[" inactive "],\"peers\":[{\"domain\":\"site-b\",\"state\":\"" state       \
	"\",\"connected\":" connected "}]}"

Test(ctl_domains, get_shows_the_domains_as_stork_does)
{
	daemon_add("db", STATUS("\"site-a\",\"site-b\"", "", "in-sync", "true"), NULL);
	cr_assert_eq(run("get", "cds", NULL), CTL_OK);
	cr_assert_str_eq(out_text,
		"NAME       LOCAL-DOMAIN   ACTIVE                             INACTIVE   CREATED\n"
		"tandemfs   site-a         site-a (InSync), site-b (InSync)              -\n");
}

Test(ctl_domains, the_wide_table_has_how_many_volumes_and_what_to_decide)
{
	daemon_add("a", STATUS("\"site-a\",\"site-b\"", "", "in-sync", "true"), NULL);
	daemon_add("c", STATUS("\"site-a\"", "\"site-b\"", "inactive", "true"), NULL);
	cr_assert_eq(run("get", "cds", "-o", "wide", NULL), CTL_OK);
	assert_has(out_text, "INACTIVE             CREATED   VOLUMES                  QUORUM\n");
	assert_has(out_text, "site-b (NotInSync)   -         site-a 2/2, site-b 1/2   ");
}

Test(ctl_domains, all_that_are_inactive_are_activated)
{
	daemon_add("db", STATUS("\"site-a\"", "\"site-b\",\"site-c\"", "inactive", "true"), NULL);
	cr_assert_eq(run("activate", "clusterdomain", "--all", NULL), CTL_OK);
	cr_assert_str_eq(daemons[0].last, "{\"verb\":\"activate\",\"domain\":\"site-b\"}");
}

Test(ctl_domains, where_none_is_inactive_nothing_is_activated)
{
	daemon_add("db", STATUS("\"site-a\",\"site-b\"", "", "in-sync", "true"), NULL);
	cr_assert_eq(run("activate", "cd", "-a", NULL), CTL_OK);
	cr_assert_str_eq(out_text, "no domain is inactive\n");
	cr_assert_str_eq(daemons[0].last, "{\"verb\":\"status\"}");
}

Test(ctl_domains, activate_waits_until_the_domain_is_in_sync_where_that_is_asked_for)
{
	daemon_add("db", STATUS("\"site-a\",\"site-b\"", "", "in-sync", "true"), NULL);
	cr_assert_eq(run("activate", "clusterdomain", "site-b", "--wait", NULL), CTL_OK);
	assert_has(out_text, "site-b: InSync\n");
	daemons[0].plain = STATUS("\"site-a\"", "", "pulling", "true");
	cr_assert_eq(run("activate", "clusterdomain", "site-b", "--wait", "--timeout", "1", NULL),
		CTL_FAILED);
	assert_has(err_text, "site-b: SyncInProgress after 1 s; it goes on by itself");
	cr_assert_eq(run("activate", "clusterdomain", "site-b", NULL), CTL_OK);
}

Test(ctl_domains, a_domain_is_what_its_worst_volume_is)
{
	daemon_add("a", STATUS("\"site-a\",\"site-b\"", "", "in-sync", "true"), NULL);
	daemon_add("b", STATUS("\"site-a\"", "", "pulling", "true"), NULL);
	daemon_add("c", STATUS("\"site-a\"", "\"site-b\"", "inactive", "true"), NULL);
	cr_assert_eq(run("get", "clusterdomainsstatus", "-o", "yaml", NULL), CTL_OK);
	cr_assert_str_eq(out_text, "apiVersion: tandemfs.dev/v1alpha1\n"
				   "kind: ClusterDomainsStatus\n"
				   "metadata:\n"
				   "  name: tandemfs\n"
				   "status:\n"
				   "  localDomain: site-a\n"
				   "  clusterDomainInfos:\n"
				   "  - name: site-a\n"
				   "    state: Active\n"
				   "    syncStatus: InSync\n"
				   "  - name: site-b\n"
				   "    state: Inactive\n"
				   "    syncStatus: NotInSync\n");
	cr_assert_eq(run("get", "cds", "-ojson", NULL), CTL_OK);
	assert_has(out_text, "\"syncStatus\": \"NotInSync\"");
}

Test(ctl_domains, a_domain_that_catches_up_is_in_progress)
{
	daemon_add("a", STATUS("\"site-a\",\"site-b\"", "", "in-sync", "true"), NULL);
	daemon_add("b", STATUS("\"site-a\"", "", "pulling", "true"), NULL);
	cr_assert_eq(run("get", "clusterdomainsstatuses", NULL), CTL_OK);
	assert_has(out_text, "site-a (InSync), site-b (SyncInProgress)");
}

Test(ctl_domains, what_is_not_heard_of_is_unknown)
{
	daemon_add("db", STATUS("\"site-a\",\"site-b\"", "", "down", "false"), NULL);
	cr_assert_eq(run("get", "cds", NULL), CTL_OK);
	assert_has(out_text, "site-a (InSync), site-b (SyncStatusUnknown)");
}

Test(ctl_domains, get_with_a_volume_that_does_not_answer_knows_nothing_and_fails)
{
	daemon_add("db", STATUS("\"site-a\",\"site-b\"", "", "catching-up", "true"), NULL);
	daemon_add("web", "{\"code\":-5,\"text\":\"no\"}", NULL);
	cr_assert_eq(run("get", "cds", NULL), CTL_FAILED);
	assert_has(err_text, "volume 'web': no");
	assert_has(out_text, "site-a (SyncStatusUnknown), site-b (SyncStatusUnknown)");
}

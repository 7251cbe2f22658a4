/* SPDX-License-Identifier: Apache-2.0 */
/* What a copy finds: whether an object is there as it should be, whether it runs, whether its namespace is meant. */
#include <criterion/criterion.h>
#include <string.h>

#include "kube_control.h"
#include "migrate.h"

static struct json *parse(const char *text)
{
	struct json *j = NULL;
	struct err e = {0};
	char buf[1024];
	size_t n = 0;

	for (; *text; text++) /* ' for ", so that tests can be read */
		buf[n++] = *text == '\'' ? '"' : *text;
	cr_assert_eq(json_parse(buf, n, &j, &e), 0, "%s", e.msg);
	return j;
}

static bool is_there(const char *prepared, const char *there)
{
	struct json *p = parse(prepared), *t = parse(there);
	bool ret = migrate_is_there(p, t);

	json_free(p);
	json_free(t);
	return ret;
}

Test(migrate, what_was_changed_there_is_not_there_and_what_was_added_does_not_matter)
{
	const char *p = "{'spec':{'replicas':0,'list':[{'image':'x'}],'none':[],'empty':{}}}";

	cr_assert(is_there(p, "{'spec':{'list':[{'image':'x','tty':false}],'replicas':0},"
			      "'status':{}}"));
	cr_assert_not(is_there(p, "{'spec':{'list':[{'image':'y'}],'replicas':0}}"));
	cr_assert_not(is_there(p, "{'spec':{'list':[{'image':'x'},{}],'replicas':0}}"));
	cr_assert_not(is_there(p, "{'spec':{'list':[{'image':'x'}]}}"));
	cr_assert_not(is_there(p, "{'spec':{'list':[{'image':'x'}],'replicas':0,'none':[1]}}"));
}

static bool runs(const char *live)
{
	struct json *j = parse(live);
	bool ret = hold_runs(j);

	json_free(j);
	return ret;
}

Test(hold, what_is_suspended_or_at_zero_does_not_run_whoever_did_that)
{
	cr_assert(runs("{'kind':'Deployment','spec':{}}"));
	cr_assert_not(runs("{'kind':'StatefulSet','spec':{'replicas':0}}"));
	cr_assert(runs("{'kind':'CronJob','spec':{'suspend':false}}"));
	cr_assert_not(runs("{'kind':'CronJob','metadata':{},'spec':{'suspend':true}}"));
	cr_assert_not(runs("{'kind':'Job','spec':{},'status':{'conditions':[{'type':'Complete',"
			   "'status':'True'}]}}"));
	cr_assert(runs("{'kind':'DaemonSet','spec':{}}"));
	cr_assert_not(runs("{'kind':'ConfigMap'}"));
}

static bool covers(const char *spec, const char *ns)
{
	struct json *s = parse(spec), *n = parse(ns);
	bool ret = migration_covers(s, "tandem-system", n);

	json_free(s);
	json_free(n);
	return ret;
}

Test(migrate, an_administrators_schedule_covers_a_namespace_by_name_label_or_star)
{
	const char *blue = "{'metadata':{'name':'blue','labels':{'dr':'yes'}}}";

	cr_assert(covers("{'namespaces':['red','blue']}", blue));
	cr_assert(covers("{'namespaces':['*']}", blue));
	cr_assert(covers("{'namespaceSelectors':{'dr':'yes'}}", blue));
	cr_assert_not(covers("{'namespaceSelectors':{'dr':'no'}}", blue));
	cr_assert_not(covers("{'namespaces':['*'],'excludeNamespaces':['blue']}", blue));
	cr_assert_not(covers("{'namespaces':['*']}", "{'metadata':{'name':'kube-system'}}"));
	cr_assert_not(covers("{'namespaces':['*']}", "{'metadata':{'name':'tandem-system'}}"));
	cr_assert_not(covers("{'namespaces':['red']}", blue));
	cr_assert_not(covers("{}", blue)); /* its own namespace only */
}

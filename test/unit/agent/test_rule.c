/* SPDX-License-Identifier: Apache-2.0 */
/* What is said of a Rule that cannot be followed, also where the API server's schema let it through. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "kube_rule.h"

/* want NULL: it can be followed. ' for ", so that tests can be read. */
static void check(const char *rules, const char *want)
{
	char text[1024];
	struct json *j = NULL;
	struct err e = {0};
	size_t n = 0;

	for (; *rules; rules++)
		text[n++] = *rules == '\'' ? '"' : *rules;
	cr_assert_eq(json_parse(text, n, &j, &e), 0, "%s", e.msg);
	cr_assert_eq(rule_check(j, &e), want ? -EINVAL : 0, "%s", e.msg);
	cr_assert(!want || strstr(e.msg, want), "'%s' is not about '%s'", e.msg, want);
	json_free(j);
}

Test(rule, one_that_cannot_be_followed_says_where)
{
	check("{'rules':[{'podSelector':{'a':'b'},'actions':[{'type':'command','value':'sync'}]}]}",
		NULL);
	check("{}", "rules: there are none");
	check("{'rules':[{'podSelector':{},'actions':[{'type':'command','value':'x'}]}]}",
		"rules[0].podSelector");
	check("{'rules':[{'podSelector':{'a':'b'},'actions':[]}]}", "rules[0].actions: ");
	check("{'rules':[{'podSelector':{'a':'b'},'actions':[{'type':'command','value':'x'},"
	      "{'type':'shell','value':'x'}]}]}",
		"rules[0].actions[1].type: 'shell'");
	check("{'rules':[{'podSelector':{'a':'b'},'actions':[{'type':'command','value':' '}]}]}",
		"rules[0].actions[0].value");
}

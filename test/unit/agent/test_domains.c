/* SPDX-License-Identifier: Apache-2.0 */
/* Domains, updates of domains and marks of nodes: what is decided from what was seen. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "domain_update.h"
#include "domains.h"
#include "node_mark.h"

static struct domains ds;
static char cell[DOMAINS_CELL_MAX];

static void note(const char *text)
{
	struct json *j = NULL;
	struct err e = {0};

	cr_assert_eq(json_parse(text, strlen(text), &j, &e), 0, "%s", e.msg);
	domains_note(&ds, j);
	json_free(j);
}

#define LEVEL                                                                                      \
	"{\"volume\":\"db\",\"domain\":\"a\",\"role\":\"active\",\"active_domain\":\"a\","         \
	"\"in_sync\":[\"a\",\"b\"],\"peers\":[{\"domain\":\"b\",\"state\":\"in-sync\","            \
	"\"connected\":true}]}"
#define ALONE                                                                                      \
	"{\"volume\":\"web\",\"domain\":\"a\",\"role\":\"active\",\"active_domain\":\"a\","        \
	"\"in_sync\":[\"a\"],\"inactive\":[\"b\"],\"peers\":[{\"domain\":\"b\",\"connected\":"     \
	"false}]}"
#define SILENT                                                                                     \
	"{\"volume\":\"web\",\"domain\":\"a\",\"role\":\"standby\",\"active_domain\":\"b\","       \
	"\"in_sync\":[\"a\",\"b\"],\"next\":\"do this\",\"peers\":[{\"domain\":\"b\","             \
	"\"connected\":false}]}"

Test(domains, the_worst_volume_counts)
{
	note(LEVEL);
	cr_assert_str_eq(domains_cell(&ds, false, cell), "a (InSync), b (InSync)");
	note(ALONE);
	cr_assert_str_eq(domains_cell(&ds, false, cell), "a (InSync)");
	cr_assert_str_eq(domains_cell(&ds, true, cell), "b (NotInSync)");
	cr_assert_eq(domains_find(&ds, "b")->volumes, 2);
	cr_assert_eq(domains_find(&ds, "b")->in_sync, 1);
	cr_assert_eq(ds.waiting, 0);
	domains_silent(&ds);
	cr_assert_str_eq(domains_cell(&ds, false, cell), "a (SyncStatusUnknown)");
}

Test(domains, one_in_the_set_that_is_not_heard_makes_writes_wait)
{
	note(SILENT);
	note(LEVEL);
	cr_assert_eq(ds.waiting, 1);
	cr_assert_str_eq(ds.why, "volume 'web': b is in the set and does not answer: do this");
	cr_assert_eq(domains_find(&ds, "b")->sync, DOMAIN_UNKNOWN);
}

Test(domains, foreign_words_are_no_matter)
{
	note("{}");
	note("{\"domain\":7,\"peers\":[{\"domain\":\"\"},3,{\"domain\":"
	     "\"0123456789012345678901234567890123456789012345678901234567890123456789\"}]}");
	cr_assert_eq(ds.count, 0);
}

static char reason[512];

Test(domain_update, done_where_all_that_are_concerned_are)
{
	struct update_tally t = {0};

	update_note(&t, "db", 0, "done", 0);
	update_note(&t, "web", -ENOENT, "not there", 0);
	cr_assert_eq(update_judge(&t, "b", false, 0, reason, sizeof(reason)), UPDATE_DONE);
	cr_assert_str_eq(reason, "b is deactivated for 1 volume");
}

Test(domain_update, a_domain_that_nobody_has_fails_at_once)
{
	struct update_tally t = {0};

	cr_assert_eq(update_judge(&t, "z", true, 0, reason, sizeof(reason)), UPDATE_FAILED);
	cr_assert_str_eq(reason, "there is no volume on the nodes of this site");
	update_note(&t, "db", -ENOENT, "no replica", 0);
	cr_assert_eq(update_judge(&t, "z", true, 0, reason, sizeof(reason)), UPDATE_FAILED);
	cr_assert(strstr(reason, "has a replica in a domain 'z'"), "%s", reason);
}

Test(domain_update, who_does_not_answer_is_waited_for_and_not_for_ever)
{
	struct update_tally t = {0};

	update_note(&t, "db", 0, "done", 1);
	update_note(&t, "web", -EAGAIN, "does not run", 1);
	update_silent(&t, "node x is away");
	cr_assert_eq(update_judge(&t, "b", false, 1, reason, sizeof(reason)), UPDATE_AGAIN);
	cr_assert_str_eq(reason, "1 of 2 volumes are done; volume 'web': does not run");
	cr_assert_eq(update_judge(&t, "b", false, UPDATE_PATIENCE_S, reason, sizeof(reason)),
		UPDATE_FAILED);
	cr_assert(strstr(reason, "make another object"), "%s", reason);
}

Test(domain_update, the_active_side_that_answers_is_refused_after_a_moment)
{
	struct update_tally t = {0}, later = {0};

	update_note(&t, "db", -EBUSY, "b is the active side", 1);
	cr_assert_eq(update_judge(&t, "b", false, 1, reason, sizeof(reason)), UPDATE_AGAIN);
	update_note(&later, "db", -EBUSY, "b is the active side", UPDATE_BUSY_S);
	cr_assert_eq(update_judge(&later, "b", false, UPDATE_BUSY_S, reason, sizeof(reason)),
		UPDATE_FAILED);
	cr_assert_str_eq(reason, "0 of 1 volumes are done; volume 'db': b is the active side");
}

Test(domain_update, what_is_refused_is_said_when_nobody_is_waited_for)
{
	struct update_tally t = {0};

	update_note(&t, "db", -EPERM, "not in sync", 0);
	update_note(&t, "web", 1, "a question", 0);
	update_note(&t, "www", 0, "done", 0);
	cr_assert_eq(update_judge(&t, "b", false, 0, reason, sizeof(reason)), UPDATE_FAILED);
	cr_assert_str_eq(reason, "1 of 3 volumes are done; volume 'db': not in sync");
}

Test(domain_update, a_dry_run_cannot_be_taken_for_the_word_itself)
{
	struct update_tally t = {.dry = true}, none = {.dry = true};

	update_note(&t, "db", 0, "would be promoted", 0);
	update_note(&t, "web", -ENOENT, "not there", 0);
	cr_assert_eq(update_judge(&t, "b", false, 0, reason, sizeof(reason)), UPDATE_DONE);
	cr_assert_str_eq(
		reason, "dry run: b would be deactivated for 1 volume; nothing was changed");
	update_note(&t, "log", -EPERM, "outdated", 0);
	cr_assert_eq(update_judge(&t, "b", false, 0, reason, sizeof(reason)), UPDATE_FAILED);
	cr_assert_str_eq(reason, "dry run: 1 of 2 volumes would do it; volume 'log': outdated");
	cr_assert_eq(update_judge(&none, "b", true, 0, reason, sizeof(reason)), UPDATE_FAILED);
	cr_assert_eq(strncmp(reason, "dry run: ", 9), 0, "%s", reason);
}

Test(domain_update, a_dry_run_waits_some_seconds_for_who_does_not_answer)
{
	struct update_tally t = {.dry = true};

	update_note(&t, "db", 0, "would be promoted", 1);
	update_note(&t, "web", -EAGAIN, "no answer", 1);
	cr_assert_eq(update_judge(&t, "b", false, UPDATE_DRY_S - 1, reason, sizeof(reason)),
		UPDATE_AGAIN);
	cr_assert_str_eq(reason, "dry run: 1 of 2 volumes would do it; volume 'web': no answer");
	cr_assert_eq(
		update_judge(&t, "b", false, UPDATE_DRY_S, reason, sizeof(reason)), UPDATE_FAILED);
	cr_assert(
		strstr(reason, "volume 'web': no answer (no other answer in 15 s)"), "%s", reason);
}

Test(domain_update, the_answers_to_a_dry_run_are_those_that_matter_first_and_no_more_than_fit)
{
	struct update_answer a[UPDATE_ANSWERS_MAX + 3] = {0};
	const struct json *first, *last;
	struct json *list;
	unsigned more = 7;

	for (unsigned i = 0; i < ARRAY_SIZE(a); i++)
		a[i] = (struct update_answer){.node = "one", .volume = "v", .text = "yes"};
	a[0].code = -ENOENT;
	a[ARRAY_SIZE(a) - 1] = (struct update_answer){
		.node = "two", .volume = "db", .code = -EPERM, .text = "outdated"};
	list = update_answers(a, ARRAY_SIZE(a), &more);
	first = json_at(list, 0);
	cr_assert_eq(json_length(list), UPDATE_ANSWERS_MAX);
	cr_assert_eq(more, 3);
	cr_assert_str_eq(json_get_string(first, "name", ""), "db");
	cr_assert_str_eq(json_get_string(first, "node", ""), "two");
	cr_assert_str_eq(json_get_string(first, "message", ""), "outdated");
	cr_assert_not(json_get_bool(first, "wouldSucceed", true));
	cr_assert(json_get_bool(json_at(list, 1), "wouldSucceed", false));
	json_free(list);
	list = update_answers(a, 2, &more);
	last = json_at(list, 1);
	cr_assert_eq(more, 0);
	cr_assert_null(json_get(last, "wouldSucceed"), "it is not concerned");
	json_free(list);
}

Test(node_mark, the_taint_goes_when_the_engine_is_ready_first)
{
	struct mark_action a = mark_decide(&(struct mark_seen){.tainted = true}, 1000);

	cr_assert(!a.untaint && !a.label && !a.note && !a.forget);
	a = mark_decide(&(struct mark_seen){.tainted = true, .ready = true}, 1000);
	cr_assert(a.untaint && !a.note && !a.forget);
	cr_assert_str_eq(a.label, "true");
	a = mark_decide(&(struct mark_seen){.ready = true, .label = "true"}, 1000);
	cr_assert(!a.untaint && !a.label && !a.note && !a.forget);
}

Test(node_mark, an_engine_that_is_away_for_a_moment_changes_no_label)
{
	struct mark_seen s = {.label = "true"};
	struct mark_action a = mark_decide(&s, 1000);

	cr_assert(a.note && !a.label);
	s.unready_s = 1000;
	a = mark_decide(&s, 1000 + MARK_PATIENCE_S - 1);
	cr_assert(!a.note && !a.label && !a.forget);
	a = mark_decide(&s, 1000 + MARK_PATIENCE_S);
	cr_assert_str_eq(a.label, "false");
	s.label = "false";
	a = mark_decide(&s, 9000);
	cr_assert(!a.note && !a.label && !a.forget);
	s.ready = true;
	a = mark_decide(&s, 9000);
	cr_assert(a.forget && !a.untaint);
	cr_assert_str_eq(a.label, "true");
}

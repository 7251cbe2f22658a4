/* SPDX-License-Identifier: Apache-2.0 */
/* From a claim to its volume and back: the next step for whatever is there, parameters and objects. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "provision.h"

#define UID "11111111-2222-3333-4444-555555555555"
#define NAME "pvc-" UID

static struct json *parse(const char *text)
{
	struct json *j = NULL;
	struct err e = {0};
	char buf[4096];
	size_t n = 0;

	for (; *text; text++) /* ' for ", so that tests can be read */
		buf[n++] = *text == '\'' ? '"' : *text;
	cr_assert_eq(json_parse(buf, n, &j, &e), 0, "%s in %s", e.msg, text);
	return j;
}

static struct json *format(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static struct json *format(const char *fmt, ...)
{
	char buf[4096];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(buf, sizeof(buf), fmt, ap);
	va_end(ap);
	return parse(buf);
}

/* --- what is asked for --- */

static void refused(const char *spec, const char *class, const char *why)
{
	struct json *c = format("{'spec':%s}", spec), *k = parse(class);
	struct provision_order o;
	struct err e = {0};

	cr_assert_eq(provision_order_of(c, k, &o, &e), -EINVAL, "%s %s", spec, class);
	cr_assert(strstr(e.msg, why), "%s", e.msg);
	json_free(c);
	json_free(k);
}

#define ONE_G "{'resources':{'requests':{'storage':'1Gi'}}}"
#define FAST "{'metadata':{'name':'fast'},'parameters':"

Test(provision_order, parameters_are_taken_or_refused_with_what_is_right)
{
	struct json *c = parse("{'spec':{'resources':{'requests':{'storage':'100000001'}}}}"),
		    *k = parse(FAST "{'ack':'fsync','uid':'7','mode':'2770'}}");
	struct provision_order o;
	struct err e = {0};

	cr_assert_eq(provision_order_of(c, k, &o, &e), 0, "%s", e.msg);
	cr_assert_str_eq(o.ack, "fsync");
	cr_assert_str_eq(o.owner, "7:0");
	cr_assert_str_eq(o.mode, "2770");
	cr_assert_eq(o.size, 100003840); /* whole blocks */
	json_free(c);
	json_free(k);
	refused(ONE_G, FAST "{'ack':'async'}}", "'fast': parameters: ack is op or fsync");
	refused(ONE_G, FAST "{'uid':'root'}}", "uid is a number");
	refused(ONE_G, FAST "{'gid':'4294967295'}}", "gid is a number");
	refused(ONE_G, FAST "{'mode':'0888'}}", "mode is octal");
	refused(ONE_G, FAST "{'mode':'17777'}}", "mode is octal");
	refused(ONE_G, FAST "{'repl':'2'}}", "'repl' is unknown: there are ack, uid, gid and mode");
	refused(ONE_G, "{'mountOptions':['ro']}", "mountOptions");
}

Test(provision_order, a_small_claim_gets_the_smallest_volume)
{
	struct json *c = parse("{'spec':{'resources':{'requests':{'storage':'1Mi'}}}}"),
		    *k = parse("{}");
	struct provision_order o;
	struct err e = {0};

	cr_assert_eq(provision_order_of(c, k, &o, &e), 0);
	cr_assert_eq(o.size, 64u << 20);
	cr_assert_str_eq(o.ack, "op");
	cr_assert_str_eq(o.owner, "0:0");
	json_free(c);
	json_free(k);
}

Test(provision_order, what_no_volume_can_be_is_refused)
{
	refused("{'selector':{}}", "{}", "spec.selector");
	refused("{'dataSource':{'name':'x'}}", "{}", "dataSource");
	refused("{'volumeMode':'Block'}", "{}", "Filesystem");
	refused("{'accessModes':['ReadWriteOnce','ReadOnlyMany']}", "{}", "ReadOnlyMany");
	refused("{'resources':{'requests':{'storage':'2Pi'}}}", "{}", "at most 1024Ti");
	refused("{}", "{}", "is no size");
}

/* --- claims --- */

static struct kube_node nodes[3];
static unsigned nnodes;
static struct provision_step s;
static enum provision_node own; /* what the API says of the volume's node */
static struct json *names_it; /* a claim that names the volume */

/* "": its agent does not answer. */
static void node(const char *name, const char *volumes)
{
	struct kube_node *n = &nodes[nnodes++];

	*n = (struct kube_node){.ready = true};
	snprintf(n->name, sizeof(n->name), "%s", name);
	if (*volumes)
		n->status = format("{'domain':'a','volumes':%s}", volumes);
}

static void no_nodes(void)
{
	while (nnodes)
		json_free(nodes[--nnodes].status);
	own = PROVISION_NODE_UNASKED;
	json_free(names_it);
	names_it = NULL;
}

#define WAITS "{'volume':'" NAME "','status':{'role':'active','mounted':false,'active_domain':'a'}}"
#define MOUNTED                                                                                    \
	"{'volume':'" NAME "','status':{'role':'active','mounted':true,'active_domain':'a',"       \
	"'mount':'/mnt/v','space':{'size':1073741824}}}"
#define STANDBY                                                                                    \
	"{'volume':'" NAME "','status':{'role':'standby','mounted':false,'active_domain':"         \
	"'site-b','mount':'/mnt/v','space':{'size':1073741824}}}"
#define SILENT "{'volume':'" NAME "','status':null}"
#define CONFIRMS                                                                                   \
	"{'volume':'" NAME "','status':{'role':'standby','mounted':false,'active_domain':'a'}}"
#define NOBODY                                                                                     \
	"{'volume':'" NAME "','status':{'role':'standby','mounted':false,'active_domain':null}}"

#define CLASS "{'metadata':{'name':'c'},'provisioner':'" PROVISIONER "','volumeBindingMode':'%s'}"
#define LATE "WaitForFirstConsumer"

/* What a claim with these members needs. */
static enum provision_do next(const char *meta, const char *spec, const char *mode, const char *pv)
{
	struct json *claim = format("{'metadata':{'uid':'" UID "','namespace':'ns','name':'db'%s},"
				    "'spec':{'storageClassName':'c','resources':{'requests':"
				    "{'storage':'1Gi'}}%s},'status':{'phase':'Pending'}}",
			    meta, spec),
		    *class = format(CLASS, mode), *volume = pv ? parse(pv) : NULL;

	provision_claim(claim, class, volume, nodes, nnodes, own, &s);
	json_free(claim);
	json_free(class);
	json_free(volume);
	return s.what;
}

#define ASKED "'volume.beta.kubernetes.io/storage-provisioner':'" PROVISIONER "'"
#define NODE ",'volume.kubernetes.io/selected-node':'two'"
#define WITH(a) ",'annotations':{" a "}"
#define MARKED WITH(ASKED ",'" KEY_NODE "':'one'") ",'finalizers':['x','" FINALIZER_CLAIM "']"
#define MARKED_ALONE                                                                               \
	WITH(ASKED ",'" KEY_NODE "':'one','" KEY_DELETE_LOCAL "':'true'")                          \
	",'finalizers':['" FINALIZER_CLAIM "'],'deletionTimestamp':'t'"

TestSuite(provision_claim, .fini = no_nodes);

Test(provision_claim, waits_for_the_controllers_and_the_schedulers_word)
{
	node("one", "[]");
	node("two", "[]");
	cr_assert_eq(next("", "", LATE, NULL), PROVISION_NOTHING);
	cr_assert_eq(next(WITH(ASKED), "", LATE, NULL), PROVISION_NOTHING);
	cr_assert_eq(next(WITH(ASKED NODE), "", LATE, NULL), PROVISION_MARK);
	cr_assert_str_eq(s.node, "two");
	cr_assert_str_eq(s.volume, NAME);
	cr_assert_str_eq(s.reason, "Provisioning");
	cr_assert_eq(next(WITH(ASKED), "", "Immediate", NULL), PROVISION_MARK);
	cr_assert_str_eq(s.node, "one");
	cr_assert_eq(next(WITH("'volume.kubernetes.io/storage-provisioner':'" PROVISIONER "'" NODE),
			     "", LATE, NULL),
		PROVISION_MARK);
}

Test(provision_claim, what_others_make_is_left_alone)
{
	node("two", "[]");
	cr_assert_eq(next(WITH(ASKED NODE), ",'volumeName':'mine'", LATE, NULL), PROVISION_NOTHING);
	cr_assert_eq(
		next(WITH("'volume.kubernetes.io/storage-provisioner':'x'" NODE), "", LATE, NULL),
		PROVISION_NOTHING);
	cr_assert_eq(next(WITH(ASKED NODE ",'" KEY_PROVISION "':'false'"), "", LATE, NULL),
		PROVISION_NOTHING);
	cr_assert_eq(next(WITH(ASKED NODE), "", LATE, "{}"), PROVISION_NOTHING);
	cr_assert_eq(next(WITH(ASKED NODE), ",'selector':{'a':'b'}", LATE, NULL), PROVISION_TELL);
	cr_assert(s.warning);
	cr_assert_str_eq(s.reason, "ProvisioningFailed");
}

Test(provision_claim, goes_step_by_step_from_whatever_is_there)
{
	node("one", "[]");
	cr_assert_eq(next(MARKED, "", LATE, NULL), PROVISION_CREATE);
	cr_assert_str_eq(s.node, "one");
	cr_assert_eq(s.order.size, 1u << 30);
	no_nodes();
	node("one", "[" SILENT "]");
	cr_assert_eq(next(MARKED, "", LATE, NULL), PROVISION_WAIT);
	no_nodes();
	node("one", "[{'volume':'x'}," WAITS "]");
	cr_assert_eq(next(MARKED, "", LATE, NULL), PROVISION_WAIT);
	no_nodes();
	node("one", "[" CONFIRMS "]");
	cr_assert_eq(next(MARKED, "", LATE, NULL), PROVISION_WAIT);
	no_nodes();
	node("one", "[" STANDBY "]");
	cr_assert_eq(next(MARKED, "", LATE, NULL), PROVISION_TELL);
	no_nodes();
	node("one", "[" MOUNTED "]");
	cr_assert_eq(next(MARKED, "", LATE, NULL), PROVISION_BIND);
	cr_assert_str_eq(s.path, "/mnt/v/data");
	cr_assert_eq(s.size, 1u << 30);
	cr_assert_eq(next(MARKED, "", LATE, "{}"), PROVISION_UNMARK);
	cr_assert_str_eq(s.reason, "ProvisioningSucceeded");
	/* The mark has the word, whatever the scheduler says later. */
	cr_assert_eq(next(MARKED, ",'volumeName':'" NAME "'", LATE, "{}"), PROVISION_UNMARK);
}

Test(provision_claim, a_node_that_does_not_answer_is_waited_for)
{
	node("one", "");
	cr_assert_eq(next(MARKED, "", LATE, NULL), PROVISION_TELL);
	cr_assert(strstr(s.message, "'one' does not answer"));
	cr_assert_eq(next(WITH(ASKED NODE), "", LATE, NULL), PROVISION_TELL);
	cr_assert(strstr(s.message, "'two' has no engine"));
	cr_assert_eq(next(WITH(ASKED), "", "Immediate", NULL), PROVISION_TELL);
	cr_assert(strstr(s.message, "no node is ready"), "%s", s.message);
}

Test(provision_claim, without_a_word_the_node_with_fewest_volumes_is_taken)
{
	node("one", "[{'volume':'x'},{'volume':'y'}]");
	node("three", "");
	node("two", "[{'volume':'x'}]");
	cr_assert_eq(next(WITH(ASKED), "", "Immediate", NULL), PROVISION_MARK);
	cr_assert_str_eq(s.node, "two");
}

Test(provision_claim, one_that_is_deleted_meanwhile_takes_what_was_made_along)
{
	node("one", "[]");
	cr_assert_eq(next(MARKED ",'deletionTimestamp':'t'", "", LATE, NULL), PROVISION_UNDO);
	cr_assert_str_eq(s.node, "one");
	cr_assert_eq(next(MARKED ",'deletionTimestamp':'t'", "", LATE, "{}"), PROVISION_UNMARK);
	cr_assert_eq(next(WITH(ASKED NODE) ",'deletionTimestamp':'t'", "", LATE, NULL),
		PROVISION_NOTHING);
	no_nodes();
	node("one", "");
	cr_assert_eq(next(MARKED ",'deletionTimestamp':'t'", "", LATE, NULL), PROVISION_ASK_NODE);
	cr_assert_str_eq(s.node, "one");
	own = PROVISION_NODE_THERE;
	cr_assert_eq(next(MARKED ",'deletionTimestamp':'t'", "", LATE, NULL), PROVISION_TELL);
	cr_assert(strstr(s.message, "kubectl delete node one"), "%s", s.message);
	own = PROVISION_NODE_GONE;
	cr_assert_eq(next(MARKED ",'deletionTimestamp':'t'", "", LATE, NULL), PROVISION_ABANDON);
	no_nodes();
	own = PROVISION_NODE_GONE;
	cr_assert_eq(next(MARKED ",'deletionTimestamp':'t'", "", LATE, NULL), PROVISION_ABANDON);
	cr_assert_eq(next(MARKED ",'deletionTimestamp':'t'", "", LATE, "{}"), PROVISION_UNMARK);
	/* The other site is gone for ever. */
	cr_assert_eq(next(MARKED_ALONE, "", LATE, NULL), PROVISION_UNMARK);
	no_nodes();
	node("one", "[]");
	cr_assert_eq(next(MARKED_ALONE, "", LATE, NULL), PROVISION_UNDO);
	cr_assert(s.local);
}

/* --- PersistentVolumes --- */

static enum provision_do then(
	const char *meta, const char *spec, const char *phase, const char *claim)
{
	struct json *pv = format("{'metadata':{'name':'" NAME "','labels':{'" KEY_VOLUME "':'" NAME
				 "'}%s},'spec':{'nodeAffinity':{},'hostPath':{'path':'/mnt/v/data'}"
				 ",'capacity':{'storage':'1Gi'}%s},'status':{'phase':'%s'}}",
			    meta, spec, phase),
		    *c = claim ? parse(claim) : NULL;

	cr_assert(provision_is_ours(pv));
	provision_volume(pv, c, names_it, nodes, nnodes, own, &s);
	json_free(pv);
	json_free(c);
	return s.what;
}

#define DELETE ",'persistentVolumeReclaimPolicy':'Delete'"
#define ON(n) ",'annotations':{'" KEY_NODE "':'" n "'},'finalizers':['" FINALIZER_VOLUME "']"

TestSuite(provision_volume, .fini = no_nodes);

Test(provision_volume, data_is_removed_only_where_the_volume_is_active_here)
{
	node("one", "[" MOUNTED "]");
	cr_assert_eq(then(ON("one"), DELETE, "Released", NULL), PROVISION_ERASE);
	cr_assert_eq(then(ON("one"), DELETE, "Failed", NULL), PROVISION_ERASE);
	cr_assert_eq(then(ON("one"), DELETE, "Bound", "{}"), PROVISION_NOTHING);
	no_nodes();
	node("one", "[" STANDBY "]");
	cr_assert_eq(then(ON("one"), DELETE, "Released", NULL), PROVISION_KEEP);
	cr_assert(strstr(s.message, "active at site-b"));
	no_nodes();
	node("one", "[" SILENT "]");
	cr_assert_eq(then(ON("one"), DELETE, "Released", NULL), PROVISION_TELL);
	no_nodes();
	node("one", "[" NOBODY "]");
	cr_assert_eq(then(ON("one"), DELETE, "Released", NULL), PROVISION_TELL);
	no_nodes();
	node("one", "[]");
	cr_assert_eq(then(ON("one"), DELETE, "Released", NULL), PROVISION_FORGET);
}

#define CLAIMED ",'claimRef':{'namespace':'ns','name':'db','uid':'1'}"
#define NOTED(epoch, aside)                                                                        \
	",'annotations':{'" KEY_NODE "':'one','" KEY_EPOCH "':'" epoch "'" aside "}"
#define ASIDE ",'" KEY_RECLAIM "':'Delete'"
#define IN_EPOCH(n)                                                                                \
	"[{'volume':'" NAME "','status':{'role':'active','mounted':true,'active_domain':'a',"      \
	"'epoch':" n ",'mount':'/mnt/v','space':{'size':1073741824}}}]"

Test(provision_volume, a_claim_that_goes_where_the_volume_is_standby_removes_nothing_later)
{
	node("one", "[" STANDBY "]");
	cr_assert_eq(then(ON("one"), DELETE CLAIMED, "Released", NULL), PROVISION_KEEP);
	cr_assert_str_eq(s.reason, "VolumeRetained");
	cr_assert(strstr(s.message, "delete the claim at site-b"), "%s", s.message);
	cr_assert_eq(then(ON("one"), CLAIMED, "Released", NULL), PROVISION_KEEP);
	/* Deleted itself: the object goes, Retain. */
	cr_assert_eq(then(ON("one") ",'deletionTimestamp':'t'", DELETE, "Released", NULL),
		PROVISION_KEEP);
	cr_assert_eq(
		then(ON("one") ",'deletionTimestamp':'t'", "", "Released", NULL), PROVISION_LET_GO);
	no_nodes();
	/* It went, and nobody looked until the volume was active here again. */
	node("one", IN_EPOCH("7"));
	cr_assert_eq(then(NOTED("5", ""), DELETE CLAIMED, "Released", NULL), PROVISION_KEEP);
	cr_assert(strstr(s.message, "kubectl delete pv " NAME), "%s", s.message);
	cr_assert_eq(then(NOTED("7", ""), DELETE CLAIMED, "Released", NULL), PROVISION_ERASE);
	cr_assert_eq(then(NOTED("5", "") ",'deletionTimestamp':'t'", DELETE, "Available", NULL),
		PROVISION_ERASE);
}

Test(provision_volume, the_policy_goes_with_the_active_role)
{
	node("one", "[" STANDBY "]");
	cr_assert_eq(then(ON("one"), DELETE, "Bound", "{}"), PROVISION_STANDBY);
	cr_assert_eq(then(ON("one"), "", "Bound", "{}"), PROVISION_NOTHING);
	no_nodes();
	node("one", "[" SILENT "]");
	cr_assert_eq(then(ON("one"), DELETE, "Bound", "{}"), PROVISION_NOTHING);
	cr_assert_eq(then(NOTED("5", ASIDE), "", "Bound", "{}"), PROVISION_NOTHING);
	no_nodes();
	node("one", IN_EPOCH("7"));
	cr_assert_eq(then(NOTED("5", ASIDE), "", "Bound", "{}"), PROVISION_ACTIVE);
	cr_assert_eq(s.epoch, 7);
	cr_assert_eq(then(NOTED("5", ""), DELETE, "Bound", "{}"), PROVISION_ACTIVE);
	cr_assert_eq(then(NOTED("7", ""), DELETE, "Bound", "{}"), PROVISION_NOTHING);
	/* What a person made Retain where it is active stays that, and a claim that is going changes nothing. */
	cr_assert_eq(then(NOTED("5", ""), "", "Bound", "{}"), PROVISION_NOTHING);
	cr_assert_eq(then(NOTED("5", ASIDE), "", "Bound", "{'metadata':{'deletionTimestamp':'t'}}"),
		PROVISION_NOTHING);
	cr_assert_eq(then(NOTED("5", ASIDE), CLAIMED, "Released", NULL), PROVISION_TELL);
	cr_assert_eq(then(NOTED("5", ASIDE), "", "Available", NULL), PROVISION_NOTHING);
}

Test(provision_volume, a_claim_that_names_it_gets_it_and_is_never_without_its_data)
{
	node("one", "[" MOUNTED "]");
	names_it = parse("{'metadata':{'namespace':'ns','name':'db','uid':'2'}}");
	cr_assert_eq(then(ON("one"), DELETE CLAIMED, "Released", NULL), PROVISION_REBIND);
	cr_assert_eq(then(ON("one"), CLAIMED, "Released", NULL), PROVISION_REBIND);
	json_free(names_it);
	names_it = parse("{'metadata':{'namespace':'ns','name':'other','uid':'3'}}");
	cr_assert_eq(then(ON("one"), DELETE CLAIMED, "Released", NULL), PROVISION_TELL);
	cr_assert(strstr(s.message, "claim 'ns/other' names it"), "%s", s.message);
	cr_assert_eq(then(ON("one") ",'deletionTimestamp':'t'", DELETE CLAIMED, "Released", NULL),
		PROVISION_TELL);
}

static void patch_is(
	enum provision_do step, const char *annotations, const char *policy, const char *want)
{
	struct json *pv = format(
			    "{'metadata':{'name':'x','resourceVersion':'9','finalizers':['y'],"
			    "'annotations':{%s}},'spec':{'persistentVolumeReclaimPolicy':'%s'}}",
			    annotations, policy),
		    *expected = parse(want), *patch;
	struct provision_step role = {.what = step, .epoch = 7};

	patch = provision_role(pv, &role);
	cr_assert(json_equal(patch, expected), "%s", json_text(patch, false));
	json_free(pv);
	json_free(expected);
	json_free(patch);
}

#define FREED ",'claimRef':{'uid':null,'resourceVersion':null}"

Test(provision_object, the_policy_is_put_aside_and_taken_back)
{
	patch_is(PROVISION_STANDBY, "", "Delete",
		"{'metadata':{'finalizers':['y'],'resourceVersion':'9','annotations':{'" KEY_RECLAIM
		"':'Delete'}},'spec':{'persistentVolumeReclaimPolicy':'Retain'}}");
	patch_is(PROVISION_KEEP, "'" KEY_RECLAIM "':'Delete'", "Retain",
		"{'metadata':{'finalizers':['y'],'resourceVersion':'9','annotations':{}},'spec':"
		"{'persistentVolumeReclaimPolicy':'Retain'" FREED "}}");
	patch_is(PROVISION_REBIND, "", "Delete",
		"{'metadata':{'finalizers':['y'],'resourceVersion':'9','annotations':{}},'spec':{"
		"'claimRef':{'uid':null,'resourceVersion':null}}}");
	patch_is(PROVISION_ACTIVE, "'" KEY_RECLAIM "':'Delete'", "Retain",
		"{'metadata':{'finalizers':['y','" FINALIZER_VOLUME "'],'resourceVersion':'9',"
		"'annotations':{'" KEY_RECLAIM
		"':null,'pv.kubernetes.io/provisioned-by':'" PROVISIONER "','" KEY_EPOCH
		"':'7'}},'spec':{'persistentVolumeReclaimPolicy':'Delete'}}");
}

Test(provision_volume, a_node_that_is_away_may_still_have_it_until_its_object_is_gone)
{
	node("one", "");
	node("two", "[]");
	cr_assert_eq(then(ON("one"), DELETE, "Released", NULL), PROVISION_ASK_NODE);
	cr_assert_str_eq(s.node, "one");
	own = PROVISION_NODE_THERE;
	cr_assert_eq(then(ON("one"), DELETE, "Released", NULL), PROVISION_TELL);
	cr_assert(strstr(s.message, "node 'one' does not say"), "%s", s.message);
	cr_assert(strstr(s.message, "kubectl delete node one"), "%s", s.message);
	own = PROVISION_NODE_GONE; /* its pod is not cleared away yet */
	cr_assert_eq(then(ON("one"), DELETE, "Released", NULL), PROVISION_ABANDON);
	cr_assert_str_eq(s.node, "one");
	cr_assert_eq(then(ON("one"), "", "Released", NULL), PROVISION_TELL);
	cr_assert_eq(then(ON("one"), DELETE, "Bound", "{}"), PROVISION_NOTHING);
	no_nodes();
	node("two", "[]");
	cr_assert_eq(then(ON("one"), DELETE, "Released", NULL), PROVISION_ASK_NODE);
	own = PROVISION_NODE_GONE;
	cr_assert_eq(then(ON("one"), DELETE, "Released", NULL), PROVISION_ABANDON);
}

#define ALONE                                                                                      \
	",'annotations':{'" KEY_NODE "':'one','" KEY_EPOCH "':'5','" KEY_DELETE_LOCAL "':'true'}"

Test(provision_volume, for_a_site_that_is_gone_for_ever_what_is_here_goes_alone)
{
	node("one", IN_EPOCH("5"));
	cr_assert_eq(then(ON("one"), DELETE, "Released", NULL), PROVISION_ERASE);
	cr_assert_not(s.local);
	cr_assert_eq(then(ALONE, DELETE, "Released", NULL), PROVISION_ERASE);
	cr_assert(s.local);
	/* Kept by its policy, or used. */
	cr_assert_eq(then(ALONE, "", "Released", NULL), PROVISION_TELL);
	cr_assert_eq(then(ALONE, DELETE, "Bound", "{}"), PROVISION_NOTHING);
	no_nodes();
	node("one", "[" SILENT "]"); /* in which epoch it is nobody knows */
	cr_assert_eq(then(ALONE, DELETE, "Released", NULL), PROVISION_TELL);
	cr_assert_eq(
		then(ALONE ",'deletionTimestamp':'t'", DELETE, "Released", NULL), PROVISION_ERASE);
	no_nodes();
	node("one", "[]");
	cr_assert_eq(then(ALONE, DELETE, "Released", NULL), PROVISION_FORGET);
	cr_assert(s.local, "nor is the other cluster asked");
	no_nodes();
	node("two", "[]");
	own = PROVISION_NODE_GONE;
	cr_assert_eq(then(ALONE, DELETE, "Released", NULL), PROVISION_FORGET);
}

Test(provision_volume,
	what_may_be_in_use_at_the_other_site_goes_alone_only_when_it_is_deleted_itself)
{
	node("one", "[" STANDBY "]");
	cr_assert_eq(then(ALONE, DELETE, "Released", NULL), PROVISION_KEEP);
	cr_assert_eq(
		then(ALONE ",'deletionTimestamp':'t'", DELETE, "Released", NULL), PROVISION_ERASE);
	cr_assert(s.local);
	no_nodes();
	node("one", IN_EPOCH("7"));
	cr_assert_eq(then(ALONE, DELETE CLAIMED, "Released", NULL), PROVISION_KEEP);
	no_nodes();
	node("one", "");
	own = PROVISION_NODE_THERE;
	cr_assert_eq(then(ALONE, DELETE, "Released", NULL), PROVISION_TELL);
}

Test(provision_volume, of_a_node_that_is_gone_no_other_one_is_silent_or_has_it)
{
	node("two", "");
	own = PROVISION_NODE_GONE;
	cr_assert_eq(then(ON("one"), DELETE, "Released", NULL), PROVISION_TELL);
	cr_assert(strstr(s.message, "node 'two'"), "%s", s.message);
	no_nodes();
	node("two", "[" MOUNTED "]");
	own = PROVISION_NODE_GONE;
	cr_assert_eq(then(ON("one"), DELETE, "Released", NULL), PROVISION_ERASE);
	no_nodes();
	cr_assert_eq(then(ON("one"), DELETE, "Released", NULL), PROVISION_ASK_NODE);
	own = PROVISION_NODE_GONE;
	cr_assert_eq(then(ON("one"), DELETE, "Released", NULL), PROVISION_ABANDON);
	cr_assert_eq(then("", DELETE, "Released", NULL), PROVISION_TELL);
	cr_assert(strstr(s.message, "no engine"), "%s", s.message);
}

Test(provision_volume, a_mount_that_no_holder_keeps_is_known_by_its_daemons_word)
{
	node("one", "[" MOUNTED "]");
	cr_assert_not(provision_mount_ends(NAME, nodes, nnodes));
	json_set_bool(json_get(json_at(json_get(nodes[0].status, "volumes"), 0), "status"), "held",
		false);
	cr_assert(provision_mount_ends(NAME, nodes, nnodes));
	json_set_bool(
		json_get(json_at(json_get(nodes[0].status, "volumes"), 0), "status"), "held", true);
	cr_assert_not(provision_mount_ends(NAME, nodes, nnodes));
	no_nodes();
	node("one", "[" STANDBY "]");
	cr_assert_not(provision_mount_ends(NAME, nodes, nnodes));
}

static int may_abandon(const char *entry)
{
	struct json *j = parse(entry);
	struct err e = {0};
	int ret = provision_may_abandon(j, "a", "site-b", &e);

	json_free(j);
	return ret;
}

Test(provision_volume, the_other_sites_replica_goes_only_where_ours_was_the_active_one)
{
	cr_assert_eq(may_abandon(CONFIRMS), 0);
	cr_assert_eq(may_abandon(MOUNTED), -EPERM);
	cr_assert_eq(may_abandon(STANDBY), -EPERM);
	cr_assert_eq(may_abandon(NOBODY), -EPERM);
	cr_assert_eq(may_abandon(SILENT), -EAGAIN);
}

Test(provision_volume, what_is_retained_is_told_how_to_use_it_again)
{
	node("one", "[" MOUNTED "]");
	cr_assert_eq(then(ON("one"), "", "Released", NULL), PROVISION_TELL);
	cr_assert_not(s.warning);
	cr_assert(strstr(s.message, "kubectl patch pv " NAME));
	cr_assert_eq(
		then(ON("one") ",'deletionTimestamp':'t'", "", "Released", NULL), PROVISION_LET_GO);
	cr_assert_eq(then(",'deletionTimestamp':'t'", "", "Released", NULL), PROVISION_NOTHING);
	no_nodes();
	node("one", "[]");
	cr_assert_eq(then(ON("one"), "", "Released", NULL), PROVISION_TELL);
	cr_assert(strstr(s.message, "no node of this site has its volume"), "%s", s.message);
}

#define CLAIM(want, has)                                                                           \
	"{'spec':{'resources':{'requests':{'storage':'" want "'}}},'status':{'capacity':"          \
	"{'storage':'" has "'}}}"
#define BIG                                                                                        \
	"{'volume':'" NAME "','status':{'role':'%s','mounted':%s,'active_domain':'x',"             \
	"'space':{'size':2147483648}}}"

Test(provision_volume, grows_in_three_steps)
{
	node("one", "[" MOUNTED "]");
	cr_assert_eq(then(ON("one"), "", "Bound", CLAIM("1Gi", "1Gi")), PROVISION_NOTHING);
	cr_assert_eq(then(ON("one"), "", "Bound", CLAIM("2Gi", "1Gi")), PROVISION_GROW);
	cr_assert_eq(s.size, 1ull << 31);
	cr_assert_eq(then(ON("one"), ",'capacity':{'storage':'2Gi'}", "Bound", CLAIM("1Gi", "1Gi")),
		PROVISION_CLAIM_SIZE);
	no_nodes();
	nnodes = 1;
	nodes[0] = (struct kube_node){
		.name = "one", .status = format("{'volumes':[" BIG "]}", "active", "true")};
	cr_assert_eq(then(ON("one"), "", "Bound", CLAIM("2Gi", "1Gi")), PROVISION_CAPACITY);
	cr_assert_eq(s.size, 1ull << 31);
	no_nodes();
	nnodes = 1;
	nodes[0] = (struct kube_node){
		.name = "one", .status = format("{'volumes':[" BIG "]}", "standby", "false")};
	cr_assert_eq(then(ON("one"), "", "Bound", CLAIM("2Gi", "1Gi")), PROVISION_CAPACITY);
	/* The capacity of a copy is the other cluster's word. */
	cr_assert_eq(
		then(",'annotations':{'" KEY_FROM "':'ns/pair'}", "", "Bound", CLAIM("2Gi", "1Gi")),
		PROVISION_NOTHING);
}

Test(provision_volume, a_copy_gets_the_node_that_has_the_replica)
{
	struct json *pv = parse("{'metadata':{'name':'x','labels':{'" KEY_VOLUME "':'" NAME
				"'}},'spec':{'hostPath':{'path':'/mnt/v/data'}}}");

	node("one", "[]");
	node("two", "[" STANDBY "]");
	provision_volume(pv, NULL, NULL, nodes, nnodes, own, &s);
	cr_assert_eq(s.what, PROVISION_PIN);
	cr_assert_str_eq(s.node, "two");
	cr_assert_eq(s.reason, NULL);
	json_set_string(json_path(pv, "spec", "hostPath"), "path", "/elsewhere/data");
	provision_volume(pv, NULL, NULL, nodes, nnodes, own, &s);
	cr_assert_eq(s.what, PROVISION_PIN);
	cr_assert_str_eq(s.reason, "StandbyPathDiffers");
	json_free(pv);
}

/* --- objects --- */

Test(provision_object, a_volume_is_bound_pinned_and_waits_for_its_mount)
{
	struct json *claim = parse("{'metadata':{'uid':'" UID "','namespace':'ns','name':'db'},"
				   "'spec':{'accessModes':['ReadWriteOnce']}}"),
		    *class = parse("{'metadata':{'name':'c'},'reclaimPolicy':'Delete'}"), *pv,
		    *want;
	struct provision_step step = {
		.volume = NAME, .node = "one", .path = "/mnt/v/data", .size = 1u << 30};

	pv = provision_new_volume(claim, class, &step, "site-a", "host");
	want = parse("{'apiVersion':'v1','kind':'PersistentVolume','metadata':{'name':'" NAME
		     "','labels':{'" KEY_VOLUME "':'" NAME "'},'annotations':{"
		     "'pv.kubernetes.io/provisioned-by':'" PROVISIONER "','" KEY_NODE
		     "':'one','" KEY_ORIGIN "':'site-a','tandemfs.dev/volume':'" NAME
		     "'},'finalizers':['" FINALIZER_VOLUME "']},"
		     "'spec':{'capacity':{'storage':'1Gi'},'accessModes':['ReadWriteOnce'],"
		     "'persistentVolumeReclaimPolicy':'Delete','storageClassName':'c',"
		     "'volumeMode':'Filesystem','hostPath':{'path':'/mnt/v/data','type':"
		     "'Directory'},'claimRef':{'apiVersion':'v1','kind':'PersistentVolumeClaim',"
		     "'namespace':'ns','name':'db','uid':'" UID "'},'nodeAffinity':{'required':{"
		     "'nodeSelectorTerms':[{'matchExpressions':[{'key':'kubernetes.io/hostname',"
		     "'operator':'In','values':['host']}]}]}}}}");
	cr_assert(json_equal(pv, want), "\n%s\n%s", json_text(pv, false), json_text(want, false));
	cr_assert(provision_is_ours(pv));
	json_free(pv);
	json_free(want);
	json_free(claim);
	json_free(class);
}

Test(provision_object, others_finalizers_stay_and_the_version_is_named)
{
	struct json *obj = parse("{'metadata':{'resourceVersion':'7','finalizers':['x','y']}}"),
		    *p = provision_finalizers(obj, "z", "x"),
		    *want = parse("{'metadata':{'finalizers':['y','z'],'resourceVersion':'7'}}");

	cr_assert(json_equal(p, want), "%s", json_text(p, false));
	json_free(p);
	p = provision_finalizers(obj, "y", NULL);
	cr_assert_eq(json_length(json_path(p, "metadata", "finalizers")), 2);
	json_free(p);
	json_free(obj);
	json_free(want);
}

Test(provision_object, a_name_comes_from_the_uid_alone)
{
	struct json *c = parse("{'metadata':{'uid':'" UID "'}}"), *bad = parse("{'metadata':{}}");
	char name[VOLUME_NAME_MAX + 1];

	cr_assert(provision_name(c, name));
	cr_assert_str_eq(name, NAME);
	cr_assert_not(provision_name(bad, name));
	json_set_string(json_get(bad, "metadata"), "uid", "../../etc");
	cr_assert_not(provision_name(bad, name));
	json_free(c);
	json_free(bad);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* From one cluster to the other: what goes over, what stays behind and why, what is held back and let go. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "kube_migrate.h"
#include "migrate.h"

static struct json *parse(const char *text)
{
	struct json *j = NULL;
	struct err e = {0};
	char buf[4096];
	size_t n = 0;

	for (; *text; text++) /* ' for ", so that tests can be read */
		buf[n++] = *text == '\'' ? '"' : *text;
	cr_assert_eq(json_parse(buf, n, &j, &e), 0, "%s", e.msg);
	return j;
}

static void same(struct json *got, const char *want)
{
	struct json *w = parse(want);

	cr_assert(json_equal(got, w), "\n%s\nnot\n%s", json_text(got, false), json_text(w, false));
	json_free(w);
}

/* What arrives, without the hash. */
static void arrives(const struct migrate_options *o, const char *from, const char *want)
{
	struct json *j = parse(from), *p = migrate_prepare(o, j);

	cr_assert_eq(migrate_skip(o, j), NULL);
	cr_assert_eq(strlen(annotation_of(p, KEY_HASH)), 16);
	json_remove(json_path(p, "metadata", "annotations"), KEY_HASH);
	same(p, want);
	json_free(p);
	json_free(j);
}

static void stays(const struct migrate_options *o, const char *from, const char *why)
{
	struct json *j = parse(from);
	const char *reason = migrate_skip(o, j);

	cr_assert(reason, "%s migrates", from);
	cr_assert(strstr(reason, why), "%s: '%s'", from, reason);
	json_free(j);
}

static const struct migrate_options plain;

Test(migrate, a_replicated_volume_leaves_its_node_behind)
{
	arrives(&plain,
		"{'apiVersion':'v1','kind':'PersistentVolume','metadata':{'name':'v','labels':{"
		"'tandemfs.dev/volume-id':'v'},'annotations':{'tandemfs.dev/selected-node':'n'}},"
		"'spec':{'hostPath':{'path':'/m/data'},'nodeAffinity':{'required':{}},"
		"'persistentVolumeReclaimPolicy':'Delete'}}",
		"{'apiVersion':'v1','kind':'PersistentVolume','metadata':{'name':'v','labels':{"
		"'tandemfs.dev/volume-id':'v'},'annotations':{'tandemfs.dev/reclaimPolicy':"
		"'Delete'}},'spec':{'hostPath':{'path':'/m/data'},"
		"'persistentVolumeReclaimPolicy':'Retain'}}");
}

Test(migrate, of_the_metadata_only_what_people_wrote_goes_over_and_no_status)
{
	arrives(&plain,
		"{'apiVersion':'v1','kind':'ConfigMap','metadata':{'name':'c','namespace':'blue','"
		"uid':'u',"
		"'resourceVersion':'7','creationTimestamp':'t','generation':3,'managedFields':[{}],"
		"'selfLink':'s','finalizers':['f'],'ownerReferences':[{'kind':'X'}],'labels':{'a':'"
		"b'},"
		"'annotations':{'mine':'1','kubectl.kubernetes.io/"
		"last-applied-configuration':'{}'}},"
		"'data':{'k':'v'},'status':{'x':1}}",
		"{'apiVersion':'v1','kind':'ConfigMap','metadata':{'name':'c','namespace':'blue',"
		"'labels':{'a':'b'},'annotations':{'mine':'1'}},'data':{'k':'v'}}");
}

Test(migrate, the_rights_of_the_agents_stay_on_their_side)
{
	stays(&plain,
		"{'kind':'RoleBinding','metadata':{'name':'m'},'roleRef':{'name':'tandem-migrator'}"
		"}",
		"replication itself");
}

Test(migrate, a_service_loses_its_addresses_and_ports_but_stays_headless)
{
	struct migrate_options o = {.keep_node_ports = true};
	const char *s =
		"{'kind':'Service','metadata':{'name':'s'},'spec':{'clusterIP':'10.0.0.1','"
		"clusterIPs':"
		"['10.0.0.1'],'ipFamilies':['IPv4'],'loadBalancerIP':'1.2.3.4','"
		"healthCheckNodePort':31000,"
		"'ports':[{'port':80,'nodePort':30080}],'type':'LoadBalancer'},'status':{}}";

	arrives(&plain, s,
		"{'kind':'Service','metadata':{'name':'s','annotations':{}},"
		"'spec':{'ports':[{'port':80}],'type':'LoadBalancer'}}");
	arrives(&o, s,
		"{'kind':'Service','metadata':{'name':'s','annotations':{}},'spec':{'"
		"healthCheckNodePort':31000,"
		"'ports':[{'port':80,'nodePort':30080}],'type':'LoadBalancer'}}");
	arrives(&plain,
		"{'kind':'Service','metadata':{'name':'h'},'spec':{'clusterIP':'None','clusterIPs':"
		"['None']}}",
		"{'kind':'Service','metadata':{'name':'h','annotations':{}},"
		"'spec':{'clusterIP':'None','clusterIPs':['None']}}");
}

Test(migrate, webhooks_refuse_nothing_while_their_service_is_held_back)
{
	struct migrate_options start = {.start_applications = true};
	const char *k =
		"{'kind':'MutatingWebhookConfiguration','metadata':{'name':'k','annotations':{"
		"'tandemfs.dev/migrationFailurePolicy':'ab,c'}},'webhooks':["
		"{'name':'a','failurePolicy':'Ignore','clientConfig':{'service':{}}},"
		"{'name':'c','failurePolicy':'Ignore','clientConfig':{'service':{}}},"
		"{'name':'d','clientConfig':{'service':{},'caBundle':'x'}},"
		"{'name':'e','failurePolicy':'Fail','clientConfig':{'url':'u'}}]}";

	arrives(&plain, k,
		"{'kind':'MutatingWebhookConfiguration','metadata':{'name':'k','annotations':{"
		"'tandemfs.dev/migrationFailurePolicy':'c,d'}},'webhooks':["
		"{'name':'a','failurePolicy':'Ignore','clientConfig':{'service':{}}},"
		"{'name':'c','failurePolicy':'Ignore','clientConfig':{'service':{}}},"
		"{'name':'d','clientConfig':{'service':{},'caBundle':'x'},'failurePolicy':'Ignore'}"
		","
		"{'name':'e','failurePolicy':'Fail','clientConfig':{'url':'u'}}]}");
	arrives(&start, k,
		"{'kind':'MutatingWebhookConfiguration','metadata':{'name':'k','annotations':{}},"
		"'webhooks':["
		"{'name':'a','failurePolicy':'Ignore','clientConfig':{'service':{}}},"
		"{'name':'c','failurePolicy':'Fail','clientConfig':{'service':{}}},"
		"{'name':'d','clientConfig':{'service':{},'caBundle':'x'},'failurePolicy':'Fail'},"
		"{'name':'e','failurePolicy':'Fail','clientConfig':{'url':'u'}}]}");
}

static const char *to_green(void *ctx, const char *ns)
{
	return strcmp(ns, "blue") ? NULL : "green";
}

static bool is_blue(void *ctx, const char *ns)
{
	return !strcmp(ns, "blue");
}

Test(migrate, volumes_stay_bound_by_name_in_the_mapped_namespace_and_are_retained)
{
	struct migrate_options o = {.namespace_to = to_green};

	arrives(&o,
		"{'kind':'PersistentVolume','metadata':{'name':'pv','annotations':{"
		"'pv.kubernetes.io/"
		"provisioned-by':'x'}},'spec':{'persistentVolumeReclaimPolicy':'Delete',"
		"'claimRef':{'namespace':'blue','name':'data','uid':'u','resourceVersion':'9'},"
		"'hostPath':{'path':'/p','type':'Directory'}}}",
		"{'kind':'PersistentVolume','metadata':{'name':'pv','annotations':{'tandemfs.dev/"
		"reclaimPolicy':"
		"'Delete'}},'spec':{'persistentVolumeReclaimPolicy':'Retain','claimRef':{'"
		"apiVersion':'v1','kind':"
		"'PersistentVolumeClaim','namespace':'green','name':'data'},"
		"'hostPath':{'path':'/p','type':'Directory'}}}");
	arrives(&o,
		"{'kind':'PersistentVolumeClaim','metadata':{'name':'data','namespace':'blue','"
		"annotations':{"
		"'pv.kubernetes.io/bind-completed':'yes','volume.kubernetes.io/"
		"selected-node':'n1'}},"
		"'spec':{'volumeName':'pv','dataSource':{'name':'snap'},'storageClassName':'"
		"tandemfs'}}",
		"{'kind':'PersistentVolumeClaim','metadata':{'name':'data','namespace':'green','"
		"annotations':{'tandemfs.dev/source-namespace':'blue'}},"
		"'spec':{'volumeName':'pv','storageClassName':'tandemfs'}}");
}

Test(migrate, a_deployment_arrives_at_zero_and_remembers_what_it_had)
{
	struct migrate_options start = {.start_applications = true};
	const char *d = "{'kind':'Deployment','metadata':{'name':'d'},'spec':{'replicas':3}}";

	arrives(&plain, d,
		"{'kind':'Deployment','metadata':{'name':'d','annotations':{'tandemfs.dev/"
		"migrationReplicas':'3'},"
		"'labels':{'tandemfs.dev/migrated':'true'}},'spec':{'replicas':0}}");
	arrives(&start, d,
		"{'kind':'Deployment','metadata':{'name':'d','annotations':{},"
		"'labels':{'tandemfs.dev/migrated':'true'}},'spec':{'replicas':3}}");
	/* Without a count it is one. */
	arrives(&plain, "{'kind':'StatefulSet','metadata':{'name':'d'},'spec':{}}",
		"{'kind':'StatefulSet','metadata':{'name':'d','annotations':{'tandemfs.dev/"
		"migrationReplicas':'1'},"
		"'labels':{'tandemfs.dev/migrated':'true'}},'spec':{'replicas':0}}");
}

Test(migrate, zero_replicas_of_a_stopped_application_do_not_overwrite_what_it_had)
{
	static const char *const keys[] = {
		"tandemfs.dev", "stork.libopenstorage.org", "stork.openstorage.org"};
	char text[256];

	for (unsigned i = 0; i < ARRAY_SIZE(keys); i++) {
		snprintf(text, sizeof(text),
			"{'kind':'Deployment','metadata':{'name':'d','annotations':{'%s/"
			"migrationReplicas':'5'}},"
			"'spec':{'replicas':0}}",
			keys[i]);
		arrives(&plain, text,
			"{'kind':'Deployment','metadata':{'name':'d','annotations':{"
			"'tandemfs.dev/migrationReplicas':'5'},'labels':{'tandemfs.dev/"
			"migrated':'true'}},"
			"'spec':{'replicas':0}}");
	}
	/* What is no number is not believed. */
	arrives(&plain,
		"{'kind':'Deployment','metadata':{'name':'d','annotations':{"
		"'tandemfs.dev/migrationReplicas':'3x'}},'spec':{'replicas':2}}",
		"{'kind':'Deployment','metadata':{'name':'d','annotations':{'tandemfs.dev/"
		"migrationReplicas':'2'},"
		"'labels':{'tandemfs.dev/migrated':'true'}},'spec':{'replicas':0}}");
}

/* What arrives over a copy that is there; `note`: a part of what is said of it, NULL: nothing. */
static void arrives_over(const struct migrate_options *o, const char *from, const char *over,
	const char *want, const char *note)
{
	struct json *j = parse(from), *t = parse(over), *p;
	const char *said;

	p = migrate_prepare_over(o, j, t, &said);
	json_remove(json_path(p, "metadata", "annotations"), KEY_HASH);
	same(p, want);
	cr_assert(!note == !said && (!note || strstr(said, note)), "%s", said ? said : "");
	json_free(p);
	json_free(t);
	json_free(j);
}

#define COUNTED(meta, n)                                                                           \
	"{'kind':'Deployment','metadata':{'name':'d'" meta "},'spec':{'replicas':" n "}}"
#define MEMORY(n) ",'annotations':{'tandemfs.dev/migrationReplicas':'" n "'}"
#define OURS ",'labels':{'tandemfs.dev/migrated':'true'}"

Test(migrate, a_workload_that_was_scaled_to_zero_by_hand_keeps_the_count_that_is_remembered_there)
{
	struct migrate_options start = {.start_applications = true};
	const char *stopped = COUNTED("", "0");

	arrives_over(&plain, stopped, COUNTED(MEMORY("5"), "0"), COUNTED(MEMORY("5") OURS, "0"),
		"is kept");
	arrives_over(&plain, stopped,
		COUNTED(",'annotations':{'stork.libopenstorage.org/migrationReplicas':'5'}", "0"),
		COUNTED(MEMORY("5") OURS, "0"), "is kept");
	/* A zero from the beginning, a zero that is said, a count of its own. */
	arrives_over(
		&plain, stopped, COUNTED(MEMORY("0"), "0"), COUNTED(MEMORY("0") OURS, "0"), NULL);
	arrives_over(&plain, stopped, COUNTED("", "3"), COUNTED(MEMORY("0") OURS, "0"), NULL);
	arrives_over(&plain, COUNTED(MEMORY("0"), "0"), COUNTED(MEMORY("5"), "0"),
		COUNTED(MEMORY("0") OURS, "0"), NULL);
	arrives_over(&plain, COUNTED("", "2"), COUNTED(MEMORY("5"), "0"),
		COUNTED(MEMORY("2") OURS, "0"), NULL);
	arrives_over(&plain, COUNTED(MEMORY("2"), "0"), COUNTED(MEMORY("5"), "0"),
		COUNTED(MEMORY("2") OURS, "0"), NULL);
	/* Where copies run it stands still with its source, and what it had is not lost either. */
	arrives_over(&start, stopped, COUNTED(MEMORY("5"), "0"), COUNTED(MEMORY("5") OURS, "0"),
		"is kept");
	arrives_over(
		&start, stopped, COUNTED("", "5"), COUNTED(",'annotations':{}" OURS, "0"), NULL);
}

#define TIMED(meta, s) "{'kind':'CronJob','metadata':{'name':'c'" meta "},'spec':{'suspend':" s "}}"
#define WAS(s) ",'annotations':{'tandemfs.dev/migrationSuspend':'" s "'}"

Test(migrate, a_cron_job_that_was_suspended_by_hand_keeps_that_it_ran)
{
	arrives_over(&plain, TIMED("", "true"), TIMED(WAS("false"), "true"),
		TIMED(WAS("false") OURS, "true"), "is kept");
	arrives_over(&plain, TIMED("", "true"), TIMED(WAS("true"), "true"),
		TIMED(WAS("true") OURS, "true"), NULL);
	arrives_over(&plain, TIMED(WAS("true"), "true"), TIMED(WAS("false"), "true"),
		TIMED(WAS("true") OURS, "true"), NULL);
	arrives_over(&plain, TIMED("", "false"), TIMED(WAS("true"), "true"),
		TIMED(WAS("false") OURS, "true"), NULL);
}

Test(migrate, cron_jobs_arrive_suspended_and_daemon_sets_without_a_node)
{
	arrives(&plain,
		"{'kind':'CronJob','metadata':{'name':'c'},'spec':{'schedule':'* * * * *'}}",
		"{'kind':'CronJob','metadata':{'name':'c','annotations':{'tandemfs.dev/"
		"migrationSuspend':'false'},"
		"'labels':{'tandemfs.dev/migrated':'true'}},'spec':{'schedule':'* * * * "
		"*','suspend':true}}");
	arrives(&plain,
		"{'kind':'DaemonSet','metadata':{'name':'d'},'spec':{'template':{'spec':{'x':1}}}}",
		"{'kind':'DaemonSet','metadata':{'name':'d','annotations':{},'labels':{"
		"'tandemfs.dev/migrated':'true'}},'spec':{'template':{'spec':{'x':1,"
		"'nodeSelector':{'tandemfs.dev/held-back':'true'}}}}}");
}

static void released(const char *live, const char *want)
{
	struct json *j = parse(live), *patch = hold_release(j);

	if (!want)
		cr_assert(!patch, "%s", json_text(patch, false));
	else
		same(patch, want);
	json_free(patch);
	json_free(j);
}

static void stopped(const char *live, const char *want)
{
	struct json *j = parse(live), *patch = hold_stop(j);

	if (!want)
		cr_assert(!patch, "%s", json_text(patch, false));
	else
		same(patch, want);
	json_free(patch);
	json_free(j);
}

Test(hold, what_was_held_back_is_let_go_and_nothing_else)
{
	released("{'kind':'Deployment','metadata':{'annotations':{'stork.openstorage.org/"
		 "migrationReplicas':'4'}},"
		 "'spec':{'replicas':0}}",
		"{'spec':{'replicas':4},'metadata':{'annotations':{"
		"'stork.openstorage.org/migrationReplicas':null}}}");
	/* Started by hand meanwhile; never held back. */
	released("{'kind':'Deployment','metadata':{'annotations':{'tandemfs.dev/"
		 "migrationReplicas':'4'}},"
		 "'spec':{'replicas':2}}",
		NULL);
	released("{'kind':'Deployment','metadata':{},'spec':{'replicas':0}}", NULL);
	/* Its owner had suspended it. */
	released("{'kind':'CronJob','metadata':{'annotations':{'tandemfs.dev/"
		 "migrationSuspend':'true'}},"
		 "'spec':{'suspend':true}}",
		"{'spec':{'suspend':true},'metadata':{'annotations':{'tandemfs.dev/"
		"migrationSuspend':null}}}");
	released("{'kind':'CronJob','metadata':{'annotations':{'tandemfs.dev/"
		 "migrationSuspend':'false'}},"
		 "'spec':{'suspend':true}}",
		"{'spec':{'suspend':false},'metadata':{'annotations':{'tandemfs.dev/"
		"migrationSuspend':null}}}");
	released("{'kind':'CronJob','metadata':{},'spec':{'suspend':true}}", NULL);
	released("{'kind':'DaemonSet','spec':{'template':{'spec':{'nodeSelector':{"
		 "'tandemfs.dev/held-back':'true'}}}}}",
		"{'spec':{'template':{'spec':{'nodeSelector':{'tandemfs.dev/held-back':null}}}}}");
	released("{'kind':'ConfigMap','metadata':{}}", NULL);
}

Test(hold, stopping_remembers_and_twice_is_as_once)
{
	stopped("{'kind':'StatefulSet','metadata':{},'spec':{'replicas':3}}",
		"{'spec':{'replicas':0},'metadata':{'annotations':{'tandemfs.dev/"
		"migrationReplicas':'3'}}}");
	stopped("{'kind':'StatefulSet','metadata':{'annotations':{'tandemfs.dev/"
		"migrationReplicas':'3'}},"
		"'spec':{'replicas':0}}",
		NULL);
	stopped("{'kind':'ReplicationController','metadata':{},'spec':{'replicas':2}}",
		"{'spec':{'replicas':0},'metadata':{'annotations':{'tandemfs.dev/"
		"migrationReplicas':'2'}}}");
	stopped("{'kind':'CronJob','metadata':{},'spec':{}}",
		"{'spec':{'suspend':true},'metadata':{'annotations':{'tandemfs.dev/"
		"migrationSuspend':'false'}}}");
	stopped("{'kind':'CronJob','metadata':{'annotations':{'tandemfs.dev/"
		"migrationSuspend':'false'}},"
		"'spec':{'suspend':true}}",
		NULL);
	/* Started by hand, and the annotation left on it: it runs. */
	stopped("{'kind':'CronJob','metadata':{'annotations':{'tandemfs.dev/"
		"migrationSuspend':'true'}},"
		"'spec':{'suspend':false}}",
		"{'spec':{'suspend':true},'metadata':{'annotations':{'tandemfs.dev/"
		"migrationSuspend':'false'}}}");
	stopped("{'kind':'Job','metadata':{},'spec':{},'status':{'conditions':[{'type':'Complete',"
		"'status':'True'}]}}",
		NULL);
}

Test(migrate, a_job_that_arrives_running_says_nothing_of_suspending)
{
	struct migrate_options o = {.start_applications = true, .include_jobs = true};

	arrives(&o, "{'kind':'Job','metadata':{'name':'j'},'spec':{'suspend':false}}",
		"{'kind':'Job','metadata':{'name':'j','annotations':{},'labels':{"
		"'tandemfs.dev/migrated':'true'}},'spec':{}}");
}

static bool deployment_migrates(void *ctx, const struct json *reference, const char *ns)
{
	return !strcmp(json_get_string(reference, "kind", ""), "Deployment") && !strcmp(ns, "blue");
}

Test(migrate, what_stays_behind_says_why)
{
	struct migrate_options o = {
		.owner_migrates = deployment_migrates, .namespace_migrates = is_blue};

	stays(&o, "{'kind':'Pod','metadata':{'name':'p'}}", "makes its own");
	stays(&o,
		"{'kind':'ReplicaSet','metadata':{'name':'r','namespace':'blue','ownerReferences':["
		"{"
		"'kind':'Deployment','name':'d'}]}}",
		"owner migrates");
	stays(&o, "{'kind':'ConfigMap','metadata':{'name':'kube-root-ca.crt'}}", "each cluster");
	stays(&o,
		"{'kind':'Secret','type':'kubernetes.io/service-account-token','metadata':{"
		"'name':'app-token-x8f','annotations':{'kubernetes.io/"
		"service-account.name':'app'}}}",
		"token");
	stays(&o, "{'kind':'ServiceAccount','metadata':{'name':'default'},'secrets':[{}]}",
		"nothing was added");
	stays(&o, "{'kind':'Service','metadata':{'name':'kubernetes','namespace':'default'}}",
		"own API");
	stays(&o,
		"{'kind':'Endpoints','metadata':{'name':'e'},'subsets':[{'notReadyAddresses':[{"
		"'ip':'1','targetRef':{}}]}]}",
		"controller");
	stays(&o, "{'kind':'Role','metadata':{'name':'system:x'}}", "own");
	stays(&o,
		"{'kind':'ClusterRoleBinding','metadata':{'name':'b'},'subjects':[{'kind':'User','"
		"name':'u'},"
		"{'kind':'ServiceAccount','name':'s','namespace':'red'}]}",
		"none of its subjects");
	stays(&o,
		"{'kind':'NetworkPolicy','metadata':{'name':'n'},'spec':{'egress':[{'to':[{},{'"
		"ipBlock':{}}]}]}}",
		"addresses");
	stays(&o, "{'kind':'Job','metadata':{'name':'j'}}", "run again");
	stays(&o,
		"{'apiVersion':'tandemfs.dev/v1alpha1','kind':'Migration','metadata':{'name':'m'}}",
		"differs");
	stays(&o, "{'kind':'ConfigMap','metadata':{'name':'c','deletionTimestamp':'t'}}",
		"deleted");
	stays(&o,
		"{'kind':'ConfigMap','metadata':{'name':'c','annotations':{"
		"'stork.libopenstorage.org/skip-resource':'true'}}}",
		"skip-resource");
	stays(&o, "{'metadata':{'name':'c'}}", "no kind");
}

Test(migrate, at_cluster_scope_what_each_cluster_has_by_itself_stays)
{
	struct migrate_options o = {.namespace_migrates = is_blue};

	stays(&o, "{'kind':'PriorityClass','metadata':{'name':'system-node-critical'}}",
		"each cluster");
	stays(&o,
		"{'kind':'ClusterRole','metadata':{'name':'admin','labels':{"
		"'kubernetes.io/bootstrapping':'rbac-defaults'}}}",
		"each cluster");
	stays(&o,
		"{'kind':'ClusterRoleBinding','metadata':{'name':'m'},'roleRef':{"
		"'name':'tandem-migrator-volumes'},'subjects':[{'kind':'ServiceAccount','name':'s',"
		"'namespace':'blue'}]}",
		"replication itself");
	arrives(&o,
		"{'kind':'ClusterRole','metadata':{'name':'all'},'aggregationRule':{'x':1},"
		"'rules':[{}]}",
		"{'kind':'ClusterRole','metadata':{'name':'all','annotations':{}},"
		"'aggregationRule':{'x':1}}");
	arrives(&o,
		"{'kind':'PriorityClass','metadata':{'name':'p'},'value':7,'globalDefault':true}",
		"{'kind':'PriorityClass','metadata':{'name':'p','annotations':{}},'value':7}");
}

#define CLASS(more) "{'kind':'StorageClass','metadata':{'name':'c'" more "}"
#define KINDS "'provisioner':'p','allowVolumeExpansion':true"

static void class_differs(const char *here, const char *over_there, const char *want)
{
	struct json *a = parse(here), *b = parse(over_there);
	const char *got = migrate_class_differs(a, b);

	cr_assert(!got == !want && (!want || !strcmp(got, want)), "%s, %s: %s", here, over_there,
		got ? got : "");
	json_free(a);
	json_free(b);
}

Test(migrate, a_storage_class_arrives_without_what_is_its_clusters_choice_and_is_compared)
{
	arrives(&plain,
		CLASS(",'annotations':{'storageclass.kubernetes.io/is-default-class':'true',"
		      "'a':'b'}},'allowedTopologies':[{}]," KINDS),
		CLASS(",'annotations':{'a':'b'}}," KINDS));
	class_differs("{" KINDS ",'parameters':{},'reclaimPolicy':'Delete'}",
		"{" KINDS ",'metadata':{'labels':{}}}", NULL);
	class_differs("{" KINDS ",'parameters':{'a':'1'}}", "{" KINDS "}", "parameters");
	class_differs("{" KINDS "}", "{" KINDS ",'parameters':{'a':'1'}}", "parameters");
	class_differs("{" KINDS ",'mountOptions':['a']}", "{" KINDS ",'mountOptions':['b']}",
		"mountOptions");
	class_differs("{" KINDS ",'reclaimPolicy':'Retain'}", "{" KINDS "}", "reclaimPolicy");
	class_differs("{" KINDS "}", "{'provisioner':'q'}", "provisioner");
	class_differs("{" KINDS "}", "{'provisioner':'p'}", "allowVolumeExpansion");
}

Test(migrate, a_namespace_brings_its_labels_and_nothing_of_its_cluster)
{
	struct json *j = parse("{'kind':'Namespace','metadata':{'name':'blue','uid':'u','labels':{"
			       "'kubernetes.io/metadata.name':'blue','team':'sky'},'annotations':{"
			       "'openshift.io/sa.scc.mcs':'s0','a':'b'}},'spec':{'finalizers':["
			       "'kubernetes']},'status':{'phase':'Active'}}"),
		    *p = migrate_prepare(&plain, j);

	json_remove(json_path(p, "metadata", "annotations"), KEY_HASH);
	same(p, "{'kind':'Namespace','metadata':{'name':'blue','labels':{'team':'sky'},"
		"'annotations':{'a':'b'}}}");
	json_free(p);
	json_free(j);
}

Test(migrate, a_volume_forgets_the_names_of_nodes_but_no_other_affinity)
{
	const char *form = "{'kind':'PersistentVolume','metadata':{'name':'v'%s},'spec':{%s"
			   "'persistentVolumeReclaimPolicy':'Retain'}}";
	char from[600], want[600], affinity[300];

	for (unsigned i = 0; i < 2; i++) {
		snprintf(affinity, sizeof(affinity),
			"'nodeAffinity':{'required':{'nodeSelectorTerms':[{'matchExpressions':[{"
			"'key':'%s','operator':'In','values':['x']}]}]}},",
			i ? "disk" : "kubernetes.io/hostname");
		snprintf(from, sizeof(from), form, "", affinity);
		snprintf(want, sizeof(want), form,
			",'annotations':{'tandemfs.dev/reclaimPolicy':'Retain'}",
			i ? affinity : "");
		arrives(&plain, from, want);
	}
}

Test(migrate, a_cluster_role_binding_is_reduced_to_who_migrates_and_keeps_whom_it_finds)
{
	struct migrate_options o = {.namespace_migrates = is_blue, .namespace_to = to_green};
	struct json *ours, *there, *j;

	j = parse("{'kind':'ClusterRoleBinding','metadata':{'name':'b'},'roleRef':{'name':'r'},'"
		  "subjects':["
		  "{'kind':'Group','name':'g'},{'kind':'ServiceAccount','name':'s','namespace':'"
		  "blue'},"
		  "{'kind':'ServiceAccount','name':'s','namespace':'red'}]}");
	ours = migrate_prepare(&o, j);
	same(json_get(ours, "subjects"),
		"[{'kind':'ServiceAccount','name':'s','namespace':'green'}]");
	there = parse("{'subjects':[{'namespace':'green','name':'s','kind':'ServiceAccount'},"
		      "{'kind':'Group','name':'admins'}]}");
	migrate_merge_subjects(ours, there);
	same(json_get(ours, "subjects"), "[{'kind':'ServiceAccount','name':'s','namespace':'green'}"
					 ",{'kind':'Group','name':'admins'}]");
	json_free(there);
	json_free(ours);
	json_free(j);
}

Test(migrate, the_hash_is_of_what_is_applied_and_of_nothing_else)
{
	struct json *
		a = parse("{'kind':'ConfigMap','metadata':{'name':'c','resourceVersion':'1'},'data'"
			  ":{'x':'1',"
			  "'y':'2'}}"),
	       *b = parse("{'data':{'y':'2','x':'1'},'metadata':{'resourceVersion':'9','name':'c'},"
			  "'kind':'ConfigMap','status':{}}"),
	       *c = parse("{'kind':'ConfigMap','metadata':{'name':'c'},'data':{'x':'2','y':'1'}}"),
	       *p, *q, *r;

	p = migrate_prepare(&plain, a);
	q = migrate_prepare(&plain, b);
	r = migrate_prepare(&plain, c);
	cr_assert_str_eq(annotation_of(p, KEY_HASH), annotation_of(q, KEY_HASH));
	cr_assert_str_neq(annotation_of(p, KEY_HASH), annotation_of(r, KEY_HASH));
	/* What is prepared from what was prepared, as in a failback, is the same again. */
	json_free(q);
	q = migrate_prepare(&plain, p);
	cr_assert(json_equal(p, q));
	json_free(p);
	json_free(q);
	json_free(r);
	json_free(a);
	json_free(b);
	json_free(c);
}

static const char *to_red(void *ctx, const char *ns)
{
	return strcmp(ns, "blue") ? NULL : "red";
}

Test(migrate, what_is_mapped_says_where_it_is_from)
{
	const struct migrate_options o = {.namespace_to = to_red};

	arrives(&o, "{'kind':'ConfigMap','metadata':{'name':'c','namespace':'blue'}}",
		"{'kind':'ConfigMap','metadata':{'name':'c','namespace':'red',"
		"'annotations':{'tandemfs.dev/source-namespace':'blue'}}}");
	/* On its way back it has its old name, and no more to say. */
	arrives(&o,
		"{'kind':'ConfigMap','metadata':{'name':'c','namespace':'green',"
		"'annotations':{'tandemfs.dev/source-namespace':'x'}}}",
		"{'kind':'ConfigMap','metadata':{'name':'c','namespace':'green','annotations':{}}"
		"}");
}

static void copies(const char *namespaces, const char *run, const char *meta, const char *run_there)
{
	char text[512];
	struct migration_run r = {.namespaces = parse(namespaces)};
	struct json *schedule, *copy;

	snprintf(text, sizeof(text),
		"{'metadata':{'name':'s','namespace':'blue','uid':'u'},'spec':{'suspend':true,"
		"'schedulePolicyName':'p','template':{'spec':%s}}}",
		run);
	schedule = parse(text);
	r.spec = json_path(schedule, "spec", "template", "spec");
	copy = static_copy(&r, schedule);
	cr_assert_eq(strlen(annotation_of(copy, KEY_HASH)), 16);
	json_remove(json_path(copy, "metadata", "annotations"), KEY_HASH);
	snprintf(text, sizeof(text),
		"{'apiVersion':'tandemfs.dev/v1alpha1','metadata':{'annotations':{"
		"'tandemfs.dev/static-copy':'true'},'name':'s','namespace':'%s'},'spec':{"
		"'schedulePolicyName':'p','template':{'spec':%s}}}",
		meta, run_there);
	same(copy, text);
	json_free(copy);
	json_free(schedule);
	json_free(r.namespaces);
}

Test(migrate, a_schedules_copy_is_in_the_words_of_there)
{
	copies("['blue']", "{'clusterPair':'c','forceConflicts':false}", "blue",
		"{'clusterPair':'c','forceConflicts':true}");
	copies("['blue']", "{'namespaceMapping':{'blue':'red','x':'y'}}", "red",
		"{'namespaceMapping':{'red':'blue'},'forceConflicts':true}");
	copies("['blue','green']", "{'namespaces':['*'],'excludeNamespaces':['red']}", "blue",
		"{'namespaces':['blue','green'],'forceConflicts':true}");
	copies("['blue','green']",
		"{'namespaces':['blue'],'namespaceSelectors':{'a':'b'},'namespaceMapping':{'blue':'"
		"red'}}",
		"red",
		"{'namespaces':['red','green'],'namespaceMapping':{'red':'blue'},"
		"'forceConflicts':true}");
}

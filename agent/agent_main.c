/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tandem-agent: one for each node; supervises the volume daemons and tells of them. Parses, wires, runs one
 * event loop. SIGTERM and SIGINT end the agent and nothing else, unless stop_daemons says otherwise: then the
 * daemons are stopped first, and waited for; a second signal ends the wait. SIGHUP makes it read its
 * configuration again, look at everything now, and try again what was refused.
 *
 * Failure modes: a wrong configuration is status 78 with file, line and reason; a second agent for the same
 * run directory ends at once and says so. A configuration that is wrong when it is read again, or wants to
 * change what cannot be changed, is an error in the log and the old one stays, all of it. What else goes wrong is about one volume, and is in the status.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent_config.h"
#include "api.h"
#include "kube_run.h"
#include "log.h"
#include "supervise.h"

#define EXIT_USAGE 2
#define EXIT_CONFIG 78

struct agent {
	struct agent_config config;
	struct loop *loop;
	struct supervisor *supervisor;
	struct api *api;
	struct loop_source signals;
	bool stopping, daemons_stop;
};

static const char usage_text[] =
	"usage: tandem-agent [--config FILE] [--dry-run] [--verbose]\n"
	"       tandem-agent --kubernetes [--leader-elect] [--config FILE] [--verbose]\n"
	"\n"
	"  --config FILE  default " AGENT_CONFIG_PATH "\n"
	"  --dry-run      print what would be done about each volume, and exit\n"
	"  --kubernetes   act on the objects of this Kubernetes cluster, and supervise nothing\n"
	"  --leader-elect only while this process holds the Lease\n"
	"  --verbose      log more\n"
	"  --version, --help\n"
	"\n"
	"See tandem-agent(8).\n";

/* The file as it is now: taken as a whole, or not at all. */
static int reload(void *ctx, struct err *e)
{
	static struct agent_config new; /* large; one thread */
	struct agent *a = ctx;
	int ret = agent_config_load(a->config.path, &new, e);

	if (!ret)
		ret = agent_config_check_fixed(&a->config, &new, e);
	if (ret) {
		log_error("%s; the configuration stays as it was", e->msg);
	} else {
		agent_config_replace(&a->config, &new);
		log_info("'%s' is read again", a->config.path);
		if (a->api)
			api_reconfigured(a->api);
	}
	supervisor_again(a->supervisor);
	return ret;
}

static void signal_ready(struct loop_source *s, uint32_t events)
{
	struct agent *a = container_of(s, struct agent, signals);
	struct signalfd_siginfo info;

	if (read(s->fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGHUP) {
		struct err e;

		log_info("SIGHUP: looking at everything again");
		reload(a, &e);
	} else if (a->config.stop_daemons && !a->daemons_stop) {
		log_info("stopping, when the daemons have");
		a->daemons_stop = true;
		supervisor_stop(a->supervisor);
	} else {
		log_info("stopping; the daemons go on");
		a->stopping = true;
	}
}

static bool goes_on(const struct agent *a)
{
	return !a->stopping && !(a->daemons_stop && supervisor_stopped(a->supervisor));
}

static int take_signals(struct agent *a)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -errno;
	a->signals = (struct loop_source){.events = EPOLLIN, .ready = signal_ready};
	a->signals.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return a->signals.fd < 0 ? -errno : loop_add(a->loop, &a->signals);
}

/* The lock goes with the process; nothing of it is left in the way of the next one. */
static int lock_run_dir(const struct agent_config *c, struct err *e)
{
	char path[4200];
	int fd;

	if (mkdir(c->run_dir, 0755) < 0 && errno != EEXIST)
		return err_set(e, -errno, "cannot make '%.150s': %s", c->run_dir, strerror(errno));
	snprintf(path, sizeof(path), "%s/agent.lock", c->run_dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set(e, -errno, "cannot open '%.150s': %s", path, strerror(errno));
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return err_set(e, -errno, "'%.150s' is locked: another agent runs here", path);
	return 0;
}

static int run(struct agent *a, struct err *e)
{
	int ret = lock_run_dir(&a->config, e);

	if (ret)
		return ret;
	ret = loop_new(&a->loop);
	if (!ret)
		ret = take_signals(a);
	if (ret)
		return err_set(e, ret, "an event loop: %s", strerror(-ret));
	a->supervisor = supervisor_new(a->loop, &a->config);
	log_info("tandem-agent " API_VERSION " for domain '%s', volumes in '%s'", a->config.domain,
		a->config.volumes);
	ret = api_new(a->loop, &a->config, a->supervisor, reload, a, &a->api, e);
	if (ret) /* supervision matters more */
		log_error("rest: %s; nobody is served", e->msg);
	ret = 0;
	while (goes_on(a) && !ret)
		ret = loop_run_once(a->loop, UINT64_MAX);
	api_free(a->api);
	supervisor_free(a->supervisor);
	loop_remove(a->loop, &a->signals);
	close(a->signals.fd);
	loop_free(a->loop);
	return ret ? err_set(e, ret, "the event loop: %s", strerror(-ret)) : 0;
}

static atomic_bool kube_stop;

static void stop_kube(int signal_number)
{
	atomic_store(&kube_stop, true);
}

static int run_kube(const struct agent *a, bool leader_elect, struct err *e)
{
	struct sigaction end = {.sa_handler = stop_kube};

	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	sigaction(SIGTERM, &end, NULL);
	sigaction(SIGINT, &end, NULL);
	return kube_run(&a->config, leader_elect, &kube_stop, e);
}

static const struct option options[] = {
	{"kubernetes", no_argument, NULL, 'k'},
	{"leader-elect", no_argument, NULL, 'l'},
	{"config", required_argument, NULL, 'c'},
	{"dry-run", no_argument, NULL, 'n'},
	{"verbose", no_argument, NULL, 'v'},
	{"version", no_argument, NULL, 'V'},
	{"help", no_argument, NULL, 'h'},
	{0},
};

int main(int argc, char **argv)
{
	static struct agent a; /* large */
	const char *path = AGENT_CONFIG_PATH;
	bool dry_run = false, kubernetes = false, leader_elect = false;
	struct err e = {0};
	int opt, ret;

	while ((opt = getopt_long(argc, argv, "c:nvh", options, NULL)) != -1) {
		switch (opt) {
		case 'c':
			path = optarg;
			break;
		case 'n':
			dry_run = true;
			break;
		case 'k':
			kubernetes = true;
			break;
		case 'l':
			leader_elect = true;
			break;
		case 'v':
			log_set_level(LOG_LEVEL_DEBUG);
			break;
		case 'V':
			puts("tandem-agent " API_VERSION);
			return 0;
		case 'h':
			fputs(usage_text, stdout);
			return 0;
		default:
			fputs(usage_text, stderr);
			return EXIT_USAGE;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "tandem-agent: '%s' is no option\n\n%s", argv[optind], usage_text);
		return EXIT_USAGE;
	}
	if ((leader_elect && !kubernetes) || (kubernetes && dry_run)) {
		fprintf(stderr,
			"tandem-agent: --leader-elect belongs to --kubernetes, and --dry-run "
			"does not\n\n%s",
			usage_text);
		return EXIT_USAGE;
	}
	ret = agent_config_load(path, &a.config, &e);
	if (ret) {
		fprintf(stderr, "tandem-agent: %s\n", e.msg);
		return ret == -ENOMEM || ret == -EIO ? 1 : EXIT_CONFIG;
	}
	ret = kubernetes ? run_kube(&a, leader_elect, &e)
	      : dry_run	 ? supervise_dry_run(&a.config, stdout, &e)
			 : run(&a, &e);
	if (ret)
		fprintf(stderr, "tandem-agent: %s\n", e.msg);
	return ret ? 1 : 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim [--seed N] [--steps N] [--replicas 2|3] [--level 1|2] [--sound-disks] [--trace] [--break NAME [--in-fork]]
 * sim --selftest
 *
 * Prints the seed first. Exit 0 when no invariant was broken, 1 with what was broken and how to see
 * it again. --level: what all builds know (format level); without it each world draws. --sound-disks: none fails.
 * --break NAME puts a defect into the simulated daemon, --in-fork only while there is a fork; --selftest does that with
 * each of them, for two and for three replicas, and for three that forked, and demands that the checker finds it.
 */
#include "sim.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *name, *finds; /* what the checker must say; NULL: it happens too seldom */
	const char *
		forked; /* and on a side of a fork, with three replicas; NULL: there it means nothing */
} breaks[BREAK_COUNT] = {
	[BREAK_NONE] = {"none", "", NULL},
	[BREAK_ACK_EARLY] = {"ack-before-durable", "I1", "and not durable on"},
	[BREAK_COMMIT_ALONE] = {"commit-without-peer", "I1", "and not durable on"},
	[BREAK_NO_FENCE] = {"skip-fencing", "I2", "and not durable on"},
	[BREAK_FLUSH_STAGED] = {"flush-uncommitted", "I5", "not committed on any side"},
	[BREAK_LOSE_TAIL] = {"drop-acknowledged-tail", "I4", "was acknowledged on its side"},
	[BREAK_PROMOTE_OUTDATED] = {"promote-outdated", "I3", NULL},
	[BREAK_CUT_DEEPER] = {"cut-deeper", "I6", "which was acknowledged on its side"},
	[BREAK_OTHER_BYTES] = {"other-bytes", "I1", "and not durable on"},
	[BREAK_REJOIN_UNASKED] = {"rejoin-unasked", "I6", "I6: domain"},
	[BREAK_FORGET_RECORD] = {"forget-record", "I2", "I2"},
	[BREAK_ADOPT_FORK] = {"adopt-fork", "I6", "I6"},
	[BREAK_GRANT_MORE] = {"grant-more", "I8", "I8"},
	[BREAK_STAGE_BEYOND] = {"stage-beyond-grant", "I8", "I8"},
	[BREAK_TRUST_SUSPECT] = {"trust-suspect", "I9", "I9"},
	[BREAK_TRUST_EMPTY] = {"trust-empty", "I4", NULL}, /* no disk is replaced there */
	[BREAK_EMPTY_FORKS] = {"empty-forks", "different records after the calm", NULL},
	[BREAK_ERROR_GOES_ON] = {"error-goes-on", "I1", "I1"},
	[BREAK_HIDE_UNREAD] = {"hide-unread", "liveness", NULL},
	[BREAK_ACK_HALF] = {"ack-without-payload", "I1", "and not durable on"},
	[BREAK_SWITCH_UNWANTED] = {"switch-unwanted", NULL, "I3"},
	[BREAK_DEAF] = {"deaf", "liveness", NULL},
};

/* Returns true when nothing was broken; otherwise what, in `text`. With opt->in_fork what is broken where there
 * is no fork does not count. */
static bool run(const struct sim_options *opt, char *text, size_t size, bool quiet)
{
	struct world *w = calloc(1, sizeof(*w));
	bool ok;

	ensure(w);
	w->opt = *opt;
	ok = sim_run(w);
	if (quiet && opt->in_fork && !w->forked)
		ok = true;
	snprintf(text, size, "%s", w->violation);
	if (!quiet && ok)
		printf("seed %llu, %u replicas: %llu steps, %llu calms, %llu starts, %llu commits, "
		       "%llu "
		       "forks, %llu pulls, %llu resyncs, %llu raises, %llu waits, %llu errors, "
		       "%llu replaced, %llu unread: ok\n",
			(unsigned long long)opt->seed, opt->replicas, (unsigned long long)w->step,
			(unsigned long long)w->worlds, (unsigned long long)w->starts,
			(unsigned long long)w->commits, (unsigned long long)w->forks,
			(unsigned long long)w->pulls, (unsigned long long)w->resyncs,
			(unsigned long long)w->raises, (unsigned long long)w->waits,
			(unsigned long long)w->errors, (unsigned long long)w->replaced,
			(unsigned long long)w->unread);
	if (!quiet && !ok)
		printf("step %llu: BROKEN: %s\n", (unsigned long long)w->step, text);
	free(w);
	return ok;
}

static bool is_found(enum sim_break b, unsigned replicas, bool in_fork)
{
	const char *finds = in_fork ? breaks[b].forked : breaks[b].finds;
	char text[512] = "";
	bool found = false;

	for (unsigned seed = 1; seed <= 400 && !found; seed++) {
		struct sim_options opt = {.seed = seed,
			.steps = 30000,
			.replicas = replicas,
			.in_fork = in_fork,
			.brk = b};

		found = !run(&opt, text, sizeof(text), true) && strstr(text, finds);
	}
	printf("%-24s %u replicas%s: %s: %s\n", breaks[b].name, replicas, in_fork ? ", a fork" : "",
		found ? "found" : "NOT FOUND", found ? text : finds);
	return found;
}

static int selftest(void)
{
	unsigned found = 0, all = 0;

	for (enum sim_break b = BREAK_NONE + 1; b < BREAK_COUNT; b++) {
		for (unsigned replicas = 2; replicas <= 3 && breaks[b].finds; replicas++, all++)
			found += is_found(b, replicas, false);
		if (!breaks[b].forked)
			continue;
		found += is_found(b, 3, true);
		all++;
	}
	printf("%u of %u defects found\n", found, all);
	return found == all ? 0 : 1;
}

static int usage(void)
{
	fputs("usage: sim [--seed N] [--steps N] [--replicas 2|3] [--level 1|2] [--sound-disks] "
	      "[--trace] "
	      "[--break NAME [--in-fork]] | --selftest\n",
		stderr);
	return 2;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"seed", 1, NULL, 's'}, {"steps", 1, NULL, 'n'},
		{"replicas", 1, NULL, 'r'}, {"level", 1, NULL, 'l'}, {"trace", 0, NULL, 't'},
		{"break", 1, NULL, 'b'}, {"sound-disks", 0, NULL, 'd'}, {"in-fork", 0, NULL, 'f'},
		{"selftest", 0, NULL, 'x'}, {NULL, 0, NULL, 0}};
	struct sim_options opt = {.seed = 1, .steps = 100000, .replicas = 2};
	char text[512];
	int o;

	setvbuf(stdout, NULL, _IOLBF, 0);
	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (o) {
		case 's':
			opt.seed = strtoull(optarg, NULL, 0);
			break;
		case 'n':
			opt.steps = strtoull(optarg, NULL, 0);
			break;
		case 'r':
			opt.replicas = (unsigned)strtoul(optarg, NULL, 0);
			break;
		case 'l':
			opt.level = (uint32_t)strtoul(optarg, NULL, 0);
			break;
		case 'd':
			opt.sound_disks = true;
			break;
		case 'f':
			opt.in_fork = true;
			break;
		case 't':
			opt.trace = true;
			break;
		case 'b':
			for (unsigned b = 1; b < BREAK_COUNT; b++)
				if (!strcmp(optarg, breaks[b].name))
					opt.brk = (enum sim_break)b;
			if (!opt.brk)
				return usage();
			break;
		case 'x':
			return selftest();
		default:
			return usage();
		}
	}
	if (optind != argc || opt.replicas < 2 || opt.replicas > REPLICAS_MAX ||
		opt.level > RECORD_FORMAT_LEVEL)
		return usage();
	printf("seed %llu\n", (unsigned long long)opt.seed);
	if (run(&opt, text, sizeof(text), false))
		return 0;
	printf("again: sim --seed %llu --steps %llu --replicas %u --level %u%s%s%s%s --trace\n",
		(unsigned long long)opt.seed, (unsigned long long)opt.steps, opt.replicas,
		opt.level, opt.sound_disks ? " --sound-disks" : "", opt.brk ? " --break " : "",
		opt.brk ? breaks[opt.brk].name : "", opt.in_fork ? " --in-fork" : "");
	return 1;
}

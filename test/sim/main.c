/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim [--seed N] [--steps N] [--replicas 2|3] [--level 1|2] [--sound-disks] [--trace] [--break NAME]
 * sim --selftest
 *
 * Prints the seed first. Exit 0 when no invariant was broken, 1 with what was broken and how to see
 * it again. --level: what all builds know (format level); without it each world draws. --sound-disks: none fails.
 * --break NAME puts a defect into the simulated daemon; --selftest does that with each of them, for two and
 * for three replicas, and demands that the checker finds it.
 */
#include "sim.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *name, *finds; /* what the checker must say */
} breaks[BREAK_COUNT] = {
	[BREAK_NONE] = {"none", ""},
	[BREAK_ACK_EARLY] = {"ack-before-durable", "I1"},
	[BREAK_COMMIT_ALONE] = {"commit-without-peer", "I1"},
	[BREAK_NO_FENCE] = {"skip-fencing", "I2"},
	[BREAK_FLUSH_STAGED] = {"flush-uncommitted", "I5"},
	[BREAK_LOSE_TAIL] = {"drop-acknowledged-tail", "I4"},
	[BREAK_PROMOTE_OUTDATED] = {"promote-outdated", "I3"},
	[BREAK_CUT_DEEPER] = {"cut-deeper", "I6"},
	[BREAK_OTHER_BYTES] = {"other-bytes", "I1"},
	[BREAK_REJOIN_UNASKED] = {"rejoin-unasked", "I6"},
	[BREAK_FORGET_RECORD] = {"forget-record", "I2"},
	[BREAK_ADOPT_FORK] = {"adopt-fork", "I6"},
	[BREAK_GRANT_MORE] = {"grant-more", "I8"},
	[BREAK_STAGE_BEYOND] = {"stage-beyond-grant", "I8"},
	[BREAK_TRUST_SUSPECT] = {"trust-suspect", "I9"},
	[BREAK_TRUST_EMPTY] = {"trust-empty", "I4"},
	[BREAK_ERROR_GOES_ON] = {"error-goes-on", "I1"},
	[BREAK_HIDE_UNREAD] = {"hide-unread", "liveness"},
	[BREAK_DEAF] = {"deaf", "liveness"},
};

/* Returns true when nothing was broken; otherwise what, in `text`. */
static bool run(const struct sim_options *opt, char *text, size_t size, bool quiet)
{
	struct world *w = calloc(1, sizeof(*w));
	bool ok;

	ensure(w);
	w->opt = *opt;
	ok = sim_run(w);
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

static int selftest(void)
{
	unsigned found = 0;

	for (unsigned k = 2; k < 2 * BREAK_COUNT; k++) {
		unsigned b = k / 2, replicas = 2 + k % 2;
		char text[512] = "";
		unsigned seed, hits = 0;

		for (seed = 1; seed <= 400 && !hits; seed++) {
			struct sim_options opt = {.seed = seed,
				.steps = 30000,
				.replicas = replicas,
				.brk = (enum sim_break)b};

			if (!run(&opt, text, sizeof(text), true) && strstr(text, breaks[b].finds))
				hits++;
		}
		found += hits;
		printf("%-24s %u replicas: %s: %s\n", breaks[b].name, replicas,
			hits ? "found" : "NOT FOUND", hits ? text : breaks[b].finds);
	}
	printf("%u of %u defects found\n", found, 2 * (BREAK_COUNT - 1));
	return found == 2 * (BREAK_COUNT - 1) ? 0 : 1;
}

static int usage(void)
{
	fputs("usage: sim [--seed N] [--steps N] [--replicas 2|3] [--level 1|2] [--sound-disks] "
	      "[--trace] "
	      "[--break NAME] | --selftest\n",
		stderr);
	return 2;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"seed", 1, NULL, 's'}, {"steps", 1, NULL, 'n'},
		{"replicas", 1, NULL, 'r'}, {"level", 1, NULL, 'l'}, {"trace", 0, NULL, 't'},
		{"break", 1, NULL, 'b'}, {"sound-disks", 0, NULL, 'd'}, {"selftest", 0, NULL, 'x'},
		{NULL, 0, NULL, 0}};
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
	printf("again: sim --seed %llu --steps %llu --replicas %u --level %u%s%s%s --trace\n",
		(unsigned long long)opt.seed, (unsigned long long)opt.steps, opt.replicas,
		opt.level, opt.sound_disks ? " --sound-disks" : "", opt.brk ? " --break " : "",
		opt.brk ? breaks[opt.brk].name : "");
	return 1;
}

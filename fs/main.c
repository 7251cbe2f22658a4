/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tandemfs: the volume daemon and its offline commands. Parses, wires, runs; each command is in a
 * file of its own.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd.h"
#include "config.h"
#include "control.h"
#include "ll.h"
#include "log.h"
#include "volume.h"

#define TANDEMFS_VERSION "0.1.0"

static const char usage_text[] =
	"usage: tandemfs COMMAND --config FILE [options]\n"
	"\n"
	"  format  --size SIZE --descriptor FILE [--mode OCTAL] [--owner UID:GID] [--directory "
	"NAME]\n"
	"                                          make the first replica, and the descriptor for "
	"the others\n"
	"  format  --join FILE                     make another replica from that descriptor\n"
	"  run     [--run-dir DIR] [--verbose]     serve the volume, in the foreground\n"
	"  check   [--data] [--digest]             look for damage in a replica that is not "
	"running\n"
	"  dump                                    print the journal of a replica that is not "
	"running\n"
	"  version, help\n"
	"\n"
	"SIZE takes K, M, G or T. See tandemfs(8) and tandemfs.conf(5).\n";

static const struct option long_options[] = {
	{"config", required_argument, NULL, 'c'},
	{"run-dir", required_argument, NULL, 'r'},
	{"size", required_argument, NULL, 's'},
	{"descriptor", required_argument, NULL, 'd'},
	{"join", required_argument, NULL, 'j'},
	{"mode", required_argument, NULL, 'm'},
	{"owner", required_argument, NULL, 'o'},
	{"directory", required_argument, NULL, 'i'},
	{"data", no_argument, NULL, 'D'},
	{"digest", no_argument, NULL, 'G'},
	{"verbose", no_argument, NULL, 'v'},
	{"help", no_argument, NULL, 'h'},
	{0},
};

static int usage_error(const char *text)
{
	fprintf(stderr, "tandemfs: %s\n\n%s", text, usage_text);
	return 2;
}

int cmd_config_status(int code)
{
	return code == -ENOMEM || code == -EIO || code == -ENFILE || code == -EMFILE ? 1
										     : EXIT_CONFIG;
}

/* A standby needs its mount point only when it is promoted, and that is no time to miss it. A mount
 * that a dead process left there answers ENOTCONN, and is taken away later. */
static int check_mount_point(const char *path)
{
	struct stat st;

	if (stat(path, &st))
		return errno == ENOTCONN ? 0 : -errno;
	return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

static int cmd_run(const struct options *o, char **argv)
{
	static struct config cfg; /* lives as long as the process */
	struct err e = {0};
	int r;

	if (o->verbose)
		log_set_level(LOG_LEVEL_DEBUG);
	r = config_load(o->config, &cfg, &e);
	if (r) {
		fprintf(stderr, "tandemfs: %s\n", e.msg);
		return cmd_config_status(r);
	}
	/* With a holder it may be mounted, and nobody may be there to answer. */
	r = cfg.holder && ll_is_mounted(cfg.mount, cfg.name) ? 0 : check_mount_point(cfg.mount);
	if (r) {
		fprintf(stderr,
			"tandemfs: %s: mount: '%s': %s: the volume is mounted there while "
			"active\n",
			o->config, cfg.mount, strerror(-r));
		return cmd_config_status(r);
	}
	snprintf(cfg.run_dir, sizeof(cfg.run_dir), "%s", o->run_dir ? o->run_dir : CONTROL_RUN_DIR);
	return volume_run(&cfg, argv);
}

/* LeakSanitizer's, where it is linked. */
void __lsan_do_leak_check(void) __attribute__((weak));

/*
 * Ends the daemon without the destructors of its libraries. Threads still run, RocksDB's own among them (a compaction
 * that the last flush began), and exit() takes from under them what they use: a clean stop would now and then end as a
 * crash. What is to be kept is on the disk.
 */
static _Noreturn void leave(int status)
{
	fflush(NULL);
	if (__lsan_do_leak_check)
		__lsan_do_leak_check();
	_exit(status);
}

static int parse(int argc, char **argv, struct options *o)
{
	int opt;

	while ((opt = getopt_long(argc, argv, "c:r:s:d:j:m:o:i:DGvh", long_options, NULL)) != -1) {
		switch (opt) {
		case 'c':
			o->config = optarg;
			break;
		case 'r':
			o->run_dir = optarg;
			break;
		case 's':
			o->size = optarg;
			break;
		case 'd':
			o->descriptor = optarg;
			break;
		case 'j':
			o->join = optarg;
			break;
		case 'm':
			o->mode = optarg;
			break;
		case 'o':
			o->owner = optarg;
			break;
		case 'i':
			o->directory = optarg;
			break;
		case 'D':
			o->data = true;
			break;
		case 'G':
			o->digest = true;
			break;
		case 'v':
			o->verbose = true;
			break;
		case 'h':
			fputs(usage_text, stdout);
			return -1;
		default:
			fputs(usage_text, stderr);
			return 2;
		}
	}
	return 0;
}

static bool is_command(const char *name)
{
	return !strcmp(name, "run") || !strcmp(name, "format") || !strcmp(name, "check") ||
	       !strcmp(name, "dump");
}

int main(int argc, char **argv)
{
	struct options o = {0};
	const char *command = argc > 1 ? argv[1] : "";
	int r;

	if (!strcmp(command, "version") || !strcmp(command, "--version")) {
		puts("tandemfs " TANDEMFS_VERSION);
		return 0;
	}
	if (!strcmp(command, "help") || !strcmp(command, "--help") || !strcmp(command, "-h")) {
		fputs(usage_text, stdout);
		return 0;
	}
	if (!command[0] || command[0] == '-')
		return usage_error("a command is missing");
	if (!is_command(command))
		return usage_error("unknown command");
	r = parse(argc - 1, argv + 1, &o);
	if (r)
		return r < 0 ? 0 : r;
	if (optind < argc - 1)
		return usage_error("an argument that is no option");
	if (!o.config)
		return usage_error("--config FILE is missing");
	if (!strcmp(command, "run"))
		leave(cmd_run(&o, argv));
	if (!strcmp(command, "format"))
		return cmd_format(&o);
	if (!strcmp(command, "check"))
		return cmd_check(&o);
	return cmd_dump(&o);
}

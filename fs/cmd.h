/* SPDX-License-Identifier: Apache-2.0 */
/* The commands of the program tandemfs. Each gets its own options; the exit status is returned:
 * 0 done, 1 failed, 2 wrong usage, EXIT_CONFIG. */
#ifndef FS_CMD_H
#define FS_CMD_H

#include <stdbool.h>

/* EX_CONFIG of sysexits.h: the configuration is wrong. Starting again does not help, and the unit file says
 * so to systemd. */
#define EXIT_CONFIG 78

struct options {
	const char *config; /* --config FILE */
	const char *run_dir; /* --run-dir DIR */
	const char *size; /* --size SIZE */
	const char *descriptor; /* --descriptor FILE */
	const char *join; /* --join FILE */
	const char *mode, *owner; /* --mode OCTAL, --owner UID:GID of the root directory */
	const char *directory; /* --directory NAME in it */
	bool data; /* --data */
	bool digest; /* --digest */
	bool verbose; /* --verbose */
};

/* The exit status for an error of config_load(): EXIT_CONFIG, or 1 for one that may pass. */
int cmd_config_status(int code);

int cmd_format(const struct options *o);
int cmd_check(const struct options *o);
int cmd_dump(const struct options *o);

#endif

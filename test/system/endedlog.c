/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tells whether a process runs its libraries' destructors when it ends, which a process must not whose threads still use
 * those libraries; loaded before the C library:
 *
 *   ENDED=DIR LD_PRELOAD=.../endedlog.so tandemfs run ...
 *
 * DIR/destructors.PID is there afterwards if it did.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

__attribute__((destructor)) static void ended(void)
{
	const char *dir = getenv("ENDED");
	char path[4200];
	int fd;

	if (!dir)
		return;
	snprintf(path, sizeof(path), "%.4096s/destructors.%d", dir, (int)getpid());
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd >= 0)
		close(fd);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* main() of tandemctl: the real streams, and whether there is somebody to ask. */
#include <unistd.h>

#include "ctl.h"

int main(int argc, char **argv)
{
	struct ctl c = {.in = stdin, .out = stdout, .err = stderr};
	int status;

	c.terminal = isatty(STDIN_FILENO) == 1;
	status = ctl_run(&c, argc, (const char *const *)argv);
	if (fflush(stdout) == EOF || ferror(stdout)) {
		fprintf(stderr, "tandemctl: cannot write to standard output: %m\n");
		return status ? status : CTL_FAILED;
	}
	return status;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* tandem-holder --node as a process: whose children the holders are that it is asked for, and what it refuses. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "holder.h"
#include "holder_node.h"

static char dir[64], path[96], node_socket[96];
static pid_t node;

static void start_node(void)
{
	char self[2048] = "", program[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	cr_assert(n > 0);
	*strrchr(self, '/') = '\0';
	snprintf(program, sizeof(program), "%s/" HOLDER_PROGRAM, self);
	node = fork();
	if (!node) {
		execl(program, HOLDER_PROGRAM, "--node", dir, NULL);
		_exit(127);
	}
	for (unsigned i = 0; i < 500 && holder_node_start(node_socket) == -ENOENT; i++)
		usleep(10000);
}

static void init(void)
{
	snprintf(dir, sizeof(dir), "/tmp/holders.XXXXXX");
	cr_assert(mkdtemp(dir) != NULL);
	snprintf(path, sizeof(path), "%s/db.holder", dir);
	snprintf(node_socket, sizeof(node_socket), "%s/" HOLDER_NODE_SOCKET, dir);
}

static void fini(void)
{
	int how = -1;

	for (unsigned i = 0; i < 1000 && !access(path, F_OK); i++)
		usleep(10000); /* a holder removes its socket when it ends */
	if (node) {
		kill(node, SIGTERM);
		cr_expect(waitpid(node, &how, 0) == node && how == 0, "status %#x", how);
	}
	unlink(node_socket);
	cr_expect(rmdir(dir) == 0, "a holder does not end when nobody is connected");
}

TestSuite(holder_node, .init = init, .fini = fini, .timeout = 60);

static bool has_children(void)
{
	char file[64];
	FILE *f;
	int c;

	snprintf(file, sizeof(file), "/proc/%d/task/%d/children", node, node);
	f = fopen(file, "re");
	c = f ? fgetc(f) : EOF;
	if (f)
		fclose(f);
	return c != EOF;
}

Test(holder_node, nobody_starts_holders_where_it_does_not_run)
{
	cr_expect(eq(int, holder_node_start(path), -ENOENT));
}

Test(holder_node, a_holder_is_its_child)
{
	struct holder *h;
	struct err e = {0};

	start_node();
	cr_assert(eq(int, holder_open(path, true, &h, &e), 0), "%s", e.msg);
	cr_expect(has_children());
	holder_close(h);
}

Test(holder_node, starts_nothing_outside_of_its_directory)
{
	char deeper[128], own[128], hidden[128];

	start_node();
	snprintf(deeper, sizeof(deeper), "%s/../" HOLDER_NODE_SOCKET, dir);
	cr_expect(eq(int, holder_node_start(deeper), -ENOENT)); /* another one's directory */
	snprintf(own, sizeof(own), "%s/" HOLDER_NODE_SOCKET, dir);
	cr_expect(eq(int, holder_node_start(own), -EINVAL));
	snprintf(hidden, sizeof(hidden), "%s/.x", dir);
	cr_expect(eq(int, holder_node_start(hidden), -EINVAL));
	cr_expect(not(has_children()));
}

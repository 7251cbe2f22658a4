/* SPDX-License-Identifier: Apache-2.0 */
/* What the node has: its kernel, FUSE, io_uring and a disciplined clock. */
#include <errno.h>
#include <linux/io_uring.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timex.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "kernel.h"
#include "preflight_impl.h"

const char *preflight_result_name(enum preflight_result r)
{
	static const char *const names[] = {"ok", "warn", "FAIL"};

	ensure((unsigned)r < ARRAY_SIZE(names));
	return names[r];
}

void preflight_say(struct preflight_report *r, const char *about, const char *what,
	enum preflight_result result, const char *todo, const char *fmt, ...)
{
	struct preflight_check *c = &r->c[r->count];
	va_list ap;

	if (r->count == PREFLIGHT_CHECKS_MAX)
		return;
	r->count++;
	*c = (struct preflight_check){.what = what, .result = result};
	snprintf(c->about, sizeof(c->about), "%s", about);
	snprintf(c->todo, sizeof(c->todo), "%s", todo);
	va_start(ap, fmt);
	vsnprintf(c->found, sizeof(c->found), fmt, ap);
	va_end(ap);
}

void preflight_kernel(struct preflight_report *r, const char *release)
{
	unsigned version = kernel_version(release);

	if (!version) {
		preflight_say(r, "node", "kernel", PREFLIGHT_WARN,
			"see that it is Linux 5.4 or later",
			"'%.60s' is no release that is understood", release);
		return;
	}
	if (version < KERNEL_OLDEST)
		preflight_say(r, "node", "kernel", PREFLIGHT_FAIL,
			"use Linux 5.4 or later; 6.9 is best", "Linux %.60s is too old", release);
	else if (version < KERNEL_RESEND)
		preflight_say(r, "node", "kernel", PREFLIGHT_WARN,
			"use Linux 6.9 or later, or expect errors on the mount when its daemon "
			"dies",
			"Linux %.60s cannot send requests again to a new daemon", release);
	else
		preflight_say(r, "node", "kernel", PREFLIGHT_OK, "", "Linux %.60s", release);
}

static void check_fuse(struct preflight_report *r)
{
	struct stat st;
	int ret = stat("/dev/fuse", &st) < 0 ? errno : 0;

	if (ret || !S_ISCHR(st.st_mode))
		preflight_say(r, "node", "fuse", PREFLIGHT_FAIL,
			"modprobe fuse; in a container, pass /dev/fuse on", "/dev/fuse: %s",
			ret ? strerror(ret) : "no device");
	else if (access("/dev/fuse", R_OK | W_OK) < 0)
		preflight_say(r, "node", "fuse", PREFLIGHT_FAIL, "run as root",
			"/dev/fuse cannot be opened: %s", strerror(errno));
	else
		preflight_say(r, "node", "fuse", PREFLIGHT_OK, "", "/dev/fuse is there");
}

/* The raw call: a ring of one entry, made and closed. */
static void check_io_uring(struct preflight_report *r)
{
	struct io_uring_params p = {0};
	int fd = (int)syscall(SYS_io_uring_setup, 1, &p);

	if (fd >= 0) {
		close(fd);
		preflight_say(r, "node", "io_uring", PREFLIGHT_OK, "", "allowed");
		return;
	}
	preflight_say(r, "node", "io_uring", PREFLIGHT_WARN,
		"sysctl kernel.io_uring_disabled=0, and allow it in the container's seccomp "
		"profile; "
		"without it pwritev2 is used, which is slower",
		"refused: %s", strerror(errno));
}

/* Nothing in the protocol compares clocks; times of files and logs are compared by people. */
static void check_clock(struct preflight_report *r)
{
	struct timex t = {0};
	int state = adjtimex(&t);

	if (state < 0 || state == TIME_ERROR || (t.status & STA_UNSYNC))
		preflight_say(r, "node", "clock", PREFLIGHT_WARN,
			"run chrony or systemd-timesyncd: nothing breaks without, but times of "
			"files "
			"and logs differ between the sites",
			"nothing keeps this clock right");
	else
		preflight_say(r, "node", "clock", PREFLIGHT_OK, "",
			"kept right, estimated error %.1f ms", (double)t.esterror / 1000);
}

void preflight_node(struct preflight_report *r)
{
	struct utsname u;

	ensure(uname(&u) == 0);
	preflight_kernel(r, u.release);
	check_fuse(r);
	check_io_uring(r);
	check_clock(r);
}

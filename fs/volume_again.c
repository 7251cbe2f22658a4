/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a process ends and takes its own place: there is one way to start, recovery, so whatever went wrong
 * ends in exec. What must outlive that: facts on disk, and one word in the environment, which says why.
 *
 * After an I/O error (volume_die, I9) the bad start is counted before the exec. RocksDB may call abort() in
 * a thread of its own when a sync fails (Debian 12's build asserts): no file can be written safely from
 * there, so the handler only execs, and the process that it becomes counts (volume_count_abort). Any other
 * abort() is a programmer's error and ends the process, for its supervisor to start it.
 *
 * Failure modes: a disk that fails whatever is written makes each start bad: a process ends no sooner than
 * DIED_NS after it began, and the next one keeps its peers waiting as long (volume.c). An exec that fails
 * (no /proc, no memory) ends the process with status 1 and a line on standard error.
 */
#include "volume_impl.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "log.h"

#define DIED_ENV "TANDEMFS_DIED"
#define DIED_COUNTED "counted"
#define DIED_ABORTED "aborted"
#define THREADS_OF_ROCKSDB "rocksdb" /* their names begin so */

/* For the handler: set before it is installed, constant afterwards. */
static struct volume *abort_volume;
static char **abort_env;

static _Noreturn void exec_again(struct volume *v, char **env)
{
	static const char failed[] =
		"tandemfs: this process could not start itself again (/proc/self/exe): it ends, "
		"and its supervisor has to start it\n";
	sigset_t none;

	/* A dead mount must not stay in the way of whoever serves next. The descriptors close with
	 * the exec. */
	if (v->serving)
		umount2(v->cfg->mount, MNT_DETACH);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execve("/proc/self/exe", v->argv, env);
	/* Not the log: this may be a signal handler, or RocksDB's thread with any lock held. */
	if (write(STDERR_FILENO, failed, sizeof(failed) - 1) < 0)
		_exit(1); /* nothing to be done about it */
	_exit(1);
}

static void pause_if_young(const struct volume *v)
{
	uint64_t age = clock_mono_ns() - v->started_ns;
	struct timespec pause = {.tv_nsec = (long)(DIED_NS - age) % (long)NS_PER_S};

	if (age < DIED_NS) /* it did not even come to its peers */
		nanosleep(&pause, NULL);
}

void volume_restart(struct volume *v, const char *reason)
{
	log_info("starting again: %s", reason);
	if (v->serving)
		volume_held_close(v);
	if (v->control)
		control_close(v->control);
	exec_again(v, environ);
}

static void count_bad_start(struct volume *v)
{
	char path[4200];
	struct err e = {0};

	v->facts.bad_starts++;
	volume_path(v, "facts", path, sizeof(path));
	if (facts_store(path, &v->facts, &e))
		log_error("%s", e.msg);
}

void volume_die(struct volume *v, const char *fmt, ...)
{
	struct err e = {0};
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	log_error("%s", text);
	if (v->store && store_failed(v->store, &e)) {
		if (!strstr(text, e.msg))
			log_error("%s", e.msg);
		v->facts.damaged =
			true; /* counted below; a background job does not tell what it met */
	}
	log_error("this replica stops acknowledging and starts again from recovery");
	atomic_store(&v->fenced, true);
	if (v->serving)
		volume_held_close(v); /* I9: the mount ends with what failed */
	count_bad_start(v);
	setenv(DIED_ENV, DIED_COUNTED, 1);
	pause_if_young(v);
	exec_again(v, environ);
}

/* Only calls that a signal handler may make. */
static void aborted(int sig)
{
	static const char text[] =
		"RocksDB ended the process: this replica stops acknowledging and "
		"starts again from recovery\n";
	char name[16] = "";

	prctl(PR_GET_NAME, name);
	if (strncmp(name, THREADS_OF_ROCKSDB, strlen(THREADS_OF_ROCKSDB)))
		return; /* abort() ends the process then */
	if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
		name[0] = '\0'; /* nothing to be done about it */
	pause_if_young(abort_volume);
	exec_again(abort_volume, abort_env);
}

void volume_again_init(struct volume *v)
{
	struct sigaction sa = {.sa_handler = aborted};
	const char *died = getenv(DIED_ENV);
	unsigned n = 0;

	v->died = died != NULL;
	v->died_uncounted = died && !strcmp(died, DIED_ABORTED);
	unsetenv(DIED_ENV);
	while (environ[n])
		n++;
	abort_env = calloc(n + 2, sizeof(*abort_env));
	ensure(abort_env);
	memcpy(abort_env, environ, n * sizeof(*abort_env));
	abort_env[n] = strdup(DIED_ENV "=" DIED_ABORTED);
	ensure(abort_env[n]);
	abort_volume = v;
	sigaction(SIGABRT, &sa, NULL);
}

void volume_count_abort(struct volume *v)
{
	if (!v->died_uncounted)
		return;
	v->died_uncounted = false;
	count_bad_start(v);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looking at two certificates' last days. A file that cannot be read is no matter of this: who uses it says so. A
 * clock that jumps moves the warning with it; a line of the log more is the worst of it.
 */
#include "expiry.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "certificate.h"
#include "cleanup.h"
#include "log.h"

#define DAY_S 86400
#define PEM_MAX (256u << 10) /* bytes; an authority's file may hold several */

/* The file has a private key in it, perhaps. */
static int64_t read_not_after(int fd, size_t size)
{
	char *text = calloc(1, size + 1);
	struct certificate_info info;
	struct err e;
	int64_t ret = 0;

	ensure(text);
	if (read(fd, text, size) == (ssize_t)size && !certificate_read(text, &info, &e))
		ret = info.not_after_s;
	certificate_text_free(text);
	return ret;
}

static void look_at(struct expiry_file *f, const char *path)
{
	struct expiry_file is = {.tried = true};
	cleanup_close int fd = -1;
	struct stat st;

	if (!path || !path[0]) {
		*f = (struct expiry_file){0};
		return;
	}
	if (stat(path, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > PEM_MAX) {
		*f = is;
		return;
	}
	is.dev = st.st_dev;
	is.ino = st.st_ino;
	is.size = (uint64_t)st.st_size;
	is.mtime = st.st_mtim;
	if (f->tried && f->dev == is.dev && f->ino == is.ino && f->size == is.size &&
		f->mtime.tv_sec == is.mtime.tv_sec && f->mtime.tv_nsec == is.mtime.tv_nsec)
		return;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd >= 0)
		is.not_after_s = read_not_after(fd, (size_t)st.st_size);
	*f = is;
}

void expiry_look(struct expiry *x, const char *certificate, const char *authority)
{
	look_at(&x->own, certificate);
	look_at(&x->authority, authority);
}

bool expiry_own_first(const struct expiry *x)
{
	return x->own.not_after_s &&
	       (!x->authority.not_after_s || x->own.not_after_s <= x->authority.not_after_s);
}

bool expiry_words(const struct expiry *x, const char *certificate, const char *authority,
	int64_t now_s, char *buf, size_t size)
{
	bool own = expiry_own_first(x);
	int64_t end_s = own ? x->own.not_after_s : x->authority.not_after_s;
	time_t end = (time_t)end_s;
	char day[32] = "?";
	struct tm tm;

	if (!end_s || end_s - now_s >= (int64_t)EXPIRY_WARN_DAYS * DAY_S)
		return false;
	if (gmtime_r(&end, &tm))
		strftime(day, sizeof(day), "%Y-%m-%d", &tm);
	snprintf(buf, size, "%s '%.200s' %s on %s: %s%s", own ? "the certificate" : "the authority",
		own ? certificate : authority, end_s <= now_s ? "ended" : "ends", day,
		end_s <= now_s ? "the sites do not connect to each other any more"
			       : "from then on the sites do not connect to each other, and writes "
				 "wait",
		own ? ""
		    : ". Move ca.pem and ca.key away on each site, then pair the sites again with "
		      "'tandemctl pair'");
	return true;
}

void expiry_log(struct expiry *x, const char *certificate, const char *authority, int64_t now_s)
{
	char text[EXPIRY_TEXT_MAX];

	if (x->said_s && now_s >= x->said_s && now_s - x->said_s < DAY_S)
		return;
	if (!expiry_words(x, certificate, authority, now_s, text, sizeof(text)))
		return;
	x->said_s = now_s;
	log_warn("%s%s%s", text, expiry_own_first(x) ? ". Next: " : "",
		expiry_own_first(x) ? EXPIRY_NEXT : "");
}

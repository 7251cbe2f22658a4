/* SPDX-License-Identifier: Apache-2.0 */
/* What ensure() does when it fails, and the control plane's error. No state; any thread. */
#include "check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"

_Noreturn void ensure_failed(const char *file, int line, const char *what)
{
	log_error("%s:%d: this must hold and does not: %s", file, line, what);
	abort();
}

int err_set(struct err *e, int code, const char *fmt, ...)
{
	char msg[sizeof(e->msg)]; /* the arguments may point into e->msg */
	va_list ap;

	if (!e)
		return code;
	va_start(ap, fmt);
	vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	e->code = code;
	memcpy(e->msg, msg, sizeof(msg));
	return code;
}

int err_wrap(struct err *e, const char *fmt, ...)
{
	char msg[sizeof(e->msg)];
	va_list ap;
	size_t n;

	va_start(ap, fmt);
	vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	n = strlen(msg);
	if (snprintf(msg + n, sizeof(msg) - n, ": %s", e->msg) < 0) /* cut where it is full */
		msg[n] = '\0';
	memcpy(e->msg, msg, sizeof(msg));
	return e->code;
}

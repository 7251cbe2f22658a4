/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP calls with libcurl. No proxy of the environment is ever asked, and no redirection followed. */
#include "http.h"

#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_MAX (80u << 20) /* bytes: 256 volumes with the longest answers */

struct answer {
	char *text;
	size_t len;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void init(void)
{
	ensure(curl_global_init(CURL_GLOBAL_NOTHING) == CURLE_OK);
}

static size_t take(char *data, size_t size, size_t n, void *ctx)
{
	struct answer *a = ctx;
	char *bigger;

	n *= size;
	if (a->len + n > ANSWER_MAX)
		return 0;
	bigger = realloc(a->text, a->len + n + 1);
	ensure(bigger);
	memcpy(bigger + a->len, data, n);
	a->text = bigger;
	a->len += n;
	return n;
}

static int code_of(CURLcode code)
{
	switch (code) {
	case CURLE_COULDNT_CONNECT:
		return -ECONNREFUSED;
	case CURLE_OPERATION_TIMEDOUT:
		return -ETIMEDOUT;
	default:
		return -ECONNRESET;
	}
}

int http_call_unix(const char *socket, const char *path, const char *body, unsigned timeout_ms,
	unsigned *ret_status, struct json **ret_json, struct err *e)
{
	char url[256];
	struct answer a = {0};
	struct json *j = NULL;
	CURLcode code;
	CURL *curl;
	long status;
	int ret = 0;

	pthread_once(&once, init);
	curl = curl_easy_init();
	ensure(curl);
	snprintf(url, sizeof(url), "http://agent%s", path);
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, socket);
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http");
	curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, &a);
	if (body)
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
	code = curl_easy_perform(curl);
	if (code != CURLE_OK) {
		ret = err_set(e, code_of(code), "the agent at '%.100s': %s", socket,
			curl_easy_strerror(code));
	} else {
		curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
		ret = json_parse(a.text ? a.text : "", a.len, &j, e);
		if (!ret && !json_is_object(j)) {
			json_free(j);
			ret = err_set(e, -EBADMSG, "no JSON object");
		}
		if (ret)
			err_wrap(e, "answer of the agent at '%.100s'", socket);
	}
	curl_easy_cleanup(curl);
	free(a.text);
	if (ret)
		return ret;
	*ret_status = (unsigned)status;
	*ret_json = j;
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* tandemctl pair --show: whom this site is paired with, and how long its certificates are valid. */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "agent_config.h"
#include "pair.h"

#define WARN_DAYS 30
#define DAY_S 86400

static struct json *file_json(const char *path, const char *what)
{
	struct json *j = json_object();
	struct certificate_info info;
	struct err e;
	char *text = pair_read_file(path, &e);

	json_set_string(j, "what", what);
	json_set_string(j, "file", path);
	if (!text || certificate_read(text, &info, &e)) {
		json_set_string(j, "error", e.msg);
	} else {
		json_set_int(j, "days", (info.not_after_s - (int64_t)time(NULL)) / DAY_S);
		json_set_bool(j, "expired", info.not_after_s <= (int64_t)time(NULL));
	}
	certificate_text_free(text);
	return j;
}

static int print_file(struct ctl *c, const struct json *j)
{
	const char *error = json_get_string(j, "error", NULL);
	int64_t days = json_get_int(j, "days", 0);

	if (error)
		return ctl_fail(c, "%s: %s", json_get_string(j, "file", ""), error);
	if (json_get_bool(j, "expired", false))
		return ctl_fail(c, "%s has EXPIRED: type 'tandemctl pair' again",
			json_get_string(j, "file", ""));
	fprintf(c->out, "%s '%s' is valid for %lld days%s\n", json_get_string(j, "what", ""),
		json_get_string(j, "file", ""), (long long)days,
		days < WARN_DAYS ? ": WARNING, type 'tandemctl pair' again" : "");
	return CTL_OK;
}

static void print_pair(
	struct ctl *c, const struct agent_config *config, const struct agent_config_peer *p)
{
	fprintf(c->out, "%s (%s) is paired with %s (", config->domain, config->listen, p->domain);
	for (unsigned k = 0; k < p->naddresses; k++)
		fprintf(c->out, "%s%s", k ? ", " : "", p->addresses[k]);
	fputs(")\n", c->out);
}

int pair_show(struct ctl *c)
{
	static struct agent_config config; /* large */
	struct json *j, *peers, *files;
	char path[1100];
	struct err e;
	int status = CTL_OK;

	snprintf(path, sizeof(path), "%.1000s/agent.conf",
		c->config_dir ? c->config_dir : "/etc/tandemfs");
	if (agent_config_load(path, &config, &e))
		return ctl_fail(c, "%s", e.msg);
	if (!config.npeers || !config.ca[0])
		return ctl_fail(c, "'%s': this site is not paired", path);
	j = json_object();
	peers = json_array();
	files = json_array();
	json_set_string(j, "domain", config.domain);
	json_set_string(j, "address", config.listen);
	for (unsigned i = 0; i < config.npeers; i++) {
		struct json *p = json_object(), *addresses = json_array();

		json_set_string(p, "domain", config.peers[i].domain);
		json_set_string(p, "address", config.peers[i].addresses[0]);
		for (unsigned k = 0; k < config.peers[i].naddresses; k++)
			json_append_string(addresses, config.peers[i].addresses[k]);
		json_set(p, "addresses", addresses);
		json_append(peers, p);
	}
	json_append(files, file_json(config.certificate, "certificate"));
	json_append(files, file_json(config.ca, "authority"));
	json_set(j, "peers", peers);
	json_set(j, "certificates", files);
	if (ctl_output_is_value(c)) {
		ctl_print_value(c, c->out, j);
	} else {
		for (unsigned i = 0; i < config.npeers; i++)
			print_pair(c, &config, &config.peers[i]);
		for (unsigned i = 0; i < json_length(files); i++)
			status |= print_file(c, json_at(files, i));
	}
	json_free(j);
	return status;
}

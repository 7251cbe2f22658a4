/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The YAML that programs write into kubeconfig files, as JSON values: maps and lists by indentation or in
 * brackets, plain and quoted scalars, comments. Pure. What is beyond it (anchors, tags, texts of several lines,
 * more documents than one, tabs) is refused with its line, never guessed at. Scalars become strings, but for
 * true, false and null.
 */
#ifndef AGENT_YAML_H
#define AGENT_YAML_H

#include "json.h"

/* 0 with a value, the caller's; -EBADMSG with "line N: why". */
int yaml_parse(const char *text, size_t len, struct json **ret_j, struct err *e);

#endif

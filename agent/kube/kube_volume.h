/* SPDX-License-Identifier: Apache-2.0 */
/* The worker of Volume objects: carries out what volume_object.h decides. */
#ifndef AGENT_KUBE_VOLUME_H
#define AGENT_KUBE_VOLUME_H

#include "kube_control.h"

extern const struct kube_kind kind_tandem_volume;

int volumes_look(struct kube_control *c, struct err *e);

#endif

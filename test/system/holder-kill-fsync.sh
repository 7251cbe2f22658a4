#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: kill
# budget: 240
# long: 300
# holder-kill under ack=fsync: operations are answered before the journal or the peer has them, and all that was answered
# is there after the daemon was killed, in order.
ACK=fsync
. "$(dirname "$0")/holder-kill.sh"

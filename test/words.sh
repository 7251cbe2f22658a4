# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154 # $active and $standby are the test's
#
# Words that people type while something is about to break: a change of the record begins in the background,
# and its client may be killed. Sourced behind settle.sh by tests that keep the site that serves in $active
# and the other one in $standby.

kill_pid() { # a process of ours that may have ended
	kill -9 "$1" 2>/dev/null || true
}
# Types a word in the background; its status is nobody's business, its client may be killed.
typed=
type_word() { # site, arguments of tandemctl
	local s=$1
	shift
	"$BIN/tandemctl" --run-dir "$WORK/$s/run" "$@" </dev/null >>"$WORK/words.out" 2>&1 &
	typed=$!
}
type_end() { # after a demotion lost its peer it waits, until settle brings the peer back
	[[ -n $typed ]] || return 0
	wait_for 30 "tandemctl ends" eval "! pid_alive $typed"
	wait $typed 2>/dev/null || true
	typed=
}
victims() {
	case $1 in
	active) echo "$active" ;;
	standby | cut) echo "$standby" ;;
	both) echo a b ;;
	esac
}
others_domain() { domain "$standby"; }
leave_out() {
	order "$active" deactivate clusterdomain "$(others_domain)" --yes
	wait_for 10 "the standby knows" eval '[[ $(status '"$standby"' ".inactive[]") = '"$(others_domain)"' ]]'
}

begin_record() { # verb
	case $1 in
	deactivate) type_word "$active" deactivate clusterdomain "$(others_domain)" --yes ;;
	forward) type_word "$standby" deactivate clusterdomain "$(others_domain)" --yes ;;
	activate)
		leave_out
		pause_ms "$(random_ms 0 300)"
		type_word "$active" activate clusterdomain "$(others_domain)"
		;;
	demote) type_word "$active" demote $VOLUME ;;
	promote)
		order "$active" demote $VOLUME
		wait_for 10 "the standby learns of it" \
			eval '[[ $(status '"$standby"' ".active_domain") = null ]]'
		type_word "$standby" promote $VOLUME --yes
		;;
	esac
}

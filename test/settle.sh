# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Puts two sites right after anything: what a sane person types until one of them serves and the other
# one is in sync again. Sourced behind test/lib.sh by tests that do not know which side a crash has left
# active; they set $active, and find the answer there.
#
#	settle [seconds]      starts what does not run; promotes where nobody is active, activates what is
#	                      inactive; fails on a fork, which a single word must never make, unless $fork_expected
#	settle_alone SITE     the same with SITE only: the person knows that the other one is lost
#	settle_mix            ends the workload wherever it is, and verifies it at the active site
#	settle_compare        stops, checks and compares both, and starts them again

# Both records, in words: active domain, in-sync set, inactive domains, of a site that answers.
settle_record() { status "$1" '"\(.active_domain) \(.in_sync) \(.inactive)"'; }

# Types what the state of things asks for. Status 0 when nothing is left to be typed.
settle_step() {
	local s o serving='' text
	for s in a b; do
		text=$(status "$s" '"\(.role) \(.mounted) \(.peers[0].state)"')
		[[ $text != *fork* || -z ${fork_expected:-} ]] || return 1
		[[ $text != *fork* ]] || fail "site $s reports a fork: $(settle_record a) | $(settle_record b)"
		[[ $text != "active true "* ]] || serving+=$s
	done
	[[ $serving != ab ]] || return 1 # one of them does not know yet
	if [[ -n $serving ]]; then
		s=$serving o=$(other "$serving")
		active=$s
		[[ $(status "$s" '"\(.in_sync|length) \(.peers[0].state)"') != "2 in-sync" ]] || {
			is_mounted "$s"
			return
		}
		[[ $(status "$s" '.inactive[]') != "$(domain "$o")" ]] ||
			ctl "$s" activate clusterdomain "$(domain "$o")" >/dev/null 2>&1 || true
		return 1
	fi
	for s in a b; do
		[[ $(status "$s" '"\(.active_domain) \(.peers[0].connected)"') = "null true" ]] || return 1
	done
	for s in $active $(other "$active"); do
		[[ $(status "$s" '.in_sync[]') != *"$(domain "$s")"* ]] || {
			ctl "$s" promote $VOLUME --yes >/dev/null 2>&1 || true
			return 1
		}
	done
	return 1
}

settle() { # [seconds]
	local s
	for s in a b; do
		site_alive "$s" || site_start "$s"
	done
	wait_for "${1:-60}" "one site serves and the other one is in sync" settle_step
}

settle_alone_step() { # site
	case $(role "$1") in
	active)
		is_serving "$1"
		return
		;;
	standby) ctl "$1" deactivate clusterdomain "$(domain "$(other "$1")")" --yes >/dev/null 2>&1 ;;
	confirming) ctl "$1" promote $VOLUME --yes >/dev/null 2>&1 ;;
	esac
	[[ $(settle_record "$1") != "null "* ]] || ctl "$1" promote $VOLUME --yes >/dev/null 2>&1
	return 1
}

settle_alone() { # site
	site_alive "$1" || site_start "$1"
	wait_for 60 "site $1 serves alone" settle_alone_step "$1"
	active=$1
}

settle_mix() {
	kill -TERM "${LOAD[tree]}" "${LOAD[blocks]}" 2>/dev/null || true
	mix_wait 0 3
	mix_verify "$active"
}

settle_compare() {
	sites_stop_and_compare
	site_start a
	site_start b
	site_wait_active "$active"
	site_wait_in_sync "$active"
}

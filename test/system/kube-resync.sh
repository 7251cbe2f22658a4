#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# group: kube
# budget: 1500
# The end of a fork by a Volume object: what would be given up is in its status, nothing is before the object confirms just
# that, and the same manifest gives nothing up again, whatever was lost or killed meanwhile.
#
# Nearly all of the budget is for the first test on a machine, which builds the API server.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../agents.sh"
. "$(dirname "$0")/../kube/lib.sh"
. "$(dirname "$0")/../kube/engines.sh"

volume() { rest "$1" GET /v1/volumes/db | head -n 1 | jq -r ".status | $2"; } # site, expression
volume_is() { [[ $(volume "$1" "$2") = "$3" ]]; }
tvol() { kc "$1" get volumes.tandemfs.dev db -o "jsonpath=$2"; } # site, path
state() { tvol "$1" '{.status.resync.state} {.status.conditions[?(@.type=="Resync")].reason}'; }
state_is() { [[ $(state "$1") = "$2" ]]; }
asked() { # site, members of spec.resync as JSON, or null
	kc "$1" patch volumes.tandemfs.dev db --type merge -p "{\"spec\": {\"resync\": $2}}" >/dev/null
}
id_of() { tvol "$1" '{.status.resync.id}'; }
asides() { find "$WORK/$1/data/db" -maxdepth 1 -name 'fork-*' | wc -l; }
put_file() { echo "$2" >"$WORK/$1/mounts/db/$2" && sync "$WORK/$1/mounts/db/$2"; } # site, name
fork() { # file that is only at site a, file that is only at site b
	link_cut
	wait_for 30 "site b goes on alone" tctl b deactivate clusterdomain site-a --yes
	wait_for 30 "site a goes on alone" tctl a deactivate clusterdomain site-b --yes
	wait_for 30 "site a goes on" volume_is a '"\(.role) \(.mounted)"' 'active true'
	wait_for 30 "site b takes over" volume_is b '"\(.role) \(.mounted)"' 'active true'
	put_file a "$1"
	put_file b "$2"
	link_heal
	wait_for 30 "there is a fork" volume_is a '.peers[0].state' fork
}
level() { wait_for 60 "both sites are in sync" volume_is b '"\(.in_sync | length) \(.peers[0].connected)"' '2 true'; }

work_new
net_new
engines_up
tctl a create volume db --size 256M >/dev/null
put_file a both
leader_start a
wait_for 60 "the volume has an object" eval '[[ $(tvol a "{.status.phase}") = Ready ]]'
asked a '{"fromDomain": "site-b", "confirm": "yes"}'
wait_for 30 "there is nothing to give up" state_is a ' NoFork'
asked a null
fork only-a only-b

# --- seen first -----------------------------------------------------------------------------------------
asked a '{"fromDomain": "site-b"}'
wait_for 30 "what would be given up" state_is a 'Previewed ToConfirm'
expect_eq "what that is" "$(tvol a '{.status.resync.filesTotal} {.status.resync.files[*].what} {.status.resync.files[*].path}')" \
	'1 new /only-a'
expect_match "in words" "$(tvol a '{.status.resync.message}')" 'a resync from site-b would give up, .* Nothing was changed'
asked a '{"fromDomain": "site-b", "confirm": "yes"}'
wait_for 30 "a word that is no id" state_is a 'Previewed NotConfirmed'
old=$(id_of a)
put_file a later
asked a "{\"fromDomain\": \"site-b\", \"confirm\": \"$old\"}"
wait_for 30 "something was written since" eval '[[ $(id_of a) != '"$old"' ]]'
expect_eq "what would be given up now" "$(tvol a '{.status.resync.filesTotal}')" 2
sleep 3
state_is a 'Previewed NotConfirmed' || fail "it went on with what nobody has seen: $(state a)"
volume_is a '"\(.role) \(.mounted)"' 'active true' || fail "site a gave up unasked"
step "what would be given up is in the status, and an id that is another one's confirms nothing"

# --- done, once -------------------------------------------------------------------------------------------
id=$(id_of a)
asked a "{\"fromDomain\": \"site-b\", \"confirm\": \"$id\"}"
wait_for 120 "site a gives up" state_is a 'Done Done'
expect_match "what became of it" "$(tvol a '{.status.resync.message}')" "The old state is kept in|has begun again"
level
expect_eq "states kept by site a" "$(asides a)" 1
expect_eq "site b has its files" "$(cat "$WORK/b/mounts/db/only-b")" only-b
leader_kill a 9
fork again-a again-b
kube_raw a PATCH /apis/tandemfs.dev/v1alpha1/volumes/db/status -o /dev/null -H 'Content-Type: application/merge-patch+json' \
	-d '{"status": {"resync": null}}'
leader_start a
wait_for 60 "another fork is another thing" state_is a 'Previewed NotConfirmed'
[[ $(id_of a) != "$id" ]] || fail "the same id twice: $id"
expect_eq "what would be given up" "$(tvol a '{.status.resync.files[*].path}')" /again-a
sleep 3
expect_eq "states kept by site a" "$(asides a)" 1
volume_is a '"\(.role) \(.mounted)"' 'active true' || fail "an old confirmation gave up something else"
step "confirmed, it was given up, once; the same manifest means nothing after that"

# --- the process is killed after it has told ---------------------------------------------------------------
id=$(id_of a)
asked a "{\"fromDomain\": \"site-b\", \"confirm\": \"$id\"}"
wait_for 60 "site a is told" eval '[[ $(state a) =~ ^(Running|Done) ]]'
leader_kill a 9
leader_start a
wait_for 120 "the next process sees its end" eval '[[ $(state a) =~ ^Done ]]'
level
expect_eq "states kept by site a" "$(asides a)" 2
asked a null
wait_for 30 "it is not asked for any more" eval '[[ -z $(tvol a "{.status.resync}") ]]'
step "killed in between, it was done once"

# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Completion for tandemctl(8): commands, options, volumes (the sockets in the run directory) and
# domains (from the status of the volumes, when a daemon answers at once).

_tandemctl_domains() {
	tandemctl --run-dir "$1" --timeout 1 status -o json 2>/dev/null |
		sed -n 's/^.*"domain": *"\([^"]*\)".*$/\1/p' | sort -u
}

# The other sites' nodes that volumes here have a replica on.
_tandemctl_nodes() {
	tandemctl --run-dir "$1" --timeout 1 status -o json 2>/dev/null |
		sed -n 's/^.*"node": *"\([^"]*\)".*$/\1/p' | sort -u
}

_tandemctl() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
	local run_dir=/run/tandemfs command="" words=() options="--run-dir --timeout --help" i

	COMPREPLY=()
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		--run-dir) run_dir=${COMP_WORDS[++i]} ;;
		--timeout | --output | -o | --from | --to | --size | --ack | --mode | --owner | --node | --peer-node) ((i++)) ;;
		--namespace | -n | --name | --kubeconfig | --src-kubeconfig | --dest-kubeconfig | --service-account) ((i++)) ;;
		--domain | --address | --port | --config-dir) ((i++)) ;;
		--migration-schedule | -m | --include-namespaces | --exclude-namespaces | --cluster-pair | -c) ((i++)) ;;
		-*) ;;
		*) words+=("${COMP_WORDS[i]}") ;;
		esac
	done
	command=${words[0]:-}
	case $prev in
	--kubeconfig | --src-kubeconfig | --dest-kubeconfig)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return
		;;
	--run-dir | --config-dir)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -d -- "$cur")
		return
		;;
	--output | -o)
		mapfile -t COMPREPLY < <(compgen -W "table wide json yaml" -- "$cur")
		return
		;;
	--timeout | --size | --mode | --owner | --namespace | -n | --name | --service-account | --domain | --address | --port) return ;;
	--ack)
		mapfile -t COMPREPLY < <(compgen -W "op fsync" -- "$cur")
		return
		;;
	--node | --peer-node)
		mapfile -t COMPREPLY < <(compgen -W "$(_tandemctl_nodes "$run_dir")" -- "$cur")
		return
		;;
	--from | --to)
		mapfile -t COMPREPLY < <(compgen -W "$(_tandemctl_domains "$run_dir")" -- "$cur")
		return
		;;
	esac
	case $command in
	status | preflight) options+=" --output" ;;
	get) options+=" --output --watch --namespace --all-namespaces --kubeconfig" ;;
	promote) options+=" --yes --accept-data-loss" ;;
	deactivate) options+=" --yes --accept-data-loss --dry-run --wait --name --namespace --kubeconfig" ;;
	activate) options+=" --yes --dry-run --wait --all --name --namespace --kubeconfig" ;;
	perform)
		options+=" --namespace --kubeconfig --migration-schedule --include-namespaces --exclude-namespaces --from --to --node"
		options+=" --unplanned --yes --skip-source-operations --dry-run --wait --no-wait --output"
		;;
	suspend | resume) options+=" --namespace --kubeconfig --cluster-pair" ;;
	demote) options+=" --yes --force" ;;
	failover | failback)
		options+=" --dry-run --wait --no-wait --output --namespace --kubeconfig --migration-schedule --include-namespaces"
		options+=" --exclude-namespaces --from --to --node --skip-source-operations"
		[[ $command = failback ]] || options+=" --unplanned --yes"
		;;
	upgrade) options+=" --yes --dry-run --wait --no-wait --output" ;;
	resize) options+=" --size" ;;
	create)
		if [[ ${words[1]:-} = migration ]]; then
			options+=" --cluster-pair --migration-schedule --include-namespaces --namespace --kubeconfig --dry-run --wait --no-wait"
			options+=" --output"
		elif [[ ${words[1]:-} = clusterpair ]]; then
			options+=" --namespace --src-kubeconfig --dest-kubeconfig --service-account --unidirectional"
		else
			options+=" --size --ack --holder --no-holder --mode --owner --peer-node"
		fi
		;;
	generate) options+=" --namespace --kubeconfig --service-account --config-dir" ;;
	pair) options+=" --domain --address --port --config-dir --show --output" ;;
	delete) options+=" --yes --local" ;;
	resync) options+=" --from --preview --yes --output" ;;
	esac
	if [[ $cur == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
		return
	fi
	case $command:${#words[@]} in
	:0 | help:1)
		words=(status get deactivate activate promote demote failover failback cancel perform suspend resume resync resize upgrade create delete generate pair preflight healthz readyz version help)
		;;
	activate:1 | deactivate:1) words=(clusterdomain migration) ;;
	perform:1) words=(failover failback) ;;
	suspend:1 | resume:1) words=(migrationschedule) ;;
	create:1) words=(volume migration clusterpair) ;;
	delete:1) words=(volume) ;;
	generate:1) words=(clusterpair spec) ;;
	get:1)
		words=(clusterdomainsstatus operations failovers migrations migrationschedules clusterpairs schedulepolicies
			clusterdomainupdates rules volumes)
		;;
	cancel:1) words=(operation) ;;
	cancel:2)
		mapfile -t words < <(tandemctl --run-dir "$run_dir" get operations 2>/dev/null |
			awk 'NR > 1 && /running/ { print $1 }')
		;;
	failover:2 | failback:2)
		[[ ${words[1]} != clusterdomain ]] || mapfile -t words < <(_tandemctl_domains "$run_dir")
		;;
	activate:2 | deactivate:2)
		if [[ ${words[1]} = clusterdomain ]]; then
			mapfile -t words < <(_tandemctl_domains "$run_dir")
		else
			words=()
		fi
		;;
	status:1 | promote:1 | demote:1 | failover:1 | failback:1 | resync:1 | resize:1 | upgrade:1)
		mapfile -t words < <(
			[[ $command != fail* ]] || echo clusterdomain
			for i in "$run_dir"/*.sock; do
				[[ -S $i ]] || continue
				i=${i##*/}
				echo "${i%.sock}"
			done
		)
		;;
	preflight:*)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return
		;;
	*) words=() ;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "${words[*]}" -- "$cur")
}
complete -F _tandemctl tandemctl

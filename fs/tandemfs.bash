# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Completion for tandemfs(8).

_tandemfs() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} options=""

	case $prev in
	--config | -c | --descriptor | -d | --join | -j)
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return
		;;
	--run-dir | -r)
		mapfile -t COMPREPLY < <(compgen -d -- "$cur")
		return
		;;
	esac
	if [ "$COMP_CWORD" = 1 ]; then
		options="format run check dump version help"
	else
		case ${COMP_WORDS[1]} in
		format) options="--config --size --descriptor --join --mode --owner --directory" ;;
		run) options="--config --run-dir --verbose" ;;
		check) options="--config --data --digest" ;;
		dump) options="--config" ;;
		esac
	fi
	mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
}
complete -o filenames -F _tandemfs tandemfs

# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# A database for tests on whole clusters (node.sh): the image mariadb:10.11 that k8s-manifests/examples/mariadb.yaml
# names, made of Debian's program, and writers whose every answered row is written down outside of the cluster.
#
#	. "$(dirname "$0")/../kube/mariadb.sh"
#	mariadb_image                    # $WORK/mariadb.tar
#	mariadb_load a 4                 # 4 writers on site a; what was answered: $WORK/acked-a-N; ends with mariadb_unload a
#	mariadb_query b "SELECT ..."
#	mariadb_gap a "$EPOCHREALTIME"   # milliseconds without a row since then

declare -A MARIADB_LOAD=() # site: the writers' processes

# The image's contract is that of the well-known one: a root password in the environment, and the first start on an
# empty directory makes the database.
mariadb_image() {
	local r=$WORK/mariadb p lib
	mkdir -p "$r"/{bin,usr/sbin,usr/bin,usr/local/bin,usr/share,etc,tmp,proc,sys,dev,run/mysqld,var/lib/mysql}
	chmod 1777 "$r/tmp" "$r/run/mysqld"
	cp /bin/busybox "$r/bin/busybox"
	for p in $(/bin/busybox --list); do
		[[ -e $r/bin/$p ]] || ln -s busybox "$r/bin/$p"
	done
	cp /usr/sbin/mariadbd "$r/usr/sbin/"
	cp /usr/bin/mariadb "$r/usr/bin/"
	cp -r /usr/share/mysql "$r/usr/share/mysql"
	ldd /usr/sbin/mariadbd /usr/bin/mariadb | sed -nE 's/^.* => (\/[^ ]+) .*/\1/p; s/^[[:space:]]+(\/[^ ]+) .*/\1/p' |
		sort -u | while read -r lib; do
		mkdir -p "$r$(dirname "$lib")"
		cp -L "$lib" "$r$lib"
	done
	printf 'root:x:0:0::/:/bin/sh\nmysql:x:999:999::/:/bin/sh\n' >"$r/etc/passwd"
	printf 'root:x:0:\nmysql:x:999:\n' >"$r/etc/group"
	printf '[mariadbd]\nskip-name-resolve\nskip-log-bin\n' >"$r/etc/my.cnf"
	cat >"$r/usr/local/bin/docker-entrypoint.sh" <<-'END'
		#!/bin/sh
		set -e
		s=/usr/share/mysql
		if [ ! -e /var/lib/mysql/made ]; then
			rm -rf /var/lib/mysql/*
			{
				# a statement a line
				printf '%s;\n' "CREATE DATABASE mysql" "USE mysql" "SET @auth_root_socket=NULL"
				cat $s/mysql_system_tables.sql $s/mysql_performance_tables.sql $s/mysql_system_tables_data.sql
				printf '%s;\n' "DELETE FROM global_priv WHERE Host <> 'localhost'" "FLUSH PRIVILEGES" \
					"CREATE USER root@'%' IDENTIFIED BY '$MARIADB_ROOT_PASSWORD'" \
					"GRANT ALL ON *.* TO root@'%' WITH GRANT OPTION" "CREATE DATABASE app"
			} | mariadbd --bootstrap --datadir=/var/lib/mysql
			touch /var/lib/mysql/made
			sync /var/lib/mysql/made
		fi
		exec "$@"
	END
	chmod 755 "$r/usr/local/bin/docker-entrypoint.sh"
	ENTRYPOINT=docker-entrypoint.sh "$ROOT/k8s-manifests/image.sh" pack "$r" "$WORK/mariadb.tar" mariadb:10.11
	rm -rf "$r"
}

mariadb_client() { # site, arguments of mariadb... : from the node, through the Service
	in_node "$1" mariadb -h "$(kc "$1" -n blue get service mariadb -o 'jsonpath={.spec.clusterIP}')" -uroot -pchange-me \
		--connect-timeout 2 -B -N "${@:2}"
}
mariadb_query() { # site, statement
	mariadb_client "$1" app -e "$2" 2>/dev/null
}

# One answered row after the other, some 50 a second: "N ROW SECONDS" of each writer N, when it was answered by its server's clock. A lost connection ends it.
mariadb_load() { # site, writers
	local s=$1 n
	mariadb_query "$s" "CREATE TABLE IF NOT EXISTS written (site CHAR(1), writer INT, line INT, text CHAR(200),
		PRIMARY KEY (site, writer, line)) ENGINE=InnoDB"
	for ((n = 1; n <= $2; n++)); do
		: >"$WORK/acked-$s-$n"
		(
			trap - ERR
			first=$(($(mariadb_query "$s" "SELECT COALESCE(MAX(line), 0) FROM written WHERE site = '$s' AND writer = $n") + 1))
			seq "$first" 1000000 | sed "s/.*/INSERT INTO written VALUES ('$s', $n, &, REPEAT('x', 200)); SELECT $n, &, UNIX_TIMESTAMP(SYSDATE(6)); DO SLEEP(0.02);/" |
				mariadb_client "$s" app --unbuffered >>"$WORK/acked-$s-$n" 2>>"$WORK/load-$s.err"
		) &
		MARIADB_LOAD[$s]+=" $!"
	done
}
mariadb_acked() { cat "$WORK/acked-$1"-* | wc -l; } # site
mariadb_unload() { # site
	local p
	for p in ${MARIADB_LOAD[$1]:-}; do
		pkill -9 -P "$p" 2>/dev/null || true
		kill -9 "$p" 2>/dev/null || true
		wait "$p" 2>/dev/null || true
	done
	MARIADB_LOAD[$1]=
}
mariadb_gap() { # site, since (seconds): the longest time between two answered rows of it, in milliseconds
	cut -f 3 "$WORK/acked-$1"-* | sort -n | awk -v since="$2" '
		$1 < since { next }
		last && $1 - last > gap { gap = $1 - last }
		{ last = $1 }
		END { printf "%d\n", gap * 1000 }'
}
# Answered rows of the writers of one site that another one lacks.
mariadb_missing() { # writers' site, where to look
	awk -F '\t' 'NF == 3 { print $1, $2 }' "$WORK/acked-$1"-* | sort >"$WORK/acked" # a last line may be half of one
	mariadb_query "$2" "SELECT writer, line FROM written WHERE site = '$1'" | tr '\t' ' ' | sort >"$WORK/rows"
	comm -23 "$WORK/acked" "$WORK/rows" >"$WORK/missing"
	echo "missing: $(wc -l <"$WORK/missing") of $(wc -l <"$WORK/acked"), $(wc -l <"$WORK/rows") rows: $(head -n 8 "$WORK/missing" | tr '\n' ',')" >&2
	wc -l <"$WORK/missing"
}

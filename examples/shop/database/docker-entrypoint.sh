#!/bin/sh
# Makes the database at first start, then becomes the server.
#
# Started as root it takes over the data folder and steps down to postgres: for that it needs the capabilities
# CHOWN, DAC_OVERRIDE, FOWNER, SETGID and SETUID and no other. Started as postgres it needs none.
#
#   POSTGRES_PASSWORD_FILE  file with the password of POSTGRES_USER (needed at first start)
#   POSTGRES_USER           the superuser to make (default postgres)
#   POSTGRES_DB             the database to make (default POSTGRES_USER)
set -eu

if [ "${1:-}" != postgres ]; then
    exec "$@"
fi

if [ "$(id -u)" = 0 ]; then
    install -d -m 0755 -o postgres -g postgres "$(dirname "$PGDATA")"
    install -d -m 0775 -o postgres -g postgres /run/postgresql
    find "$(dirname "$PGDATA")" ! -user postgres -exec chown --no-dereference postgres:postgres {} +
    exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi

if [ ! -e "$PGDATA" ]; then
    user=${POSTGRES_USER:-postgres}
    database=${POSTGRES_DB:-$user}
    if [ ! -s "${POSTGRES_PASSWORD_FILE:-}" ]; then
        echo "docker-entrypoint.sh: POSTGRES_PASSWORD_FILE must name a readable file with the password for $user" >&2
        exit 1
    fi
    # Made beside its place and renamed when whole: a container killed half-way starts over, not on a torso.
    rm -rf "$PGDATA.new"
    initdb --pgdata="$PGDATA.new" --username="$user" --pwfile="$POSTGRES_PASSWORD_FILE" \
        --encoding=UTF8 --locale=C.UTF-8 --data-checksums --auth-local=trust --auth-host=scram-sha-256
    echo 'host all all all scram-sha-256' >> "$PGDATA.new/pg_hba.conf"
    if [ "$database" != postgres ]; then
        printf 'CREATE DATABASE "%s"\n' "$database" | postgres --single -D "$PGDATA.new" postgres
    fi
    sync --file-system "$PGDATA.new"
    mv "$PGDATA.new" "$PGDATA"
fi

exec "$@"

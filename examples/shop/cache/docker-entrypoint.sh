#!/bin/sh
# Joins configuration and password, then becomes the server.
#
# Started as root it takes over /data and steps down to redis: for that it needs the capabilities CHOWN,
# DAC_OVERRIDE, FOWNER, SETGID and SETUID and no other. Started as redis it needs none.
#
#   REDIS_PASSWORD_FILE  file with the password that clients must give
set -eu

if [ "${1:-}" != redis-server ]; then
    exec "$@"
fi

if [ "$(id -u)" = 0 ]; then
    install -d -m 0750 -o redis -g redis /data
    install -d -m 0750 -o redis -g redis /run/redis
    find /data ! -user redis -exec chown --no-dereference redis:redis {} +
    exec setpriv --reuid=redis --regid=redis --init-groups "$0" "$@"
fi

if [ ! -s "${REDIS_PASSWORD_FILE:-}" ]; then
    echo "docker-entrypoint.sh: REDIS_PASSWORD_FILE must name a readable file with the password" >&2
    exit 1
fi
# A file, as an argument would show in every process list.
umask 077
{
    echo "include $2"
    echo "requirepass $(cat "$REDIS_PASSWORD_FILE")"
} > /run/redis/redis.conf
shift 2
exec redis-server /run/redis/redis.conf "$@"

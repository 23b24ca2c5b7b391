#!/bin/sh
# Healthy is an answer to an authenticated ping. redis-cli ends with 0 on an error reply, hence the comparison.
set -eu
answer=$(REDISCLI_AUTH=$(cat "$REDIS_PASSWORD_FILE") redis-cli ping 2>&1)
[ "$answer" = PONG ] || { echo "$answer" >&2; exit 1; }

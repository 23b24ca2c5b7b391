#!/bin/sh
set -e
log() { [ -n "${QUIET:-}" ] || echo "entrypoint: $*"; }
if [ "$1" = nginx ] && find /docker-entrypoint.d/ -mindepth 1 -maxdepth 1 -type f -print -quit | read v; then
  find /docker-entrypoint.d/ -follow -type f -print | sort -V | while read -r f; do
    case "$f" in
      *.envsh) [ -x "$f" ] && { log "sourcing $f"; . "$f"; } ;;
      *.sh) if [ -x "$f" ]; then log "launching $f"; "$f"; else log "ignoring $f"; fi ;;
    esac
  done
fi
exec "$@"

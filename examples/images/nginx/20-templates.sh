#!/bin/sh
set -e
names=$(env | cut -d= -f1 | sed 's/^/$/' | tr '\n' ' ')
for t in /etc/nginx/templates/*.template; do
  out=/etc/nginx/conf.d/$(basename "$t" .template)
  envsubst "$names" < "$t" > "$out"
done

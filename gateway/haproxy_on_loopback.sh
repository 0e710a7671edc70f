#!/bin/sh
# Started by Serve in place of HAProxy.  Serve's template binds HAProxy's statistics and metrics
# pages to every interface, without a password; this moves them to loopback and goes on as HAProxy.
# The file is edited in place, because Serve recognises its HAProxy by the name on the command line.
set -eu
previous=
for argument in "$@"; do
    if [ "$previous" = -f ]; then
        sed -i -e 's/^\( *bind \)\(\*\{0,1\}\):\([0-9][0-9]*\) *$/\1127.0.0.1:\3/' "$argument"
    fi
    previous=$argument
done
exec "${HANDRAIL_HAPROXY:?is set by handrail up}" "$@"

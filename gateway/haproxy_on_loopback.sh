#!/bin/sh
# Started by Serve in place of HAProxy: changes three things in the configuration that Serve wrote and
# goes on as HAProxy.
# 1. Serve's template binds HAProxy's statistics and metrics pages to every interface, without a
#    password; here they move to loopback.
# 2. HAProxy can repeat a request on another replica only while it holds all of it, so it waits for
#    the body (up to its buffer) before it forwards anything.
# 3. Before it repeats, HAProxy waits a second or `timeout connect`, whichever is less, and Serve sets
#    that in whole seconds only.  Replicas are on loopback, where a connection takes microseconds;
#    but HAProxy looks at its timers before it looks at its connections, so every connection that it
#    was opening while it had no core for that long counts as failed, and three in a row take a
#    replica out for half a second.  At 50 ms, 500 in flight on two busy cores took out all of them.
# The file is edited in place, because Serve recognises its HAProxy by the name on the command line.
set -eu
previous=
for argument in "$@"; do
    if [ "$previous" = -f ]; then
        sed -i -e 's/^\( *bind \)\(\*\{0,1\}\):\([0-9][0-9]*\) *$/\1127.0.0.1:\3/' \
            -e 's/^\( *\)option redispatch 1$/&\n\1option http-buffer-request/' \
            -e 's/^\( *timeout connect \)[0-9][0-9]*s$/\1200ms/' "$argument"
    fi
    previous=$argument
done
exec "${HANDRAIL_HAPROXY:?is set by handrail up}" "$@"

#!/bin/bash
# This file runs the campaign of tests/crash/serve.py whose clients come over TCP: CRASH_ROUNDS (4;
# `make crash-tcp`: 2000) kills of each of nine kinds. CRASH_SEED repeats one run, CRASH_SECONDS ends one.
set -u
cd "$(dirname "$0")/../.." || exit 2
if [ "$(id -u)" != 0 ]; then
    echo 'skip serve_wire: needs root'
    exit 0
fi
kills=${CRASH_ROUNDS:-4} seed=${CRASH_SEED:-$((RANDOM + 1))}
echo "seed $seed"
# Processes, mounts and a network of its own: everything ends with the program, whatever becomes of it.
# 203.0.113.1 is an address of this host.
a_service_is_killed_under_clients_over_tcp() {
    unshare --mount --net --propagation private --pid --fork --kill-child=TERM --mount-proc -- sh -c '
        ip link set lo up && ip address add 203.0.113.1/32 dev lo && exec python3 -B tests/crash/serve.py "$@"' \
        sh wire "$kills" "$seed" &
    child=$!
    wait "$child"
}
# The campaign then destroys what it made, and ends.
child=
trap '[ -z "$child" ] || kill -KILL "$child"; exit 130' INT TERM HUP
a_service_is_killed_under_clients_over_tcp

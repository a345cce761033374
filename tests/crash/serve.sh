#!/bin/bash
# This file runs the campaigns of tests/crash/serve.py over real processes: CRASH_ROUNDS (100; `make crash`:
# 2000) kills of each kind, scaled down when it is not the whole. CRASH_SEED repeats one run; CRASH_ONLY
# names one campaign (kill, points, calls, refuse, hundred, full, reboot, seeded); CRASH_SECONDS ends the
# random kills earlier, with as many of each kind as there were.
set -u
cd "$(dirname "$0")/../.." || exit 2
rounds=${CRASH_ROUNDS:-100} seed=${CRASH_SEED:-$((RANDOM + 1))} status=0
if [ "$(id -u)" != 0 ]; then
    for campaign in kill points calls refuse hundred full reboot seeded; do echo "skip serve_$campaign: needs root"; done
    exit 0
fi
echo "seed $seed"
# Processes, mounts and a network of its own: everything ends with the program, whatever becomes of it.
alone() {
    if [ -n "${CRASH_ONLY:-}" ] && [ "$CRASH_ONLY" != "$1" ]; then return 0; fi
    unshare --mount --net --propagation private --pid --fork --kill-child=TERM --mount-proc -- \
        sh -c 'ip link set lo up && exec python3 -B tests/crash/serve.py "$@"' sh "$@" "$seed" &
    child=$!
    wait "$child"
}
# The campaign then destroys what it made, and ends.
child=
trap '[ -z "$child" ] || kill -KILL "$child"; exit 130' INT TERM HUP
kills=$((rounds / 14)) restarts=4 reboots=1 calls=12
if [ "$rounds" -ge 1000 ]; then kills=$rounds restarts=20 reboots=10 calls=0; fi
a_service_is_killed_at_random_instants() { alone kill "$kills"; }
a_service_is_killed_at_every_fail_point() { alone points 0; }
# Every call of every program takes an hour: only the whole does it, else the first few that are met.
any_process_is_killed_at_calls() { alone calls "$calls"; }
calls_are_refused() { alone refuse "$calls"; }
the_host_is_restarted() { alone reboot "$reboots"; }
the_verdict_finds_what_is_wrong() { alone seeded 0; }
a_service_is_restarted_while_a_hundred_print() { alone hundred "$restarts"; }
a_full_file_system_refuses_and_recovers() { alone full 0; }

a_service_is_killed_at_random_instants || status=1
a_service_is_killed_at_every_fail_point || status=1
any_process_is_killed_at_calls || status=1
calls_are_refused || status=1
a_service_is_restarted_while_a_hundred_print || status=1
a_full_file_system_refuses_and_recovers || status=1
the_host_is_restarted || status=1
the_verdict_finds_what_is_wrong || status=1
exit $status

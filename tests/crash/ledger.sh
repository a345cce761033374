#!/bin/bash
# This file runs the campaigns of tests/crash/ledger.c: CRASH_ROUNDS kills (100; `make crash`: 2000) and
# half as many losses of power. CRASH_SEED repeats one run.
set -u
cd "$(dirname "$0")/../.." || exit 2
program=${BUILD:-build}/tests/crash/ledger
rounds=${CRASH_ROUNDS:-100} seed=${CRASH_SEED:-$((RANDOM + 1))} status=0
echo "seed $seed"

killed_at_random_instants() { "$program" kill "$rounds" "$seed"; }
killed_at_every_fail_point() { "$program" points 0 "$seed"; }
power_is_lost() { "$program" power $((rounds / 2)) "$seed"; }
the_disk_refuses() { "$program" faults 0 "$seed"; }

killed_at_random_instants || status=1
killed_at_every_fail_point || status=1
power_is_lost || status=1
the_disk_refuses || status=1
exit $status

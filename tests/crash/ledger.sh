#!/bin/bash
# This file runs the campaigns of tests/crash/ledger.c: CRASH_ROUNDS kills (100; `make crash`: 2000) and
# half as many losses of power. CRASH_SEED repeats one run.
set -u
cd "$(dirname "$0")/../.." || exit 2
BUILD=${BUILD:-build}
rounds=${CRASH_ROUNDS:-100} seed=${CRASH_SEED:-$((RANDOM + 1))}
program=$BUILD/tests/crash/ledger
status=0
echo "seed $seed"
"$program" kill "$rounds" "$seed" || status=1
"$program" points 0 "$seed" || status=1
"$program" power $((rounds / 2)) "$seed" || status=1
"$program" faults 0 "$seed" || status=1
exit $status

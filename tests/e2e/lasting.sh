#!/bin/bash
# This file runs the tests of sessions that last (interface.py, states.py, lasting.py, edges.py,
# asked.py, archives.py, handover.py, watching.py) as each kind of user, over a real `berth serve` each, and looks for what is left. Arguments: names of cases.
set -u
. "$(dirname "$0")/../attack/lib.sh"
own_namespaces "$@"
make_scene
# Uses of directories are written down once for all berths of the host: those of others do not count here.
if [ "$(id -u)" = 0 ] && [ -d /run/berth-share ]; then mount -t tmpfs -o mode=755 none /run/berth-share; fi
HERE=$TREE/tests/e2e

# over FILE: its own lines are the verdicts; what is left behind is one more.
over() {
    local log=$D/out/$1.log status
    fresh_workspace
    : >"$D/out/serve.log"
    if [ "$MODE" != self ]; then chown "$UID_HERE" "$D/out/serve.log"; fi
    timeout -k 5 $((200 * ${TEST_SLOWER:-1})) "${AS[@]}" "${ENVIRONMENT[@]}" "BERTH=$BERTH" "TEST_MODE=$MODE" "TEST_ONE_ID=$ONE_ID" "TEST_WORKSPACE=$WS" \
        "TEST_SLOWER=${TEST_SLOWER:-1}" ${TIMES:+"TIMES=1"} PYTHONDONTWRITEBYTECODE=1 python3 "$HERE/$1.py" "${@:2}" </dev/null 2>"$D/out/$1.err" | tee "$log"
    status=${PIPESTATUS[0]}
    passed=$((passed + $(grep -c '^ok ' "$log")))
    failed=$((failed + $(grep -c '^not ok ' "$log")))
    skipped=$((skipped + $(grep -c '^skip ' "$log")))
    test_case "$1 leaves nothing [$MODE]" said_all "$1" "$status" "$log"
}
said_all() {
    [ "$2" = 0 ] || grep -q '^not ok ' "$3" || fail "status $2: $(tail -n 3 "$D/out/$1.err" | tr '\n' ' ')"
}

for mode in ${MODES:-$(modes_here)}; do
    enter_mode "$mode"
    for file in ${FILES:-interface states lasting edges asked archives handover watching}; do
        over "$file" "$@"
    done
done
summary

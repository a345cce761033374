#!/bin/bash
# This file upgrades berth while sessions run (upgrade.py), three times: from a build that made the same inits and
# file workers, from one whose file workers are older, from one whose inits are. Such builds are made of this tree
# with other numbers of protocol and version, and their ledger is taken one migration back: what a clone of one
# commit can show. tests/upgrade-from takes a real one, by OLDER, OLDER_TREE and KINDS.
set -u
. "$(dirname "$0")/../attack/lib.sh"
own_namespaces "$@"
make_scene
if [ "$(id -u)" = 0 ] && [ -d /run/berth-share ]; then mount -t tmpfs -o mode=755 none /run/berth-share; fi

if [ ! -e "$TREE/provider/ledger_schema.c" ] || ! command -v make >/dev/null || ! cc -E -x c - <<<'#include <sqlite3.h>' >/dev/null 2>&1; then
    echo 'skip an_upgrade: needs the sources and a compiler'
    summary
    exit
fi

# The programs alone, as fast as they are compiled.
build_older() {
    mkdir "$T/tree" && cp -r "$TREE"/{api,policy,provider,runtime,tests,Makefile} "$T/tree/" || return
    sed -i 's/^\( *AGENT_VERSION = \)\([0-9]*\)/\1\20/' "$T/tree/runtime/agent/protocol.h" &&
        sed -i 's/^\( *FILES_VERSION = \)\([0-9]*\)/\1\20/' "$T/tree/runtime/files.h" &&
        grep -q 'AGENT_VERSION = [0-9]*0,' "$T/tree/runtime/agent/protocol.h" && grep -q 'FILES_VERSION = [0-9]*0,' "$T/tree/runtime/files.h" &&
        env -u MAKEFLAGS -u MAKELEVEL make -C "$T/tree" -j"$(nproc)" BUILD=build VERSION=0.0.1 \
            CFLAGS='-std=gnu11 -O0 -w -fno-common -ffunction-sections -fdata-sections -fPIE' all >"$T/tree/log" 2>&1
}
upgrade_from() {
    touch "$D/out/serve.log"
    if [ "$MODE" != self ]; then chown "$UID_HERE" "$D/out/serve.log"; fi
    timeout -k 5 $((150 * ${TEST_SLOWER:-1})) "${AS[@]}" "${ENVIRONMENT[@]}" "BERTH=$BERTH" "OLDER=$OLDER" "OLDER_TREE=$OLDER_TREE" \
        "OLDER_KIND=$1" "TEST_MODE=$MODE" "TEST_SLOWER=${TEST_SLOWER:-1}" PYTHONDONTWRITEBYTECODE=1 \
        python3 "$TREE/tests/e2e/upgrade.py" </dev/null >"$D/out/upgrade" 2>"$D/out/upgrade.err"
    RC=$?
    [ "$RC" = 0 ] || fail "status $RC: $(tail -n 1 "$D/out/upgrade") $(tail -n 12 "$D/out/upgrade.err" | tr '\n' ' ' | head -c 900)"
}
an_older_berth_is_built() { build_older || fail "$(tail -n 3 "$T/tree/log")"; }

given=${OLDER:-} OLDER_TREE=${OLDER_TREE:-$TREE}
if [ -z "$given" ]; then
    enter_mode "$(modes_here | cut -d' ' -f1)"
    test_case 'an older berth is built' an_older_berth_is_built
fi
for mode in ${MODES:-$(modes_here)}; do
    for kind in ${KINDS:-daemon files init}; do
        # Which ids a session has changes nothing of protocols.
        if [ "$kind" != daemon ] && [ "$mode" != root ] && [ "$mode" != self ]; then continue; fi
        enter_mode "$mode"
        rm -rf --one-file-system "$D/state" "$D/run"
        mkdir -p "$D/state" "$D/run"
        if [ "$MODE" != self ]; then chown "$UID_HERE" "$D/state" "$D/run"; fi
        OLDER=$given
        if [ -z "$given" ]; then
            OLDER=$T/older-$kind
            rm -rf "$OLDER"
            mkdir "$OLDER"
            case $kind in
            daemon) cp "$BUILD"/bin/* "$OLDER/" ;;
            files) cp "$BUILD"/bin/* "$OLDER/" && cp -f "$T/tree/build/bin/berth-files" "$OLDER/" ;;
            init) cp "$T/tree/build/bin/"* "$OLDER/" ;;
            esac
        fi
        test_case "an_upgrade_with_sessions_running_from_another_$kind [$mode]" upgrade_from "$kind"
    done
done
summary

#!/bin/bash
# This file builds the TypeScript package in a directory of its own and runs typescript.mjs with it: over a
# real `berth serve`, and with the real package of the agent whose tools it serves.
set -u
cd "$(dirname "$0")/../.." || exit 2
export BERTH=${BERTH:-$PWD/${BUILD:-build}/bin/berth}
if [ -z "${CLIENTS_DIR:-}" ]; then
    . tests/clients/lib.sh
    trap 'rm -rf "$NPM_DIR"' EXIT
    npm_has typescript typescript@7.0.2 @types/node@20.19.43 @earendil-works/pi-coding-agent@0.74.2 || exit 0
    cp -r api/clients/typescript "$NPM_DIR/package"
    if ! (cd "$NPM_DIR/package" && node scripts/generate.mjs src/generated.ts && ../node_modules/.bin/tsc -p tsconfig.json) >"$NPM_DIR/build.log" 2>&1; then
        tail -n 20 "$NPM_DIR/build.log"
        echo 'not ok typescript: the package is built'
        exit 1
    fi
    echo 'ok typescript: the package is built'
    ln -s ../package "$NPM_DIR/node_modules/berth"
    cp tests/clients/consumer.mts "$NPM_DIR/"
    if (cd "$NPM_DIR" && node_modules/.bin/tsc --noEmit --strict --skipLibCheck --module nodenext --target es2022 --lib es2023 --types node \
        consumer.mts); then echo 'ok typescript: its types allow what is right and refuse what is not'; else
        echo 'not ok typescript: its types allow what is right and refuse what is not'
        failed=1
    fi
    export CLIENTS_DIR=$NPM_DIR
    # Mounts, network and processes of its own: what is started ends with it, and directories' uses are its own.
    if [ "$(id -u)" = 0 ]; then
        unshare --mount --net --propagation private --pid --fork --kill-child --mount-proc -- "$0" "$@" || exit
        exit ${failed:-0}
    fi
fi
if [ "$(id -u)" = 0 ]; then ip link set lo up; fi
if [ "$(id -u)" = 0 ] && [ -d /run/berth-share ]; then mount -t tmpfs -o mode=755 none /run/berth-share; fi
mkdir -m 755 "$CLIENTS_DIR/state" "$CLIENTS_DIR/run"
cp tests/clients/*.mjs "$CLIENTS_DIR/"
# A caller's variables that must not get into a session.
export BERTH_STATE_DIR=$CLIENTS_DIR/state BERTH_RUNTIME_DIR=$CLIENTS_DIR/run HOST_SECRET=of-the-host
sed -n '/^```ts$/,/^```$/p' api/clients/typescript/README.md | sed '/^```$/,$d; /^```/d' >"$CLIENTS_DIR/example.mjs"
timeout -k 10 $((400 * ${TEST_SLOWER:-1})) node "$CLIENTS_DIR/typescript.mjs" "$@"

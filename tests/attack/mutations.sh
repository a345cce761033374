#!/bin/bash
# This file proves that the attacks bite: for each weakening of mutations.list it builds a copy of the
# tree with that one protection gone and runs the attacks that the mutation names; one of them must
# then succeed. It never touches the tree itself, which is read-only for it.
#
#     mutations.sh [NAME-PATTERN…]      COMMIT=HEAD: of a commit, not of the files as they are
#
# A mutation has MUTATION_TIMEOUT seconds (300) for its attacks, and each build BUILD_TIMEOUT (600). The last test is that nothing is left on
# the machine: weakened sessions are ended with the process ids and mounts of their own that they get.
set -u
TREE=$(cd "$(dirname "$0")/../.." && pwd)
LIST=$TREE/tests/attack/mutations.list
if [ "$(id -u)" != 0 ]; then
    echo 'skip mutations: needs root'
    echo '0 passed, 0 failed, 1 skipped'
    exit 0
fi
if [ -z "${MUTATIONS_INSIDE:-}" ]; then
    exec env MUTATIONS_INSIDE=1 unshare --mount --propagation private --pid --fork --kill-child --mount-proc -- "$0" "$@"
fi
trap 'exit 130' INT TERM HUP
mount --bind "$TREE" "$TREE" && mount -o remount,bind,ro "$TREE" || exit 2
T=$(mktemp -d "${TMPDIR:-/tmp}/attack-mutations.XXXXXX") || exit 2
trap 'rm -rf --one-file-system "$T"' EXIT
chmod 755 "$T"
mkdir "$T/tree" "$T/pristine"
if [ -n "${COMMIT:-}" ]; then
    git -C "$TREE" archive "$COMMIT" | tar -x -C "$T/pristine" || exit 2
else
    cp -a "$TREE"/{api,policy,provider,runtime,tests,docs,Makefile} "$T/pristine/" || exit 2
fi
cp -a "$T/pristine/." "$T/tree/"
cd "$T/tree" || exit 2
passed=0 failed=0 skipped=0
tests/leftovers.sh baseline "$T/leftovers" || exit 2

build() { timeout -k 5 "${BUILD_TIMEOUT:-600}" make -s -j"$(nproc)" BUILD="$T/build" CC="${CC:-gcc}" WARN=-w all attack-build >"$T/build.log" 2>&1; }

if ! build; then
    tail -n 20 "$T/build.log"
    echo 'not ok unchanged: the tree does not build'
    exit 1
fi

wanted() {
    local pattern
    if [ ${#PATTERNS[@]} = 0 ]; then return 0; fi
    for pattern in "${PATTERNS[@]}"; do
        # shellcheck disable=SC2053 # patterns on purpose
        if [[ $1 == $pattern ]]; then return 0; fi
    done
    return 1
}
PATTERNS=("$@")

bad() {
    failed=$((failed + 1))
    echo "not ok $1"
}

finish() { # the mutation that was read last
    local file expression line status
    if [ -z "$name" ] || ! wanted "$name"; then return; fi
    for file in "${!always[@]}"; do edits[$file]="${edits[$file]:-}${always[$file]}"; done
    for file in "${!edits[@]}"; do
        # shellcheck disable=SC2046
        if ! printf '%s' "${edits[$file]}" >"$T/script" || ! sed -i -f "$T/script" "$file"; then
            bad "$name: sed failed on $file"
            restore
            return
        fi
        while IFS= read -r expression; do
            [ -n "$expression" ] || continue
            if sed "$expression" "$T/pristine/$file" | cmp -s - "$T/pristine/$file"; then
                bad "$name: no longer applies: $file: $expression"
                restore
                return
            fi
        done <"$T/script"
    done
    if ! build; then
        bad "$name: does not build: $(grep -m1 'error' "$T/build.log" | head -c 200)"
        restore
        return
    fi
    # shellcheck disable=SC2086 # patterns are words
    if [ -n "$network" ]; then
        set -- tests/attack/network.sh $network
    elif [ -n "$cases" ]; then
        set -- tests/attack/service.sh $cases
    else
        set -- tests/attack/attacks.sh --mode "${mode:-root}" $attacks
    fi
    BUILD=$T/build BERTH=$T/build/bin/berth MODES=${mode:-root} timeout -k 5 "${MUTATION_TIMEOUT:-300}" "$@" >"$T/out" 2>&1
    status=$?
    # A session that does not start at all proves nothing.
    line=$(grep '^not ok' "$T/out" | grep -vE 'did not come to its end|status 1(24|25|37|41)|says nothing|the service does not start|the session to be taken over|the world was not made|: LATE"' | head -n 1 | head -c 160)
    if [ -n "$line" ]; then
        passed=$((passed + 1))
        echo "ok $name: $line"
    elif [ "$status" = 124 ] || [ "$status" = 137 ]; then
        bad "$name: no attack had succeeded after ${MUTATION_TIMEOUT:-300} s"
    elif grep -q '^skip' "$T/out" && ! grep -qE '^(not )?ok' "$T/out"; then
        skipped=$((skipped + 1))
        echo "skip $name: $(grep -m1 '^skip' "$T/out" | head -c 240)"
    else
        bad "$name: survived: $(grep -E '^(not ok|skip)' "$T/out" | head -n 1 | head -c 240) $(tail -n 1 "$T/out")"
    fi
    restore
}

restore() {
    local file
    for file in "${!edits[@]}"; do
        cp -p "$T/pristine/$file" "$file"
        touch "$file"
    done
}

name='' attacks='' cases='' network='' mode=''
declare -A edits=() always=()
while IFS= read -r line; do
    case $line in
    '#'* | '') ;;
    'mutation '*)
        finish
        name=${line#mutation } attacks='' cases='' network='' mode=''
        edits=() ;;
    'attack '*) attacks=${line#attack } ;;
    'service '*) cases=${line#service } ;;
    'network '*) network=${line#network } ;;
    'mode '*) mode=${line#mode } ;;
    'always '*)
        line=${line#always }
        always[${line%% *}]="${always[${line%% *}]:-}${line#* }"$'\n' ;;
    'edit '*)
        line=${line#edit }
        edits[${line%% *}]="${edits[${line%% *}]:-}${line#* }"$'\n' ;;
    *) bad "mutations.list: a line that is none: $line" ;;
    esac
done <"$LIST"
finish
if tests/leftovers.sh check "$T/leftovers"; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]

# This file is what the tests of the network of `berth run` share: a world of servers behind a veth pair, and a
# session that may reach some of it; it never decides what a test means. Sourced by bash, after attack/lib.sh.

# make_world PROGRAM WORDS: addresses of documentation and private networks behind a veth pair, and the resolver
# and servers of PROGRAM, in a network namespace that ends with this test's processes.
make_world() {
    coproc WORLD { exec unshare --net python3 -B "$TREE/tests/e2e/network_world_start.py" "$@"; }
    local line
    read -r -t $((60 * ${TEST_SLOWER:-1})) line <&"${WORLD[0]}" && [ "$line" = netns ] || return 1
    ip link add world type veth peer name eth0 netns "$WORLD_PID" || return 1
    ip address add 192.0.2.9/24 dev world && ip address add 2001:db8:9::9/64 dev world nodad && ip link set world up || return 1
    WORLD_INPUT=${WORLD[1]}
    echo go >&"$WORLD_INPUT"
    read -r -t $((60 * ${TEST_SLOWER:-1})) line <&"${WORLD[0]}" && [ "$line" = ready ] || return 1
    ip link set lo up && ip route add default via 192.0.2.1 && ip -6 route add default via 2001:db8:9::1
}
end_world() { exec {WORLD_INPUT}>&-; }

# inside WORDS: a session of this mode's user; OUT and ERR are files.
inside() {
    OUT=$D/out/out ERR=$D/out/err
    timeout -k 5 $((60 * ${TEST_SLOWER:-1})) "${AS[@]}" "${ENVIRONMENT[@]}" "$BERTH" run --workspace none \
        --resolver 93.184.215.53 "$@" </dev/null >"$OUT" 2>"$ERR"
    RC=$?
}
expect() { # expect FILE PATTERN
    grep -qE -- "$2" "$1" || fail "no \"$2\" in: status $RC $(head -c 300 "$OUT" | tr '\n' ' ') $(tail -n 4 "$ERR" | tr '\n' ' ' | head -c 500)"
}
expect_not() {
    if grep -qE -- "$2" "$1"; then fail "\"$2\" in: status $RC $(grep -E -m 3 -- "$2" "$1" | head -c 300 | tr '\n' ' ')"; fi
}
FETCH="curl -sS -m $((20 * ${TEST_SLOWER:-1}))"

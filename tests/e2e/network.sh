#!/bin/bash
# This file runs `berth run` with network rules against servers in a namespace of the test's own: what is
# allowed works with programs that know nothing of berth, what is not is refused at once and told together with
# the option that allows it. It never leaves that namespace.
set -u
. "$(dirname "$0")/../attack/lib.sh"
. "$(dirname "$0")/network_lib.sh"
own_namespaces "$@"
make_scene
if [ "$(id -u)" != 0 ]; then
    echo 'skip network: needs root'
    summary
    exit
fi

WEB=93.184.215.14 INNER=10.1.2.3 HOST=192.0.2.9

an_allowed_name_is_reached_by_an_unmodified_program() {
    inside --allow web.example:80 -- sh -c "$FETCH http://web.example/"
    expect "$OUT" '^world$'
    expect_not "$ERR" 'network:'
}
a_server_that_speaks_first_is_heard() {
    inside --allow web.example:2222 -- python3 -c '
import socket
s = socket.create_connection(("web.example", 2222), 20)
print(s.recv(100).decode().strip()); s.sendall(b"me"); print(s.recv(100).decode())'
    expect "$OUT" '^220 who is there$'
    expect "$OUT" '^hello me$'
}
NET_4_what_no_rule_names_is_refused_and_told_with_the_option() {
    inside --allow web.example:80 -- sh -c "$FETCH http://other.example/; $FETCH http://$WEB/"
    expect_not "$OUT" world
    expect "$ERR" 'other\.example.* was refused.*no rule names it\. Allow it: --allow other\.example'
    expect "$ERR" '93\.184\.215\.14:80 was refused.*Allow it: --allow 93\.184\.215\.14/32:80'
    inside --allow other.example:80 --allow 93.184.215.14/32:80 -- sh -c "$FETCH http://other.example/; $FETCH http://$WEB/"
    [ "$(grep -c world "$OUT")" = 2 ] || fail "the options that were told do not allow it: $(tail -n 3 "$ERR" | tr '\n' ' ')"
}
another_port_of_an_allowed_host_is_refused() {
    inside --allow web.example:80 -- sh -c "$FETCH http://web.example:2222/"
    expect "$ERR" 'web\.example:2222 was refused.*this port is not'
}
NET_3_a_name_that_resolves_to_a_private_address_is_refused() {
    inside --allow inner.example:80 -- sh -c "$FETCH http://inner.example/"
    expect_not "$OUT" world
    expect "$ERR" 'inner\.example:80 was refused.*10\.1\.2\.3.*private'
    inside --allow inner.example:80 --allow 10.1.2.3/32:80 -- sh -c "$FETCH http://inner.example/"
    expect "$OUT" world
}
NET_2_deny_beats_allow() {
    inside --net allow --deny web.example:80 -- sh -c "$FETCH http://web.example/"
    expect_not "$OUT" world
    expect "$ERR" 'web\.example.* was refused.*a deny rule names it'
}
public_only_reaches_what_is_public() {
    inside --net public-only -- sh -c "$FETCH http://web.example/; $FETCH http://$INNER/; $FETCH http://$HOST/"
    [ "$(grep -c world "$OUT")" = 1 ] || fail "reached $(grep -c world "$OUT") of one"
}
NET_1_deny_reaches_nothing() {
    inside --net deny -- sh -c "$FETCH http://web.example/; $FETCH http://$WEB/; echo over"
    expect "$OUT" '^over$'
    expect_not "$OUT" world
}
NET_4_the_end_of_a_run_without_a_network_says_that_one_was_looked_for() {
    local program
    # By name, by address, by IPv6, by a datagram.
    for program in "$FETCH http://web.example/" "$FETCH http://$WEB/" "$FETCH http://[2606:2800:220:1::6]/" \
        "python3 -c 'import socket; socket.socket(2, 2).sendto(b\"x\", (\"$WEB\", 53))'"; do
        inside -- sh -c "$program"
        expect "$ERR" 'note: network: nothing outside is reached, and the command tried to. Allow it: --allow'
    done
    # Nobody who stays within is told so.
    inside -- python3 -c '
import socket
for a in socket.getaddrinfo("localhost", 80) + socket.getaddrinfo("1.2.3.4", 80, 0, 0, 0, socket.AI_NUMERICHOST):
    print(a)
for family, kind, to in ((2, 1, "127.0.0.1"), (10, 1, "::1"), (2, 2, "127.0.0.1")):
    s = socket.socket(family, kind)
    try: s.connect((to, 8125)); s.send(b"x"); s.send(b"x")
    except OSError: pass
s = socket.create_server(("127.0.0.1", 8000)); c = socket.create_connection(("127.0.0.1", 8000)); print("over")'
    expect "$OUT" '^over$'
    expect_not "$ERR" 'network'
    inside --quiet -- sh -c "$FETCH http://web.example/"
    expect_not "$ERR" 'note:'
}
udp_is_refused_at_once() {
    inside --net allow -- python3 -c '
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); t = time.monotonic()
try:
    s.connect(("93.184.215.53", 5353)); s.send(b"x"); s.settimeout(5); s.recv(1); print("an answer")
except OSError as e: print("refused", time.monotonic() - t < 1)'
    expect "$OUT" '^refused True$'
}
what_was_reached_can_be_learned() {
    local learned=$D/out/learned.jsonc
    rm -f "$learned"
    inside --learn "$learned" -- sh -c "$FETCH http://web.example/; $FETCH http://inner.example/"
    expect "$OUT" world
    expect "$learned" '"host": "web\.example", "ports": \[80\]'
    expect "$learned" 'Not learned: inner\.example:80.*private'
    inside --policy "$learned" -- sh -c "$FETCH http://web.example/; $FETCH http://other.example/"
    [ "$(grep -c world "$OUT")" = 1 ] || fail "under what was learned: $(tail -n 3 "$ERR" | tr '\n' ' ')"
    rm -f "$learned"
}
the_record_has_each_event() {
    inside --json --allow web.example:80 -- sh -c "$FETCH http://web.example/; $FETCH http://other.example/"
    tail -n 1 "$ERR" >"$D/out/record"
    python3 - "$D/out/record" <<'P' || fail "$(tail -n 1 "$ERR" | head -c 600)"
import json, sys
events = json.load(open(sys.argv[1]))["network"]["events"]
assert any(e["event"] == "network.allowed" and e["host"] == "web.example" and e["port"] == 80 for e in events)
assert any(e["event"] == "network.closed" and e["bytes_received"] > 6 for e in events)
assert any(e["event"] == "network.denied" and e["rule_to_add"]["host"] == "other.example" for e in events)
P
    rm -f "$D/out/record"
}
NET_5_a_gateway_that_was_killed_leaves_nothing_open() {
    # Until it has failed six times: nothing of it depends on how fast the gateway is found.
    inside --allow web.example:80 -- sh -c "$FETCH http://web.example/; failed=0; while [ \$failed -lt 6 ]; do
        sleep 0.2; $FETCH http://web.example/ || failed=\$((failed + 1)); $FETCH http://$WEB/; done" &
    local run=$! i pid="" reached
    for i in $(seq $((100 * ${TEST_SLOWER:-1}))); do
        pid=$(gateway_of_this_test)
        if [ -n "$pid" ] && grep -q world "$D/out/out" 2>/dev/null; then break; fi
        sleep 0.1
    done
    [ -n "$pid" ] || { fail 'no gateway was seen'; wait "$run"; return; }
    kill -KILL "$pid"
    reached=$(grep -c world "$D/out/out")
    wait "$run"
    OUT=$D/out/out ERR=$D/out/err RC=0
    # What it had passed on when it was killed may be told later.
    [ "$(grep -c world "$OUT")" -le $((reached + 1)) ] || fail "reached $(grep -c world "$OUT") times, $reached of them before"
    expect "$ERR" 'the gateway ended before the command did'
}
# This test's own PID namespace has no other.
process_named() {
    local p
    for p in /proc/[0-9]*; do
        if [ "$( (tr '\0' ' ' <"$p/cmdline") 2>/dev/null)" = "$1" ]; then echo "${p#/proc/}"; fi
    done | head -n 1
}
gateway_of_this_test() { process_named 'berth: gateway '; }
# The first of those that are called so: its reaper looks like it.
run_of_this_test() {
    local p
    for p in /proc/[0-9]*; do
        case "$( (tr '\0' ' ' <"$p/cmdline") 2>/dev/null)" in "$BERTH run "*) echo "${p#/proc/}" ;; esac
    done | sort -n | head -n 1
}
a_run_that_was_killed_leaves_no_gateway() {
    inside --allow web.example:80 -- sleep 100 &
    local run=$! i pid=
    for i in $(seq $((100 * ${TEST_SLOWER:-1}))); do
        pid=$(process_named 'berth: init ')
        if [ -n "$pid" ]; then break; fi
        sleep 0.1
    done
    [ -n "$pid" ] || { fail 'no session was seen'; wait "$run"; return; }
    [ -n "$(gateway_of_this_test)" ] || fail 'no gateway was seen'
    kill -KILL "$(run_of_this_test)"
    wait "$run" 2>/dev/null
    for i in $(seq $((100 * ${TEST_SLOWER:-1}))); do
        if [ -z "$(gateway_of_this_test)$(process_named 'berth: init ')" ]; then return; fi
        sleep 0.1
    done
    fail 'something of it is left'
}
as_many_rules_as_there_can_be_hold_for_every_user() {
    python3 - >"$D/out/many.jsonc" <<'P'
import json
deny = [{"cidr": f"10.{i}.0.0/16", "ports": [1000 + p for p in range(16)]} for i in range(128)]
deny += [{"cidr": f"2001:db8:{i:x}::/48", "ports": [1000 + p for p in range(16)]} for i in range(128)]
allow = [{"cidr": f"2600:{i:x}::/32", "ports": [2000 + p for p in range(16)]} for i in range(254)]
allow += [{"host": "web.example", "ports": [80]}, {"cidr": "93.184.215.14/32", "ports": [80]}]
print(json.dumps({"version": 1, "network": {"allow": allow, "deny": deny}}))
P
    inside --policy "$D/out/many.jsonc" -- sh -c "$FETCH http://web.example/; $FETCH http://$WEB/; $FETCH http://$WEB:2222/; $FETCH http://other.example/"
    [ "$(grep -c world "$OUT")" = 2 ] || fail "reached $(grep -c world "$OUT") of two: status $RC $(tail -n 3 "$ERR")"
    inside --policy "$D/out/many.jsonc" --allow one.more.example -- true
    expect "$ERR" 'more than 256 rules'
    rm -f "$D/out/many.jsonc"
}

# ---- published ports ---------------------------------------------------------------------------------

# serving ADDRESS WORDS: a session that publishes 3000, where a server of its own listens on ADDRESS; HOST_PORT.
serving() {
    local address=$1 i
    shift
    rm -f "$D/out/served" "$D/out/told"
    "${AS[@]}" "${ENVIRONMENT[@]}" "$BERTH" run --workspace none --net deny --publish 0:3000 "$@" -- python3 -c '
import socket, sys, threading
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
listener = socket.create_server((sys.argv[1], 3000), family=family, backlog=256)
print("listens", flush=True)
def serve(connection):
    with connection:
        said = connection.recv(100)
        while not said.endswith(b"\n"): said += connection.recv(100)
        connection.sendall(b"inside heard " + said)
while True: threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()' \
        "$address" </dev/null >"$D/out/served" 2>"$D/out/told" &
    SERVING=$!
    for i in $(seq $((200 * ${TEST_SLOWER:-1}))); do
        if grep -q listens "$D/out/served" 2>/dev/null; then break; fi
        sleep 0.1
    done
    HOST_PORT=$(sed -n 's/^berth: note: published 127\.0\.0\.1:\([0-9]*\) → 3000$/\1/p' "$D/out/told")
    [ -n "$HOST_PORT" ] || fail "no port was told: $(head -c 300 "$D/out/told")"
}
served_ends() { kill "$SERVING"; wait "$SERVING"; }
# say_to ADDRESS PORT [CLIENTS]: what a program of the host hears, and whether it took less than a second.
say_to() {
    python3 - "$@" <<'P'
import socket, sys, time
start, said = time.monotonic(), set()
try:
    clients = [socket.create_connection((sys.argv[1], int(sys.argv[2])), 20) for _ in range(int((sys.argv[3:] or [1])[0]))]
    for c in clients: c.sendall(b"me\n")
    for c in clients:
        c.settimeout(20)
        said.add(c.makefile().readline().strip())
except OSError as e: said.add(type(e).__name__)
print(*sorted(said), "at once" if time.monotonic() - start < 1 else "late")
P
}
a_published_port_reaches_what_listens_inside_on_any_loopback() {
    local address heard
    for address in 127.0.0.1 0.0.0.0 ::1; do
        serving "$address"
        heard=$(say_to 127.0.0.1 "$HOST_PORT")
        case $heard in 'inside heard me '*) ;; *) fail "from 127.0.0.1 to $address: $heard" ;; esac
        heard=$(say_to ::1 "$HOST_PORT")
        case $heard in 'inside heard me '*) ;; *) fail "from ::1 to $address: $heard" ;; esac
        served_ends
        heard=$(say_to 127.0.0.1 "$HOST_PORT")
        [ "$heard" = 'ConnectionRefusedError at once' ] || fail "the port outlived its session: $heard"
    done
}
many_clients_of_a_published_port_are_served() {
    serving 127.0.0.1
    local heard
    heard=$(say_to 127.0.0.1 "$HOST_PORT" 200)
    case $heard in 'inside heard me '*) ;; *) fail "$heard" ;; esac
    served_ends
}
a_published_port_where_nobody_listens_is_reset_at_once() {
    local heard
    serving 127.0.0.1 --publish 0:3001
    heard=$(say_to 127.0.0.1 "$(sed -n 's/^berth: note: published 127\.0\.0\.1:\([0-9]*\) → 3001$/\1/p' "$D/out/told")")
    [ "$heard" = 'ConnectionResetError at once' ] || fail "$heard"
    served_ends
}
a_port_that_somebody_has_is_refused_and_another_is_named() {
    serving 127.0.0.1
    inside --publish "$HOST_PORT:3000" -- echo ran
    expect "$ERR" "127\.0\.0\.1:$HOST_PORT: .*\"0:3000\" is any that is free"
    expect_not "$OUT" ran
    [ "$RC" = 125 ] || fail "status $RC"
    served_ends
}
NET_7_no_session_reaches_a_published_port() {
    local mode
    serving 0.0.0.0
    for mode in '--net allow' '--net public-only' '--net deny' "--allow 0.0.0.0/0:$HOST_PORT --allow [::/0]:$HOST_PORT"; do
        # The words of a mode are several.
        # shellcheck disable=SC2086
        inside $mode -- python3 -c '
import socket, sys, time
for address in sys.argv[2:]:
    start, port = time.monotonic(), int(sys.argv[1])
    for port in (port, 3000):
        try:
            s = socket.create_connection((address, port), 10)
            s.sendall(b"me\n")
            print("reached" if s.recv(100) else "closed", address, port)
        except OSError as e: pass
    if time.monotonic() - start > 1: print("late", address)
print("over")' "$HOST_PORT" 127.0.0.1 ::1 0.0.0.0 :: ::ffff:127.0.0.1 "$HOST" "::ffff:$HOST" 127.0.0.2 64:ff9b::7f00:1 2002:7f00:1:: \
            64:ff9b::c000:209 192.0.2.2 fd00::2
        expect "$OUT" '^over$'
        expect_not "$OUT" reached
        # Rules for every address allow those that translate another; that there is no way to them takes its time.
        case $mode in *::/0*) ;; *) expect_not "$OUT" late ;; esac
    done
    served_ends
}
no_gateway_is_left() {
    inside --allow web.example:80 -- true
    [ -z "$(gateway_of_this_test)" ] || fail 'a gateway is left'
}

make_world network_world.py || { fail 'the world was not made'; summary; exit; }
CASES='an_allowed_name_is_reached_by_an_unmodified_program a_server_that_speaks_first_is_heard
NET_4_what_no_rule_names_is_refused_and_told_with_the_option another_port_of_an_allowed_host_is_refused
NET_3_a_name_that_resolves_to_a_private_address_is_refused NET_2_deny_beats_allow public_only_reaches_what_is_public
NET_1_deny_reaches_nothing NET_4_the_end_of_a_run_without_a_network_says_that_one_was_looked_for udp_is_refused_at_once what_was_reached_can_be_learned the_record_has_each_event
NET_5_a_gateway_that_was_killed_leaves_nothing_open a_run_that_was_killed_leaves_no_gateway
as_many_rules_as_there_can_be_hold_for_every_user
a_published_port_reaches_what_listens_inside_on_any_loopback many_clients_of_a_published_port_are_served
a_published_port_where_nobody_listens_is_reset_at_once a_port_that_somebody_has_is_refused_and_another_is_named
NET_7_no_session_reaches_a_published_port no_gateway_is_left'
if [ $# -gt 0 ]; then CASES=$*; fi
for mode in ${MODES:-$(modes_here)}; do
    for name in $CASES; do
        enter_mode "$mode"
        test_case "$name [$mode]" "$name"
    done
done
end_world
summary

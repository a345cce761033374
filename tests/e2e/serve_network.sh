#!/bin/bash
# This file runs sessions that last with network rules against servers in a namespace of the test's own:
# what is allowed works, what is not is an event that names the rule, other rules are in force at once and
# cut what they refuse, and all of it holds while berth is ended and started again. It never leaves that
# namespace.
set -u
. "$(dirname "$0")/../attack/lib.sh"
own_namespaces "$@"
make_scene
SLOWER=${TEST_SLOWER:-1}
if [ "$(id -u)" != 0 ]; then
    echo 'skip serve_network: needs root'
    summary
    exit
fi

# The world of tests/e2e/network.sh; its resolver is this host's.
make_world() {
    coproc WORLD { exec unshare --net python3 -B "$TREE/tests/e2e/network_world_start.py" network_world.py; }
    local line
    read -r -t 20 line <&"${WORLD[0]}" && [ "$line" = netns ] || return 1
    ip link add world type veth peer name eth0 netns "$WORLD_PID" || return 1
    ip address add 192.0.2.9/24 dev world && ip link set world up || return 1
    WORLD_INPUT=${WORLD[1]}
    echo go >&"$WORLD_INPUT"
    read -r -t 20 line <&"${WORLD[0]}" && [ "$line" = ready ] || return 1
    ip link set lo up && ip route add default via 192.0.2.1 || return 1
    echo 'nameserver 93.184.215.53' >"$T/etc/resolv.conf"
    mount --bind "$T/etc/resolv.conf" /etc/resolv.conf
}

# ---- the service ----

service_pid() { pgrep -U "$UID_HERE" -f '^berth: supervisor' | head -n 1; }
service_end() {
    local pid _
    pid=$(service_pid)
    [ -n "$pid" ] || return
    kill "-$1" "$pid"
    for _ in $(seq $((200 * SLOWER))); do [ -d "/proc/$pid" ] || return; sleep 0.05; done
    fail "the service did not end"
    kill -KILL "$pid"
}
said() { grep -qE -- "$1" "$OUT" || fail "no '$1' in: status $RC $(head -n 3 "$OUT") $(head -n 3 "$ERR")"; }
complains() { grep -qE -- "$1" "$ERR" || fail "no '$1' in: status $RC $(head -n 5 "$ERR" | head -c 600)"; }
fetch() { # fetch SESSION NAME: as a command of it
    berth exec --tty never "$1" -- curl -sS -m 20 "http://$2/"
}
reaches() {
    fetch "$1" "$2"
    said '^world$'
}
refused() {
    fetch "$1" "$2"
    if grep -q world "$OUT"; then fail "$2 was reached"; fi
}

# ---- cases: each has a service of its own, started by its first command ----

NET_4_what_is_refused_is_an_event_with_the_rule_that_allows_it() {
    berth session create n1 --allow web.example:80
    status_is 0
    reaches n1 web.example
    if grep -q network "$ERR"; then fail "nothing was refused: $(head -n 2 "$ERR")"; fi
    refused n1 other.example
    complains 'other\.example was refused.*Allow it: berth session network n1 --add --allow other\.example$'
    refused n1 web.example:2222
    complains 'web\.example:2222 was refused.*this port is not'
    berth events n1
    said 'network\.allowed +protocol=tcp  host=web\.example  address=93\.184\.215\.14  port=80'
    said 'network\.closed .*bytes_received=[1-9]'
    said 'network\.denied +other\.example was refused.*no rule names it\. Allow it: --allow other\.example'
    berth events n1 --json
    said '"type":"network.denied".*"host":"other.example".*"rule_to_add":\{"host": "other.example", "ports": \[443\]\}'
    if [ "$MODE" = root ]; then # whose commands have cgroups
        berth --quiet exec --exec-id asker --tty never n1 -- curl -sS -m 20 http://web.example:2222/
        berth --quiet exec --exec-id namer --tty never n1 -- curl -sS -m 20 http://fourth.example/
        berth events n1 --json
        said '"type":"network.denied".*"host":"web.example".*"port":2222.*"exec_id":"asker"'
        said '"type":"network.denied".*"host":"fourth.example".*"exec_id":"namer"'
        said '"type":"network.allowed".*"host":"web.example".*"exec_id":"[^"]'
    fi
    berth --quiet exec --tty never n1 -- curl -sS -m 20 http://third.example/
    if grep -q berth: "$ERR"; then fail "--quiet: $(head -n 2 "$ERR")"; fi
    berth session destroy n1 --delete-volume
    status_is 0
}
# A connection that stays, until it is cut.
hold() {
    berth exec --detach "$1" -- python3 -c '
import socket, sys
s = socket.create_connection((sys.argv[1], 2222), 20)
print(s.recv(100).decode().strip(), flush=True)
s.settimeout(60)
try: print("over" if s.recv(1) == b"" else "more", flush=True)
except ConnectionResetError: print("over", flush=True)
except TimeoutError: print("still open", flush=True)' "$2"
    status_is 0
    HELD=$(cat "$OUT")
}
heard() { # heard SESSION TEXT: of the held connection
    local _
    for _ in $(seq $((200 * SLOWER))); do
        berth logs "$1" "$HELD"
        if grep -q "$2" "$OUT"; then return; fi
        sleep 0.05
    done
    fail "the connection did not say '$2': $(head -n 3 "$OUT")"
}
# Other rules. A launcher of an ordinary user that is new may not enter a network that was there before it.
replace() {
    local session=$1
    shift
    if [ "$MODE" != root ]; then
        berth session park "$session"
        status_is 0
    fi
    berth session network "$session" "$@"
    status_is 0
    if [ "$MODE" != root ]; then
        berth session resume "$session"
        status_is 0
    fi
}
NET_6_other_rules_are_in_force_at_once_and_cut_what_they_refuse() {
    berth session create n2 --allow web.example:80
    refused n2 other.example
    berth session network n2 --add --allow other.example:80 --allow other.example:2222
    status_is 0
    said '^n2: revision 2$'
    reaches n2 other.example
    hold n2 other.example
    heard n2 '220 who is there'
    berth session network n2 --revision 1 --net allow
    status_is 125
    complains precondition_failed
    berth session network n2 --revision 2 --allow web.example:80
    said '^n2: revision 3, 1 connection cut$'
    heard n2 over
    refused n2 other.example
    reaches n2 web.example
    berth session network n2
    said '^revision +3$'
    said '^allow +web\.example:80$'
    berth session network n2 --net deny
    status_is 0
    refused n2 web.example
    berth session destroy n2 --delete-volume
    status_is 0
}
NET_5_rules_and_their_revision_outlive_berth() {
    local how
    berth session create n3
    refused n3 web.example
    for how in TERM KILL; do
        replace n3 --allow web.example:80
        service_end "$how"
        refused n3 other.example
        if [ "$MODE" != root ]; then # with the launcher its user namespace has ended
            refused n3 web.example
            berth session park n3
            berth session resume n3
            status_is 0
        fi
        reaches n3 web.example
        replace n3 --net deny
        service_end "$how"
        refused n3 web.example
    done
    berth session network n3
    said '^revision +5$'
    said '^net +deny$'
    berth session destroy n3 --delete-volume
    status_is 0
}
NET_6_a_parked_session_has_its_new_rules_when_it_is_resumed() {
    berth session create n4 --allow web.example:80
    berth session park n4
    status_is 0
    berth session network n4 --allow other.example:80
    said '^n4: revision 2$'
    berth session resume n4
    status_is 0
    reaches n4 other.example
    refused n4 web.example
    berth usage n4 --json
    said '"network_denied_tcp":[0-9]'
    berth session destroy n4 --delete-volume
    status_is 0
}

with_service() {
    "$1"
    service_end TERM
}
make_world || { fail 'the world was not made'; summary; exit; }
CASES='NET_4_what_is_refused_is_an_event_with_the_rule_that_allows_it
NET_6_other_rules_are_in_force_at_once_and_cut_what_they_refuse NET_5_rules_and_their_revision_outlive_berth
NET_6_a_parked_session_has_its_new_rules_when_it_is_resumed'
if [ $# -gt 0 ]; then CASES=$*; fi
for mode in ${MODES:-$(modes_here)}; do
    enter_mode "$mode"
    for name in $CASES; do
        test_case "$name [$mode]" with_service "$name"
    done
done
exec {WORLD_INPUT}>&-
summary

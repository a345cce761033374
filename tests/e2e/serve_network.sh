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

# ---- published ports ----

# A server of the session's, on its 127.0.0.1 alone.
serving() {
    berth exec --detach "$1" -- python3 -u -c '
import socket
s = socket.create_server(("127.0.0.1", 3000), backlog=64)
while True:
    c = s.accept()[0]
    c.sendall(b"inside\n")
    c.close()'
    status_is 0
}
heard_at() { # heard_at PORT: what the host hears there
    python3 -c '
import socket, sys
try: print(socket.create_connection(("127.0.0.1", int(sys.argv[1])), 10).makefile().readline().strip() or "end")
except OSError as e: print(e.strerror)' "$1"
}
leads_inside() { # leads_inside PORT: soon
    local _ was
    for _ in $(seq $((200 * SLOWER))); do
        was=$(heard_at "$1")
        if [ "$was" = inside ]; then return; fi
        sleep 0.05
    done
    fail "port $1 of the host: $was"
}
is_closed() {
    local _ was
    for _ in $(seq $((100 * SLOWER))); do
        was=$(heard_at "$1")
        if [ "$was" = 'Connection refused' ]; then return; fi
        sleep 0.05
    done
    fail "port $1 of the host: $was"
}
kill_role() { # kill_role ROLE: one of the service's processes
    local pid
    pid=$(pgrep -P "$(service_pid)" -f "^berth: $1" | head -n 1)
    if [ -n "$pid" ]; then kill -KILL "$pid"; else fail "no $1"; fi
}
soon_reaches() { # soon: a launcher and a gateway may be on their way
    local _
    for _ in $(seq $((100 * SLOWER))); do
        fetch "$1" "$2"
        if grep -q '^world$' "$OUT"; then return; fi
        sleep 0.05
    done
    said '^world$'
}
NET_5_a_launcher_and_a_gateway_that_die_together_are_followed_by_two_that_serve() {
    local _
    berth session create n9 --allow web.example:80
    status_is 0
    for _ in 1 2 3; do
        kill_role launcher
        kill_role gateway
        soon_reaches n9 web.example
        refused n9 other.example
    done
    # What the launcher of now did not make it can change, too.
    berth session network n9 --allow web.example:80 --allow other.example:80
    status_is 0
    reaches n9 other.example
    berth session network n9 --allow other.example:80
    status_is 0
    refused n9 web.example
    # A reload has another launcher, and it may lose its gateway.
    kill -HUP "$(service_pid)"
    kill_role gateway
    soon_reaches n9 other.example
    berth session destroy n9 --delete-volume
    status_is 0
}
# launchers_follow FIRST LAST: these sessions, and launchers that die are followed by ones that serve
launchers_follow() {
    local i
    for i in $(seq "$1" "$2"); do
        berth session create "k$i"
        status_is 0
    done
    for i in 1 2; do
        kill_role launcher
        soon_reaches k1 web.example
    done
    berth session create late
    status_is 0
    for i in late $(seq -f 'k%g' 1 "$2"); do berth session destroy "$i" --delete-volume; done
}
# are_as_many_as_files_allow COUNT: so many, and one more when one has ended
are_as_many_as_files_allow() {
    local i
    grep -q '"event":"files".*room for '"$1"' live sessions' "$D/run/serve.log" || fail 'the log does not say how many there may be'
    for i in $(seq "$1"); do
        berth session create "m$i"
        status_is 0
    done
    for i in 1 2; do
        berth session create more
        status_is 125
        complains "100 files open.*room for $1 live sessions.*LimitNOFILE"
    done
    berth exec --tty never "m$1" -- true
    status_is 0
    # No network was made ahead, where there are so few.
    berth session network m2 --add --allow web.example:80
    status_is 0
    soon_reaches m2 web.example
    berth session destroy m1 --delete-volume
    status_is 0
    berth session create more
    status_is 0
    for i in more $(seq -f 'm%g' 2 "$1"); do berth session destroy "$i" --delete-volume; done
}
a_supervisor_with_few_descriptors_starts_launchers_for_many_sessions() {
    local as=("${AS[@]+"${AS[@]}"}")
    # The soft limit is no limit of berth's.
    AS=(prlimit --nofile=40: -- "${as[@]+"${as[@]}"}")
    berth session create k1 --allow web.example:80
    status_is 0
    launchers_follow 2 30
    service_end TERM
    # Of the hard one some are left for what is started.
    AS=(prlimit --nofile=100:100 -- "${as[@]+"${as[@]}"}")
    berth session create k1 --allow web.example:80
    status_is 0
    launchers_follow 2 14
    are_as_many_as_files_allow 25
    AS=("${as[@]+"${as[@]}"}")
    if [ "$MODE" != root ] && ! grep -q '"event":"kept"' "$D/run/serve.log"; then
        fail 'the log does not say that networks are not kept'
    fi
}
a_published_port_leads_into_a_session_that_lasts_for_as_long_as_it_runs() {
    local role
    berth session create p1 --publish 23456:3000
    status_is 0
    serving p1
    leads_inside 23456
    # The launcher ends with its front.
    for role in gateway gateway front launcher; do
        kill_role "$role"
        leads_inside 23456
        berth session show p1
        status_is 0
    done
    berth session park p1
    status_is 0
    is_closed 23456
    berth session resume p1
    status_is 0
    serving p1
    leads_inside 23456
    berth session create p2 --net allow
    berth exec --tty never p2 -- python3 -c '
import socket, sys
for a in "127.0.0.1", "::1", "192.0.2.9", sys.argv[1]:
    try: socket.create_connection((a, 23456), 5).recv(1) and print("reached")
    except OSError: pass' 93.184.215.1
    if grep -q reached "$OUT"; then fail 'another session reached it'; fi
    berth session destroy p2 --delete-volume
    berth session destroy p1 --delete-volume
    is_closed 23456
}
a_gateway_that_stands_still_is_killed_and_the_next_one_serves() {
    local pid _ destroying
    berth session create h1 --publish 23456:3000
    status_is 0
    serving h1
    berth session create h2 --publish 23457:3000
    serving h2
    leads_inside 23456
    leads_inside 23457
    pid=$(pgrep -P "$(service_pid)" -f '^berth: gateway' | head -n 1)
    kill -STOP "$pid"
    # While one is being destroyed, front ends: what it has begun is to be finished.
    timeout $((60 * SLOWER)) "${AS[@]}" "${ENVIRONMENT[@]}" "$BERTH" session destroy h2 --delete-volume >/dev/null 2>&1 &
    destroying=$!
    sleep 1
    kill_role front
    for _ in $(seq $((300 * SLOWER))); do [ -d "/proc/$pid" ] || break; sleep 0.1; done
    [ -d "/proc/$pid" ] && fail 'a gateway that stands still is there yet'
    wait "$destroying"
    for _ in $(seq $((100 * SLOWER))); do
        berth session create h3 --publish 23458:3000
        [ "$RC" = 0 ] && break
        sleep 0.1
    done
    status_is 0
    serving h3
    leads_inside 23458
    if [ "$MODE" = root ]; then leads_inside 23456; fi
    berth session destroy h2 --delete-volume
    berth session list
    if grep -q '^h2 ' "$OUT"; then fail 'its end was not finished'; fi
    is_closed 23457
    berth session destroy h1 --delete-volume
    status_is 0
    berth session destroy h3 --delete-volume
    status_is 0
    is_closed 23456
}
a_port_of_the_host_that_is_taken_is_refused_and_nothing_is_made() {
    berth session create p3 --publish 23456:3000
    berth session create p4 --publish 23456:3001
    status_is 125
    complains 'port_in_use.*127\.0\.0\.1:23456'
    berth session create p4 --publish 80:3001
    status_is 125
    complains 'forbidden.*are root'
    berth session list
    said '^p4 +failed'
    berth session create p4
    status_is 0
    berth session network p4 --publish 23456:3001
    status_is 125
    complains port_in_use
    berth session network p4
    said '^net +deny$'
    if grep -q publish "$OUT"; then fail "a refused port is there: $(cat "$OUT")"; fi
    berth session destroy p4 --delete-volume
    serving p3
    leads_inside 23456
    berth session park p3
    rm -f "$T/taken"
    python3 -c '
import socket, time
s = socket.create_server(("127.0.0.1", 23456))
print("taken", flush=True)
time.sleep(600)' >"$T/taken" &
    local pid=$! _
    for _ in $(seq $((200 * SLOWER))); do [ -s "$T/taken" ] && break; sleep 0.05; done
    berth session resume p3
    status_is 125
    complains port_in_use
    kill "$pid"
    wait "$pid" 2>/dev/null
    berth session resume p3
    status_is 0
    serving p3
    leads_inside 23456
    berth session destroy p3 --delete-volume
}
NET_6_other_published_ports_close_those_of_before() {
    berth session create p5 --publish 23456:3000
    serving p5
    leads_inside 23456
    berth session network p5 --publish 23457:3000
    status_is 0
    said '^p5: revision 2'
    leads_inside 23457
    is_closed 23456
    berth session network p5 --add --publish 23458:3000
    said '^p5: revision 3$'
    leads_inside 23457
    leads_inside 23458
    berth session network p5 --publish 0:3000 --publish 23457:3000
    said '^p5: revision 4'
    berth session network p5
    said '^published +127\.0\.0\.1:23457 → 3000$'
    leads_inside "$(sed -n '/:23457 /!s/^published *127\.0\.0\.1:\([0-9]*\) → 3000$/\1/p' "$OUT")"
    berth session network p5 --net deny
    is_closed 23457
    is_closed 23458
    berth session destroy p5 --delete-volume
}
NET_5_published_ports_are_had_again_after_berth() {
    local how
    berth session create p6 --publish 23456:3000
    serving p6
    for how in TERM KILL; do
        leads_inside 23456
        service_end "$how"
        berth session list
        status_is 0
        if [ "$MODE" != root ]; then # with the launcher its user namespace has ended
            berth session park p6
            berth session resume p6
            status_is 0
            serving p6
        fi
        leads_inside 23456
    done
    berth session destroy p6 --delete-volume
    is_closed 23456
}

# The gateway is killed, and stopped is who would start the next one until somebody else has the port.
a_port_that_somebody_took_is_told_and_had_again_and_the_session_goes_on() {
    local service thief _ list
    berth session create p9 --publish 23456:3000 --publish 23457:3000
    serving p9
    leads_inside 23456
    service=$(service_pid)
    kill -STOP "$service"
    kill_role gateway
    rm -f "$D/out/thief"
    python3 -u -c '
import socket, time
while True:
    try: s = socket.create_server(("127.0.0.1", 23456)); break
    except OSError: time.sleep(0.01)
print("has it")
while True:
    c = s.accept()[0]
    c.sendall(b"thief\n")
    c.close()' >"$D/out/thief" 2>&1 &
    thief=$!
    for _ in $(seq $((200 * SLOWER))); do grep -qs 'has it' "$D/out/thief" && break; sleep 0.05; done
    kill -CONT "$service"
    leads_inside 23457
    for _ in $(seq $((100 * SLOWER))); do
        berth --json events p9
        grep -q '"type":"network.port_lost"' "$OUT" && break
        sleep 0.1
    done
    said '"type":"network.port_lost".*"host_port":23456,"port":3000,"addresses":\["127.0.0.1".*"reason":"port_in_use"'
    if grep -q '"host_port":23457' "$OUT"; then fail "the other was not lost: $(cat "$OUT")"; fi
    berth events p9
    said 'network\.port_lost +127\.0\.0\.1:23456 leads to port 3000 of the session no more: somebody has it'
    [ "$(heard_at 23456)" = thief ] || fail "23456 is not who took it: $(heard_at 23456)"
    berth port list p9
    said '^127\.0\.0\.1:23456 +3000 +closed: somebody has it$'
    said '^127\.0\.0\.1:23457 +3000 +open$'
    berth --json port list p9
    said '"open": *false, *"reason": *"port_in_use"'
    berth ps p9
    said ' running '
    leads_inside 23457
    kill "$thief"
    wait "$thief" 2>/dev/null
    for _ in $(seq $((150 * SLOWER))); do
        berth --json events p9
        grep -q '"type":"network.port_restored"' "$OUT" && break
        sleep 0.2
    done
    said '"type":"network.port_restored".*"host_port":23456,"port":3000'
    [ "$(grep -c 'network.port_lost' "$OUT")" = 1 ] || fail "told more than once: $(grep network.port "$OUT")"
    leads_inside 23456
    berth session destroy p9 --delete-volume
}

ports_are_published_listed_and_closed_one_at_a_time() {
    local any='' _
    berth session create p8 --allow web.example:80
    serving p8
    berth port add p8 23456:3000
    status_is 0
    said '^127\.0\.0\.1:23456 → 3000$'
    leads_inside 23456
    for _ in 1 2; do # two of a kind
        berth port add p8 0:3000
        status_is 0
        said '^127\.0\.0\.1:[0-9]+ → 3000$'
        any="$any $(sed -n 's/^127\.0\.0\.1:\([0-9]*\) .*/\1/p' "$OUT")"
    done
    # shellcheck disable=SC2086 # two words
    set -- $any
    [ "$1" != "$2" ] || fail "any that is free: $any"
    berth port list p8
    said '^HOST +PORT +STATE$'
    said '^127\.0\.0\.1:23456 +3000 +open$'
    said "^127\\.0\\.0\\.1:$1 +3000 +open\$"
    said "^127\\.0\\.0\\.1:$2 +3000 +open\$"
    berth --json port list p8
    said '"host_port": *23456'
    berth port remove p8 3000
    status_is 125
    complains '3 ports of the host lead to it'
    berth port remove p8 "$1:3000"
    status_is 0
    is_closed "$1"
    leads_inside "$2"
    leads_inside 23456
    berth port remove p8 23456:3000
    status_is 0
    is_closed 23456
    leads_inside "$2"
    berth port remove p8 23456:3000
    status_is 125
    complains 'publishes no such port'
    berth port add p8 0
    status_is 125
    complains 'Write PORT or HOST:PORT'
    # What else it may reach is what it was.
    berth session network p8
    said '^allow +web\.example:80$'
    berth session park p8
    berth port add p8 0:3001
    said '^3001 is published when p8 runs$'
    berth port remove p8 3001
    status_is 0
    berth session destroy p8 --delete-volume
}

frozen() { # a client of a frozen session is not left to wait
    local _ was
    for _ in $(seq $((100 * SLOWER))); do
        was=$(heard_at "$1")
        if [ "$was" = 'Connection reset by peer' ] || [ "$was" = end ]; then return; fi
        sleep 0.05
    done
    fail "port $1 of the host: $was"
}
clients_of_a_frozen_session_are_reset_and_its_port_stays_its_own() {
    berth session create p7 --publish 23456:3000
    serving p7
    leads_inside 23456
    berth session park p7 --mode freeze
    if [ "$RC" != 0 ]; then # where there are no cgroups
        complains capability_unavailable
    else
        frozen 23456
        kill_role gateway
        sleep 0.2
        frozen 23456
        berth session resume p7
        status_is 0
        leads_inside 23456
    fi
    berth session destroy p7 --delete-volume
    is_closed 23456
}

# ---- the operator's configuration ----

start_service() { # start_service TEXT: with this configuration
    printf '%s\n' "$1" >"$T/net.jsonc"
    "${AS[@]}" "${ENVIRONMENT[@]}" "$BERTH" serve --config "$T/net.jsonc" </dev/null >"$D/out/serve" 2>&1 &
    local _
    for _ in $(seq $((100 * SLOWER))); do
        berth session list
        if [ "$RC" = 0 ]; then return; fi
        sleep 0.1
    done
    fail "it does not serve: $(tail -n 2 "$D/out/serve" | tr '\n' ' ')"
}
through_the_door() { # soon: a gateway may be on its way
    local _
    for _ in $(seq $((100 * SLOWER))); do
        berth exec --tty never "$1" -- python3 -c '
import socket
print(socket.create_connection(("host.berth.internal", 6001), 10).recv(20).decode())
for to, port in ("127.0.0.1", 6001), ("192.0.2.9", 6001), ("host.berth.internal", 6002):
    try: print(socket.create_connection((to, port), 10).recv(20) or "nothing", "was heard")
    except OSError: print("refused")'
        if grep -q '^the host$' "$OUT"; then break; fi
        sleep 0.05
    done
    said '^the host$'
    [ "$(grep -c '^refused$' "$OUT")" = 3 ] || fail "of three: $(tr '\n' ' ' <"$OUT")"
}
NET_7_the_host_is_reached_by_its_own_name_at_the_ports_that_its_operator_opened() {
    local pid _
    python3 -c '
import socket, threading
def serve(port):
    s = socket.create_server(("127.0.0.1", port), backlog=16)
    print("listens", flush=True)
    while True:
        c = s.accept()[0]
        c.sendall(b"the host\n")
        c.close()
threading.Thread(target=serve, args=(6001,), daemon=True).start()
serve(6002)' >"$T/host" &
    pid=$!
    # Nobody answers where the host asks; the operator names who does.
    echo 'nameserver 192.0.2.77' >"$T/etc/resolv.conf"
    start_service '{"resolver": ["93.184.215.53"], "host_door": [6001]}'
    berth session create d1 --allow web.example:80 --allow host.berth.internal:6001
    status_is 0
    reaches d1 web.example
    through_the_door d1
    kill_role gateway # the next one has it too
    through_the_door d1
    berth session create d2 --allow host.berth.internal:6002
    status_is 125
    complains 'policy_rejected.*host_door'
    berth session network d1 --allow host.berth.internal:6002
    status_is 125
    complains policy_rejected
    # Shut while it runs.
    echo '{"resolver": ["93.184.215.53"], "host_door": []}' >"$T/net.jsonc"
    kill -HUP "$(service_pid)"
    for _ in $(seq $((100 * SLOWER))); do
        berth exec --tty never d1 -- python3 -c '
import socket
try: print(socket.create_connection(("host.berth.internal", 6001), 10).recv(20).decode())
except OSError as e: print("shut")'
        if grep -q '^shut$' "$OUT"; then break; fi
        sleep 0.05
    done
    said '^shut$'
    reaches d1 web.example
    # Opened while it runs: the rule that it has serves again by itself, and one that was refused is not in force before it is
    # asked for again. A ceiling is asked for rules that come, and takes none away.
    echo '{"version": 1, "network": {"egress": "deny", "allow": [{"host": "web.example", "ports": [80]}]}}' >"$T/ceiling.jsonc"
    chmod 644 "$T/ceiling.jsonc"
    printf '{"resolver": ["93.184.215.53"], "host_door": [6001, 6002], "ceiling": "%s"}\n' "$T/ceiling.jsonc" >"$T/net.jsonc"
    kill -HUP "$(service_pid)"
    through_the_door d1
    berth session network d1 --allow web.example:80 --allow host.berth.internal:6002
    status_is 125
    complains 'policy_rejected'
    through_the_door d1
    grep -q 'Sessions that run keep the rules that they have' "$D/out/serve" || fail "the log does not say what a ceiling leaves: $(tail -n 2 "$D/out/serve")"
    echo '{"resolver": ["93.184.215.53"], "host_door": [6001, 6002]}' >"$T/net.jsonc"
    kill -HUP "$(service_pid)"
    for _ in $(seq $((100 * SLOWER))); do
        berth session network d1 --allow web.example:80 --allow host.berth.internal:6002
        if [ "$RC" = 0 ]; then break; fi
        sleep 0.05
    done
    status_is 0
    berth exec --tty never d1 -- python3 -c '
import socket
print(socket.create_connection(("host.berth.internal", 6002), 10).recv(20).decode())'
    said '^the host$'
    berth session destroy d1 --delete-volume
    service_end TERM
    # What is not said is closed, and the host's own resolver is asked.
    echo 'nameserver 93.184.215.53' >"$T/etc/resolv.conf"
    start_service '{}'
    berth session create d3 --allow host.berth.internal:6001
    status_is 125
    complains policy_rejected
    berth session create d4 --allow web.example:80
    status_is 0
    reaches d4 web.example
    berth session destroy d4 --delete-volume
    kill "$pid"
    wait "$pid" 2>/dev/null
}
with_service() {
    "$1"
    service_end TERM
}
make_world || { fail 'the world was not made'; summary; exit; }
CASES='NET_4_what_is_refused_is_an_event_with_the_rule_that_allows_it
NET_6_other_rules_are_in_force_at_once_and_cut_what_they_refuse NET_5_rules_and_their_revision_outlive_berth
NET_6_a_parked_session_has_its_new_rules_when_it_is_resumed
NET_5_a_launcher_and_a_gateway_that_die_together_are_followed_by_two_that_serve
a_supervisor_with_few_descriptors_starts_launchers_for_many_sessions
a_published_port_leads_into_a_session_that_lasts_for_as_long_as_it_runs
a_gateway_that_stands_still_is_killed_and_the_next_one_serves
a_port_of_the_host_that_is_taken_is_refused_and_nothing_is_made
NET_6_other_published_ports_close_those_of_before NET_5_published_ports_are_had_again_after_berth
a_port_that_somebody_took_is_told_and_had_again_and_the_session_goes_on
ports_are_published_listed_and_closed_one_at_a_time
clients_of_a_frozen_session_are_reset_and_its_port_stays_its_own
NET_7_the_host_is_reached_by_its_own_name_at_the_ports_that_its_operator_opened'
if [ $# -gt 0 ]; then CASES=$*; fi
for mode in ${MODES:-$(modes_here)}; do
    enter_mode "$mode"
    for name in $CASES; do
        test_case "$name [$mode]" with_service "$name"
    done
done
exec {WORLD_INPUT}>&-
summary

#!/bin/bash
# This file runs programs of every day in `berth run`, unmodified and with no variable of a proxy, against
# servers in a namespace of the test's own: each is refused at once without a rule, told which rule it lacks, and
# works with that rule and no other. It never leaves that namespace.
set -u
. "$(dirname "$0")/../attack/lib.sh"
. "$(dirname "$0")/network_lib.sh"
own_namespaces "$@"
make_scene
if [ "$(id -u)" != 0 ]; then
    echo 'skip network_clients: needs root'
    summary
    exit
fi

# A user with a repository, whom the world's sshd lets in by a key.
GIT_USER=berth-git GIT_HOME=$T/git
make_repository() {
    local uid=$((OTHER_UID + 1))
    printf '%s:x:%d:%d::%s:/bin/sh\n' $GIT_USER $uid $uid "$GIT_HOME" >>"$T/etc/passwd"
    printf '%s:x:%d:\n' $GIT_USER $uid >>"$T/etc/group"
    mkdir -p "$GIT_HOME/.ssh" && ssh-keygen -q -t ed25519 -N '' -C test -f "$T/key" &&
        cp "$T/key.pub" "$GIT_HOME/.ssh/authorized_keys" && chmod -R go-rwx "$GIT_HOME/.ssh" || return 1
    git init -q --bare -b main "$GIT_HOME/repo.git" &&
        git -C "$GIT_HOME/repo.git" -c user.name=t -c user.email=t@test.example commit-tree -m 'from the repository' \
            "$(git -C "$GIT_HOME/repo.git" hash-object -t tree -w /dev/null)" >"$T/commit" &&
        git -C "$GIT_HOME/repo.git" update-ref refs/heads/main "$(cat "$T/commit")" && chown -R $uid:$uid "$GIT_HOME"
}
make_keys() {
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=web.example -keyout "$T/cert" -out "$T/cert.pem" 2>/dev/null &&
        cat "$T/cert.pem" >>"$T/cert" && dropbearkey -t ed25519 -f "$T/hostkey" >/dev/null 2>&1
}

# took WORDS: a session; TOOK is milliseconds of its command alone.
took() {
    local words=()
    while [ "$1" != -- ]; do
        words+=("$1")
        shift
    done
    shift
    inside "${words[@]}" --env KEY="$(cat "$T/key")" -- bash -c 'began=${EPOCHREALTIME/[.,]/}; '"$1"'
        echo "took $(((${EPOCHREALTIME/[.,]/} - began) / 1000))"' </dev/null
    TOOK=$(sed -n 's/^took \([0-9]*\)$/\1/p' "$OUT")
}
# client COMMAND SAID RULE: %H in COMMAND stands for where it goes. Refused within a second more than what the
# program takes to learn that nobody listens on its own loopback; then with what it was told, step by step: first
# the name, then the port.
client() {
    local command=$1 said=$2 rule=$3 host=${3%:*} port=${3##*:} base round words=(--allow nobody.example)
    took "${words[@]}" -- "${command//%H/127.0.0.1}"
    base=${TOOK:-0}
    took "${words[@]}" -- "${command//%H/$host}"
    expect_not "$OUT" "$said"
    expect "$ERR" "$host.* was refused.*Allow it: --allow $host"
    [ "${TOOK:-99999}" -le $((base + 1000 * ${TEST_SLOWER:-1})) ] || fail "refused after $TOOK ms; nobody there after $base ms"
    for round in 1 2; do
        # What is told, a word at a time.
        read -ra words <<<"$(sed -n 's/^berth: note: network: .* Allow it: //p' "$ERR" | tr '\n' ' ')"
        took "${words[@]}" -- "${command//%H/$host}"
        if grep -qE -- "$said" "$OUT"; then break; fi
    done
    expect "$OUT" "$said"
    [ "$port" = 443 ] || [ "${words[*]: -1}" = "$rule" ] || fail "was told ${words[*]}, and needs $rule"
    # Under that rule alone another host, and another port of this one, stay closed.
    inside --json "${words[@]}" -- sh -c "curl -s -m 20 http://dual.example/; curl -s -m 20 http://$host:81/"
    expect_not "$OUT" world
    expect "$ERR" '"event":"network.denied"[^}]*"host":"dual.example"[^}]*"rule_to_add":\{"host": "dual.example"'
    expect "$ERR" "\"event\":\"network.denied\"[^}]*\"host\":\"$host\"[^}]*\"port\":81[^}]*\"rule_to_add\":\{\"host\": \"$host\", \"ports\": \[81\]"
}

curl_http() { client 'curl -sS -m 20 http://%H/' 'world at' web.example:80; }
curl_https() { client 'curl -sSk -m 20 https://%H/' 'world at' web.example:443; }
python_urllib() { client "python3 -c 'import urllib.request as r; print(r.urlopen(\"http://%H/\", timeout=20).read().decode())'" 'world at' web.example:80; }
node_http() { client "node -e 'require(\"http\").get(\"http://%H/\", r => r.pipe(process.stdout)).on(\"error\", e => process.exit(1))'" 'world at' web.example:80; }
psql_select() { client 'PGCONNECT_TIMEOUT=20 psql -At "postgresql://me@%H/db?gssencmode=disable" -c "select 1"' 'from the database' pg.example:5432; }
redis_get() { client 'redis-cli -h %H get key' 'from the store' redis.example:6379; }
git_over_ssh() {
    client 'umask 077; echo "$KEY" >/tmp/key; export GIT_SSH_COMMAND="ssh -F /dev/null -i /tmp/key -o BatchMode=yes -o ConnectTimeout=20 -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
        git clone -q '"ssh://$GIT_USER@%H$GIT_HOME/repo.git"' /tmp/clone && git -C /tmp/clone log --format=%s; rm -rf /tmp/clone' 'from the repository' git.example:22
}
websocket_of_node() {
    client "node -e 'const r = require(\"http\").get({host: \"%H\", port: 8080, headers: {Connection: \"Upgrade\", Upgrade: \"websocket\",
            \"Sec-WebSocket-Version\": 13, \"Sec-WebSocket-Key\": \"dGhlIHNhbXBsZSBub25jZQ==\"}});
        r.on(\"error\", () => process.exit(1)).on(\"upgrade\", (_, s) => {
            s.write(Buffer.from([0x81, 0x82, 0, 0, 0, 0, 0x68, 0x69])); s.once(\"data\", d => { console.log(String(d.subarray(2))); s.end(); }); })'" \
        '^echo hi$' ws.example:8080
}

# ---- addresses of names ------------------------------------------------------------------------------

reached_at() { # reached_at NAME ADDRESS WORDS
    inside --allow "$1:80" "${@:3}" -- sh -c "$FETCH http://$1/"
    expect "$OUT" "^world at $2\$"
}
a_host_with_ipv6_alone_is_reached() { reached_at six.example 2606:2800:220:1::6; }
a_host_with_both_is_reached_whatever_family_a_program_uses() {
    inside --allow dual.example:80 -- sh -c "$FETCH -4 http://dual.example/; $FETCH -6 http://dual.example/"
    [ "$(grep -cE '^world at (93\.184\.215\.15|2606:2800:220:1::15)$' "$OUT")" = 2 ] || fail "$(cat "$OUT" "$ERR")"
}
an_address_where_nobody_is_does_not_hide_one_where_somebody_is() { reached_at half.example 93.184.215.14; }
a_name_with_many_addresses_is_reached_at_the_one_that_serves() { reached_at many.example 93.184.215.14; }
a_name_that_moves_is_reached_where_it_is() {
    inside --allow "$MODE.moves.example:80" -- sh -c "for i in 1 2; do $FETCH http://$MODE.moves.example/; done"
    [ "$(tr '\n' ' ' <"$OUT")" = 'world at 93.184.215.14 world at 93.184.215.15 ' ] || fail "$(cat "$OUT" "$ERR")"
}
NET_3_a_name_that_turns_private_is_refused_from_then_on() {
    inside --allow "$MODE.turns.example:80" -- sh -c "for i in 1 2 3; do $FETCH http://$MODE.turns.example/; done"
    [ "$(cat "$OUT")" = 'world at 93.184.215.14' ] || fail "$(cat "$OUT" "$ERR")"
    expect "$ERR" 'turns\.example:80 was refused.*10\.1\.2\.3.*private'
    reached_at "$MODE.turns.example" 10.1.2.3 --allow 10.1.2.3/32:80
}

for program in psql redis-cli git ssh ssh-keygen dropbear dropbearkey openssl node curl python3; do
    if ! command -v $program >/dev/null; then
        echo "skip network_clients: needs $program"
        skipped=$((skipped + 1))
        summary
        exit
    fi
done
make_repository && make_keys && make_world network_clients_world.py "$T/cert" "$T/hostkey" ||
    { fail 'the world was not made'; echo 'not ok network_clients: the world was not made'; exit 1; }
CASES='curl_http curl_https python_urllib node_http psql_select redis_get git_over_ssh websocket_of_node
a_host_with_ipv6_alone_is_reached a_host_with_both_is_reached_whatever_family_a_program_uses
an_address_where_nobody_is_does_not_hide_one_where_somebody_is
a_name_with_many_addresses_is_reached_at_the_one_that_serves a_name_that_moves_is_reached_where_it_is
NET_3_a_name_that_turns_private_is_refused_from_then_on'
if [ $# -gt 0 ]; then CASES=$*; fi
for mode in ${MODES:-$(modes_here)}; do
    enter_mode "$mode"
    for name in $CASES; do test_case "$name [$mode]" "$name"; done
done
end_world
summary

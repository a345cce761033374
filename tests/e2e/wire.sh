#!/bin/bash
# This file calls `berth serve` over TCP as a control plane does: curl and a token. It never looks
# into the ledger.
set -u
. "$(dirname "$0")/../attack/lib.sh"
own_namespaces "$@"
make_scene
SLOWER=${TEST_SLOWER:-1}

# ---- the service: each case has one of its own ----

service_start() { # OPTIONS… of serve; what is in $D/berth.jsonc
    local _
    if [ "$MODE" != self ]; then chown "$UID_HERE" "$D/berth.jsonc"; fi
    rm -f "$D/out/serve" # what an earlier one has said
    "${AS[@]}" "${ENVIRONMENT[@]}" "$BERTH" serve --config "$D/berth.jsonc" "$@" </dev/null >"$D/out/serve" 2>"$D/out/log" &
    SERVICE=$!
    for _ in $(seq $((400 * SLOWER))); do
        if grep -q '^berth: serving on unix:' "$D/out/serve"; then break; fi
        [ -d "/proc/$SERVICE" ] || break
        sleep 0.05
    done
    URL=$(sed -n 's/^berth: serving on \(http:.*\)/\1/p' "$D/out/serve" | head -n 1)
}
service_end() {
    local _
    kill -TERM "$SERVICE" 2>/dev/null
    for _ in $(seq $((300 * SLOWER))); do [ -d "/proc/$SERVICE" ] || break; sleep 0.05; done
    wait "$SERVICE"
}
with_service() {
    echo "${CONFIG:-{\}}" >"$D/berth.jsonc"
    rm -rf --one-file-system "$D/state/ledger" "$D/state/spool" "$D/state/instance"
    service_start --listen 127.0.0.1:0
    [ -n "$URL" ] || fail "the service does not start: $(tail -n 2 "$D/out/log")"
    declare -F "$1" >/dev/null || fail 'there is no such case'
    if [ -z "$REASON" ]; then "$1"; fi
    local id
    for id in s1 s2; do
        berth session destroy $id -w a --delete-volume
        berth session destroy $id -w b --delete-volume
    done
    service_end
}
# token OPTIONS…: TOKEN, ID
token() {
    berth token create "$@"
    status_is 0 'token create'
    TOKEN=$(cat "$OUT")
    ID=$(sed -n 's/.*the token \([^;]*\);.*/\1/p' "$ERR")
}
# call METHOD PATH [CURL OPTIONS…] with $TOKEN: the body to $OUT, the status to CODE
call() {
    local method=$1 path=$2
    shift 2
    OUT=$D/out/body ERR=$D/out/curl
    case $method in HEAD) set -- --head "$@" ;; *) set -- -X "$method" "$@" ;; esac
    CODE=$(curl -sS -m $((20 * SLOWER)) -o "$OUT" -w '%{http_code}' \
        ${TOKEN:+-H "Authorization: Bearer $TOKEN"} -H 'Content-Type: application/json' "$@" "$URL$path" 2>"$ERR")
}
answered() { [ "$CODE" = "$1" ] || fail "${2:-it} was answered $CODE, not $1: $(head -c 300 "$OUT" "$ERR")"; }
said() { grep -qF -- "$1" "$OUT" || fail "no '$1' in: $(head -n 3 "$OUT")"; }
wait_for() { # FILE TEXT
    local _
    for _ in $(seq $((200 * SLOWER))); do grep -qF -- "$2" "$1" 2>/dev/null && return; sleep 0.05; done
    fail "no '$2' came: $(tail -n 2 "$1")"
}
# Ends by itself within a while? STREAM is its process.
stream_ends() {
    local _
    for _ in $(seq $((200 * SLOWER))); do [ -d "/proc/$STREAM" ] || { wait "$STREAM"; return; }; sleep 0.05; done
    fail "$1"
    kill "$STREAM"
    wait "$STREAM"
}
stream() { # PATH: its text in $D/out/stream
    curl -sSN -H "Authorization: Bearer $TOKEN" "$URL$1" >"$D/out/stream" 2>"$D/out/stream.err" &
    STREAM=$!
}

A=/v1/workspaces/a/sessions B=/v1/workspaces/b/sessions

# ---- cases ----

a_session_over_tcp() {
    token --workspace a
    call POST $A -d '{"session_id": "s1"}'
    answered 201 create
    said "\"owner\":\"$ID\""
    call POST "$A/s1/execs?wait_ms=10000" -d '{"argv": ["sh", "-c", "echo hello; exit 7"], "exec_id": "e1"}'
    answered 201 exec
    said '"exit_code":7'
    call GET "$A/s1/execs/e1/output?stream=stdout"
    said hello
    head -c 300000 /dev/urandom >"$D/out/sent"
    call PUT "$A/s1/files?path=/workspace/f" --data-binary "@$D/out/sent" -H 'Content-Type: application/octet-stream'
    answered 200 upload
    call GET "$A/s1/files?path=/workspace/f"
    cmp -s "$D/out/sent" "$OUT" || fail 'other bytes came back'
    call POST $A -d '{"session_id": "s2"}' -H 'Idempotency-Key: k'
    answered 201
    cp "$OUT" "$D/out/first"
    call POST $A -d '{"session_id": "s2"}' -H 'Idempotency-Key: k'
    cmp -s "$D/out/first" "$OUT" || fail 'the same key got another answer'
    call DELETE "$A/s1?delete_volume=true"
    answered 200 destroy
}
W_1_who_has_no_token_learns_nothing() {
    local path
    token --workspace a --verbs read
    local good=$TOKEN
    for TOKEN in '' garbage "${good}0" "${good%?}" "$ID" "$(tr a-f A-F <<<"$good")"; do
        for path in /v1/health /v1/capabilities $A $A/s1 /v1/tokens /v1/resources /nowhere '/v1/health?x=1'; do
            call GET "$path"
            answered 401 "$path with '$TOKEN'"
            cp -n "$OUT" "$D/out/refusal"
            cmp -s "$OUT" "$D/out/refusal" || fail "$path says more: $(cat "$OUT")"
        done
    done
    rm -f "$D/out/refusal"
    TOKEN=$good
    call GET /v1/health
    answered 200
    call GET /v1/health -H 'Origin: http://evil.example'
    answered 403 'a page in a browser'
    call GET /v1/health -H 'Host: evil.example'
    answered 403 'a name that is not ours'
    call OPTIONS /v1/health -H 'Origin: http://evil.example'
    answered 403 'what a browser asks first'
    call GET /v1/health -H 'Host: localhost:1'
    answered 200
}
# The same requests for what is there, what is not, and a workspace that never was.
W_3_two_workspaces_two_tokens() {
    local name method path body
    token --workspace b
    call POST $B -d '{"session_id": "s1", "labels": {"secret": "of-b"}}'
    answered 201
    call POST "$B/s1/execs?wait_ms=10000" -d '{"argv": ["true"], "exec_id": "e1"}'
    answered 201
    token --workspace a --workspace a2
    while read -r method path body; do
        for name in there absent never; do
            case $name in
            there) call "$method" "/v1/workspaces/b/$path" ${body:+-d "$body"} ;;
            absent) call "$method" "/v1/workspaces/b/${path//s1/s9}" ${body:+-d "$body"} ;;
            never) call "$method" "/v1/workspaces/nobody/$path" ${body:+-d "$body"} ;;
            esac
            answered 404 "$method $path ($name)"
            sed '/^Date\|^X-Request-Id/d; s/s9/s1/g; s/nobody/b/g' "$OUT" >"$D/out/$name"
        done
        cmp -s "$D/out/there" "$D/out/absent" || fail "$path tells what is there: $(cat "$D/out/there" "$D/out/absent")"
        cmp -s "$D/out/there" "$D/out/never" || fail "$path tells which workspaces there are"
    done <<'ROUTES'
GET sessions
POST sessions {}
GET sessions/s1
DELETE sessions/s1
POST sessions/s1/park {}
POST sessions/s1/resume {}
POST sessions/s1/interrupt {}
POST sessions/s1/archive {}
GET sessions/s1/events
GET sessions/s1/usage
GET sessions/s1/ports
POST sessions/s1/execs {"argv":["true"]}
GET sessions/s1/execs
GET sessions/s1/execs/e1
GET sessions/s1/execs/e1/output
POST sessions/s1/execs/e1/stdin
POST sessions/s1/execs/e1/close-stdin {}
POST sessions/s1/execs/e1/signal {"signal":"TERM"}
POST sessions/s1/execs/e1/resize {"rows":1,"cols":1}
POST sessions/s1/execs/e1/cancel {}
GET sessions/s1/files?path=/etc/passwd
HEAD sessions/s1/files?path=/etc/passwd
PUT sessions/s1/files?path=/workspace/f x
DELETE sessions/s1/files?path=/workspace/f
POST sessions/s1/files/mkdir {"path":"/workspace/d"}
GET sessions/s1/files/list?path=/
GET sessions/s1/tar?path=/
GET volumes
POST volumes {"name":"v"}
GET volumes/s1
DELETE volumes/s1
ROUTES
    call GET $A/s1
    cp "$OUT" "$D/out/own"
    call GET $B/s1
    cmp -s "$OUT" "$D/out/own" || fail 'another workspace is refused in other words than what is not there'
    call GET /v1/health
    ! grep -q sessions_live "$OUT" || fail "health counts others' sessions"
    for path in /v1/resources /v1/tokens; do
        call GET $path
        answered 403 $path
    done
    call POST /v1/reap -d '{"owner": "x"}'
    answered 403 reap
    berth session show s1 -w b
    status_is 0 'it was touched'
}
W_3_a_verb_that_it_has_not() {
    token --workspace a
    call POST $A -d '{"session_id": "s1"}'
    token --workspace a --verbs read,files.read
    call GET $A/s1
    answered 200
    call DELETE $A/s1
    answered 403
    said lifecycle
    call POST $A/s1/execs -d '{"argv": ["true"]}'
    answered 403
    call PUT "$A/s1/files?path=/workspace/f" -d x
    answered 403
    call GET "$A/s1/files/list?path=/workspace"
    answered 200
}
W_5_a_revoked_token_is_over_at_once() {
    local kept
    token --workspace a
    kept=$TOKEN
    call POST $A -d '{"session_id": "s1"}'
    token --workspace a
    call POST $A/s1/execs -d '{"argv": ["sh", "-c", "echo on; sleep 2; echo still >/workspace/f"], "exec_id": "e1"}'
    stream "$A/s1/execs/e1/output?follow=true"
    wait_for "$D/out/stream" on
    berth token revoke "$ID"
    status_is 0
    stream_ends 'the stream of a revoked token goes on'
    ! grep -q 'event: exit' "$D/out/stream" || fail 'it was not cut'
    call GET $A/s1
    answered 401
    TOKEN=$kept
    call GET "$A/s1/execs/e1?wait_ms=15000"
    said '"exit_code":0'
    call GET "$A/s1/files?path=/workspace/f"
    said still
    berth token list
    grep -q "^$ID .*revoked" "$OUT" || fail "the list does not say it: $(cat "$OUT")"
    berth token revoke t-nothing
    status_is 125
}
W_5_a_token_expires_while_it_follows() {
    token --workspace a
    call POST $A -d '{"session_id": "s1"}'
    token --workspace a --expires $((5 * SLOWER))s
    stream "$A/s1/events"
    wait_for "$D/out/stream" session.created
    stream_ends 'the stream of an expired token goes on'
    call GET $A/s1
    answered 401
}
tokens_and_listeners_outlive_processes() {
    local old front second
    token --workspace a
    call POST $A -d '{"session_id": "s1"}'
    old=$TOKEN
    token --workspace a
    second=$ID
    berth token revoke "$second"
    second=$TOKEN TOKEN=$old
    front=$(pgrep -P "$SERVICE" -f '^berth: front')
    kill -KILL "$front"
    # Its listening socket is the supervisor's: nobody is refused meanwhile.
    call GET $A/s1 --retry 5
    case $CODE in 200 | 503) ;; *) fail "while front is started again: $CODE $(cat "$ERR")" ;; esac
    kill -TERM "$SERVICE"
    wait "$SERVICE"
    service_start --listen 127.0.0.1:0 --listen '[::1]:0'
    call GET $A/s1
    answered 200 'after a restart'
    TOKEN=$second
    call GET $A/s1
    answered 401 'a revoked one, after a restart'
    TOKEN=$old
    URL=$(sed -n 's/^berth: serving on \(http:..\[.*\)/\1/p' "$D/out/serve")
    call GET $A/s1
    answered 200 'over IPv6'
}
W_6_no_directory_of_the_host() {
    token --workspace a
    call POST $A -d "{\"workspace\": {\"mount_path\": \"/w\", \"persistence\": {\"kind\": \"directory\", \"path\": \"$WS\"}}}"
    answered 403 'a directory'
    said 'unix socket only'
    call POST $A -d "{\"filesystem\": {\"read_only\": [\"$WS\"]}}"
    answered 403 'a mount'
    call POST $A -d "{\"image\": \"dir:$WS\"}"
    answered 403 'an image'
    call POST $A -d '{"session_id": "s1", "workspace": {"mount_path": "/w", "persistence": {"kind": "tmpfs", "size": "1MiB"}}}'
    answered 201 tmpfs
}
W_8_a_token_that_is_bound_to_a_policy() {
    local free body what
    echo '{"version": 1, "limits": {"exec_timeout": "1m", "output": "1MiB"}}' >"$D/bound.jsonc"
    if [ "$MODE" != self ]; then chown "$UID_HERE" "$D/bound.jsonc"; fi
    token --workspace a
    free=$TOKEN
    call POST $A -d '{"session_id": "s2"}' -H 'Idempotency-Key: free'
    answered 201 'of who is not bound'
    call POST $A -d '{"session_id": "s1"}'
    answered 201 'a life before'
    call DELETE $A/s1
    answered 200 'its end'
    token --workspace a --policy "$D/bound.jsonc"
    call POST $A -d '{"session_id": "s2"}' -H 'Idempotency-Key: free'
    answered 422 "another's key"
    said idempotency_mismatch
    # What goes beyond it, by whatever member; nothing was made.
    for body in '{"session_id": "s1", "policy": "balanced"}' '{"session_id": "s1", "limits": {"exec_timeout": "2m"}}' \
        '{"session_id": "s1", "policy": {"version": 1, "limits": {"exec_timeout": "1m", "output": "2MiB"}}}'; do
        call POST $A -d "$body"
        answered 422 "$body"
        said policy_rejected
        said "the token's policy"
    done
    call GET $A/s1
    answered 404 'what was refused'
    call POST $A -d '{"session_id": "s1"}' -H 'Idempotency-Key: bound'
    answered 201 'without a policy'
    call GET $A/s1/events?follow=false
    if grep -q session.deleted "$OUT"; then fail 'events of the life before, which was under no policy'; fi
    grep -q session.running "$OUT" || fail "none of its own: $(head -c 300 "$OUT")"
    call POST "$A/s1/execs?wait_ms=10000" -d '{"argv": ["true"]}'
    said '"exit_code":0'
    call POST $A/s1/execs -d '{"argv": ["true"], "user": "root"}'
    answered 422 'a command of root'
    call POST $A/s1/execs -d '{"argv": ["true"], "timeout_ms": 60001}'
    answered 422 'a command with more time'
    call PUT $A/s1/network -d '{"egress": "allow"}'
    answered 422 'other rules'
    call PUT $A/s1/network -d '{"egress": "deny"}'
    answered 200 'fewer rules'
    # Who is not bound makes and widens; the other one has none of it.
    for what in GET:s2 GET:s2/events?follow=false GET:s2/execs POST:s2/resume POST:s2/park DELETE:s2 GET:s2/files/list?path=/workspace; do
        call "${what%%:*}" "$A/${what#*:}"
        answered 404 "$what"
    done
    call POST $A/s2/execs -d '{"argv": ["true"]}'
    answered 404 'a command in it'
    call GET $A
    if grep -q '"session_id":"s2"' "$OUT"; then fail 'it is listed'; fi
    call POST $A -d '{"session_id": "s2"}'
    answered 409 'its name'
    # It holds through park, resume and restarts of every process, and for another token of this policy.
    call POST $A/s1/park -d '{}'
    answered 200 park
    service_end
    service_start --listen 127.0.0.1:0
    call POST $A/s1/resume -d '{}'
    answered 200 resume
    call POST $A/s2/resume -d '{}'
    answered 404 'resume of what is not its own'
    call POST $A/s1/execs -d '{"argv": ["true"], "user": "root"}'
    answered 422 'a command of root, after a restart'
    token --workspace a --policy "$D/bound.jsonc"
    call GET $A/s1
    answered 200 'another token of the same policy'
    token --workspace a --policy locked-down
    call GET $A/s1
    answered 404 'a token of another policy'
    TOKEN=$free
    call GET $A/s1
    answered 200 'who is not bound'
    berth token list
    grep -q "$ID .*bound" "$OUT" || fail "the list does not say it: $(cat "$OUT")"
    berth token create --workspace a --policy "$D/none.jsonc"
    status_is 125 'a policy that is not there'
}
only_the_owner_makes_tokens() {
    service_end
    echo "{\"socket_group\": $OTHER_UID}" >"$D/berth.jsonc"
    service_start --listen 127.0.0.1:0
    AS=(setpriv --reuid "$OTHER_UID" --regid "$OTHER_UID" --clear-groups --)
    berth session list --host "unix:$D/run/berth.sock"
    status_is 0 'a member of the group'
    berth token create --workspace a --host "unix:$D/run/berth.sock"
    status_is 125
    grep -q 'Only root' "$ERR" || fail "refused for another reason: $(cat "$ERR")"
    AS=()
}
listens_where_it_should() {
    service_end
    local port=${URL##*:}
    service_start --listen "0.0.0.0:$port"
    wait "$SERVICE"
    grep -q 'beyond this host' "$D/out/log" || fail "0.0.0.0 was taken: $(cat "$D/out/serve" "$D/out/log")"
    service_start --listen localhost:1
    wait "$SERVICE"
    grep -q 'an address and a port' "$D/out/log" || fail "a name was taken: $(cat "$D/out/log")"
    echo "{\"listen\": [\"0.0.0.0:$port\"], \"listen_beyond_loopback\": true, \"hosts\": [\"berth.example\"]}" >"$D/berth.jsonc"
    service_start
    grep -q 'plain HTTP' "$D/out/log" || fail 'nobody was warned'
    URL=http://127.0.0.1:$port
    token --workspace a
    call GET /v1/health -H 'Host: berth.example'
    answered 200 'a name of the configuration'
    call GET /v1/health -H 'Host: berth.example.evil'
    answered 403
}
# 53: half a head, dripping, a body that never comes, and more connections than are allowed.
slow_and_many_clients_hold_nobody_up() {
    local i
    token --workspace a
    local host=${URL#http://}
    for i in $(seq 200); do
        { printf 'GET /v1/health HTTP/1.1\r\nHost: x\r\n'; sleep 30; } | curl -sS -m 30 "telnet://$host" >/dev/null 2>&1 &
        HELPERS+=($!)
    done
    for i in 1 2 3 4 5; do
        call GET /v1/health
        answered 200 'beside two hundred half heads'
    done
    printf 'POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n' \
        "$A" "$TOKEN" | curl -sS -m 5 "telnet://$host" >"$D/out/smuggled" 2>/dev/null
    grep -q '^HTTP/1.1 400' "$D/out/smuggled" || fail "two lengths: $(head -n 1 "$D/out/smuggled")"
    for i in "${HELPERS[@]}"; do kill "$i" 2>/dev/null; done
    wait "${HELPERS[@]}" 2>/dev/null
    HELPERS=()
}

a_reload_changes_what_it_can_and_says_what_waits() {
    local _
    token --workspace a
    call POST $A -d '{"session_id": "s1"}'
    answered 201
    stream "$A/s1/events"
    wait_for "$D/out/stream" session.created
    printf '{"version": 1, "extends": "open", "limits": {"open_files": 1000}}\n' >"$D/ceiling.jsonc"
    chmod 644 "$D/ceiling.jsonc"
    echo "{\"sessions_max\": 1, \"hosts\": [\"new.example\"], \"ceiling\": \"$D/ceiling.jsonc\", \"socket\": \"$D/run/other.sock\"}" >"$D/berth.jsonc"
    kill -HUP "$SERVICE"
    wait_for "$D/out/log" 'In force now: sessions_max ceiling hosts. Sessions that run keep the rules that they have'
    wait_for "$D/out/log" ' At the next start: socket.'
    wait_for "$D/out/log" 'It was read again.'
    call GET /v1/health -H 'Host: new.example'
    answered 200 'a new name'
    call POST $A -d '{"session_id": "s2", "limits": {"open_files": 1001}}'
    answered 422 'beyond the new ceiling'
    call POST $A -d '{"session_id": "s2", "limits": {"open_files": 500}}'
    answered 503 'one too many'
    curl -sS --unix-socket "$D/run/berth.sock" http://berth/v1/health >"$D/out/health"
    grep -q '"failed":false,"waits_for_restart":\["socket"\]' "$D/out/health" || fail "health: $(cat "$D/out/health")"
    # What is wrong changes nothing, and is told.
    echo '{"sessions_max": 0}' >"$D/berth.jsonc"
    kill -HUP "$SERVICE"
    wait_for "$D/out/log" 'berth.jsonc:1:2: sessions_max'
    wait_for "$D/out/log" 'stays in force'
    wait_for "$D/out/log" 'It is wrong'
    call GET /v1/health -H 'Host: new.example'
    answered 200 'the name stays'
    curl -sS --unix-socket "$D/run/berth.sock" http://berth/v1/health >"$D/out/health"
    grep -q '"failed":true' "$D/out/health" || fail "health: $(cat "$D/out/health")"
    [ -d "/proc/$STREAM" ] || fail 'a reload has cut a stream'
    # Nothing of it is lost with a process.
    kill -KILL "$(pgrep -P "$SERVICE" -f '^berth: front')"
    health_by_name 200
    answered 200 'after front has died'
    echo '{}' >"$D/berth.jsonc"
    kill -HUP "$SERVICE"
    wait_for "$D/out/log" 'In force now: sessions_max ceiling hosts.'
    health_by_name 403
    answered 403 'a name that is gone'
    call POST $A -d '{"session_id": "s2", "limits": {"open_files": 1001}}'
    answered 201 'without a ceiling'
    kill "$STREAM" 2>/dev/null
    wait "$STREAM"
}
# On the socket and over TCP, also of a session that was made before there was a ceiling.
POL_2_a_command_is_held_to_the_ceiling() {
    local body where
    local beyond=('{"argv": ["id", "-u"], "user": "root"}' '{"argv": ["id", "-u"], "timeout_ms": 60001}'
        '{"argv": ["id", "-u"], "output_limit_bytes": 1048577}' '{"argv": ["id", "-u"], "grace_ms": 10001}'
        '{"argv": ["id", "-u"], "keep_children": true}')
    token --workspace a
    call POST $A -d '{"session_id": "s1"}'
    answered 201
    for body in "${beyond[@]}"; do
        call POST "$A/s1/execs?wait_ms=$((10000 * SLOWER))" -d "$body"
        # Not every user's berth can give all of it; it is no matter of policy then.
        if [ "$CODE" = 422 ]; then said capability_unavailable; else answered 201 "without a ceiling: $body"; fi
    done
    echo '{"version": 1, "process": {"user": "user"}, "limits": {"exec_timeout": "1m", "output": "1MiB"}}' >"$D/ceiling.jsonc"
    chmod 644 "$D/ceiling.jsonc"
    echo "{\"ceiling\": \"$D/ceiling.jsonc\"}" >"$D/berth.jsonc"
    kill -HUP "$SERVICE"
    wait_for "$D/out/log" 'In force now: ceiling'
    wait_for "$D/out/log" 'It was read again.'
    for where in "$URL" "http://berth --unix-socket $D/run/berth.sock"; do
        set -- $where
        for body in "${beyond[@]}"; do
            URL=$1 call POST "$A/s1/execs" -d "$body" "${@:2}"
            answered 422 "$where: $body"
            said policy_rejected
            said '(ceiling:'
        done
        URL=$1 call POST "$A/s1/execs" -d '{"argv": ["id"], "user": "root", "timeout_ms": 60001}' "${@:2}"
        answered 422 'two of them'
        said 'user: root (body:1:26)'
        said 'timeout_ms: 60001ms (body:1:48), where 1m is allowed'
        URL=$1 call POST "$A/s1/execs?wait_ms=$((10000 * SLOWER))" -d '{"argv": ["id", "-u"], "user": "user", "timeout_ms": 60000}' "${@:2}"
        answered 201 'within it'
        said '"exit_code":0'
    done
    OUT=$D/out/cli ERR=$D/out/cli.err
    berth exec -w a --user root s1 -- id
    status_is 125 'by the command line'
    grep -q '^berth: policy_rejected' "$ERR" || fail "the command line says $(cat "$ERR")"
}
health_by_name() { # until it is answered so
    local _
    for _ in $(seq $((200 * SLOWER))); do
        call GET /v1/health -H 'Host: new.example'
        [ "$CODE" = "$1" ] && return
        sleep 0.05
    done
}
# Whoever says it, and whatever happens meanwhile; and who did what is in it.
each_line_of_the_log_is_one_object() {
    local first second made who pid
    service_end
    service_start --listen 127.0.0.1:0 --log-format json
    token --workspace a
    first=$ID
    call POST $A -d '{"session_id": "s1"}'
    call POST "$A/s1/execs?wait_ms=5000" -d '{"argv": ["true", "not-in-the-log"], "env": {"SECRET": "not-in-the-log"}, "exec_id": "e1"}'
    call PUT "$A/s1/files?path=/workspace/not-in-the-log" -d not-in-the-log
    call DELETE "$A/s2"
    # A name that berth makes; given again, the answer is about that one.
    call POST "$A" -d '{"labels": {"k": "v"}}' -H 'Idempotency-Key: made'
    answered 201
    made=$(python3 -c 'import json, sys; print(json.load(sys.stdin)["session_id"])' <"$OUT")
    call POST "$A" -d '{"labels": {"k": "v"}}' -H 'Idempotency-Key: made'
    answered 201 'the same again'
    call DELETE "$A/$made?delete_volume=true"
    answered 200
    token --workspace a --verbs read
    second=$ID
    call DELETE "$A/s1"
    answered 403
    for who in launcher gateway front; do
        pid=$(pgrep -P "$SERVICE" -f "^berth: $who") || continue # not every host has a gateway
        kill -KILL "$pid"
        wait_for "$D/out/log" "the $who died of signal 9"
    done
    echo '{"sessions_max": 0}' >"$D/berth.jsonc"
    kill -HUP "$SERVICE"
    wait_for "$D/out/log" 'stays in force'
    # Front is back when it answers.
    call GET $A/s1 --retry 10 --retry-connrefused
    service_end
    if grep -q 'not-in-the-log' "$D/out/log"; then fail 'what a client sent is in it'; fi
    python3 - "$D/out/log" "$first" "$second" "$made" >"$D/out/judged" 2>&1 <<'PYTHON' || fail "$(tail -n 2 "$D/out/judged")"
import json, re, sys
lines = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
for line in lines:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"]), line
    assert line["level"] in ("info", "warning", "error") and line["role"] and line["event"], line
roles = {line["role"] for line in lines}
assert {"front", "supervisor"} <= roles, roles
audit = [(line.get("token"), line["what"], line.get("workspace"), line.get("session"), line.get("exec"), line["status"])
         for line in lines if line["event"] == "audit"]
for wanted in ((sys.argv[2], "SESSION_CREATE", "a", "s1", None, 201), (sys.argv[2], "EXEC_START", "a", "s1", None, 201),
               (sys.argv[2], "FILE_WRITE", "a", "s1", None, 200), (sys.argv[2], "SESSION_DESTROY", "a", "s2", None, 404),
               (sys.argv[3], "SESSION_DESTROY", "a", "s1", None, 403)):
    assert wanted in audit, (wanted, audit)
named = [line[3] for line in audit if line[1] == "SESSION_CREATE"]
assert named == ["s1", sys.argv[4], sys.argv[4]], named
assert any(line["event"] == "audit" and line["what"] == "TOKEN_CREATE" and "uid" in line for line in lines), audit
assert not any(line["event"] == "audit" and line["what"].endswith("_GET") for line in lines), audit
PYTHON
    echo '{}' >"$D/berth.jsonc"
    service_start --listen 127.0.0.1:0 --log-format text
    call POST $A -d '{"session_id": "s3"}'
    kill -KILL "$(pgrep -P "$SERVICE" -f '^berth: launcher')"
    wait_for "$D/out/log" 'berth: supervisor: restart: the launcher died of signal 9'
    wait_for "$D/out/log" 'berth: front: audit id='
    service_end
    if grep -v '^berth: ' "$D/out/log" >"$D/out/others"; then fail "not as text: $(head -n 1 "$D/out/others")"; fi
    service_start --log-format xml
    wait "$SERVICE"
    grep -q 'json or text' "$D/out/log" || fail "another format was taken: $(cat "$D/out/log")"
    service_start
}
a_configuration_is_checked() {
    echo '{"sessions_max": 7}' >"$D/other.jsonc"
    chmod 644 "$D/other.jsonc"
    berth serve --config "$D/other.jsonc" --check-config
    status_is 0
    said 'is right'
    grep -q '^  sessions_max  *7$' "$OUT" || fail "not told: $(cat "$OUT")"
    echo '{"sesions_max": 7}' >"$D/other.jsonc"
    berth serve --config "$D/other.jsonc" --check-config
    status_is 125
    grep -q 'other.jsonc:1:2: sesions_max' "$ERR" || fail "no place: $(cat "$ERR")"
    grep -q 'Did you mean "sessions_max"' "$ERR" || fail "no near miss: $(cat "$ERR")"
    berth serve --config "$D/nothing.jsonc" --check-config
    status_is 125 'one that is not there'
    echo '{}' >"$D/other.jsonc"
    chmod 666 "$D/other.jsonc"
    berth serve --config "$D/other.jsonc" --check-config
    status_is 125 'one that anybody can write'
    if [ "$MODE" != root ]; then
        mkdir -p "$D/home/.config/berth"
        echo '{"sessions_max": 9}' >"$D/home/.config/berth/berth.jsonc"
        chmod 644 "$D/home/.config/berth/berth.jsonc"
        if [ "$MODE" != self ]; then chown -R "$UID_HERE" "$D/home/.config"; fi
        berth serve --check-config
        grep -q '^  sessions_max  *9$' "$OUT" || fail "a user's own was not read: $(cat "$OUT" "$ERR")"
        rm -r "$D/home/.config"
    fi
}

CASES='a_session_over_tcp W_1_who_has_no_token_learns_nothing W_3_two_workspaces_two_tokens W_3_a_verb_that_it_has_not
W_5_a_revoked_token_is_over_at_once W_5_a_token_expires_while_it_follows tokens_and_listeners_outlive_processes
W_6_no_directory_of_the_host W_8_a_token_that_is_bound_to_a_policy only_the_owner_makes_tokens listens_where_it_should
a_reload_changes_what_it_can_and_says_what_waits POL_2_a_command_is_held_to_the_ceiling a_configuration_is_checked each_line_of_the_log_is_one_object slow_and_many_clients_hold_nobody_up'
if [ $# -gt 0 ]; then CASES=$*; fi

for mode in ${MODES:-$(modes_here)}; do
    enter_mode "$mode"
    for name in $CASES; do
        # Only root's berth has a socket for a group.
        if [ "$mode:$name" != "root:$name" ] && [ "$name" = only_the_owner_makes_tokens ]; then continue; fi
        fresh_workspace
        test_case "$name [$mode]" with_service "$name"
    done
done
summary

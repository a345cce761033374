#!/bin/bash
# This file attacks `berth serve`: from inside its sessions and as a client of its socket. What
# programs of a session get at anyhow is attacks.sh's; here it is what the service adds. It looks at
# the host from outside and never into the ledger.
#
#     service.sh [CASE…]        MODES="root subuid"
set -u
. "$(dirname "$0")/lib.sh"
own_namespaces "$@"
make_scene
SESSIONS=/v1/workspaces/local/sessions
SECRET=the-word-of-the-host
OPERATIONS=${OPERATIONS:-10000}
BOUND=()

service_start() {
    SOCKET=$D/run/berth.sock
    mkdir -p "$D/roots/mine" "$D/roots/other"
    echo "$SECRET" >"$D/roots/other/secret"
    if [ "$(id -u)" = 0 ]; then chown -R "$OTHER_UID:$OTHER_UID" "$D/roots/mine"; fi
    # The neighbour's, where there is one: not root's, whose directories have a rule of their own.
    if [ "$MODE" = root ]; then chown -R $((OTHER_UID + 1)) "$D/roots/other"; fi
    chmod 700 "$D/roots/other"
    local group=
    if [ "$MODE" = root ]; then group=", \"socket_group\": $OTHER_UID"; fi
    echo "{\"start_timeout_s\": $START_TIMEOUT, \"roots\": [\"$D/roots\"]$group}" >"$D/serve.jsonc"
    if [ "$MODE" != self ]; then chown "$UID_HERE" "$D/serve.jsonc"; fi
    "${AS[@]}" "${BOUND[@]+"${BOUND[@]}"}" "${ENVIRONMENT[@]}" "$BERTH" serve --config "$D/serve.jsonc" </dev/null >"$D/out/serve" 2>&1 &
    SERVICE=$!
    local _
    for _ in $(seq $((400 * ${TEST_SLOWER:-1}))); do
        # Not before it has compared its rows with the kernel: until then health is 503.
        if [ -S "$SOCKET" ] && client ask GET /v1/health && [ "$RC" = 0 ] && [ "$(tail -n 1 "$ERR")" = 200 ]; then break; fi
        sleep 0.05
    done
    [ "$RC" = 0 ] || fail "the service does not start: $(tail -n 1 "$D/out/serve")"
    FRONT=$(pgrep -P "$SERVICE" -f '^berth: front')
    berth session create s1
    place_in s1 beside
}
place_in() { berth cp "$PROGRAMS/$2" "$1:/workspace/$2"; status_is 0 "place $2"; }
service_end() {
    local id _
    for id in s1 s2 d1 bad; do berth session destroy "$id" --delete-volume; done
    kill -TERM "$SERVICE"
    for _ in $(seq 200); do [ -d "/proc/$SERVICE" ] || break; sleep 0.05; done
    wait "$SERVICE"
}
with_service() {
    service_start
    if [ -z "$REASON" ]; then "$1"; fi
    service_end
}
client() { # as the asker of this mode
    OUT=$D/out/answer ERR=$D/out/status
    timeout -k 2 $((${TIME:-60} * ${TEST_SLOWER:-1})) "${AS[@]}" "$PROGRAMS/client" "$SOCKET" "$@" >"$OUT" 2>"$ERR"
    RC=$?
}
client_as() { # UID GID …
    local AS=(setpriv --reuid "$1" --regid "$2" --clear-groups --)
    shift 2
    client "$@"
}
answered() { [ "$(tail -n 1 "$ERR")" = "$1" ] || fail "answered $(tail -n 1 "$ERR"), expected $1${2:+ ($2)}: $(head -c 200 "$OUT")"; }
background() { berth exec --detach s1 -- "$@"; status_is 0 "$1"; }
is_over() { # EXEC: until it has ended; then what it has printed is in $OUT
    local _
    for _ in $(seq 200); do
        client ask GET "$SESSIONS/s1/execs/$1"
        if grep -q '"state":"ended"' "$OUT"; then break; fi
        sleep 0.1
    done
    TIME=30 berth logs s1 "$1"
    grep -q '^done ' "$OUT" || fail "$1 did not come to its end"
}
memory_of() { awk '/^VmRSS/ { print $2 }' "/proc/$1/status"; }
descriptors_of_front() { find "/proc/$FRONT/fd" -mindepth 1 2>/dev/null | wc -l; }

# ---- from inside ----

init_is_out_of_reach() { # 17
    berth exec --tty never s1 -- ./beside reach
    grep -q '^done beside' "$OUT" || fail 'it did not come to its end'
    ! grep -q SUCCEEDED "$OUT" || fail "$(grep -m 3 SUCCEEDED "$OUT" | tr '\n' ';')"
    berth exec --tty never s1 -- true
    status_is 0 'the session still answers'
}
pid1_is_out_of_reach() { # 17
    local user
    place_in s1 pid1
    for user in user root; do
        # An ordinary user without subordinate ids has one id inside.
        if [ "$ONE_ID$user" = yesroot ]; then continue; fi
        berth exec --tty never --user $user s1 -- ./pid1 1
        all_denied pid1 30
        status_is 0 "PID 1 is reached for as $user"
    done
    berth exec --tty never s1 -- sh -c '(sleep 50 & sleep 50 &); kill -9 -1; exit 7'
    status_is 7 'everybody but the caller and PID 1 is killed'
    berth exec --tty never s1 -- true
    status_is 0 'the session still answers'
}
births_are_watched() { # 1, 3: what init forks has all of init's until it is executed
    local before i
    # Without a cgroup a session runs one command at a time.
    has_capability limits.pids || { need 'limits.pids is not available'; return; }
    before=$(sha256sum "$BUILD"/bin/berth*)
    berth exec --detach --exec-id watcher s1 -- ./beside born 12
    status_is 0
    for i in $(seq 60); do
        client ask POST "$SESSIONS/s1/execs?wait_ms=5000" '{"argv":["true"]}'
        answered 201
        client ask HEAD "$SESSIONS/s1/files?path=/workspace/beside"
    done
    for i in $(seq 100); do
        client ask GET $SESSIONS/s1/execs/watcher
        if grep -q '"state":"ended"' "$OUT"; then break; fi
        sleep 0.2
    done
    TIME=30 berth logs s1 watcher
    grep -q '^done beside' "$OUT" || fail 'it did not come to its end'
    grep -qE '^saw [0-9]{2}' "$OUT" || fail "it saw nobody: $(grep '^saw' "$OUT")"
    ! grep -q SUCCEEDED "$OUT" || fail "$(grep -m 3 SUCCEEDED "$OUT" | tr '\n' ';')"
    [ "$before" = "$(sha256sum "$BUILD"/bin/berth*)" ] || fail 'a program of berth was changed'
}
zombies_and_stopped() { # 29
    place_in s1 resources
    TIME=100 berth exec --tty never s1 -- ./resources zombies 3000
    grep -q '^zombies 3000' "$OUT" || fail "$(tail -n 1 "$OUT")"
    TIME=30 berth exec --tty never --timeout 1s s1 -- sh -c './resources stopped; kill -STOP $$'
    status_is 124 'a command that stopped itself'
    background sh -c './resources vfork & ./resources stopped & kill -STOP $$'
    TIME=30 berth session interrupt s1
    status_is 0
    berth exec --tty never s1 -- sh -c 'grep -l "^State:.[ZT]" /proc/[0-9]*/status 2>/dev/null | wc -l'
    [ "$(tail -n 1 "$OUT")" = 0 ] || fail "$(tail -n 1 "$OUT") of them are left"
}
verbs_race() { # 30
    local i pids=() pid
    berth session create s2
    for i in 1 2 3 4 5; do
        "${AS[@]}" timeout 100 "$PROGRAMS/client" "$SOCKET" race "${RACE:-200}" $SESSIONS/s2 $i >"$D/out/race$i" &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do wait "$pid" || fail "$(tail -n 1 "$D"/out/race* | tr '\n' ' ')"; done
    ! grep -q ' 2xx 0,' "$D"/out/race? || fail "one of them never had its way: $(cat "$D"/out/race? | tr '\n' ' ')"
    others_go_on 'beside a race of verbs'
    client ask POST $SESSIONS/s2/resume '{}'
    berth exec --tty never s2 -- echo on
    grep -qx on "$OUT" || fail "the session is stuck: $(tail -n 1 "$ERR")"
}
births_after_kills() { # 31b
    local i pids=() killed=() pid
    for i in 1 2 3 4 5; do
        berth exec --tty never --timeout 200ms s1 -- sleep 30
        status_is 124 'a command that is killed'
        berth exec --tty never s1 -- echo born
        grep -qx born "$OUT" || fail "round $i: $(tail -n 1 "$ERR")"
    done
    for i in 1 2 3 4; do
        "${AS[@]}" "${ENVIRONMENT[@]}" timeout 60 "$BERTH" session create "new$i" </dev/null >/dev/null 2>&1 &
        pids+=($!)
        if has_capability limits.pids; then # else it runs one command at a time
            "${AS[@]}" "${ENVIRONMENT[@]}" timeout 60 "$BERTH" exec --tty never --timeout 50ms s1 -- sleep 9 </dev/null >/dev/null 2>&1 &
            killed+=($!)
            "${AS[@]}" "${ENVIRONMENT[@]}" timeout 60 "$BERTH" exec --tty never s1 -- true </dev/null >/dev/null 2>&1 &
            pids+=($!)
        fi
    done
    for pid in "${pids[@]}"; do wait "$pid" || fail "died at birth (status $?)"; done
    for i in 1 2 3 4; do
        berth exec --tty never "new$i" -- true
        status_is 0 "in new$i"
        berth session destroy "new$i" --delete-volume
    done
    for pid in "${killed[@]+"${killed[@]}"}"; do wait "$pid"; done
}
workers_are_harmed() { # 34: hostile programs have their uid
    local how _
    # Without a cgroup a session runs one command at a time.
    has_capability limits.pids || { need 'limits.pids is not available'; return; }
    for how in kill limit trace open; do
        berth exec --detach --exec-id "harm-$how" s1 -- ./beside workers "$how" 4
        status_is 0 "$how"
        client storm 100 $SESSIONS/s1 /workspace/file "$SECRET"
        grep -q 'silent 0, leaked 0' "$OUT" || fail "$how: $(tail -n 1 "$OUT")"
        is_over "harm-$how" # it would meet the next one's birth, too
        grep -qE '^saw [1-9]' "$OUT" || fail "$how: it met none: $(tail -n 1 "$OUT")"
        ! grep -q SUCCEEDED "$OUT" || fail "$how: $(grep -m 3 SUCCEEDED "$OUT" | tr '\n' ';')"
    done
    client ask GET "$SESSIONS/s1/files?path=/workspace/beside"
    for _ in $(seq 20); do # until the last of them has ended, however slow the machine is
        sleep 1
        client ask HEAD "$SESSIONS/s1/files?path=/workspace/beside"
        if [ "$(tail -n 1 "$ERR")" = 200 ]; then break; fi
    done
    answered 200 'when nobody harms them'
}
workers_are_reached_for_step_by_step() { # 1, 34: before it has said that nobody may look into it
    local _
    # Without a cgroup a session runs one command at a time: this one, and workers beside it.
    berth exec --detach --exec-id stepper s1 -- ./beside steps 8
    status_is 0
    for _ in $(seq 20); do
        TIME=2 client ask HEAD "$SESSIONS/s1/files?path=/workspace/beside"
    done
    is_over stepper
    grep -qE '^saw [1-9][0-9]* in [0-9]{2}' "$OUT" || fail "it held nobody: $(grep '^saw' "$OUT")"
    ! grep -q SUCCEEDED "$OUT" || fail "$(grep -m 3 SUCCEEDED "$OUT" | tr '\n' ';')"
}
stopped_workers_are_bounded() {
    local i pids=()
    berth exec --tty never s1 -- truncate -s 64M big
    background sh -c 'for i in 1 2 3; do ./beside workers stop 12 & done; wait'
    for i in 1 2 3 4; do
        "${AS[@]}" timeout 20 "$PROGRAMS/client" "$SOCKET" leave 150 GET "$SESSIONS/s1/files?path=/workspace/big" &
        pids+=($!)
    done
    wait "${pids[@]}"
    sleep 1
    [ "$(descriptors_of_front)" -lt 250 ] || fail "front holds $(descriptors_of_front) descriptors"
    client ask GET /v1/health
    answered 200
    berth session create s2
    client ask HEAD "$SESSIONS/s2/files?path=/etc/hostname"
    answered 200 'another session'
}
rename_storm() { # 32, 33
    background sh -c "mkdir d; echo inside >d/secret; ./beside swap d $D/roots/other 60"
    client storm "$OPERATIONS" $SESSIONS/s1 /workspace/d/secret "$SECRET"
    grep -q 'silent 0, leaked 0' "$OUT" || fail "$(tail -n 1 "$OUT")"
    [ "$(cat "$D/roots/other/secret")" = "$SECRET" ] || fail 'a file of the host was changed'
    ! grep -q ' 2xx 0,' "$OUT" || fail 'no operation worked'
}
kinds_in_turn() { # 34
    background ./beside kinds /workspace/k 20
    client storm 1000 $SESSIONS/s1 /workspace/k root:
    grep -q 'silent 0, leaked 0' "$OUT" || fail "$(tail -n 1 "$OUT")"
}
floods_are_bounded() { # 28
    local before after _
    before=$(memory_of "$FRONT")
    # More of it is kept than front may ever hold.
    client ask POST $SESSIONS/s1/execs '{"shell": "./beside tiny 100000; yes | head -c 150000000",
        "exec_id": "flood", "output_limit_bytes": 200000000}'
    answered 201 'a command with much output'
    for _ in $(seq 300); do # until it has written all, however slow the machine is
        client ask GET $SESSIONS/s1/execs/flood
        if grep -q '"state":"ended"' "$OUT"; then break; fi
        sleep 0.2
    done
    grep -q '"state":"ended"' "$OUT" || fail 'its output was not taken'
    client sleep "$SESSIONS/s1/execs/flood/output?follow=true" 6
    after=$(memory_of "$FRONT")
    [ $((after - before)) -lt 65536 ] || fail "front grew by $((after - before)) KiB"
    client ask GET /v1/health
    answered 200
}
interrupt_without_a_command() {
    berth session create s2
    TIME=5 berth session interrupt s2
    status_is 0
}

# ---- an init that was taken over (52) ----

inits() { # those that are PID 1 of their session, not what they fork
    local directory
    for directory in /proc/[0-9]*; do
        case $(readlink "$directory/exe" 2>/dev/null) in
        */berth-init*) grep -qsE '^NSpid:.*[^0-9]1$' "$directory/status" && echo "${directory#/proc/}" ;;
        esac
    done
}
bad_session() { # INIT: the init of a session `bad` in which a command runs
    local before new _
    before=" $(inits | tr '\n' ' ') "
    if [ "${1:-create}" = create ]; then berth session create bad; else berth session resume bad; fi
    status_is 0 'the session to be taken over'
    berth exec --detach bad -- sh -c 'echo begun; sleep 1000'
    status_is 0
    BAD_EXEC=$(cat "$OUT") INIT=
    for _ in $(seq 100); do # its init has nothing else under way then
        client ask GET "$SESSIONS/bad/execs/$BAD_EXEC"
        if grep -q '"output_bytes":6[,}]' "$OUT"; then break; fi
        sleep 0.05
    done
    for new in $(inits); do case $before in *" $new "*) ;; *) INIT=$new ;; esac done
    [ -n "$INIT" ] || fail 'the session to be taken over: its init is not seen'
}
possess() {
    timeout $((300 * ${TEST_SLOWER:-1})) "$PROGRAMS/possess" "$INIT" "$@" >"$D/out/possess" 2>&1 ||
        fail "the session to be taken over: $(tail -n 1 "$D/out/possess")"
}
# Beside what follows, which is judged while it holds what it has of that init: with its end, init's ends too.
possess_begin() {
    : >"$D/out/possess"
    timeout $((300 * ${TEST_SLOWER:-1})) "$PROGRAMS/possess" "$INIT" "$@" >"$D/out/possess" 2>&1 &
    POSSESSING=$!
}
possess_end() {
    kill -TERM "$POSSESSING" 2>/dev/null
    wait "$POSSESSING"
}
bad_is_ended() { # it alone, and nobody waits for that
    local _
    for _ in $(seq $((${2:-20} * 5))); do
        TIME=20 client ask GET $SESSIONS/bad
        if [ "$RC" = 124 ]; then fail "$1: nobody is answered"; fi
        if grep -q '"state":"parked","mode":"stop","reason":"died"' "$OUT"; then break; fi
        sleep 0.2
    done
    ! grep -q '^possess: ' "$D/out/possess" || fail "the session to be taken over: $(tail -n 1 "$D/out/possess")"
    grep -q '"state":"parked"' "$OUT" || fail "$1: the session goes on: $(head -c 120 "$OUT") $(tail -n 1 "$D/out/possess")"
    [ ! -d "/proc/$INIT" ] || fail "$1: its init lives"
    others_go_on "$1"
}
others_go_on() {
    TIME=10 berth exec --tty never s1 -- echo on
    status_is 0 "$1: the other session"
    grep -qx on "$OUT" || fail "$1: the other session answers $(head -c 60 "$OUT")"
}
may_possess() { [ "$(id -u)" = 0 ] || { need 'needs root to take an init over'; return 1; }; }
taken_over_init_says() {
    local how verb=create
    may_possess || return
    # Longer than anybody waits for an answer.
    for how in garbage huge order started endless "linger $((45 * ${TEST_SLOWER:-1}))"; do
        bad_session $verb
        [ -z "$REASON" ] || return
        verb=resume
        # shellcheck disable=SC2086 # words
        possess_begin $how
        bad_is_ended "$how"
        possess_end
        [ -z "$REASON" ] || return
    done
    berth session destroy bad --delete-volume
    status_is 0
}
taken_over_init_keeps_silent() {
    may_possess || return
    bad_session
    possess half
    others_go_on half
    kill -STOP "$INIT"
    others_go_on stopped
    TIME=15 berth session destroy bad --delete-volume
    status_is 0 'it is ended all the same'
    [ ! -d "/proc/$INIT" ] || fail 'its init lives'
}
taken_over_init_ruins_spools() {
    may_possess || return
    bad_session
    possess ruin
    TIME=20 berth logs bad "$BAD_EXEC"
    [ "$RC" != 124 ] || fail 'who asks for the output is not answered'
    others_go_on ruin
    berth session destroy bad --delete-volume
    status_is 0
}
taken_over_init_fills_the_disk() {
    may_possess || return
    bad_session
    possess spool 120000000
    bad_is_ended spool 90
    berth session destroy bad --delete-volume
    status_is 0
    [ -z "$(find "$D/state/spool" -size +1M)" ] || fail 'what it wrote is left'
}
taken_over_init_lies_to_a_new_front() {
    local rows verb=create _
    may_possess || return
    for rows in 5000 3; do
        bad_session $verb
        [ -z "$REASON" ] || return
        verb=resume
        possess_begin table $rows
        for _ in $(seq 400); do grep -q waiting "$D/out/possess" && break; sleep 0.05; done
        FRONT=$(pgrep -P "$SERVICE" -f '^berth: front')
        kill -KILL "$FRONT"
        grep -q waiting "$D/out/possess" || fail "the session to be taken over: $(tail -n 1 "$D/out/possess")"
        bad_is_ended "a table of $rows"
        possess_end
        [ -z "$REASON" ] || return
    done
    berth session destroy bad --delete-volume
    status_is 0
}

# ---- as a client ----

framing_is_one() { # 53
    client framing $SESSIONS
    grep -q '^done client' "$OUT" || fail 'it did not come to its end'
    ! grep -q SUCCEEDED "$OUT" || fail "$(grep -m 3 SUCCEEDED "$OUT" | tr '\n' ';')"
}
targets_are_refused() {
    client targets $SESSIONS
    grep -q '^done client' "$OUT" || fail 'it did not come to its end'
    ! grep -q SUCCEEDED "$OUT" || fail "$(grep -m 3 SUCCEEDED "$OUT" | tr '\n' ';')"
    client ask GET /v1/workspaces/another/sessions/s1
    answered 404 'of another workspace'
}
slow_clients_are_bounded() { # 53
    local before
    before=$(memory_of "$FRONT")
    if [ "$MODE" = root ]; then # a user has a share of the connections: others are served
        local crowd
        setpriv --reuid "$OTHER_UID" --regid "$OTHER_UID" --clear-groups -- \
            "$PROGRAMS/client" "$SOCKET" crowd 5000 /v1/health >"$D/out/crowd" &
        crowd=$!
        sleep 1
        client ask GET /v1/health
        answered 200 'beside a crowd of another user'
        wait "$crowd"
    else
        client crowd 500 /v1/health
        status_is 0 "$(tail -n 1 "$OUT")"
    fi
    [ $(($(memory_of "$FRONT") - before)) -lt 65536 ] || fail "front grew to $(memory_of "$FRONT") KiB"
}
few_descriptors_are_shared() { # 53: who has all that he may have leaves enough for sessions
    local crowd _
    [ "$MODE" = root ] || return
    kill -TERM "$SERVICE"
    wait "$SERVICE"
    BOUND=(prlimit --nofile=1500:1500 --)
    service_start
    BOUND=()
    setpriv --reuid "$OTHER_UID" --regid "$OTHER_UID" --clear-groups -- \
        "$PROGRAMS/client" "$SOCKET" crowd 3000 /v1/health >"$D/out/crowd" &
    crowd=$!
    sleep 1
    client ask GET /v1/health
    answered 200 'beside a crowd, with few descriptors'
    berth session create s2
    status_is 0 'a session beside a crowd'
    berth exec --tty never s2 -- true
    status_is 0 'a command beside a crowd'
    wait "$crowd"
}
another_user_is_refused() {
    client_as $((OTHER_UID + 1)) $((OTHER_UID + 1)) ask GET /v1/health
    status_is 1 'he may not connect'
    answered -13
}
create_directory() { # PATH, as OTHER_UID
    client_as "$OTHER_UID" "$OTHER_UID" ask POST $SESSIONS \
        "{\"session_id\":\"d1\",\"workspace\":{\"persistence\":{\"kind\":\"directory\",\"path\":\"$1\"}}}"
}
rights_of_the_asker() { # 36, P-7
    local path
    ln -sfn "$D/roots/other" "$D/roots/link"
    for path in / /etc /root "$D/state" "$D/run" "$D" "$D/roots/other" "$D/roots/link" "$D/roots/link/x" \
        "$D/roots/../state" /proc/self/root; do
        create_directory "$path"
        status_is 1 "$path"
        # 503: he may name what he may not enter, and then the session does not start.
        grep -qE '"status":(40[034]|503)' "$OUT" || fail "$path: $(head -c 200 "$OUT")"
    done
    create_directory "$D/roots/mine"
    answered 201
}
parked_with_planted_links() { # 32
    local path
    create_directory "$D/roots/mine"
    answered 201
    ln -s "$D/roots/other/secret" "$D/roots/mine/absolute"
    ln -s ../other "$D/roots/mine/up"
    ln -s "/proc/self/root$D/roots/other/secret" "$D/roots/mine/magic"
    ln -s "$D/state" "$D/roots/mine/state"
    berth session park d1
    status_is 0
    # What keeps him out must be the walk, not the modes.
    chmod 755 "$D/roots/other"
    for path in absolute up/secret magic state/instance ../other/secret; do
        client ask GET "$SESSIONS/d1/files?path=/workspace/$path"
        status_is 1 "reading $path"
        ! grep -q "$SECRET" "$OUT" || fail "$path was read"
        client ask PUT "$SESSIONS/d1/files?path=/workspace/$path" changed
    done
    [ "$(cat "$D/roots/other/secret")" = "$SECRET" ] || fail 'a file of the host was changed'
    echo mine >"$D/roots/mine/file" && chown "$OTHER_UID" "$D/roots/mine/file"
    client_as "$OTHER_UID" "$OTHER_UID" ask GET "$SESSIONS/d1/files?path=/workspace/file"
    answered 200 'his own'
    chmod 700 "$D/roots/mine"
    client_as $((OTHER_UID + 1)) "$OTHER_UID" ask GET "$SESSIONS/d1/files?path=/workspace/file"
    answered 403 "another's, who may connect"
}
names_are_shown_clean() { # 12, 38
    local escape control name
    escape=$(printf '\033') control=$(printf '\302\233')
    name=$(printf 'a\n\033[31m\302\233')
    berth exec --tty never s1 -- sh -c 'mkdir n; : >"n/$1"' sh "$name"
    status_is 0
    berth ps s1
    ! grep -qE "$escape|$control" "$OUT" || fail 'ps prints an escape sequence'
    berth cp s1:n "$D/out/names"
    [ -e "$D/out/names/$name" ] || fail 'the name came otherwise'
    berth cp "s1:n/none$name" "$D/out/none"
    ! grep -qE "$escape|$control" "$ERR" || fail 'cp prints an escape sequence'
    berth session show "$name"
    ! grep -qE "$escape|$control" "$ERR" || fail 'show prints an escape sequence'
    client ask GET "$SESSIONS/s1/files/list?path=/workspace/n"
    ! grep -q "$escape" "$OUT" || fail 'the list has an escape sequence'
}

CASES='taken_over_init_says taken_over_init_keeps_silent taken_over_init_ruins_spools
taken_over_init_fills_the_disk taken_over_init_lies_to_a_new_front init_is_out_of_reach pid1_is_out_of_reach births_are_watched workers_are_reached_for_step_by_step zombies_and_stopped
verbs_race births_after_kills workers_are_harmed stopped_workers_are_bounded rename_storm kinds_in_turn floods_are_bounded
interrupt_without_a_command framing_is_one targets_are_refused slow_clients_are_bounded names_are_shown_clean'
ROOT_CASES='few_descriptors_are_shared another_user_is_refused rights_of_the_asker parked_with_planted_links'
if [ $# -gt 0 ]; then CASES=$* ROOT_CASES=; fi

for mode in ${MODES:-$(modes_here)}; do
    enter_mode "$mode"
    if [ "$mode" = root ]; then NAMES="$CASES $ROOT_CASES"; else NAMES=$CASES; fi
    for name in $NAMES; do
        fresh_workspace
        rm -rf --one-file-system "$D/roots"
        test_case "$name [$mode]" with_service "$name"
    done
done
summary

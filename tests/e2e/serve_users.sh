#!/bin/bash
# This file uses `berth serve` as each kind of user has it: root, a user with subordinate ids, one
# without; their own directories, their own processes killed, beside each other, with and without a
# cgroup. What every user has in the same way is in serve.sh. It never looks into the ledger.
set -u
. "$(dirname "$0")/../attack/lib.sh"
own_namespaces "$@"
make_scene
SLOWER=${TEST_SLOWER:-1}

service_pid() { pgrep -U "$UID_HERE" -f '^berth: supervisor' | head -n 1; }
# child_pid NAME: the service's own child of that name.
child_pid() { pgrep -P "$(service_pid)" -f "^berth: $1" | head -n 1; }
gone() { # PID SECONDS: it has ended within that time
    local _
    for _ in $(seq $(($2 * 20 * SLOWER))); do [ -d "/proc/$1" ] || return 0; sleep 0.05; done
    return 1
}
service_end() {
    local pid
    pid=$(service_pid)
    [ -n "$pid" ] || return
    kill -TERM "$pid"
    gone "$pid" 10 || { fail 'the service did not end'; kill -KILL "$pid"; }
}
with_service() {
    "$@"
    service_end
}
said() { grep -qF -- "$1" "$OUT" || fail "no '$1' in: $(head -n 3 "$OUT")"; }
complains() { grep -qF -- "$1" "$ERR" || fail "no '$1' in: $(head -n 3 "$ERR")"; }
run_in() { berth exec --tty never "$@"; }
# In the background, its output in FILE; its pid in LAST.
later() {
    local file=$1
    shift
    "${AS[@]}" "${ENVIRONMENT[@]}" "$BERTH" "$@" </dev/null >"$file" 2>"$file.err" &
    LAST=$!
}
has_cgroup() { has_capability limits.memory; }

# ---- cases ----

# Where nothing is named: the runtime directory of a login, else a directory of the user's own in
# /tmp. The log and the locks are there; what stays is below the home directory.
own_directories() {
    local own=("${ENVIRONMENT[@]}") plain xdg=$D/xdg fallback=/tmp/berth-$UID_HERE
    plain=("${own[@]/BERTH_STATE_DIR=*/BERTH_TEST=1}")
    plain=("${plain[@]/BERTH_RUNTIME_DIR=*/BERTH_TEST=1}")
    mkdir -p "$xdg" && chmod 700 "$xdg"
    if [ "$(id -u)" = 0 ]; then chown "$UID_HERE:$UID_HERE" "$xdg"; fi
    ENVIRONMENT=("${plain[@]}" "XDG_RUNTIME_DIR=$xdg")
    berth session create s1
    status_is 0 'with a runtime directory'
    [ -S "$xdg/berth/berth.sock" ] || fail 'no socket in XDG_RUNTIME_DIR'
    [ -d "$D/home/.local/state/berth/ledger" ] || fail 'no ledger below the home directory'
    service_end
    # The same state, another place: the session that goes on has its socket in the first one.
    ENVIRONMENT=("${plain[@]}" "XDG_RUNTIME_DIR=$xdg")
    run_in s1 -- echo again
    said again
    berth session destroy s1 --delete-volume
    status_is 0
    service_end
    ENVIRONMENT=("${plain[@]}")
    berth session create s2
    status_is 0 'without a runtime directory'
    [ -S "$fallback/berth.sock" ] || fail 'no socket in /tmp'
    [ "$(stat -c %a "$fallback")" = 700 ] || fail 'others may enter it'
    berth session destroy s2 --delete-volume
    status_is 0
    service_end
    if [ -O "$fallback" ] || [ "$(id -u)" = 0 ]; then rm -rf --one-file-system "$fallback"; fi
    ENVIRONMENT=("${own[@]}")
}
every_verb() {
    local id kind pid
    # Without `roots` a workspace belongs to who asks.
    if [ "$MODE" = root ]; then chown 0:0 "$WS"; fi
    berth volume create kept
    status_is 0
    for kind in "$WS" volume:kept tmpfs; do
        berth session create s1 --workspace "$kind"
        status_is 0 "$kind"
        run_in s1 -- sh -c 'echo hi >f; cat f'
        said hi
        berth session destroy s1
        status_is 0
    done
    berth session create s1 --workspace volume:kept --owner us
    later "$D/out/events" events s1 --follow --json
    pid=$LAST
    run_in s1 -- cat f
    said hi
    # A terminal of script's: the shell inside has one too.
    "${AS[@]}" "${ENVIRONMENT[@]}" script -qec "$BERTH shell s1" /dev/null \
        < <(sleep $((1 * SLOWER)); echo 'test -t 0 && echo tty-$((40+2)); exit'; sleep $((1 * SLOWER))) >"$D/out/shell" 2>&1
    grep -q tty-42 "$D/out/shell" || fail "no shell: $(head -c 200 "$D/out/shell")"
    berth exec --detach s1 -- sh -c 'echo one; sleep 0.5; echo two'
    id=$(cat "$OUT")
    berth logs s1 "$id" --follow
    [ "$(cat "$OUT")" = "$(printf 'one\ntwo')" ] || fail "other logs: $(cat "$OUT")"
    berth exec --detach s1 -- sleep 1000
    id=$(cat "$OUT")
    berth session interrupt s1
    status_is 0
    berth ps s1
    grep -E "^$id +interrupted" "$OUT" >/dev/null || fail "not interrupted: $(grep "$id" "$OUT")"
    berth session park s1
    status_is 0
    berth session resume s1
    status_is 0
    run_in s1 -- cat f
    said hi
    berth usage s1
    said s1
    berth session archive s1
    status_is 0
    berth cp s1:f -
    said hi
    berth reap --owner us
    status_is 0
    berth session list
    if grep -q '^s1 ' "$OUT"; then fail 'what was reaped is listed among the others'; fi
    berth session list --all
    grep -q '^s1 .*destroyed' "$OUT" || fail 'reap has left it'
    gone "$pid" 10 || { fail 'events did not end with the session'; kill "$pid"; }
    grep -q session.deleted "$D/out/events" || fail "no end among: $(tail -n 1 "$D/out/events")"
    berth volume remove kept
    status_is 0
}
each_process_killed() {
    local pid name
    berth session create k1
    later "$D/out/killed" exec --tty never k1 -- sh -c 'for i in 1 2 3 4 5 6 7 8; do sleep 0.5; echo $i; done'
    pid=$LAST
    sleep 0.5
    for name in front launcher front; do
        kill -KILL "$(child_pid $name)"
        berth session list
        grep -q '^k1 .*running' "$OUT" || fail "after $name: $(head -n 1 "$ERR")"
    done
    kill -KILL "$(service_pid)"
    berth session list
    grep -q '^k1 .*running' "$OUT" || fail "after supervisor: $(head -n 1 "$ERR")"
    wait "$pid" || fail "the follower: $(head -n 2 "$D/out/killed.err")"
    [ "$(tr -d '\n' <"$D/out/killed")" = 12345678 ] || fail "a gap: $(tr '\n' ' ' <"$D/out/killed")"
    berth session destroy k1 --delete-volume
    status_is 0
}
# Another one that holds the directories and does not listen yet: it is waited for, and followed if it goes.
another_is_coming_up() {
    local pid
    berth session create u1
    pid=$(service_pid)
    kill -TERM "$pid"
    gone "$pid" 10 || fail 'the service did not end'
    "${AS[@]}" flock "$D/state/lock" sh -c 'echo $$ >"$1"; exec sleep 2' sh "$D/state/lock" &
    pid=$!
    sleep 0.5
    berth session list
    status_is 0 'the directories are held'
    grep -q '^u1 .*running' "$OUT" || fail "after another one: $(head -n 1 "$ERR")"
    wait "$pid"
    berth session destroy u1 --delete-volume
    status_is 0
}
# A server runs; what can be done beside it.
beside_a_command() {
    local id
    berth session create b1
    berth exec --detach b1 -- sleep 1000
    id=$(cat "$OUT")
    head -c 200000 /dev/urandom >"$WS/random"
    berth cp "$WS/random" b1:random
    status_is 0 'a copy beside a command'
    berth cp b1:random -
    cmp -s "$OUT" "$WS/random" || fail 'other bytes came back'
    run_in b1 -- echo second
    if has_cgroup; then
        said second
        berth session park b1 --mode freeze
        status_is 0
        berth session resume b1
        status_is 0
    else
        status_is 125
        complains 'one command at a time'
        complains "$id"
        berth session park b1 --mode freeze
        status_is 125
        complains capability_unavailable
        complains cgroup
    fi
    berth ps b1
    grep -E "^$id +running" "$OUT" >/dev/null || fail "it has ended: $(grep "$id" "$OUT")"
    berth session interrupt b1
    run_in b1 -- sha256sum random
    said "$(sha256sum <"$WS/random" | cut -d' ' -f1)"
    berth session destroy b1 --delete-volume
    status_is 0
}
# Everybody has a session of the same name; nobody sees, reaches or ends another's.
users_beside_each_other() {
    local mode socket
    for mode in $ALL_MODES; do
        become "$mode"
        berth session create same
        status_is 0 "$mode"
        run_in same -- sh -c "echo $mode >mine"
    done
    for mode in $ALL_MODES; do
        become "$mode"
        berth session list
        [ "$(grep -c '^same ' "$OUT")" = 1 ] || fail "$mode sees: $(cat "$OUT")"
        for socket in "$T"/*/run/berth.sock; do
            if [ "$socket" = "$D/run/berth.sock" ] || [ "$mode" = root ]; then continue; fi
            berth --host "unix:$socket" session list
            status_is 125 "$mode at $socket"
        done
    done
    become "${ALL_MODES%% *}"
    berth session destroy same --delete-volume
    service_end
    for mode in ${ALL_MODES#* }; do
        become "$mode"
        run_in same -- cat mine
        said "$mode"
        berth session destroy same --delete-volume
        service_end
    done
}
# No session, no client, ten seconds; a parked one does not keep it, clients do who come and go.
ends_by_itself() {
    local pid before
    berth session create z1
    berth session park z1
    pid=$(service_pid)
    before=$SECONDS
    while [ $((SECONDS - before)) -lt 13 ]; do
        berth session list
        sleep 0.1
    done
    [ "$(service_pid)" = "$pid" ] || fail 'it ended beside its clients'
    before=${EPOCHREALTIME/[.,]/}
    berth session list
    gone "$pid" 20 || fail 'it did not end'
    # Not multiplied: a slow machine makes nothing end earlier.
    [ $((${EPOCHREALTIME/[.,]/} - before)) -ge 10000000 ] || fail 'it ended early'
    berth session destroy z1 --delete-volume
    status_is 0 'a new one'
}

# enter_mode gives everything to its user, front's files too: it is entered once.
declare -A SEEN
seen() { SEEN[$MODE]=$(declare -p MODE UID_HERE AS D WS WS_UID ENVIRONMENT CAPABILITIES); }
become() { eval "${SEEN[$1]//declare -/declare -g -}"; }
asked_for() { [ -z "$NAMES" ] || [[ " $NAMES " == *" $1 "* ]]; }
NAMES=$*
ALL_MODES=${MODES:-$(modes_here)}
for mode in $ALL_MODES; do
    enter_mode "$mode"
    seen
    for name in own_directories every_verb each_process_killed another_is_coming_up beside_a_command; do
        # Those of root are the machine's.
        if [ "$mode $name" = 'root own_directories' ] || ! asked_for "$name"; then continue; fi
        fresh_workspace
        test_case "$name [$mode]" with_service "$name"
    done
done
case $ALL_MODES in
*' '*) if asked_for users_beside_each_other; then test_case users_beside_each_other with_service users_beside_each_other; fi ;;
esac
if asked_for ends_by_itself; then test_case "ends_by_itself [$MODE]" with_service ends_by_itself; fi
summary

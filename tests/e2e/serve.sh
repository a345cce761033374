#!/bin/bash
# This file uses sessions that last as their users do: the command line over a real `berth serve`,
# which it starts on demand, ends and starts again. It never looks into the ledger.
set -u
. "$(dirname "$0")/../attack/lib.sh"
own_namespaces "$@"
make_scene
SLOWER=${TEST_SLOWER:-1}

# ---- the service: each case has one of its own, started by its first command ----

service_pid() { pgrep -U "$UID_HERE" -f '^berth: supervisor' | head -n 1; }
service_end() {
    local pid _
    pid=$(service_pid)
    [ -n "$pid" ] || return
    kill -TERM "$pid"
    for _ in $(seq $((200 * SLOWER))); do [ -d "/proc/$pid" ] || return; sleep 0.05; done
    fail "the service did not end"
    kill -KILL "$pid"
}
with_service() {
    "$1"
    service_end
}
said() { grep -qF -- "$1" "$OUT" || fail "no '$1' in: $(head -n 3 "$OUT")"; }
complains() { grep -qF -- "$1" "$ERR" || fail "no '$1' in: $(head -n 3 "$ERR")"; }

# ---- cases ----

create_exec_destroy() {
    berth session create s1
    status_is 0
    said s1
    berth session list
    said running
    berth exec --tty never s1 -- sh -c 'echo out; echo err >&2; exit 7'
    status_is 7
    said out
    complains err
    berth exec --tty never s1 -- sh -c 'kill -9 $$'
    status_is 137
    berth exec --tty never s1 -- /nonexistent
    status_is 127
    berth exec --tty never --timeout 300ms s1 -- sleep 20
    status_is 124
    berth session destroy s1 --delete-volume
    status_is 0
    berth session destroy s1
    status_is 0 'again'
    berth exec --tty never s1 -- true
    status_is 125
}
same_id_twice() {
    berth session create twin
    status_is 0
    berth session create twin
    status_is 125
    complains session_exists
    berth session create twin -w other
    status_is 0 'another workspace id'
    berth session destroy twin --delete-volume
    berth -w other session destroy twin --delete-volume
    status_is 0
}
park_keeps_the_workspace() {
    berth session create p1
    berth exec --tty never p1 -- sh -c 'echo kept >file; echo gone >/tmp/file'
    status_is 0
    berth session park p1
    status_is 0
    berth exec --tty never p1 -- true
    status_is 125
    complains invalid_state
    berth session resume p1
    status_is 0
    berth exec --tty never p1 -- cat file
    said kept
    berth exec --tty never p1 -- cat /tmp/file
    status_is 1
    berth session destroy p1 --delete-volume
    status_is 0
}
detached_output_is_kept() {
    local exec_id
    berth session create d1
    berth exec --detach d1 -- sh -c 'for i in 1 2 3 4 5; do echo line $i; sleep 0.2; done'
    status_is 0
    exec_id=$(cat "$OUT")
    berth logs d1 "$exec_id" --follow
    status_is 0
    [ "$(cat "$OUT")" = "$(printf 'line %d\n' 1 2 3 4 5)" ] || fail "other output: $(cat "$OUT")"
    berth logs d1 "$exec_id"
    [ "$(wc -l <"$OUT")" = 5 ] || fail 'not the same again'
    berth ps d1
    said "$exec_id"
    said 'exit 0'
    berth session destroy d1 --delete-volume
}
standard_input() {
    berth session create i1
    head -c 3000000 /dev/urandom >"$D/out/random"
    "${AS[@]}" "${ENVIRONMENT[@]}" "$BERTH" exec --stdin --tty never i1 -- sha256sum <"$D/out/random" >"$D/out/sum" 2>"$D/out/err"
    grep -q "^$(sha256sum <"$D/out/random" | cut -d' ' -f1)" "$D/out/sum" || fail "other bytes: $(head -n 2 "$D/out/err")"
    berth session destroy i1 --delete-volume
}
copies_both_ways() {
    mkdir -p "$WS/tree/sub"
    echo one >"$WS/tree/a" && chmod 755 "$WS/tree/a"
    head -c 300000 /dev/urandom >"$WS/tree/sub/big"
    if [ "$(id -u)" = 0 ]; then chown -R "$UID_HERE" "$WS"; fi
    berth session create c1
    berth cp "$WS/tree" c1:copy
    status_is 0
    berth exec --tty never c1 -- sh -c 'test -x copy/a && cat copy/a'
    said one
    berth cp c1:copy "$WS/back"
    status_is 0
    diff -r "$WS/tree" "$WS/back" >/dev/null || fail 'the copy differs'
    berth cp c1:copy/a -
    said one
    # Names that berth holds there are no part of it.
    berth exec --tty never c1 -- test -S .envrc
    status_is 0 'a held name'
    berth cp c1:. "$WS/whole"
    status_is 0 'a whole workspace'
    [ "$(ls -A "$WS/whole")" = copy ] || fail "more or less: $(ls -A "$WS/whole")"
    berth exec --tty never c1 -- ln -s /etc/passwd copy/link
    berth cp c1:copy "$WS/links"
    status_is 1 'a link is left out'
    [ ! -e "$WS/links/link" ] || fail 'the link was copied'
    # As an archive, out and in; a parked session is written file by file.
    "${AS[@]}" "${ENVIRONMENT[@]}" "$BERTH" cp c1:copy - 2>"$D/out/err" >"$D/out/tar"
    tar -tf "$D/out/tar" | grep -qx 'sub/big' || fail "the archive: $(tar -tf "$D/out/tar" 2>&1 | head -n 3)"
    STDIN=$D/out/tar berth cp - c1:unpacked/
    status_is 0 'an archive on standard input'
    STDIN=$D/out/tar berth cp - c1:as-a-file
    status_is 0 'a file on standard input'
    berth exec --tty never c1 -- sh -c 'diff -r --no-dereference copy unpacked && tar -tf as-a-file && cat as-a-file' >/dev/null
    status_is 0 'what was unpacked'
    touch -d '2020-01-02 03:04:05' "$WS/tree/a"
    berth cp "$WS/tree" c1:dated
    berth exec --tty never c1 -- stat -c '%a %Y' dated/a
    said "755 $(stat -c %Y "$WS/tree/a")"
    berth cp c1:dated "$WS/dated"
    [ "$(stat -c '%a %Y' "$WS/dated/a")" = "755 $(stat -c %Y "$WS/tree/a")" ] || fail "mode and time: $(stat -c '%a %Y' "$WS/dated/a")"
    berth session park c1
    berth cp "$WS/tree" c1:parked
    status_is 0 'into a parked session'
    rm -rf "$WS/back"
    berth cp c1:parked "$WS/back"
    diff -r "$WS/tree" "$WS/back" >/dev/null || fail 'the copy of a parked session differs'
    # Bounds of what a session may make here.
    rm -rf "$WS/back"
    berth cp --max-entries 2 c1:parked "$WS/back"
    status_is 125 'more entries than allowed'
    complains 'allow more with --max-entries'
    [ "$(find "$WS/back" | wc -l)" = 2 ] || fail "with two entries: $(find "$WS/back" | wc -l)"
    rm -rf "$WS/back"
    berth cp --max-bytes 1000 c1:parked "$WS/back"
    status_is 125 'more bytes than allowed'
    complains 'allow more with --max-bytes'
    [ ! -e "$WS/back/sub/big" ] || fail 'a file of more bytes than allowed is there'
    berth cp --max-bytes 1000 c1:parked/sub/big "$WS/big"
    status_is 125 'a file of more bytes than allowed'
    [ ! -e "$WS/big" ] || fail 'it is there'
    berth cp --max-bytes 1000 c1:parked/sub/big - >/dev/null
    status_is 0 'a stream has no bound'
    berth cp --max-entries many c1:parked "$WS/back"
    status_is 125
    complains 'Allowed: a number'
    rm -rf "$WS/back"
    berth cp c1:nothing "$WS/x"
    status_is 125
    complains not_found
    berth session destroy c1 --delete-volume
}
# Whether it goes as an archive or file by file: a link on the way is not followed, one at the end is replaced.
links_in_the_way_of_a_copy_are_the_same_for_a_session_that_runs_and_one_that_does_not() {
    local way
    mkdir -p "$WS/from/way" "$WS/flat"
    echo new >"$WS/from/way/file"
    echo new >"$WS/flat/end"
    chmod -R a+rX "$WS"
    for way in running parked frozen; do
        if [ "$way" = frozen ] && ! has_capability lifecycle.park_freeze; then continue; fi
        berth session create l1
        berth exec --tty never l1 -- sh -c 'mkdir -p into/other flat; ln -s other into/way; echo old >into/old; ln -s ../into/old flat/end; ln -s into named'
        case $way in
        parked) berth session park l1 ;;
        frozen) berth session park --mode freeze l1 ;;
        esac
        [ "$way" = running ] || status_is 0 "$way"
        berth cp "$WS/from/." l1:into
        status_is 125 "$way: a link on the way"
        complains 'links are not followed there'
        berth cp "$WS/flat/." l1:flat
        status_is 0 "$way: a link at the end"
        # The place itself is named, whatever leads there.
        berth cp "$WS/flat/." l1:named
        status_is 0 "$way: a link to the place"
        [ "$way" = running ] || berth session resume l1
        berth exec --tty never l1 -- sh -c 'find into/other -type f; test -L into/way && cat into/old && test ! -L flat/end && cat flat/end into/end'
        [ "$(tr '\n' ' ' <"$OUT")" = 'old new new ' ] || fail "$way: $(tr '\n' ' ' <"$OUT")"
        berth session destroy l1 --delete-volume
    done
}
events_are_numbered() {
    berth session create e1
    berth session park e1
    berth session destroy e1 --delete-volume
    berth session create e1
    berth events e1 --json
    grep -qE '"seq": ?[0-9]+,.*session.deleted' "$OUT" || fail "no end of the first: $(head -n 1 "$OUT")"
    tail -n 1 "$OUT" | grep -q session.running || fail "of the second there is $(tail -n 1 "$OUT")"
    berth session destroy e1 --delete-volume
    berth events e1 --follow
    status_is 0
    [ "$(grep -c session.deleted "$OUT")" = 2 ] || fail "ends: $(grep -c session.deleted "$OUT")"
    berth session create e2 --idle 1h
    berth session show e2
    said 'park after 1h'
    berth events e2 --json
    status_is 0
    head -n 1 "$OUT" | grep -qE '"seq": ?1,' || fail "the first is not 1: $(head -n 1 "$OUT")"
    berth usage e2
    said e2
    berth session destroy e2 --delete-volume
}
# Everything but the inits is killed while a command prints: whoever follows sees nothing of it.
restart_is_not_seen() {
    local pid supervisor child
    berth session create r1
    "${AS[@]}" "${ENVIRONMENT[@]}" "$BERTH" exec --tty never r1 -- \
        sh -c 'i=0; while [ $i -lt 300 ]; do echo $i; i=$((i+1)); sleep 0.01; done' </dev/null >"$D/out/stream" 2>"$D/out/err" &
    pid=$!
    sleep 1
    supervisor=$(service_pid)
    for child in $(pgrep -P "$supervisor"); do kill -KILL "$child"; done
    wait "$pid"
    [ $? = 0 ] || fail "status of the follower: $(head -n 3 "$D/out/err")"
    seq 0 299 | cmp -s - "$D/out/stream" || fail "a gap or something twice: $(wc -l <"$D/out/stream") lines"
    supervisor=$(service_pid)
    kill -KILL "$supervisor"
    berth exec --tty never r1 -- echo adopted
    status_is 0 'a new service'
    said adopted
    berth session destroy r1 --delete-volume
    status_is 0
}
# What a dead session has left in a workspace that cannot be written to now is nobody else's trouble.
a_dead_workspace_stops_no_other_session() {
    local supervisor child place=$D/dead
    [ "$MODE" = root ] || { need 'needs root to make a mount read-only'; return; }
    mkdir "$place"
    berth session create dead --workspace "$place" --protect secret.txt
    status_is 0
    supervisor=$(service_pid)
    for child in $(pgrep -P "$supervisor"); do kill -KILL "$child"; done
    kill -KILL "$supervisor"
    for child in $(pgrep -f '^berth: init'); do kill -KILL "$child"; done
    mount --bind "$place" "$place" && mount -o remount,ro,bind "$place" || fail 'no mount'
    berth session create other
    status_is 0 'another session'
    berth exec --tty never other -- echo alive
    said alive
    berth run --workspace none -- /bin/true
    status_is 0 'a run'
    complains 'not all of an earlier session could be cleaned up'
    umount "$place"
    berth session destroy dead
    status_is 0 'when it can be written to again'
    [ ! -e "$place/secret.txt" ] || fail 'a placeholder is left'
    berth session destroy other --delete-volume
    berth run --workspace none -- /bin/true
    ! grep -q 'cleaned up' "$ERR" || fail 'still something of an earlier session'
}
volumes_and_reap() {
    berth volume create v1
    status_is 0
    berth session create u1 --workspace volume:v1 --owner ci
    status_is 0
    berth session create u2 --workspace volume:v1
    status_is 125
    complains workspace_in_use
    berth volume remove v1
    status_is 125
    berth reap --owner other
    status_is 0
    berth reap --owner ci --dry-run
    said would_destroy
    berth reap --owner ci
    status_is 0
    berth volume remove v1
    status_is 0
    berth volume list
    ! grep -q '^v1 ' "$OUT" || fail 'the volume is still there'
}
many_at_once_start_one_service() {
    local i pids=()
    for i in 1 2 3 4 5 6 7 8; do
        "${AS[@]}" "${ENVIRONMENT[@]}" "$BERTH" session create "m$i" >/dev/null 2>"$D/out/m$i" &
        pids+=($!)
    done
    for i in 1 2 3 4 5 6 7 8; do wait "${pids[i - 1]}" || fail "m$i: $(head -n 1 "$D/out/m$i")"; done
    berth session list
    [ "$(grep -c '^m[1-8] .*running' "$OUT")" = 8 ] || fail "not eight: $(cat "$OUT")"
    for i in 1 2 3 4 5 6 7 8; do berth session destroy "m$i" --delete-volume; done
}

CASES='create_exec_destroy same_id_twice park_keeps_the_workspace detached_output_is_kept standard_input copies_both_ways
links_in_the_way_of_a_copy_are_the_same_for_a_session_that_runs_and_one_that_does_not
events_are_numbered restart_is_not_seen a_dead_workspace_stops_no_other_session volumes_and_reap many_at_once_start_one_service'
if [ $# -gt 0 ]; then CASES=$*; fi

for mode in ${MODES:-$(modes_here)}; do
    enter_mode "$mode"
    for name in $CASES; do
        fresh_workspace
        test_case "$name [$mode]" with_service "$name"
    done
done
summary

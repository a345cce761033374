#!/bin/bash
# This file runs `berth run` as its users do: exit statuses, streams, terminals, signals, limits, the
# result record, and real work. It never attacks.
set -u
. "$(dirname "$0")/../attack/lib.sh"
own_namespaces "$@"
make_scene
# What times are multiplied by, on a machine that is emulated or busy.
SLOWER=${TEST_SLOWER:-1}

background_run() { # WORDS…: sets PID to berth's own; output to $OUT, $ERR
    OUT=$D/out/out ERR=$D/out/err
    : >"$OUT"
    "${AS[@]}" "${ENVIRONMENT[@]}" "$BERTH" run --workspace "$WS" "$@" </dev/null >"$OUT" 2>"$ERR" &
    PID=$!
}
# Wait until $OUT has the word
until_said() {
    local _
    for _ in $(seq $((100 * SLOWER))); do grep -q "$1" "$OUT" && return; sleep 0.05; done
    fail "never said '$1': $(head -n 2 "$ERR")"
}
ended_with() { # status, within 5 s
    local _
    for _ in $(seq $((100 * SLOWER))); do kill -0 "$PID" 2>/dev/null || break; sleep 0.05; done
    if kill -0 "$PID" 2>/dev/null; then
        fail 'still runs after 5 s'
        kill -KILL "$PID"
    fi
    wait "$PID"
    RC=$?
    status_is "$1"
}

# ---- exit statuses ----

own_status() {
    local status
    for status in 0 1 2 42 124 125 126 127 128 130 137 255; do
        session -- /bin/sh -c "exit $status"
        status_is $status
    done
}
death_by_signal() {
    local signal
    for signal in TERM INT KILL SEGV HUP USR1 ABRT; do
        session -- /bin/sh -c "kill -$signal \$\$; sleep 5"
        status_is $((128 + $(kill -l $signal))) "SIG$signal"
    done
}
timeout_status() {
    session --timeout 300ms -- /bin/sleep 20
    status_is 124
    session --timeout 500ms -- /bin/sh -c 'trap "" TERM; while :; do sleep 1; done'
    status_is 124 'TERM ignored'
    session --idle-timeout 500ms -- /bin/sh -c 'while :; do sleep 30; done'
    status_is 124 'idle'
    session --idle-timeout 2s -- /bin/sh -c 'for i in 1 2 3 4 5 6; do echo $i; sleep 0.5; done'
    status_is 0 'not idle'
}
oom_status() {
    has_capability limits.memory || { need 'limits.memory is not available'; return; }
    place resources
    session --memory 48MiB --scratch 16MiB --result "$D/out/result" -- "$WS/.attack/resources" heap 300 /tmp
    status_is 137
    grep -q '"reason": *"oom"' "$D/out/result" || fail 'the record does not say oom'
    says 'memory'
    # 137 of the program's own is exit, not oom (EXEC-6)
    session --result "$D/out/result" -- /bin/sh -c 'exit 137'
    status_is 137
    grep -q '"reason": *"exit"' "$D/out/result" || fail "exit 137 is recorded as $(grep -o '"reason"[^,]*' "$D/out/result")"
    session --result "$D/out/result" -- /bin/sh -c 'kill -9 $$'
    grep -q '"reason": *"signal"' "$D/out/result" || fail "signal 9 is recorded as $(grep -o '"reason"[^,]*' "$D/out/result")"
}
result_record() {
    session --result "$D/out/result" -- /bin/sh -c 'echo hello; exit 3'
    status_is 3
    local key
    for key in exec_id state reason exit_code signal started_at ended_at cpu_ms max_rss_bytes output_bytes output_truncated; do
        grep -q "\"$key\"" "$D/out/result" || fail "the record has no $key: $(head -c 300 "$D/out/result")"
    done
    grep -q '"exit_code": *3' "$D/out/result" || fail 'exit_code is not 3'
    grep -q '"reason": *"exit"' "$D/out/result" || fail 'reason is not exit'
    if command -v python3 >/dev/null; then
        python3 -c 'import json,sys; json.load(open(sys.argv[1]))' "$D/out/result" 2>/dev/null || fail 'the record is not JSON'
    fi
    session --json -- /bin/true
    tail -n 1 "$ERR" | grep -q '^{.*}$' || fail "--json: the last line of stderr is $(tail -n 1 "$ERR" | head -c 100)"
}
quiet_says_nothing() {
    session --quiet -- /bin/true
    status_is 0
    [ ! -s "$ERR" ] || fail "says: $(head -c 200 "$ERR")"
}
normal_run_is_silent() {
    has_capability limits.memory || { need 'limits.memory is not available'; return; }
    session -- /bin/true
    [ ! -s "$ERR" ] || fail "says: $(head -c 300 "$ERR")"
}

a_umask_closes_nothing() {
    local before mask
    before=$(umask)
    for mask in 077 027; do
        umask $mask
        session -- /bin/sh -c umask
        umask "$before"
        status_is 0 "umask $mask"
    done
}

# ---- streams ----

stdin_pipe() {
    OUT=$D/out/out ERR=$D/out/err
    seq 100000 | "${AS[@]}" "${ENVIRONMENT[@]}" timeout $((20 * SLOWER)) "$BERTH" run --workspace "$WS" -- /usr/bin/wc -l >"$OUT" 2>"$ERR"
    RC=$?
    status_is 0
    [ "$(tr -d ' ' <"$OUT")" = 100000 ] || fail "got $(head -c 20 "$OUT") lines"
}
stdin_file() {
    seq 1000 >"$D/out/in"
    STDIN=$D/out/in
    session -- /usr/bin/sha256sum
    [ "$(cut -c1-64 "$OUT")" = "$(sha256sum <"$D/out/in" | cut -c1-64)" ] || fail 'the file came through changed'
}
stdin_closed() {
    OUT=$D/out/out ERR=$D/out/err
    "${AS[@]}" "${ENVIRONMENT[@]}" timeout $((20 * SLOWER)) "$BERTH" run --workspace "$WS" -- /bin/sh -c 'read x; echo "end $?"' <&- >"$OUT" 2>"$ERR"
    RC=$?
    grep -q 'end 1' "$OUT" || [ "$RC" = 125 ] || fail "status $RC, $(head -n 1 "$OUT")"
}
stdout_file_and_pipe() {
    session -- /bin/sh -c 'echo out; echo err >&2'
    [ "$(cat "$OUT")" = out ] || fail "stdout: $(head -c 50 "$OUT")"
    grep -qx err "$ERR" || fail "stderr: $(head -c 50 "$ERR")"
    OUT=$D/out/out ERR=$D/out/err
    "${AS[@]}" "${ENVIRONMENT[@]}" timeout $((20 * SLOWER)) "$BERTH" run --workspace "$WS" -- /usr/bin/seq 200000 2>"$ERR" | sha256sum >"$OUT"
    [ "$(cut -c1-64 "$OUT")" = "$(seq 200000 | sha256sum | cut -c1-64)" ] || fail 'the pipe lost or changed bytes'
}
stdout_append() {
    echo first >"$D/out/append"
    if [ "$(id -u)" = 0 ]; then chown "$UID_HERE" "$D/out/append"; fi
    "${AS[@]}" "${ENVIRONMENT[@]}" timeout $((20 * SLOWER)) "$BERTH" run --workspace "$WS" -- /bin/echo second </dev/null >>"$D/out/append" 2>/dev/null
    [ "$(cat "$D/out/append")" = 'first
second' ] || fail "got $(tr '\n' ' ' <"$D/out/append")"
}
reader_goes_away() {
    OUT=$D/out/out ERR=$D/out/err
    local start
    start=$(date +%s)
    "${AS[@]}" "${ENVIRONMENT[@]}" timeout $((20 * SLOWER)) "$BERTH" run --workspace "$WS" -- /usr/bin/yes 2>"$ERR" </dev/null | head -n 2 >"$OUT"
    [ $(($(date +%s) - start)) -lt $((10 * SLOWER)) ] || fail 'yes | head did not end'
}
dev_null_streams() {
    "${AS[@]}" "${ENVIRONMENT[@]}" timeout $((20 * SLOWER)) "$BERTH" run --workspace "$WS" -- /bin/sh -c 'echo x; cat; exit 4' </dev/null >/dev/null 2>/dev/null
    RC=$?
    status_is 4
}
socket_streams() {
    OUT=$D/out/out ERR=$D/out/err
    "${AS[@]}" "${ENVIRONMENT[@]}" timeout $((20 * SLOWER)) "$HOSTSIDE" socket "$BERTH" run --workspace "$WS" -- /bin/sh -c 'echo over-socket; exit 6' >"$OUT" 2>"$ERR"
    RC=$?
    status_is 6
    grep -q over-socket "$OUT" || fail "got $(head -c 100 "$OUT")"
}
terminal() {
    OUT=$D/out/out ERR=$D/out/err
    printf 'typed-word\n' | "${AS[@]}" "${ENVIRONMENT[@]}" timeout $((20 * SLOWER)) "$HOSTSIDE" pty $((15 * SLOWER)) "$BERTH" run --workspace "$WS" -- \
        /bin/sh -c 'tty; stty size; read word; echo "read $word"; exit 7' 2>"$ERR" | tr -d '\r' >"$OUT"
    RC=${PIPESTATUS[1]}
    status_is 7
    grep -q '^/dev/pts/' "$OUT" || fail "tty says $(head -n 1 "$OUT")"
    grep -q '^33 77' "$OUT" || fail 'the window size did not come in'
    grep -q 'read typed-word' "$OUT" || fail 'what was typed did not come in'
}
terminal_interrupt() {
    OUT=$D/out/out ERR=$D/out/err
    (sleep "$SLOWER"; printf '\003'; sleep $((2 * SLOWER))) | "${AS[@]}" "${ENVIRONMENT[@]}" timeout $((20 * SLOWER)) "$HOSTSIDE" pty $((15 * SLOWER)) "$BERTH" run --workspace "$WS" -- \
        /bin/sh -c 'trap "echo got-int; exit 9" INT; echo ready; while :; do sleep 0.1; done' 2>"$ERR" | tr -d '\r' >"$OUT"
    RC=${PIPESTATUS[1]}
    grep -q got-int "$OUT" || fail "^C did not reach the command: $(tail -n 2 "$OUT" | tr '\n' ' ')"
    status_is 9
}
terminal_never() {
    OUT=$D/out/out ERR=$D/out/err
    "${AS[@]}" "${ENVIRONMENT[@]}" timeout $((20 * SLOWER)) "$HOSTSIDE" pty $((15 * SLOWER)) "$BERTH" run --tty never --workspace "$WS" -- /bin/sh -c 'tty; exit 3' </dev/null 2>"$ERR" | tr -d '\r' >"$OUT"
    grep -q 'not a tty' "$OUT" || fail "tty says $(head -n 1 "$OUT")"
}
terminal_always() {
    session --tty always -- /usr/bin/tty
    grep -q '^/dev/pts/' "$OUT" || fail "tty says $(head -n 1 "$OUT"): $(head -n 1 "$ERR")"
}

# ---- signals and ends ----

signal_forwarded() {
    background_run -- /bin/sh -c 'trap "echo got-term; exit 5" TERM; echo ready; while :; do sleep 0.1; done'
    until_said ready
    kill -TERM "$PID"
    ended_with 5
    grep -q got-term "$OUT" || fail 'the command did not get it'
}
signal_ends() {
    background_run -- /bin/sh -c 'echo ready; exec sleep 100'
    until_said ready
    kill -INT "$PID"
    ended_with 130
}
killed_nine() {
    background_run -- /bin/sh -c 'setsid sleep 100 & nohup sleep 100 & echo ready; sleep 100'
    until_said ready
    kill -KILL "$PID"
    wait "$PID" 2>/dev/null
    # no_trace, after every test, gives it one second
}
# berth and its reaper, both at once: the next command cleans.
killed_with_reaper() {
    background_run -- /bin/sh -c 'setsid sleep 100 & echo ready; sleep 100'
    until_said ready
    local pids=$PID pid _
    for pid in /proc/[0-9]*; do
        case $(readlink "$pid/exe" 2>/dev/null) in "$BERTH") pids="$pids ${pid#/proc/}" ;; esac
    done
    # shellcheck disable=SC2086
    kill -KILL $pids 2>/dev/null
    wait "$PID" 2>/dev/null
    # They hold the run's lock to their last moment.
    for pid in $pids; do
        for _ in $(seq $((200 * SLOWER))); do
            case $(cut -d' ' -f3 "/proc/$pid/stat" 2>/dev/null) in '' | Z) break ;; esac
            sleep 0.01
        done
    done
    session -- /bin/true
    status_is 0 'the next command'
}
placeholders_after_kill() {
    mkdir -p "$WS/.git"
    if [ "$(id -u)" = 0 ]; then chown -R "$WS_UID:$WS_UID" "$WS/.git"; fi
    killed_nine
    local _
    for _ in $(seq $((10 * SLOWER))); do [ "$(find "$WS" -mindepth 1 | wc -l)" = 1 ] && break; sleep 0.1; done
    [ ! -e "$WS/.git/hooks" ] || fail 'a placeholder is left in the workspace'
    [ "$(find "$WS" -mindepth 1 | wc -l)" = 1 ] || fail "left in the workspace: $(find "$WS" -mindepth 1 | head -n 5 | tr '\n' ' ')"
}
parent_dies() {
    OUT=$D/out/out
    : >"$OUT"
    "${AS[@]}" "${ENVIRONMENT[@]}" sh -c '"$0" run --die-with-parent always --workspace "$1" -- /bin/sh -c "echo ready; sleep 100" & sleep "$2"; kill -9 $$' \
        "$BERTH" "$WS" "$SLOWER" </dev/null >"$OUT" 2>/dev/null
    ERR=/dev/null
    grep -q ready "$OUT" || fail 'did not start'
}
children_end() {
    session -- /bin/sh -c 'setsid sh -c "sleep 100; echo late" & (sleep 100 &) & nohup sleep 100 >/dev/null 2>&1 & echo done'
    status_is 0
}
hundred_at_once() {
    local pids=() pid bad=0 i count=${PARALLEL:-100}
    for i in $(seq "$count"); do
        "${AS[@]}" "${ENVIRONMENT[@]}" timeout $((120 * SLOWER)) "$BERTH" run --workspace "$WS" --quiet -- /bin/true </dev/null 2>>"$D/out/parallel.err" >/dev/null &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do wait "$pid" || bad=$((bad + 1)); done
    ERR=$D/out/parallel.err
    [ "$bad" = 0 ] || fail "$bad of $count failed: $(sort "$ERR" | uniq -c | sort -rn | head -n 2 | tr '\n' ' ' | head -c 300)"
    rm -f "$ERR"
    ERR=/dev/null
}

# ---- what a session is ----

owner_outside() {
    session -- /bin/sh -c 'echo x >made; mkdir d; ln -s made l; id -u; whoami; pwd'
    status_is 0
    [ "$(sed -n 1p "$OUT")" = 1000 ] || [ "$MODE" = single ] || fail "uid inside is $(sed -n 1p "$OUT")"
    [ "$(stat -c %u "$WS/made")" = "$WS_UID" ] || fail "owner outside is $(stat -c %u "$WS/made"), not $WS_UID"
    [ "$(stat -c %u "$WS/d")" = "$WS_UID" ] || fail 'the directory is not the owner`s'
    [ "$(sed -n 3p "$OUT")" = "$WS" ] || fail "working directory is $(sed -n 3p "$OUT")"
    # and back: what the owner makes outside is the user's inside
    echo y >"$WS/outside"
    chmod 600 "$WS/outside"
    if [ "$(id -u)" = 0 ]; then chown "$WS_UID:$WS_UID" "$WS/outside"; fi
    session -- /bin/sh -c 'cat outside && echo z >>outside'
    status_is 0
}
root_owned() {
    [ "$MODE" = root ] || { need 'needs root'; return; }
    chown 0:0 "$WS"
    session -- /bin/sh -c 'echo x >made'
    status_is 0 "root on root's own directory"
    [ "$(stat -c %u "$WS/made")" = 0 ] || fail "owner outside is $(stat -c %u "$WS/made")"
}
disposable_root() {
    session -- /bin/sh -c 'echo x >/tmp/kept; echo x >~/kept; ls /tmp /home/user'
    session -- /bin/sh -c 'ls -A /tmp ~ | grep kept'
    [ "$RC" != 0 ] || fail 'something outside the workspace was kept'
}
nothing_of_the_host() {
    session -- /bin/sh -c 'ls -A /root /home /var/lib /run /srv /boot /mnt 2>/dev/null; cat /etc/shadow 2>&1; hostname'
    local host
    host=$(uname -n)
    if grep -qx "$host" "$OUT"; then fail "the host's name is seen"; fi
    if grep -q '^root:' "$OUT"; then fail '/etc/shadow was read'; fi
}
tmpfs_and_volume() {
    berth run --workspace tmpfs -- /bin/sh -c 'echo x >f && cat f && pwd'
    status_is 0 tmpfs
    berth run --workspace volume:test-volume -- /bin/sh -c 'echo kept >f'
    status_is 0 volume
    berth run --workspace volume:test-volume -- /bin/cat f
    grep -q kept "$OUT" || fail 'the volume did not keep its file'
    berth run --workspace none -- /bin/sh -c 'echo x >f'
    status_is 0 none
}
volume_is_exclusive() {
    "${AS[@]}" "${ENVIRONMENT[@]}" "$BERTH" run --workspace volume:busy -- /bin/sh -c "echo ready; sleep $((3 * SLOWER))" </dev/null >"$D/out/holder" 2>/dev/null &
    local holder=$! _
    for _ in $(seq $((60 * SLOWER))); do grep -q ready "$D/out/holder" && break; sleep 0.05; done
    berth run --workspace volume:busy -- /bin/true
    status_is 125
    says workspace_in_use
    wait "$holder"
}
environment_option() {
    OUT=$D/out/out ERR=$D/out/err
    "${AS[@]}" "${ENVIRONMENT[@]}" PASSED=from-here timeout $((20 * SLOWER)) "$BERTH" run --workspace "$WS" --env PASSED --env GIVEN=a=b -- \
        /bin/sh -c 'echo "$PASSED $GIVEN $HOME $USER"' </dev/null >"$OUT" 2>"$ERR"
    grep -q '^from-here a=b /home/user user' "$OUT" || fail "got $(head -n 1 "$OUT")"
}
limits_are_had() {
    local missing=
    session --open-files 123 -- /bin/sh -c 'ulimit -n; ulimit -Hn; ulimit -c'
    [ "$(tr '\n' ' ' <"$OUT")" = '123 123 0 ' ] || fail "open files: $(tr '\n' ' ' <"$OUT")"
    has_capability limits.pids || missing=limits.pids
    if [ -n "$missing" ]; then
        # CAP-2: asked for and not available is refused, naming it
        berth run --workspace "$WS" --pids 50 -- /bin/true
        status_is 125
        says 'limits\.pids'
        berth run --workspace "$WS" --memory 64MiB -- /bin/true
        status_is 125
        says 'limits\.memory'
        return
    fi
    session --pids 20 -- /bin/sh -c 'for i in $(seq 50); do sleep 1 & done; wait'
    grep -qiE 'fork|resource' "$ERR" || fail "50 processes with a limit of 20: $(head -n 1 "$ERR")"
    session --cpus 0.5 --result "$D/out/result" -- /bin/sh -c 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done'
    status_is 0
}
denial_is_explained() {
    has_capability limits.pids || { need 'limits.pids is not available'; return; }
    session --pids 20 -- /bin/sh -c 'for i in $(seq 50); do sleep 1 & done; wait'
    says '^berth: .*pids'
}

# The summary and the record; what cannot be allowed says why; without the option there is neither.
refused_calls_are_told() {
    has_capability audit.syscall || { need 'audit.syscall is not available'; return; }
    local call='import ctypes,sys; c=ctypes.CDLL(None,use_errno=True); open("/proc/self/comm","w").write("a\033[7mb"); '
    call+='[c.syscall(ctypes.c_long(int(n)),0,0,0,0,0,0) for n in sys.argv[1:]]; print(ctypes.get_errno())'
    session --explain --result "$D/out/result" -- python3 -c "$call" 165 237 165 101 165
    status_is 0
    grep -qx 1 "$OUT" || fail "another errno: $(head -n 1 "$OUT")"
    says '^berth: note: denied: mount, 3 times by "a\\x1b\[7mb" \(EPERM\)\. No policy allows it: changes the mounts'
    says '^berth: note: denied: mbind, once .*Allow it with: "process": \{"seccomp_allow": \["mbind"\]\}$'
    says '^berth: note: denied: ptrace, once .*Allow it with: "process": \{"seccomp": "debug"\}$'
    python3 - "$D/out/result" <<'END' || fail 'the record'
import json, sys
rows = {e["call"]: e for e in json.load(open(sys.argv[1]))["syscalls"]["events"]}
mount = rows["mount"]
assert (mount["event"], mount["count"], mount["error"], mount["number"]) == ("syscall.denied", 3, "EPERM", 165), mount
assert mount["command"] == "a\033[7mb" and mount["line_to_add"] is None and mount["exec_id"] == "1", mount
assert rows["mbind"]["line_to_add"] == '"process": {"seccomp_allow": ["mbind"]}', rows["mbind"]
END
    printf '{"version": 1, "process": {"seccomp_allow": ["mbind"], "explain_syscalls": true}}' >"$D/out/policy.json"
    session --policy "$D/out/policy.json" -- python3 -c "$call" 237
    ! grep -q mbind "$ERR" || fail "the line that was told does not allow it: $(head -n 2 "$ERR")"
    session --result "$D/out/result" -- python3 -c "$call" 165
    ! grep -q denied "$ERR" || fail "without --explain: $(grep denied "$ERR" | head -n 1)"
    grep -q '"syscalls":null' "$D/out/result" || fail 'the record without --explain'
    # The listener is none of the command's files.
    session --explain --open-files 16 -- /bin/sh -c 'ulimit -n'
    status_is 0
    grep -qx 16 "$OUT" || fail "16 files: $(cat "$OUT" "$ERR")"
}

# Nobody is told of what is not so: room that was made again, a scratch that is nearly full.
full_scratch_is_told() {
    session --scratch 1MiB --result "$D/out/result" -- /bin/sh -c 'head -c 2000000 /dev/zero >/tmp/f'
    status_is 1
    says '^berth: note: .*filesystem\.scratch 1MiB.*--scratch'
    grep -q '"scratch_full":\["bytes"\]' "$D/out/result" || fail "the record: $(grep -o '"scratch_full"[^]]*' "$D/out/result")"
    printf '{"version": 1, "filesystem": {"scratch_inodes": 400}}' >"$D/out/policy.json"
    session --policy "$D/out/policy.json" --result "$D/out/result" -- \
        /bin/sh -c 'i=0; while true >/tmp/$i; do i=$((i+1)); done 2>/dev/null; exit 7'
    status_is 7
    says '^berth: note: .*filesystem\.scratch_inodes 400\.'
    grep -q '"scratch_full":\["inodes"\]' "$D/out/result" || fail "the record: $(grep -o '"scratch_full"[^]]*' "$D/out/result")"
    session --scratch 1MiB --quiet -- /bin/sh -c 'head -c 2000000 /dev/zero >/tmp/f 2>/dev/null'
    [ ! -s "$ERR" ] || fail "--quiet: $(head -c 200 "$ERR")"
    session --scratch 1MiB -- /bin/sh -c 'head -c 2000000 /dev/zero >/tmp/f 2>/dev/null; rm /tmp/f'
    ! grep -q scratch "$ERR" || fail "room was made again: $(head -c 200 "$ERR")"
    session --scratch 1MiB -- /bin/sh -c 'head -c 900000 /dev/zero >/tmp/f'
    status_is 0 'nearly full'
    ! grep -q scratch "$ERR" || fail "nearly full: $(head -c 200 "$ERR")"
}

# ---- real work ----

git_flow() {
    command -v git >/dev/null || { need 'git is not installed'; return; }
    session -- /bin/sh -ec 'git init -q -b main .; git config user.name Me; git config user.email me@example.org
        git remote add origin https://example.org/x.git; echo a >a; git add a; git commit -q -m first; git status --porcelain; git log --oneline | wc -l'
    status_is 0
    grep -qx 1 "$OUT" || fail "the log has not one commit: $(tr '\n' ' ' <"$OUT")"
    [ "$(wc -l <"$OUT")" = 1 ] || fail "the status is not clean: $(tr '\n' ' ' <"$OUT")"
    # From now on the hooks are protected.
    session -- /bin/sh -c 'echo evil >.git/hooks/pre-commit'
    [ "$RC" != 0 ] || fail 'a hook was planted'
    [ ! -e "$WS/.git/hooks/pre-commit" ] || fail 'a hook is on the host'
    session -- /bin/sh -ec 'echo b >b; git add b; git commit -q -m second; git status --porcelain; git checkout -q -b other; git rm -q a; git commit -q -m third; git checkout -q main; git gc -q; git status --porcelain'
    status_is 0
    [ ! -s "$OUT" ] || fail "the status is not clean: $(tr '\n' ' ' <"$OUT")"
    if [ "$(id -u)" = 0 ]; then
        [ -z "$(find "$WS" ! -uid "$WS_UID" | head -n 1)" ] || fail 'a file of git is not the owner`s'
    fi
}
c_build() {
    command -v cc >/dev/null || { need 'cc is not installed'; return; }
    printf '#include <stdio.h>\nint main(void) { puts("built"); return 0; }\n' >"$WS/x.c"
    printf 'x: x.c\n\tcc -O2 -o $@ $<\n' >"$WS/Makefile"
    if [ "$(id -u)" = 0 ]; then chown -R "$WS_UID:$WS_UID" "$WS"; fi
    session -- /bin/sh -c 'make -s && ./x'
    status_is 0
    grep -qx built "$OUT" || fail "got $(head -n 1 "$OUT")"
}
python_and_shell() {
    session -- /bin/sh -c 'printf "%s\n" c a b | sort | tr -d "\n"'
    [ "$(cat "$OUT")" = abc ] || fail "shell: $(head -c 50 "$OUT")"
    [ -x /usr/bin/python3 ] || return
    session -- /usr/bin/python3 -c 'import os, tempfile, subprocess, threading, multiprocessing
print(sum(multiprocessing.Pool(2).map(abs, [-1, -2])), subprocess.run(["true"]).returncode, os.cpu_count() > 0)'
    [ "$(cat "$OUT")" = '3 0 True' ] || fail "python: $(head -c 50 "$OUT") $(tail -n 1 "$ERR" | head -c 150)"
}
policy_verbs() {
    berth policy show balanced
    status_is 0
    berth policy schema
    status_is 0
    head -c 1 "$OUT" | grep -q '{' || fail 'the schema is not JSON'
    berth policy explain balanced --syscall ptrace
    grep -qiE 'denied|refused|not' "$OUT" || fail "explain: $(head -n 1 "$OUT")"
    berth policy explain balanced --path /etc/shadow
    [ -s "$OUT" ] || fail 'explain --path says nothing'
    berth --version
    status_is 0
    berth capabilities --json
    status_is 0
}
# What the plan says is mounted is what is mounted, and no more.
plan_is_what_is_done() {
    local point options plan=$D/out/plan
    mkdir -p "$WS/.git/hooks" "$WS/place" "$D/extra"
    echo . >"$WS/.git/commondir"
    if [ "$(id -u)" = 0 ]; then chown -R "$WS_UID:$WS_UID" "$WS" && chmod 755 "$D" "$D/extra"; fi
    printf '{"version": 1, "filesystem": {"read_only": [{"source": "%s", "target": "/mnt/extra"}]}}' "$D/extra" >"$D/out/policy.json"
    berth policy explain "$D/out/policy.json" --plan --workspace "$WS" --json
    status_is 0
    cp "$OUT" "$plan"
    session --policy "$D/out/policy.json" -- /bin/cat /proc/self/mountinfo
    status_is 0
    awk '{ print $5, $6 }' "$OUT" >"$D/out/mounts"
    [ "$(wc -l <"$D/out/mounts")" -ge 20 ] || fail "only $(wc -l <"$D/out/mounts") mounts"
    while read -r point options; do
        grep -F "\"subject\": \"$point\"" "$plan" |
            grep -qE '"action": "(mount|bind|mask|device|protect|hold)"' || fail "$point is mounted and not in the plan"
        case $options in
        ro,*) ;;
        *) ! grep -F "\"subject\": \"$point\"" "$plan" | grep -qE '"action": "(mask|protect)"|(the host.s|itself), read-only' ||
            fail "$point is writable, says the session" ;;
        esac
    done <"$D/out/mounts"
    for point in / /usr /dev /dev/pts /proc /proc/sys /mnt/extra "$WS" "$WS/.git" "$WS/.git/hooks" "$WS/.git/commondir"; do
        grep -q "^$point " "$D/out/mounts" || fail "$point is in the plan and not mounted"
    done
}
doctor_agrees() {
    berth doctor
    local doctor=$RC
    session -- /bin/true
    if [ "$doctor" = 0 ]; then status_is 0 'doctor says the default policy is served'; else
        [ "$RC" != 0 ] || fail "doctor: $doctor, but the default policy runs"
    fi
}

CASES='own_status death_by_signal timeout_status oom_status result_record quiet_says_nothing normal_run_is_silent a_umask_closes_nothing stdin_pipe
stdin_file stdin_closed stdout_file_and_pipe stdout_append reader_goes_away dev_null_streams socket_streams terminal
terminal_interrupt terminal_never terminal_always signal_forwarded signal_ends killed_nine killed_with_reaper
placeholders_after_kill parent_dies children_end owner_outside root_owned disposable_root nothing_of_the_host
tmpfs_and_volume volume_is_exclusive environment_option limits_are_had denial_is_explained refused_calls_are_told
full_scratch_is_told git_flow c_build
python_and_shell policy_verbs plan_is_what_is_done doctor_agrees hundred_at_once'
if [ $# -gt 0 ]; then CASES=$*; fi

for mode in ${MODES:-$(modes_here)}; do
    enter_mode "$mode"
    for name in $CASES; do
        case $mode:$name in subuid:root_owned | single:root_owned | self:root_owned) continue ;; esac
        fresh_workspace
        test_case "$name [$mode]" "$name"
    done
done
summary

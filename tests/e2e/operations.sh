#!/bin/bash
# This file does what an operator does with `berth serve`: measures it, saves and brings back its
# ledger, starts it from a service manager. It never looks into the ledger but through berth.
set -u
. "$(dirname "$0")/../attack/lib.sh"
own_namespaces "$@"
make_scene
SLOWER=${TEST_SLOWER:-1}
HERE=$TREE/tests/e2e
SERVE_OPTIONS=()

# ---- the service: each case has one of its own ----

service_start() {
    local _
    rm -f "$D/out/serve"
    "${AS[@]}" "${ENVIRONMENT[@]}" "$BERTH" serve --listen 127.0.0.1:0 "${SERVE_OPTIONS[@]+"${SERVE_OPTIONS[@]}"}" </dev/null >"$D/out/serve" 2>"$D/out/log" &
    SERVICE=$!
    for _ in $(seq $((400 * SLOWER))); do
        if grep -qs '^berth: serving on unix:' "$D/out/serve"; then break; fi
        [ -d "/proc/$SERVICE" ] || break
        sleep 0.05
    done
    SOCKET=$(sed -n 's/^berth: serving on unix:\(.*\)/\1/p' "$D/out/serve" | head -n 1)
    URL=$(sed -n 's/^berth: serving on \(http:.*\)/\1/p' "$D/out/serve" | head -n 1)
    [ -n "$SOCKET" ] || fail "the service does not start: $(tail -n 2 "$D/out/log")"
}
service_end() {
    local _
    kill -TERM "$SERVICE" 2>/dev/null
    for _ in $(seq $((300 * SLOWER))); do [ -d "/proc/$SERVICE" ] || break; sleep 0.05; done
    wait "$SERVICE"
}
forget_state() {
    rm -rf --one-file-system "$D/state/ledger" "$D/state/spool" "$D/state/instance"
}
with_service() {
    forget_state
    service_start
    declare -F "$1" >/dev/null || fail 'there is no such case'
    if [ -z "$REASON" ]; then "$1"; fi
    local id
    for id in s1 s2; do berth session destroy $id --delete-volume; done
    service_end
}
child_of_service() { # TITLE
    local pid
    for pid in $(cat "/proc/$SERVICE/task/$SERVICE/children"); do
        if [ "$(tr -d '\0' <"/proc/$pid/cmdline")" = "berth: $1" ]; then echo "$pid"; return; fi
    done
}

# ---- numbers ----

# As the owner on the socket; what there is to say of them to the checker. METRICS: the text.
metrics() {
    curl -sS -m $((20 * SLOWER)) --unix-socket "$SOCKET" -o "$D/out/metrics" http://berth/metrics 2>"$D/out/curl" ||
        fail "no metrics: $(cat "$D/out/curl")"
    python3 "$HERE/prometheus.py" "$@" <"$D/out/metrics" >"$D/out/checked" 2>&1 ||
        fail "the metrics: $(cat "$D/out/checked")"
}

numbers_are_those_of_what_was_done() {
    metrics 'berth_sessions_live=0' 'berth_recovering=0' 'berth_launcher_up=1'
    berth session create s1
    berth session create s1
    berth exec s1 -- true
    status_is 0
    metrics 'berth_sessions{state="running"}=1' 'berth_sessions_live=1' 'berth_execs_running=0' \
        'berth_operation_duration_seconds_count{operation="create"}=1' \
        'berth_operation_duration_seconds_count{operation="exec_start"}=1' \
        'berth_operation_failures_total{operation="create",code="session_exists"}=1' \
        'berth_http_problems_total{code="session_exists"}=1' \
        'berth_http_requests_total{route="SESSION_CREATE",status="2xx"}=1' \
        'berth_http_requests_total{route="SESSION_CREATE",status="4xx"}=1' \
        'berth_ledger_health{state="ok"}=1' 'berth_ledger_jobs_total>=3'
    berth session park s1
    berth session resume s1
    curl -sSN --unix-socket "$SOCKET" http://berth/v1/workspaces/local/sessions/s1/events >"$D/out/stream" 2>&1 &
    local stream=$! _
    for _ in $(seq $((200 * SLOWER))); do grep -q session.resumed "$D/out/stream" && break; sleep 0.05; done
    metrics 'berth_operation_duration_seconds_count{operation="resume"}=1' 'berth_http_streams{kind="events"}=1' \
        'berth_http_connections{transport="unix"}>=2' 'berth_http_connections{transport="tcp"}=0'
    berth session destroy s1 --delete-volume
    wait "$stream"
    metrics 'berth_operation_duration_seconds_count{operation="destroy"}=1' 'berth_sessions{state="running"}=0' \
        'berth_http_streams{kind="events"}=0'
}
numbers_tell_of_processes_that_died() {
    local front _
    berth session create s1
    front=$(child_of_service front)
    kill -KILL "$front"
    for _ in $(seq $((200 * SLOWER))); do
        [ -n "$(child_of_service front)" ] && curl -sS --unix-socket "$SOCKET" http://berth/v1/health 2>/dev/null | grep -q '"ok"' && break
        sleep 0.05
    done
    metrics 'berth_process_restarts_total{process="front"}=1' 'berth_process_restarts_total{process="gateway"}=0' \
        'berth_recovery_sessions{action="adopt"}=1' 'berth_sessions_live=1' 'berth_recovery_orphans=0'
}
W_4_numbers_name_nobody_and_have_a_token_of_their_own() {
    local token code word
    berth session create s1 -w hidden-workspace --owner hidden-owner --label hidden=label
    berth exec -w hidden-workspace s1 -- true
    berth session show s1 -w other-workspace
    berth token create --verbs metrics --name hidden-token
    status_is 0 'token create'
    token=$(cat "$OUT")
    code=$(curl -sS -o "$D/out/metrics" -w '%{http_code} %{content_type}' -H "Authorization: Bearer $token" "$URL/metrics")
    [ "$code" = '200 text/plain; version=0.0.4; charset=utf-8' ] || fail "its token: $code"
    python3 "$HERE/prometheus.py" 'berth_sessions_live=1' <"$D/out/metrics" >"$D/out/checked" 2>&1 || fail "$(cat "$D/out/checked")"
    for word in hidden other-workspace local s1 "$D"; do
        if grep -qF -- "$word" "$D/out/metrics"; then fail "'$word' is told: $(grep -F -- "$word" "$D/out/metrics" | head -n 1)"; fi
    done
    code=$(curl -sS -o "$D/out/body" -w '%{http_code}' -H "Authorization: Bearer $token" "$URL/v1/workspaces/hidden-workspace/sessions")
    [ "$code" = 404 ] || fail "it reads sessions: $code"
    code=$(curl -sS -o "$D/out/body" -w '%{http_code}' "$URL/metrics")
    [ "$code" = 401 ] || fail "without a token: $code"
    berth token create --workspace hidden-workspace
    token=$(cat "$OUT")
    code=$(curl -sS -o "$D/out/body" -w '%{http_code}' -H "Authorization: Bearer $token" "$URL/metrics")
    [ "$code" = 403 ] || fail "a workspace's token: $code"
    berth token create --workspace hidden-workspace --verbs metrics
    [ "$RC" != 0 ] || fail 'a token for a workspace and for sums over all'
    berth session destroy s1 -w hidden-workspace --delete-volume
}
every_number_is_documented() {
    metrics --page "$TREE/docs/operations.md"
}

# ---- the ledger ----

wait_gone() { # PID, which was in a session
    local _
    for _ in $(seq $((200 * SLOWER))); do [ -d "/proc/$1" ] || return; sleep 0.05; done
    fail "process $1 goes on"
}
a_ledger_is_copied_while_it_serves_and_comes_back() {
    local token code init spool _
    berth session create s1
    berth exec s1 -- sh -c 'echo one >/workspace/f'
    berth token create --workspace local
    token=$(cat "$OUT")
    rm -f "$D/home/copy"
    berth ledger backup "$D/home/copy"
    status_is 0 backup
    [ "$(stat -c '%a %u' "$D/home/copy")" = "600 $(stat -c %u "$D/home")" ] || [ "$MODE" = root ] || fail "the copy is $(stat -c '%a %u' "$D/home/copy")"
    [ "$(find "$D/home" -name '.berth-ledger-*' | wc -l)" = 0 ] || fail 'a temporary file is left'
    [ ! -e "$D/state/ledger/ledger.backup" ] || fail 'the service has left its copy'
    berth session create s2
    berth exec s2 -- sh -c 'echo two >/workspace/g'
    berth exec s2 --detach -- sleep 4242
    # It is accepted, and becomes its program a moment later.
    for _ in $(seq $((200 * SLOWER))); do
        init=$(pgrep -f '^sleep 4242$') && break
        sleep 0.05
    done
    [ -n "$init" ] || fail 'the command never ran'
    spool=$(find "$D/state/spool" -maxdepth 1 -type d -name '[0-9a-f]*' -newer "$D/home/copy" -printf '%f\n' | sort | tail -n 1)
    [ -n "$spool" ] || fail 'there is no output of s2'
    # A copy that its front could not finish.
    : >"$D/state/ledger/ledger.backup"
    berth ledger restore "$D/home/copy"
    status_is 125 'restore beside a service'
    grep -q 'Another berth serves it' "$ERR" || fail "no reason: $(cat "$ERR")"
    service_end
    printf '\0\0\0\143' | cat <(head -c 60 "$D/home/copy") - <(tail -c +65 "$D/home/copy") >"$D/home/newer"
    chmod 644 "$D/home/newer"
    berth ledger restore "$D/home/newer"
    status_is 125 'a newer one'
    grep -q 'A newer berth made it' "$ERR" || fail "no reason: $(cat "$ERR")"
    berth ledger restore /bin/true
    status_is 125 'no ledger'
    berth ledger restore "$D/home/copy"
    status_is 0 restore
    service_start
    [ -e "$D/state/ledger/ledger.replaced" ] || fail 'the ledger of before was not kept'
    [ ! -e "$D/state/ledger/ledger.backup" ] || fail 'what a front left of a copy is kept'
    wait_gone "$init"
    berth session show s2
    [ "$RC" != 0 ] || fail 's2 is there, which the copy does not know'
    berth --json session show s1
    grep -q '"state":"parked"' "$OUT" || fail "s1: $(cat "$OUT")"
    for _ in $(seq $((200 * SLOWER))); do [ -e "$D/state/spool/$spool" ] || break; sleep 0.05; done
    [ ! -e "$D/state/spool/$spool" ] || fail 'output of a session that the copy does not know stays'
    metrics 'berth_sessions{state="parked"}=1' 'berth_sessions_live=0' 'berth_recovery_orphans>=2'
    berth session resume s1
    status_is 0 'resume s1'
    berth exec s1 -- cat /workspace/f
    grep -qx one "$OUT" || fail "f: $(cat "$OUT" "$ERR")"
    berth session create s2
    status_is 0 's2 again'
    berth exec s2 -- cat /workspace/g
    grep -qx two "$OUT" || fail "g: $(cat "$OUT" "$ERR")"
    code=$(curl -sS -o "$D/out/body" -w '%{http_code}' -H "Authorization: Bearer $token" "$URL/v1/workspaces/local/sessions")
    [ "$code" = 401 ] || fail "a token of the copy: $code"
    rm -f "$D/home/copy" "$D/home/newer"
}
# Rows of the audit, as a copy has them: of what was done, of what was refused, without a path.
what_is_done_to_files_is_in_the_audit() {
    local s=http://berth/v1/workspaces/local/sessions/s1 hash upload
    files() { # METHOD PATH [CURL OPTIONS…]: CODE
        CODE=$(curl -sS -m $((20 * SLOWER)) --unix-socket "$SOCKET" -o "$D/out/body" -w '%{http_code}' -X "$1" \
            -H "Content-Type: application/$([ "$1" = POST ] && echo json || echo octet-stream)" "$s$2" "${@:3}")
    }
    berth session create s1
    mkdir -p "$D/out/tree/secret-name"
    echo 12345 >"$D/out/tree/secret-name/f"
    tar -C "$D/out/tree" -cf "$D/out/tree.tar" secret-name
    hash=$(printf 12345 | sha256sum | cut -d ' ' -f 1)
    files POST /files/mkdir -d '{"path": "/mnt/session/outputs/d"}'
    files PUT '/files?path=/mnt/session/outputs/secret-name' --data-binary secret-content
    files POST /files/move -d '{"from": "/mnt/session/outputs/secret-name", "to": "/mnt/session/outputs/d/m"}'
    files POST /files/chmod -d '{"path": "/mnt/session/outputs/d/m", "mode": "0600"}'
    files DELETE '/files?path=/workspace/not-there'
    [ "$CODE" = 404 ] || fail "removing what is not there: $CODE"
    files PUT '/tar?path=/workspace/t' --data-binary "@$D/out/tree.tar"
    [ "$CODE" = 200 ] || fail "tar: $CODE $(cat "$D/out/body")"
    files POST "/uploads?name=secret-name&size=5&sha256=$hash" --data-binary 12345
    upload=$CODE # 409 where a session has one id only
    files POST /outputs/collect -d '{}'
    [ "$CODE" = 200 ] || fail "collect: $CODE $(cat "$D/out/body")"
    files DELETE '/files?path=/workspace/t&recursive=true'
    files GET '/files/list?path=/workspace'
    berth --json events s1
    cp "$OUT" "$D/out/events"
    rm -f "$D/home/copy"
    berth ledger backup "$D/home/copy"
    status_is 0 backup
    python3 - "$D/home/copy" "$D/out/events" "$upload" >"$D/out/judged" 2>&1 <<'PYTHON' || fail "$(tail -n 3 "$D/out/judged")"
import json, sqlite3, sys
rows = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True).execute(
    "SELECT workspace_id, who, what, target, outcome FROM audit WHERE what LIKE 'file%' OR what IN"
    " ('tar_write', 'upload', 'outputs_collect') ORDER BY id").fetchall()
assert all(row[0] == "local" and row[1].startswith("uid ") and row[3] == "s1" for row in rows), rows
uploaded = sys.argv[3] == "200"
assert uploaded or sys.argv[3] == "409", sys.argv[3]
assert [(row[2], row[4]) for row in rows] == [
    ("files_mkdir", "done"), ("file_write", "done"), ("files_move", "done"), ("files_chmod", "done"),
    ("file_remove", "not_found"), ("tar_write", "done"), ("upload", "done" if uploaded else "invalid_state"),
    ("outputs_collect", "done"), ("file_remove", "done")], rows
assert not any("secret" in str(row) for row in rows), rows
events = [json.loads(line) for line in open(sys.argv[2], encoding="utf-8")]
told = [(e["type"], e["data"]) for e in events if e["type"].startswith("files.")]
copied = [("files.copied_in", {"by": "tar", "path": "/workspace/t", "entries": 2, "bytes": 6, "complete": True})]
if uploaded:
    copied.append(("files.copied_in", {"by": "upload", "path": "/mnt/session/uploads/secret-name", "entries": 1,
                                       "bytes": 5, "complete": True}))
assert told == copied + [("files.collected", {"path": "/mnt/session/outputs", "entries": 1, "bytes": 14, "left_out": 0})], told
PYTHON
    rm -f "$D/home/copy"
}
# 300 files, one after the other, of which the audit may keep 100 rows.
the_audit_is_bounded_and_what_goes_is_told() {
    local s=http://berth/v1/workspaces/local/sessions/s1 trimmed=0 _
    service_end
    echo '{"audit_workspace_rows_max": 100, "audit_rows_max": 5000}' >"$D/audit.jsonc"
    chmod 644 "$D/audit.jsonc"
    SERVE_OPTIONS=(--config "$D/audit.jsonc")
    berth serve --check-config --config "$D/audit.jsonc"
    grep -qE '^ *audit_workspace_rows_max +100$' "$OUT" || fail "--check-config: $(cat "$OUT" "$ERR")"
    service_start
    berth session create s1
    berth exec s1 -- true
    curl -sS -m $((120 * SLOWER)) --unix-socket "$SOCKET" -o "$D/out/body" -w '%{http_code}\n' -H 'Content-Type: application/octet-stream' \
        -X PUT "$s/files?path=/workspace/f[1-300]" --data-binary x >"$D/out/codes" 2>"$D/out/curl"
    [ "$(grep -c '^20' "$D/out/codes")" = 300 ] || fail "files: $(sort "$D/out/codes" | uniq -c | head -n 3) $(head -c 300 "$D/out/curl")"
    for _ in $(seq $((100 * SLOWER))); do
        metrics
        trimmed=$(sed -n 's/^berth_audit_trimmed_total //p' "$D/out/metrics")
        [ "$(sed -n 's/^berth_audit_rows //p' "$D/out/metrics")" -le 100 ] && [ "$trimmed" -ge 200 ] && break
        sleep 0.25
    done
    rm -f "$D/home/copy"
    berth ledger backup "$D/home/copy"
    status_is 0 backup
    python3 - "$D/home/copy" "$D/out/log" "$trimmed" >"$D/out/judged" 2>&1 <<'PYTHON' || fail "$(tail -n 3 "$D/out/judged")"
import json, sqlite3, sys
copy = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True)
ask = lambda sql: copy.execute(sql).fetchall()
kinds = dict(ask("SELECT what, count(*) FROM audit WHERE workspace_id = 'local' GROUP BY 1"))
(kept, trimmed, until), = ask("SELECT kept, trimmed, trimmed_until_ms FROM audit_counts WHERE workspace_id = 'local'")
assert kept == sum(kinds.values()) <= 100, (kept, kinds)
assert trimmed == int(sys.argv[3]), (trimmed, sys.argv[3])
others = {what: n for what, n in kinds.items() if what != "file_write"}
assert kinds["file_write"] + trimmed == 300, (kinds, trimmed)
assert "create" in others and "exec" in others, others
assert ask("SELECT min(time_ms) >= %d FROM audit WHERE what = 'file_write'" % until) == [(1,)], until
told = [json.loads(line) for line in open(sys.argv[2]) if '"audit_trimmed"' in line]
assert sum(line["rows"] for line in told) == trimmed and told[0]["level"] == "warning", told
PYTHON
    rm -f "$D/home/copy"
    berth session destroy s1 --delete-volume
    service_end
    SERVE_OPTIONS=()
    service_start
}
only_the_owner_copies_the_ledger() {
    local token code
    berth token create --workspace local
    token=$(cat "$OUT")
    code=$(curl -sS -o "$D/out/body" -w '%{http_code}' -H "Authorization: Bearer $token" "$URL/v1/ledger")
    [ "$code" = 403 ] || fail "a token: $code"
    curl -sS --unix-socket "$SOCKET" -o "$D/out/copy" http://berth/v1/ledger
    head -c 15 "$D/out/copy" | grep -q 'SQLite format 3' || fail 'the owner gets no ledger'
}

# ---- a service manager ----

sockets_of_a_service_manager_are_served_and_stay_its_own() {
    service_end
    mkdir -p "$D/given"
    if [ "$MODE" != self ]; then chown "$UID_HERE" "$D/given"; fi
    timeout -k 5 $((150 * SLOWER)) "${AS[@]}" "${ENVIRONMENT[@]}" PYTHONDONTWRITEBYTECODE=1 python3 "$HERE/given.py" "$BERTH" "$D/given" "$SLOWER" \
        </dev/null >"$D/out/given" 2>&1 || fail "$(tail -n 3 "$D/out/given" | tr '\n' ' ')"
    rm -rf "$D/given"
    service_start
}
# Its unit without a service manager: what it takes away is not missed.
a_berth_with_what_its_unit_leaves_it_does_all() {
    local taken
    service_end
    taken=$(sed -n 's/^CapabilityBoundingSet=~//p' "$TREE/api/cli/systemd/berth.service.in" | tr 'A-Z' 'a-z' | sed 's/cap_/-/g; s/ /,/g')
    [ -n "$taken" ] || fail 'the unit takes nothing away'
    umask 077
    local AS=(setpriv --no-new-privs --bounding-set "$taken" -- "${AS[@]}")
    service_start
    metrics 'berth_capability_available{capability="isolation.user_namespace"}=1' 'berth_capability_available{capability="isolation.seccomp"}=1' \
        'berth_capability_available{capability="workspace.volume"}=1' 'berth_capability_available{capability="lifecycle.resume"}=1'
    berth session create s1
    status_is 0 create
    berth exec s1 -- sh -c 'echo one >f && cat f'
    grep -qx one "$OUT" || fail "no command: $(cat "$OUT" "$ERR")"
    berth session park s1 --mode freeze
    berth session resume s1
    berth session park s1
    berth session resume s1
    status_is 0 resume
    berth exec s1 --user root -- id -u
    grep -qx 0 "$OUT" || fail "no root inside: $(cat "$OUT" "$ERR")"
    berth session create s2 --net allow
    status_is 0 'with a network'
    berth exec s2 -- sh -c umask
    grep -qx 0022 "$OUT" || fail "the unit's umask is the command's: $(cat "$OUT" "$ERR")"
    umask 022
}
# As units of a service manager: a stand-in starts them when berth connects.
unit_pid() { awk -v name="$1" '$1 == name { pid = $2 } END { print pid }' "$D/out/units"; }
units_start() { # FRONT_UID GATEWAY_UID
    local _
    UNITS=$D/units
    rm -rf "$UNITS"
    python3 "$HERE/units.py" "$BUILD/bin" "$UNITS" "$1" "$2" >"$D/out/units" 2>"$D/out/manager" &
    MANAGER=$!
    for _ in $(seq $((200 * SLOWER))); do [ -S "$UNITS/gateway" ] && break; sleep 0.05; done
    [ -S "$UNITS/gateway" ] || fail "the stand-in does not listen: $(cat "$D/out/manager")"
}
units_end() {
    kill -TERM "$MANAGER"
    wait "$MANAGER"
    rm -rf "$UNITS"
}
unit_again() { # NAME PID-OF-BEFORE
    local _ state
    for _ in $(seq $((200 * SLOWER))); do
        [ "$(unit_pid "$1")" != "$2" ] && state=$(curl -sS --unix-socket "$SOCKET" http://berth/v1/health 2>/dev/null) &&
            [[ $state == *'"ok"'* ]] && return
        sleep 0.05
    done
    fail "no $1 again after $2: $(tail -n 2 "$D/out/log")"
}
its_unit_of_front_and_its_unit_of_the_gateway_serve_as_children_do() {
    local front gateway line
    service_end
    units_start 1879048191 1879048190
    SERVE_OPTIONS=(--units "$UNITS")
    service_start
    front=$(unit_pid front) gateway=$(unit_pid gateway)
    [ -z "$(child_of_service front)$(child_of_service gateway)" ] || fail 'they are children all the same'
    [ -n "$(child_of_service launcher)" ] || fail 'there is no launcher'
    # What a unit comes with is taken away as what a child comes with.
    for line in 'Uid:.1879048191.1879048191.1879048191.1879048191' 'NoNewPrivs:.1' 'CapEff:.0000000000000000' 'Seccomp:.2'; do
        grep -qx "$line" "/proc/$front/status" || fail "front has not $line: $(grep "${line%%:*}" "/proc/$front/status")"
    done
    for line in 'Uid:.1879048190.1879048190.1879048190.1879048190' 'NoNewPrivs:.1' 'CapEff:.0000000000000000' 'Seccomp:.2'; do
        grep -qx "$line" "/proc/$gateway/status" || fail "the gateway has not $line: $(grep "${line%%:*}" "/proc/$gateway/status")"
    done
    # The socket by which they were met is not theirs any more.
    for line in $(awk '/units\/(front|gateway)$/ && $4 == "00010000" { print $7 }' /proc/net/unix); do
        [ -z "$(find "/proc/$front/fd" "/proc/$gateway/fd" -lname "socket:.$line." 2>/dev/null)" ] || fail 'one keeps the socket of the manager'
    done
    berth session create s1 --net allow
    status_is 0 create
    berth exec s1 -- echo one
    status_is 0
    grep -qx one "$OUT" || fail "no command: $(cat "$OUT" "$ERR")"
    kill -KILL "$front"
    unit_again front "$front"
    berth exec s1 -- echo two
    status_is 0 'after the end of front'
    kill -KILL "$gateway"
    unit_again gateway "$gateway"
    metrics 'berth_process_restarts_total{process="front"}=1' 'berth_process_restarts_total{process="gateway"}=1' \
        'berth_process_restarts_total{process="launcher"}=0' 'berth_sessions_live=1'
    kill -HUP "$SERVICE"
    berth exec s1 -- echo three
    status_is 0 'after a reload'
    berth session destroy s1 --delete-volume
    status_is 0 destroy
    front=$(unit_pid front) gateway=$(unit_pid gateway)
    service_end
    [ "$RC" = 0 ] || fail "it ended with $RC"
    for line in "$front" "$gateway"; do wait_gone "$line"; done
    # Killed: both end by themselves, and the next one is met.
    service_start
    front=$(unit_pid front) gateway=$(unit_pid gateway)
    kill -KILL "$SERVICE"
    wait "$SERVICE" 2>/dev/null
    for line in "$front" "$gateway"; do wait_gone "$line"; done
    service_start
    service_end
    units_end
    SERVE_OPTIONS=()
    service_start
}
its_unit_that_runs_as_another_is_not_joined() {
    service_end
    units_start 1879048190 1879048190
    timeout -k 5 $((60 * SLOWER)) "${AS[@]}" "${ENVIRONMENT[@]}" "$BERTH" serve --units "$UNITS" </dev/null >"$D/out/serve" 2>"$D/out/log"
    [ $? = 125 ] || fail 'a front of another user serves'
    grep -q 'runs as 1879048190:1879048190; the configuration says that it is user 1879048191' "$D/out/log" || fail "it says: $(tail -n 1 "$D/out/log")"
    [ ! -s "$D/out/serve" ] || fail 'it says that it serves'
    units_end
    # Nobody listens.
    timeout -k 5 $((60 * SLOWER)) "${AS[@]}" "${ENVIRONMENT[@]}" "$BERTH" serve --units "$D/none" </dev/null >"$D/out/serve" 2>"$D/out/log"
    [ $? = 125 ] || fail 'it serves without front'
    grep -q 'systemctl status berth-front.socket berth-front.service' "$D/out/log" || fail "it says: $(tail -n 1 "$D/out/log")"
    service_start
}
# Nobody but root is believed: a program that is asked by another gives no answer and takes nothing.
its_unit_takes_nothing_from_who_is_not_root() {
    local name
    units_start 1879048191 1879048190
    chmod 0711 "$D" "$UNITS"
    for name in front gateway; do
        chmod 0666 "$UNITS/$name"
        python3 - "$UNITS/$name" "$OTHER_UID" >"$D/out/asked" 2>&1 <<'EOF' || fail "$name: $(tail -n 1 "$D/out/asked")"
import array, os, socket, struct, sys
other = int(sys.argv[2])
os.setgroups([])
os.setresgid(other, other, other)
os.setresuid(other, other, other)
one = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
one.settimeout(20)
one.connect(sys.argv[1])
kind = 1 if sys.argv[1].endswith("front") else 2
try:
    one.sendmsg([struct.pack("=4I24B", 0x62724831, 1, kind, 1, 2, *[0] * 23)],
                [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [2]))])
    said = one.recv(64)
except (BrokenPipeError, ConnectionResetError):  # it had gone already, or went with the message unread
    said = b""
if said:
    sys.exit("it answered %r" % said)
EOF
        grep -q 'Who has connected is not root' "$D/out/manager" || fail "$name says: $(tail -n 1 "$D/out/manager")"
        : >"$D/out/manager"
    done
    units_end
}
# The launcher's figure is that of a process that makes sandboxes; what it argues away is in
# docs/operations.md. Front's and the gateway's are small, and what they take away besides is in tests/kernel/serve.c.
its_unit_is_no_more_exposed_than_is_argued() {
    local unit directory line
    if ! command -v systemd-analyze >/dev/null; then
        SKIP='systemd-analyze is not here'
        return
    fi
    directory=$(mktemp -d "$D/units.XXXXXX")
    for unit in berth berth-front berth-gateway berth-user; do
        sed "s|@PREFIX@/[a-z/]*berth[-a-z]*|$(command -v true)|; /^Documentation/d" "$TREE/api/cli/systemd/$unit.service.in" >"$directory/$unit.service"
    done
    for unit in berth berth-front berth-gateway; do sed '/^Documentation/d' "$TREE/api/cli/systemd/$unit.socket" >"$directory/$unit.socket"; done
    while read -r unit line; do
        systemd-analyze security --offline=yes --no-pager "$directory/$unit.service" >"$D/out/security" 2>&1
        [ "$(sed -n "s/.*exposure level for $unit.service: \\([0-9.]*\\) .*/\\1/p" "$D/out/security")" = "$line" ] ||
            fail "docs/operations.md argues $line, and it is: $(tail -n 1 "$D/out/security")"
        grep -qF "$line" "$TREE/docs/operations.md" || fail "docs/operations.md has no $line"
    done <<'EOF'
berth 8.6
berth-front 0.9
berth-gateway 1.5
EOF
    for unit in "$directory"/*; do
        systemd-analyze verify --man=no "$unit" >"$D/out/verify" 2>&1
        [ ! -s "$D/out/verify" ] || fail "$unit: $(head -n 1 "$D/out/verify")"
    done
    mkdir -p "$directory/root/etc"
    systemd-sysusers --root="$directory/root" "$TREE/api/cli/systemd/berth.sysusers" >"$D/out/sysusers" 2>&1
    for line in berth:x:1879048191:1879048191: berth-gateway:x:1879048190:1879048190:; do
        grep -q "^$line" "$directory/root/etc/passwd" || fail "no account $line: $(cat "$D/out/sysusers")"
    done
    # Each line that is set or could be is argued.
    for unit in berth berth-front berth-gateway; do
        sed -n '/^.Service]/,/^.Install]/s/^\([A-Z][A-Za-z]*\)=.*/\1/p' "$TREE/api/cli/systemd/$unit.service.in"
    done | sort -u |
        while read -r line; do grep -q "\`$line" "$TREE/docs/operations.md" || echo "$line"; done >"$D/out/unargued"
    [ ! -s "$D/out/unargued" ] || fail "docs/operations.md does not argue: $(tr '\n' ' ' <"$D/out/unargued")"
    rm -rf "$directory"
}

CASES='numbers_are_those_of_what_was_done numbers_tell_of_processes_that_died
W_4_numbers_name_nobody_and_have_a_token_of_their_own every_number_is_documented
a_ledger_is_copied_while_it_serves_and_comes_back what_is_done_to_files_is_in_the_audit the_audit_is_bounded_and_what_goes_is_told only_the_owner_copies_the_ledger
sockets_of_a_service_manager_are_served_and_stay_its_own a_berth_with_what_its_unit_leaves_it_does_all
its_unit_of_front_and_its_unit_of_the_gateway_serve_as_children_do its_unit_that_runs_as_another_is_not_joined
its_unit_takes_nothing_from_who_is_not_root its_unit_is_no_more_exposed_than_is_argued'
if [ $# -gt 0 ]; then CASES=$*; fi

for mode in ${MODES:-$(modes_here)}; do
    enter_mode "$mode"
    for name in $CASES; do
        # The system's unit is root's.
        if [ "$mode:$name" != "root:$name" ] && [[ $name == *its_unit_* ]]; then continue; fi
        fresh_workspace
        test_case "$name [$mode]" with_service "$name"
    done
done
summary

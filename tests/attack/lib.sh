# This file is what the attack runner and the end-to-end tests share: private namespaces for the
# test's own mess, the users as whom berth is run, and what is looked at from outside afterwards.
# It never decides what a test means; it is sourced, by bash.
#
# Modes, i.e. who runs berth:
#   root     root of the machine
#   subuid   an ordinary user with subordinate ids
#   single   an ordinary user without them: one id inside
#   self     whoever runs the tests, when that is not root
# The two users exist only in files bound over /etc/{passwd,group,subuid,subgid} in a mount
# namespace of the test's own: nothing of the machine is edited.

# Two runs at the same time must not be the same users: berth keeps locks by user.
SLOT=$((RANDOM % 400))
SOLO_UID=$((54000 + SLOT * 4)) SUB_UID=$((54001 + SLOT * 4)) OTHER_UID=$((54002 + SLOT * 4))
SUB_BASE=$((600000000 + SLOT * 65536))

TREE=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BUILD=${BUILD:-build}
case $BUILD in /*) ;; *) BUILD=$TREE/$BUILD ;; esac
BERTH=${BERTH:-$BUILD/bin/berth}
PROGRAMS=$BUILD/tests/attack
HOSTSIDE=$PROGRAMS/hostside
SAFE_PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

passed=0 failed=0 skipped=0

# Run the calling script again with mounts, network and process ids of its own, so that what it
# starts dies with it and what it binds nobody sees. Only root can; others go on as they are.
own_namespaces() {
    if [ "$(id -u)" != 0 ] || [ -n "${TEST_OWN_NAMESPACES:-}" ]; then return; fi
    exec env TEST_OWN_NAMESPACES=1 unshare --mount --net --pid --fork --kill-child --mount-proc \
        --propagation private -- "$0" "$@"
}

# T: a directory of the test's own. The parts that users need are theirs.
make_scene() {
    T=$(mktemp -d "${TMPDIR:-/tmp}/attack-scene.XXXXXX") || exit 2
    chmod 711 "$T"
    trap 'leave_scene' EXIT
    trap 'exit 130' INT TERM HUP
    HELPERS=()
    if [ "$(id -u)" = 0 ]; then
        "$HOSTSIDE" loopback
        mkdir "$T/etc"
        cp /etc/passwd /etc/group "$T/etc/"
        printf 'berth-solo:x:%d:%d::%s:/bin/sh\nberth-sub:x:%d:%d::%s:/bin/sh\n' \
            $SOLO_UID $SOLO_UID "$T/single/home" $SUB_UID $SUB_UID "$T/subuid/home" >>"$T/etc/passwd"
        printf 'berth-solo:x:%d:\nberth-sub:x:%d:\n' $SOLO_UID $SUB_UID >>"$T/etc/group"
        printf 'berth-sub:%d:65536\n' $SUB_BASE >"$T/etc/subuid"
        cp "$T/etc/subuid" "$T/etc/subgid"
        local file
        for file in passwd group subuid subgid; do
            [ -e /etc/$file ] || continue
            mount --bind "$T/etc/$file" /etc/$file || exit 2
        done
    fi
}

leave_scene() {
    local pid
    for pid in "${HELPERS[@]+"${HELPERS[@]}"}"; do kill "$pid" 2>/dev/null; done
    cd /
    # Immutable bits and mounts are never made by a test: what cannot be removed is a leftover.
    chmod -R u+rwX "$T" 2>/dev/null
    rm -rf --one-file-system "$T" || echo "not ok scene: $T could not be removed"
    rm -rf --one-file-system /tmp/.berth-share-$SOLO_UID /tmp/.berth-share-$SUB_UID
}

# MODES: only these of them.
modes_here() {
    if [ "$(id -u)" = 0 ]; then echo "${MODES:-root subuid single}"; else echo self; fi
}

# enter_mode MODE: D, WS (a fresh workspace), UID_HERE, AS (words that make a command the user's),
# ONE_ID (a session has one id inside, no root).
enter_mode() {
    MODE=$1
    case $MODE in
    root) UID_HERE=0 AS=() ;;
    subuid) UID_HERE=$SUB_UID AS=(setpriv --reuid $SUB_UID --regid $SUB_UID --clear-groups --) ;;
    single) UID_HERE=$SOLO_UID AS=(setpriv --reuid $SOLO_UID --regid $SOLO_UID --clear-groups --) ;;
    self) UID_HERE=$(id -u) AS=() ;;
    esac
    ONE_ID=
    if [ "$MODE" = single ] || { [ "$MODE" = self ] && ! grep -qsE "^($(id -un)|$UID_HERE):" /etc/subuid; }; then ONE_ID=yes; fi
    D=$T/$MODE
    mkdir -p "$D/home" "$D/state" "$D/run" "$D/out"
    slow_host
    fresh_workspace
    if [ "$MODE" != self ]; then chown -R "$UID_HERE:$UID_HERE" "$D"; fi
    # A shell starts background jobs with INT and QUIT ignored; berth must see what users give it.
    ENVIRONMENT=(env --default-signal=INT,QUIT,TERM,HUP,PIPE -i "PATH=$SAFE_PATH" "HOME=$D/home" LANG=C.UTF-8 TERM=dumb
        "BERTH_STATE_DIR=$D/state" "BERTH_RUNTIME_DIR=$D/run")
    CAPABILITIES=$("${AS[@]}" "${ENVIRONMENT[@]}" timeout 60 "$BERTH" capabilities --json 2>/dev/null)
}

# What the operator of a slow host does: its services give a session more time to be ready. For
# root's, whose configuration is the machine's, tests/vm/guest does it.
START_TIMEOUT=$((5 * ${TEST_SLOWER:-1} < 120 ? 5 * ${TEST_SLOWER:-1} : 120))
slow_host() {
    if [ "$START_TIMEOUT" = 5 ] || [ "$MODE" = root ]; then return; fi
    mkdir -p "$D/home/.config/berth"
    echo "{\"start_timeout_s\": $START_TIMEOUT}" >"$D/home/.config/berth/berth.jsonc"
    chmod 644 "$D/home/.config/berth/berth.jsonc"
}

# The workspace belongs to an ordinary user in every mode: root's berth serves other people's
# directories, and a directory of root's own is the exception that has its own test.
fresh_workspace() {
    WS=$D/ws
    rm -rf --one-file-system "$WS"
    mkdir -p "$WS"
    case $MODE in
    root) WS_UID=$OTHER_UID ;;
    *) WS_UID=$UID_HERE ;;
    esac
    if [ "$(id -u)" = 0 ]; then chown "$WS_UID:$WS_UID" "$WS"; fi
}

# Is the capability there, in this mode? Text, not a parser: the document is berth's own.
has_capability() {
    printf '%s' "$CAPABILITIES" | tr -d ' \n' | grep -q "\"$1\":{[^}]*\"available\":true"
}

# berth ARGUMENTS…: in this mode, standard output to $OUT, error to $ERR, status in RC. TIME: seconds.
# STDIN: a file (default /dev/null).
berth() {
    OUT=$D/out/out ERR=$D/out/err
    timeout -k 2 $((${TIME:-20} * ${TEST_SLOWER:-1})) "${AS[@]}" "${ENVIRONMENT[@]}" "$BERTH" "$@" \
        <"${STDIN:-/dev/null}" >"$OUT" 2>"$ERR"
    RC=$?
}

# session [OPTIONS] -- COMMAND…: berth run on the workspace.
session() {
    berth run --workspace "$WS" "$@"
}

# inside PROGRAM ARGUMENTS…: an attack program in a session; OPTIONS is an array of berth's options.
OPTIONS=()
inside() {
    local program=$1
    shift
    place "$program"
    session "${OPTIONS[@]}" -- "$WS/.attack/$program" "$@"
}

# place PROGRAM: where the session can execute it.
place() {
    mkdir -p "$WS/.attack"
    cp -f "$PROGRAMS/$1" "$WS/.attack/$1"
    chmod 755 "$WS/.attack" "$WS/.attack/$1"
    if [ "$(id -u)" = 0 ]; then chown -R "$WS_UID:$WS_UID" "$WS/.attack"; fi
}

# ---- verdicts: the first `fail` of a test is its reason ----------------------------------------------

fail() { if [ -z "$REASON" ]; then REASON=$*; fi; }
need() { SKIP=$*; }

# test_case LABEL FUNCTION: runs it and prints its line.
test_case() {
    local label=$1 began=$SECONDS
    shift
    REASON='' SKIP='' OPTIONS=() TIME=20 STDIN=/dev/null OUT=/dev/null ERR=/dev/null RC=
    "$@"
    if [ -z "$SKIP" ]; then no_trace; fi
    if [ -n "$REASON" ]; then
        failed=$((failed + 1))
        echo "not ok $label: $REASON"
        if [ -n "${VERBOSE:-}" ] || [ -n "${KEEP_OUTPUT:-}" ]; then show_output; fi
    elif [ -n "$SKIP" ]; then
        skipped=$((skipped + 1))
        echo "skip $label: $SKIP"
    else
        passed=$((passed + 1))
        echo "ok $label"
    fi
    if [ -n "${FOLLOW:-}" ]; then echo "# $((SECONDS - began)) s: $label"; fi
}

show_output() {
    local file
    for file in "$OUT" "$ERR"; do
        [ -f "$file" ] || continue
        tail -c 3000 "$file" | tr -d '\033' | sed 's/^/    | /'
    done
}

summary() {
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" = 0 ]
}

# Processes that live in a session of ours: another pid namespace than this one's, or berth's own. Every
# link is read by one process: a machine has hundreds of processes that are somebody else's, and each of
# the thousands of looks would start one for each of them.
session_processes() {
    local own pid
    own=$(readlink /proc/self/ns/pid)
    find /proc/[0-9]*/ns/pid /proc/[0-9]*/exe -maxdepth 0 -printf '%p %l\n' 2>/dev/null |
        awk -v "own=$own" -v "berth=$BERTH" '{
            pid = $1; sub("^/proc/", "", pid); sub("/.*", "", pid)
            link = substr($0, length($1) + 2)
            if ($1 ~ /ns\/pid$/) space[pid] = link
            else if (link == berth || index(link, berth " ") == 1 || link ~ /\/berth-init( |$)/) ours[pid] = 1
        } END { for (pid in space) if (space[pid] != "" && (space[pid] != own || pid in ours)) print pid }' |
        while read -r pid; do
            # A zombie holds nothing; its parent is this test's own shell.
            case $(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null) in Z* | '') continue ;; esac
            echo "$pid:$(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | head -c 60)"
        done
}

# Empty cgroups that stand for a session; those of others that run at the same time have processes.
session_cgroups() {
    local directory
    for directory in /sys/fs/cgroup/berth/run-* /sys/fs/cgroup/*/berth/run-*; do
        [ -d "$directory" ] || continue
        if [ -z "$(find "$directory" -name cgroup.procs -exec cat {} + 2>/dev/null)" ]; then
            case $CGROUPS_BEFORE in *" $directory "*) ;; *) echo "$directory" ;; esac
        fi
    done
}
CGROUPS_BEFORE=" $(echo /sys/fs/cgroup/berth/run-* /sys/fs/cgroup/*/berth/run-*) "

session_records() {
    find "$D/run" -mindepth 1 \( -name 'run-*' -o -path '*/runs/*' -o -path '*/sessions/*' \) 2>/dev/null
}

# Nothing of a session may be left one second after its berth has ended (SES-1, issue's acceptance 8).
no_trace() {
    local left _
    for _ in $(seq $((10 * ${TEST_SLOWER:-1}))); do
        left=$(session_processes; session_records)
        [ -n "$left" ] || break
        sleep 0.1
    done
    if [ -n "$left" ]; then
        fail "left behind after 1 s: $(printf '%s' "$left" | tr '\n' ' ' | head -c 300)"
        end_leftovers "$left"
    fi
    # Cgroups are named by their sessions' own random ids: a cgroup of another berth on this machine
    # cannot be told from ours. Each test run as a whole is held to leave none (tests/leftovers.sh).
    if [ -n "${ALONE:-}" ]; then
        left=$(session_cgroups)
        [ -z "$left" ] || fail "cgroup left behind: $(printf '%s' "$left" | head -n 1)"
    fi
    if awk -v "below=$T/" 'index($5, below) == 1 { found = 1 } END { exit !found }' /proc/self/mountinfo; then
        fail "a mount is left below $T"
    fi
}

# Only pids that session_processes named, so that the next test begins clean.
end_leftovers() {
    local line
    while IFS= read -r line; do
        case $line in [0-9]*:*) kill -KILL "${line%%:*}" 2>/dev/null ;; esac
    done <<<"$1"
}

# ---- what was reported from inside ------------------------------------------------------------------------

# all_denied PROGRAM MINIMUM [PATTERN]: every try was denied, and at least MINIMUM were made. PATTERN
# (extended expression on the name): tries whose success is allowed, with a reason at the caller.
all_denied() {
    local program=$1 minimum=$2 pattern=${3:-^$} got count
    if ! grep -q "^done $program " "$OUT"; then
        fail "the program did not come to its end (status $RC): $(tail -n 1 "$ERR" | head -c 200)"
        return
    fi
    got=$(sed -n 's/^try \([^ ]*\): SUCCEEDED/\1/p' "$OUT" | grep -vE "$pattern" | head -n 5 |
        tr '\n' ';')
    count=$(grep -c '^try ' "$OUT")
    if [ -n "$got" ]; then fail "succeeded inside: $got"; fi
    if [ "$count" -lt "$minimum" ]; then fail "only $count tries were made, $minimum were expected"; fi
}

status_is() { if [ "$RC" != "$1" ]; then fail "status $RC, expected $1${2:+ ($2)}: $(tail -n 1 "$ERR" | head -c 200)"; fi; }
says() { if ! grep -qE -- "$1" "$ERR"; then fail "stderr does not say /$1/: $(tail -n 2 "$ERR" | tr '\n' ' ' | head -c 300)"; fi; }

#!/bin/bash
# This file takes away, one at a time, what a host normally has: user namespaces, cgroups, space on
# disk, a directory that can be written, newuidmap, /proc. berth must say what is missing and what to
# do, with status 125, or run without what nobody asked for, and leave nothing. It never changes the
# host: everything is taken away in namespaces of the test's own.
set -u
. "$(dirname "$0")/../attack/lib.sh"
own_namespaces "$@"
make_scene
if [ "$(id -u)" != 0 ]; then
    echo 'skip host-lacks: needs root'
    summary
    exit
fi

# lacking SETUP-COMMANDS -- WORDS…: berth in a mount namespace where SETUP was done (as root)
lacking() {
    local setup=$1
    shift
    OUT=$D/out/out ERR=$D/out/err
    timeout -k 2 "$TIME" unshare --mount --propagation private -- /bin/bash -c "$setup"' || exit 99; exec "$@"' lacking \
        "${AS[@]}" "${ENVIRONMENT[@]}" "${MORE[@]+"${MORE[@]}"}" "$BERTH" "$@" </dev/null >"$OUT" 2>"$ERR"
    RC=$?
    if [ "$RC" = 99 ]; then fail "the scene could not be made: $(head -c 200 "$ERR")"; fi
}
MORE=()
message() {
    status_is 125
    grep -q '^berth: ' "$ERR" || fail "no message: $(head -c 200 "$ERR")"
}

# A limit of namespaces is a sysctl of a user namespace: in one of our own it is ours to lower.
no_user_namespaces() {
    OUT=$D/out/out ERR=$D/out/err
    timeout -k 2 20 "${AS[@]}" unshare --user --map-current-user /bin/true 2>/dev/null ||
        { need 'user namespaces cannot be nested here'; return; }
    # A program of the host's root has no owner in such a namespace, and is not used as PID 1.
    mkdir -p "$D/own"
    cp "$BERTH" "${BERTH%/*}/berth-init" "$D/own/"
    chown -R "$UID_HERE:$UID_HERE" "$D/own"
    in_namespace_without_more run --workspace "$WS" -- /bin/true
    if [ "$RC" = 99 ]; then need 'max_user_namespaces cannot be lowered here'; return; fi
    message
    says 'namespace'
    in_namespace_without_more doctor
    [ "$RC" != 0 ] || fail 'doctor says that all is well'
    grep -q 'max_user_namespaces' "$OUT" "$ERR" || fail 'doctor does not name the sysctl'
}
# The same user, without the rights that creating the namespace gave.
in_namespace_without_more() {
    timeout -k 2 30 "${AS[@]}" unshare --user --map-current-user --keep-caps -- /bin/bash -c \
        'echo 0 >/proc/sys/user/max_user_namespaces || exit 99
        exec setpriv --ambient-caps -all --inh-caps -all -- "$@"' lacking \
        "${ENVIRONMENT[@]}" "$D/own/berth" "$@" </dev/null >"$OUT" 2>"$ERR"
    RC=$?
}

# Root of a user namespace is not root of the host: nothing of root's is his.
root_of_a_user_namespace() {
    [ "$MODE" != root ] || { need 'matters to an ordinary user'; return; }
    OUT=$D/out/out ERR=$D/out/err
    timeout -k 2 30 "${AS[@]}" unshare --user --map-root-user -- "${ENVIRONMENT[@]}" "$BERTH" run --workspace "$WS" -- \
        /bin/true </dev/null >"$OUT" 2>"$ERR"
    RC=$?
    message
    says 'namespace'
}

no_cgroups() {
    lacking 'umount -R /sys/fs/cgroup; mount -t tmpfs none /sys/fs/cgroup' run --workspace "$WS" -- /bin/echo runs
    status_is 0 'limits of the preset only: left out'
    says 'limits\.memory'
    lacking 'umount -R /sys/fs/cgroup; mount -t tmpfs none /sys/fs/cgroup' run --workspace "$WS" --memory 64MiB -- /bin/true
    message
    says 'limits\.memory'
    lacking 'umount -R /sys/fs/cgroup; mount -t tmpfs none /sys/fs/cgroup' run --workspace "$WS" -- \
        /bin/sh -c 'setsid sleep 77 & echo left'
    status_is 0
}

read_only_cgroups() {
    lacking 'for m in $(awk "\$5 ~ \"^/sys/fs/cgroup\" { print \$5 }" /proc/self/mountinfo | sort -r); do mount -o remount,bind,ro "$m" || exit 99; done' \
        run --workspace "$WS" --pids 50 -- /bin/true
    message
    says 'limits\.pids'
}

full_runtime_directory() {
    MORE=("BERTH_RUNTIME_DIR=$D/tiny")
    mkdir -p "$D/tiny"
    lacking "mount -t tmpfs -o size=4k,nr_inodes=64,mode=777 none $D/tiny && { head -c 100000 /dev/zero >$D/tiny/full 2>/dev/null; true; }" \
        run --workspace "$WS" -- /bin/true
    [ "$RC" = 0 ] || message
    lacking "mount -t tmpfs -o size=64k,nr_inodes=2,mode=777 none $D/tiny && touch $D/tiny/last" run --workspace "$WS" -- /bin/true
    message
    says 'space|tiny'
    MORE=()
}

full_state_directory() {
    MORE=("BERTH_STATE_DIR=$D/tiny")
    mkdir -p "$D/tiny"
    lacking "mount -t tmpfs -o size=64k,nr_inodes=2,mode=777 none $D/tiny && touch $D/tiny/last" \
        run --workspace volume:x -- /bin/true
    message
    says 'space|tiny'
    lacking "mount -t tmpfs -o size=64k,nr_inodes=2,mode=777 none $D/tiny && touch $D/tiny/last" run --workspace "$WS" -- /bin/true
    [ "$RC" = 0 ] || message
    MORE=()
}

read_only_state() {
    lacking "mount --bind $D/state $D/state && mount -o remount,bind,ro $D/state" run --workspace volume:new -- /bin/true
    message
    says 'ead-only|state'
    lacking "mount --bind $D/state $D/state && mount -o remount,bind,ro $D/state" run --workspace "$WS" -- /bin/true
    [ "$RC" = 0 ] || message
}

read_only_runtime() {
    lacking "mount --bind $D/run $D/run && mount -o remount,bind,ro $D/run" run --workspace "$WS" -- /bin/true
    message
    says 'ead-only|run'
}

read_only_workspace_filesystem() {
    lacking "mount --bind $WS $WS && mount -o remount,bind,ro $WS" run --workspace "$WS" -- /bin/sh -c 'echo x >f'
    [ "$RC" != 0 ] || fail 'a read-only directory was written'
    [ ! -e "$WS/f" ] || fail 'a read-only directory was written'
}

full_workspace() {
    lacking "mount -t tmpfs -o size=4k,mode=777 none $WS && { head -c 9000 /dev/zero >$WS/full 2>/dev/null; true; }" \
        run --workspace "$WS" -- /bin/sh -c 'echo more >more || echo no-space'
    if [ "$RC" = 0 ]; then grep -q no-space "$OUT" || fail 'a full directory took more'; else message; fi
}

no_proc() {
    lacking 'mount -t tmpfs none /proc' run --workspace "$WS" -- /bin/true
    message
    says 'proc'
}

masked_proc() {
    lacking 'mount -t tmpfs -o ro none /proc/sys' run --workspace "$WS" -- /bin/true
    [ "$RC" = 0 ] || message
}

no_newuidmap() {
    [ "$MODE" = subuid ] || { need 'matters to a user with subordinate ids'; return; }
    local without='f=$(command -v newuidmap) && mount --bind /bin/false "$f"'
    # No key of the default policy needs a second id: its user is one, and so is a directory's owner.
    # So it runs without nothing that it asks for, and CAP-2 has no line to say. The record and
    # doctor tell of it, and who asks for another id by name is refused with the reason.
    lacking "$without" run --workspace "$WS" --result "$D/out/result" -- /bin/sh -c 'id -u; echo x >made'
    status_is 0 'one id is what the default policy needs'
    grep -qx 1000 "$OUT" || fail "the command is uid $(head -n 1 "$OUT")"
    [ "$(stat -c %u "$WS/made")" = "$WS_UID" ] || fail "a file made inside is of $(stat -c %u "$WS/made")"
    ! grep -v 'limits\.' "$ERR" | grep -q . || fail "says: $(grep -v 'limits\.' "$ERR" | head -n 1)"
    grep -q '"uid_count":1,' "$D/out/result" || fail 'the record does not say that there is one id'
    lacking "$without" doctor
    grep -q 'newuidmap' "$OUT" || fail 'doctor does not name newuidmap'
    local user
    for user in root 5; do
        lacking "$without" run --user $user --workspace "$WS" -- /bin/true
        message
        says 'isolation\.id_range.*one id.*newuidmap'
    done
}

crashes_go_to_a_socket() {
    echo '@@/run/crashes.socket' >"$D/out/pattern"
    chmod 644 "$D/out/pattern"
    lacking true doctor
    ! grep -q 'crashes\.socket' "$OUT" || fail 'doctor tells of a socket that is not there'
    lacking "mount --bind $D/out/pattern /proc/sys/kernel/core_pattern" doctor
    grep -q 'kernel\.core_pattern names a socket (@@/run/crashes\.socket)' "$OUT" || fail "doctor does not tell of the socket: $(tail -n 3 "$OUT")"
}

no_init_program() {
    mkdir -p "$D/copy"
    cp "$BERTH" "$D/copy/berth"
    chmod 755 "$D/copy" "$D/copy/berth"
    OUT=$D/out/out ERR=$D/out/err
    timeout 20 "${AS[@]}" "${ENVIRONMENT[@]}" "$D/copy/berth" run --workspace "$WS" -- /bin/true </dev/null >"$OUT" 2>"$ERR"
    RC=$?
    if [ -e /usr/local/libexec/berth/berth-init ]; then return; fi
    message
    says 'berth-init'
}

few_descriptors() {
    OUT=$D/out/out ERR=$D/out/err
    local count
    for count in 4 8 16 24 32; do
        "${AS[@]}" "${ENVIRONMENT[@]}" /bin/sh -c "ulimit -n $count; exec \"\$@\"" few timeout 20 "$BERTH" run --quiet --workspace "$WS" -- /bin/true \
            </dev/null >"$OUT" 2>"$ERR"
        RC=$?
        [ "$RC" = 0 ] || message
        [ -z "$REASON" ] || { REASON="with $count descriptors: $REASON"; return; }
    done
}

recovered() {
    session -- /bin/echo works
    status_is 0
}

CASES='no_user_namespaces root_of_a_user_namespace no_cgroups read_only_cgroups full_runtime_directory full_state_directory read_only_state
read_only_runtime read_only_workspace_filesystem full_workspace no_proc masked_proc no_newuidmap crashes_go_to_a_socket no_init_program few_descriptors'
if [ $# -gt 0 ]; then CASES=$*; fi
for mode in ${MODES:-$(modes_here)}; do
    enter_mode "$mode"
    for name in $CASES; do
        case $mode:$name in root:root_of_a_user_namespace | root:no_newuidmap | single:no_newuidmap) continue ;; esac
        fresh_workspace
        test_case "$name [$mode]" "$name"
        # What was lacking is there again: nothing of it may have been kept.
        fresh_workspace
        test_case "$name is over [$mode]" recovered
    done
done
summary

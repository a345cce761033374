#!/bin/bash
# This file runs `berth serve` on hosts that lack something and on one that was restarted: what hosts.py
# looks for. It never changes the host: everything is taken away in namespaces of the test's own.
set -u
. "$(dirname "$0")/../attack/lib.sh"
own_namespaces "$@"
make_scene
if [ "$(id -u)" != 0 ]; then
    echo 'skip hosts: needs root'
    summary
    exit
fi
if [ -d /run/berth-share ]; then mount -t tmpfs -o mode=755 none /run/berth-share; fi

# scene SETUP NAME: hosts.py NAME where SETUP was done, as root.
scene() {
    OUT=$D/out/out ERR=$D/out/err
    touch "$D/out/serve.log"
    chown "$UID_HERE" "$D/out/serve.log"
    timeout -k 5 $((60 * ${TEST_SLOWER:-1})) unshare --mount --propagation private -- /bin/bash -c "$1"' || exit 99; exec "$@"' scene \
        "${AS[@]}" "${ENVIRONMENT[@]}" "BERTH=$BERTH" "TEST_MODE=$MODE" "TEST_SLOWER=${TEST_SLOWER:-1}" PYTHONDONTWRITEBYTECODE=1 \
        python3 "$TREE/tests/e2e/hosts.py" "$2" </dev/null >"$OUT" 2>"$ERR"
    RC=$?
    if [ "$RC" = 0 ]; then return; fi
    fail "$(grep -h '^not ok' "$OUT" | head -n 1) status $RC $(tail -n 2 "$ERR" | tr '\n' ' ' | head -c 300)"
}
without_cgroups() { scene 'umount -R /sys/fs/cgroup; mount -t tmpfs none /sys/fs/cgroup' no_cgroups; }
without_pids_controller() {
    [ "$MODE" = root ] || { need 'needs a user whose limits berth can set'; return; }
    [ -e /sys/fs/cgroup/pids/cgroup.procs ] || { need 'a pids controller of its own exists in hybrid only'; return; }
    scene 'umount /sys/fs/cgroup/pids' no_pids_controller
}
# A filter that needs no privilege would take the ids' helpers theirs away: root only.
without_landlock() {
    [ "$MODE" = root ] || { need 'needs a user whose limits berth can set'; return; }
    scene true no_landlock
}
SES_2_after_a_restart_of_the_host_sessions_are_parked_and_whole() {
    local line
    scene true before_the_reboot
    while IFS= read -r line; do kill -KILL "${line%%:*}" 2>/dev/null; done < <(session_processes | grep '^[0-9]')
    for line in $(seq $((10 * ${TEST_SLOWER:-1}))); do [ -z "$(session_processes)" ] || sleep 0.1; done
    rm -rf --one-file-system "$D/run"
    mkdir -p "$D/run"
    chown "$UID_HERE" "$D/run"
    cat /proc/sys/kernel/random/uuid >"$D/boot_id"
    chmod 644 "$D/boot_id"
    # Of a /proc with something mounted on it an ordinary user gets no further one (mount_too_revealing()), so
    # that a whole one stands beside it.
    mkdir -p "$D/proc"
    scene "mount -t proc proc $D/proc && mount --bind $D/boot_id /proc/sys/kernel/random/boot_id" after_the_reboot
}

CASES='without_cgroups without_pids_controller without_landlock SES_2_after_a_restart_of_the_host_sessions_are_parked_and_whole'
if [ $# -gt 0 ]; then CASES=$*; fi
for mode in ${MODES:-$(modes_here)}; do
    for name in $CASES; do
        enter_mode "$mode"
        rm -rf --one-file-system "$D/state"
        mkdir -p "$D/state"
        chown "$UID_HERE" "$D/state"
        test_case "$name [$mode]" "$name"
    done
done
summary

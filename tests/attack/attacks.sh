#!/bin/bash
# This file runs the attacks: for each it prepares the host's side, lets a hostile program try inside
# a real session of the real command, and judges from outside, with the program's own report as one
# witness. It never trusts a program's exit status alone.
#
#     attacks.sh [--list] [--mode MODE] [PATTERN…]     PATTERN: of "ROW-NAME", e.g. '9-*'
#     attacks.sh --self-check                          each program outside: it must succeed there
#
# Environment: BUILD, BERTH, VERBOSE=1 (show what a failed attack printed), ATTACKS_NOT (a pattern of ROW-NAME, as
# of bash's extglob: these do not run where none was named).
#
# Rows of the catalogue of attacks that are not here, or not whole:
#   12, 17, 28–30, 31a, 31b, 32–34, 38, 52, 53    over the service: tests/attack/service.sh
#   1, 3 (second half)   exec into a running session; here: the same programs from the only command of one
#   21                   is a unit test (tests/unit/seccomp_golden.c): it needs no session
#   34                   that a refusal takes less than 100 ms: tests/kernel/files_parked.c
#   35                   through the service: tests/e2e/archives.py; a million members: tests/kernel/files_tar.c
#   40–48                network rules (here: 40, 44, 45 under deny)
#   49                   tests/fuzz
#   51                   tests/kernel/launcher_hostile.c
set -u
. "$(dirname "$0")/lib.sh"

MODE_ONLY='' PATTERNS=() LIST='' SELF_CHECK=''
ARGUMENTS=("$@")
while [ $# -gt 0 ]; do
    case $1 in
    --mode) MODE_ONLY=$2; shift ;;
    --list) LIST=1 ;;
    --self-check) SELF_CHECK=1 ;;
    *) PATTERNS+=("$1") ;;
    esac
    shift
done

# row  name  function  modes (all: every mode)
ATTACKS="
1    shebang-proc-self-exe        attack_shebang          all
1    reach-for-pid1-program       attack_exe              all
2    working-directory            attack_cwd              all
2    symlinked-cwd                attack_symlinked_cwd    all
4    image-with-symlinks          attack_image_symlinks   all
4    workspace-target-symlink     attack_target_symlink   all
5    targets-swapped-during-runs  attack_image_race       all
6    no-privilege                 attack_caps             all
7    user-strings                 attack_user_strings     all
8    descriptors                  attack_fds              all
8    pipes-of-the-caller          attack_caller_pipes     all
8    scheduling-of-the-caller     attack_inherited        all
9    modes-on-workspace           attack_modes            all
9    modes-explained              attack_modes_explained  all
9    modes-on-root-owned          attack_modes_root_owned root
9    setuid-in-image              attack_setuid_image     root
10   environment                  attack_environment      all
11   terminal                     attack_terminal         all
11   terminal-without-tty         attack_terminal_notty   all
12   escape-sequences             attack_escapes          all
13   sockets-of-the-host          attack_connect          all
14   keys                         attack_keys             all
15   ipc-between-sessions         attack_ipc              all
16   socket-families              attack_families         all
17   pid1                         attack_pid1             all
18   kernel-calls                 attack_kernel           all
18   kernel-calls-as-root-inside  attack_kernel_root      all
18   kernel-calls-debug-profile   attack_kernel_debug     all
18   kernel-calls-explained       attack_kernel_explained all
18   init-of-explained-calls      attack_pid1_explained   all
20   other-abis                   attack_abi              all
20   other-abis-explained         attack_abi_explained    all
22   cgroup                       attack_cgroup           all
23   procfs-sysfs-dev             attack_procfs           all
23   procfs-as-root-inside        attack_procfs_root      all
24   shared-base                  attack_base             all
24   shared-base-as-root-inside   attack_base_root        all
25   fork-bomb                    attack_forkbomb         all
26   memory-heap                  attack_memory_heap      all
26   memory-tmpfs                 attack_memory_tmpfs     all
26   memory-memfd                 attack_memory_memfd     all
26   memory-shm                   attack_memory_shm       all
26   memory-pipes                 attack_memory_pipes     all
26   memory-sockets               attack_memory_sockets   all
26   memory-page-cache            attack_memory_cache     all
27   disk-fill                    attack_disk_fill        all
27   disk-inodes                  attack_disk_inodes      all
27   disk-sparse                  attack_disk_sparse      all
27   disk-deep                    attack_disk_deep        all
27   disk-names                   attack_disk_names       all
28   output-flood                 attack_flood            all
28   output-one-line              attack_line             all
28   output-never-read            attack_never_read       all
29   zombies                      attack_zombies          all
29   stopped-traced-vfork         attack_stopped          all
30   killed-at-any-instant        attack_kill_race        all
31   own-limits-inotify           attack_share_inotify    all
31   own-limits-pipes             attack_share_pipes      all
31   own-limits-signals           attack_share_signals    all
31   own-limits-descriptors       attack_share_files      all
31   own-limits-terminals         attack_share_terminals  all
31a  descriptor-out-of-session    attack_descriptor_out   all
31b  birth-after-kills            attack_birth            all
32   files-through-links          attack_file_links       all
33   files-in-a-rename-storm      attack_file_storm       all
34   files-that-are-none          attack_file_kinds       all
35   hostile-archives             attack_archives         all
36   workspace-swapped            attack_swapped          all
36   result-through-planted-link  attack_planted_result   all
37   protected-paths              attack_protected        all
37   protected-missing            attack_protected_absent all
37   protected-in-a-home          attack_protected_home   all
37   planted-outside-a-home       attack_planted_elsewhere all
37   git-led-elsewhere            attack_git_elsewhere    all
38   hostile-names                attack_names            all
38   hostile-names-fetched        attack_file_names       all
38a  sockets-in-workspace         attack_workspace_socket all
38b  bad-standard-streams         attack_bad_streams      all
38b  block-device-stream          attack_block_stream     all
39   hardlinks                    attack_hardlink         all
44   network-deny                 attack_network          all
"

# ---- rows 1 to 9 ------------------------------------------------------------------------------------

hashes() { sha256sum "$BERTH" "${BERTH%/*}/berth-init" 2>/dev/null; }

attack_shebang() {
    local before
    before=$(hashes)
    printf '#!/proc/self/exe\n' >"$WS/trap"
    chmod 755 "$WS/trap"
    TIME=20
    session -- "$WS/trap" -c 'exec >/proc/self/exe'
    case $RC in 124 | 137) fail "hangs (status $RC)" ;; 0) fail 'the trap ran with status 0' ;; esac
    session -- /bin/sh -c "cp /proc/self/exe $WS/x; exec $WS/trap"
    [ "$before" = "$(hashes)" ] || fail 'a program of berth was changed'
}

attack_exe() {
    local before
    before=$(hashes)
    inside exe 1 1500
    all_denied exe 14
    [ "$before" = "$(hashes)" ] || fail 'a program of berth was changed'
}

attack_cwd() {
    TIME=10
    exec 7</ 8</etc 9<"$T"
    inside cwd boot
    exec 7<&- 8<&- 9<&-
    all_denied cwd 60
    # Directories of /proc and descriptors as starting point
    local n
    for n in 3 4 5 7 8 9 12; do
        session --cwd "/proc/self/fd/$n" -- /bin/pwd
        [ "$RC" != 0 ] || fail "--cwd /proc/self/fd/$n started in $(head -n 1 "$OUT")"
    done
    session --cwd /proc/1/cwd -- /bin/pwd
    [ "$RC" != 0 ] || fail "--cwd /proc/1/cwd started in $(head -n 1 "$OUT")"
    session --cwd /proc/self/root/proc/1/root/etc -- /bin/pwd
    [ "$RC" != 0 ] || fail "--cwd through /proc/1/root started in $(head -n 1 "$OUT")"
}

attack_symlinked_cwd() {
    place cwd
    ln -s /proc/self/fd/8 "$WS/a"
    ln -s /../../../../../.. "$WS/b"
    ln -s "$WS" "$WS/c"
    exec 8<"$T"
    session --cwd "$WS/a" -- "$WS/.attack/cwd" boot
    [ "$RC" != 0 ] || fail 'a working directory that is a link to a descriptor was entered'
    session --cwd "$WS/b" -- "$WS/.attack/cwd" boot
    [ "$RC" != 0 ] || all_denied cwd 60
    session --cwd "$WS/c" -- "$WS/.attack/cwd" boot
    [ "$RC" != 0 ] || all_denied cwd 60
    exec 8<&-
}

# Rows that attack as root of the session: a session of one id has none.
need_inner_root() { [ -z "$ONE_ID" ] || need 'a session of one id has no root inside'; [ -z "$SKIP" ]; }

# A root file system of our own: busybox and directories. $1: where.
make_image() {
    rm -rf "$1"
    mkdir -p "$1/bin" "$1/etc" "$1/usr/bin" "$1/lib" "$1/root"
    cp "$(command -v busybox)" "$1/bin/busybox"
    local name
    for name in sh ls cat id echo true sleep; do ln -s busybox "$1/bin/$name"; done
    if [ "$(id -u)" = 0 ]; then chown -hR "$UID_HERE:$UID_HERE" "$1"; fi
}

need_image() {
    has_capability rootfs.directory || need 'rootfs.directory is not available'
    command -v busybox >/dev/null || need 'busybox is not installed'
    if [ -n "$SKIP" ]; then return 1; fi
}

# What a victim directory looks like: names, modes, owners, times, contents.
fingerprint() { find "$1" -printf '%p %m %U %G %s %T@ %C@ %l\n' | sort; }

attack_image_symlinks() {
    need_image || return
    local victim=$D/victim image=$D/image target link before
    rm -rf "$victim"
    mkdir -p "$victim/sub"
    echo secret >"$victim/file"
    if [ "$(id -u)" = 0 ]; then chown -R "$UID_HERE:$UID_HERE" "$victim"; fi
    before=$(fingerprint "$victim")
    for target in dev proc sys tmp home var run etc/resolv.conf etc/passwd dev/null dev/pts \
        "${WS#/}" "tmp/${WS##*/}"; do
        for link in "$victim" "../../../../../../../../../..$victim" "$victim/file"; do
            make_image "$image"
            mkdir -p "$image/$(dirname "$target")"
            rm -rf "${image:?}/$target"
            ln -s "$link" "$image/$target"
            if [ "$(id -u)" = 0 ]; then chown -hR "$UID_HERE:$UID_HERE" "$image"; fi
            TIME=20
            session --image "dir:$image" -- /bin/sh -c "echo in >/dev/null; echo x >$victim/planted; cat $victim/file"
            if grep -q secret "$OUT"; then fail "/$target -> $link: a file of the host was read"; fi
            case $RC in 124 | 137) fail "/$target -> $link: hangs" ;; esac
            [ "$before" = "$(fingerprint "$victim")" ] || fail "/$target -> $link: the host's directory was changed"
            [ -z "$REASON" ] || return
        done
    done
}

# A mount target for --ro inside the image is a link to the host's victim.
attack_target_symlink() {
    local victim=$D/victim before
    rm -rf "$victim"
    mkdir -p "$victim" "$D/extra"
    echo extra >"$D/extra/file"
    if [ "$(id -u)" = 0 ]; then chown -R "$UID_HERE:$UID_HERE" "$victim" "$D/extra"; fi
    before=$(fingerprint "$victim")
    ln -s "$victim" "$WS/link"
    session --ro "$D/extra:$WS/link/planted" -- /bin/cat "$WS/link/planted/file"
    [ "$before" = "$(fingerprint "$victim")" ] || fail 'a mount target was made through a link of the workspace'
    session --ro "$D/extra:$WS/link" -- /bin/cat "$WS/link/file"
    [ "$before" = "$(fingerprint "$victim")" ] || fail 'a mount on a link of the workspace changed its target'
}

attack_image_race() {
    need_image || return
    local victim=$D/victim image=$D/image before i
    rm -rf "$victim"
    mkdir -p "$victim"
    make_image "$image"
    mkdir -p "$image/proc" "$image/dev" "$image/tmp"
    before=$(fingerprint "$victim")
    (
        # The swap itself: exchange a directory and a link as fast as a shell can.
        trap 'exit 0' TERM
        while :; do
            for name in dev proc tmp; do
                rmdir "$image/$name" 2>/dev/null
                ln -sfn "$victim" "$image/$name" 2>/dev/null
                rm -f "$image/$name"
                mkdir "$image/$name" 2>/dev/null
            done
        done
    ) &
    local swapper=$!
    HELPERS+=("$swapper")
    for i in 1 2 3 4 5 6; do
        local j pids=()
        for j in 1 2 3; do
            timeout -k 5 $((30 * ${TEST_SLOWER:-1})) "${AS[@]}" "${ENVIRONMENT[@]}" "$BERTH" run --workspace "$WS" --image "dir:$image" -- \
                /bin/sh -c 'echo x >/dev/planted; echo x >/proc/planted; echo x >/tmp/planted' \
                </dev/null >/dev/null 2>&1 &
            pids+=($!)
        done
        wait "${pids[@]}"
    done
    kill "$swapper"
    wait "$swapper" 2>/dev/null
    [ "$before" = "$(fingerprint "$victim" | sed 's/^//')" ] || fail "the host's directory was changed"
    [ -z "$(ls -A "$victim")" ] || fail "planted: $(ls -A "$victim" | head -n 3)"
}

attack_caps() {
    inside caps /usr/bin/su /usr/bin/passwd
    all_denied caps 15 "$CAPS_ALLOWED"
    if [ -n "$ONE_ID" ]; then return; fi
    place caps
    session --user root -- "$WS/.attack/caps"
    all_denied caps 15 "$CAPS_ALLOWED"
}
# A set of capabilities that is empty from the start has nothing else to be seen.
CAPS_ALLOWED='^$'

attack_user_strings() {
    local user
    for user in 0x0 +0 ' 0' 4294967295 4294967296 -1 -0 00 0.0 65533 65534 65535 'root ' '0
0' root:root '1000:0' '' '%n' nobody; do
        session --user "$user" -- /usr/bin/id -u
        if [ "$RC" = 0 ]; then fail "--user '$user' ran as uid $(head -n 1 "$OUT")"; fi
        [ -n "$REASON" ] && return
        grep -q '^berth: ' "$ERR" || fail "--user '$user': status $RC without a message"
    done
    printf '{"version": 1, "process": {"user": "0x0"}}' >"$D/policy.json"
    session --policy "$D/policy.json" -- /usr/bin/id -u
    status_is 125 'user 0x0 in a policy'
}

attack_fds() {
    place fds
    exec 21</etc/hostname 22<>"$D/out/fifo.$$.tmp" 23<"$T"
    inside fds
    exec 21<&- 22<&- 23<&-
    rm -f "$D/out/fifo.$$.tmp"
    all_denied fds 7
}

# A pipe has two ends and no direction for who may open it again: the script that a shell reads from
# its standard input, and the log that other programs of the host write to.
attack_caller_pipes() {
    local pwned=$D/out/pwned run log=$D/out/log got=$WS/got
    OUT=$D/out/out ERR=$D/out/err
    rm -f "$pwned"
    printf -v run '%q ' "${ENVIRONMENT[@]}" timeout $((20 * ${TEST_SLOWER:-1})) "$BERTH" run --quiet --workspace "$WS" -- /bin/sh -c
    # The pipes are made by who runs berth: whose a pipe is decides who may open it again.
    cat >"$D/out/read-script" <<END
echo before
$run "for n in 0 3; do { echo 'echo x >$pwned' >/proc/self/fd/\\\$n; } 2>/dev/null; done; echo tried" 3<&0
END
    "${AS[@]}" /bin/bash -c "/bin/cat '$D/out/read-script' | /bin/bash" </dev/null >"$OUT" 2>"$ERR"
    grep -q '^tried' "$OUT" || fail "the session did not run: $(tail -n 1 "$ERR" | head -c 200)"
    [ ! -e "$pwned" ] || fail "the caller's shell ran what the session wrote to its script"
    # Six lines of the host's, while the session reads what its output and its errors lead to.
    cat >"$D/out/log-script" <<END
{
    for i in 1 2 3 4 5 6; do sleep 0.2; echo "HOST-LINE-\$i"; done &
    $run "exec 3>&1 4>&2; for n in 3 4; do timeout 2 /bin/cat /proc/self/fd/\\\$n >>$got 2>/dev/null & done; wait; echo tried" </dev/null
    wait
} 2>&1 | /bin/cat
END
    "${AS[@]}" /bin/bash "$D/out/log-script" </dev/null >"$log" 2>"$ERR"
    grep -q '^tried' "$log" || fail "the second session did not run: $(head -n 1 "$log" | head -c 200)"
    [ "$(grep -c 'HOST-LINE-' "$log")" = 6 ] || fail "of 6 lines of the host $(grep -c 'HOST-LINE-' "$log") came through"
    if grep -q 'HOST-LINE' "$got"; then fail "the session read the host's: $(head -n 1 "$got")"; fi
}

# What exec() and fork() pass on and no session may have from its caller.
attack_inherited() {
    local before=() kind
    OUT=$D/out/out ERR=$D/out/err
    for kind in 'setarch -R' 'chrt -r 10' 'nice -n -5'; do
        # An ordinary user may not have the last two; root gives them to him.
        read -ra before <<<"$kind"
        if ! "${before[@]}" true 2>/dev/null; then continue; fi
        # shellcheck disable=SC2016 # expanded inside
        "${before[@]}" "${AS[@]}" "${ENVIRONMENT[@]}" timeout $((30 * ${TEST_SLOWER:-1})) "$BERTH" run --workspace "$WS" -- \
            /bin/sh -c 'echo personality $(cat /proc/self/personality); sed "s/.*) //" /proc/self/stat | cut -d " " -f 17,39' \
            </dev/null >"$OUT" 2>"$ERR"
        RC=$?
        # A realtime caller may be refused as a whole, by a cgroup that has no share of that kind.
        if [ "$RC" = 125 ] && [ "${before[0]}" = chrt ]; then continue; fi
        status_is 0 "$kind"
        grep -qx 'personality 00000000' "$OUT" || fail "$kind: $(grep personality "$OUT")"
        grep -qE '^([0-9]|1[0-9]) 0$' "$OUT" || fail "$kind: nice and policy inside are $(tail -n 1 "$OUT")"
    done
}

# No bit, no node, no capability on the host's side of a directory.
no_bits() {
    local found
    found=$(find "$1" \( -perm /6000 -o -type b -o -type c \) -printf '%P(%m,%y) ')
    [ -z "$found" ] || fail "on the host: $found"
    if command -v getfattr >/dev/null; then
        found=$(getfattr -R -m security.capability "$1" 2>/dev/null | head -n 1)
        [ -z "$found" ] || fail "file capabilities on the host: $found"
    fi
}

attack_modes() {
    mkdir -p "$WS/modes"
    if [ "$(id -u)" = 0 ]; then chown "$WS_UID:$WS_UID" "$WS/modes"; fi
    inside modes "$WS/modes"
    all_denied modes 40 '^chown_root'
    no_bits "$WS"
    # What was made is the owner's outside (WS-1).
    local other
    other=$(find "$WS" ! -uid "$WS_UID" -printf '%P(%U) ' | head -c 200)
    [ -z "$other" ] || fail "not the owner's on the host: $other"
    session --user root -- "$WS/.attack/modes" "$WS/modes"
    no_bits "$WS"
}

# A workspace of root's own: what is made there would be root's setuid program.
attack_modes_root_owned() {
    chown 0:0 "$WS"
    WS_UID=0
    mkdir -p "$WS/modes"
    inside modes "$WS/modes"
    all_denied modes 40 '^chown_root'
    no_bits "$WS"
}

attack_setuid_image() {
    need_image || return
    local image=$D/image
    make_image "$image"
    cp "$PROGRAMS/caps" "$image/bin/caps"
    cp "$PROGRAMS/caps" "$image/bin/caps-setuid"
    cp "$PROGRAMS/caps" "$image/bin/caps-setgid"
    cp "$PROGRAMS/caps" "$image/bin/caps-file"
    chown 0:0 "$image"/bin/caps*
    chmod 755 "$image"/bin/caps*
    chmod 4755 "$image/bin/caps-setuid"
    chmod 2755 "$image/bin/caps-setgid"
    # cap_setuid,cap_sys_admin=ep, written as the kernel stores it, when no setcap is there
    if command -v setcap >/dev/null; then
        setcap cap_setuid,cap_sys_admin=ep "$image/bin/caps-file" || need 'setcap does not work here'
    elif command -v setfattr >/dev/null; then
        setfattr -n security.capability -v 0sAQAAAoAAIAAAAAAAAAAAAAAAAAA= "$image/bin/caps-file"
    fi
    session --image "dir:$image" -- /bin/caps /bin/caps-setuid /bin/caps-setgid /bin/caps-file
    all_denied caps 15
    session --image "dir:$image" --user root -- /bin/caps /bin/caps-setuid /bin/caps-setgid /bin/caps-file
    all_denied caps 15
}

# ---- rows 10 to 17 ------------------------------------------------------------------------------------

attack_environment() {
    place environment
    local secret=zq7-host-secret-word token=zq8-host-token-word reversed
    reversed=$(printf '%s' "$secret" | rev)
    OUT=$D/out/out ERR=$D/out/err
    "${AS[@]}" "${ENVIRONMENT[@]}" BERTH_TEST_SECRET=$secret AWS_SECRET_ACCESS_KEY=$secret \
        LD_LIBRARY_PATH=/$secret BERTH_TOKEN=$token SSH_AUTH_SOCK=/tmp/$secret \
        timeout $((60 * ${TEST_SLOWER:-1})) "$BERTH" run --workspace "$WS" -- "$WS/.attack/environment" \
        "$reversed" "$(printf '%s' "$token" | rev)" \
        "$(printf '%s' "$D/state" | rev)" "$(printf '%s' "$D/run" | rev)" \
        </dev/null >"$OUT" 2>"$ERR"
    RC=$?
    all_denied environment 4
    [ "$(sed -n 's/^nodename //p' "$OUT")" != "$(uname -n)" ] || fail "the host's name is seen"
    local extra
    extra=$(sed -n 's/^env //p' "$OUT" | grep -vxE 'PATH|HOME|USER|LOGNAME|LANG|TERM|SHELL|PWD|TMPDIR' | tr '\n' ' ')
    [ -z "$extra" ] || fail "variables that nobody sent: $extra"
}

# berth on a terminal, with --tty $1: what the session types must not reach who sits there.
type_into_terminal() {
    place terminal
    OUT=$D/out/out ERR=$D/out/err
    "${AS[@]}" "${ENVIRONMENT[@]}" timeout $((60 * ${TEST_SLOWER:-1})) "$HOSTSIDE" pty 30 "$BERTH" run --tty "$1" --workspace "$WS" -- \
        "$WS/.attack/terminal" </dev/null >"$OUT.raw" 2>"$ERR"
    RC=$?
    tr -d '\r' <"$OUT.raw" >"$OUT"
    if grep -q '^typed: .*pwned' "$OUT"; then fail "typed into the caller's terminal"; fi
}

attack_terminal() {
    type_into_terminal always
    # On a terminal of the session's own, its own line discipline and its own queue: still refused.
    all_denied terminal 12
    if ! grep -q '^typed: ' "$OUT"; then fail 'the terminal was not looked at'; fi
}

attack_terminal_notty() {
    type_into_terminal never
    all_denied terminal 6
}

attack_escapes() {
    local escape name
    escape=$(printf '\033]0;owned\007\033[2J')
    for name in "/nonexistent/$escape" "./$escape"; do
        session -- "$name"
        if grep -q "$(printf '\033')" "$ERR"; then fail 'an escape sequence of a command name is on stderr'; fi
        berth run --workspace "$D/$escape" -- /bin/true
        if grep -q "$(printf '\033')" "$ERR"; then fail 'an escape sequence of a workspace name is on stderr'; fi
        berth run --policy "$D/$escape" -- /bin/true
        if grep -q "$(printf '\033')" "$ERR"; then fail 'an escape sequence of a policy name is on stderr'; fi
        berth run "--$escape" -- /bin/true
        if grep -q "$(printf '\033')" "$ERR"; then fail 'an escape sequence of an option is on stderr'; fi
    done
    printf '{"version": 1, "%s": 1}' "$escape" >"$D/policy.json"
    session --policy "$D/policy.json" -- /bin/true
    if grep -q "$(printf '\033')" "$ERR"; then fail 'an escape sequence of a policy key is on stderr'; fi
    status_is 125 'a policy with a hostile key'
    # A socket and a file of another's, whose names reach the notes of the run.
    "$HOSTSIDE" listen "path:$WS/s$escape" >/dev/null 2>&1 &
    HELPERS+=($!)
    sleep 0.2
    session -- /bin/true
    if grep -q "$(printf '\033')" "$ERR"; then fail "an escape sequence of a file's name is on stderr"; fi
    kill "${HELPERS[-1]}" 2>/dev/null
    rm -f "$WS/s$escape"
}

# Everything that listens on the host and has a name.
host_sockets() {
    awk 'NR > 1 && $8 ~ /^@/ { print "abstract:" substr($8, 2) }' /proc/net/unix | head -n 40
    local path
    for path in /run/docker.sock /var/run/docker.sock /run/containerd/containerd.sock \
        /run/dbus/system_bus_socket /run/systemd/private /run/systemd/journal/stdout \
        /run/berth/berth.sock /run/user/0/bus /var/lib/lxd/unix.socket /run/podman/podman.sock \
        /run/crio/crio.sock /run/snapd.socket /dev/log; do
        echo "path:$path"
    done
}

attack_connect() {
    local specs log=$D/out/listener
    "$HOSTSIDE" listen "abstract:berth-attack-victim" "abstract:/containerd-shim/x.sock" "path:$D/victim.sock" \
        tcp:4711 udp:4712 >"$log" 2>&1 &
    HELPERS+=($!)
    local i
    for i in $(seq $((10 * ${TEST_SLOWER:-1}))); do grep -q READY "$log" && break; sleep 0.1; done
    chmod 777 "$D/victim.sock"
    mapfile -t specs < <(host_sockets)
    inside connect "${specs[@]}" abstract:berth-attack-victim abstract:/containerd-shim/x.sock \
        "path:$D/victim.sock" tcp:127.0.0.1:4711 tcp:::1:4711 tcp:::ffff:127.0.0.1:4711 udp:127.0.0.1:4712
    # A datagram to the session's own loopback goes nowhere, and sending is no error: the listener's
    # log is the judge.
    all_denied connect 15 '^connect_udp_127.0.0.1'
    kill "${HELPERS[-1]}" 2>/dev/null
    if grep -q '^reached' "$log"; then fail "the host's listener: $(grep -m1 '^reached' "$log")"; fi
    rm -f "$D/victim.sock"
}

attack_keys() {
    inside keys
    all_denied keys 7
}

attack_ipc() {
    place ipc
    local other=$D/out/other i
    timeout -k 5 $((40 * ${TEST_SLOWER:-1})) "${AS[@]}" "${ENVIRONMENT[@]}" "$BERTH" run --workspace "$WS" -- "$WS/.attack/ipc" put 5 \
        </dev/null >"$other" 2>"$other.err" &
    local first=$!
    "$PROGRAMS/ipc" put 5 >"$other.host" &
    local on_host=$!
    for i in $(seq $((50 * ${TEST_SLOWER:-1}))); do grep -q '^put' "$other" && grep -q '^put' "$other.host" && break; sleep 0.1; done
    if ! grep -qE '^put [3-7]' "$other"; then fail "the first session made nothing: $(head -n 1 "$other.err")"; fi
    if ! grep -qE '^put [4-7]' "$other.host"; then fail 'the host made nothing'; fi
    inside ipc look /usr/bin/env
    all_denied ipc 9
    wait "$first" "$on_host"
}

attack_families() {
    inside families
    all_denied families 39
}

attack_pid1() {
    # PID 1 still answers when the program's whole output and its status come through it.
    inside pid1 1
    all_denied pid1 30
    status_is 0 'the session goes on'
    if [ -z "$ONE_ID" ]; then
        session --user root -- "$WS/.attack/pid1" 1
        all_denied pid1 30
        status_is 0 'the session goes on'
    fi
    session -- /bin/sh -c "$WS/.attack/pid1 1 >/dev/null; (sleep 50 & sleep 50 &) ; kill -9 -1; exit 7"
    # -1 is everybody but the caller and PID 1
    status_is 7 'kill -9 -1'
}

# ---- rows 18 to 24 ------------------------------------------------------------------------------------

attack_kernel() {
    inside kernel
    all_denied kernel 85
}

attack_kernel_root() {
    need_inner_root || return
    place kernel
    session --user root -- "$WS/.attack/kernel"
    all_denied kernel 85
}

# The debug profile is for debuggers: ptrace and its kin, nothing of the rest.
attack_kernel_debug() {
    place kernel
    session --seccomp debug -- "$WS/.attack/kernel"
    all_denied kernel 85 '^(ptrace_traceme_bad|process_vm_readv_self|pidfd_getfd|kcmp|personality_no_randomize|perf_event_open)'
}

attack_abi() {
    inside abi
    all_denied abi 17
    if grep -q '^missing int80' "$OUT"; then echo "  note: no 32-bit emulation in this kernel"; fi
}

# In a session that explains denied calls init is asked before one is refused: that is no way past.
explained() {
    has_capability audit.syscall || { need 'audit.syscall is not available'; return 1; }
    OPTIONS+=(--explain)
}
attack_kernel_explained() { explained && attack_kernel; }
attack_modes_explained() { explained && attack_modes; }
attack_abi_explained() { explained && attack_abi; }

# debug allows what reaches for another process: not for init, nor for the listeners that it holds.
attack_pid1_explained() {
    explained || return
    OPTIONS+=(--seccomp debug)
    inside pid1 1
    all_denied pid1 30
    status_is 0 'the session goes on'
    inside fds
    all_denied fds 7
}

attack_cgroup() {
    inside cgroup
    all_denied cgroup 6
    if [ -n "$ONE_ID" ]; then return; fi
    session --user root -- "$WS/.attack/cgroup"
    all_denied cgroup 6
}

# The program opens for writing; what of that is the session's own is none of the host's business:
# the limits of its own network, ipc and uts namespaces, and its own process's maps (already set,
# which a write is told by EPERM).
# The kernel's configuration is as public as its version.
PROC_ALLOWED='^(read:/proc/config.gz|write:/proc/(self/(uid_map|gid_map|setgroups)|sys/net/ipv4/(ip_forward|ping_group_range|ip_unprivileged_port_start)|sys/kernel/(shmmax|msgmax|ns_last_pid|hostname|domainname)|sys/fs/mqueue/msg_max))'

attack_procfs() {
    inside procfs
    all_denied procfs 90 "$PROC_ALLOWED"
}

attack_procfs_root() {
    need_inner_root || return
    place procfs
    session --user root -- "$WS/.attack/procfs"
    all_denied procfs 90 "$PROC_ALLOWED"
}

base_file() {
    # A copy of some program would not be the base: a file of the host's /usr that nobody needs.
    BASE=/usr/share/common-licenses/GPL-3
    [ -f "$BASE" ] || BASE=/usr/share/common-licenses/Apache-2.0
    [ -f "$BASE" ] || BASE=/usr/bin/env
}

run_base() {
    base_file
    local before
    before=$(sha256sum "$BASE"; stat -c '%a %u %g %Y %Z %i' "$BASE"; ls "$(dirname "$BASE")" | sha256sum)
    place base
    echo host-secret >"$D/secret"
    chmod 600 "$D/secret"
    session "$@" -- "$WS/.attack/base" "$BASE" /etc/shadow /etc/gshadow /root/.bashrc /etc/ssh/ssh_host_rsa_key \
        "$D/secret" "$T/etc/passwd" /etc/sudoers
    all_denied base 20 '^map_shared_writable_never'
    [ "$before" = "$(sha256sum "$BASE"; stat -c '%a %u %g %Y %Z %i' "$BASE"; ls "$(dirname "$BASE")" | sha256sum)" ] ||
        fail "$BASE is not what it was"
}
attack_base() { run_base; }
attack_base_root() { need_inner_root && run_base --user root; }

# ---- rows 25 to 31b -------------------------------------------------------------------------------------

need_limit() { has_capability "$1" || need "$1 is not available"; [ -z "$SKIP" ]; }

attack_forkbomb() {
    need_limit limits.pids || return
    place resources
    # Others' sessions are measured while the bomb goes on.
    local started=$D/out/bomb before after i
    before=$(date +%s%N)
    for i in 1 2 3; do session -- /bin/true; done
    before=$((($(date +%s%N) - before) / 3))
    timeout -k 5 $((40 * ${TEST_SLOWER:-1})) "${AS[@]}" "${ENVIRONMENT[@]}" "$BERTH" run --workspace "$WS" --pids 200 --cpus 0.8 --timeout "$((6 * ${TEST_SLOWER:-1}))s" -- \
        "$WS/.attack/resources" forkbomb </dev/null >"$started" 2>"$started.err" &
    local bomb=$!
    for i in $(seq $((50 * ${TEST_SLOWER:-1}))); do grep -q started "$started" && break; sleep 0.1; done
    local most=0 count
    for i in $(seq $((6 * ${TEST_SLOWER:-1}))); do
        # An emulated machine forks slowly; it is told apart from a bomb that does not go off by time.
        if [ "$i" -gt 6 ] && [ "$most" -ge 100 ]; then break; fi
        sleep 0.3
        count=$("$HOSTSIDE" count)
        [ "$count" -gt "$most" ] && most=$count
    done
    after=$(date +%s%N)
    for i in 1 2 3; do session -- /bin/true; [ "$RC" = 0 ] || fail "another session could not run: $(head -n 1 "$ERR")"; done
    after=$((($(date +%s%N) - after) / 3))
    wait "$bomb"
    RC=$?
    ERR=$started.err
    [ "$most" -le 260 ] || fail "$most processes with a limit of 200"
    [ "$most" -ge 100 ] || fail "only $most processes were seen: the bomb did not go off"
    # 3 times, and 50 ms for a machine with two processors and other work.
    [ $((after / 1000000)) -le $((before / 1000000 * 3 + 50)) ] ||
        fail "another session took $((after / 1000000)) ms, $((before / 1000000)) ms before"
}

# The kernel's limit is memory + scratch, as berth says: 64 + 32 MiB here.
run_memory() { # kind, directory
    need_limit limits.memory || return
    place resources
    session --memory 64MiB --scratch 32MiB --timeout 60s --result "$D/out/result" -- \
        "$WS/.attack/resources" "$1" 400 "$2"
    if grep -q '^taken 400 of' "$OUT"; then
        fail '400 MiB were had with a limit of 96 MiB'
    fi
    grep -q '^started' "$OUT" || fail "did not start: $(head -n 1 "$ERR")"
    case $RC in
    137) grep -q '"reason": *"oom"' "$D/out/result" || fail "the record does not say oom" ;;
    3) : ;; # refused before the limit: an error of the call, which is as good
    *) fail "status $RC: $(tail -n 1 "$OUT") $(tail -n 1 "$ERR")" ;;
    esac
    session -- /bin/true
    status_is 0 'the next session'
}
attack_memory_heap() { run_memory heap /tmp; if [ -z "$SKIP$REASON" ]; then oom_said; fi; }
oom_said() { grep -q '"oom"' "$D/out/result" || fail 'heap over the limit was not reported as oom'; }
attack_memory_tmpfs() { run_memory tmpfs /dev/shm; }
attack_memory_memfd() { run_memory memfd /tmp; }
attack_memory_shm() { run_memory shm /tmp; }
attack_memory_pipes() { run_memory pipes /tmp; }
attack_memory_sockets() { run_memory sockets /tmp; }
# The workspace of this one is on a disk: the pages of a tmpfs cannot be reclaimed, and /tmp is one on many hosts.
attack_memory_cache() {
    # Page cache of the workspace is charged and reclaimed: 400 MiB written under 96 MiB must work.
    need_limit limits.memory || return
    local WS=$WS disk
    if [ "$(stat -f -c %T "$WS")" = tmpfs ]; then
        disk=$(mktemp -d /var/tmp/attack-disk.XXXXXX) || { fail 'no directory in /var/tmp'; return; }
        chmod 755 "$disk"
        WS=$disk/ws
        mkdir "$WS" && chown "$WS_UID:$WS_UID" "$WS" || fail 'no workspace in /var/tmp'
        if [ "$(stat -f -c %T "$WS")" = tmpfs ]; then need '/tmp and /var/tmp are both in memory'; fi
    fi
    if [ -z "$SKIP$REASON" ]; then
        place resources
        session --memory 64MiB --scratch 32MiB -- "$WS/.attack/resources" cache 400 "$WS"
        status_is 0 'writing more than the memory limit to a disk'
    fi
    if [ -n "${disk:-}" ]; then rm -rf --one-file-system "$disk"; fi
}

run_disk() { # kind directory
    has_capability limits.scratch_bytes || { need 'limits.scratch_bytes is not available'; return; }
    place resources
    TIME=120
    session --scratch 64MiB -- "$WS/.attack/resources" "$1" "$2"
    status_is 0 "$(head -n 1 "$OUT" | head -c 100)"
    session -- /bin/true
    status_is 0 'the next session'
}
attack_disk_fill() {
    run_disk fill /tmp
    [ -n "$SKIP" ] && return
    local mib
    mib=$(sed -n 's/^fill \([0-9]*\) MiB.*/\1/p' "$OUT.fill" 2>/dev/null)
    session --scratch 64MiB -- "$WS/.attack/resources" fill /home/user
    mib=$(sed -n 's/^fill \([0-9]*\) MiB.*/\1/p' "$OUT")
    [ -n "$mib" ] && [ "$mib" -le 64 ] || fail "$mib MiB were written with a cap of 64 MiB"
    # One cap for all of them together.
    session --scratch 64MiB -- /bin/sh -c "for d in /tmp /home/user /var/tmp /run /dev/shm; do [ -w \$d ] && $WS/.attack/resources fill \$d; done"
    mib=$(sed -n 's/^fill \([0-9]*\) MiB.*/\1/p' "$OUT" | awk '{ s += $1 } END { print s + 0 }')
    [ "$mib" -le 66 ] || fail "$mib MiB were written in all with a cap of 64 MiB"
}
attack_disk_inodes() {
    has_capability limits.scratch_inodes || { need 'limits.scratch_inodes is not available'; return; }
    run_disk inodes /tmp
}
attack_disk_sparse() { run_disk sparse /tmp; }
attack_disk_deep() {
    run_disk deep /tmp
    [ -n "$SKIP" ] && return
    # In the workspace it stays, and berth still comes to an end with it (protect, sockets are looked for).
    place resources
    session -- "$WS/.attack/resources" deep "$WS"
    session -- /bin/true
    status_is 0 'a session on a workspace 10,000 levels deep'
}
attack_disk_names() { run_disk names /tmp; session -- "$WS/.attack/resources" names "$WS"; session -- /bin/true; status_is 0 'hostile names in the workspace'; }

peak_memory() { # of the berth process that is $1's child
    sed -n 's/^VmHWM:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$1/status" 2>/dev/null
}

attack_flood() {
    place resources
    OUT=$D/out/flood ERR=$D/out/err
    timeout -k 5 $((60 * ${TEST_SLOWER:-1})) "${AS[@]}" "${ENVIRONMENT[@]}" "$BERTH" run --workspace "$WS" -- \
        "$WS/.attack/resources" flood 300000000 </dev/null 2>"$ERR" | wc -c >"$OUT"
    RC=${PIPESTATUS[0]}
    status_is 0
    [ "$(cat "$OUT")" -ge 300000000 ] || fail "only $(cat "$OUT") of 300,000,000 bytes came out"
}

attack_line() {
    place resources
    OUT=$D/out/flood ERR=$D/out/err
    "$HOSTSIDE" pty 60 "${AS[@]}" "${ENVIRONMENT[@]}" timeout -k 5 $((60 * ${TEST_SLOWER:-1})) "$BERTH" run --tty always --workspace "$WS" -- \
        "$WS/.attack/resources" line 20000000 </dev/null 2>"$ERR" | wc -c >"$OUT"
    RC=${PIPESTATUS[0]}
    status_is 0
    [ "$(cat "$OUT")" -ge 20000000 ] || fail "only $(cat "$OUT") bytes came out of the terminal"
}

attack_never_read() {
    place resources
    mkfifo "$D/out/fifo"
    OUT=$D/out/out ERR=$D/out/err
    # A reader that holds the pipe and does not read; the deadline must still be kept.
    # shellcheck disable=SC2217 # it holds the end open
    sleep 20 <"$D/out/fifo" &
    local reader=$! start
    start=$(date +%s)
    timeout -k 5 $((30 * ${TEST_SLOWER:-1})) "${AS[@]}" "${ENVIRONMENT[@]}" "$BERTH" run --workspace "$WS" --timeout 2s -- \
        "$WS/.attack/resources" flood 300000000 </dev/null 2>"$ERR" >"$D/out/fifo"
    RC=$?
    kill "$reader"
    wait "$reader" 2>/dev/null
    rm -f "$D/out/fifo"
    status_is 124 timeout
    [ $(($(date +%s) - start)) -le 10 ] || fail "took $(($(date +%s) - start)) s to end"
}

attack_zombies() {
    place resources
    TIME=120
    session --timeout "$((100 * ${TEST_SLOWER:-1}))s" -- "$WS/.attack/resources" zombies "${ZOMBIES:-20000}"
    status_is 0
    grep -q "^zombies ${ZOMBIES:-20000}" "$OUT" || fail "$(tail -n 1 "$OUT")"
    # None waits to be reaped while the command still runs.
    session -- /bin/sh -c "$WS/.attack/resources zombies 500 >/dev/null; sleep 0.3; grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l"
    [ "$(tail -n 1 "$OUT")" = 0 ] || fail "$(tail -n 1 "$OUT") zombies were left to PID 1"
}

attack_stopped() {
    place resources
    TIME=20
    session -- "$WS/.attack/resources" stopped
    status_is 0
    local start
    start=$(date +%s)
    session --timeout 1s -- /bin/sh -c "$WS/.attack/resources stopped; kill -STOP \$\$"
    status_is 124 timeout
    [ $(($(date +%s) - start)) -le 8 ] || fail 'a stopped command outlived its deadline'
}

attack_kill_race() {
    local i pid delay signal rounds=${ROUNDS:-60}
    for i in $(seq "$rounds"); do
        "${AS[@]}" "${ENVIRONMENT[@]}" "$BERTH" run --workspace "$WS" --quiet -- \
            /bin/sh -c 'setsid sleep 100 & exec sleep 100' </dev/null >/dev/null 2>&1 &
        pid=$!
        # Before berth is there the shell's own child has INT ignored.
        local waited
        for waited in $(seq $((200 * ${TEST_SLOWER:-1}))); do [ "$(readlink "/proc/$pid/exe")" = "$BERTH" ] && break; sleep 0.005; done
        delay=$(printf '0.%03d' $((i * 37 % 60)))
        sleep "$delay"
        case $((i % 3)) in 0) signal=KILL ;; 1) signal=TERM ;; *) signal=INT ;; esac
        # berth itself, not the shell function or setpriv (which has become berth by exec)
        kill -$signal "$pid" 2>/dev/null
        for waited in $(seq $((100 * ${TEST_SLOWER:-1}))); do kill -0 "$pid" 2>/dev/null || break; sleep 0.05; done
        kill -0 "$pid" 2>/dev/null && { fail "round $i: SIG$signal after $delay s did not end berth"; kill -KILL "$pid"; }
        wait "$pid" 2>/dev/null
    done
    session -- /bin/true
    status_is 0 'a run after the race'
}

# A session takes all it can of one kind; a second one must get what it needs at the same time.
run_share() { # kind, needed by the second
    place resources
    local first=$D/out/first i
    timeout -k 5 $((60 * ${TEST_SLOWER:-1})) "${AS[@]}" "${ENVIRONMENT[@]}" "$BERTH" run --workspace "$WS" -- \
        "$WS/.attack/resources" hold "$1" 6 </dev/null >"$first" 2>"$first.err" &
    local holder=$!
    for i in $(seq $((150 * ${TEST_SLOWER:-1}))); do grep -q '^took' "$first" && break; sleep 0.1; done
    grep -q '^took' "$first" || fail "the first did not come so far: $(tail -n 1 "$first.err")"
    session -- "$WS/.attack/resources" count "$1" "$2"
    grep -q "^took $1 $2 then stopped" "$OUT" || fail "first: $(head -n 1 "$first"), second: $(head -n 1 "$OUT")"
    # and the host's own user 0 as well as this user
    "$PROGRAMS/resources" count "$1" "$2" | grep -q "^took $1 $2 then stopped" || fail 'the host got less'
    wait "$holder"
}
# A user's budgets are counted once for all of his sessions where they are his: that is a fact of
# rootless, stated in THREATS.md; the host's other users are not touched.
single_user() { [ "$MODE" != root ]; }
attack_share_inotify() { if single_user; then need 'inotify budgets are one for all sessions of an ordinary user'; return; fi; run_share inotify 100; }
attack_share_pipes() { if single_user; then need 'pipe budgets are one for all sessions of an ordinary user'; return; fi; run_share pipes 200; }
attack_share_signals() { if single_user; then need 'signal budgets are one for all sessions of an ordinary user'; return; fi; run_share signals 500; }
attack_share_files() { run_share descriptors 500; }

# The number of terminals is the whole kernel's.
attack_share_terminals() {
    place resources
    local first=$D/out/first i
    timeout -k 5 $((60 * ${TEST_SLOWER:-1})) "${AS[@]}" "${ENVIRONMENT[@]}" "$BERTH" run --workspace "$WS" -- \
        "$WS/.attack/resources" hold terminals 6 </dev/null >"$first" 2>"$first.err" &
    local holder=$!
    for i in $(seq $((150 * ${TEST_SLOWER:-1}))); do grep -q '^took' "$first" && break; sleep 0.1; done
    local count
    count=$(sed -n 's/^took terminals \([0-9]*\).*/\1/p' "$first")
    [ "${count:-0}" -ge 16 ] && [ "$count" -le 64 ] || fail "the first took ${count:-no} terminals, not 16 to 64"
    session --tty always -- /bin/echo second
    status_is 0 'a terminal for a second session'
    wait "$holder"
}

attack_descriptor_out() {
    place fds
    OUT=$D/out/out ERR=$D/out/err
    "${AS[@]}" "${ENVIRONMENT[@]}" timeout $((30 * ${TEST_SLOWER:-1})) "$HOSTSIDE" socket "$BERTH" run --workspace "$WS" -- \
        "$WS/.attack/fds" </dev/null >"$OUT" 2>"$ERR"
    RC=$?
    # stderr of the run is the same socket here
    all_denied fds 7
    "${AS[@]}" "${ENVIRONMENT[@]}" timeout $((30 * ${TEST_SLOWER:-1})) "$HOSTSIDE" datagram "$BERTH" run --workspace "$WS" -- \
        "$WS/.attack/fds" </dev/null >"$OUT" 2>"$ERR"
    RC=$?
    status_is 125 'a datagram socket as standard input'
}

attack_birth() {
    local i
    for i in 1 2 3 4 5 6 7 8; do
        session --timeout 200ms -- /bin/sleep 30
        status_is 124 timeout
        session -- /bin/sh -c 'echo born'
        status_is 0 "born after a kill, round $i"
        grep -q born "$OUT" || fail "round $i: no output"
    done
    local pids=() pid
    for i in 1 2 3 4 5 6 7 8; do
        timeout $((30 * ${TEST_SLOWER:-1})) "${AS[@]}" "${ENVIRONMENT[@]}" "$BERTH" run --workspace "$WS" -- /bin/true </dev/null >/dev/null 2>&1 &
        pids+=($!)
        timeout $((30 * ${TEST_SLOWER:-1})) "${AS[@]}" "${ENVIRONMENT[@]}" "$BERTH" run --workspace "$WS" --timeout 50ms -- /bin/sleep 9 \
            </dev/null >/dev/null 2>&1 &
    done
    for pid in "${pids[@]}"; do wait "$pid" || fail "died at birth (status $?)"; done
    wait
}

# ---- rows 36 to 39, 44 --------------------------------------------------------------------------------------

attack_swapped() {
    local elsewhere=$D/elsewhere out=$D/out/swapped i
    rm -rf "$elsewhere"
    mkdir -p "$elsewhere"
    if [ "$(id -u)" = 0 ]; then chown "$WS_UID:$WS_UID" "$elsewhere"; fi
    place workspace
    timeout -k 5 $((30 * ${TEST_SLOWER:-1})) "${AS[@]}" "${ENVIRONMENT[@]}" "$BERTH" run --workspace "$WS" -- \
        "$WS/.attack/workspace" wait written 2 </dev/null >"$out" 2>"$out.err" &
    local pid=$!
    for i in $(seq $((50 * ${TEST_SLOWER:-1}))); do grep -q ready "$out" && break; sleep 0.1; done
    mv "$WS" "$WS.real"
    ln -s "$elsewhere" "$WS"
    sleep 0.5
    rm -f "$WS.real/written"
    wait "$pid"
    [ -z "$(ls -A "$elsewhere")" ] || fail 'the link that took its place was followed'
    [ -e "$WS.real/written" ] || fail 'the pinned directory was not written: the test proves nothing'
    # A workspace that is a link from the start: its owner's own doing; never through to another's.
    rm -f "$WS"
    mv "$WS.real" "$WS"
    # A link that another user (or an earlier session, through its workspace) has put where berth's
    # user will name a directory: it must not choose what of berth's user's own is shared.
    mkdir -p "$WS/project" "$D/own"
    ln -sfn "$D/own" "$WS/project/sub"
    if [ "$(id -u)" = 0 ]; then
        chown -hR "$OTHER_UID:$OTHER_UID" "$WS/project"
        chown "$UID_HERE:$UID_HERE" "$D/own"
        chmod 755 "$WS/project"
        berth run --workspace "$WS/project/sub" -- /bin/sh -c 'echo x >planted'
        [ ! -e "$D/own/planted" ] || { fail "another user's link was followed as workspace"; rm -f "$D/own/planted"; }
    fi
}

# A record is written to the project's directory by name: an earlier session chose what is there.
attack_planted_result() {
    local victim=$D/victim-result kind
    rm -f "$victim"
    echo mine >"$victim"
    chmod 600 "$victim"
    if [ "$(id -u)" = 0 ]; then chown "$UID_HERE:$UID_HERE" "$victim"; fi
    mkdir -p "$WS/out"
    if [ "$(id -u)" = 0 ]; then chown "$WS_UID:$WS_UID" "$WS/out"; fi
    session -- /bin/sh -c "ln -s $victim $WS/link.json; ln -s $D $WS/out/dir; ln -s /dev/null $WS/device.json
        mkfifo $WS/fifo.json; ln $WS/link.json $WS/hard.json"
    status_is 0 'planting'
    for kind in link.json out/dir/victim-result device.json fifo.json hard.json; do
        TIME=10
        session --result "$WS/$kind" -- /bin/true
        case $RC in 124 | 137) fail "--result $kind: hangs" ;; esac
        [ "$(cat "$victim")" = mine ] || fail "--result $kind: another file was replaced by the record"
        [ "$(stat -c %a "$victim")" = 600 ] || fail "--result $kind: the mode of another file was changed"
    done
    [ -c /dev/null ] || fail 'a device was replaced'
    # An honest name in the same directory is written.
    session --result "$WS/honest.json" -- /bin/true
    grep -q '"session_id"' "$WS/honest.json" || fail 'a plain result file was not written'
}

git_workspace() {
    mkdir -p "$WS/.git/hooks" "$WS/.git/info" "$WS/.vscode"
    printf '[core]\n\tbare = false\n' >"$WS/.git/config"
    printf 'ref: refs/heads/main\n' >"$WS/.git/HEAD"
    echo '{}' >"$WS/.vscode/settings.json"
    echo 'export A=1' >"$WS/.envrc"
    echo '{}' >"$WS/.mcp.json"
    if [ "$(id -u)" = 0 ]; then chown -R "$WS_UID:$WS_UID" "$WS"; fi
}

attack_protected() {
    git_workspace
    local before
    before=$(fingerprint "$WS/.git/hooks"; fingerprint "$WS/.vscode"; sha256sum "$WS/.envrc" "$WS/.mcp.json")
    place workspace
    session --cwd "$WS" -- "$WS/.attack/workspace" protect .git/hooks .vscode .envrc .mcp.json
    all_denied workspace 30 '^(chmod|hardlink_out)'
    [ "$before" = "$(fingerprint "$WS/.git/hooks"; fingerprint "$WS/.vscode"; sha256sum "$WS/.envrc" "$WS/.mcp.json")" ] ||
        fail 'a protected path is not what it was on the host'
    [ -d "$WS/.git/hooks" ] && [ ! -L "$WS/.git" ] || fail '.git was replaced'
    # A hard link to a protected file reaches the same inode under another name.
    session --cwd "$WS" -- /bin/sh -c 'ln .envrc other && echo evil >>other; ln -f .envrc .envrc.2 && echo evil >>.envrc.2; true'
    [ "$before" = "$(fingerprint "$WS/.git/hooks"; fingerprint "$WS/.vscode"; sha256sum "$WS/.envrc" "$WS/.mcp.json")" ] ||
        fail 'a protected file was written through another name'
    # A whole tree moved from inside, in one rename of an ancestor below the workspace's root.
    session --protect a/b/c --cwd "$WS" -- /bin/sh -c 'mkdir -p a/b/c; true'
    mkdir -p "$WS/a/b/c"
    if [ "$(id -u)" = 0 ]; then chown -R "$WS_UID:$WS_UID" "$WS/a"; fi
    session --protect a/b/c --cwd "$WS" -- "$WS/.attack/workspace" protect a/b/c
    all_denied workspace 8
    session --protect a/b/c --cwd "$WS" -- /bin/sh -c 'mv a aa; mkdir -p a/b/c && echo evil >a/b/c/hook'
    [ ! -e "$WS/a/b/c/hook" ] || fail 'the ancestor was renamed away'
}

# What is not there yet and would be run by a host's program later.
attack_protected_absent() {
    mkdir -p "$WS/.git"
    if [ "$(id -u)" = 0 ]; then chown -R "$WS_UID:$WS_UID" "$WS/.git"; fi
    place workspace
    session --cwd "$WS" -- "$WS/.attack/workspace" protect .git/hooks .envrc .vscode
    all_denied workspace 15 '^(chmod|hardlink_out)'
    local path
    for path in .git/hooks .envrc .vscode; do
        [ ! -e "$WS/$path" ] || fail "the placeholder of $path is still there: $(stat -c '%F %s' "$WS/$path")"
    done
}

# A repository whose config and hooks are the session's, where git is told to look for them.
attack_git_elsewhere() {
    local before
    place workspace
    mkdir -p "$WS/real/hooks"
    echo 'gitdir: real' >"$WS/.git"
    if [ "$(id -u)" = 0 ]; then chown -R "$WS_UID:$WS_UID" "$WS/.git" "$WS/real"; fi
    before=$(fingerprint "$WS/.git")
    session --cwd "$WS" -- "$WS/.attack/workspace" protect .git
    all_denied workspace 5 '^(chmod|hardlink_out)'
    [ "$before" = "$(fingerprint "$WS/.git")" ] || fail '.git leads elsewhere now'
    fresh_workspace
    place workspace
    mkdir -p "$WS/.git/hooks"
    echo . >"$WS/.git/commondir"
    if [ "$(id -u)" = 0 ]; then chown -R "$WS_UID:$WS_UID" "$WS/.git"; fi
    before=$(fingerprint "$WS/.git/commondir")
    session --cwd "$WS" -- "$WS/.attack/workspace" protect .git/commondir
    all_denied workspace 5 '^(chmod|hardlink_out)'
    [ "$before" = "$(fingerprint "$WS/.git/commondir")" ] || fail '.git/commondir leads elsewhere now'
    # What is missing cannot be held: whoever goes on with it there is told.
    rm "$WS/.git/commondir"
    session --cwd "$WS" -- /bin/sh -c 'echo ../evil >.git/commondir'
    grep -q '\.git/commondir could not be protected and is there now' "$ERR" || fail "a planted .git/commondir is not told: $(cat "$ERR")"
    fresh_workspace
    session --cwd "$WS" -- /bin/sh -c 'echo gitdir: evil >.git'
    grep -q '\.git could not be protected and is there now' "$ERR" || fail "a planted .git is not told: $(cat "$ERR")"
    fresh_workspace
    session --cwd "$WS" -- /bin/sh -c 'mkdir .git; echo >.git/config'
    ! grep -q '\.git could not' "$ERR" || fail 'a repository is told as a way around itself'
}

# What a shell or an ssh server reads in a home: $HOME is one, and so is what has one of these files.
attack_protected_home() {
    place workspace
    local before=("${ENVIRONMENT[@]}") path
    ENVIRONMENT+=("HOME=$WS")
    session --cwd "$WS" -- "$WS/.attack/workspace" protect .bashrc .zshenv .ssh
    ENVIRONMENT=("${before[@]}")
    all_denied workspace 15 '^(chmod|hardlink_out)'
    for path in .bashrc .zshenv .ssh .profile; do
        [ ! -e "$WS/$path" ] || fail "the placeholder of $path is still there: $(stat -c '%F %s' "$WS/$path")"
    done
    echo mine >"$WS/.profile"
    if [ "$(id -u)" = 0 ]; then chown "$WS_UID:$WS_UID" "$WS/.profile"; fi
    session --cwd "$WS" -- "$WS/.attack/workspace" protect .profile .bashrc .ssh
    all_denied workspace 15 '^(chmod|hardlink_out)'
    [ "$(cat "$WS/.profile")" = mine ] || fail '.profile is not what it was'
    [ ! -e "$WS/.bashrc" ] || fail 'a .bashrc is on the host'
}

# Elsewhere nothing reads it: it can be made, is told, and from then on the directory counts as a home.
attack_planted_elsewhere() {
    session --cwd "$WS" -- /bin/sh -c 'echo evil >.bashrc && mkdir .ssh && echo key >.ssh/authorized_keys'
    status_is 0
    [ "$(grep -c ': note: \.\(bashrc\|ssh\) appeared: nothing reads it unless' "$ERR")" = 2 ] ||
        fail "what was planted was not told: $(head -n 3 "$ERR" | tr '\n' ' ')"
    place workspace
    session --cwd "$WS" -- "$WS/.attack/workspace" protect .bashrc .zshrc .ssh
    all_denied workspace 15 '^(chmod|hardlink_out)'
    fresh_workspace
    session --policy locked-down --cwd "$WS" -- /bin/sh -c 'echo evil >.bashrc'
    [ "$RC" != 0 ] && [ ! -e "$WS/.bashrc" ] || fail 'locked-down let a .bashrc be planted'
}

# ---- rows 32 to 34, 38: the file worker -------------------------------------------------------------

# The file worker, where the session can execute it, and a place outside that a name could lead to.
place_files() {
    local program=${BERTH%/*}/berth-files
    # An ordinary user cannot copy a file of mode 0111, not even his own.
    [ -r "$program" ] || program=$BUILD/obj/berth-files
    mkdir -p "$WS/.attack" "$T/outside"
    cp -f "$program" "$WS/.attack/berth-files"
    chmod 755 "$WS/.attack" "$WS/.attack/berth-files"
    printf 'HOSTBYTES' >"$T/outside/f"
    chmod 777 "$T/outside"
    chmod 666 "$T/outside/f"
    if [ "$(id -u)" = 0 ]; then chown -R "$WS_UID:$WS_UID" "$WS/.attack"; fi
}

READ_ALL=0:0:18446744073709551615:0:0:0:0:0
WRITE_ALL=0:0:0:0:0:0:0:0

files_read() { session -- "$WS/.attack/berth-files" read "$READ_ALL" "$1" '' '' ''; }
files_write() {
    STDIN=$WS/.attack/berth-files
    session -- "$WS/.attack/berth-files" write "$WRITE_ALL" "$1" '' '' ''
    STDIN=/dev/null
}

outside_is_whole() {
    [ "$(cat "$T/outside/f")" = HOSTBYTES ] || fail 'the file outside was written'
    [ "$(find "$T/outside" | wc -l)" = 2 ] || fail 'something was made outside'
}

attack_file_links() {
    place_files
    local to n=0
    ln -s loop2 "$WS/loop1"
    ln -s loop1 "$WS/loop2"
    for to in "$T/outside/f" ../outside/f "../../../../../../../..$T/outside/f" "/proc/self/root$T/outside/f" \
        /proc/1/root/etc/shadow /proc/self/cwd/../outside/f /proc/self/fd/0 loop1 "$T/outside/new"; do
        n=$((n + 1))
        ln -s "$to" "$WS/link$n"
        files_read "$WS/link$n"
        if grep -q HOSTBYTES "$OUT" || [ "$RC" = 0 ]; then fail "a link to $to was read"; fi
        files_write "$WS/link$n"
        outside_is_whole
    done
    files_read "$WS/loop1"
    [ "$RC" = 1 ] || fail "a loop: status $RC"
    ln -s "$T/outside" "$WS/parent"
    files_read "$WS/parent/f"
    if grep -q HOSTBYTES "$OUT" || [ "$RC" = 0 ]; then fail 'read through a linked parent'; fi
    files_write "$WS/parent/g"
    outside_is_whole
}

# Archives that lead to the place outside, each in its own way.
attack_archives() {
    place_files
    local how evil="$WS/.attack/evil.tar"
    mkdir -p "$T/make/in"
    echo evil >"$T/make/f"
    for how in absolute up link hard-absolute hard-link; do
        rm -rf "$T/make/in" "$T/make/l" && mkdir "$T/make/in"
        case $how in
            absolute) tar -C "$T/make" -P --transform "s|^f|$T/outside/f|" -cf "$evil" f ;;
            up) tar -C "$T/make" -P --transform "s|^f|../../../../../../..$T/outside/f|" -cf "$evil" f ;;
            link | hard-link)
                ln -s "$T/outside" "$T/make/l"
                tar -C "$T/make" -cf "$evil" l
                rm "$T/make/l" && mkdir "$T/make/l" && echo evil >"$T/make/l/f" && ln "$T/make/l/f" "$T/make/l/g"
                tar -C "$T/make" -rf "$evil" l/f l/g
                rm -r "$T/make/l"
                ;;
            hard-absolute)
                ln "$T/make/f" "$T/make/in/f"
                tar -C "$T/make" -P --transform "s|^f|$T/outside/f|" -cf "$evil" f in/f
                tar -P --delete -f "$evil" "$T/outside/f"
                ;;
        esac
        chmod 644 "$evil"
        STDIN=$evil
        session -- "$WS/.attack/berth-files" tar_write "$WRITE_ALL" "$WS/unpacked-$how" '' '' ''
        STDIN=/dev/null
        [ "$RC" = 1 ] || fail "an archive ($how): status $RC"
        outside_is_whole
    done
    tar -C "$T/make" -cf "$evil" f
    STDIN=$evil
    session -- "$WS/.attack/berth-files" tar_write "$WRITE_ALL" "$WS/unpacked" '' '' ''
    STDIN=/dev/null
    [ "$RC" = 0 ] && [ -e "$WS/unpacked/f" ] || fail "an honest archive is not unpacked: status $RC"
}

attack_file_storm() {
    place_files
    TIME=60
    session -- /bin/sh -c "mkdir '$WS/d'; echo inside >'$WS/d/f'
        (while :; do mv '$WS/d' '$WS/e'; ln -s '$T/outside' '$WS/d'; rm '$WS/d'; mv '$WS/e' '$WS/d'; done) &
        i=0; while [ \$i -lt ${STORM:-500} ]; do i=\$((i + 1))
            '$WS/.attack/berth-files' read '$READ_ALL' '$WS/d/f' '' '' '' 2>/dev/null && echo was-read
            echo inside | '$WS/.attack/berth-files' write '$WRITE_ALL' '$WS/d/f' '' '' '' 2>/dev/null
        done; kill %1 2>/dev/null; exit 0"
    status_is 0
    if grep -q HOSTBYTES "$OUT"; then fail 'bytes of the host were read'; fi
    grep -q was-read "$OUT" || fail 'nothing was ever read: the storm proves nothing'
    outside_is_whole
}

attack_file_kinds() {
    place_files
    TIME=5
    mkfifo "$WS/fifo"
    ln -s fifo "$WS/link"
    local path
    for path in "$WS/fifo" "$WS/link" /dev/zero /dev/null /dev/tty /proc/kmsg /proc/self/mem; do
        files_read "$path"
        [ "$RC" = 1 ] || fail "$path read: status $RC"
        files_write "$path"
        [ "$RC" = 1 ] || fail "$path written: status $RC"
    done
}

attack_file_names() {
    place workspace
    session --cwd "$WS" -- "$WS/.attack/workspace" names
    status_is 0
    place_files
    local path count=0
    while IFS= read -r -d '' path; do
        count=$((count + 1))
        printf 'content %s' "$count" >"$path"
        files_read "$path"
        [ "$(cat "$OUT")" = "content $count" ] || fail "name $count was not fetched: status $RC"
    done < <(find "$WS" -maxdepth 1 -type f -print0)
    [ "$count" -ge 9 ] || fail "only $count names"
}

attack_names() {
    place workspace
    session --cwd "$WS" -- "$WS/.attack/workspace" names
    status_is 0
    local count
    count=$(grep -c '^made .*: yes' "$OUT")
    [ "$count" -ge 9 ] || fail "only $count of 9 names could be made"
    session -- /bin/true
    status_is 0 'the next session'
    [ "$(find "$WS" -maxdepth 1 -type f -printf x | wc -c)" -ge 9 ] || fail 'the names are not on the host'
}

attack_workspace_socket() {
    local log=$D/out/listener i
    mkdir -p "$WS/sub/deep"
    "$HOSTSIDE" listen "path:$WS/docker.sock" "path:$WS/sub/deep/agent.sock" >"$log" 2>&1 &
    HELPERS+=($!)
    for i in $(seq $((20 * ${TEST_SLOWER:-1}))); do grep -q READY "$log" && break; sleep 0.1; done
    chmod 777 "$WS/docker.sock" "$WS/sub/deep/agent.sock"
    inside connect "path:$WS/docker.sock" "path:$WS/sub/deep/agent.sock"
    all_denied connect 2
    OPTIONS=(--read-only-workspace)
    inside connect "path:$WS/docker.sock" "path:$WS/sub/deep/agent.sock"
    all_denied connect 2
    # Another way to the same directory: an extra mount.
    place connect
    OPTIONS=()
    session --ro "$WS/sub:/mnt/extra" -- "$WS/.attack/connect" path:/mnt/extra/deep/agent.sock
    all_denied connect 1
    kill "${HELPERS[-1]}" 2>/dev/null
    if grep -q '^reached' "$log"; then fail "the host's listener: $(grep -m1 '^reached' "$log")"; fi
}

refused_streams() { # what, command…
    local what=$1
    shift
    "$@"
    RC=$?
    if [ "$RC" != 125 ]; then fail "$what: status $RC, not refused"; fi
    grep -q '^berth: ' "$ERR" || fail "$what: no message"
}

attack_bad_streams() {
    OUT=$D/out/out ERR=$D/out/err
    local run=("${AS[@]}" "${ENVIRONMENT[@]}" timeout $((30 * ${TEST_SLOWER:-1})) "$BERTH" run --workspace "$WS" -- /bin/cat)
    from_directory() { "${run[@]}" <"$D" >"$OUT" 2>"$ERR"; }
    from_opath() { "$HOSTSIDE" opath "$D" "${run[@]}" >"$OUT" 2>"$ERR"; }
    from_opath_file() { "$HOSTSIDE" opath /etc/passwd "${run[@]}" >"$OUT" 2>"$ERR"; }
    refused_streams 'a directory as standard input' from_directory
    refused_streams 'an O_PATH directory as standard input' from_opath
    refused_streams 'an O_PATH file as standard input' from_opath_file
    if [ "$(id -u)" = 0 ]; then
        from_zero() { "${run[@]}" </dev/zero >"$OUT" 2>"$ERR"; }
        refused_streams '/dev/zero as standard input' from_zero
        to_full() { "${run[@]}" </dev/null >/dev/full 2>"$ERR"; }
        refused_streams '/dev/full as standard output' to_full
    fi
}

# A loop device that nothing is bound to is empty, and enough. No disk is opened for writing.
attack_block_stream() {
    OUT=$D/out/out ERR=$D/out/err
    local run=("${AS[@]}" "${ENVIRONMENT[@]}" timeout $((30 * ${TEST_SLOWER:-1})) "$BERTH" run --workspace "$WS" -- /usr/bin/head -c 1)
    local block found=
    if [ "$(id -u)" != 0 ]; then need 'needs root to open a block device'; return; fi
    mknod "$D/block" b 7 0 2>/dev/null
    for block in "$D/block" $(find /dev -maxdepth 1 -type b); do
        if true <"$block"; then found=1; break; fi
    done 2>/dev/null
    if [ -n "$found" ]; then
        from_block() { "${run[@]}" <"$block" >"$OUT" 2>"$ERR"; }
        refused_streams "$block as standard input" from_block
    else
        need 'no block device can be opened here'
    fi
    rm -f "$D/block"
}

attack_hardlink() {
    if [ "$(id -u)" != 0 ]; then need 'needs root to make a file of another owner'; return; fi
    echo other >"$WS/others-file"
    chown $((OTHER_UID + 1)):$((OTHER_UID + 1)) "$WS/others-file"
    chmod 644 "$WS/others-file"
    echo mine >"$WS/.attack-neighbour"
    place workspace
    mkdir -p "$D/outside"
    echo secret >"$D/outside/file"
    chmod 755 "$D/outside"
    chmod 600 "$D/outside/file"
    session --cwd "$WS" -- "$WS/.attack/workspace" hardlink others-file "$D/outside/file" /etc/shadow /usr/bin/su
    # Its own directory is the user's: removing another's file there is what Unix allows.
    all_denied workspace 10 '^remove:others-file'
    [ ! -e "$WS/stolen" ] || fail "a link was made: $(stat -c '%U %h' "$WS/stolen")"
    rm -f "$WS/others-file"
}

attack_network() {
    inside connect tcp:169.254.169.254:80 tcp:fd00:ec2::254:80 tcp:100.100.100.200:80 tcp:8.8.8.8:53 \
        udp:8.8.8.8:53 tcp:10.0.0.1:443 tcp:192.168.1.1:80 tcp:0.0.0.0:80 tcp:127.0.0.1:22 tcp:::1:22 \
        tcp:::ffff:8.8.8.8:443 tcp:2001:4860:4860::8888:53 udp:2001:4860:4860::8888:53 udp:224.0.0.1:5353 \
        udp:255.255.255.255:67 tcp:198.18.0.1:443 tcp:64:ff9b::808:808:443 tcp:2002:808:808::1:443
    all_denied connect 18
}

# ---- outside: each program must succeed where nothing holds it ----------------------------------------------------

# What even root outside does not get, and why. Expressions on the name.
OUTSIDE_DENIED_exe='watch_foreign_programs_never'
OUTSIDE_DENIED_cwd='cwd_unreachable|cwd_walk_up|chdir_fd_([0-689]|[1-6][0-9]) ' # nothing is open there
OUTSIDE_DENIED_caps='CapInh|CapAmb|ambient_raise|no_new_privs_never|execute_'         # root already has more
OUTSIDE_DENIED_fds='dangerous_type|scm_rights'                                        # files are no sockets
OUTSIDE_DENIED_modes='chown_root'                                                     # root's own already
OUTSIDE_DENIED_families='.*' # depends on the kernel's modules
OUTSIDE_DENIED_pid1='setpgid|comm|attr_current|mem |uid_map|setgroups|process_madvise|signal_(CONT|HUP|INT|TERM|USR1|KILL)'
OUTSIDE_DENIED_abi='x32_|number_|int80_(init_module|vm86old)'                         # no such door in most kernels
OUTSIDE_DENIED_cgroup='mount_cgroup_(rdma|v1|v2|named)|write_.*'
OUTSIDE_DENIED_kernel='kexec|_module$|iopl|ioperm|lookup_dcookie|quotactl|perf_event|userfaultfd|io_uring|acct|swap'
OUTSIDE_DENIED_procfs='.*'
OUTSIDE_DENIED_keys='$^'

# Calls that came after the oldest kernel that is served (fchmodat2: 6.6): where they are absent, as many
# tries less are expected to succeed.
NEWER_CALLS='fchmodat2_'

check_outside() { # program minimum-of-successes arguments…
    local program=$1 minimum=$2 allowed denied got
    shift 2
    allowed=OUTSIDE_DENIED_$program
    OUT=$T/outside ERR=$T/outside.err
    timeout 60 "$PROGRAMS/$program" "$@" >"$OUT" 2>"$ERR"
    RC=$?
    grep -q "^done $program " "$OUT" || fail "did not come to its end (status $RC)"
    got=$(grep -c ': SUCCEEDED' "$OUT")
    # A call that this kernel does not have says ENOSYS outside as well: there is nothing to attack.
    denied=$(sed -n 's/^try \([^ ]*\): denied \(.*\)/\1 \2/p' "$OUT" | grep -v ' ENOSYS$' |
        grep -vE "^(${!allowed})" | head -n 5 | tr '\n' ';')
    [ -z "$denied" ] || fail "denied where nothing holds it: $denied"
    minimum=$((minimum - $(grep -cE "^try ($NEWER_CALLS)[^ ]*: denied ENOSYS\$" "$OUT")))
    [ "$got" -ge "$minimum" ] || fail "only $got tries succeeded outside, $minimum were expected"
}

self_check() {
    if [ "$(id -u)" != 0 ]; then
        skipped=1
        echo 'skip self-check: needs root'
        summary
        return
    fi
    D=$T/outside-scene
    mkdir -p "$D/run" "$D/modes"
    sleep 600 &
    local target=$!
    HELPERS+=("$target")
    sleep 0.1
    exec 7</
    test_case 'self-check exe' check_outside exe 12 "$target" 200
    test_case 'self-check cwd' check_outside cwd 1 boot
    exec 7<&-
    test_case 'self-check caps' check_outside caps 8
    exec 9</etc/hostname
    test_case 'self-check fds' check_outside fds 1
    exec 9<&-
    test_case 'self-check modes' check_outside modes 40 "$D/modes"
    test_case 'self-check families' check_outside families 10
    test_case 'self-check keys' check_outside keys 6
    test_case 'self-check kernel' check_outside kernel 60
    test_case 'self-check abi' check_outside abi 10
    test_case 'self-check cgroup' check_outside cgroup 4
    test_case 'self-check procfs' check_outside procfs 30
    test_case 'self-check ipc' check_ipc_outside
    test_case 'self-check connect' check_connect_outside
    test_case 'self-check terminal' check_terminal_outside
    test_case 'self-check environment' check_environment_outside
    test_case 'self-check base' check_base_outside
    test_case 'self-check workspace' check_workspace_outside
    test_case 'self-check resources' check_resources_outside
    test_case 'self-check pid1' check_outside pid1 14 "$target"
    summary
}

check_ipc_outside() {
    "$PROGRAMS/ipc" put 3 >"$T/put" &
    local put=$!
    sleep 0.3
    "$PROGRAMS/ipc" look >"$T/look"
    [ "$(grep -c SUCCEEDED "$T/look")" -ge 6 ] || fail "$(grep denied "$T/look" | head -n 3 | tr '\n' ';')"
    wait "$put"
}

check_connect_outside() {
    "$HOSTSIDE" listen abstract:a path:"$T/s" tcp:4711 >"$T/listener" &
    HELPERS+=($!)
    sleep 0.3
    "$PROGRAMS/connect" abstract:a path:"$T/s" tcp:127.0.0.1:4711 >"$T/connect"
    [ "$(grep -c SUCCEEDED "$T/connect")" = 3 ] || fail "$(grep denied "$T/connect" | head -n 3)"
    [ "$(grep -c '^reached' "$T/listener")" = 3 ] || fail 'the listener saw less than was reached'
    kill "${HELPERS[-1]}"
}

# Without a filter the terminal's own owner may type into it, where the kernel still has the call.
check_terminal_outside() {
    "$HOSTSIDE" pty 20 "$PROGRAMS/terminal" </dev/null 2>&1 | tr -d '\r' >"$T/terminal"
    [ "$(grep -c SUCCEEDED "$T/terminal")" -ge 6 ] || fail "$(grep denied "$T/terminal" | head -n 3)"
    case $(cat /proc/sys/dev/tty/legacy_tiocsti 2>/dev/null || echo 1) in
    1) grep -q '^typed: .*pwned\|pwned' "$T/terminal" || fail 'nothing was typed' ;;
    esac
}

check_environment_outside() {
    BERTH_TEST_SECRET=zq7-host-secret-word "$PROGRAMS/environment" "$(printf zq7-host-secret-word | rev)" >"$T/environment"
    grep -q 'word_1: SUCCEEDED' "$T/environment" || fail 'the word was not found outside'
}

check_base_outside() {
    seq 2000 >"$T/base-file"
    "$PROGRAMS/base" "$T/base-file" /etc/shadow >"$T/base"
    [ "$(grep -c SUCCEEDED "$T/base")" -ge 12 ] || fail "$(grep denied "$T/base" | head -n 9 | tr '\n' ';')"
}

check_workspace_outside() {
    mkdir -p "$T/w/.git/hooks" "$T/w/open"
    : >"$T/w/.envrc"
    (cd "$T/w" && "$PROGRAMS/workspace" protect .git/hooks .envrc open/missing >"$T/workspace")
    [ "$(grep -c SUCCEEDED "$T/workspace")" -ge 12 ] || fail "$(grep denied "$T/workspace" | head -n 9 | tr '\n' ';')"
}

check_resources_outside() {
    "$PROGRAMS/resources" count inotify 5 | grep -q 'took inotify 5 then stopped' || fail 'count inotify'
    "$PROGRAMS/resources" count signals 5 | grep -q 'took signals 5 then stopped' || fail 'count signals'
    "$PROGRAMS/resources" names "$T/outside-scene/modes" >/dev/null || fail names
}

# ---- main ------------------------------------------------------------------------------------------------------------

wanted() { # ROW-NAME
    local pattern
    # shellcheck disable=SC2053 # patterns on purpose
    if [ ${#PATTERNS[@]} = 0 ]; then [[ -z ${ATTACKS_NOT:-} || $1 != $ATTACKS_NOT ]]; return; fi
    for pattern in "${PATTERNS[@]}"; do
        # shellcheck disable=SC2053 # patterns on purpose
        if [[ $1 == $pattern ]]; then return 0; fi
    done
    return 1
}

if [ -n "$LIST" ]; then
    printf '%s' "$ATTACKS" | sed '/^$/d'
    exit 0
fi
own_namespaces "${ARGUMENTS[@]+"${ARGUMENTS[@]}"}"
make_scene
if [ -n "$SELF_CHECK" ]; then
    self_check
    exit
fi
for mode in ${MODE_ONLY:-$(modes_here)}; do
    enter_mode "$mode"
    if [ -z "$CAPABILITIES" ]; then
        failed=$((failed + 1))
        echo "not ok 0 capabilities [$mode]: berth capabilities --json says nothing"
    fi
    while read -r row name function modes; do
        [ -n "$row" ] || continue
        if ! wanted "$row-$name"; then continue; fi
        if [ "$modes" != all ] && [[ " ${modes//,/ } " != *" $mode "* ]]; then continue; fi
        fresh_workspace
        test_case "$row $name [$mode]" "$function"
    done <<<"$ATTACKS"
done
summary

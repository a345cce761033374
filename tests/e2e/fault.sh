#!/bin/bash
# This file makes each system call of a session's setup fail once: of the launcher, its helpers, the
# staged child and init, up to the moment the command starts. berth must end with 125 and a message
# that names the step, and leave nothing; where it goes on, the call must stand in the list of those
# that may fail, with the reason. It never injects into the command.
#
#     fault.sh [CALL…]      only these calls
#
# FULL=1 injects at every occurrence in every process, for a session on a directory and for one on a
# volume with limits and an extra mount (SCENES=directory or volume: only that); else for the first, at the first two, one in the middle and the
# last two of each process's calls of a kind (bounded for every day's run). ERROR=NAME: another error than
# the usual one of the call. tests/attack/inject.c names processes and calls in a way that no scheduling
# changes: "run.2 openat 7" is the seventh openat of the launcher's second child in every run.
set -u
. "$(dirname "$0")/../attack/lib.sh"
ONLY_CALLS=" $* "
own_namespaces "$@"
make_scene

# Not injected: cannot fail, or is the C library's or strace's own start. An injected close() would
# leave the descriptor open, which the kernel's never does, whatever it returns.
NOT_INJECTED=' close execve brk arch_prctl set_tid_address set_robust_list rseq exit exit_group rt_sigreturn
 rt_sigaction rt_sigprocmask getpid gettid getuid geteuid getgid getegid getppid restart_syscall umask
 munmap mprotect futex setfsuid setfsgid wait4 waitid vfork sched_getaffinity '

# What may fail without stopping the start, and why: an expression on the start of the call as the
# injector shows it, with what each descriptor stands for; "run.1 …" for one process only. Anything else
# that berth goes on after is a protection that was not put up. FD: a descriptor of whatever; of EXPRESSION:
# one of what matches.
FD='[0-9]+<[^>]*>'
of() { printf '[0-9]+<%s>' "$1"; }
RUN_DIR='/tmp/attack-scene\.[^/>"]*/[a-z]*/run' WS_DIR='/tmp/attack-scene\.[^/>"]*/[a-z]*/(ws|state/volumes/local/fault/data)'
CACHE_FILE="$RUN_DIR/capabilities-[^>\"]*"
MAY_FAIL=(
    # The cache of what this host can do: without it everything is tried again.
    "(openat|newfstatat|renameat)\\($FD, \"capabilities-" 'the cache is an optimisation'
    "(read|write|fstat|fsync|fchmod|flock)\\($(of "$CACHE_FILE")" 'the cache is an optimisation'
    "open\\(\"$RUN_DIR\", 0xb8000," 'the directory of the cache'
    'openat\(AT_FDCWD, "(/proc/sys/kernel/random/boot_id|/proc/self/cgroup|/proc/sys/user/max_user_namespaces)"' 'the key of the cache'
    "read\\($(of '(/proc/sys/kernel/random/boot_id|/proc/[0-9]+/cgroup|/proc/sys/user/max_user_namespaces)')" 'the key of the cache'
    'stat\("(/proc/self/exe|/etc/subuid|/etc/subgid)"' 'the key of the cache'
    "mmap\\(0x0, [0-9]+, 0x3, 0x22, -1, 0x0\\) after fstat\\($(of "$CACHE_FILE")" 'the cache is an optimisation'
    'mmap\(0x0, [0-9]+, 0x3, 0x22, -1, 0x0\) after (stat\("/etc/subgid"|close\('"$(of '(/proc/sys/user/max_user_namespaces|/proc/sys/kernel/random/boot_id)')"'\))' 'the key of the cache'

    # Limits that nobody asked for are left out, and that is said (CAP-2).
    "newfstatat\\($(of '/sys/fs/cgroup/[^>]*'), \"\\.\", 0x[0-9a-f]+, 0x100\\)" 'no cgroup that is the user`s own, and that is said'
    'mkdir\("/sys/fs/cgroup/[a-z]*/berth"' 'no limits by default, and that is said'
    'open\("/sys/fs/cgroup/unified"' 'no cgroup, and that is said'
    "openat\\((AT_FDCWD|$FD), \"(/sys/fs/cgroup/unified/)?cgroup\\.(controllers|subtree_control)\"" 'the limits there are none then, and that is said'
    "read\\($(of '/sys/fs/cgroup/unified/cgroup\.(controllers|subtree_control)')" 'the limits there are none then, and that is said'

    # The streams of the caller.
    'fcntl\([0-9]+(<[^>]*>)?, F_GETFD' 'fails for a closed descriptor only (EBADF)'
    "ioctl\\((-1|$FD), (TCGETS|TIOCGWINSZ)" 'no terminal: the answer is that it is none'
    'getsid\(' 'whether a terminal is the caller`s own: without the answer it is not taken'
    "fstatfs\\($(of '(/dev/null|pipe:.*|socket:.*|/tmp/attack-scene\.[^>]*/out/(out|err))')" 'a stream whose kind is not known is copied and not passed'
    'run open\("/dev/null", 0x88002,|run dup2\('"$(of /dev/null)"', [01]\)' 'the command has the stream: berth keeps its copy until it ends'

    # The reaper, once it is born: it waits for the end of a pipe whatever its surroundings are.
    'run\.[12] (setsid\(|open\("/dev/null"|dup2\('"$(of /dev/null)"', [012]\))' 'the reaper stays with its caller`s streams and group'

    'run\.[12] close_range\(' 'the reaper ends: what is left after berth is left to the next command'
    "run\\.[12] read\\($(of 'pipe:[^>]*'), 0x[0-9a-f]+, 1\\) after dup2\\($(of /dev/null), 2\\)" 'the reaper leaves the session to berth, and what is left after both to the next command'
    "write\\($(of 'socket:[^>]*'), \"r\", 1\\)" 'a namespace that its helper is born in is mapped without its word; one that is gone cannot be'
    "run\\.1 read\\($(of 'pipe:[^>]*'), 0x[0-9a-f]+, 159\\)" 'what newuidmap says is told; its status decides'

    # The C library`s.
    "fcntl\\($FD, F_SETFD, 0x1\\)" 'open() and opendir() have opened it so, and ask once more for old kernels'
    'mmap\(0x[0-9a-f]+, 4096, 0x0, 0x32, -1, 0x0\)' 'a guard page of the C library`s own records'
    'prctl\(PR_CAPBSET_READ' 'the end of the list of capabilities'
    'prctl\(PR_SET_(NAME|MM)' 'a title for people'

    # Told, or asked again.
    '(clock_gettime|clock_nanosleep|gettimeofday|getrusage|times|sysinfo|uname)\(' 'told, not relied on'
    '(poll|ppoll|epoll_wait|epoll_pwait)\(' 'asked again'
    "read\\($(of 'anon_inode:\[signalfd\]'), 0x[0-9a-f]+, 128\\)" 'it stays readable and is read again'
    "pread64\\($(of '/sys/fs/cgroup/[^>]*/(memory\.oom_control|memory\.events|pids\.events)')" 'kills before the first command: there were none'
    "read\\($(of '/proc/[0-9]+/mountinfo'), 0x[0-9a-f]+, [0-9]+\\) after (openat\\(AT_FDCWD, \"/proc/self/mountinfo\"|read\\($(of '/proc/[0-9]+/mountinfo'), 0x[0-9a-f]+, 4096\\))" 'mounts beneath the workspace are only told of'
    'openat\(AT_FDCWD, "/proc/self/mountinfo"' 'mounts beneath the workspace are only told of; the mounts that are made do not depend on it'

    "mmap\\(0x0, [0-9]+, 0x3, 0x22, -1, 0x0\\) after read\\($(of '/proc/[0-9]+/mountinfo')" 'mounts beneath the workspace are only told of'
    '(statfs|access)\("/sys/fs/cgroup' 'the table of mounts is read instead'

    # Sockets and missing protected paths of the workspace.
    "stat\\(\"[^\"]*\", 0x[0-9a-f]+\\) after (newfstatat\\($(of "$WS_DIR"), \"\\.ssh\"|openat2\\($(of "$WS_DIR"), \"\\.git\")" 'a directory that may be a home counts as one: more is protected'
    "stat\\(\"[^\"]*\", 0x[0-9a-f]+\\) after close\\($(of /etc/passwd)\\)" 'a directory that may be a home counts as one: more is protected'
    'openat\(AT_FDCWD, "/etc/passwd"[^)]*\) after stat\(' 'without the accounts it counts as a home: more is protected'
    # The other reader, userns_outer.c, stops the start of an ordinary user.
    "read\\($(of /etc/passwd)" 'without the accounts it counts as a home: more is protected'
    "mmap\\(0x0, [0-9]+, 0x3, 0x22, -1, 0x0\\) after read\\($(of /etc/passwd)" 'without the accounts it counts as a home: more is protected'
    "run\\.[23] open_tree\\($(of "([^>]*$WS_DIR|$RUN_DIR/workspace)"), \"\\.[a-z_.]+\", 0x80001\\)" 'the path is bound on itself like the first'
    "run\\.[23] move_mount\\($FD, \"\", $(of "([^>]*$WS_DIR|$RUN_DIR/workspace)"), \"\\.[a-z_.]+\", 0x4\\) after open_tree" 'the path is bound on itself like the first'
    "openat2\\($(of "$WS_DIR"), \"[^\"]*\", \\{flags=0x[0-9a-f]*[4567cdef][0-9a-f]{4}, " 'asked again without O_NOATIME'
    "openat2\\($(of "$WS_DIR"), \"[^\"]*\", \\{flags=0x[0-9a-f]*[012389ab]0000, resolve=0xd\\}" 'the search for sockets then asks the kernel`s list of bound sockets'
    "newfstatat\\($(of "$WS_DIR"), \"agent\\.sock\", " 'a socket that cannot be looked at is masked like any other'
    "newfstatat\\($(of "$WS_DIR"), \"\\.attack\", " 'the owner of a directory in the workspace is told; it is searched all the same'
    "getdents64\\($(of "$WS_DIR(/[^>]*)?"), 0x[0-9a-f]+, 16384\\)" 'the search for sockets then asks the kernel`s list of bound sockets'
    "(linkat|renameat2|mknodat|openat|fstat|newfstatat)\\($FD, \"(\\.berth-|[0-9]+\")" 'a directory is the placeholder where a socket cannot be'
    "getdents64\\($(of "$WS_DIR"), 0x[0-9a-f]+, 2048\\)|openat\\($(of "$WS_DIR"), \"\\.\", " 'without the list of what is missing each protected name is looked up'
    "fstat\\($(of "$WS_DIR/\.berth-[^>]*")" 'a directory is the placeholder where a socket cannot be'
    "pread64\\($FD, 0x[0-9a-f]+, (296|4136)," 'REVIEW a socket that is not known as a placeholder is masked like any other'
    'lstat\(".*(/run|/run/user/[0-9]+|berth-share(-[0-9]+)?)"' 'asked again after mkdir(), and only the second answer is used'
    'readlink(at)?\("?/proc/self/exe' 'the program is also looked for where it was installed'
    'run readlinkat\(AT_FDCWD, "/(etc/|sys/devices/system/cpu"|usr"|bin"|sbin"|lib[0-9a-z]*")' 'what a link leads to is bound in its place, read-only as well'
    '(unlink|unlinkat|rmdir)\(' 'REVIEW clearing what may not be there'
    '(kill|pidfd_send_signal)\(' 'REVIEW the process may have ended already'
    'access\("/bin/bash", 01\)' 'the shell of the session`s user is /bin/sh then'
    "stat\\(\"$WS_DIR:/mnt/ws\"" 'whether the colon is part of a name that is there: if not, it parts path and target'
    "stat\\(\"$WS_DIR\"" 'whether it is root`s is only the default of a consent; the workspace`s owner is checked on its descriptor'
    "fstatfs\\($(of "$WS_DIR")" 'the table of mounts is asked for the kind of filesystem'

    "run newfstatat\\($(of '[^>]*/state/volumes/local'), \"fault\"" 'asked again under the lock'
    "run newfstatat\\($(of '[^>]*/state/volumes/local'), \"fault/(lock|data)\"" 'only what is known to be missing is made again; the volume is opened next'
    "run fork\\(\\) after mkdirat\\($(of '[^>]*/\.?berth-share[^>]*'), \"exclusive\"" 'without a child a new volume is made durable before the start goes on'

    'run open\("/proc/[0-9]+/net/snmp6?"' 'only the word at the end that a network was looked for is missing then'
    "run pread64\\($(of '/proc/[0-9]+/net/snmp6?')" 'only the word at the end that a network was looked for is missing then'
    'run stat\("/proc/([0-9]+|self)/ns/net"' 'whose network it is by then: the counters are opened again when init is ready'
    'run open(at)?\((AT_FDCWD, )?"/proc/[0-9]+/ns/mnt"' 'only who waits for the end of the stage`s namespace changes'

    # Another session's, met when one is there.
    "run flock\\($(of '[^>]*/berth-share[^>]*/(shared|exclusive)/[^>]*'), 0x6\\) after openat\\($FD, \"[^\"]*\", 0xa8000," 'a record whose lock cannot be tried counts as held'

    "run pidfd_open\\([0-9]+, 0x0\\) after pread64\\($(of '/run/berth-share/slots/[0-9]+')" 'a range of ids whose last holder cannot be looked at counts as taken: the next one is'

    "run readlink\\(\"/proc/self/fd/[0-9]+\", 0x[0-9a-f]+, 4089\\) after fstat\\($(of '[^>]*/berth-init')" 'where the file worker is: only sessions that last have one, and these refuse'

    'run open\("[^"]*/berth-files", 0x[0-9a-f]+, 00\) after readlink\("/proc/self/fd/' 'the file worker: only sessions that last have one'
    "run fstat\\($(of '[^>]*/berth-files')" 'the file worker: only sessions that last have one'

    # Rights that are given up.
    'keyctl\(KEYCTL_JOIN_SESSION_KEYRING' 'commands have no keyctl and no /proc/keys: an inherited keyring is out of reach'
    'capget\(' 'without the answer setgroups is denied, which is the narrower of the two'
    'prctl\((PR_GET_DUMPABLE|PR_SET_DUMPABLE, 0x1\))' 'the launcher stays undumpable, which is the narrower of the two'
    'prctl\(PR_GET_PDEATHSIG' 'files of the root are then given to the session one by one'

    # Helpers that only wait.
    "run sendto\\($(of 'socket:[^>]*'), \"q\", 1," 'a helper ends with its socket as well'
    "run\\.[0-9]+ read\\($(of 'socket:[^>]*'), 0x[0-9a-f]+, 1\\)" 'it ends: what it holds open is held, or the launcher`s next step fails'
)

met=()
# A fault in the cache makes the next berth try everything again, which is not the setup of a session.
keep_cache() { rm -rf "$D/out/cache" && cp -rp "$D/run" "$D/out/cache"; }
cache_back() { cp -p "$D/out/cache"/capabilities-* "$D/run/"; }

one_fault() { # role call number error
    OUT=$D/out/out ERR=$D/out/err
    rm -f "$D/out/fault"
    timeout -k 2 20 "${ENVIRONMENT[@]}" "$PROGRAMS/inject" "${WHO[@]}" -o "$D/out/fault" "$@" -- "${START[@]}" \
        </dev/null >"$OUT" 2>"$ERR"
    RC=$?
}

# The command of each start: a look at what must hold whatever has failed before, then a program that
# prints one line and ends with 2. Statuses: 31 a socket of the host is not masked, 32 a protected path
# can be written, 33 a right is left or a filter is missing, 34 there is a network.
LOOK='
cd "${0%/.attack/*}" || exit 30
[ ! -S agent.sock ] || exit 31
for name in .envrc .vscode .gitconfig .githooks .idea .mcp.json; do
    if { true >"$name" || true >"$name/x"; } 2>/dev/null; then exit 32; fi
done
seen=0
while read -r name value; do
    case "$name $value" in
    "NoNewPrivs: 1" | "Seccomp: 2" | "CapEff: 0000000000000000" | "CapBnd: 0000000000000000") seen=$((seen + 1)) ;;
    esac
done </proc/self/status
[ "$seen" = 4 ] || exit 33
while read -r name value; do
    case $name in lo:*) ;; *:*) exit 34 ;; esac
done </proc/net/dev
exec "$0" loopback-never'

# A socket of the host in the workspace, which every session has to mask. Somebody listens: one that
# nobody has bound is only found by reading the directory.
make_socket() {
    "$HOSTSIDE" listen "path:$WS/agent.sock" >/dev/null &
    HELPERS+=($!)
    local _
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        [ ! -S "$WS/agent.sock" ] || break
        sleep 0.1
    done
    if [ "$(id -u)" = 0 ]; then chown "$WS_UID:$WS_UID" "$WS/agent.sock"; fi
}

ran() { [ "$RC" = 2 ] && grep -q 'hostside: no such kind' "$ERR"; }

may_fail() { # role, text
    local i
    for ((i = 0; i < ${#MAY_FAIL[@]}; i += 2)); do
        if [[ $2 =~ ^(${MAY_FAIL[i]}) || "$1 $2" =~ ^(${MAY_FAIL[i]}) ]]; then
            met[i]=$((${met[i]:-0} + 1))
            if [ -n "${VERBOSE:-}" ]; then echo "  allowed: $1 $2: ${MAY_FAIL[i + 1]}"; fi
            return 0
        fi
    done
    return 1
}

judge() { # role call number error
    local line='' what _
    for _ in 1 2 3; do
        cache_back
        rm -rf --one-file-system "$D/state/volumes" # made anew by each start
        one_fault "$@"
        if [ -s "$D/out/fault" ]; then read -r line <"$D/out/fault"; fi
        # On a busy machine init may come too late before anything was injected.
        if [ -n "$line" ] || ! grep -q 'was not ready within' "$ERR"; then break; fi
    done
    # The command had started before: a loop came round less often this time.
    if [ -z "$line" ]; then
        not_reached=$((not_reached + 1))
        if ! ran; then fail "$1 $2 #$3: nothing was injected, status $RC: $(tail -n 1 "$ERR" | head -c 160)"; fi
        return
    fi
    injected=$((injected + 1))
    what="$1 #$3 $(printf '%s' "$line" | head -c 200)"
    # The message itself cannot be printed: then nobody can be told.
    if [ "$RC" = 125 ]; then
        stopped=$((stopped + 1))
        if [[ $line != 'write(2<'*'>, "berth: '* ]]; then
            grep -q '^berth: ' "$ERR" || fail "$what: status 125 without a message"
        fi
    elif ran; then
        went_on=$((went_on + 1))
        may_fail "$1" "$line" || fail "$what: went on"
    else
        fail "$what: status $RC: $(tail -n 1 "$ERR" | head -c 160)"
    fi
    no_trace
    if [ -n "$REASON" ] && [ -n "${VERBOSE:-}" ]; then
        echo "  $4: $REASON"
        if [ -z "$FIRST" ]; then FIRST=$REASON; fi
        REASON=''
    fi
}

one_call() { # call: in every process that makes it
    local call=$1 error=EPERM role most n list FIRST=''
    case $call in
    read | write | pread64 | pwrite64 | readv | writev | recvmsg | sendmsg) error=EIO ;;
    mmap | mprotect) error=ENOMEM ;;
    esac
    while read -r role most; do
        if [ -n "${FULL:-}" ]; then
            list=$(seq "$most")
        else
            list=$(printf '%s\n' 1 2 $((most / 2)) $((most - 1)) "$most" | sort -nu | awk -v m="$most" '$1 >= 1 && $1 <= m')
        fi
        for n in $list; do
            judge "$role" "$call" "$n" "${ERROR:-$error}"
            if [ -n "$REASON" ]; then return; fi
        done
    done < <(awk -v call="$call" '$2 == call { print $1, $3 }' "$D/out/calls")
    REASON=$FIRST
}

one_scene() {
    case $1 in
    directory) START=("$BERTH" run --quiet --workspace "$WS" -- /bin/sh -c "$LOOK" "$WS/.attack/hostside") ;;
    volume)
        START=("$BERTH" run --quiet --workspace volume:fault --ro "$WS:/mnt/ws" --scratch 64MiB)
        if has_capability limits.memory; then START+=(--memory 256MiB); fi
        if has_capability limits.pids; then START+=(--pids 64); fi
        if has_capability limits.cpu; then START+=(--cpus 1); fi
        START+=(-- /bin/sh -c "$LOOK" /mnt/ws/.attack/hostside) ;;
    esac
    injected=0 stopped=0 went_on=0 not_reached=0
    one_fault
    sort -k2,2 -k1,1 "$D/out/fault" >"$D/out/calls"
    if ! ran || [ "$(awk '{ print $2 }' "$D/out/calls" | sort -u | wc -l)" -lt 60 ]; then
        failed=$((failed + 1))
        echo "not ok calls [$mode]: a clean start: status $RC, $(wc -l <"$D/out/calls") kinds of call: $(tail -n 1 "$ERR")"
    fi
    for call in $(awk '{ print $2 }' "$D/out/calls" | sort -u); do
        case $NOT_INJECTED in *" $call "* | *" $call
"*) continue ;; esac
        if [ "$ONLY_CALLS" != '  ' ] && [[ $ONLY_CALLS != *" $call "* ]]; then continue; fi
        test_case "fault $call, $1 [$mode]" one_call "$call"
    done
    echo "[$mode] $1: $injected faults: $stopped stopped the start, $went_on were allowed to fail; $not_reached calls were not made that time"
}

for mode in ${MODES:-$([ "$(id -u)" = 0 ] && echo root || echo self)}; do
    enter_mode "$mode"
    place hostside
    make_socket
    # The probes of the capabilities are not the setup of a session: their answers are there already.
    session -- /bin/true
    keep_cache
    # The injector stays root: a program that another user follows has no setuid bit for newuidmap.
    case $mode in
    subuid | single) WHO=(-u "$UID_HERE") ;;
    *) WHO=() ;;
    esac
    for scene in ${SCENES:-directory ${FULL:+volume}}; do one_scene "$scene"; done
done
summary

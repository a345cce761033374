#!/bin/bash
# This file makes each system call of a session's setup fail once: of the launcher, of the staged
# child and of init, up to the moment the command starts. berth must end with 125 and a message that
# names the step, and leave nothing; where it goes on, the call must stand in the list of those that
# may fail, with the reason. It never injects into the command.
#
#     fault.sh [CALL…]      only these calls
#
# FULL=1 injects at every occurrence; else at the first, the second, one in the middle and the last
# of each kind of call (bounded for every day's run).
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

# What may fail without stopping the start: an expression on strace's line of the injected call, and
# why. Anything else that berth goes on after is a protection that was not put up.
MAY_FAIL=(
    '^(unlink|unlinkat|rmdir)\(' 'clearing what may not be there'
    '^readlink(at)?\("?/proc/self/exe' 'the program is also looked for where it was installed'
    '^(clock_gettime|clock_nanosleep|gettimeofday|getrusage|times|sysinfo|uname)\(' 'told, not relied on'
    '^poll\(|^ppoll\(|^epoll_wait\(|^epoll_pwait' 'asked again'
    '^ioctl\(.*(TCGETS|TIOCGWINSZ)' 'no terminal: the answer is that it is none'
    '^isatty' 'the same'
    '^kill\(|^pidfd_send_signal\(' 'the process may have ended already'
    '^(openat|open|read|pread64|write|rename|renameat|mkdirat|newfstatat|fstat|fsync|fchmod)\(.*capabilities-' 'the cache is an optimisation'
    '^prctl\(PR_SET_(NAME|MM)' 'a title for people'
    '^prctl\(PR_CAPBSET_READ' 'the end of the list of capabilities'
    '^(access|faccessat2?)( resumed|\()' 'a question'
    '^madvise\(|^fadvise64\(' 'advice'
    '^getrandom\(.*GRND_(INSECURE|NONBLOCK)' 'the C library has other sources'
    '^mkdir\("/sys/fs/cgroup/' 'limits that nobody asked for are left out, and that is said (CAP-2)'
    '^keyctl\(KEYCTL_JOIN_SESSION_KEYRING' 'commands have no keyctl and no /proc/keys: an inherited keyring is out of reach'
    '^capget\(' 'without the answer setgroups is denied, which is the narrower of the two'
    '^fcntl\([0-9]+, F_GETFD' 'fails for a closed descriptor only (EBADF)'
    '^fcntl\([0-9]+, F_SETFD, FD_CLOEXEC' 'a stream of a directory: its descriptor was opened so'
    '^fstatfs\(' 'a stream whose kind is not known is copied and not passed'
    '^getdents64\([^,]*,[^,]*, 16384' 'the search for sockets then asks the kernel`s list of bound sockets'
    '^(linkat|renameat2)\(|^mknodat\([0-9]+, "\.berth-|^openat\([0-9]+, "\.berth-' 'a directory is the placeholder where a socket cannot be'
    '^openat\(AT_FDCWD, "/proc/self/mountinfo"' 'mounts beneath the workspace are only told of; the mounts that are made do not depend on it'
    '^lstat\(.*(/run"|/run/user/[0-9]+"|berth-share(-[0-9]+)?")' 'asked again after mkdir(), and only the second answer is used'
    '^pread64\([0-9]+, 0x[0-9a-f]+, (296|4136),' 'a socket that is not known as a placeholder is masked like any other'
    '^pread64\([0-9]+, 0x[0-9a-f]+, 511,' 'how many were killed for memory before: told, not relied on'
    '^read\([0-9]+, 0x[0-9a-f]+, 128\)' 'a descriptor of signals: it stays readable and is read again'
    '^readlinkat\(AT_FDCWD, "/' 'what a link leads to is bound in its place'
    '^connect\(.*"/var/run/nscd/socket"' 'the C library of newuidmap asks for a cache of names'
    '^sendto\([0-9]+, "q"' 'a helper ends with its socket as well'
    '^stat\(.*(/ws"|/proc/self/exe"|/etc/sub[ug]id")' 'the owner of a workspace is checked on its descriptor; the others are the key of the cache'
    '^getsid\(' 'whether a terminal is the caller`s own: without the answer it is not taken'
)

step_of_fault() { # call, occurrence, error
    OUT=$D/out/out ERR=$D/out/err
    rm -f "$D/out/strace"
    timeout -k 2 20 "${ENVIRONMENT[@]}" strace "${WHO[@]}" -f -qq -e trace="$1" -e inject="$1:error=$3:when=$2" -o "$D/out/strace" \
        "$BERTH" run --quiet --workspace "$WS" -- "$WS/.attack/hostside" loopback-never \
        </dev/null >"$OUT" 2>"$ERR"
    RC=$?
}

# The command prints one line and ends with 2 when it ran.
ran() { [ "$RC" = 2 ] && grep -q 'hostside: no such kind' "$ERR"; }

judge() { # call occurrence error
    local line i allowed=''
    step_of_fault "$1" "$2" "$3"
    line=$(grep -m1 INJECTED "$D/out/strace" 2>/dev/null | sed -E 's/^[0-9]+ +(<\.\.\. )?//')
    # Nothing was injected: the call came less often this time.
    if [ -z "$line" ]; then return; fi
    # The message itself cannot be printed: then nobody can be told.
    if [[ $line == 'write(2, "berth: '* ]]; then return; fi
    injected=$((injected + 1))
    if [ "$RC" = 125 ]; then
        grep -q '^berth: ' "$ERR" || fail "$1 #$2 ($line): status 125 without a message"
    elif ran; then
        for ((i = 0; i < ${#MAY_FAIL[@]}; i += 2)); do
            if [[ $line =~ ${MAY_FAIL[i]} ]]; then allowed=1; fi
        done
        if [ -z "$allowed" ]; then
            went_on=$((went_on + 1))
            fail "$1 #$2: went on after: $(printf '%s' "$line" | head -c 160)"
        fi
    else
        fail "$1 #$2 ($(printf '%s' "$line" | head -c 120)): status $RC: $(tail -n 1 "$ERR" | head -c 160)"
    fi
    no_trace
    if [ -n "$REASON" ] && [ -n "${VERBOSE:-}" ]; then
        echo "  $1 #$2 $3: $REASON"
        if [ -z "$FIRST" ]; then FIRST=$REASON; fi
        REASON=''
    fi
}

one_call() { # call, greatest number of occurrences in one process
    local call=$1 most=$2 error=EPERM n list
    case $call in
    read | write | pread64 | pwrite64 | readv | writev | recvmsg | sendmsg) error=EIO ;;
    mmap | mprotect) error=ENOMEM ;;
    esac
    if [ -n "${FULL:-}" ]; then
        list=$(seq "$most")
    else
        list=$(printf '%s\n' 1 2 $((most / 2)) $((most - 1)) "$most" | sort -nu | awk -v m="$most" '$1 >= 1 && $1 <= m')
    fi
    injected=0 went_on=0 FIRST=''
    for n in $list; do
        # The first mappings are the C library's own start, which tells its user by itself.
        if [ "$call" = mmap ] && [ "$n" -le 2 ]; then continue; fi
        judge "$call" "$n" "$error"
        if [ -n "$REASON" ]; then break; fi
    done
    if [ -n "$FIRST" ]; then REASON=$FIRST; fi
}

if ! command -v strace >/dev/null; then
    echo 'skip fault: strace is not installed'
    summary
    exit
fi
for mode in ${MODES:-$([ "$(id -u)" = 0 ] && echo root || echo self)}; do
    enter_mode "$mode"
    place hostside
    # The probes of the capabilities are not the setup of a session: their answers are there already.
    session -- /bin/true
    # strace stays root's: who runs under another user's cannot start newuidmap.
    case $mode in
    subuid) WHO=(-u berth-sub) ;;
    single) WHO=(-u berth-solo) ;;
    *) WHO=() ;;
    esac
    "${ENVIRONMENT[@]}" strace "${WHO[@]}" -f -qq -o "$D/out/clean" "$BERTH" run --quiet --workspace "$WS" -- \
        "$WS/.attack/hostside" loopback-never </dev/null >/dev/null 2>&1
    awk '/execve\("[^"]*hostside"/ { exit } { print }' "$D/out/clean" |
        sed -nE 's/^([0-9]+) +([a-z0-9_]+)\(.*/\1 \2/p' | sort | uniq -c |
        awk '{ if ($1 > most[$3]) most[$3] = $1 } END { for (call in most) print call, most[call] }' | sort >"$D/out/calls"
    if ! grep -q 'execve[a-z]*(.*hostside' "$D/out/clean"; then
        failed=$((failed + 1))
        echo "not ok calls [$mode]: the command did not start under strace"
    fi
    if [ "$(wc -l <"$D/out/calls")" -lt 20 ]; then
        failed=$((failed + 1))
        echo "not ok calls [$mode]: the log of a clean start has only $(wc -l <"$D/out/calls") kinds of call"
    fi
    while read -r call most; do
        case $NOT_INJECTED in *" $call "* | *" $call
"*) continue ;; esac
        if [ "$ONLY_CALLS" != '  ' ] && [[ $ONLY_CALLS != *" $call "* ]]; then continue; fi
        test_case "fault $call (up to $most times) [$mode]" one_call "$call" "$most"
    done <"$D/out/calls"
done
summary

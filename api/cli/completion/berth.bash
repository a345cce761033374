# This file completes the words of `berth` in bash; it never runs berth.
# shellcheck shell=bash

_berth() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} verb="" i
    local presets="locked-down balanced open"
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        -*) ;;
        *)
            verb=${COMP_WORDS[i]}
            break
            ;;
        esac
    done
    # Behind the command of `berth run` the words are that command's.
    if [[ $verb == run ]]; then
        for ((i = i + 1; i < COMP_CWORD; i++)); do
            if [[ ${COMP_WORDS[i]} == -- ]]; then
                compopt -o default
                mapfile -t COMPREPLY < <(compgen -A command -- "$word")
                ((COMP_CWORD > i + 1)) && mapfile -t COMPREPLY < <(compgen -A file -- "$word")
                return
            fi
        done
    fi
    case $verb:$before in
    :*) mapfile -t COMPREPLY < <(compgen -W "run session exec shell ps logs cp events usage port volume token ledger reap policy capabilities doctor serve openapi help --help --version --json --quiet --workspace-id --host" -- "$word") ;;
    *:--policy | *:-p | *:--within) mapfile -t COMPREPLY < <(compgen -W "$presets" -A file -- "$word") ;;
    *:--tty | *:-t | *:--die-with-parent) mapfile -t COMPREPLY < <(compgen -W "auto always never" -- "$word") ;;
    *:--net) mapfile -t COMPREPLY < <(compgen -W "deny public-only allow" -- "$word") ;;
    *:--seccomp) mapfile -t COMPREPLY < <(compgen -W "default strict debug" -- "$word") ;;
    *:--user | *:-u) mapfile -t COMPREPLY < <(compgen -W "user root" -- "$word") ;;
    serve:--log-format) mapfile -t COMPREPLY < <(compgen -W "json text" -- "$word") ;;
    token:--workspace) COMPREPLY=() ;;
    token:--verbs) mapfile -t COMPREPLY < <(compgen -W "read lifecycle exec files files.read files.write metrics" -- "$word") ;;
    *:--workspace) mapfile -t COMPREPLY < <(compgen -W "none tmpfs volume:" -A directory -- "$word") ;;
    *:--image) mapfile -t COMPREPLY < <(compgen -W "host dir:" -- "$word") ;;
    *:--ro | *:--rw | *:--result | *:--path | *:--config | *:--socket) mapfile -t COMPREPLY < <(compgen -A file -- "$word") ;;
    *:--env | *:-e) mapfile -t COMPREPLY < <(compgen -A variable -- "$word") ;;
    run:*)
        if [[ $word == -* ]]; then
            mapfile -t COMPREPLY < <(compgen -W "--policy --workspace --workspace-at --read-only-workspace --ro --rw --protect --image --net --allow --deny --publish --resolver --learn --memory --cpus --pids --open-files --scratch --timeout --idle-timeout --env --user --cwd --tty --seccomp --explain --require --die-with-parent --workspace-id --json --result --quiet --help --" -- "$word")
        else
            mapfile -t COMPREPLY < <(compgen -A command -- "$word")
        fi
        ;;
    session:session) mapfile -t COMPREPLY < <(compgen -W "create list show network park resume interrupt archive destroy" -- "$word") ;;
    ledger:ledger) mapfile -t COMPREPLY < <(compgen -W "backup restore" -- "$word") ;;
    token:token) mapfile -t COMPREPLY < <(compgen -W "create list revoke" -- "$word") ;;
    port:port) mapfile -t COMPREPLY < <(compgen -W "add list remove" -- "$word") ;;
    volume:volume) mapfile -t COMPREPLY < <(compgen -W "create list show remove" -- "$word") ;;
    *:--mode) mapfile -t COMPREPLY < <(compgen -W "stop freeze" -- "$word") ;;
    *:--idle-action) mapfile -t COMPREPLY < <(compgen -W "park destroy" -- "$word") ;;
    *:--host) mapfile -t COMPREPLY < <(compgen -W "unix:/" -- "$word") ;;
    exec:*) mapfile -t COMPREPLY < <(compgen -W "--detach --stdin --tty --timeout --idle-timeout --env --user --cwd --exec-id --keep-children --workspace-id --host --json --quiet --help" -- "$word") ;;
    shell:*) mapfile -t COMPREPLY < <(compgen -W "--env --user --cwd --workspace-id --host --json --quiet --help" -- "$word") ;;
    ps:*) mapfile -t COMPREPLY < <(compgen -W "--state --after --workspace-id --host --json --quiet --help" -- "$word") ;;
    logs:*) mapfile -t COMPREPLY < <(compgen -W "--follow --from --workspace-id --host --json --quiet --help" -- "$word") ;;
    events:*) mapfile -t COMPREPLY < <(compgen -W "--follow --from --workspace-id --host --json --quiet --help" -- "$word") ;;
    usage:*) mapfile -t COMPREPLY < <(compgen -W "--workspace-id --host --json --quiet --help" -- "$word") ;;
    reap:*) mapfile -t COMPREPLY < <(compgen -W "--owner --older-than --dry-run --workspace-id --host --json --quiet --help" -- "$word") ;;
    cp:*)
        if [[ $word == -* ]]; then
            mapfile -t COMPREPLY < <(compgen -W "--max-entries --max-bytes --workspace-id --host --json --quiet --help" -- "$word")
        else
            mapfile -t COMPREPLY < <(compgen -A file -- "$word")
        fi
        ;;
    session:*) mapfile -t COMPREPLY < <(compgen -W "--policy --workspace --workspace-at --read-only-workspace --ro --rw --protect --image --net --allow --deny --publish --memory --cpus --pids --open-files --scratch --timeout --env --user --seccomp --explain --require --owner --label --ttl --idle --idle-action --accept-loss --exclusive --workspace-id --host --json --quiet --help --all --state --after --limit --mode --reason --delete-volume --add --revision" -- "$word") ;;
    ledger:*) mapfile -t COMPREPLY < <(compgen -f -W "--config --workspace-id --host --json --quiet --help" -- "$word") ;;
    token:*) mapfile -t COMPREPLY < <(compgen -W "--workspace --verbs --expires --name --policy --workspace-id --host --json --quiet --help" -- "$word") ;;
    port:*) mapfile -t COMPREPLY < <(compgen -W "--workspace-id --host --json --quiet --help" -- "$word") ;;
    volume:*) mapfile -t COMPREPLY < <(compgen -W "--workspace-id --host --json --quiet --help" -- "$word") ;;
    policy:policy) mapfile -t COMPREPLY < <(compgen -W "check explain show schema" -- "$word") ;;
    policy:*)
        if [[ $word == -* ]]; then
            mapfile -t COMPREPLY < <(compgen -W "--json --within --syscall --path --plan --workspace --host --source --reference --help" -- "$word")
        else
            mapfile -t COMPREPLY < <(compgen -W "$presets" -A file -- "$word")
        fi
        ;;
    serve:*) mapfile -t COMPREPLY < <(compgen -W "--config --socket --listen --log-format --units --on-demand --check-config --config-schema --config-reference --help" -- "$word") ;;
    openapi:*) mapfile -t COMPREPLY < <(compgen -W "--help" -- "$word") ;;
    capabilities:* | doctor:*) mapfile -t COMPREPLY < <(compgen -W "--json --quiet --help" -- "$word") ;;
    help:*) mapfile -t COMPREPLY < <(compgen -W "run session exec shell ps logs cp events usage port volume token ledger reap policy capabilities doctor serve openapi help" -- "$word") ;;
    esac
}
complete -F _berth berth

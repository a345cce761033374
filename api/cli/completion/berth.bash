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
    :*) mapfile -t COMPREPLY < <(compgen -W "run policy capabilities doctor help --help --version --json --quiet" -- "$word") ;;
    *:--policy | *:-p | *:--within) mapfile -t COMPREPLY < <(compgen -W "$presets" -A file -- "$word") ;;
    *:--tty | *:-t | *:--die-with-parent) mapfile -t COMPREPLY < <(compgen -W "auto always never" -- "$word") ;;
    *:--net) mapfile -t COMPREPLY < <(compgen -W "deny public-only allow" -- "$word") ;;
    *:--seccomp) mapfile -t COMPREPLY < <(compgen -W "default strict debug" -- "$word") ;;
    *:--user | *:-u) mapfile -t COMPREPLY < <(compgen -W "user root" -- "$word") ;;
    *:--workspace) mapfile -t COMPREPLY < <(compgen -W "none tmpfs volume:" -A directory -- "$word") ;;
    *:--image) mapfile -t COMPREPLY < <(compgen -W "host dir:" -- "$word") ;;
    *:--ro | *:--rw | *:--result | *:--path) mapfile -t COMPREPLY < <(compgen -A file -- "$word") ;;
    *:--env | *:-e) mapfile -t COMPREPLY < <(compgen -A variable -- "$word") ;;
    run:*)
        if [[ $word == -* ]]; then
            mapfile -t COMPREPLY < <(compgen -W "--policy --workspace --workspace-at --read-only-workspace --ro --rw --protect --image --net --allow --memory --cpus --pids --open-files --scratch --timeout --idle-timeout --env --user --cwd --tty --seccomp --require --die-with-parent --workspace-id --json --result --quiet --help --" -- "$word")
        else
            mapfile -t COMPREPLY < <(compgen -A command -- "$word")
        fi
        ;;
    policy:policy) mapfile -t COMPREPLY < <(compgen -W "check explain show schema" -- "$word") ;;
    policy:*)
        if [[ $word == -* ]]; then
            mapfile -t COMPREPLY < <(compgen -W "--json --within --syscall --path --plan --workspace --host --source --reference --help" -- "$word")
        else
            mapfile -t COMPREPLY < <(compgen -W "$presets" -A file -- "$word")
        fi
        ;;
    capabilities:* | doctor:*) mapfile -t COMPREPLY < <(compgen -W "--json --quiet --help" -- "$word") ;;
    help:*) mapfile -t COMPREPLY < <(compgen -W "run policy capabilities doctor" -- "$word") ;;
    esac
}
complete -F _berth berth

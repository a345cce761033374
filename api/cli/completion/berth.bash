# This file completes the words of `berth` in bash; it never runs berth.
# shellcheck shell=bash
# Options and verbs are those of --help: tests/e2e/pages.py holds them together.

# The verbs of a group; nothing for other commands.
_berth_verbs() {
    case $1 in
    session) echo create list show network park resume interrupt archive destroy ;;
    port) echo add list remove ;;
    volume) echo create list show remove ;;
    token) echo create list revoke ;;
    ledger) echo backup restore ;;
    policy) echo check explain show schema ;;
    esac
}

# The options of a command, or of a group's verb.
_berth_options() {
    local shared="--workspace-id --host --json --quiet --help"
    case $1 in
    '') echo "--help --version --json --quiet --workspace-id --host" ;;
    run) echo "--policy --workspace --workspace-at --read-only-workspace --ro --rw --protect --image --net --allow --deny --publish --memory --cpus --pids --open-files --scratch --timeout --env --user --seccomp --explain --require --resolver --learn --idle-timeout --cwd --tty --die-with-parent --workspace-id --json --result --quiet --help" ;;
    'session create') echo "--policy --workspace --workspace-at --read-only-workspace --ro --rw --protect --image --net --allow --deny --publish --memory --cpus --pids --open-files --scratch --timeout --env --user --seccomp --explain --require --owner --label --ttl --idle --idle-action --accept-loss --exclusive $shared" ;;
    'session list') echo "--all --state --owner --label --after --limit $shared" ;;
    'session network') echo "--policy --net --allow --deny --publish --add --revision $shared" ;;
    'session park') echo "--mode --accept-loss $shared" ;;
    'session interrupt') echo "--reason $shared" ;;
    'session archive') echo "--accept-loss $shared" ;;
    'session destroy') echo "--delete-volume $shared" ;;
    cp) echo "--max-entries --max-bytes $shared" ;;
    exec) echo "--detach --stdin --tty --timeout --idle-timeout --env --user --cwd --exec-id --keep-children $shared" ;;
    shell) echo "--env --user --cwd $shared" ;;
    ps) echo "--state --after $shared" ;;
    logs | events) echo "--follow --from $shared" ;;
    reap) echo "--owner --older-than --dry-run $shared" ;;
    'token create') echo "--workspace --verbs --expires --name --policy $shared" ;;
    'ledger restore') echo "--config $shared" ;;
    'policy check') echo "--within --json --help" ;;
    'policy explain') echo "--syscall --path --host --plan --workspace --json --help" ;;
    'policy show') echo "--source --json --help" ;;
    'policy schema') echo "--reference --help" ;;
    serve) echo "--config --socket --listen --log-format --units --on-demand --check-config --config-schema --config-reference --help" ;;
    capabilities | doctor) echo "--json --quiet --help" ;;
    openapi | help | policy) echo "--help" ;;
    *) echo "$shared" ;;
    esac
}

_berth_takes_value() {
    case $1 in
    -p | -e | -u | -t | -w) return 0 ;;
    --all | --add | --accept-loss | --check-config | --config-schema | --config-reference | --delete-volume | --detach | --dry-run) return 1 ;;
    --exclusive | --explain | --follow | --help | --json | --keep-children | --on-demand | --plan | --quiet | --read-only-workspace) return 1 ;;
    --reference | --source | --stdin | --version) return 1 ;;
    --*) return 0 ;;
    *) return 1 ;;
    esac
}

# What stands before the word: `berth_command` ("", "run", "session park"), `berth_words` (how many
# words of its own it has), `berth_dashes` (1 behind "--"). Bash cuts words at ":" and "=".
_berth_look() {
    local i word
    berth_command="" berth_words=0 berth_dashes=0
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [[ $berth_dashes == 0 && $word == -- ]]; then
            berth_dashes=1
            continue
        fi
        if [[ $berth_dashes == 0 && $word == -* ]] && ! [[ $berth_command == run && $berth_words -gt 0 ]]; then
            if _berth_takes_value "$word"; then
                [[ ${COMP_WORDS[i + 1]:-} == '=' ]] && i=$((i + 1))
                i=$((i + 1))
                while [[ ${COMP_WORDS[i + 1]:-} == : && $((i + 1)) -lt $COMP_CWORD ]]; do i=$((i + 2)); done
            fi
            continue
        fi
        if [[ -z $berth_command ]]; then
            berth_command=$word
        elif [[ $berth_words == 0 && $berth_command != *' '* && -n $(_berth_verbs "$berth_command") ]]; then
            berth_command="$berth_command $word"
        else
            berth_words=$((berth_words + 1))
        fi
    done
}

_berth() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
    local presets="locked-down balanced open" berth_command berth_words berth_dashes
    local commands="run session exec shell ps logs cp events usage port volume token ledger reap policy capabilities doctor serve openapi help"
    if [[ $word == '=' ]]; then word=""; elif [[ $before == '=' ]]; then before=${COMP_WORDS[COMP_CWORD - 2]}; fi
    choose() { mapfile -t COMPREPLY < <(compgen -W "$1" -- "$word"); }
    # Names of files are quoted by bash, and directories go on.
    files() {
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen "$@" -- "$word")
    }
    _berth_look
    # Behind the command's own first word the words are not berth's.
    local first=0
    [[ $berth_command == exec ]] && first=1
    if [[ $berth_command == run || $berth_command == exec ]]; then
        if [[ $berth_words -gt $first ]]; then
            files -A file
            return
        elif [[ $berth_dashes == 1 ]] || { [[ $berth_words == "$first" && $word != -* ]] && ! _berth_takes_value "$before"; }; then
            files -A command
            return
        fi
    fi
    case $berth_command:$before in
    *:--policy | *:-p | *:--within) files -W "$presets" -A file ;;
    *:--tty | *:-t | *:--die-with-parent) choose "auto always never" ;;
    *:--net) choose "deny public-only allow" ;;
    *:--seccomp) choose "default strict debug" ;;
    *:--user | *:-u) choose "user root" ;;
    *:--log-format) choose "json text" ;;
    'ps:--state') choose "running ended" ;;
    *:--state) choose "creating running parked archived destroying destroyed failed" ;;
    'token create:--workspace') COMPREPLY=() ;;
    *:--verbs) choose "read lifecycle exec files files.read files.write metrics" ;;
    'policy explain:--workspace') files -A directory ;;
    *:--workspace) files -W "none tmpfs volume:" -A directory ;;
    *:--image) choose "host dir:" ;;
    *:--ro | *:--rw | *:--result | *:--learn | *:--path | *:--config | *:--socket) files -A file ;;
    *:--env | *:-e) mapfile -t COMPREPLY < <(compgen -A variable -- "$word") ;;
    *:--mode) choose "stop freeze" ;;
    *:--idle-action) choose "park destroy" ;;
    'policy explain:--host') COMPREPLY=() ;;
    *:--host) choose "unix:/" ;;
    *)
        if [[ $berth_dashes == 0 ]] && _berth_takes_value "$before"; then
            COMPREPLY=()
        elif [[ $word == -* && $berth_dashes == 0 ]]; then
            choose "$(_berth_options "$berth_command")"
        elif [[ -z $berth_command ]]; then
            choose "$commands"
        elif [[ $berth_command == help && $berth_words == 0 ]]; then
            choose "$commands"
        elif [[ -n $(_berth_verbs "$berth_command") ]]; then
            choose "$(_berth_verbs "$berth_command")"
        elif [[ $berth_command == policy\ * && $berth_command != *schema ]]; then
            files -W "$presets" -A file
        elif [[ $berth_command == cp || $berth_command == ledger\ * ]]; then
            files -A file
        else
            choose "$(_berth_options "$berth_command")"
        fi
        ;;
    esac
}
complete -F _berth berth

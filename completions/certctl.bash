_certctl_completion() {
    local line=${COMP_LINE:0:COMP_POINT} word prefix completion type value i
    local -a words=()

    # bash divides words at = and : too, which are parts of them here
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [[ $i -gt 0 && -n $line && $line != [[:space:]]* ]]; then
            words[${#words[@]} - 1]+=$word
        else
            words+=("$word")
        fi
        line=${line#"${line%%[![:space:]]*}"}
        line=${line#"$word"}
    done
    word=${COMP_WORDS[COMP_CWORD]}
    [[ $word == *[!=:]* ]] || word=
    prefix=${words[${#words[@]} - 1]%"$word"}

    local IFS=$'\n'
    for completion in $(env COMP_WORDS="${words[*]}" COMP_CWORD=$((${#words[@]} - 1)) \
        _CERTCTL_COMPLETE=bash_complete "$1"); do
        IFS=',' read -r type value <<< "$completion"

        if [[ $type == 'dir' ]]; then
            COMPREPLY=()
            compopt -o dirnames
        elif [[ $type == 'file' ]]; then
            COMPREPLY=()
            compopt -o default
        elif [[ $type == 'plain' ]]; then
            [[ $value != *= ]] || compopt -o nospace 2> /dev/null
            value=${value#"$prefix"}
            [[ $value != *[[:space:]]* ]] || printf -v value %q "$value"
            COMPREPLY+=("$value")
        fi
    done

    return 0
}

_certctl_completion_setup() {
    complete -o nosort -F _certctl_completion certctl
}

_certctl_completion_setup;

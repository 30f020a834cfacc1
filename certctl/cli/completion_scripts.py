"""The completion scripts of bash, zsh and fish, which call certctl for the candidates.

They are Click's, except that fish keeps the commas of descriptions, that bash puts words together
that it divides at `=` and `:`, and that no space follows the `=` of a condition.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

if TYPE_CHECKING:
    import click

_VARIABLE = "_CERTCTL_COMPLETE"
# What Click's script for fish does with a line of TYPE,CANDIDATE and a tab with a description.
_SPLIT = 'string split ","'
_SPLIT_ONCE = 'string split --max 1 ","'

_BASH = """\
%(complete_func)s() {
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
        line=${line#"${line%%%%[![:space:]]*}"}
        line=${line#"$word"}
    done
    word=${COMP_WORDS[COMP_CWORD]}
    [[ $word == *[!=:]* ]] || word=
    prefix=${words[${#words[@]} - 1]%%"$word"}

    local IFS=$'\\n'
    for completion in $(env COMP_WORDS="${words[*]}" COMP_CWORD=$((${#words[@]} - 1)) \\
        %(complete_var)s=bash_complete "$1"); do
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
            [[ $value != *[[:space:]]* ]] || printf -v value %%q "$value"
            COMPREPLY+=("$value")
        fi
    done

    return 0
}

%(complete_func)s_setup() {
    complete -o nosort -F %(complete_func)s %(prog_name)s
}

%(complete_func)s_setup;
"""
# Click's script for zsh adds all candidates without a description here.
_ALL = "compadd -U -V unsorted -a completions"
_WITHOUT_SPACE = """compadd -U -V unsorted -a completions
    fi

    if [ -n "$conditions" ]; then
        compadd -U -V unsorted -S '' -a conditions"""
_PLAIN = 'completions+=("$key")\n'
_CONDITION = """if [[ "$key" == *= ]]; then
                    conditions+=("$key")
                else
                    completions+=("$key")
                fi
"""
# Candidates after --option= lack it.
_KIND = """        if [[ "$type" == "plain" ]]; then
"""
_WITH_OPTION = f"""        if [[ "$type" == "plain" && "${{words[CURRENT]}}" == --*=* ]]; then
            key="${{words[CURRENT]%%=*}}=$key"
        fi
{_KIND}"""
_LISTS = "    local -a completions\n"
_MORE_LISTS = f"{_LISTS}    local -a conditions\n"

_REPLACED: dict[str, tuple[tuple[str, str], ...]] = {
    "bash": (),
    "zsh": (
        (_ALL, _WITHOUT_SPACE),
        (_PLAIN, _CONDITION),
        (_LISTS, _MORE_LISTS),
        (_KIND, _WITH_OPTION),
    ),
    "fish": ((_SPLIT, _SPLIT_ONCE),),
}


class _Bash(BashComplete):
    source_template = _BASH


_KINDS: dict[str, type[ShellComplete]] = {
    "bash": _Bash,
    "zsh": ZshComplete,
    "fish": FishComplete,
}


def completion_script(group: click.Command, shell: str) -> str:
    """Return the script of one of bash, zsh and fish for certctl, ending with a newline."""
    kind = _KINDS[shell]
    script = kind.source_template % kind(group, {}, "certctl", _VARIABLE).source_vars()
    for clicks, ours in _REPLACED[shell]:
        if clicks not in script:  # another Click: its script is complete without
            continue
        script = script.replace(clicks, ours)
    return script.strip() + "\n"

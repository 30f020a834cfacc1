"""The completion scripts of bash, zsh and fish, which call certctl for the candidates.

They are Click's, except that fish keeps the commas of descriptions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

if TYPE_CHECKING:
    import click

_VARIABLE = "_CERTCTL_COMPLETE"
_KINDS: dict[str, type[ShellComplete]] = {
    "bash": BashComplete,
    "zsh": ZshComplete,
    "fish": FishComplete,
}
# What Click's script for fish does with a line of TYPE,CANDIDATE and a tab with a description.
_SPLIT = 'string split ","'
_SPLIT_ONCE = 'string split --max 1 ","'


def completion_script(group: click.Command, shell: str) -> str:
    """Return the script of one of bash, zsh and fish for certctl, ending with a newline."""
    kind = _KINDS[shell]
    script = kind.source_template % kind(group, {}, "certctl", _VARIABLE).source_vars()
    return script.replace(_SPLIT, _SPLIT_ONCE).strip() + "\n"

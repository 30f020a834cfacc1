"""What the command line of an nginx says, as it stands in the title of its master process. There,
words are joined by spaces, so that nobody can tell where one with spaces ends.
"""

from __future__ import annotations

from collections.abc import Sequence

from certctl.rules.nginx_syntax import SyntaxProblem, scan

_FLAGS = ("-c", "-e", "-g", "-p", "-q", "-s", "-t", "-T")
_OF_THE_START = frozenset({b"daemon", b"master_process"})
"""How a process is started, which says nothing about its configuration."""


def option(words: Sequence[str], flag: str) -> str | None:
    """Return the value of an option that is a path."""
    for index, word in enumerate(words):
        if word == flag and index + 1 < len(words):
            return words[index + 1]
        if word.startswith(flag) and len(word) > len(flag) and word[len(flag)] in "/.":
            return word[len(flag) :]
    return None


def global_directives(words: Sequence[str]) -> str:
    """Return the directives of `-g`, without those about the start; "" if there are none."""
    at = next((index for index, word in enumerate(words) if word.startswith("-g")), None)
    if at is None:
        return ""
    found = [words[at].removeprefix("-g")]
    for word in words[at + 1 :]:
        if word.startswith(_FLAGS) and found[-1].rstrip().endswith((";", "}")):
            break
        found.append(word)
    source = " ".join(found).strip().encode("utf-8", "surrogateescape")
    try:
        directives = scan(source)
    except SyntaxProblem:
        return ""
    kept = (source[each.start : each.end] for each in directives if each.name not in _OF_THE_START)
    return b" ".join(kept).decode("utf-8", "surrogateescape")

"""Each command line of certctl in the documents could be typed as it stands: its command, options
and arguments are those of today.
"""

import re
import shlex
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from certctl.cli.environment import of_this_process
from certctl.cli.invocation import Invocation
from certctl.cli.main import group
from tests.support.document_blocks import BLOCKS, entries_of
from tests.support.documents import DOCUMENTS, ROOT, command_blocks, command_lines

STARTS = re.compile(r"(^|&& |\| |; |sudo |exec )(\S+/)?certctl( |$)")
SEPARATORS = {"&&", "||", "|", ";", ">", ">>", "2>", "<"}


def calls(line: str) -> Iterator[list[str]]:
    """Yield the arguments of each call of certctl in a line."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    current: list[str] = []
    for word in (*lexer, ";"):
        if word not in SEPARATORS:
            current.append(word)
            continue
        yield from _call(current)
        current = []


def _call(words: list[str]) -> Iterator[list[str]]:
    while words and (
        re.match(r"[A-Z_]+=", words[0]) or words[0] in {"sudo", "exec", "while", "if"}
    ):
        words = words[1:]
    if words and words[0].rpartition("/")[2] == "certctl":
        yield words[1:]


CALLS = sorted(
    {
        (document.relative_to(ROOT).as_posix(), shlex.join(call))
        for document in DOCUMENTS
        for block in command_blocks(document)
        for line in command_lines(block)
        if STARTS.search(line)
        for call in calls(line)
    }
)


def test_the_documents_have_commands() -> None:
    assert len(CALLS) > 70


@pytest.mark.parametrize("call", [pytest.param(call, id=f"{name}-{call}") for name, call in CALLS])
def test_a_command_of_a_document_could_be_typed_as_it_stands(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = shlex.split(call)
    for file in (each for each in arguments if each.endswith((".pem", ".csr"))):
        if not file.startswith(("/", "~")):
            Path(file).touch()
    command: click.Command = group
    context = click.Context(group, info_name="certctl", obj=Invocation(of_this_process()))
    if arguments[:1] in (["--version"], ["--help"], []):
        return
    group.parse_args(context, arguments)
    while isinstance(command, click.Group):
        rest = [*context._protected_args, *context.args]
        found = command.get_command(context, rest[0]) if rest else None
        if found is None:
            assert not rest, f"there is no command {rest[0]}"
            return
        command = found
        context = click.Context(command, info_name=rest[0], parent=context)
        command.parse_args(context, rest[1:])


# The blocks of commands

_BLOCKS = [
    pytest.param(name, block, id=f"{name}-{number}")
    for document in sorted(DOCUMENTS)
    for name in [document.relative_to(ROOT).as_posix()]
    for number, block in enumerate(command_blocks(document), 1)
]


@pytest.mark.parametrize(("document", "block"), _BLOCKS)
def test_a_block_of_commands_is_run_or_says_why_not(document: str, block: str) -> None:
    found = entries_of(document, block)

    assert len(found) == 1, f"{found}: give it one row in tests/support/document_blocks.py"


def test_each_row_is_about_one_block() -> None:
    rows = Counter(
        (document, entry.text)
        for document, block in (each.values for each in _BLOCKS)
        for entry in entries_of(str(document), str(block))
    )

    assert rows == Counter((each, row.text) for each, table in BLOCKS.items() for row in table)

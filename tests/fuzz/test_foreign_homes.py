"""Damaged files in the homes of other clients: each costs a line at most, what is said of it can be
printed, and the certificates to which the file does not belong are found as ever.
"""

import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certctl.model.importing import FoundCertificate, FoundMachine
from certctl.operations.import_choice import find_machine
from certctl.output.document import Json
from certctl.output.importing import machine_result
from certctl.output.times import Times
from tests.fuzz.inputs import LONGEST_MESSAGE, fuzzed
from tests.support.foreign_homes import NAMES, unpack

HUGE = b"9" * 5_000
VALUES = (
    b"",
    b"\x00",
    b"\xff\xfe",
    HUGE,
    b"x" * 70_000,
    b"../../../etc/shadow",
    b"%(x)s",
    b"'\"[{(=",
)
DAMAGES = ("cut", "flip", "swap", "repeat", "value", "insert", "emptied", "replaced")


def damaged(data: bytes, how: str, seed: int) -> bytes:
    """Return a file's bytes after some damage."""
    chance = random.Random(seed)
    at = chance.randrange(len(data) + 1)
    lines = data.splitlines(keepends=True)
    line = chance.randrange(len(lines)) if lines else 0
    match how:
        case "cut":
            return data[:at]
        case "flip" if data:
            changed = bytearray(data)
            for _ in range(chance.randint(1, 8)):
                changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
            return bytes(changed)
        case "swap" if lines:
            other = chance.randrange(len(lines))
            lines[line], lines[other] = lines[other], lines[line]
        case "repeat" if lines:
            lines[line:line] = [lines[chance.randrange(len(lines))]] * chance.choice((1, 3, 3_000))
        case "value" if lines:
            name, equals, _ = lines[line].partition(chance.choice((b"=", b":", b" ")))
            lines[line] = name + equals + chance.choice(VALUES) + b"\n"
        case "insert":
            return data[:at] + chance.choice(VALUES) + data[at:]
        case "replaced":
            return chance.choice((*VALUES, b"{}", b"[]", b"null", b"[" * 20_000, b'{"a":' * 20_000))
        case _:
            return b""
    return b"".join(lines)


@cache
def files(root: Path) -> list[Path]:
    return sorted(each for each in root.rglob("*") if each.is_file() and not each.is_symlink())


@cache
def undamaged(root: Path) -> FoundMachine:
    return find_machine(root, None)


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {each: unpack(each, tmp_path_factory.mktemp("machine")) for each in NAMES}


def texts(found: FoundMachine) -> Iterator[str]:
    """What is said of a machine to a person."""
    for client in found.clients:
        yield from (*client.problems, *client.notes)
        for each in client.certificates:
            yield from (each.why or "", *each.notes)
            yield from (text for one in each.questions for text in (one.message, one.option))


def belongs(path: Path, root: Path, found: FoundCertificate) -> bool:
    """Whether a file is one of a certificate, or beside it in a directory of its own."""
    own = [*found.files.paths, *(each for each in (found.conf, found.archive) if each)]
    real = [(root / each.lstrip("/")).resolve() for each in own]
    name = path.relative_to(root).as_posix()
    return path in real or path.parent in real or found.name.removesuffix("-ecc") in name


SHARED = (
    *("account", "config", "domains.txt", "cron", ".service", ".timer", "acme.json", ".yml"),
    *(".yaml", "ca.conf", ".ini", "credentials", "private/key.pem", "/ca/", ".key"),
)
"""Parts of the names of files that concern several certificates."""


@fuzzed
@given(
    home=st.sampled_from(NAMES),
    place=st.integers(0, 10**6),
    how=st.sampled_from(DAMAGES),
    seed=st.integers(0, 2**32),
)
def test_damage_to_a_file_of_another_client_costs_a_line(
    roots: dict[str, Path], home: str, place: int, how: str, seed: int
) -> None:
    root = roots[home]
    path = files(root)[place % len(files(root))]
    before, data = undamaged(root), path.read_bytes()
    path.write_bytes(damaged(data, how, seed))
    try:
        found = find_machine(root, None)
    finally:
        path.write_bytes(data)

    shown: dict[str, Json] = dict(machine_result(found, (), Times(local=False)).data)
    assert shown["clients"] is not None
    for text in texts(found):
        assert text.isprintable(), (path, text)
        assert len(text) <= LONGEST_MESSAGE, (path, len(text))
    for client in found.clients:
        for old in before.clients:
            if (old.client, old.home) == (client.client, client.home):
                assert len(client.problems) <= len(old.problems) + 1, (path, client.problems)
    if any(each in path.as_posix() for each in SHARED):
        return
    now = {(each.id, each.home): each for client in found.clients for each in client.certificates}
    for client in before.clients:
        for each in client.certificates:
            if not belongs(path, root, each):
                assert now.get((each.id, each.home)) == each, (path, each.id)

"""Damaged files of the home directory: each command reports them, and others are unaffected."""

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certctl.model.errors import ExitStatus
from tests.fuzz.inputs import few
from tests.support.command import certctl
from tests.support.homes import add_certificate

GOOD, HURT = "good.example", "hurt.example"

FILES = (
    *(f"certificates/{HURT}.toml", f"renewal/{HURT}.json", f"deployed/{HURT}.json"),
    *(f"archive/{HURT}/1/issued.json", f"archive/{HURT}/1/cert.pem"),
    *(f"archive/{HURT}/1/privkey.pem", f"archive/{HURT}/1/fullchain.pem"),
    *("list.json", "run.json", "journal/unknown.json"),
)

damages = st.binary(max_size=80) | st.sampled_from(
    [b"", b"{}", b"[]", b"null", b'{"version": 99}', b'{"version": 1}', b"\xff\xfe", b"{" * 5_000]
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("fuzz") / "home"
    for name in (GOOD, HURT):
        add_certificate(made, name)
    return made


@few
@given(
    file=st.sampled_from(FILES),
    damage=damages,
    keep=st.floats(0, 1),
    command=st.sampled_from(["list", "show", "check", "renew", "explain"]),
)
def test_damage_to_one_certificate_is_told_and_stays_with_it(
    home: Path,
    tmp_path_factory: pytest.TempPathFactory,
    file: str,
    damage: bytes,
    keep: float,
    command: str,
) -> None:
    copy = tmp_path_factory.mktemp("copy") / "home"
    shutil.copytree(home, copy, symlinks=True)
    path = copy / file
    path.parent.mkdir(exist_ok=True)
    before = path.read_bytes() if path.exists() else b""
    path.write_bytes(before[: int(keep * len(before))] + damage)

    arguments = [command, HURT] if command in {"show", "explain"} else [command]
    done = certctl(*arguments, "--json", home=copy)
    good = certctl("show", GOOD, "--json", home=copy)

    told = [error["code"] for error in done.json()["errors"]]
    assert "internal" not in told
    assert "Traceback" not in done.stderr
    assert done.exit_status in {*map(int, ExitStatus)}
    assert good.exit_status == 0
    shutil.rmtree(copy.parent)

"""What the quick commands must not load: a command's time is mostly that of its imports.

Each command is run as a user runs it, by an interpreter that reports every module it loads.
"""

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from certctl.cli.main import COMMANDS
from tests.lab.ports import free_port
from tests.lab.scripted_ca.server import ScriptedCA
from tests.support.command import Finished, certctl_process
from tests.support.homes import add_certificate

HEAVY = {"acme", "josepy", "requests", "cryptography", "dns", "rich", "tomlkit", "idna", "lexicon"}
"""Top-level packages that take tens of milliseconds each."""

ORDERING = {
    "certctl.ca.client",
    "certctl.ca.network",
    "certctl.engine.order.authorize",
    "certctl.engine.delivery.deliver",
    "certctl.engine.order.obtain",
    "certctl.rules.keys",
    "certctl.rules.x509",
}
"""What an order or a deploy needs, and nothing else does."""

DOING = tuple(
    f"certctl.{each}"
    for each in ("ca.", "cli.actions", "engine.", "inspection", "operations", "schedule", "store")
)
"""The packages that do what commands say; the tables of options are in `engine.plugins`."""

PLUG_INS = ("certctl.deploy.targets.", "certctl.dns.providers.")


def test_the_version_loads_nothing_but_the_command_line(tmp_path: Path) -> None:
    loaded = loaded_by(run("--version", home=tmp_path / "home"))

    assert "certctl.cli.main" in loaded
    assert heavy(loaded) == set()
    assert working(loaded) == set()


@pytest.mark.parametrize("arguments", [("--help",), ("-h",)], ids=" ".join)
def test_the_help_of_all_commands_loads_none_of_them(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    loaded = loaded_by(run(*arguments, home=tmp_path / "home"))

    assert heavy(loaded) == set()
    assert working(loaded) == set()


@pytest.mark.parametrize("command", [each for each in COMMANDS if each != "help"])
def test_the_help_of_a_command_loads_its_declaration_and_nothing_that_does_anything(
    tmp_path: Path, command: str
) -> None:
    loaded = loaded_by(run(command, "--help", home=tmp_path / "home"))

    assert heavy(loaded) == set()
    assert {each for each in loaded if each.startswith(DOING)} <= {"certctl.engine.plugins"}


@pytest.mark.parametrize(
    "arguments",
    [("list",), ("list", "--json"), ("show", "a.example", "--json")],
    ids=" ".join,
)
def test_looking_at_certificates_parses_none(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    home = tmp_path / "home"
    add_certificate(home, "a.example")
    add_certificate(home, "b.example", age=timedelta(days=80))

    finished = run(*arguments, home=home)

    assert "a.example" in finished.stdout
    assert heavy(loaded_by(finished)) == set()
    assert loaded_by(finished) & ORDERING == set()


@pytest.mark.parametrize(
    "arguments",
    [("list",), ("renew",), ("show", "a.example")],
    ids=["list", "renew", "show"],
)
def test_plug_ins_are_not_looked_for_where_none_is_named(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    home = tmp_path / "home"
    add_certificate(home, "a.example")

    loaded = loaded_by(run(*arguments, home=home))

    assert "certctl.rules.settings" in loaded
    assert {each for each in loaded if each.startswith(PLUG_INS)} == set()
    assert "importlib.metadata" not in loaded


def test_the_help_of_a_command_that_takes_flags_of_plug_ins_does_not_look_for_them(
    tmp_path: Path,
) -> None:
    finished = run("issue", "--help", home=tmp_path / "home")

    assert "--rfc2136-server" not in finished.stdout
    assert {each for each in loaded_by(finished) if each.startswith(PLUG_INS)} == set()
    assert "importlib.metadata" not in loaded_by(finished)


def test_help_all_of_a_command_that_takes_flags_of_plug_ins_has_looked_for_them(
    tmp_path: Path,
) -> None:
    finished = run("issue", "--help-all", home=tmp_path / "home")

    assert "--rfc2136-server" in finished.stdout
    assert "importlib.metadata" in loaded_by(finished)


def test_a_check_of_certificates_parses_none(tmp_path: Path) -> None:
    home = tmp_path / "home"
    add_certificate(home, "a.example")
    add_certificate(home, "b.example")
    certctl_process("schedule", "external", home=home)

    finished = run("check", home=home)

    assert "2 certificates" in finished.stdout
    assert heavy(loaded_by(finished)) == set()
    assert loaded_by(finished) & ORDERING == set()


def test_an_issuance_loads_only_the_libraries_that_it_uses(tmp_path: Path) -> None:
    with ScriptedCA(authorizations_start="valid") as ca:
        finished = run(
            *("issue", "a.example", "--ca", ca.directory_url, "--ca-bundle", str(ca.ca_bundle)),
            *("--agree-tos", "--http-address", "127.0.0.1", "--http-port", str(free_port())),
            home=tmp_path / "home",
        )

    loaded = loaded_by(finished)
    assert {"acme", "josepy", "requests", "cryptography"} <= loaded
    assert {
        "OpenSSL",
        "acme.client",
        "dns",
        "rich",
        "lexicon",
        "publicsuffixlist",
    } & loaded == set()
    assert {each for each in loaded if each.startswith(PLUG_INS)} == set()


def test_an_idle_renewal_loads_nothing_that_an_order_needs(tmp_path: Path) -> None:
    home = tmp_path / "home"
    add_certificate(home, "a.example")
    add_certificate(home, "b.example", age=timedelta(days=30))

    finished = run("renew", home=home)

    assert (finished.exit_status, finished.stdout, complaints(finished)) == (0, "", [])
    assert heavy(loaded_by(finished)) == set()
    assert loaded_by(finished) & ORDERING == set()


def test_an_idle_renewal_writes_nothing_but_that_it_ran(tmp_path: Path) -> None:
    home = tmp_path / "home"
    add_certificate(home, "a.example")
    before = state_of(home)

    run("renew", home=home)

    after = state_of(home)
    assert len(json.loads((home / "run.json").read_text())["runs"]) == 1
    assert set(after) - set(before) == {str(home / "run.json")}
    assert {path for path in before if before[path] != after[path]} <= {str(home)}


def test_an_idle_renewal_of_no_certificates_leaves_no_home_behind(tmp_path: Path) -> None:
    finished = run("renew", home=tmp_path / "home")

    assert finished.exit_status == 0
    assert list(tmp_path.iterdir()) == []


def test_the_report_names_a_package_that_is_loaded_late() -> None:
    program = "import importlib; importlib.import_module('idna')"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", program],
        capture_output=True,
        text=True,
        check=True,
    )

    assert heavy(loaded_by(Finished(0, done.stdout, done.stderr))) == {"idna"}


def run(*arguments: str, home: Path) -> Finished:
    finished = certctl_process(*arguments, home=home, interpreter=("-X", "importtime"))
    assert finished.exit_status == 0, finished.stderr
    return finished


_REPORT = "import time:"


def state_of(home: Path) -> dict[str, tuple[int, int]]:
    """What tells one state of a tree from another: each file's inode, and when it was changed."""
    facts = {str(each): each.lstat() for each in home.rglob("*")}
    return {path: (each.st_ino, each.st_mtime_ns) for path, each in facts.items()}


def loaded_by(finished: Finished) -> set[str]:
    """The modules in the interpreter's report; its last column is the name, indented by depth."""
    lines = (line for line in finished.stderr.splitlines() if line.startswith(_REPORT))
    return {line.rpartition("|")[2].strip() for line in lines}


def complaints(finished: Finished) -> list[str]:
    return [line for line in finished.stderr.splitlines() if not line.startswith(_REPORT)]


def heavy(loaded: set[str]) -> set[str]:
    return {each.partition(".")[0] for each in loaded} & HEAVY


def working(loaded: set[str]) -> set[str]:
    """The modules that do the work of commands: all but words, rules and the command line."""
    packages = (
        "ca",
        "challenges",
        "cli.actions",
        "cli.commands",
        "deploy",
        "dns",
        "operations",
        "store",
        "system",
    )
    return {each for each in loaded if each.startswith(tuple(f"certctl.{p}" for p in packages))}

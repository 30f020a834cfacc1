"""A bad value of a setting is the same error however it was given: flag, environment or TOML."""

from functools import cache
from pathlib import Path

import pytest
import tomlkit

from certctl.engine.plugins import option_table
from certctl.rules.options import Kind, Option
from tests.support.command import certctl, every_command

OPTIONS = tuple(option_table().values())

BAD = {
    "challenge.method": "no such",
    "common_name": "not a name",
    "deploy_window": "Mon 02:00-05:00",
    "order_window": "02:00-05:00 Nowhere/At_all",
    "deploy.copy": "fullchain",
    "deploy.targets": "no such",
    "deploy.verify": "https://a.example",
    "key_mode": "0666",
    "proxy": "ftp://a.example",
}
"""A value that the check of the setting refuses, for each setting that has a check of its own."""

BAD_OF_KIND = {Kind.CHOICE: "rsa-204", Kind.INTEGER: "many", Kind.SECONDS: "soon"}
ANYTHING = {Kind.BOOLEAN, Kind.TEXTS}
"""Kinds that have no bad value on the command line."""

WITH_FLAG = [
    each
    for each in OPTIONS
    if each.flag and each.key != "home" and (each.key in BAD or each.kind not in ANYTHING)
]


def test_each_check_of_a_setting_is_tried_with_a_value_that_it_refuses() -> None:
    assert {each.key for each in OPTIONS if each.canonical is not None} == set(BAD)


@pytest.mark.parametrize("option", WITH_FLAG, ids=lambda each: each.key)
def test_a_bad_value_is_the_same_error_by_every_way(tmp_path: Path, option: Option) -> None:
    value = BAD.get(option.key) or BAD_OF_KIND.get(option.kind, "two\nlines")

    by_flag = error(*command_with(option.flag or ""), option.flag or "", value, home=tmp_path)

    assert by_flag["code"] == "configuration.value"
    assert by_flag["message"].startswith(f"invalid value for '{option.flag}")
    assert told(by_file(option, value, tmp_path), f"{option.key}: ") == told(by_flag, "': ")
    if option.environment:
        variables = {option.environment: value}
        by_variable = error("list", home=tmp_path / "empty", variables=variables)
        assert by_variable["message"].startswith(f"the environment variable {option.environment}: ")
        assert told(by_variable, f"{option.key}: ") == told(by_flag, "': ")


def test_a_value_close_to_one_that_exists_is_told(tmp_path: Path) -> None:
    found = error("issue", "a.example", "--key-type", "rsa-204", home=tmp_path)

    assert found["hint"] == "Did you mean rsa-2048?"


def test_a_bad_threshold_keeps_its_hint(tmp_path: Path) -> None:
    found = certctl("check", "--warning", "often", "--json", home=tmp_path).json()["errors"][0]

    assert found["code"] == "usage.threshold"
    assert found["message"].startswith("invalid value for '-w' / '--warning': 'often' is neither")
    assert found["hint"].startswith("Give a fraction such as 1/3")


def by_file(option: Option, value: str, home: Path) -> dict[str, str]:
    """The error about the value in `certctl.toml`, or in a spec if the setting is only there."""
    document = tomlkit.document()
    if not option.in_file:
        document["names"] = ["a.example"]
    table = document
    *tables, key = option.key.split(".")
    for each in tables:
        table = table.setdefault(each, tomlkit.table())
    table[key] = [value] if option.kind is Kind.TEXTS else value
    file = home / ("certctl.toml" if option.in_file else "certificates/a.example.toml")
    file.parent.mkdir(mode=0o700, exist_ok=True)
    file.write_text(tomlkit.dumps(document))
    return error(*(("list",) if option.in_file else ("show", "a.example")), home=home)


def error(*arguments: str, home: Path, variables: dict[str, str] | None = None) -> dict[str, str]:
    """The one error of a command that is refused for its usage or configuration."""
    finished = certctl(*arguments, "--json", home=home, variables=variables)
    assert finished.exit_status == 2
    (found,) = finished.json()["errors"]
    return dict(found)


def told(error: dict[str, str], after: str) -> dict[str, str]:
    """The error's code, hint and reason, without where the value was given."""
    _, _, reason = error["message"].partition(after)
    return {"code": error["code"], "hint": error["hint"], "reason": reason}


@cache
def commands() -> dict[str, tuple[str, ...]]:
    """For each flag the first command that has it."""
    found: dict[str, tuple[str, ...]] = {}
    for path, command in every_command():
        for parameter in command.params:
            for flag in parameter.opts:
                found.setdefault(flag, tuple(path.split()))
    return found


def command_with(flag: str) -> tuple[str, ...]:
    return commands()[flag]

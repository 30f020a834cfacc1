"""The table of certbot's flags has every flag of the certbot that is installed, and the
documentation is that table.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from certctl.rules.certbot_arguments import parse
from certctl.rules.certbot_flags import (
    CERTBOT_VERSION,
    FLAGS,
    SUBCOMMANDS,
    Flag,
    Kind,
    Takes,
)

ROOT = Path(__file__).parents[2]
CERTBOT = Path(sys.executable).with_name("certbot")
EXAMPLES = {"webroot_map": '{"a.example": "/srv"}'}


def certbot(*arguments: str) -> str:
    if not CERTBOT.exists():
        pytest.skip("certbot is not installed")
    return subprocess.run(
        [CERTBOT, *arguments], capture_output=True, text=True, check=True, env={"COLUMNS": "80"}
    ).stdout


def test_every_flag_of_certbot_is_in_the_table() -> None:
    shown = re.findall(r"^  (-.*?)(?:  |$)", certbot("--help", "all"), re.MULTILINE)
    flags = {each for line in shown for each in re.findall(r"(?<![\w-])--?[a-z][\w-]*", line)}
    ours = {each for flag in FLAGS for each in flag.names}

    assert len(flags) > 120
    assert flags - ours == set()


def test_every_subcommand_of_certbot_is_in_the_table() -> None:
    shown = set(re.findall(r"^    (?:\(default\) )?([a-z_]+)  ", certbot("--help"), re.MULTILINE))

    assert len(shown) > 10
    assert shown - SUBCOMMANDS.keys() == set()


def test_the_version_is_that_of_the_table() -> None:
    major = certbot("--version").split()[1].partition(".")[0]

    assert major == CERTBOT_VERSION.partition(".")[0]


def test_the_document_is_the_table() -> None:
    script = subprocess.run(
        [sys.executable, ROOT / "scripts" / "certbot-table"],
        capture_output=True,
        check=True,
        text=True,
    )
    text = (ROOT / "docs" / "from-certbot.md").read_text(encoding="utf-8")
    _, begin, rest = text.partition("<!-- flags: written by scripts/certbot-table -->\n")
    documented, end, _ = rest.partition("<!-- flags: end -->\n")

    assert (bool(begin), bool(end)) == (True, True)
    assert documented == script.stdout, (
        "run .venv/bin/python scripts/certbot-table --write, and look at the difference"
    )


@pytest.mark.parametrize("flag", FLAGS, ids=lambda flag: flag.names[0])
def test_a_flag_is_taken_or_refused_by_its_name(flag: Flag) -> None:
    if flag.place == "help":
        return
    for name in flag.names:
        word = flag.choices[0] if flag.choices else EXAMPLES.get(flag.place, "x")
        value = "1" if flag.takes is Takes.NUMBER else word
        words = [name] if flag.takes in (Takes.NOTHING, Takes.COUNT) else [name, value]
        if flag.kind is Kind.REFUSED:
            with pytest.raises(Exception, match=re.escape(name)):
                parse(["certonly", *words])
        else:
            assert flag.place in parse(["certonly", *words]).values


def test_each_text_is_a_phrase() -> None:
    assert [each.names[0] for each in FLAGS if each.text.endswith(".") or not each.text] == []

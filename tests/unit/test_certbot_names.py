"""Which certificate a command line of certbot is about."""

from dataclasses import replace

import pytest

from certctl.model.errors import UsageError
from certctl.rules.certbot_names import (
    Change,
    Chosen,
    choose,
    chosen_names,
    free_name,
    is_host_name,
)

KNOWN = {
    "a.example": ("a.example",),
    "b.example": ("b.example", "www.b.example"),
    "b.example-0001": ("b.example", "www.b.example", "c.b.example"),
}


@pytest.mark.parametrize(
    ("names", "named", "chosen"),
    [
        ("new.example", None, Chosen("new.example", ("new.example",), Change.NEW)),
        ("*.new.example", None, Chosen("new.example", ("*.new.example",), Change.NEW)),
        ("a.example", None, Chosen("a.example", ("a.example",), Change.SAME)),
        (
            "www.b.example b.example",
            None,
            Chosen("b.example", ("b.example", "www.b.example"), Change.SAME),
        ),
        (
            "a.example x.example",
            None,
            Chosen("a.example", ("a.example", "x.example"), Change.MORE),
        ),
        (
            "b.example www.b.example c.b.example d.b.example",
            None,
            Chosen(
                "b.example-0001",
                ("b.example", "www.b.example", "c.b.example", "d.b.example"),
                Change.MORE,
            ),
        ),
        (
            "b.example x.example",
            None,
            Chosen("b.example-0002", ("b.example", "x.example"), Change.NEW),
        ),
        ("x.example", "mine", Chosen("mine", ("x.example",), Change.NEW)),
        ("", "a.example", Chosen("a.example", ("a.example",), Change.SAME)),
        ("x.example", "a.example", Chosen("a.example", ("x.example",), Change.OTHER)),
        (
            "x.example a.example",
            "a.example",
            Chosen("a.example", ("x.example", "a.example"), Change.MORE),
        ),
    ],
)
def test_a_certificate_is_chosen_as_certbot_chooses(
    names: str, named: str | None, chosen: Chosen
) -> None:
    found = choose(names.split(), KNOWN, named=named)

    assert replace(found, before=()) == chosen
    assert found.before == KNOWN.get(chosen.name, ())


def test_a_duplicate_gets_a_number() -> None:
    assert choose(["a.example"], KNOWN, duplicate=True).name == "a.example-0001"
    assert free_name("b.example", KNOWN) == "b.example-0002"


def test_without_names_there_is_nothing_to_do() -> None:
    with pytest.raises(UsageError):
        choose([], KNOWN)


@pytest.mark.parametrize(
    ("answer", "names"),
    [
        ("", ("a.example", "b.example")),
        ("2", ("b.example",)),
        ("2, 1", ("b.example", "a.example")),
        ("B.example", ("b.example",)),
        ("1 1 x.example", ("a.example", "x.example")),
    ],
)
def test_a_person_chooses_among_the_names_of_a_web_server(
    answer: str, names: tuple[str, ...]
) -> None:
    assert chosen_names(answer, ("a.example", "b.example")) == names


@pytest.mark.parametrize("answer", ["0", "3", "1 9", "9" * 5000, "\N{SUPERSCRIPT TWO}"])
def test_a_number_that_was_not_offered_chooses_nothing(answer: str) -> None:
    with pytest.raises(UsageError):
        chosen_names(answer, ("a.example", "b.example"))


@pytest.mark.parametrize(
    ("name", "offered"),
    [
        ("a.example", True),
        ("_", False),
        ("localhost", False),
        ("*.a.example", False),
        ("~^www\\d+\\.example$", False),
        ("192.0.2.1", False),
        ("$host", False),
        ("", False),
    ],
)
def test_only_host_names_are_offered(name: str, offered: bool) -> None:
    assert is_host_name(name) == offered

"""Whose path of HTTP-01 answers is tried again: a few of many, each way of answering first."""

from dataclasses import replace

from certctl.model.spec import CertificateSpec
from certctl.rules.answer_paths import MOST, worth_trying
from tests.support.nouns import wanted


def answered(name: str, method: str = "webroot", webroot: str = "/w") -> CertificateSpec:
    webroots = (webroot,) if method == "webroot" else ()
    made = wanted(chosen={"challenge.method": method, "challenge.webroots": webroots})
    return replace(made, name=name)


def test_each_way_of_answering_comes_before_a_second_certificate_of_a_known_one() -> None:
    specs = [
        answered("a"),
        answered("b"),
        answered("c", webroot="/other"),
        answered("d", "standalone"),
        answered("e", "standalone"),
        answered("f", "stateless"),
    ]

    assert [each.name for each in worth_trying(specs)] == ["a", "c", "d", "f", "b"]


def test_of_thousands_a_few_are_tried() -> None:
    first = answered("a")
    many = [replace(first, name=f"n{number}") for number in range(3000)]

    found = worth_trying([*many, answered("z", webroot="/z")])

    assert (len(found), [each.name for each in found[:2]]) == (MOST, ["n0", "z"])

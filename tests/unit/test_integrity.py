"""What is left of a version whose files were damaged, and what is wrong with each of them."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certctl.model.certificate import Material, Version
from certctl.model.errors import FilesDamaged
from certctl.rules import integrity
from tests.support.homes import issued
from tests.support.nouns import with_first
from tests.unit.store_samples import wanted

START = datetime(2026, 1, 1, tzinfo=UTC)


def one() -> tuple[Version, Material]:
    version, material = issued(wanted(), START)
    return with_first(version, chain_sha256=integrity.chain_sha256(material.chain)), material


VERSION, MATERIAL = one()
OTHER = integrity.contents(one()[1])
FILES = integrity.contents(MATERIAL)
OLD = with_first(VERSION, chain_sha256=None)
"""The same version, written before the digest of the chain was recorded."""


def changed(**files: bytes | None) -> dict[str, bytes | None]:
    return {**FILES, **{f"{name}.pem": data for name, data in files.items()}}


def test_intact_files_have_no_problem() -> None:
    for version in (VERSION, OLD):
        assert integrity.check(version, FILES) == integrity.Integrity(
            MATERIAL, replace(MATERIAL, privkey=None)
        )


@pytest.mark.parametrize("version", [VERSION, OLD], ids=["with digest", "without"])
@pytest.mark.parametrize(
    ("files", "problem"),
    [
        (changed(privkey=None), "privkey.pem is missing"),
        (changed(privkey=b""), "privkey.pem is empty"),
        (changed(privkey=b"\n"), "privkey.pem is empty"),
        (
            changed(privkey=OTHER["privkey.pem"]),
            "privkey.pem contains a key that does not fit the certificate",
        ),
        (
            changed(privkey=FILES["privkey.pem"][:100]),
            "privkey.pem is cut off, or contains something else",
        ),
        (changed(privkey=FILES["cert.pem"]), "privkey.pem contains no private key"),
        (
            changed(privkey=FILES["combined.pem"]),
            "privkey.pem does not contain the certificate that was issued",
        ),
        (changed(fullchain=None), "fullchain.pem is missing"),
        (
            changed(fullchain=FILES["fullchain.pem"][:-40]),
            "fullchain.pem is cut off, or contains something else",
        ),
        (
            changed(fullchain=FILES["cert.pem"]),
            "fullchain.pem does not contain the certificate that was issued",
        ),
        (
            changed(fullchain=OTHER["fullchain.pem"]),
            "fullchain.pem does not contain the certificate that was issued",
        ),
        (
            changed(cert=OTHER["cert.pem"]),
            "cert.pem does not contain the certificate that was issued",
        ),
        (
            changed(cert=FILES["fullchain.pem"]),
            "cert.pem does not contain the certificate that was issued",
        ),
        (changed(chain=b""), "chain.pem is empty"),
        (
            changed(chain=OTHER["chain.pem"]),
            "chain.pem does not contain the chain that was issued",
        ),
        (
            changed(combined=FILES["fullchain.pem"]),
            "combined.pem contains no private key",
        ),
        (
            changed(combined=FILES["privkey.pem"]),
            "combined.pem does not contain the certificate that was issued",
        ),
        (changed(chain=None, cert=None), "cert.pem is missing; chain.pem is missing"),
    ],
)
def test_one_damaged_part_is_recovered_from_the_other_files(
    version: Version, files: Mapping[str, bytes | None], problem: str
) -> None:
    if version is OLD and files["chain.pem"] == OTHER["chain.pem"]:
        # Of two chains of the same length, none is known to be the right one.
        version = VERSION

    found = integrity.check(version, files)

    assert found.damage == problem
    assert integrity.require(version, found) == MATERIAL


@pytest.mark.parametrize(
    "files",
    [
        changed(privkey=None, combined=None),
        changed(privkey=OTHER["privkey.pem"], combined=OTHER["combined.pem"]),
        changed(cert=b"", fullchain=b"", combined=FILES["privkey.pem"]),
        changed(chain=b"", fullchain=FILES["cert.pem"], combined=b""),
        dict.fromkeys(FILES),
        OTHER,
    ],
    ids=["no key", "another key", "no certificate", "no chain", "nothing", "all of another"],
)
def test_what_is_in_no_file_cannot_be_recovered(files: Mapping[str, bytes | None]) -> None:
    found = integrity.check(VERSION, files)

    with pytest.raises(FilesDamaged, match=r"the files of version 0 of example\.com are damaged"):
        integrity.require(VERSION, found)


def test_a_certificate_is_recovered_without_its_key_where_that_is_enough() -> None:
    found = integrity.check(VERSION, changed(privkey=None, combined=b""))

    assert integrity.require(VERSION, found, with_key=False) == replace(MATERIAL, privkey=None)


@pytest.mark.parametrize(
    "files",
    [
        {name: data.replace(b"\n", b"\r\n") for name, data in FILES.items()},
        {name: b"# a comment\n" + data + b"\n\n" for name, data in FILES.items()},
        {name: data.rstrip() for name, data in FILES.items()},
        changed(combined=FILES["fullchain.pem"] + FILES["privkey.pem"]),
    ],
    ids=["CRLF", "comments", "no newline at the end", "the key last"],
)
def test_another_notation_of_the_same_contents_is_no_damage(
    files: Mapping[str, bytes | None],
) -> None:
    assert integrity.check(VERSION, files).damage is None


def test_a_certificate_that_a_root_issued_directly_has_an_empty_chain() -> None:
    material = replace(MATERIAL, chain=b"")
    version = with_first(VERSION, chain_sha256=integrity.chain_sha256(b""))

    found = integrity.check(version, integrity.contents(material))

    assert (found.material, found.damage) == (material, None)


def test_a_version_without_a_key_of_ours_needs_none() -> None:
    version, material = with_first(VERSION, has_key=False), replace(MATERIAL, privkey=None)

    found = integrity.check(version, integrity.contents(material))

    assert (found.material, found.damage) == (material, None)


@settings(max_examples=50)
@given(st.sampled_from(sorted(FILES)), st.binary(max_size=60), st.integers(0, 2000))
def test_whatever_is_in_one_file_the_version_is_complete(
    name: str, noise: bytes, place: int
) -> None:
    data = FILES[name]
    files = {**FILES, name: data[:place] + noise + data[place + len(noise) :]}

    found = integrity.check(VERSION, files)

    assert integrity.require(VERSION, found) == MATERIAL
    assert set(found.problems) <= {name}

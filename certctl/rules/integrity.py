"""Whether the files of a version still contain what was issued, and what can be recovered from
them.

Pure: the contents of the files in, values out. Each part of a version is in two or three of its
files (the key in `privkey.pem` and `combined.pem`, for example), so a damaged file can usually be
restored from the others of the same version, and never from those of another one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from typing import TypeVar

from certctl.model.certificate import Material, Version
from certctl.model.errors import FilesDamaged, InspectionFailed
from certctl.model.lazy_dataclass import dataclass
from certctl.rules import formats

CERTIFICATE_FILES = ("cert.pem", "chain.pem", "fullchain.pem")
KEY_FILES = ("privkey.pem", "combined.pem")

Files = Mapping[str, bytes | None]
"""The contents of a version's files by name; None for one that is missing."""

_Value = TypeVar("_Value")

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\s.*?-----END \1-----", re.DOTALL)


@dataclass(frozen=True)
class Integrity:
    """What the files of a version contain.

    `material` is what was issued, None if a part of it is in no file; `public` is the same without
    the private key. `problems` has a phrase for each file that does not contain what it should.
    """

    material: Material | None
    public: Material | None
    problems: Mapping[str, str] = field(default_factory=dict)

    @property
    def damage(self) -> str | None:
        """The problems as one phrase; None if every file is intact."""
        return "; ".join(f"{name} {what}" for name, what in self.problems.items()) or None


def second_directory(version: Version) -> str | None:
    """Return the name of the directory with the files of the second certificate; None if there is
    only one.
    """
    return None if version.second is None else version.second.family


def is_secret(filename: str) -> bool:
    """Return whether one of a version's files contains a private key."""
    return filename.rpartition("/")[2] in KEY_FILES


def file_names(version: Version) -> tuple[str, ...]:
    """Return the names of a version's PEM files; those of the second certificate are below its own
    directory.
    """
    names = CERTIFICATE_FILES + (KEY_FILES if version.has_key else ())
    second = version.second
    if second is None:
        return names
    own = CERTIFICATE_FILES + (KEY_FILES if second.has_key else ())
    return names + tuple(f"{second.family}/{each}" for each in own)


def contents(material: Material, second: str | None = None) -> dict[str, bytes]:
    """Return the PEM files of a version by name; `second` is its `second_directory`."""
    files = _contents(material)
    if second is not None and material.second is not None:
        own = _contents(material.second)
        files |= {f"{second}/{name}": data for name, data in own.items()}
    return files


def described(version: Version, material: Material) -> Version:
    """Return a version that says of each certificate whether its key is there, and what its chain
    is.
    """
    certificates = tuple(
        replace(each, has_key=own.privkey is not None, chain_sha256=chain_sha256(own.chain))
        for each, own in zip(version.certificates, material.parts, strict=True)
    )
    return replace(version, certificates=certificates)


def _contents(material: Material) -> dict[str, bytes]:
    files = {
        "cert.pem": material.cert,
        "chain.pem": material.chain,
        "fullchain.pem": material.fullchain,
    }
    if material.privkey is not None and material.combined is not None:
        files |= {"privkey.pem": material.privkey, "combined.pem": material.combined}
    return files


def chain_sha256(chain: bytes) -> str:
    """Return the digest by which a chain (PEM, may be empty) is recognized."""
    blocks = [block for label, block in _blocks(chain) if label == b"CERTIFICATE"]
    return _digest([pem for pem in map(_certificate, blocks) if pem is not None])


def check(version: Version, files: Files, unreadable: Mapping[str, str] | None = None) -> Integrity:
    """Compare the files of a version with what its `issued.json` says was issued.

    `unreadable` has a phrase for each file that exists, but cannot be read.
    """
    if version.second is None:
        return _check(version, files, unreadable or {})
    prefixes = ("", f"{version.second.family}/")
    first, second = (
        _check(each, _below(prefix, files), _below(prefix, unreadable or {}))
        for each, prefix in zip(version.parts, prefixes, strict=True)
    )
    return Integrity(
        _together(first.material, second.material),
        _together(first.public, second.public),
        {
            **first.problems,
            **{f"{prefixes[1]}{name}": each for name, each in second.problems.items()},
        },
    )


def _below(prefix: str, found: Mapping[str, _Value]) -> dict[str, _Value]:
    """Return what is known by the name of a file, for the files of one certificate."""
    own = ((name.removeprefix(prefix), each) for name, each in found.items() if prefix in name)
    return {name: each for name, each in own if "/" not in name}


def _together(first: Material | None, second: Material | None) -> Material | None:
    return None if first is None or second is None else replace(first, second=second)


def _check(version: Version, files: Files, unreadable: Mapping[str, str]) -> Integrity:
    """Compare the files of a version that has only one certificate."""
    parts = {name: _parts(files.get(name)) for name in file_names(version)}
    leaf = _leaf(version, parts)
    chain = None if leaf is None else _chain(version, leaf, parts)
    every = dict.fromkeys(each for found in parts.values() for each in found.keys)
    fitting = [each for each in every if _fits(version, each)]
    public = None if leaf is None or chain is None else Material(leaf, formats.join(chain))
    material = public
    if version.has_key and public is not None:
        material = replace(public, privkey=fitting[0]) if fitting else None
    problems = dict(unreadable)
    for name, found in parts.items():
        problem = _problem(name, files.get(name), found, _wanted(name, leaf, chain), fitting)
        if problem is not None:
            problems.setdefault(name, problem)
    return Integrity(material, public, problems)


def require(version: Version, found: Integrity, *, with_key: bool = True) -> Material:
    """Return what was issued. Raises `FilesDamaged` if a part of it is in no file.

    A missing private key is an error only if `with_key`.
    """
    material = found.material if with_key else found.material or found.public
    if material is not None:
        return material
    raise FilesDamaged(
        f"the files of version {version.number} of {version.name} are damaged: {found.damage}",
        hint="Restore them from a backup, or get a new certificate:"
        f" certctl renew --force {version.name}",
        name=version.name,
    )


@dataclass(frozen=True)
class _Parts:
    """What is in a file: the certificates (normalized PEM), the keys, and whether there is
    anything else.
    """

    certificates: tuple[bytes, ...] = ()
    keys: tuple[bytes, ...] = field(default=(), repr=False)
    foreign: bool = False


def _parts(data: bytes | None) -> _Parts:
    certificates: list[bytes] = []
    keys: list[bytes] = []
    # A block that is cut off matches nothing: its beginning is left over.
    rest = _BLOCK.sub(b"", data or b"")
    foreign = b"-----BEGIN" in rest or b"-----END" in rest
    for label, block in _blocks(data or b""):
        if label == b"CERTIFICATE":
            pem = _certificate(block)
            foreign |= pem is None
            certificates += [] if pem is None else [pem]
        elif label.endswith(b"PRIVATE KEY"):
            keys.append(block + b"\n")
        elif not label.endswith(b" PARAMETERS"):
            foreign = True
    return _Parts(tuple(certificates), tuple(keys), foreign)


def _blocks(data: bytes) -> list[tuple[bytes, bytes]]:
    return [(found[1], found[0]) for found in _BLOCK.finditer(data)]


def _certificate(block: bytes) -> bytes | None:
    try:
        return formats.to_pem(formats.to_der(block))
    except InspectionFailed:
        return None


def _digest(certificates: Sequence[bytes]) -> str:
    return hashlib.sha256(formats.join(certificates)).hexdigest()


def _is_leaf(version: Version, certificate: bytes) -> bool:
    return hashlib.sha256(formats.to_der(certificate)).hexdigest() == version.facts.sha256


def _leaf(version: Version, parts: Mapping[str, _Parts]) -> bytes | None:
    every = (each for found in parts.values() for each in found.certificates[:1])
    return next((each for each in every if _is_leaf(version, each)), None)


def _chain(version: Version, leaf: bytes, parts: Mapping[str, _Parts]) -> tuple[bytes, ...] | None:
    """Return the chain. If the version has no digest of it, the longest one is taken."""
    candidates = [
        found.certificates[1:] if found.certificates[:1] == (leaf,) else found.certificates
        for name, found in parts.items()
        if name == "chain.pem" or (name != "cert.pem" and found.certificates[:1] == (leaf,))
    ]
    if version.chain_sha256 is None:
        return max(candidates, key=len, default=None)
    if version.chain_sha256 == _digest(()):
        return ()
    return next((each for each in candidates if _digest(each) == version.chain_sha256), None)


def _fits(version: Version, privkey: bytes) -> bool:
    from certctl.rules import keys  # noqa: PLC0415 - slow, and only for files that have changed

    return keys.fits(privkey, version.facts.key_sha256)


def _problem(
    name: str,
    data: bytes | None,
    found: _Parts,
    wanted: tuple[bytes, ...] | None,
    fitting: Sequence[bytes],
) -> str | None:
    """Return what is wrong with a file; None if it is intact."""
    if data is None:
        return "is missing"
    has_key = name in KEY_FILES
    intact = wanted == found.certificates and not found.foreign
    intact &= len(found.keys) == has_key and all(each in fitting for each in found.keys)
    if intact:
        return None
    if not data.strip():
        return "is empty"
    if found.foreign:
        return "is cut off, or contains something else"
    if has_key and not found.keys:
        return "contains no private key"
    if has_key and found.keys[0] not in fitting:
        return "contains a key that does not fit the certificate"
    return (
        f"does not contain the {'chain' if name == 'chain.pem' else 'certificate'} that was issued"
    )


def _wanted(
    name: str, leaf: bytes | None, chain: tuple[bytes, ...] | None
) -> tuple[bytes, ...] | None:
    """Return the certificates that a file should contain; None if they are in no file."""
    if name == "privkey.pem":
        return ()
    if name == "chain.pem":
        return chain
    if leaf is None:
        return None
    if name == "cert.pem":
        return (leaf,)
    return None if chain is None else (leaf, *chain)

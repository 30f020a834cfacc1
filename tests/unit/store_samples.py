"""A store in a directory of the test, and the values that its tests write into it."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from certctl.models import (
    CertificateFacts,
    CertificateSpec,
    Identifier,
    IdentifierType,
    KeyType,
    Material,
    Request,
    Value,
    Version,
)
from certctl.ports import Store, Tree
from certctl.settings import Settings
from certctl.spec import resolve
from certctl.store.local import LocalStore
from certctl.store.tree import LocalTree
from tests.lab.clock import SteerableClock

REPOSITORY = Path(__file__).parents[2]
"""Where a test's child processes run, so that they find `certctl` and `tests`."""

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
NAME = "example.com"
IDENTIFIERS = (Identifier(IdentifierType.DNS, NAME),)


def open_store(
    home: Path,
    *,
    settings: Settings | None = None,
    warn: Callable[[str], None] = lambda _message: None,
) -> LocalStore:
    return LocalStore(home, settings or Settings(), SteerableClock(NOW), warn=warn)


def fulfils(store: LocalStore, tree: LocalTree) -> tuple[Store, Tree]:
    """Has the type checker compare both with what operations know."""
    return store, tree


def wanted(name: str = NAME, **chosen: Value) -> CertificateSpec:
    """A spec; `key_group="www"` and the like are the user's choices, `__` stands for a dot."""
    choices = {key.replace("__", "."): value for key, value in chosen.items()}
    identifiers = (Identifier(IdentifierType.DNS, name),)
    return resolve(name, identifiers, choices, Settings())


def issued(name: str = NAME, **changes: object) -> Version:
    """A version as the CA's answer gives it, before the store has numbered it."""
    identifiers = (Identifier(IdentifierType.DNS, name),)
    version = Version(
        name=name,
        number=0,
        facts=CertificateFacts(
            identifiers=identifiers,
            not_before=NOW,
            not_after=NOW + timedelta(days=90),
            serial="0a1b2c",
            sha256="11" * 32,
            issuer="CN=An Issuer",
            key_type="ecdsa-p256",
            key_sha256="22" * 32,
            ari_id="aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE",
        ),
        request=Request(identifiers, KeyType.ECDSA_P256, "https://ca.example/directory"),
        issued=NOW,
        order_url="https://ca.example/order/1",
        account_url="https://ca.example/account/1",
    )
    return replace(version, **changes)  # type: ignore[arg-type]


def pem(label: str, mark: str) -> bytes:
    return f"-----BEGIN {label}-----\n{mark}\n-----END {label}-----\n".encode()


def material(mark: str = "1", *, with_key: bool = True) -> Material:
    """PEM blocks that only look like ones: the store never parses them."""
    return Material(
        cert=pem("CERTIFICATE", f"leaf{mark}"),
        chain=pem("CERTIFICATE", f"issuer{mark}"),
        privkey=pem("PRIVATE KEY", f"key{mark}") if with_key else None,
    )


def save(store: LocalStore, name: str = NAME, mark: str = "1", **chosen: Value) -> Version:
    """Save one version of a certificate, as an issuance would."""
    return store.save_version(wanted(name, **chosen), issued(name), material(mark))


def mode(path: Path) -> int:
    return path.lstat().st_mode & 0o7777


def everything_below(directory: Path) -> list[str]:
    return sorted(str(each.relative_to(directory)) for each in directory.rglob("*"))

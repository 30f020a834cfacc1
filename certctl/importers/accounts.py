"""Reads the account keys of other clients."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from certctl.importers.tree import Tree, Unreadable
from certctl.model.errors import CertctlError
from certctl.model.importing import FoundAccount
from certctl.model.text import printable, texts
from certctl.rules import keys


def read_account(
    tree: Tree,
    within: str,
    *,
    client: str,
    id: str,  # noqa: A002 - the client's word
    key_file: str,
    ca: str | None,
    url: str | None,
    contact: object = (),
) -> FoundAccount:
    """Return an account whose key is a file in PEM, or in JWK if it is JSON. Never raises."""
    found = FoundAccount(
        client, printable(id), ca, url, key_file, contact=tuple(texts(contact)) if contact else ()
    )
    try:
        data = tree.read(key_file, within)
        pem = keys.from_jwk(json_object(data)) if data.lstrip()[:1] == b"{" else data
        return with_key(found, keys.standard_pem(pem))
    except Unreadable as error:
        return _unusable(found, str(error))
    except CertctlError as error:
        return _unusable(found, f"{key_file}: {error.message}")


def with_key(account: FoundAccount, pem: bytes) -> FoundAccount:
    """Return the account with its key; `problem` says if certctl cannot use it."""
    kind, key_type, problem = None, None, None
    try:
        kind = keys.describe_private_key(pem)
        key_type = keys.account_key_type(pem).value
    except CertctlError as error:
        problem = f"{account.key_file}: {error.message}"
    return replace(
        account, key=pem, key_kind=kind, key_type=key_type, problem=problem or account.problem
    )


def _unusable(account: FoundAccount, why: str) -> FoundAccount:
    return replace(account, problem=why)


def json_object(data: bytes) -> Mapping[str, object]:
    """Return a JSON object. Raises `Unreadable` if it is none."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"not valid JSON: {error}") from error
    if not isinstance(found, dict):
        raise Unreadable("not a JSON object")
    return found


def read_json(tree: Tree, path: str, within: str) -> Mapping[str, object]:
    """Return a file that contains a JSON object. Raises `Unreadable` with its path."""
    data = tree.read(path, within)
    try:
        return json_object(data)
    except Unreadable as error:
        raise Unreadable(f"{path}: {error}") from error


def inner(document: Mapping[str, object], *keys: str) -> Mapping[str, object]:
    """Return the object at a path of keys; empty if there is none."""
    found: object = document
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def text_at(document: Mapping[str, object], *keys: str) -> str | None:
    """Return the text at a path of keys; None if there is none."""
    *parents, last = keys
    found = inner(document, *parents).get(last) if parents else document.get(last)
    return printable(found) or None if isinstance(found, str) else None

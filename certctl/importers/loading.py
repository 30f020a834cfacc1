"""Finds the other clients on a machine. Each is a module of `certctl.importers.clients`.

A new client needs such a module with `NAME`, `WORDS` (the names of its program), `homes(system)`,
`is_home(system, path)` and `read(system, home)`, or an entry point in the group
`certctl.importers`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Protocol

from certctl.importers import clients
from certctl.importers.readers import find_mounts, find_readers
from certctl.importers.schedules import find_schedules
from certctl.importers.system import ImportSystem
from certctl.importers.tree import Tree, Unreadable
from certctl.model.importing import FoundCertificate, FoundClient, FoundMachine
from certctl.system.effective_user import acting_as
from certctl.system.plugins import Plugins
from certctl.system.trust import is_own_group


class Importer(Protocol):
    """The interface of a client's module. Nothing that it reads is executed, and it never raises
    for damaged files.
    """

    NAME: str
    WORDS: Sequence[str]

    def homes(self, system: ImportSystem) -> Sequence[str]:
        """Return the client's homes at the usual places, and those that command lines name."""
        ...

    def is_home(self, system: ImportSystem, path: str) -> bool:
        """Return whether a directory is a home of this client."""
        ...

    def read(self, system: ImportSystem, home: str) -> FoundClient:
        """Return what the client has in a home."""
        ...


_PLUGINS = Plugins(clients, "certctl.importers", "client", "usage.client")


def importers() -> list[Importer]:
    """Return the modules of all clients that certctl can read."""
    return [_PLUGINS.module(each) for each in _PLUGINS.names()]


def look(tree: Tree, known_cas: Mapping[str, str], place: str | None = None) -> FoundMachine:
    """Return what other clients have on a machine, or only in the directory `place`. Changes
    nothing and asks no CA.
    """
    modules = importers()
    schedules = find_schedules(tree, {each.NAME: each.WORDS for each in modules})
    system = ImportSystem(tree, schedules, known_cas)
    found: list[FoundClient] = []
    for module in modules:
        homes = module.homes(system) if place is None else [place]
        known: set[str] = set()
        for home in homes:
            if place is not None and not module.is_home(system, home):
                continue
            real = _real(tree, home)
            if real not in known:
                known.add(real)
                found.append(_read(tree, module, system, home))
    names = {each.client for each in found}
    places = _places(found)
    return FoundMachine(
        tuple(found),
        tuple(each for each in schedules if each.client in names),
        find_readers(tree, places),
        find_mounts(places) if tree.whole_machine else (),
    )


def _real(tree: Tree, home: str) -> str:
    try:
        return tree.resolve(home)
    except Unreadable:
        return home


def _places(found: Sequence[FoundClient]) -> list[str]:
    """Return the directories whose files programs may read."""
    places = dict.fromkeys(each.home for each in found)
    for client in found:
        for each in client.certificates:
            for path in each.files.paths:
                parent = PurePosixPath(path).parent.as_posix()
                if not any(parent == one or parent.startswith(f"{one}/") for one in places):
                    places[parent] = None
    return list(places)


def _read(tree: Tree, module: Importer, system: ImportSystem, home: str) -> FoundClient:
    """Read a home that belongs to another user with that user's permissions, so that no link and no
    race shows more than the user may see. Where the user has no access it is only shown.
    """
    owner = _owner(tree, home)
    if owner is not None:  # the user may have no access to certctl's own modules
        import configobj  # noqa: F401, PLC0415 - only for what belongs to others

        from certctl.rules import formats, keys, x509  # noqa: F401, PLC0415 - as above
    with acting_as(owner):
        client = module.read(system, home) if module.is_home(system, home) else None
    if client is not None:
        return _checked(tree, client, owner)
    found = module.read(system, home)
    return replace(found, untrusted=f"{home} belongs to the user {owner}")


def _owner(tree: Tree, path: str) -> int | None:
    """Return to which user other than root a directory belongs, if this process is root."""
    try:
        user = tree.status(path).st_uid
    except Unreadable:
        return None
    return user if user != 0 and os.geteuid() == 0 else None


def _checked(tree: Tree, client: FoundClient, owner: int | None) -> FoundClient:
    """Return the client with its owner, and with the reason why its files must not be believed if
    yet others can write them.
    """
    if os.geteuid() != 0:
        return client
    for path in dict.fromkeys((client.home, *_confs(client.certificates))):
        try:
            status = tree.status(path)
        except Unreadable:
            continue
        if status.st_uid not in (0, owner):
            return replace(client, untrusted=f"{path} belongs to the user {status.st_uid}")
        if status.st_mode & 0o002 or (
            status.st_mode & 0o020 and not is_own_group(status.st_gid, status.st_uid)
        ):
            return replace(client, untrusted=f"other users can write {path}")
    found = tuple(_owned(tree, client.home, owner, each) for each in client.certificates)
    return replace(client, owner=owner, certificates=found)


def _owned(tree: Tree, home: str, owner: int | None, found: FoundCertificate) -> FoundCertificate:
    """Return the certificate with the directory that belongs to another user: the one with the home
    and its files, or the one with its files alone.
    """
    if owner is not None:
        directories = [PurePosixPath(each).parent.as_posix() for each in found.files.paths]
        return replace(found, owner=owner, owned=os.path.commonpath([home, *directories]))
    for path in found.files.paths:
        directory = PurePosixPath(path).parent.as_posix()
        if (user := _owner(tree, directory)) is not None:
            return replace(found, owner=user, owned=directory)
    return found


def _confs(certificates: Sequence[FoundCertificate]) -> list[str]:
    return [each.conf for each in certificates if each.conf is not None]

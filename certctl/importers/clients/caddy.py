"""Caddy: `caddy/acme` and `caddy/certificates` in its data directory. A report only.

Caddy gets certificates by itself for as long as a site has automatic HTTPS, so a certificate is
moved by telling Caddy to read certctl's files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from certctl.importers.accounts import read_account, read_json, text_at
from certctl.importers.system import Draft, ImportSystem, read_pair
from certctl.importers.tree import Unreadable
from certctl.model.importing import FoundAccount, FoundCertificate, FoundClient, FoundFiles

NAME = "caddy"
HOMES = ("/var/lib/caddy/.local/share/caddy", "/root/.local/share/caddy", "/data/caddy")
WORDS = ("caddy",)
_INTERNAL = "local"
_WHY = (
    "Caddy gets it by itself. To let certctl do it: certctl issue {names} --deploy caddy, and"
    " `tls {live}/fullchain.pem {live}/privkey.pem` in the site's block of the Caddyfile"
)


def homes(system: ImportSystem) -> Sequence[str]:
    """Return the homes at the usual places."""
    return [each for each in HOMES if is_home(system, each)]


def is_home(system: ImportSystem, path: str) -> bool:
    """Return whether a directory is one that Caddy has used."""
    return all(system.tree.is_directory(f"{path}/{each}") for each in ("certificates", "acme"))


def read(system: ImportSystem, home: str) -> FoundClient:
    """Return what Caddy has in a home. Raises nothing for damaged files."""
    problems: list[str] = []
    return FoundClient(
        NAME,
        home,
        None,
        tuple(_accounts(system, home, problems)),
        tuple(_certificates(system, home)),
        (),
        tuple(problems),
        report_only=True,
    )


def _accounts(system: ImportSystem, home: str, problems: list[str]) -> Iterator[FoundAccount]:
    tree = system.tree
    for ca in tree.directories(f"{home}/acme", home):
        for user in tree.directories(f"{home}/acme/{ca}/users", home):
            directory = f"{home}/acme/{ca}/users/{user}"
            keys = [each for each in tree.files(directory) if each.endswith(".key")]
            if not keys:
                continue
            document = {}
            try:
                document = dict(
                    read_json(tree, f"{directory}/{keys[0].removesuffix('.key')}.json", home)
                )
            except Unreadable as error:
                problems.append(str(error))
            yield read_account(
                tree,
                home,
                client=NAME,
                id=user,
                key_file=f"{directory}/{keys[0]}",
                ca=_ca(system, ca),
                url=text_at(document, "location"),
                contact=document.get("contact", ()),
            )


def _ca(system: ImportSystem, directory: str) -> str | None:
    """Return the known CA whose URL gives this name: Caddy keeps neither case nor slashes."""
    known = {
        each.removeprefix("https://").replace("/", "-").lower(): each
        for each in system.known_cas.values()
    }
    return known.get(directory)


def _certificates(system: ImportSystem, home: str) -> Iterator[FoundCertificate]:
    tree = system.tree
    for ca in tree.directories(f"{home}/certificates", home):
        for name in tree.directories(f"{home}/certificates/{ca}", home):
            base = f"{home}/certificates/{ca}/{name}/{name}"
            files = FoundFiles(f"{base}.crt", f"{base}.key")
            draft = Draft(NAME, name, home, files, read_pair(tree, files, home))
            draft.ca = _ca(system, ca)
            draft.why = (
                "Caddy's internal CA is not an ACME CA"
                if ca == _INTERNAL
                else _WHY.format(names=name.replace("wildcard_", "*"), live=f"live/{name}")
            )
            yield draft.finished()

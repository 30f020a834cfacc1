"""Finds who reads the files of other clients: configuration files that name them, and containers
that have them mounted.

The configuration is searched for paths; nothing else in it is interpreted.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from certctl.importers.tree import Tree, Unreadable
from certctl.model.importing import FoundReader

_PROGRAMS = {
    "nginx": ("/etc/nginx",),
    "apache": ("/etc/apache2", "/etc/httpd"),
    "haproxy": ("/etc/haproxy",),
    "caddy": ("/etc/caddy",),
    "traefik": ("/etc/traefik",),
    "postfix": ("/etc/postfix",),
    "dovecot": ("/etc/dovecot",),
    "exim": ("/etc/exim4", "/etc/exim"),
    "stunnel": ("/etc/stunnel",),
    "lighttpd": ("/etc/lighttpd",),
    "mosquitto": ("/etc/mosquitto",),
    "openvpn": ("/etc/openvpn",),
    "postgresql": ("/etc/postgresql",),
    "coturn": ("/etc/turnserver.conf",),
}
_MAX_DEPTH = 6
_MAX_FILES = 2000
_LIMIT = 256 * 1024
_MOUNT_LIMIT = 1 << 20
_ESCAPE = re.compile(r"\\([0-7]{3})")


def find_readers(tree: Tree, places: Sequence[str]) -> tuple[FoundReader, ...]:
    """Return the lines of configuration files that name a file below one of `places`."""
    if not places:
        return ()
    pattern = re.compile(
        "(?:" + "|".join(re.escape(each) for each in places) + r")/[^\s\"';,|&<>(){}]*"
    )
    found: list[FoundReader] = []
    for program, roots in _PROGRAMS.items():
        for root in roots:
            for number, path in enumerate(_files(tree, root, 0)):
                if number >= _MAX_FILES:
                    break
                found += _lines(tree, program, path, pattern)
    return tuple(dict.fromkeys(found))


def _files(tree: Tree, path: str, depth: int) -> Iterator[str]:
    if not tree.is_directory(path):
        if tree.exists(path):
            yield path
        return
    for entry in tree.entries(path):
        below = f"{path}/{entry.name}"
        if entry.kind == "directory" and depth < _MAX_DEPTH:
            yield from _files(tree, below, depth + 1)
        elif entry.kind == "file":
            yield below


def _lines(tree: Tree, program: str, path: str, pattern: re.Pattern[str]) -> Iterator[FoundReader]:
    try:
        data = tree.read(path, limit=_LIMIT)
    except Unreadable:
        return
    for number, line in enumerate(data.decode("utf-8", errors="replace").splitlines(), 1):
        if line.lstrip().startswith(("#", ";", "//")):
            continue
        for match in pattern.finditer(line):
            yield FoundReader(program, path, number, match[0])


def find_mounts(places: Sequence[str], proc: Path = Path("/proc")) -> tuple[str, ...]:
    """Return what mounts one of `places`, or a directory in or above it, in a mount namespace of
    its own, as a container does: the places, with a process that sees each.
    """
    own = _namespace(proc / "self")
    seen: dict[str, None] = {}
    namespaces = {own}
    for process in _processes(proc):
        namespace = _namespace(proc / process)
        if namespace is None or namespace in namespaces:
            continue
        namespaces.add(namespace)
        for source in _sources(proc / process / "mountinfo"):
            for place in places:
                if source == place or source.startswith(f"{place}/"):
                    seen[f"{source} is mounted by process {process} ({_name(proc / process)})"] = (
                        None
                    )
    return tuple(seen)


def _processes(proc: Path) -> list[str]:
    try:
        return sorted((each for each in os.listdir(proc) if each.isdigit()), key=int)  # noqa: PTH208 - only names
    except OSError:
        return []


def _namespace(process: Path) -> str | None:
    try:
        return os.fspath((process / "ns" / "mnt").readlink())
    except OSError:
        return None


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text(errors="replace").strip()[:40]
    except OSError:
        return "?"


def _sources(path: Path) -> Iterator[str]:
    """Yield the directory within its file system that each mount shows (proc(5), field 4)."""
    try:
        with path.open("rb") as file:
            text = file.read(_MOUNT_LIMIT).decode("utf-8", errors="replace")
    except OSError:
        return
    for line in text.splitlines():
        fields = line.split(" ")
        if len(fields) > 4 and fields[3] != "/":
            yield _ESCAPE.sub(lambda found: chr(int(found[1], 8)), fields[3])

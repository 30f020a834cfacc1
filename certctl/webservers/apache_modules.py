"""Which modules of Apache are installed, and how each is enabled: as a2enmod does on Debian, or by
a file with LoadModule lines where a directory for these is read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from certctl.rules.apache_dump import Dump
from certctl.rules.apache_secure import PREFIX, ModuleFile

WANTED = ("rewrite", "ssl", "headers", "authz_core")
_DEPENDS = re.compile(r"^# Depends:(.*)$", re.MULTILINE)


def installed(dump: Dump, patterns: tuple[str, ...]) -> dict[str, tuple[ModuleFile, ...]]:
    """Return the files that enable each module that is not loaded. `patterns`: what is included at
    the level of the server, as absolute patterns.
    """
    links = [Path(each).parent for each in patterns if each.endswith("mods-enabled/*.load")]
    for enabled in links:
        available = enabled.with_name("mods-available")
        if available.is_dir():
            return {
                each: found
                for each in WANTED
                if each not in dump.modules and (found := _linked(each, enabled, dump))
            }
    loads = [Path(each).parent for each in patterns if each.endswith("conf.modules.d/*.conf")]
    lines: dict[str, tuple[ModuleFile, ...]] = {}
    for directory in loads[:1]:
        for name in WANTED:
            program = Path(dump.server_root, "modules", f"mod_{name}.so")
            if name not in dump.modules and program.exists():
                line = f"LoadModule {name}_module modules/mod_{name}.so\n".encode()
                path = directory / f"{PREFIX}{name}.conf"
                lines[name] = (ModuleFile(str(path), line, link=False),)
    return lines


def _linked(name: str, enabled: Path, dump: Dump) -> tuple[ModuleFile, ...]:
    """Return the links for a module and those it needs, these first; empty if one is missing."""
    found: dict[str, ModuleFile] = {}
    for each in _with_needed(name, enabled.with_name("mods-available"), dump):
        load = enabled.with_name("mods-available") / f"{each}.load"
        if not load.exists():
            return ()
        for file in (load, load.with_suffix(".conf")):
            link = enabled / file.name
            if file.exists() and not os.path.lexists(link):
                target = os.fsencode(f"../{load.parent.name}/{file.name}")
                found[str(link)] = ModuleFile(str(link), target, link=True)
    return tuple(found.values())


def _with_needed(name: str, available: Path, dump: Dump) -> Iterator[str]:
    try:
        text = (available / f"{name}.load").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    needed = _DEPENDS.search(text)
    for each in needed[1].split() if needed else ():
        if each not in dump.modules and each != name:
            yield from _with_needed(each, available, dump)
    yield name

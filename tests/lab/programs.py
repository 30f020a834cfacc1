"""Which programs the tests need, and what happens to a test when one is not installed.

Says where a program is and which Debian package brings it; starts nothing.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGES = Path(__file__).parents[2] / "packaging" / "debian-packages.txt"

# Daemons live in sbin directories, which an ordinary user's PATH often lacks.
SYSTEM_DIRECTORIES = ("/usr/local/sbin", "/usr/sbin", "/sbin", "/opt/homebrew/sbin")


def find_program(name: str) -> Path | None:
    """Return where a program is installed, or None."""
    search = os.pathsep.join((os.environ.get("PATH", os.defpath), *SYSTEM_DIRECTORIES))
    found = shutil.which(name, path=search)
    return Path(found) if found else None


def program(name: str) -> str:
    """Return the path of a program. Raises `FileNotFoundError` naming its Debian package."""
    found = find_program(name)
    if found is None:
        raise FileNotFoundError(missing((name,)))
    return str(found)


def require(*names: str) -> None:
    """Skip the running test unless all programs are installed; fail it where `CI=true`."""
    absent = tuple(name for name in names if find_program(name) is None)
    if not absent:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(missing(absent), pytrace=False)
    pytest.skip(missing(absent))


def require_strace() -> None:
    """Skip the running test unless strace is installed and may trace; see `require`."""
    require("strace")
    probe = subprocess.run(
        ["strace", "-qq", "-o", os.devnull, "true"], capture_output=True, text=True, check=False
    )
    if probe.returncode != 0:
        pytest.skip(f"strace may trace nothing here: {probe.stderr.strip()}")


def missing(names: tuple[str, ...]) -> str:
    """Return a sentence that names absent programs, and what to type to get them."""
    packages = dict(_programs_and_packages())
    wanted = sorted({packages[name] for name in names if name in packages})
    remedy = f" (apt-get install {' '.join(wanted)})" if wanted else ""
    return f"not installed: {', '.join(names)}{remedy}"


def _programs_and_packages() -> Iterator[tuple[str, str]]:
    for line in PACKAGES.read_text(encoding="utf-8").splitlines():
        package, *programs = line.partition("#")[0].split() or [""]
        for name in programs:
            yield name, package

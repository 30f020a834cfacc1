"""How the Python that runs certctl was installed, and so how a library is added to it."""

from __future__ import annotations

import importlib.util
import shlex
import sys
from pathlib import Path


def install_command(
    requirement: str,
    *,
    python: str = sys.executable,
    environment: Path = Path(sys.prefix),
    has_pip: bool | None = None,
) -> str:
    """Return the command that installs a library where this certctl finds it. `environment` is the
    virtual environment of `python`; by default `has_pip` is whether it can run pip.
    """
    quoted, interpreter = shlex.quote(requirement), shlex.quote(python)
    if (environment / "pipx_metadata.json").is_file():
        return f"pipx inject {shlex.quote(environment.name)} {quoted}"
    if has_pip is None:
        has_pip = importlib.util.find_spec("pip") is not None
    if has_pip:
        return f"{interpreter} -m pip install {quoted}"
    if _made_by_uv(environment):
        return f"uv pip install --python {interpreter} {quoted}"
    return f"python3 -m pip --python {interpreter} install {quoted}"


def _made_by_uv(environment: Path) -> bool:
    try:
        lines = (environment / "pyvenv.cfg").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return False
    return any(line.partition("=")[0].strip() == "uv" for line in lines)

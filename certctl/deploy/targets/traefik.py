"""Traefik: told of each certificate by a file of dynamic configuration, in a directory that its
file provider watches (`providers.file.directory`).

Traefik looks at its configuration, not at the files named in it, so the file is written anew each
time. There is nothing to test and nothing to reload.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from certctl.deploy.system import LiveFilesTarget, TargetSystem, text
from certctl.errors import ConfigurationError
from certctl.models import Delivery, ServiceAddress, Value
from certctl.options import Kind, Option
from certctl.ports import DeployTarget
from certctl.system.files import check_trusted, write_atomic

OPTIONS: tuple[Option, ...] = (
    Option(
        "deploy.traefik.directory",
        Kind.PATH,
        None,
        "Directory watched by Traefik's file provider; each certificate gets one file there.",
        flag="--traefik-directory",
        metavar="DIR",
        in_spec=True,
        variable="CERTCTL_TRAEFIK_DIRECTORY",
    ),
    Option(
        "deploy.traefik.format",
        Kind.CHOICE,
        "yaml",
        "In which language that file is written.",
        flag="--traefik-format",
        choices=("yaml", "toml"),
        in_spec=True,
        variable="CERTCTL_TRAEFIK_FORMAT",
    ),
)

_MODE = 0o644


def create(settings: Mapping[str, Value], system: TargetSystem) -> DeployTarget:
    """Return the target. Raises `ConfigurationError` where no directory was given, or there is
    none.
    """
    directory = text(settings, "deploy.traefik.directory")
    if not directory:
        raise ConfigurationError(
            "where Traefik reads its dynamic configuration was not said",
            hint="Give the directory of its file provider: --traefik-directory DIR",
            code="deploy.target_missing",
        )
    system.file(directory, "--traefik-directory")
    return Traefik(Path(directory), text(settings, "deploy.traefik.format") or "yaml")


class Traefik(LiveFilesTarget):
    """A Traefik that watches `directory`."""

    def __init__(self, directory: Path, language: str) -> None:
        self._directory = directory
        self._language = language

    def test(self) -> None:
        check_trusted(self._directory)

    def reload(self, deliveries: Sequence[Delivery]) -> None:
        for each in deliveries:
            path = self._directory / f"certctl-{each.version.name}.{self._language}"
            write_atomic(path, _configuration(each, self._language).encode(), _MODE)

    def services(self) -> Sequence[ServiceAddress]:
        return [ServiceAddress(None)]


def _configuration(delivery: Delivery, language: str) -> str:
    version = delivery.version
    heading = f"# {version.name}, version {version.number}; written by certctl at each deploy\n"
    # a text of JSON is one of YAML and of TOML too
    certificate = json.dumps(delivery.files.fullchain)
    key = json.dumps(delivery.files.privkey or "")
    if language == "toml":
        return f"{heading}[[tls.certificates]]\ncertFile = {certificate}\nkeyFile = {key}\n"
    return f"{heading}tls:\n  certificates:\n    - certFile: {certificate}\n      keyFile: {key}\n"

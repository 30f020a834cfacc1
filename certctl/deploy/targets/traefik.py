"""Traefik: each certificate has a dynamic configuration file in the directory that Traefik's file
provider watches (`providers.file.directory`).

Traefik watches its configuration but not the certificate files named in it, so the configuration
file is rewritten at each deployment. There is no configuration test and no reload command.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from certctl.deploy.system import LiveFilesTarget, TargetSystem, text
from certctl.model.delivery import Delivery
from certctl.model.errors import ConfigurationError
from certctl.model.ports import DeployTarget
from certctl.model.spec import ServiceAddress
from certctl.model.values import Value
from certctl.rules.options import Kind, Option
from certctl.system.files import remove_file, write_atomic
from certctl.system.reading import read_if_exists
from certctl.system.trust import check_trusted

_LANGUAGES = ("yaml", "toml")

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
        "Format of that file.",
        flag="--traefik-format",
        choices=_LANGUAGES,
        in_spec=True,
        variable="CERTCTL_TRAEFIK_FORMAT",
    ),
)

_MODE = 0o644
_WRITTEN_BY = "rewritten by certctl at each deployment"
_LIMIT = 100_000


def create(settings: Mapping[str, Value], system: TargetSystem) -> DeployTarget:
    """Return the target. Raises `ConfigurationError` if no directory was given or it is missing."""
    directory = text(settings, "deploy.traefik.directory")
    if not directory:
        raise ConfigurationError(
            "the directory of Traefik's dynamic configuration is not set",
            hint="Give the directory that its file provider watches: --traefik-directory DIR",
            code="deploy.target_missing",
        )
    system.file(directory, "--traefik-directory")
    return Traefik(Path(directory), text(settings, "deploy.traefik.format") or "yaml")


def withdraw(settings: Mapping[str, Value], certificate: str) -> None:
    """Remove the file of a certificate, if it is certctl's. Raises `StoreError`."""
    directory = text(settings, "deploy.traefik.directory")
    if directory:
        language = text(settings, "deploy.traefik.format") or "yaml"
        _remove_own(_file(Path(directory), certificate, language))


class Traefik(LiveFilesTarget):
    """A Traefik that watches `directory`."""

    serves_one_key = True

    def __init__(self, directory: Path, language: str) -> None:
        self._directory = directory
        self._language = language

    def test(self) -> None:
        check_trusted(self._directory)

    def reload(self, deliveries: Sequence[Delivery]) -> None:
        for each in deliveries:
            write_atomic(
                _file(self._directory, each.version.name, self._language),
                _configuration(each, self._language).encode(),
                _MODE,
            )
            for other in _LANGUAGES:
                if other != self._language:
                    _remove_own(_file(self._directory, each.version.name, other))

    def services(self) -> Sequence[ServiceAddress]:
        return [ServiceAddress(None)]


def _file(directory: Path, name: str, language: str) -> Path:
    return directory / f"certctl-{name}.{language}"


def _remove_own(path: Path) -> None:
    """Remove the file that a deployment in another format has written, from which Traefik would
    read the same certificate; one that is not certctl's stays.
    """
    data = read_if_exists(path, _LIMIT)
    if data is not None and _WRITTEN_BY.encode() in data.split(b"\n", 1)[0]:
        remove_file(path)


def _configuration(delivery: Delivery, language: str) -> str:
    version = delivery.version
    heading = f"# {version.name}, version {version.number}; {_WRITTEN_BY}\n"
    # A JSON string is also a valid YAML and TOML string.
    certificate = json.dumps(delivery.files.fullchain)
    key = json.dumps(delivery.files.privkey or "")
    if language == "toml":
        return f"{heading}[[tls.certificates]]\ncertFile = {certificate}\nkeyFile = {key}\n"
    return f"{heading}tls:\n  certificates:\n    - certFile: {certificate}\n      keyFile: {key}\n"

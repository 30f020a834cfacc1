"""What a web server is to `certctl secure`; one module of this package for each program."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Collection, Sequence
from types import MappingProxyType
from typing import Protocol, cast

from certctl.model.lazy_dataclass import dataclass
from certctl.model.ports import Clock
from certctl.model.webserver import Changes, SecureRequest, ServedFiles

MODULES = MappingProxyType({"nginx": "nginx", "apache": "apache"})
"""The module of each web server."""


@dataclass(frozen=True)
class ServerSystem:
    """The clock, and the event that interrupts the run."""

    clock: Clock
    stop: threading.Event


class WebServer(Protocol):
    """A running web server whose configuration can be changed."""

    @property
    def kind(self) -> str:
        """The program: the name of its module, which is also that of its deploy target."""
        ...

    @property
    def description(self) -> str:
        """The program with version, process and configuration, for people."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """What could not be found out about the process, for people."""
        ...

    @property
    def target_options(self) -> dict[str, str]:
        """The options of the deploy target with which it finds this server."""
        ...

    @property
    def needs_default_certificate(self) -> bool:
        """Whether it refuses a handshake only by a virtual host with a certificate."""
        ...

    def holds(self, port: int) -> bool | None:
        """Return whether it listens on a port; None if that cannot be read."""
        ...

    def plan(self, request: SecureRequest, files: ServedFiles) -> Changes:
        """Return the changes, from the files as they would be without our lines.

        Raises `WebServerRefused`, with what to add by hand.
        """
        ...

    def tls_settings(self) -> bytes:
        """Return the contents of the file with ciphers and protocols that the lines include."""
        ...

    def names_path(self, prefix: str) -> Sequence[str]:
        """Return the places in the configuration that name a path beginning with `prefix`."""
        ...

    def reads(self, paths: Collection[str]) -> bool:
        """Return whether its configuration has one of these files; True if that cannot be told."""
        ...

    def host_names(self) -> Sequence[str]:
        """Return the names for which it answers at port 80, as they are written; none if its
        configuration cannot be read.
        """
        ...

    def obstacles(self, tag: str) -> Sequence[str] | None:
        """Return what answers before the lines for challenges that are marked with `tag`; None
        where none of them is left. Raises `WebServerFailed` if the configuration cannot be read.
        """
        ...

    def test(self) -> None:
        """Test the configuration on disk. Raises `WebServerFailed` with the program's output."""
        ...

    def reload(self, *, wait: bool = True) -> None:
        """Load the configuration, and with `wait`, return once new processes serve with it.

        Raises `WebServerFailed`: an exit status or a signal that was sent prove nothing.
        """
        ...


class ServerModule(Protocol):
    """The interface of a module for a web server."""

    def find(self, system: ServerSystem) -> Sequence[WebServer]:
        """Return the servers that run on this machine. Raises `WebServerRefused` if there are some,
        but only such that cannot be changed from here.
        """
        ...

    def snippet(
        self, names: Sequence[str], files: ServedFiles, *, challenges_only: bool = False
    ) -> str:
        """Return the lines to add by hand."""
        ...

    def undone(self, path: str, tag: str, *, last: bool) -> bytes | None:
        """Return the bytes of somebody else's file without the lines marked with `tag`, and with
        `last` also without those that all certificates share; None if the file does not exist any
        more.
        """
        ...

    def edited_by_hand(self, data: bytes, tag: str) -> bool:
        """Return whether somebody has changed a file of ours, which has these bytes."""
        ...


def server_module(kind: str) -> ServerModule:
    """Return the module of a web server."""
    return cast(ServerModule, importlib.import_module(f"certctl.webservers.{MODULES[kind]}"))

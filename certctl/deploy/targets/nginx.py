"""nginx: its configuration names `live/NAME/fullchain.pem` and `privkey.pem`.

On a reload nginx checks its files itself and keeps the old ones if the new ones are invalid.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from certctl.deploy.system import LiveFilesTarget, TargetSystem, text
from certctl.model.delivery import Delivery
from certctl.model.ports import DeployTarget
from certctl.model.spec import ServiceAddress
from certctl.model.values import Value
from certctl.rules.nginx_sites import (
    Listen,
    arguments_in_dump,
    main_file_of_dump,
    servers_of_dump,
)
from certctl.rules.nginx_syntax import SyntaxProblem
from certctl.rules.options import Kind, Option

OPTIONS: tuple[Option, ...] = (
    Option(
        "deploy.nginx.config",
        Kind.PATH,
        None,
        "Configuration of the nginx to deploy to, if it is not the system's own.",
        flag="--nginx-config",
        in_spec=True,
        variable="CERTCTL_NGINX_CONFIG",
    ),
    Option(
        "deploy.nginx.binary",
        Kind.PATH,
        None,
        "The nginx program, if it is not in PATH.",
        flag="--nginx-binary",
        in_spec=True,
        variable="CERTCTL_NGINX_BINARY",
    ),
    Option(
        "deploy.nginx.prefix",
        Kind.PATH,
        None,
        "Directory that relative paths of its configuration begin at, if it was started with -p.",
        flag="--nginx-prefix",
        in_spec=True,
        variable="CERTCTL_NGINX_PREFIX",
    ),
    Option(
        "deploy.nginx.directives",
        Kind.TEXT,
        None,
        "Global directives that it was started with, by -g, such as 'pid /run/x.pid;'.",
        flag="--nginx-directives",
        in_spec=True,
        variable="CERTCTL_NGINX_DIRECTIVES",
    ),
)

_HTTPS = 443
_LARGEST_DUMP = 64 * 1024 * 1024
_LARGEST_FILE = 1024 * 1024
_PID_PATH = re.compile(r"--pid-path=(\S+)")


def create(settings: Mapping[str, Value], system: TargetSystem) -> DeployTarget:
    """Return the target. Raises `ConfigurationError` if nginx or its configuration is missing."""
    binary, config, prefix, directives = (
        text(settings, f"deploy.nginx.{key}")
        for key in ("binary", "config", "prefix", "directives")
    )
    program = system.program("nginx", given=binary, flag="--nginx-binary")
    if config:
        system.file(config, "--nginx-config")
    places = [("-p", prefix)] if prefix else []
    places += [("-c", config)] if config else []
    options = [*places, *([("-g", directives)] if directives else [])]
    words = (program, *(word for each in options for word in each))
    return Nginx(words, system, own=bool(places), prefix=prefix or "", directives=directives or "")


class Nginx(LiveFilesTarget):
    """An nginx, called by `command`; `own`: not the instance that the system starts. `prefix`: the
    directory that its relative paths begin at, if it is not the one that was built in;
    `directives`: those of its command line.
    """

    def __init__(
        self,
        command: Sequence[str],
        system: TargetSystem,
        *,
        own: bool,
        prefix: str = "",
        directives: str = "",
    ) -> None:
        self._command = command
        self._system = system
        self._own = own
        self._prefix = prefix
        self._directives = directives

    def test(self) -> None:
        self._system.test(*self._command, "-t", "-q")

    def reload(self, deliveries: Sequence[Delivery]) -> None:  # noqa: ARG002 - rereads all certificates
        service = None if self._own else self._system.service("nginx")
        self._system.reload(*(service or (*self._command, "-s", "reload")))

    def unused(self, deliveries: Sequence[Delivery]) -> Mapping[str, str]:
        dump = self._dump()
        main = main_file_of_dump(dump)
        if main is None:
            return {}
        try:
            named = arguments_in_dump(dump, b"ssl_certificate")
        except SyntaxProblem:
            return {}
        if any("$" in each or each.startswith(("data:", "engine:")) for each in named):
            return {}  # chosen for each connection: which files that are cannot be told
        paths = [Path(main).parent / each for each in named]
        return {
            each.version.name: _lines(each)
            for each in deliveries
            if not all(any(_has(path, part) for path in paths) for part in each.parts)
        }

    def stopped(self) -> bool:
        if not self._own and self._system.service("nginx") is not None:
            return False
        dump = self._dump()
        main = main_file_of_dump(dump)
        if main is None:
            return False
        try:
            given = arguments_in_dump(self._directives.encode() + b"\n" + dump, b"pid")
        except SyntaxProblem:
            return False
        built = _PID_PATH.search(self._system.query(*self._command, "-V").output)
        path = given[0] if given else built[1] if built else None
        if path is None or path == os.devnull:
            return False
        return self._system.pid(str(Path("/", self._prefix, path))) is None

    def _dump(self) -> bytes:
        printed = self._system.query(*self._command, "-T", limit=_LARGEST_DUMP).printed
        return printed.encode("utf-8", "surrogateescape")

    def services(self) -> Sequence[ServiceAddress]:
        try:
            blocks = servers_of_dump(self._dump())
        except SyntaxProblem:  # the test has said so
            blocks = ()
        found = sorted(
            {_reached(each) for block in blocks for each in block if each.ssl and each.port}
        )
        return [ServiceAddress(host or None, port) for host, port in found or [("", _HTTPS)]]


def _reached(listen: Listen) -> tuple[str, int]:
    """Return where this machine reaches an address: "" for the addresses of the loopback."""
    host = "" if listen.address in {"*", "[::]"} else listen.address.strip("[]")
    return host, listen.port


def _has(path: Path, delivery: Delivery) -> bool:
    """Return whether a file contains the certificate: in `live`, a link to it or a copy."""
    try:
        with path.open("rb") as file:
            return delivery.material.cert.strip() in file.read(_LARGEST_FILE)
    except OSError:
        return os.path.realpath(path) in map(os.path.realpath, _files(delivery))


def _files(delivery: Delivery) -> tuple[str, ...]:
    return delivery.files.fullchain, delivery.files.cert


def _lines(delivery: Delivery) -> str:
    live, second = Path(delivery.files.live), delivery.version.second
    directories = [live] if second is None else [live, live / second.family]
    pairs = [
        f"ssl_certificate {each / 'fullchain.pem'}; ssl_certificate_key {each / 'privkey.pem'};"
        for each in directories
    ]
    return " ".join(("listen 443 ssl;", *pairs))

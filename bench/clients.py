"""The ACME clients that are compared, called as their users would, each with its own directories
and accounts.

certctl, certbot and lego answer HTTP-01 themselves; dehydrated and uacme write the answers to a
directory, which a web server of the benchmark serves on the same port. The minimal client shows how
little time any client could take.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Protocol

from tests.lab.http import serving

NAMES = ("certctl", "certbot", "lego", "dehydrated", "uacme")
MINIMAL = "minimal client"

_UACME_HOOK = """#!/bin/sh
[ "$2" = http-01 ] || exit 1
case "$1" in
begin) printf %s "$5" > "$WEBROOT/.well-known/acme-challenge/$4" ;;
*) rm -f "$WEBROOT/.well-known/acme-challenge/$4" ;;
esac
"""

_TRUST = 'mount --bind "$0" /etc/ssl/certs/ca-certificates.crt && exec "$@"'


class Ca(Protocol):
    """The CA that the clients are measured with. It validates HTTP-01 at `http_port`."""

    @property
    def http_port(self) -> int: ...

    @property
    def ca_bundle(self) -> Path: ...

    def request_count(self) -> int:
        """Return how many requests it has received so far."""
        ...


@dataclass(frozen=True)
class Client:
    """A client. `command` returns the command that obtains a certificate for the given names,
    `prepare` is the command to run once before that. `webroot` is the directory to be served during
    validation, None if the client has its own server. `most` is how many names it can have in one
    certificate.
    """

    name: str
    version: Sequence[str]
    command: Callable[[Sequence[str]], list[str]]
    variables: Mapping[str, str] = field(default_factory=dict)
    prepare: Sequence[str] = ()
    webroot: Path | None = None
    most: int = 100


def clients(ca: Ca, directory_url: str, directory: Path) -> list[Client]:
    """Return the clients that are installed and usable on this machine, certctl first."""
    directory.mkdir()
    port, bundle = str(ca.http_port), str(ca.ca_bundle)
    found = [
        _certctl(directory_url, bundle, port, directory),
        _certbot(directory_url, bundle, port, directory),
        _lego(directory_url, bundle, port, directory),
        _dehydrated(directory_url, bundle, directory),
        _uacme(directory_url, bundle, directory),
        _minimal(directory_url, bundle, port, directory),
    ]
    return [
        each
        for each in found
        if each.name == MINIMAL
        or (shutil.which(each.name) and (each.name != "uacme" or _can_mount()))
    ]


@contextmanager
def served(client: Client, ca: Ca) -> Iterator[None]:
    """Serve the client's webroot on the port that the CA validates, if it has one."""
    if client.webroot is None:
        yield
        return
    (client.webroot / ".well-known" / "acme-challenge").mkdir(parents=True, exist_ok=True)
    answering = partial(_Quiet, directory=str(client.webroot))
    with serving(answering, ca.http_port):
        yield


def version(client: Client) -> str:
    """Return a client's name and version."""
    if not client.version:
        return client.name
    done = subprocess.run(client.version, capture_output=True, text=True, check=False)
    lines = [*done.stdout.splitlines(), *done.stderr.splitlines()]
    found = next((line for line in lines if any(each.isdigit() for each in line)), "")
    words = [
        word for word in found.replace(",", " ").split() if word[:1].isdigit() or word[:2] == "v0"
    ]
    return f"{client.name} {words[0]}" if words else client.name


def _minimal(url: str, bundle: str, port: str, directory: Path) -> Client:
    script = str(Path(__file__).resolve().parent / "minimal.py")
    return Client(
        MINIMAL,
        (),
        lambda names: [sys.executable, script, url, bundle, port, str(directory / "min"), *names],
        most=1,
    )


def _certctl(url: str, bundle: str, port: str, directory: Path) -> Client:
    return Client(
        "certctl",
        ("certctl", "--version"),
        lambda names: [
            *("certctl", "issue", *names, "--home", str(directory / "certctl")),
            *("--ca", url, "--ca-bundle", bundle, "--agree-tos", "--yes"),
            *("--http-address", "127.0.0.1", "--http-port", port),
        ],
    )


def _certbot(url: str, bundle: str, port: str, directory: Path) -> Client:
    return Client(
        "certbot",
        ("certbot", "--version"),
        lambda names: [
            *("certbot", "certonly", "--standalone", "--non-interactive", "--agree-tos"),
            *("--register-unsafely-without-email", "--server", url, "-d", ",".join(names)),
            *("--http-01-port", port, "--http-01-address", "127.0.0.1"),
            *("--config-dir", str(directory / "certbot"), "--work-dir", str(directory / "work")),
            *("--logs-dir", str(directory / "logs")),
        ],
        {"REQUESTS_CA_BUNDLE": bundle},
    )


def _lego(url: str, bundle: str, port: str, directory: Path) -> Client:
    return Client(
        "lego",
        ("lego", "--version"),
        lambda names: [
            *("lego", "--server", url, "--path", str(directory / "lego"), "--accept-tos"),
            *("--email", "bench@example.com", "--http", "--http.port", f"127.0.0.1:{port}"),
            *(word for name in names for word in ("--domains", name)),
            "run",
        ],
        {"LEGO_CA_CERTIFICATES": bundle},
    )


def _dehydrated(url: str, bundle: str, directory: Path) -> Client:
    base, web = directory / "dehydrated", directory / "dehydrated-web"
    base.mkdir()
    (base / "config").write_text(
        f'CA="{url}"\nBASEDIR="{base}"\nWELLKNOWN="{web}/.well-known/acme-challenge"\n'
        f'CURL_OPTS="--cacert {bundle}"\nCHALLENGETYPE="http-01"\nKEY_ALGO="prime256v1"\n'
    )
    call = ("dehydrated", "--config", str(base / "config"))
    return Client(
        "dehydrated",
        ("dehydrated", "--version"),
        lambda names: [*call, "--cron", *(word for name in names for word in ("--domain", name))],
        prepare=(*call, "--register", "--accept-terms"),
        webroot=web,
    )


def _uacme(url: str, bundle: str, directory: Path) -> Client:
    """Uacme only trusts the system's root certificates, so it runs in a mount namespace in which
    Pebble's is one of them.
    """
    web, hook = directory / "uacme-web", directory / "uacme-hook"
    hook.write_text(_UACME_HOOK)
    hook.chmod(0o755)
    trusting = ("unshare", "--map-root-user", "--mount", "sh", "-c", _TRUST, bundle)
    call = (*trusting, "uacme", "-y", "-t", "EC", "-c", str(directory / "uacme"), "-a", url)
    return Client(
        "uacme",
        ("uacme", "-V"),
        lambda names: [*call, "-h", str(hook), "issue", *names],
        {"WEBROOT": str(web)},
        prepare=(*call, "new", "bench@example.com"),
        webroot=web,
    )


def _can_mount() -> bool:
    """Return whether this user may create a mount namespace."""
    command = ("unshare", "--map-root-user", "--mount", "true")
    return (
        bool(shutil.which("unshare"))
        and not subprocess.run(command, capture_output=True, check=False).returncode
    )


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass

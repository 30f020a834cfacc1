"""The lines that `certctl secure` writes into an nginx configuration, for the nginx that runs."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from certctl.model.lazy_dataclass import dataclass
from certctl.model.webserver import ServedFiles
from certctl.rules.configurations import Refused
from certctl.rules.nginx_sites import Configuration, Listen, Server

CHALLENGES = "/.well-known/acme-challenge/"
REWRITE = rf"^{CHALLENGES.replace('.', chr(92) + '.')}[A-Za-z0-9_-]+$"
LOCATIONS = {(CHALLENGES.encode(),), (b"^~", CHALLENGES.encode())}
CERTIFICATE_LINES = (b"ssl_certificate", b"ssl_certificate_key")
_REJECT_HANDSHAKE = (1, 19, 4)
HTTP2_DIRECTIVE = (1, 25, 1)
LIMITS = (b"limit_req", b"limit_conn")
_DRY_RUN = (1, 17, 6)
"""The first version that can leave both limits out of a location: nothing turns them off."""
INDENT = b"    "
_HSTS = "max-age=31536000"

TLS_SETTINGS: tuple[tuple[str, str], ...] = (
    ("ssl_protocols", "TLSv1.2 TLSv1.3"),
    (
        "ssl_ciphers",
        ":".join(
            (
                *("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"),
                *("ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384"),
                *("ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305"),
            )
        ),
    ),
    ("ssl_prefer_server_ciphers", "off"),
    ("ssl_session_cache", "shared:certctl:10m"),
    ("ssl_session_timeout", "1d"),
    ("ssl_session_tickets", "off"),
)
"""The directives of the file that the blocks include: what browsers of the last ten years speak,
with forward secrecy.
"""


@dataclass(frozen=True)
class Program:
    """The nginx that runs: its version, and the modules it was built without or with."""

    version: tuple[int, ...]
    without: frozenset[str] = frozenset()
    with_: frozenset[str] = frozenset()


def tls_settings_file() -> bytes:
    """Return the file with ciphers and protocols."""
    lines = [f"{name} {value};" for name, value in TLS_SETTINGS]
    head = "# Written by certctl: `certctl secure` includes it. Put other settings into the server"
    return "\n".join((f"{head} block.", *lines, "")).encode()


def challenge_lines(
    program: Program, files: ServedFiles, limits: Collection[bytes] = ()
) -> tuple[bytes, ...]:
    """Return the first lines of a block, which answer challenges from a directory. `limits`: the
    directives around them that limit requests, which a CA sends several of at once.
    """
    inner = [f"root {quoted(files.challenges)};", "default_type text/plain;"]
    if "http_auth_basic" not in program.without:
        inner.append("auth_basic off;")
    if "http_access" not in program.without:
        inner.append("allow all;")
    if "http_auth_request" in program.with_:
        inner.append("auth_request off;")
    if program.version >= _DRY_RUN:
        inner += [f"{each.decode()}_dry_run on;" for each in LIMITS if each in limits]
    return (
        INDENT + f"rewrite {REWRITE} $uri break;".encode(),
        INDENT + f"location ^~ {CHALLENGES} {{".encode(),
        *(2 * INDENT + each.encode() for each in inner),
        INDENT + b"}",
    )


def certificate_lines(files: ServedFiles) -> list[bytes]:
    """Return the lines that name each certificate and its key."""
    return [
        INDENT + f"{directive} {quoted(path)};".encode()
        for fullchain, privkey in files.pairs
        for directive, path in (("ssl_certificate", fullchain), ("ssl_certificate_key", privkey))
    ]


def hsts_lines(configuration: Configuration, server: Server) -> list[bytes]:
    """Return the lines for HSTS, only over HTTPS (RFC 6797 §7.2). Headers of the `http` block are
    repeated: nginx inherits them only by blocks without any of their own.
    """
    if any(
        b"strict-transport-security" in b" ".join(each.directive.arguments).lower()
        for each in server.having(b"add_header")
    ):
        return []
    repeated: list[bytes] = []
    if not server.having(b"add_header"):
        for each in configuration.http:
            if each.directive.name == b"add_header":
                text = configuration.files[each.file][each.directive.start : each.directive.end]
                repeated.append(INDENT + b" ".join(text.split()))
    return [
        *repeated,
        INDENT + b'set $certctl_hsts "";',
        INDENT + b"if ($scheme = https) {",
        2 * INDENT + f'set $certctl_hsts "{_HSTS}";'.encode(),
        INDENT + b"}",
        INDENT + b"add_header Strict-Transport-Security $certctl_hsts always;",
    ]


def catch_all_lines(
    places: Mapping[tuple[str, int], tuple[str, ...]], program: Program, files: ServedFiles
) -> tuple[bytes, ...]:
    """Return a block that answers at these addresses for names without a certificate."""
    more = ""
    if "http_v2" in program.with_ and program.version < HTTP2_DIRECTIVE:
        more = " http2"  # here it counts for all blocks at the address
    lines = [
        " ".join((f"listen {listen_address(Listen(*place))} ssl{more} default_server", *own)) + ";"
        for place, own in places.items()
    ]
    # Protocols and sessions are those of the default server, whatever the name.
    lines.append(f"include {quoted(files.tls_settings)};")
    if program.version >= _REJECT_HANDSHAKE:
        lines.append("ssl_reject_handshake on;")
    else:
        lines += [each.decode().strip() for each in certificate_lines(files)]
        lines.append("return 444;")
    return (b"server {", *(INDENT + each.encode() for each in lines), b"}")


def listen_address(listen: Listen) -> str:
    """Return address and port as `listen` takes them."""
    return str(listen.port) if listen.address == "*" else f"{listen.address}:{listen.port}"


def quoted(path: str) -> str:
    """Return a path as an argument of a directive."""
    if re.fullmatch(r"[A-Za-z0-9_./+-]+", path):
        return path
    if "$" in path:
        raise Refused(f"nginx cannot name the path {path}: a dollar sign begins a variable")
    escaped = path.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'

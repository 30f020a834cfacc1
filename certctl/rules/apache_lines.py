"""The lines that `certctl secure` writes into an Apache configuration."""

from __future__ import annotations

import re
from collections.abc import Sequence

from certctl.model.webserver import ServedFiles
from certctl.rules.configurations import Refused
from certctl.rules.placeholder_name import PLACEHOLDER

CHALLENGES = "/.well-known/acme-challenge/"
EXPRESSION = rf"^{CHALLENGES.replace('.', chr(92) + '.')}[A-Za-z0-9_-]+$"
CERTIFICATE_LINES = (
    b"sslcertificatefile",
    b"sslcertificatekeyfile",
    b"sslcertificatechainfile",
)
INDENT = "    "
_HSTS = "max-age=31536000"
_SUITES_BY_NAME = (2, 4, 36)
"""The first version that takes ciphers of TLS 1.3."""

TLS_SETTINGS: tuple[tuple[str, str], ...] = (
    ("SSLProtocol", "all -SSLv3 -TLSv1 -TLSv1.1"),
    (
        "SSLCipherSuite",
        ":".join(
            (
                *("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"),
                *("ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384"),
                *("ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305"),
            )
        ),
    ),
    ("SSLHonorCipherOrder", "off"),
    ("SSLSessionTickets", "off"),
)
"""The directives of the file that the virtual hosts include: what browsers of the last ten years
speak, with forward secrecy.
"""


def tls_settings_file() -> bytes:
    """Return the file with ciphers and protocols."""
    head = (
        "# Written by certctl: `certctl secure` includes it. Put other settings below the Include"
    )
    lines = [f"{name} {value}" for name, value in TLS_SETTINGS]
    return "\n".join((f"{head} line.", *lines, "")).encode()


def challenge_lines(files: ServedFiles) -> list[str]:
    """Return the first lines of a virtual host, which answer challenges from a directory."""
    return [
        "RewriteEngine On",
        f'RewriteRule "{EXPRESSION}" "{_path(files.challenges)}$0" [END]',
    ]


def access_lines(files: ServedFiles) -> list[str]:
    """Return the last lines of a virtual host, which let everybody read the answers."""
    return [
        f'<Directory "{_path(files.challenges)}">',
        f"{INDENT}Options FollowSymLinks",
        f"{INDENT}AllowOverride None",
        f"{INDENT}Require all granted",
        "</Directory>",
        f'<Location "{CHALLENGES}">',
        f"{INDENT}SetHandler None",
        f"{INDENT}<IfModule mod_authn_core.c>",
        f"{2 * INDENT}AuthType None",
        f"{INDENT}</IfModule>",
        f"{INDENT}Require all granted",
        f"{INDENT}<IfModule mod_access_compat.c>",
        f"{2 * INDENT}Order allow,deny",
        f"{2 * INDENT}Allow from all",
        f"{2 * INDENT}Satisfy Any",
        f"{INDENT}</IfModule>",
        "</Location>",
    ]


def redirect_lines(names: Sequence[str]) -> list[str]:
    """Return the lines that redirect requests for these names to HTTPS."""
    hosts = "|".join(each.replace(".", r"\.") for each in names)
    return [
        rf'RewriteCond "%{{HTTP_HOST}}" "^({hosts})\.?(:\d+)?$" [NC]',
        'RewriteRule "^" "https://%1%{REQUEST_URI}" [R=301,L]',
    ]


def certificate_lines(files: ServedFiles) -> list[str]:
    """Return the lines that name each certificate and its key."""
    return [
        f'{directive} "{_path(path)}"'
        for fullchain, privkey in files.pairs
        for directive, path in (
            ("SSLCertificateFile", fullchain),
            ("SSLCertificateKeyFile", privkey),
        )
    ]


def tls_lines(names: Sequence[str], files: ServedFiles, *, hsts: bool, http2: bool) -> list[str]:
    """Return the first lines of a virtual host at port 443."""
    lines = [f"ServerName {names[0]}", *(f"ServerAlias {each}" for each in names[1:])]
    lines += ["SSLEngine on", *certificate_lines(files), f'Include "{_path(files.tls_settings)}"']
    if http2:
        lines += ["<IfModule http2_module>", f"{INDENT}Protocols h2 http/1.1", "</IfModule>"]
    if hsts:
        lines.append(f'Header always set Strict-Transport-Security "{_HSTS}"')
    return lines


def default_file(
    listens: Sequence[str], places: Sequence[str], version: tuple[int, ...], files: ServedFiles
) -> bytes:
    """Return the file with what all sites need: where to listen, and a virtual host for names
    without a certificate. The ciphers of that one fit no certificate, so that Apache refuses the
    handshake; the other virtual hosts have their own.
    """
    lines = ["# Written by `certctl secure`, for all names that it serves."]
    lines += [f"Listen {each}" for each in listens]
    if places:
        inner = [
            f"ServerName {PLACEHOLDER}",
            "SSLEngine on",
            f'SSLCertificateFile "{_path(files.default_certificate)}"',
            f'SSLCertificateKeyFile "{_path(files.default_certificate)}"',
            f'Include "{_path(files.tls_settings)}"',
            "# No handshake succeeds: the certificate has an ECDSA key, these are for RSA keys.",
            "SSLCipherSuite AES128-GCM-SHA256:AES256-GCM-SHA384",
        ]
        if version >= _SUITES_BY_NAME:
            inner.append("SSLCipherSuite TLSv1.3 TLS_AES_128_CCM_8_SHA256")
        inner += ["<Location />", f"{INDENT}Require all denied", "</Location>"]
        lines += [
            f"<VirtualHost {' '.join(places)}>",
            *(INDENT + each for each in inner),
            "</VirtualHost>",
        ]
    return "\n".join((*lines, "")).encode()


def _path(path: str) -> str:
    """Return a path as it stands between quotes. Raises `Refused`."""
    if not re.fullmatch(r"[A-Za-z0-9_./+@,=~ -]+", path):
        raise Refused(f"Apache cannot name the path {path} in a rule")
    return path

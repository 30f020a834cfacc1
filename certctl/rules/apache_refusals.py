"""The Apache configurations that are not changed, and why."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from certctl.model.webserver import SecureRequest
from certctl.rules.apache_copies import addresses
from certctl.rules.apache_lines import CERTIFICATE_LINES
from certctl.rules.apache_notes import Site, is_host
from certctl.rules.apache_sites import HTTPS, Configuration, VirtualHost, place_of
from certctl.rules.configurations import Refused


def refuse_site(configuration: Configuration, site: Site) -> None:
    """Raise `Refused` for a virtual host that cannot be changed."""
    host = site.host
    if configuration.includes.get(host.file, 1) > 1:
        raise Refused(f"{host.file} is included more than once, so a change in it counts twice")
    for path, line in configuration.directives(b"remoteipproxyprotocol"):
        if line.text.lower() == b"on":  # it counts for every virtual host of the address
            raise Refused(f"{path}:{line.number} expects the PROXY protocol from a proxy in front")
    engine = [each.text.lower() for each in host.block.having(b"rewriteengine")]
    if host.block.having(b"rewriterule") and not any(each == b"on" for each in engine):
        raise Refused(
            f"{host.where} has a RewriteRule that is off, since there is no `RewriteEngine On`; the"
            " lines for challenges would turn it on",
            "Remove it, or turn it on, and run the command again.",
        )
    if engine and engine[-1] == b"off":
        raise Refused(f"{host.where} has `RewriteEngine Off` as its last word")


def refuse_every_port(configuration: Configuration) -> None:
    """Raise `Refused` if a virtual host is for all ports."""
    for each in configuration.dump.hosts:
        if each.port == 0:
            raise Refused(
                f"{each.file}:{each.line} has a virtual host for every port, 443 too",
                "Write its port, such as <VirtualHost *:80>, and run the command again.",
            )


def refuse_tls(configuration: Configuration, found: Sequence[Site], wish: SecureRequest) -> None:
    """Raise `Refused` where TLS cannot be added."""
    for path, line in configuration.directives(b"mdomain", b"<mdomainset"):
        raise Refused(f"{path}:{line.number} has mod_md manage certificates itself")
    for site in found:
        addresses(site.host)
        _refuse_half(site)
        for host in site.tls:
            _refuse_replacement(configuration, host, wish)


def refuse_order(
    configuration: Configuration, new: Sequence[Site], globbed: tuple[str, int] | None
) -> None:
    """Raise `Refused` if a virtual host of ours would be read before the one that answers at its
    address for unknown names, and so take its place.
    """
    first = new[0].host
    if globbed is not None:
        ours = (*configuration.key(*globbed), float("inf"))
    else:
        ours = configuration.key(first.file, first.block.opened.number - 0.5)
    for site in new:
        for each in addresses(site.host):
            there = configuration.at((place_of(each), HTTPS))
            if there and ours < configuration.key(there[0].file, there[0].block.opened.number):
                raise Refused(
                    f"{there[0].where} answers for unknown names at port 443, and is read after the"
                    " place for new files, so a virtual host there would answer in its place",
                    "Move it to an earlier file, and run the command again. Otherwise add the lines"
                    " by hand:",
                )


def _refuse_half(site: Site) -> None:
    """Raise `Refused` if only some names of a virtual host have one at port 443."""
    without = [
        name for name in site.names if site.tls and not any(each.has(name) for each in site.tls)
    ]
    if without:
        raise Refused(
            f"of the names in {site.host.where}, {', '.join(without)} has no virtual host for port"
            f" 443, while {site.tls[0].where} has the others",
            f"Add {' '.join(without)} to its ServerAlias, and run the command again.",
        )


def _refuse_replacement(
    configuration: Configuration, host: VirtualHost, wish: SecureRequest
) -> None:
    others = [each for each in host.names if is_host(each) and each not in wish.names]
    if others:
        raise Refused(
            f"{host.where} has a certificate for {', '.join(others)} too",
            "Give all its names in one command: certctl secure " + " ".join((*wish.names, *others)),
        )
    if host.patterns:
        raise Refused(
            f"{host.where} has a certificate for {', '.join(host.patterns)} too, which only DNS-01"
            " can validate",
            "Give the names a virtual host of their own before it, for port 443 too, and run the"
            " command again. Otherwise add the lines by hand:",
        )
    if configuration.includes.get(host.file, 1) > 1:
        raise Refused(f"{host.file} is included more than once, so a change in it counts twice")
    engine = [each.text.lower() for each in host.block.having(b"sslengine")]
    by_protocol = any(
        b"https" in line.arguments[1:] for _, line in configuration.directives(b"listen")
    )
    if engine[-1:] != [b"on"] and (engine or not by_protocol):
        raise Refused(f"{host.where} is for port 443, but without `SSLEngine on`")
    patterns = [
        str(PurePosixPath(configuration.dump.server_root, each.arguments[0].decode("latin-1")))
        for each in host.block.having(b"include", b"includeoptional")
        if each.arguments
    ]
    for path, line in configuration.directives(*CERTIFICATE_LINES):
        if any(fnmatchcase(path, each) for each in patterns):
            raise Refused(f"{path}:{line.number}, which {host.where} includes, names a certificate")

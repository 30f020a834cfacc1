"""What to tell the user before an Apache configuration is changed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from certctl.model.lazy_dataclass import dataclass
from certctl.model.webserver import SecureRequest
from certctl.rules.apache_sites import HTTP, HTTPS, Configuration, VirtualHost
from certctl.rules.other_clients import renewal_note

_TO_HTTPS = re.compile(rb"https://(?:%\{(?:HTTP_HOST|SERVER_NAME)\}|%1)", re.IGNORECASE)


@dataclass(frozen=True)
class Site:
    """A virtual host that answers for some of the names at port 80. `missing`: those for which it
    answers as the default; `tls`: the virtual hosts that have the name at port 443 already.
    """

    host: VirtualHost
    names: tuple[str, ...]
    missing: tuple[str, ...] = ()
    tls: tuple[VirtualHost, ...] = ()


def redirects(host: VirtualHost) -> bool:
    """Whether a virtual host redirects requests to HTTPS, under whatever condition."""
    return host.redirects_to_https or any(
        _TO_HTTPS.search(each.text) for each in host.block.having(b"rewriterule")
    )


def site_notes(configuration: Configuration, site: Site, wish: SecureRequest) -> Iterator[str]:
    """Yield what concerns a virtual host that answers at port 80."""
    host = site.host
    for name in site.missing:
        yield (
            f"no ServerName or ServerAlias has {name}: {host.where} answers for it as the first"
            " virtual host of its address, and it will be served over HTTPS"
        )
    others = [each for each in host.names if is_host(each) and each not in wish.names]
    if others and not site.tls and not wish.challenges_only and not site.missing:
        yield (
            f"{', '.join(others)} in the same virtual host ({host.where}) will not be served over"
            " HTTPS; add it to the command if it should be"
        )
    place = configuration.in_front(host)
    if place is not None and not (wish.always_redirect or wish.challenges_only):
        yield (
            f"{place} speaks of a proxy in front of Apache, so requests are not redirected to HTTPS"
            " unless you ask for it with --redirect"
        )


def renewed_by_others(host: VirtualHost) -> Iterator[str]:
    """Yield the certificates of a virtual host that another client renews."""
    for line in host.block.having(b"sslcertificatefile"):
        path = b" ".join(line.arguments).decode("utf-8", "replace")
        if (note := renewal_note(path)) is not None:
            yield note


def without_certificate(
    configuration: Configuration, found: Sequence[Site], wish: SecureRequest
) -> Iterator[str]:
    """Yield the names that have no certificate, where handshakes for them are refused."""
    changed = {id(each.host) for each in found}
    others = dict.fromkeys(
        name
        for host in configuration.hosts
        for name in host.names
        if id(host) not in changed and host.on(HTTP) and not host.on(HTTPS)
        if is_host(name) and name not in wish.names
    )
    if others:
        yield (
            f"HTTPS is refused for the names without a certificate, as before: {', '.join(others)}"
        )


def is_host(name: str) -> bool:
    """Whether a name is one that visitors may use."""
    return "." in name and not set(name) & {"*", "?"} and not name.replace(".", "").isdigit()

"""What to tell the user before an nginx configuration is changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from certctl.model.lazy_dataclass import dataclass
from certctl.model.webserver import SecureRequest
from certctl.rules.nginx_addresses import attracted
from certctl.rules.nginx_sites import HTTP, HTTPS, Configuration, Listen, Match, Server
from certctl.rules.other_clients import renewal_note


@dataclass(frozen=True)
class Site:
    """A block that answers for some of the names at port 80. `tls`: the blocks that have the name
    at port 443 already.
    """

    server: Server
    names: tuple[str, ...]
    missing: tuple[tuple[str, Match], ...] = ()
    """Names that the block answers for, but does not have, and why it answers."""
    tls: tuple[Server, ...] = ()


def site_notes(configuration: Configuration, site: Site, wish: SecureRequest) -> Iterator[str]:
    """Yield what concerns a block that answers at port 80."""
    server = site.server
    for name, match in site.missing:
        why = "as the default server" if match is Match.DEFAULT else "since an expression matches"
        yield f"no server_name has {name}: {server.where} answers for it {why}, and gets the name"
        for other in configuration.servers:
            if name in other.names:
                ports = ", ".join(str(each.port) for each in other.listens)
                yield f"{other.where} has {name} too, but not at port 80 (at {ports}); it stays"
    others = [each for each in server.names if is_host(each) and each not in wish.names]
    if others and not site.tls and not wish.challenges_only:
        yield (
            f"{', '.join(others)} in the same server block ({server.where}) will answer with a"
            " certificate that does not have the name; add it to the command"
        )
    line = configuration.in_front(server)
    if line is not None and not (wish.always_redirect or wish.challenges_only):
        yield (
            f"{line.file}:{line.directive.line} speaks of a proxy in front of nginx, so requests"
            " are not redirected to HTTPS unless you ask for it with --redirect"
        )


def attracted_notes(
    configuration: Configuration, site: Site, listens: Sequence[Listen], wish: SecureRequest
) -> Iterator[str]:
    """Yield the names of other blocks for which a block will answer at port 443."""
    for name, other in attracted(configuration, site.server, listens):
        if name not in wish.names:
            yield (
                f"https://{name} will be answered by {site.server.where}, whose server_name matches"
                f" it, with a certificate that does not have the name, since {other.where} does not"
                " listen on port 443; add it to the command"
            )


def renewed_by_others(server: Server) -> Iterator[str]:
    """Yield the certificates of a block that another client renews."""
    for line in server.having(b"ssl_certificate"):
        path = b" ".join(line.directive.arguments).decode("utf-8", "replace")
        if (note := renewal_note(path)) is not None:
            yield note


def without_certificate(
    configuration: Configuration, found: Sequence[Site], wish: SecureRequest
) -> Iterator[str]:
    """Yield the names that have no certificate, where handshakes for them are refused."""
    changed = [each.server for each in found]
    others = dict.fromkeys(
        name
        for server in configuration.servers
        for name in server.names
        if server not in changed and server.on(HTTP) and not server.on(HTTPS)
        if is_host(name) and name not in wish.names
        if not any(each.server.matches(name) for each in found)
    )
    if others:
        yield (
            f"HTTPS is refused for the names without a certificate, as before: {', '.join(others)}"
        )


def is_host(name: str) -> bool:
    """Whether a server_name is a host name that visitors may use."""
    return "." in name and not name.startswith(("~", "*", ".")) and not name.endswith("*")

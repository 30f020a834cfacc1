"""At which addresses of nginx TLS is added, and what that means to the blocks that are there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from certctl.rules.configurations import Refused
from certctl.rules.nginx_lines import INDENT
from certctl.rules.nginx_sites import HTTP, HTTPS, Configuration, Line, Listen, Match, Server

_DUAL = "ipv6only=off"


def tls_listens(configuration: Configuration, server: Server) -> tuple[Listen, ...]:
    """Return the addresses at port 443 for a block: those at port 80, and where an address of its
    own would take visitors away from other blocks, the ones that are there.

    `[::]` stands for IPv4 too where a block says `ipv6only=off`. Raises `Refused`.
    """
    if server.redirects_to_https:
        raise Refused(
            f"{server.where} redirects every request to HTTPS, but no server block has the name on"
            " port 443, so certctl cannot know what to serve there",
            "Remove that redirect, or add a server block for port 443, and run the command again.",
        )
    there = [address for address, _ in configuration.places(HTTPS)]
    found: dict[str, tuple[str, ...]] = {}
    for listen in server.on(HTTP):
        dual = listen.address == "[::]" and _is_dual(configuration, HTTP)
        every = _every(listen.address)
        if every == "*" and "*" not in there and _is_dual(configuration, HTTPS):
            every = "[::]"
        if listen.address not in {"*", "[::]"}:
            own = listen.address in there or every not in there
            found[listen.address if own else every] = ()
            continue
        found[every] = (_DUAL,) if dual and every not in there else ()
        if dual and every in there and not _is_dual(configuration, HTTPS):
            found["*"] = ()
        family = {each for each in found if each in {"*", "[::]"}} | ({"*"} if dual else set())
        found.update({each: () for each in there if _every(each) in family and each not in found})
    return tuple(Listen(address, HTTPS, options) for address, options in found.items())


def _every(address: str) -> str:
    """Return the address that stands for all of the same family."""
    return "[::]" if address.startswith("[") else "*"


def _is_dual(configuration: Configuration, port: int) -> bool:
    """Whether `[::]` takes IPv4 too: an option of the socket counts for all blocks there."""
    return any(
        _DUAL in each.options
        for server in configuration.servers
        for each in server.on(port)
        if each.address == "[::]"
    )


def other_protocol_at(configuration: Configuration, port: int) -> Server | None:
    """Return the block outside `http`, such as one of `stream`, that listens on a port."""
    return next((each for each in configuration.others if each.on(port)), None)


def before_default(
    configuration: Configuration, listen: Listen, server: Server
) -> tuple[Server, Line] | None:
    """Return the block that answers for unknown names at an address only because it comes first,
    with its `listen`, if a `listen` in `server` would take that away.
    """
    default = configuration.default(listen.place)
    if default is None or default is server:
        return None
    lines = [
        (each, one)
        for each, one in zip(default.having(b"listen"), default.listens, strict=False)
        if one.place == listen.place
    ]
    blocks = configuration.servers
    if not lines or any(one.default for _, one in lines):
        return None
    return (default, lines[0][0]) if blocks.index(server) < blocks.index(default) else None


def marked_default(configuration: Configuration, line: Line) -> bytes:
    """Return a `listen` with the word that makes its block the default. Raises `Refused`."""
    text = configuration.files[line.file][line.directive.start : line.directive.end]
    if b"#" in text:
        raise Refused(f"{line.file}:{line.directive.line} has a comment inside a `listen`")
    return INDENT + b" ".join(text.removesuffix(b";").split()) + b" default_server;"


def attracted(
    configuration: Configuration, server: Server, listens: Sequence[Listen]
) -> Iterator[tuple[str, Server]]:
    """Yield the names that other blocks have at port 80, but none at these addresses, and that an
    expression or a wildcard of `server` matches: it will answer for them there.
    """
    seen: set[str] = set()
    for other in configuration.servers:
        if other is server or not other.on(HTTP):
            continue
        for name in other.names:
            matched = not name.startswith(("~", "*", ".", '"')) and server.matches(name)
            if not matched or name in seen or name in server.names:
                continue
            answers = (configuration.answering(each.place, name) for each in listens)
            if any(each is None or each[1] > Match.EXPRESSION for each in answers):
                seen.add(name)
                yield name, other

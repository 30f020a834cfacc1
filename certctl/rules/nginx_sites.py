"""The server blocks of an nginx configuration: their addresses, names, and which one answers.

Pure: files come as bytes, by path, and `find` says which paths a pattern of `include` stands for.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field
from enum import IntEnum
from pathlib import PurePosixPath

from certctl.model.lazy_dataclass import dataclass
from certctl.rules.configurations import Unreadable
from certctl.rules.nginx_syntax import Directive, SyntaxProblem, scan, walk

Find = Callable[[str], Sequence[str]]
"""Returns the files for the argument of an `include`, as an absolute path or pattern."""

_PASS = (b"proxy_pass", b"fastcgi_pass", b"uwsgi_pass", b"scgi_pass", b"grpc_pass")
_IN_FRONT = (b"set_real_ip_from", b"real_ip_header", b"real_ip_recursive")
_FORWARDED = b"http_x_forwarded_proto"
_LONGEST_CHAIN = 20
HTTP, HTTPS = 80, 443


class Match(IntEnum):
    """How a block's names match a host, best first."""

    EXACT = 0
    WILDCARD_AT_START = 1
    WILDCARD_AT_END = 2
    EXPRESSION = 3
    DEFAULT = 4


@dataclass(frozen=True)
class Listen:
    """One `listen`: its address as nginx writes it (`*`, `192.0.2.1`, `[::]`, `unix:…`), its port
    (0 for a Unix socket), and its other words.
    """

    address: str
    port: int
    options: tuple[str, ...] = ()

    @property
    def ssl(self) -> bool:
        """Whether TLS is spoken there."""
        return "ssl" in self.options

    @property
    def default(self) -> bool:
        """Whether it is marked as the default server of its address."""
        return not {"default_server", "default"}.isdisjoint(self.options)

    @property
    def place(self) -> tuple[str, int]:
        """Address and port: blocks with equal ones share a socket."""
        return self.address, self.port


@dataclass(frozen=True)
class Line:
    """A directive, with the file it is in; `path` is the include lines that lead to it, if any,
    from the block's own file.
    """

    file: str
    directive: Directive
    path: tuple[Directive, ...] = ()


@dataclass(frozen=True)
class Server:
    """A server block: its file and directive, and what it has itself or by `include`."""

    file: str
    directive: Directive
    listens: tuple[Listen, ...]
    names: tuple[str, ...]
    lines: tuple[Line, ...]

    @property
    def where(self) -> str:
        """The place as people write it."""
        return f"{self.file}:{self.directive.line}"

    def on(self, port: int) -> tuple[Listen, ...]:
        """Return its addresses with this port."""
        return tuple(each for each in self.listens if each.port == port)

    def having(self, *names: bytes) -> list[Line]:
        """Return the lines with these directives, in the block or in its includes."""
        return [each for each in self.lines if each.directive.name in names]

    def matches(self, host: str) -> bool:
        """Whether one of its names is this host, or a pattern that matches it."""
        return any(_rank(each, host) is not None for each in self.names)

    @property
    def kind(self) -> str:
        """What it does with requests: `proxy`, `redirect` or `files`."""
        every = [found for line in self.lines for found in walk((line.directive,))]
        if any(each.name in _PASS for each in every):
            return "proxy"
        return "redirect" if self.redirects else "files"

    @property
    def redirects(self) -> bool:
        """Whether it redirects every request."""
        return any(_is_redirect(each.directive) for each in self.lines)

    @property
    def redirects_to_https(self) -> bool:
        """Whether it redirects every request to the same host with HTTPS."""
        targets = [
            each.arguments[1]
            for line in self.lines
            if _is_redirect(line.directive)
            for each in walk((line.directive,))
            if each.opened is None and _is_redirect(each) and len(each.arguments) > 1
        ]
        own = {b"$host", b"$server_name", b"$http_host", *(name.encode() for name in self.names)}
        return any(
            target.startswith(b"https://" + host + rest)
            for target in targets
            for host in own
            for rest in (b"/", b"$", b":")
        ) or any(target == b"https://" + host for target in targets for host in own)


@dataclass(frozen=True)
class Configuration:
    """A whole configuration: its files as bytes, the main one first, and its server blocks in the
    order in which nginx reads them.

    `http`: the directives in the `http` block outside servers, by `include` too. `includes`: how
    many times each file is read. `others`: the server blocks outside `http`, as in `stream`.
    """

    files: Mapping[str, bytes]
    servers: tuple[Server, ...]
    http: tuple[Line, ...] = ()
    includes: Mapping[str, int] = field(default_factory=dict)
    others: tuple[Server, ...] = ()

    def default(self, place: tuple[str, int]) -> Server | None:
        """Return the block that answers at an address for names that no block has."""
        there = [each for each in self.servers if any(one.place == place for one in each.listens)]
        marked = [
            each
            for each in there
            if any(one.place == place and one.default for one in each.listens)
        ]
        found = marked or there
        return found[0] if found else None

    def places(self, port: int) -> tuple[tuple[str, int], ...]:
        """Return the addresses with this port, in the order of the files."""
        found = (one.place for each in self.servers for one in each.on(port))
        return tuple(dict.fromkeys(found))

    def speaks_tls(self, place: tuple[str, int]) -> bool:
        """Whether TLS is spoken at an address: if one block says so, it counts for all."""
        return any(
            one.ssl or "quic" in one.options
            for each in self.servers
            for one in each.listens
            if one.place == place
        )

    def answering(self, place: tuple[str, int], host: str) -> tuple[Server, Match] | None:
        """Return the block that answers for a host at an address, and how its names match."""
        best: tuple[tuple[int, int], Server] | None = None
        for each in self.servers:
            if all(one.place != place for one in each.listens):
                continue
            for name in each.names:
                rank = _rank(name, host)
                if rank is not None and (best is None or rank < best[0]):
                    best = rank, each
        if best is not None:
            return best[1], Match(best[0][0])
        default = self.default(place)
        return None if default is None else (default, Match.DEFAULT)

    def in_front(self, server: Server) -> Line | None:
        """Return the line that speaks of a proxy in front of nginx, None if there is none."""
        for each in (*self.http, *server.lines):
            if each.directive.name in _IN_FRONT:
                return each
            every = [word for found in walk((each.directive,)) for word in found.arguments]
            if any(_FORWARDED in word for word in every):
                return each
            if each.directive.name == b"listen" and b"proxy_protocol" in each.directive.arguments:
                return each
        return None


def read(main: str, files: Callable[[str], bytes], find: Find) -> Configuration:
    """Return the configuration with this main file. `files` returns the bytes of a path.

    Raises `Unreadable`.
    """
    return _Reader(main, files, find).configuration()


def servers_of_dump(dump: bytes) -> tuple[tuple[Listen, ...], ...]:
    """Return the addresses of every server block in the output of `nginx -T`, which has all files
    one after another. Raises `SyntaxProblem`.
    """
    return tuple(
        tuple(listen_of(each) for each in server.named(b"listen"))
        for server in walk(scan(dump))
        if server.name == b"server" and server.opened is not None
    )


def main_file_of_dump(dump: bytes) -> str | None:
    """Return the path of the main file in the output of `nginx -T`; None if it names none."""
    found = re.search(rb"^# configuration file (/.*):$", dump, re.MULTILINE)
    return None if found is None else found[1].decode("utf-8", "surrogateescape")


def arguments_in_dump(dump: bytes, name: bytes) -> tuple[str, ...]:
    """Return the first argument of each directive whose name ends with `name`, anywhere in the
    output of `nginx -T`. Raises `SyntaxProblem`.
    """
    found = (each for each in walk(scan(dump)) if each.name.endswith(name) and each.arguments)
    return tuple(each.arguments[0].decode("utf-8", "surrogateescape") for each in found)


def listen_of(directive: Directive) -> Listen:
    """Return what a `listen` says. An address alone means port 80, a number alone every address. Of
    a range of ports, one that matters here counts.
    """
    first, *options = (each.decode("latin-1") for each in directive.arguments or (b"80",))
    if first.startswith("unix:"):
        return Listen(first, 0, tuple(options))
    found = re.fullmatch(r"(?:(\[[^\]]*\]|[^:\[\]]*):)?(\d{1,9})(?:-(\d{1,9}))?", first)
    if found is not None:
        ports = range(int(found[2]), int(found[3] or found[2]) + 1)
        within = (each for each in (HTTPS, HTTP) if each in ports)
        address, port = found[1] or "*", next(within, ports.start)
    else:
        address, port = first, HTTP
    if address == "0.0.0.0":  # noqa: S104 - reads what is written
        address = "*"
    return Listen(address, port, tuple(options))


class _Reader:
    def __init__(self, main: str, files: Callable[[str], bytes], find: Find) -> None:
        self._main = main
        self._read = files
        self._find = find
        self._files: dict[str, bytes] = {}
        self._scanned: dict[str, tuple[Directive, ...]] = {}
        self._includes: Counter[str] = Counter()

    def configuration(self) -> Configuration:
        servers: list[Server] = []
        http: list[Line] = []
        others: list[Server] = []
        for block in self._expanded(self._main, self._directives(self._main)):
            if block.directive.opened is None:
                continue
            is_http = block.directive.name == b"http"
            for line in self._expanded(block.file, block.directive.children):
                if line.directive.name == b"server" and line.directive.opened is not None:
                    (servers if is_http else others).append(self._server(line))
                elif is_http:
                    http.append(line)
        found = tuple(servers), tuple(http), dict(self._includes), tuple(others)
        return Configuration(self._files, *found)

    def _server(self, line: Line) -> Server:
        lines = tuple(self._expanded(line.file, line.directive.children))
        listens = tuple(listen_of(each.directive) for each in lines if _is(each, b"listen"))
        names = [
            name.decode("utf-8", "surrogateescape").lower()
            if not name.startswith(b"~")
            else name.decode("utf-8", "surrogateescape")
            for each in lines
            if _is(each, b"server_name")
            for name in each.directive.arguments
        ]
        return Server(
            line.file, line.directive, listens or (Listen("*", HTTP),), tuple(names), lines
        )

    def _directives(self, path: str) -> tuple[Directive, ...]:
        self._includes[path] += 1
        if path not in self._scanned:
            self._files[path] = self._read(path)
            try:
                self._scanned[path] = scan(self._files[path])
            except SyntaxProblem as problem:
                raise Unreadable(f"{path}, {problem}") from problem
        return self._scanned[path]

    def _expanded(
        self, file: str, directives: Sequence[Directive], path: tuple[Directive, ...] = ()
    ) -> Iterator[Line]:
        """Yield the directives, those of included files in place of the `include`."""
        if len(path) > _LONGEST_CHAIN:
            raise Unreadable(f"{file} is included by itself")
        for each in directives:
            if each.name != b"include" or len(each.arguments) != 1:
                yield Line(file, each, path)
                continue
            pattern = each.arguments[0].decode("utf-8", "surrogateescape")
            absolute = str(PurePosixPath(self._main).parent / pattern)
            for found in self._find(absolute):
                yield from self._expanded(found, self._directives(found), (*path, each))


def _is(line: Line, name: bytes) -> bool:
    return line.directive.name == name and line.directive.opened is None


def _is_redirect(directive: Directive) -> bool:
    """Whether a directive of a server block redirects every request."""
    if directive.name == b"location" and directive.arguments in {(b"/",), (b"^~", b"/")}:
        return any(_is_redirect(each) for each in directive.children)
    if directive.name == b"return":
        return directive.arguments[:1] in {(b"301",), (b"302",), (b"303",), (b"307",), (b"308",)}
    if directive.name == b"rewrite" and len(directive.arguments) == 3:
        catches = directive.arguments[:1] in {(b"^",), (b"^(.*)",), (b"^(.*)$",), (b"^/(.*)$",)}
        return catches and directive.arguments[-1] in {b"permanent", b"redirect"}
    return False


def _rank(name: str, host: str) -> tuple[int, int] | None:
    """Return how well a name of `server_name` matches a host, less is better; None if it does not.

    Of several wildcards, the longest wins; of several expressions, the first.
    """
    if name == host or (name.startswith(".") and name[1:] == host):
        return Match.EXACT, 0
    if name.startswith(("*.", ".")) and host.endswith(name.lstrip("*")):
        return Match.WILDCARD_AT_START, -len(name)
    if name.endswith(".*") and host.startswith(name[:-1]):
        return Match.WILDCARD_AT_END, -len(name)
    if name.startswith("~") and _matches(name[1:], host):
        return Match.EXPRESSION, 0
    return None


def _matches(expression: str, host: str) -> bool:
    """Whether an expression matches, as far as Python's dialect is that of PCRE."""
    expression = re.sub(r"\(\?<(?=[A-Za-z_])", "(?P<", expression.removeprefix("*"))
    try:
        return re.search(expression, host, re.IGNORECASE) is not None
    except re.error:
        return False

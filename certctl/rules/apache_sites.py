"""The virtual hosts of an Apache configuration: addresses, names, and which one answers.

Apache says which ones there are (`apache_dump`); in the files, each is found at the line that it
names. Pure: files come as bytes, by path.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field
from functools import cached_property
from pathlib import PurePosixPath

from certctl.model.lazy_dataclass import dataclass
from certctl.model.text import whole_number
from certctl.rules.apache_dump import Dump, Host
from certctl.rules.apache_syntax import Block, Line, blocks, scan, unmarked
from certctl.rules.configurations import Refused

HTTP, HTTPS = 80, 443
_EVERY_PATH = {b"^", b"^(.*)", b"^(.*)$", b"^/(.*)", b"^/(.*)$", b"^/?(.*)", b"^/?(.*)$"}
_EVERY_PATH |= {b"(.*)", b".*", b"^.*$", b"^.*"}
_EVERY_ADDRESS = {"*", "_default_", "[::]", "0.0.0.0"}  # noqa: S104 - reads what is written
_BY_TLS = {b"%{HTTPS}", b"%{SERVER_PORT}", b"%{REQUEST_SCHEME}"}
_PASSED_ON = re.compile(rb"\[(?:[^\]]*,)?P(?:,[^\]]*)?\]\Z")
_IN_FRONT = re.compile(
    rb"%\{(?:HTTP:|req:|reqenv:)?X[-_]Forwarded[-_]Proto|SetEnvIf(?:NoCase)?\s+\"?X-Forwarded-"
    rb"|HTTP_X_FORWARDED_PROTO|RemoteIPHeader\b|RemoteIPProxyProtocol\s+on",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class VirtualHost:
    """A virtual host, with its addresses, and its block as it is without our lines."""

    file: str
    line: int
    block: Block
    places: tuple[tuple[str, int], ...]
    names: tuple[str, ...]
    patterns: tuple[str, ...]

    @property
    def where(self) -> str:
        """The place as people write it, in the file without our lines."""
        return f"{self.file}:{self.block.opened.number}"

    def on(self, port: int) -> tuple[str, ...]:
        """Return its addresses with this port."""
        return tuple(address for address, own in self.places if own == port)

    def has(self, host: str) -> bool:
        """Whether one of its names is this host, or a pattern that matches it."""
        return host in self.names or any(_matches(each, host) for each in self.patterns)

    @property
    def kind(self) -> str:
        """What it does with requests: `proxy`, `redirect` or `files`."""
        names = {each.name for each in self.block.lines}
        if names & {b"proxypass", b"proxypassmatch", b"wsgiscriptalias", b"jkmount"} or any(
            b"proxy:" in each.text or _PASSED_ON.search(each.text)
            for each in self.block.having(b"sethandler", b"rewriterule")
        ):
            return "proxy"
        return "redirect" if any(map(self._redirects, self.block.lines)) else "files"

    @property
    def redirects_to_https(self) -> bool:
        """Whether it redirects every request to the same host with HTTPS."""
        return any(
            self._redirects(each) and any(map(self._is_own_https, each.arguments))
            for each in self.block.lines
        )

    def _redirects(self, line: Line) -> bool:
        """Whether a line redirects every request."""
        if self.block.within(line):
            return False
        words = line.arguments
        if line.name in {b"redirect", b"redirectpermanent", b"redirecttemp"}:
            return b"/" in words
        if line.name == b"redirectmatch":
            return not _EVERY_PATH.isdisjoint(words)
        if line.name != b"rewriterule" or len(words) < 2 or words[0] not in _EVERY_PATH:
            return False
        if any(_is_about_port(each) for each in self._conditions(line)):
            return False
        return re.match(rb"https?://", words[1]) is not None

    def _conditions(self, rule: Line) -> Iterator[Line]:
        """Yield the `RewriteCond` lines of a rule, the last one first."""
        before = self.block.lines[: self.block.lines.index(rule)]
        for each in reversed(before):
            if each.name == b"rewritecond":
                yield each
            elif each.name:
                return

    def _is_own_https(self, target: bytes) -> bool:
        hosts = {b"%{HTTP_HOST}", b"%{SERVER_NAME}", b"%1", *(each.encode() for each in self.names)}
        return any(
            target == b"https://" + each or target.startswith((b"https://" + each + b"/",
            b"https://" + each + b"%", b"https://" + each + b"$", b"https://" + each + b":"))
            for each in hosts
        )  # fmt: skip


@dataclass(frozen=True)
class Listen:
    """One `Listen`: address (`*` for all of both families), port, and whether it counts for certain
    (False where a condition around it is not known).
    """

    address: str
    port: int
    where: str
    certain: bool = True


@dataclass(frozen=True)
class Configuration:
    """A whole configuration without our lines: its files as bytes, the main one first, and its
    virtual hosts in the order in which Apache asks them.

    `includes`: how many times each file is read. `strange`: where a virtual host is that no file
    has at its line, as those of macros.
    """

    dump: Dump
    files: Mapping[str, bytes]
    hosts: tuple[VirtualHost, ...]
    strange: tuple[Host, ...] = ()
    includes: Mapping[str, int] = field(default_factory=dict)
    listed: Mapping[str, tuple[Line, ...]] = field(default_factory=dict)

    def places(self, port: int) -> tuple[tuple[str, int], ...]:
        """Return the addresses with this port."""
        found = (
            (each.address, each.port)
            for each in self.dump.hosts
            if each.port == port and self._host(each) is not None
        )
        return tuple(dict.fromkeys(found))

    def at(self, place: tuple[str, int]) -> tuple[VirtualHost, ...]:
        """Return the virtual hosts at an address, the default first."""
        found = (self._host(each) for each in self.dump.hosts if (each.address, each.port) == place)
        return tuple(each for each in found if each is not None)

    def answering(self, place: tuple[str, int], host: str) -> tuple[VirtualHost, bool] | None:
        """Return the virtual host that answers for a host at an address, and whether one of its
        names matches; if not, it is the default.
        """
        there = self.at(place)
        matching = next((each for each in there if each.has(host)), None)
        if matching is not None:
            return matching, True
        return (there[0], False) if there else None

    def directives(self, *names: bytes) -> Iterator[tuple[str, Line]]:
        """Yield the lines of all files with these directives."""
        for path, lines in self.listed.items():
            for each in lines:
                if each.name in names:
                    yield path, each

    def in_front(self, host: VirtualHost) -> str | None:
        """Return the place of a line that speaks of a proxy in front of Apache, if there is one."""
        for path, lines in self.listed.items():
            for each in lines:
                other = any(name == b"virtualhost" for name, _ in each.sections)
                own = path == host.file and each in host.block.lines
                if each.name and (own or not other) and _speaks_of_proxy(each):
                    return f"{path}:{each.number}"
        return None

    def listens(self, more_modules: frozenset[str] = frozenset()) -> tuple[Listen, ...]:
        """Return where Apache listens, with these modules loaded too."""
        modules = self.dump.modules | more_modules
        found: list[Listen] = []
        for path, line in self.directives(b"listen"):
            known = _applies(line, modules, self.dump.defines)
            words = line.arguments
            if known is not False and words:
                address, port = _listen(words[0].decode("latin-1"))
                found.append(Listen(address, port, f"{path}:{line.number}", known is True))
        return tuple(found)

    def key(self, file: str, line: float) -> tuple[float, ...]:
        """Return what sorts the lines of all files in the order in which Apache reads them."""
        by_path = {each.path: at for at, each in enumerate(self.dump.files)}
        found: list[float] = [line]
        while file in by_path:
            entry = self.dump.files[by_path[file]]
            if not entry.parent:
                break
            found[:0] = [entry.line, by_path[file]]
            file = entry.parent
        return tuple(found)

    def _host(self, entry: Host) -> VirtualHost | None:
        return self._by_line.get((entry.file, entry.line))

    @cached_property
    def _by_line(self) -> Mapping[tuple[str, int], VirtualHost]:
        return {(each.file, each.line): each for each in self.hosts}


def read(
    dump: Dump,
    files: Callable[[str], bytes],
    without: Callable[[bytes], bytes],
    is_ours: Callable[[str], bool],
) -> Configuration:
    """Return the configuration without our lines and files. `files` returns the bytes of a path,
    `without` these bytes without our lines.
    """
    now: dict[str, bytes] = {}
    counts = Counter(each.path for each in dump.files)
    for each in dump.files:
        if not is_ours(each.path):
            now[each.path] = files(each.path)
    base = {path: without(data) for path, data in now.items()}
    listed = {path: scan(data) for path, data in base.items()}
    found_blocks = {path: _blocks(now[path], lines) for path, lines in listed.items()}
    hosts: list[VirtualHost] = []
    strange: list[Host] = []
    entries: dict[tuple[str, int], list[Host]] = {}
    for host in dump.hosts:
        entries.setdefault((host.file, host.line), []).append(host)
    for (path, number), found in entries.items():
        if is_ours(path):
            continue
        block = found_blocks.get(path, {}).get(number)
        if block is None:
            strange.append(found[0])
            continue
        hosts.append(_virtual_host(path, number, block, found))
    main = tuple(each for each in dump.files if not is_ours(each.path))
    return Configuration(
        Dump(main, dump.hosts, dump.modules, dump.defines, dump.server_root, dump.pid_file),
        base,
        tuple(hosts),
        tuple(strange),
        dict(counts),
        listed,
    )


def place_of(argument: str) -> str:
    """Return the address of an argument of `<VirtualHost>`, as Apache says it."""
    address = argument.rpartition(":")[0]
    return "*" if address in _EVERY_ADDRESS else address


def require_known(configuration: Configuration, names: Sequence[str]) -> None:
    """Raise `Refused` if a virtual host with one of these names is in no file as it is."""
    for host in configuration.strange:
        if any(name in host.names or any(_matches(one, name) for one in host.patterns)
               for name in names):  # fmt: skip
            raise Refused(f"the virtual host of {host.names[0]} comes from a macro ({host.file})")


def _blocks(now: bytes, base: tuple[Line, ...]) -> dict[int, Block]:
    """Return the blocks of a file without our lines, by the line at which each begins in the file
    as it is: ours add no virtual host to somebody else's file.
    """
    there = [each.number for each in scan(now) if each.name == b"<virtualhost"]
    found = blocks(base)
    if len(found) != len(there):
        return {}
    return {
        number: Block(each.opened, each.closed, unmarked(each.lines))
        for number, each in zip(there, found, strict=True)
    }


def _virtual_host(path: str, line: int, block: Block, entries: Sequence[Host]) -> VirtualHost:
    names = [name for each in entries for name in each.names]
    patterns = [name for each in entries for name in each.patterns]
    # Apache does not print the aliases where an address has only one virtual host.
    for each in block.having(b"servername", b"serveralias"):
        for word in each.arguments:
            name = _host_of(word.decode("latin-1").lower())
            (patterns if set(name) & {"*", "?"} else names).append(name)
    return VirtualHost(
        path,
        line,
        block,
        tuple(dict.fromkeys((each.address, each.port) for each in entries)),
        tuple(dict.fromkeys(names)),
        tuple(dict.fromkeys(patterns)),
    )


def _host_of(name: str) -> str:
    """Return the host of a `ServerName`, which may have a scheme and a port."""
    return re.sub(r":\d+\Z", "", re.sub(r"\A[a-z]+://", "", name))


def _matches(pattern: str, host: str) -> bool:
    expression = "".join(
        {"*": ".*", "?": "."}.get(each, re.escape(each)) for each in pattern.lower()
    )
    return re.fullmatch(expression, host) is not None


def _is_about_port(condition: Line) -> bool:
    """Whether a `RewriteCond` is about whether a request came by TLS, so that it is answered in
    another way at port 443.
    """
    return condition.arguments[:1] != () and condition.arguments[0].upper() in _BY_TLS


def _speaks_of_proxy(line: Line) -> bool:
    return _IN_FRONT.search(line.name + b" " + line.text) is not None


def _applies(line: Line, modules: frozenset[str], defines: frozenset[str]) -> bool | None:
    """Whether the conditions around a line hold; None if that is not known."""
    known: bool | None = True
    for name, words in line.sections:
        first = words[0].decode("latin-1") if words else ""
        wanted = not first.startswith("!")
        first = first.removeprefix("!")
        if name == b"ifmodule":
            short = re.sub(r"\Amod_|\.c\Z|_module\Z", "", first)
            holds = short in modules
        elif name == b"ifdefine":
            holds = first in defines
        else:
            known = None
            continue
        if holds is not wanted:
            return False
    return known


def _listen(text: str) -> tuple[str, int]:
    address, _, port = text.rpartition(":")
    number = whole_number(port)
    return (text, 0) if number is None else (address or "*", number)


def include_patterns(configuration: Configuration) -> Iterator[tuple[str, str, int]]:
    """Yield what includes files at the level of the server: file, absolute pattern, line."""
    for path, line in configuration.directives(b"include", b"includeoptional"):
        if any(not name.startswith(b"if") for name, _ in line.sections):
            continue
        for word in line.arguments[:1]:
            root = configuration.dump.server_root
            yield (
                path,
                str(PurePosixPath(root, word.decode("utf-8", "surrogateescape"))),
                (line.number),
            )

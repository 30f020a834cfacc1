"""What `certctl secure` changes in an nginx configuration: pure, from its files to changes of them.

Facts about what holds and what breaks are in docs/secure.md, and each of them is a test.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field

from certctl.model.lazy_dataclass import dataclass
from certctl.model.webserver import (
    Changes,
    Endpoint,
    FileChange,
    SecureRequest,
    ServedFiles,
    SiteView,
)
from certctl.rules.configurations import Refused
from certctl.rules.marked_lines import CATCH_ALL, Addition, Removal, edited
from certctl.rules.nginx_addresses import (
    before_default,
    marked_default,
    other_protocol_at,
    tls_listens,
)
from certctl.rules.nginx_lines import (
    CERTIFICATE_LINES,
    HTTP2_DIRECTIVE,
    INDENT,
    LIMITS,
    LOCATIONS,
    TLS_SETTINGS,
    Program,
    catch_all_lines,
    certificate_lines,
    challenge_lines,
    hsts_lines,
    listen_address,
    quoted,
)
from certctl.rules.nginx_notes import (
    Site,
    attracted_notes,
    is_host,
    renewed_by_others,
    site_notes,
    without_certificate,
)
from certctl.rules.nginx_sites import (
    HTTP,
    HTTPS,
    Configuration,
    Line,
    Listen,
    Match,
    Server,
)
from certctl.rules.nginx_syntax import Directive


@dataclass
class _Edits:
    challenges: list[Addition] = field(default_factory=list)
    tls: dict[int, list[bytes]] = field(default_factory=dict)
    catch_all: list[Addition] = field(default_factory=list)
    early: set[tuple[int, int]] = field(default_factory=set)
    """Ranges to take out of use for the challenge lines; `late`: those for TLS."""
    late: set[tuple[int, int]] = field(default_factory=set)
    served: set[int] = field(default_factory=set)
    """The offsets of lines for TLS that are there already."""
    defaults: list[tuple[Removal, Addition, bool]] = field(default_factory=list)
    """A `listen` to take out of use, the one in its place that says that its block is the default,
    and whether the lines for TLS that make this necessary are there already.
    """


@dataclass(frozen=True)
class Edits:
    """The changes of files, the blocks they concern, and the addresses to which TLS is added."""

    changes: Changes
    sites: tuple[Site, ...]
    new_places: tuple[tuple[str, int], ...]


def sites(configuration: Configuration, names: Sequence[str]) -> tuple[Site, ...]:
    """Return the blocks that answer for these names. Raises `Refused` if there is none."""
    places = configuration.places(HTTP)
    if not places:
        raise Refused(
            "no server block listens on port 80, where CAs validate names",
            "Add a server block for the name with `listen 80;`, and run the command again.",
        )
    by_block: dict[int, tuple[Server, dict[str, None], dict[str, Match]]] = {}
    for name in names:
        found = [configuration.answering(place, name) for place in places]
        known = [each for each in found if each is not None]
        best = min((match for _, match in known), default=Match.DEFAULT)
        for server, match in known:
            if match is Match.DEFAULT and best is not Match.DEFAULT:
                continue
            _, own, missing = by_block.setdefault(id(server), (server, {}, {}))
            own[name] = None
            if match >= Match.EXPRESSION:
                missing[name] = match
    return tuple(
        Site(server, tuple(own), tuple(missing.items()), _with_tls(configuration, tuple(own)))
        for server, own, missing in by_block.values()
    )


def plan(
    configuration: Configuration, wish: SecureRequest, program: Program, files: ServedFiles
) -> Edits:
    """Return the changes of the files. Raises `Refused`."""
    if "http_rewrite" in program.without:
        raise Refused("this nginx was built without its rewrite module")
    planner = _Planner(configuration, wish, program, files)
    found = sites(configuration, wish.names)
    for site in found:
        planner.answer_challenges(site)
    if not wish.challenges_only:
        _refuse_plain(configuration)
        for site in found:
            planner.serve(site)
        planner.refuse_others(found)
        if planner.new_places and (other := other_protocol_at(configuration, HTTPS)) is not None:
            raise Refused(
                f"{other.where} listens on port 443, and does not speak HTTP (`stream` or `mail`)",
                "Have it pass the name on to a server block at another port. That one gets these"
                " lines, with its port in place of 443:",
            )
    http = [
        (listen, name) for each in found for listen in each.server.on(HTTP) for name in each.names
    ]
    changes = Changes(
        planner.changes(),
        tuple(SiteView(each.server.where, each.names, each.server.kind) for each in found),
        _endpoints(http),
        _endpoints(planner.https),
        tuple(dict.fromkeys(planner.notes)),
    )
    return Edits(changes, found, tuple(planner.new_places))


class _Planner:
    """Collects the changes of each file, the endpoints of TLS, and what to say about them.

    `new_places`: the addresses at port 443 at which nothing listened, with options of the socket.
    """

    def __init__(
        self,
        configuration: Configuration,
        wish: SecureRequest,
        program: Program,
        files: ServedFiles,
    ) -> None:
        self.notes: list[str] = []
        self.https: list[tuple[Listen, str]] = []
        self.new_places: dict[tuple[str, int], tuple[str, ...]] = {}
        self._configuration = configuration
        self._wish = wish
        self._program = program
        self._files = files
        self._edits: dict[str, _Edits] = {}
        self._replaced: set[int] = set()

    def changes(self) -> tuple[FileChange, ...]:
        """Return the changes of all files."""
        sources, tag = self._configuration.files, self._wish.tag
        return tuple(
            _file_edit(path, sources[path], tag, edit) for path, edit in self._edits.items()
        )

    def answer_challenges(self, site: Site) -> None:
        """Have a block answer challenges."""
        _refuse_block(self._configuration, site.server)
        edit = self._edit(site.server)
        if self._wish.challenges:
            around = (*self._configuration.http, *site.server.lines)
            limits = {each.directive.name for each in around}.intersection(LIMITS)
            lines = challenge_lines(self._program, self._files, limits)
            _add_challenges(site.server, edit, lines)
        self.notes += site_notes(self._configuration, site, self._wish)

    def serve(self, site: Site) -> None:
        """Have the names of a block served with the certificate."""
        edit = self._edit(site.server)
        if site.tls:
            _refuse_half(self._configuration, site)
            for server in site.tls:
                self._replace(site, server)
        else:
            listens = tls_listens(self._configuration, site.server)
            self.https += [(listen, name) for listen in listens for name in site.names]
            for listen in listens:
                if self._configuration.default(listen.place) is None:
                    self.new_places.setdefault(listen.place, listen.options)
                self._keep_default(listen, site)
            self.notes += attracted_notes(self._configuration, site, listens, self._wish)
            self.notes += renewed_by_others(site.server)
            _add_tls(
                self._configuration, site, listens, edit, self._wish, self._program, self._files
            )
        _add_redirect(self._configuration, site, self._wish, edit)
        _keep(site, site.server, self._wish, edit)

    def _keep_default(self, listen: Listen, site: Site) -> None:
        """Have the block that answers for unknown names at an address do so also when the block of
        the site comes before it.
        """
        found = before_default(self._configuration, listen, site.server)
        if found is None or id(found[1].directive) in self._replaced:
            return
        default, line = found
        self._replaced.add(id(line.directive))
        range_ = _range_of(line, lambda each: each is line.directive, default)
        text = marked_default(self._configuration, line)
        edit = self._edit(default)
        edit.defaults.append(
            (
                Removal(*range_, CATCH_ALL),
                Addition(_opened(default), (text,), CATCH_ALL),
                not set(site.names).isdisjoint(self._wish.served),
            )
        )

    def refuse_others(self, found: Sequence[Site]) -> None:
        """Have the handshake refused for names without a certificate, at new addresses."""
        if not self.new_places:
            return
        first = next(each.server for each in found if not each.tls)
        lines = catch_all_lines(self.new_places, self._program, self._files)
        addition = Addition(first.directive.end, lines, CATCH_ALL)
        self._edit(first).catch_all.append(addition)
        self.notes += without_certificate(self._configuration, found, self._wish)

    def _replace(self, site: Site, server: Server) -> None:
        """Replace the certificate of a block that has names of the site at port 443."""
        self.https += [
            (listen, name)
            for listen in server.on(HTTPS)
            for name in site.names
            if (self._configuration.answering(listen.place, name) or (None,))[0] is server
        ]
        edit = self._edit(server)
        _keep(site, server, self._wish, edit)
        if id(server) in self._replaced:
            return
        self._replaced.add(id(server))
        _refuse_block(self._configuration, server)
        _replace_certificate(server, self._wish, edit, self._files)
        self.notes += renewed_by_others(server)

    def _edit(self, server: Server) -> _Edits:
        return self._edits.setdefault(server.file, _Edits())


def _refuse_plain(configuration: Configuration) -> None:
    """Raise `Refused` if a block listens at port 443 without TLS."""
    for server in configuration.servers:
        for listen in server.on(HTTPS):
            if not configuration.speaks_tls(listen.place):
                raise Refused(f"{server.where} listens on port 443 without TLS")


def _endpoints(found: Sequence[tuple[Listen, str]]) -> tuple[Endpoint, ...]:
    return tuple(
        dict.fromkeys(
            Endpoint(_reachable(listen.address), listen.port, name) for listen, name in found
        )
    )


def _reachable(address: str) -> str:
    """Return an address at which this machine reaches what listens on `address`."""
    if address == "*":
        return "127.0.0.1"
    return "::1" if address == "[::]" else address.strip("[]")


def _with_tls(configuration: Configuration, names: tuple[str, ...]) -> tuple[Server, ...]:
    """Return the blocks that have one of these names at port 443."""
    found: dict[int, Server] = {}
    for place in configuration.places(HTTPS):
        for name in names:
            answer = configuration.answering(place, name)
            if answer is not None and answer[1] < Match.EXPRESSION:
                found[id(answer[0])] = answer[0]
    return tuple(found.values())


def _refuse_half(configuration: Configuration, site: Site) -> None:
    """Raise `Refused` if only some names of a block have one at port 443."""
    without = [each for each in site.names if not _with_tls(configuration, (each,))]
    if without:
        raise Refused(
            f"of the names in {site.server.where}, {', '.join(without)} has no server block for"
            f" port 443, while {site.tls[0].where} has the others",
            f"Add {' '.join(without)} to the server_name there, and run the command again.",
        )


def _refuse_block(configuration: Configuration, server: Server) -> None:
    """Raise `Refused` for a block that cannot be changed."""
    if configuration.includes.get(server.file, 1) > 1:
        raise Refused(f"{server.file} is included more than once, so a change in it counts twice")
    for each in server.listens:
        if "proxy_protocol" in each.options:
            raise Refused(f"{server.where} expects the PROXY protocol from a proxy in front of it")
        if not {"quic", "spdy"}.isdisjoint(each.options) and each.port == HTTP:
            raise Refused(f"{server.where} has a `listen` that certctl does not know")
    if not any(each.port for each in server.listens):
        raise Refused(f"{server.where} listens on Unix sockets only: a proxy is in front of it")
    if any(each.directive.name == b"ssl" for each in server.lines):
        raise Refused(f"{server.where} has `ssl on`, which nginx 1.25 no longer knows")


def _add_challenges(server: Server, edit: _Edits, lines: tuple[bytes, ...]) -> None:
    edit.challenges.append(Addition(_opened(server), lines))
    for line in server.having(b"location"):
        if line.directive.arguments in LOCATIONS:
            edit.early.add(_range_of(line, lambda each: each.arguments in LOCATIONS, server))


def _replace_certificate(
    server: Server, wish: SecureRequest, edit: _Edits, files: ServedFiles
) -> None:
    """Put our certificate into a block that speaks TLS already."""
    others = [each for each in server.names if is_host(each) and each not in wish.names]
    if others:
        raise Refused(
            f"{server.where} has a certificate for {', '.join(others)} too",
            "Give all its names in one command: certctl secure " + " ".join((*wish.names, *others)),
        )
    patterns = [each for each in server.names if set(each) & set("*~") or each.startswith(".")]
    if patterns:
        raise Refused(
            f"{server.where} has a certificate for {', '.join(patterns)} too, which only DNS-01 can"
            " validate",
            "Give the names a server block of their own, for port 443 too, and run the command"
            " again. Otherwise add the lines by hand:",
        )
    for line in server.having(*CERTIFICATE_LINES):
        edit.late.add(_range_of(line, lambda each: each.name in CERTIFICATE_LINES, server))
    edit.tls.setdefault(_opened(server), []).extend(certificate_lines(files))


def _add_tls(
    configuration: Configuration,
    site: Site,
    listens: Sequence[Listen],
    edit: _Edits,
    wish: SecureRequest,
    program: Program,
    files: ServedFiles,
) -> None:
    server = site.server
    lines = [INDENT + f"listen {listen_address(each)} ssl;".encode() for each in listens]
    if not server.having(b"listen"):  # nginx no longer implies it where there is another one
        lines.insert(0, INDENT + b"listen 80;")
    lines += [INDENT + f"server_name {name};".encode() for name, _ in site.missing]
    if server.having(*CERTIFICATE_LINES):  # for another port; nginx would present either
        _replace_certificate(server, wish, edit, files)
    else:
        lines += certificate_lines(files)
    own = {each.directive.name for each in server.lines}
    if own.isdisjoint(name.encode() for name, _ in TLS_SETTINGS):
        lines.append(INDENT + f"include {quoted(files.tls_settings)};".encode())
    if program.version >= HTTP2_DIRECTIVE and "http_v2" in program.with_ and b"http2" not in own:
        lines.append(INDENT + b"http2 on;")
    lines += hsts_lines(configuration, server) if wish.hsts else []
    edit.tls.setdefault(_opened(server), []).extend(lines)


def _add_redirect(
    configuration: Configuration, site: Site, wish: SecureRequest, edit: _Edits
) -> None:
    """Redirect the requests for the certified names at port 80, unless the block does already."""
    server = site.server
    names = tuple(each for each in site.names if each in wish.redirect)
    if not names or server.redirects_to_https or _has_redirect(server):
        return
    if configuration.in_front(server) is not None and not wish.always_redirect:
        return
    alone = set(server.names) <= set(wish.names) and not any(
        configuration.default(each.place) is server for each in server.on(HTTP)
    )
    lines = edit.tls.setdefault(_opened(server), [])
    if alone and set(names) == set(site.names):
        lines.append(INDENT + b"if ($scheme = http) {")
    else:
        hosts = "|".join(re.escape(each) for each in names)
        lines += [
            INDENT + b"set $certctl_request $scheme:$host;",
            INDENT + f'if ($certctl_request ~ "^http:({hosts})$") {{'.encode(),
        ]
    lines += [2 * INDENT + b"return 301 https://$host$request_uri;", INDENT + b"}"]


def _has_redirect(server: Server) -> bool:
    """Whether a block redirects what did not come by TLS, as certbot writes it."""
    return any(
        any(inner.name == b"return" for inner in each.directive.children)
        and any(word in b"".join(each.directive.arguments) for word in (b"$scheme", b"$https"))
        for each in server.having(b"if")
    )


def _keep(site: Site, server: Server, wish: SecureRequest, edit: _Edits) -> None:
    """Mark lines for TLS as there already, so that they stay while the certificate is ordered."""
    if not set(site.names).isdisjoint(wish.served):
        edit.served.add(_opened(server))


def _file_edit(path: str, source: bytes, tag: str, edit: _Edits) -> FileChange:
    challenges = {each.at: each.lines for each in edit.challenges}
    early, late = (
        [Removal(*each) for each in sorted(ranges)]
        for ranges in (edit.early | (edit.late if edit.served else set()), edit.early | edit.late)
    )

    def additions(tls: Mapping[int, Sequence[bytes]]) -> list[Addition]:
        found = ((at, (*challenges.get(at, ()), *tls.get(at, ()))) for at in {*challenges, *tls})
        return [Addition(at, lines) for at, lines in sorted(found) if lines]

    kept = {at: lines for at, lines in edit.tls.items() if at in edit.served}
    first = [*additions(kept), *(edit.catch_all if kept else ())]
    final = [*additions(edit.tls), *edit.catch_all]
    for removal, addition, served in edit.defaults:
        final.append(addition)
        late.append(removal)
        if served:
            first.append(addition)
            early.append(removal)
    return FileChange(
        path, source, edited(source, tag, first, early), edited(source, tag, final, late)
    )


def _range_of(line: Line, same: Callable[[Directive], bool], server: Server) -> tuple[int, int]:
    """Return the bytes of the block's file to take out of use: the directive, or the `include` of a
    file that has nothing else.
    """
    if not line.path:
        return line.directive.start, line.directive.end
    including = line.path[0]
    siblings = [each for each in server.lines if each.path[:1] == (including,)]
    if all(same(each.directive) for each in siblings):
        return including.start, including.end
    raise Refused(
        f"{line.file}:{line.directive.line}, which {server.where} includes, has a line that would"
        " have to go, among others"
    )


def _opened(server: Server) -> int:
    opened = server.directive.opened
    assert opened is not None  # noqa: S101 - a server block has braces
    return opened

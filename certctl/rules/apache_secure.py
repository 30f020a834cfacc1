"""What `certctl secure` changes in an Apache configuration: pure, from files to changes of them.

Facts about what holds and what breaks are in docs/secure.md, and each of them is a test.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from certctl.model.lazy_dataclass import dataclass
from certctl.model.webserver import (
    Changes,
    Endpoint,
    FileChange,
    SecureRequest,
    ServedFiles,
    SiteView,
)
from certctl.rules import apache_copies, apache_notes
from certctl.rules.apache_lines import (
    CERTIFICATE_LINES,
    INDENT,
    access_lines,
    certificate_lines,
    challenge_lines,
    default_file,
    redirect_lines,
)
from certctl.rules.apache_listen import missing_listens
from certctl.rules.apache_notes import Site
from certctl.rules.apache_refusals import refuse_every_port, refuse_order, refuse_site, refuse_tls
from certctl.rules.apache_sites import (
    HTTP,
    HTTPS,
    Configuration,
    VirtualHost,
    include_patterns,
    place_of,
    require_known,
)
from certctl.rules.apache_syntax import Block, Line, scan
from certctl.rules.configurations import Refused
from certctl.rules.marked_lines import CATCH_ALL
from certctl.rules.marked_sections import Insertion, TakenOut, edited

PREFIX = "zz-certctl-"
"""How the names of our files begin: they are read last, so that the first virtual host of an
address stays its default.
"""
_LONGEST_TAG = 200
_OLDEST = (2, 4)


@dataclass(frozen=True)
class ModuleFile:
    """A file, or the target of a link, that has Apache load a module."""

    path: str
    data: bytes
    link: bool


@dataclass(frozen=True)
class Program:
    """The Apache that runs. `modules`: the files that enable each module that is installed but not
    loaded. `reached`: the addresses at which this machine reaches what listens on all of them.
    `available`: the directory of the files that each `sites-enabled` has links to.
    `there`: the files of ours that exist, by path.
    """

    version: tuple[int, ...]
    modules: Mapping[str, tuple[ModuleFile, ...]] = field(default_factory=dict)
    reached: tuple[str, ...] = ("127.0.0.1",)
    available: Mapping[str, str] = field(default_factory=dict)
    there: Mapping[str, bytes] = field(default_factory=dict)


@dataclass
class _Edit:
    early: list[Insertion] = field(default_factory=list)
    late: list[Insertion] = field(default_factory=list)
    gone_early: list[TakenOut] = field(default_factory=list)
    gone_late: list[TakenOut] = field(default_factory=list)


@dataclass(frozen=True)
class Edits:
    """The changes of files, the virtual hosts they concern, and whether TLS comes to addresses
    where nothing listened.
    """

    changes: Changes
    sites: tuple[Site, ...]
    new_places: bool


def is_ours(path: str, tag: str, *, last: bool) -> bool:
    """Whether a file is one of ours: for this certificate, and with `last`, for all of them."""
    name = PurePosixPath(path).name
    return name == _site_name(tag) or (last and name == f"{PREFIX}default.conf")


def sites(configuration: Configuration, names: Sequence[str]) -> tuple[Site, ...]:
    """Return the virtual hosts that answer for these names. Raises `Refused` if there is none."""
    require_known(configuration, names)
    places = configuration.places(HTTP)
    if not places:
        raise Refused(
            "no virtual host is for port 80, where CAs validate names",
            "Add one, and run the command again; without lines of its own, it has the content of"
            f" the main server:\n<VirtualHost *:80>\n    ServerName {names[0]}\n</VirtualHost>\n"
            "Otherwise add the lines by hand:",
        )
    found: dict[int, tuple[VirtualHost, dict[str, None], dict[str, None]]] = {}
    for name in names:
        answers = [configuration.answering(place, name) for place in places]
        known = [each for each in answers if each is not None]
        matched = any(matches for _, matches in known)
        for host, matches in known:
            if matched and not matches:
                continue
            _, own, missing = found.setdefault(id(host), (host, {}, {}))
            own[name] = None
            if not matches:
                missing[name] = None
    return tuple(
        Site(host, tuple(own), tuple(missing), _with_tls(configuration, tuple(own)))
        for host, own, missing in found.values()
    )


def plan(
    configuration: Configuration, wish: SecureRequest, program: Program, files: ServedFiles
) -> Edits:
    """Return the changes of the files. Raises `Refused`."""
    if program.version < _OLDEST:
        raise Refused("this Apache is older than 2.4, and knows no rule that nothing can undo")
    refuse_every_port(configuration)
    found = sites(configuration, wish.names)
    planner = _Planner(configuration, wish, program, files)
    for site in found:
        refuse_site(configuration, site)
        planner.answer_challenges(site)
    if not wish.challenges_only:
        refuse_tls(configuration, found, wish)
        for site in found:
            planner.serve(site)
        planner.finish(found)
    http = [
        Endpoint(address, HTTP, name)
        for site in found
        for place in site.host.on(HTTP)
        for address in planner.reached(place)
        for name in site.names
    ]
    changes = Changes(
        planner.changes(),
        tuple(SiteView(each.host.where, each.names, each.host.kind) for each in found),
        tuple(dict.fromkeys(http)),
        tuple(dict.fromkeys(planner.https)),
        tuple(dict.fromkeys(planner.notes)),
    )
    return Edits(changes, found, planner.new_places)


class _Planner:
    """Collects the changes of each file, the endpoints of TLS, and what to say about them."""

    def __init__(
        self,
        configuration: Configuration,
        wish: SecureRequest,
        program: Program,
        files: ServedFiles,
    ) -> None:
        self.notes: list[str] = []
        self.https: list[Endpoint] = []
        self.new_places = False
        self._configuration = configuration
        self._wish = wish
        self._program = program
        self._files = files
        self._edits: dict[str, _Edit] = {}
        self._modules: dict[str, tuple[FileChange, ...]] = {}
        self._created: list[FileChange] = []
        self._replaced: set[int] = set()

    def changes(self) -> tuple[FileChange, ...]:
        """Return the changes: a file that another one needs comes before it."""
        modules = [each for group in self._modules.values() for each in group]
        found = {each.path: each for each in (*modules, *self._created)}
        for path, edit in self._edits.items():
            source, tag = self._configuration.files[path], self._wish.tag
            early = edited(source, tag, edit.early, edit.gone_early)
            late = edited(source, tag, edit.late, edit.gone_late)
            found[path] = FileChange(path, source, early, late)
        return tuple(found.values())

    def reached(self, address: str) -> tuple[str, ...]:
        """Return the addresses at which this machine reaches those of a virtual host."""
        return self._program.reached if address == "*" else (address.strip("[]"),)

    def answer_challenges(self, site: Site) -> None:
        """Have a virtual host answer challenges, and redirect what is not one."""
        edit, block = self._edit(site.host), site.host.block
        served = not set(site.names).isdisjoint(self._wish.served)
        first = challenge_lines(self._files) if self._wish.challenges else []
        second = [] if self._wish.challenges_only else self._redirect(site)
        if second and not first:
            first, second = [], ["RewriteEngine On", *second]
        if first or second:
            self._need("rewrite", first=bool(first) or served)
        top = [*first, *second]
        edit.early += _insertion(block.opened.end, top if served else first)
        edit.late += _insertion(block.opened.end, top)
        if self._wish.challenges:
            self._need("authz_core", first=True)
            bottom = _insertion(block.closed.start, access_lines(self._files))
            edit.early += bottom
            edit.late += bottom
        self.notes += apache_notes.site_notes(self._configuration, site, self._wish)

    def serve(self, site: Site) -> None:
        """Have the names of a virtual host served with the certificate."""
        self._need("ssl")
        if not site.tls:
            for place in site.host.on(HTTP):
                for address in self.reached(place):
                    self.https += [Endpoint(address, HTTPS, each) for each in site.names]
        for host in site.tls:
            self._replace(site, host)

    def finish(self, found: Sequence[Site]) -> None:
        """Add the files of ours: what all sites need, and the virtual hosts of this certificate."""
        new = [each for each in found if not each.tls]
        if not new:
            return
        host = new[0].host
        directory = str(PurePosixPath(host.file).parent)
        globbed = self._include_line(directory)
        refuse_order(self._configuration, new, globbed)
        if self._wish.hsts:
            self._need("headers")
        self._default(new, directory, globbed is not None)
        self._sites(new, directory, globbed is not None)
        if self.new_places:
            self.notes += apache_notes.without_certificate(self._configuration, found, self._wish)

    def _sites(self, new: Sequence[Site], directory: str, globbed: bool) -> None:
        path = self._place(directory, _site_name(self._wish.tag))
        now = self._program.there.get(path)
        before = apache_copies.existing(now, self._wish.tag)
        copies: list[apache_copies.Copy] = []
        for site in new:
            old = next((each for each in before.every if set(each.names) & set(site.names)), None)
            if old is not None and (before.edited or site.host.redirects_to_https):
                copies.append(apache_copies.Copy(old.text, _ordered(site)))
                continue
            if site.host.redirects_to_https:
                raise Refused(
                    f"{site.host.where} redirects every request to HTTPS, but no virtual host has"
                    " the name on port 443, so certctl cannot know what to serve there",
                    "Remove that redirect, or add a virtual host for port 443, and run the command"
                    " again.",
                )
            source = self._configuration.files[site.host.file]
            copies.append(apache_copies.copied(site.host, source, _ordered(site)))
        if before.edited:
            self.notes.append(f"{path} was edited, so only certctl's lines in it change")
        loaded = self._configuration.dump.modules
        http2 = "http2" in loaded and "mpm_prefork" not in loaded
        after = apache_copies.Copies(tuple(copies), before.edited)
        data = apache_copies.written(after, self._wish, self._files, http2=http2)
        self._create(path, data, now, new[0].host, directory, globbed, self._wish.tag)

    def _default(self, new: Sequence[Site], directory: str, globbed: bool) -> None:
        """Add what is missing: where to listen, and a virtual host for unknown names."""
        path = self._place(directory, f"{PREFIX}default.conf")
        now = self._program.there.get(path)
        listens: dict[str, None] = {}
        places: dict[str, None] = {}
        shared = path in self._configuration.files or any(
            PurePosixPath(each).name == PurePosixPath(path).name
            for each in self._configuration.files
        )
        if shared and now is not None:
            listens.update(_first_words(now, b"listen"))
            places.update(_all_words(now, b"<virtualhost"))
        listens.update(dict.fromkeys(missing_listens(self._configuration, self._enabled())))
        for site in new:
            for each in apache_copies.addresses(site.host):
                address = place_of(each)
                if not self._configuration.at((address, HTTPS)):
                    places[f"{address}:{HTTPS}"] = None
        self.new_places = bool(listens or places)
        if listens or places:
            data = default_file(tuple(listens), tuple(places), self._program.version, self._files)
            self._create(path, data, now, new[0].host, directory, globbed, CATCH_ALL)

    def _create(
        self,
        path: str,
        data: bytes,
        now: bytes | None,
        host: VirtualHost,
        directory: str,
        globbed: bool,
        tag: str,
    ) -> None:
        """Add a file of ours, and have Apache read it: by its place, a link, or an Include line."""
        shared, first = tag == CATCH_ALL, now if self._wish.served else None
        self._created.append(FileChange(path, None, first, data, shared=shared))
        name = PurePosixPath(path).name
        if not globbed:
            edit = self._edit(host)
            include = Insertion(host.block.opened.start, (f'Include "{path}"'.encode(),), tag)
            edit.late.append(include)
            if first is not None:
                edit.early.append(include)
        elif directory in self._program.available:
            link = str(PurePosixPath(directory, name))
            target = f"../{PurePosixPath(self._program.available[directory]).name}/{name}".encode()
            before = target if first is not None else None
            self._created.append(FileChange(link, None, before, target, link=True, shared=shared))

    def _place(self, directory: str, name: str) -> str:
        for path in self._program.there:
            if PurePosixPath(path).name == name:
                return path
        return str(PurePosixPath(self._program.available.get(directory, directory), name))

    def _include_line(self, directory: str) -> tuple[str, int] | None:
        """Return the file and line by which a new file of a directory is read."""
        path = str(PurePosixPath(directory, f"{PREFIX}site-x.conf"))
        for file, pattern, line in include_patterns(self._configuration):
            same = PurePosixPath(pattern).parent == PurePosixPath(directory)
            if pattern.rstrip("/") == directory or (same and fnmatchcase(path, pattern)):
                return file, line
        return None

    def _redirect(self, site: Site) -> list[str]:
        """Return the lines that redirect the certified names, unless something does already."""
        names = tuple(each for each in site.names if each in self._wish.redirect)
        if not names or apache_notes.redirects(site.host):
            return []
        if self._configuration.in_front(site.host) and not self._wish.always_redirect:
            return []
        return redirect_lines(names)

    def _replace(self, site: Site, host: VirtualHost) -> None:
        """Replace the certificate of a virtual host that has names of the site at port 443."""
        self.https += [
            Endpoint(address, HTTPS, name)
            for place in host.on(HTTPS)
            for address in self.reached(place)
            for name in site.names
            if (self._configuration.answering((place, HTTPS), name) or (None,))[0] is host
        ]
        if id(host) in self._replaced:
            return
        self._replaced.add(id(host))
        edit, served = self._edit(host), not set(site.names).isdisjoint(self._wish.served)
        gone = [TakenOut(each.start, each.end) for each in host.block.having(*CERTIFICATE_LINES)]
        lines = certificate_lines(self._files)
        added = _insertion(_after_engine(host.block), lines)
        edit.late += added
        edit.gone_late += gone
        if served:
            edit.early += added
            edit.gone_early += gone
        self.notes += apache_notes.renewed_by_others(host)

    def _need(self, module: str, *, first: bool = False) -> None:
        """Have a module loaded. Raises `Refused` if it is not installed."""
        if module in self._configuration.dump.modules:
            return
        files = self._program.modules.get(module)
        if files is None:
            raise Refused(
                f"Apache does not load mod_{module}, which is needed",
                f"Install it (on RHEL for example: dnf install mod_{module}), have Apache load it,"
                " and run the command again. Otherwise add the lines by hand:",
            )
        known = {each.path for each in self._modules.get(module, ())}
        if not known:
            self.notes.append(f"mod_{module} will be enabled")
        if not known or first:
            self._modules[module] = tuple(
                FileChange(
                    each.path, None, each.data if first else None, each.data, each.link, shared=True
                )
                for each in files
            )

    def _enabled(self) -> frozenset[str]:
        return frozenset(self._modules)

    def _edit(self, host: VirtualHost) -> _Edit:
        return self._edits.setdefault(host.file, _Edit())


def _site_name(tag: str) -> str:
    return f"{PREFIX}site-{tag.replace('*', '_')[:_LONGEST_TAG]}.conf"


def _ordered(site: Site) -> tuple[str, ...]:
    """Return the names of a site, its ServerName first: daemon processes of WSGI belong to it."""
    own = [each for each in site.host.names if each in site.names]
    return tuple(dict.fromkeys((*own, *site.names)))


def _with_tls(configuration: Configuration, names: tuple[str, ...]) -> tuple[VirtualHost, ...]:
    """Return the virtual hosts that have one of these names at port 443."""
    found: dict[int, VirtualHost] = {}
    for place in configuration.places(HTTPS):
        for name in names:
            answer = configuration.answering(place, name)
            if answer is not None and answer[1]:
                found[id(answer[0])] = answer[0]
    return tuple(found.values())


def _after_engine(block: Block) -> int:
    """Return where certificate lines may stand: at the level of the block, at its end."""
    return block.closed.start


def _insertion(at: int, lines: Sequence[str]) -> list[Insertion]:
    if not lines:
        return []
    return [Insertion(at, tuple((INDENT + each).encode() for each in lines))]


def _first_words(source: bytes, name: bytes) -> dict[str, None]:
    return dict.fromkeys(each.arguments[0].decode() for each in _named(source, name))


def _all_words(source: bytes, name: bytes) -> dict[str, None]:
    return dict.fromkeys(word.decode() for each in _named(source, name) for word in each.arguments)


def _named(source: bytes, name: bytes) -> Iterable[Line]:
    return (each for each in scan(source) if each.name == name)

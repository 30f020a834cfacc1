"""What an nginx configuration has now: lines that name files, and lines that answer before ours."""

from __future__ import annotations

from certctl.rules.marked_lines import tags
from certctl.rules.nginx_lines import CHALLENGES, REWRITE
from certctl.rules.nginx_sites import Configuration, Line, Server
from certctl.rules.nginx_syntax import Directive, SyntaxProblem, scan, walk


def names_files(configuration: Configuration, prefix: str) -> list[Line]:
    """Return the lines, outside comments, with an argument that begins with this path."""
    wanted = prefix.encode()
    found: list[Line] = []
    for path, source in configuration.files.items():
        try:
            directives = scan(source)
        except SyntaxProblem:  # nginx would not load it either
            continue
        found += [
            Line(path, each)
            for each in walk(directives)
            if any(word.startswith(wanted) for word in each.arguments)
        ]
    return found


def obstacles(configuration: Configuration, tag: str) -> list[str] | None:
    """Return what answers before the lines for challenges that are marked with `tag`: each place,
    with the directive; None where none of the lines is left.
    """
    found: list[str] = []
    marked = 0
    for server in configuration.servers:
        lines = [each.directive for each in server.lines]
        own = next((at for at, each in enumerate(lines) if _is_ours(each)), None)
        if own is None or tag not in tags(_text(configuration, server)):
            continue
        marked += 1
        found += [
            f"{line.file}:{line.directive.line} ({line.directive.name.decode()})"
            for at, line in enumerate(server.lines)
            if (at < own and _answers(line.directive)) or _is_exact_challenge(line.directive)
        ]
    return found if marked else None


def _text(configuration: Configuration, server: Server) -> bytes:
    return configuration.files[server.file][server.directive.start : server.directive.end]


def _is_ours(directive: Directive) -> bool:
    return directive.name == b"rewrite" and directive.arguments[:1] == (REWRITE.encode(),)


def _answers(directive: Directive) -> bool:
    """Whether a directive can end a request before the next one of its block is looked at."""
    return directive.name in {b"return", b"rewrite"} or (
        directive.name == b"if" and any(map(_answers, directive.children))
    )


def _is_exact_challenge(directive: Directive) -> bool:
    return (
        directive.name == b"location"
        and directive.arguments[:1] == (b"=",)
        and directive.arguments[-1].startswith(CHALLENGES.encode())
    )

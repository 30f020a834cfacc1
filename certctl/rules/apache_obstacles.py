"""What an Apache configuration has now: lines that name files, or that answer before ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from certctl.rules.apache_lines import EXPRESSION
from certctl.rules.apache_syntax import Line, blocks, scan

_LIMITS = {b"require", b"deny", b"authtype", b"order", b"sethandler"}
_SECTIONS = {b"location", b"locationmatch", b"if"}


def names_files(files: Mapping[str, bytes], prefix: str) -> list[str]:
    """Return the places of lines, outside comments, with an argument that begins with this path."""
    wanted = prefix.encode()
    return [
        f"{path}:{line.number}"
        for path, source in files.items()
        if wanted in source
        for line in scan(source)
        if line.name and any(word.startswith(wanted) for word in line.arguments)
    ]


def obstacles(files: Mapping[str, bytes], tag: str) -> list[str] | None:
    """Return what answers before the lines for challenges that are marked with `tag`, or refuses
    what they answer: each place, with the directive; None where none of the lines is left.
    """
    found: list[str] = []
    marked = 0
    for path, source in files.items():
        for block in blocks(scan(source)) if b"#certctl" in source else ():
            own = [at for at, line in enumerate(block.lines) if _is_mark(line, tag)]
            rules = [at for at, line in enumerate(block.lines) if _is_rule(line)]
            if not own or not rules:
                continue
            marked += 1
            found += [
                f"{path}:{line.number} ({name})"
                for line, name in _before(block.lines, own, rules[0])
            ]
    return found if marked else None


def _before(lines: Sequence[Line], own: Sequence[int], rule: int) -> Iterator[tuple[Line, str]]:
    for at, line in enumerate(lines):
        if line.name == b"rewriterule" and at < rule:
            yield line, "RewriteRule"
        if line.name == b"rewriteengine" and at > rule and line.text.lower() == b"off":
            yield line, "RewriteEngine Off"
        sections = {name for name, _ in line.sections}
        if line.name in _LIMITS and at > own[-1] and not sections.isdisjoint(_SECTIONS):
            yield line, line.name.decode()


def _is_mark(line: Line, tag: str) -> bool:
    return not line.name and line.text.split()[:3] in (
        [b"#certctl", b"begin", tag.encode()],
        [b"#certctl", b"end", tag.encode()],
    )


def _is_rule(line: Line) -> bool:
    words = line.arguments
    return line.name == b"rewriterule" and words[:1] == (EXPRESSION.encode(),)

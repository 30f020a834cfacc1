"""The result of `certctl snippet`, as text that can be pasted as a whole, since every line that is
not for the server is a comment to it, and as JSON.
"""

from __future__ import annotations

import textwrap
from dataclasses import asdict

from certctl.operations.snippet import Snippet
from certctl.output.document import Json, Result

_WIDTH = 79


def snippet_result(found: Snippet) -> Result:
    """Return the result: challenges first, then the certificate, in the order of the steps."""
    challenges = [each for each in found.parts if each.purpose == "challenges"]
    tls = [each for each in found.parts if each.purpose == "tls"]
    lines: list[object] = []
    step = 0
    for part in challenges:
        step += 1
        lines += [*_comment(step, part.where), "", *part.text.splitlines(), ""]
    if found.obtain is not None:
        step += 1
        first = f"Reload {found.server}, then" if challenges else "Then"
        lines += [f"# {step}. {first} run: {found.obtain}", ""]
    for part in tls:
        step += 1
        lines += [*_comment(step, part.where), "", *part.text.splitlines(), ""]
    if found.deploy is not None:
        step += 1
        lines += [f"# {step}. Run: {found.deploy}"]
    data: dict[str, Json] = {
        "server": found.server,
        "name": found.name,
        "parts": [dict(asdict(each)) for each in found.parts],
        "obtain": found.obtain,
        "deploy": found.deploy,
    }
    return Result(data, lines)


def _comment(step: int, text: str) -> list[str]:
    """Return a step as lines of a comment."""
    return textwrap.wrap(
        f"# {step}. {text}",
        _WIDTH,
        subsequent_indent="#    ",
        break_long_words=False,
        break_on_hyphens=False,
    )

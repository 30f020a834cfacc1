"""What the properties of this directory are tried with, and what must hold of every error.

`FUZZ_EXAMPLES` sets how many inputs a property gets: some dozens in `make test`, thousands in
`make fuzz`.
"""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import requests
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from certctl.model.errors import CertctlError

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "60"))
LONGEST_MESSAGE = 4_000
"""Characters; a message that quotes somebody else is bounded well below this."""

_Value = TypeVar("_Value")

fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
few = settings(fuzzed, max_examples=max(EXAMPLES // 4, 10))
"""For properties that run a whole command."""

hostile_text = st.text(max_size=60) | st.sampled_from(
    [
        "\x1b[2J\x1b]0;owned\x07",
        "\u202egpj.exe",
        "a\x00b",
        "../../etc/passwd",
        "$(id)`id`;id",
        "\ud800",
        "x" * 20_000,
        "javascript:alert(1)",
        "-rf",
        "\r\nSet-Cookie: a=b",
        "1e400",
    ]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | hostile_text
jsons = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(hostile_text, inner, max_size=4),
    max_leaves=12,
)
"""JSON of any shape; also what JSON cannot say (NaN, infinity), since Python's reader takes it."""


def objects(**fields: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with some of these fields, each sensible or anything at all."""
    return st.fixed_dictionaries(
        {}, optional={name: field | jsons for name, field in fields.items()}
    )


def response(
    body: bytes, status: int = 200, headers: dict[str, str] | None = None
) -> requests.Response:
    """A response as it comes from the network."""
    made = requests.Response()
    made.status_code = status
    made.url = "https://ca.example/resource"
    made.headers.update(headers or {})
    made._content = body
    made.encoding = "utf-8"
    return made


def is_fit_to_print(error: CertctlError) -> bool:
    """Whether an error can be shown on a terminal: printable, bounded, and saying something."""
    shown = (error.message, error.hint or "")
    return bool(error.message) and all(
        text.isprintable() and len(text) <= LONGEST_MESSAGE for text in shown
    )


def attempt(work: Callable[[], _Value]) -> _Value | CertctlError:
    """Return what `work` returns, or the error of ours that it raises; others are defects."""
    try:
        return work()
    except CertctlError as error:
        return error

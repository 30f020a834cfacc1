"""What `certctl report` does."""

from __future__ import annotations

from certctl.cli.invocation import Invocation
from certctl.cli.session import open_run
from certctl.inspection.report import report_data
from certctl.model.errors import UsageError
from certctl.operations.export import require_replaceable
from certctl.output.document import Json, Result
from certctl.output.report_page import report_page
from certctl.rules.paths import absolute_path
from certctl.system.destinations import open_stream, write_stream
from certctl.system.files import write_atomic

_STANDARD_OUTPUT = 1


def run(invocation: Invocation, out: str | None) -> Result:
    """Write a page about all certificates that a browser opens from disk."""
    if out is None and invocation.output.terminal and not invocation.json:
        raise UsageError(
            "the page is not printed on a terminal by default",
            hint="Write it to a file with --out report.html, or print it with --out -",
        )
    stream = _STANDARD_OUTPUT if out is None else open_stream(out)
    with open_run(invocation, untrusted="warn") as run:
        data = report_data(run)
    page = report_page(data)
    count: dict[str, Json] = {"certificates": len(data.views)}
    if stream == _STANDARD_OUTPUT:
        return Result({**count, "file": None, "html": page}, page.rstrip("\n").split("\n"))
    if stream is not None:
        write_stream(stream, page.encode())
        return Result({**count, "file": out, "html": None})
    path = absolute_path(str(out), invocation.environment.directory)
    require_replaceable(path)
    write_atomic(path, page.encode(), 0o644)
    lines = [f"The report of {len(data.views)} certificates is in {path}."]
    return Result(
        {**count, "file": str(path), "html": None}, lines if invocation.output.terminal else ()
    )

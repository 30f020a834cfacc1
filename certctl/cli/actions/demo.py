"""What `certctl demo` does."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

from certctl.cli.invocation import Invocation
from certctl.cli.session import stopped_by_signals
from certctl.demo.story import run_demo
from certctl.model.errors import UsageError
from certctl.output.demo import display_for
from certctl.output.document import Json, Result
from certctl.rules.paths import absolute_path

_NEXT_STEPS = (
    "If nginx answers for your names at port 80 of this machine, as root:",
    "  certctl secure example.com",
    "If another web server serves /var/www/html to the Internet on port 80:",
    "  certctl doctor example.com --webroot /var/www/html",
    "  certctl issue example.com --agree-tos --webroot /var/www/html",
    "  certctl schedule install",
)


def run(invocation: Invocation, keep: str | None) -> Result:
    """Watch certctl issue, deploy, renew and revoke certificates on this machine."""
    with ExitStack() as stack:
        stop = stack.enter_context(stopped_by_signals())
        if keep is None:
            temporary = tempfile.TemporaryDirectory(prefix="certctl-demo-")
            home = Path(stack.enter_context(temporary))
        else:
            home = _new_directory(absolute_path(keep, invocation.environment.directory))
        display = stack.enter_context(display_for(invocation.output))
        result = run_demo(home, display, stop)
        display.end()
    data: dict[str, Json] = {
        "requests": result.requests,
        "lost": result.lost,
        "before": dict(result.before),
        "after": dict(result.after),
        "revoked": result.revoked,
        "home": str(home) if keep is not None else None,
    }
    lines = ["", *_NEXT_STEPS]
    if keep is not None:
        lines += ["", "To list the certificates of this demo:", f"  certctl --home {home} list"]
    return Result(data, lines)


def _new_directory(path: Path) -> Path:
    try:
        path.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        raise UsageError(
            f"{path} already exists", hint="Give a directory that does not exist yet."
        ) from None
    except OSError as error:
        raise UsageError(f"{path} cannot be created: {error.strerror}") from error
    return path

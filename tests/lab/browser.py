"""A real browser: Debian's Chromium without a screen, with trust of its own and no other."""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.lab.programs import program
from tests.lab.sites import HOST

SECONDS = 60.0

# Without these it looks for updates and for its makers' hosts at every start.
_QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-quic",
    "--disable-sync",
)


@dataclass(frozen=True)
class Page:
    """What came of opening a page: its document, empty where the browser refused it, and what the
    browser wrote into its log.
    """

    document: str
    log: str


@dataclass(frozen=True)
class Browser:
    """A browser that keeps everything in `directory`, and finds each name at this machine."""

    directory: Path

    @property
    def _environment(self) -> Mapping[str, str]:
        return {**os.environ, "HOME": str(self.directory)}

    def trust(self, root: Path) -> None:
        """Trust what a root (PEM) has issued, as an administrator would make it."""
        database = self.directory / ".pki" / "nssdb"
        database.mkdir(parents=True)
        for arguments in (
            ("-N", "--empty-password"),
            ("-A", "-n", "root", "-t", "C,,", "-i", str(root)),
        ):
            subprocess.run(
                [program("certutil"), *arguments, "-d", f"sql:{database}"],
                check=True,
                capture_output=True,
                timeout=SECONDS,
            )

    def open(self, url: str) -> Page:
        """Open a page and return what came of it."""
        done = subprocess.run(
            [
                program("chromium"),
                *_QUIET,
                f"--user-data-dir={self.directory / 'profile'}",
                f"--host-resolver-rules=MAP * {HOST}",
                "--dump-dom",
                url,
            ],
            env=self._environment,
            capture_output=True,
            check=False,
            text=True,
            timeout=SECONDS,
        )
        return Page(done.stdout, done.stderr)

"""certbot's command line, called in this process, with directories in place of certctl's home and
of `/etc/letsencrypt`.
"""

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from certctl.certbot.main import run
from certctl.cli.environment import Environment
from tests.lab.devca import DevCaServer
from tests.support.command import Finished
from tests.support.streams import Terminal


@dataclass
class Place:
    """A home of certctl's, and a directory in place of /etc/letsencrypt."""

    directory: Path
    ca: DevCaServer

    @property
    def home(self) -> Path:
        return self.directory / "home"

    @property
    def letsencrypt(self) -> Path:
        return self.directory / "letsencrypt"

    def certbot(
        self,
        *arguments: str,
        terminal: str | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> Finished:
        """Run certbot's command line; `terminal` is what a person types."""
        kind = io.StringIO if terminal is None else Terminal
        stdout, stderr = kind(), kind()
        environment = Environment(
            stdin=kind(terminal or ""),
            stdout=stdout,
            stderr=stderr,
            variables={
                **os.environ,
                "CERTCTL_HOME": str(self.home),
                "REQUESTS_CA_BUNDLE": str(self.ca.ca_bundle),
                "HOME": str(self.directory),
                **(variables or {}),
            },
            directory=self.directory,
            user_id=os.geteuid(),
        )
        words = (*arguments, "--config-dir", str(self.letsencrypt))
        status = run(words, environment)
        return Finished(status, stdout.getvalue(), stderr.getvalue())

    def certonly(
        self,
        *arguments: str,
        terminal: str | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> Finished:
        ways = ("--standalone", "--http-01-port", str(self.ca.http_port), "--agree-tos")
        server = ("--server", self.ca.directory_url)
        words = ("certonly", *ways, *server, *arguments)
        return self.certbot(*words, terminal=terminal, variables=variables)

    def live(self, name: str, kind: str = "fullchain") -> Path:
        return self.letsencrypt / "live" / name / f"{kind}.pem"

    def script(self, path: str, text: str) -> Path:
        found = self.letsencrypt / path
        found.parent.mkdir(parents=True, exist_ok=True)
        found.write_text(f"#!/bin/sh\n{text}\n")
        found.chmod(0o755)
        return found

"""What every subcommand needs: the parsed command line, certbot's directory, and questions."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from certctl.certbot.live import Lineages, LinksWhenSaved, executables
from certctl.cli.invocation import Invocation
from certctl.cli.session import open_run
from certctl.engine.plugins import option_table
from certctl.engine.run import Run
from certctl.engine.specs import load, require
from certctl.inspection.scheduled import INSTALL, MachineContext, is_renewed
from certctl.model.errors import CertctlError, UsageError
from certctl.model.events import Warned
from certctl.model.values import Value
from certctl.output.console import terminal_text
from certctl.rules.certbot_arguments import Arguments
from certctl.rules.certbot_options import WEB_SERVERS, Plugins, checked, plugins, validation
from certctl.rules.spec import with_absolute_paths
from certctl.system.timers import timers_for, user_crontab

_EMAIL = "account.email"
_RENEW = ("certbot", "renew")


@dataclass
class Front:
    """One call of `certctl-certbot`."""

    given: Arguments
    invocation: Invocation
    config_dir: Path
    links: LinksWhenSaved

    @contextmanager
    def open(self, *, reads_only: bool = False) -> Iterator[Run]:
        """Open a run; the certificates in `links` get their links once they are saved in it."""
        with open_run(self.invocation, untrusted="warn" if reads_only else "refuse") as run:
            self.links.lineages = self.lineages(run)
            yield run

    def lineages(self, run: Run) -> Lineages:
        """Return the links in certbot's directory."""
        return Lineages(self.config_dir, Path(run.services.tree.home))

    @property
    def plugins(self) -> Plugins:
        """How names are validated, and which web server is configured."""
        return plugins(self.given)

    @property
    def interactive(self) -> bool:
        """Whether a person can be asked."""
        return self.invocation.interactive

    def question(self, question: str) -> str | None:
        """Return a person's answer, without spaces around it; None if nobody can be asked."""
        if not self.interactive:
            return None
        stderr = self.invocation.environment.stderr
        stderr.write(f"{terminal_text(question)} ")
        stderr.flush()
        line = self.invocation.environment.stdin.readline()
        return line.strip() if line else None

    def names(
        self, question: str = "Names for the certificate, with spaces between them:"
    ) -> tuple[str, ...]:
        """Return the names that were given, or asks for them."""
        if self.given.names:
            return self.given.names
        answer = self.question(question)
        return tuple(dict.fromkeys((answer or "").lower().replace(",", " ").split()))

    def options(self, more: Mapping[str, Value] | None = None) -> dict[str, Value]:
        """Return the options of a certificate that the command line means, with `more`; paths are
        absolute.
        """
        table = option_table()
        every = {**self.invocation.flags, **(more or {})}
        given = {key: value for key, value in every.items() if table[key].in_spec}
        directory = self.invocation.environment.directory
        for key, value in list(given.items()):
            if key.endswith("hook"):
                given[key] = _from_here(str(value), directory)
                if self._is_in_directory(key, str(given[key])):
                    del given[key]  # certbot, too, runs it once
        return with_absolute_paths(given, table, str(directory))

    def _is_in_directory(self, key: str, command: str) -> bool:
        """Return whether a hook is one of the executables of `renewal-hooks`, which run anyway."""
        event = key.removeprefix("deploy.").removesuffix("_hook")
        directory = self.config_dir / "renewal-hooks" / event
        taken = not self.given.has("no_directory_hooks")
        return taken and command in {str(each) for each in executables(directory)}

    def validation(self, names: tuple[str, ...]) -> dict[str, Value]:
        """Return the settings for how names are validated, none if nothing was said, or if a web
        server does it.
        """
        way = self.plugins.authenticator
        if way is None or way in WEB_SERVERS:
            return {}
        return checked(validation(self._with_directory(way), way, names), option_table())

    def _with_directory(self, way: str) -> Arguments:
        """Return the command line with the directory of `--webroot`, for which a person is asked if
        none was given.
        """
        given = self.given
        if way != "webroot" or given.webroot is not None or given.webroots:
            return given
        directory = self.question("The directory that the web server serves:")
        if not directory:
            return given
        return Arguments(given.subcommand, given.values, given.flags, given.names, {}, directory)

    def ask_for_email(self) -> None:
        """Ask for an email address where an account will be registered, as certbot does."""
        if not self.interactive or self.given.has("register_unsafely_without_email"):
            return
        with self.open(reads_only=True) as run:
            if run.services.settings.texts(_EMAIL) or run.services.records.accounts():
                return
        answer = self.question("Email address for the account (Enter for none):")
        if answer:
            self.invocation.flags[_EMAIL] = tuple(each for each in answer.split(",") if each)

    def schedule_lines(self, run: Run) -> list[str]:
        """Return a line if nothing on this machine renews certificates yet."""
        variables = self.invocation.environment.variables
        if is_renewed(MachineContext(variables), run):
            return []
        found = [*timers_for(_RENEW), user_crontab(_RENEW)]
        if any(each is not None and each.enabled for each in found):
            return []
        return [f"Nothing renews it automatically yet. To schedule that, run: {INSTALL}"]

    def require(self, run: Run, name: str) -> None:
        """Raise `UnknownCertificate` if there is no certificate of this name, `UsageError` if it is
        certbot's.
        """
        lineages, known = self.lineages(run), run.services.records.names()
        if name in lineages.left_to_certbot(known):
            raise UsageError(
                f"{name} is a certificate of certbot itself, which certctl does not manage yet",
                hint=f"Take it over first: {lineages.taking_over(name)}",
                name=name,
                code="usage.certbot_lineage",
            )
        require(run, (name,))

    def warn_of_certbots(self, run: Run) -> None:
        """Warn of certificates that certbot itself has in its directory: they are not managed."""
        lineages = self.lineages(run)
        for name in lineages.left_to_certbot(run.services.records.names()):
            run.warn(
                "it is a certificate of certbot itself, which certctl does not renew; to take it"
                f" over, run: {lineages.taking_over(name)}",
                name,
            )

    def take_hooks(self, run: Run) -> None:
        """Let certctl run the executables of `renewal-hooks`."""
        lineages = self.lineages(run)
        if not self.given.has("no_directory_hooks"):
            lineages.take_hooks()
        elif taken := lineages.taken_hooks():
            raise UsageError(
                f"certctl cannot honour --no-directory-hooks any more: it runs {taken[0]}, by a"
                " link from an earlier run",
                hint=f"Remove the link: rm {taken[0]}",
                code="usage.certbot",
            )


def _from_here(command: str, directory: Path) -> str:
    """Return a command whose program, such as `./hook.sh`, is found from any other directory too:
    certbot runs hooks where it was called.
    """
    program, space, rest = command.partition(" ")
    here = "/" in program and not program.startswith("/") and (directory / program).is_file()
    return f"{shlex.quote(str(directory / program))}{space}{rest}" if here else command


def existing(run: Run) -> dict[str, tuple[str, ...]]:
    """Return the names of each certificate; one that cannot be read is left out, with a warning."""
    found: dict[str, tuple[str, ...]] = {}
    for name in run.services.records.names():
        try:
            found[name] = tuple(each.value for each in load(run, name).identifiers)
        except CertctlError as error:
            run.services.emit(Warned(name, run.services.clock.now(), error.message))
    return found


def home_paths(variables: Mapping[str, str]) -> Sequence[str]:
    """Return the places of `cli.ini`, the later ones first in effect."""
    configured = variables.get("XDG_CONFIG_HOME") or os.path.join(  # noqa: PTH118 - text only
        variables.get("HOME", "/nonexistent"), ".config"
    )
    return ("/etc/letsencrypt/cli.ini", f"{configured}/letsencrypt/cli.ini")

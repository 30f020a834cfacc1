"""The face of certctl for programs: `Certctl` does what the commands do, for one home directory.

`import certctl` gives it together with the nouns and errors. Nothing here prompts or prints. The
command line opens its runs here as well, so that both work on a home directory in the same way.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from certctl import config
from certctl.ca.directories import DEV, directory_url
from certctl.dns.system import no_terminal
from certctl.engine.plugins import option_table
from certctl.engine.run import Run
from certctl.engine.services import Services
from certctl.model.ca import Endpoint, RevocationReason
from certctl.model.errors import ConfigurationError
from certctl.model.events import Event, EventSink, Warned
from certctl.model.names import parse_identifiers, stored_name
from certctl.model.ports import Ask, Instruct
from certctl.model.values import Value
from certctl.rules.settings import Settings, Source, check, flatten, unknown
from certctl.rules.spec import with_absolute_paths, with_method
from certctl.store.home.audit import Audit
from certctl.store.home.foreign import require_own
from certctl.store.home.home import Home
from certctl.system.clock import SystemClock

if TYPE_CHECKING:
    from certctl.engine.report import Report
    from certctl.engine.rows import CertificateView
    from certctl.inspection.overview import CertificateDetails
    from certctl.model.ca import Account
    from certctl.model.run import Outcome
    from certctl.operations.forecast import Forecast
    from certctl.operations.revoke import Revocation

Untrusted = Literal["refuse", "warn", "ignore"]
"""What to do if another user could have written the home directory: raise `ConfigurationError`,
warn (operations that only read), or nothing (`doctor`, which reports it).
"""

OnEvent = Callable[[Event], object]


class Certctl:
    """The certificates of one home directory; by default that of the command line for this user.

    `on_event` is called with each event of a run, one at a time, from any thread. `settings` are
    used as if they were in `certctl.toml`, and come before its values and those of the environment;
    keys are those of the file, such as `key_type` or `account.email`. `ask` answers questions such
    as whether the terms of service are agreed to; by default nobody answers, which is an error
    where an answer is needed. Setting `stop` ends every wait, and the method raises `Interrupted`.

    Where a method takes the name of a certificate, any name that it is for will do, unless several
    certificates have it. `revoke` and `delete` take its own name only.

    Each method is a run of its own and reads `certctl.toml` again. Methods can be called from
    several threads and processes: whoever works on a certificate has its lock. They raise
    `CertctlError`, each with a stable `code` and a `hint`.
    """

    def __init__(
        self,
        home: str | os.PathLike[str] | None = None,
        *,
        on_event: OnEvent | None = None,
        settings: Mapping[str, object] | None = None,
        ask: Ask | None = None,
        environment: Mapping[str, str] | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        self._environment = dict(os.environ if environment is None else environment)
        self._directory = Path.cwd()
        self.home = config.home_directory(
            None if home is None else os.fspath(home),
            self._environment,
            directory=self._directory,
            user_id=os.geteuid(),
        )
        self._settings = with_method(self._values(settings or {}))
        self._emit = _OneAtATime(on_event)
        self._ask = ask or _nobody
        self._stop = stop or threading.Event()

    # -- certificates

    def issue(
        self,
        *names: str,
        ca: str | Sequence[str] | None = None,
        name: str | None = None,
        csr: bytes | None = None,
        options: Mapping[str, object] | None = None,
        change_names: bool = False,
        force: bool = False,
        dry_run: bool = False,
    ) -> Outcome:
        """Obtain a certificate for these names and deploy it; nothing is ordered if the one that
        exists is not due.

        `options` are settings of the certificate by key, as in TOML files; they are saved, and used
        for renewals. `ca` is one CA, or several in their order. `change_names`: if the certificate
        `name` exists, its names may change.

        Raises what went wrong. With `DeployFailed` and `NamesMissing` there is a new certificate
        nevertheless; `renew` tries the rest again.
        """
        from certctl.operations.issue import IssueRequest, issue  # noqa: PLC0415 - heavy

        given = self._values({**(options or {}), **({} if ca is None else {"ca": ca})})
        with self._open(given) as run:
            request = IssueRequest(
                parse_identifiers(names),
                name=None if name is None else stored_name(name),
                given=_of_certificates(given),
                csr=csr,
                force=force,
                confirmed=change_names,
                dry_run=dry_run,
            )
            return _outcome(issue(request, run))

    def edit(
        self,
        name: str,
        *,
        add: Sequence[str] = (),
        remove: Sequence[str] = (),
        options: Mapping[str, object] | None = None,
    ) -> Outcome:
        """Change the names or options of a certificate, and reissue or deploy it if necessary.
        Raises what went wrong, as `issue` does.
        """
        from certctl.operations.issue import edit  # noqa: PLC0415 - heavy

        given = self._values(options or {})
        with self._open(given) as run:
            changes = parse_identifiers(add), parse_identifiers(remove)
            return _outcome(edit(run, _meant(run, (name,)), *changes, _of_certificates(given)))

    def renew(
        self,
        *names: str,
        force: bool = False,
        dry_run: bool = False,
        scheduled: bool = False,
        ignore_windows: bool = False,
    ) -> Report:
        """Renew those of the certificates named, by default of all, that are due, and deploy what
        is pending; with `ignore_windows` also what waits for a window.

        The failure of one certificate stops no other, and raises nothing: it is in the report.
        `scheduled`: the run is one of those that keep all certificates fresh, which `check` and
        `doctor` look for, and of which alerts tell.
        """
        from certctl.operations.renew import RenewRequest, renew  # noqa: PLC0415 - heavy

        with self._open() as run:
            request = RenewRequest(
                _meant(run, names),
                force=force,
                dry_run=dry_run,
                unattended=scheduled,
                ignore_windows=ignore_windows,
            )
            return renew(request, run)

    def plan(
        self,
        desired: Mapping[str, object] | str | os.PathLike[str] | None = None,
        *,
        prune: bool = False,
        prune_limit: int | None = None,
    ) -> Forecast:
        """Return what `apply` would do with a desired state, or without one the next `renew`.
        Nothing is written, and no CA is asked.

        `desired` is a dictionary as in a file of `certctl apply`, or the path of such a file or
        directory. `prune`: certificates of its owner that are not in it are deleted, at most
        `prune_limit`. Raises `ConfigurationError`, `UsageError`.
        """
        from certctl.operations.plan import plan_renewal  # noqa: PLC0415 - heavy

        with self._open(untrusted="warn") as run:
            if desired is None:
                return plan_renewal(run)
            return self._forecast(desired, run, prune=prune, prune_limit=prune_limit)

    def apply(
        self,
        desired: Mapping[str, object] | str | os.PathLike[str] | Forecast,
        *,
        prune: bool = False,
        prune_limit: int | None = None,
    ) -> Report:
        """Make certificates as a desired state says, or do what `plan` returned and nothing else.
        The failure of one certificate stops no other, and raises nothing: it is in the report.

        The arguments are those of `plan`. Raises `ConfigurationError`, `UsageError` and
        `ConsentRequired` before anything is done.
        """
        from certctl.operations.apply import apply  # noqa: PLC0415 - heavy
        from certctl.operations.forecast import Forecast  # noqa: PLC0415 - heavy

        with self._open() as run:
            if isinstance(desired, Forecast):
                return apply(desired, run)
            found = self._forecast(desired, run, prune=prune, prune_limit=prune_limit)
            return apply(found, run)

    def _forecast(
        self,
        desired: Mapping[str, object] | str | os.PathLike[str],
        run: Run,
        *,
        prune: bool,
        prune_limit: int | None,
    ) -> Forecast:
        from certctl.operations.desired import read_desired_state, state_of_object  # noqa: PLC0415 - heavy
        from certctl.operations.plan import Prune, plan_desired  # noqa: PLC0415 - heavy

        if isinstance(desired, Mapping):
            wish = state_of_object(desired, self._directory, run)
        else:
            wish = read_desired_state(os.fspath(desired), self._directory, run)
        return plan_desired(wish, run, Prune(prune_limit) if prune else None)

    def list(self, *names: str) -> Sequence[CertificateView]:
        """Return a row for each of the certificates named, by default for all, sorted by name. One
        that cannot be read has a `problem`.
        """
        from certctl.inspection.overview import overview  # noqa: PLC0415 - only if called

        with self._open(untrusted="warn") as run:
            return overview(run, _meant(run, names))

    def show(self, name: str) -> CertificateDetails:
        """Return everything about one certificate, with the paths of its files."""
        from certctl.inspection.overview import details  # noqa: PLC0415 - only if called

        with self._open(untrusted="warn") as run:
            return details(run, *_meant(run, (name,)))

    def deploy(self, *names: str, pending: bool = False) -> Report:
        """Deploy the live versions again, of the certificates named or of all; with `pending`, only
        those whose deployment is pending. Failures are in the report.
        """
        from certctl.operations.versions import deploy  # noqa: PLC0415 - heavy

        with self._open() as run:
            return deploy(run, _meant(run, names), pending=pending)

    def rollback(self, name: str, to: int | None = None) -> Outcome:
        """Make an older version live again, by default the previous one, and deploy it. Raises what
        went wrong.
        """
        from certctl.operations.versions import rollback  # noqa: PLC0415 - heavy

        with self._open() as run:
            return _outcome(rollback(run, _meant(run, (name,)), to))

    def revoke(
        self,
        name: str,
        afterwards: Literal["replace", "delete", "stop"],
        *,
        reason: str = RevocationReason.UNSPECIFIED.value,
    ) -> Revocation:
        """Revoke the live version of a certificate. `afterwards`: first replace it by a new one,
        delete it with its files, or stop to renew it. `reason` is one of `RevocationReason`.
        """
        from certctl.model.certificate import Afterwards  # noqa: PLC0415 - heavy
        from certctl.operations.revoke import revoke  # noqa: PLC0415 - heavy

        wanted, why = Afterwards(afterwards), RevocationReason(reason)
        with self._open() as run:
            revocation, report = revoke(run, stored_name(name), why, wanted)
            for error in report.all_errors:
                raise error
            return revocation

    def delete(self, name: str, *, force: bool = False) -> None:
        """Delete a certificate and its files, without revoking it.

        Raises `UsageError` if the configuration of a web server that runs here names its files,
        unless `force` is set.
        """
        from certctl.operations.versions import delete  # noqa: PLC0415 - heavy

        with self._open() as run:
            delete(run, stored_name(name), force=force)

    # -- accounts

    def register(
        self,
        ca: str | None = None,
        *,
        email: Sequence[str] = (),
        agree_tos: bool = False,
        options: Mapping[str, object] | None = None,
    ) -> Account:
        """Return the account at a CA, by default that of the settings; register one if there is
        none. `options` are further settings, such as `account.eab_kid`.

        Raises `ConsentRequired` with the URL of the terms of service if they have not been agreed
        to, `EabRequired` if the CA requires an external account binding.
        """
        from certctl.operations.accounts import register  # noqa: PLC0415 - heavy

        given = dict(options or {})
        given |= {"ca": ca} if ca is not None else {}
        given |= {"account.email": tuple(email)} if email else {}
        given |= {"account.agree_tos": True} if agree_tos else {}
        with self._open(self._values(given)) as run:
            values = run.services.settings
            directory = directory_url(values.one_word("ca"))
            return register(run, directory, values.text("ca_bundle")).account

    def accounts(self) -> Sequence[Account]:
        """Return the accounts in this home directory, the oldest first; no CA is asked."""
        with self._open(untrusted="warn") as run:
            return run.services.records.accounts()

    # -- runs

    @contextmanager
    def _open(
        self, flags: Mapping[str, Value] | None = None, *, untrusted: Untrusted = "refuse"
    ) -> Iterator[Run]:
        settings = config.load(
            self.home, self._environment, {}, directory=self._directory, options=option_table()
        )
        settings = settings.over(self._settings, Source.FILE).over(flags or {}, Source.FLAG)
        home, stop, warn = self.home, self._stop, self._warn
        stores = open_home(home, settings, warn=warn, stop=stop, untrusted=untrusted)
        services = services_of(
            stores, home, settings, emit=self._emit, warn=warn, ask=self._ask, stop=stop
        )
        with Run(services, stop) as run:
            yield run

    def _warn(self, message: str) -> None:
        self._emit(Warned("", SystemClock().now(), message))

    def _values(self, given: Mapping[str, object]) -> dict[str, Value]:
        """Return settings by key, checked, with absolute paths. Raises `ConfigurationError`."""
        table, values = option_table(), dict[str, Value]()
        for key, value in flatten(given).items():
            option = table.get(key)
            if option is None or not (option.in_file or option.in_spec):
                known = (each.key for each in table.values() if each.in_file or each.in_spec)
                raise unknown(key, known, "settings")
            values[key] = check(option, value)
        return with_absolute_paths(values, table, str(self._directory))


def open_home(
    home: Path,
    settings: Settings,
    *,
    warn: Callable[[str], None],
    stop: threading.Event,
    untrusted: Untrusted = "refuse",
) -> Home:
    """Return the stores of a home directory. `warn` is called with what is wrong with it."""
    require_own(home)
    opened = Home(home, settings, SystemClock(), stop=stop, warn=warn)
    if untrusted == "refuse":
        opened.trust.require()
    elif untrusted == "warn":
        for _, problem in opened.trust.problems():
            warn(f"{problem.message}. To correct this, run: {problem.hint}")
    return opened


def services_of(
    stores: Home,
    home: Path,
    settings: Settings,
    *,
    emit: EventSink,
    warn: Callable[[str], None],
    ask: Ask,
    stop: threading.Event,
    instruct: Instruct = no_terminal,
) -> Services:
    """Return what the operations need: with the system's clock, the audit trail, which records
    every event, and the CA for development.
    """
    audit = Audit(home, warn)

    def record_and_emit(event: Event) -> None:
        audit.sink(event)
        emit(event)

    return Services(
        records=stores.records,
        machine=stores.machine,
        tree=stores.tree,
        clock=SystemClock(),
        settings=settings,
        emit=record_and_emit,
        ask=ask,
        instruct=instruct,
        endpoints={DEV: lambda: _dev_ca(home, stop)},
    )


def _dev_ca(home: Path, stop: threading.Event) -> AbstractContextManager[Endpoint]:
    """Start the development CA of the home directory inside this process."""
    from certctl.devca.endpoint import dev_endpoint  # noqa: PLC0415 - heavy, and for `dev` only

    return dev_endpoint(home, stop=stop)


class _OneAtATime:
    """A sink that calls the caller's function with one event at a time.

    Work goes on if that function raises: its exception is logged, as there is nobody to raise it to
    where a certificate is being deployed.
    """

    def __init__(self, on_event: OnEvent | None) -> None:
        self._on_event = on_event
        self._lock = threading.RLock()

    def __call__(self, event: Event) -> None:
        if self._on_event is None:
            return
        with self._lock:
            try:
                self._on_event(event)
            except Exception:
                import logging  # noqa: PLC0415 - only for a fault of the caller's

                with suppress(Exception):
                    logging.getLogger("certctl").exception("on_event failed at %s", event.kind)


def _meant(run: Run, words: Sequence[str]) -> tuple[str, ...]:
    """Return the certificates that words mean, each its name or one that it is for. Raises
    `UnknownCertificate`, and `UsageError` for what is a name of several.
    """
    from certctl.inspection.selection import select  # noqa: PLC0415 - only if called
    from certctl.rules.selection import Selection  # noqa: PLC0415 - only if called

    return select(run, Selection(words=tuple(words))).names if words else ()


def _nobody(question: str) -> bool | None:  # noqa: ARG001 - as `Ask`
    """Answer no question."""
    return None


def _of_certificates(given: Mapping[str, Value]) -> dict[str, Value]:
    """Return those settings that are saved with a certificate."""
    table = option_table()
    return {key: value for key, value in given.items() if table[key].in_spec}


def _outcome(report: Report) -> Outcome:
    """Return the only outcome of a report. Raises its first error."""
    for error in report.all_errors:
        raise error
    if not report.outcomes:
        raise ConfigurationError("there was nothing to do")
    return report.outcomes[0]

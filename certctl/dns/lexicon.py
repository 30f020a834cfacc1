"""The DNS providers of Lexicon (`dns-lexicon`, the extra `lexicon`): about ninety APIs.

In addition to what Lexicon does, the zone is passed instead of guessed from a list of public
suffixes, calls have a time limit, errors are translated without secrets, and temporary errors are
retried. Lexicon is detected without importing it, and imported when one of its providers is used.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from certctl.dns.api_errors import ProviderError, with_retries
from certctl.dns.profiles import secret_values
from certctl.dns.split_horizon import other_view
from certctl.dns.system import ProviderSystem
from certctl.model.errors import ChallengeError, ConfigurationError, Interrupted
from certctl.model.ports import DnsProvider
from certctl.model.validation import TxtRecord
from certctl.model.values import Value
from certctl.rules.cleanup import partly_placed
from certctl.rules.credentials import is_secret
from certctl.rules.options import Kind, Option
from certctl.system.installation import install_command

if TYPE_CHECKING:
    from argparse import Action

    from lexicon.interfaces import Provider

PACKAGE = "lexicon"
DISTRIBUTION = "dns-lexicon"

CALL_SECONDS = 60.0
"""How many seconds a call may take with all its requests; Lexicon itself has no time limit."""

TTL_SECONDS = 300
"""Many APIs refuse a shorter TTL; the resolvers of CAs limit it themselves."""

_STOP_POLL_SECONDS = 0.1
# Lexicon's `auto` guesses the provider from the zone's servers; certctl's uses [dns.zones].
_EXCLUDED = frozenset({"auto", "base"})
_GENERAL = frozenset({"ttl"})


def names() -> tuple[str, ...]:
    """Return the names of all its providers, sorted; none if it is not installed."""
    found = importlib.util.find_spec(PACKAGE)
    locations = found.submodule_search_locations if found is not None else None
    files = (
        file
        for location in locations or ()
        for file in Path(location).glob("_private/providers/*.py")
    )
    stems = {file.stem for file in files}
    return tuple(sorted(each for each in stems - _EXCLUDED if not each.startswith("_")))


def missing_requirement(name: str) -> str | None:
    """Return the command that installs what a provider needs besides Lexicon; None if nothing is
    missing.
    """
    from lexicon._private.discovery import (  # noqa: PLC0415 - slow to import, and seldom needed
        find_providers,
    )

    return None if find_providers().get(name, True) else install_command(f"{DISTRIBUTION}[{name}]")


def options(name: str) -> tuple[Option, ...]:
    """Return the options that a provider declares, and `ttl`, the TTL of the records."""
    import argparse  # noqa: PLC0415 - as in `missing_requirement`

    parser = argparse.ArgumentParser(add_help=False, conflict_handler="resolve")
    _class(name).configure_parser(parser)
    declared = {
        action.dest: _option(name, action)
        for action in parser._actions
        if action.help != argparse.SUPPRESS
    }
    ttl = Option(
        f"dns.{name}.ttl",
        Kind.INTEGER,
        TTL_SECONDS,
        "TTL of the records in seconds; some APIs require a longer one.",
        in_file=False,
        variable=f"CERTCTL_{name}_TTL".upper(),
        minimum=1,
        maximum=86400,
    )
    return tuple({**declared, "ttl": ttl}.values())


def create(name: str, settings: Mapping[str, Value], system: ProviderSystem) -> DnsProvider:
    """Return the provider. Raises `ConfigurationError` if a package that it needs is missing."""
    missing = missing_requirement(name)
    if missing is not None:
        raise ConfigurationError(
            f"the DNS provider {name} needs a package that is not installed",
            hint=f"Install it: {missing}",
            code="configuration.plugin",
        )
    # Without a handler, Python would print the library's warnings on standard error.
    logger = logging.getLogger(PACKAGE)
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    return LexiconProvider(name, settings, system)


class LexiconProvider:
    """Writes TXT values with one of Lexicon's providers; one call at a time in each zone, since
    many of the APIs replace all values of a name.
    """

    def __init__(self, name: str, settings: Mapping[str, Value], system: ProviderSystem) -> None:
        self._name = name
        self._class = _class(name)
        self._system = system
        prefix = f"dns.{name}."
        self._settings = {
            key.removeprefix(prefix): value
            for key, value in settings.items()
            if key.startswith(prefix) and value is not None
        }
        self._secrets = tuple(secret_values(options(name), settings))

    def present(self, records: Sequence[TxtRecord]) -> None:
        """Add the values. Raises `ChallengeError` with the API's error, and `Interrupted`."""
        for index, (zone, some) in enumerate(_by_zone(records).items()):
            with partly_placed(index > 0 or len(some) > 1):
                self._in_zone(zone, some, "create_record", self._system.stop)

    def cleanup(self, records: Sequence[TxtRecord]) -> None:
        """Remove the values, continuing after an error; raises the first error at the end.

        An interrupted run cleans up too: only the time limits end these calls.
        """
        failures: list[ChallengeError] = []
        for zone, some in _by_zone(records).items():
            try:
                self._in_zone(zone, some, "delete_record", threading.Event())
            except ChallengeError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def _in_zone(
        self, zone: str, records: Sequence[TxtRecord], verb: str, stop: threading.Event
    ) -> None:
        if not zone:
            raise ChallengeError(
                "the zone of the TXT record is unknown, and the provider's API needs it",
                hint="Use a resolver that knows the zone: --dns-resolver ADDRESS[:PORT].",
                code="challenge.dns.zone",
            )

        def call() -> None:
            with self._session(zone) as session:
                for record in records:
                    change = getattr(session, verb)
                    done = change(rtype="TXT", name=record.name, content=record.value)
                    if done is False:
                        raise _NotDone(f"{verb} of {record.name} was not done")

        with self._system.provider_locks.hold((self._name, zone)):
            with_retries(
                lambda: self._with_time_limit(call, zone, stop), clock=self._system.clock, stop=stop
            )

    @contextmanager
    def _session(self, zone: str) -> Iterator[Provider]:
        """Log in, and log out on exit. Bypasses Lexicon's `Client`, which would guess the zone from
        a list of public suffixes, and read settings from files in the current directory.
        """
        from lexicon.config import ConfigResolver  # noqa: PLC0415 - as in `missing_requirement`

        given = {key: value for key, value in self._settings.items() if key not in _GENERAL}
        document = {
            "provider_name": self._name,
            "domain": zone,
            "ttl": self._settings.get("ttl", TTL_SECONDS),
            self._name: given,
        }
        resolver = ConfigResolver()  # type: ignore[no-untyped-call] # it has no annotations
        session = self._class(resolver.with_dict(document))
        session.authenticate()
        try:
            yield session
        finally:
            session.cleanup()

    def _with_time_limit(self, call: Callable[[], None], zone: str, stop: threading.Event) -> None:
        """Make the call in a thread that is abandoned at the time limit: there is no other way to
        end a request without a timeout. Raises `ProviderError` and `Interrupted`.
        """
        failures: list[Exception] = []
        done = threading.Event()

        def work() -> None:
            try:
                call()
            except Exception as error:  # noqa: BLE001 - third-party code
                failures.append(error)
            finally:
                done.set()

        threading.Thread(target=work, name=f"dns-{self._name}", daemon=True).start()
        left = CALL_SECONDS
        while not done.wait(min(_STOP_POLL_SECONDS, left)):
            left -= _STOP_POLL_SECONDS
            if stop.is_set():
                raise Interrupted(f"stopped while {self._name} was changing {zone}")
            if left <= 0:
                raise ProviderError(
                    self._name, zone, f"no response in {CALL_SECONDS:g} s", self._secrets
                )
        if failures:
            # `from None`: the original exception contains the request, and with it the secret
            error = ProviderError.from_exception(failures[0], self._name, zone, self._secrets)
            if not error.retryable:
                # Often the provider does not have this zone.
                error.hint = f"{error.hint} {other_view(zone)}"
            raise error from None


class _NotDone(Exception):
    """Lexicon returns False from a call that changed nothing."""


def _class(name: str) -> type[Provider]:
    module: Any = importlib.import_module(f"{PACKAGE}._private.providers.{name}")
    return cast("type[Provider]", module.Provider)


def _option(provider: str, action: Action) -> Option:
    boolean = action.nargs == 0
    choices = tuple(str(each) for each in action.choices or ())
    kind = Kind.BOOLEAN if boolean else Kind.CHOICE if choices else Kind.TEXT
    help_text = " ".join((action.help or "").split()).removeprefix("specify ")
    return Option(
        f"dns.{provider}.{action.dest}",
        kind,
        action.default is True if boolean else action.default,
        help_text[:1].upper() + help_text[1:],
        choices=choices,
        secret=is_secret(action.dest),
        in_file=False,
        variable=f"CERTCTL_{provider}_{action.dest}".upper(),
    )


def _by_zone(records: Sequence[TxtRecord]) -> Mapping[str, list[TxtRecord]]:
    zones: dict[str, list[TxtRecord]] = {}
    for record in records:
        zones.setdefault(record.zone, []).append(record)
    return zones
